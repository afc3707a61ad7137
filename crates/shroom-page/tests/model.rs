//! The page store against a `BTreeMap`: random transactions, aborts, snapshots, reopens and vacuums, at every page size.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use shroom_page::storage::{FileStorage, MemoryStorage, OpenMode, Storage};
use shroom_page::{
    LogicalPage, PageError, PageRead, PageSize, PageStore, ReadCheck, Roots, SlicePages, Snapshot,
};

#[derive(Clone, Debug)]
enum Op {
    Allocate(u8),
    AllocateRun(u8, u8),
    Extend(u16, u8, u8),
    Write(u16, u8),
    Free(u16),
    Spill,
    Commit,
    Abort,
    Snapshot,
    DropSnapshot,
    Reopen,
    Vacuum,
    Journal(u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => any::<u8>().prop_map(Op::Allocate),
        2 => (1_u8..6, any::<u8>()).prop_map(|(pages, fill)| Op::AllocateRun(pages, fill)),
        2 => (any::<u16>(), 1_u8..4, any::<u8>()).prop_map(|(at, pages, fill)| Op::Extend(at, pages, fill)),
        8 => (any::<u16>(), any::<u8>()).prop_map(|(at, fill)| Op::Write(at, fill)),
        5 => any::<u16>().prop_map(Op::Free),
        1 => Just(Op::Spill),
        4 => Just(Op::Commit),
        1 => Just(Op::Abort),
        1 => Just(Op::Snapshot),
        1 => Just(Op::DropSnapshot),
        1 => Just(Op::Reopen),
        1 => Just(Op::Vacuum),
        1 => any::<u8>().prop_map(Op::Journal),
    ];
    prop::collection::vec(op, 1..120)
}

type Model = BTreeMap<LogicalPage, u8>;

fn pick(model: &Model, at: u16) -> Option<LogicalPage> {
    model
        .keys()
        .nth(usize::from(at) % model.len().max(1))
        .copied()
}

fn check(pages: &impl PageRead, model: &Model) {
    for number in 0..pages.logical_pages() + 2 {
        let page = LogicalPage(number);
        match model.get(&page) {
            Some(fill) => assert!(
                pages.page(page).unwrap().iter().all(|byte| byte == fill),
                "{page}"
            ),
            None => assert!(
                pages.page(page).is_err() && !pages.is_allocated(page).unwrap(),
                "{page}"
            ),
        }
    }
    for (&page, fill) in model {
        let next = LogicalPage(page.0 + 1);
        if let Some(next_fill) = model.get(&next)
            && let Some(run) = pages.run(page, 2).unwrap()
        {
            let (first, second) = run.split_at(run.len() / 2);
            assert!(first.iter().all(|byte| byte == fill));
            assert!(second.iter().all(|byte| byte == next_fill));
        }
    }
}

fn roots(stamp: u8) -> Roots {
    Roots {
        seg: [stamp; 64],
        token: [stamp; 32],
        application: [stamp; 32],
    }
}

struct World {
    storage: Arc<dyn Storage>,
    store: Arc<PageStore>,
    committed: Model,
    stamp: u8,
    snapshots: Vec<(Snapshot, Model)>,
}

impl World {
    fn run(&mut self, ops: &[Op]) {
        let mut ops = ops.iter();
        loop {
            let mut live = self.committed.clone();
            let store = Arc::clone(&self.store);
            let (committed, last) = self.transaction(&store, &mut live, &mut ops);
            drop(store);
            if committed {
                self.committed = live;
                check(&self.store.snapshot(), &self.committed);
                assert_eq!(*self.store.snapshot().roots(), roots(self.stamp));
            }
            for (snapshot, model) in &self.snapshots {
                check(snapshot, model);
            }
            match last {
                None => break,
                Some(Op::Snapshot) => self
                    .snapshots
                    .push((self.store.snapshot(), self.committed.clone())),
                Some(Op::DropSnapshot) => drop(self.snapshots.pop()),
                Some(Op::Reopen) => {
                    self.snapshots.clear();
                    self.store = Arc::new(PageStore::open(Arc::clone(&self.storage)).unwrap());
                }
                Some(Op::Vacuum) => {
                    self.store.vacuum(&mut drop).unwrap();
                    let stats = self.store.stats(true).unwrap();
                    // Journal areas do not move.
                    if self.snapshots.is_empty() && stats.journal_pages == 0 {
                        assert!(stats.free_pages <= 3, "{stats:?}");
                    }
                }
                _ => {}
            }
            let report = self.store.verify().unwrap();
            assert!(report.is_sound(), "{:?}", report.findings);
        }
    }

