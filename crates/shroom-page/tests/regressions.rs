//! One test for each bug that a review of the page layer found. Those that take a file made to harm are in `hostile`.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use shroom_page::storage::faulty::{CrashPlan, Fault, FaultyStorage};
use shroom_page::storage::{FileStorage, MemoryStorage, OpenMode, Storage, View};
use shroom_page::{
    JournalMark, LogicalPage, PageError, PageRead, PageSize, PageStore, Roots, Snapshot,
};

const SMALL: u32 = 512;

fn create(storage: &(impl Storage + Clone), page_size: u32) -> PageStore {
    PageStore::create(Arc::new(storage.clone()), PageSize::new(page_size).unwrap()).unwrap()
}

fn reopen(storage: &(impl Storage + Clone)) -> PageStore {
    PageStore::open(Arc::new(storage.clone())).unwrap()
}

fn allocate(store: &PageStore, pages: u32, fill: u8) -> Snapshot {
    let mut txn = store.begin().unwrap();
    for _ in 0..pages {
        let page = txn.allocate().unwrap();
        txn.page_mut(page).unwrap().fill(fill);
    }
    txn.commit(Roots::default()).unwrap()
}

fn with_areas(store: &PageStore, pages: [u32; 2]) {
    let mut txn = store.begin().unwrap();
    for (index, pages) in pages.into_iter().enumerate() {
        txn.set_journal_area(index, pages);
    }
    txn.commit(Roots::default()).unwrap();
}

fn append(store: &PageStore, payload: &[u8]) -> JournalMark {
    store.journal_append(payload).unwrap().unwrap();
    store.journal_mark()
}

fn recovered(store: &PageStore) -> Vec<(u64, Vec<u8>)> {
    let frames = store.take_recovered();
    frames
        .iter()
        .map(|(sequence, payload)| (sequence, payload.to_vec()))
        .collect()
}

/// Synced frames behind the drained one in the same area were silently lost at the next open.
#[test]
fn frames_after_a_mark_in_the_middle_of_an_area_survive() {
    let storage = MemoryStorage::new();
    let store = create(&storage, SMALL);
    with_areas(&store, [8, 8]);
    assert!(store.journal_rotate().unwrap());
    append(&store, b"one");
    let mark = append(&store, b"two");
    append(&store, b"three");
    store.journal_sync(3).unwrap();
    let mut txn = store.begin().unwrap();
    txn.set_drained(mark);
    txn.commit(Roots::default()).unwrap();
    append(&store, b"four");
    store.journal_sync(4).unwrap();
    // In the other area as well.
    assert!(store.journal_rotate().unwrap());
    append(&store, b"five");
    store.journal_sync(5).unwrap();
    drop(store);
    let store = reopen(&storage);
    let expected: [(u64, &[u8]); 3] = [(3, b"three"), (4, b"four"), (5, b"five")];
    let expected = expected.map(|(sequence, payload)| (sequence, payload.to_vec()));
    assert_eq!(recovered(&store), expected);
}

/// An area whose frames were not all drained was replaced, and they were gone.
#[test]
fn an_area_with_live_frames_is_not_replaced() {
    let storage = MemoryStorage::new();
    let store = create(&storage, SMALL);
    with_areas(&store, [8, 8]);
    assert!(store.journal_rotate().unwrap());
    let mark = append(&store, b"one");
    append(&store, b"two");
    store.journal_sync(2).unwrap();
    let mut txn = store.begin().unwrap();
    txn.set_drained(mark);
    txn.set_journal_area(0, 16);
    txn.set_journal_area(1, 16);
    txn.commit(Roots::default()).unwrap();
    assert_eq!(store.journal_pages(), [8, 16]);
    append(&store, b"three");
    store.journal_sync(3).unwrap();
    drop(store);
    let frames = recovered(&reopen(&storage));
    assert_eq!(frames, [(2, b"two".to_vec()), (3, b"three".to_vec())]);
}

/// A commit that failed after it had set an area aside must not lose the area's frames.
#[test]
fn a_failed_commit_keeps_the_frames_of_an_area_that_it_was_to_replace() {
    let storage = FaultyStorage::new();
    let store = create(&storage, SMALL);
    with_areas(&store, [8, 8]);
    assert!(store.journal_rotate().unwrap());
    let mark = append(&store, b"one");
    let mut txn = store.begin().unwrap();
    txn.set_drained(mark);
    txn.set_journal_area(0, 1 << 10);
    storage.set_capacity(Some(storage.len().unwrap()));
    let full = txn.commit(Roots::default());
    assert!(matches!(full, Err(PageError::Full { .. })));
    store.journal_sync(1).unwrap();
    assert!(store.journal_rotate().unwrap());
    append(&store, b"two");
    store.journal_sync(2).unwrap();
    drop(store);
    let frames = recovered(&reopen(&storage));
    assert_eq!(frames, [(1, b"one".to_vec()), (2, b"two".to_vec())]);
}

