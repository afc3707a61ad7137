//! Named snapshots against a model: random commits, saves, deletions and restores, with readers that hold old states; then a
//! crash at every event, and a fault in every call.
//!
//! After each step the store is sound, which says that each page is reached or free, exactly; it has the model's pages and
//! its named snapshots have theirs.

#[path = "support/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use random::Random;
use shroom_page::storage::faulty::{CrashPlan, Fault, FaultyStorage, Torn};
use shroom_page::storage::{FileStorage, MemoryStorage, OpenMode, Storage};
use shroom_page::{
    JournalMark, LogicalPage, PageDifference, PageError, PageRead, PageSize, PageStore, Result,
    Roots, Snapshot, StoreOptions, diff_pages,
};

/// Logical page -> the number that fills it; and the number in the roots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    pages: BTreeMap<u32, u64>,
    stamp: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    live: State,
    named: BTreeMap<String, State>,
}

fn fill_page(page: &mut [u8], fill: u64) {
    for word in page.chunks_exact_mut(8) {
        word.copy_from_slice(&fill.to_le_bytes());
    }
}

fn roots(stamp: u64) -> Roots {
    let mut roots = Roots::default();
    roots.application[..8].copy_from_slice(&stamp.to_le_bytes());
    roots
}

/// Everything that a state holds; each page must be filled with one number.
fn read(snapshot: &Snapshot) -> State {
    let mut pages = BTreeMap::new();
    for number in 1..snapshot.logical_pages() {
        if !snapshot.is_allocated(LogicalPage(number)).unwrap() {
            continue;
        }
        let page = snapshot.page(LogicalPage(number)).unwrap();
        let fill: [u8; 8] = page[..8].try_into().unwrap();
        assert!(page.chunks_exact(8).all(|word| word == fill), "{number}");
        pages.insert(number, u64::from_le_bytes(fill));
    }
    let stamp = snapshot.roots().application[..8].try_into().unwrap();
    let stamp = u64::from_le_bytes(stamp);
    State { pages, stamp }
}

fn read_all(store: &PageStore) -> Model {
    let names = store.snapshot_names().unwrap();
    Model {
        live: read(&store.snapshot()),
        named: names
            .into_iter()
            .map(|name| (name.clone(), read(&store.open_snapshot(&name).unwrap())))
            .collect(),
    }
}

fn assert_sound(store: &PageStore) {
    let report = store.verify().unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    let stats = store.stats(true).unwrap();
    assert_eq!(stats.snapshots, report.snapshots);
    assert_eq!(stats.snapshot_pages, report.snapshot_pages, "{stats:?}");
}

/// What differs is found, in order, and nothing that is the same page.
fn check_difference(before: &Snapshot, after: &Snapshot) {
    let found: Result<Vec<_>> = diff_pages(before, after).unwrap().collect();
    let found = found.unwrap();
    let logical = found.iter().filter_map(PageDifference::logical);
    let logical: Vec<u32> = logical.map(|page| page.0).collect();
    assert!(logical.is_sorted_by(|a, b| a < b));
    let (old, new) = (read(before).pages, read(after).pages);
    for page in 1..before.logical_pages().max(after.logical_pages()) {
        if old.get(&page) != new.get(&page) {
            assert!(logical.binary_search(&page).is_ok(), "page {page}");
        }
    }
    for page in &found {
        assert!(page.before != page.after, "{page:?}");
        if let Some(logical) = page.logical() {
            assert_eq!(page.before.is_some(), old.contains_key(&logical.0));
            assert_eq!(page.after.is_some(), new.contains_key(&logical.0));
        }
    }
    assert!(diff_pages(after, after).unwrap().next().is_none());
}

struct World {
    storage: Arc<dyn Storage>,
    store: Arc<PageStore>,
    random: Random,
    model: Model,
    /// What a call that is under way would lead to.
    pending: Option<Model>,
    fill: u64,
    readers: Vec<(Snapshot, State)>,
}

impl World {
    fn new(storage: Arc<dyn Storage>, seed: u64) -> Self {
        let size = PageSize::new([512, 512, 1024, 4096][seed as usize % 4]).unwrap();
        let store = PageStore::create(Arc::clone(&storage), size).unwrap();
        Self {
            storage,
            store: Arc::new(store),
            random: Random(seed),
            model: Model::default(),
            pending: None,
            fill: 0,
            readers: Vec::new(),
        }
    }

