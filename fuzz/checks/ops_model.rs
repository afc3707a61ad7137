//! Runs operations, crashes and reopenings that the input chooses, beside a model.
//!
//! * O1 What the database answers and shows is what the model says, after every operation that is looked at.
//! * O2 After a crash, with any part of what was not synced lost, torn or reordered, the content is the state after some
//!   whole operation, not before the last one that was acknowledged as durable.
//! * O3 `verify` finds nothing, after each opening and at the end.
//! * O4 A snapshot shows what it showed, whatever happens after it. Named ones are part of the content of O1 and O2.
//! * O5 A compacted file holds the present state, is sound, and has the same file hash.
//!
//! Shared by the fuzz target and by the test that replays its seeds.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::storage::faulty::{CrashPlan, FaultyStorage, Torn};
use shroom::{Db, Options, Snapshot};
use shroom_sim::{
    Change, Choices, History, Model, Op, assert_sound, content_root, fingerprint, perform,
};

/// A step from this number on is about named snapshots, the content root or the compacted file.
const STATES: u8 = 232;
/// Steps of a scenario, at most.
const STEPS_MAX: usize = 150;
/// Crashes of a scenario, at most: each costs a copy of the file and a look at everything.
const CRASHES_MAX: usize = 8;
/// Longest value, in bytes: above the least journal limit, so that some values bypass the journal.
const VALUE_LEN_MAX: usize = 70_000;
/// Bytes of values in a scenario, at most; then they are short.
const PAYLOAD_MAX: usize = 1 << 20;
/// Snapshots held at a time.
const SNAPSHOTS_MAX: usize = 3;

/// Tries an input.
pub(crate) fn examine(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut world = World::new(&mut choices);
    for _ in 0..STEPS_MAX {
        if choices.is_empty() {
            break;
        }
        world.step(&mut choices);
    }
    world.end();
}

/// A database, its storage, and what is known of both.
struct World {
    options: Options,
    page_len: usize,
    storage: FaultyStorage,
    db: Db,
    history: History,
    snapshots: Vec<(Snapshot, Model)>,
    crashes: usize,
    payload: usize,
}

