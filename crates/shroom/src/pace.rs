//! Back-pressure: a writer that outruns the checkpoint waits a little, often, instead of long at once.
//!
//! While a checkpoint drains one journal area, the writer fills the other. It may be ahead by a quarter of an area; beyond that
//! it is held to the checkpoint's pace: at each 1024th of the area it waits until the checkpoint has caught up, or
//! two milliseconds.
//!
//! Absent on purpose: decides nothing about what is written; only when the next write may begin.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::core::{Core, Writer};
use crate::drain::Draining;
use crate::sync::{AtomicU64, MutexGuard};

/// Parts of a journal area at whose ends a writer may have to wait.
const PARTS: u64 = 1024;
/// Longest wait of one write, while a checkpoint runs and the area is not full.
const WAIT_MAX: Duration = Duration::from_millis(2);
/// Share of an area by which the writer may be ahead, in 256ths.
const LEAD: u64 = 64;
/// Share of a checkpoint that is done when all is merged, in 256ths: the last slice is still to be written and synced.
const MERGED: u64 = 208;

/// How far the running checkpoint is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    pub(crate) fn begin(&self, total: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    pub(crate) fn step(&self, by: u64) {
        self.done.fetch_add(by, Ordering::Relaxed);
    }

    /// In 256ths.
    fn share(&self) -> u64 {
        let total = self.total.load(Ordering::Relaxed).max(1);
        self.done.load(Ordering::Relaxed).min(total) * MERGED / total
    }
}

impl Core {
    /// Called after a write, which is done: waits when the writer is too far ahead of the checkpoint.
    pub(crate) fn slow_down(&self, mut writer: MutexGuard<'_, Writer>) {
        if !matches!(writer.draining, Draining::Running) {
            return;
        }
        let journal = self.store.journal_stats();
        if journal.used_bytes < writer.pause_at {
            return;
        }
        writer.pause_at = journal.used_bytes + journal.active_bytes / PARTS;
        let filled = journal.used_bytes * 256 / journal.active_bytes.max(1);
        let allowed = LEAD + self.progress.share() * (256 - LEAD) / 256;
        if filled > allowed {
            drop(self.drained.wait_timeout(writer, WAIT_MAX));
        }
    }
}
