//! Reading: an immutable state of the pages, and the walk from a logical number to verified bytes.
//!
//! * R1 No byte is handed out before its page's hash was seen to match, once since open.
//! * R2 A base never changes, and no page it reaches is overwritten or cut off while it lives.

use std::sync::{Arc, OnceLock};

use zerocopy::byteorder::little_endian::U32;

use crate::map::{self, Entries, Entry, MapShape};
use crate::map_repair::RebuiltNodes;
use crate::named::NamedList;
use crate::page_root;
use crate::storage::View;
use crate::superblock::{Roots, Superblock};
use crate::translations::Translations;
use crate::verified::VerifiedPages;
use crate::{LogicalPage, PageError, PageRead, PageSize, PhysicalPage, Result};

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

    /// As [`Snapshot::page_root`].
    pub(crate) fn page_root(&self) -> [u8; 32] {
        *blake3::hash(&self.page_root_input()).as_bytes()
    }

    fn root(&self) -> Entries<'_> {
        Entries {
            physical: &self.root_physical,
            hash: &self.root_hash,
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

    /// Finds a page by the map, and checks it.
    #[inline(never)]
    fn walk(&self, page: LogicalPage) -> Result<&[u8]> {
        let (entries, index) = self.leaf(page.0)?;
        let physical = entries
            .physical
            .get(index)
            .map_or(0, |physical| physical.get());
        if physical == 0 || page.is_none() {
            return Err(self.unallocated(page.0));
        }
        let bytes = self.checked(physical, entries, index, page)?;
        if self.remember {
            self.translations.insert(page.0, physical);
        }
        Ok(bytes)
    }

    pub(crate) fn is_allocated(&self, page: LogicalPage) -> Result<bool> {
        Ok(!page.is_none() && !self.entry(0, page.0)?.is_absent())
    }

    /// As [`PageRead::next_allocated`]. Goes past all that an absent map page stands for in one step.
    fn next_allocated(&self, mut number: u32) -> Result<Option<LogicalPage>> {
        'pages: while number < self.logical_pages {
            if !self.entry(0, number)?.is_absent() {
                return Ok(Some(LogicalPage(number)));
            }
            for level in (0..=self.shape.height).rev() {
                let index = number / self.span(level);
                if self.entry(level, index)?.is_absent() {
                    let Some(next) = (index + 1).checked_mul(self.span(level)) else {
                        return Ok(None);
                    };
                    number = next;
                    continue 'pages;
                }
            }
        }
        Ok(None)
    }

    pub(crate) fn run(&self, first: LogicalPage, pages: u32) -> Result<Option<&[u8]>> {
        if first.is_none() || u64::from(first.0) + u64::from(pages) > u64::from(self.logical_pages)
        {
            return Err(self.unallocated(first.0));
        }
        let mut start = 0;
        let mut done = 0;
        while done < pages {
            let (entries, index) = self.leaf(first.0 + done)?;
            for index in index..entries.physical.len() {
                if done == pages {
                    break;
                }
                let physical = entries.physical[index].get();
                if physical == 0 {
                    return Err(self.unallocated(first.0 + done));
                }
                if done == 0 {
                    start = physical;
                } else if physical != start.wrapping_add(done) {
                    return Ok(None);
                }
                self.checked(physical, entries, index, LogicalPage(first.0 + done))?;
                done += 1;
            }
        }
        let len = pages as usize * self.page_size.bytes();
        Ok(self
            .view
            .slice(u64::from(start) << self.page_size.shift(), len))
    }

    /// The level-0 entries that hold logical page `number`, and its index in them.
    #[inline]
    fn leaf(&self, number: u32) -> Result<(Entries<'_>, usize)> {
        if number >= self.logical_pages {
            return Err(self.unallocated(number));
        }
        let mut entries = self.root();
        let mut level = self.shape.height;
        let mut rest = number;
        loop {
            let span = self.shape.spans[usize::from(level)];
            let index = (rest / span) as usize;
            if level == 0 {
                return Ok((entries, index));
            }
            rest %= span;
            let physical = entries
                .physical
                .get(index)
                .map_or(0, |physical| physical.get());
            if physical == 0 {
                return Err(self.unallocated(number));
            }
            level -= 1;
            entries = self.node(physical, entries, index, level)?;
        }
    }

    #[inline]
    fn node(
        &self,
        physical: u32,
        parent: Entries<'_>,
        index: usize,
        level: u8,
    ) -> Result<Entries<'_>> {
        let page = self.checked_node(physical, parent, index, level)?;
        map::node_entries(page, self.fanout)
            .ok_or_else(|| self.bad_node(physical, "too short".into()))
    }

    #[inline]
    fn checked_node(
        &self,
        physical: u32,
        referrer: Entries<'_>,
        index: usize,
        level: u8,
    ) -> Result<&[u8]> {
        let fresh = !self.verified.contains(physical);
        let page = match self.checked(physical, referrer, index, LogicalPage::NONE) {
            Ok(page) => page,
            Err(error) => return self.rebuilt(referrer.hash.get(index)).ok_or(error),
        };
        if fresh {
            map::check_node(page, level, self.fanout).map_err(|detail| {
                self.verified.remove(physical); // to be refused at the next touch too
                self.bad_node(physical, detail)
            })?;
        }
        Ok(page)
    }

    /// The page of the map with this hash that was rebuilt.
    #[cold]
    pub(crate) fn rebuilt(&self, hash: Option<&[u8; 32]>) -> Option<&[u8]> {
        self.rebuilt.get(hash?).map(|page| &**page)
    }

    /// The bytes of a physical page, verified against the hash at `index` of its referrer.
    #[inline]
    fn checked(
        &self,
        physical: u32,
        referrer: Entries<'_>,
        index: usize,
        logical: LogicalPage,
    ) -> Result<&[u8]> {
        let offset = u64::from(physical) << self.page_size.shift();
        let bytes = self.view.slice(offset, self.page_size.bytes());
        let Some(bytes) = bytes.filter(|_| physical < self.physical_pages && physical >= 2) else {
            return Err(self.outside(physical));
        };
        if !self.verified.contains(physical) {
            self.verify(physical, bytes, referrer.hash.get(index), logical)?;
        }
        Ok(bytes)
    }

    #[cold]
    fn verify(
        &self,
        physical: u32,
        bytes: &[u8],
        hash: Option<&[u8; 32]>,
        logical: LogicalPage,
    ) -> Result<()> {
        self.verified.count_check();
        if hash != Some(blake3::hash(bytes).as_bytes()) {
            let offset = u64::from(physical) << self.page_size.shift();
            return Err(PageError::HashMismatch {
                logical,
                physical: PhysicalPage(physical),
                offset,
            });
        }
        if self.remember {
            self.verified.insert(physical);
        }
        Ok(())
    }

    /// The bytes of physical page `entry.physical`, checked against its hash now, whatever was seen before.
    pub(crate) fn verify_entry(&self, entry: &Entry, logical: LogicalPage) -> Result<&[u8]> {
        let offset = u64::from(entry.physical) << self.page_size.shift();
        let bytes = self.view.slice(offset, self.page_size.bytes());
        let Some(bytes) = bytes.filter(|_| (2..self.physical_pages).contains(&entry.physical))
        else {
            return Err(self.outside(entry.physical));
        };
        self.verify(entry.physical, bytes, Some(&entry.hash), logical)?;
        Ok(bytes)
    }

    /// Entry `index` of `level`: a logical page (0), or the node of level - 1 with that index. Absent when there is none.
    pub(crate) fn entry(&self, level: u8, index: u32) -> Result<Entry> {
        let Some(first) = u64::from(index).checked_mul(u64::from(self.span(level))) else {
            return Ok(Entry::ABSENT);
        };
        if level > self.shape.height || first >= u64::from(self.logical_pages) {
            return Ok(Entry::ABSENT);
        }
        let mut entries = self.root();
        for at in (level..=self.shape.height).rev() {
            let digit = first / u64::from(self.span(at));
            let digit = if at == self.shape.height {
                digit
            } else {
                digit % self.fanout as u64
            } as usize;
            let entry = entries.get(digit);
            if at == level || entry.is_absent() {
                return Ok(entry);
            }
            entries = self.node(entry.physical, entries, digit, at - 1)?;
        }
        Ok(Entry::ABSENT)
    }

    /// The verified entries of the node that `entry`, of `level + 1`, refers to.
    pub(crate) fn node_of(&self, entry: &Entry, level: u8) -> Result<Entries<'_>> {
        let page = self.node_page_of(entry, level)?;
        map::node_entries(page, self.fanout)
            .ok_or_else(|| self.bad_node(entry.physical, "too short".into()))
    }

    /// The verified page of the node that `entry`, of `level + 1`, refers to.
    pub(crate) fn node_page_of(&self, entry: &Entry, level: u8) -> Result<&[u8]> {
        let referrer = Entries {
            physical: &[],
            hash: std::slice::from_ref(&entry.hash),
        };
        // The page borrows from the view alone, not from the referrer.
        self.checked_node(entry.physical, referrer, 0, level)
    }

    /// The bytes that the page root is the hash of.
    pub(crate) fn page_root_input(&self) -> Vec<u8> {
        let (height, pages) = (self.shape.height, self.logical_pages);
        page_root::input(height, pages, &self.roots, self.root())
    }

    pub(crate) fn root_entry(&self, index: usize) -> Entry {
        self.root().get(index)
    }

    fn span(&self, level: u8) -> u32 {
        self.shape
            .spans
            .get(usize::from(level))
            .copied()
            .unwrap_or(u32::MAX)
    }

    #[cold]
    fn unallocated(&self, number: u32) -> PageError {
        PageError::Unallocated {
            page: LogicalPage(number),
            limit: self.logical_pages,
        }
    }

    #[cold]
    fn outside(&self, physical: u32) -> PageError {
        PageError::Corrupt {
            what: "page map entry",
            physical: PhysicalPage(physical),
            detail: format!("points outside the file's {} pages", self.physical_pages),
        }
    }

    #[cold]
    fn bad_node(&self, physical: u32, detail: String) -> PageError {
        PageError::Corrupt {
            what: "page map node",
            physical: PhysicalPage(physical),
            detail,
        }
    }
}
