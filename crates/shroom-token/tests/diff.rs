//! Where two states differ: the ranges of ids hold every difference, are no wider than the packs that changed, and what no
//! pack accounts for is found all the same.

mod support;

use shroom_page::{LogicalPage, PageRead, PageSize, Roots, Snapshot};
use shroom_seg::{SegmentAddr, blob_places};
use shroom_token::{Bytes, Changes, Edit, Stored, TokenId, TokenRoot, changes, get};
use support::{Random, Store};

fn put(store: &Store, tokens: &[(u64, &[u8])]) {
    let edits = tokens
        .iter()
        .map(|&(id, bytes)| (TokenId(id), Edit::Put(Bytes::One(bytes))));
    store.merge(edits, usize::MAX).unwrap();
}

fn compare(before: &(Snapshot, TokenRoot), after: &(Snapshot, TokenRoot)) -> Changes {
    changes((&before.0, &before.1, &[]), (&after.0, &after.1, &[])).unwrap()
}

fn holds(changes: &Changes, id: u64) -> bool {
    changes
        .ranges
        .iter()
        .any(|&(first, last)| (first..=last).contains(&id))
}

fn blob(state: &(Snapshot, TokenRoot), id: u64) -> (SegmentAddr, u64) {
    match get(&state.0, &state.1, TokenId(id)).unwrap() {
        Some(Stored::Blob { head, length }) => (head, length),
        other => panic!("{other:?}"),
    }
}

/// 5,000 small tokens with ids of even numbers, and some large ones.
fn filled(page_size: u32) -> Store {
    let store = Store::new(PageSize::new(page_size).unwrap());
    let mut random = Random(page_size.into());
    let mut tokens: Vec<(u64, Vec<u8>)> = (0..5_000).map(|id| (id * 2, random.bytes(20))).collect();
    for (id, pages) in [(10_001, 1), (20_001, 7), (30_001, 40)] {
        let len = pages * page_size as usize / 2;
        tokens.push((id, random.bytes(len)));
    }
    let tokens: Vec<_> = tokens.iter().map(|(id, bytes)| (*id, &bytes[..])).collect();
    put(&store, &tokens);
    store
}

#[test]
fn a_small_change_is_found_in_a_narrow_range() {
    for page_size in [512, 1024, 4096] {
        let store = filled(page_size);
        let before = store.snapshot();
        put(&store, &[(4_000, b"changed"), (8_001, b"added")]);
        let after = store.snapshot();
        let changes = compare(&before, &after);
        assert!(!changes.is_full_walk, "every page is accounted for");
        assert!(holds(&changes, 4_000) && holds(&changes, 8_001));
        let ids: u64 = changes
            .ranges
            .iter()
            .map(|(first, last)| last - first)
            .sum();
        assert!(ids < 4 * u64::from(page_size), "{:?}", changes.ranges);
        assert!(!holds(&changes, 10), "{:?}", changes.ranges);
        let back = compare(&after, &before);
        assert_eq!(back.ranges, changes.ranges);
        assert!(compare(&after, &after).ranges.is_empty());
    }
}

/// The directory and the free-space index change with whole parts of the store: their pages are told from values.
#[test]
fn pages_of_indexes_are_accounted_for() {
    let store = filled(512);
    let before = store.snapshot();
    let edits = (0..2_000).map(|id| (TokenId(id * 2), Edit::Delete));
    store.merge(edits, usize::MAX).unwrap();
    put(&store, &[(20_001, &[7; 3_000]), (50_000, &[8; 90_000])]);
    let changes = compare(&before, &store.snapshot());
    assert!(!changes.is_full_walk);
    for id in [0, 3_998, 20_001, 50_000] {
        assert!(holds(&changes, id), "{id}");
    }
    assert!(!holds(&changes, 9_000));
}

/// Changes a byte of a page, and nothing that leads to it.
fn flip(store: &Store, page: LogicalPage, at: usize) {
    let roots: Roots = *store.pages.snapshot().roots();
    let mut txn = store.pages.begin().unwrap();
    txn.page_mut(page).unwrap()[at] ^= 1;
    txn.commit(roots).unwrap();
}

#[test]
fn a_change_inside_a_large_value_is_found_among_all_blobs() {
    for page_size in [512, 1024, 4096] {
        for id in [10_001, 20_001, 30_001] {
            let store = filled(page_size);
            let before = store.snapshot();
            let (head, length) = blob(&before, id);
            let places = blob_places(&before.0, head, length).unwrap();
            let (page, at) = match places.extents.first() {
                Some(&(first, _)) => (first, 100),
                // In the value's bytes, behind the count of extents.
                None => (head.page, usize::from(head.offset) + 10),
            };
            flip(&store, page, at);
            let after = store.snapshot();
            let changes = compare(&before, &after);
            assert_eq!(changes.pages, [page]);
            assert!(holds(&changes, id), "page size {page_size}, token {id}");
            assert!(changes.touch(&after.0, head, length).unwrap());
            // A segment may share its page with another value's; a page of an extent belongs to one.
            let (other, length) = blob(&after, if id == 30_001 { 20_001 } else { 30_001 });
            let touches_other = changes.touch(&after.0, other, length).unwrap();
            assert!(places.extents.is_empty() || !touches_other);
        }
    }
}

/// A value may hold copies of the store's own pages. What it holds is no pack, though it has the bytes of one.
#[test]
fn a_value_that_looks_like_pages_is_taken_for_none() {
    let store = filled(1024);
    let (snapshot, _) = store.snapshot();
    let mut forged = Vec::new();
    for number in 1..snapshot.logical_pages() {
        forged.extend_from_slice(snapshot.page(LogicalPage(number)).unwrap());
    }
    drop(snapshot);
    put(&store, &[(40_001, &forged)]);
    let before = store.snapshot();
    let (head, length) = blob(&before, 40_001);
    let places = blob_places(&before.0, head, length).unwrap();
    let pages = places
        .extents
        .iter()
        .flat_map(|&(first, count)| first.0..first.0 + count);
    for page in pages.step_by(7) {
        flip(&store, LogicalPage(page), 600);
        let changes = compare(&before, &store.snapshot());
        assert!(changes.is_full_walk);
        assert_eq!(changes.ranges, [(40_001, 40_001)]);
    }
}
