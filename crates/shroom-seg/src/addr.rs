//! The address of a segment: six bytes that other structures store as a link (format §5).

use core::fmt;

use shroom_page::LogicalPage;

/// Where a segment is: its logical page, and the offset of its `length` field in that page.
///
/// An address says nothing about whether a segment is there: reading checks that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentAddr {
    /// The storage page that holds the segment.
    pub page: LogicalPage,
    /// Offset of the segment's `length` field in the page, in bytes.
    pub offset: u16,
}

impl SegmentAddr {
    /// Size of an encoded address, in bytes.
    pub const LEN: usize = 6;

    /// The address of the segment at `offset` of `page`.
    pub fn new(page: LogicalPage, offset: u16) -> Self {
        Self { page, offset }
    }

    /// The address as it is stored: page u32, offset u16, little-endian.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let [a, b, c, d] = self.page.0.to_le_bytes();
        let [e, f] = self.offset.to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// The address stored as `bytes`.
    pub fn from_bytes([a, b, c, d, e, f]: [u8; Self::LEN]) -> Self {
        Self {
            page: LogicalPage(u32::from_le_bytes([a, b, c, d])),
            offset: u16::from_le_bytes([e, f]),
        }
    }
}

impl fmt::Display for SegmentAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.page, self.offset)
    }
}

impl fmt::Debug for SegmentAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_bytes() {
        let addr = SegmentAddr::new(LogicalPage(0x0102_0304), 0x0506);
        assert_eq!(addr.to_bytes(), [4, 3, 2, 1, 6, 5]);
        assert_eq!(SegmentAddr::from_bytes(addr.to_bytes()), addr);
        assert_eq!(addr.to_string(), "L16909060+1286");
    }
}
