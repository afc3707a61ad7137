//! Bugs that were found, each as the least that shows it.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shroom::storage::faulty::{CrashPlan, Fault, FaultyStorage, Torn};
use shroom::storage::{MemoryStorage, Storage, View};
use shroom::{Db, Error, ErrorKind, Options};
use shroom_page::{PageSize, PageStore};
use shroom_sim::{Model, Random, assert_sound};

fn options(page_size: u32) -> Options {
    Options::new()
        .page_size(page_size)
        .journal_limit(64 << 10)
        .background(false)
}

fn open(storage: &FaultyStorage, page_size: u32) -> Db {
    options(page_size)
        .open_storage(Arc::new(storage.clone()))
        .unwrap()
}

fn read_image(image: Vec<u8>, page_size: u32) -> Model {
    let storage = Arc::new(MemoryStorage::from_bytes(image));
    let options = options(page_size).read_only(true);
    let db = options.open_storage(storage).unwrap();
    let model = Model::read(&db).unwrap();
    assert_sound(&db);
    model
}

/// A checkpoint in slices committed the first slice before the journal's buffered frames were in the file: after a crash
/// half of a batch was there, or a replayed append found its token gone and the database did not open.
#[test]
fn a_slice_is_not_committed_before_its_frames() {
    let storage = FaultyStorage::new();
    let db = open(&storage, 65536);
    let tokens = (0..1100_u64).map(|id| (id, vec![id as u8; 10_000]));
    db.bulk_load(tokens).unwrap();
    db.append(0, b"appended").unwrap();
    db.flush().unwrap();
    let before = Model::read(&db).unwrap();
    let flushed = storage.events();
    let mut batch = db.batch();
    batch.delete(0);
    for id in (1..1100).step_by(3) {
        batch.put(id, b"new");
    }
    batch.tag(7);
    batch.commit().unwrap();
    let after = Model::read(&db).unwrap();
    db.checkpoint().unwrap();
    let total = storage.events();
    let sequence = db.stats().unwrap().checkpoint;
    assert!(sequence > 4, "the checkpoint had one slice only");
    for events in flushed..=total {
        for plan in [CrashPlan::LoseAll, CrashPlan::KeepAll] {
            let found = read_image(storage.crash_image(events, &plan), 65536);
            assert!(
                found == before || found == after,
                "event {events} of {flushed}..{total}, {plan:?}"
            );
        }
    }
}

/// A frame written after a crash could be the same, byte for byte, as one that the crash had lost: then the lost one's
/// successors, still in the area, counted again.
#[test]
fn frames_behind_a_torn_one_stay_dead() {
    let storage = FaultyStorage::new();
    let db = open(&storage, 512);
    let empty = storage.events();
    for id in 1..=3 {
        db.put(id, &[id as u8; 1000]).unwrap();
    }
    db.flush().unwrap();
    std::mem::forget(db);
    let total = storage.events();
    let mut torn = 0;
    for seed in 0..200 {
        let plan = CrashPlan::Random {
            seed,
            torn: Torn::Sector512,
            reordered: false,
        };
        let image = storage.crash_image(total - 1, &plan);
        if !read_image(image.clone(), 512).tokens.is_empty() {
            continue;
        }
        torn += 1;
        let storage = FaultyStorage::from_image(image);
        let db = open(&storage, 512);
        db.put(1, &[1; 1000]).unwrap();
        db.flush().unwrap();
        std::mem::forget(db);
        let ids: Vec<u64> = read_image(storage.image(), 512)
            .tokens
            .into_keys()
            .collect();
        assert_eq!(ids, [1], "seed {seed}");
    }
    assert!(torn > 10 && empty < total, "{torn} torn images");
}

