//! Which physical and logical pages are free, and from when on.
//!
//! * A1 A physical page that any live base reaches, or that the durable superblock reaches, is never handed out.
//! * A2 Lowest page first, so that free space gathers at the file's end.
//!
//! * A3 A reserved page is free in the file, and so in each commit's free record, but nobody takes it, no cut of the tail reaches it and
//!   no hole is punched there: it is a [stream's](crate::PageStream).
//!
//! Pages freed by checkpoint N wait in `pending` until N is durable and no base older than N lives.

use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Instant;

use crate::activity::HeldState;
use crate::free_runs::FreeRuns;
use crate::snapshot::Base;
use crate::store::PageStore;
use crate::superblock::Run;
use crate::sync::Mutex;
use crate::{PageError, Result};

/// A file that has no free page left grows by this part of it, so that growth is rare.
pub(crate) const GROWTH_PART: u32 = 16;

/// Pages that streams have given back, and that no transaction has seen since: giving back takes no other lock.
#[derive(Debug, Default)]
pub(crate) struct Returned(Mutex<Vec<Run>>);

impl Returned {
    pub(crate) fn push(&self, runs: impl IntoIterator<Item = Run>) {
        let mut returned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        returned.extend(runs.into_iter().filter(|run| !run.is_empty()));
    }

    fn take(&self) -> Vec<Run> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The free pages as a transaction sees them; thrown away when it aborts.
#[derive(Clone, Debug, Default)]
pub(crate) struct FreePages {
    pub(crate) physical: FreeRuns,
    pub(crate) logical: FreeRuns,
    pub(crate) physical_pages: u32,
    pub(crate) logical_pages: u32,
}

impl FreePages {
    /// `pages` consecutive physical pages, from the lowest free run that long, or at the end of the file.
    pub(crate) fn take_run(&mut self, store: &PageStore, pages: u32) -> Result<Run> {
        self.take_run_from(store, 0, pages, GROWTH_PART)
    }

    /// As [`take_run`](Self::take_run), from page `floor` on; a file that must grow for it does so by this part.
    pub(crate) fn take_run_from(
        &mut self,
        store: &PageStore,
        floor: u32,
        pages: u32,
        growth_part: u32,
    ) -> Result<Run> {
        let first = match self.physical.take_run_from(floor, pages) {
            Some(first) => first,
            None => {
                // The file's free tail counts toward the run.
                let tail = self.physical.iter().next_back();
                let tail = tail.filter(|&(first, len)| first + len == self.physical_pages);
                let tail = tail.map_or(0, |(first, len)| {
                    (first + len).saturating_sub(floor.max(first))
                });
                self.grow_by(store, pages - tail, growth_part)?;
                let grown = self.physical.take_run_from(floor, pages);
                grown.expect("the file was grown")
            }
        };
        Ok(Run { first, pages })
    }

    /// `pages` physical pages from `first` on, when all are free or behind the end of the file, which then is lengthened.
    pub(crate) fn take_at(&mut self, store: &PageStore, first: u32, pages: u32) -> Result<bool> {
        let free = self.physical.len_from(first);
        if free < pages && first + free == self.physical_pages {
            self.grow(store, pages - free)?;
        }
        Ok(self.physical.take_exact(first, pages))
    }

    /// Lengthens the file by at least `pages`, by a sixteenth when that is more, so that growth is rare.
    pub(crate) fn grow(&mut self, store: &PageStore, pages: u32) -> Result<()> {
        self.grow_by(store, pages, GROWTH_PART)
    }

