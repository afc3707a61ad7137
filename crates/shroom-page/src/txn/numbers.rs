//! The logical numbers of a transaction: which are free, and pages that get another one.
//!
//! Absent on purpose: where pages lie in the file; `places` knows.

use super::PageTxn;
use crate::map_walk::MapPages;
use crate::{LogicalPage, PageError, PageRead, Result};

/// Copies of pages that a named snapshot has under another number, kept in memory before they are written out, in bytes: more than
/// a compaction's step changes, whose size is told by what is in memory.
const COPIED_BYTES_MAX: usize = 32 << 20;

impl PageTxn<'_> {
    /// Lets no new page have a number below this, but by [`allocate_at`](Self::allocate_at) and [`renumber`](Self::renumber).
    ///
    /// # Errors
    /// [`PageError::TooManyPages`].
    pub fn set_number_floor(&mut self, floor: LogicalPage) -> Result<()> {
        self.reach_number(floor.0)?;
        self.number_floor = floor.0.max(1);
        Ok(())
    }

    /// The floor that was set; 1 at first.
    pub fn number_floor(&self) -> LogicalPage {
        LogicalPage(self.number_floor)
    }

    /// The runs of free numbers, ascending: first number and length. What is behind the last page is free, too.
    pub fn free_numbers(&self) -> Vec<(LogicalPage, u32)> {
        let runs = self.free.logical.iter();
        runs.map(|(first, len)| (LogicalPage(first), len)).collect()
    }

    /// Gives a page another number, which is free or of a run that was allocated and not written. The page's bytes are not
    /// written again, unless a named snapshot has the page.
    ///
    /// # Errors
    /// [`PageError::Unallocated`]; [`PageError::Misuse`] when `to` is taken; those of [`allocate`](Self::allocate).
    pub fn renumber(&mut self, from: LogicalPage, to: LogicalPage) -> Result<()> {
        if !self.is_allocated(from)? || self.unwritten.contains(from.0) {
            return Err(PageError::Unallocated {
                page: from,
                limit: self.free.logical_pages,
            });
        }
        if to.is_none() || !self.unwritten.take_exact(to.0, 1) && !self.take_number(to)? {
            return Err(PageError::Misuse {
                what: "page",
                detail: format!("{to} is taken, and cannot be the number of {from}"),
            });
        }
        self.unfold_adopted(from.0);
        if let Some(bytes) = self.dirty.remove(&from.0) {
            self.dirty.insert(to.0, bytes);
        } else if let Some(entry) = self.placed.remove(&from.0) {
            self.placed.insert(to.0, entry);
            if let Some(original) = self.renumbered.remove(&from.0) {
                self.renumbered.insert(to.0, original);
            }
        } else {
            let entry = self.base.entry(0, from.0)?;
            if self.is_held(from.0, entry.physical)? {
                let copy: Box<[u8]> = self.base.page(from)?.into();
                self.dirty.insert(to.0, copy);
                // A value may have any number of pages.
                if self.dirty_bytes() >= COPIED_BYTES_MAX {
                    self.spill()?;
                }
            } else {
                self.placed.insert(to.0, entry);
                self.renumbered.insert(to.0, from.0);
            }
        }
        if !self.free.logical.try_insert(from.0, 1) {
            return Err(number_is_free(from));
        }
        self.removed.insert(from.0);
        Ok(())
    }

    /// Whether a named snapshot has a page of the base at its place.
    pub(super) fn is_held(&mut self, logical: u32, physical: u32) -> Result<bool> {
        if self.named.is_empty() {
            return Ok(false);
        }
        if self.held.is_empty() {
            self.held = self.held()?;
        }
        self.held.reaches(0, logical, physical)
    }

    /// Takes exactly this number; false when it is taken already.
    pub(super) fn take_number(&mut self, page: LogicalPage) -> Result<bool> {
        self.reach_number(page.0.saturating_add(1))?;
        let taken = self.free.logical.take_exact(page.0, 1);
        if taken {
            self.claim(page.0, 1);
        }
        Ok(taken)
    }

    /// Makes the numbers below `limit` known, the new ones as free.
    pub(super) fn reach_number(&mut self, limit: u32) -> Result<()> {
        let from = self.free.logical_pages;
        if limit > from {
            self.extend_numbers(limit - from)?;
            self.free.logical.insert(from, limit - from);
        }
        Ok(())
    }

    /// Takes exactly the numbers from `end` on; false when one of them is taken.
    pub(super) fn take_numbers(&mut self, end: LogicalPage, pages: u32) -> Result<bool> {
        if pages == 0 || end.0 > self.free.logical_pages || end.is_none() {
            return Ok(false);
        }
        let beyond = (u64::from(end.0) + u64::from(pages))
            .saturating_sub(u64::from(self.free.logical_pages));
        let beyond = (beyond as u32).min(pages);
        let inside = pages - beyond;
        if inside > 0 && !self.free.logical.take_exact(end.0, inside) {
            return Ok(false);
        }
        if let Err(error) = self.extend_numbers(beyond) {
            self.free.logical.insert(end.0, inside);
            return Err(error);
        }
        self.claim(end.0, pages);
        Ok(true)
    }

    pub(super) fn allocate_numbers(&mut self, pages: u32) -> Result<LogicalPage> {
        let free = self.free.logical.take_run_from(self.number_floor, pages);
        let first = match free {
            Some(first) => first,
            None => {
                let first = self.free.logical_pages;
                self.extend_numbers(pages)?;
                first
            }
        };
        self.claim(first, pages);
        Ok(LogicalPage(first))
    }

    pub(super) fn claim(&mut self, first: u32, pages: u32) {
        if !self.removed.is_empty() {
            for number in first..first + pages {
                self.removed.remove(&number);
            }
        }
    }

    pub(super) fn extend_numbers(&mut self, pages: u32) -> Result<()> {
        let next = self.free.logical_pages.checked_add(pages);
        let fits = next.filter(|&next| crate::map::MapShape::new(self.page_size(), next).is_some());
        self.free.logical_pages = fits.ok_or(PageError::TooManyPages {
            limit: u32::MAX - 1,
        })?;
        Ok(())
    }
}

#[cold]
pub(super) fn number_is_free(page: LogicalPage) -> PageError {
    PageError::Corrupt {
        what: "free record",
        physical: crate::PhysicalPage::NONE,
        detail: format!("page {page} is in the page map, and its number is free"),
    }
}
