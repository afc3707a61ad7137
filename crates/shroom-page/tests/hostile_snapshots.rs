//! Named snapshots made to harm: the list in the free record and the frozen superblocks are changed, and the hashes above
//! them made right again. Each is a specific error, or is found by `verify`; nothing panics or hangs, and the other
//! states stay readable.

#[path = "support/random.rs"]
mod random;

use std::sync::Arc;

use random::Random;
use shroom_page::storage::MemoryStorage;
use shroom_page::{LogicalPage, PageError, PageRead, PageSize, PageStore, Roots, diff_pages};

const PAGE: usize = 512;
const TAIL: usize = 272;

/// A store with snapshots "a" and "b", which differ; its free record is inline, so its bytes are easily found.
struct Image {
    bytes: Vec<u8>,
}

impl Image {
    fn new() -> Self {
        let memory = MemoryStorage::new();
        let size = PageSize::new(PAGE as u32).unwrap();
        let store = PageStore::create(Arc::new(memory.clone()), size).unwrap();
        for name in ["a", "b", ""] {
            let mut txn = store.begin().unwrap();
            for number in 1..=30 {
                let fresh = name == "a";
                let page = if fresh {
                    txn.allocate().unwrap()
                } else {
                    LogicalPage(number)
                };
                if fresh || number < 5 {
                    txn.page_mut(page)
                        .unwrap()
                        .fill(number as u8 ^ name.len() as u8);
                }
            }
            if !name.is_empty() {
                txn.save_snapshot(name).unwrap();
            }
            txn.commit(Roots::default()).unwrap();
        }
        drop(store);
        Self {
            bytes: memory.to_bytes(),
        }
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    /// Where the free record is: its start and length.
    fn record(&self) -> (usize, usize) {
        let len = self.u32(76) as usize;
        match self.u32(68) as usize {
            0 => (TAIL + 36 * self.u32(64) as usize, len),
            page => (page * PAGE, len),
        }
    }

    /// Where the list of snapshots is, from its count to the end of the record.
    fn list(&self) -> (usize, usize) {
        let (start, len) = self.record();
        let list = 1 + 2 * (1 + 1 + 4 + 32);
        (start + len - list, list)
    }

    /// Page of snapshot 0 or 1.
    fn frozen(&self, index: usize) -> usize {
        self.u32(self.list().0 + 1 + 38 * index + 2) as usize
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Makes the hash of a superblock at byte `at` right.
    fn seal_superblock(&mut self, at: usize) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.bytes[at..at + 24]);
        hasher.update(&self.bytes[at + 56..at + PAGE]);
        self.set(at + 24, hasher.finalize().as_bytes());
    }

    /// Makes the hashes of both frozen pages, of the record and of the superblock right; a frozen superblock's own
    /// only where `superblocks` says so.
    fn seal(&mut self, superblocks: bool) {
        for index in 0..2 {
            let page = self.frozen(index) * PAGE;
            if self.bytes.len() < page + PAGE || page < 2 * PAGE {
                continue;
            }
            if superblocks {
                self.seal_superblock(page);
            }
            let hash = *blake3::hash(&self.bytes[page..page + PAGE]).as_bytes();
            self.set(self.list().0 + 1 + 38 * index + 6, &hash);
        }
        if self.u32(68) != 0 {
            let (start, len) = self.record();
            let hash = *blake3::hash(&self.bytes[start..start + len]).as_bytes();
            self.set(80, &hash);
        }
        self.seal_superblock(0);
        self.bytes.copy_within(..PAGE, PAGE);
    }

    fn open(&self) -> Result<PageStore, PageError> {
        PageStore::open(Arc::new(MemoryStorage::from_bytes(self.bytes.clone())))
    }
}

fn detail(error: PageError) -> String {
    assert!(matches!(error, PageError::Corrupt { .. }), "{error:?}");
    error.to_string()
}

