//! The codec of the pages of the free-space index, and the geometry that ties classes to sizes (format §6).
//!
//! * I1 A leaf is one class byte a page; a node is child page numbers, then the maximum class of each child.
//! * I2 `used` counts the nonzero classes of a leaf and the present children of a node.
//! * I3 An absent child has maximum 0.
//!
//! Absent on purpose: reads no page by number; `core` and `alloc` only.

extern crate alloc;

use alloc::vec::Vec;

use shroom_page::{PAGE_HEADER_LEN, PageSize, PageType};

/// Highest class.
pub(crate) const CLASS_MAX: u8 = 254;
/// `kind` of a leaf in the page header.
pub(crate) const KIND_LEAF: u8 = 1;
/// `kind` of a node in the page header.
pub(crate) const KIND_NODE: u8 = 2;
const CHILD_LEN: usize = 4;

/// How page size, classes and index pages belong together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    page_bytes: usize,
}

impl Geometry {
    pub(crate) fn new(page_size: PageSize) -> Self {
        Self {
            page_bytes: page_size.bytes(),
        }
    }

    /// Logical pages of a leaf.
    pub(crate) fn leaf_pages(self) -> u32 {
        (self.page_bytes - PAGE_HEADER_LEN) as u32
    }

    /// Children of a node.
    pub(crate) fn fan_out(self) -> u32 {
        ((self.page_bytes - PAGE_HEADER_LEN) / (CHILD_LEN + 1)) as u32
    }

    /// Logical pages below one block of `level` (0: a leaf); saturates at all page numbers.
    pub(crate) fn block_pages(self, level: usize) -> u64 {
        (0..level).fold(u64::from(self.leaf_pages()), |pages, _| {
            pages.saturating_mul(self.fan_out().into())
        })
    }

    /// Class of a page whose largest free segment has this data capacity.
    pub(crate) fn class(self, largest: Option<usize>) -> u8 {
        largest.map_or(0, |bytes| (bytes / self.unit()).min(CLASS_MAX.into()) as u8)
    }

    /// The least class that promises `bytes` of data; `None` when no class does.
    pub(crate) fn class_needed(self, bytes: usize) -> Option<u8> {
        let class = bytes.div_ceil(self.unit()).max(1);
        (class <= CLASS_MAX.into()).then_some(class as u8)
    }

    pub(crate) fn unit(self) -> usize {
        self.page_bytes / 256
    }
}

/// An index page in memory. Columns of a leaf: `maxima` alone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Block {
    /// Child pages (empty in a leaf).
    pub(crate) children: Vec<u32>,
    /// Classes of the pages of a leaf, or the maximum class below each child.
    pub(crate) maxima: Vec<u8>,
    /// Nonzero classes, or present children.
    pub(crate) used: u32,
}

impl Block {
    pub(crate) fn empty_leaf(geometry: Geometry) -> Self {
        Self {
            maxima: alloc::vec![0; geometry.leaf_pages() as usize],
            ..Self::default()
        }
    }

    pub(crate) fn empty_node(geometry: Geometry) -> Self {
        let fan_out = geometry.fan_out() as usize;
        Self {
            children: alloc::vec![0; fan_out],
            maxima: alloc::vec![0; fan_out],
            used: 0,
        }
    }