    /// As [`grow`](Self::grow), by a given part of the file.
    pub(crate) fn grow_by(&mut self, store: &PageStore, pages: u32, part: u32) -> Result<()> {
        let from = self.physical_pages;
        let ample = pages.max((from / part).clamp(4, 16_384));
        let shift = store.page_size().shift();
        let target = |pages: u32| from.checked_add(pages).filter(|&to| to < u32::MAX);
        let too_many = PageError::TooManyPages {
            limit: u32::MAX - 1,
        };
        let to = target(ample).or_else(|| target(pages)).ok_or(too_many)?;
        let to = match store.grow(u64::from(from) << shift, u64::from(to) << shift) {
            Ok(()) => to,
            // Near a full disk the least that serves may still fit.
            Err(PageError::Full { .. }) if ample > pages => {
                let to = from + pages;
                store.grow(u64::from(from) << shift, u64::from(to) << shift)?;
                to
            }
            Err(error) => return Err(error),
        };
        self.physical.insert(from, to - from);
        self.physical_pages = to;
        Ok(())
    }
}

/// A cut of the file's tail that waits for the readers of older states.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingCut {
    /// States before this one may reach into the tail.
    pub(crate) sequence: u64,
    /// Length of the file before the cut, in pages.
    pub(crate) from: u32,
}

/// A state that readers may hold.
#[derive(Debug)]
struct Live {
    sequence: u64,
    base: Weak<Base>,
    /// For whoever asks how old it is; nothing is decided by it.
    since: Instant,
}

impl Live {
    fn is_held(&self) -> bool {
        self.base.strong_count() > 0
    }
}

/// Free pages with the states that still reach them.
#[derive(Debug, Default)]
pub(crate) struct Allocation {
    pub(crate) free: FreePages,
    /// In the hands of streams, and not in `free`.
    pub(crate) reserved: FreeRuns,
    pub(crate) returned: Arc<Returned>,
    pending: VecDeque<(u64, Vec<Run>)>,
    live: VecDeque<Live>,
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
        self.live.retain(Live::is_held);
        self.live.push_back(Live {
            sequence: base.sequence,
            base: Arc::downgrade(base),
            since: Instant::now(),
        });
    }

    /// Sequence of the oldest state that is still held.
    pub(crate) fn oldest_live(&mut self) -> u64 {
        while self.live.front().is_some_and(|state| !state.is_held()) {
            self.live.pop_front();
        }
        // A count is read without ordering; what its last holder did comes before what is done with its pages.
        fence(Ordering::Acquire);
        self.live.front().map_or(u64::MAX, |state| state.sequence)
    }

    /// The states that are still held, oldest first, but for the newest one, which the store itself holds.
    pub(crate) fn held(&self) -> Vec<HeldState> {
        let held: Vec<&Live> = self.live.iter().filter(|state| state.is_held()).collect();
        let waiting = |after: u64, until: u64| -> u64 {
            let freed = self.pending.iter();
            let freed = freed.filter(|(sequence, _)| (after + 1..=until).contains(sequence));
            freed
                .flat_map(|(_, runs)| runs)
                .map(|run| u64::from(run.pages))
                .sum()
        };
        held.windows(2)
            .map(|pair| HeldState {
                sequence: pair[0].sequence,
                age: pair[0].since.elapsed(),
                pages: waiting(pair[0].sequence, pair[1].sequence),
            })
            .collect()
    }

    /// States that are still held.
    pub(crate) fn live_count(&self) -> usize {
        self.live.iter().filter(|state| state.is_held()).count()
    }

    /// Makes the pages reusable that no state reaches any more, and those that streams have given back.
    pub(crate) fn release(&mut self) {
        for run in self.returned.take() {
            self.unreserve(run);
            self.free.physical.insert(run.first, run.pages);
        }
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

    /// Takes pages out of those that are reserved: they are in other hands from now on.
    pub(crate) fn unreserve(&mut self, run: Run) {
        let was_reserved = self.reserved.take_exact(run.first, run.pages);
        assert!(was_reserved, "{run:?} was not reserved");
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

    /// All that is free once no older state is held and every stream is dropped: `free`, what is pending, what is reserved, and
    /// `freed`. A run that is in two of them is given back as the error: a damaged file names a page twice.
    pub(crate) fn all_free(&self, free: &FreeRuns, freed: &FreeRuns) -> Result<FreeRuns, Run> {
        let mut all = free.clone();
        for run in self.pending.iter().flat_map(|(_, runs)| runs) {
            all.insert(run.first, run.pages);
        }
        for (first, pages) in self.reserved.iter() {
            all.insert(first, pages);
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
