//! The map of a file: each page's kind, how full it is, and who owns it.
//!
//! * M1 Every page of the file has one kind; what nothing names, or what is named twice, is damage.

use shroom_seg::SegmentAddr;

use super::Inspection;

/// More findings than this are counted, and not kept.
pub(super) const FINDINGS_MAX: usize = 1_000;

/// What a page of the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PageKind {
    /// One of the two superblock slots.
    Superblock,
    /// A page of the page map.
    Map,
    /// Segments: packs, and heads and tails of large values.
    Storage,
    /// Raw bytes of a large value.
    Extent,
    /// The directory of packs.
    Directory,
    /// The free-space index.
    FreeIndex,
    /// A journal area.
    Journal,
    /// The record of free pages.
    FreeRecord,
    /// A page that only named snapshots need.
    Snapshot,
    /// Free.
    Free,
    /// A page that nothing sound names.
    Unknown,
}

impl PageKind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Superblock,
        Self::Storage,
        Self::Extent,
        Self::Directory,
        Self::FreeIndex,
        Self::Map,
        Self::Journal,
        Self::FreeRecord,
        Self::Snapshot,
        Self::Free,
        Self::Unknown,
    ];

    /// Its name in plain words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Superblock => "superblock",
            Self::Map => "page map",
            Self::Storage => "storage",
            Self::Extent => "extent",
            Self::Directory => "directory",
            Self::FreeIndex => "free-space index",
            Self::Journal => "journal",
            Self::FreeRecord => "free record",
            Self::Snapshot => "only in snapshots",
            Self::Free => "free",
            Self::Unknown => "unknown",
        }
    }
}

/// A page of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MappedPage {
    /// What it is.
    pub kind: PageKind,
    /// Share of its bytes that are in use, in per cent.
    pub fill: u8,
    /// Its hash is wrong, or it is not what it is said to be.
    pub damaged: bool,
    /// The present state has it.
    pub present: bool,
    /// Where the bytes of a large value go on elsewhere in the file: the first page of a piece.
    pub piece_start: bool,
    /// Level of a page of the page map or of the directory.
    pub(super) level: u8,
    /// Named snapshots that have it; at most 65,535.
    pub snapshots: u16,
    /// Logical number, index in the page map, number of the area or of the snapshot: by its kind.
    pub(super) number: u32,
}

impl MappedPage {
    pub(super) const UNKNOWN: Self = Self {
        kind: PageKind::Unknown,
        fill: 100,
        damaged: false,
        present: false,
        piece_start: false,
        level: 0,
        snapshots: 0,
        number: 0,
    };
}

/// A pack, by its segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct MappedPack {
    pub(super) addr: SegmentAddr,
    /// First id, last id and number of tokens; `None` when it cannot be read.
    pub(super) tokens: Option<(u64, u64, u16)>,
}

/// Who owns a large value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlobOwner {
    Token(u64),
    /// The sum over the tokens that the content root follows from.
    ContentSum,
}

/// An extent: a run of logical pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct MappedExtent {
    pub(super) first: u32,
    pub(super) pages: u32,
    pub(super) owner: BlobOwner,
    /// Offset in the value of its first byte, and the value's length.
    pub(super) start: u64,
    pub(super) length: u64,
}

/// What a file is made of, in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Composition {
    /// Tokens in the pages, without what is in the journal.
    pub tokens: u64,
    /// Sum of their lengths, in bytes.
    pub payload_bytes: u64,
    /// Packs.
    pub packs: u64,
    /// Values that lie outside of packs.
    pub large_values: u64,
    /// Extents of large values.
    pub extents: u64,
    /// Pieces in the file that the extents consist of: as many as extents when each lies in one piece.
    pub pieces: u64,
    /// Free bytes in storage pages.
    pub storage_free_bytes: u64,
    /// Free segments in storage pages.
    pub free_segments: u64,
    /// Runs of free pages.
    pub free_runs: u64,
    /// Pages of the longest run of free pages.
    pub longest_free_run: u64,
    /// Pages that the present state shares with named snapshots.
    pub shared_pages: u64,
    /// Bytes of journal frames that are not in the pages.
    pub journal_frame_bytes: u64,
}

/// What each page of a file is used for.
#[derive(Debug)]
pub struct FileMap<'i> {
    pub(super) inspection: &'i Inspection,
    pub(super) pages: Vec<MappedPage>,
    /// By address.
    pub(super) packs: Vec<MappedPack>,
    /// Segments of large values' chains, by address; the head of a chain is marked.
    pub(super) chains: Vec<(SegmentAddr, BlobOwner, bool)>,
    /// By first page.
    pub(super) extents: Vec<MappedExtent>,
    pub(super) composition: Composition,
    pub(super) findings: Vec<String>,
    pub(super) findings_left_out: u64,
}

impl FileMap<'_> {
    /// Number of pages.
    pub fn len(&self) -> u32 {
        self.pages.len() as u32
    }

    /// Never true: a file has two superblocks.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// A page, by its place in the file.
    pub fn page(&self, page: u32) -> Option<MappedPage> {
        self.pages.get(page as usize).copied()
    }

    /// All pages, in the order of the file.
    pub fn pages(&self) -> impl ExactSizeIterator<Item = MappedPage> {
        self.pages.iter().copied()
    }

    /// Number of pages of a kind.
    pub fn count(&self, kind: PageKind) -> u64 {
        self.pages.iter().filter(|page| page.kind == kind).count() as u64
    }

    /// What the file is made of.
    pub fn composition(&self) -> Composition {
        self.composition
    }

    /// What is wrong with the file, the first 1,000 findings; empty when nothing was found. It is less than
    /// [`Db::verify`](crate::Db::verify) looks for.
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// Findings beyond those.
    pub fn findings_left_out(&self) -> u64 {
        self.findings_left_out
    }
}