/// Mapping the file after the superblock was written could fail: the file had the new state, the store went on from the
/// old one and wrote over pages of the new.
#[test]
fn a_failing_map_does_not_split_file_and_memory() {
    for call in 0.. {
        let storage = FaultyStorage::new();
        let db = open(&storage, 512);
        db.put(1, &[1; 3000]).unwrap();
        db.flush().unwrap();
        let calls = storage.calls();
        storage.fail_call(calls + call, Fault::Error(io::ErrorKind::OutOfMemory));
        let failed = db.checkpoint().is_err();
        let done = storage.calls() <= calls + call;
        storage.clear_faults();
        let mut flushed = 1;
        for id in 2..12 {
            if db.put(id, &[id as u8; 3000]).is_err() || db.flush().is_err() {
                break;
            }
            flushed = id;
        }
        let found = read_image(storage.image(), 512);
        for id in 1..=flushed {
            assert_eq!(
                found.tokens.get(&id),
                Some(&vec![id as u8; 3000]),
                "call {call}, failed: {failed}"
            );
        }
        if done {
            assert!(call > 5, "the checkpoint makes calls");
            break;
        }
    }
}

/// A storage whose syncs do something else first: they take a while, so that writers meet a checkpoint that runs, or panic.
#[derive(Debug)]
struct Hooked(MemoryStorage, fn());

impl Storage for Hooked {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.1();
        self.0.sync()
    }
    fn grow(&self, len: u64) -> io::Result<()> {
        self.0.grow(len)
    }
    fn shrink(&self, len: u64) -> io::Result<()> {
        self.0.shrink(len)
    }
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.0.punch_hole(offset, len)
    }
    fn view(&self, len: u64) -> io::Result<View> {
        self.0.view(len)
    }
}

fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// An insert that waited for a checkpoint had chosen its id before: another insert took the same one meanwhile.
#[test]
fn inserts_that_wait_get_ids_of_their_own() {
    let storage = Hooked(MemoryStorage::new(), || sleep(3));
    let db = options(512)
        .background(true)
        .open_storage(Arc::new(storage))
        .unwrap();
    let ids = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (db, ids) = (&db, &ids);
            scope.spawn(move || {
                for _ in 0..150 {
                    let id = db.insert(&[thread; 3000]).unwrap();
                    assert!(ids.lock().unwrap().insert(id), "id {id} was given twice");
                }
            });
        }
    });
    assert_eq!(db.len().unwrap(), 600);
}

/// A writer that waited for a checkpoint wrote on after another handle had closed the database.
#[test]
fn a_writer_that_waits_notices_the_close() {
    let storage = Arc::new(Hooked(MemoryStorage::new(), || sleep(5)));
    for round in 0..10 {
        let db = options(512)
            .background(true)
            .open_storage(storage.clone())
            .unwrap();
        let written = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3_u64)
                .map(|writer| {
                    let db = db.clone();
                    scope.spawn(move || {
                        let mut written = 0;
                        loop {
                            let id = round * 1_000_000 + writer * 100_000 + written;
                            match db.put(id, &[1; 3000]) {
                                Ok(()) => written += 1,
                                Err(Error::Closed) => return written,
                                Err(error) => panic!("{error}"),
                            }
                        }
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(20));
            db.clone().close().unwrap();
            let written = writers.into_iter().map(|writer| writer.join().unwrap());
            written.sum::<u64>()
        });
        drop(db);
        let db = options(512).open_storage(storage.clone()).unwrap();
        let ids = round * 1_000_000..(round + 1) * 1_000_000;
        assert_eq!(db.keys(ids).count() as u64, written, "round {round}");
        assert_eq!(db.stats().unwrap().journal_bytes, 0, "round {round}");
        db.close().unwrap();
    }
}

/// Dropping the database when its checkpoint found the disk full forgot what was in the journal's buffer.
#[test]
fn closing_on_a_full_disk_keeps_what_was_written() {
    let storage = FaultyStorage::new();
    let db = open(&storage, 512);
    db.put(0, b"first").unwrap();
    db.flush().unwrap();
    storage.set_capacity(Some(storage.len().unwrap()));
    for id in 1..=50 {
        db.put(id, &[id as u8; 1000]).unwrap();
    }
    let error = db.close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    let found = read_image(
        storage.crash_image(storage.events(), &CrashPlan::LoseAll),
        512,
    );
    assert_eq!(found.tokens.len(), 51);
}

/// The checkpoint's thread held the storage, and so the file's lock, for a moment after `close` had returned.
#[test]
fn nothing_holds_the_storage_after_close() {
    for round in 0..100 {
        let storage = Arc::new(MemoryStorage::new());
        let db = options(512)
            .background(true)
            .open_storage(storage.clone())
            .unwrap();
        for id in 0..70 + round % 9 {
            db.put(id, &[id as u8; 1000]).unwrap();
        }
        db.close().unwrap();
        assert_eq!(Arc::strong_count(&storage), 1, "round {round}");
    }
}

