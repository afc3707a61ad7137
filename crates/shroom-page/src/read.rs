//! What the layers above read pages through.

use crate::{LogicalPage, PageError, PageSize, Result};

/// Read access to logical pages: a snapshot, a transaction that sees its own changes, or the pages of a proof.
pub trait PageRead {
    /// Size of each page.
    fn page_size(&self) -> PageSize;

    /// Logical page numbers are below this.
    fn logical_pages(&self) -> u32;

    /// The whole page, verified against its hash at first touch.
    ///
    /// # Errors
    /// [`PageError::Unallocated`] when there is no such page, a corruption error when its bytes are not sound.
    fn page(&self, page: LogicalPage) -> Result<&[u8]>;

    /// Whether the logical page is allocated.
    fn is_allocated(&self, page: LogicalPage) -> Result<bool>;

    /// The verified bytes of `pages` consecutive logical pages as one slice; `None` when they do not lie
    /// contiguously in the file.
    fn run(&self, first: LogicalPage, pages: u32) -> Result<Option<&[u8]>>;

    /// Allocated pages are at most this many, since each has a place of its own. What a walk over pages that name each other
    /// is bounded by: a forged file may claim any number of logical pages, but not be longer than it is.
    fn allocated_pages_max(&self) -> u32;

    /// The error for a claim of `pages` pages, more than [`allocated_pages_max`](Self::allocated_pages_max), where that does not show
    /// the claim to be wrong: a proof may lack pages that the state has. `None` when the claim is wrong.
    fn lacks_pages(&self, pages: u64) -> Option<PageError> {
        let _ = pages;
        None
    }

    /// Where verified bytes lie, for [`lasting_bytes`](Self::lasting_bytes): whoever remembers it spares later reads the page map.
    /// `None` when each read must be verified, or where nothing keeps its place.
    fn lasting_position(&self, bytes: &[u8]) -> Option<u64> {
        let _ = bytes;
        None
    }

    /// The `len` bytes at a position that [`lasting_position`](Self::lasting_position) of the same state gave; `None` when
    /// out of range.
    fn lasting_bytes(&self, position: u64, len: usize) -> Option<&[u8]> {
        let _ = (position, len);
        None
    }

    /// The first allocated page from `from` on, if there is one.
    ///
    /// # Errors
    /// A corruption error when the page map is not sound.
    fn next_allocated(&self, from: LogicalPage) -> Result<Option<LogicalPage>> {
        for number in from.0..self.logical_pages() {
            if self.is_allocated(LogicalPage(number))? {
                return Ok(Some(LogicalPage(number)));
            }
        }
        Ok(None)
    }
}
