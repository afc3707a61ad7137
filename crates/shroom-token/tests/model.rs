//! The token map against a `BTreeMap`: random batches at every page size, committed and reopened in between.

mod support;

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;
use shroom_page::PageSize;
use shroom_token::{Bytes, Edit, Stored, TokenError, TokenId, get, info, range};
use support::{Random, Store, value};

/// How ids are chosen.
#[derive(Clone, Copy, Debug)]
enum Ids {
    Dense,
    Random,
    Clustered,
    Few,
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    seed: u64,
    edits: u64,
    ids: Ids,
    /// Longest value, in thousandths of the inline limit.
    longest: u64,
    /// Out of 100 edits.
    deletes: u64,
    appends: u64,
    budget_pages: usize,
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let ids = prop_oneof![
        Just(Ids::Dense),
        Just(Ids::Random),
        Just(Ids::Clustered),
        Just(Ids::Few)
    ];
    let longest = prop_oneof![Just(0), Just(50), Just(300), Just(1_010), Just(9_000)];
    let budget = prop_oneof![Just(usize::MAX / 65_536), Just(0), 1usize..30];
    let batch = (
        any::<u64>(),
        0u64..400,
        ids,
        longest,
        0u64..101,
        0u64..40,
        budget,
    );
    let batch = batch.prop_map(
        |(seed, edits, ids, longest, deletes, appends, budget_pages)| {
            let deletes = deletes.saturating_sub(20);
            Batch {
                seed,
                edits,
                ids,
                longest,
                deletes,
                appends,
                budget_pages,
            }
        },
    );
    prop::collection::vec(batch, 1..8)
}

enum Change {
    Put(Vec<u8>),
    Delete,
    Append(u64, Vec<u8>, Vec<u8>),
}

impl Batch {
    fn id(&self, random: &mut Random) -> u64 {
        match self.ids {
            Ids::Dense => 1_000 + random.below(600),
            Ids::Random => random.next() >> (random.below(8) * 8),
            Ids::Clustered => (random.below(9) << 40) + random.below(100) * (1 + random.below(5)),
            Ids::Few => random.below(30).wrapping_mul(u64::MAX / 29),
        }
    }

    fn changes(&self, model: &BTreeMap<u64, Vec<u8>>, page_size: usize) -> BTreeMap<u64, Change> {
        let mut random = Random(self.seed);
        let longest = (page_size / 4) as u64 * self.longest / 1_000;
        let mut changes = BTreeMap::new();
        for _ in 0..self.edits {
            let mut id = self.id(&mut random);
            if random.below(3) == 0
                && let Some((near, _)) = model.range(id..).next()
            {
                id = *near;
            }
            let len = match random.below(3) {
                0 => random.below(20),
                1 => longest.saturating_sub(random.below(8)),
                _ => random.below(longest + 1),
            };
            let bytes = random.bytes(len as usize);
            let kind = random.below(100);
            let change = if kind < self.deletes {
                Change::Delete
            } else if kind < self.deletes + self.appends {
                let old = model.get(&id).map_or(0, |bytes| bytes.len() as u64);
                let kept = if random.below(2) == 0 {
                    old
                } else {
                    random.below(old + 1)
                };
                let cut = random.below(len + 1) as usize;
                Change::Append(kept, bytes[..cut].to_vec(), bytes[cut..].to_vec())
            } else {
                Change::Put(bytes)
            };
            changes.insert(id, change);
        }
        changes
    }
}

fn apply(model: &mut BTreeMap<u64, Vec<u8>>, changes: &BTreeMap<u64, Change>) {
    for (id, change) in changes {
        match change {
            Change::Put(bytes) => {
                model.insert(*id, bytes.clone());
            }
            Change::Delete => {
                model.remove(id);
            }
            Change::Append(kept, first, second) => {
                let bytes = model.entry(*id).or_default();
                bytes.truncate(*kept as usize);
                bytes.extend_from_slice(first);
                bytes.extend_from_slice(second);
            }
        }
    }
}

fn edit(change: &Change) -> Edit<'_> {
    match change {
        Change::Put(bytes) => Edit::Put(Bytes::One(bytes)),
        Change::Delete => Edit::Delete,
        Change::Append(kept, first, second) => Edit::Append {
            kept: *kept,
            tail: Bytes::Many(vec![first, second]),
        },
    }
}

