//! Reading, by every way there is, compared with a model.

use shroom::{Db, Error, Snapshot};

use super::states;
use crate::{Model, Random, Workload, findings_after_crash};

/// One way of reading.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// `get`, `contains` and `stat` of an id.
    Token(u64),
    /// `len`, `is_empty`, `tag`.
    Counts,
    /// A range of ids, from both ends in a random order.
    Range {
        /// First id.
        low: u64,
        /// Last id.
        high: u64,
        /// Decides which end is next.
        seed: u64,
    },
    /// `stats`.
    Stats,
    /// `verify`.
    Verify,
    /// The content root, beside one computed apart.
    Root,
    /// The list of named snapshots, and all of one of them.
    Named(u64),
    /// What differs between two states, named ones or the present one.
    Diff(u64),
    /// The compacted file, beside that of another history of the same content.
    Compacted,
    /// A delta between two named snapshots, applied to a copy of the first.
    Delta(u64),
}

/// Why a read is not as it must be.
#[derive(Debug)]
pub enum Wrong {
    /// The database says that it cannot.
    Error(Error),
    /// Something else than the model holds; or, from `verify`, something that is not sound.
    Data(String),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

pub(super) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: T,
    expected: T,
) -> Result<(), Wrong> {
    if found == expected {
        return Ok(());
    }
    Err(Wrong::Data(format!(
        "{what}: {found:?}, expected {expected:?}"
    )))
}

/// As `same`, of long values.
fn same_bytes(id: u64, found: Option<&[u8]>, expected: Option<&[u8]>) -> Result<(), Wrong> {
    if found == expected {
        return Ok(());
    }
    let [found, expected] = [found, expected].map(|bytes| bytes.map(<[u8]>::len));
    Err(Wrong::Data(format!(
        "token {id}: length {found:?}, expected {expected:?}, or other bytes"
    )))
}

impl Read {
    /// A random one.
    pub fn random(workload: &Workload, random: &mut Random) -> Self {
        let [one, other] = [(); 2].map(|()| random.below(workload.ids + 3));
        match random.below(20) {
            0..5 => Self::Token(one),
            5..7 => Self::Counts,
            7..9 => Self::Range {
                low: one.min(other),
                high: one.max(other),
                seed: random.next(),
            },
            9 => Self::Range {
                low: 0,
                high: u64::MAX,
                seed: random.next(),
            },
            10 => Self::Stats,
            11 => Self::Verify,
            12 => Self::Root,
            13..15 => Self::Named(random.next()),
            15..17 => Self::Diff(random.next()),
            17 => Self::Compacted,
            _ => Self::Delta(random.next()),
        }
    }

    /// Reads from a database that must hold `model`.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(self, db: &Db, model: &Model) -> Result<(), Wrong> {
        match self {
            Self::Token(id) => {
                let expected = model.tokens.get(&id);
                let found = db.get(id)?;
                same_bytes(id, found.as_deref(), expected.map(|bytes| &bytes[..]))?;
                same("contains", db.contains(id)?, expected.is_some())?;
                let length = db.stat(id)?.map(|info| info.length);
                same("stat", length, expected.map(|bytes| bytes.len() as u64))
            }
            Self::Counts => {
                same("len", db.len()?, model.tokens.len() as u64)?;
                same("is_empty", db.is_empty()?, model.tokens.is_empty())?;
                same("tag", db.tag(), model.tag)
            }
            Self::Range { low, high, seed } => check_range(&db.snapshot(), model, low, high, seed),
            Self::Stats => {
                let stats = db.stats()?;
                same("tokens", stats.tokens, model.tokens.len() as u64)?;
                same("payload", stats.payload_bytes, model.payload())?;
                let pages = stats.pages;
                let data = pages.storage + pages.extent + pages.directory + pages.free_index;
                let rest = pages.map + pages.journal + pages.free_record + pages.free + 2;
                let bytes = (data + rest + pages.snapshots) * u64::from(stats.page_size);
                same("sum of pages", bytes, stats.file_bytes)?;
                same("snapshots", stats.snapshots, model.named.len() as u64)
            }
            Self::Verify => same("findings", findings_after_crash(db)?, Vec::new()),
            Self::Root => states::check_root(db, model),
            Self::Named(seed) => states::check_named(db, model, seed),
            Self::Diff(seed) => states::check_diff(db, model, seed),
            Self::Compacted => states::check_compacted(db, model),
            Self::Delta(seed) => states::check_delta(db, model, seed),
        }
    }
}

fn check_range(
    snapshot: &Snapshot,
    model: &Model,
    low: u64,
    high: u64,
    seed: u64,
) -> Result<(), Wrong> {
    let mut random = Random(seed);
    let mut found = snapshot.range(low..=high);
    let mut expected = model.tokens.range(low..=high);
    loop {
        let forward = random.below(2) == 0;
        let (found, expected) = if forward {
            (found.next(), expected.next())
        } else {
            (found.next_back(), expected.next_back())
        };
        let found = found.transpose()?;
        let Some((&id, bytes)) = expected else {
            return same("beyond the last token", found.map(|(id, _)| id), None);
        };
        let Some((found_id, found_bytes)) = found else {
            return Err(Wrong::Data(format!("token {id} is missing in a range")));
        };
        same("id in a range", found_id, id)?;
        same_bytes(id, Some(&found_bytes), Some(bytes))?;
    }
}

/// Compares everything in a snapshot.
///
/// # Errors
/// What is wrong.
pub(super) fn check_snapshot(snapshot: &Snapshot, model: &Model, seed: u64) -> Result<(), Wrong> {
    check_range(snapshot, model, 0, u64::MAX, seed)?;
    for (&id, bytes) in &model.tokens {
        same_bytes(id, snapshot.get(id)?.as_deref(), Some(bytes))?;
    }
    same("len", snapshot.len()?, model.tokens.len() as u64)?;
    same("tag", snapshot.tag(), model.tag)
}
