//! The checkpoint: placing changed pages, rewriting the page map's path to them, and flipping the superblock.
//!
//! * C1 Every page that a superblock reaches is durable before the superblock is written.
//! * C2 The slot that holds the durable state is not written until the other slot is durable.
//! * C3 The free record covers exactly the pages that neither the new state nor a named snapshot reaches.
//! * C4 Frames that are drained are not overwritten before both slots are durable: a slot that fell back to the state before them
//!   could not tell that they are missing (of pages, their hashes tell).
//!
//! Order: pages, map, free record; sync; slot `sequence % 2`; sync; then the twin slot, made durable by whatever
//! syncs next, so that damage to either slot at rest loses nothing. One more sync when frames were drained (C4).

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::iter::Peekable;
use std::sync::Arc;

use crate::allocation::PendingCut;
use crate::free_runs::{self, FreeRuns};
use crate::map::{Entry, MapShape, NodeBuilder};
use crate::map_walk::MapPages;
use crate::snapshot::{Base, Snapshot};
use crate::storage::View;
use crate::superblock::{FreePlace, RootEntries, Roots, Run, SEQUENCE_LIMIT, Superblock};
use crate::txn::PageTxn;
use crate::{LogicalPage, PageError, PageRead, PhysicalPage, Result};

/// Free tail that a checkpoint leaves, besides an eighth of the file: cutting and growing again costs more.
const TAIL_SLACK_PAGES: u32 = 256;
/// An allocation while the free record is laid out changes its length by at most two runs.
const RECORD_SLACK_BYTES: usize = 32;

#[cold]
pub(crate) fn used_twice(run: Run) -> PageError {
    PageError::Corrupt {
        what: "page allocation",
        physical: PhysicalPage(run.first),
        detail: format!("{run:?} is not within the file, or is in use twice, or in use and free"),
    }
}

/// Two ascending sequences of entries with different numbers, as one.
struct InOrder<A: Iterator, B: Iterator> {
    first: Peekable<A>,
    second: Peekable<B>,
}

impl<A, B> InOrder<A, B>
where
    A: Iterator<Item = (u32, Entry)>,
    B: Iterator<Item = (u32, Entry)>,
{
    fn new(
        first: impl IntoIterator<IntoIter = A>,
        second: impl IntoIterator<IntoIter = B>,
    ) -> Self {
        Self {
            first: first.into_iter().peekable(),
            second: second.into_iter().peekable(),
        }
    }
}

impl<A, B> Iterator for InOrder<A, B>
where
    A: Iterator<Item = (u32, Entry)>,
    B: Iterator<Item = (u32, Entry)>,
{
    type Item = (u32, Entry);

    fn next(&mut self) -> Option<Self::Item> {
        match (self.first.peek(), self.second.peek()) {
            (Some((first, _)), Some((second, _))) if first > second => self.second.next(),
            (None, _) => self.second.next(),
            _ => self.first.next(),
        }
    }
}

