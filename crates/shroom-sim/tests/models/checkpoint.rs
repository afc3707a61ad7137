//! The thread that checkpoints, against writers, readers, flushes, and handles that are closed or dropped at any moment.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use shroom::{Db, Error, Options};
use shroom_page::storage::faulty::{Fault, FaultyStorage};
use shroom_sim::assert_sound;
use shuttle::thread;

use crate::support::{
    CHECKPOINT_WRITES, below, database_after_crash, explore, saw, saw_if, step, stepped_memory,
};

/// Situations.
const CLOSED: &str = "a write met a closed database";
const FLUSHED: &str = "a flush came before the close";
const FAILED: &str = "a write failed";
const CHECKPOINT_FAILED: &str = "a call failed that was not the journal's";

/// Three of these fill a journal area.
const VALUE_LEN: usize = 20_000;
/// Values that a writer puts, of which each has an id of its own.
const ROUNDS: u64 = 5;

fn options() -> Options {
    Options::new().page_size(4096).journal_limit(64 << 10)
}

fn value(id: u64) -> Vec<u8> {
    vec![id as u8; VALUE_LEN]
}

fn first_id(writer: u64) -> u64 {
    10 * writer
}

/// Puts until it is done or the database is closed; the number of values that are in.
fn put_all(db: &Db, writer: u64) -> u64 {
    for round in 0..ROUNDS {
        let id = first_id(writer) + round;
        match db.put(id, &value(id)) {
            Ok(()) => {}
            Err(Error::Closed) => {
                saw(CLOSED);
                return round;
            }
            Err(error) => panic!("put {id}: {error}"),
        }
    }
    ROUNDS
}

/// The first `count` values of a writer are there.
fn assert_holds(db: &Db, writer: u64, count: u64) {
    for id in first_id(writer)..first_id(writer) + count {
        let found = db.get(id).unwrap();
        assert!(
            found.is_some_and(|found| found == value(id)),
            "token {id} of {count}"
        );
    }
}

fn read(db: &Db) {
    for _ in 0..3 {
        let snapshot = db.snapshot();
        for _ in 0..2 {
            for token in &snapshot.iter().collect::<Result<Vec<_>, _>>().unwrap() {
                assert_eq!(token.1, value(token.0), "token {}", token.0);
            }
            step();
        }
    }
}

/// After the last handle is gone the storage has been let go of, and holds all that was put.
fn assert_closed<S>(stepped: &Arc<S>, storage: &FaultyStorage, counts: [u64; 2]) {
    assert_eq!(Arc::strong_count(stepped), 1, "the storage is let go of");
    let db = database_after_crash(storage);
    (0..)
        .zip(counts)
        .for_each(|(writer, count)| assert_holds(&db, writer, count));
    assert_sound(&db);
}

#[test]
fn writers_readers_and_a_checkpoint() {
    explore(&[CHECKPOINT_WRITES], || {
        let (stepped, storage) = stepped_memory();
        let slices = if below(2) == 0 { 1 } else { 1 << 20 };
        let db = options()
            .slice_bytes(slices)
            .open_storage(stepped.clone())
            .unwrap();
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(put_all(&db, 0), ROUNDS));
            scope.spawn(|| assert_eq!(put_all(&db, 1), ROUNDS));
            scope.spawn(|| read(&db));
        });
        (0..2).for_each(|writer| assert_holds(&db, writer, ROUNDS));
        drop(db);
        assert_closed(&stepped, &storage, [ROUNDS; 2]);
    });
}

#[test]
fn the_last_handle_is_dropped_while_a_checkpoint_runs() {
    explore(&[CHECKPOINT_WRITES], || {
        let (stepped, storage) = stepped_memory();
        let db = options().open_storage(stepped.clone()).unwrap();
        let other = db.clone();
        let writer = thread::spawn(move || assert_eq!(put_all(&other, 0), ROUNDS));
        let other = db.clone();
        let reader = thread::spawn(move || read(&other));
        drop(db);
        writer.join().unwrap();
        reader.join().unwrap();
        assert_closed(&stepped, &storage, [ROUNDS, 0]);
    });
}

