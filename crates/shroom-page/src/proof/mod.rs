//! Proofs of pages: parts of pages, with the hashes that join them to a page root (format §13).
//!
//! [`ProofRecorder`] is a snapshot that remembers what is read through it, and writes that down as a proof.
//! [`ProvenPages`] reads the same again from the proof alone, and answers only with bytes that the page root stands for. So
//! whoever reads through both gets the same, or an error.
//!
//! BLAKE3 is a tree over chunks of 1,024 bytes. A proof holds the chunks of a page that are read, and one value for each
//! subtree of others.
//!
//! * Q1 No byte is handed out before the page root was seen to stand for it, at its place in its page.
//! * Q2 What a proof does not hold is an error, never zeros and never "absent".
//! * Q3 Memory and time are bounded by the length of the proof, whatever its bytes are.
//!   So where less is there than is claimed, the proof is at fault, unless no state could have it.
//! * Q4 Of what is read there is one proof only: records ascend, and each chunk is needed.
//!
//! Absent on purpose: does not know what the pages mean, nor which of them a question needs.

mod chunks;
mod path;
mod proven;
#[cfg(feature = "std")]
mod recorder;

pub use proven::ProvenPages;
#[cfg(feature = "std")]
pub use recorder::ProofRecorder;

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{Immutable, IntoBytes, Unaligned};

use crate::{LogicalPage, PageRead, Result};

/// First bytes of every proof.
pub(crate) const MAGIC: [u8; 8] = *b"SHROOMPR";
/// Version of the encoding.
pub(crate) const VERSION: u8 = 1;
/// Level and index at the start of each record.
pub(crate) const RECORD_HEAD_LEN: usize = 5;

/// What a proof begins with.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct ProofHead {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u8,
    pub(crate) page_shift: u8,
}

/// What a record begins with.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RecordHead {
    pub(crate) level: u8,
    pub(crate) index: U32,
}
const _: () = assert!(size_of::<RecordHead>() == RECORD_HEAD_LEN);

#[cfg(feature = "std")]
pub(crate) fn structures() -> Vec<crate::format::Structure> {
    use crate::format::Structure;

    let head = crate::format_fields!(ProofHead {
        "magic" => magic,
        "version" => version,
        "page_shift" => page_shift,
    });
    let record = crate::format_fields!(RecordHead { "level" => level, "index" => index });
    vec![
        Structure::fixed("proof head", head),
        Structure::fixed("proof record", record),
        chunks::structure(),
    ]
}

/// Read access to parts of pages.
pub trait PartialRead: PageRead {
    /// Fills `buffer` with the bytes of `page` from `start` on.
    ///
    /// # Errors
    /// Those of [`PageRead::page`]; [`ProofFlaw::Missing`] when they are not all at hand, or not all in the page.
    fn read_at(&self, page: LogicalPage, start: usize, buffer: &mut [u8]) -> Result<()>;

    /// The `N` bytes of `page` from `start` on.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn array<const N: usize>(&self, page: LogicalPage, start: usize) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_at(page, start, &mut bytes)?;
        Ok(bytes)
    }
}

/// What is wrong with a proof. A page is named by its level, 0 for a logical page and `n` for a page of the map of level
/// `n - 1`, and by its index there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofFlaw {
    /// The bytes end before they should.
    #[error("{got} bytes are left at byte {at}, {expected} expected")]
    Short {
        /// Offset in the proof.
        at: usize,
        /// Bytes needed.
        expected: usize,
        /// Bytes there.
        got: usize,
    },
    /// A field is not as it can be.
    #[error("{field} at byte {at} is wrong")]
    Field {
        /// Which field.
        field: &'static str,
        /// Offset in the proof.
        at: usize,
    },
    /// The page map that it describes cannot be.
    #[error("height and root entries do not fit {logical_pages} logical pages")]
    Shape {
        /// Logical pages.
        logical_pages: u32,
    },
    /// Records do not ascend strictly.
    #[error("record at byte {at} does not follow the one before")]
    Order {
        /// Offset in the proof.
        at: usize,
    },
    /// It is for another page root.
    #[error("it belongs to another page root")]
    Root,
    /// A page does not have the hash that its referrer holds.
    #[error("page {index} of level {level} does not match its hash")]
    Hash {
        /// Level of the page.
        level: u8,
        /// Index in the level.
        index: u32,
    },
    /// Bytes that are asked for are not in it.
    #[error("bytes {start}..{end} of page {index} of level {level} are not in it")]
    Missing {
        /// Level of the page.
        level: u8,
        /// Index in the level.
        index: u32,
        /// First byte asked for.
        start: usize,
        /// End of the bytes asked for.
        end: usize,
    },
    /// It does not hold all pages of a large value.
    #[error("it holds {got} whole pages, and the value needs {expected}")]
    Pages {
        /// Pages needed, at least.
        expected: u64,
        /// Logical pages that it holds as a whole.
        got: u32,
    },
    /// It holds chunks that are not needed.
    #[error("it holds chunks of page {index} of level {level} that are not needed")]
    Unused {
        /// Level of the page.
        level: u8,
        /// Index in the level.
        index: u32,
    },
    /// It holds chunks of the page root's input that are not needed.
    #[error("it holds root entries that are not needed")]
    UnusedRoot,
}
