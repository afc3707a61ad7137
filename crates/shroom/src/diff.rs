//! What differs between two states, token by token, at the cost of what differs.
//!
//! The token layer says in which ranges of ids a difference may be; those are walked in both states side by side.
//!
//! * F1 Each id whose token is added, removed or has other bytes is given once, in ascending order.
//! * F2 A large value that lies on the same pages in both states is not read.
//!
//! Absent on purpose: no difference within a value.

use std::iter::FusedIterator;
use std::sync::Arc;

use shroom_page::Snapshot as Pages;
use shroom_seg::{SegmentAddr, blob_read};
use shroom_token::{Changes, Stored, changes};

use crate::error::Result;
use crate::iter::{Item, Iter};
use crate::lattice::LATTICE_LEN;
use crate::snapshot::Snapshot;
use crate::state::{Place, State};

/// Large values are compared this many bytes at a time.
const COMPARED_BYTES: u64 = 1 << 20;

/// How a token differs between two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Difference {
    /// Only the second state has it.
    Added(u64),
    /// Both have it, with different bytes.
    Changed(u64),
    /// Only the first state has it.
    Removed(u64),
}

impl Difference {
    /// The token's id.
    pub fn id(self) -> u64 {
        match self {
            Self::Added(id) | Self::Changed(id) | Self::Removed(id) => id,
        }
    }
}

impl Snapshot {
    /// The ids that this state and a later one hold differently, in ascending order. Costs the pages that differ, and
    /// what is not yet in the pages. A change inside a large value that keeps its length costs a walk over all tokens, not
    /// over their bytes.
    ///
    /// Each pair of states may be compared, in any order, also of two databases with pages of the same size.
    ///
    /// # Errors
    /// Corruption of the bytes read; [`ErrorKind::Misuse`](crate::ErrorKind::Misuse) for pages of different sizes.
    pub fn diff(&self, after: &Self) -> Result<Diff> {
        Diff::new(self.state(), after.state())
    }
}

/// Iterator over the tokens that differ, made by [`Snapshot::diff`]. Ends after an error.
#[derive(Debug)]
#[must_use = "an iterator does nothing until it is asked for an item"]
pub struct Diff {
    states: [Arc<State>; 2],
    changes: Changes,
    /// Ranges of ids not yet begun, in descending order.
    ranges: Vec<(u64, u64)>,
    walk: Option<[Cursor; 2]>,
}

/// A walk over a range of ids in one state, and the token that is next.
#[derive(Debug)]
struct Cursor {
    iter: Iter<'static>,
    next: Option<(u64, Item)>,
}

impl Cursor {
    fn new(state: &Arc<State>, (first, last): (u64, u64)) -> Result<Self> {
        let mut cursor = Self {
            iter: Iter::new(Arc::clone(state), first..=last),
            next: None,
        };
        cursor.advance()?;
        Ok(cursor)
    }

    /// Goes on; returns the token that was next.
    fn advance(&mut self) -> Result<Option<(u64, Item)>> {
        let next = self.iter.step(true).transpose()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn id(&self) -> Option<u64> {
        self.next.as_ref().map(|&(id, _)| id)
    }
}

impl Diff {
    fn new(before: &Arc<State>, after: &Arc<State>) -> Result<Self> {
        let lattices = [before, after].map(|state| {
            let head = state.base.lattice;
            Vec::from_iter(head.map(|head| (head, LATTICE_LEN as u64)))
        });
        let changes = changes(
            (&before.base.pages, &before.base.root, &lattices[0]),
            (&after.base.pages, &after.base.root, &lattices[1]),
        )?;
        let mut ranges = changes.ranges.clone();
        // What is not in the pages yet may be in either state alone.
        ranges.extend(
            before
                .changed_ids()
                .chain(after.changed_ids())
                .map(|id| (id, id)),
        );
        ranges.sort_unstable();
        ranges.dedup_by(|next, last| {
            let joins = next.0 <= last.1;
            if joins {
                last.1 = last.1.max(next.1);
            }
            joins
        });
        ranges.reverse();
        Ok(Self {
            states: [Arc::clone(before), Arc::clone(after)],
            changes,
            ranges,
            walk: None,
        })
    }

    /// Pages of both states that were compared to find where they differ.
    pub fn pages_compared(&self) -> u64 {
        self.changes.pages_compared
    }

