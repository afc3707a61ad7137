//! Opening a damaged store for what is still sound in it: read-only, and never more than the hashes prove.
//!
//! * D1 The state is that of the newest sound superblock; without one nothing is proven, and opening fails.
//! * D2 A page is given only when its bytes have the hash that its referrer holds, up to that superblock. That holds for pages of the
//!   map that were rebuilt (`map_repair`), too.
//! * D3 A survey ends: each physical page is entered once, whatever a malicious map says.
//!
//! Absent on purpose: no search for states that no superblock names any more. Their pages may be whole, but nothing says
//! that they are not outdated.

use std::sync::Arc;

use crate::map::{self, Entry};
use crate::map_repair::{self, RepairedMapPage};
use crate::map_walk::MapPages;
use crate::recovery::{self, RecoveredFrames};
use crate::snapshot::{Base, Snapshot};
use crate::storage::Storage;
use crate::verified::{ReadCheck, VerifiedPages};
use crate::{LogicalPage, PageError, PhysicalPage, Result};

/// A store whose file may be damaged anywhere, open for reading what is left.
#[derive(Debug)]
pub struct DamagedStore {
    snapshot: Snapshot,
    frames: RecoveredFrames,
    damage: Vec<PageError>,
    repaired: Vec<RepairedMapPage>,
    first_frame: u64,
}

/// What a [survey](Snapshot::survey) came upon.
#[derive(Debug)]
pub enum Surveyed<'s> {
    /// An allocated page: its bytes, or why they are not sound.
    Page(LogicalPage, Result<&'s [u8]>),
    /// A page of the map that is not sound: nothing is known of the pages under it.
    Unmapped {
        /// The first of them.
        first: LogicalPage,
        /// Their number at most.
        pages: u32,
        /// What is wrong with the page of the map.
        error: PageError,
    },
}

impl DamagedStore {
    /// Finds the newest sound superblock, and the journal frames that continue it without a gap. The file may be cut
    /// short. Writes nothing.
    ///
    /// # Errors
    /// Those of [`PageStore::open`](crate::PageStore::open) for a storage without a sound superblock; I/O errors.
    pub fn open(storage: &dyn Storage) -> Result<Self> {
        let chosen = recovery::newest_superblock(storage)?;
        let mut damage = Vec::new();
        let mut superblock = chosen.superblock.clone();
        for slot in 0..2 {
            damage.extend(recovery::slot_damage(storage, &superblock, slot)?);
        }
        damage.extend(chosen.truncation());
        let shift = superblock.page_size.shift();
        let pages_there = u32::try_from(chosen.len >> shift).unwrap_or(u32::MAX);
        superblock.physical_pages = superblock.physical_pages.min(pages_there);
        let view = storage
            .view(u64::from(superblock.physical_pages) << shift)
            .map_err(PageError::io("map", 0))?;
        let (recovery, missing) = recovery::recover_sound(storage, &view, &superblock, chosen.len)?;
        damage.extend(missing);
        let verified = VerifiedPages::new(superblock.physical_pages, ReadCheck::FirstTouch);
        let mut base = Base::new(&superblock, view, Arc::new(verified), true);
        // Without a free record a little less can be told; whatever keeps it from being read is no reason to give up.
        let record = || recovery::read_free_record(storage, &chosen.superblock).ok();
        let repairs = map_repair::repair(&base, &chosen.superblock, record);
        base.rebuilt = repairs.nodes;
        Ok(Self {
            snapshot: Snapshot {
                base: Arc::new(base),
            },
            frames: recovery.frames,
            damage,
            repaired: repairs.pages,
            first_frame: superblock.drained.saturating_add(1),
        })
    }

    /// The state of the newest sound superblock. Reading a page that is damaged gives an error.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The journal frames that continue that state, as far as they are sound.
    pub fn frames(&self) -> &RecoveredFrames {
        &self.frames
    }

    /// Sequence of the first frame that is not in the state.
    pub fn first_frame(&self) -> u64 {
        self.first_frame
    }

    /// The pages of the map that are damaged and were rebuilt.
    pub fn repaired(&self) -> &[RepairedMapPage] {
        &self.repaired
    }

    /// What is wrong besides the pages: superblock slots, the file's length, the journal.
    pub fn damage(&self) -> &[PageError] {
        &self.damage
    }
}

