//! Every I/O call failing once, in every way, and a disk that is full: an error, never a panic, and nothing lost.
//!
//! * F1 An operation that fails has not changed what is visible; what was acknowledged before survives any later crash.
//! * F2 A failed sync, and a failed write of the journal or of a superblock, poisons: every call that writes is refused from
//!   then on, and reading goes on. After any other failure the very next operation succeeds.
//! * F3 Reopened over the very storage that failed, it goes on, and what it then acknowledges survives as well.
//! * F4 A fault is never passed over in silence, and never taken for damage of the file.

use std::collections::HashMap;
use std::io::ErrorKind as Io;
use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::storage::faulty::{CrashPlan, Fault, FaultyStorage, Injected, Torn};
use shroom::{Db, Error, ErrorKind, Options, Result};
use shroom_sim::{Change, Model, Op, Random, Workload, assert_sound, fingerprint, is_blank, run};

const PAGE_SIZE: u32 = 512;

/// Checkpoints commit after each pack that they change, so that faults fall between slices too.
fn options() -> Options {
    Options::new()
        .page_size(PAGE_SIZE)
        .journal_limit(64 << 10)
        .background(false)
        .slice_bytes(1)
        .stream_bytes(1)
}

fn open(storage: &FaultyStorage) -> Result<Db> {
    options().open_storage(Arc::new(storage.clone()))
}

/// What each image holds, as a fingerprint, by the image's hash: most faults leave many images alike.
type Contents = HashMap<blake3::Hash, u64>;

/// The states that the file may hold: the last acknowledged one, and those after it.
struct History<'c> {
    /// Fingerprints.
    states: Vec<u64>,
    visible: Model,
    contents: &'c mut Contents,
}

impl<'c> History<'c> {
    fn new(model: Model, contents: &'c mut Contents) -> Self {
        Self {
            states: vec![model.fingerprint()],
            visible: model,
            contents,
        }
    }

    fn acknowledge(&mut self) {
        self.states = vec![self.visible.fingerprint()];
    }

    /// Runs an operation, which may fail; then it may or may not be in the file.
    fn run(&mut self, db: &Db, op: &Op) -> Result<()> {
        let result = run(db, op);
        let before = match &result {
            Ok(()) => None,
            Err(_) => Some(self.visible.clone()),
        };
        self.visible.apply(op);
        self.states.push(self.visible.fingerprint());
        if let Some(before) = before {
            let seen = Model::read(db).expect("reading after a failure");
            // A batch whose sync failed stays visible.
            let kept = matches!(op, Op::Batch(_, true)) && seen == self.visible;
            if !kept {
                self.visible = before;
            }
            assert!(seen == self.visible, "after {op:?}: {result:?}");
        } else if op.acknowledges() {
            self.acknowledge();
        }
        result
    }

    /// Opens, the second time if the first fails.
    fn open(&mut self, storage: &FaultyStorage, what: &str) -> (Db, Option<Error>) {
        let (db, error) = match open(storage) {
            Ok(db) => (Ok(db), None),
            Err(error) => (open(storage), Some(error)),
        };
        let db = db.unwrap_or_else(|error| panic!("{what}: open again: {error}"));
        self.visible = Model::read(&db).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(
            self.states.contains(&self.visible.fingerprint()),
            "{what}: opened"
        );
        (db, error)
    }

    fn check_image(&mut self, image: Vec<u8>, what: &str) {
        let content = self.contents.entry(blake3::hash(&image));
        let found = *content.or_insert_with(|| read_image(image, what));
        let states = self.states.len();
        assert!(
            self.states.contains(&found),
            "{what}: {found:x} is not one of {states} states"
        );
    }

