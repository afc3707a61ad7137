//! The pages of a closed store in a slice of bytes: in flash, in ROM, in the program itself, in a mapping that somebody made.
//!
//! * B1 Nothing outside of the slice is read, whatever its bytes say.
//! * B2 What is held is the map's root, at most 4 KiB, and two bits a page of the file. Opening takes 16 KiB more meanwhile;
//!   reading a page takes nothing.
//! * B3 A file with a journal is refused: what its frames say is not in its pages.
//!
//! Absent on purpose: no writing, no named snapshots, no free record.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::U32;

use crate::map::{self, Entries, MapShape};
use crate::map_walk::MapPages;
use crate::superblock::{Roots, Superblock};
use crate::verified::{ReadCheck, VerifiedPages};
use crate::verify::{PageReport, Walk};
use crate::{LogicalPage, PageError, PageRead, PageSize, Result, slots};

/// Read access to a closed store whose file is a slice of bytes. Needs `core` and `alloc` only.
///
/// ```
/// use std::sync::Arc;
/// use shroom_page::storage::MemoryStorage;
/// use shroom_page::{PageRead, PageSize, PageStore, Roots, SlicePages};
///
/// let file = MemoryStorage::new();
/// let store = PageStore::create(Arc::new(file.clone()), PageSize::DEFAULT)?;
/// let mut txn = store.begin()?;
/// let page = txn.allocate()?;
/// txn.page_mut(page)?[100] = 42;
/// txn.commit(Roots::default())?;
///
/// let bytes = file.to_bytes();
/// let pages = SlicePages::new(&bytes)?;
/// assert_eq!(pages.page(page)?[100], 42);
/// assert!(pages.verify().is_sound());
/// # Ok::<(), shroom_page::PageError>(())
/// ```
#[derive(Debug)]
pub struct SlicePages<'b> {
    map: SliceMap<'b>,
}

/// The newest state in the slice.
#[derive(Debug)]
struct SliceMap<'b> {
    bytes: &'b [u8],
    page_size: PageSize,
    sequence: u64,
    logical_pages: u32,
    physical_pages: u32,
    roots: Roots,
    shape: MapShape,
    fanout: usize,
    root_physical: Vec<U32>,
    root_hash: Vec<[u8; 32]>,
    verified: VerifiedPages,
    remember: bool,
}

impl<'b> SlicePages<'b> {
    /// Over the bytes of a closed store's file. Reads the superblocks only: each page is checked against its hash when it is
    /// first read.
    ///
    /// # Errors
    /// A specific error for each way in which the bytes are not a store's; [`PageError::NotClosed`] when it has a journal.
    pub fn new(bytes: &'b [u8]) -> Result<Self> {
        Self::with_check(bytes, ReadCheck::FirstTouch)
    }

    /// As [`new`](Self::new), and says when a page is checked.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_check(bytes: &'b [u8], check: ReadCheck) -> Result<Self> {
        let chosen = slots::newest(bytes.len() as u64, |offset, len| {
            let at = usize::try_from(offset).ok();
            let part = at.and_then(|at| bytes.get(at..at.checked_add(len)?));
            Ok(Cow::Borrowed(part.unwrap_or_default()))
        })?;
        if let Some(truncated) = chosen.truncation() {
            return Err(truncated);
        }
        let superblock = chosen.superblock;
        let journal_pages = superblock.journal.iter().map(|run| u64::from(run.pages));
        match journal_pages.sum() {
            0 => {}
            journal_pages => return Err(PageError::NotClosed { journal_pages }),
        }
        Ok(Self {
            map: SliceMap::new(bytes, superblock, check),
        })
    }

    /// Number of the checkpoint that made this state, from 1.
    pub fn sequence(&self) -> u64 {
        self.map.sequence
    }

    /// The roots committed with this state.
    pub fn roots(&self) -> &Roots {
        &self.map.roots
    }

    /// Length of the file in this state, in pages.
    pub fn physical_pages(&self) -> u32 {
        self.map.physical_pages
    }

    /// Hash of the roots and of the page map's root: authenticates every page of this state (format §3).
    pub fn page_root(&self) -> [u8; 32] {
        self.map.page_root()
    }

    /// Checks each page that the map reaches against its hash, whatever was seen before, and the map itself. Takes some 16 bytes
    /// a page meanwhile.
    ///
    /// Left out is what nobody reads here: the free record, named snapshots and their pages, the older slot.
    pub fn verify(&self) -> PageReport {
        Walk::report(&self.map)
    }
}

impl<'b> SliceMap<'b> {
    /// The state of a superblock that the bytes are long enough for.
    fn new(bytes: &'b [u8], superblock: Superblock, check: ReadCheck) -> Self {
        let page_size = superblock.page_size;
        let shape = MapShape::new(page_size, superblock.logical_pages)
            .expect("the superblock was checked when it was read");
        let root = superblock.root;
        Self {
            bytes,
            page_size,
            sequence: superblock.sequence,
            logical_pages: superblock.logical_pages,
            physical_pages: superblock.physical_pages,
            roots: superblock.roots,
            shape,
            fanout: map::fanout(page_size),
            root_physical: root.physical.iter().map(|&page| page.into()).collect(),
            root_hash: root.hash,
            verified: VerifiedPages::new(superblock.physical_pages, check),
            remember: check != ReadCheck::EveryRead,
        }
    }
}

impl MapPages for SliceMap<'_> {
    fn page_size(&self) -> PageSize {
        self.page_size
    }

    fn logical_pages(&self) -> u32 {
        self.logical_pages
    }

    fn physical_pages(&self) -> u32 {
        self.physical_pages
    }

    fn shape(&self) -> &MapShape {
        &self.shape
    }

    fn fanout(&self) -> usize {
        self.fanout
    }

    fn roots(&self) -> &Roots {
        &self.roots
    }

    fn root(&self) -> Entries<'_> {
        Entries {
            physical: &self.root_physical,
            hash: &self.root_hash,
        }
    }

    fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.bytes.get(start..start.checked_add(len)?)
    }

    fn verified(&self) -> &VerifiedPages {
        &self.verified
    }

    fn remembers(&self) -> bool {
        self.remember
    }
}

impl PageRead for SlicePages<'_> {
    fn page_size(&self) -> PageSize {
        self.map.page_size
    }

    fn logical_pages(&self) -> u32 {
        self.map.logical_pages
    }

    fn page(&self, page: LogicalPage) -> Result<&[u8]> {
        Ok(self.map.locate(page)?.1)
    }

    fn is_allocated(&self, page: LogicalPage) -> Result<bool> {
        self.map.is_allocated(page)
    }

    fn run(&self, first: LogicalPage, pages: u32) -> Result<Option<&[u8]>> {
        self.map.run(first, pages)
    }

    fn allocated_pages_max(&self) -> u32 {
        self.map.logical_pages.min(self.map.physical_pages)
    }

    fn next_allocated(&self, from: LogicalPage) -> Result<Option<LogicalPage>> {
        self.map.next_allocated(from.0.max(1))
    }
}
