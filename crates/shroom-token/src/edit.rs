//! What a merge does to a token.

use shroom_seg::SegmentAddr;

/// Bytes of a value, in one piece or several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bytes<'a> {
    /// One piece.
    One(&'a [u8]),
    /// Pieces, in order.
    Many(Vec<&'a [u8]>),
}

impl<'a> Bytes<'a> {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        self.parts().iter().map(|part| part.len() as u64).sum()
    }

    /// True without any byte.
    pub fn is_empty(&self) -> bool {
        self.parts().iter().all(|part| part.is_empty())
    }

    /// The pieces, in order.
    pub fn parts(&self) -> &[&'a [u8]] {
        match self {
            Self::One(part) => std::slice::from_ref(part),
            Self::Many(parts) => parts,
        }
    }
}

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::One(bytes)
    }
}

/// A change of one token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit<'a> {
    /// The token's value becomes these bytes.
    Put(Bytes<'a>),
    /// The token goes, if it is there.
    Delete,
    /// The value becomes its first `kept` bytes and then `tail`. An absent token has length 0.
    Append {
        /// Bytes of the stored value to keep, at most its length.
        kept: u64,
        /// Bytes that follow them.
        tail: Bytes<'a>,
    },
    /// The value becomes a blob that this transaction has stored. A blob that was the token's value before is in it, or freed,
    /// already: it is left alone.
    Blob {
        /// Where the blob begins.
        head: SegmentAddr,
        /// Its length, over the limit for values in packs.
        length: u64,
    },
}