    fn check(&self) {
        assert_eq!(read_all(&self.store), self.model);
        for (reader, state) in &self.readers {
            assert_eq!(read(reader), *state);
        }
        assert_sound(&self.store);
        if let [.., (before, _), (after, _)] = &self.readers[..] {
            check_difference(before, after);
            check_difference(&self.store.snapshot(), before);
        }
    }

    fn pick_name(&mut self) -> Option<String> {
        let at = self.random.below(self.model.named.len() as u64) as usize;
        self.model.named.keys().nth(at).cloned()
    }

    fn step(&mut self) -> Result<()> {
        self.pending = None;
        match self.random.below(16) {
            0..=7 => self.transaction(),
            8 => self.delete_alone(),
            9 | 10 => self.restore(),
            11 => self.store.vacuum(&mut drop),
            12 => self.store.cut_tail(),
            13 => {
                let state = self.model.live.clone();
                self.readers.push((self.store.snapshot(), state));
                Ok(())
            }
            14 => {
                if let Some(name) = self.pick_name() {
                    let state = self.model.named[&name].clone();
                    let reader = self.store.open_snapshot(&name)?;
                    self.readers.push((reader, state));
                }
                Ok(())
            }
            _ => {
                self.readers.clear();
                Ok(())
            }
        }
    }

    /// Notes the model that a call leads to, makes the call, and takes the model over when it succeeds.
    fn commit(&mut self, next: Model, call: impl FnOnce() -> Result<Snapshot>) -> Result<()> {
        self.pending = Some(next);
        call()?;
        self.model = self.pending.take().unwrap();
        Ok(())
    }

    fn transaction(&mut self) -> Result<()> {
        let store = Arc::clone(&self.store);
        let mut txn = store.begin()?;
        let mut next = self.model.clone();
        let page_len = txn.page_size().bytes();
        for _ in 0..self.random.below(20) {
            self.fill += 1;
            let pages = &mut next.live.pages;
            let at = self.random.below(pages.len() as u64) as usize;
            let picked = pages.keys().nth(at).copied();
            match (self.random.below(10), picked) {
                (0..=3, _) | (_, None) => {
                    let page = txn.allocate()?;
                    fill_page(txn.page_mut(page)?, self.fill);
                    pages.insert(page.0, self.fill);
                }
                (4, _) => {
                    let first = txn.allocate_run(20)?;
                    let mut bytes = vec![0; 20 * page_len];
                    fill_page(&mut bytes, self.fill);
                    txn.write_run(first, &bytes)?;
                    pages.extend((first.0..first.0 + 20).map(|page| (page, self.fill)));
                }
                (5..=7, Some(page)) => {
                    fill_page(txn.page_mut(LogicalPage(page))?, self.fill);
                    pages.insert(page, self.fill);
                }
                (8, Some(page)) => {
                    txn.free(LogicalPage(page))?;
                    pages.remove(&page);
                }
                (_, Some(page)) => {
                    // Many at once, so that the map gets lower at times.
                    for page in pages.split_off(&page).into_keys() {
                        txn.free(LogicalPage(page))?;
                    }
                }
            }
        }
        if self.random.below(8) == 0 {
            let index = self.random.below(2) as usize;
            txn.set_journal_area(index, self.random.below(4) as u32);
        }
        next.live.stamp += 1 + self.fill;
        for _ in 0..self.random.below(3) {
            let name = format!("s{}", self.random.below(12));
            if next.named.contains_key(&name) && self.random.below(3) > 0 {
                txn.delete_snapshot(&name)?;
                next.named.remove(&name);
                // A name may be given away and taken again in one commit.
                if self.random.below(2) > 0 {
                    continue;
                }
            }
            match txn.save_snapshot(&name) {
                Ok(()) => assert!(next.named.insert(name, next.live.clone()).is_none()),
                Err(PageError::SnapshotExists { .. }) => {
                    assert!(next.named.contains_key(&name))
                }
                Err(error) => return Err(error),
            }
        }
        let stamp = next.live.stamp;
        // What is saved is what the commit makes, with its roots.
        self.commit(next, || txn.commit(roots(stamp)))
    }

    /// A deletion frees exactly what was said to be the snapshot's own.
    fn delete_alone(&mut self) -> Result<()> {
        let Some(name) = self.pick_name() else {
            return Ok(());
        };
        let own = self.store.snapshot_pages(&name)?;
        let before = self.store.stats(true)?;
        let store = Arc::clone(&self.store);
        let mut txn = store.begin()?;
        txn.delete_snapshot(&name)?;
        let mut next = self.model.clone();
        next.named.remove(&name);
        let stamp = next.live.stamp;
        self.commit(next, || txn.commit(roots(stamp)))?;
        let after = self.store.stats(true)?;
        assert_eq!(after.snapshot_pages + own, before.snapshot_pages);
        assert_eq!(after.logical_pages, before.logical_pages);
        Ok(())
    }

