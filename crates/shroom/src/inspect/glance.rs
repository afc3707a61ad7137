//! Figures of a database that somebody else may be writing.

use std::path::Path;

use shroom_token::TokenRoot;

use crate::error::Result;
use crate::root::ApplicationRoot;

/// What the newest superblock of a file and its journal say, read without a lock: at the last checkpoint but where it says
/// otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Glance {
    /// Number of the checkpoint.
    pub checkpoint: u64,
    /// Number of tokens.
    pub tokens: u64,
    /// Sum of their lengths, in bytes.
    pub payload_bytes: u64,
    /// The application's tag.
    pub tag: u64,
    /// Size of a page, in bytes.
    pub page_size: u32,
    /// Pages of the file.
    pub pages: u64,
    /// Storage pages.
    pub storage_pages: u64,
    /// Free bytes in storage pages.
    pub storage_free_bytes: u64,
    /// Free pages; `None` when the record of them was just being replaced.
    pub free_pages: Option<u64>,
    /// Named snapshots; `None` as for the free pages.
    pub snapshots: Option<u64>,
    /// Length of the file, in bytes, now.
    pub file_bytes: u64,
    /// Bytes that the file takes on the disk, now; `None` where the system does not say.
    pub allocated_bytes: Option<u64>,
    /// Size of both journal areas, in bytes.
    pub journal_bytes: u64,
    /// Bytes of the frames written since the checkpoint, now.
    pub journal_used_bytes: u64,
    /// Number of the last journal frame that was written, now. Each commit is one; what its writer still buffers is not seen.
    pub commits: u64,
}

impl Glance {
    /// Reads the figures of the file at `path`, also while another process has it open for writing. Takes no lock, so it never
    /// keeps anybody from opening the file; costs a few reads, and one of what the journal's areas hold.
    ///
    /// # Errors
    /// Corruption when neither superblock is sound, or what it says of tokens is not; I/O errors.
    pub fn at(path: impl AsRef<Path>) -> Result<Self> {
        let glance = shroom_page::inspect::Glance::at(path.as_ref())?;
        let root = TokenRoot::decode(&glance.roots.token)?;
        let (storage_pages, storage_free_bytes) = shroom_seg::inspect::totals(&glance.roots.seg)?;
        Ok(Self {
            checkpoint: glance.sequence,
            tokens: root.tokens(),
            payload_bytes: root.payload(),
            tag: ApplicationRoot::decode(&glance.roots.application)?.tag,
            page_size: glance.page_size.bytes() as u32,
            pages: glance.pages.into(),
            storage_pages: storage_pages.into(),
            storage_free_bytes,
            free_pages: glance.free_pages,
            snapshots: glance.snapshots,
            file_bytes: glance.file_bytes,
            allocated_bytes: glance.allocated_bytes,
            journal_bytes: glance.journal_bytes,
            journal_used_bytes: glance.frame_bytes,
            commits: glance.last_frame,
        })
    }
}
