//! The application root in the superblock (format §9).

use shroom_page::{PAGE_HEADER_LEN, PageError, PhysicalPage};
use shroom_seg::SegmentAddr;

use crate::error::Result;

/// Set when the file keeps the content's lattice.
const TRACKED: u16 = 1;

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
        let [t0, t1, t2, t3, t4, t5, t6, t7, rest @ ..] = *bytes;
        let [a0, a1, a2, a3, a4, a5, f0, f1, reserved @ ..] = rest;
        if reserved != [0; 16] {
            return Err(corrupt("reserved bytes are not zero".into()));
        }
        let addr = SegmentAddr::from_bytes([a0, a1, a2, a3, a4, a5]);
        let lattice = match u16::from_le_bytes([f0, f1]) {
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
            tag: u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            lattice,
        })
    }

    pub(crate) fn encode(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.tag.to_le_bytes());
        if let Some(addr) = self.lattice {
            bytes[8..14].copy_from_slice(&addr.to_bytes());
            bytes[14..16].copy_from_slice(&TRACKED.to_le_bytes());
        }
        bytes
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
