//! Compactions that begin by themselves: when a checkpoint leaves more free than was asked for.
//!
//! Absent on purpose: no clock; only what is free decides.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use crate::core::{Core, Writer};
use crate::error::{Error, Result};
use crate::sync::Builder;

/// A file of fewer pages is not compacted by itself.
const AUTOMATIC_PAGES_MIN: u64 = 64;

impl Core {
    /// Free bytes of the file: those that can be used now, and those that wait for readers; and its length.
    pub(super) fn free_bytes(&self) -> Result<(u64, u64, u64)> {
        let store = self.store.stats(false)?;
        let shift = self.store.page_size().shift();
        let inside = shroom_seg::free_bytes(&self.store.snapshot().roots().seg)?;
        let free = (store.free_pages << shift) + inside;
        Ok((
            free,
            store.pending_pages << shift,
            store.physical_pages << shift,
        ))
    }

    /// A compaction is over: what is free now is no reason for another one.
    pub(super) fn note_left(&self) -> Result<()> {
        let (free, held, _) = self.free_bytes()?;
        self.compactor.left.store(free, Ordering::Relaxed);
        self.compactor.left_held.store(held, Ordering::Relaxed);
        Ok(())
    }

    /// Called after a checkpoint: decides whether the file is to be compacted.
    pub(crate) fn note_drained(&self, writer: &mut Writer) {
        let Some(share) = self.options.compact_above.filter(|_| !writer.closed) else {
            return;
        };
        // While one runs it needs no other; it holds this, or its work is there.
        let idle = self
            .compactor
            .slot
            .try_lock()
            .is_ok_and(|slot| slot.job.is_none());
        let Ok((free, held, file)) = self.free_bytes() else {
            return; // the bytes are damaged, and whoever reads them is told
        };
        let free = free + held;
        let least = AUTOMATIC_PAGES_MIN << self.store.page_size().shift();
        // What readers held then may be free by now.
        let left_held = self.compactor.left_held.load(Ordering::Relaxed);
        let left = self.compactor.left.load(Ordering::Relaxed) + left_held.min(held);
        if !idle || file < least || (free as f64) < share * file as f64 || free < 2 * left {
            return;
        }
        let core = self.this.upgrade().filter(|_| self.options.background);
        let Some(core) = core else {
            self.compactor.due.store(1, Ordering::Relaxed);
            return;
        };
        if self.compactor.threads.swap(1, Ordering::AcqRel) != 0 {
            return;
        }
        if let Some(before) = writer.compaction_thread.take() {
            // It needs no lock any more.
            drop(before.join());
        }
        let work = move || {
            core.compact_by_itself();
            core.compactor.threads.store(0, Ordering::Release);
        };
        match Builder::new().name("shroom-compaction".into()).spawn(work) {
            Ok(thread) => writer.compaction_thread = Some(thread),
            Err(error) => {
                self.compactor.threads.store(0, Ordering::Release);
                tracing::warn!(%error, "no thread for a compaction");
            }
        }
    }

    /// Compacts when a checkpoint has found that it is time to.
    pub(crate) fn compact_if_due(&self) {
        if self.compactor.due.load(Ordering::Relaxed) != 0 {
            self.compactor.due.store(0, Ordering::Relaxed);
            self.compact_by_itself();
        }
    }

    pub(super) fn compact_by_itself(&self) {
        match self.compact(&mut |_| ControlFlow::Continue(())) {
            Ok(_) | Err(Error::Closed) => {}
            // Nothing is lost, and nobody has asked for it. The next one would get no further.
            Err(error) => {
                tracing::warn!(%error, "a compaction ended early");
                // When even this cannot be read, no other one begins either.
                self.note_left().ok();
            }
        }
    }
}
