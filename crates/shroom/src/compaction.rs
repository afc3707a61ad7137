//! Compaction: into a new file ([`Db::compact_into`]), or in place ([`Db::compact`]).
//!
//! In place the file's pages move, a bounded commit at a time, until they lie as in the canonical image, which is what a new
//! file is.
//!
//! * I1 Each step is an ordinary commit that changes no token. A crash, a stop or an error between two steps leaves a sound file
//!   with all content, and nothing of how far the work was is stored.
//! * I2 Readers never wait. A writer waits for a step only where it would wait for a checkpoint: when the journal is full. Then
//!   no other step begins before it.
//! * I3 What else is committed between two steps sets the work back by a pack at most: only who goes on inserting, ahead of it and
//!   faster than it packs, keeps it from ending. Without such commits, snapshots that are saved, and a kept sum, the result is
//!   the canonical image in all but what the format says (§10).
//! * I4 The file grows by a few steps and a 64th of its data at most, as long as no reader holds a state for long.

mod job;
mod new_file;
mod trigger;
mod turn;

use std::ops::ControlFlow;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use self::job::Job;
pub use self::new_file::{NewFile, NewFileProgress};
use crate::core::Core;
use crate::db::Db;
use crate::drain::Drain;
use crate::error::{Error, Result};
use crate::sync::{AtomicU64, Mutex, MutexGuard};

/// A step changes this part of the file, by default.
const STEP_PART: u64 = 128;
/// But at least and at most so many bytes.
const STEP_BYTES: (u64, u64) = (1 << 20, 16 << 20);

/// What a compaction is at. The stages come in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// What is near in ids is gathered, page after page.
    Gather,
    /// The tokens are packed again, in the order of ids.
    Pack,
    /// Pages go to their places in the file.
    Arrange,
    /// The file is cut.
    Cut,
}

/// How far a compaction in place is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// What it is at.
    pub stage: Stage,
    /// About how much of it is done, 0 to 1.
    pub share: f64,
    /// All of it is.
    pub done: bool,
    /// When it is done: whether the pages are those of the canonical image, at their places. Not when something was written
    /// meanwhile, when there are named snapshots, or when the file keeps the sum for the content root.
    pub canonical: bool,
    /// Named snapshots, whose pages stay where they are.
    pub snapshots: u64,
    /// Length of the file now, in bytes.
    pub file_bytes: u64,
}

/// Is told of the progress after each step, and may stop the work.
type OnProgress<'p> = &'p mut dyn FnMut(&Progress) -> ControlFlow<()>;

impl Db {
    /// Compacts the file in place: packs are full, no page is free, and the file is as short as [`compact_into`](Self::compact_into)
    /// would make it. Readers and writers go on meanwhile. When nothing is written meanwhile, the file is then equal to the
    /// canonical image but for its sequence numbers. The pages of named snapshots stay where they are, so such a file is not; and where
    /// those are most pages of the present state, too, its tokens are not packed again, which would only add to the file.
    ///
    /// Needs little more room than the file has: a 64th of the data and a few steps, each a 128th of the file (1 to 16 MiB). A crash at
    /// any point leaves all content; what was done is not lost, but the next compaction begins anew. Called while another one runs,
    /// it takes part in that and returns when it is done.
    ///
    /// # Errors
    /// Corruption of the bytes read; those of [`checkpoint`](Self::checkpoint).
    pub fn compact(&self) -> Result<Progress> {
        self.compact_with(|_| ControlFlow::Continue(()))
    }

    /// [`compact`](Self::compact), telling of its progress after each step, which may stop it.
    ///
    /// # Errors
    /// [`Stopped`](Error::Stopped); those of [`compact`](Self::compact).
    pub fn compact_with(
        &self,
        mut progress: impl FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Progress> {
        self.core().compact(&mut progress)
    }

    /// One step of a compaction in place, which changes about `budget` bytes: the next of the one that is under way, or the first of
    /// a new one. `done` says that it was the last.
    ///
    /// # Errors
    /// Those of [`compact`](Self::compact); the next call then begins anew.
    pub fn compact_step(&self, budget: u64) -> Result<Progress> {
        let (progress, _) = self.core().compact_step(Some(budget), None)?;
        Ok(progress)
    }
}

/// The compaction of a database, while there is one.
#[derive(Debug, Default)]
pub(crate) struct Compactor {
    slot: Mutex<Slot>,
    finished: AtomicU64,
    /// 1 when a compaction is to begin.
    due: AtomicU64,
    /// 1 while one that began by itself has a thread.
    threads: AtomicU64,
    /// Free bytes that the last one left, without those that readers held.
    left: AtomicU64,
    /// Those.
    left_held: AtomicU64,
}

impl Compactor {
    /// How many were finished.
    pub(crate) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Slot {
    job: Option<Job>,
    /// How many were begun.
    runs: u64,
    /// What the last one came to.
    last: Option<Progress>,
}

impl Core {
    fn compact(&self, progress: OnProgress<'_>) -> Result<Progress> {
        let mut run = None;
        loop {
            let (done, at) = self.compact_step(None, run)?;
            run = Some(at);
            if done.done {
                return Ok(done);
            }
            if progress(&done).is_break() {
                return Err(Error::Stopped);
            }
        }
    }

    /// One step, of a compaction that must be the given one; when that is over, what it came to.
    fn compact_step(&self, budget: Option<u64>, run: Option<u64>) -> Result<(Progress, u64)> {
        let _span = tracing::debug_span!("compaction").entered();
        let mut slot = self.compactor.slot();
        if let (Some(run), Some(last)) = (run, slot.last)
            && (slot.job.is_none() || run != slot.runs)
        {
            return Ok((last, run));
        }
        let shift = self.store.page_size().shift();
        let file = u64::from(self.store.snapshot().physical_pages()) << shift;
        let budget = budget.unwrap_or((file / STEP_PART).clamp(STEP_BYTES.0, STEP_BYTES.1));
        // Half for what goes away from its place, half for what comes.
        let window = (budget >> shift).clamp(2, 1 << 20) as u32 / 2;
        let mut job = match slot.job.take() {
            Some(job) => job,
            None => {
                slot.runs += 1;
                slot.last = None;
                Job::begin(self, window)?
            }
        };
        let progress = job.advance(self, budget.max(1), window)?;
        if progress.done {
            slot.last = Some(progress);
            self.compactor.finished.fetch_add(1, Ordering::Relaxed);
            let (file_bytes, canonical) = (progress.file_bytes, progress.canonical);
            tracing::info!(file_bytes, canonical, "done");
            self.note_left()?;
        } else {
            slot.job = Some(job);
        }
        Ok((progress, slot.runs))
    }

    /// Moves what the journal holds into the pages, in the background as far as that goes, and gives its pages back.
    fn empty_journal(&self) -> Result<()> {
        let mut writer = self.wait_for_drain(self.writable()?)?;
        writer.check_open()?;
        if self.options.background && !self.state.load().overlay.is_empty() {
            let mark = self.mark();
            if self.store.journal_rotate()? && self.freeze() {
                let areas = [None; 2];
                self.start(&mut writer, Drain { mark, areas })?;
                writer = self.wait_for_drain(writer)?;
                writer.check_open()?;
            }
        }
        let areas = self.store.journal_pages();
        if self.freeze() || areas != [0; 2] {
            let drain = Drain {
                mark: self.mark(),
                areas: areas.map(|pages| (pages > 0).then_some(0)),
            };
            self.drain_now(&mut writer, drain)?;
        }
        Ok(())
    }
}

impl Core {
    fn check_open(&self) -> Result<()> {
        self.writable().map(|_| ())
    }
}
