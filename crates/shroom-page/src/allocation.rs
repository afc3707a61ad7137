//! Which physical and logical pages are free, and from when on.
//!
//! * A1 A physical page that any live base reaches, or that the durable superblock reaches, is never handed out.
//! * A2 Lowest page first, so that free space gathers at the file's end.
//!
//! Pages freed by checkpoint N wait in `pending` until N is durable and no base older than N lives.

use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};

use crate::free_runs::FreeRuns;
use crate::snapshot::Base;
use crate::superblock::Run;

/// The free pages as a transaction sees them; thrown away when it aborts.
#[derive(Clone, Debug, Default)]
pub(crate) struct FreePages {
    pub(crate) physical: FreeRuns,
    pub(crate) logical: FreeRuns,
    pub(crate) physical_pages: u32,
    pub(crate) logical_pages: u32,
}

/// A cut of the file's tail that waits for the readers of older states.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingCut {
    /// States before this one may reach into the tail.
    pub(crate) sequence: u64,
    /// Length of the file before the cut, in pages.
    pub(crate) from: u32,
}

/// Free pages with the states that still reach them.
#[derive(Debug, Default)]
pub(crate) struct Allocation {
    pub(crate) free: FreePages,
    pending: VecDeque<(u64, Vec<Run>)>,
    live: VecDeque<(u64, Weak<Base>)>,
    pub(crate) cut: Option<PendingCut>,
}

impl Allocation {
    pub(crate) fn new(free: FreePages) -> Self {
        Self {
            free,
            ..Self::default()
        }
    }

    /// Notes a state that readers may hold.
    pub(crate) fn track(&mut self, base: &Arc<Base>) {
        // Behind a long-lived reader the dead ones would pile up.
        self.live.retain(|(_, base)| base.strong_count() > 0);
        self.live.push_back((base.sequence, Arc::downgrade(base)));
    }

    /// Sequence of the oldest state that is still held.
    pub(crate) fn oldest_live(&mut self) -> u64 {
        while self
            .live
            .front()
            .is_some_and(|(_, base)| base.strong_count() == 0)
        {
            self.live.pop_front();
        }
        // A count is read without ordering; what its last holder did comes before what is done with its pages.
        fence(Ordering::Acquire);
        self.live
            .front()
            .map_or(u64::MAX, |&(sequence, _)| sequence)
    }

    /// States that are still held.
    pub(crate) fn live_count(&self) -> usize {
        self.live
            .iter()
            .filter(|(_, base)| base.strong_count() > 0)
            .count()
    }

    /// Makes the pages reusable that no state reaches any more.
    pub(crate) fn release(&mut self) {
        let oldest = self.oldest_live();
        while self
            .pending
            .front()
            .is_some_and(|&(sequence, _)| sequence <= oldest)
        {
            let (_, runs) = self.pending.pop_front().expect("just seen");
            for run in runs {
                self.free.physical.insert(run.first, run.pages);
            }
        }
    }

    /// Adds what checkpoint `sequence` freed.
    pub(crate) fn defer(&mut self, sequence: u64, runs: Vec<Run>) {
        if !runs.is_empty() {
            self.pending.push_back((sequence, runs));
        }
    }

    /// Pages that wait for readers of older states.
    pub(crate) fn pending_pages(&self) -> u64 {
        self.pending
            .iter()
            .flat_map(|(_, runs)| runs)
            .map(|run| u64::from(run.pages))
            .sum()
    }

    /// All that is free once no older state is held: `free`, what is pending, and `freed`. A run that is in two of
    /// them is given back as the error: a damaged file names a page twice.
    pub(crate) fn all_free(&self, free: &FreeRuns, freed: &FreeRuns) -> Result<FreeRuns, Run> {
        let mut all = free.clone();
        for run in self.pending.iter().flat_map(|(_, runs)| runs) {
            all.insert(run.first, run.pages);
        }
        for (first, pages) in freed.iter() {
            if !all.try_insert(first, pages) {
                return Err(Run { first, pages });
            }
        }
        Ok(all)
    }

    /// Forgets pending pages from `limit` on: they are cut off.
    pub(crate) fn cut_pending(&mut self, limit: u32) {
        for (_, runs) in &mut self.pending {
            runs.retain_mut(|run| {
                run.pages = run.pages.min(limit.saturating_sub(run.first));
                run.pages > 0
            });
        }
        self.pending.retain(|(_, runs)| !runs.is_empty());
    }
}
