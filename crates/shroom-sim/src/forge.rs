//! Forged files: a database's bytes, changed at will and then sealed again, so that every hash and checksum is right.
//!
//! Random changes are stopped by the first hash above them. A malicious file is not: whoever writes it computes the hashes
//! too. [`Image::seal`] does that, so that hostile maps, records, pages and frames reach the code that must refuse them.
//!
//! * G1 Sealing a sound image changes nothing.
//! * G2 Work is bounded by the image's length, whatever it says of itself.
//!
//! Offsets are those of `docs/format.md`. Absent on purpose: uses none of the engine's own code, which it is to test.

pub mod delta;
mod named;

use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a superblock before its tail.
pub const SUPERBLOCK_HEADER_LEN: usize = 272;
/// Bytes of a journal frame before its payload.
pub const FRAME_HEADER_LEN: usize = 40;
/// Bytes of a page's header.
const PAGE_HEADER_LEN: usize = 8;
/// Bytes of a map entry: physical number and hash.
const ENTRY_LEN: usize = 36;
/// Levels of a page map, at most.
const HEIGHT_MAX: u8 = 7;

/// Where a superblock keeps things, in bytes from its start.
pub mod field {
    /// log2 of the page size, u8.
    pub const PAGE_SHIFT: usize = 10;
    /// Levels of map pages, u8.
    pub const MAP_HEIGHT: usize = 11;
    /// Checkpoint number, u64.
    pub const SEQUENCE: usize = 16;
    /// BLAKE3 of the rest, 32 bytes.
    pub const HASH: usize = 24;
    /// Limit of the logical page numbers, u32.
    pub const LOGICAL_PAGES: usize = 56;
    /// Length of the file in pages, u32.
    pub const PHYSICAL_PAGES: usize = 60;
    /// Entries of the map's root, u32.
    pub const ROOT_ENTRIES: usize = 64;
    /// First page of the free record, u32.
    pub const FREE_FIRST: usize = 68;
    /// Pages of the free record, u32.
    pub const FREE_PAGES: usize = 72;
    /// Length of the free record, u32.
    pub const FREE_BYTES: usize = 76;
    /// BLAKE3 of the free record, 32 bytes.
    pub const FREE_HASH: usize = 80;
    /// Runs of the two journal areas: first page and pages, u32 each.
    pub const JOURNAL: [usize; 2] = [112, 120];
    /// Sequence of the last frame that is in the pages, u64.
    pub const DRAINED: usize = 128;
    /// Its checksum, u64.
    pub const CHAIN: usize = 136;
}

/// A place in the chain of journal frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Sequence of the frame.
    pub sequence: u64,
    /// Checksum of the frame.
    pub checksum: u64,
}

/// A file as bytes, long enough for two superblocks of the page size that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    bytes: Vec<u8>,
    page_len: usize,
}

impl Image {
    /// Takes a file's bytes; `None` when they name no page size, or end before the second superblock does.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        let shift = *bytes.get(field::PAGE_SHIFT)?;
        let page_len = (9..=16).contains(&shift).then(|| 1_usize << shift)?;
        (bytes.len() >= page_len + page_len.min(4096)).then_some(Self { bytes, page_len })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, to be changed; their number stays.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The bytes, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes of a page.
    pub fn page_len(&self) -> usize {
        self.page_len
    }

    /// Whole pages in the file.
    pub fn pages(&self) -> usize {
        self.bytes.len() / self.page_len
    }

    /// Entries of a map page.
    pub fn fanout(&self) -> usize {
        (self.page_len - PAGE_HEADER_LEN) / ENTRY_LEN
    }

    /// The u32 at an offset; 0 past the end.
    pub fn u32(&self, offset: usize) -> u32 {
        let bytes = self.bytes.get(offset..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |&bytes| u32::from_le_bytes(bytes))
    }

    /// The u64 at an offset; 0 past the end.
    pub fn u64(&self, offset: usize) -> u64 {
        let bytes = self.bytes.get(offset..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |&bytes| u64::from_le_bytes(bytes))
    }

    /// Changes bytes; nothing when they would not lie in the file.
    pub fn set(&mut self, offset: usize, value: &[u8]) {
        let end = offset.saturating_add(value.len());
        if let Some(bytes) = self.bytes.get_mut(offset..end) {
            bytes.copy_from_slice(value);
        }
    }