/// A frame of no bytes ended the journal for the reader: all after it was lost.
#[test]
fn an_empty_frame_is_refused() {
    let store = create(&MemoryStorage::new(), SMALL);
    with_areas(&store, [8, 8]);
    assert!(store.journal_rotate().unwrap());
    let empty = store.journal_append(b"");
    assert!(matches!(empty, Err(PageError::Misuse { .. })));
}

/// Draining to before what is drained would replay frames that were overwritten since.
#[test]
fn a_mark_before_the_drained_one_is_refused() {
    let store = create(&MemoryStorage::new(), SMALL);
    with_areas(&store, [8, 8]);
    assert!(store.journal_rotate().unwrap());
    let marks = [append(&store, b"one"), append(&store, b"two")];
    let mut txn = store.begin().unwrap();
    txn.set_drained(marks[1]);
    txn.commit(Roots::default()).unwrap();
    let mut txn = store.begin().unwrap();
    txn.set_drained(marks[0]);
    let back = txn.commit(Roots::default());
    assert!(matches!(back, Err(PageError::Misuse { .. })));
}

/// The frames found at open were slices of the mapping: changed by later frames, and a bus error once the tail was cut.
#[test]
fn recovered_frames_outlive_their_area() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let open = |mode| Arc::new(FileStorage::open(&path, mode).unwrap());
    let size = PageSize::new(4096).unwrap();
    let store = PageStore::create(open(OpenMode::CREATE_NEW), size).unwrap();
    with_areas(&store, [4, 4]);
    assert!(store.journal_rotate().unwrap());
    append(&store, &[1; 9_000]);
    store.journal_sync(1).unwrap();
    drop(store);
    let store = PageStore::open(open(OpenMode::EXISTING)).unwrap();
    let frames = store.take_recovered();
    store.release_journal().unwrap();
    store.vacuum(&mut drop).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 8192);
    let frames: Vec<_> = frames.iter().collect();
    assert_eq!(frames, [(1, &[1; 9_000][..])]);
}

/// A map page that nobody had read yet was copied, damage and all, into a new page with a new hash.
#[test]
fn a_damaged_map_page_is_not_copied_into_a_new_one() {
    let storage = MemoryStorage::new();
    let store = create(&storage, SMALL);
    // Seven pages and more need a map page of fan-out 14.
    allocate(&store, 8, 1);
    drop(store);
    let mut bytes = storage.to_bytes();
    let map = (2..bytes.len() / 512)
        .find(|page| bytes[page * 512] == 3 && bytes[page * 512 + 2] == 8)
        .unwrap();
    // The entry of page 5 vanishes.
    bytes[map * 512 + 8 + 5 * 4..][..4].fill(0);
    let store = PageStore::open(Arc::new(MemoryStorage::from_bytes(bytes))).unwrap();
    let mut txn = store.begin().unwrap();
    assert_eq!(txn.allocate().unwrap(), LogicalPage(9));
    let damaged = txn.commit(Roots::default());
    assert!(matches!(damaged, Err(PageError::HashMismatch { .. })));
}

/// After a failed spill the changes were gone, and a commit made the rest durable without them.
#[test]
fn a_failed_spill_keeps_the_changes() {
    for call in 0..2 {
        let storage = FaultyStorage::new();
        let store = create(&storage, SMALL);
        allocate(&store, 3, 1);
        let mut txn = store.begin().unwrap();
        txn.page_mut(LogicalPage(2)).unwrap().fill(2);
        let call = storage.calls() + call;
        storage.fail_call(call, Fault::Error(io::ErrorKind::Other));
        assert!(txn.spill().is_err());
        assert_eq!(txn.page(LogicalPage(2)).unwrap()[0], 2);
        let snapshot = txn.commit(Roots::default()).unwrap();
        assert_eq!(snapshot.page(LogicalPage(2)).unwrap()[0], 2);
        let report = store.verify().unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
    }
}

/// After a failed write the run counted as written: a commit left its numbers neither free nor mapped.
#[test]
fn a_failed_write_of_a_run_can_be_tried_again() {
    for call in 0..2 {
        let storage = FaultyStorage::new();
        let store = create(&storage, SMALL);
        allocate(&store, 3, 1);
        let mut txn = store.begin().unwrap();
        let first = txn.allocate_run(2).unwrap();
        let call = storage.calls() + call;
        storage.fail_call(call, Fault::Error(io::ErrorKind::Other));
        assert!(txn.write_run(first, &[5; 1024]).is_err());
        txn.write_run(first, &[6; 1024]).unwrap();
        let snapshot = txn.commit(Roots::default()).unwrap();
        assert_eq!(snapshot.page(first).unwrap(), [6; 512]);
        let report = store.verify().unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
    }
}