impl PageTxn<'_> {
    /// Makes the changes durable and visible to later snapshots, atomically, together with `roots`.
    ///
    /// # Errors
    /// On an error before the superblock is written, nothing has changed and the store goes on. When a sync or
    /// the superblock's write fails the store is poisoned: which state the file holds is known after reopening.
    /// [`PageError::Misuse`] when the mark given to [`set_drained`](Self::set_drained) is behind an earlier one.
    ///
    /// # Panics
    /// When a run was allocated and not written: the caller's bug.
    pub fn commit(mut self, roots: Roots) -> Result<Snapshot> {
        assert!(self.all_written(), "a run was allocated but not written");
        self.spill()?;
        let mut freed = FreeRuns::default();
        self.held = self.held()?;
        self.release_deleted(&mut freed)?;
        self.cut_logical_tail();
        let shape = MapShape::new(self.page_size(), self.free.logical_pages).ok_or(
            PageError::TooManyPages {
                limit: u32::MAX - 1,
            },
        )?;
        let updates = self.page_updates(&mut freed)?;
        let root = self.rewrite_map(updates, &shape, &mut freed)?;
        self.seal(root, &shape, roots, freed)
    }

    /// Makes the state with this map the present one; `freed` are the pages of the base that it does not reach.
    pub(crate) fn seal(
        mut self,
        root: RootEntries,
        shape: &MapShape,
        roots: Roots,
        mut freed: FreeRuns,
    ) -> Result<Snapshot> {
        self.check_sequence()?;
        self.check_drained()?;
        let (drained, chain) = self
            .drained
            .unwrap_or((self.writer.drained, self.writer.chain));
        let journal = self.place_journal(drained, &mut freed)?;
        if !self.writer.record.is_empty() {
            self.release(&mut freed, self.writer.record)?;
        }
        let mut superblock = Superblock {
            page_size: self.page_size(),
            sequence: self.sequence,
            map_height: shape.height,
            logical_pages: self.free.logical_pages,
            physical_pages: self.free.physical_pages,
            root,
            free: FreePlace::Inline(Vec::new()),
            journal,
            drained,
            chain,
            roots,
        };
        self.write_saved(&superblock)?;
        let record = self.place_free_record(&mut superblock, &mut freed)?;
        // After the flip nothing may fail that does not poison.
        let view = self.store.view(superblock.physical_pages)?;
        self.flip(&superblock)?;
        Ok(self.publish(&superblock, view, record, &freed))
    }

    /// No file gets there by counting: only a forged one is at the last sequence, and what would follow is refused at open.
    fn check_sequence(&self) -> Result<()> {
        if self.sequence < SEQUENCE_LIMIT {
            return Ok(());
        }
        Err(PageError::Corrupt {
            what: "superblock",
            physical: Superblock::slot(self.base.sequence),
            detail: format!("sequence {}, after which there is none", self.base.sequence),
        })
    }

    fn check_drained(&self) -> Result<()> {
        match self.drained {
            Some((sequence, _)) if sequence < self.writer.drained => Err(PageError::Misuse {
                what: "drained",
                detail: format!(
                    "frame {sequence}, but frames up to {} are drained already",
                    self.writer.drained
                ),
            }),
            // Only a forged file counts from that far, and would not open again.
            Some((sequence, _)) if sequence >= SEQUENCE_LIMIT => Err(PageError::Corrupt {
                what: "superblock",
                physical: Superblock::slot(self.base.sequence),
                detail: format!("frame {sequence} drained, expected below {SEQUENCE_LIMIT}"),
            }),
            _ => Ok(()),
        }
    }

    /// Notes pages of the base that the new state does not reach. A damaged file may name a page twice, or a free one.
    pub(crate) fn release(&self, freed: &mut FreeRuns, run: Run) -> Result<()> {
        let within = run.first >= 2 && run.end() <= u64::from(self.base.physical_pages);
        let allocation = &self.writer.allocation;
        let is_free = allocation.free.physical.overlaps(run.first, run.pages)
            || allocation.reserved.overlaps(run.first, run.pages);
        if within && !is_free && freed.try_insert(run.first, run.pages) {
            return Ok(());
        }
        Err(used_twice(run))
    }

    fn cut_logical_tail(&mut self) {
        let last = self.free.logical.iter().next_back();
        if let Some((first, _)) =
            last.filter(|&(first, len)| first + len == self.free.logical_pages)
        {
            self.free.logical.truncate(first);
            self.free.logical_pages = first;
        }
    }

    /// New entries of the changed logical pages, but for those adopted; the old places of both are freed.
    fn page_updates(&mut self, freed: &mut FreeRuns) -> Result<BTreeMap<u32, Entry>> {
        let mut updates = std::mem::take(&mut self.placed);
        updates.extend(self.removed.iter().map(|&page| (page, Entry::ABSENT)));
        let adopted = self.adopted.iter();
        let adopted = adopted.flat_map(|(&first, pages)| first..first + pages.len());
        let adopted = adopted.take_while(|&logical| logical < self.base.logical_pages);
        let moved: BTreeSet<u32> = self.renumbered.values().copied().collect();
        let changed = updates.keys().copied().chain(adopted);
        // A page that got another number is still at its place.
        for logical in changed.filter(|logical| !moved.contains(logical)) {
            self.release_entry(freed, 0, logical, &self.base.entry(0, logical)?)?;
        }
        Ok(updates)
    }

    /// Writes the map pages above `updates`, level by level, and returns the new root.
    fn rewrite_map(
        &mut self,
        mut updates: BTreeMap<u32, Entry>,
        shape: &MapShape,
        freed: &mut FreeRuns,
    ) -> Result<RootEntries> {
        let base = Arc::clone(&self.base);
        let fanout = base.fanout as u32;
        let touched = std::mem::take(&mut self.touched);
        if shape.height == 0 {
            let adopted = std::mem::take(&mut self.adopted).into_iter();
            updates.extend(adopted.flat_map(|(first, pages)| (first..).zip(pages.into_entries())));
        }
        for level in 0..shape.height {
            if level == base.shape.height {
                // The map grows: what was the root becomes pages of this level.
                for index in 0..base.root_physical.len() as u32 {
                    if level > 0 || self.adopted_page(index).is_none() {
                        updates
                            .entry(index)
                            .or_insert_with(|| base.root_entry(index as usize));
                    }
                }
            }
            for &(_, node) in touched.range((level, 0)..=(level, u32::MAX)) {
                let child = node * fanout;
                if let btree_map::Entry::Vacant(vacant) = updates.entry(child) {
                    vacant.insert(base.entry(level, child)?);
                }
            }
            let mut parents = BTreeMap::new();
            // None left above level 0.
            let adopted = std::mem::take(&mut self.adopted).into_iter();
            let adopted = adopted.flat_map(|(first, pages)| (first..).zip(pages.into_entries()));
            let mut entries = InOrder::new(updates, adopted).peekable();
            while let Some(&(first, _)) = entries.peek() {
                let node = first / fanout;
                let old = if level < base.shape.height {
                    base.entry(level + 1, node)?
                } else {
                    Entry::ABSENT
                };
                let old_entries = if old.is_absent() {
                    None
                } else {
                    Some(base.node_of(&old, level)?)
                };
                let mut builder = NodeBuilder::new(base.fanout, old_entries);
                while let Some((index, entry)) =
                    entries.next_if(|&(index, _)| index / fanout == node)
                {
                    builder.set((index % fanout) as usize, entry);
                }
                self.release_entry(freed, level + 1, node, &old)?;
                parents.insert(node, self.write_node(&builder, level, node)?);
            }
            updates = parents;
        }
        self.free_upper_levels(shape, freed)?;
        let mut root = RootEntries::default();
        for index in 0..shape.root_entries as u32 {
            let entry = match updates.get(&index) {
                Some(&entry) => entry,
                None if shape.height <= base.shape.height => base.entry(shape.height, index)?,
                None => Entry::ABSENT,
            };
            root.physical.push(entry.physical);
            root.hash.push(entry.hash);
        }
        Ok(root)
    }

    fn write_node(&mut self, builder: &NodeBuilder, level: u8, index: u32) -> Result<Entry> {
        let mut page = vec![0; self.page_size().bytes()];
        if !builder.build(level, &mut page) {
            return Ok(Entry::ABSENT);
        }
        let physical = self.take_node_place(level, index)?;
        self.store
            .write(u64::from(physical) << self.page_size().shift(), &page)?;
        Ok(Entry {
            physical,
            hash: *blake3::hash(&page).as_bytes(),
        })
    }

    /// When the map gets lower, its pages above the new root are free.
    fn free_upper_levels(&mut self, shape: &MapShape, freed: &mut FreeRuns) -> Result<()> {
        let base = Arc::clone(&self.base);
        for index in 0..base.root_physical.len() {
            self.free_above(
                shape.height,
                (base.shape.height, index as u32),
                &base.root_entry(index),
                freed,
            )?;
        }
        Ok(())
    }

    /// Frees the map page that `entry`, at a level and an index there, refers to, and those below it down to the entries of
    /// level `floor`.
    fn free_above(
        &self,
        floor: u8,
        (level, index): (u8, u32),
        entry: &Entry,
        freed: &mut FreeRuns,
    ) -> Result<()> {
        if level <= floor || entry.is_absent() {
            return Ok(());
        }
        // Noted before going down: each page is visited once, whatever a damaged map says. What lies under a page that a
        // named snapshot reaches is reached by it, too.
        if self.release_entry(freed, level, index, entry)? && level - 1 > floor {
            let entries = self.base.node_of(entry, level - 1)?;
            let fanout = self.base.fanout as u32;
            for digit in 0..fanout {
                let child = index
                    .checked_mul(fanout)
                    .and_then(|at| at.checked_add(digit));
                let Some(child) = child else { break };
                let entry = entries.get(digit as usize);
                self.free_above(floor, (level - 1, child), &entry, freed)?;
            }
        }
        Ok(())
    }

    /// Frees the page of an entry of the base, unless a named snapshot reaches it; whether there was one to free.
    fn release_entry(
        &self,
        freed: &mut FreeRuns,
        level: u8,
        index: u32,
        entry: &Entry,
    ) -> Result<bool> {
        if entry.is_absent() || self.held.reaches(level, index, entry.physical)? {
            return Ok(false);
        }
        let run = Run {
            first: entry.physical,
            pages: 1,
        };
        self.release(freed, run).map(|()| true)
    }

    /// New journal areas, written with zeros, so that a frame only ever overwrites allocated blocks.
    fn place_journal(&mut self, drained: u64, freed: &mut FreeRuns) -> Result<[Run; 2]> {
        let mut areas = self.writer.journal;
        for (index, area) in areas.iter_mut().enumerate() {
            let Some(pages) = self.areas[index] else {
                continue;
            };
            if !self.store.journal_retire(index, drained)? {
                continue;
            }
            if !area.is_empty() {
                self.release(freed, *area)?;
            }
            *area = Run::default();
            if pages > 0 {
                *area = self.take_physical_run(pages)?;
                self.store.write_zeros(*area)?;
            }
        }
        Ok(areas)
    }

    /// Puts the free record into the superblock's tail or into pages of its own, and cuts the file's free tail.
    fn place_free_record(
        &mut self,
        superblock: &mut Superblock,
        freed: &mut FreeRuns,
    ) -> Result<Run> {
        let room = Superblock::inline_room(superblock.page_size, superblock.root.physical.len());
        let page_len = superblock.page_size.bytes();
        let mut run = Run::default();
        let len = self.encode_record(&self.all_free(freed)?).len();
        if len > room {
            run = self.take_physical_run((len + RECORD_SLACK_BYTES).div_ceil(page_len) as u32)?;
        }
        let mut all = self.all_free(freed)?;
        self.cut_tail(&mut all, freed);
        superblock.physical_pages = self.free.physical_pages;
        let mut record = self.encode_record(&all);
        if run.is_empty() {
            superblock.free = FreePlace::Inline(record);
            return Ok(run);
        }
        let (bytes, hash) = (record.len() as u32, *blake3::hash(&record).as_bytes());
        assert!(
            record.len() <= run.pages as usize * page_len,
            "the free record outgrew its pages"
        );
        record.resize(run.pages as usize * page_len, 0);
        self.store.write(
            u64::from(run.first) << superblock.page_size.shift(),
            &record,
        )?;
        superblock.free = FreePlace::Pages { run, bytes, hash };
        Ok(run)
    }

    fn encode_record(&self, physical: &FreeRuns) -> Vec<u8> {
        let mut record = free_runs::encode_record(physical, &self.free.logical);
        self.named.encode(&mut record);
        record
    }

    /// Pages that the new state does not reach.
    fn all_free(&self, freed: &FreeRuns) -> Result<FreeRuns> {
        let allocation = &self.writer.allocation;
        allocation
            .all_free(&self.free.physical, freed)
            .map_err(used_twice)
    }

    /// Leaves the free tail out of the new state, when it is large or the store is being trimmed. The file itself is cut
    /// when no reader reaches into the tail any more.
    fn cut_tail(&mut self, all: &mut FreeRuns, freed: &mut FreeRuns) {
        let pages = self.free.physical_pages;
        let Some((first, len)) = all
            .iter()
            .next_back()
            .filter(|&(first, len)| first + len == pages)
        else {
            return;
        };
        let first = first.max(self.writer.allocation.reserved.end());
        let large = len > (pages / 8).saturating_add(TAIL_SLACK_PAGES);
        if !(large || self.trim) || first >= pages || self.writer.allocation.live_count() > 1 {
            return;
        }
        all.truncate(first);
        freed.truncate(first);
        self.free.physical.truncate(first);
        self.free.physical_pages = first;
        self.cut = Some(PendingCut {
            sequence: self.sequence,
            from: pages,
        });
    }

    fn flip(&mut self, superblock: &Superblock) -> Result<()> {
        self.store.sync()?;
        let bytes = superblock.encode();
        let slot = Superblock::slot(superblock.sequence);
        let twin = Superblock::slot(superblock.sequence + 1);
        self.store.write_superblock(slot, &bytes)?;
        self.store.sync()?;
        self.store.write_superblock(twin, &bytes)?;
        if self.store.journal().releases(superblock.drained) {
            self.store.sync()?;
        }
        Ok(())
    }

    fn publish(
        mut self,
        superblock: &Superblock,
        view: View,
        record: Run,
        freed: &FreeRuns,
    ) -> Snapshot {
        let verified = if self.base.verified.capacity() < u64::from(superblock.physical_pages) {
            Arc::new(self.base.verified.grown(superblock.physical_pages))
        } else {
            Arc::clone(&self.base.verified)
        };
        let base = Base::new(superblock, view, verified, self.base.remember);
        base.named.get_or_init(|| std::mem::take(&mut self.named));
        let base = Arc::new(base);
        let writer = &mut *self.writer;
        if let Some(cut) = self.cut {
            writer.allocation.cut_pending(superblock.physical_pages);
            writer.allocation.cut = Some(cut);
        }
        writer.allocation.free = std::mem::take(&mut self.free);
        self.from_streams.clear();
        let freed = freed
            .iter()
            .map(|(first, pages)| Run { first, pages })
            .collect();
        writer.allocation.defer(superblock.sequence, freed);
        writer.allocation.track(&base);
        writer.base = Arc::clone(&base);
        writer.record = record;
        writer.journal = superblock.journal;
        writer.drained = superblock.drained;
        writer.chain = superblock.chain;
        self.store.publish(Arc::clone(&base), superblock);
        tracing::debug!(
            sequence = superblock.sequence,
            pages = superblock.physical_pages,
            "committed"
        );
        Snapshot { base }
    }

    /// Moves a page to the lowest free place at the commit, with its bytes unchanged.
    pub(crate) fn relocate(&mut self, page: LogicalPage) -> Result<()> {
        self.page_mut(page).map(|_| ())
    }
}