    /// Adds zeroed pages at the file's end, tells the superblock of slot 0, and returns the first one's number.
    pub fn add_pages(&mut self, pages: usize) -> u32 {
        let first = self.pages();
        self.bytes.resize((first + pages) * self.page_len, 0);
        self.set(
            field::PHYSICAL_PAGES,
            &((first + pages) as u32).to_le_bytes(),
        );
        first as u32
    }

    /// The bytes of a journal area of slot 0, as a range of the file; empty when it is absent or not in the file.
    pub fn journal_area(&self, area: usize) -> std::ops::Range<usize> {
        self.area(0, area)
    }

    fn area(&self, slot: usize, area: usize) -> std::ops::Range<usize> {
        let at = self.slot_start(slot) + field::JOURNAL[area];
        let start = (self.u32(at) as usize).saturating_mul(self.page_len);
        let len = (self.u32(at + 4) as usize).saturating_mul(self.page_len);
        let end = start.saturating_add(len).min(self.bytes.len());
        start.min(end)..end
    }

    /// The slot whose superblock counts: the one of the higher sequence.
    pub fn newest_slot(&self) -> usize {
        let sequence = |slot| self.u64(self.slot_start(slot) + field::SEQUENCE);
        usize::from(sequence(1) > sequence(0))
    }

    /// Whether the sequences of checkpoints and frames are so far from their limit (2^63) that they can be counted on. A
    /// forged file at the limit may be sound, but takes no more writes.
    pub fn has_sequences_left(&self) -> bool {
        (0..2).all(|slot| {
            [field::SEQUENCE, field::DRAINED]
                .iter()
                .all(|at| self.u64(self.slot_start(slot) + at) < 1 << 62)
        })
    }

    /// Makes both slots hold what the newest one holds, as in a closed file.
    pub fn level_slots(&mut self) {
        let from = self.slot_start(self.newest_slot());
        let to = self.page_len - from;
        let len = self.slot_len();
        self.bytes.copy_within(from..from + len, to);
    }

    /// Where the superblocks of named snapshots are, by the free record of the newest slot: offsets in the file.
    pub fn frozen_superblocks(&self) -> Vec<usize> {
        let record = self.record(self.slot_start(self.newest_slot()));
        let entries = named::entries(&self.bytes, record);
        let starts = entries.iter().map(|entry| self.page_start(entry.page));
        starts.flatten().collect()
    }

    /// Where the entries of named snapshots are in the free record of the newest slot, in bytes from the start of the file.
    pub fn named_entries(&self) -> Vec<std::ops::Range<usize>> {
        let record = self.record(self.slot_start(self.newest_slot()));
        let entries = named::entries(&self.bytes, record);
        entries.into_iter().map(|entry| entry.range).collect()
    }

    /// Offset of a page that a frozen superblock may be in; `None` when it is not in the file.
    fn page_start(&self, page: u32) -> Option<usize> {
        let page = page as usize;
        (page >= 2 && page < self.pages()).then(|| page * self.page_len)
    }

    /// The bytes of a superblock's free record; empty when they are not in the file.
    fn record(&self, start: usize) -> std::ops::Range<usize> {
        let first = self.u32(start + field::FREE_FIRST) as usize;
        let len = self.u32(start + field::FREE_BYTES) as usize;
        let (at, limit) = match first {
            0 => (
                start + SUPERBLOCK_HEADER_LEN + self.root_entries(start) * ENTRY_LEN,
                start + self.slot_len(),
            ),
            _ => (first.saturating_mul(self.page_len), self.bytes.len()),
        };
        let end = at.saturating_add(len);
        if end <= limit { at..end } else { 0..0 }
    }

    fn slot_start(&self, slot: usize) -> usize {
        slot * self.page_len
    }

    fn slot_len(&self) -> usize {
        self.page_len.min(4096)
    }

    /// Entries of a superblock's root, as many as there is room for.
    fn root_entries(&self, start: usize) -> usize {
        let room = (self.slot_len() - SUPERBLOCK_HEADER_LEN) / ENTRY_LEN;
        (self.u32(start + field::ROOT_ENTRIES) as usize).min(room)
    }

    fn map_height(&self, start: usize) -> u8 {
        self.bytes[start + field::MAP_HEIGHT].min(HEIGHT_MAX)
    }

