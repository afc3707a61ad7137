//! The changes made to an overlay since it was empty, in the order in which they were made: what all its clones share.
//!
//! * H1 A change has a slot, the number of changes before it, and never changes. A clone that has seen n changes looks at those
//!   with slots below n, and so stays as it is while others are added.
//! * H2 A change is added by whoever has seen all before it, one at a time.
//! * H3 Adding a change costs a bounded number of steps, and an older state of a token is found in as many as the logarithm
//!   of the number of its changes.
//!
//! What is superseded stays until the last clone is gone: by then a checkpoint has the changes, so a journal area bounds them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::arena::Arena;
use super::change::Change;
use super::trie::{Trie, Walk};

/// A history holds at most this many changes.
pub(super) const CHANGES_MAX: u32 = super::arena::CELLS_MAX;
/// Instead of a slot: the token had not changed before.
const NONE: u32 = u32::MAX;

/// Memory of a change: its cell, what its bytes take besides themselves, its part of the trie, in bytes.
pub(super) const ENTRY_BYTES: u64 = size_of::<OnceLock<Entry>>() as u64 + 64;

/// A change of a token, and where those before it are.
#[derive(Debug)]
pub(super) struct Entry {
    id: u64,
    pub(super) change: Change,
    /// Slot of the change before this one.
    older: u32,
    /// Slot of one further back: Myers' jump pointers ("An applicative random-access stack", 1983), which lead to any
    /// change before in a logarithmic number of steps.
    jump: u32,
    /// Changes of the token up to this one.
    depth: u32,
}

#[derive(Debug)]
pub(super) struct History {
    entries: Arena<OnceLock<Entry>>,
    /// The newest change of each token.
    newest: Trie,
    /// Changes that were added, or are about to be.
    claimed: AtomicU32,
}

/// A slot that nobody else has.
#[derive(Debug)]
pub(super) struct Slot<'h> {
    history: &'h History,
    number: u32,
}

impl Slot<'_> {
    /// Adds a change; true when its token had none.
    pub(super) fn fill(self, id: u64, change: Change) -> bool {
        let Self { history, number } = self;
        let spot = history.newest.locate(id, |slot| history.id(slot));
        let older = spot.slot().unwrap_or(NONE);
        let entry = Entry {
            id,
            change,
            older,
            jump: history.jump_over(older),
            depth: history.depth(older) + 1,
        };
        let was_free = history.entries.make(number).set(entry).is_ok();
        assert!(was_free, "slot {number} was given twice");
        history.newest.set(&spot, id, number);
        older == NONE
    }
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            entries: Arena::new(),
            newest: Trie::new(),
            claimed: AtomicU32::new(0),
        }
    }

    /// The slot after those of the changes that were seen, for the next change; `None` when somebody else has it.
    pub(super) fn claim(&self, seen: u32) -> Option<Slot<'_>> {
        let (claimed, success) = (&self.claimed, Ordering::AcqRel);
        claimed
            .compare_exchange(seen, seen + 1, success, Ordering::Relaxed)
            .ok()
            .map(|number| Slot {
                history: self,
                number,
            })
    }

    /// The jump of a change that follows the one in a slot: to that one, or over two jumps of equal length.
    fn jump_over(&self, older: u32) -> u32 {
        if older == NONE {
            return NONE;
        }
        let (at, first) = (self.entry(older).depth, self.entry(older).jump);
        if first == NONE {
            return older;
        }
        let second = self.entry(first).jump;
        if at - self.depth(first) == self.depth(first) - self.depth(second) {
            second
        } else {
            older
        }
    }

    fn depth(&self, slot: u32) -> u32 {
        if slot == NONE {
            0
        } else {
            self.entry(slot).depth
        }
    }

    #[inline]
    fn entry(&self, slot: u32) -> &Entry {
        let entry = self.entries.cell(slot).get();
        entry.expect("a slot is filled before it is given away")
    }

    /// Id of the token that the change in a slot is of.
    pub(super) fn id(&self, slot: u32) -> u64 {
        self.entry(slot).id
    }

    /// The newest change of a token for whoever has seen so many.
    #[inline]
    pub(super) fn get(&self, id: u64, seen: u32) -> Option<&Change> {
        let entry = self.entry_seen(self.newest.candidate(id)?, seen)?;
        (entry.id == id).then_some(&entry.change)
    }

    /// The newest change of the token in a slot for whoever has seen so many.
    #[inline]
    fn entry_seen(&self, mut slot: u32, seen: u32) -> Option<&Entry> {
        while slot >= seen {
            if slot == NONE {
                return None;
            }
            slot = self.step_back(slot, seen);
        }
        Some(self.entry(slot))
    }

    /// An older change of the token in a slot, none of those in between having been seen.
    fn step_back(&self, slot: u32, seen: u32) -> u32 {
        let entry = self.entry(slot);
        let jumps = entry.jump != NONE && entry.jump >= seen;
        if jumps { entry.jump } else { entry.older }
    }

    /// The tokens that changed, in order, for whoever has seen so many changes.
    pub(super) fn range(&self, first: u64, last: u64, seen: u32) -> Range<'_> {
        Range {
            history: self,
            seen,
            bounds: (first <= last).then_some((first, last)),
            front: None,
            back: None,
        }
    }
}

