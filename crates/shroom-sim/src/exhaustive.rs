//! All small workloads, and every image that a crash at any point of them may leave.
//!
//! The workloads of up to so many operations are the nodes of a tree: a node's crash points are those of its last operation,
//! since those of the operations before it belong to the nodes above. An image says what it holds whatever
//! led to it; so each distinct image is opened once, and what it holds is then compared with what each crash that gives
//! it may leave.
//!
//! * E1 At each event, every subset of the unsynced changes is tried when there are at most [`UNSYNCED_MAX`] of them.
//! * E2 The same parameters give the same images and the same figures, however many threads work.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shroom::storage::MemoryStorage;
use shroom::storage::faulty::{CrashPlan, FaultyStorage, Torn};
use shroom::{Db, Options};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::{
    Change, History, Model, Op, Random, findings, findings_after_crash, fingerprint, is_blank,
    perform, run,
};

/// At most this many unsynced changes are kept and lost in every combination; of more, in some.
pub const UNSYNCED_MAX: usize = 10;
/// Random subsets, and random plans with torn writes, where there are more.
const SAMPLES: u64 = 64;
/// Random plans with torn writes at every other point.
const TORN_SAMPLES: u64 = 3;
/// One distinct image of so many is also written to and closed.
const WRITTEN_PART: u128 = 8;

/// The token that small puts write, and the large one.
const SMALL: u64 = 1;
const LARGE: u64 = 2;
/// Tokens at the start lie at multiples of this.
const SPACING: u64 = 10;

macro_rules! names {
    ($type:ty, $what:literal, $($value:path => $name:literal),+) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($value => $name),+ })
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(name: &str) -> Result<Self, String> {
                match name {
                    $($name => Ok($value),)+
                    _ => Err(format!("no {} '{name}', expected one of {:?}", $what, [$($name),+])),
                }
            }
        }
    };
}

/// An operation of a workload. Which values it writes follows from its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Puts a few bytes.
    PutSmall,
    /// Puts three pages and some: an extent.
    PutLarge,
    /// Appends to the token put last.
    Append,
    /// Deletes the token put last.
    Delete,
    /// Puts, appends, deletes, far apart, and sets the tag; not synced.
    Batch,
    /// Makes everything durable.
    Flush,
    /// Moves the journal into the pages.
    Checkpoint,
    /// Closes the database and opens it again.
    Close,
}

names!(Step, "operation", Self::PutSmall => "put-small", Self::PutLarge => "put-large", Self::Append => "append",
    Self::Delete => "delete", Self::Batch => "batch", Self::Flush => "flush", Self::Checkpoint => "checkpoint",
    Self::Close => "close");

impl Step {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::PutSmall,
        Self::PutLarge,
        Self::Append,
        Self::Delete,
        Self::Batch,
        Self::Flush,
        Self::Checkpoint,
        Self::Close,
    ];
}

/// What the database is before the first operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It is being created.
    Empty,
    /// It holds some pages of tokens, and was closed.
    Closed,
    /// As `Closed`, and then written to, flushed and left by a crash: its journal is live.
    Crashed,
}

names!(Start, "start", Self::Empty => "empty", Self::Closed => "closed", Self::Crashed => "crashed");

impl Start {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Empty, Self::Closed, Self::Crashed];
}

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub struct Exhaustive {
    /// In bytes.
    pub page_size: u32,
    /// What the workloads begin with.
    pub start: Start,
    /// Whether a checkpoint commits after each pack that it changes, or all at once as small ones do.
    pub small_slices: bool,
    /// Length of the longest workloads.
    pub operations: usize,
}

impl fmt::Display for Exhaustive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slices = if self.small_slices { "small" } else { "whole" };
        write!(
            f,
            "--page-size {} --start {} --slices {slices}",
            self.page_size, self.start
        )
    }
}