    fn restore(&mut self) -> Result<()> {
        let Some(name) = self.pick_name() else {
            return Ok(());
        };
        let mut next = self.model.clone();
        next.live = next.named[&name].clone();
        let store = Arc::clone(&self.store);
        self.commit(next, || store.restore_snapshot(&name, store.journal_mark()))
    }

    /// As a new process would find it.
    fn reopen(&mut self) {
        self.readers.clear();
        self.store = Arc::new(PageStore::open(Arc::clone(&self.storage)).unwrap());
    }
}

#[test]
fn snapshots_behave_like_copies() {
    for seed in 0..60 {
        let mut world = World::new(Arc::new(MemoryStorage::new()), seed);
        for _ in 0..60 {
            world
                .step()
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            world.check();
            if world.random.below(10) == 0 {
                world.reopen();
                world.check();
            }
        }
        let read_only = StoreOptions::new().read_only(true);
        let store = PageStore::open_with(Arc::clone(&world.storage), read_only).unwrap();
        assert_eq!(read_all(&store), world.model);
        assert_sound(&store);
        // When all are gone, nothing of them is left.
        world.readers.clear();
        let store = Arc::clone(&world.store);
        let mut txn = store.begin().unwrap();
        for name in world.model.named.keys() {
            txn.delete_snapshot(name).unwrap();
        }
        txn.commit(Roots::default()).unwrap();
        assert_sound(&store);
        assert_eq!(store.stats(true).unwrap().snapshot_pages, 0);
    }
}

/// A view of a file shows what is written later: a page of a snapshot that is written again, or cut off, is found out here.
#[test]
fn snapshots_behave_like_copies_in_a_file() {
    for seed in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let storage = FileStorage::open(&path, OpenMode::CREATE_NEW).unwrap();
        let mut world = World::new(Arc::new(storage), seed);
        for _ in 0..60 {
            world.step().unwrap();
            world.check();
        }
    }
}

/// Each model that was reached, with the numbers of events before and after the call that led to it.
struct History(Vec<(usize, usize, Model)>);

impl History {
    fn possible(&self, events: usize) -> impl Iterator<Item = &Model> {
        let durable = self.0.iter().rposition(|&(_, after, _)| after <= events);
        let durable = durable.unwrap_or(0);
        self.0[durable..]
            .iter()
            .filter(move |&&(before, _, _)| before <= events)
            .map(|(_, _, model)| model)
    }
}

fn plans(random: &mut Random) -> Vec<CrashPlan> {
    let torn = [Torn::None, Torn::Sector512, Torn::Page4096];
    let mut plans = vec![CrashPlan::LoseAll, CrashPlan::KeepAll];
    plans.push(CrashPlan::Subset(random.next()));
    plans.push(CrashPlan::Random {
        seed: random.next(),
        torn: torn[random.below(3) as usize],
        reordered: true,
    });
    plans
}

#[test]
fn a_crash_at_any_event_leaves_a_state_and_its_snapshots() {
    let mut images = 0;
    for seed in 0..24 {
        let storage = FaultyStorage::new();
        let mut world = World::new(Arc::new(storage.clone()), seed);
        let first = storage.events();
        let mut history = History(vec![(0, first, Model::default())]);
        for _ in 0..24 {
            let before = storage.events();
            world.step().unwrap();
            history
                .0
                .push((before, storage.events(), world.model.clone()));
        }
        let mut random = Random(seed);
        for events in first..=storage.events() {
            for plan in plans(&mut random) {
                let image = FaultyStorage::from_image(storage.crash_image(events, &plan));
                let image: Arc<dyn Storage> = Arc::new(image);
                let store = PageStore::open(Arc::clone(&image)).unwrap();
                let found = read_all(&store);
                assert!(
                    history.possible(events).any(|model| *model == found),
                    "seed {seed}, event {events}, {plan:?}: {found:?}"
                );
                assert_sound(&store);
                images += 1;
                if random.below(16) > 0 {
                    continue;
                }
                let mut world = World {
                    storage: image,
                    store: Arc::new(store),
                    random: Random(random.next()),
                    model: found,
                    pending: None,
                    fill: 1 << 40,
                    readers: Vec::new(),
                };
                for _ in 0..4 {
                    world.step().unwrap();
                    world.check();
                }
            }
        }
    }
    println!("{images} crash images");
}

