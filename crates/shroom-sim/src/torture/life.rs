//! A life: the database from its opening to its end, the model beside it, and the judgement on every answer.

use std::collections::VecDeque;

use shroom::storage::faulty::{Fault, FaultyStorage};
use shroom::{Db, Error, ErrorKind, Snapshot};

use super::damage::names_a_place;
use super::reads::{Read, Wrong, check_snapshot};
use super::world::{Remains, World};
use super::{End, Failure, FailureKind, Opening, Plug, Step};
use crate::{Change, History, Model, Op, fingerprint, is_blank};

/// An open database, and what it must hold.
pub(super) struct Life {
    db: Db,
    plug: Plug,
    storage: FaultyStorage,
    history: History,
    /// Snapshots held, with what they must show.
    held: VecDeque<(Snapshot, Model)>,
    opening: Opening,
    /// Number of events when it began.
    first_event: usize,
    /// [`faults`] when it began.
    faults_before: (usize, u64),
    poisoned: bool,
    damaged_at: Option<usize>,
}

/// What is left of a life, for judging the crashes that it could have ended in.
pub(super) struct Ended {
    pub(super) storage: FaultyStorage,
    pub(super) history: History,
    pub(super) opening: Opening,
    pub(super) first_event: usize,
    /// It was closed without an error.
    pub(super) closed: bool,
    /// Number of events when the file was damaged.
    pub(super) damaged_at: Option<usize>,
}

/// How many faults were met, and how often growth was refused.
fn faults(storage: &FaultyStorage) -> (usize, u64) {
    (storage.injected().len(), storage.refused())
}

/// Counts the faults met in a life.
fn tally_faults(world: &mut World<'_>, storage: &FaultyStorage, before: (usize, u64)) {
    for injected in &storage.injected()[before.0..] {
        let fault = match injected.fault {
            Fault::Misdirected { .. } => "Misdirected".to_owned(),
            fault => format!("{fault:?}"),
        };
        world.tally.fault(format!("{} {fault}", injected.operation));
    }
    for _ in before.1..storage.refused() {
        world.tally.fault("grow on a full disk".to_owned());
    }
}

fn unreadable(error: Error) -> Failure {
    Failure::new(FailureKind::Unreadable, error)
}

/// An error that an injected fault excuses: of the system, or told by an earlier one; never "the file is damaged".
fn fits_a_fault(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Io | ErrorKind::Full | ErrorKind::Poisoned
    )
}

impl Life {
    pub(super) fn begin(
        world: &mut World<'_>,
        remains: Remains,
        opening: &Opening,
    ) -> Result<Self, Failure> {
        let Remains {
            storage,
            mut history,
        } = remains;
        let page_size = world.settings.workload.page_size;
        if opening.read_only_first {
            check_read_only(&storage, &history, opening, page_size)?;
        }
        let (first_event, faults_before) = (storage.events(), faults(&storage));
        if let Some((ahead, fault)) = opening.fault {
            storage.fail_call(storage.calls() + ahead, fault);
        }
        let options = opening.options(page_size);
        let mut plug = Plug::new(storage.clone());
        let mut opened = options.open_storage(world.engine.storage(plug.clone()));
        if let Err(error) = &opened {
            world.tally.error(error);
            if faults(&storage) == faults_before || !fits_a_fault(error) {
                return Err(Failure::new(FailureKind::Unreadable, error));
            }
            storage.clear_faults();
            plug.pull();
            plug = Plug::new(storage.clone());
            opened = options.open_storage(world.engine.storage(plug.clone()));
        }
        let db = opened.map_err(unreadable)?;
        let found = fingerprint(&db).map_err(unreadable)?;
        let state = history
            .find(storage.events(), found)
            .map_err(|message| Failure::new(FailureKind::WrongState, message))?;
        history.reopen(state);
        let life = Self {
            db,
            plug,
            storage,
            history,
            held: VecDeque::new(),
            opening: *opening,
            first_event,
            faults_before,
            poisoned: false,
            damaged_at: None,
        };
        life.read(world, Read::Root)?;
        Ok(life)
    }