/// How much was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Workloads run: nodes of the tree.
    pub workloads: u64,
    /// Events after which crashes were tried.
    pub crash_points: u64,
    /// Those of them with more unsynced changes than are tried in all combinations.
    pub sampled_points: u64,
    /// Images made.
    pub images: u64,
    /// Images that are not the same as another: opened, read and verified.
    pub distinct: u64,
    /// Those of them that were written to, closed, and read and verified again.
    pub written: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.workloads += other.workloads;
        self.crash_points += other.crash_points;
        self.sampled_points += other.sampled_points;
        self.images += other.images;
        self.distinct += other.distinct;
        self.written += other.written;
    }
}

/// What is shared by the threads that work.
struct Search<'e> {
    parameters: &'e Exhaustive,
    start: (Vec<u8>, Model),
    /// What each image holds: [`Model::fingerprint`], by the image's hash.
    contents: Mutex<HashMap<u128, u64>>,
    tally: Mutex<Tally>,
    /// The failure of the first node that has one.
    failure: Mutex<Option<(usize, String)>>,
    next: AtomicUsize,
}

impl Exhaustive {
    /// Tries everything, on so many threads; `progress` is told of the figures after each workload.
    ///
    /// # Errors
    /// A message that says what was found instead of what may be, by which workload, crash and parameters.
    pub fn run(&self, jobs: usize, progress: &(dyn Fn(&Tally) + Sync)) -> Result<Tally, String> {
        let search = self.search()?;
        std::thread::scope(|scope| {
            for _ in 0..jobs.max(1) {
                scope.spawn(|| search.work(progress));
            }
        });
        search.finish()
    }

