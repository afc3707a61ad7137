//! What a database must hold, the operations on it, and comparisons.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::sync::Arc;

use shroom::diff::Difference;
use shroom::storage::Storage;
use shroom::verify::Finding;
use shroom::{Db, Error, Result, Snapshot};
use shroom_page::{PageError, PageSize, PageStore};
use xxhash_rust::xxh3::Xxh3;

/// One change of a batch.
#[derive(Clone, Debug)]
pub enum Change {
    /// Sets a value.
    Put(u64, Vec<u8>),
    /// Appends to a value.
    Append(u64, Vec<u8>),
    /// Deletes a token.
    Delete(u64),
    /// Sets the tag.
    Tag(u64),
}

/// One call of the database that changes it or makes it durable.
#[derive(Clone, Debug)]
pub enum Op {
    /// Sets a value.
    Put(u64, Vec<u8>),
    /// Appends to a value.
    Append(u64, Vec<u8>),
    /// Deletes a token.
    Delete(u64),
    /// Stores under the next id.
    Insert(Vec<u8>),
    /// Changes that happen together; whether the commit waits for the disk.
    Batch(Vec<Change>, bool),
    /// A bulk load of ascending ids.
    Bulk(Vec<(u64, Vec<u8>)>),
    /// Writes a value as a stream, or appends to it as one.
    Stream {
        /// The token.
        id: u64,
        /// What is written.
        bytes: Vec<u8>,
        /// Whether it is appended.
        append: bool,
    },
    /// Overwrites bytes of a value, from this place on modulo one more than its length.
    WriteAt(u64, u64, Vec<u8>),
    /// Cuts a value at this place, modulo one more than its length.
    Truncate(u64, u64),
    /// Makes everything durable.
    Flush,
    /// Moves the journal into the pages.
    Checkpoint,
    /// Saves the present state under a [name](snapshot_name).
    Save(u8),
    /// Makes a named snapshot the present state.
    Restore(u8),
    /// Deletes a named snapshot.
    Unsave(u8),
    /// Gives the blocks of free pages back.
    PunchHoles,
}

/// Name of a snapshot that operations number.
pub fn snapshot_name(number: u8) -> String {
    format!("snapshot {number}")
}

impl Op {
    /// Whether everything is durable when the call has returned without an error.
    pub fn acknowledges(&self) -> bool {
        matches!(
            self,
            Self::Batch(_, true)
                | Self::Bulk(_)
                | Self::Flush
                | Self::Checkpoint
                | Self::Save(_)
                | Self::Restore(_)
                | Self::Unsave(_)
        )
    }

    /// Whether everything is durable when the call has answered this.
    pub fn acknowledges_by(&self, outcome: Outcome) -> bool {
        self.acknowledges() && outcome != Outcome::Refused
    }

    /// Whether everything is in the pages, and durable, when the call has answered this.
    pub fn checkpoints_by(&self, outcome: Outcome) -> bool {
        let moves = matches!(self, Self::Checkpoint | Self::Save(_) | Self::Restore(_));
        moves && outcome != Outcome::Refused
    }
}

/// What an operation answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// That it was done.
    Done,
    /// Length of the token after an append.
    Length(u64),
    /// Whether the token deleted was there.
    Deleted(bool),
    /// Id of the token inserted; none when there was none left.
    Id(Option<u64>),
    /// Number of tokens loaded.
    Loaded(u64),
    /// That the name is taken, or that no snapshot has it; nothing was done.
    Refused,
}

/// What the database must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Model {
    /// Values by id.
    pub tokens: BTreeMap<u64, Vec<u8>>,
    /// The application's tag.
    pub tag: u64,
    /// What the named snapshots hold; these have none themselves.
    pub named: BTreeMap<String, Arc<Model>>,
}

impl Model {
    /// Does one change.
    pub fn change(&mut self, change: &Change) {
        match change {
            Change::Put(id, bytes) => _ = self.tokens.insert(*id, bytes.clone()),
            Change::Append(id, bytes) => self.tokens.entry(*id).or_default().extend(bytes),
            Change::Delete(id) => _ = self.tokens.remove(id),
            Change::Tag(tag) => self.tag = *tag,
        }
    }

    /// The id that an insert takes, if there is one left.
    pub fn next_id(&self) -> Option<u64> {
        match self.tokens.last_key_value() {
            None => Some(0),
            Some((&highest, _)) => highest.checked_add(1),
        }
    }