    /// Crash images of this moment.
    fn check_crashes(&mut self, storage: &FaultyStorage, seed: u64, what: &str) {
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

fn read_image(image: Vec<u8>, what: &str) -> u64 {
    let storage = Arc::new(MemoryStorage::from_bytes(image));
    if is_blank(&*storage).unwrap() {
        return Model::default().fingerprint();
    }
    let db = options().read_only(true).open_storage(storage);
    let db = db.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_sound(&db);
    fingerprint(&db).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// A file, and what is done to it: the database is closed and opened again after each of the lists.
struct Setup {
    image: Vec<u8>,
    model: Model,
    sessions: Vec<Vec<Op>>,
}

impl Setup {
    /// An empty file.
    fn creation() -> Self {
        Self {
            image: Vec::new(),
            model: Model::default(),
            sessions: vec![vec![Op::Put(1, vec![1; 100]), Op::Flush]],
        }
    }

    /// A file whose journal is live, and operations that reach the journal, the pages, values beside the journal, and
    /// bulk load.
    fn everything() -> Self {
        let mut random = Random(42);
        let workload = Workload {
            page_size: PAGE_SIZE,
            ids: 30,
            value_len_max: 2000,
            acknowledged: 30,
        };
        let storage = FaultyStorage::new();
        let db = open(&storage).unwrap();
        let mut model = Model::default();
        let mut start: Vec<Op> = (0..12).map(|id| Op::Put(id * 20, vec![3; 200])).collect();
        start.extend([Op::Checkpoint, Op::Append(20, vec![4; 50]), Op::Flush]);
        for op in start {
            run(&db, &op).unwrap();
            model.apply(&op);
        }
        let image = storage.image();

        let mut first: Vec<Op> = (0..24).map(|_| workload.op(&mut random)).collect();
        let tokens = (100..110).map(|id| (id, random.bytes(300)));
        first.push(Op::Bulk(tokens.collect()));
        first.push(Op::Put(7, random.bytes(70_000)));
        first.push(Op::WriteAt(7, 5_000, random.bytes(1_500)));
        let stream = |id, bytes, append| Op::Stream { id, bytes, append };
        first.push(stream(8, random.bytes(5_000), false));
        first.push(stream(8, random.bytes(3_000), true));
        first.push(Op::Truncate(7, 66_000));
        let mut second = vec![Op::Delete(7)];
        second.extend((0..80).map(|id| Op::Put(200 + id, random.bytes(1000))));
        let spread = [1, 105, 230].map(|id| Change::Put(id, random.bytes(90)));
        let spread = spread.into_iter().chain([Change::Tag(9)]).collect();
        second.extend([
            Op::Batch(spread, true),
            Op::Checkpoint,
            Op::Append(1, random.bytes(50)),
        ]);
        Self {
            image,
            model,
            sessions: vec![first, second],
        }
    }
}

/// Does everything with one call failing; returns whether there was such a call.
fn one_fault(setup: &Setup, call: u64, fault: Fault, contents: &mut Contents) -> bool {
    let what = format!("call {call}, {fault:?}");
    let storage = FaultyStorage::from_image(setup.image.clone());
    let mut history = History::new(setup.model.clone(), contents);
    storage.fail_call(call, fault);
    let mut failures = Vec::new();
    for operations in &setup.sessions {
        let (db, error) = history.open(&storage, &what);
        failures.extend(error);
        run_session(&mut history, &storage, db, operations, &mut failures, &what);
        history.check_crashes(&storage, call, &what);
    }
    let reached = storage.calls() > call;
    for error in &failures {
        let kind = error.kind();
        assert!(
            matches!(kind, ErrorKind::Io | ErrorKind::Full | ErrorKind::Poisoned),
            "{what}: {kind:?}, {error}"
        );
    }
    let injected = storage.injected();
    // Refused generous growth, the store asks for the least that serves.
    let mended = |met: &Injected| met.operation == "grow" && fault == Fault::Error(Io::StorageFull);
    assert!(
        !failures.is_empty() || injected.iter().all(mended),
        "{what}: nothing failed, but {injected:?}"
    );
    assert!(
        failures.is_empty() || !injected.is_empty(),
        "{what}: {failures:?} without a fault"
    );
    go_on(&mut history, &storage, call, &what);
    reached
}

/// One opening's operations. The fault may be met, and then what follows from it.
fn run_session(
    history: &mut History<'_>,
    storage: &FaultyStorage,
    db: Db,
    operations: &[Op],
    failures: &mut Vec<Error>,
    what: &str,
) {
    let calls = storage.calls();
    let mut failed = false;
    for op in operations {
        let Err(error) = history.run(&db, op) else {
            continue;
        };
        history.check_crashes(storage, calls, what);
        if error.kind() == ErrorKind::Poisoned {
            assert!(failed, "{what}: {op:?} is refused before a failure");
            check_poisoned(&db, &history.visible, what);
            break;
        }
        assert!(!failed, "{what}: {op:?} fails after the fault: {error}");
        failed = true;
        failures.push(error);
    }
    match db.close() {
        Ok(()) => history.acknowledge(),
        Err(error) => failures.push(error),
    }
}

/// Every call that writes is refused; every read works.
fn check_poisoned(db: &Db, visible: &Model, what: &str) {
    let batch = |synced: bool| {
        let mut batch = db.batch();
        batch.put(1, b"refused");
        if synced {
            batch.commit_synced()
        } else {
            batch.commit()
        }
    };
    let refused = [
        ("put", db.put(1, b"refused")),
        ("a large put", db.put(1, &[1; 100_000])),
        ("append", db.append(1, b"refused").map(|_| ())),
        ("insert", db.insert(b"refused").map(|_| ())),
        ("delete", db.delete(1).map(|_| ())),
        ("batch", batch(false)),
        ("synced batch", batch(true)),
        ("empty batch", db.batch().commit()),
        ("bulk load", db.bulk_load([(1, b"refused")]).map(|_| ())),
        ("flush", db.flush()),
        ("checkpoint", db.checkpoint()),
    ];
    for (call, result) in refused {
        let kind = result.map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::Poisoned), "{what}: {call}");
    }
    let read = Model::read(db).unwrap_or_else(|error| panic!("{what}: poisoned: {error}"));
    assert!(read == *visible, "{what}: poisoned: content");
    assert_eq!(db.len().unwrap(), visible.tokens.len() as u64, "{what}");
    let backwards = db.range(..).rev().map(|token| token.unwrap());
    assert!(
        backwards.map(|(id, bytes)| (id, bytes.to_vec())).eq(visible
            .tokens
            .clone()
            .into_iter()
            .rev()),
        "{what}: poisoned: backwards"
    );
    for (id, bytes) in &visible.tokens {
        assert!(db.get(*id).unwrap().is_some_and(|found| found == bytes[..]));
        let info = db.stat(*id).unwrap();
        assert_eq!(info.map(|info| info.length), Some(bytes.len() as u64));
    }
    assert_eq!(db.stats().unwrap().tag, visible.tag);
    assert_sound(db);
}

/// Opens again over the storage as the fault left it.
fn go_on(history: &mut History<'_>, storage: &FaultyStorage, seed: u64, what: &str) {
    storage.clear_faults();
    let (db, error) = history.open(storage, what);
    assert!(error.is_none(), "{what}: reopen: {error:?}");
    assert_sound(&db);
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
    let mut calls = 0;
    for setup in [Setup::creation(), Setup::everything()] {
        let mut contents = Contents::new();
        let mut call = 0;
        while one_fault(&setup, call, fault, &mut contents) {
            call += 1;
        }
        calls += call;
    }
    println!("{calls} calls failed once with {fault:?}");
    assert!(calls > 400);
}

#[test]
fn every_call_fails_with_an_error() {
    every_call(Fault::Error(Io::Other));
}

#[test]
fn every_call_fails_with_a_full_disk() {
    every_call(Fault::Error(Io::StorageFull));
}

/// The file storage continues what was interrupted, but for a sync, which reports it.
#[test]
fn every_call_is_interrupted() {
    every_call(Fault::Error(Io::Interrupted));
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
fn every_sync_forgets_the_writes() {
    every_call(Fault::SyncForgotten);
}

#[test]
fn a_full_disk_is_an_error_until_there_is_room() {
    for extra in (0..60).map(|step| step * 1024) {
        let storage = FaultyStorage::new();
        let mut contents = Contents::new();
        let mut history = History::new(Model::default(), &mut contents);
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
