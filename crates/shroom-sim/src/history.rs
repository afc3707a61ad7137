//! Which states a crash may leave, and the images that it may leave.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use shroom::Db;
use shroom::storage::faulty::{CrashPlan, FaultyStorage, Torn};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{Model, Op, Outcome, Random, run};

/// What was done to a storage, by the number of events at which it was done.
///
/// * A state is numbered by the operations that led to it: state 0 is what there was at first.
/// * An acknowledgement says that a state is durable; no crash may leave an earlier one.
#[derive(Debug)]
pub struct History {
    /// State 0.
    base: Model,
    /// The operations, each of which led to the next state.
    ops: Vec<Op>,
    /// Fingerprint of each state.
    states: Vec<u64>,
    /// Number of events when the operation that led to a state began.
    began: Vec<usize>,
    /// Number of events when an acknowledgement was given, and the state that it covers.
    acknowledged: Vec<(usize, usize)>,
    /// As `acknowledged`: when the pages held a state.
    checkpoints: Vec<(usize, usize)>,
    /// Index in `acknowledged` of the first one since the database was opened.
    opened: usize,
    /// What the database shows now.
    model: Model,
}

impl History {
    /// Begins with a database that holds `model`, all of it durable, when its storage has seen `events` events.
    pub fn new(model: Model, events: usize) -> Self {
        Self {
            base: model.clone(),
            ops: Vec::new(),
            states: vec![model.fingerprint()],
            began: vec![events],
            acknowledged: vec![(events, 0)],
            checkpoints: Vec::new(),
            opened: 1,
            model,
        }
    }

    /// Fingerprint of state `number`: [`Model::fingerprint`].
    pub fn fingerprint(&self, number: usize) -> u64 {
        self.states[number]
    }

    /// What the database shows now.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// State `number`.
    pub fn model_at(&self, number: usize) -> Model {
        let mut model = self.base.clone();
        for op in &self.ops[..number] {
            model.apply(op);
        }
        model
    }

    /// The states that may be found in a damaged file that was in one of a range, without repetitions.
    ///
    /// That a snapshot was saved or deleted is in the superblock alone, and writes before or after it may be in the journal alone.
    /// Damage that takes the newest of one without a sign need not take that of the other.
    pub fn models(&self, range: Range<usize>) -> Vec<Model> {
        let mut model = self.model_at(range.start);
        let mut live = vec![model.live()];
        let mut named = vec![model.named.clone()];
        for number in range.skip(1) {
            model.apply(&self.ops[number - 1]);
            if self.states[number] != self.states[number - 1] {
                if model.named != named[named.len() - 1] {
                    named.push(model.named.clone());
                }
                live.push(model.live());
            }
        }
        let with = |named: &BTreeMap<_, _>| {
            let named = named.clone();
            live.iter().map(move |live| Model {
                named: named.clone(),
                ..live.clone()
            })
        };
        named.iter().flat_map(with).collect()
    }

    /// The newest of the states that a crash after `events` events may leave and that has this fingerprint.
    ///
    /// # Errors
    /// A message that says what was found instead.
    pub fn find(&self, events: usize, found: u64) -> Result<usize, String> {
        let possible = self.possible(events);
        let state = possible
            .clone()
            .rev()
            .find(|&state| self.states[state] == found);
        state.ok_or_else(|| {
            let anywhere = self.states.iter().rposition(|&state| state == found);
            format!("state {anywhere:?} found, expected {possible:?}")
        })
    }

    /// Does an operation on the database over `storage`, and on the model.
    ///
    /// # Panics
    /// When the operation fails.
    pub fn run(&mut self, db: &Db, storage: &FaultyStorage, op: &Op) {
        let began = storage.events();
        run(db, op).unwrap_or_else(|error| panic!("{op:?}: {error}"));
        let outcome = self.record(op, began);
        if op.acknowledges_by(outcome) {
            self.acknowledge(storage.events());
        }
    }

    /// Notes an operation that was done, and began after `began` events; returns what it must have answered.
    pub fn record(&mut self, op: &Op, began: usize) -> Outcome {
        let outcome = self.model.apply(op);
        self.push(op, began, self.model.fingerprint());
        outcome
    }

    /// Notes an operation that failed, shows nothing, and may be in the file all the same. The last before the end: the
    /// database must be opened again.
    pub fn record_possible(&mut self, op: &Op, began: usize) {
        let mut after = self.model.clone();
        after.apply(op);
        self.push(op, began, after.fingerprint());
    }

    fn push(&mut self, op: &Op, began: usize, fingerprint: u64) {
        self.ops.push(op.clone());
        self.states.push(fingerprint);
        self.began.push(began);
    }