impl World {
    fn new(choices: &mut Choices<'_>) -> Self {
        let setting = choices.byte();
        let page_size = [512, 1024, 4096, 16_384][usize::from(setting % 4)];
        let mut options = Options::new()
            .page_size(page_size)
            .journal_limit(64 << 10)
            .background(false);
        if setting & 4 != 0 {
            options = options.slice_bytes(1);
        }
        let storage = FaultyStorage::new();
        let db = open(&options, &storage);
        Self {
            options,
            page_len: page_size as usize,
            storage,
            db,
            history: History::new(Model::default(), 0),
            snapshots: Vec::new(),
            crashes: 0,
            payload: 0,
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let byte = choices.byte();
        if byte >= STATES {
            return self.states(byte - STATES, choices);
        }
        match byte % 32 {
            0..9 => {
                let op = Op::Put(self.id(choices), self.value(choices));
                self.run(&op);
            }
            9..13 => {
                let op = Op::Append(self.id(choices), self.value(choices));
                self.run(&op);
            }
            13..17 => {
                let op = Op::Delete(self.id(choices));
                self.run(&op);
            }
            17 => {
                let op = Op::Insert(self.value(choices));
                self.run(&op);
            }
            18..21 => {
                let synced = choices.byte().is_multiple_of(2);
                let changes = (0..choices.byte() % 12).map(|_| self.change(choices));
                let op = Op::Batch(changes.collect(), synced);
                self.run(&op);
            }
            21 => {
                let count = choices.byte() % 40;
                let tokens: BTreeMap<u64, Vec<u8>> = (0..count)
                    .map(|_| (self.id(choices), self.value(choices)))
                    .collect();
                self.run(&Op::Bulk(tokens.into_iter().collect()));
            }
            22 | 23 => self.run(&Op::Flush),
            24 | 25 => self.run(&Op::Checkpoint),
            26 => self.fill(choices),
            27 => self.reopen(),
            28 => self.look(choices),
            29 => self.snapshot(),
            _ => self.crash(choices),
        }
    }

    /// Saves, restores and deletes named snapshots; compacts and compares.
    fn states(&mut self, kind: u8, choices: &mut Choices<'_>) {
        let number = choices.byte() % 3;
        match kind {
            0..7 => self.run(&Op::Save(number)),
            7..11 => self.run(&Op::Restore(number)),
            11..15 => self.run(&Op::Unsave(number)),
            15 => self.run(&Op::PunchHoles),
            16..18 => {
                let root = self.db.content_root().expect("the content root");
                assert_eq!(*root.as_bytes(), content_root(self.history.model()));
            }
            18..20 => self.compact(),
            // As the file does, or from now on.
            _ => {
                let track = choices.byte().is_multiple_of(2);
                self.options = self.options.clone().track_content_root(track);
                self.reopen();
            }
        }
    }

    /// O5.
    fn compact(&self) {
        let storage = Arc::new(MemoryStorage::new());
        let go_on = |_: &_| ControlFlow::Continue(());
        let snapshot = self.db.snapshot();
        snapshot
            .compact_into_storage(&*storage, go_on)
            .expect("a sound database can be compacted");
        let hash = self.db.file_hash().expect("and has a file hash");
        let compacted = Options::new()
            .read_only(true)
            .open_storage(storage)
            .expect("a compacted file can be opened");
        assert_sound(&compacted);
        assert_eq!(compacted.file_hash().expect("a file hash"), hash);
        let found = fingerprint(&compacted).expect("a compacted file can be read");
        assert_eq!(found, self.history.model().live().fingerprint());
    }

    /// Does an operation, and compares the answer.
    fn run(&mut self, op: &Op) {
        let began = self.storage.events();
        let answer = perform(&self.db, op).unwrap_or_else(|error| panic!("{op:?}: {error}"));
        let expected = self.history.record(op, began);
        assert_eq!(answer, expected, "{op:?}");
        if op.acknowledges_by(expected) {
            self.history.acknowledge(self.storage.events());
        }
    }

    /// Many small tokens, so that packs fill and the directory grows levels.
    fn fill(&mut self, choices: &mut Choices<'_>) {
        let (first, step) = (self.id(choices), u64::from(choices.byte() % 4) + 1);
        let (count, len) = (u64::from(choices.byte()), usize::from(choices.byte() % 64));
        let changes = (0..count).filter_map(|index| {
            let id = first.checked_add(index * step)?;
            Some(Change::Put(id, vec![index as u8; len]))
        });
        let op = Op::Batch(changes.collect(), false);
        self.run(&op);
    }

    fn id(&self, choices: &mut Choices<'_>) -> u64 {
        match choices.byte() {
            255 => u64::MAX - 1 - u64::from(choices.byte() % 3),
            254 => u64::from(choices.byte()) << 40,
            253 => u64::from(choices.short()),
            near => u64::from(near % 48),
        }
    }

    fn value(&mut self, choices: &mut Choices<'_>) -> Vec<u8> {
        let quarter = self.page_len / 4;
        let shape = choices.byte();
        let len = match shape {
            0 => 0,
            1..32 => quarter - 2 + usize::from(choices.byte() % 5),
            32..48 => usize::from(choices.short()) % (4 * self.page_len),
            48..52 => usize::from(choices.short()) % 64 * 1111,
            _ => usize::from(shape % 40),
        };
        let room = PAYLOAD_MAX.saturating_sub(self.payload).max(16);
        let len = len.min(VALUE_LEN_MAX).min(room);
        self.payload += len;
        let fill = choices.byte();
        (0..len)
            .map(|at| fill.wrapping_add((at / 7) as u8))
            .collect()
    }

    fn change(&mut self, choices: &mut Choices<'_>) -> Change {
        let id = self.id(choices);
        match choices.byte() % 8 {
            0..4 => Change::Put(id, self.value(choices)),
            4 | 5 => Change::Append(id, self.value(choices)),
            6 => Change::Delete(id),
            _ => Change::Tag(choices.long() >> (choices.byte() % 64)),
        }
    }

    /// O1 and O4.
    fn look(&mut self, choices: &mut Choices<'_>) {
        let model = self.history.model();
        for _ in 0..4 {
            let id = self.id(choices);
            let found = self.db.get(id).expect("a sound database can be read");
            let expected = model.tokens.get(&id);
            assert_eq!(found.as_deref(), expected.map(Vec::as_slice), "{id}");
            assert_eq!(self.db.contains(id).expect("as get"), expected.is_some());
        }
        let (low, high) = (self.id(choices), self.id(choices));
        let (low, high) = (low.min(high), low.max(high));
        let keys: Vec<u64> = model.tokens.range(low..=high).map(|(id, _)| *id).collect();
        let found: Result<Vec<u64>, _> = self.db.keys(low..=high).collect();
        assert_eq!(found.expect("keys"), keys);
        let found: Result<Vec<u64>, _> = self.db.keys(low..=high).rev().collect();
        assert!(found.expect("keys").iter().rev().eq(keys.iter()));
        assert_eq!(self.db.len().expect("len"), model.tokens.len() as u64);
        assert_eq!(&Model::read(&self.db).expect("all"), model);
        self.snapshots.iter().for_each(check_snapshot);
    }

    fn snapshot(&mut self) {
        if self.snapshots.len() == SNAPSHOTS_MAX {
            check_snapshot(&self.snapshots.remove(0));
        }
        let model = self.history.model().clone();
        self.snapshots.push((self.db.snapshot(), model));
    }

    fn forget_snapshots(&mut self) {
        self.snapshots
            .drain(..)
            .for_each(|held| check_snapshot(&held));
    }

    /// Closes and opens again: everything is durable.
    fn reopen(&mut self) {
        self.forget_snapshots();
        let image = self.close_in_place();
        self.start(&image, self.history.model().clone());
    }

    fn close_in_place(&mut self) -> Vec<u8> {
        let placeholder = Db::in_memory().expect("a database in memory");
        std::mem::replace(&mut self.db, placeholder)
            .close()
            .unwrap_or_else(|error| panic!("close: {error}"));
        self.history.acknowledge(self.storage.events());
        self.storage.image()
    }

    /// Crashes at some event since the last opening (which opening itself may be), and goes on with what is left (O2).
    fn crash(&mut self, choices: &mut Choices<'_>) {
        if self.crashes == CRASHES_MAX {
            return;
        }
        self.crashes += 1;
        self.forget_snapshots();
        if choices.byte().is_multiple_of(4) {
            self.close_in_place(); // crashes while it is closed, among others
        }
        let total = self.storage.events();
        let back = match choices.byte() {
            byte @ 0..200 => usize::from(byte % 16),
            _ => usize::from(choices.short()),
        };
        let events = total.saturating_sub(back);
        let plan = crash_plan(choices, self.storage.unsynced_changes(events));
        let image = self.storage.crash_image(events, &plan);
        let storage = FaultyStorage::from_image(image.clone());
        let db = open(&self.options, &storage);
        let found = fingerprint(&db).expect("what a crash left can be read");
        let state = self
            .history
            .find(events, found)
            .unwrap_or_else(|error| panic!("event {events} of {total}, {plan:?}: {error}"));
        drop(db);
        self.start(&image, self.history.model_at(state));
    }

    /// Opens an image that holds `model`, all of it durable.
    fn start(&mut self, image: &[u8], model: Model) {
        self.storage = FaultyStorage::from_image(image.to_vec());
        self.db = open(&self.options, &self.storage);
        assert_sound(&self.db);
        let found = fingerprint(&self.db).expect("a sound database can be read");
        assert_eq!(found, model.fingerprint());
        self.history = History::new(model, 0);
    }

    fn end(mut self) {
        assert_sound(&self.db);
        self.reopen();
        assert_eq!(&Model::read(&self.db).expect("all"), self.history.model());
    }
}

fn open(options: &Options, storage: &FaultyStorage) -> Db {
    options
        .open_storage(Arc::new(storage.clone()))
        .unwrap_or_else(|error| panic!("cannot open: {error}"))
}

fn check_snapshot((snapshot, model): &(Snapshot, Model)) {
    let tokens = snapshot.iter().map(|token| {
        let (id, bytes) = token.expect("a snapshot can be read");
        (id, bytes.to_vec())
    });
    assert!(tokens.eq(model.tokens.clone()), "a snapshot changed");
    assert_eq!(snapshot.tag(), model.tag);
}

fn crash_plan(choices: &mut Choices<'_>, unsynced: usize) -> CrashPlan {
    match choices.byte() % 6 {
        0 => CrashPlan::LoseAll,
        1 => CrashPlan::KeepAll,
        2 => CrashPlan::Subset(choices.long()),
        3 if unsynced > 0 => CrashPlan::AllBut(choices.index(unsynced)),
        _ => CrashPlan::Random {
            seed: u64::from(choices.word()),
            torn: choices.one_of(&[Torn::None, Torn::Sector512, Torn::Page4096]),
            reordered: choices.byte().is_multiple_of(2),
        },
    }
}
