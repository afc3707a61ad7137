//! A transaction: private changes to pages, made public by [`PageTxn::commit`] or forgotten on drop.
//!
//! * T1 One transaction at a time; readers never wait for it.
//! * T2 Nothing that a state reaches is overwritten: changed pages go to free places.
//! * T3 A page that gets another number keeps its place in the file, unless a named snapshot has it there under the old one.
//! * T4 Dropping it leaves the store as it was; places it wrote to are free again.

mod adopt;
mod numbers;
mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::numbers::number_is_free;
use crate::allocation::{FreePages, GROWTH_PART, PendingCut};
use crate::arrange::Placement;
use crate::free_runs::FreeRuns;
use crate::map::Entry;
use crate::map_walk::MapPages;
use crate::named::{Held, Named, NamedList};
use crate::snapshot::Base;
use crate::storage::View;
use crate::store::{PageStore, Writer};
use crate::stream::StreamedPages;
use crate::superblock::Run;
use crate::sync::MutexGuard;
use crate::{LogicalPage, PageError, PageRead, PageSize, Result};

/// Bytes handed to one write call, at most (about the size at which a larger write gains nothing).
const WRITE_BYTES_MAX: usize = 1 << 20;

/// A transaction over a [`PageStore`]. Reads see its own changes.
#[derive(Debug)]
pub struct PageTxn<'s> {
    pub(crate) store: &'s PageStore,
    pub(crate) writer: MutexGuard<'s, Writer>,
    pub(crate) base: Arc<Base>,
    /// Free pages as this transaction sees them.
    pub(crate) free: FreePages,
    /// Changed pages, in memory.
    dirty: BTreeMap<u32, Box<[u8]>>,
    /// Number of the state that it makes.
    pub(crate) sequence: u64,
    /// Pages whose new content is in the file already.
    pub(crate) placed: BTreeMap<u32, Entry>,
    /// Runs of logical pages that a stream has written, by their first; none of them is in `dirty` or `placed`.
    pub(crate) adopted: BTreeMap<u32, StreamedPages>,
    /// Places that came from streams: free again when the transaction is dropped.
    pub(crate) from_streams: Vec<Run>,
    /// Logical pages of the base that are free now.
    pub(crate) removed: BTreeSet<u32>,
    /// Pages of the base, in `placed`, that have another number now: new number to old one.
    pub(crate) renumbered: BTreeMap<u32, u32>,
    /// New pages get no number below this.
    number_floor: u32,
    /// A file that has no free page left grows by at least this part of it.
    growth_part: u32,
    /// Where pages go when this transaction arranges the file.
    pub(crate) placement: Option<Placement>,
    /// Allocated runs whose content is still to come by `write_run`.
    unwritten: FreeRuns,
    /// Sees the pages in `placed`.
    view: View,
    pub(crate) drained: Option<(u64, u64)>,
    pub(crate) areas: [Option<u32>; 2],
    pub(crate) trim: bool,
    /// Pages of the map, by level and index, that are rewritten although what is under them stays.
    pub(crate) touched: BTreeSet<(u8, u32)>,
    /// The file's tail that the new state leaves out.
    pub(crate) cut: Option<PendingCut>,
    /// The named snapshots of the new state, but for those in `saved`.
    pub(crate) named: NamedList,
    /// Names under which the new state is saved.
    pub(crate) saved: BTreeSet<String>,
    /// Named snapshots that the new state does not have.
    pub(crate) deleted: Vec<Arc<Named>>,
    /// While it is committed: the maps of the snapshots in `named`.
    pub(crate) held: Held,
}

