//! What a database must hold, the operations on it, and comparisons.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use shroom::{Db, Result};

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
    /// Makes everything durable.
    Flush,
    /// Moves the journal into the pages.
    Checkpoint,
}

impl Op {
    /// Whether everything is durable when the call has returned without an error.
    pub fn acknowledges(&self) -> bool {
        matches!(
            self,
            Self::Batch(_, true) | Self::Bulk(_) | Self::Flush | Self::Checkpoint
        )
    }
}

/// What the database must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Model {
    /// Values by id.
    pub tokens: BTreeMap<u64, Vec<u8>>,
    /// The application's tag.
    pub tag: u64,
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

    /// Does one operation.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Put(id, bytes) => self.change(&Change::Put(*id, bytes.clone())),
            Op::Append(id, bytes) => self.change(&Change::Append(*id, bytes.clone())),
            Op::Delete(id) => self.change(&Change::Delete(*id)),
            Op::Insert(bytes) => {
                if let Some(id) = self.next_id() {
                    self.tokens.insert(id, bytes.clone());
                }
            }
            Op::Batch(changes, _) => changes.iter().for_each(|change| self.change(change)),
            Op::Bulk(tokens) => self.tokens.extend(tokens.iter().cloned()),
            Op::Flush | Op::Checkpoint => {}
        }
    }

    /// Sum of the values' lengths, in bytes.
    pub fn payload(&self) -> u64 {
        self.tokens.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// A hash of everything.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (id, bytes) in &self.tokens {
            (id, &bytes[..]).hash(&mut hasher);
        }
        self.tag.hash(&mut hasher);
        hasher.finish()
    }

    /// Everything that a database holds.
    pub fn read(db: &Db) -> Result<Self> {
        let snapshot = db.snapshot();
        let tokens = snapshot
            .iter()
            .map(|token| token.map(|(id, bytes)| (id, bytes.to_vec())));
        Ok(Self {
            tokens: tokens.collect::<Result<_>>()?,
            tag: snapshot.tag(),
        })
    }
}

/// As [`Model::fingerprint`], of what a database holds.
pub fn fingerprint(db: &Db) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for token in db.iter() {
        let (id, bytes) = token?;
        (&id, &bytes[..]).hash(&mut hasher);
    }
    db.tag().hash(&mut hasher);
    Ok(hasher.finish())
}

/// Does what an operation says.
pub fn run(db: &Db, op: &Op) -> Result<()> {
    match op {
        Op::Put(id, bytes) => db.put(*id, bytes),
        Op::Append(id, bytes) => db.append(*id, bytes).map(|_| ()),
        Op::Delete(id) => db.delete(*id).map(|_| ()),
        Op::Insert(bytes) => match db.insert(bytes) {
            Ok(_) | Err(shroom::Error::IdsExhausted) => Ok(()),
            Err(error) => Err(error),
        },
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
                batch.commit_synced()
            } else {
                batch.commit()
            }
        }
        Op::Bulk(tokens) => db.bulk_load(tokens.iter().cloned()).map(|_| ()),
        Op::Flush => db.flush(),
        Op::Checkpoint => db.checkpoint(),
    }
}

/// Fails with the findings when the database is not sound.
pub fn assert_sound(db: &Db) {
    let report = db.verify().expect("verify");
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{findings:#?}");
}
