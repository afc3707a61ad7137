//! What can go wrong in the page layer: each error says what, where, and expected against got.

use alloc::string::String;
#[cfg(feature = "std")]
use std::{io, path::PathBuf};

use crate::proof::ProofFlaw;
use crate::{LogicalPage, PhysicalPage};

/// Result of a page-layer operation.
pub type Result<T, E = PageError> = core::result::Result<T, E>;

/// An error of the page layer. I/O, corruption and misuse are distinct.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// A system call failed.
    #[cfg(feature = "std")]
    #[error("{operation} failed at byte {offset}: {source}")]
    Io {
        /// What was attempted: "read", "write", "sync", "grow", "shrink", "map", ...
        operation: &'static str,
        /// Byte offset in the file; the file length for "grow" and "shrink"; 0 where none applies.
        offset: u64,
        /// The system's error.
        source: io::Error,
    },
    /// The file could not be opened or created.
    #[cfg(feature = "std")]
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The path given.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The disk, or a limit of the format, is full.
    #[cfg(feature = "std")]
    #[error("no space to grow the file from {from} to {to} bytes: {source}")]
    Full {
        /// Length before, in bytes.
        from: u64,
        /// Length asked for, in bytes.
        to: u64,
        /// The system's error.
        source: io::Error,
    },
    /// Another handle or process holds the file.
    #[cfg(feature = "std")]
    #[error("{} is locked by another process or handle", path.display())]
    Locked {
        /// The path given.
        path: PathBuf,
    },
    /// The file is not a ShroomDB file.
    #[error("not a ShroomDB file: {reason}")]
    NotADatabase {
        /// What was found instead.
        reason: String,
    },
    /// The file's format version is not the one this build reads.
    #[error("file format version {found}, this build reads version {supported}")]
    Version {
        /// Version in the file.
        found: u16,
        /// Version of this build.
        supported: u16,
    },
    /// The file is shorter than its superblock says.
    #[error("file is truncated: {found} bytes, expected at least {expected}")]
    Truncated {
        /// Bytes the superblock claims.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// The file has a journal, whose frames a reader of pages alone would miss.
    #[error(
        "the file has a journal of {journal_pages} pages: it must be opened for writing and closed before it can be read as an image"
    )]
    NotClosed {
        /// Pages of the journal.
        journal_pages: u64,
    },
    /// A page's bytes do not have the hash that its referrer holds.
    #[error("page {logical} at {physical} (byte {offset}) does not match its hash")]
    HashMismatch {
        /// Logical number; 0 for a page of the map or the free record.
        logical: LogicalPage,
        /// Place in the file.
        physical: PhysicalPage,
        /// Byte offset of the page in the file.
        offset: u64,
    },
    /// A structure of the page layer is malformed.
    #[error("corrupt {what} at {physical}: {detail}")]
    Corrupt {
        /// Which structure.
        what: &'static str,
        /// Physical page that holds it.
        physical: PhysicalPage,
        /// What was expected and what was found.
        detail: String,
    },
    /// The journal is damaged before a point that was synced.
    #[error(
        "journal damaged: frame {missing} is missing or corrupt, but frame {synced} was synced"
    )]
    JournalDamaged {
        /// First frame that cannot be read.
        missing: u64,
        /// Highest frame known to have been durable.
        synced: u64,
    },
    /// A logical page that is not allocated was asked for.
    #[error("logical page {page} is not allocated (numbers are below {limit})")]
    Unallocated {
        /// The page asked for.
        page: LogicalPage,
        /// The number of logical pages.
        limit: u32,
    },
    /// A proof does not hold.
    #[error("proof: {0}")]
    Proof(#[from] ProofFlaw),
    /// No more page numbers.
    #[error("the file would need more than {limit} pages")]
    TooManyPages {
        /// The limit, in pages.
        limit: u32,
    },
    /// A named snapshot with this name is there already.
    #[error("there is a snapshot named {name:?} already")]
    SnapshotExists {
        /// The name given.
        name: String,
    },
    /// No named snapshot has this name.
    #[error("there is no snapshot named {name:?}")]
    NoSuchSnapshot {
        /// The name given.
        name: String,
    },
    /// A delta is damaged, or ends early.
    #[error("bad delta at byte {offset}: {detail}")]
    Delta {
        /// Where in the delta.
        offset: u64,
        /// What was expected and what was found.
        detail: String,
    },
    /// A delta leads on from another state than the file's.
    #[error(
        "the delta leads on from page root {}, but the file is at {}",
        blake3::Hash::from(*expected),
        blake3::Hash::from(*found)
    )]
    DeltaBase {
        /// Page root that the delta leads on from.
        expected: [u8; 32],
        /// Page root of the file's present state.
        found: [u8; 32],
    },
    /// A named snapshot that the delta's source no longer has uses a page that the delta needs.
    #[error(
        "the delta needs page {physical}, which a named snapshot of the file uses: delete those that the source does not have"
    )]
    DeltaPlace {
        /// The page.
        physical: PhysicalPage,
    },
    /// An earlier sync or write failed, so the file's state is not known until it is opened again.
    #[error("an earlier sync or write failed; reopen the file to go on")]
    Poisoned,
    /// The store was opened read-only.
    #[error("the store is read-only")]
    ReadOnly,
    /// A value given by the caller is out of range.
    #[error("{what}: {detail}")]
    Misuse {
        /// Which argument.
        what: &'static str,
        /// What was expected and what was given.
        detail: String,
    },
}

impl PageError {
    /// True when the file's bytes are at fault, and not the caller, the system or the disk.
    pub fn is_corruption(&self) -> bool {
        matches!(
            self,
            Self::NotADatabase { .. }
                | Self::Truncated { .. }
                | Self::HashMismatch { .. }
                | Self::Corrupt { .. }
                | Self::JournalDamaged { .. }
                | Self::Delta { .. }
                | Self::Proof(_)
        )
    }

    #[cfg(feature = "std")]
    pub(crate) fn io(operation: &'static str, offset: u64) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            operation,
            offset,
            source,
        }
    }
}
