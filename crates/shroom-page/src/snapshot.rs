//! Reading: an immutable state of the pages. How a page is found and checked in it is in `map_walk`.
//!
//! * R3 A base never changes, and no page it reaches is overwritten or cut off while it lives.

use std::sync::{Arc, OnceLock};

use zerocopy::byteorder::little_endian::U32;

use crate::map::{self, Entries, MapShape};
use crate::map_repair::RebuiltNodes;
use crate::map_walk::MapPages;
use crate::named::NamedList;
use crate::page_root;
use crate::storage::View;
use crate::superblock::{Roots, Superblock};
use crate::translations::Translations;
use crate::verified::VerifiedPages;
use crate::{LogicalPage, PageRead, PageSize, Result};

/// An immutable state of the store: cheap to clone and hold, consistent for as long as it lives.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) base: Arc<Base>,
}

impl Snapshot {
    /// Number of the checkpoint that made this state, from 1.
    pub fn sequence(&self) -> u64 {
        self.base.sequence
    }

    /// The roots committed with this state.
    pub fn roots(&self) -> &Roots {
        &self.base.roots
    }

    /// Length of the file in this state, in pages.
    pub fn physical_pages(&self) -> u32 {
        self.base.physical_pages
    }

    /// Hash of the roots and of the page map's root: authenticates every page of this state, and what the layers above keep
    /// in the superblock (format §3).
    pub fn page_root(&self) -> [u8; 32] {
        self.base.page_root()
    }

    /// Offset in the file of a slice that this snapshot handed out; `None` when it does not point into the
    /// file's mapping (as over memory).
    pub fn position_of(&self, bytes: &[u8]) -> Option<u64> {
        self.base.view.position_of(bytes)
    }

    /// The `len` bytes at a position that [`position_of`](Self::position_of) gave; `None` when out of range.
    #[inline]
    pub fn bytes_at(&self, position: u64, len: usize) -> Option<&[u8]> {
        self.base.view.slice(position, len)
    }
}

impl PageRead for Snapshot {
    fn page_size(&self) -> PageSize {
        self.base.page_size
    }

    fn logical_pages(&self) -> u32 {
        self.base.logical_pages
    }

    #[inline]
    fn page(&self, page: LogicalPage) -> Result<&[u8]> {
        self.base.page(page)
    }

    fn is_allocated(&self, page: LogicalPage) -> Result<bool> {
        self.base.is_allocated(page)
    }

    fn run(&self, first: LogicalPage, pages: u32) -> Result<Option<&[u8]>> {
        self.base.run(first, pages)
    }

    fn allocated_pages_max(&self) -> u32 {
        self.base.logical_pages.min(self.base.physical_pages)
    }

    fn next_allocated(&self, from: LogicalPage) -> Result<Option<LogicalPage>> {
        self.base.next_allocated(from.0.max(1))
    }

    fn lasting_position(&self, bytes: &[u8]) -> Option<u64> {
        let remember = self.base.remember && self.base.rebuilt.is_empty();
        remember.then(|| self.position_of(bytes)).flatten()
    }

    #[inline]
    fn lasting_bytes(&self, position: u64, len: usize) -> Option<&[u8]> {
        self.bytes_at(position, len)
    }
}

impl Superblock {
    /// Page root of the state that it names: [`Snapshot::page_root`].
    pub(crate) fn page_root(&self) -> [u8; 32] {
        let physical: Vec<U32> = self.root.physical.iter().map(|&page| page.into()).collect();
        let entries = Entries {
            physical: &physical,
            hash: &self.root.hash,
        };
        let (height, pages) = (self.map_height, self.logical_pages);
        let input = page_root::input(height, pages, &self.roots, entries);
        *blake3::hash(&input).as_bytes()
    }
}

/// What a superblock names, ready to be read.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) page_size: PageSize,
    pub(crate) sequence: u64,
    pub(crate) logical_pages: u32,
    pub(crate) physical_pages: u32,
    pub(crate) roots: Roots,
    pub(crate) shape: MapShape,
    pub(crate) fanout: usize,
    pub(crate) root_physical: Vec<U32>,
    pub(crate) root_hash: Vec<[u8; 32]>,
    pub(crate) view: View,
    pub(crate) verified: Arc<VerifiedPages>,
    translations: Translations,
    /// False: every read checks the hash again.
    pub(crate) remember: bool,
    /// The named snapshots of this state, once they are known.
    pub(crate) named: OnceLock<NamedList>,
    /// Pages of the map to be read in place of the damaged ones in the file. None but in salvage.
    pub(crate) rebuilt: RebuiltNodes,
    /// Of the state of a named snapshot, the one through which it was opened: its life keeps this one's pages, too.
    #[expect(dead_code, reason = "held for as long as this state is, and not read")]
    anchor: Option<Arc<Base>>,
}

