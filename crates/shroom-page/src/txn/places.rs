//! The places of a transaction's pages in the file: the lowest free ones, or, while the file is arranged, the last.
//!
//! Absent on purpose: logical numbers; `numbers` knows.

use super::PageTxn;
use crate::superblock::Run;
use crate::{PageRead, Result};

/// A file that is to need little more than it has grows by this part of it.
const GROWTH_PART_FRUGAL: u32 = 128;

impl PageTxn<'_> {
    /// Lets the file grow by no more than is needed, or a little: for who will soon shrink it.
    pub fn grow_frugally(&mut self) {
        self.growth_part = GROWTH_PART_FRUGAL;
    }

    /// One free physical page, lowest first; grows the file when there is none.
    pub(crate) fn take_physical(&mut self) -> Result<u32> {
        if self.placement.is_some() {
            return Ok(self.take_behind(1)?.first);
        }
        if self.free.physical.pages() == 0 {
            self.free.grow_by(self.store, 1, self.growth_part)?;
        }
        let page = self.free.physical.take_one().expect("the file was grown");
        self.base.verified.remove(page);
        Ok(page)
    }

    /// The last free pages of the file, up to `pages_max`, behind what is being arranged; grows the file when there is none.
    pub(crate) fn take_behind(&mut self, pages_max: u32) -> Result<Run> {
        let floor = self
            .placement
            .as_ref()
            .map_or(0, |placement| placement.behind);
        let (first, pages) = match self.free.physical.take_last(floor, pages_max) {
            Some(taken) => taken,
            None => {
                self.free.grow_by(self.store, pages_max, self.growth_part)?;
                let grown = self.free.physical.take_last(floor, pages_max);
                grown.expect("the file was grown")
            }
        };
        for page in first..first + pages {
            self.base.verified.remove(page);
        }
        Ok(Run { first, pages })
    }

    /// The lowest free page, with up to `pages_max` - 1 free ones that follow it.
    pub(super) fn take_places(&mut self, pages_max: u32) -> Result<Run> {
        if self.placement.is_some() {
            return self.take_behind(pages_max);
        }
        let first = self.take_physical()?;
        let mut pages = 1;
        while pages < pages_max && self.free.physical.take_exact(first + pages, 1) {
            self.base.verified.remove(first + pages);
            pages += 1;
        }
        Ok(Run { first, pages })
    }

    /// Physical pages for the next piece of a logical run: right behind the piece before it; and for the first piece,
    /// where the whole run has room, so that a run written in pieces is contiguous.
    pub(super) fn take_physical_for(&mut self, logical: u32, pages: u32) -> Result<Run> {
        if let Some(before) = self.placed.get(&(logical - 1)) {
            let first = before.physical + 1;
            if self.free.physical.take_exact(first, pages) {
                let run = Run { first, pages };
                self.forget_verified(run);
                return Ok(run);
            }
        }
        let ahead = self.unwritten.len_from(logical + pages);
        let whole = self.take_physical_run(pages + ahead)?;
        if ahead > 0 {
            self.free.physical.insert(whole.first + pages, ahead);
        }
        Ok(Run {
            first: whole.first,
            pages,
        })
    }

    /// `pages` consecutive physical pages, from the lowest free run that long, or at the end of the file.
    pub(crate) fn take_physical_run(&mut self, pages: u32) -> Result<Run> {
        let floor = self.placement.map_or(0, |placement| placement.behind);
        let free = &mut self.free;
        let run = free.take_run_from(self.store, floor, pages, self.growth_part)?;
        self.forget_verified(run);
        Ok(run)
    }

    /// Makes the file at least this many pages long.
    pub(crate) fn lengthen(&mut self, pages: u32) -> Result<()> {
        let from = self.free.physical_pages;
        if pages > from {
            let shift = self.page_size().shift();
            self.store
                .grow(u64::from(from) << shift, u64::from(pages) << shift)?;
            self.free.physical.insert(from, pages - from);
            self.free.physical_pages = pages;
        }
        Ok(())
    }

    pub(super) fn forget_verified(&self, run: Run) {
        for page in run.first..run.first + run.pages {
            self.base.verified.remove(page);
        }
    }
}