/// A page freed and allocated again in a run showed its old content before it was written.
#[test]
fn a_run_has_no_content_before_it_is_written() {
    let store = create(&MemoryStorage::new(), SMALL);
    allocate(&store, 3, 1);
    let mut txn = store.begin().unwrap();
    txn.free(LogicalPage(1)).unwrap();
    txn.free(LogicalPage(2)).unwrap();
    assert_eq!(txn.allocate_run(2).unwrap(), LogicalPage(1));
    for page in [LogicalPage(1), LogicalPage(2)] {
        assert!(matches!(txn.page(page), Err(PageError::Misuse { .. })));
        assert!(txn.page_mut(page).is_err());
    }
    assert_eq!(txn.run(LogicalPage(1), 2).unwrap(), None);
}

/// A storage whose first sync, once armed, fails, but only after another one had time to succeed.
#[derive(Debug, Clone, Default)]
struct OverlappingSyncs {
    memory: MemoryStorage,
    armed: Arc<AtomicU32>,
    second: Arc<(Mutex<bool>, Condvar)>,
}

impl Storage for OverlappingSyncs {
    fn len(&self) -> io::Result<u64> {
        Storage::len(&self.memory)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.memory.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.memory.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let (second, signal) = &*self.second;
        match self.armed.load(Ordering::SeqCst) {
            0 => Ok(()),
            1 => {
                self.armed.store(2, Ordering::SeqCst);
                let wait = Duration::from_millis(300);
                let guard = second.lock().unwrap();
                let guard = signal
                    .wait_timeout_while(guard, wait, |came| !*came)
                    .unwrap();
                drop(guard);
                std::thread::sleep(Duration::from_millis(50));
                Err(io::ErrorKind::Other.into())
            }
            _ => {
                *second.lock().unwrap() = true;
                signal.notify_all();
                Ok(())
            }
        }
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        self.memory.grow(len)
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.memory.shrink(len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.memory.punch_hole(offset, len)
    }

    fn view(&self, len: u64) -> io::Result<View> {
        self.memory.view(len)
    }
}

/// Linux reports a failed write-back to one of two overlapping syncs: the other took it for success, and a commit
/// flipped to pages that were lost.
#[test]
fn a_sync_that_overlaps_a_failed_one_does_not_succeed() {
    let storage = OverlappingSyncs::default();
    let store = create(&storage, SMALL);
    with_areas(&store, [8, 8]);
    assert!(store.journal_rotate().unwrap());
    append(&store, b"one");
    let mut txn = store.begin().unwrap();
    txn.allocate().unwrap();
    storage.armed.store(1, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let journal = scope.spawn(|| store.journal_sync(1));
        while storage.armed.load(Ordering::SeqCst) == 1 {
            std::thread::yield_now();
        }
        assert!(txn.commit(Roots::default()).is_err());
        assert!(journal.join().unwrap().is_err());
    });
    assert!(store.is_poisoned());
}

/// The commit after damage to one slot overwrote the other first: torn, it left none.
#[test]
fn a_damaged_slot_is_mended_before_the_other_is_written() {
    for slot in 0..2 {
        let first = FaultyStorage::new();
        let store = create(&first, SMALL);
        allocate(&store, 3, 1);
        allocate(&store, 3, 2);
        store.settle().unwrap();
        drop(store);
        first.corrupt(slot * 512 + 100, b"rot");
        let storage = FaultyStorage::from_image(first.image());
        let store = reopen(&storage);
        allocate(&store, 1, 3);
        drop(store);
        for events in 0..=storage.events() {
            for seed in 0..8 {
                let plan = CrashPlan::Subset(seed);
                let mut image = storage.crash_image(events, &plan);
                let last_write = storage.events_from(events.saturating_sub(1));
                if let Some(shroom_page::storage::faulty::Event::Write { offset, .. }) =
                    last_write.first()
                    && *offset < 1024
                {
                    // Torn: what was being written is neither old nor new.
                    image[*offset as usize + 60..][..20].fill(0xee);
                }
                let store = PageStore::open(Arc::new(MemoryStorage::from_bytes(image)));
                let snapshot = store.unwrap().snapshot();
                assert_eq!(snapshot.page(LogicalPage(6)).unwrap()[0], 2);
            }
        }
    }
}

