//! The application root in the superblock (format §9).

use alloc::format;
use alloc::string::String;

use shroom_page::{PAGE_HEADER_LEN, PageError, PhysicalPage};
use shroom_seg::SegmentAddr;
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use crate::error::Result;

/// Set when the file keeps the content's lattice.
const TRACKED: u16 = 1;

/// The bits of `flags`, by the format's names.
pub(crate) const FLAGS: [(&str, u64); 1] = [("tracked", TRACKED as u64)];

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRoot {
    tag: U64,
    lattice: [u8; SegmentAddr::LEN],
    flags: U16,
    reserved: [u8; 16],
}

#[cfg(feature = "std")]
pub(crate) fn structure() -> shroom_page::format::Structure {
    let fields = shroom_page::format_fields!(RawRoot {
        "tag" => tag,
        "lattice" => lattice,
        "flags" => flags,
        "reserved" => reserved,
    });
    shroom_page::format::Structure::fixed("application root", fields)
}

/// What this layer keeps in the superblock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ApplicationRoot {
    pub(crate) tag: u64,
    /// The blob that holds the sum over all tokens, where the file keeps one.
    pub(crate) lattice: Option<SegmentAddr>,
}

impl ApplicationRoot {
    /// The root of a canonical image: the tag, and nothing else.
    pub(crate) fn of_tag(tag: u64) -> Self {
        Self { tag, lattice: None }
    }

    pub(crate) fn decode(bytes: &[u8; 32]) -> Result<Self> {
        let raw: RawRoot = transmute!(*bytes);
        if raw.reserved != [0; 16] {
            return Err(corrupt("reserved bytes are not zero".into()));
        }
        let addr = SegmentAddr::from_bytes(raw.lattice);
        let lattice = match raw.flags.get() {
            0 if addr.to_bytes() == [0; 6] => None,
            0 => return Err(corrupt(format!("a lattice at {addr} that is not kept"))),
            TRACKED if addr.page.is_none() || usize::from(addr.offset) < PAGE_HEADER_LEN => {
                return Err(corrupt(format!(
                    "the lattice is at {addr}, which is no segment"
                )));
            }
            TRACKED => Some(addr),
            flags => return Err(corrupt(format!("flags {flags:#06x}, expected 0 or 1"))),
        };
        Ok(Self {
            tag: raw.tag.get(),
            lattice,
        })
    }

    pub(crate) fn encode(self) -> [u8; 32] {
        let (lattice, flags) = match self.lattice {
            Some(addr) => (addr.to_bytes(), TRACKED),
            None => ([0; SegmentAddr::LEN], 0),
        };
        transmute!(RawRoot {
            tag: self.tag.into(),
            lattice,
            flags: flags.into(),
            reserved: [0; 16],
        })
    }
}

fn corrupt(detail: String) -> crate::Error {
    PageError::Corrupt {
        what: "application root",
        physical: PhysicalPage(0),
        detail,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_bytes() {
        let plain = ApplicationRoot::of_tag(0x0102);
        assert_eq!(plain.encode()[..3], [2, 1, 0]);
        assert_eq!(ApplicationRoot::decode(&plain.encode()).unwrap(), plain);
        let addr = SegmentAddr::from_bytes([7, 0, 0, 0, 9, 1]);
        let tracked = ApplicationRoot {
            lattice: Some(addr),
            ..plain
        };
        let bytes = tracked.encode();
        assert_eq!(bytes[8..17], [7, 0, 0, 0, 9, 1, 1, 0, 0]);
        assert_eq!(ApplicationRoot::decode(&bytes).unwrap(), tracked);
    }

    #[test]
    fn refuses_what_no_writer_produces() {
        let addr = SegmentAddr::from_bytes([7, 0, 0, 0, 8, 0]);
        let sound = ApplicationRoot {
            tag: 1,
            lattice: Some(addr),
        };
        // Reserved, flags unknown, not tracked, no page, inside the page's header.
        for (at, byte) in [(16, 1), (31, 1), (14, 3), (15, 1), (14, 0), (8, 0), (12, 7)] {
            let mut bytes = sound.encode();
            bytes[at] = byte;
            let error = ApplicationRoot::decode(&bytes).unwrap_err();
            assert!(error.is_corruption(), "{at}: {error}");
        }
    }
}
