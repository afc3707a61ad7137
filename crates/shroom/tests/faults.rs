//! Every I/O call failing once, in every way, and a disk that is full: an error, never a panic, and nothing lost.
//!
//! * F1 An operation that fails has not changed what is visible; what was acknowledged before survives any later crash.
//! * F2 The database stays usable after a failed write of pages, and is poisoned after a failed sync, journal or superblock write.
//! * F3 Reopened over the very storage that failed, it goes on, and what it then acknowledges survives as well.

use std::io::ErrorKind as Io;
use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::storage::faulty::{CrashPlan, Fault, FaultyStorage, Torn};
use shroom::{Db, ErrorKind, Options, Result};
use shroom_page::PageStore;
use shroom_sim::{Change, Model, Op, Random, Workload, assert_sound, run};

const PAGE_SIZE: u32 = 512;

fn options() -> Options {
    Options::new()
        .page_size(PAGE_SIZE)
        .journal_limit(64 << 10)
        .background(false)
}

fn open(storage: &FaultyStorage) -> Result<Db> {
    options().open_storage(Arc::new(storage.clone()))
}

/// The states that the file may hold: the last acknowledged one, and those after it.
struct History {
    states: Vec<Model>,
    visible: Model,
}

impl History {
    fn new() -> Self {
        Self {
            states: vec![Model::default()],
            visible: Model::default(),
        }
    }

    fn acknowledge(&mut self) {
        self.states = vec![self.visible.clone()];
    }

    /// Runs an operation, which may fail; then it may or may not be in the file.
    fn run(&mut self, db: &Db, op: &Op) -> Result<()> {
        let mut after = self.visible.clone();
        after.apply(op);
        self.states.push(after.clone());
        let result = run(db, op);
        // Reading is checked where something went wrong.
        let seen = if result.is_err() || self.states.len().is_multiple_of(16) {
            Model::read(db)
        } else {
            Ok(after.clone())
        };
        match &result {
            Ok(()) => self.visible = after,
            // The batch is visible, and its sync failed.
            Err(_) if matches!(op, Op::Batch(_, true)) => {
                if seen.as_ref().is_ok_and(|seen| *seen == after) {
                    self.visible = after;
                }
            }
            Err(_) => {}
        }
        if let Ok(seen) = seen {
            assert!(seen == self.visible, "after {op:?}: {result:?}");
        }
        if result.is_ok() && op.acknowledges() {
            self.acknowledge();
        }
        result
    }

    fn check_image(&self, image: Vec<u8>, what: &str) {
        let storage = Arc::new(MemoryStorage::from_bytes(image));
        if PageStore::is_blank(&*storage).unwrap() {
            assert!(self.states[0] == Model::default(), "{what}: blank");
            return;
        }
        let db = options().read_only(true).open_storage(storage);
        let db = db.unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = Model::read(&db).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(
            self.states.contains(&found),
            "{what}: {} tokens, tag {}, not one of {} states",
            found.tokens.len(),
            found.tag,
            self.states.len()
        );
        assert_sound(&db);
    }

    /// Crash images of this moment.
    fn check_crashes(&self, storage: &FaultyStorage, seed: u64, what: &str) {
        let events = storage.events();
        let mut plans = vec![CrashPlan::LoseAll, CrashPlan::KeepAll];
        if storage.unsynced_changes(events) > 0 {
            plans.extend((0..2).map(|n| CrashPlan::Random {
                seed: seed * 2 + n,
                torn: Torn::Sector512,
                reordered: n == 0,
            }));
        }
        for plan in plans {
            let image = storage.crash_image(events, &plan);
            self.check_image(image, &format!("{what}, {plan:?}"));
        }
    }
}

/// Fixed operations that reach the journal, the pages, values beside the journal, bulk load and close.
fn operations() -> Vec<Op> {
    let mut random = Random(42);
    let workload = Workload {
        page_size: PAGE_SIZE,
        ids: 30,
        value_len_max: 2000,
        acknowledged: 30,
    };
    let mut operations: Vec<Op> = (0..24).map(|_| workload.op(&mut random)).collect();
    operations.push(Op::Bulk(
        (100..110).map(|id| (id, random.bytes(300))).collect(),
    ));
    operations.push(Op::Put(7, random.bytes(70_000)));
    for id in 0..80 {
        operations.push(Op::Put(200 + id, random.bytes(1000)));
    }
    operations.push(Op::Batch(
        vec![Change::Put(1, random.bytes(900)), Change::Tag(9)],
        true,
    ));
    operations.push(Op::Delete(7));
    operations.push(Op::Checkpoint);
    operations.push(Op::Append(1, random.bytes(50)));
    operations
}

