//! The token root: where the directory starts, and the totals. Implements format §8.
//!
//! * T1 `tokens` and `payload` are exact.
//! * T2 Height 0 holds no token, height 1 is one pack, height n has n - 1 levels of directory pages.
//!
//! Absent on purpose: whoever commits pages keeps these 32 bytes; this layer has no place of its own.

use shroom_page::{LogicalPage, PAGE_HEADER_LEN};
use shroom_seg::SegmentAddr;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use crate::node::HEIGHT_MAX;
use crate::{Result, TokenError};

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRoot {
    height: u8,
    reserved_1: [u8; 3],
    page: U32,
    offset: U16,
    reserved_2: [u8; 6],
    tokens: U64,
    payload: U64,
}
const _: () = assert!(size_of::<RawRoot>() == TokenRoot::LEN);

#[cfg(feature = "std")]
pub(crate) fn structure() -> shroom_page::format::Structure {
    let fields = shroom_page::format_fields!(RawRoot {
        "height" => height,
        "reserved" => reserved_1,
        "page" => page,
        "offset" => offset,
        "reserved_2" => reserved_2,
        "tokens" => tokens,
        "payload" => payload,
    });
    shroom_page::format::Structure::fixed("token root", fields)
}

/// Where the tokens are, and how many. The default is the root of a store without tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenRoot {
    pub(crate) height: u8,
    /// The only pack at height 1; the root directory page, with offset 0, above that.
    pub(crate) addr: SegmentAddr,
    pub(crate) tokens: u64,
    pub(crate) payload: u64,
}

impl TokenRoot {
    /// Bytes of an encoded root.
    pub const LEN: usize = 32;

    /// The root of a store without tokens; all zeros when encoded.
    pub const EMPTY: Self = Self {
        height: 0,
        addr: SegmentAddr {
            page: LogicalPage::NONE,
            offset: 0,
        },
        tokens: 0,
        payload: 0,
    };

    /// Reads a root.
    ///
    /// # Errors
    /// [`TokenError::Root`] when a field is out of range.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self> {
        let raw: RawRoot = transmute!(*bytes);
        let height = raw.height;
        let root = Self {
            height,
            addr: SegmentAddr::new(LogicalPage(raw.page.get()), raw.offset.get()),
            tokens: raw.tokens.get(),
            payload: raw.payload.get(),
        };
        let reserved = raw.reserved_1.iter().chain(&raw.reserved_2);
        let reserved = reserved.fold(0, |all, &byte| all | u64::from(byte));
        let wrong = |field, expected, got| {
            Err(TokenError::Root {
                field,
                expected,
                got,
            })
        };
        if reserved != 0 {
            return wrong("reserved", "zero", reserved);
        }
        if height > HEIGHT_MAX {
            return wrong("height", "0 to 8", height.into());
        }
        if height == 0 && root != Self::EMPTY {
            return wrong("height", "1 to 8 with other fields set", 0);
        }
        if height > 0 && root.addr.page.is_none() {
            return wrong("page", "a page number", 0);
        }
        let offset = root.addr.offset;
        if height == 1 && usize::from(offset) < PAGE_HEADER_LEN {
            return wrong("offset", "at least 8 at height 1", offset.into());
        }
        if height > 1 && offset != 0 {
            return wrong("offset", "0 above height 1", offset.into());
        }
        if height > 0 && root.tokens == 0 {
            return wrong("tokens", "at least 1", 0);
        }
        Ok(root)
    }

    /// The root's bytes.
    pub fn encode(&self) -> [u8; Self::LEN] {
        transmute!(RawRoot {
            height: self.height,
            reserved_1: [0; 3],
            page: self.addr.page.0.into(),
            offset: self.addr.offset.into(),
            reserved_2: [0; 6],
            tokens: self.tokens.into(),
            payload: self.payload.into(),
        })
    }

    /// Number of tokens.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Sum of the tokens' lengths, in bytes.
    pub fn payload(&self) -> u64 {
        self.payload
    }

    /// Levels: 0 without tokens, 1 for a single pack, else 1 more than the levels of directory pages.
    pub fn height(&self) -> u8 {
        self.height
    }

    /// Level of the root directory page; `None` when there is none.
    pub(crate) fn level(&self) -> Option<u8> {
        self.height.checked_sub(2)
    }
}

impl Default for TokenRoot {
    fn default() -> Self {
        Self::EMPTY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> TokenRoot {
        let addr = SegmentAddr {
            page: LogicalPage(0x0102_0304),
            offset: 0x0506,
        };
        TokenRoot {
            height: 1,
            addr,
            tokens: 7,
            payload: 0x0908,
        }
    }

    #[test]
    fn keeps_its_bytes() {
        let bytes = sample().encode();
        assert_eq!(bytes[..10], [1, 0, 0, 0, 4, 3, 2, 1, 6, 5]);
        assert_eq!((bytes[16], bytes[24], bytes[25]), (7, 8, 9));
        assert_eq!(TokenRoot::decode(&bytes).unwrap(), sample());
        assert_eq!(TokenRoot::decode(&[0; 32]).unwrap(), TokenRoot::EMPTY);
        assert_eq!(TokenRoot::EMPTY.encode(), [0; 32]);
    }

    #[test]
    fn refuses_what_no_writer_produces() {
        let bytes = sample().encode();
        let cases = [(0, 0), (0, 9), (0, 2), (1, 1), (15, 1), (9, 0), (16, 0)];
        for (at, byte) in cases {
            let mut wrong = bytes;
            wrong[at] = byte;
            if at == 9 {
                wrong[8] = 7;
            }
            let error = TokenRoot::decode(&wrong).unwrap_err();
            assert!(error.is_corruption(), "{at} {byte}: {error}");
        }
        let mut nowhere = bytes;
        nowhere[4..8].fill(0);
        assert!(TokenRoot::decode(&nowhere).is_err());
        let mut empty = [0; 32];
        empty[16] = 1;
        assert!(TokenRoot::decode(&empty).is_err());
    }
}
