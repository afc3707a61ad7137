//! Files made to harm: fields of superblocks, map pages, free records and journal frames are changed, and every hash and
//! checksum above them is made right again. Nothing may panic, hang or ask for much memory; errors are fine.

#[path = "support/random.rs"]
mod random;

use std::sync::Arc;
use std::time::{Duration, Instant};

use random::Random;
use shroom_page::storage::MemoryStorage;
use shroom_page::{
    JournalMark, LogicalPage, PageRead, PageSize, PageStore, ReadCheck, Roots, SlicePages,
};

const CASES: u64 = 6_000;
const HEADER_LEN: usize = 272;

/// A file as bytes, with the offsets of format §2 and §3.
#[derive(Clone)]
struct Image {
    bytes: Vec<u8>,
    page_len: usize,
    fanout: usize,
}

impl Image {
    fn new(bytes: Vec<u8>, page_size: PageSize) -> Self {
        let page_len = page_size.bytes();
        Self {
            bytes,
            page_len,
            fanout: (page_len - 8) / 36,
        }
    }

    fn u32(&self, offset: usize) -> u32 {
        let bytes = self.bytes.get(offset..offset + 4).unwrap_or(&[0; 4]);
        u32::from_le_bytes(bytes.try_into().unwrap())
    }

    fn set_u32(&mut self, offset: usize, value: u32) {
        self.bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn set_u64(&mut self, offset: usize, value: u64) {
        self.bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn pages(&self) -> usize {
        self.bytes.len() / self.page_len
    }

    fn run(&self, offset: usize) -> (usize, usize) {
        (self.u32(offset) as usize, self.u32(offset + 4) as usize)
    }

    /// Physical pages of the map, as the superblock in slot 0 reaches them.
    fn map_pages(&self) -> Vec<usize> {
        let mut found = Vec::new();
        let entries = (self.u32(64) as usize).min(self.page_len / 36);
        let mut level: Vec<usize> = (0..entries)
            .map(|index| self.u32(HEADER_LEN + index * 4) as usize)
            .collect();
        for _ in 0..self.bytes[11].min(7) {
            level.retain(|&page| (2..self.pages()).contains(&page));
            level.truncate(1_000);
            found.extend_from_slice(&level);
            level = level
                .iter()
                .flat_map(|&page| (0..self.fanout).map(move |index| (page, index)))
                .map(|(page, index)| self.u32(page * self.page_len + 8 + index * 4) as usize)
                .collect();
        }
        found
    }

    /// Makes the hash at `at` that of physical page `page`, after those below it; `left` bounds the work.
    fn rehash_entry(&mut self, page: usize, at: usize, level: u8, left: &mut u32) {
        if page < 2 || page >= self.pages() || *left == 0 {
            return;
        }
        *left -= 1;
        let start = page * self.page_len;
        if level > 0 {
            for index in 0..self.fanout {
                let child = self.u32(start + 8 + index * 4) as usize;
                let hash = start + 8 + self.fanout * 4 + index * 32;
                if hash != at {
                    self.rehash_entry(child, hash, level - 1, left);
                }
            }
        }
        let hash = blake3::hash(&self.bytes[start..start + self.page_len]);
        self.bytes[at..at + 32].copy_from_slice(hash.as_bytes());
    }

    /// Makes all hashes right, as far as what they cover can be found, and both slots the same.
    fn rehash(&mut self) {
        let slot_len = self.page_len.min(4096);
        let entries = (self.u32(64) as usize).min((slot_len - HEADER_LEN) / 36);
        let mut left = 5_000;
        for index in 0..entries {
            let page = self.u32(HEADER_LEN + index * 4) as usize;
            let at = HEADER_LEN + entries * 4 + index * 32;
            self.rehash_entry(page, at, self.bytes[11].min(7), &mut left);
        }
        let (first, len) = (self.u32(68) as usize, self.u32(76) as usize);
        if first != 0
            && let Some(record) = self
                .bytes
                .get(first * self.page_len..)
                .and_then(|rest| rest.get(..len))
        {
            let hash = *blake3::hash(record).as_bytes();
            self.bytes[80..112].copy_from_slice(&hash);
        }
        self.seal();
    }

    /// Makes the superblock's own hash right, and slot 1 as slot 0.
    fn seal(&mut self) {
        let slot_len = self.page_len.min(4096);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.bytes[..24]);
        hasher.update(&self.bytes[56..slot_len]);
        self.bytes[24..56].copy_from_slice(hasher.finalize().as_bytes());
        self.bytes.copy_within(..slot_len, self.page_len);
    }
}

/// A store with a map of some levels, holes, a journal with live frames, and a free record in pages or inline.
fn sample(page_size: PageSize, pages: u32) -> Image {
    let memory = MemoryStorage::new();
    let store = PageStore::create(Arc::new(memory.clone()), page_size).unwrap();
    let mut txn = store.begin().unwrap();
    for number in 0..pages {
        let page = txn.allocate().unwrap();
        txn.page_mut(page).unwrap().fill(number as u8);
    }
    txn.set_journal_area(0, 4);
    txn.set_journal_area(1, 5);
    txn.commit(Roots::default()).unwrap();
    let mut txn = store.begin().unwrap();
    for number in (1..pages).filter(|number| number % 3 == 0) {
        txn.free(LogicalPage(number)).unwrap();
    }
    txn.commit(Roots::default()).unwrap();
    for _ in 0..2 {
        assert!(store.journal_rotate().unwrap());
        for number in 0..6 {
            store.journal_append(&[number; 90]).unwrap().unwrap();
        }
        store.journal_sync(store.journal_mark().sequence).unwrap();
    }
    drop(store);
    Image::new(memory.to_bytes(), page_size)
}

/// Everything that a user may do with a file; errors end the part they come from.
fn exercise(image: &Image) {
    let began = Instant::now();
    read_slice(image);
    let storage = MemoryStorage::from_bytes(image.bytes.clone());
    let Ok(store) = PageStore::open(Arc::new(storage)) else {
        return;
    };
    let snapshot = store.snapshot();
    let pages = read_pages(&snapshot);
    let _ = snapshot.page_root();
    assert!(
        store
            .verify()
            .is_ok_and(|report| report.findings.len() <= 1_000)
    );
    let _ = store.stats(true);
    let frames = store.take_recovered();
    assert!(frames.iter().count() < 1_000);
    for round in 0..3 {
        let _ = change(&store, round, pages);
        let _ = journal(&store);
        if round == 1 {
            let _ = store.vacuum(&mut drop);
        }
        let _ = store.verify();
    }
    let _ = store.release_journal();
    assert!(began.elapsed() < Duration::from_secs(10), "hangs");
}

/// Reads pages in every way, and says how many were tried.
fn read_pages(pages: &impl PageRead) -> u32 {
    let tried = pages.logical_pages().min(2_000);
    for number in 0..tried {
        let page = LogicalPage(number);
        let _ = (pages.page(page), pages.is_allocated(page));
        let _ = (pages.run(page, 3), pages.run(page, u32::MAX));
    }
    let _ = pages.page(LogicalPage(u32::MAX));
    let _ = pages.page(LogicalPage(pages.logical_pages() - 1));
    tried
}

/// The same file without its journal, as a slice.
fn read_slice(image: &Image) {
    let mut closed = image.clone();
    closed.bytes[112..128].fill(0);
    closed.seal();
    for check in [ReadCheck::FirstTouch, ReadCheck::EveryRead, ReadCheck::Off] {
        let Ok(pages) = SlicePages::with_check(&closed.bytes, check) else {
            return;
        };
        read_pages(&pages);
        let _ = pages.page_root();
        assert!(pages.verify().findings.len() <= 1_000);
    }
}

fn change(store: &PageStore, round: u32, pages: u32) -> shroom_page::Result<()> {
    let mut txn = store.begin()?;
    let page = txn.allocate()?;
    txn.page_mut(page)?.fill(7);
    let first = txn.allocate_run(3)?;
    txn.write_run(first, &vec![8; 3 * store.page_size().bytes()])?;
    let _ = txn.extend_run(LogicalPage(first.0 + 3), 2).map(|extended| {
        assert!(!extended || txn.page(LogicalPage(first.0 + 3)).is_err());
    });
    let extension = vec![9; 2 * store.page_size().bytes()];
    let _ = txn.write_run(LogicalPage(first.0 + 3), &extension);
    for number in (0..pages).filter(|number| number % 4 == round) {
        let page = LogicalPage(number);
        if number % 8 < 4 {
            let _ = txn.page_mut(page).map(|bytes| bytes[0] ^= 1);
        } else {
            let _ = txn.free(page);
        }
    }
    txn.spill()?;
    txn.set_drained(store.journal_mark());
    txn.set_journal_area(round as usize % 2, 2 + round);
    txn.commit(Roots::default()).map(drop)
}

fn journal(store: &PageStore) -> shroom_page::Result<()> {
    for _ in 0..4 {
        if store.journal_append(&[1; 700])?.is_none() && !store.journal_rotate()? {
            let mut txn = store.begin()?;
            txn.set_drained(store.journal_mark());
            txn.commit(Roots::default())?;
        }
    }
    store.journal_sync(store.journal_mark().sequence)
}

/// A number that is likely to be trouble.
fn nasty(image: &Image, random: &mut Random) -> u32 {
    let pages = image.pages() as u32;
    match random.below(12) {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => u32::MAX,
        4 => u32::MAX - 1,
        5 => 1 << 31,
        6 => pages - 1,
        7 => pages,
        8 => random.next() as u32,
        _ => random.below(u64::from(pages) + 2) as u32,
    }
}

fn mutate(image: &mut Image, random: &mut Random) {
    let maps = image.map_pages();
    match random.below(8) {
        0 => {
            // A field of the superblock.
            let fields = [12, 56, 60, 64, 68, 72, 76, 112, 116, 120, 124];
            let field = fields[random.below(fields.len() as u64) as usize];
            let value = nasty(image, random);
            image.set_u32(field, value);
        }
        1 => {
            let field = [16, 128, 136][random.below(3) as usize];
            let value = [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, random.next()];
            image.set_u64(field, value[random.below(6) as usize]);
        }
        2 => {
            // An entry of the root.
            let index = random.below(u64::from(image.u32(64).clamp(1, 6))) as usize;
            let value = nasty(image, random);
            image.set_u32(HEADER_LEN + index * 4, value);
        }
        3 | 4 if !maps.is_empty() => {
            // An entry of a map page, perhaps as another entry.
            let page = maps[random.below(maps.len() as u64) as usize] % image.pages();
            let entry = page * image.page_len + 8;
            let at = entry + random.below(image.fanout as u64) as usize * 4;
            let value = if random.below(2) == 0 {
                image.u32(entry + random.below(image.fanout as u64) as usize * 4)
            } else {
                nasty(image, random)
            };
            image.set_u32(at, value);
            let used = (0..image.fanout).filter(|index| image.u32(entry + index * 4) != 0);
            let used = used.count() as u16;
            image.bytes[entry - 6..entry - 4].copy_from_slice(&used.to_le_bytes());
        }
        5 if !maps.is_empty() => {
            let page = maps[random.below(maps.len() as u64) as usize] % image.pages();
            let at = page * image.page_len + random.below(8) as usize;
            image.bytes[at] = random.next() as u8;
        }
        6 => {
            // A byte of the free record.
            let len = u64::from(image.u32(76));
            let (first, _) = image.run(68);
            let start = if first == 0 {
                HEADER_LEN + 36 * image.u32(64) as usize
            } else {
                first * image.page_len
            };
            let at = start + random.below(len) as usize;
            if let Some(byte) = image.bytes.get_mut(at) {
                *byte = byte.wrapping_add([1, 255, random.next() as u8][random.below(3) as usize]);
            }
        }
        _ => {
            // A field of a journal frame.
            let (first, pages) = image.run([112, 120][random.below(2) as usize]);
            let start = first * image.page_len;
            let frame = start + random.below(6) as usize * 136;
            let at = frame + [8, 16, 24, 32, 36][random.below(5) as usize];
            if frame + 44 <= image.bytes.len() && pages > 0 {
                let value = [0, 1, 5, u64::MAX, random.next(), 1 << 33][random.below(6) as usize];
                image.set_u64(at, value);
                let len = (image.u32(frame + 36) as usize).min(image.bytes.len() - frame - 40);
                let sum = xxhash_rust::xxh3::xxh3_64(&image.bytes[frame + 8..frame + 40 + len]);
                image.set_u64(frame, sum);
            }
        }
    }
}

#[test]
fn a_file_whose_hashes_are_right_may_hold_anything() {
    let sizes = [(512, 200), (512, 60), (512, 3), (1024, 120), (4096, 20)];
    let images = sizes.map(|(size, pages)| sample(PageSize::new(size).unwrap(), pages));
    for image in &images {
        let mut sealed = image.clone();
        sealed.rehash();
        assert!(sealed.bytes == image.bytes, "the test knows the format");
    }
    for seed in 0..CASES {
        let mut random = Random(seed);
        let mut image = images[random.below(images.len() as u64) as usize].clone();
        for _ in 0..1 + random.below(3) {
            mutate(&mut image, &mut random);
        }
        image.rehash();
        let harmed = std::panic::catch_unwind(|| exercise(&image));
        assert!(harmed.is_ok(), "seed {seed}");
    }
}

/// A map of seven levels in seven pages: each entry of a page leads to the same page below.
#[test]
fn a_map_that_leads_to_one_page_by_many_ways_is_not_walked_by_all() {
    let mut image = sample(PageSize::new(512).unwrap(), 200);
    let (fanout, page_len) = (image.fanout as u32, image.page_len);
    let logical = 6 * fanout.pow(7) - 1;
    let first = image.pages();
    image.bytes.resize((first + 8) * page_len, 0);
    image.bytes[11] = 7;
    image.set_u32(56, logical);
    image.set_u32(60, first as u32 + 8);
    image.set_u32(64, 6);
    for level in 0..7 {
        let start = (first + level) * page_len;
        image.bytes[start] = 3;
        image.bytes[start + 1] = level as u8;
        image.bytes[start + 2] = fanout as u8;
        // A page of level 0 refers to pages of data.
        let below = if level == 0 {
            first + 7
        } else {
            first + level - 1
        };
        let hash = blake3::hash(&image.bytes[below * page_len..(below + 1) * page_len]);
        for index in 0..fanout as usize {
            image.set_u32(start + 8 + index * 4, below as u32);
            let at = start + 8 + (fanout as usize) * 4 + index * 32;
            image.bytes[at..at + 32].copy_from_slice(hash.as_bytes());
        }
    }
    let root = first + 6;
    let hash = blake3::hash(&image.bytes[root * page_len..(root + 1) * page_len]);
    for index in 0..6 {
        image.set_u32(HEADER_LEN + index * 4, root as u32);
        let at = HEADER_LEN + 6 * 4 + index * 32;
        image.bytes[at..at + 32].copy_from_slice(hash.as_bytes());
    }
    // Neither free pages nor free numbers.
    image.set_u32(68, 0);
    image.set_u32(72, 0);
    image.set_u32(76, 2);
    image.bytes[80..112].fill(0);
    image.bytes[HEADER_LEN + 6 * 36..512].fill(0);
    image.seal();
    let store = PageStore::open(Arc::new(MemoryStorage::from_bytes(image.bytes.clone()))).unwrap();
    assert!(store.snapshot().page(LogicalPage(logical - 1)).is_ok());
    exercise(&image);
}

/// A tiny file may claim four thousand million free logical pages, or none of them free.
#[test]
fn claims_of_many_pages_cost_nothing() {
    let size = PageSize::new(4096).unwrap();
    for free in [true, false] {
        let mut image = sample(size, 3);
        image.bytes[11] = 4;
        image.set_u32(56, u32::MAX);
        let span = (image.fanout as u64).pow(4);
        let entries = (u64::from(u32::MAX)).div_ceil(span) as usize;
        image.set_u32(64, entries as u32);
        image.bytes[HEADER_LEN..4096].fill(0);
        image.set_u32(68, 0);
        image.set_u32(72, 0);
        image.bytes[80..112].fill(0);
        let record: &[u8] = if free {
            &[0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f]
        } else {
            &[0, 0]
        };
        let at = HEADER_LEN + entries * 36;
        image.bytes[at..at + record.len()].copy_from_slice(record);
        image.set_u32(76, record.len() as u32);
        image.seal();
        assert!(PageStore::open(Arc::new(MemoryStorage::from_bytes(image.bytes.clone()))).is_ok());
        exercise(&image);
    }
}

/// What a frame says of later frames is not believed: else a sync of those would do nothing.
#[test]
fn a_frame_cannot_claim_that_later_frames_are_durable() {
    let mut image = sample(PageSize::new(4096).unwrap(), 3);
    let (first, _) = image.run(120);
    let last = first * 4096 + 5 * 136;
    image.set_u64(last + 24, u64::MAX);
    let sum = xxhash_rust::xxh3::xxh3_64(&image.bytes[last + 8..last + 130]);
    image.set_u64(last, sum);
    let store = PageStore::open(Arc::new(MemoryStorage::from_bytes(image.bytes))).unwrap();
    assert_eq!(
        store.journal_mark(),
        JournalMark {
            sequence: 12,
            chain: sum
        }
    );
    assert_eq!(store.journal_synced(), 12);
}

/// A forged file may be at the last sequence: what followed would be refused at the next open, and so is not written.
/// Found by fuzzing (`page_map`): the commit went through, and neither slot was sound afterwards.
#[test]
fn after_the_last_sequence_nothing_is_written() {
    let last = (1_u64 << 63) - 1;
    let corrupt = |error: Result<_, shroom_page::PageError>| {
        assert!(error.is_err_and(|error| error.is_corruption()));
    };
    let mut image = sample(PageSize::new(512).unwrap(), 60);
    image.set_u64(16, last);
    image.seal();
    let memory = MemoryStorage::from_bytes(image.bytes.clone());
    let store = PageStore::open(Arc::new(memory.clone())).unwrap();
    corrupt(store.begin().unwrap().commit(Roots::default()).map(drop));
    drop(store);
    let store = PageStore::open(Arc::new(memory)).unwrap();
    assert!(store.verify().unwrap().is_sound());

    let mut image = sample(PageSize::new(512).unwrap(), 60);
    image.set_u64(128, last);
    image.seal();
    let store = PageStore::open(Arc::new(MemoryStorage::from_bytes(image.bytes))).unwrap();
    assert!(store.journal_rotate().unwrap());
    corrupt(store.journal_append(b"one too many").map(drop));
}
