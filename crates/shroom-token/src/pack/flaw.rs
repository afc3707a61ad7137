//! What can be wrong with a pack: which token, and expected against got.
//!
//! Absent on purpose: does not say where the pack is; `TokenError::Pack` does.

use super::{BLOB_REFERENCE_LEN, SLACK_LEN_MAX};
use crate::TokenId;

/// What is wrong with a pack's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackFlaw {
    /// The bytes end before the header or a column does.
    #[error("{got} bytes, at least {expected} expected")]
    Short {
        /// Bytes needed.
        expected: usize,
        /// Bytes there.
        got: usize,
    },
    /// More bytes follow the values than a segment's slack explains, or they are not zero.
    #[error(
        "{got} bytes or a nonzero byte after the values, at most {SLACK_LEN_MAX} zeros expected"
    )]
    Slack {
        /// Bytes after the values.
        got: usize,
    },
    /// The pack has no token.
    #[error("no token")]
    Empty,
    /// A header byte is out of range, or not the least that serves.
    #[error("{field} is {got:#x}, expected {expected:#x}")]
    Header {
        /// "id width", "kind", ...
        field: &'static str,
        /// The value that serves, or the highest.
        expected: u64,
        /// What it holds.
        got: u64,
    },
    /// Ids do not ascend strictly.
    #[error("id {got} of token {index} is not above {previous}")]
    Order {
        /// Which token, from 0.
        index: usize,
        /// The id before.
        previous: TokenId,
        /// Its id.
        got: TokenId,
    },
    /// A value's end lies before its start or past the values.
    #[error("value {index} spans {start}..{end} of {limit} bytes")]
    Span {
        /// Which token, from 0.
        index: usize,
        /// Where the value starts.
        start: usize,
        /// Where it ends.
        end: usize,
        /// Bytes of all values.
        limit: usize,
    },
    /// A blob reference is malformed.
    #[error("blob reference {index} has {got} bytes, expected {BLOB_REFERENCE_LEN}")]
    BlobReference {
        /// Which token, from 0.
        index: usize,
        /// Its stored length.
        got: usize,
    },
    /// A value is on the wrong side of the inline limit.
    #[error("value {index} of {length} bytes is on the wrong side of the inline limit of {limit}")]
    InlineLimit {
        /// Which token, from 0.
        index: usize,
        /// Its length.
        length: u64,
        /// Longest inline value.
        limit: usize,
    },
}
