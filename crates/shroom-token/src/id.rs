//! The token's number: a newtype, so that ids are not mixed up with lengths and positions.

use core::fmt;

/// A token's id: any `u64`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TokenId(pub u64);

impl From<u64> for TokenId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl From<TokenId> for u64 {
    fn from(id: TokenId) -> Self {
        id.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
