//! The superblock: the one page that names everything else (format §2.1).
//!
//! * P1 A superblock is used only when its hash is right and every field is in range.
//! * P2 Two slots; the valid one with the highest sequence is the state of the file.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::map::MapShape;
use crate::{PageSize, PhysicalPage};

/// Version of the file format that this build reads and writes.
pub const FORMAT_VERSION: u16 = 1;
/// First bytes of each superblock.
pub(crate) const MAGIC: [u8; 8] = *b"SHROOMDB";
/// Bytes of a superblock before its tail.
pub(crate) const HEADER_LEN: usize = 272;
/// Sequences are below this, so that counting on never overflows.
pub(crate) const SEQUENCE_LIMIT: u64 = 1 << 63;
const HASH_START: usize = 24;
const HASH_END: usize = 56;

/// State that the layers above keep in the superblock, committed atomically with the pages.
/// Opaque to this layer; all zero in a new store.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Roots {
    /// Root of the segment layer.
    pub seg: [u8; 64],
    /// Root of the token layer.
    pub token: [u8; 32],
    /// Root of the application.
    pub application: [u8; 32],
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            seg: [0; 64],
            token: [0; 32],
            application: [0; 32],
        }
    }
}

/// A run of physical pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u32,
    pub(crate) pages: u32,
}

impl Run {
    pub(crate) fn is_empty(self) -> bool {
        self.pages == 0
    }

    pub(crate) fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.pages)
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        u64::from(self.first) < other.end() && u64::from(other.first) < self.end()
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RunBytes {
    first: U32,
    pages: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U16,
    page_shift: u8,
    map_height: u8,
    reserved: U32,
    sequence: U64,
    hash: [u8; 32],
    logical_pages: U32,
    physical_pages: U32,
    root_entries: U32,
    free_first: U32,
    free_pages: U32,
    free_bytes: U32,
    free_hash: [u8; 32],
    journal: [RunBytes; 2],
    drained: U64,
    chain: U64,
    roots: Roots,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Header>() == HEADER_LEN);
    assert!(offset_of!(Header, sequence) == 16);
    assert!(offset_of!(Header, hash) == HASH_START);
    assert!(offset_of!(Header, logical_pages) == HASH_END);
    assert!(offset_of!(Header, free_hash) == 80);
    assert!(offset_of!(Header, journal) == 112);
    assert!(offset_of!(Header, drained) == 128);
    assert!(offset_of!(Header, roots) == 144);
};

/// Where the free record lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FreePlace {
    /// In the superblock's tail.
    Inline(Vec<u8>),
    /// In pages of its own.
    Pages {
        run: Run,
        bytes: u32,
        hash: [u8; 32],
    },
}

/// Entries of the page map's root: physical pages and their hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RootEntries {
    pub(crate) physical: Vec<u32>,
    pub(crate) hash: Vec<[u8; 32]>,
}

/// A superblock in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) page_size: PageSize,
    pub(crate) sequence: u64,
    pub(crate) map_height: u8,
    pub(crate) logical_pages: u32,
    pub(crate) physical_pages: u32,
    pub(crate) root: RootEntries,
    pub(crate) free: FreePlace,
    pub(crate) journal: [Run; 2],
    pub(crate) drained: u64,
    pub(crate) chain: u64,
    pub(crate) roots: Roots,
}

/// Why a slot does not hold a usable superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SlotError {
    Zero,
    NoMagic,
    Version(u16),
    Malformed(String),
}

/// Bytes of the longest superblock.
pub(crate) const SUPERBLOCK_LEN_MAX: usize = 4096;

/// Length of a superblock, in bytes.
pub(crate) fn superblock_len(page_size: PageSize) -> usize {
    page_size.bytes().min(SUPERBLOCK_LEN_MAX)
}

/// Bytes of a superblock after its fixed fields.
pub(crate) fn tail_len(page_size: PageSize) -> usize {
    superblock_len(page_size) - HEADER_LEN
}

