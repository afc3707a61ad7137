//! Moving segments, blobs and whole storage pages to other numbers, for a compaction.
//!
//! * M1 A page of an extent gets another number, and is not copied, so a value of any size moves at the cost of its map.
//! * M2 Nothing new has a number below the floor of the page transaction, but what is told to.
//!
//! Absent on purpose: knows no referrer. Whoever moves something tells who refers to it.

use shroom_page::{LogicalPage, PageRead};

use crate::layout::{Extent, chain_data};
use crate::page::{self, PageFault};
use crate::{Result, SegError, SegmentAddr, SegmentTxn};

/// A blob whose chain is gone: its pages are the caller's, to be renumbered or freed.
#[derive(Debug)]
pub struct TakenBlob {
    /// The pages of its extents, in order.
    pub pages: Vec<LogicalPage>,
    /// The value's bytes behind those.
    pub tail: Vec<u8>,
    extents: Vec<u32>,
}

impl SegmentTxn<'_, '_> {
    /// Stores `data` in a page, where the gap that it leaves is least; `None` when it does not fit.
    ///
    /// # Errors
    /// Corruption of the page.
    pub fn allocate_in(&mut self, page: LogicalPage, data: &[u8]) -> Result<Option<SegmentAddr>> {
        let offset = self.change(page, |bytes| page::allocate(bytes, data, None))?;
        Ok(offset.map(|offset| SegmentAddr::new(page, offset)))
    }

    /// Stores `data` at the start of a new page.
    ///
    /// # Errors
    /// [`SegError::TooLarge`] above [`capacity`](Self::capacity); those of the page layer.
    pub fn allocate_fresh(&mut self, data: &[u8]) -> Result<SegmentAddr> {
        let (size, limit) = (data.len(), self.capacity());
        if size > limit {
            return Err(SegError::TooLarge { size, limit });
        }
        let page = self.fresh_page()?;
        let addr = self.allocate_in(page, data)?;
        Ok(addr.unwrap_or_else(|| unreachable!("an empty page takes {limit} bytes")))
    }

    /// The most data that a segment in a storage page can have; 0 when it is full.
    ///
    /// # Errors
    /// Corruption of the page.
    pub fn room_in(&self, page: LogicalPage) -> Result<usize> {
        let room = page::room(self.pages().page(page)?).map_err(PageFault::on(page))?;
        Ok(room.largest.unwrap_or(0))
    }

    /// Makes `bytes` the storage page of this number, which is one already, or free.
    ///
    /// # Errors
    /// Corruption, when the number is taken by another page; those of the page layer.
    pub fn store_page(&mut self, page: LogicalPage, bytes: &[u8]) -> Result<()> {
        if !self.pages().is_allocated(page)? {
            self.pages_mut().allocate_at(page)?;
            page::init(self.pages_mut().page_mut(page)?);
            self.count_page();
        }
        self.change(page, |present| {
            present.copy_from_slice(bytes);
            Ok(())
        })
    }

    /// Frees the chain of the blob of `length` bytes at `head`, and gives what it held.
    ///
    /// # Errors
    /// Corruption, when the blob is not one of `length` bytes.
    pub fn blob_take(&mut self, head: SegmentAddr, length: u64) -> Result<TakenBlob> {
        let editing = self.edit(head, length)?;
        for &addr in &editing.segments {
            self.free(addr)?;
        }
        let extents = editing.extents.iter();
        Ok(TakenBlob {
            pages: extents
                .clone()
                .flat_map(|extent| extent.page_numbers())
                .collect(),
            tail: editing.tail,
            extents: extents.map(|extent| extent.pages).collect(),
        })
    }

    /// Moves a blob that was taken to new numbers, extent by extent; `place` stores its last segment.
    ///
    /// # Errors
    /// Those of the page layer and of `place`.
    pub fn blob_put<E: From<SegError>>(
        &mut self,
        blob: &TakenBlob,
        place: impl FnOnce(&mut Self, &[u8]) -> Result<SegmentAddr, E>,
    ) -> Result<SegmentAddr, E> {
        let mut extents = Vec::with_capacity(blob.extents.len());
        let mut old = blob.pages.iter();
        for &pages in &blob.extents {
            let first = self
                .pages_mut()
                .allocate_run(pages)
                .map_err(SegError::from)?;
            for (number, &from) in (first.0..first.0 + pages).zip(&mut old) {
                let moved = self.pages_mut().renumber(from, LogicalPage(number));
                moved.map_err(SegError::from)?;
            }
            extents.push(Extent { first, pages });
        }
        let data = chain_data(&extents, &blob.tail);
        let data = data.unwrap_or_else(|| unreachable!("as many extents as it had"));
        let (linked, last) = self.split_chain(&data);
        let last = place(self, last)?;
        Ok(self.link_chain(linked, last)?)
    }
}
