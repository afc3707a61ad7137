//! What the page root is the hash of (format §3): the map's shape, the roots of the layers above, and the root entries.
//!
//! Absent on purpose: does not hash. A snapshot hashes these bytes whole, a proof in parts.

use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::map::{ENTRY_LEN, Entries};
use crate::superblock::Roots;

/// First bytes of the input.
pub(crate) const DOMAIN: [u8; 18] = *b"shroom page root 2";
/// Bytes before the root entries.
pub(crate) const HEAD_LEN: usize = 155;

/// The input's bytes before the root entries.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Head {
    pub(crate) domain: [u8; 18],
    pub(crate) map_height: u8,
    pub(crate) logical_pages: U32,
    pub(crate) root_entries: U32,
    pub(crate) roots: Roots,
}
const _: () = assert!(size_of::<Head>() == HEAD_LEN);

#[cfg(feature = "std")]
pub(crate) fn structures() -> Vec<crate::format::Structure> {
    use crate::format::{Case, Field, Structure};

    let input = |root_entries: usize| {
        let mut fields = crate::format_fields!(Head {
            "domain" => domain,
            "map_height" => map_height,
            "logical_pages" => logical_pages,
            "root_entries" => root_entries,
            "roots" => roots,
        });
        let hashes_at = hash_at(root_entries, 0);
        fields.push(Field::rest("physical", &fields, hashes_at));
        fields.push(Field::rest("hashes", &fields, input_len(root_entries)));
        let given = [("root_entries", root_entries as u64)].into();
        Case { given, fields }
    };
    [Structure::of("page root input", [1, 2, 6, 106].map(input))].into()
}

/// Length of the input with so many root entries.
pub(crate) fn input_len(root_entries: usize) -> usize {
    HEAD_LEN + root_entries * ENTRY_LEN
}

/// Where the hash of a root entry lies in the input.
pub(crate) fn hash_at(root_entries: usize, index: usize) -> usize {
    HEAD_LEN + root_entries * size_of::<U32>() + index * 32
}

/// The bytes that the page root is the hash of.
pub(crate) fn input(
    map_height: u8,
    logical_pages: u32,
    roots: &Roots,
    entries: Entries<'_>,
) -> Vec<u8> {
    let head = Head {
        domain: DOMAIN,
        map_height,
        logical_pages: logical_pages.into(),
        root_entries: (entries.physical.len() as u32).into(),
        roots: *roots,
    };
    let mut bytes = Vec::with_capacity(input_len(entries.physical.len()));
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(entries.physical.as_bytes());
    bytes.extend_from_slice(entries.hash.as_bytes());
    bytes
}