impl Superblock {
    /// Bytes left in the tail for an inline free record when the map has `root_entries`.
    pub(crate) fn inline_room(page_size: PageSize, root_entries: usize) -> usize {
        tail_len(page_size) - root_entries * 36
    }

    /// The bytes of the slot.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; superblock_len(self.page_size)];
        let (free_first, free_pages, free_bytes, free_hash) = match &self.free {
            FreePlace::Inline(record) => (0, 0, record.len() as u32, [0; 32]),
            FreePlace::Pages { run, bytes, hash } => (run.first, run.pages, *bytes, *hash),
        };
        let run_bytes = |run: Run| RunBytes {
            first: run.first.into(),
            pages: run.pages.into(),
        };
        let header = Header {
            magic: MAGIC,
            version: FORMAT_VERSION.into(),
            page_shift: self.page_size.shift(),
            map_height: self.map_height,
            reserved: 0.into(),
            sequence: self.sequence.into(),
            hash: [0; 32],
            logical_pages: self.logical_pages.into(),
            physical_pages: self.physical_pages.into(),
            root_entries: (self.root.physical.len() as u32).into(),
            free_first: free_first.into(),
            free_pages: free_pages.into(),
            free_bytes: free_bytes.into(),
            free_hash,
            journal: self.journal.map(run_bytes),
            drained: self.drained.into(),
            chain: self.chain.into(),
            roots: self.roots,
        };
        bytes[..HEADER_LEN].copy_from_slice(header.as_bytes());
        let mut tail = &mut bytes[HEADER_LEN..];
        for physical in &self.root.physical {
            tail = put(tail, &physical.to_le_bytes());
        }
        for hash in &self.root.hash {
            tail = put(tail, hash);
        }
        if let FreePlace::Inline(record) = &self.free {
            put(tail, record);
        }
        let hash = hash_of(&bytes);
        bytes[HASH_START..HASH_END].copy_from_slice(&hash);
        bytes
    }

    /// Parses the slot at the start of `bytes`, of which at least 512 are given and as many as a superblock of its size has.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SlotError> {
        let malformed = |detail: String| SlotError::Malformed(detail);
        let Ok((header, _)) = Header::read_from_prefix(bytes) else {
            if !bytes.starts_with(&MAGIC[..MAGIC.len().min(bytes.len())]) {
                return Err(SlotError::NoMagic);
            }
            return Err(malformed(format!(
                "{} bytes, expected at least {HEADER_LEN}",
                bytes.len()
            )));
        };
        if header.magic != MAGIC {
            let zero = bytes.iter().all(|&byte| byte == 0);
            return Err(if zero {
                SlotError::Zero
            } else {
                SlotError::NoMagic
            });
        }
        if header.version.get() != FORMAT_VERSION {
            return Err(SlotError::Version(header.version.get()));
        }
        let page_size = PageSize::from_shift(header.page_shift).ok_or_else(|| {
            malformed(format!(
                "page size 2^{}, expected 2^9 to 2^16",
                header.page_shift
            ))
        })?;
        let bytes = bytes
            .get(..superblock_len(page_size))
            .ok_or_else(|| malformed("shorter than a superblock".into()))?;
        if hash_of(bytes) != header.hash {
            return Err(malformed("its hash is wrong".into()));
        }
        let superblock = Self::from_header(&header, page_size, &bytes[HEADER_LEN..])?;
        if superblock.encode() != bytes {
            return Err(malformed("reserved bytes are not zero".into()));
        }
        Ok(superblock)
    }

    fn from_header(header: &Header, page_size: PageSize, tail: &[u8]) -> Result<Self, SlotError> {
        let fail = |detail: String| Err(SlotError::Malformed(detail));
        let physical_pages = header.physical_pages.get();
        let logical_pages = header.logical_pages.get();
        let shape = MapShape::new(page_size, logical_pages);
        if shape.is_none_or(|shape| {
            shape.height != header.map_height
                || shape.root_entries != header.root_entries.get() as usize
        }) {
            return fail(format!(
                "map height {} with {} root entries does not fit {logical_pages} logical pages",
                header.map_height, header.root_entries
            ));
        }
        let journal = header.journal.map(|run| Run {
            first: run.first.get(),
            pages: run.pages.get(),
        });
        let free_run = Run {
            first: header.free_first.get(),
            pages: header.free_pages.get(),
        };
        let runs = [journal[0], journal[1], free_run];
        for (index, run) in runs.into_iter().enumerate() {
            if runs[..index].iter().any(|&other| run.overlaps(other)) {
                return fail(format!("run {run:?} overlaps another"));
            }
            let absent = run.first == 0 && run.pages == 0;
            if !absent && (run.first < 2 || run.pages == 0 || run.end() > u64::from(physical_pages))
            {
                return fail(format!(
                    "run {run:?} outside the {physical_pages} pages of the file"
                ));
            }
        }
        if physical_pages < 2 || logical_pages == 0 || header.sequence.get() == 0 {
            return fail("a count is zero".into());
        }
        if header.sequence.get() >= SEQUENCE_LIMIT || header.drained.get() >= SEQUENCE_LIMIT {
            return fail("a sequence is too large".into());
        }
        let entries = header.root_entries.get() as usize;
        let free_bytes = header.free_bytes.get() as usize;
        let room = Self::inline_room(page_size, entries);
        let free = if free_run.is_empty() {
            if free_bytes > room {
                return fail(format!(
                    "inline free record of {free_bytes} bytes, room for {room}"
                ));
            }
            FreePlace::Inline(tail[entries * 36..entries * 36 + free_bytes].to_vec())
        } else {
            let capacity = u64::from(free_run.pages) * page_size.bytes() as u64;
            if free_bytes as u64 > capacity {
                return fail(format!(
                    "free record of {free_bytes} bytes in {capacity} bytes of pages"
                ));
            }
            FreePlace::Pages {
                run: free_run,
                bytes: header.free_bytes.get(),
                hash: header.free_hash,
            }
        };
        let (physical, rest) = tail.split_at(entries * 4);
        let root = RootEntries {
            physical: physical
                .chunks_exact(4)
                .map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]))
                .collect(),
            hash: rest[..entries * 32]
                .chunks_exact(32)
                .map(|c| core::array::from_fn(|i| c[i]))
                .collect(),
        };
        Ok(Self {
            page_size,
            sequence: header.sequence.get(),
            map_height: header.map_height,
            logical_pages,
            physical_pages,
            root,
            free,
            journal,
            drained: header.drained.get(),
            chain: header.chain.get(),
            roots: header.roots,
        })
    }

    /// Which slot a superblock of this sequence is written to first.
    pub(crate) fn slot(sequence: u64) -> PhysicalPage {
        PhysicalPage((sequence % 2) as u32)
    }
}

