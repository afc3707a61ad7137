//! The judge judged: engines that are wrong on purpose are found out, and their failures shrink.

use std::io;
use std::sync::Arc;

use shroom::storage::{Storage, View};
use shroom::{Db, ReadCheck, Result};

use super::*;
use crate::{Change, Op, Outcome, perform};

/// Runs worlds until one fails, and shrinks that.
fn found_out(engine: &dyn Engine, script: impl Fn(u64) -> Script) -> (FailureKind, Script) {
    let failing = (1..200).find_map(|seed| {
        let script = script(seed);
        let failure = run(&script, engine).failure?;
        Some((script, failure))
    });
    let (script, failure) = failing.expect("a wrong engine is found out");
    let fails = |shorter: &Script| {
        run(shorter, engine)
            .failure
            .is_some_and(|found| found.kind == failure.kind)
    };
    let short = shrink(&script, 300, fails);
    println!("{failure}\n{short}");
    assert!(fails(&short), "what was shrunk fails no more");
    assert!(short.steps.len() <= script.steps.len());
    (failure.kind, short)
}

/// The script of a seed, without faults: for engines that also do what is wrong after one.
fn without_faults(seed: u64) -> Script {
    let mut script = Script::new(seed);
    script.opening.fault = None;
    script
        .steps
        .retain(|step| !matches!(step, Step::Fault(..) | Step::Room(_)));
    for step in &mut script.steps {
        if let Step::End(_, opening) = step {
            opening.fault = None;
        }
    }
    script
}

/// Calls a storage, with other syncs.
#[derive(Debug)]
struct Lying {
    plug: Plug,
    /// Whether a sync is attempted at all; its errors are hidden in any case.
    syncs: bool,
}

impl Storage for Lying {
    fn len(&self) -> io::Result<u64> {
        self.plug.len()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.plug.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.plug.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        if self.syncs {
            drop(self.plug.sync());
        }
        Ok(())
    }
    fn grow(&self, len: u64) -> io::Result<()> {
        self.plug.grow(len)
    }
    fn shrink(&self, len: u64) -> io::Result<()> {
        self.plug.shrink(len)
    }
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.plug.punch_hole(offset, len)
    }
    fn view(&self, len: u64) -> io::Result<View> {
        self.plug.view(len)
    }
}

struct LyingStorage {
    syncs: bool,
}

impl Engine for LyingStorage {
    fn storage(&self, plug: Plug) -> Arc<dyn Storage> {
        Arc::new(Lying {
            plug,
            syncs: self.syncs,
        })
    }
}

#[test]
fn a_skipped_sync_is_found_out() {
    let (kind, short) = found_out(&LyingStorage { syncs: false }, Script::new);
    let expected = [
        FailureKind::WrongState,
        FailureKind::Unreadable,
        FailureKind::Unsound,
    ];
    assert!(expected.contains(&kind), "{kind:?}");
    assert!(short.steps.len() <= 4, "{short}");
}

#[test]
fn a_failed_sync_taken_for_a_good_one_is_found_out() {
    let (kind, _) = found_out(&LyingStorage { syncs: true }, Script::new);
    let expected = [
        FailureKind::WrongError,
        FailureKind::WrongState,
        FailureKind::Unreadable,
        FailureKind::Unsound,
    ];
    assert!(expected.contains(&kind), "{kind:?}");
}

/// An engine that does its operations in another way.
struct Wrong<F>(F);

impl<F: Fn(&Db, &Op) -> Result<Outcome> + Sync> Engine for Wrong<F> {
    fn perform(&self, db: &Db, op: &Op) -> Result<Outcome> {
        (self.0)(db, op)
    }
}

#[test]
fn an_acknowledged_state_that_is_lost_is_found_out() {
    let engine = Wrong(|db: &Db, op: &Op| match op {
        Op::Flush => Ok(Outcome::Done),
        op => perform(db, op),
    });
    let (kind, short) = found_out(&engine, without_faults);
    assert_eq!(kind, FailureKind::WrongState);
    assert!(short.steps.len() <= 3, "{short}");
}

#[test]
fn a_torn_batch_is_found_out() {
    let engine = Wrong(|db: &Db, op: &Op| match op {
        Op::Batch(changes, synced) => {
            let (first, second) = changes.split_at(changes.len() / 2);
            perform(db, &Op::Batch(first.to_vec(), *synced))?;
            perform(db, &Op::Batch(second.to_vec(), *synced))
        }
        op => perform(db, op),
    });
    let (kind, short) = found_out(&engine, without_faults);
    assert_eq!(kind, FailureKind::WrongState);
    assert!(short.steps.len() <= 3, "{short}");
}

#[test]
fn a_wrong_tag_is_found_out() {
    let engine = Wrong(|db: &Db, op: &Op| match op {
        Op::Batch(changes, synced) => {
            let mut changes = changes.clone();
            changes.retain(|change| !matches!(change, Change::Tag(_)));
            perform(db, &Op::Batch(changes, *synced))
        }
        op => perform(db, op),
    });
    let (kind, _) = found_out(&engine, without_faults);
    let expected = [
        FailureKind::WrongState,
        FailureKind::WrongRead,
        FailureKind::HalfDone,
    ];
    assert!(expected.contains(&kind), "{kind:?}");
}

