//! The overlay: committed operations that no checkpoint contains yet, as a persistent ordered map.
//!
//! * O1 Cloning is O(1) and a clone never changes: a reader's state holds one.
//! * O2 A change says all that is needed to read its token, given the state below: deleted, a value, or how much of the value
//!   below is kept and what follows.

use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, Vector};
use shroom_token::{Bytes, Edit, TokenId};

use crate::operation::Operation;

/// Approximate memory of an entry besides its bytes.
const ENTRY_BYTES: u64 = 64;

/// What happened to one token since the state below.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Deleted,
    Value(Arc<[u8]>),
    Grown(Arc<Grown>),
}

/// The first `kept` bytes of the value below, then the pieces.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grown {
    pub(crate) kept: u64,
    pub(crate) pieces: Vector<Arc<[u8]>>,
    pub(crate) length: u64,
}

impl Grown {
    fn new(kept: u64) -> Self {
        Self {
            kept,
            pieces: Vector::new(),
            length: kept,
        }
    }

    fn push(&mut self, bytes: Arc<[u8]>) {
        self.length += bytes.len() as u64;
        self.pieces.push_back(bytes);
    }

    fn truncate(&mut self, length: u64) {
        while self.length > length {
            let Some(last) = self.pieces.pop_back() else {
                self.kept = length;
                self.length = length;
                return;
            };
            self.length -= last.len() as u64;
            if self.length < length {
                let keep = (length - self.length) as usize;
                self.push(last[..keep].into());
                return;
            }
        }
    }
}

impl Change {
    /// Length of the token's value; `None` when it is deleted.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Deleted => None,
            Self::Value(bytes) => Some(bytes.len() as u64),
            Self::Grown(grown) => Some(grown.length),
        }
    }

    /// The change as the token layer takes it.
    pub(crate) fn edit(&self) -> Edit<'_> {
        match self {
            Self::Deleted => Edit::Delete,
            Self::Value(bytes) => Edit::Put(Bytes::One(bytes)),
            Self::Grown(grown) => {
                let tail = Bytes::Many(grown.pieces.iter().map(|piece| &**piece).collect());
                if grown.kept == 0 {
                    Edit::Put(tail)
                } else {
                    Edit::Append {
                        kept: grown.kept,
                        tail,
                    }
                }
            }
        }
    }
}

/// Changes by id, and the tag.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay {
    changes: OrdMap<u64, Change>,
    pub(crate) tag: Option<u64>,
    bytes: u64,
}

impl Overlay {
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.tag.is_none()
    }

    /// Tokens changed.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Approximate memory, counting what is superseded too.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    #[inline]
    pub(crate) fn get(&self, id: u64) -> Option<&Change> {
        self.changes.get(&id)
    }

    pub(crate) fn range(
        &self,
        first: u64,
        last: u64,
    ) -> impl DoubleEndedIterator<Item = (u64, &Change)> {
        self.changes
            .range(first..=last)
            .map(|(&id, change)| (id, change))
    }

    /// Whether another one holds the same changes, by being a clone of the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.changes.ptr_eq(&other.changes)
    }

    /// The ids of the changes that another overlay does not have alike, ascending. Costs what differs, where one comes of
    /// the other.
    pub(crate) fn differing_ids(&self, other: &Self) -> Vec<u64> {
        let differences = self.changes.diff(&other.changes);
        differences
            .map(|item| match item {
                DiffItem::Add(&id, _) | DiffItem::Remove(&id, _) => id,
                DiffItem::Update { new: (&id, _), .. } => id,
            })
            .collect()
    }

    /// The changes in id order, as the token layer takes them.
    pub(crate) fn edits(&self) -> impl Iterator<Item = (TokenId, Edit<'_>)> {
        self.changes
            .iter()
            .map(|(&id, change)| (TokenId(id), change.edit()))
    }

    /// Adds an operation; says what is wrong when an append does not fit what it appends to.
    pub(crate) fn apply(&mut self, operation: Operation<'_>) -> Result<(), String> {
        let (id, change) = match operation {
            Operation::Put { id, bytes } => (id, Change::Value(bytes.into())),
            Operation::Delete { id } => (id, Change::Deleted),
            Operation::Append { id, offset, bytes } => (id, self.grown(id, offset, bytes)?),
            Operation::Tag { value } => {
                self.tag = Some(value);
                return Ok(());
            }
        };
        self.bytes += ENTRY_BYTES + operation_len(&operation);
        self.changes.insert(id, change);
        Ok(())
    }

    fn grown(&self, id: u64, offset: u64, bytes: &[u8]) -> Result<Change, String> {
        let mut grown = match self.changes.get(&id) {
            None => Grown::new(offset),
            Some(Change::Deleted) => Grown::new(0),
            Some(Change::Value(value)) => {
                let mut grown = Grown::new(0);
                grown.push(Arc::clone(value));
                grown
            }
            Some(Change::Grown(grown)) => Grown::clone(grown),
        };
        if grown.length < offset {
            return Err(format!(
                "append at {offset} to token {id} of {} bytes",
                grown.length
            ));
        }
        if offset
            .checked_add(bytes.len() as u64)
            .is_none_or(|length| length > i64::MAX as u64)
        {
            return Err(format!(
                "append at {offset} to token {id}: past the end of the number space"
            ));
        }
        grown.truncate(offset);
        grown.push(bytes.into());
        Ok(Change::Grown(Arc::new(grown)))
    }
}

