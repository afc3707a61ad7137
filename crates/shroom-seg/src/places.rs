//! Where a blob lies: for those who ask whether a page, or a segment, belongs to it.

use alloc::vec::Vec;

use shroom_page::{LogicalPage, PageRead};

use crate::blob::Blob;
use crate::{Result, SegmentAddr};

/// The pages and segments of a blob.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BlobPlaces {
    /// Its extents: first page and number of pages of each.
    pub extents: Vec<(LogicalPage, u32)>,
    /// The segments of its chain, in order.
    pub segments: Vec<SegmentAddr>,
}

/// Where the blob of `length` bytes at `head` lies. Reads its chain, and not its extents.
///
/// # Errors
/// Corruption, when the blob is not one of `length` bytes.
pub fn blob_places<R: PageRead>(pages: &R, head: SegmentAddr, length: u64) -> Result<BlobPlaces> {
    let mut blob = Blob::open_recording(pages, head, length)?;
    let mut tail = blob.tail_bytes;
    while tail > 0 {
        tail -= blob.chain.take(tail)?.len() as u64;
    }
    blob.chain.end()?;
    let extents = blob.extents.iter();
    Ok(BlobPlaces {
        extents: extents.map(|extent| (extent.first, extent.pages)).collect(),
        segments: blob.chain.into_visited(),
    })
}