    /// Does one step of the script, other than ending.
    pub(super) fn step(&mut self, world: &mut World<'_>, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Op(op) => self.perform(world, op)?,
            Step::Read(read) => {
                world.tally.add("reads", 1);
                self.read(world, *read)?;
            }
            Step::Hold => {
                world.tally.add("snapshots held", 1);
                let held = (self.db.snapshot(), self.history.model().clone());
                self.held.push_back(held);
            }
            Step::Release => {
                if let Some((snapshot, model)) = self.held.pop_front() {
                    self.check_held(world, &snapshot, &model)?;
                }
            }
            Step::Compact(steps, budget) => self.compact(world, *steps, *budget)?,
            Step::Fault(ahead, fault) => self.arm(*ahead, *fault),
            Step::Room(bytes) => {
                let limit = bytes.map(|bytes| self.storage.image().len() as u64 + bytes);
                self.storage.set_capacity(limit);
            }
            Step::Flip(seed) => {
                if self.prepare_damage(world)? {
                    world.tally.add("bits turned under the running engine", 1);
                    let bits = self.storage.image().len() as u64 * 8;
                    let bit = seed % bits;
                    self.storage.flip_bit(bit / 8, (bit % 8) as u32);
                }
            }
            Step::Misdirect(ahead, seed) => {
                if self.prepare_damage(world)? {
                    let sectors = self.storage.image().len() as u64 / 512;
                    let to = seed % sectors * 512;
                    self.arm(*ahead, Fault::Misdirected { to });
                }
            }
            Step::End(..) => unreachable!("the world ends lives"),
        }
        Ok(())
    }

    fn arm(&self, ahead: u64, fault: Fault) {
        self.storage.fail_call(self.storage.calls() + ahead, fault);
    }

    /// Whether an error has a reason in this life.
    fn excuses(&self, error: &Error) -> bool {
        let by_fault = faults(&self.storage) != self.faults_before && fits_a_fault(error);
        by_fault || self.excuses_damage(error)
    }

    fn excuses_damage(&self, error: &Error) -> bool {
        self.damaged_at.is_some() && error.is_corruption() && names_a_place(error)
    }

    fn perform(&mut self, world: &mut World<'_>, op: &Op) -> Result<(), Failure> {
        world.tally.add("operations", 1);
        let began = self.storage.events();
        match world.engine.perform(&self.db, op) {
            Ok(outcome) => {
                world.digest.update(b"ok");
                if self.poisoned {
                    let message = format!("{op:?}");
                    return Err(Failure::new(FailureKind::PoisonIgnored, message));
                }
                let expected = self.history.record(op, began);
                if outcome != expected {
                    let message = format!("{op:?}: {outcome:?}, expected {expected:?}");
                    return Err(Failure::new(FailureKind::WrongAnswer, message));
                }
                let events = self.storage.events();
                if op.acknowledges_by(expected) {
                    self.history.acknowledge(events);
                }
                if op.checkpoints_by(expected) {
                    self.history.checkpoint(events);
                }
                Ok(())
            }
            Err(error) => {
                world.tally.error(&error);
                world.digest.update(error.to_string().as_bytes());
                if !self.excuses(&error) {
                    let message = format!("{op:?}: {error}");
                    return Err(Failure::new(FailureKind::WrongError, message));
                }
                if self.poisoned && error.kind() != ErrorKind::Poisoned {
                    let message = format!("{op:?}, poisoned before: {error}");
                    return Err(Failure::new(FailureKind::WrongError, message));
                }
                self.after_failure(op, began)
            }
        }
    }

    /// Steps of a compaction: they change nothing that is shown, whether they fail or not.
    fn compact(&mut self, world: &mut World<'_>, steps: u32, budget: u64) -> Result<(), Failure> {
        if self.damaged_at.is_some() {
            // What it costs is known for the pages as they lay then.
            return Ok(());
        }
        for _ in 0..steps {
            let began = self.storage.events();
            match self.db.compact_step(budget) {
                Ok(_) if self.poisoned => {
                    return Err(Failure::new(FailureKind::PoisonIgnored, "a compaction"));
                }
                Ok(progress) => {
                    world.tally.add("steps of compactions", 1);
                    world.digest.update(&progress.file_bytes.to_le_bytes());
                    if progress.done {
                        world.tally.add("compactions", 1);
                        break;
                    }
                }
                Err(error) => {
                    world.tally.error(&error);
                    world.digest.update(error.to_string().as_bytes());
                    if !self.excuses(&error) {
                        let message = format!("a compaction: {error}");
                        return Err(Failure::new(FailureKind::WrongError, message));
                    }
                    // Like a checkpoint, it has no content of its own.
                    return self.after_failure(&Op::Checkpoint, began);
                }
            }
        }
        match fingerprint(&self.db) {
            Ok(found) if found == self.history.model().fingerprint() => Ok(()),
            Ok(_) => Err(Failure::new(FailureKind::HalfDone, "a compaction")),
            Err(error) => self.judge_read(Err(Wrong::Error(error)), "after a compaction"),
        }
    }

    /// An operation failed: what is shown is as before, but for a batch that was committed and not synced.
    fn after_failure(&mut self, op: &Op, began: usize) -> Result<(), Failure> {
        let was_poisoned = self.poisoned;
        // An empty batch changes nothing, and is refused by a poisoned database.
        let probe = self.db.batch().commit();
        self.poisoned = probe.is_err_and(|error| error.kind() == ErrorKind::Poisoned);
        let seen = match Model::read(&self.db) {
            Ok(seen) => seen,
            Err(error) if self.excuses_damage(&error) => return Ok(()),
            Err(error) => return Err(unreadable(error)),
        };
        if seen == *self.history.model() {
            if self.poisoned && !was_poisoned {
                self.history.record_possible(op, began);
            }
            return Ok(());
        }
        let mut after = self.history.model().clone();
        after.apply(op);
        // A restore is done when what follows it fails: beginning to keep track of the content.
        if matches!(op, Op::Batch(_, true) | Op::Restore(_)) && seen == after {
            self.history.record(op, began);
            return Ok(());
        }
        Err(Failure::new(FailureKind::HalfDone, format!("{op:?}")))
    }

    fn judge_read(&self, result: Result<(), Wrong>, what: &str) -> Result<(), Failure> {
        match result {
            Ok(()) => Ok(()),
            Err(Wrong::Error(error)) if self.excuses(&error) => Ok(()),
            Err(Wrong::Error(error)) => Err(Failure::new(
                FailureKind::Unreadable,
                format!("{what}: {error}"),
            )),
            Err(Wrong::Data(message)) => Err(Failure::new(
                FailureKind::WrongRead,
                format!("{what}: {message}"),
            )),
        }
    }

    fn read(&self, world: &mut World<'_>, read: Read) -> Result<(), Failure> {
        let result = read.check(&self.db, self.history.model());
        if let (Read::Verify, Err(Wrong::Data(message))) = (read, &result) {
            // In a damaged file there is something to be found.
            return match self.damaged_at {
                Some(_) => Ok(()),
                None => Err(Failure::new(FailureKind::Unsound, message)),
            };
        }
        if let Err(Wrong::Error(error)) = &result {
            world.tally.error(error);
        }
        self.judge_read(result, &format!("{read:?}"))
    }

    fn check_held(
        &self,
        world: &mut World<'_>,
        snapshot: &Snapshot,
        model: &Model,
    ) -> Result<(), Failure> {
        let seed = world.random.next();
        self.judge_read(check_snapshot(snapshot, model, seed), "a snapshot held")
    }

    /// Brings the file into a state of which it is known what damage may cost, and notes that it is damaged from now on.
    /// False when there is no such state, or it is damaged already.
    fn prepare_damage(&mut self, world: &mut World<'_>) -> Result<bool, Failure> {
        if self.damaged_at.is_some() {
            return Ok(false);
        }
        let tag = vec![Change::Tag(world.random.next())];
        for op in [Op::Checkpoint, Op::Batch(tag, true)] {
            self.perform(world, &op)?;
        }
        let sound = !self.poisoned && faults(&self.storage) == self.faults_before;
        if sound {
            self.damaged_at = Some(self.storage.events());
        }
        Ok(sound)
    }

    /// Ends it.
    pub(super) fn end(self, world: &mut World<'_>, end: End) -> Result<Ended, Failure> {
        let Self {
            db,
            plug,
            storage,
            mut history,
            held,
            opening,
            first_event,
            faults_before,
            damaged_at,
            ..
        } = self;
        let mut closed = false;
        if end == End::Close {
            match db.close() {
                Ok(()) => {
                    world.tally.add("closings", 1);
                    history.acknowledge(storage.events());
                    history.checkpoint(storage.events());
                    closed = true;
                }
                Err(error) => {
                    world.tally.error(&error);
                    let faulty = faults(&storage) != faults_before && fits_a_fault(&error);
                    let damaged = damaged_at.is_some() && error.is_corruption();
                    if !faulty && !damaged {
                        let message = format!("close: {error}");
                        return Err(Failure::new(FailureKind::WrongError, message));
                    }
                }
            }
            plug.pull();
        } else {
            world.tally.add("killings", 1);
            plug.pull();
            drop(db);
        }
        // Snapshots outlive the database.
        for (snapshot, model) in held {
            let seed = world.random.next();
            match check_snapshot(&snapshot, &model, seed) {
                Ok(()) => {}
                Err(Wrong::Error(error)) if damaged_at.is_some() && error.is_corruption() => {}
                Err(wrong) => {
                    let message = format!("a snapshot that outlives its database: {wrong:?}");
                    return Err(Failure::new(FailureKind::WrongRead, message));
                }
            }
        }
        storage.clear_faults();
        storage.set_capacity(None);
        tally_faults(world, &storage, faults_before);
        Ok(Ended {
            storage,
            history,
            opening,
            first_event,
            closed,
            damaged_at,
        })
    }
}

fn check_read_only(
    storage: &FaultyStorage,
    history: &History,
    opening: &Opening,
    page_size: u32,
) -> Result<(), Failure> {
    let plug = Plug::new(storage.clone());
    if is_blank(&plug).map_err(|error| unreadable(error.into()))? {
        return Ok(());
    }
    let events = storage.events();
    let options = opening.options(page_size).read_only(true);
    let db = options
        .open_storage(std::sync::Arc::new(plug))
        .map_err(unreadable)?;
    let found = fingerprint(&db).map_err(unreadable)?;
    history
        .find(events, found)
        .map_err(|message| Failure::new(FailureKind::WrongState, message))?;
    db.close().map_err(unreadable)?;
    if storage.events() != events {
        let message = "a database opened for reading changed its file";
        return Err(Failure::new(FailureKind::HalfDone, message));
    }
    Ok(())
}
