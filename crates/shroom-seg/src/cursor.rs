//! Reading a blob in slices of the file, from any place in it: what readers that seek, and walks over large values, are made of.
//!
//! * B5 A cursor holds no page: it is valid for as long as the state that it was made in is held by somebody.
//! * B6 Each step costs the pages of the slice it gives, and a few steps more where pages do not lie in one piece.
//!
//! Absent on purpose: keeps no bytes.

use alloc::vec::Vec;

use shroom_page::{LogicalPage, PageRead};

use crate::blob::Blob;
use crate::chain::{ChainPlace, ChainReader};
use crate::layout::Extent;
use crate::{Result, SegmentAddr};

/// A blob that is read from any place on.
#[derive(Clone, Debug)]
pub struct BlobCursor {
    head: SegmentAddr,
    length: u64,
    extents: Vec<Extent>,
    /// Where each extent ends in the value, whole pages counted.
    ends: Vec<u64>,
    /// Bytes of the value in the extents.
    extent_bytes: u64,
    /// Begin of the tail.
    tail: ChainPlace,
    /// A place in the tail, and its offset in the value.
    at: (u64, ChainPlace),
}

impl BlobCursor {
    /// Over the blob of `length` bytes at `head`.
    ///
    /// # Errors
    /// Corruption, when the blob's descriptor is not that of `length` bytes.
    pub fn new<R: PageRead>(pages: &R, head: SegmentAddr, length: u64) -> Result<Self> {
        let mut blob = Blob::open(pages, head, length)?;
        let page_bytes = pages.page_size().bytes() as u64;
        let mut end = 0;
        let ends = blob.extents.iter().map(|extent| {
            end += u64::from(extent.pages) * page_bytes;
            end
        });
        let ends = ends.collect();
        let tail = blob.chain.place();
        if blob.tail_bytes == 0 {
            blob.chain.end()?;
        }
        Ok(Self {
            head,
            length,
            extents: blob.extents,
            ends,
            extent_bytes: blob.extent_bytes,
            tail,
            at: (blob.extent_bytes, tail),
        })
    }

    /// Bytes of the value that whole pages of extents hold.
    pub fn whole_page_bytes(&self) -> u64 {
        match self.ends.last() {
            Some(&end) if end > self.length => {
                let pages: u64 = self
                    .extents
                    .iter()
                    .map(|extent| u64::from(extent.pages))
                    .sum();
                end - end / pages
            }
            Some(&end) => end,
            None => 0,
        }
    }

    /// The bytes of the value from `offset` on that lie in one piece, from at most `pages_max` pages; none at its end.
    ///
    /// # Errors
    /// Corruption of what is read. `pages` must be the state that the cursor was made in: else the bytes are those of
    /// something else, or an error.
    pub fn slice<'p, R: PageRead>(
        &mut self,
        pages: &'p R,
        offset: u64,
        pages_max: u32,
    ) -> Result<&'p [u8]> {
        if offset >= self.length {
            return Ok(&[]);
        }
        if offset >= self.extent_bytes {
            return self.tail_slice(pages, offset);
        }
        let index = self.ends.partition_point(|&end| end <= offset);
        let extent = self.extents[index];
        let page_bytes = pages.page_size().bytes() as u64;
        let start = self.ends[index] - u64::from(extent.pages) * page_bytes;
        let skipped = ((offset - start) / page_bytes) as u32;
        let rest = Extent {
            first: LogicalPage(extent.first.0 + skipped),
            pages: (extent.pages - skipped).min(pages_max.max(1)),
        };
        let run = longest_run(pages, rest)?;
        let run_start = start + u64::from(skipped) * page_bytes;
        let within = (offset - run_start) as usize;
        let end = (self.extent_bytes - run_start).min(run.len() as u64) as usize;
        Ok(&run[within..end])
    }

    fn tail_slice<'p, R: PageRead>(&mut self, pages: &'p R, offset: u64) -> Result<&'p [u8]> {
        if offset < self.at.0 {
            self.at = (self.extent_bytes, self.tail);
        }
        let (mut start, place) = self.at;
        let mut chain = ChainReader::resume(pages, self.head, place)?;
        loop {
            let place = chain.place();
            let piece = chain.take(self.length - start)?;
            let end = start + piece.len() as u64;
            if end == self.length {
                chain.end()?;
            }
            if offset < end {
                self.at = (start, place);
                return Ok(&piece[(offset - start) as usize..]);
            }
            start = end;
        }
    }
}

/// The longest contiguous run at the start of an extent, by bisection. A try ends at the first gap, so the whole
/// costs O(log pages) steps for each page found.
fn longest_run<R: PageRead>(pages: &R, extent: Extent) -> Result<&[u8]> {
    if let Some(run) = pages.run(extent.first, extent.pages)? {
        return Ok(run);
    }
    let mut found = (1, pages.page(extent.first)?);
    let mut too_long = extent.pages;
    while too_long - found.0 > 1 {
        let middle = found.0 + (too_long - found.0) / 2;
        match pages.run(extent.first, middle)? {
            Some(run) => found = (middle, run),
            None => too_long = middle,
        }
    }
    Ok(found.1)
}

/// The value's bytes in order, in slices of the file that are as long as they lie there in one piece.
#[derive(Debug)]
pub struct BlobChunks<'p, R> {
    pages: &'p R,
    cursor: BlobCursor,
    offset: u64,
    done: bool,
}

impl<'p, R: PageRead> BlobChunks<'p, R> {
    /// The pieces of the blob of `length` bytes at `head`.
    ///
    /// # Errors
    /// Corruption, when the blob's descriptor is not that of `length` bytes. Later damage ends the iteration with
    /// an error item.
    pub fn new(pages: &'p R, head: SegmentAddr, length: u64) -> Result<Self> {
        Ok(Self {
            pages,
            cursor: BlobCursor::new(pages, head, length)?,
            offset: 0,
            done: false,
        })
    }
}

impl<'p, R: PageRead> Iterator for BlobChunks<'p, R> {
    type Item = Result<&'p [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let piece = self.cursor.slice(self.pages, self.offset, u32::MAX);
        match &piece {
            Ok([]) => return None,
            Ok(piece) => self.offset += piece.len() as u64,
            Err(_) => self.done = true,
        }
        Some(piece)
    }
}
