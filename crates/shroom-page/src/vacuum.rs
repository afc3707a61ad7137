//! Moving the file's last pages into its holes, so that a closed file is only data.
//!
//! A page moves by being rewritten unchanged: copy-on-write puts it at the lowest free place. So does a map page. Each pass is an ordinary commit, so a crash at any point loses nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::map::Entry;
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
    /// of the pages moved. Does nothing when there is nothing to gain. Journal areas stay where they are. `published` is given each new state, so that its
    /// caller can let go of the one before.
    ///
    /// # Errors
    /// As [`commit`](crate::PageTxn::commit).
    pub fn vacuum(&self, published: &mut dyn FnMut(Snapshot)) -> Result<()> {
        for _ in 0..PASSES_MAX {
            let mut txn = self.begin()?;
            let free = txn.free.physical.pages();
            if free == 0 {
                break;
            }
            let target = txn.free.physical_pages - free as u32;
            let beyond = pages_beyond(&txn.base, target)?;
            for &page in &beyond.pages {
                txn.relocate(LogicalPage(page))?;
                if txn.dirty_bytes() >= MOVED_BYTES_MAX {
                    txn.spill()?;
                }
            }
            txn.touched = beyond.map_pages;
            txn.trim = true;
            let roots: Roots = txn.base.roots;
            published(txn.commit(roots)?);
            self.cut_tail()?;
        }
        self.cut_tail()
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
}

fn pages_beyond(base: &Arc<Base>, target: u32) -> Result<Beyond> {
    let mut search = Search {
        base,
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
            return Err(PageError::Corrupt {
                what: "page map",
                physical: PhysicalPage(entry.physical),
                detail: "reached twice".into(),
            });
        }
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
        Ok(some)
    }
}