/// A process that was killed left a superblock written and not synced. The next one built on it, and a power cut took the
/// superblock but not what was written over the pages and frames of the one before.
#[test]
fn an_unsynced_superblock_is_made_durable_before_it_is_built_on() {
    // Some call of the checkpoint fails: once the second sync, right after the superblock's write.
    for call in 0.. {
        let storage = FaultyStorage::new();
        let db = open(&storage, 512);
        for id in 1..=5 {
            db.put(id, &[id as u8; 1000]).unwrap();
        }
        db.flush().unwrap();
        let acknowledged = Model::read(&db).unwrap();
        storage.fail_call(storage.calls() + call, Fault::Error(io::ErrorKind::Other));
        let failed = db.checkpoint().is_err();
        storage.clear_faults();
        std::mem::forget(db);
        go_on_over_unsynced(&storage, &acknowledged);
        if !failed {
            assert!(call > 5, "the checkpoint makes calls");
            break;
        }
    }
}

fn go_on_over_unsynced(storage: &FaultyStorage, acknowledged: &Model) {
    let opened = storage.events();
    let db = open(storage, 512);
    for id in 6..=9 {
        db.put(id, &[id as u8; 1000]).unwrap();
    }
    db.flush().unwrap();
    std::mem::forget(db);
    let mut random = Random(1);
    for events in opened..=storage.events() {
        let unsynced = storage.unsynced_changes(events);
        let mut plans = vec![CrashPlan::LoseAll, CrashPlan::KeepAll];
        plans.extend((0..unsynced).map(CrashPlan::AllBut));
        plans.extend((0..1_u64 << unsynced.min(4)).map(CrashPlan::Subset));
        plans.extend((0..6).map(|_| CrashPlan::Random {
            seed: random.next(),
            torn: Torn::Sector512,
            reordered: true,
        }));
        for plan in plans {
            let found = read_image(storage.crash_image(events, &plan), 512);
            for (id, bytes) in &acknowledged.tokens {
                assert!(
                    found.tokens.get(id) == Some(bytes),
                    "token {id} at event {events}, {plan:?}"
                );
            }
        }
    }
}

/// A small file whose first slot was damaged did not open: looking for the second slot read beyond the file's end.
#[test]
fn the_second_slot_of_a_short_file_is_found() {
    for page_size in [512, 1024, 4096] {
        let storage = FaultyStorage::new();
        let db = open(&storage, page_size);
        db.put(1, b"one").unwrap();
        db.close().unwrap();
        assert!(storage.len().unwrap() < 65536);
        storage.flip_bit(100, 0);
        let found = read_image(storage.image(), page_size);
        assert_eq!(found.tokens.get(&1), Some(&b"one".to_vec()));
    }
}

/// A read-only handle has no free record of its own, and once counted every free number as an extent.
#[test]
fn a_read_only_handle_counts_the_same_pages() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("counted.shroom");
    let db = Db::create(&path).unwrap();
    for id in 0..20_000_u64 {
        db.put(id, &id.to_le_bytes().repeat(8)).unwrap();
    }
    db.checkpoint().unwrap();
    for id in (0..20_000).filter(|id| id % 1000 > 500) {
        db.delete(id).unwrap();
    }
    db.checkpoint().unwrap();
    db.close().unwrap();
    let writable = Db::open(&path).unwrap();
    let expected = writable.stats().unwrap();
    writable.close().unwrap();
    let read_only = Db::open_read_only(&path).unwrap().stats().unwrap();
    assert_eq!(read_only, expected);
    assert_eq!(read_only.pages.extent, 0);
}