/// Iterator over tokens and their changes, in the order of their ids.
#[derive(Debug)]
pub(super) struct Range<'h> {
    history: &'h History,
    seen: u32,
    /// What neither end has come to.
    bounds: Option<(u64, u64)>,
    front: Option<Walk<'h>>,
    back: Option<Walk<'h>>,
}

impl<'h> Range<'h> {
    /// The next token that was seen, at one end; `None` when it is past the other.
    #[inline]
    fn step(&mut self, forward: bool) -> Option<&'h Entry> {
        let (history, (first, last)) = (self.history, self.bounds?);
        let (walk, start) = if forward {
            (&mut self.front, first)
        } else {
            (&mut self.back, last)
        };
        let walk = walk.get_or_insert_with(|| {
            Walk::from(&history.newest, start, forward, |slot| history.id(slot))
        });
        let found = walk.find_map(|slot| history.entry_seen(slot, self.seen));
        let found = found.filter(|entry| (first..=last).contains(&entry.id));
        self.bounds = found.and_then(|entry| {
            let (first, last) = if forward {
                (entry.id.checked_add(1)?, last)
            } else {
                (first, entry.id.checked_sub(1)?)
            };
            (first <= last).then_some((first, last))
        });
        found
    }
}

impl<'h> Iterator for Range<'h> {
    type Item = (u64, &'h Change);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.step(true).map(|entry| (entry.id, &entry.change))
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(false).map(|entry| (entry.id, &entry.change))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A snapshot may be held while a counter goes on.
    #[test]
    fn any_change_of_a_token_is_a_few_steps_away() {
        let history = History::new();
        let changes = 5000_u32;
        for slot in 0..changes {
            let change = Change::Value(slot.to_le_bytes().into());
            let is_new = history.claim(slot).unwrap().fill(7, change);
            assert_eq!(is_new, slot == 0);
        }
        for seen in 1..=changes {
            let (mut slot, mut steps) = (changes - 1, 0);
            while slot >= seen {
                slot = history.step_back(slot, seen);
                steps += 1;
            }
            assert_eq!(slot, seen - 1);
            assert!(steps <= 3 * changes.ilog2(), "{steps} steps to {slot}");
            let newest = Change::Value((seen - 1).to_le_bytes().into());
            assert_eq!(history.get(7, seen), Some(&newest));
        }
        assert_eq!(history.get(7, 0), None);
    }

    #[test]
    fn a_slot_is_given_once() {
        let history = History::new();
        assert!(history.claim(1).is_none());
        let slot = history.claim(0).unwrap();
        assert!(history.claim(0).is_none());
        assert!(slot.fill(1, Change::Deleted));
        assert!(history.claim(0).is_none());
        assert!(history.claim(1).is_some());
    }
}
