//! Giving the blocks of free pages back to the file system, for files that are to keep their length.
//!
//! * O1 Only pages that may be overwritten are punched out: those that no state reaches, nor any that waits for its readers or is a
//!   stream's.
//!
//! Absent on purpose: nothing in the file says what was punched out; a page's place stays free.

use crate::store::PageStore;
use crate::{PageError, Result};

impl PageStore {
    /// Gives the blocks of all free pages back to the file system; the file keeps its length. Returns how many bytes that
    /// are, or `None` where the system cannot (it can on Linux, with most file systems). Pages that readers of older states
    /// still need are left alone.
    ///
    /// A page written there later needs a block again: on a full disk that write fails, and with it the commit.
    ///
    /// # Errors
    /// [`PageError::ReadOnly`], [`PageError::Poisoned`]; I/O errors: some holes may have been made.
    pub fn punch_holes(&self) -> Result<Option<u64>> {
        let mut writer = self.writable()?;
        self.resolve_cut(&mut writer)?;
        writer.allocation.release();
        let shift = self.page_size().shift();
        let mut bytes = 0;
        for (first, pages) in writer.allocation.free.physical.iter() {
            let (offset, len) = (u64::from(first) << shift, u64::from(pages) << shift);
            let punched = self.storage().punch_hole(offset, len);
            if !punched.map_err(PageError::io("punch", offset))? {
                return Ok(None);
            }
            bytes += len;
        }
        Ok(Some(bytes))
    }

    /// Bytes that the file takes on the disk; `None` where the system does not say.
    ///
    /// # Errors
    /// I/O errors.
    pub fn allocated_bytes(&self) -> Result<Option<u64>> {
        let allocated = self.storage().allocated();
        allocated.map_err(PageError::io("length", 0))
    }
}
