//! Batches: several changes committed together or not at all.

use std::sync::Arc;

use crate::core::{Core, Write};
use crate::error::Result;

/// Changes that become visible and durable together, made by [`Db::batch`](crate::Db::batch). Dropped without a commit, it
/// changes nothing.
///
/// ```
/// # let db = shroom::Db::in_memory()?;
/// let mut batch = db.batch();
/// batch.put(1, b"alpha");
/// batch.append(1, b"bet");
/// batch.delete(2);
/// batch.tag(77); // say, a position in a replication log
/// batch.commit()?;
/// assert_eq!(db.get(1)?.unwrap(), b"alphabet");
/// assert_eq!(db.tag(), 77);
/// # Ok::<(), shroom::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch<'d> {
    core: &'d Core,
    operations: Vec<Owned>,
}

#[derive(Debug)]
enum Owned {
    Put(u64, Arc<[u8]>),
    Append(u64, Arc<[u8]>),
    Delete(u64),
    Tag(u64),
}

impl<'d> Batch<'d> {
    pub(crate) fn new(core: &'d Core) -> Self {
        Self {
            core,
            operations: Vec::new(),
        }
    }

    /// Sets the value of token `id`.
    pub fn put(&mut self, id: u64, bytes: &[u8]) -> &mut Self {
        self.operations.push(Owned::Put(id, bytes.into()));
        self
    }

    /// Appends to the value of token `id`, which is made when absent.
    pub fn append(&mut self, id: u64, bytes: &[u8]) -> &mut Self {
        self.operations.push(Owned::Append(id, bytes.into()));
        self
    }

    /// Deletes token `id`, if it is there.
    pub fn delete(&mut self, id: u64) -> &mut Self {
        self.operations.push(Owned::Delete(id));
        self
    }

    /// Sets the application's tag.
    pub fn tag(&mut self, value: u64) -> &mut Self {
        self.operations.push(Owned::Tag(value));
        self
    }

    /// Number of changes so far.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there is no change yet.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Makes the changes visible, all at once. They are durable after the next flush, all or none.
    ///
    /// # Errors
    /// Those of [`Db::put`](crate::Db::put); then nothing has changed.
    pub fn commit(self) -> Result<()> {
        self.write().map(|_| ())
    }

    /// Makes the changes visible and durable: one sync.
    ///
    /// # Errors
    /// As [`commit`](Self::commit), and those of [`Db::flush`](crate::Db::flush).
    pub fn commit_synced(self) -> Result<()> {
        let core = self.core;
        let sequence = self.write()?;
        core.sync(sequence)
    }

    fn write(&self) -> Result<u64> {
        let writes: Vec<Write<'_>> = self
            .operations
            .iter()
            .map(|operation| match operation {
                Owned::Put(id, bytes) => Write::Put { id: *id, bytes },
                Owned::Append(id, bytes) => Write::Append { id: *id, bytes },
                Owned::Delete(id) => Write::Delete { id: *id },
                Owned::Tag(value) => Write::Tag { value: *value },
            })
            .collect();
        Ok(self.core.write(&writes)?.sequence)
    }
}
