//! What a salvage tells.

use std::fmt;

use shroom_page::{LogicalPage, PageError, PhysicalPage};
use shroom_seg::SegError;
use shroom_token::TokenError;

/// Ids of which tokens were lost, or may have been.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The lowest id concerned. Not every id from here on was necessarily in use.
    pub first: u64,
    /// The highest id concerned.
    pub last: u64,
    /// The page that holds, or leads to, what is lost; 0 when it is not one page.
    pub page: LogicalPage,
    /// Where the damaged bytes lie, when that is known; else 0. For a page whose entry in the page map cannot be read, the page of the map.
    pub physical: PhysicalPage,
    /// What is wrong.
    pub reason: String,
}

impl Loss {
    pub(super) fn new(ids: (u64, u64), page: LogicalPage, error: &TokenError) -> Self {
        let physical = match error {
            TokenError::Page(error) | TokenError::Seg(SegError::Page(error)) => physical_of(error),
            _ => PhysicalPage::NONE,
        };
        let reason = match error {
            TokenError::Page(PageError::HashMismatch { logical, .. })
            | TokenError::Seg(SegError::Page(PageError::HashMismatch { logical, .. }))
                if logical.is_none() =>
            {
                format!(
                    "the page of the map at {physical}, which has its hash, does not match its own"
                )
            }
            error => error.to_string(),
        };
        Self {
            first: ids.0,
            last: ids.1,
            page,
            physical,
            reason,
        }
    }
}

fn physical_of(error: &PageError) -> PhysicalPage {
    match error {
        PageError::HashMismatch { physical, .. } | PageError::Corrupt { physical, .. } => *physical,
        _ => PhysicalPage::NONE,
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last - self.first {
            0 => write!(f, "id {}", self.first)?,
            _ => write!(f, "ids {} to {}", self.first, self.last)?,
        }
        if !self.page.is_none() {
            write!(f, " (page {})", self.page)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// What a salvage recovered, and what not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Tokens in the new database.
    pub tokens: u64,
    /// Sum of their lengths, in bytes.
    pub payload_bytes: u64,
    /// The checkpoint that the tokens are from.
    pub checkpoint: u64,
    /// Journal frames after it that were applied.
    pub journal_frames: u64,
    /// The tag; `None` when it was lost.
    pub tag: Option<u64>,
    /// Ids whose tokens are lost or may be, ascending. Ids that the journal says more of are not among them.
    pub lost: Vec<Loss>,
    /// How many tokens of the checkpoint are in none of its readable packs; `None` when the checkpoint's own count is
    /// unreadable.
    pub missing: Option<u64>,
    /// Ids whose tokens are in the new database and not proven: first and last of each pack. Empty unless asked for.
    pub unproven: Vec<(u64, u64)>,
    /// What else is damaged: superblock slots, the file's length, the journal, pages of the page map that were repaired, directory
    /// pages whose packs were found without them.
    pub damage: Vec<String>,
}

impl SalvageReport {
    /// True when no token was lost. There may be damage all the same, which cost nothing.
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty() && self.tag.is_some()
    }
}