impl Base {
    pub(crate) fn new(
        superblock: &Superblock,
        view: View,
        verified: Arc<VerifiedPages>,
        remember: bool,
    ) -> Self {
        let translations = Translations::new(superblock.logical_pages);
        Self::build(superblock, view, verified, remember, translations)
    }

    /// The state of a named snapshot of `current`. Without an anchor it is for walks over its map, under the writer's lock
    /// or while `current` is held.
    pub(crate) fn frozen(
        superblock: &Superblock,
        current: &Self,
        anchor: Option<Arc<Self>>,
    ) -> Self {
        let cached = if anchor.is_some() {
            superblock.logical_pages
        } else {
            0
        };
        let (view, verified) = (current.view.clone(), Arc::clone(&current.verified));
        let translations = Translations::new(cached);
        Self {
            // The file may have been cut since; and what a forged superblock says of its length must not end the walks over
            // its map, without which nothing could be committed.
            physical_pages: current.physical_pages,
            anchor,
            ..Self::build(superblock, view, verified, current.remember, translations)
        }
    }

    fn build(
        superblock: &Superblock,
        view: View,
        verified: Arc<VerifiedPages>,
        remember: bool,
        translations: Translations,
    ) -> Self {
        let shape = MapShape::new(superblock.page_size, superblock.logical_pages)
            .expect("the superblock was checked when it was read or made");
        Self {
            page_size: superblock.page_size,
            sequence: superblock.sequence,
            logical_pages: superblock.logical_pages,
            physical_pages: superblock.physical_pages,
            roots: superblock.roots,
            shape,
            fanout: map::fanout(superblock.page_size),
            root_physical: superblock
                .root
                .physical
                .iter()
                .map(|&physical| physical.into())
                .collect(),
            root_hash: superblock.root.hash.clone(),
            view,
            verified,
            translations,
            remember,
            named: OnceLock::new(),
            rebuilt: RebuiltNodes::new(),
            anchor: None,
        }
    }

    /// The state of `superblock`, whose pages a delta has just brought into the file of `current`, which is
    /// `physical_pages` long now. For walks over its map, under the writer's lock.
    pub(crate) fn brought(
        superblock: &Superblock,
        view: View,
        physical_pages: u32,
        current: &Self,
    ) -> Self {
        let verified = Arc::clone(&current.verified);
        let translations = Translations::new(0);
        Self {
            // As when it is opened by its name: what lies beyond is out of its reach, also where the earlier state has it.
            physical_pages: superblock.physical_pages.min(physical_pages),
            ..Self::build(superblock, view, verified, current.remember, translations)
        }
    }

    #[inline]
    pub(crate) fn page(&self, page: LogicalPage) -> Result<&[u8]> {
        if let Some(physical) = self.translations.get(page.0) {
            let offset = u64::from(physical) << self.page_size.shift();
            if let Some(bytes) = self.view.slice(offset, self.page_size.bytes()) {
                return Ok(bytes);
            }
        }
        self.walk(page)
    }

    /// Finds a page by the map, and remembers where it lies.
    #[inline(never)]
    fn walk(&self, page: LogicalPage) -> Result<&[u8]> {
        let (physical, bytes) = self.locate(page)?;
        if self.remember {
            self.translations.insert(page.0, physical);
        }
        Ok(bytes)
    }
}

impl MapPages for Base {
    #[inline]
    fn page_size(&self) -> PageSize {
        self.page_size
    }

    #[inline]
    fn logical_pages(&self) -> u32 {
        self.logical_pages
    }

    #[inline]
    fn physical_pages(&self) -> u32 {
        self.physical_pages
    }

    #[inline]
    fn shape(&self) -> &MapShape {
        &self.shape
    }

    #[inline]
    fn fanout(&self) -> usize {
        self.fanout
    }

    fn roots(&self) -> &Roots {
        &self.roots
    }

    #[inline]
    fn root(&self) -> Entries<'_> {
        Entries {
            physical: &self.root_physical,
            hash: &self.root_hash,
        }
    }

    #[inline]
    fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        self.view.slice(offset, len)
    }

    #[inline]
    fn verified(&self) -> &VerifiedPages {
        &self.verified
    }

    #[inline]
    fn remembers(&self) -> bool {
        self.remember
    }

    #[cold]
    fn rebuilt(&self, hash: Option<&[u8; 32]>) -> Option<&[u8]> {
        self.rebuilt.get(hash?).map(|page| &**page)
    }
}
