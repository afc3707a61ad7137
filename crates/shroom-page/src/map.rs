//! The page map's shape and node codec (format §3).
//!
//! * M1 Node `(level, index)` covers entries `index * F .. (index + 1) * F` of the level below, whatever the height.
//! * M2 Height and root entries follow from the number of logical pages alone.
//!
//! Absent on purpose: does not read or write a file; `snapshot` walks the map and `commit` rewrites it.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use crate::header::{PAGE_HEADER_LEN, PageHeader, PageType};
use crate::{PageSize, superblock};

/// Levels of map pages below the root, at most.
pub(crate) const HEIGHT_MAX: u8 = 7;
/// Bytes of a map entry: physical number and hash.
pub(crate) const ENTRY_LEN: usize = 36;

/// A map entry: where the page lies and what it hashes to. Absent: both zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) physical: u32,
    pub(crate) hash: [u8; 32],
}

impl Entry {
    pub(crate) const ABSENT: Self = Self {
        physical: 0,
        hash: [0; 32],
    };

    pub(crate) fn is_absent(&self) -> bool {
        self.physical == 0
    }
}

/// Entries of one map page, or of the root, as the two columns they are stored in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entries<'a> {
    pub(crate) physical: &'a [U32],
    pub(crate) hash: &'a [[u8; 32]],
}

impl Entries<'_> {
    pub(crate) fn get(&self, index: usize) -> Entry {
        match (self.physical.get(index), self.hash.get(index)) {
            (Some(physical), Some(&hash)) => Entry {
                physical: physical.get(),
                hash,
            },
            _ => Entry::ABSENT,
        }
    }
}

/// Entries of a map page.
pub(crate) fn fanout(page_size: PageSize) -> usize {
    (page_size.bytes() - PAGE_HEADER_LEN) / ENTRY_LEN
}

/// Entries that the root holds at most.
pub(crate) fn root_capacity(page_size: PageSize) -> usize {
    superblock::tail_len(page_size) / ENTRY_LEN
}

/// Height and width of the map of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapShape {
    pub(crate) height: u8,
    pub(crate) root_entries: usize,
    /// Logical pages under one entry of a node of level `i`; index `height` is the root.
    pub(crate) spans: [u32; HEIGHT_MAX as usize + 1],
}

impl MapShape {
    /// The shape for `logical_pages`; `None` when that is more than a map can hold.
    pub(crate) fn new(page_size: PageSize, logical_pages: u32) -> Option<Self> {
        let fanout = fanout(page_size) as u64;
        let mut spans = [0; HEIGHT_MAX as usize + 1];
        let mut span = 1_u64;
        for height in 0..=HEIGHT_MAX {
            spans[usize::from(height)] = u32::try_from(span).ok()?;
            let root_entries = u64::from(logical_pages).div_ceil(span) as usize;
            if root_entries <= root_capacity(page_size) {
                return Some(Self {
                    height,
                    root_entries,
                    spans,
                });
            }
            span *= fanout;
        }
        None
    }
}

/// The columns of a map page, given whole.
#[inline]
pub(crate) fn node_entries(page: &[u8], fanout: usize) -> Option<Entries<'_>> {
    let physical = page.get(PAGE_HEADER_LEN..PAGE_HEADER_LEN + fanout * 4)?;
    let hash = page.get(PAGE_HEADER_LEN + fanout * 4..PAGE_HEADER_LEN + fanout * ENTRY_LEN)?;
    Some(Entries {
        physical: <[U32]>::ref_from_bytes(physical).ok()?,
        hash: <[[u8; 32]]>::ref_from_bytes(hash).ok()?,
    })
}

/// Checks a map page's own fields; says what is wrong.
pub(crate) fn check_node(page: &[u8], level: u8, fanout: usize) -> Result<(), String> {
    let header = PageHeader::read(page).ok_or("unknown page type")?;
    let entries = node_entries(page, fanout).ok_or("too short")?;
    let present = entries
        .physical
        .iter()
        .filter(|physical| physical.get() != 0)
        .count();
    if header.page_type != PageType::Map || header.kind != level || header.reserved != [0; 4] {
        return Err(format!(
            "header {header:?}, expected a map page of level {level}"
        ));
    }
    if usize::from(header.used.get()) != present || present == 0 {
        return Err(format!(
            "{present} entries present, its header says {}",
            header.used
        ));
    }
    let absent_hash = entries
        .physical
        .iter()
        .zip(entries.hash)
        .all(|(p, hash)| p.get() != 0 || *hash == [0; 32]);
    let slack = &page[PAGE_HEADER_LEN + fanout * ENTRY_LEN..];
    if !absent_hash || slack.iter().any(|&byte| byte != 0) {
        return Err("reserved bytes are not zero".into());
    }
    Ok(())
}

