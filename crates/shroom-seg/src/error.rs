//! What can go wrong in the segment layer: each error says what, where, and expected against got.

use alloc::string::String;

use shroom_page::{LogicalPage, PageError};

use crate::SegmentAddr;

/// Result of a segment-layer operation.
pub type Result<T, E = SegError> = core::result::Result<T, E>;

/// An error of the segment layer. I/O, corruption and misuse are distinct.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegError {
    /// The page layer failed.
    #[error(transparent)]
    Page(#[from] PageError),
    /// A storage page is malformed.
    #[error("storage page damaged at {addr}: {fault}")]
    Storage {
        /// The page, and the offset of what is wrong in it.
        addr: SegmentAddr,
        /// What is wrong.
        fault: Fault,
    },
    /// A segment that must stand alone links to another one.
    #[error("segment {addr} is linked to another, expected a single one")]
    Linked {
        /// The segment.
        addr: SegmentAddr,
    },
    /// A segment with a link holds no data, which no writer produces and which would allow a cycle.
    #[error("segment {addr} is empty and linked to another")]
    EmptyLink {
        /// The segment.
        addr: SegmentAddr,
    },
    /// A chain has more segments than the store has room for.
    #[error("chain exceeds {limit} segments at {addr}: cycle or corruption")]
    ChainTooLong {
        /// Where the walk stopped.
        addr: SegmentAddr,
        /// The most segments that the store can hold.
        limit: u64,
    },
    /// A chain ends too soon or too late for the value it should hold.
    #[error(
        "chain at {addr} ends with {found} bytes where {expected} (and up to 3 zero bytes) were expected"
    )]
    ChainLength {
        /// Head of the chain.
        addr: SegmentAddr,
        /// Bytes expected from the last point where the count was known.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// The bytes after the data of a chain or an extent are not zero.
    #[error("padding at {addr} is not zero")]
    Padding {
        /// Head of the chain.
        addr: SegmentAddr,
    },
    /// The descriptor of a blob does not fit the value or the store.
    #[error("blob {addr}: {detail}")]
    Blob {
        /// Head of the blob.
        addr: SegmentAddr,
        /// What was expected and what was found.
        detail: String,
    },
    /// The free-space index is malformed, or does not agree with the pages.
    #[error("free-space index damaged at {page}: {detail}")]
    Index {
        /// The index page, or the page whose class is wrong; 0 for the root.
        page: LogicalPage,
        /// What was expected and what was found.
        detail: String,
    },
    /// The segment root is malformed, or its totals do not agree with the pages.
    #[error("segment root damaged: {detail}")]
    Root {
        /// What was expected and what was found.
        detail: String,
    },
    /// More data than one segment holds.
    #[error("{size} bytes do not fit a segment, which holds at most {limit}")]
    TooLarge {
        /// Bytes asked for.
        size: usize,
        /// Largest data of a segment with this page size.
        limit: usize,
    },
    /// A range outside of a value, or a value longer than the format can hold.
    #[error("bytes {offset}..{end} are outside of a value of {length} bytes")]
    Range {
        /// First byte asked for.
        offset: u64,
        /// End of the range asked for.
        end: u64,
        /// Length of the value, or the largest length there can be.
        length: u64,
    },
}

impl SegError {
    /// True when the file's bytes are at fault, and not the caller, the system or the disk.
    pub fn is_corruption(&self) -> bool {
        match self {
            // A link of this layer to a page that is not there is damage, not misuse.
            Self::Page(PageError::Unallocated { .. }) => true,
            Self::Page(error) => error.is_corruption(),
            Self::TooLarge { .. } | Self::Range { .. } => false,
            _ => true,
        }
    }
}

/// What is wrong inside a storage page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The page is of another type.
    #[error("expected a storage page (type 1, kind 0), found type {page_type}, kind {kind}")]
    NotStorage {
        /// The type in the page header.
        page_type: u8,
        /// The kind in the page header.
        kind: u8,
    },
    /// An offset that cannot be a segment's.
    #[error("no segment can start here: segments are in bytes 8..{limit}")]
    Outside {
        /// Page size in bytes.
        limit: usize,
    },
    /// A segment is longer than the rest of its page.
    #[error("the segment claims {length} data bytes but the page ends before them")]
    Overrun {
        /// The segment's length field.
        length: u16,
    },
    /// A reserved link code.
    #[error("{next} is a reserved link code")]
    Link {
        /// The code found.
        next: u16,
    },
    /// The free list is not in ascending order, or two free segments touch.
    #[error(
        "the free list is not ascending and coalesced: expected an offset of at least {expected}"
    )]
    FreeOrder {
        /// The least offset that would have been right.
        expected: usize,
    },
    /// A segment with a link holds no data.
    #[error("the segment is empty and linked to another")]
    EmptyLink,
    /// A free segment holds something.
    #[error("a free segment is not zero")]
    FreeNotZero,
    /// The free list names bytes that no free segment starts at.
    #[error("the free list does not lie on a segment boundary")]
    FreeMisplaced,
    /// The header's sum of free bytes is wrong.
    #[error("the header counts {counted} free bytes, the page has {found}")]
    FreeBytes {
        /// What the header says.
        counted: usize,
        /// What the free list adds up to.
        found: usize,
    },
    /// The header's count of live segments is wrong.
    #[error("the header counts {counted} live segments, the page has {found}")]
    Used {
        /// What the header says.
        counted: usize,
        /// What the page holds.
        found: usize,
    },
    /// The segment is free.
    #[error("the segment is not live")]
    NotLive,
}
