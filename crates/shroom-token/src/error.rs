//! What can go wrong in the token layer: where, and expected against got.

use shroom_page::{LogicalPage, PageError};
use shroom_seg::{SegError, SegmentAddr};

use crate::node::NodeFlaw;
use crate::{PackFlaw, TokenId};

/// Result of a token-layer operation.
pub type Result<T, E = TokenError> = core::result::Result<T, E>;

/// An error of the token layer. Corruption and misuse are distinct; see [`TokenError::is_corruption`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The token root is malformed.
    #[error("token root: {field} is {got}, expected {expected}")]
    Root {
        /// Which field.
        field: &'static str,
        /// What the format allows.
        expected: &'static str,
        /// What it holds.
        got: u64,
    },
    /// The root's totals are not those of the tokens under it.
    #[error("token root says {expected} {what}, its tokens have {got}")]
    Totals {
        /// "tokens" or "payload bytes".
        what: &'static str,
        /// What the root says.
        expected: u64,
        /// What was counted.
        got: u64,
    },
    /// A pack is malformed.
    #[error("pack at {addr}: {flaw}")]
    Pack {
        /// The pack's segment.
        addr: SegmentAddr,
        /// What is wrong.
        flaw: PackFlaw,
    },
    /// A directory page is malformed.
    #[error("directory page {page}: {flaw}")]
    Directory {
        /// The page.
        page: LogicalPage,
        /// What is wrong.
        flaw: NodeFlaw,
    },
    /// A directory entry's id is not the first id stored under it.
    #[error("{child} starts with id {got}, its directory entry says {expected}")]
    RoutingKey {
        /// The directory page or the pack's page that the entry names.
        child: LogicalPage,
        /// The entry's id.
        expected: TokenId,
        /// The first id found.
        got: TokenId,
    },
    /// A directory page names ids that belong to another part of the tree.
    #[error("{child} holds id {got}, ids there end before {limit}")]
    BeyondNeighbour {
        /// The directory page or the pack's page.
        child: LogicalPage,
        /// The id that follows in the directory.
        limit: TokenId,
        /// The id found.
        got: TokenId,
    },
    /// Two directory entries name the same page or pack.
    #[error("{addr} is named twice in the directory")]
    NamedTwice {
        /// The pack, or the directory page with offset 0.
        addr: SegmentAddr,
    },
    /// A segment that looks like a pack without a readable directory page, and may be something else.
    #[error(
        "pack at {addr} is named by no readable directory page, and may be the bytes of a value"
    )]
    Unproven {
        /// The segment.
        addr: SegmentAddr,
    },
    /// Input that must be in ascending order of ids was not (misuse).
    #[error("ids must ascend: {got} came after {previous}")]
    NotAscending {
        /// The id before.
        previous: TokenId,
        /// The id that is not above it.
        got: TokenId,
    },
    /// An append keeps more bytes than the token has (misuse).
    #[error("append to token {id} keeps {kept} bytes of {length}")]
    KeptBeyondEnd {
        /// The token.
        id: TokenId,
        /// Bytes to keep.
        kept: u64,
        /// The stored length; 0 when the token is absent.
        length: u64,
    },
    /// A blob was given for a value that belongs into a pack (misuse).
    #[error("a blob of {length} bytes for token {id}: values of up to {limit} bytes lie in packs")]
    ShortBlob {
        /// The token.
        id: TokenId,
        /// The blob's length.
        length: u64,
        /// Longest value in a pack.
        limit: usize,
    },
    /// A value would be longer than a `u64` counts (misuse).
    #[error("token {id} would be longer than a u64 can count")]
    TooLong {
        /// The token.
        id: TokenId,
    },
    /// The segment layer failed.
    #[error(transparent)]
    Seg(#[from] SegError),
    /// The page layer failed.
    #[error(transparent)]
    Page(#[from] PageError),
}

impl TokenError {
    /// True when the file's bytes are at fault, and not the caller, the system or the disk.
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Root { .. }
            | Self::Totals { .. }
            | Self::Pack { .. }
            | Self::Directory { .. }
            | Self::RoutingKey { .. }
            | Self::BeyondNeighbour { .. }
            | Self::NamedTwice { .. }
            | Self::Unproven { .. } => true,
            Self::NotAscending { .. }
            | Self::KeptBeyondEnd { .. }
            | Self::ShortBlob { .. }
            | Self::TooLong { .. } => false,
            Self::Seg(error) => error.is_corruption(),
            // Page numbers come from the directory: one that is not there is damage, not misuse.
            Self::Page(PageError::Unallocated { .. }) => true,
            Self::Page(error) => error.is_corruption(),
        }
    }
}

/// Checks that what a directory entry names starts with the entry's id, `key`.
#[inline]
pub(crate) fn check_key(child: LogicalPage, key: Option<u64>, got: u64) -> Result<()> {
    match key {
        Some(expected) if expected != got => Err(TokenError::RoutingKey {
            child,
            expected: TokenId(expected),
            got: TokenId(got),
        }),
        _ => Ok(()),
    }
}
