//! Which states a crash may leave, and the images that it may leave.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use shroom::Db;
use shroom::storage::faulty::{CrashPlan, FaultyStorage, Torn};

use crate::{Model, Op, Random, run};

/// What was done to a storage, by the number of events at which it was done.
pub struct History {
    /// Fingerprint of the state after each operation that may change it; the first is that of the empty database.
    states: Vec<u64>,
    /// Number of events when the operation that led to a state began.
    began: Vec<usize>,
    /// Number of events when an acknowledgement was given, and the state that it covers.
    acknowledged: Vec<(usize, usize)>,
    /// The last state.
    model: Model,
}

impl History {
    /// Begins with a database that holds `model`, all of it durable, when its storage has seen `events` events.
    pub fn new(model: Model, events: usize) -> Self {
        Self {
            states: vec![model.fingerprint()],
            began: vec![events],
            acknowledged: vec![(events, 0)],
            model,
        }
    }

    /// Fingerprint of state `number`: [`Model::fingerprint`].
    pub fn fingerprint(&self, number: usize) -> u64 {
        self.states[number]
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
        self.model.apply(op);
        self.states.push(self.model.fingerprint());
        self.began.push(began);
        if op.acknowledges() {
            self.acknowledge(storage.events());
        }
    }

    /// Notes that everything so far was acknowledged as durable after `events` events.
    pub fn acknowledge(&mut self, events: usize) {
        self.acknowledged.push((events, self.states.len() - 1));
    }

    /// The states, by number, that a crash after `events` events may leave.
    pub fn possible(&self, events: usize) -> std::ops::Range<usize> {
        let acknowledged = self.acknowledged.iter().rev();
        let mut acknowledged = acknowledged.filter(|&&(at, _)| at <= events);
        let first = acknowledged.next().map_or(0, |&(_, state)| state);
        let last = self.began.iter().rposition(|&began| began <= events);
        first..last.unwrap_or(0) + 1
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
    let mut images = Vec::new();
    for plan in plans {
        let image = storage.crash_image(events, &plan);
        let mut hasher = DefaultHasher::new();
        (events, &image).hash(&mut hasher);
        if seen.insert(hasher.finish()) {
            images.push((plan, image));
        }
    }
    images
}
