//! A glance at a store that somebody else may be writing at the same time: its newest superblock, read without a lock.
//!
//! A superblock carries its own hash, and one of the two is always whole, so what is read is a state that was. Everything else
//! is taken only where a hash or a checksum that the superblock holds vouches for it. Nothing is mapped: the file may be cut at
//! any moment.

use std::path::Path;

use super::journal::{last_sequence, live_bytes};
use crate::recovery::{self, Recovery};
use crate::storage::{FileStorage, Storage, View};
use crate::{PageError, PageSize, Result, Roots};

/// How often a superblock is looked for, should a writer be writing both slots one after the other just then.
const ATTEMPTS: usize = 3;

/// What can be told of a store without keeping anybody from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Glance {
    /// Number of the last checkpoint.
    pub sequence: u64,
    /// The roots committed with it.
    pub roots: Roots,
    /// Size of a page.
    pub page_size: PageSize,
    /// Pages of the file at the checkpoint.
    pub pages: u32,
    /// Length of the file now, in bytes.
    pub file_bytes: u64,
    /// Bytes that the file takes on its disk now; `None` where the system does not say.
    pub allocated_bytes: Option<u64>,
    /// Free pages; `None` when the record of them was being replaced.
    pub free_pages: Option<u64>,
    /// Named snapshots; `None` as for the free pages.
    pub snapshots: Option<u64>,
    /// Size of both journal areas, in bytes.
    pub journal_bytes: u64,
    /// Bytes of the frames that were written since, their headers included.
    pub frame_bytes: u64,
    /// Sequence of the last frame that was written. What its writer has in memory is not seen.
    pub last_frame: u64,
}

impl Glance {
    /// Reads the state of the file at `path`, whoever has it open. Takes no lock, so it keeps nobody from opening it.
    ///
    /// # Errors
    /// Those of [`DamagedStore::open`](crate::DamagedStore::open); the path cannot be opened.
    pub fn at(path: &Path) -> Result<Self> {
        let storage = FileStorage::open_unlocked(path)?;
        let mut glance = Self::of(&storage);
        for _ in 1..ATTEMPTS {
            if glance.is_ok() {
                break;
            }
            glance = Self::of(&storage);
        }
        glance
    }

    /// [`at`](Self::at), over any storage.
    ///
    /// # Errors
    /// As [`at`](Self::at).
    pub fn of(storage: &dyn Storage) -> Result<Self> {
        let chosen = recovery::newest_superblock(storage)?;
        let superblock = &chosen.superblock;
        let record = recovery::read_free_record(storage, superblock).ok();
        let journal = journal(storage, superblock, chosen.len);
        let frames = journal.as_ref().map(|journal| &journal.frames);
        let sizes = superblock.journal.map(|run| u64::from(run.pages));
        Ok(Self {
            sequence: superblock.sequence,
            roots: superblock.roots,
            page_size: superblock.page_size,
            pages: superblock.physical_pages,
            file_bytes: chosen.len,
            allocated_bytes: storage.allocated().map_err(PageError::io("length", 0))?,
            free_pages: record.as_ref().map(|record| record.physical.pages()),
            snapshots: record.map(|record| record.named.len() as u64),
            journal_bytes: sizes.iter().sum::<u64>() << superblock.page_size.shift(),
            frame_bytes: frames.map_or(0, live_bytes),
            last_frame: frames.and_then(last_sequence).unwrap_or(superblock.drained),
        })
    }
}

/// The frames that continue the superblock, as far as they can be read.
fn journal(
    storage: &dyn Storage,
    superblock: &crate::superblock::Superblock,
    len: u64,
) -> Option<Recovery> {
    // Without a mapping, the areas are read.
    let nothing = View::empty();
    let recovered = recovery::recover_sound(storage, &nothing, superblock, len);
    recovered.ok().map(|(recovery, _)| recovery)
}