    /// Runs operations up to one that ends the transaction; returns whether it was committed, and that operation.
    fn transaction<'o>(
        &mut self,
        store: &PageStore,
        live: &mut Model,
        ops: &mut impl Iterator<Item = &'o Op>,
    ) -> (bool, Option<&'o Op>) {
        let page_len = store.page_size().bytes();
        let mut txn = store.begin().unwrap();
        for op in ops {
            match *op {
                Op::Allocate(fill) => {
                    let page = txn.allocate().unwrap();
                    assert!(txn.page(page).unwrap().iter().all(|&byte| byte == 0));
                    txn.page_mut(page).unwrap().fill(fill);
                    assert!(live.insert(page, fill).is_none());
                }
                Op::AllocateRun(pages, fill) => {
                    let first = txn.allocate_run(u32::from(pages)).unwrap();
                    txn.write_run(first, &vec![fill; page_len * usize::from(pages)])
                        .unwrap();
                    for page in first.0..first.0 + u32::from(pages) {
                        assert!(live.insert(LogicalPage(page), fill).is_none());
                    }
                }
                Op::Extend(at, pages, fill) => {
                    let Some(page) = pick(live, at) else { continue };
                    let numbers = page.0 + 1..page.0 + 1 + u32::from(pages);
                    let free = numbers
                        .clone()
                        .all(|number| !live.contains_key(&LogicalPage(number)));
                    let extended = txn
                        .extend_run(LogicalPage(page.0 + 1), u32::from(pages))
                        .unwrap();
                    assert_eq!(extended, free);
                    if extended {
                        let bytes = vec![fill; page_len * usize::from(pages)];
                        txn.write_run(LogicalPage(page.0 + 1), &bytes).unwrap();
                        live.extend(numbers.map(|number| (LogicalPage(number), fill)));
                    }
                }
                Op::Write(at, fill) => {
                    let Some(page) = pick(live, at) else { continue };
                    txn.page_mut(page).unwrap().fill(fill);
                    live.insert(page, fill);
                }
                Op::Free(at) => {
                    let Some(page) = pick(live, at) else { continue };
                    txn.free(page).unwrap();
                    live.remove(&page);
                }
                Op::Spill => txn.spill().unwrap(),
                Op::Journal(pages) => {
                    txn.set_journal_area(usize::from(pages % 2), u32::from(pages / 2 % 5))
                }
                _ => {
                    check(&txn, live);
                    if matches!(op, Op::Abort) {
                        return (false, Some(op));
                    }
                    self.stamp = self.stamp.wrapping_add(1);
                    txn.commit(roots(self.stamp)).unwrap();
                    return (true, Some(op));
                }
            }
        }
        (false, None)
    }
}

fn run_on(storage: Arc<dyn Storage>, page_size: PageSize, ops: &[Op]) {
    let store = Arc::new(PageStore::create(Arc::clone(&storage), page_size).unwrap());
    let mut world = World {
        storage: Arc::clone(&storage),
        store,
        committed: Model::new(),
        stamp: 0,
        snapshots: Vec::new(),
    };
    world.run(ops);
    check_slice(&*storage, &world.store, &world.committed);
}

/// The file's bytes alone are read as the store is, once there is no journal in them.
fn check_slice(storage: &dyn Storage, store: &PageStore, model: &Model) {
    let file = || {
        let mut bytes = vec![0; storage.len().unwrap() as usize];
        storage.read_at(0, &mut bytes).unwrap();
        bytes
    };
    let journal: u64 = store.journal_pages().into_iter().map(u64::from).sum();
    if journal > 0 {
        let refused = SlicePages::new(&file()).unwrap_err();
        assert!(
            matches!(refused, PageError::NotClosed { journal_pages } if journal_pages == journal),
            "{refused}"
        );
        store.release_journal().unwrap();
    }
    let bytes = file();
    for when in [ReadCheck::FirstTouch, ReadCheck::EveryRead] {
        let pages = SlicePages::with_check(&bytes, when).unwrap();
        let snapshot = store.snapshot();
        check(&pages, model);
        assert_eq!(pages.roots(), snapshot.roots());
        assert_eq!(pages.page_root(), snapshot.page_root());
        assert_eq!(pages.sequence(), snapshot.sequence());
        let (found, expected) = (pages.verify(), store.verify().unwrap());
        assert!(found.is_sound(), "{:?}", found.findings);
        assert_eq!(
            (found.logical_pages, found.map_pages),
            (expected.logical_pages, expected.map_pages)
        );
    }
}