    /// Physical pages of the map as slot 0 reaches them, highest level first, each once.
    pub fn map_pages(&self) -> Vec<usize> {
        let mut seen = vec![false; self.pages()];
        let mut found = Vec::new();
        let mut level: Vec<usize> = (0..self.root_entries(0))
            .map(|index| self.u32(SUPERBLOCK_HEADER_LEN + index * 4) as usize)
            .collect();
        for _ in 0..self.map_height(0) {
            level.retain(|&page| page >= 2 && page < seen.len() && !seen[page]);
            level.dedup();
            for &page in &level {
                seen[page] = true;
            }
            found.extend_from_slice(&level);
            level = level
                .iter()
                .flat_map(|&page| (0..self.fanout()).map(move |index| (page, index)))
                .map(|(page, index)| self.u32(self.map_entry(page, index)) as usize)
                .collect();
        }
        found
    }

    /// Offset of the physical number of entry `index` in map page `page`.
    pub fn map_entry(&self, page: usize, index: usize) -> usize {
        page * self.page_len + PAGE_HEADER_LEN + index * 4
    }

    /// Makes a map page's count of entries that of those present, and hashes of absent ones zero.
    pub fn recount_map_page(&mut self, page: usize) {
        let mut present = 0_u16;
        for index in 0..self.fanout() {
            if self.u32(self.map_entry(page, index)) == 0 {
                self.set(self.map_hash(page, index), &[0; 32]);
            } else {
                present += 1;
            }
        }
        self.set(page * self.page_len + 2, &present.to_le_bytes());
    }

    fn map_hash(&self, page: usize, index: usize) -> usize {
        self.map_entry(page, self.fanout()) + index * 32
    }

    /// Makes everything right that guards something else, in both slots, the newest last: frames' checksums and chains, the
    /// hashes of pages, map pages and free records, those of named snapshots among them, and those of the superblocks.
    pub fn seal(&mut self) {
        let newest = self.newest_slot();
        for slot in [1 - newest, newest] {
            self.seal_journal(slot);
            self.seal_state(self.slot_start(slot));
            self.seal_superblock(slot);
        }
    }

    /// Makes a superblock's own hash right.
    pub fn seal_superblock(&mut self, slot: usize) {
        self.seal_superblock_at(self.slot_start(slot));
    }