impl<'s> PageTxn<'s> {
    pub(crate) fn new(store: &'s PageStore, mut writer: MutexGuard<'s, Writer>) -> Result<Self> {
        if let Err(error) = store.resolve_cut(&mut writer) {
            tracing::warn!(%error, "the file's tail could not be cut off, and is used again");
        }
        writer.allocation.release();
        let base = Arc::clone(&writer.base);
        let named = base.named.get().cloned().unwrap_or_default();
        Ok(Self {
            store,
            free: writer.allocation.free.clone(),
            view: base.view.clone(),
            sequence: base.sequence + 1,
            base,
            writer,
            dirty: BTreeMap::new(),
            placed: BTreeMap::new(),
            adopted: BTreeMap::new(),
            from_streams: Vec::new(),
            removed: BTreeSet::new(),
            renumbered: BTreeMap::new(),
            number_floor: 1,
            growth_part: GROWTH_PART,
            placement: None,
            unwritten: FreeRuns::default(),
            drained: None,
            areas: [None; 2],
            trim: false,
            touched: BTreeSet::new(),
            cut: None,
            named,
            saved: BTreeSet::new(),
            deleted: Vec::new(),
            held: Held::default(),
        })
    }

    /// The page's bytes to change. The first call copies the page; later ones give the same buffer.
    ///
    /// # Errors
    /// As [`PageRead::page`].
    pub fn page_mut(&mut self, page: LogicalPage) -> Result<&mut [u8]> {
        if !self.dirty.contains_key(&page.0) {
            let copy: Box<[u8]> = self.page(page)?.into();
            self.displace(page.0);
            self.dirty.insert(page.0, copy);
        }
        Ok(self.dirty.get_mut(&page.0).expect("inserted above"))
    }

    /// A new page of zeros, with the lowest free number.
    ///
    /// # Errors
    /// [`PageError::TooManyPages`].
    pub fn allocate(&mut self) -> Result<LogicalPage> {
        let page = self.allocate_numbers(1)?;
        self.dirty
            .insert(page.0, vec![0; self.page_size().bytes()].into());
        Ok(page)
    }

    /// A new page of zeros with exactly this number.
    ///
    /// # Errors
    /// [`PageError::Misuse`] when the number is taken; [`PageError::TooManyPages`].
    pub fn allocate_at(&mut self, page: LogicalPage) -> Result<()> {
        if page.is_none() || !self.take_number(page)? {
            return Err(PageError::Misuse {
                what: "page",
                detail: format!("{page} is taken, and cannot be a new page"),
            });
        }
        self.dirty
            .insert(page.0, vec![0; self.page_size().bytes()].into());
        Ok(())
    }

    /// `pages` consecutive new pages, the lowest such run of numbers. Their content must be given by
    /// [`write_run`](Self::write_run) before the commit.
    ///
    /// # Errors
    /// [`PageError::TooManyPages`]; [`PageError::Misuse`] for 0 pages.
    pub fn allocate_run(&mut self, pages: u32) -> Result<LogicalPage> {
        if pages == 0 {
            return Err(PageError::Misuse {
                what: "pages",
                detail: "a run has at least one page".into(),
            });
        }
        let first = self.allocate_numbers(pages)?;
        self.unwritten.insert(first.0, pages);
        Ok(first)
    }

    /// Like [`allocate_run`](Self::allocate_run), with exactly the numbers from `end` on; false when one of them is taken.
    ///
    /// # Errors
    /// [`PageError::TooManyPages`].
    pub fn extend_run(&mut self, end: LogicalPage, pages: u32) -> Result<bool> {
        let extended = self.take_numbers(end, pages)?;
        if extended {
            self.unwritten.insert(end.0, pages);
        }
        Ok(extended)
    }

    /// Writes whole raw pages of an allocated run to the file, contiguously where there is room.
    /// They become part of the store at the commit.
    ///
    /// # Errors
    /// [`PageError::Misuse`] when `bytes` is not whole pages of a run that was allocated and not yet written; I/O errors,
    /// after which none of these pages counts as written.
    pub fn write_run(&mut self, first: LogicalPage, bytes: &[u8]) -> Result<()> {
        let page_len = self.page_size().bytes();
        let pages = (bytes.len() / page_len) as u32;
        if !bytes.len().is_multiple_of(page_len)
            || pages == 0
            || !self.unwritten.take_exact(first.0, pages)
        {
            let detail = format!(
                "{} bytes at {first} are not whole pages of an unwritten run",
                bytes.len()
            );
            return Err(PageError::Misuse {
                what: "run",
                detail,
            });
        }
        let placed = self
            .take_physical_for(first.0, pages)
            .and_then(|run| Ok((run, self.write_placed(&[run], bytes)?)));
        let (run, hashes) = match placed {
            Ok(placed) => placed,
            Err(error) => {
                self.unwritten.insert(first.0, pages);
                return Err(error);
            }
        };
        for ((logical, physical), hash) in (first.0..).zip(run.first..).zip(hashes) {
            self.placed.insert(logical, Entry { physical, hash });
        }
        Ok(())
    }