fn run(page_size: PageSize, ops: &[Op]) -> Vec<u8> {
    let memory = MemoryStorage::new();
    run_on(Arc::new(memory.clone()), page_size, ops);
    memory.to_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn behaves_like_a_map(shift in 9_u8..=16, ops in ops()) {
        let page_size = PageSize::from_shift(shift).unwrap();
        let first = run(page_size, &ops);
        prop_assert!(first == run(page_size, &ops), "the same operations gave other bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A view of a file shows what is written later, unlike one of memory: a snapshot whose pages are written again, or
    /// cut off, is found out here.
    #[test]
    fn behaves_like_a_map_in_a_file(shift in 9_u8..=12, ops in ops()) {
        let page_size = PageSize::from_shift(shift).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let storage = FileStorage::open(&path, OpenMode::CREATE_NEW).unwrap();
        run_on(Arc::new(storage), page_size, &ops);
        prop_assert!(std::fs::read(path).unwrap() == run(page_size, &ops));
    }
}

/// More pages than the root of the map holds, so that the map grows by levels and shrinks again.
#[test]
fn map_grows_and_shrinks() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let store = PageStore::create(Arc::clone(&storage), PageSize::new(512).unwrap()).unwrap();
    let mut model = Model::new();
    for round in 0..12_u8 {
        let mut txn = store.begin().unwrap();
        for _ in 0..1 << round {
            let page = txn.allocate().unwrap();
            txn.page_mut(page).unwrap().fill(round);
            model.insert(page, round);
        }
        txn.commit(Roots::default()).unwrap();
        check(&store.snapshot(), &model);
        check_slice(&*storage, &store, &model);
    }
    assert!(store.verify().unwrap().is_sound());
    while let Some((&last, _)) = model.last_key_value() {
        let mut txn = store.begin().unwrap();
        for number in last.0 / 2 + 1..=last.0 {
            txn.free(LogicalPage(number)).unwrap();
            model.remove(&LogicalPage(number));
        }
        txn.commit(Roots::default()).unwrap();
        check(&store.snapshot(), &model);
        let report = store.verify().unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
    }
    store.vacuum(&mut drop).unwrap();
    assert_eq!(
        storage.len().unwrap(),
        1024,
        "an empty store is two superblocks"
    );
}

#[test]
fn journal_frames_are_recovered_in_order() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let store = PageStore::create(Arc::clone(&storage), PageSize::new(512).unwrap()).unwrap();
    assert_eq!(store.journal_append(b"no area yet").unwrap(), None);
    let mut txn = store.begin().unwrap();
    txn.set_journal_area(0, 4);
    txn.set_journal_area(1, 4);
    txn.commit(Roots::default()).unwrap();
    let mut written = Vec::new();
    assert!(store.journal_rotate().unwrap());
    for number in 0_u64.. {
        let payload = vec![number as u8; 1 + (number as usize * 37) % 200];
        let sequence = match store.journal_append(&payload).unwrap() {
            Some(sequence) => sequence,
            None if store.journal_rotate().unwrap() => {
                store.journal_append(&payload).unwrap().unwrap()
            }
            None => break,
        };
        assert_eq!(sequence, number + 1);
        written.push((sequence, payload));
    }
    store.journal_sync(written.len() as u64).unwrap();
    drop(store);
    let store = PageStore::open(Arc::clone(&storage)).unwrap();
    let frames = store.take_recovered();
    let recovered: Vec<_> = frames
        .iter()
        .map(|(sequence, payload)| (sequence, payload.to_vec()))
        .collect();
    assert_eq!(recovered, written);
    assert!(
        !store.journal_rotate().unwrap(),
        "both areas hold live frames"
    );
    let mut txn = store.begin().unwrap();
    txn.set_drained(store.journal_mark());
    txn.commit(Roots::default()).unwrap();
    assert!(store.journal_rotate().unwrap());
    let next = written.len() as u64 + 1;
    assert_eq!(store.journal_append(b"next").unwrap(), Some(next));
    store.journal_sync(next).unwrap();
    drop(store);
    let store = PageStore::open(storage).unwrap();
    let frames = store.take_recovered();
    assert_eq!(frames.iter().collect::<Vec<_>>(), [(next, &b"next"[..])]);
}

#[test]
fn damage_before_the_synced_mark_is_reported() {
    let memory = MemoryStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(memory.clone());
    let store = PageStore::create(storage, PageSize::new(512).unwrap()).unwrap();
    let mut txn = store.begin().unwrap();
    txn.set_journal_area(0, 8);
    txn.commit(Roots::default()).unwrap();
    assert!(store.journal_rotate().unwrap());
    for payload in [b"one", b"two", b"thr"] {
        let sequence = store.journal_append(payload).unwrap().unwrap();
        store.journal_sync(sequence).unwrap();
    }
    drop(store);
    let bytes = memory.to_bytes();
    let area = bytes
        .windows(3)
        .position(|window| window == b"one")
        .unwrap()
        - 40;
    for offset in area..area + 3 * 48 {
        let mut damaged = bytes.clone();
        damaged[offset] ^= 1;
        let opened = PageStore::open(Arc::new(MemoryStorage::from_bytes(damaged)));
        let padding = (offset - area) % 48 >= 43;
        if offset < area + 96 && !padding {
            // Frames one and two: frame three says that two was synced.
            assert!(
                opened.is_err_and(|error| error.is_corruption()),
                "byte {offset}"
            );
        } else {
            // The last frame's damage looks like a torn tail.
            let expected = if padding { 3 } else { 2 };
            assert_eq!(
                opened.unwrap().take_recovered().iter().count(),
                expected,
                "byte {offset}"
            );
        }
    }
}