    fn seal_superblock_at(&mut self, start: usize) {
        let bytes = &self.bytes[start..start + self.slot_len()];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes[..field::HASH]);
        hasher.update(&bytes[field::HASH + 32..]);
        let hash = hasher.finalize();
        self.set(start + field::HASH, hash.as_bytes());
    }

    /// Makes the hashes right of all pages that a slot's superblock and its named snapshots reach, from the bottom up, those of
    /// the frozen superblocks, and that of its free record.
    fn seal_state(&mut self, start: usize) {
        let mut hashes = vec![None; self.pages()];
        let record = self.record(start);
        for entry in named::entries(&self.bytes, record.clone()) {
            let Some(frozen) = self.page_start(entry.page) else {
                continue;
            };
            // A page of the map whose hash was taken may not change any more.
            if hashes[entry.page as usize].is_none() {
                self.seal_pages(frozen, &mut hashes);
                self.seal_superblock_at(frozen);
            }
            let hash = self.hash_of_page(entry.page as usize);
            self.set(entry.range.end - 32, &hash);
        }
        self.seal_pages(start, &mut hashes);
        if self.u32(start + field::FREE_FIRST) != 0 && !record.is_empty() {
            let hash = *blake3::hash(&self.bytes[record]).as_bytes();
            self.set(start + field::FREE_HASH, &hash);
        }
    }

    /// Makes the hashes right of all pages that a superblock reaches, from the bottom up.
    fn seal_pages(&mut self, start: usize, hashes: &mut [Option<[u8; 32]>]) {
        let entries = self.root_entries(start);
        for index in 0..entries {
            let tail = start + SUPERBLOCK_HEADER_LEN;
            let page = self.u32(tail + index * 4) as usize;
            if let Some(hash) = self.sealed_page(page, self.map_height(start), hashes) {
                self.set(tail + entries * 4 + index * 32, &hash);
            }
        }
    }

    /// Hash of a page whose children's hashes were made right before; `None` when there is no such page. Each page is
    /// gone into once, so that a map that leads in circles ends.
    fn sealed_page(
        &mut self,
        page: usize,
        level: u8,
        hashes: &mut [Option<[u8; 32]>],
    ) -> Option<[u8; 32]> {
        if page < 2 || page >= hashes.len() {
            return None;
        }
        if let Some(hash) = hashes[page] {
            return Some(hash);
        }
        // What a circle's end refers to; made right as far as a circle can be.
        hashes[page] = Some(self.hash_of_page(page));
        for index in (0..self.fanout()).filter(|_| level > 0) {
            let child = self.u32(self.map_entry(page, index)) as usize;
            if let Some(hash) = self.sealed_page(child, level - 1, hashes) {
                self.set(self.map_hash(page, index), &hash);
            }
        }
        let hash = self.hash_of_page(page);
        hashes[page] = Some(hash);
        Some(hash)
    }

    fn hash_of_page(&self, page: usize) -> [u8; 32] {
        let start = page * self.page_len;
        *blake3::hash(&self.bytes[start..start + self.page_len]).as_bytes()
    }

    /// Makes the checksums and chains of both areas' frames right: the area whose first frame is older goes first.
    fn seal_journal(&mut self, slot: usize) {
        let start = self.slot_start(slot);
        let first = |image: &Self, area| image.u64(image.area(slot, area).start + 16);
        let order = if first(self, 0) <= first(self, 1) {
            [0, 1]
        } else {
            [1, 0]
        };
        let mut mark = Mark {
            sequence: self.u64(start + field::DRAINED),
            checksum: self.u64(start + field::CHAIN),
        };
        for area in order {
            let (last, drained) = self.seal_area(self.area(slot, area), mark);
            if let Some(checksum) = drained {
                self.set(start + field::CHAIN, &checksum.to_le_bytes());
            }
            if last.sequence > mark.sequence {
                mark = last;
            }
        }
    }

    /// Seals the frames at the start of an area as far as their sequences and epochs continue, and the one after them.
    /// Returns the last one, and the new checksum of the frame that `mark` names when it is among them.
    fn seal_area(&mut self, area: std::ops::Range<usize>, mark: Mark) -> (Mark, Option<u64>) {
        let mut last: Option<Mark> = None;
        let mut drained = None;
        let epoch = self.u32(area.start + 32);
        let mut at = area.start;
        while let Some(end) = self.frame_end(at, area.end) {
            let sequence = self.u64(at + 16);
            let before = last.unwrap_or(mark);
            let continues = sequence == before.sequence.wrapping_add(1);
            if continues {
                self.set(at + 8, &before.checksum.to_le_bytes());
            }
            let checksum = xxh3_64(&self.bytes[at + 8..end]);
            self.set(at, &checksum.to_le_bytes());
            if !(continues || last.is_none()) || self.u32(at + 32) != epoch {
                break;
            }
            if sequence == mark.sequence {
                drained = Some(checksum);
            }
            last = Some(Mark { sequence, checksum });
            at = end.next_multiple_of(8);
        }
        (last.unwrap_or(mark), drained)
    }

    /// Where the frame at `at` ends; `None` when there is room for none.
    fn frame_end(&self, at: usize, limit: usize) -> Option<usize> {
        let header_end = at.checked_add(FRAME_HEADER_LEN)?;
        if header_end > limit {
            return None;
        }
        let len = self.u32(at + 36) as usize;
        header_end
            .checked_add(len)
            .filter(|&end| len > 0 && end <= limit)
    }
}

/// A journal frame, field by field.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Checksum of the frame before it.
    pub previous: u64,
    /// Its number.
    pub sequence: u64,
    /// Highest sequence that it says was durable.
    pub synced: u64,
    /// Number of the filling of its area.
    pub epoch: u32,
    /// Length that it claims.
    pub length: u32,
    /// What it holds.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Its bytes, with the right checksum in front when the claimed length is the payload's, and padded to its end.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        bytes.extend_from_slice(&self.previous.to_le_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.synced.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(self.payload);
        let checksum = xxh3_64(&bytes[8..]);
        bytes[..8].copy_from_slice(&checksum.to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }
}

/// Makes the checksum right of the frame that `bytes` begin with, by the length that it claims; nothing when that is more
/// than there is.
pub fn seal_frame(bytes: &mut [u8]) {
    let length = bytes.get(36..).and_then(<[u8]>::first_chunk);
    let length = length.map_or(0, |&length| u32::from_le_bytes(length) as usize);
    let end = FRAME_HEADER_LEN.saturating_add(length);
    if let Some(covered) = bytes.get(8..end) {
        let checksum = xxh3_64(covered);
        bytes[..8].copy_from_slice(&checksum.to_le_bytes());
    }
}
