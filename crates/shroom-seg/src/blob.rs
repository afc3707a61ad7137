//! Reading blobs: values of any length, in extents of raw pages and a tail in segments (format §5).
//!
//! * B3 Nothing is allocated or walked on the word of a descriptor alone: extents lie below the store's page numbers,
//!   and together hold no more pages than it can have.
//! * B4 Every byte read belongs to the value: padding and slack are checked to be short, and slack to be zero.
//!
//! Absent on purpose: writes nothing; the length of a value is the caller's to remember.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use shroom_page::PageRead;

use crate::chain::{ChainReader, store_bytes};
use crate::cursor::BlobChunks;
use crate::layout::{EXTENT_LEN, Extent};
use crate::{Result, SegError, SegmentAddr};

/// Most bytes reserved before any were read.
const RESERVE_MAX: u64 = 16 << 20;

/// An opened blob: its extents, and its chain positioned at the tail.
pub(crate) struct Blob<'p, R> {
    pub(crate) extents: Vec<Extent>,
    /// Bytes of the value in the extents.
    pub(crate) extent_bytes: u64,
    /// Zero bytes after the value in the last page of the last extent.
    pub(crate) padding: u64,
    /// Bytes of the value in the tail.
    pub(crate) tail_bytes: u64,
    pub(crate) chain: ChainReader<'p, R>,
}

impl<'p, R: PageRead> Blob<'p, R> {
    pub(crate) fn open(pages: &'p R, head: SegmentAddr, length: u64) -> Result<Self> {
        Self::over(pages, ChainReader::new(pages, head), head, length)
    }

    /// Opens a blob whose chain reader remembers the segments.
    pub(crate) fn open_recording(pages: &'p R, head: SegmentAddr, length: u64) -> Result<Self> {
        Self::over(pages, ChainReader::recording(pages, head), head, length)
    }

    fn over(
        pages: &'p R,
        mut chain: ChainReader<'p, R>,
        head: SegmentAddr,
        length: u64,
    ) -> Result<Self> {
        let fault = |detail: String| Err(SegError::Blob { addr: head, detail });
        let (room, page_bytes) = (store_bytes(pages), pages.page_size().bytes() as u64);
        let count = u16::from_le_bytes(chain.array()?);
        let claimed = length.max(u64::from(count) * EXTENT_LEN as u64);
        if claimed > room {
            check_lack(pages, claimed.div_ceil(page_bytes))?;
            return fault(format!(
                "{length} bytes in {count} extents, but the store has {room} bytes"
            ));
        }
        let mut extents = Vec::new();
        let mut extent_pages = 0;
        for _ in 0..count {
            let extent = Extent::from_bytes(chain.array()?);
            let end = u64::from(extent.first.0) + u64::from(extent.pages);
            let limit = u64::from(pages.logical_pages());
            extent_pages += u64::from(extent.pages);
            let pages_max = u64::from(pages.allocated_pages_max());
            let outside = extent.first.is_none() || extent.pages == 0 || end > limit;
            if outside || extent_pages > pages_max {
                if !outside {
                    check_lack(pages, extent_pages)?;
                }
                return fault(format!(
                    "extent of {} pages at {}, of {limit}",
                    extent.pages, extent.first
                ));
            }
            extents.push(extent);
        }
        let held = extent_pages * page_bytes;
        let padding = held.saturating_sub(length);
        if padding >= page_bytes {
            return fault(format!("{held} bytes in extents for a value of {length}"));
        }
        let extent_bytes = held.min(length);
        Ok(Self {
            extents,
            extent_bytes,
            padding,
            tail_bytes: length - extent_bytes,
            chain,
        })
    }
}

/// An error when it may be for lack of pages at hand that so many are too many.
#[cold]
fn check_lack<R: PageRead>(pages: &R, claimed: u64) -> Result<()> {
    pages
        .lacks_pages(claimed)
        .map_or(Ok(()), |error| Err(error.into()))
}