    /// Notes that everything so far was acknowledged as durable after `events` events.
    pub fn acknowledge(&mut self, events: usize) {
        self.acknowledged.push((events, self.states.len() - 1));
    }

    /// Notes that after `events` events the pages held everything so far.
    pub fn checkpoint(&mut self, events: usize) {
        self.checkpoints.push((events, self.states.len() - 1));
    }

    /// Notes that the database was opened again and shows state `number`: what came later is gone for good.
    pub fn reopen(&mut self, number: usize) {
        self.model = self.model_at(number);
        self.ops.truncate(number);
        self.states.truncate(number + 1);
        self.began.truncate(number + 1);
        self.opened = self.acknowledged.len();
    }

    /// The states, by number, that a crash after `events` events may leave.
    pub fn possible(&self, events: usize) -> Range<usize> {
        let acknowledged = self.acknowledged.iter().rev();
        let mut acknowledged = acknowledged.filter(|&&(at, _)| at <= events);
        let first = acknowledged.next().map_or(0, |&(_, state)| state);
        first..self.last(events) + 1
    }

    /// The states that may be found when, after a crash after `events` events, one bit of the file was turned.
    ///
    /// That a frame of the journal was synced is told by the frames after it only; so the last acknowledgement may be lost
    /// without a sign, but not the one before it. The deletion of a snapshot syncs the journal, and adds no frame to it that would
    /// tell. `None` where the acknowledgements since opening do not tell.
    pub fn possible_with_flip(&self, events: usize) -> Option<Range<usize>> {
        let since_open = self.acknowledged.get(self.opened..).unwrap_or_default();
        let before = since_open.iter().rev().filter(|&&(at, _)| at <= events);
        let deletes = |state: usize| matches!(self.op_before(state), Some(Op::Unsave(_)));
        let mut states = before
            .map(|&(_, state)| state)
            .filter(|&state| !deletes(state));
        let newest = self.states[states.next()?];
        let first = states.find(|&state| self.states[state] != newest)?;
        Some(first..self.last(events) + 1)
    }

    /// The states that may be found when, after a crash after `events` events, one stretch of the file is destroyed, say by a
    /// write that went astray. The end of the journal may be lost without a sign, but not what the pages hold, once
    /// both superblock slots say so: there was a sync since. `syncs`: numbers of the sync events.
    pub fn possible_with_damage(&self, events: usize, syncs: &[usize]) -> Option<Range<usize>> {
        let checkpoints = self.checkpoints.iter().rev();
        let mut settled =
            checkpoints.filter(|&&(at, _)| syncs.iter().any(|&sync| at <= sync && sync < events));
        let &(_, first) = settled.next()?;
        Some(first..self.last(events) + 1)
    }

    /// The operation that led to a state.
    fn op_before(&self, state: usize) -> Option<&Op> {
        self.ops.get(state.checked_sub(1)?)
    }

    fn last(&self, events: usize) -> usize {
        let last = self.began.iter().rposition(|&began| began <= events);
        last.unwrap_or(0)
    }
}

/// Each distinct image that the plans give after `events` events.
pub fn crash_images(
    storage: &FaultyStorage,
    events: usize,
    random: &mut Random,
    seen: &mut HashSet<u64>,
    random_plans: usize,
) -> Vec<(CrashPlan, Vec<u8>)> {
    let plans = crash_plans(storage, events, random, random_plans);
    let images = plans.into_iter().map(|plan| {
        let image = storage.crash_image(events, &plan);
        (plan, image)
    });
    images
        .filter(|(_, image)| seen.insert(xxh3_64_with_seed(image, events as u64)))
        .collect()
}

/// What a crash after `events` events may do to the unsynced changes: every subset of a few, some of many.
pub(crate) fn crash_plans(
    storage: &FaultyStorage,
    events: usize,
    random: &mut Random,
    random_plans: usize,
) -> Vec<CrashPlan> {
    let unsynced = storage.unsynced_changes(events);
    let mut plans = vec![CrashPlan::LoseAll, CrashPlan::KeepAll];
    if unsynced <= 4 {
        plans.extend((1..(1_u64 << unsynced).saturating_sub(1)).map(CrashPlan::Subset));
    } else {
        plans.push(CrashPlan::AllBut(random.below(unsynced as u64) as usize));
        plans.push(CrashPlan::AllBut(unsynced - 1));
    }
    if unsynced > 0 {
        for index in 0..random_plans {
            plans.push(CrashPlan::Random {
                seed: random.next(),
                torn: [Torn::Sector512, Torn::Page4096, Torn::None][index % 3],
                reordered: random.below(2) == 0,
            });
        }
    }
    plans
}
