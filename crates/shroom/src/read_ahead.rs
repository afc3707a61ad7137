//! Reading ahead of a checkpoint, on a thread of its own: the pages that it will change are loaded and checked against their
//! hashes by the time it comes to them.
//!
//! Absent on purpose: finds nothing out that the checkpoint would not find out by itself, errors included.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, Scope};

use crate::core::Core;
use crate::overlay::Overlay;

/// Changed tokens from which on a thread is worth starting.
const TOKENS_MIN: usize = 4096;

/// Reads until it is dropped.
pub(crate) struct ReadAhead {
    ended: Arc<AtomicBool>,
}

impl ReadAhead {
    /// Begins to look up the tokens of an overlay from an id on, in the pages below it; where that pays and may be done in the
    /// background.
    pub(crate) fn begin<'scope>(
        scope: &'scope Scope<'scope, '_>,
        core: &Core,
        overlay: &'scope Overlay,
        first: u64,
    ) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        if core.options.background && overlay.len() >= TOKENS_MIN {
            let base = Arc::clone(&core.state.load().base);
            let stop = Arc::clone(&ended);
            // Two looks at a page, on average.
            let pages = base.pages.physical_pages() as usize;
            let step = (overlay.len() / pages.max(1) / 2).max(1);
            let read = move || {
                for (id, _) in overlay.range(first, u64::MAX).step_by(step) {
                    if stop.load(Ordering::Relaxed) || base.find(id).is_err() {
                        return;
                    }
                }
            };
            // Without a thread nothing is read ahead.
            drop(
                Builder::new()
                    .name("shroom-read".into())
                    .spawn_scoped(scope, read),
            );
        }
        Self { ended }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}
