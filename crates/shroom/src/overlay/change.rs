//! What happened to one token since the state below.

use std::fmt;
use std::sync::Arc;

use shroom_token::{Bytes, Edit};

/// What happened to one token since the state below.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Deleted,
    Value(Arc<[u8]>),
    Grown(Arc<Grown>),
}

/// The first `kept` bytes of the value below, then pieces.
#[derive(Clone, PartialEq)]
pub(crate) struct Grown {
    pub(crate) kept: u64,
    pub(crate) length: u64,
    pieces: Pieces,
}

/// Pieces of a value, from the last to the first: those who have the first ones in common share them.
#[derive(Clone, Default)]
struct Pieces(Option<Arc<Piece>>);

struct Piece {
    bytes: Arc<[u8]>,
    before: Pieces,
}

impl Grown {
    fn new(kept: u64) -> Self {
        Self {
            kept,
            length: kept,
            pieces: Pieces::default(),
        }
    }

    /// What follows the bytes that are kept, in order.
    pub(crate) fn pieces(&self) -> Vec<&Arc<[u8]>> {
        let mut pieces: Vec<_> = self.pieces.backwards().collect();
        pieces.reverse();
        pieces
    }

    fn push(&mut self, bytes: Arc<[u8]>) {
        self.length += bytes.len() as u64;
        let before = std::mem::take(&mut self.pieces);
        self.pieces = Pieces(Some(Arc::new(Piece { bytes, before })));
    }

    fn truncate(&mut self, length: u64) {
        while self.length > length {
            let Some(last) = self.pieces.0.take() else {
                self.kept = length;
                self.length = length;
                return;
            };
            self.pieces = last.before.clone();
            self.length -= last.bytes.len() as u64;
            if self.length < length {
                let keep = (length - self.length) as usize;
                self.push(last.bytes[..keep].into());
                return;
            }
        }
    }
}

impl fmt::Debug for Grown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut grown = f.debug_struct("Grown");
        grown.field("kept", &self.kept);
        grown.field("pieces", &self.pieces()).finish()
    }
}

impl Pieces {
    fn backwards(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        let pieces = std::iter::successors(self.0.as_deref(), |piece| piece.before.0.as_deref());
        pieces.map(|piece| &piece.bytes)
    }
}

/// Piece by piece: nested calls could be as many as there are pieces.
impl PartialEq for Pieces {
    fn eq(&self, other: &Self) -> bool {
        self.backwards().eq(other.backwards())
    }
}

/// Like [`Pieces::eq`] without nested calls.
impl Drop for Piece {
    fn drop(&mut self) {
        let mut next = self.before.0.take();
        while let Some(mut piece) = next.and_then(Arc::into_inner) {
            next = piece.before.0.take();
        }
    }
}

impl Change {
    /// The change of a token that was changed already, or not, when it is appended to at `offset`: what is behind that is cut off.
    /// Says what is wrong when the append does not fit.
    pub(super) fn append(
        before: Option<&Self>,
        id: u64,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Self, String> {
        let mut grown = match before {
            None => Grown::new(offset),
            Some(Self::Deleted) => Grown::new(0),
            Some(Self::Value(value)) => {
                let mut grown = Grown::new(0);
                grown.push(Arc::clone(value));
                grown
            }
            Some(Self::Grown(grown)) => Grown::clone(grown),
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
        Ok(Self::Grown(Arc::new(grown)))
    }

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
                let tail = Bytes::Many(grown.pieces().iter().map(|piece| &***piece).collect());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// More than a stack has room for, if each piece took a call of its own.
    #[test]
    fn very_many_pieces_are_compared_and_dropped() {
        let mut grown = Grown::new(3);
        for number in 0..200_000_u32 {
            grown.push(number.to_le_bytes().into());
        }
        assert_eq!(grown.length, 3 + 4 * 200_000);
        assert_eq!(grown.pieces()[7][..], 7_u32.to_le_bytes());
        let mut other = Grown::new(3);
        for number in 0..200_000_u32 {
            other.push(number.to_le_bytes().into());
        }
        assert!(grown == other);
        let shorter = {
            let mut shorter = grown.clone();
            shorter.truncate(3 + 4 * 100_000 - 1);
            shorter
        };
        assert!(grown != shorter);
        drop(grown);
        assert_eq!(shorter.pieces().last().unwrap().len(), 3);
        assert_eq!(shorter.pieces()[99_998][..], 99_998_u32.to_le_bytes());
    }
}
