//! Moving the file's last pages into its holes, so that a closed file is only data.
//!
//! A page moves by being rewritten unchanged: copy-on-write puts it at the lowest free place. So does a map page. Each pass is an ordinary commit, so a crash at any point loses nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::map::Entry;
use crate::map_walk::MapPages;
use crate::named::{Held, NamedList, visit_exclusive};
use crate::snapshot::Base;
use crate::store::PageStore;
use crate::superblock::Roots;
use crate::{LogicalPage, PageError, PhysicalPage, Result, Snapshot};

/// The first pass moves what lies beyond the data's size, the second the map pages that the first had to write there;
/// later passes move the few that the one before left.
const PASSES_MAX: usize = 4;
/// Moved pages kept in memory before they are written out, in bytes.
const MOVED_BYTES_MAX: usize = 8 << 20;

impl PageStore {
    /// Moves pages from the end of the file into free places, and cuts the file. Costs a few commits and the bytes
    /// of the pages moved. Does nothing when there is nothing to gain. Journal areas stay where they are, and so do pages
    /// that a named snapshot reaches or a stream holds: the file is cut behind the last of them at most. `published` is given each new state,
    /// so that its caller can let go of the one before.
    ///
    /// # Errors
    /// As [`commit`](crate::PageTxn::commit).
    pub fn vacuum(&self, published: &mut dyn FnMut(Snapshot)) -> Result<()> {
        for _ in 0..PASSES_MAX {
            if !self.vacuum_pass(usize::MAX, published)? {
                break;
            }
        }
        self.cut_tail()
    }

    /// One commit of a [`vacuum`](Self::vacuum), which moves up to `pages_max` pages, at least one: whether it found something
    /// to do. Free places that readers of older states still hold are none yet, so calling it for as long as there is
    /// something to do need not end.
    ///
    /// # Errors
    /// As [`commit`](crate::PageTxn::commit).
    pub fn vacuum_pass(
        &self,
        pages_max: usize,
        published: &mut dyn FnMut(Snapshot),
    ) -> Result<bool> {
        let mut txn = self.begin()?;
        let free = txn.free.physical.pages();
        if free == 0 {
            return Ok(false);
        }
        let held = txn.held()?;
        let data = txn.free.physical_pages - free as u32;
        // Behind what a stream has reserved nothing can be cut off either.
        let reserved_end = txn.writer.allocation.reserved.end();
        let target = data.max(held_end(&txn.named, &held)?).max(reserved_end);
        let beyond = pages_beyond(&txn.base, target, &held)?;
        if txn.free.physical_pages.saturating_sub(target) <= beyond.copies {
            return Ok(false);
        }
        for &page in beyond.pages.iter().take(pages_max.max(1)) {
            txn.relocate(LogicalPage(page))?;
            if txn.dirty_bytes() >= MOVED_BYTES_MAX {
                txn.spill()?;
            }
        }
        if beyond.pages.len() <= pages_max {
            let fanout = txn.base.fanout as u32;
            let lowest = |page: u32| (0, page / fanout);
            txn.touched = beyond.map_pages.into_iter().map(lowest).collect();
        }
        txn.trim = true;
        let roots: Roots = txn.base.roots;
        published(txn.commit(roots)?);
        self.cut_tail()?;
        Ok(true)
    }

    /// Gives both journal areas back, noting that all frames are drained.
    ///
    /// # Errors
    /// As [`commit`](crate::PageTxn::commit).
    pub fn release_journal(&self) -> Result<()> {
        let mut txn = self.begin()?;
        if txn.writer.journal.iter().all(|run| run.is_empty()) {
            return Ok(());
        }
        txn.set_drained(self.journal_mark());
        txn.set_journal_area(0, 0);
        txn.set_journal_area(1, 0);
        let roots = txn.base.roots;
        txn.commit(roots).map(|_| ())
    }

    /// Syncs once more, so that both superblock slots are durable.
    ///
    /// # Errors
    /// I/O errors; the store is then poisoned.
    pub fn settle(&self) -> Result<()> {
        self.sync()
    }
}

/// What lies at a physical page or beyond.
#[derive(Default)]
struct Beyond {
    /// Logical pages.
    pages: BTreeSet<u32>,
    /// For each map page, a logical page below it.
    map_pages: BTreeSet<u32>,
    /// Map pages that lead there and that a named snapshot keeps: they are not moved but copied.
    copies: u32,
}

/// End of the last page that a named snapshot reaches.
fn held_end(named: &NamedList, held: &Held) -> Result<u32> {
    let mut last = named.iter().map(|named| named.place.physical).max();
    let mut before: Vec<&Base> = Vec::new();
    for map in held.maps() {
        let mut seen = BTreeSet::new();
        // What the one before it shares was seen there.
        visit_exclusive(map, &before, &mut |level, _, entry| {
            last = last.max(Some(entry.physical));
            if level > 0 && !seen.insert(entry.physical) {
                return Err(reached_twice(&entry));
            }
            Ok(())
        })?;
        before = vec![map];
    }
    // A damaged map may name any page.
    Ok(last.map_or(0, |last| last.saturating_add(1)))
}

fn pages_beyond(base: &Arc<Base>, target: u32, held: &Held) -> Result<Beyond> {
    let mut search = Search {
        base,
        held,
        target,
        beyond: Beyond::default(),
        seen: BTreeSet::new(),
    };
    for index in 0..base.root_physical.len() as u32 {
        search.collect(base.shape.height, index, &base.root_entry(index as usize))?;
    }
    Ok(search.beyond)
}

struct Search<'b> {
    base: &'b Base,
    held: &'b Held,
    target: u32,
    beyond: Beyond,
    /// Map pages visited: a damaged map may lead to one by many ways.
    seen: BTreeSet<u32>,
}

impl Search<'_> {
    /// Collects below entry `index` of `level`; returns some logical page below it.
    fn collect(&mut self, level: u8, index: u32, entry: &Entry) -> Result<Option<u32>> {
        if entry.is_absent() {
            return Ok(None);
        }
        let beyond = entry.physical >= self.target;
        if level == 0 {
            if beyond {
                self.beyond.pages.insert(index);
            }
            return Ok(Some(index));
        }
        if !self.seen.insert(entry.physical) {
            return Err(reached_twice(entry));
        }
        let found = self.beyond.pages.len() + self.beyond.map_pages.len();
        let entries = self.base.node_of(entry, level - 1)?;
        let fanout = self.base.fanout as u32;
        let mut some = None;
        for digit in 0..fanout {
            let child = index
                .checked_mul(fanout)
                .and_then(|at| at.checked_add(digit));
            let Some(child) = child else { break };
            let entry = entries.get(digit as usize);
            some = self.collect(level - 1, child, &entry)?.or(some);
        }
        if let Some(page) = some.filter(|_| beyond) {
            self.beyond.map_pages.insert(page);
        }
        let moves = self.beyond.pages.len() + self.beyond.map_pages.len() > found;
        if moves && self.held.reaches(level, index, entry.physical)? {
            self.beyond.copies += 1;
        }
        Ok(some)
    }
}

#[cold]
fn reached_twice(entry: &Entry) -> PageError {
    PageError::Corrupt {
        what: "page map",
        physical: PhysicalPage(entry.physical),
        detail: "reached twice".into(),
    }
}