    /// Writes pages to runs of free places, makes them readable and hashes them; on an error the places are free again.
    fn write_placed(&mut self, places: &[Run], bytes: &[u8]) -> Result<Vec<[u8; 32]>> {
        let written = self
            .store
            .write_and_hash(places, bytes)
            .and_then(|hashes| self.refresh_view().map(|()| hashes));
        if written.is_err() {
            self.give_back(places);
        }
        written
    }

    fn give_back(&mut self, places: &[Run]) {
        for run in places {
            self.free.physical.insert(run.first, run.pages);
        }
    }

    /// Frees a page, or a page of a run.
    ///
    /// # Errors
    /// [`PageError::Unallocated`].
    pub fn free(&mut self, page: LogicalPage) -> Result<()> {
        let held = self.dirty.remove(&page.0).is_some() || self.unwritten.take_exact(page.0, 1);
        if !held && !self.is_allocated(page)? {
            return Err(PageError::Unallocated {
                page,
                limit: self.free.logical_pages,
            });
        }
        if !self.free.logical.try_insert(page.0, 1) {
            return Err(number_is_free(page));
        }
        self.displace(page.0);
        self.removed.insert(page.0);
        Ok(())
    }

    /// Bytes of changed pages held in memory.
    pub fn dirty_bytes(&self) -> usize {
        self.dirty.len() * self.page_size().bytes()
    }

    /// Writes the changed pages out to bound memory. They stay private, and can still be changed.
    ///
    /// # Errors
    /// I/O errors; a full disk. What was not written stays in memory, and the transaction can go on.
    pub fn spill(&mut self) -> Result<()> {
        let page_len = self.page_size().bytes();
        let pages_max = (WRITE_BYTES_MAX / page_len).min(self.dirty.len());
        let mut buffer = Vec::with_capacity(pages_max * page_len);
        while !self.dirty.is_empty() {
            let pages = pages_max.min(self.dirty.len());
            let places = self.take_all_places(pages as u32)?;
            buffer.clear();
            for bytes in self.dirty.values().take(pages) {
                buffer.extend_from_slice(bytes);
            }
            let hashes = self.write_placed(&places, &buffer)?;
            let places = places
                .iter()
                .flat_map(|run| run.first..run.first + run.pages);
            for (physical, hash) in places.zip(hashes) {
                let (logical, _) = self.dirty.pop_first().expect("as many as were copied");
                self.placed.insert(logical, Entry { physical, hash });
            }
        }
        Ok(())
    }

    /// Places for so many pages, in as many runs as it takes.
    fn take_all_places(&mut self, pages: u32) -> Result<Vec<Run>> {
        let mut places = Vec::new();
        let mut left = pages;
        while left > 0 {
            match self.take_places(left) {
                Ok(run) => {
                    left -= run.pages;
                    places.push(run);
                }
                Err(error) => {
                    self.give_back(&places);
                    return Err(error);
                }
            }
        }
        Ok(places)
    }

    /// Notes, to be committed with the pages, that journal frames up to a mark are contained in them.
    pub fn set_drained(&mut self, mark: crate::JournalMark) {
        self.drained = Some((mark.sequence, mark.chain));
    }

    /// Replaces journal area `index` (0 or 1) by a new one of `pages` pages at the commit; 0 gives it back. An
    /// area that then holds a frame which is not drained stays as it is.
    ///
    /// # Panics
    /// When `index` is above 1.
    pub fn set_journal_area(&mut self, index: usize, pages: u32) {
        self.areas[index] = Some(pages);
    }

    /// Numbers the state that it makes above `sequence`, or with it: the least that goes to the slot which is its turn.
    pub(crate) fn pass_sequence(&mut self, sequence: u64) {
        let ahead = sequence.saturating_sub(self.sequence);
        self.sequence += ahead.next_multiple_of(2);
    }