#[test]
fn every_call_may_fail_once() {
    let faults = [
        Fault::Error(ErrorKind::Other),
        Fault::ErrorAfter(ErrorKind::StorageFull),
        Fault::ShortWrite,
        Fault::SyncLoss,
    ];
    for (seed, fault) in (0..8).zip(faults.iter().cycle()) {
        for call in 0.. {
            let storage = FaultyStorage::new();
            let mut world = World::new(Arc::new(storage.clone()), seed);
            let call = storage.calls() + call;
            storage.fail_call(call, *fault);
            for _ in 0..16 {
                if world.step().is_ok() {
                    assert_eq!(read(&world.store.snapshot()), world.model.live);
                    continue;
                }
                if world.store.is_poisoned() {
                    assert_eq!(read(&world.store.snapshot()), world.model.live);
                    storage.clear_faults();
                    world.reopen();
                    // The superblock may have been written, or not.
                    let found = read_all(&world.store);
                    if world.pending.as_ref() == Some(&found) {
                        world.model = found;
                    }
                }
                world.check();
            }
            let reached = storage.calls() > call;
            storage.clear_faults();
            world.reopen();
            world.check();
            if !reached {
                assert!(call > 40);
                break;
            }
        }
    }
}

fn store_with(pages: u32) -> (MemoryStorage, PageStore) {
    let memory = MemoryStorage::new();
    let size = PageSize::new(512).unwrap();
    let store = PageStore::create(Arc::new(memory.clone()), size).unwrap();
    let mut txn = store.begin().unwrap();
    for fill in 0..pages {
        let page = txn.allocate().unwrap();
        fill_page(txn.page_mut(page).unwrap(), fill.into());
    }
    txn.commit(roots(1)).unwrap();
    (memory, store)
}

fn save(store: &PageStore, name: &str) {
    let mut txn = store.begin().unwrap();
    txn.save_snapshot(name).unwrap();
    let roots = *store.snapshot().roots();
    txn.commit(roots).unwrap();
}

#[test]
fn a_snapshot_costs_one_page_and_shares_the_rest() {
    let (_, store) = store_with(3_000);
    let before = store.stats(true).unwrap();
    save(&store, "one");
    let after = store.stats(true).unwrap();
    assert_eq!((after.snapshots, after.snapshot_pages), (1, 1));
    assert_eq!(store.snapshot_pages("one").unwrap(), 1);
    assert_eq!(after.map_pages, before.map_pages);
    assert_eq!(
        store.open_snapshot("one").unwrap().page_root(),
        store.snapshot().page_root()
    );
    // One page is changed: it, and the map's path to it, are the snapshot's now.
    let mut txn = store.begin().unwrap();
    txn.page_mut(LogicalPage(77)).unwrap().fill(1);
    txn.commit(roots(2)).unwrap();
    let path = 1 + 2; // 3,000 pages by 14 to a page of the map, and 6 in the root: two levels and a third
    let own = store.snapshot_pages("one").unwrap();
    assert!((path..=path + 2).contains(&own), "{own}");
    assert_eq!(store.stats(true).unwrap().snapshot_pages, own);
}

/// The walk costs what differs, and not what is there.
#[test]
fn a_difference_is_found_without_reading_what_is_shared() {
    let (_, store) = store_with(20_000);
    let before = store.snapshot();
    let mut txn = store.begin().unwrap();
    for page in [5, 6, 19_000] {
        txn.page_mut(LogicalPage(page)).unwrap().fill(1);
    }
    txn.commit(roots(2)).unwrap();
    let after = store.snapshot();
    let mut differences = diff_pages(&before, &after).unwrap();
    let found: Vec<_> = differences
        .by_ref()
        .map(|page| page.unwrap().logical())
        .collect();
    let found: Vec<u32> = found.into_iter().flatten().map(|page| page.0).collect();
    assert_eq!(found, [5, 6, 19_000]);
    // Two paths of 3 or 4 pages in each of two maps.
    assert!(differences.map_pages() <= 16, "{}", differences.map_pages());
}

