//! Moving the file's last pages into its holes, so that a closed file is only data.
//!
//! A page moves by being rewritten unchanged: copy-on-write puts it at the lowest free place. Map pages move with
//! the pages below them. Each pass is an ordinary commit, so a crash at any point loses nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::map::Entry;
use crate::snapshot::Base;
use crate::store::PageStore;
use crate::superblock::Roots;
use crate::{LogicalPage, Result, Snapshot};

/// The first pass moves what lies beyond the data's size, the second what the first had to write there, the third
/// what the second's map pages left; later passes would gain nothing.
const PASSES_MAX: usize = 4;

impl PageStore {
    /// Moves pages from the end of the file into free places, and cuts the file. Costs a few commits and the bytes
    /// of the pages moved. Does nothing when there is nothing to gain. `published` is given each new state, so that its
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
            let pages = pages_beyond(&txn.base, target)?;
            for &page in &pages {
                txn.relocate(LogicalPage(page))?;
            }
            txn.trim = true;
            let roots: Roots = txn.base.roots;
            published(txn.commit(roots)?);
            self.cut_tail()?;
        }
        Ok(())
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

/// Logical pages to rewrite so that neither they nor the map pages above them lie at `target` or beyond.
fn pages_beyond(base: &Arc<Base>, target: u32) -> Result<BTreeSet<u32>> {
    let mut pages = BTreeSet::new();
    let root = base.shape.height;
    for index in 0..base.root_physical.len() as u32 {
        collect(
            base,
            root,
            index,
            base.root_entry(index as usize),
            target,
            &mut pages,
        )?;
    }
    Ok(pages)
}

/// Collects below entry `index` of `level`; returns some logical page below it, to rewrite when the entry's own page must move.
fn collect(
    base: &Base,
    level: u8,
    index: u32,
    entry: Entry,
    target: u32,
    pages: &mut BTreeSet<u32>,
) -> Result<Option<u32>> {
    if entry.is_absent() {
        return Ok(None);
    }
    let beyond = entry.physical >= target;
    if level == 0 {
        if beyond {
            pages.insert(index);
        }
        return Ok(Some(index));
    }
    let Some(entries) = base.node_at(level - 1, index)? else {
        return Ok(None);
    };
    let mut some = None;
    for digit in 0..base.fanout {
        let child = index * base.fanout as u32 + digit as u32;
        some = collect(base, level - 1, child, entries.get(digit), target, pages)?.or(some);
    }
    if let Some(page) = some.filter(|_| beyond) {
        pages.insert(page);
    }
    Ok(some)
}