    /// Tries the crashes of one workload, those of its beginnings included.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_one(&self, steps: &[Step]) -> Result<Tally, String> {
        let search = self.search()?;
        for len in 0..=steps.len() {
            search.node(&steps[..len])?;
        }
        search.finish()
    }

    /// Number of workloads, the empty one included.
    pub fn workloads(&self) -> usize {
        let of_length = |len| Step::ALL.len().pow(len as u32);
        (0..=self.operations).map(of_length).sum()
    }

    /// Workload `number`: shorter ones come first.
    fn workload(&self, mut number: usize) -> Vec<Step> {
        let mut len = 0;
        while number >= Step::ALL.len().pow(len) {
            number -= Step::ALL.len().pow(len);
            len += 1;
        }
        let digit = |place| number / Step::ALL.len().pow(place) % Step::ALL.len();
        (0..len)
            .rev()
            .map(|place| Step::ALL[digit(place)])
            .collect()
    }

    fn options(&self) -> Options {
        let options = Options::new()
            .page_size(self.page_size)
            .journal_limit(64 << 10)
            .background(false);
        if self.small_slices {
            options.slice_bytes(1)
        } else {
            options
        }
    }

    fn open(&self, storage: &FaultyStorage) -> shroom::Result<Db> {
        self.options().open_storage(Arc::new(storage.clone()))
    }

    fn search(&self) -> Result<Search<'_>, String> {
        let start = self
            .start_image()
            .map_err(|error| format!("{self}: the start: {error}"))?;
        Ok(Search {
            parameters: self,
            start,
            contents: Mutex::default(),
            tally: Mutex::default(),
            failure: Mutex::default(),
            next: AtomicUsize::new(0),
        })
    }

    /// The file before the first operation, and what it holds.
    fn start_image(&self) -> shroom::Result<(Vec<u8>, Model)> {
        let storage = FaultyStorage::new();
        let mut model = Model::default();
        if self.start == Start::Empty {
            return Ok((storage.image(), model));
        }
        let mut work = |db: &Db, op: Op| {
            model.apply(&op);
            run(db, &op)
        };
        let db = self.open(&storage)?;
        for number in 0..u64::from(self.page_size) / 4 {
            let id = number * SPACING;
            work(&db, Op::Put(id, vec![id as u8; 30]))?;
        }
        work(&db, Op::Put(LARGE, self.large(b'L')))?;
        work(&db, Op::Put(SMALL, vec![b'S'; 40]))?;
        db.close()?;
        if self.start == Start::Crashed {
            let db = self.open(&storage)?;
            work(&db, Op::Append(SMALL, vec![b's'; 10]))?;
            work(&db, Op::Put(self.far(), vec![b'o'; 50]))?;
            db.flush()?;
            let image = storage.crash_image(storage.events(), &CrashPlan::LoseAll);
            return Ok((image, model));
        }
        Ok((storage.image(), model))
    }

    /// A token that lies in another pack than the small and the large one, and not in the last.
    fn far(&self) -> u64 {
        u64::from(self.page_size) + 1
    }

    fn farther(&self) -> u64 {
        2 * self.far()
    }

    fn large(&self, byte: u8) -> Vec<u8> {
        vec![byte; 3 * self.page_size as usize + 100]
    }

    /// The operation that the last of these steps is; `None` for the one that is none of a database's.
    fn op(&self, steps: &[Step]) -> Option<Op> {
        let place = steps.len() as u8;
        let put_last = steps.iter().rev().find_map(|step| match step {
            Step::PutSmall => Some(SMALL),
            Step::PutLarge => Some(LARGE),
            _ => None,
        });
        let target = put_last.unwrap_or(LARGE);
        Some(match steps.last()? {
            Step::PutSmall => Op::Put(SMALL, vec![place; 40]),
            Step::PutLarge => Op::Put(LARGE, self.large(place)),
            Step::Append => Op::Append(target, vec![place; 30]),
            Step::Delete => Op::Delete(target),
            Step::Batch => Op::Batch(
                vec![
                    Change::Append(SMALL, vec![place; 20]),
                    Change::Delete(LARGE),
                    Change::Append(self.far(), vec![place; 20]),
                    Change::Put(self.farther(), vec![place; 100]),
                    Change::Tag(u64::from(place)),
                ],
                false,
            ),
            Step::Flush => Op::Flush,
            Step::Checkpoint => Op::Checkpoint,
            Step::Close => return None,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Search<'_> {
    /// Takes one workload after the other until there is none, or one failed.
    fn work(&self, progress: &(dyn Fn(&Tally) + Sync)) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.parameters.workloads() || lock(&self.failure).is_some() {
                return;
            }
            let steps = self.parameters.workload(number);
            if let Err(message) = self.node(&steps) {
                let mut failure = lock(&self.failure);
                if failure.as_ref().is_none_or(|&(first, _)| number < first) {
                    *failure = Some((number, message));
                }
            }
            let tally = *lock(&self.tally);
            progress(&tally);
        }
    }

    fn finish(self) -> Result<Tally, String> {
        match lock(&self.failure).take() {
            Some((_, message)) => Err(message),
            None => Ok(*lock(&self.tally)),
        }
    }

    /// Runs a workload, and tries the crashes of its last operation.
    fn node(&self, steps: &[Step]) -> Result<(), String> {
        let tried = catch_unwind(AssertUnwindSafe(|| self.try_node(steps)));
        let message = match tried {
            Ok(Ok(tally)) => {
                *lock(&self.tally) += tally;
                return Ok(());
            }
            Ok(Err(message)) => message,
            Err(panic) => match panic.downcast_ref::<String>() {
                Some(message) => format!("panic: {message}"),
                None => "panic".into(),
            },
        };
        let names: Vec<String> = steps.iter().map(Step::to_string).collect();
        Err(format!(
            "{message}\n  again: cargo xtask crashes {} --workload '{}'",
            self.parameters,
            names.join(" ")
        ))
    }

    fn try_node(&self, steps: &[Step]) -> Result<Tally, String> {
        let (image, model) = &self.start;
        let storage = FaultyStorage::from_image(image.clone());
        let mut history = History::new(model.clone(), 0);
        let open = || {
            self.parameters
                .open(&storage)
                .map_err(|error| format!("open: {error}"))
        };
        let mut first_event = 0;
        let mut db = open()?;
        for len in 1..=steps.len() {
            first_event = storage.events() + 1;
            match self.parameters.op(&steps[..len]) {
                Some(op) => operate(&db, &storage, &mut history, &op)?,
                None => {
                    db.close().map_err(|error| format!("close: {error}"))?;
                    history.acknowledge(storage.events());
                    db = open()?;
                }
            }
        }
        let mut tally = Tally {
            workloads: 1,
            ..Tally::default()
        };
        for event in first_event..=storage.events() {
            self.crash(&storage, &history, event, steps, &mut tally)?;
        }
        Ok(tally)
    }

    /// Tries what crashes after this many events may leave.
    fn crash(
        &self,
        storage: &FaultyStorage,
        history: &History,
        events: usize,
        steps: &[Step],
        tally: &mut Tally,
    ) -> Result<(), String> {
        let unsynced = storage.unsynced_changes(events);
        tally.crash_points += 1;
        tally.sampled_points += u64::from(unsynced > UNSYNCED_MAX);
        let path: Vec<u8> = steps.iter().map(|&step| step as u8).collect();
        let mut random = Random(xxh3_64(&path) ^ events as u64);
        for plan in plans(unsynced, &mut random) {
            let image = storage.crash_image(events, &plan);
            tally.images += 1;
            let found = self.content(image, tally);
            found
                .and_then(|found| history.find(events, found))
                .map_err(|error| format!("event {events}, {plan:?}: {error}"))?;
        }
        Ok(())
    }

    /// What an image holds. Opens it when it is a new one.
    fn content(&self, image: Vec<u8>, tally: &mut Tally) -> Result<u64, String> {
        let hash = xxh3_128(&image);
        if let Some(&content) = lock(&self.contents).get(&hash) {
            return Ok(content);
        }
        let written = hash.is_multiple_of(WRITTEN_PART);
        let content = self.read(&image)?;
        if written {
            self.write_on(image, content)?;
        }
        // Another thread may have been faster.
        if let Entry::Vacant(place) = lock(&self.contents).entry(hash) {
            place.insert(content);
            tally.distinct += 1;
            tally.written += u64::from(written);
        }
        Ok(content)
    }

    fn read(&self, image: &[u8]) -> Result<u64, String> {
        let storage = Arc::new(MemoryStorage::from_bytes(image.to_vec()));
        if is_blank(&*storage).map_err(|error| error.to_string())? {
            return Ok(Model::default().fingerprint());
        }
        self.read_storage(storage, findings_after_crash)
    }

    /// Reads and verifies.
    fn read_storage(
        &self,
        storage: Arc<MemoryStorage>,
        findings: impl Fn(&Db) -> shroom::Result<Vec<String>>,
    ) -> Result<u64, String> {
        let options = self.parameters.options().read_only(true);
        let read = || {
            let db = options.open_storage(storage)?;
            Ok((fingerprint(&db)?, findings(&db)?))
        };
        let (content, findings) = read().map_err(|error: shroom::Error| error.to_string())?;
        if findings.is_empty() {
            Ok(content)
        } else {
            Err(format!("not sound: {findings:#?}"))
        }
    }

    /// Opens an image for writing, goes on, and closes: what it held and what was written is there.
    fn write_on(&self, image: Vec<u8>, content: u64) -> Result<(), String> {
        let storage = Arc::new(MemoryStorage::from_bytes(image));
        let write = || {
            let db = self.parameters.options().open_storage(storage.clone())?;
            let mut model = Model::read(&db)?;
            let before = model.fingerprint();
            for op in [
                Op::Append(LARGE, vec![b'w'; 700]),
                Op::Put(SMALL, vec![b'w'; 20]),
                Op::Delete(self.parameters.far()),
                Op::Checkpoint,
                Op::Put(self.parameters.farther(), vec![b'w'; 300]),
                Op::Flush,
            ] {
                run(&db, &op)?;
                model.apply(&op);
            }
            let after = fingerprint(&db)?;
            db.close()?;
            Ok((before, after, model.fingerprint()))
        };
        let (before, after, expected) =
            write().map_err(|error: shroom::Error| format!("opened for writing: {error}"))?;
        if before != content {
            return Err("opened for writing, it holds something else".into());
        }
        let closed = self.read_storage(storage, findings)?;
        if (after, closed) != (expected, expected) {
            return Err(format!(
                "written to, it holds {after:x} and closed {closed:x}, expected {expected:x}"
            ));
        }
        Ok(())
    }
}

