//! The overlay: committed operations that no checkpoint contains yet, as an ordered map of which any number of versions are
//! read while the newest is added to.
//!
//! * O1 Cloning is O(1) and a clone never changes: a reader's state holds one. Reading takes no lock.
//! * O2 A change says all that is needed to read its token, given the state below: deleted, a value, or how much of the value
//!   below is kept and what follows.
//! * O3 Adding a change takes a bounded number of steps, and copies nothing but its bytes, as long as the newest clone is added to.
//!
//! All clones share one history of changes, and each knows how much of it it has seen.

mod arena;
mod change;
mod history;
mod trie;

use std::sync::Arc;

use shroom_token::{Edit, TokenId};

pub(crate) use change::{Change, Grown};
use history::{CHANGES_MAX, ENTRY_BYTES, History, Slot};

use crate::operation::Operation;

/// Operations of a batch, at most, and of the batches between two checkpoints: half of what an overlay holds, since the journal
/// may have those of two when it is replayed.
pub(crate) const OPERATIONS_MAX: usize = CHANGES_MAX as usize / 2;

/// Changes by id, and the tag.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay {
    /// Absent as long as nothing was changed.
    history: Option<Arc<History>>,
    /// How many changes of the history are in this overlay.
    seen: u32,
    tokens: u32,
    bytes: u64,
    pub(crate) tag: Option<u64>,
}

impl Overlay {
    pub(crate) fn is_empty(&self) -> bool {
        self.seen == 0 && self.tag.is_none()
    }

    /// Tokens changed.
    pub(crate) fn len(&self) -> usize {
        self.tokens as usize
    }

    /// Approximate memory, counting what is superseded too.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether as many operations can be added without a checkpoint in between.
    pub(crate) fn has_room(&self, operations: usize) -> bool {
        operations <= OPERATIONS_MAX.saturating_sub(self.seen as usize)
    }

    #[inline]
    pub(crate) fn get(&self, id: u64) -> Option<&Change> {
        self.history.as_ref()?.get(id, self.seen)
    }

    pub(crate) fn range(
        &self,
        first: u64,
        last: u64,
    ) -> impl DoubleEndedIterator<Item = (u64, &Change)> {
        let history = self.history.iter();
        history.flat_map(move |history| history.range(first, last, self.seen))
    }

    /// Whether another one holds the same changes, by being a clone of the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.shares_history(other) && self.seen == other.seen
    }

    fn shares_history(&self, other: &Self) -> bool {
        match (&self.history, &other.history) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }

    /// The ids of the changes that another overlay does not have alike, ascending. Costs what differs, where one comes of
    /// the other.
    pub(crate) fn differing_ids(&self, other: &Self) -> Vec<u64> {
        let mut ids: Vec<u64> = match &self.history {
            Some(history) if self.shares_history(other) => {
                let slots = self.seen.min(other.seen)..self.seen.max(other.seen);
                slots.map(|slot| history.id(slot)).collect()
            }
            _ => {
                let both = [self, other].into_iter();
                both.flat_map(|overlay| overlay.range(0, u64::MAX))
                    .map(|(id, _)| id)
                    .collect()
            }
        };
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|&id| self.get(id) != other.get(id));
        ids
    }

    /// The changes in id order, as the token layer takes them.
    pub(crate) fn edits(&self) -> impl Iterator<Item = (TokenId, Edit<'_>)> {
        self.range(0, u64::MAX)
            .map(|(id, change)| (TokenId(id), change.edit()))
    }

    /// Adds an operation; says what is wrong when an append does not fit what it appends to.
    pub(crate) fn apply(&mut self, operation: Operation<'_>) -> Result<(), String> {
        let (id, len, change) = match operation {
            Operation::Put { id, bytes } => (id, bytes.len(), Change::Value(bytes.into())),
            Operation::Delete { id } => (id, 0, Change::Deleted),
            Operation::Append { id, offset, bytes } => {
                let change = Change::append(self.get(id), id, offset, bytes)?;
                (id, bytes.len(), change)
            }
            Operation::Tag { value } => {
                self.tag = Some(value);
                return Ok(());
            }
        };
        if self.seen == CHANGES_MAX {
            return Err(format!("more than {CHANGES_MAX} changes"));
        }
        self.bytes += ENTRY_BYTES + len as u64;
        self.add(id, change);
        Ok(())
    }

    fn add(&mut self, id: u64, change: Change) {
        let is_new = match self.claim() {
            Some(slot) => slot.fill(id, change),
            None => {
                *self = self.copied();
                let slot = self.claim().expect("nobody else has the copy");
                slot.fill(id, change)
            }
        };
        self.seen += 1;
        self.tokens += u32::from(is_new);
    }

    fn claim(&self) -> Option<Slot<'_>> {
        self.history.as_ref()?.claim(self.seen)
    }

    /// The same changes with a history of their own: for an overlay of which a clone was added to, and for an empty one.
    #[cold]
    fn copied(&self) -> Self {
        let mut copy = Self {
            history: Some(Arc::new(History::new())),
            seen: 0,
            tokens: 0,
            ..*self
        };
        for (id, change) in self.range(0, u64::MAX) {
            copy.add(id, change.clone());
        }
        copy
    }
}

#[cfg(test)]
mod tests;