    /// Does one operation; returns what the database must answer.
    pub fn apply(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Put(id, bytes) => _ = self.tokens.insert(*id, bytes.clone()),
            Op::Append(id, bytes) => {
                let value = self.tokens.entry(*id).or_default();
                value.extend(bytes);
                return Outcome::Length(value.len() as u64);
            }
            Op::Delete(id) => return Outcome::Deleted(self.tokens.remove(id).is_some()),
            Op::Insert(bytes) => {
                let id = self.next_id();
                if let Some(id) = id {
                    self.tokens.insert(id, bytes.clone());
                }
                return Outcome::Id(id);
            }
            Op::Batch(changes, _) => changes.iter().for_each(|change| self.change(change)),
            Op::Bulk(tokens) => {
                self.tokens.extend(tokens.iter().cloned());
                return Outcome::Loaded(tokens.len() as u64);
            }
            Op::Stream { id, bytes, append } => {
                let value = self.tokens.entry(*id).or_default();
                if !append {
                    value.clear();
                }
                value.extend(bytes);
                return Outcome::Length(value.len() as u64);
            }
            Op::WriteAt(id, place, bytes) => {
                let value = self.tokens.entry(*id).or_default();
                let at = (place % (value.len() as u64 + 1)) as usize;
                let end = at + bytes.len();
                value.resize(value.len().max(end), 0);
                value[at..end].copy_from_slice(bytes);
            }
            Op::Truncate(id, place) => {
                if let Some(value) = self.tokens.get_mut(id) {
                    value.truncate((place % (value.len() as u64 + 1)) as usize);
                }
            }
            Op::Save(number) => return self.save(snapshot_name(*number)),
            Op::Restore(number) => {
                let Some(saved) = self.named.get(&snapshot_name(*number)) else {
                    return Outcome::Refused;
                };
                (self.tokens, self.tag) = (saved.tokens.clone(), saved.tag);
            }
            Op::Unsave(number) => match self.named.remove(&snapshot_name(*number)) {
                Some(_) => {}
                None => return Outcome::Refused,
            },
            Op::Flush | Op::Checkpoint | Op::PunchHoles => {}
        }
        Outcome::Done
    }

    fn save(&mut self, name: String) -> Outcome {
        let saved = Arc::new(self.live());
        match self.named.entry(name) {
            Entry::Occupied(_) => return Outcome::Refused,
            Entry::Vacant(free) => _ = free.insert(saved),
        }
        Outcome::Done
    }

    /// The present state without the named snapshots.
    pub fn live(&self) -> Self {
        Self {
            tokens: self.tokens.clone(),
            tag: self.tag,
            named: BTreeMap::new(),
        }
    }

    /// What differs between this state and a later one, in ascending order of ids.
    pub fn differences(&self, after: &Self) -> Vec<Difference> {
        let ids: BTreeSet<u64> = self
            .tokens
            .keys()
            .chain(after.tokens.keys())
            .copied()
            .collect();
        let difference = |id| match (self.tokens.get(&id), after.tokens.get(&id)) {
            (None, _) => Some(Difference::Added(id)),
            (_, None) => Some(Difference::Removed(id)),
            (old, new) => (old != new).then_some(Difference::Changed(id)),
        };
        ids.into_iter().filter_map(difference).collect()
    }

    /// Sum of the values' lengths, in bytes.
    pub fn payload(&self) -> u64 {
        self.tokens.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// A hash of everything.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3::new();
        self.hash_live(&mut hasher);
        for (name, saved) in &self.named {
            name.hash(&mut hasher);
            saved.hash_live(&mut hasher);
        }
        hasher.finish()
    }

    fn hash_live(&self, hasher: &mut Xxh3) {
        for (id, bytes) in &self.tokens {
            (id, &bytes[..]).hash(hasher);
        }
        self.tag.hash(hasher);
    }

    /// Everything that a database holds.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(db: &Db) -> Result<Self> {
        let mut model = Self::read_snapshot(&db.snapshot())?;
        for saved in db.snapshots()? {
            let state = Self::read_snapshot(&db.open_snapshot(&saved.name)?)?;
            model.named.insert(saved.name, Arc::new(state));
        }
        Ok(model)
    }

    /// Everything that a state holds.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read_snapshot(snapshot: &Snapshot) -> Result<Self> {
        let tokens = snapshot
            .iter()
            .map(|token| token.map(|(id, bytes)| (id, bytes.to_vec())));
        Ok(Self {
            tokens: tokens.collect::<Result<_>>()?,
            tag: snapshot.tag(),
            named: BTreeMap::new(),
        })
    }
}

/// As [`Model::fingerprint`], of what a database holds.
///
/// # Errors
/// Those of reading.
pub fn fingerprint(db: &Db) -> Result<u64> {
    let mut hasher = Xxh3::new();
    hash_state(&db.snapshot(), &mut hasher)?;
    for saved in db.snapshots()? {
        saved.name.hash(&mut hasher);
        hash_state(&db.open_snapshot(&saved.name)?, &mut hasher)?;
    }
    Ok(hasher.finish())
}

fn hash_state(snapshot: &Snapshot, hasher: &mut Xxh3) -> Result<()> {
    for token in snapshot.iter() {
        let (id, bytes) = token?;
        (&id, &bytes[..]).hash(hasher);
    }
    snapshot.tag().hash(hasher);
    Ok(())
}