/// A checkpoint that failed on a page's write was not tried again: though the disk was well, every write from then on failed
/// with the old error once the journal was full, until the database was opened again.
#[test]
fn a_checkpoint_whose_write_failed_is_tried_again() {
    let mut tried_again = 0;
    for call in 0.. {
        let storage = FaultyStorage::new();
        let db = open(&storage, 512);
        for id in 1..=5 {
            db.put(id, &[id as u8; 1000]).unwrap();
        }
        let calls = storage.calls();
        storage.fail_call(calls + call, Fault::Error(io::ErrorKind::Other));
        let Err(error) = db.checkpoint() else {
            assert!(call > 5, "the checkpoint makes calls");
            break;
        };
        assert_eq!(error.kind(), ErrorKind::Io, "call {call}: {error}");
        match db.checkpoint() {
            Ok(()) => tried_again += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Poisoned, "call {call}: {error}"),
        }
    }
    assert!(tried_again > 0);
}

/// A failed read was taken to mean that there is nothing: a database just created, and not written to, was created again.
#[test]
fn what_cannot_be_read_is_not_blank() {
    let storage = FaultyStorage::new();
    open(&storage, 512).close().unwrap();
    for call in 0.. {
        let calls = storage.calls();
        storage.fail_call(calls + call, Fault::Error(io::ErrorKind::Other));
        let blank = PageStore::is_blank(&storage, PageSize::new(512).unwrap());
        if storage.calls() <= calls + call {
            assert!(!blank.unwrap() && call > 2);
            break;
        }
        assert!(blank.is_err(), "call {call}: {blank:?}");
    }
}