#[cfg(feature = "std")]
pub(crate) fn structures() -> Vec<crate::format::Structure> {
    use crate::format::{Case, Field, Structure};

    let superblock = |page_size: PageSize| {
        let mut fields = crate::format_fields!(Header {
            "magic" => magic,
            "version" => version,
            "page_shift" => page_shift,
            "map_height" => map_height,
            "reserved" => reserved,
            "sequence" => sequence,
            "hash" => hash,
            "logical_pages" => logical_pages,
            "physical_pages" => physical_pages,
            "root_entries" => root_entries,
            "free_first" => free_first,
            "free_pages" => free_pages,
            "free_bytes" => free_bytes,
            "free_hash" => free_hash,
            "journal" => journal,
            "drained" => drained,
            "chain" => chain,
            "roots" => roots,
        });
        fields.push(Field::rest("tail", &fields, superblock_len(page_size)));
        let given = vec![("S", superblock_len(page_size) as u64)];
        Case { given, fields }
    };
    // What the encoder puts where, shown by bytes that nothing else has.
    let tail = |page_size: PageSize| {
        let (entries, record_len) = (3, 7);
        let encoded = Superblock {
            page_size,
            sequence: 1,
            map_height: 0,
            logical_pages: 3,
            physical_pages: 2,
            root: RootEntries {
                physical: vec![0x1111_1111; entries],
                hash: vec![[0x22; 32]; entries],
            },
            free: FreePlace::Inline(vec![0x33; record_len]),
            journal: [Run::default(); 2],
            drained: 0,
            chain: 0,
            roots: Roots::default(),
        }
        .encode();
        let bytes = &encoded[HEADER_LEN..];
        let mut fields = vec![
            Field::marked("physical", bytes, 0x11),
            Field::marked("hashes", bytes, 0x22),
            Field::marked("free_record", bytes, 0x33),
        ];
        fields.push(Field::rest("zeros", &fields, bytes.len()));
        let given = vec![
            ("S", encoded.len() as u64),
            ("root_entries", entries as u64),
            ("free_bytes", record_len as u64),
        ];
        Case { given, fields }
    };
    let run = crate::format_fields!(RunBytes { "first" => first, "pages" => pages });
    let roots = crate::format_fields!(Roots {
        "seg" => seg,
        "token" => token,
        "application" => application,
    });
    vec![
        Structure::of("superblock", PageSize::all().map(superblock)),
        Structure::of("superblock tail", PageSize::all().map(tail)),
        Structure::fixed("run of pages", run),
        Structure::fixed("roots", roots),
    ]
}