    /// Parses a leaf (`level` 0) or a node; an error says what is wrong.
    pub(crate) fn parse(
        page: &[u8],
        level: usize,
        geometry: Geometry,
    ) -> Result<Self, &'static str> {
        let (Some(header), Some(body)) = (
            page.first_chunk::<PAGE_HEADER_LEN>(),
            page.get(PAGE_HEADER_LEN..),
        ) else {
            return Err("the page is shorter than its header");
        };
        let [page_type, kind, used_low, used_high, reserved @ ..] = *header;
        let expected = if level == 0 { KIND_LEAF } else { KIND_NODE };
        if page_type != PageType::Index as u8 || kind != expected {
            return Err("the page is not an index page of this level");
        }
        let fan_out = geometry.fan_out() as usize;
        let mut block = Self::default();
        let tail = if level == 0 {
            block.maxima = body.to_vec();
            block.used = count_set(&block.maxima);
            &body[body.len()..]
        } else {
            let (Some(children), Some(maxima), Some(tail)) = (
                body.get(..fan_out * CHILD_LEN),
                body.get(fan_out * CHILD_LEN..fan_out * (CHILD_LEN + 1)),
                body.get(fan_out * (CHILD_LEN + 1)..),
            ) else {
                return Err("the page is shorter than its columns");
            };
            let (children, _) = children.as_chunks::<CHILD_LEN>();
            block.children = children
                .iter()
                .map(|bytes| u32::from_le_bytes(*bytes))
                .collect();
            block.maxima = maxima.to_vec();
            block.used = block.children.iter().filter(|&&child| child != 0).count() as u32;
            if block
                .children
                .iter()
                .zip(maxima)
                .any(|(&child, &class)| child == 0 && class != 0)
            {
                return Err("an absent child has a class");
            }
            if block.children.contains(&u32::MAX) {
                return Err("a child page number is out of range");
            }
            tail
        };
        if block.maxima.contains(&u8::MAX) {
            return Err("class 255 does not exist");
        }
        if reserved != [0; 4] || tail.iter().any(|&byte| byte != 0) {
            return Err("reserved bytes are not zero");
        }
        if u32::from(u16::from_le_bytes([used_low, used_high])) != block.used {
            return Err("the header's count is wrong");
        }
        Ok(block)
    }

    /// Writes the block over a whole page.
    pub(crate) fn write(&self, page: &mut [u8]) {
        let leaf = self.children.is_empty();
        let [used_low, used_high] = (self.used.min(u16::MAX.into()) as u16).to_le_bytes();
        page.fill(0);
        page[0] = PageType::Index as u8;
        page[1] = if leaf { KIND_LEAF } else { KIND_NODE };
        page[2] = used_low;
        page[3] = used_high;
        let (children, rest) =
            page[PAGE_HEADER_LEN..].split_at_mut(self.children.len() * CHILD_LEN);
        let (children, _) = children.as_chunks_mut::<CHILD_LEN>();
        for (bytes, child) in children.iter_mut().zip(&self.children) {
            *bytes = child.to_le_bytes();
        }
        rest[..self.maxima.len()].copy_from_slice(&self.maxima);
    }

    /// The highest class in the block.
    pub(crate) fn max(&self) -> u8 {
        self.maxima.iter().copied().fold(0, u8::max)
    }

    /// The first position from `from` on whose class is at least `class`.
    pub(crate) fn first_at_least(&self, from: usize, class: u8) -> Option<usize> {
        let tail = self.maxima.get(from..)?;
        // Runs of 64 are folded, which compiles to vector code; only the run that has a hit is searched.
        let run = tail
            .chunks(64)
            .position(|run| run.iter().copied().fold(0, u8::max) >= class)?;
        let start = run * 64;
        let hit = tail[start..].iter().position(|&found| found >= class)?;
        Some(from + start + hit)
    }

    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.maxima.len() + self.children.len() * CHILD_LEN
    }
}

fn count_set(classes: &[u8]) -> u32 {
    classes.iter().filter(|&&class| class != 0).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_promise_what_they_say() {
        for size in PageSize::all() {
            let geometry = Geometry::new(size);
            for largest in 0..=size.bytes() - 12 {
                let class = geometry.class(Some(largest));
                if let Some(needed) = geometry.class_needed(largest) {
                    assert!(needed >= class, "{size:?} {largest}");
                }
                // A page of the class needed holds the bytes.
                if class > 0 {
                    assert!(
                        geometry.class_needed(usize::from(class) * geometry.unit()) == Some(class)
                    );
                }
            }
            assert_eq!(geometry.class(None), 0);
            assert_eq!(geometry.class_needed(0), Some(1));
            assert!(
                geometry.block_pages(4) > u64::from(u32::MAX),
                "five levels cover every number"
            );
        }
    }

    #[test]
    fn pages_keep_blocks() {
        for size in PageSize::all() {
            let geometry = Geometry::new(size);
            let mut page = vec![0xEE; size.bytes()];
            let mut leaf = Block::empty_leaf(geometry);
            let last = leaf.maxima.len() - 1;
            (leaf.maxima[3], leaf.maxima[last], leaf.used) = (7, 254, 2);
            leaf.write(&mut page);
            assert_eq!(Block::parse(&page, 0, geometry).unwrap(), leaf);
            assert!(Block::parse(&page, 1, geometry).is_err());
            assert_eq!(leaf.first_at_least(0, 5), Some(3));
            assert_eq!(leaf.first_at_least(4, 5), Some(last));
            assert_eq!(leaf.first_at_least(last + 1, 1), None);
            assert_eq!(leaf.max(), 254);

            let mut node = Block::empty_node(geometry);
            (node.children[2], node.maxima[2], node.used) = (77, 9, 1);
            node.write(&mut page);
            assert_eq!(Block::parse(&page, 1, geometry).unwrap(), node);
            for (at, why) in [
                (2, "count"),
                (4, "reserved"),
                (size.bytes() - 1, "tail or class"),
            ] {
                let mut bad = page.clone();
                bad[at] ^= 0xFF;
                assert!(Block::parse(&bad, 1, geometry).is_err(), "{why}");
            }
        }
    }
}