/// A bulk load changed the pages without a frame, so frames written after it continued the superblock before it as well: with
/// the new superblock damaged and its twin not yet durable, they were replayed over a state without the bulk load.
#[test]
fn frames_after_a_bulk_load_do_not_count_without_it() {
    for large in [false, true] {
        let storage = FaultyStorage::new();
        let db = open(&storage, 512);
        db.put(1, b"one").unwrap();
        db.checkpoint().unwrap();
        db.put(2, b"two").unwrap();
        db.flush().unwrap();
        if large {
            db.put(10, &[1; 100_000]).unwrap();
        } else {
            db.bulk_load((10..20).map(|id| (id, [1; 50]))).unwrap();
        }
        db.put(30, b"after").unwrap();
        db.flush().unwrap();
        std::mem::forget(db);
        let before_sync = storage.events() - 1;
        let unsynced = storage.unsynced_changes(before_sync);
        assert!((2..8).contains(&unsynced), "{unsynced} changes");
        let mut refused = 0;
        for kept in 0..1 << unsynced {
            for slot in [0, 512] {
                let mut image = storage.crash_image(before_sync, &CrashPlan::Subset(kept));
                image[slot + 100] ^= 1;
                let storage = Arc::new(MemoryStorage::from_bytes(image));
                match options(512).read_only(true).open_storage(storage) {
                    Ok(db) => {
                        let found = Model::read(&db).unwrap().tokens;
                        let whole = found.contains_key(&10) || !found.contains_key(&30);
                        assert!(whole, "{kept:b}, slot at {slot}: {:?}", found.keys());
                    }
                    Err(error) => {
                        assert!(error.is_corruption(), "{error}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(refused > 0, "the frame that knows of the load is noticed");
    }
}

/// A creation whose sync failed, or never came, left both slots written: the next process took them for durable, and a crash
/// in its first commit left a file of zeros that did not open.
#[test]
fn a_creation_that_was_not_synced_is_not_built_on() {
    for call in 0..12 {
        let storage = FaultyStorage::new();
        storage.fail_call(call, Fault::Error(io::ErrorKind::Other));
        let created = options(512).open_storage(Arc::new(storage.clone()));
        storage.clear_faults();
        drop(created);
        let db = open(&storage, 512);
        db.put(1, b"one").unwrap();
        db.flush().unwrap();
        std::mem::forget(db);
        for events in 0..=storage.events() {
            let unsynced = storage.unsynced_changes(events).min(6);
            for kept in 0..1 << unsynced {
                let image = storage.crash_image(events, &CrashPlan::Subset(kept));
                let storage = Arc::new(MemoryStorage::from_bytes(image));
                let opened = options(512).open_storage(storage);
                opened.unwrap_or_else(|error| panic!("call {call}, event {events}: {error}"));
            }
        }
    }
}

/// Any failure to make a new file's first pages was called a full disk.
#[test]
fn a_creation_that_fails_is_not_called_a_full_disk() {
    for call in 0.. {
        let storage = FaultyStorage::new();
        storage.fail_call(call, Fault::Error(io::ErrorKind::Other));
        let opened = options(512).open_storage(Arc::new(storage.clone()));
        if let Err(error) = opened {
            assert_eq!(error.kind(), ErrorKind::Io, "call {call}: {error}");
        } else if storage.calls() <= call {
            assert!(call > 4, "a creation makes calls");
            break;
        }
    }
}

/// Zeros written over a whole small file made it look like an interrupted creation, and opening it made it anew.
#[test]
fn a_wiped_file_is_not_taken_for_an_interrupted_creation() {
    for len in [1024, 8192 + 4096, 16_384, 131_072] {
        let storage = MemoryStorage::from_bytes(vec![0; len]);
        let opened = Options::new().open_storage(Arc::new(storage));
        assert!(opened.is_err(), "{len} zeros");
    }
    let interrupted = MemoryStorage::from_bytes(vec![0; 8192]);
    Options::new().open_storage(Arc::new(interrupted)).unwrap();
}

/// A panic on the checkpoint's thread left everyone who waited for it waiting.
#[test]
fn nobody_waits_for_a_checkpoint_that_panicked() {
    let storage = Hooked(MemoryStorage::new(), || {
        let thread = std::thread::current();
        assert_ne!(thread.name(), Some("shroom-checkpoint"), "as asked for");
    });
    let db = options(512)
        .background(true)
        .open_storage(Arc::new(storage))
        .unwrap();
    let failed = (0..10_000).find_map(|id| db.put(id, &[1; 200]).err());
    let kind = failed.expect("the journal is full at last").kind();
    assert_eq!(kind, ErrorKind::Poisoned);
    assert_eq!(db.get(0).unwrap().unwrap(), [1; 200]);
    db.close().unwrap_err();
}

/// A close gave the journal's pages back and used them again before both superblock slots were durable. With the newer slot
/// damaged after a crash there, the older one named a journal that was gone, and what it had held was missing silently.
#[test]
fn drained_frames_are_not_overwritten_before_both_slots_are_durable() {
    let storage = FaultyStorage::new();
    let db = open(&storage, 2048);
    let mut batch = db.batch();
    batch.put(5, &[1; 300]);
    batch.commit_synced().unwrap();
    db.put(2, &[2; 300]).unwrap();
    db.flush().unwrap();
    let acknowledged = storage.events();
    db.close().unwrap();
    let mut opened = 0;
    for events in acknowledged..=storage.events() {
        let unsynced = storage.unsynced_changes(events);
        for plan in (0..1 << unsynced).map(CrashPlan::Subset) {
            for slot in 0..2 {
                let image = FaultyStorage::from_image(storage.crash_image(events, &plan));
                image.flip_bit(slot * 2048 + 2, 0);
                let Ok(db) = options(2048).open_storage(Arc::new(image)) else {
                    continue;
                };
                let lengths = [5, 2].map(|id| db.get(id).map(|value| value.map(|v| v.len())));
                let right = lengths
                    .iter()
                    .all(|length| !matches!(length, Ok(length) if *length != Some(300)));
                assert!(right, "event {events}, {plan:?}, slot {slot}: {lengths:?}");
                opened += 1;
            }
        }
    }
    assert!(opened > 20, "{opened}");
}

/// After a failed sync the system may keep what was written readable and call every later sync a success without writing it.
/// Whoever opened the file anew replayed such frames, synced, and called them durable.
#[test]
fn frames_that_a_failed_sync_forgot_are_written_again() {
    let storage = FaultyStorage::new();
    let db = open(&storage, 4096);
    db.put(1, b"durable").unwrap();
    db.flush().unwrap();
    db.put(2, b"forgotten").unwrap();
    storage.fail_call(storage.calls() + 1, Fault::SyncForgotten);
    db.flush().unwrap_err();
    assert_eq!(storage.injected()[0].operation, "sync");
    drop(db);
    let db = open(&storage, 4096);
    assert_eq!(db.get(2).unwrap().unwrap(), b"forgotten");
    db.flush().unwrap();
    let image = storage.crash_image(storage.events(), &CrashPlan::LoseAll);
    assert_eq!(read_image(image, 4096), Model::read(&db).unwrap());
}