/// The whole value as one slice of the file, when it lies there in one piece. A blob that was written at once and is
/// small, a multiple of the page size, or at least 32 pages long, normally does.
///
/// # Errors
/// Corruption, when the blob at `head` is not one of `length` bytes.
pub fn blob_slice<R: PageRead>(pages: &R, head: SegmentAddr, length: u64) -> Result<Option<&[u8]>> {
    let mut blob = Blob::open(pages, head, length)?;
    match blob.extents[..] {
        [] => {
            let slice = blob.chain.take(blob.tail_bytes)?;
            if (slice.len() as u64) < blob.tail_bytes {
                return Ok(None);
            }
            blob.chain.end()?;
            Ok(Some(slice))
        }
        [extent] if blob.tail_bytes == 0 => {
            blob.chain.end()?;
            let run = pages.run(extent.first, extent.pages)?;
            Ok(run.and_then(|run| run.get(..usize::try_from(length).ok()?)))
        }
        _ => Ok(None),
    }
}

/// Fills `buffer` with the value's bytes from `offset` on.
///
/// # Errors
/// [`SegError::Range`] when that is not within the value; corruption, when the blob is not one of `length` bytes.
pub fn blob_read<R: PageRead>(
    pages: &R,
    head: SegmentAddr,
    length: u64,
    offset: u64,
    mut buffer: &mut [u8],
) -> Result<()> {
    let end = offset.saturating_add(buffer.len() as u64);
    if end > length {
        return Err(SegError::Range {
            offset,
            end,
            length,
        });
    }
    let mut blob = Blob::open(pages, head, length)?;
    let page_bytes = pages.page_size().bytes() as u64;
    let mut start = 0; // of the extent, then of the tail, in the value
    let mut at = offset;
    for extent in &blob.extents {
        let extent_end = (start + u64::from(extent.pages) * page_bytes).min(blob.extent_bytes);
        while at < extent_end && !buffer.is_empty() {
            let number = extent.first.0 + ((at - start) / page_bytes) as u32;
            let within = ((at - start) % page_bytes) as usize;
            let page = pages.page(shroom_page::LogicalPage(number))?;
            let length = (page.len() - within).min(buffer.len());
            let (filled, rest) = buffer.split_at_mut(length);
            filled.copy_from_slice(&page[within..within + length]);
            buffer = rest;
            at += length as u64;
        }
        start = extent_end;
    }
    let mut skip = at - start.min(at);
    while skip > 0 && !buffer.is_empty() {
        skip -= blob.chain.take(skip)?.len() as u64;
    }
    while !buffer.is_empty() {
        let piece = blob.chain.take(buffer.len() as u64)?;
        let (filled, rest) = buffer.split_at_mut(piece.len());
        filled.copy_from_slice(piece);
        buffer = rest;
    }
    Ok(())
}

/// The whole value, copied. Memory grows with the bytes found, not with the length asked for.
///
/// # Errors
/// Corruption, when the blob at `head` is not one of `length` bytes.
pub fn blob_to_vec<R: PageRead>(pages: &R, head: SegmentAddr, length: u64) -> Result<Vec<u8>> {
    let chunks = BlobChunks::new(pages, head, length)?;
    let mut bytes = Vec::with_capacity(length.min(RESERVE_MAX) as usize);
    for chunk in chunks {
        bytes.extend_from_slice(chunk?);
    }
    Ok(bytes)
}

/// How many pages the blob touches: those of its extents, and the storage pages of its chain.
///
/// # Errors
/// Corruption, when the blob at `head` is not one of `length` bytes.
pub fn blob_pages<R: PageRead>(pages: &R, head: SegmentAddr, length: u64) -> Result<u64> {
    let mut blob = Blob::open_recording(pages, head, length)?;
    let mut tail = blob.tail_bytes;
    while tail > 0 {
        tail -= blob.chain.take(tail)?.len() as u64;
    }
    blob.chain.end()?;
    let extent_pages: u64 = blob
        .extents
        .iter()
        .map(|extent| u64::from(extent.pages))
        .sum();
    let mut storage: Vec<_> = blob
        .chain
        .into_visited()
        .into_iter()
        .map(|addr| addr.page)
        .collect();
    storage.sort_unstable();
    storage.dedup();
    Ok(extent_pages + storage.len() as u64)
}
