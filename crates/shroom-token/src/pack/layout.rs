//! A pack's header, and where the parts behind it begin (format §7).
//!
//! Absent on purpose: does not read the parts.

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{KIND_BLOBS, KIND_UNIFORM, KIND_WIDE_ENDS, PACK_HEADER_LEN, PackFlaw};

/// What a pack starts with.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct PackHeader {
    pub(super) base: U64,
    pub(super) count: U16,
    pub(super) id_width: u8,
    pub(super) kind: u8,
}
const _: () = assert!(size_of::<PackHeader>() == PACK_HEADER_LEN);

impl PackHeader {
    #[inline]
    pub(super) fn is_uniform(&self) -> bool {
        self.kind & KIND_UNIFORM != 0
    }

    #[inline]
    pub(super) fn has_sound_kind(&self) -> bool {
        self.kind <= 7 && self.kind & (KIND_UNIFORM | KIND_WIDE_ENDS) != 3
    }
}

/// Where a pack's parts begin, from the end of its header on.
pub(super) struct Layout {
    pub(super) ids_at: usize,
    pub(super) ends_at: usize,
    pub(super) end_width: usize,
    pub(super) blobs_at: usize,
    pub(super) values_at: usize,
}

impl Layout {
    #[inline]
    pub(super) fn of(header: &PackHeader) -> Self {
        // Sums of a few products of a u16 and a byte: no overflow.
        let count = usize::from(header.count.get());
        let (ids_at, end_width) = match header.is_uniform() {
            true => (2, 0),
            false => (0, 1 + usize::from(header.kind & KIND_WIDE_ENDS != 0)),
        };
        let ends_at = ids_at + count.saturating_sub(1) * usize::from(header.id_width);
        let blobs_at = ends_at + count * end_width;
        let blobs_len = match header.kind & KIND_BLOBS {
            0 => 0,
            _ => count.div_ceil(8),
        };
        let values_at = blobs_at + blobs_len;
        Self {
            ids_at,
            ends_at,
            end_width,
            blobs_at,
            values_at,
        }
    }
}

/// Says what is wrong with the header of a pack that does not parse, or with the lengths it comes to.
#[cold]
pub(super) fn header_flaw(data: &[u8]) -> PackFlaw {
    let short = |expected| PackFlaw::Short {
        expected,
        got: data.len(),
    };
    let flaw = |field, expected, got: u8| PackFlaw::Header {
        field,
        expected,
        got: got.into(),
    };
    let Ok((header, body)) = PackHeader::ref_from_prefix(data) else {
        return short(PACK_HEADER_LEN);
    };
    let count = usize::from(header.count.get());
    if count == 0 {
        return PackFlaw::Empty;
    }
    if header.id_width > 8 {
        return flaw("id width", 8, header.id_width);
    }
    if !header.has_sound_kind() {
        return flaw("kind", 7, header.kind);
    }
    let values_at = Layout::of(header).values_at;
    let length = match body.first_chunk::<2>() {
        Some(chunk) if header.is_uniform() => u16::from_le_bytes(*chunk),
        _ => 0,
    };
    let end = values_at + count * usize::from(length);
    match body.len().checked_sub(end) {
        Some(got) => PackFlaw::Slack { got },
        None => short(PACK_HEADER_LEN + end),
    }
}