fn compare_ranges(store: &Store, model: &BTreeMap<u64, Vec<u8>>, random: &mut Random) {
    let (snapshot, root) = store.snapshot();
    let near: Vec<u64> = model.keys().copied().collect();
    let bound = |random: &mut Random| {
        let mut id = random.next();
        if !near.is_empty() && random.below(4) > 0 {
            id = near[random.below(near.len() as u64) as usize].wrapping_add(random.below(3));
        }
        match random.below(3) {
            0 => Bound::Unbounded,
            1 => Bound::Included(id),
            _ => Bound::Excluded(id),
        }
    };
    for _ in 0..6 {
        let (low, high) = (bound(random), bound(random));
        let bounds = (low.map(TokenId), high.map(TokenId));
        // Not BTreeMap::range, which panics on empty ranges.
        let inside = |id: &u64| std::ops::RangeBounds::contains(&(low, high), id);
        let mut expected: Vec<_> = model.iter().filter(|(id, _)| inside(id)).collect();
        let mut tokens = range(&snapshot, &root, bounds);
        let mut expected_left = expected.drain(..);
        loop {
            let (item, wanted) = match random.below(2) {
                0 => (tokens.next(), expected_left.next()),
                _ => (tokens.next_back(), expected_left.next_back()),
            };
            let item = item.map(|item| item.unwrap());
            let found = item.map(|(id, stored)| (id.0, value(&snapshot, stored)));
            assert_eq!(found, wanted.map(|(id, bytes)| (*id, bytes.clone())));
            if found.is_none() {
                break;
            }
        }
        assert!(tokens.next().is_none() && tokens.next_back().is_none());
        let mut tokens = range(&snapshot, &root, bounds);
        let mut visited = Vec::new();
        loop {
            let count = 1 + random.below(40) as usize;
            let visit = |id: TokenId, stored| -> Result<(), TokenError> {
                visited.push((id.0, value(&snapshot, stored)));
                Ok(())
            };
            match random.below(3) {
                // Items taken one by one in between.
                0 => match tokens.next().transpose().unwrap() {
                    Some((id, stored)) => visited.push((id.0, value(&snapshot, stored))),
                    None => break,
                },
                _ if tokens.visit(count, visit).unwrap() < count => break,
                _ => {}
            }
        }
        let wanted = model.iter().filter(|(id, _)| inside(id));
        assert!(wanted.map(|(id, bytes)| (*id, bytes.clone())).eq(visited));
        let backward: Vec<u64> = range(&snapshot, &root, bounds)
            .rev()
            .map(|item| item.unwrap().0.0)
            .collect();
        let wanted: Vec<u64> = model.keys().rev().copied().filter(inside).collect();
        assert_eq!(backward, wanted);
    }
    for id in near.iter().take(20) {
        let found = info(&snapshot, &root, TokenId(*id)).unwrap().unwrap();
        let bytes = &model[id];
        assert_eq!((found.id, found.length), (TokenId(*id), bytes.len() as u64));
        let page = shroom_page::PageRead::page(&snapshot, found.page).unwrap();
        let len = bytes.len().min(8);
        assert_eq!(&page[usize::from(found.offset)..][..len], &bytes[..len]);
    }
}

