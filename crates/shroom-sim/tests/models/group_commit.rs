//! Threads that make their frames durable at the same time share syncs; each returns only when its own is durable, and none
//! is told so wrongly when a sync fails.

use std::io::ErrorKind;
use std::sync::Arc;

use shroom::{Db, Options};
use shroom_page::storage::Storage;
use shroom_page::storage::faulty::{Fault, FaultyStorage};
use shroom_page::{LogicalPage, PageStore, Roots};
use shuttle::thread;

use crate::support::{
    below, database_after_crash, explore, saw, saw_if, small_pages, stepped_memory,
    store_after_crash,
};

/// Situations.
const SHARED: &str = "a sync served several";
const REFUSED: &str = "a sync was refused";
const AFTER_FAULT: &str = "a sync succeeded though a call had failed";
const SYNC_FAILED: &str = "the storage failed to sync";

const THREADS: u8 = 3;
/// Commits of each thread.
const ROUNDS: u8 = 2;

fn store_with_journal(storage: Arc<dyn Storage>) -> PageStore {
    let store = PageStore::create(storage, small_pages()).unwrap();
    let mut txn = store.begin().unwrap();
    txn.allocate().unwrap();
    txn.set_journal_area(0, 8);
    txn.set_journal_area(1, 8);
    txn.commit(Roots::default()).unwrap();
    assert!(store.journal_rotate().unwrap());
    store
}

/// A crash at this moment would not lose the frame: it is found, or a checkpoint contains it.
fn assert_durable(storage: &FaultyStorage, sequence: u64, payload: &[u8]) {
    let store = store_after_crash(storage);
    let last = store.journal_mark().sequence;
    assert!(last >= sequence, "frame {sequence} of {last} is lost");
    let frames = store.take_recovered();
    let found = frames.iter().find(|(number, _)| *number == sequence);
    assert!(found.is_none_or(|(_, found)| found == payload));
}

/// Some error, at one of the next calls of the storage.
fn fail_soon(storage: &FaultyStorage, calls: u64) {
    let fault = match below(4) {
        0 => Fault::Error(ErrorKind::Other),
        1 => Fault::ErrorAfter(ErrorKind::Other),
        2 => Fault::ShortWrite,
        _ => Fault::SyncLoss,
    };
    storage.fail_call(storage.calls() + below(calls), fault);
}

#[test]
fn a_sync_returns_when_its_frame_is_durable() {
    explore(&[SHARED], || {
        let (stepped, storage) = stepped_memory();
        let store = store_with_journal(stepped.clone());
        let before = stepped.syncs();
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (store, storage) = (&store, &storage);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let payload = [thread, round, 77];
                        let sequence = store.journal_append(&payload).unwrap().unwrap();
                        store.journal_sync(sequence).unwrap();
                        assert_durable(storage, sequence, &payload);
                    }
                });
            }
        });
        let syncs = stepped.syncs() - before;
        assert!(
            (1..=u64::from(THREADS * ROUNDS)).contains(&syncs),
            "{syncs} syncs"
        );
        saw_if(syncs < u64::from(THREADS * ROUNDS), SHARED);
        assert_eq!(store.journal_synced(), store.journal_mark().sequence);
    });
}

#[test]
fn after_a_failed_sync_nothing_is_called_durable_that_is_not() {
    explore(&[SYNC_FAILED, REFUSED, AFTER_FAULT], || {
        let (stepped, storage) = stepped_memory();
        let store = store_with_journal(stepped.clone());
        fail_soon(&storage, 20);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (store, storage) = (&store, &storage);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let payload = [thread, round, 77];
                        let Ok(Some(sequence)) = store.journal_append(&payload) else {
                            return;
                        };
                        match store.journal_sync(sequence) {
                            Ok(()) => {
                                assert_durable(storage, sequence, &payload);
                                saw_if(!storage.injected().is_empty(), AFTER_FAULT);
                            }
                            Err(_) => saw(REFUSED),
                        }
                    }
                });
            }
            // A checkpoint's syncs are in each other's way with those of the journal.
            scope.spawn(|| {
                let Ok(mut txn) = store.begin() else { return };
                txn.page_mut(LogicalPage(1)).unwrap().fill(7);
                let mut roots = Roots::default();
                roots.token[0] = 7;
                if txn.commit(roots).is_ok() {
                    let found = store_after_crash(&storage).snapshot();
                    assert_eq!(found.roots().token[0], 7);
                }
            });
        });
        let failed = storage.injected();
        if failed.iter().any(|fault| fault.operation == "sync") {
            saw(SYNC_FAILED);
            assert!(store.is_poisoned());
        }
        if store.is_poisoned() {
            assert!(store.journal_append(b"more").is_err());
            let last = store.journal_mark().sequence;
            assert!(store.journal_sync(last).is_err());
        }
    });
}

fn database(storage: Arc<dyn Storage>) -> Db {
    let options = Options::new().page_size(512).journal_limit(64 << 10);
    let db = options.open_storage(storage).unwrap();
    // So that the journal is there.
    db.put(0, b"first").unwrap();
    db.flush().unwrap();
    db
}

#[test]
fn a_synced_batch_and_a_flushed_put_are_durable_when_they_return() {
    explore(&[SHARED], || {
        let (stepped, storage) = stepped_memory();
        let db = database(stepped.clone());
        let before = stepped.syncs();
        thread::scope(|scope| {
            for thread in 1..=u64::from(THREADS) {
                let (db, storage) = (&db, &storage);
                scope.spawn(move || {
                    if thread == 1 {
                        let mut batch = db.batch();
                        batch.put(thread, b"value").put(100 + thread, b"value");
                        batch.commit_synced().unwrap();
                    } else {
                        db.put(thread, b"value").unwrap();
                        db.put(100 + thread, b"value").unwrap();
                        db.flush().unwrap();
                    }
                    let found = database_after_crash(storage);
                    assert_eq!(found.get(thread).unwrap().unwrap(), b"value");
                    assert_eq!(found.get(100 + thread).unwrap().unwrap(), b"value");
                });
            }
        });
        let syncs = stepped.syncs() - before;
        assert!((1..=u64::from(THREADS)).contains(&syncs), "{syncs} syncs");
        saw_if(syncs < u64::from(THREADS), SHARED);
    });
}

#[test]
fn a_failed_sync_reaches_every_caller_whose_batch_it_lost() {
    explore(&[REFUSED, SYNC_FAILED], || {
        let (stepped, storage) = stepped_memory();
        let db = database(stepped);
        fail_soon(&storage, 8);
        thread::scope(|scope| {
            for thread in 1..=u64::from(THREADS) {
                let (db, storage) = (&db, &storage);
                scope.spawn(move || {
                    let mut batch = db.batch();
                    batch.put(thread, b"value").put(100 + thread, b"value");
                    if batch.commit_synced().is_err() {
                        saw(REFUSED);
                        return;
                    }
                    let found = database_after_crash(storage);
                    assert_eq!(found.get(thread).unwrap().unwrap(), b"value");
                    assert_eq!(found.get(100 + thread).unwrap().unwrap(), b"value");
                });
            }
        });
        let failed = storage.injected();
        saw_if(
            failed.iter().any(|fault| fault.operation == "sync"),
            SYNC_FAILED,
        );
    });
}
