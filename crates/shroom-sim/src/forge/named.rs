//! Where a free record names snapshots (format §4.1), whatever else it says.

use std::ops::Range;

/// An entry of the list.
pub(super) struct Entry {
    /// Its bytes: the name's length, the name, the page, the hash.
    pub(super) range: Range<usize>,
    /// The page of its frozen superblock.
    pub(super) page: u32,
}

/// The entries in a record, as far as they are whole.
pub(super) fn entries(bytes: &[u8], record: Range<usize>) -> Vec<Entry> {
    let mut reader = Reader {
        bytes: &bytes[..record.end],
        at: record.start,
    };
    let mut entries = Vec::new();
    let _ = reader.read(&mut entries);
    entries
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    /// Reads until something is missing.
    fn read(&mut self, entries: &mut Vec<Entry>) -> Option<()> {
        for _ in 0..2 {
            for _ in 0..self.number()? {
                self.number()?;
                self.number()?;
            }
        }
        for _ in 0..self.number()? {
            let start = self.at;
            let name_len = usize::from(self.byte()?);
            let page = start + 1 + name_len;
            let number = self.bytes.get(page..)?.first_chunk()?;
            self.at = page + 4 + 32;
            self.bytes.get(start..self.at)?;
            entries.push(Entry {
                range: start..self.at,
                page: u32::from_le_bytes(*number),
            });
        }
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}
