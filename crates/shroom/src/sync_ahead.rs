//! Syncs ahead of a large commit, on a thread of their own: the device writes what is there while the rest is being made, and the
//! commit waits for little.
//!
//! Absent on purpose: makes no state durable; what comes of it is known to the commit, which syncs by itself.

use std::panic::resume_unwind;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use shroom_page::PageStore;

use crate::error::Result;

/// At most one sync at a time.
pub(crate) struct SyncAhead<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    store: &'env PageStore,
    running: Option<ScopedJoinHandle<'scope, shroom_page::Result<()>>>,
}

impl<'scope, 'env> SyncAhead<'scope, 'env> {
    pub(crate) fn new(scope: &'scope Scope<'scope, 'env>, store: &'env PageStore) -> Self {
        Self {
            scope,
            store,
            running: None,
        }
    }

    /// Begins a sync of what was written so far, unless one runs. Without a thread there is none: the commit's own must do.
    ///
    /// # Errors
    /// Those of the last one.
    pub(crate) fn start(&mut self) -> Result<()> {
        if self
            .running
            .as_ref()
            .is_some_and(|running| !running.is_finished())
        {
            return Ok(());
        }
        self.finish()?;
        let store = self.store;
        let begun = Builder::new()
            .name("shroom-sync".into())
            .spawn_scoped(self.scope, move || store.sync_ahead());
        self.running = begun.ok();
        Ok(())
    }

    /// Waits for the sync that runs, if one does.
    ///
    /// # Errors
    /// Its.
    pub(crate) fn finish(&mut self) -> Result<()> {
        match self.running.take() {
            Some(running) => Ok(running
                .join()
                .unwrap_or_else(|panic| resume_unwind(panic))?),
            None => Ok(()),
        }
    }
}
