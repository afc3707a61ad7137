//! How a blob's bytes are divided between extents and tail, and its descriptor (format §5).
//!
//! * B1 A value that fits one segment has no extent; so small values cost one segment.
//! * B2 Otherwise whole pages go to extents. The rest is the tail, unless padding it to a page wastes at most
//!   1/32 of the value: then a reader gets one slice.
//!
//! Absent on purpose: reads and writes no page; `core` and `alloc` only.

use alloc::vec::Vec;

use shroom_page::{LogicalPage, PAGE_HEADER_LEN};

use crate::page::SEGMENT_OVERHEAD;

/// Encoded size of the extent count.
pub(crate) const COUNT_LEN: usize = 2;
/// Encoded size of an extent.
pub(crate) const EXTENT_LEN: usize = 8;
/// A value is padded to whole pages when that wastes at most this fraction of it.
const WASTE_DIVISOR: u64 = 32;

/// A run of consecutive logical pages with raw bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Extent {
    pub(crate) first: LogicalPage,
    pub(crate) pages: u32,
}

impl Extent {
    pub(crate) fn from_bytes([a, b, c, d, e, f, g, h]: [u8; EXTENT_LEN]) -> Self {
        let first = LogicalPage(u32::from_le_bytes([a, b, c, d]));
        Self {
            first,
            pages: u32::from_le_bytes([e, f, g, h]),
        }
    }

    /// The page after the last; checked when the extent was read.
    pub(crate) fn end(self) -> LogicalPage {
        LogicalPage(self.first.0 + self.pages)
    }

    /// The extent's page numbers.
    pub(crate) fn page_numbers(self) -> impl Iterator<Item = LogicalPage> {
        (self.first.0..self.first.0 + self.pages).map(LogicalPage)
    }
}

/// Largest data of one segment.
pub(crate) fn segment_capacity(page_bytes: usize) -> usize {
    page_bytes - PAGE_HEADER_LEN - SEGMENT_OVERHEAD
}

/// How many pages of bytes that are not yet in extents go to a new extent, and how many bytes stay as tail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    /// Pages to write, the last of which may be padded.
    pub(crate) pages: u64,
    /// Tail that is left.
    pub(crate) tail: u64,
}

impl Plan {
    /// Plans for `loose` bytes at the end of a value of `length` bytes that has `extents` extents before them.
    pub(crate) fn new(page_bytes: usize, extents: usize, loose: u64, length: u64) -> Self {
        let page_bytes_wide = page_bytes as u64;
        if loose.saturating_add(descriptor_len(extents) as u64)
            <= segment_capacity(page_bytes) as u64
        {
            return Self {
                pages: 0,
                tail: loose,
            };
        }
        let (pages, rest) = (loose / page_bytes_wide, loose % page_bytes_wide);
        if rest == 0 {
            Self { pages, tail: 0 }
        } else if page_bytes_wide - rest <= length / WASTE_DIVISOR {
            Self {
                pages: pages + 1,
                tail: 0,
            }
        } else {
            Self { pages, tail: rest }
        }
    }
}

/// Encoded size of a descriptor.
pub(crate) fn descriptor_len(extents: usize) -> usize {
    COUNT_LEN + extents * EXTENT_LEN
}

/// The data of a blob's chain. `None` when there are more extents than the format can count.
pub(crate) fn chain_data(extents: &[Extent], tail: &[u8]) -> Option<Vec<u8>> {
    let count = u16::try_from(extents.len()).ok()?;
    let mut data = Vec::with_capacity(descriptor_len(extents.len()) + tail.len());
    data.extend_from_slice(&count.to_le_bytes());
    for extent in extents {
        data.extend_from_slice(&extent.first.0.to_le_bytes());
        data.extend_from_slice(&extent.pages.to_le_bytes());
    }
    data.extend_from_slice(tail);
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_blob_never_needs_a_second_segment() {
        for shift in 9..=16 {
            let page = 1usize << shift;
            for length in (0..page as u64 * 3).chain((1 << 25)..(1 << 25) + 70_000) {
                let plan = Plan::new(page, 0, length, length);
                let extents = usize::from(plan.pages > 0);
                assert!(
                    plan.tail as usize + descriptor_len(extents) <= segment_capacity(page),
                    "{page} {length}"
                );
                let held = plan.pages * page as u64 + plan.tail;
                assert!(held >= length && held - length < page as u64);
                assert!(held == length || held - length <= length / WASTE_DIVISOR);
            }
        }
    }

    #[test]
    fn a_descriptor_keeps_its_extents() {
        let extent = Extent {
            first: LogicalPage(3),
            pages: 0x0102_0304,
        };
        let data = chain_data(&[extent], b"tail").unwrap();
        assert_eq!(data, [1, 0, 3, 0, 0, 0, 4, 3, 2, 1, b't', b'a', b'i', b'l']);
        assert_eq!(
            Extent::from_bytes(*data[2..].first_chunk().unwrap()),
            extent
        );
        assert!(chain_data(&[extent; 65_536], &[]).is_none());
    }
}