impl Snapshot {
    /// Visits every allocated page in order of logical numbers, and checks each page's hash and each page of the map.
    ///
    /// # Errors
    /// Those of `visit`, which end the survey.
    pub fn survey<E>(
        &self,
        visit: &mut dyn FnMut(Surveyed<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let base = &*self.base;
        let mut note = |level: u8, index: u32, _: Entry, bytes: Result<&[u8]>| {
            let span = base.shape.spans[usize::from(level)];
            let first = index * span; // not beyond the highest number: it was entered
            match bytes {
                bytes if level == 0 => visit(Surveyed::Page(LogicalPage(first), bytes)),
                Ok(_) => Ok(()),
                Err(error) => visit(Surveyed::Unmapped {
                    first: LogicalPage(first),
                    pages: span.min(base.logical_pages - first),
                    error,
                }),
            }
        };
        Survey::new(base, None, &mut note).run()
    }
}

/// What a walk over a map does with each page: its level, index and entry, and its bytes or why they are not sound.
type Note<'v, E> = dyn FnMut(u8, u32, Entry, Result<&[u8]>) -> std::result::Result<(), E> + 'v;

/// A walk over the map of a state that may be damaged: each page of the map before those under it.
pub(crate) struct Survey<'s, 'v, E> {
    base: &'s Base,
    /// A state whose pages were checked: what it has in the same entry is not checked again.
    known: Option<&'s Base>,
    /// Physical pages that were entered.
    seen: VerifiedPages,
    note: &'v mut Note<'v, E>,
}

impl<'s, 'v, E> Survey<'s, 'v, E> {
    pub(crate) fn new(base: &'s Base, known: Option<&'s Base>, note: &'v mut Note<'v, E>) -> Self {
        Self {
            base,
            known,
            seen: VerifiedPages::new(base.physical_pages, ReadCheck::FirstTouch),
            note,
        }
    }

    pub(crate) fn run(&mut self) -> std::result::Result<(), E> {
        for index in 0..self.base.root_physical.len() {
            let entry = self.base.root_entry(index);
            self.enter(self.base.shape.height, index as u32, entry)?;
        }
        Ok(())
    }

    fn enter(&mut self, level: u8, index: u32, entry: Entry) -> std::result::Result<(), E> {
        let base = self.base;
        let span = base.shape.spans[usize::from(level)];
        let first = u64::from(index) * u64::from(span);
        let Ok(first) = u32::try_from(first) else {
            return Ok(()); // beyond the highest number
        };
        if entry.is_absent() || first >= base.logical_pages {
            return Ok(());
        }
        if level == 0 {
            let page = LogicalPage(first);
            return match page.is_none() {
                true => Ok(()),
                false => {
                    let bytes = self.page(&entry, level, index, page);
                    (self.note)(level, index, entry, bytes)
                }
            };
        }
        let bytes = self.page(&entry, level, index, LogicalPage::NONE);
        let entries = match &bytes {
            &Ok(bytes) => map::node_entries(bytes, base.fanout),
            Err(_) => None,
        };
        (self.note)(level, index, entry, bytes)?;
        let Some(entries) = entries else {
            return Ok(());
        };
        for digit in 0..base.fanout {
            let Some(child) = index
                .checked_mul(base.fanout as u32)
                .and_then(|child| child.checked_add(digit as u32))
            else {
                return Ok(());
            };
            self.enter(level - 1, child, entries.get(digit))?;
        }
        Ok(())
    }

    /// The page that an entry names, when it is sound and was not entered before.
    fn page(
        &mut self,
        entry: &Entry,
        level: u8,
        index: u32,
        logical: LogicalPage,
    ) -> Result<&'s [u8]> {
        let base = self.base;
        let known = self.known.and_then(|known| known.entry(level, index).ok());
        let unchecked = match known {
            Some(known) if level == 0 && known == *entry => base.page_bytes(entry.physical),
            _ => None,
        };
        let bytes = match unchecked.map_or_else(|| base.verify_entry(entry, logical), Ok) {
            Err(error) if level > 0 => base.rebuilt(Some(&entry.hash)).ok_or(error)?,
            bytes => bytes?,
        };
        let corrupt = |detail: String| PageError::Corrupt {
            what: "page map",
            physical: PhysicalPage(entry.physical),
            detail,
        };
        if self.seen.contains(entry.physical) {
            return Err(corrupt("the page is reached twice".into()));
        }
        self.seen.insert(entry.physical);
        if let Some(below) = level.checked_sub(1) {
            map::check_node(bytes, below, base.fanout).map_err(corrupt)?;
        }
        Ok(bytes)
    }
}
