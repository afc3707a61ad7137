//! Named snapshots: states saved in the file until they are deleted.
//!
//! * N1 What is saved is the state that readers see at that moment, journal included; and it is durable when the call returns.
//! * N2 Each call happens in one commit: after a crash it has happened, with all that came before it, or it has not.
//! * N3 The journal's frames from before a restored state are drained with it, and so never replayed over it.

use std::sync::Arc;

use shroom_page::PageError;

use crate::core::Core;
use crate::db::Db;
use crate::diff::Diff;
use crate::drain::Draining;
use crate::error::{Error, Result};
use crate::overlay::Overlay;
use crate::snapshot::Snapshot;
use crate::state::{Base, State};

/// A named snapshot, as [`Db::snapshots`] lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedSnapshot {
    /// Its name.
    pub name: String,
    /// Number of the checkpoint that saved it.
    pub checkpoint: u64,
    /// Number of tokens.
    pub tokens: u64,
    /// Sum of the tokens' lengths, in bytes.
    pub payload_bytes: u64,
    /// The application's tag.
    pub tag: u64,
}

impl Db {
    /// Saves the present state under a name, in the file and durably, until it is deleted. The name has 1 to 255 bytes and no
    /// control character. Moves what the journal holds into the pages; beyond that the cost does not depend on the size
    /// of the database, and all pages are shared until they change.
    ///
    /// # Errors
    /// [`SnapshotExists`](Error::SnapshotExists); a name that cannot be; those of [`checkpoint`](Self::checkpoint).
    pub fn save_snapshot(&self, name: &str) -> Result<()> {
        self.core().save_snapshot(name)
    }

    /// The named snapshots, in the order of their names' bytes.
    ///
    /// # Errors
    /// Corruption of the bytes read; I/O errors.
    pub fn snapshots(&self) -> Result<Vec<SavedSnapshot>> {
        let core = self.core();
        let names = core.store.snapshot_names()?.into_iter();
        let mut list = Vec::new();
        for name in names {
            let base = match core.store.open_snapshot(&name) {
                Ok(pages) => Base::new(pages)?,
                // Deleted since the names were read.
                Err(PageError::NoSuchSnapshot { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            list.push(SavedSnapshot {
                name,
                checkpoint: base.pages.sequence(),
                tokens: base.root.tokens(),
                payload_bytes: base.root.payload(),
                tag: base.tag,
            });
        }
        Ok(list)
    }

    /// The state that was saved under a name, to be read from like any [`Snapshot`]; also when it is deleted meanwhile.
    ///
    /// # Errors
    /// [`NoSuchSnapshot`](Error::NoSuchSnapshot); corruption of the bytes read.
    pub fn open_snapshot(&self, name: &str) -> Result<Snapshot> {
        let pages = self.core().store.open_snapshot(name).map_err(named)?;
        let base = Arc::new(Base::new(pages)?);
        Ok(Snapshot::new(Arc::new(State::new(
            base,
            None,
            Overlay::default(),
        ))))
    }

    /// Makes a saved state the present one, tag included, durably. All that was written since is gone, except for what other
    /// named snapshots hold; the snapshot itself stays. Snapshots that are held go on as they are.
    ///
    /// # Errors
    /// [`NoSuchSnapshot`](Error::NoSuchSnapshot); corruption of the bytes read; those of [`checkpoint`](Self::checkpoint).
    pub fn restore(&self, name: &str) -> Result<()> {
        self.core().restore(name)
    }

    /// Deletes a named snapshot, durably. Frees exactly the pages that neither the present state nor another snapshot
    /// needs; costs what differs from those.
    ///
    /// # Errors
    /// [`NoSuchSnapshot`](Error::NoSuchSnapshot); corruption of the page map; those of [`flush`](Self::flush).
    pub fn delete_snapshot(&self, name: &str) -> Result<()> {
        self.core().delete_snapshot(name)
    }

    /// Bytes of the pages that only this named snapshot needs: what its deletion would free. Costs what differs from the
    /// present state and from the other snapshots.
    ///
    /// # Errors
    /// [`NoSuchSnapshot`](Error::NoSuchSnapshot); corruption of the page map.
    pub fn snapshot_bytes(&self, name: &str) -> Result<u64> {
        let store = &self.core().store;
        let pages = store.snapshot_pages(name).map_err(named)?;
        Ok(pages << store.page_size().shift())
    }

    /// The ids that two named snapshots hold differently: see [`Snapshot::diff`].
    ///
    /// # Errors
    /// [`NoSuchSnapshot`](Error::NoSuchSnapshot); those of [`Snapshot::diff`].
    pub fn diff(&self, before: &str, after: &str) -> Result<Diff> {
        self.open_snapshot(before)?
            .diff(&self.open_snapshot(after)?)
    }
}

impl Core {
    fn save_snapshot(&self, name: &str) -> Result<()> {
        let writer = self.wait_for_drain(self.writable()?)?;
        // Before the journal is drained for nothing.
        self.store.begin()?.save_snapshot(name).map_err(named)?;
        let _writer = self.drain_all(writer)?;
        let roots = *self.store.snapshot().roots();
        let mut txn = self.store.begin()?;
        txn.save_snapshot(name).map_err(named)?;
        let base = Arc::new(Base::new(txn.commit(roots)?)?);
        // Everything is drained, and the lock is held: nothing lies over the base.
        self.state
            .store(Arc::new(State::new(base, None, Overlay::default())));
        Ok(())
    }

    fn delete_snapshot(&self, name: &str) -> Result<()> {
        // A checkpoint that failed is not tried again first: on a full disk this is what makes room for it.
        let writer = self.wait_while_busy(self.writable()?);
        writer.check_open()?;
        // What was written before the deletion must not be lost by a crash that the deletion outlives.
        self.sync(self.mark().sequence)?;
        let roots = *self.store.snapshot().roots();
        let mut txn = self.store.begin()?;
        txn.delete_snapshot(name).map_err(named)?;
        let base = Arc::new(Base::new(txn.commit(roots)?)?);
        let state = self.state.load_full();
        self.state.store(Arc::new(State::new(
            base,
            state.frozen.clone(),
            state.overlay.clone(),
        )));
        Ok(())
    }

    fn restore(&self, name: &str) -> Result<()> {
        // Nor here: what it was to move is to go, and so are the pages that it may have failed at.
        let mut writer = self.wait_while_busy(self.writable()?);
        writer.check_open()?;
        // Its roots must be sound before anything changes.
        Base::new(self.store.open_snapshot(name).map_err(named)?)?;
        // No frame says what it does: those after it must not continue the state before it.
        let mark = self.mark().skip_one();
        let pages = self.store.restore_snapshot(name, mark);
        let base = Arc::new(Base::new(pages.map_err(named)?)?);
        writer.draining = Draining::Idle;
        writer.forget_ids();
        self.state
            .store(Arc::new(State::new(base, None, Overlay::default())));
        drop(writer);
        // The state may be from before the file kept track of its content.
        self.settle_tracking()
    }
}

/// The page layer's errors about names, as this layer's.
pub(crate) fn named(error: PageError) -> Error {
    match error {
        PageError::SnapshotExists { name } => Error::SnapshotExists { name },
        PageError::NoSuchSnapshot { name } => Error::NoSuchSnapshot { name },
        error => error.into(),
    }
}