/// Does what an operation says.
pub fn run(db: &Db, op: &Op) -> Result<()> {
    perform(db, op).map(|_| ())
}

/// Does what an operation says; returns what the database answered.
pub fn perform(db: &Db, op: &Op) -> Result<Outcome> {
    match op {
        Op::Put(id, bytes) => db.put(*id, bytes)?,
        Op::Append(id, bytes) => return db.append(*id, bytes).map(Outcome::Length),
        Op::Delete(id) => return db.delete(*id).map(Outcome::Deleted),
        Op::Insert(bytes) => {
            return match db.insert(bytes) {
                Ok(id) => Ok(Outcome::Id(Some(id))),
                Err(shroom::Error::IdsExhausted) => Ok(Outcome::Id(None)),
                Err(error) => Err(error),
            };
        }
        Op::Batch(changes, synced) => {
            let mut batch = db.batch();
            for change in changes {
                match change {
                    Change::Put(id, bytes) => _ = batch.put(*id, bytes),
                    Change::Append(id, bytes) => _ = batch.append(*id, bytes),
                    Change::Delete(id) => _ = batch.delete(*id),
                    Change::Tag(tag) => _ = batch.tag(*tag),
                }
            }
            if *synced {
                batch.commit_synced()?;
            } else {
                batch.commit()?;
            }
        }
        Op::Bulk(tokens) => {
            return db
                .bulk_load(tokens.iter().map(|(id, bytes)| (*id, bytes)))
                .map(Outcome::Loaded);
        }
        Op::Stream { id, bytes, append } => {
            return stream(db, *id, bytes, *append).map(Outcome::Length);
        }
        Op::WriteAt(id, place, bytes) => {
            let length = db.stat(*id)?.map_or(0, |info| info.length);
            db.write_at(*id, place % (length + 1), bytes)?;
        }
        Op::Truncate(id, place) => {
            let length = db.stat(*id)?.map_or(0, |info| info.length);
            db.truncate(*id, place % (length + 1))?;
        }
        Op::Flush => db.flush()?,
        Op::Checkpoint => db.checkpoint()?,
        Op::Save(number) => return refusable(db.save_snapshot(&snapshot_name(*number))),
        Op::Restore(number) => return refusable(db.restore(&snapshot_name(*number))),
        Op::Unsave(number) => return refusable(db.delete_snapshot(&snapshot_name(*number))),
        Op::PunchHoles => _ = db.punch_holes()?,
    }
    Ok(Outcome::Done)
}

/// Writes or appends a value as a stream, in three pieces; the value's length.
fn stream(db: &Db, id: u64, bytes: &[u8], append: bool) -> Result<u64> {
    let mut writer = match append {
        true => db.append_writer(id)?,
        false => db.writer(id)?,
    };
    for piece in bytes.chunks(bytes.len() / 3 + 1) {
        if let Err(error) = writer.write_all(piece) {
            return Err(error
                .downcast::<shroom::Error>()
                .expect("an error of the database"));
        }
    }
    writer.finish()
}

/// A name that is taken, or not there, is an answer.
fn refusable(result: Result<()>) -> Result<Outcome> {
    match result {
        Ok(()) => Ok(Outcome::Done),
        Err(Error::SnapshotExists { .. } | Error::NoSuchSnapshot { .. }) => Ok(Outcome::Refused),
        Err(error) => Err(error),
    }
}

/// What `verify` finds wrong.
///
/// # Errors
/// Those of `verify`.
pub fn findings(db: &Db) -> Result<Vec<String>> {
    let report = db.verify()?;
    Ok(report.findings.iter().map(ToString::to_string).collect())
}

/// As [`findings`], but for a superblock slot that is not sound while the other is: a crash may leave one half written, or not
/// written at all, and opening for writing mends it.
///
/// # Errors
/// Those of `verify`.
pub fn findings_after_crash(db: &Db) -> Result<Vec<String>> {
    let report = db.verify()?;
    let of_a_slot = |finding: &&Finding| match finding {
        Finding::Page(page) => page.physical.0 < 2 && page.detail.starts_with("superblock"),
        _ => false,
    };
    let slots = report.findings.iter().filter(of_a_slot).count();
    let found = report.findings.iter();
    Ok(found
        .filter(|finding| slots > 1 || !of_a_slot(finding))
        .map(ToString::to_string)
        .collect())
}

/// Whether a storage holds nothing yet, whatever page size it was to have ([`PageStore::is_blank`]).
///
/// # Errors
/// I/O errors.
pub fn is_blank(storage: &dyn Storage) -> Result<bool, PageError> {
    for page_size in PageSize::all() {
        if PageStore::is_blank(storage, page_size)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Fails with what `verify` finds wrong; a superblock slot that a crash left half written is not.
pub fn assert_sound(db: &Db) {
    let findings = findings_after_crash(db).expect("verify");
    assert!(findings.is_empty(), "{findings:#?}");
}