#[test]
fn a_flush_that_returns_is_durable_though_the_database_is_closed_meanwhile() {
    explore(&[CHECKPOINT_WRITES, CLOSED, FLUSHED], || {
        let (stepped, storage) = stepped_memory();
        let db = options().open_storage(stepped.clone()).unwrap();
        let closed = db.clone();
        let counts = thread::scope(|scope| {
            let (db, storage) = (&db, &storage);
            let writers = [0, 1].map(|writer| {
                scope.spawn(move || {
                    let count = put_all(db, writer);
                    match db.flush() {
                        Ok(()) => {
                            saw(FLUSHED);
                            assert_holds(&database_after_crash(storage), writer, count);
                        }
                        Err(Error::Closed) => {}
                        Err(error) => panic!("flush: {error}"),
                    }
                    count
                })
            });
            scope.spawn(|| {
                (0..below(40)).for_each(|_| step());
                closed.close().unwrap();
            });
            writers.map(|writer| writer.join().unwrap())
        });
        drop(db);
        assert_closed(&stepped, &storage, counts);
    });
}

/// Each caller of `close` may let the process end after it.
#[test]
fn when_any_close_returns_everything_is_durable() {
    explore(&[CHECKPOINT_WRITES, CLOSED], || {
        let (stepped, storage) = stepped_memory();
        let db = options().open_storage(stepped.clone()).unwrap();
        let counts = thread::scope(|scope| {
            let closers = [0, 1].map(|writer| {
                let (db, storage) = (db.clone(), &storage);
                scope.spawn(move || {
                    let count = put_all(&db, writer);
                    db.close().unwrap();
                    assert_holds(&database_after_crash(storage), writer, count);
                    count
                })
            });
            closers.map(|closer| closer.join().unwrap())
        });
        drop(db);
        assert_closed(&stepped, &storage, counts);
    });
}

/// However a checkpoint fails: nobody waits for ever, what was flushed is durable, and the storage is let go of.
#[test]
fn a_checkpoint_fails_while_handles_are_dropped() {
    explore(&[CHECKPOINT_WRITES, FAILED, CHECKPOINT_FAILED], || {
        let (stepped, storage) = stepped_memory();
        let db = options().open_storage(stepped.clone()).unwrap();
        db.put(99, b"so that the journal is there").unwrap();
        db.flush().unwrap();
        let fault = match below(5) {
            0 => Fault::Error(ErrorKind::StorageFull),
            1 => Fault::Error(ErrorKind::Other),
            2 => Fault::SyncLoss,
            3 => Fault::SyncForgotten,
            _ => Fault::ShortWrite,
        };
        storage.fail_call(storage.calls() + below(60), fault);
        let flushed = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for writer in 0..2 {
                let (db, flushed) = (db.clone(), &flushed);
                scope.spawn(move || {
                    for id in first_id(writer)..first_id(writer) + ROUNDS {
                        if db.put(id, &value(id)).is_err() {
                            saw(FAILED);
                            return;
                        }
                        if below(2) == 0 && db.flush().is_ok() {
                            let mut flushed =
                                flushed.lock().unwrap_or_else(PoisonError::into_inner);
                            flushed.push((writer, id + 1 - first_id(writer)));
                        }
                    }
                });
            }
            drop(db);
        });
        assert_eq!(Arc::strong_count(&stepped), 1, "the storage is let go of");
        let other = |call: &str| matches!(call, "grow" | "view" | "shrink");
        saw_if(
            storage
                .injected()
                .iter()
                .any(|fault| other(fault.operation)),
            CHECKPOINT_FAILED,
        );
        let db = database_after_crash(&storage);
        for (writer, count) in flushed.into_inner().unwrap() {
            assert_holds(&db, writer, count);
        }
        assert_sound(&db);
    });
}
