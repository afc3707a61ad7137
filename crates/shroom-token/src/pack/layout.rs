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

/// What a pack's header says, but for the first id; and the length that equal values have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PackHead {
    pub(crate) count: u16,
    pub(crate) id_width: u8,
    pub(crate) kind: u8,
    /// 0 when lengths differ.
    pub(crate) length: u16,
}

impl PackHead {
    /// What a header says; `body` is what follows it. Not sound when it is too short for the common length.
    #[inline]
    pub(super) fn read(header: &PackHeader, body: &[u8]) -> Self {
        let head = Self {
            count: header.count.get(),
            id_width: header.id_width,
            kind: header.kind,
            length: 0,
        };
        match body.first_chunk::<2>() {
            Some(length) if head.is_uniform() => Self {
                length: u16::from_le_bytes(*length),
                ..head
            },
            _ => head,
        }
    }

    #[inline]
    pub(super) fn is_uniform(self) -> bool {
        self.kind & KIND_UNIFORM != 0
    }

    #[inline]
    pub(super) fn is_sound(self) -> bool {
        self.count > 0 && self.id_width <= 8 && self.has_sound_kind()
    }

    #[inline]
    pub(super) fn has_sound_kind(self) -> bool {
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
    #[inline(always)]
    pub(super) fn of(head: PackHead) -> Self {
        // Sums of a few products of a u16 and a byte: no overflow.
        let count = usize::from(head.count);
        let (ids_at, end_width) = match head.is_uniform() {
            true => (2, 0),
            false => (0, 1 + usize::from(head.kind & KIND_WIDE_ENDS != 0)),
        };
        let ends_at = ids_at + count.saturating_sub(1) * usize::from(head.id_width);
        let blobs_at = ends_at + count * end_width;
        let blobs_len = match head.kind & KIND_BLOBS {
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

#[cfg(feature = "std")]
pub(crate) fn structure() -> shroom_page::format::Structure {
    use shroom_page::format::{Case, Field, Structure};

    // Of tokens whose values have one byte each.
    let pack = |(count, id_width, kind): (u16, u8, u8)| {
        let head = PackHead {
            count,
            id_width,
            kind,
            length: 1,
        };
        let layout = Layout::of(head);
        let values_len = usize::from(count);
        let mut fields = shroom_page::format_fields!(PackHeader {
            "base" => base,
            "count" => count,
            "id_width" => id_width,
            "kind" => kind,
        });
        let ends = [
            ("length", layout.ids_at),
            ("ids", layout.ends_at),
            ("ends", layout.blobs_at),
            ("bitmap", layout.values_at),
            ("values", layout.values_at + values_len),
        ];
        for (name, end) in ends {
            fields.push(Field::rest(name, &fields, PACK_HEADER_LEN + end));
        }
        let given = vec![
            ("count", count.into()),
            ("id_width", id_width.into()),
            ("uniform", head.is_uniform().into()),
            ("end_width", layout.end_width as u64),
            ("blobs", (kind & KIND_BLOBS != 0).into()),
            ("values", values_len as u64),
        ];
        Case { given, fields }
    };
    let cases = [
        (1, 0, KIND_UNIFORM),
        (9, 0, KIND_UNIFORM | KIND_BLOBS),
        (20, 3, 0),
        (300, 8, KIND_WIDE_ENDS),
        (17, 1, KIND_WIDE_ENDS | KIND_BLOBS),
    ];
    Structure::of("pack", cases.map(pack))
}

/// Says what is wrong with the header of a pack that does not parse, or with the lengths it comes to.
#[cold]
pub(super) fn header_flaw(data: &[u8]) -> PackFlaw {
    let Ok((header, body)) = PackHeader::ref_from_prefix(data) else {
        return PackFlaw::Short {
            expected: PACK_HEADER_LEN,
            got: data.len(),
        };
    };
    flaw_of(PackHead::read(header, body), data.len())
}

/// What is wrong with a pack of `data_len` bytes whose header says this.
#[cold]
pub(super) fn flaw_of(head: PackHead, data_len: usize) -> PackFlaw {
    let flaw = |field, expected, got: u8| PackFlaw::Header {
        field,
        expected,
        got: got.into(),
    };
    if head.count == 0 {
        return PackFlaw::Empty;
    }
    if head.id_width > 8 {
        return flaw("id width", 8, head.id_width);
    }
    if !head.has_sound_kind() {
        return flaw("kind", 7, head.kind);
    }
    let values_len = usize::from(head.count) * usize::from(head.length);
    // Saturating for those whose usize has 32 bits.
    let end = (PACK_HEADER_LEN + Layout::of(head).values_at).saturating_add(values_len);
    match data_len.checked_sub(end) {
        Some(got) => PackFlaw::Slack { got },
        None => PackFlaw::Short {
            expected: end,
            got: data_len,
        },
    }
}
