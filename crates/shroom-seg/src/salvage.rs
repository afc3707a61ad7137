//! What a salvage of damaged tokens asks of this layer: segments without a referrer, and what pages are used for.
//!
//! Absent on purpose: decides nothing. Whether a live segment is what it looks like is for the layer above to prove.

use shroom_page::{LogicalPage, PageRead};

use crate::blob::Blob;
use crate::index_walk::IndexWalk;
use crate::page::{self, Next};
use crate::root::{ROOT_LEN, SegRoot};
use crate::{Result, SegmentAddr};

/// A live segment of a storage page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LiveSegment<'p> {
    /// Where it is.
    pub addr: SegmentAddr,
    /// Its bytes, slack included.
    pub data: &'p [u8],
    /// The segment that continues its chain, if one does.
    pub link: Option<SegmentAddr>,
}

/// The live segments of `bytes`, which are those of `page`; `None` when they are not a sound storage page. A raw page of
/// a blob may look like one.
pub fn live_segments(page: LogicalPage, bytes: &[u8]) -> Option<Vec<LiveSegment<'_>>> {
    let check = page::check(bytes);
    if !check.faults.is_empty() {
        return None;
    }
    let segment = |(offset, next)| {
        let link = match next {
            Next::End => None,
            Next::Local(offset) => Some(SegmentAddr::new(page, offset)),
            Next::Far(addr) => Some(addr),
        };
        Some(LiveSegment {
            addr: SegmentAddr::new(page, offset),
            data: page::data(bytes, offset)?,
            link,
        })
    };
    check.live.into_iter().map(segment).collect()
}

/// The extents of a blob: first page and number of pages of each. Reads its descriptor only.
///
/// # Errors
/// Corruption, when the descriptor is not that of a blob of `length` bytes.
pub fn blob_extents<R: PageRead>(
    pages: &R,
    head: SegmentAddr,
    length: u64,
) -> Result<Vec<(LogicalPage, u32)>> {
    let blob = Blob::open(pages, head, length)?;
    let extents = blob.extents.into_iter();
    Ok(extents.map(|extent| (extent.first, extent.pages)).collect())
}

/// The pages of the free-space index, as far as they are named by sound ones; ascending.
///
/// # Errors
/// A malformed root; errors of the system. Damaged pages of the index are no error.
pub fn index_pages<R: PageRead>(pages: &R, root: &[u8; ROOT_LEN]) -> Result<Vec<LogicalPage>> {
    let walk = IndexWalk::new(pages, &SegRoot::parse(root)?)?;
    Ok(walk.pages.into_iter().collect())
}
