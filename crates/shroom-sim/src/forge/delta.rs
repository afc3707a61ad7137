//! Forged deltas (format §12): changed at will, and then every hash in them made right.

use super::{ENTRY_LEN, PAGE_HEADER_LEN, SUPERBLOCK_HEADER_LEN, field};

/// Bytes of a delta's head before the names.
pub const FIXED_LEN: usize = 128;
/// Page type of a page of the map.
const MAP_PAGE: u8 = 3;

/// Where a delta's head keeps things, in bytes.
pub mod head {
    /// log2 of the page size, u8.
    pub const PAGE_SHIFT: usize = 10;
    /// Bytes of the two names, u8 each.
    pub const NAMES: usize = 11;
    /// Pages in the delta, u32.
    pub const PAGES: usize = 16;
    /// End of the places, u32.
    pub const END: usize = 20;
    /// Place of the frozen superblock, u32.
    pub const PLACE: usize = 24;
    /// BLAKE3 of the rest of the head, 32 bytes.
    pub const HASH: usize = 32;
    /// Page roots that it leads from and to, 32 bytes each.
    pub const ROOTS: [usize; 2] = [64, 96];
}

/// Where the parts of a delta are.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Bytes of a page.
    pub page_len: usize,
    /// Offset of the frozen superblock.
    pub superblock: usize,
    /// Offset of the first page's place.
    pub pages: usize,
}

impl Layout {
    /// That of these bytes; `None` when they are too short for a head, or name no page size.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let shift = *bytes.get(head::PAGE_SHIFT)?;
        let page_len = (9..=16).contains(&shift).then(|| 1_usize << shift)?;
        let names = bytes.get(head::NAMES..head::NAMES + 2)?;
        let superblock = FIXED_LEN + usize::from(names[0]) + usize::from(names[1]);
        let pages = superblock + page_len.min(4096);
        (bytes.len() >= pages).then_some(Self {
            page_len,
            superblock,
            pages,
        })
    }

    /// Offsets of the places of the pages that are there whole.
    pub fn frames(self, bytes: &[u8]) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let frame_len = 4 + self.page_len;
        let count = (bytes.len() - self.pages) / frame_len;
        (0..count).map(move |index| self.pages + index * frame_len)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |&bytes| u32::from_le_bytes(bytes))
}

/// Makes the hashes right of all pages, from the last to the first, of the superblock, of the page root that the delta leads to,
/// and of its head. Nothing when it has no head.
pub fn seal(bytes: &mut [u8]) {
    let Some(layout) = Layout::of(bytes) else {
        return;
    };
    let tail = layout.superblock + SUPERBLOCK_HEADER_LEN;
    let room = (layout.page_len.min(4096) - SUPERBLOCK_HEADER_LEN) / ENTRY_LEN;
    let entries = (u32_at(bytes, layout.superblock + field::ROOT_ENTRIES) as usize).min(room);
    let fanout = (layout.page_len - PAGE_HEADER_LEN) / ENTRY_LEN;
    let frames: Vec<usize> = layout.frames(bytes).collect();
    for (number, &frame) in frames.iter().enumerate().rev() {
        let place = u32_at(bytes, frame);
        let page = &bytes[frame + 4..frame + 4 + layout.page_len];
        let hash = *blake3::hash(page).as_bytes();
        // A page comes after the one that refers to it.
        let parents = frames[..number].iter().map(|&parent| parent + 4);
        let columns = parents
            .filter(|&parent| bytes[parent] == MAP_PAGE)
            .map(|parent| (parent + PAGE_HEADER_LEN, fanout))
            .chain([(tail, entries)]);
        for (column, count) in columns.collect::<Vec<_>>() {
            let named = (0..count).filter(|index| u32_at(bytes, column + index * 4) == place);
            for index in named.collect::<Vec<_>>() {
                let at = column + count * 4 + index * 32;
                bytes[at..at + 32].copy_from_slice(&hash);
            }
        }
    }
    seal_head(bytes, layout, entries);
}

fn seal_head(bytes: &mut [u8], layout: Layout, entries: usize) {
    let start = layout.superblock;
    set_hash(bytes, start..layout.pages, start + field::HASH);
    let mut root = blake3::Hasher::new();
    root.update(b"shroom page root 2");
    root.update(&[bytes[start + field::MAP_HEIGHT]]);
    for at in [field::LOGICAL_PAGES, field::ROOT_ENTRIES] {
        root.update(&bytes[start + at..start + at + 4]);
    }
    let tail = start + SUPERBLOCK_HEADER_LEN;
    root.update(&bytes[tail - 128..tail + entries * ENTRY_LEN]);
    let root = root.finalize();
    bytes[head::ROOTS[1]..][..32].copy_from_slice(root.as_bytes());
    set_hash(bytes, 0..layout.pages, head::HASH);
}

/// Puts the hash of a range, without these 32 bytes, at an offset in it.
fn set_hash(bytes: &mut [u8], range: std::ops::Range<usize>, at: usize) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[range.start..at]);
    hasher.update(&bytes[at + 32..range.end]);
    let hash = hasher.finalize();
    bytes[at..at + 32].copy_from_slice(hash.as_bytes());
}