    fn find(&mut self) -> Result<Option<Difference>> {
        loop {
            let Some([before, after]) = &mut self.walk else {
                let Some(range) = self.ranges.pop() else {
                    return Ok(None);
                };
                let [before, after] = &self.states;
                self.walk = Some([Cursor::new(before, range)?, Cursor::new(after, range)?]);
                continue;
            };
            let ids = (before.id(), after.id());
            let Some(id) = [ids.0, ids.1].into_iter().flatten().min() else {
                self.walk = None;
                continue;
            };
            let old = if ids.0 == Some(id) {
                before.advance()?
            } else {
                None
            };
            let new = if ids.1 == Some(id) {
                after.advance()?
            } else {
                None
            };
            match (old, new) {
                (Some((_, old)), Some((_, new))) => {
                    if !self.is_same(id, &old, &new)? {
                        return Ok(Some(Difference::Changed(id)));
                    }
                }
                // What is looked up later may turn out to be absent: a damaged file alone could say so.
                (Some(_), None) => return Ok(Some(Difference::Removed(id))),
                (None, _) => return Ok(Some(Difference::Added(id))),
            }
        }
    }

    fn is_same(&self, id: u64, old: &Item, new: &Item) -> Result<bool> {
        let [before, after] = &self.states;
        if let (Item::Ready(old), Item::Ready(new)) = (old, new) {
            return Ok(before.bytes(old) == after.bytes(new));
        }
        if let (
            Some(Stored::Blob { head, length }),
            Some(Stored::Blob {
                head: new_head,
                length: new_length,
            }),
        ) = (before.stored_below(id)?, after.stored_below(id)?)
        {
            let sides = [(&before.base.pages, head), (&after.base.pages, new_head)];
            return Ok(length == new_length && self.same_blobs(sides, length)?);
        }
        let place = |state: &State, item: &Item| match item {
            Item::Ready(place) => Ok(Some(place.clone())),
            Item::LookUp => state.get(id),
        };
        let (old, new) = (place(before, old)?, place(after, new)?);
        let bytes = |state: &Arc<State>, place: &Option<Place>| {
            place.as_ref().map(|place| state.bytes(place).to_vec())
        };
        Ok(bytes(before, &old) == bytes(after, &new))
    }

    /// Compares two blobs of the same length.
    fn same_blobs(
        &self,
        [(old, old_head), (new, new_head)]: [(&Pages, SegmentAddr); 2],
        length: u64,
    ) -> Result<bool> {
        let touched = self.changes.touch(old, old_head, length)?
            || self.changes.touch(new, new_head, length)?;
        if old_head == new_head && !touched {
            return Ok(true);
        }
        let mut buffers = [Vec::new(), Vec::new()];
        for offset in (0..length).step_by(COMPARED_BYTES as usize) {
            let len = (length - offset).min(COMPARED_BYTES) as usize;
            for (buffer, (pages, head)) in
                buffers.iter_mut().zip([(old, old_head), (new, new_head)])
            {
                buffer.resize(len, 0);
                blob_read(pages, head, length, offset, buffer)?;
            }
            if buffers[0] != buffers[1] {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Iterator for Diff {
    type Item = Result<Difference>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.find().transpose();
        if !matches!(found, Some(Ok(_))) {
            self.ranges.clear();
            self.walk = None;
        }
        found
    }
}

impl FusedIterator for Diff {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use shroom_page::storage::MemoryStorage;

    /// The lattice changes with each checkpoint, and is no token's: nobody need look for its owner among all blobs.
    #[test]
    fn a_kept_content_root_costs_no_full_walk() {
        for page_size in [512, 1024, 4096] {
            let options = Options::new().page_size(page_size).track_content_root(true);
            let db = options
                .open_storage(Arc::new(MemoryStorage::new()))
                .unwrap();
            db.bulk_load((0..5000_u64).map(|id| (id, id.to_le_bytes())))
                .unwrap();
            db.put(7777, &vec![7; 50_000]).unwrap();
            db.checkpoint().unwrap();
            let before = db.snapshot();
            db.put(9, b"other").unwrap();
            db.checkpoint().unwrap();
            let mut diff = before.diff(&db.snapshot()).unwrap();
            assert!(!diff.changes.is_full_walk, "{page_size}");
            assert_eq!(diff.next().unwrap().unwrap(), Difference::Changed(9));
            assert!(diff.next().is_none());
        }
    }
}