fn run(page_size: PageSize, batches: &[Batch]) {
    let store = Store::new(page_size);
    let mut model = BTreeMap::new();
    for batch in batches {
        let changes = batch.changes(&model, page_size.bytes());
        let edits = changes
            .iter()
            .map(|(id, change)| (TokenId(*id), edit(change)));
        store
            .merge(edits, batch.budget_pages * page_size.bytes())
            .unwrap();
        apply(&mut model, &changes);
        store.compare(&model);
        compare_ranges(&store, &model, &mut Random(batch.seed));
    }
    let ids: Vec<TokenId> = model.keys().copied().map(TokenId).collect();
    store
        .merge(ids.iter().map(|id| (*id, Edit::Delete)), usize::MAX)
        .unwrap();
    store.compare(&BTreeMap::new());
    assert_eq!(store.stats().storage_pages, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pages_of_512(batches in batches()) { run(PageSize::new(512).unwrap(), &batches); }

    #[test]
    fn pages_of_1024(batches in batches()) { run(PageSize::new(1024).unwrap(), &batches); }

    #[test]
    fn pages_of_4096(batches in batches()) { run(PageSize::new(4096).unwrap(), &batches); }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_batches_give_the_same_bytes(batches in batches()) {
        let page_size = PageSize::new(1024).unwrap();
        let stores = [Store::new(page_size), Store::new(page_size)];
        let mut model = BTreeMap::new();
        for batch in &batches {
            let changes = batch.changes(&model, page_size.bytes());
            for store in &stores {
                let edits = changes.iter().map(|(id, change)| (TokenId(*id), edit(change)));
                store.merge(edits, batch.budget_pages * page_size.bytes()).unwrap();
            }
            apply(&mut model, &changes);
        }
        let [first, second] = stores.map(|store| store.pages.snapshot().page_root());
        prop_assert_eq!(first, second);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_page_size(batches in batches()) {
        for page_size in PageSize::all() {
            run(page_size, &batches);
        }
    }

    #[test]
    fn bulk_then_merge(first in 0u64..3_000, second in 0u64..3_000, gap in 1u64..1_000, seed: u64, batches in batches(), shift in 9u8..14) {
        let page_size = PageSize::from_shift(shift).unwrap();
        let store = Store::new(page_size);
        let mut random = Random(seed);
        let mut model = BTreeMap::new();
        let mut id = 0;
        for count in [first, second] {
            let mut tokens = Vec::new();
            for _ in 0..count {
                id += 1 + random.below(gap);
                let len = random.log_uniform(1, page_size.bytes() as u64 / 3);
                tokens.push((TokenId(id), random.bytes(len)));
            }
            model.extend(tokens.iter().map(|(id, bytes)| (id.0, bytes.clone())));
            store.bulk(tokens).unwrap();
            store.compare(&model);
        }
        for batch in &batches {
            let changes = batch.changes(&model, page_size.bytes());
            store.merge(changes.iter().map(|(id, change)| (TokenId(*id), edit(change))), usize::MAX).unwrap();
            apply(&mut model, &changes);
            store.compare(&model);
        }
    }
}

/// Few edits a batch, so that runs are short and take in neighbours: every path of the cutting policy.
#[test]
fn sparse_batches_keep_every_token() {
    for (page_size, longest) in [(512, 128), (512, 40), (1024, 300), (4096, 1_100)] {
        let store = Store::new(PageSize::new(page_size).unwrap());
        let mut random = Random(page_size.into());
        let mut model = BTreeMap::new();
        for id in 0..4_000 {
            let len = random.log_uniform(1, longest);
            model.insert(id * 3, random.bytes(len));
        }
        store
            .bulk(model.iter().map(|(id, bytes)| (TokenId(*id), bytes)))
            .unwrap();
        for batch in 0..150 {
            let mut changes = BTreeMap::new();
            for _ in 0..30 {
                let id = random.below(12_000);
                let len = random.log_uniform(1, longest);
                let change = match (random.below(5), id % 3) {
                    (0, _) | (_, 1..) if model.contains_key(&id) => Change::Delete,
                    _ => Change::Put(random.bytes(len)),
                };
                changes.insert(id, change);
            }
            let edits = changes
                .iter()
                .map(|(id, change)| (TokenId(*id), edit(change)));
            store.merge(edits, usize::MAX).unwrap();
            apply(&mut model, &changes);
            let report = store.verify();
            assert_eq!(report.tokens, model.len() as u64);
            if batch % 50 == 49 {
                store.compare(&model);
            }
        }
    }
}

#[test]
fn misuse_is_refused() {
    let store = Store::new(PageSize::DEFAULT);
    let put = |id| (TokenId(id), Edit::Put(Bytes::One(b"x")));
    let error = store.merge([put(2), put(2)], usize::MAX).unwrap_err();
    assert!(matches!(error, TokenError::NotAscending { .. }) && !error.is_corruption());
    let append = Edit::Append {
        kept: 2,
        tail: Bytes::One(b"yz"),
    };
    let error = store
        .merge([(TokenId(7), append.clone())], usize::MAX)
        .unwrap_err();
    assert!(matches!(
        error,
        TokenError::KeptBeyondEnd {
            kept: 2,
            length: 0,
            ..
        }
    ));
    store.merge([put(7)], usize::MAX).unwrap();
    let error = store.merge([(TokenId(7), append)], usize::MAX).unwrap_err();
    assert!(matches!(
        error,
        TokenError::KeptBeyondEnd {
            kept: 2,
            length: 1,
            ..
        }
    ));
    let error = store.bulk([(TokenId(7), b"a")]).unwrap_err();
    assert!(matches!(error, TokenError::NotAscending { .. }));
    let (snapshot, root) = store.snapshot();
    assert_eq!(
        get(&snapshot, &root, TokenId(7)).unwrap(),
        Some(Stored::Inline(b"x"))
    );
}

#[test]
fn edits_that_change_nothing_write_nothing() {
    let store = Store::new(PageSize::DEFAULT);
    store
        .bulk((0..5_000).map(|id| (TokenId(id * 2), [id as u8; 20])))
        .unwrap();
    let (before, _) = store.snapshot();
    let again = [
        (TokenId(1), Edit::Delete),
        (
            TokenId(20),
            Edit::Put(Bytes::Many(vec![&[10; 15], &[10; 5]])),
        ),
        (
            TokenId(30),
            Edit::Append {
                kept: 20,
                tail: Bytes::Many(vec![]),
            },
        ),
        (
            TokenId(40),
            Edit::Append {
                kept: 10,
                tail: Bytes::One(&[20; 10]),
            },
        ),
        (TokenId(5_001), Edit::Delete),
        (TokenId(u64::MAX), Edit::Delete),
    ];
    store
        .change(|segments, root| {
            let clean = segments.dirty_bytes();
            let new = shroom_token::merge(segments, root, &mut again.into_iter().peekable(), 0)?;
            assert_eq!((new, segments.dirty_bytes()), (*root, clean));
            Ok(new)
        })
        .unwrap();
    assert_eq!(before.roots().token, store.snapshot().0.roots().token);
}