fn put<'a>(target: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    let (head, rest) = target.split_at_mut(bytes.len());
    head.copy_from_slice(bytes);
    rest
}

fn hash_of(bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..HASH_START]);
    hasher.update(&bytes[HASH_END..]);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(page_size: PageSize) -> Superblock {
        Superblock {
            page_size,
            sequence: 7,
            map_height: 0,
            logical_pages: 4,
            physical_pages: 9,
            root: RootEntries {
                physical: vec![0, 3, 4, 5],
                hash: vec![[0; 32], [1; 32], [2; 32], [3; 32]],
            },
            free: FreePlace::Inline(vec![1, 6, 1, 0]),
            journal: [Run { first: 7, pages: 1 }, Run { first: 8, pages: 1 }],
            drained: 11,
            chain: 12,
            roots: Roots {
                seg: [5; 64],
                token: [6; 32],
                application: [7; 32],
            },
        }
    }

    #[test]
    fn round_trips_at_every_page_size() {
        for page_size in PageSize::all() {
            let superblock = sample(page_size);
            assert_eq!(Superblock::decode(&superblock.encode()), Ok(superblock));
        }
    }

    #[test]
    fn every_bit_flip_is_refused() {
        let bytes = sample(PageSize::new(512).unwrap()).encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn overlapping_runs_and_endless_sequences_are_refused() {
        let sample = sample(PageSize::DEFAULT);
        let mut overlapping = sample.clone();
        overlapping.journal[1] = overlapping.journal[0];
        let mut last_sequence = sample.clone();
        last_sequence.sequence = u64::MAX;
        let mut all_drained = sample;
        all_drained.drained = u64::MAX;
        for superblock in [overlapping, last_sequence, all_drained] {
            assert!(matches!(
                Superblock::decode(&superblock.encode()),
                Err(SlotError::Malformed(_))
            ));
        }
    }

    #[test]
    fn rehashed_nonsense_is_refused() {
        let bytes = sample(PageSize::new(512).unwrap()).encode();
        // Map height, logical pages, root entries, free record, journal runs, reserved bytes, trailing bytes.
        for offset in [11, 12, 59, 67, 68, 72, 79, 80, 115, 119, 511] {
            let mut damaged = bytes.clone();
            damaged[offset] ^= 0x80;
            let hash = hash_of(&damaged);
            damaged[HASH_START..HASH_END].copy_from_slice(&hash);
            assert!(
                matches!(Superblock::decode(&damaged), Err(SlotError::Malformed(_))),
                "byte {offset}"
            );
        }
    }
}
