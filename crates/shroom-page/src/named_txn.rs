//! Saving, deleting and restoring named snapshots, each as part of a commit.
//!
//! * N4 What a deletion frees is exactly what neither the present state nor another named snapshot reaches.
//! * N5 A restored state is that of the snapshot, down to each page; only its sequence is new.
//!
//! Absent on purpose: moves no page. What a named snapshot reaches stays where it is until its deletion.

use std::sync::Arc;

use crate::free_runs::FreeRuns;
use crate::map::Entry;
use crate::named::{self, Held, Named, NamedList, visit_exclusive};
use crate::snapshot::{Base, Snapshot};
use crate::store::PageStore;
use crate::superblock::{Run, Superblock};
use crate::txn::PageTxn;
use crate::{JournalMark, PageError, Result};

impl PageTxn<'_> {
    /// Saves, with the commit, the state that it makes under a name: O(1), and the pages are shared. The name has 1 to
    /// [`SNAPSHOT_NAME_MAX`](crate::SNAPSHOT_NAME_MAX) bytes and no control character.
    ///
    /// # Errors
    /// [`PageError::SnapshotExists`], unless that snapshot is deleted by this transaction; [`PageError::Misuse`] for a name
    /// that cannot be.
    pub fn save_snapshot(&mut self, name: &str) -> Result<()> {
        named::check_name(name).map_err(|detail| PageError::Misuse {
            what: "name of a snapshot",
            detail,
        })?;
        if self.named.contains(name) || self.saved.contains(name) {
            return Err(PageError::SnapshotExists { name: name.into() });
        }
        self.saved.insert(name.into());
        Ok(())
    }

    /// Deletes, with the commit, a named snapshot, or does not save it after all. Pages that nothing else reaches are free
    /// then, as soon as no reader needs them.
    ///
    /// # Errors
    /// [`PageError::NoSuchSnapshot`].
    pub fn delete_snapshot(&mut self, name: &str) -> Result<()> {
        if !self.saved.remove(name) {
            let named = self.named.remove(name)?;
            self.deleted.push(named);
        }
        Ok(())
    }

    /// The maps of the named snapshots that stay.
    pub(crate) fn held(&self) -> Result<Held> {
        Held::new(&self.named, &self.base)
    }

    /// Frees what the deleted snapshots alone reach.
    pub(crate) fn release_deleted(&mut self, freed: &mut FreeRuns) -> Result<()> {
        let deleted = std::mem::take(&mut self.deleted);
        let mut kept: Vec<Base> = Vec::new();
        for named in &deleted {
            // Another deleted one that shares a page has freed it already.
            let state = named.map_of(&self.base)?;
            let others: Vec<&Base> = self.held.maps().chain([&*self.base]).chain(&kept).collect();
            visit_exclusive(&state, &others, &mut |_, _, entry| {
                self.release_unused(freed, entry.physical)
            })?;
            self.release_unused(freed, named.place.physical)?;
            kept.push(state);
        }
        Ok(())
    }

    /// Notes a page that only a snapshot, or a state that is left, reaches. Nothing else may use it.
    pub(crate) fn release_unused(&self, freed: &mut FreeRuns, physical: u32) -> Result<()> {
        let run = Run {
            first: physical,
            pages: 1,
        };
        let fixed = self.writer.journal.iter().chain([&self.writer.record]);
        let mut frozen = self.named.iter();
        if fixed.copied().any(|fixed| fixed.overlaps(run))
            || frozen.any(|named| named.place.physical == physical)
        {
            return Err(crate::commit::used_twice(run));
        }
        self.release(freed, run)
    }

    /// Writes the superblock of the state to be, frozen, for each name that it is saved under.
    pub(crate) fn write_saved(&mut self, superblock: &Superblock) -> Result<()> {
        for name in std::mem::take(&mut self.saved) {
            let physical = self.take_physical()?;
            let page = named::encode_frozen(&Superblock {
                physical_pages: self.free.physical_pages,
                ..superblock.clone()
            });
            self.store
                .write(u64::from(physical) << superblock.page_size.shift(), &page)?;
            let hash = *blake3::hash(&page).as_bytes();
            self.named
                .insert(Named::new(&name, Entry { physical, hash }));
        }
        Ok(())
    }

    fn restore(mut self, name: &str) -> Result<Snapshot> {
        let target: NamedList = self.named.clone();
        let target = target.find(name)?.superblock(&self.base)?;
        let state = Base::frozen(target, &self.base, None);
        self.held = self.held()?;
        let mut freed = FreeRuns::default();
        let base = Arc::clone(&self.base);
        let others: Vec<&Base> = self.held.maps().collect();
        visit_exclusive(&base, &others, &mut |_, _, entry| {
            self.release_unused(&mut freed, entry.physical)
        })?;
        self.free.logical = named::mapped(&state)?.complement(1, state.logical_pages);
        self.free.logical_pages = state.logical_pages;
        self.seal(target.root.clone(), &state.shape, target.roots, freed)
    }
}

impl PageStore {
    /// Makes the state that was saved under a name the present one, atomically: its pages and its roots. What came after
    /// it is gone, except for what other named snapshots reach; journal frames up to `mark` count as drained: it should
    /// [skip one](JournalMark::skip_one), since no frame says what is done here. Waits while a transaction is open. Costs a
    /// walk over what differs, and one over the map of the snapshot.
    ///
    /// # Errors
    /// [`PageError::NoSuchSnapshot`]; corruption of a map; those of [`PageTxn::commit`].
    pub fn restore_snapshot(&self, name: &str, mark: JournalMark) -> Result<Snapshot> {
        let mut txn = self.begin()?;
        txn.set_drained(mark);
        txn.restore(name)
    }
}
