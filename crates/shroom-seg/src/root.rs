//! The 64 bytes that name a segment store inside the superblock: totals and the free-space index (format §6).
//!
//! Absent on purpose: reads no page; `core` only.

use alloc::format;
use core::mem::{offset_of, size_of};

use shroom_page::LogicalPage;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use crate::{Result, SegError};

/// Size of the root, in bytes.
pub(crate) const ROOT_LEN: usize = 64;
/// Logical pages whose classes fit the root itself.
pub(crate) const INLINE_CLASSES: usize = 40;
/// Levels that cover every page number at the smallest page size.
pub(crate) const HEIGHT_MAX: u8 = 5;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRoot {
    height: u8,
    reserved_1: [u8; 3],
    root: U32,
    storage_pages: U32,
    reserved_2: [u8; 4],
    free_bytes: U64,
    classes: [u8; INLINE_CLASSES],
}
const _: () = assert!(size_of::<RawRoot>() == ROOT_LEN);
const _: () = assert!(offset_of!(RawRoot, free_bytes) == 16 && offset_of!(RawRoot, classes) == 24);

#[cfg(feature = "std")]
pub(crate) fn structure() -> shroom_page::format::Structure {
    let fields = shroom_page::format_fields!(RawRoot {
        "height" => height,
        "reserved" => reserved_1,
        "root" => root,
        "storage_pages" => storage_pages,
        "reserved_2" => reserved_2,
        "free_bytes" => free_bytes,
        "classes" => classes,
    });
    shroom_page::format::Structure::fixed("segment root", fields)
}

/// The parsed root. All zeros is an empty store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegRoot {
    pub(crate) height: u8,
    pub(crate) index: LogicalPage,
    pub(crate) storage_pages: u32,
    pub(crate) free_bytes: u64,
    pub(crate) classes: [u8; INLINE_CLASSES],
}

impl SegRoot {
    pub(crate) fn parse(bytes: &[u8; ROOT_LEN]) -> Result<Self> {
        let raw: RawRoot = transmute!(*bytes);
        let root = Self {
            height: raw.height,
            index: LogicalPage(raw.root.get()),
            storage_pages: raw.storage_pages.get(),
            free_bytes: raw.free_bytes.get(),
            classes: raw.classes,
        };
        let inline = root.height == 0;
        let fault = |detail| Err(SegError::Root { detail });
        if raw.reserved_1 != [0; 3] || raw.reserved_2 != [0; 4] {
            return fault("reserved bytes are not zero".into());
        }
        if root.height > HEIGHT_MAX {
            return fault(format!(
                "index height {} is above {HEIGHT_MAX}",
                root.height
            ));
        }
        if inline != root.index.is_none() {
            return fault(format!(
                "index height {} with root page {}",
                root.height, root.index
            ));
        }
        if !inline && root.classes != [0; INLINE_CLASSES] {
            return fault("inline classes are set beside an index page".into());
        }
        Ok(root)
    }

    pub(crate) fn to_bytes(self) -> [u8; ROOT_LEN] {
        transmute!(RawRoot {
            height: self.height,
            reserved_1: [0; 3],
            root: U32::new(self.index.0),
            storage_pages: U32::new(self.storage_pages),
            reserved_2: [0; 4],
            free_bytes: U64::new(self.free_bytes),
            classes: self.classes,
        })
    }
}

/// Free bytes in the storage pages, as the root has them.
///
/// # Errors
/// Corruption of the root.
pub fn free_bytes(root: &[u8; ROOT_LEN]) -> Result<u64> {
    Ok(SegRoot::parse(root)?.free_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_keeps_its_bytes_and_refuses_what_no_writer_makes() {
        let root = SegRoot {
            height: 2,
            index: LogicalPage(7),
            storage_pages: 9,
            free_bytes: 1 << 40,
            classes: [0; INLINE_CLASSES],
        };
        let bytes = root.to_bytes();
        assert_eq!(SegRoot::parse(&bytes).unwrap(), root);
        assert!(SegRoot::parse(&[0; ROOT_LEN]).is_ok());
        for (at, value) in [(0, 0), (0, 6), (1, 1), (4, 0), (12, 1), (24, 1)] {
            let mut bad = bytes;
            bad[at] = value;
            assert!(
                SegRoot::parse(&bad).unwrap_err().is_corruption(),
                "byte {at} = {value}"
            );
        }
    }
}