#[test]
fn a_wrong_answer_is_found_out() {
    let engine = Wrong(|db: &Db, op: &Op| match perform(db, op)? {
        Outcome::Length(length) => Ok(Outcome::Length(length + 1)),
        outcome => Ok(outcome),
    });
    let (kind, short) = found_out(&engine, Script::new);
    assert_eq!(kind, FailureKind::WrongAnswer);
    assert_eq!(short.steps.len(), 1, "{short}");
}

/// Found at the latest when the names are compared.
const WRONG_SNAPSHOT: [FailureKind; 4] = [
    FailureKind::WrongState,
    FailureKind::WrongRead,
    FailureKind::WrongAnswer,
    FailureKind::HalfDone,
];

#[test]
fn a_snapshot_that_is_not_saved_is_found_out() {
    let engine = Wrong(|db: &Db, op: &Op| match op {
        Op::Save(_) => perform(db, &Op::Checkpoint),
        op => perform(db, op),
    });
    let (kind, short) = found_out(&engine, without_faults);
    assert!(WRONG_SNAPSHOT.contains(&kind), "{kind:?}");
    assert!(short.steps.len() <= 3, "{short}");
}

#[test]
fn a_snapshot_that_follows_the_present_state_is_found_out() {
    let engine = Wrong(|db: &Db, op: &Op| {
        let outcome = perform(db, op)?;
        if let (Op::Save(number), Outcome::Refused) = (op, outcome) {
            perform(db, &Op::Unsave(*number))?;
            perform(db, op)?;
        }
        Ok(outcome)
    });
    let (kind, _) = found_out(&engine, without_faults);
    assert!(WRONG_SNAPSHOT.contains(&kind), "{kind:?}");
}

#[test]
fn a_restore_that_keeps_what_came_after_is_found_out() {
    let engine = Wrong(|db: &Db, op: &Op| match op {
        Op::Restore(_) => {
            // As if the journal were replayed over the restored state.
            let later: Vec<_> = db.iter().collect::<Result<_>>()?;
            let outcome = perform(db, op)?;
            if outcome == Outcome::Done {
                for (id, bytes) in later.into_iter().filter(|(id, _)| id % 2 == 0) {
                    perform(db, &Op::Put(id, bytes.to_vec()))?;
                }
            }
            Ok(outcome)
        }
        op => perform(db, op),
    });
    let (kind, _) = found_out(&engine, without_faults);
    assert!(WRONG_SNAPSHOT.contains(&kind), "{kind:?}");
}

#[test]
fn a_deletion_that_a_crash_undoes_is_found_out() {
    let engine = Wrong(|db: &Db, op: &Op| match op {
        // It says that it is done, and leaves it to the next call.
        Op::Unsave(number) if db.open_snapshot(&crate::snapshot_name(*number)).is_ok() => {
            Ok(Outcome::Done)
        }
        op => perform(db, op),
    });
    let (kind, _) = found_out(&engine, without_faults);
    assert!(WRONG_SNAPSHOT.contains(&kind), "{kind:?}");
}

#[test]
fn a_write_after_poisoning_is_found_out() {
    let engine = Wrong(|db: &Db, op: &Op| match perform(db, op) {
        Err(error) if error.kind() == shroom::ErrorKind::Poisoned => Ok(Outcome::Done),
        result => result,
    });
    let (kind, _) = found_out(&engine, Script::new);
    assert_eq!(kind, FailureKind::PoisonIgnored);
}

#[test]
fn a_panic_is_found_out() {
    let engine = Wrong(|db: &Db, op: &Op| match op {
        Op::Checkpoint => panic!("on purpose"),
        op => perform(db, op),
    });
    let (kind, short) = found_out(&engine, Script::new);
    assert_eq!(kind, FailureKind::Panic);
    assert_eq!(short.steps.len(), 1, "{short}");
}

/// With the checks of pages off, turned bits are returned as data.
#[test]
fn unnoticed_damage_is_found_out() {
    let unchecked = |seed| {
        let mut script = Script::new(seed);
        script.opening.check = ReadCheck::Off;
        for step in &mut script.steps {
            if let Step::End(_, opening) = step {
                opening.check = ReadCheck::Off;
            }
        }
        script
    };
    let (kind, _) = found_out(&Honest, unchecked);
    let expected = [FailureKind::WrongDamaged, FailureKind::WrongError];
    assert!(expected.contains(&kind), "{kind:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 300..312 {
        let script = Script::new(seed);
        assert_eq!(script.to_string(), Script::new(seed).to_string());
        let [one, other] = [(); 2].map(|()| run(&script, &Honest));
        assert!(one.failure.is_none(), "seed {seed}: {:?}", one.failure);
        assert_eq!(one.digest, other.digest, "seed {seed}");
        assert_eq!(one.tally, other.tally, "seed {seed}");
        assert!(one.images == other.images, "seed {seed}");
    }
    let digest = |seed| run(&Script::new(seed), &Honest).digest;
    assert_ne!(digest(300), digest(301));
}

#[test]
fn shrinking_keeps_what_matters_and_ends() {
    let mut script = Script::new(1);
    script.steps = (0..50).map(|id| Step::Op(Op::Delete(id))).collect();
    let has = |script: &Script, id: u64| {
        let is = |step: &Step| matches!(step, Step::Op(Op::Delete(is)) if *is == id);
        script.steps.iter().any(is)
    };
    let short = shrink(&script, 1000, |shorter| has(shorter, 7) && has(shorter, 31));
    assert_eq!(short.steps.len(), 2);
    let mut runs = 0;
    let same = shrink(&script, 20, |_| {
        runs += 1;
        false
    });
    assert_eq!((same.steps.len(), runs), (50, 20));
}