#[test]
fn the_test_knows_the_format() {
    let mut image = Image::new();
    let before = image.bytes.clone();
    image.seal(true);
    assert!(image.bytes == before);
    let store = image.open().unwrap();
    assert_eq!(store.snapshot_names().unwrap(), ["a", "b"]);
    assert!(store.verify().unwrap().is_sound());
}

#[test]
fn a_malformed_list_is_refused_at_open() {
    let sound = Image::new();
    let list = sound.list().0;
    let (first, second) = (list + 1, list + 1 + 38);
    let free = {
        // The first free run begins behind its count.
        let start = sound.record().0;
        assert!(sound.bytes[start] > 0 && sound.bytes[start + 1] < 128);
        u32::from(sound.bytes[start + 1])
    };
    let beyond = sound.u32(60);
    let cases: [(usize, Vec<u8>, &str); 9] = [
        (list, vec![0], "left out"),
        (list, vec![1], "left over"),
        (list, vec![3], "ends inside"),
        (first, vec![0], "1 to 255 bytes"),
        (first + 1, vec![0xff], "not UTF-8"),
        (second + 1, vec![b'a'], "not above"),
        (first + 2, beyond.to_le_bytes().into(), "outside 2.."),
        (first + 2, free.to_le_bytes().into(), "which is in use"),
        (
            first + 2,
            sound.bytes[second + 2..second + 6].into(),
            "in use twice",
        ),
    ];
    for (at, bytes, expected) in cases {
        let mut image = Image::new();
        image.set(at, &bytes);
        let (start, len) = image.record();
        if image.u32(68) != 0 {
            let hash = *blake3::hash(&image.bytes[start..start + len]).as_bytes();
            image.set(80, &hash);
        }
        image.seal_superblock(0);
        image.bytes.copy_within(..PAGE, PAGE);
        let error = detail(image.open().unwrap_err());
        assert!(error.contains(expected), "{error}, not {expected}");
    }
}