    /// Forgets content that this transaction wrote for a logical page; its place is free again.
    fn displace(&mut self, logical: u32) {
        self.unfold_adopted(logical);
        let placed = self.placed.remove(&logical);
        // The place of a page of the base stays in use until the commit.
        let own = self.renumbered.remove(&logical).is_none();
        if let Some(entry) = placed.filter(|_| own) {
            self.free.physical.insert(entry.physical, 1);
        }
    }

    pub(crate) fn all_written(&self) -> bool {
        self.unwritten.pages() == 0
    }

    fn refresh_view(&mut self) -> Result<()> {
        self.view = self.store.view(self.free.physical_pages)?;
        Ok(())
    }
}

impl PageRead for PageTxn<'_> {
    fn page_size(&self) -> PageSize {
        self.base.page_size
    }

    fn logical_pages(&self) -> u32 {
        self.free.logical_pages
    }

    fn page(&self, page: LogicalPage) -> Result<&[u8]> {
        if let Some(bytes) = self.dirty.get(&page.0) {
            return Ok(bytes);
        }
        if let Some(&original) = self.renumbered.get(&page.0) {
            return self.base.page(LogicalPage(original));
        }
        let adopted = || {
            let (pages, index) = self.adopted_page(page.0)?;
            pages.entry(index)
        };
        if let Some(entry) = self.placed.get(&page.0).copied().or_else(adopted) {
            let offset = u64::from(entry.physical) << self.page_size().shift();
            let bytes = self.view.slice(offset, self.page_size().bytes());
            return Ok(bytes.expect("the view covers the pages written"));
        }
        if self.removed.contains(&page.0) {
            return Err(PageError::Unallocated {
                page,
                limit: self.free.logical_pages,
            });
        }
        if self.unwritten.contains(page.0) {
            return Err(PageError::Misuse {
                what: "page",
                detail: format!("{page} is of a run that has no content yet"),
            });
        }
        self.base.page(page)
    }

    fn allocated_pages_max(&self) -> u32 {
        // A changed page gets its place when it is written out.
        let places = (self.free.physical_pages).saturating_add(self.dirty.len() as u32);
        places.min(self.free.logical_pages)
    }

    fn is_allocated(&self, page: LogicalPage) -> Result<bool> {
        let changed = self.dirty.contains_key(&page.0)
            || self.placed.contains_key(&page.0)
            || self.adopted_page(page.0).is_some()
            || self.unwritten.contains(page.0);
        Ok(changed || (!self.removed.contains(&page.0) && self.base.is_allocated(page)?))
    }

    fn run(&self, first: LogicalPage, pages: u32) -> Result<Option<&[u8]>> {
        if let Some((adopted, index)) = self.adopted_page(first.0) {
            let Some((run, within)) = adopted.place(index) else {
                return Ok(None);
            };
            let in_one_piece = within.saturating_add(pages) <= run.pages;
            let offset = u64::from(run.first + within) << self.page_size().shift();
            let len = pages as usize * self.page_size().bytes();
            return Ok(self.view.slice(offset, len).filter(|_| in_one_piece));
        }
        let numbers = first.0..first.0.saturating_add(pages);
        let changed = self.dirty.range(numbers.clone()).next().is_some()
            || self.placed.range(numbers.clone()).next().is_some()
            || self.removed.range(numbers.clone()).next().is_some()
            || self.adopted.range(numbers).next().is_some()
            || self.unwritten.overlaps(first.0, pages);
        if changed {
            Ok(None)
        } else {
            self.base.run(first, pages)
        }
    }
}

impl Drop for PageTxn<'_> {
    /// After a failed commit the journal areas that it meant to replace are in use again, and what came from streams is free;
    /// after a good one none of either is left.
    fn drop(&mut self) {
        if self.areas != [None; 2] {
            self.store.journal().keep_retired();
        }
        for run in std::mem::take(&mut self.from_streams) {
            let free = &mut self.writer.allocation.free.physical;
            free.insert(run.first, run.pages);
        }
    }
}
