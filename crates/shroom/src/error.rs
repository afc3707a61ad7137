//! What can go wrong, by kind: I/O, corruption, misuse, full, locked, poisoned.

use alloc::string::String;
use alloc::sync::Arc;
#[cfg(feature = "std")]
use std::io;

use shroom_page::PageError;
use shroom_seg::SegError;
use shroom_token::TokenError;

/// Result of a database operation.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// An error of the database. [`kind`](Self::kind) sorts it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Of the page layer: the file, the page map, the journal's frames.
    #[error(transparent)]
    Page(#[from] PageError),
    /// Of the segment layer.
    #[error(transparent)]
    Seg(SegError),
    /// Of the token layer.
    #[error(transparent)]
    Token(TokenError),
    /// A journal frame holds something other than operations.
    #[error("journal frame {sequence} is malformed: {detail}")]
    Journal {
        /// Which frame.
        sequence: u64,
        /// What was expected and what was found.
        detail: String,
    },
    /// A value would be longer than the format allows.
    #[error("a value of {length} bytes for token {id} is over the limit of {limit} bytes")]
    ValueTooLarge {
        /// The token.
        id: u64,
        /// Length that the value would have.
        length: u64,
        /// The limit at this page size.
        limit: u64,
    },
    /// A place behind the end of a value was given: there is no gap in a value.
    #[error("byte {offset} of token {id} is behind its end: it has {length} bytes")]
    BeyondEnd {
        /// The token.
        id: u64,
        /// The place given.
        offset: u64,
        /// Length of the value; 0 when the token is absent.
        length: u64,
    },
    /// `insert` found the highest id in use.
    #[error("no id is left above {}", u64::MAX)]
    IdsExhausted,
    /// Bulk input must ascend.
    #[error("bulk load expects ascending ids, but {id} came after {previous}")]
    NotAscending {
        /// The id before.
        previous: u64,
        /// The id that is not above it.
        id: u64,
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
    /// A value cannot be made from what was given, or what is stored is not a value of the type asked for.
    #[cfg(feature = "serde")]
    #[error("token {id} as {type_name}: {source}")]
    Typed {
        /// The token.
        id: u64,
        /// Name of the type, for people.
        type_name: &'static str,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is to be proven was written since the last checkpoint, and no page root stands for it yet.
    #[error("token {id} was written since the last checkpoint, and is only in the journal")]
    OnlyInJournal {
        /// The token.
        id: u64,
    },
    /// The background checkpoint failed; reading goes on, and a write tries it again where that can help.
    #[error("the checkpoint failed: {0}")]
    Checkpoint(#[source] Arc<Error>),
    /// Work was stopped by whoever was told of its progress.
    #[error("stopped before it was done")]
    Stopped,
    /// The database was closed through another handle.
    #[error("the database is closed")]
    Closed,
    /// An option has a value that cannot be.
    #[error("option {option}: {detail}")]
    Option {
        /// Which option.
        option: &'static str,
        /// What was expected and what was given.
        detail: String,
    },
}

/// The kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A system call failed, or the file cannot be opened.
    Io,
    /// The disk or the format's limits are full.
    Full,
    /// Another process or handle holds the file.
    Locked,
    /// The file is not a ShroomDB file, or not of this version.
    NotADatabase,
    /// The file's bytes are damaged.
    Corruption,
    /// The caller asked for something that cannot be.
    Misuse,
    /// An earlier sync or write failed; reopen to go on.
    Poisoned,
}

impl Error {
    /// Which kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Page(error) => page_kind(error),
            Self::Seg(SegError::Page(error)) => page_kind(error),
            Self::Seg(error) => corruption_or_misuse(error.is_corruption()),
            Self::Token(error) => corruption_or_misuse(error.is_corruption()),
            Self::Journal { .. } | Self::Delta { .. } => ErrorKind::Corruption,
            Self::Checkpoint(error) => error.kind(),
            Self::IdsExhausted => ErrorKind::Full,
            _ => ErrorKind::Misuse,
        }
    }

    /// True when the file's bytes are at fault.
    pub fn is_corruption(&self) -> bool {
        matches!(self.kind(), ErrorKind::Corruption | ErrorKind::NotADatabase)
    }
}

/// For streams, whose errors are those of [`std::io`]: the error is inside.
#[cfg(feature = "std")]
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Full => io::ErrorKind::StorageFull,
            ErrorKind::Corruption | ErrorKind::NotADatabase => io::ErrorKind::InvalidData,
            ErrorKind::Misuse => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<SegError> for Error {
    fn from(error: SegError) -> Self {
        match error {
            SegError::Page(error) => Self::Page(error),
            error => Self::Seg(error),
        }
    }
}

impl From<TokenError> for Error {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Page(error) => Self::Page(error),
            TokenError::Seg(error) => error.into(),
            error => Self::Token(error),
        }
    }
}

fn corruption_or_misuse(corruption: bool) -> ErrorKind {
    if corruption {
        ErrorKind::Corruption
    } else {
        ErrorKind::Misuse
    }
}

fn page_kind(error: &PageError) -> ErrorKind {
    match error {
        #[cfg(feature = "std")]
        PageError::Io { .. } | PageError::Open { .. } => ErrorKind::Io,
        #[cfg(feature = "std")]
        PageError::Full { .. } => ErrorKind::Full,
        #[cfg(feature = "std")]
        PageError::Locked { .. } => ErrorKind::Locked,
        PageError::TooManyPages { .. } => ErrorKind::Full,
        PageError::NotADatabase { .. } | PageError::Version { .. } => ErrorKind::NotADatabase,
        PageError::Poisoned => ErrorKind::Poisoned,
        error if error.is_corruption() => ErrorKind::Corruption,
        // The engine asks for pages by what it read from the file.
        PageError::Unallocated { .. } => ErrorKind::Corruption,
        _ => ErrorKind::Misuse,
    }
}
