//! Syncs ahead of a large commit, on a thread of their own: the device writes what is there while the rest is being made, and the
//! commit waits for little.
//!
//! Absent on purpose: makes no state durable; what comes of it is known to the commit, which syncs by itself.

use std::panic::resume_unwind;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::core::Core;
use crate::error::Result;

/// At most one sync at a time.
pub(crate) struct SyncAhead<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    core: &'env Core,
    running: Option<ScopedJoinHandle<'scope, shroom_page::Result<()>>>,
}

impl<'scope, 'env> SyncAhead<'scope, 'env> {
    pub(crate) fn new(scope: &'scope Scope<'scope, 'env>, core: &'env Core) -> Self {
        Self {
            scope,
            core,
            running: None,
        }
    }

    /// Begins a sync of what was written so far, unless one runs. Where nothing is done in the background, or there is no thread, the
    /// commit's own must do.
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
        if !self.core.options.background {
            return Ok(());
        }
        let store = &self.core.store;
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