/// A database kept in a page of a database was opened in its place when the first slot was damaged.
#[test]
fn a_stored_database_is_not_taken_for_the_second_slot() {
    let inner = MemoryStorage::new();
    let store = create(&inner, 8192);
    for _ in 0..5 {
        allocate(&store, 0, 0);
    }
    drop(store);
    let outer = MemoryStorage::new();
    let store = create(&outer, 4096);
    let mut txn = store.begin().unwrap();
    // Physical page 2 is the byte 8192, where an 8 KiB store has its second slot.
    let first = txn.allocate_run(4).unwrap();
    txn.write_run(first, &inner.to_bytes()).unwrap();
    txn.commit(Roots::default()).unwrap();
    drop(store);
    let mut bytes = outer.to_bytes();
    assert_eq!(&bytes[8192..8200], b"SHROOMDB");
    bytes[50] ^= 1;
    let store = PageStore::open(Arc::new(MemoryStorage::from_bytes(bytes))).unwrap();
    assert_eq!(store.page_size().bytes(), 4096);
    assert!(store.snapshot().page(first).is_ok());
}

/// What an aborted transaction had lengthened the file by stayed there for ever.
#[test]
fn a_vacuum_cuts_off_what_an_aborted_transaction_left() {
    let storage = MemoryStorage::new();
    let store = create(&storage, SMALL);
    allocate(&store, 3, 1);
    store.vacuum(&mut drop).unwrap();
    let len = Storage::len(&storage).unwrap();
    let mut txn = store.begin().unwrap();
    let first = txn.allocate_run(1_000).unwrap();
    txn.write_run(first, &vec![1; 512_000]).unwrap();
    drop(txn);
    assert!(Storage::len(&storage).unwrap() > 512_000);
    store.vacuum(&mut drop).unwrap();
    assert!(Storage::len(&storage).unwrap() <= len);
}

/// When the system refused to shorten the file, no transaction could begin any more.
#[test]
fn a_refused_cut_does_not_stop_the_store() {
    for fault in [
        Fault::Error(io::ErrorKind::PermissionDenied),
        Fault::ErrorAfter(io::ErrorKind::Other),
    ] {
        let storage = FaultyStorage::new();
        let store = create(&storage, SMALL);
        allocate(&store, 2_000, 1);
        let mut txn = store.begin().unwrap();
        for page in 1..=2_000 {
            txn.free(LogicalPage(page)).unwrap();
        }
        txn.commit(Roots::default()).unwrap();
        // The next transaction begins with the cut.
        storage.fail_call(storage.calls(), fault);
        allocate(&store, 1, 3);
        allocate(&store, 3_000, 4);
        let report = store.verify().unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
        drop(store);
        assert_eq!(
            reopen(&storage).snapshot().page(LogicalPage(1)).unwrap()[0],
            3
        );
    }
}

/// A frame that a crash cut off came back when the frame before it was written again, byte for byte.
#[test]
fn a_frame_that_was_cut_off_does_not_come_back() {
    let storage = MemoryStorage::new();
    let store = create(&storage, SMALL);
    with_areas(&store, [8, 0]);
    assert!(store.journal_rotate().unwrap());
    append(&store, &[1; 600]);
    append(&store, b"cut off");
    store.journal_sync(2).unwrap();
    drop(store);
    // Of the one write of both frames, the first sector was lost.
    let mut bytes = storage.to_bytes();
    let frame = bytes
        .windows(600)
        .position(|bytes| bytes == [1; 600])
        .unwrap()
        - 40;
    bytes[frame..frame + 512].fill(0);
    let storage = MemoryStorage::from_bytes(bytes);
    let store = reopen(&storage);
    assert_eq!(recovered(&store), []);
    assert!(store.journal_rotate().unwrap());
    append(&store, &[1; 600]);
    store.journal_sync(1).unwrap();
    drop(store);
    assert_eq!(recovered(&reopen(&storage)), [(1, vec![1; 600])]);
}

/// A page that was verified, freed and written again is looked at again: its new bytes may have gone astray.
#[test]
fn a_write_that_went_astray_is_noticed_where_an_earlier_one_was_verified() {
    let mut noticed = 0;
    for rewrites in 0..6_u8 {
        let storage = FaultyStorage::new();
        let store = create(&storage, SMALL);
        let mut txn = store.begin().unwrap();
        let page = txn.allocate().unwrap();
        drop(txn.commit(Roots::default()).unwrap());
        for rewrite in 0..=rewrites {
            let mut txn = store.begin().unwrap();
            txn.page_mut(page).unwrap().fill(rewrite + 1);
            if rewrite == rewrites {
                let to = storage.len().unwrap();
                storage.fail_call(storage.calls(), Fault::Misdirected { to });
            }
            let snapshot = txn.commit(Roots::default()).unwrap();
            match snapshot.page(page) {
                Ok(bytes) => assert!(bytes.iter().all(|&byte| byte == rewrite + 1)),
                Err(error) => {
                    assert!(matches!(error, PageError::HashMismatch { .. }), "{error}");
                    noticed += 1;
                }
            }
        }
    }
    assert!(noticed >= 4, "{noticed}");
}