fn operation_len(operation: &Operation<'_>) -> u64 {
    match operation {
        Operation::Put { bytes, .. } | Operation::Append { bytes, .. } => bytes.len() as u64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(overlay: &Overlay, id: u64, below: &[u8]) -> Option<Vec<u8>> {
        match overlay.get(id).unwrap() {
            Change::Deleted => None,
            Change::Value(bytes) => Some(bytes.to_vec()),
            Change::Grown(grown) => {
                let mut text = below[..grown.kept as usize].to_vec();
                grown
                    .pieces
                    .iter()
                    .for_each(|piece| text.extend_from_slice(piece));
                assert_eq!(text.len() as u64, grown.length);
                Some(text)
            }
        }
    }

    #[test]
    fn appends_compose() {
        let mut overlay = Overlay::default();
        let append = |offset, bytes| Operation::Append {
            id: 1,
            offset,
            bytes,
        };
        overlay.apply(append(3, b"de")).unwrap();
        overlay.apply(append(5, b"f")).unwrap();
        assert_eq!(text(&overlay, 1, b"abc").unwrap(), b"abcdef");
        // A replay says where its bytes begin, and replaces what is beyond.
        overlay.apply(append(4, b"XY")).unwrap();
        assert_eq!(text(&overlay, 1, b"abc").unwrap(), b"abcdXY");
        overlay.apply(append(2, b"!")).unwrap();
        assert_eq!(text(&overlay, 1, b"abc").unwrap(), b"ab!");
        assert!(overlay.apply(append(4, b"gap")).is_err());
        overlay.apply(Operation::Delete { id: 1 }).unwrap();
        assert_eq!(text(&overlay, 1, b"abc"), None);
        overlay.apply(append(0, b"new")).unwrap();
        assert_eq!(text(&overlay, 1, b"abc").unwrap(), b"new");
        overlay
            .apply(Operation::Put {
                id: 1,
                bytes: b"put",
            })
            .unwrap();
        overlay.apply(append(3, b"+")).unwrap();
        assert_eq!(text(&overlay, 1, b"abc").unwrap(), b"put+");
    }

    #[test]
    fn a_clone_does_not_change() {
        let mut overlay = Overlay::default();
        overlay
            .apply(Operation::Put {
                id: 1,
                bytes: b"one",
            })
            .unwrap();
        let clone = overlay.clone();
        overlay
            .apply(Operation::Append {
                id: 1,
                offset: 3,
                bytes: b"two",
            })
            .unwrap();
        assert_eq!(text(&clone, 1, b"").unwrap(), b"one");
        assert_eq!(text(&overlay, 1, b"").unwrap(), b"onetwo");
    }

    /// Ids spread over many nodes of the tree, so that most are shared.
    #[test]
    fn the_ids_that_differ_are_those_that_were_changed() {
        let mut number = 1_u64;
        let mut random = |limit: u64| {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (number >> 33) % limit
        };
        let put = |overlay: &mut Overlay, id: u64, operation: u64| {
            let bytes = &[operation as u8];
            let operation = match operation % 4 {
                0 => Operation::Delete { id },
                1 => Operation::Append {
                    id,
                    offset: 0,
                    bytes,
                },
                _ => Operation::Put { id, bytes },
            };
            overlay.apply(operation).unwrap();
        };
        for changes in [0, 1, 2, 10, 300, 3000] {
            for _ in 0..10 {
                let mut older = Overlay::default();
                for _ in 0..random(6000) {
                    put(&mut older, random(20_000), random(1000));
                }
                let mut newer = older.clone();
                assert!(newer.is_same(&older));
                let first = random(20_000);
                for change in 0..changes {
                    let id = if random(2) == 0 {
                        random(20_000)
                    } else {
                        first + change
                    };
                    put(&mut newer, id, random(1000));
                }
                let differs = |id: &u64| older.get(*id) != newer.get(*id);
                let expected: Vec<u64> = (0..30_000).filter(differs).collect();
                assert_eq!(newer.differing_ids(&older), expected);
                assert_eq!(older.differing_ids(&newer), expected);
            }
        }
    }
}