/// Does an operation, which must succeed and answer as the model does.
fn operate(db: &Db, storage: &FaultyStorage, history: &mut History, op: &Op) -> Result<(), String> {
    let began = storage.events();
    let answer = perform(db, op).map_err(|error| format!("{op:?}: {error}"))?;
    let expected = history.record(op, began);
    if answer != expected {
        return Err(format!("{op:?} answered {answer:?}, expected {expected:?}"));
    }
    if op.acknowledges_by(expected) {
        history.acknowledge(storage.events());
    }
    Ok(())
}

/// The crashes to try when this many changes are not synced.
fn plans(unsynced: usize, random: &mut Random) -> Vec<CrashPlan> {
    let mut plans = Vec::new();
    let torn_samples = if unsynced <= UNSYNCED_MAX {
        plans.extend((0..1 << unsynced).map(CrashPlan::Subset));
        TORN_SAMPLES
    } else {
        plans.extend([CrashPlan::LoseAll, CrashPlan::KeepAll]);
        plans.extend((0..unsynced).map(CrashPlan::AllBut));
        plans.extend((0..unsynced.min(64)).map(|kept| CrashPlan::Subset(1 << kept)));
        plans.extend((0..SAMPLES).map(|_| CrashPlan::Subset(random.next())));
        SAMPLES
    };
    if unsynced > 0 {
        plans.extend((0..torn_samples).map(|number| CrashPlan::Random {
            seed: random.next(),
            torn: if number % 2 == 0 {
                Torn::Sector512
            } else {
                Torn::Page4096
            },
            reordered: random.below(2) == 0,
        }));
    }
    plans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_workload_comes_once() {
        let tree = Exhaustive {
            page_size: 512,
            start: Start::Empty,
            small_slices: false,
            operations: 3,
        };
        let all: Vec<Vec<Step>> = (0..tree.workloads()).map(|n| tree.workload(n)).collect();
        assert_eq!(all.len(), 1 + 8 + 64 + 512);
        assert!(all.is_sorted_by_key(|steps| steps.len()));
        let distinct: std::collections::HashSet<String> =
            all.iter().map(|steps| format!("{steps:?}")).collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn names_are_read_back() {
        for step in Step::ALL {
            assert_eq!(step.to_string().parse(), Ok(step));
        }
        for start in Start::ALL {
            assert_eq!(start.to_string().parse(), Ok(start));
        }
        assert!("put".parse::<Step>().is_err());
    }

    #[test]
    fn few_changes_are_tried_in_all_combinations() {
        for unsynced in 0..=UNSYNCED_MAX {
            let plans = plans(unsynced, &mut Random(1));
            let subsets = (0..1_u64 << unsynced).map(CrashPlan::Subset);
            assert!(plans.iter().take(1 << unsynced).cloned().eq(subsets));
        }
        let many = plans(UNSYNCED_MAX + 1, &mut Random(1));
        assert!(many.contains(&CrashPlan::AllBut(UNSYNCED_MAX)));
        assert!(many.len() < 1 << UNSYNCED_MAX);
    }

    /// The oracle can fail: a history that promises more than was synced.
    #[test]
    fn a_state_that_may_not_be_is_reported() {
        let tree = Exhaustive {
            page_size: 512,
            start: Start::Empty,
            small_slices: false,
            operations: 1,
        };
        let search = tree.search().unwrap();
        let storage = FaultyStorage::new();
        let mut history = History::new(Model::default(), 0);
        let db = tree.open(&storage).unwrap();
        history.run(&db, &storage, &Op::Put(SMALL, b"one".to_vec()));
        // Not so: it is in memory only.
        history.acknowledge(storage.events());
        let error = search
            .crash(
                &storage,
                &history,
                storage.events(),
                &[],
                &mut Tally::default(),
            )
            .unwrap_err();
        assert!(error.contains("state Some(0) found"), "{error}");
    }

    #[test]
    fn the_figures_do_not_depend_on_the_threads() {
        let tree = Exhaustive {
            page_size: 512,
            start: Start::Closed,
            small_slices: true,
            operations: 2,
        };
        let tally = tree.run(1, &|_| {}).unwrap();
        assert!(tally.distinct > 100 && tally.written > 10, "{tally:?}");
        assert_eq!(tree.run(3, &|_| {}).unwrap(), tally);
    }
}