/// A map page under construction.
#[derive(Clone)]
pub(crate) struct NodeBuilder {
    physical: Vec<U32>,
    hash: Vec<[u8; 32]>,
}

impl NodeBuilder {
    pub(crate) fn new(fanout: usize, old: Option<Entries<'_>>) -> Self {
        match old {
            Some(old) => Self {
                physical: old.physical.to_vec(),
                hash: old.hash.to_vec(),
            },
            None => Self {
                physical: vec![U32::ZERO; fanout],
                hash: vec![[0; 32]; fanout],
            },
        }
    }

    pub(crate) fn set(&mut self, index: usize, entry: Entry) {
        self.physical[index] = entry.physical.into();
        self.hash[index] = entry.hash;
    }

    /// Where the page of entry `index` lies; 0 when it is absent.
    pub(crate) fn physical(&self, index: usize) -> u32 {
        self.physical[index].get()
    }

    /// Writes the page into `page`, which is zeroed; false when no entry is present.
    pub(crate) fn build(&self, level: u8, page: &mut [u8]) -> bool {
        let present = self
            .physical
            .iter()
            .filter(|physical| physical.get() != 0)
            .count();
        let header = PageHeader {
            page_type: PageType::Map,
            kind: level,
            used: (present as u16).into(),
            reserved: [0; 4],
        };
        header.write(page);
        let fanout = self.physical.len();
        page[PAGE_HEADER_LEN..PAGE_HEADER_LEN + fanout * 4]
            .copy_from_slice(self.physical.as_bytes());
        page[PAGE_HEADER_LEN + fanout * 4..PAGE_HEADER_LEN + fanout * ENTRY_LEN]
            .copy_from_slice(self.hash.as_bytes());
        present > 0
    }
}

#[cfg(feature = "std")]
pub(crate) fn structures() -> Vec<crate::format::Structure> {
    use crate::format::{Case, Field, Structure};

    let map_page = |page_size: PageSize| {
        let fanout = fanout(page_size);
        let mut node = NodeBuilder::new(fanout, None);
        for index in 0..fanout {
            let (physical, hash) = (0x1111_1111, [0x22; 32]);
            node.set(index, Entry { physical, hash });
        }
        let mut page = vec![0; page_size.bytes()];
        node.build(0, &mut page);
        // A count, too, may have such bytes.
        page[..PAGE_HEADER_LEN].fill(0);
        let mut fields = vec![
            Field::new("header", 0, PAGE_HEADER_LEN),
            Field::marked("physical", &page, 0x11),
            Field::marked("hashes", &page, 0x22),
        ];
        fields.push(Field::rest("zeros", &fields, page.len()));
        let given = vec![("page_size", page.len() as u64), ("F", fanout as u64)];
        Case { given, fields }
    };
    vec![Structure::of("map page", PageSize::all().map(map_page))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_is_the_least_that_serves() {
        for page_size in PageSize::all() {
            let (root, fanout) = (root_capacity(page_size) as u32, fanout(page_size) as u32);
            let at = |pages| MapShape::new(page_size, pages).unwrap();
            assert_eq!((at(1).height, at(1).root_entries), (0, 1));
            assert_eq!(at(root).height, 0);
            assert_eq!(
                (at(root + 1).height, at(root + 1).root_entries),
                (1, (root + 1).div_ceil(fanout) as usize)
            );
            assert_eq!(at(root * fanout).height, 1);
            assert_eq!(at(root * fanout + 1).height, 2);
        }
    }

    #[test]
    fn limits() {
        assert!(MapShape::new(PageSize::new(512).unwrap(), u32::MAX).is_none());
        assert!(MapShape::new(PageSize::DEFAULT, u32::MAX).is_some());
    }
}