/// A damaged snapshot does not keep its file from being opened, nor the others from being read.
#[test]
fn a_damaged_snapshot_is_refused_when_it_is_opened() {
    let page = Image::new().frozen(0) * PAGE;
    // Offset, bytes, whether the frozen superblock's own hash is made right, what the error says.
    let cases: [(usize, Vec<u8>, bool, &str); 9] = [
        (0, vec![b'X'], true, "does not begin with SHROOMDB"),
        (8, vec![9], true, "format version 9"),
        (100, vec![1], false, "its hash is wrong"),
        (10, vec![10], true, "page size"),
        (16, vec![200], true, "its sequence"),
        (128, vec![1], true, "a journal"),
        (136, vec![1], true, "a journal"),
        (
            112,
            [4_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat(),
            true,
            "a journal",
        ),
        (76, vec![2], true, "free pages"),
    ];
    for (at, bytes, superblock, expected) in cases {
        let mut image = Image::new();
        image.set(page + at, &bytes);
        image.seal(superblock);
        let store = image.open().unwrap();
        let error = detail(store.open_snapshot("a").unwrap_err());
        let size = at == 10 && error.contains("shorter than");
        assert!(error.contains(expected) || size, "{error}, not {expected}");
        assert!(
            store
                .open_snapshot("b")
                .unwrap()
                .page(LogicalPage(1))
                .is_ok()
        );
        let findings = store.verify().unwrap().findings;
        assert!(
            findings
                .iter()
                .any(|finding| finding.to_string().contains("named snapshot"))
        );
        let mut txn = store.begin().unwrap();
        txn.page_mut(LogicalPage(1)).unwrap().fill(7);
        // What it reaches is not known, so nothing may be freed.
        assert!(txn.commit(Roots::default()).unwrap_err().is_corruption());
        assert!(store.restore_snapshot("a", store.journal_mark()).is_err());
    }
    let mut image = Image::new();
    image.bytes[page + 300] ^= 1;
    let error = image.open().unwrap().open_snapshot("a").unwrap_err();
    assert!(matches!(error, PageError::HashMismatch { .. }), "{error}");
}

/// What a snapshot says of its file's length is not believed: `verify` takes pages that it shares for checked, and commits would fail.
#[test]
fn a_snapshot_that_says_its_file_was_short_does_no_harm() {
    let mut image = Image::new();
    let page = image.frozen(0) * PAGE;
    // It keeps the first page of its map for itself, and shares those behind it.
    let first = image.u32(page + TAIL);
    image.set(page + 60, &(first + 1).to_le_bytes());
    image.seal(true);
    let store = image.open().unwrap();
    assert!(store.verify().unwrap().is_sound());
    let mut txn = store.begin().unwrap();
    txn.page_mut(LogicalPage(20)).unwrap().fill(7);
    txn.commit(Roots::default()).unwrap();
    store.restore_snapshot("a", store.journal_mark()).unwrap();
    let mut txn = store.begin().unwrap();
    txn.delete_snapshot("a").unwrap();
    txn.commit(Roots::default()).unwrap();
    assert!(store.verify().unwrap().is_sound());
}

/// Maps of snapshots that lead anywhere: to free pages, to those of others, to the journal, or by many ways to one.
#[test]
fn maps_of_snapshots_may_lead_anywhere() {
    let sound = Image::new();
    for seed in 0..3_000 {
        let mut random = Random(seed);
        let mut image = Image {
            bytes: sound.bytes.clone(),
        };
        let frozen = image.frozen(random.below(2) as usize) * PAGE;
        for _ in 0..1 + random.below(3) {
            let entries = u64::from(image.u32(frozen + 64)).clamp(1, 6);
            let target = random.below(image.bytes.len() as u64 / PAGE as u64 + 2) as u32;
            let at = match random.below(8) {
                0 => frozen + 56, // logical pages
                1 => frozen + 60, // physical pages
                2 => image.list().0 + 1 + 38 * random.below(2) as usize + 2,
                _ => frozen + TAIL + 4 * random.below(entries) as usize,
            };
            image.set(at, &target.to_le_bytes());
            // The hash of whatever is there now.
            if at >= frozen + TAIL && (target as usize + 1) * PAGE <= image.bytes.len() {
                let start = target as usize * PAGE;
                let hash = *blake3::hash(&image.bytes[start..start + PAGE]).as_bytes();
                let index = (at - frozen - TAIL) / 4;
                let hashes = frozen + TAIL + 4 * image.u32(frozen + 64).clamp(1, 6) as usize;
                image.set(hashes + 32 * index, &hash);
            }
        }
        image.seal(true);
        let harmed = std::panic::catch_unwind(|| exercise(&image));
        assert!(harmed.is_ok(), "seed {seed}");
    }
}

fn exercise(image: &Image) {
    let Ok(store) = image.open() else { return };
    let live = store.snapshot();
    for name in ["a", "b"] {
        let Ok(opened) = store.open_snapshot(name) else {
            continue;
        };
        for number in 0..opened.logical_pages().min(100) {
            let _ = opened.page(LogicalPage(number));
        }
        if let Ok(differences) = diff_pages(&opened, &live) {
            assert!(differences.take(10_000).count() < 10_000);
        }
        let _ = store.snapshot_pages(name);
    }
    let _ = store.verify().unwrap();
    let _ = store.stats(true);
    for (round, name) in [(1, "a"), (2, "b"), (3, "a")] {
        if let Ok(mut txn) = store.begin() {
            let _ = txn.page_mut(LogicalPage(round)).map(|page| page.fill(1));
            let _ = txn.save_snapshot("c");
            let _ = txn.commit(Roots::default());
        }
        let _ = store.vacuum(&mut drop);
        let _ = store.restore_snapshot(name, store.journal_mark());
        if let Ok(mut txn) = store.begin() {
            let _ = txn.delete_snapshot(name);
            let _ = txn.commit(Roots::default());
        }
        let _ = store.verify().unwrap();
    }
}