#[test]
fn errors_are_specific_and_change_nothing() {
    let (_, store) = store_with(4);
    save(&store, "one");
    let mut txn = store.begin().unwrap();
    let exists = txn.save_snapshot("one");
    assert!(matches!(exists, Err(PageError::SnapshotExists { name }) if name == "one"));
    let absent = txn.delete_snapshot("two");
    assert!(matches!(absent, Err(PageError::NoSuchSnapshot { name }) if name == "two"));
    for name in ["", "a\tb", &"n".repeat(256)] {
        assert!(matches!(
            txn.save_snapshot(name),
            Err(PageError::Misuse { .. })
        ));
    }
    txn.save_snapshot(&"n".repeat(255)).unwrap();
    assert!(txn.save_snapshot(&"n".repeat(255)).is_err());
    drop(txn);
    assert_eq!(store.snapshot_names().unwrap(), ["one"]);
    assert!(store.open_snapshot("two").is_err());
    assert!(store.snapshot_pages("two").is_err());
    let before = store.snapshot().sequence();
    let mark = store.journal_mark();
    assert!(matches!(
        store.restore_snapshot("two", mark),
        Err(PageError::NoSuchSnapshot { .. })
    ));
    assert_eq!(store.snapshot().sequence(), before);
}

/// A mark that goes back would bring drained frames back over the restored state; one at the limit, which only a forged file leads
/// to, would be written to a file that cannot be opened again.
#[test]
fn a_restore_refuses_a_mark_that_no_commit_takes() {
    let (memory, store) = store_with(4);
    save(&store, "one");
    let drained = |sequence| JournalMark { sequence, chain: 3 };
    let mut txn = store.begin().unwrap();
    txn.set_drained(drained(9));
    txn.commit(roots(2)).unwrap();
    let behind = store.restore_snapshot("one", drained(8));
    assert!(matches!(
        behind,
        Err(PageError::Misuse {
            what: "drained",
            ..
        })
    ));
    let beyond = store.restore_snapshot("one", drained((1 << 63) - 1).skip_one());
    assert!(beyond.unwrap_err().is_corruption());
    drop(store);
    let store = PageStore::open(Arc::new(memory)).unwrap();
    assert_eq!(*store.snapshot().roots(), roots(2));
    store
        .restore_snapshot("one", drained(9).skip_one())
        .unwrap();
    assert_eq!(*store.snapshot().roots(), roots(1));
}

/// What a reader of a deleted snapshot sees stays until it lets go, and the file is cut only then.
#[test]
fn a_deleted_snapshot_stays_for_its_readers() {
    let (memory, store) = store_with(500);
    save(&store, "one");
    let reader = store.open_snapshot("one").unwrap();
    let expected = read(&reader);
    let mut txn = store.begin().unwrap();
    for page in 1..=500 {
        txn.free(LogicalPage(page)).unwrap();
    }
    txn.commit(roots(2)).unwrap();
    let mut txn = store.begin().unwrap();
    txn.delete_snapshot("one").unwrap();
    txn.commit(roots(3)).unwrap();
    for round in 0..4 {
        let mut txn = store.begin().unwrap();
        for _ in 0..200 {
            let page = txn.allocate().unwrap();
            fill_page(txn.page_mut(page).unwrap(), round);
        }
        txn.commit(roots(4)).unwrap();
        store.vacuum(&mut drop).unwrap();
        assert_eq!(read(&reader), expected);
    }
    drop(reader);
    let mut txn = store.begin().unwrap();
    for page in 1..=800 {
        txn.free(LogicalPage(page)).unwrap();
    }
    txn.commit(roots(5)).unwrap();
    store.vacuum(&mut drop).unwrap();
    assert_eq!(memory.to_bytes().len(), 1024);
}

/// A file with snapshots does not grow by being vacuumed, and is cut behind the last page that a snapshot holds.
#[test]
fn vacuum_leaves_what_snapshots_hold_in_place() {
    let (memory, store) = store_with(400);
    save(&store, "low");
    let mut txn = store.begin().unwrap();
    for _ in 0..2_000 {
        let page = txn.allocate().unwrap();
        fill_page(txn.page_mut(page).unwrap(), 9);
    }
    txn.commit(roots(2)).unwrap();
    let mut txn = store.begin().unwrap();
    for page in 401..=2_300 {
        txn.free(LogicalPage(page)).unwrap();
    }
    txn.commit(roots(3)).unwrap();
    let mut len = memory.to_bytes().len();
    for round in 0..5 {
        store.vacuum(&mut drop).unwrap();
        assert_sound(&store);
        let now = memory.to_bytes().len();
        assert!(now <= len, "round {round}: {len} to {now} bytes");
        len = now;
    }
    let stats = store.stats(true).unwrap();
    assert!(stats.free_pages < 24, "{stats:?}");
    assert_eq!(read(&store.open_snapshot("low").unwrap()).pages.len(), 400);
}
