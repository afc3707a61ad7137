//! The 8 bytes that every storage, index and map page starts with (format §2.2).

use zerocopy::byteorder::little_endian::U16;
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

/// Length of [`PageHeader`], in bytes.
pub const PAGE_HEADER_LEN: usize = 8;

/// What a page holds. An unknown value fails to parse.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(u8)]
pub enum PageType {
    /// Nothing: an all-zero page.
    Free = 0,
    /// Segments.
    Storage = 1,
    /// An index of a layer above.
    Index = 2,
    /// A node of the page map.
    Map = 3,
    /// Reserved for journal pages.
    Journal = 4,
}

/// Header of every storage, index and map page.
#[derive(Clone, Copy, Debug, TryFromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PageHeader {
    /// What the page holds.
    pub page_type: PageType,
    /// Which kind of index page, or the level of a map page; else 0.
    pub kind: u8,
    /// Live segments of a storage page, entries of an index or map page.
    pub used: U16,
    /// Meaning depends on the page type; zero where it has none.
    pub reserved: [u8; 4],
}

const _: () = {
    assert!(size_of::<PageHeader>() == PAGE_HEADER_LEN);
    assert!(core::mem::offset_of!(PageHeader, kind) == 1);
    assert!(core::mem::offset_of!(PageHeader, used) == 2);
    assert!(core::mem::offset_of!(PageHeader, reserved) == 4);
};

#[cfg(feature = "std")]
impl PageType {
    /// Every type, by the format's name.
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        ("free", Self::Free),
        ("storage", Self::Storage),
        ("index", Self::Index),
        ("map", Self::Map),
        ("journal", Self::Journal),
    ];
}

#[cfg(feature = "std")]
pub(crate) fn structures() -> alloc::vec::Vec<crate::format::Structure> {
    let fields = crate::format_fields!(PageHeader {
        "page_type" => page_type,
        "kind" => kind,
        "used" => used,
        "reserved" => reserved,
    });
    alloc::vec![crate::format::Structure::fixed("page header", fields)]
}

impl PageHeader {
    /// The header at the start of `page`; `None` when it is too short or its type is unknown.
    pub fn read(page: &[u8]) -> Option<&Self> {
        Self::try_ref_from_prefix(page)
            .ok()
            .map(|(header, _)| header)
    }

    /// Writes the header to the start of `page`, which is at least 8 bytes long.
    pub fn write(&self, page: &mut [u8]) {
        page[..PAGE_HEADER_LEN].copy_from_slice(self.as_bytes());
    }
}
