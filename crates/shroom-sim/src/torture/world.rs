//! A world: its lives, one after the other.

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use shroom::storage::Storage;
use shroom::storage::faulty::FaultyStorage;
use shroom::{Db, Result};
use xxhash_rust::xxh3::Xxh3;

use super::life::Life;
use super::{End, Opening, Plug, Script, Settings, Step, Tally};
use crate::{History, Model, Op, Outcome, Random, perform};

/// What is tortured. The real engine is [`Honest`]; one that is wrong on purpose shows that the judge notices.
pub trait Engine: Sync {
    /// Does an operation.
    ///
    /// # Errors
    /// Those of the database.
    fn perform(&self, db: &Db, op: &Op) -> Result<Outcome> {
        perform(db, op)
    }

    /// What the database is opened over.
    fn storage(&self, plug: Plug) -> Arc<dyn Storage> {
        Arc::new(plug)
    }
}

/// The engine as it is.
#[derive(Clone, Copy, Debug)]
pub struct Honest;

impl Engine for Honest {}

/// What kind of promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The engine panicked.
    Panic,
    /// A sound file, or what a crash left, could not be opened or read.
    Unreadable,
    /// After a crash or a reopening the content is no state that it may be: something acknowledged is missing, or a batch
    /// is there in part, or the tag is that of another state.
    WrongState,
    /// A read gave something else than was written.
    WrongRead,
    /// An operation answered wrongly.
    WrongAnswer,
    /// `verify` found fault with a file that nothing damaged.
    Unsound,
    /// An error without a reason, of a kind that does not fit its reason, or that names no place.
    WrongError,
    /// An operation failed, and something changed.
    HalfDone,
    /// A write succeeded after the database had said that it takes no more.
    PoisonIgnored,
    /// A damaged file gave other data than was in it.
    WrongDamaged,
}

/// A promise broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub kind: FailureKind,
    /// What was found, and where in the run.
    pub message: String,
}

impl Failure {
    pub(super) fn new(kind: FailureKind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
        }
    }

    fn at(mut self, place: fmt::Arguments<'_>) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

/// What became of a world.
#[derive(Debug)]
pub struct Report {
    /// What was done.
    pub tally: Tally,
    /// Covers every image, every answer and the number of calls and events: the same for the same script.
    pub digest: u64,
    /// Hashes of the distinct crash images.
    pub images: HashSet<u64>,
    /// The first promise that was broken; there the run ends.
    pub failure: Option<Failure>,
}

/// A world while it runs.
pub(super) struct World<'e> {
    pub(super) engine: &'e dyn Engine,
    pub(super) settings: Settings,
    /// For what the script leaves open.
    pub(super) random: Random,
    pub(super) tally: Tally,
    pub(super) digest: Xxh3,
    pub(super) images: HashSet<u64>,
}

/// Plays a script.
pub fn run(script: &Script, engine: &dyn Engine) -> Report {
    let mut world = World {
        engine,
        settings: script.settings,
        // Not the numbers that the script was made of.
        random: Random(script.seed ^ 0x05ee_d0fc_4a54_e500),
        tally: Tally::default(),
        digest: Xxh3::new(),
        images: HashSet::new(),
    };
    let played = catch_unwind(AssertUnwindSafe(|| world.play(script)));
    let failure = match played {
        Ok(result) => result.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let message = text.unwrap_or("without a message");
            Some(Failure::new(FailureKind::Panic, message))
        }
    };
    world.tally.add("worlds", 1);
    Report {
        tally: world.tally,
        digest: world.digest.digest(),
        images: world.images,
        failure,
    }
}

/// What one life leaves to the next.
pub(super) struct Remains {
    pub(super) storage: FaultyStorage,
    pub(super) history: History,
}

impl World<'_> {
    fn play(&mut self, script: &Script) -> Result<(), Failure> {
        let remains = Remains {
            storage: FaultyStorage::new(),
            history: History::new(Model::default(), 0),
        };
        let mut number = 0;
        let mut life = self.begin(remains, &script.opening, number)?;
        for (index, step) in script.steps.iter().enumerate() {
            let at = |failure: Failure| failure.at(format_args!("life {number}, step {index}"));
            let Step::End(end, opening) = step else {
                life.step(self, step).map_err(at)?;
                continue;
            };
            let Some(remains) = self.end(life, *end).map_err(at)? else {
                return Ok(());
            };
            number += 1;
            life = self.begin(remains, opening, number)?;
        }
        self.end(life, End::Close)
            .map_err(|failure| failure.at(format_args!("life {number}, end")))?;
        Ok(())
    }

    fn begin(
        &mut self,
        remains: Remains,
        opening: &Opening,
        number: usize,
    ) -> Result<Life, Failure> {
        self.tally.add("openings", 1);
        Life::begin(self, remains, opening)
            .map_err(|failure| failure.at(format_args!("opening for life {number}")))
    }

    /// Ends a life, tries the crashes that it could have ended in, and returns what is left; nothing of a damaged one.
    fn end(&mut self, life: Life, end: End) -> Result<Option<Remains>, Failure> {
        let ended = life.end(self, end)?;
        self.digest.update(&ended.storage.calls().to_le_bytes());
        self.digest.update(&ended.storage.events().to_le_bytes());
        let crashed = self.examine(&ended)?;
        if ended.damaged_at.is_some() {
            return Ok(None);
        }
        Ok(Some(match crashed {
            Some((image, model)) if end == End::Crash => {
                self.tally.add("machines crashed and gone on with", 1);
                Remains {
                    storage: FaultyStorage::from_image(image),
                    history: History::new(model, 0),
                }
            }
            _ => Remains {
                storage: ended.storage,
                history: ended.history,
            },
        }))
    }
}