/// Runs the operations with one call failing; returns whether there was such a call.
fn one_fault(operations: &[Op], call: u64, fault: Fault) -> bool {
    let what = format!("call {call}, {fault:?}");
    let storage = FaultyStorage::new();
    let mut history = History::new();
    storage.fail_call(call, fault);
    let db = match open(&storage) {
        Ok(db) => db,
        Err(_) => open(&storage).unwrap_or_else(|error| panic!("{what}: open again: {error}")),
    };
    let mut poisoned = false;
    let mut failures = 0;
    for op in operations {
        match history.run(&db, op) {
            Ok(()) => assert!(
                !poisoned || matches!(op, Op::Flush),
                "{what}: {op:?} succeeded after poisoning"
            ),
            Err(error) => {
                failures += 1;
                if failures <= 2 {
                    history.check_crashes(&storage, call, &what);
                }
                if poisoned {
                    break;
                }
                poisoned = error.kind() == ErrorKind::Poisoned;
            }
        }
    }
    history.check_crashes(&storage, call, &what);
    match db.close() {
        Ok(()) => history.acknowledge(),
        Err(_) => failures += 1,
    }
    let reached = storage.calls() > call;
    assert!(reached || failures == 0, "{what}: failed without a fault");
    history.check_crashes(&storage, call, &what);
    go_on(&mut history, &storage, call, &what);
    reached
}

/// Opens again over the storage as the fault left it.
fn go_on(history: &mut History, storage: &FaultyStorage, seed: u64, what: &str) {
    storage.clear_faults();
    let db = open(storage).unwrap_or_else(|error| panic!("{what}: reopen: {error}"));
    let found = Model::read(&db).unwrap();
    assert!(history.states.contains(&found), "{what}: reopened");
    assert_sound(&db);
    history.visible = found;
    for id in 0..3 {
        history.run(&db, &Op::Put(id, vec![1; 600])).unwrap();
        if id == seed % 3 {
            history.check_crashes(storage, seed, what);
        }
    }
    history.run(&db, &Op::Flush).unwrap();
    if seed.is_multiple_of(2) {
        history.check_crashes(storage, seed, what);
    }
    db.close().unwrap();
    history.acknowledge();
    history.check_crashes(storage, seed, what);
}

fn every_call(fault: Fault) {
    let operations = operations();
    let mut call = 0;
    while one_fault(&operations, call, fault) {
        call += 1;
    }
    println!("{call} calls failed once with {fault:?}");
    assert!(call > 100);
}

#[test]
fn every_call_fails_with_an_error() {
    every_call(Fault::Error(Io::Other));
}

#[test]
fn every_call_fails_with_a_full_disk() {
    every_call(Fault::Error(Io::StorageFull));
}

#[test]
fn every_write_is_cut_short() {
    every_call(Fault::ShortWrite);
}

#[test]
fn every_call_fails_after_its_effect() {
    every_call(Fault::ErrorAfter(Io::TimedOut));
}

#[test]
fn every_sync_loses_the_writes() {
    every_call(Fault::SyncLoss);
}

#[test]
fn a_full_disk_is_an_error_until_there_is_room() {
    for extra in (0..60).map(|step| step * 1024) {
        let storage = FaultyStorage::new();
        let mut history = History::new();
        let db = open(&storage).unwrap();
        history.run(&db, &Op::Put(0, vec![0; 600])).unwrap();
        history.run(&db, &Op::Flush).unwrap();
        storage.set_capacity(Some(storage.image().len() as u64 + extra));
        let mut random = Random(extra);
        let mut full = false;
        for id in 0..250 {
            let op = match id % 50 {
                49 => Op::Put(id, random.bytes(70_000)),
                20 => Op::Flush,
                _ => Op::Put(id, random.bytes(900)),
            };
            if let Err(error) = history.run(&db, &op) {
                assert_eq!(error.kind(), ErrorKind::Full, "extra {extra}: {error}");
                full = true;
            }
        }
        assert!(full, "extra {extra}");
        history.check_crashes(&storage, extra, "full");
        storage.set_capacity(None);
        for id in 0..250 {
            let op = Op::Put(id, random.bytes(900));
            history
                .run(&db, &op)
                .unwrap_or_else(|error| panic!("extra {extra}: after there was room: {error}"));
        }
        db.close().unwrap();
        history.acknowledge();
        history.check_crashes(&storage, extra, "room again");
    }
}
