//! What a database did since it was opened, and what keeps its old pages: figures for whoever watches it.
//!
//! * A1 Nothing depends on them, and nothing of them reaches the file.
//! * A2 What is written is counted under the writer's lock, by plain loads and stores.
//!
//! Absent on purpose: a count of reads. A counter that all readers share would cost them more than the look-up does; who wants to know
//! counts calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::core::{Core, Write, Writer};
use crate::db::Db;
use crate::error::Result;

/// Counters of a database. Not those of [`crate::sync`]: no thread waits for another through them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    batches: AtomicU64,
    puts: AtomicU64,
    appends: AtomicU64,
    edits: AtomicU64,
    deletes: AtomicU64,
    payload_bytes: AtomicU64,
    checkpoints: AtomicU64,
    checkpoint_nanoseconds: AtomicU64,
}

/// What a batch asked for.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) puts: u64,
    pub(crate) appends: u64,
    pub(crate) edits: u64,
    pub(crate) deletes: u64,
    pub(crate) payload_bytes: u64,
}

impl Changes {
    fn of(writes: &[Write<'_>]) -> Self {
        let mut changes = Self::default();
        for write in writes {
            let (counter, bytes) = match write {
                Write::Put { bytes, .. } | Write::Insert { bytes } => {
                    (&mut changes.puts, bytes.len())
                }
                Write::Append { bytes, .. } => (&mut changes.appends, bytes.len()),
                Write::Replace { bytes, .. } => (&mut changes.edits, bytes.len()),
                Write::Truncate { .. } => (&mut changes.edits, 0),
                Write::Delete { .. } => (&mut changes.deletes, 0),
                Write::Tag { .. } => continue,
            };
            *counter += 1;
            changes.payload_bytes += bytes as u64;
        }
        changes
    }
}

impl Counters {
    /// Counts a batch that is visible now. Whoever has the writer's lock is the only one who counts.
    #[inline]
    pub(crate) fn wrote(&self, lock: &Writer, writes: &[Write<'_>]) {
        self.changed(lock, &Changes::of(writes));
    }

    /// As [`wrote`](Self::wrote), for what did not come as writes.
    #[inline]
    pub(crate) fn changed(&self, _lock: &Writer, changes: &Changes) {
        let add = |counter: &AtomicU64, by: u64| {
            if by > 0 {
                counter.store(counter.load(Ordering::Relaxed) + by, Ordering::Relaxed);
            }
        };
        add(&self.batches, 1);
        add(&self.puts, changes.puts);
        add(&self.appends, changes.appends);
        add(&self.edits, changes.edits);
        add(&self.deletes, changes.deletes);
        add(&self.payload_bytes, changes.payload_bytes);
    }

    /// A checkpoint begins; it is counted when what is returned is told that it is done.
    pub(crate) fn checkpoint(&self) -> Checkpoint<'_> {
        Checkpoint {
            counters: self,
            begun: Instant::now(),
        }
    }
}

/// A checkpoint that is being timed.
#[derive(Debug)]
pub(crate) struct Checkpoint<'c> {
    counters: &'c Counters,
    begun: Instant,
}

impl Checkpoint<'_> {
    pub(crate) fn done(&self) {
        let took = self.begun.elapsed();
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        let total = &self.counters.checkpoint_nanoseconds;
        total.fetch_add(nanoseconds, Ordering::Relaxed);
        tracing::debug!(
            microseconds = nanoseconds / 1000,
            "the journal is in the pages"
        );
    }
}

/// What a database did since it was opened, made by [`Db::activity`]. Reads are not counted: a counter that all readers share
/// would cost them more than the look-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity {
    /// Batches that became visible; a change outside of one counts as one.
    pub batches: u64,
    /// Values set, those of bulk loads, inserts and streams included.
    pub puts: u64,
    /// Values appended to.
    pub appends: u64,
    /// Parts of values overwritten, and values cut.
    pub edits: u64,
    /// Deletions asked for.
    pub deletes: u64,
    /// Bytes of values in all these, as they were given.
    pub payload_bytes: u64,
    /// Bytes written to the file for them: journal, pages, superblocks.
    pub written_bytes: u64,
    /// Writes of these.
    pub writes: u64,
    /// Syncs, of the journal and of commits of pages.
    pub syncs: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// Times that what was written before was moved into the pages as a whole.
    pub checkpoints: u64,
    /// Time spent in that, mostly on a thread of its own.
    pub checkpoint_time: Duration,
    /// Commits of pages: slices of checkpoints, steps of compactions, named snapshots, streams.
    pub commits: u64,
    /// Times that a page was checked against its hash as it was read: once for each page, unless
    /// [`ReadCheck::EveryRead`](crate::ReadCheck::EveryRead) was chosen.
    pub checked_pages: u64,
    /// Compactions in place that were finished.
    pub compactions: u64,
}

/// An older state whose pages cannot be used again, made by [`Db::held_states`]: that of a named snapshot, or one that a
/// [`Snapshot`](crate::Snapshot), a value, an iterator or a reader of this process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldState {
    /// Name of the named snapshot; `None` for a state that is held in memory.
    pub name: Option<String>,
    /// Number of the checkpoint that made it.
    pub checkpoint: u64,
    /// Time since that checkpoint, or since the database was opened. `None` for a named snapshot: no time is in the file.
    pub age: Option<Duration>,
    /// Bytes of pages that become free when a named snapshot is deleted; or when a state in memory is let go of, and all
    /// older ones are.
    pub pinned_bytes: u64,
}

impl Db {
    /// What the database did since it was opened. Costs nothing to speak of.
    pub fn activity(&self) -> Activity {
        Activity::of(self.core())
    }

    /// The older states whose pages cannot be used again: those held in memory, oldest first, then named snapshots. Costs what
    /// differs between the named snapshots, and waits for a checkpoint that is being committed.
    ///
    /// # Errors
    /// Corruption of the page map; I/O errors.
    pub fn held_states(&self) -> Result<Vec<HeldState>> {
        let store = &self.core().store;
        let shift = store.page_size().shift();
        let in_memory = store.held_states().into_iter().map(|state| HeldState {
            name: None,
            checkpoint: state.sequence,
            age: Some(state.age),
            pinned_bytes: state.pages << shift,
        });
        let mut held: Vec<HeldState> = in_memory.collect();
        for saved in self.snapshots()? {
            let pinned_bytes = match self.snapshot_bytes(&saved.name) {
                Ok(bytes) => bytes,
                // Deleted since the names were read.
                Err(crate::Error::NoSuchSnapshot { .. }) => continue,
                Err(error) => return Err(error),
            };
            held.push(HeldState {
                name: Some(saved.name),
                checkpoint: saved.checkpoint,
                age: None,
                pinned_bytes,
            });
        }
        Ok(held)
    }
}

impl Activity {
    pub(crate) fn of(core: &Core) -> Self {
        let (counters, store) = (&core.counters, core.store.activity());
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            batches: read(&counters.batches),
            puts: read(&counters.puts),
            appends: read(&counters.appends),
            edits: read(&counters.edits),
            deletes: read(&counters.deletes),
            payload_bytes: read(&counters.payload_bytes),
            written_bytes: store.written_bytes,
            writes: store.writes,
            syncs: store.syncs,
            sync_time: store.sync_time,
            checkpoints: read(&counters.checkpoints),
            checkpoint_time: Duration::from_nanos(read(&counters.checkpoint_nanoseconds)),
            commits: store.commits,
            checked_pages: store.checked_pages,
            compactions: core.compactor.finished(),
        }
    }
}

#[cfg(test)]
mod tests;
