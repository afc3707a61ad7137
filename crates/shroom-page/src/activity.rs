//! What a store did since it was opened, and which of its older states are still held: figures for whoever watches it.
//!
//! * T1 Nothing depends on them, and nothing of them reaches the file.
//! * T2 They are kept where a system call is made or a page is hashed, beside which they cost nothing. What is read again costs nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::store::PageStore;

/// Counters of a store. Not those of [`crate::sync`]: no thread waits for another through them.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    writes: AtomicU64,
    written_bytes: AtomicU64,
    syncs: AtomicU64,
    sync_nanoseconds: AtomicU64,
    commits: AtomicU64,
}

impl Activity {
    pub(crate) fn wrote(&self, bytes: usize) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.written_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A sync that was begun then has ended.
    pub(crate) fn synced(&self, begun: Instant) {
        let nanoseconds = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_nanoseconds
            .fetch_add(nanoseconds, Ordering::Relaxed);
        tracing::trace!(microseconds = nanoseconds / 1000, "synced");
    }

    pub(crate) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a store did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreActivity {
    /// Writes to the file.
    pub writes: u64,
    /// Bytes written to the file: pages, journal, superblocks.
    pub written_bytes: u64,
    /// Syncs, of the journal and of commits.
    pub syncs: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// Commits of pages.
    pub commits: u64,
    /// How often a page that was read was checked against its hash: once for each page, unless each read checks.
    pub checked_pages: u64,
}

/// An older state of a store that somebody holds, so that pages replaced since cannot be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldState {
    /// Number of the commit that made it.
    pub sequence: u64,
    /// Time since that commit, or since the store was opened.
    pub age: Duration,
    /// Pages that become free when it is let go of, and all older states are.
    pub pages: u64,
}

impl PageStore {
    /// What the store did since it was opened.
    pub fn activity(&self) -> StoreActivity {
        let (counters, read) = (self.counters(), |counter: &AtomicU64| {
            counter.load(Ordering::Relaxed)
        });
        StoreActivity {
            writes: read(&counters.writes),
            written_bytes: read(&counters.written_bytes),
            syncs: read(&counters.syncs),
            sync_time: Duration::from_nanos(read(&counters.sync_nanoseconds)),
            commits: read(&counters.commits),
            checked_pages: self.snapshot().base.verified.checked(),
        }
    }

    /// The states before the present one that are still held, oldest first. Waits while a transaction is open.
    pub fn held_states(&self) -> Vec<HeldState> {
        self.writer().allocation.held()
    }
}

#[cfg(test)]
mod tests {
    use crate::{LogicalPage, PageRead, PageSize, PageStore};

    /// A store with `pages` pages, and their numbers.
    fn store(pages: u32) -> (PageStore, Vec<LogicalPage>) {
        let store = PageStore::in_memory(PageSize::new(512).unwrap()).unwrap();
        let mut txn = store.begin().unwrap();
        let numbers = (0..pages)
            .map(|_| txn.allocate().unwrap())
            .collect::<Vec<_>>();
        let roots = *store.snapshot().roots();
        txn.commit(roots).unwrap();
        (store, numbers)
    }

    fn change(store: &PageStore, pages: &[LogicalPage]) {
        let roots = *store.snapshot().roots();
        let mut txn = store.begin().unwrap();
        for &page in pages {
            txn.page_mut(page).unwrap()[100] ^= 1;
        }
        txn.commit(roots).unwrap();
    }

    #[test]
    fn a_page_is_checked_once() {
        let (store, pages) = store(10);
        let before = store.activity();
        for _ in 0..3 {
            for &page in &pages {
                store.snapshot().page(page).unwrap();
            }
        }
        let after = store.activity();
        let map_pages = store.stats(true).unwrap().map_pages;
        let checked = after.checked_pages - before.checked_pages;
        assert!((10..=10 + map_pages).contains(&checked), "{checked}");
        assert_eq!(after.writes, before.writes);
    }

    #[test]
    fn a_commit_is_counted_with_its_syncs_and_bytes() {
        let (store, pages) = store(10);
        let before = store.activity();
        change(&store, &pages);
        let after = store.activity();
        assert_eq!(after.commits - before.commits, 1);
        assert!(after.syncs >= before.syncs + 2, "{after:?}");
        assert!(
            after.written_bytes >= before.written_bytes + 10 * 512,
            "{after:?}"
        );
        assert!(after.sync_time >= before.sync_time);
    }

    /// Each page that waits is one state's, and dropping that state frees just these.
    #[test]
    fn held_states_say_what_they_pin() {
        let (store, pages) = store(40);
        assert!(store.held_states().is_empty());
        let oldest = store.snapshot();
        change(&store, &pages[..10]);
        let newer = store.snapshot();
        change(&store, &pages[10..]);
        let held = store.held_states();
        let sequences: Vec<_> = held.iter().map(|state| state.sequence).collect();
        assert_eq!(sequences, [oldest.sequence(), newer.sequence()]);
        assert!(held[0].pages >= 10 && held[1].pages >= 30, "{held:?}");
        assert!(held[0].age >= held[1].age);
        let pending = store.stats(false).unwrap().pending_pages;
        assert_eq!(held[0].pages + held[1].pages, pending);
        drop(oldest);
        let held = store.held_states();
        assert_eq!(held.len(), 1);
        // What only waited for the oldest is no longer counted, though no transaction has seen that yet.
        assert!((30..pending).contains(&held[0].pages), "{held:?}");
        drop(newer);
        assert!(store.held_states().is_empty());
    }
}
