//! The store: opens a storage, hands out snapshots and transactions, and owns what they share.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::Instant;

use crate::activity::Activity;
use crate::allocation::{Allocation, FreePages, Returned};
use crate::frames::JournalMark;
use crate::journal::Journal;
use crate::recovery::{self, RecoveredFrames};
use crate::slots::Chosen;
use crate::snapshot::{Base, Snapshot};
use crate::storage::{MemoryStorage, Storage, View};
use crate::superblock::{FreePlace, RootEntries, Roots, Run, Superblock};
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, RwLock};
use crate::txn::PageTxn;
use crate::verified::{ReadCheck, VerifiedPages};
use crate::{PageError, PageSize, PhysicalPage, Result};

/// Bytes of zeros written by one call when a journal area is prepared.
const ZEROS_BYTES: usize = 1 << 20;

/// Pages of the file that hold the superblock.
const SUPERBLOCK_SLOTS: u64 = 2;

/// A transactional array of pages over a [`Storage`]. See the crate's documentation.
#[derive(Debug)]
pub struct PageStore {
    storage: Arc<dyn Storage>,
    page_size: PageSize,
    read_only: bool,
    writer: Mutex<Writer>,
    current: RwLock<Arc<Base>>,
    journal: Mutex<Journal>,
    /// Highest journal sequence known to be durable.
    pub(crate) synced: AtomicU64,
    /// Whether a thread is syncing the journal.
    pub(crate) sync_turn: Mutex<bool>,
    /// Signalled when it is done.
    pub(crate) sync_ended: Condvar,
    /// Held during each sync. A system reports a failed write-back to one of two syncs that overlap, and success
    /// to the other: one after the other, the second finds the store poisoned.
    sync_gate: Mutex<()>,
    poisoned: AtomicBool,
    /// Where streams give their pages back.
    returned: Arc<Returned>,
    recovered: Mutex<RecoveredFrames>,
    activity: Activity,
}

/// What only a transaction changes.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) allocation: Allocation,
    pub(crate) base: Arc<Base>,
    /// Pages of the current free record.
    pub(crate) record: Run,
    pub(crate) journal: [Run; 2],
    pub(crate) drained: u64,
    pub(crate) chain: u64,
}

/// Sizes of a store, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageStoreStats {
    /// Length of the file.
    pub physical_pages: u64,
    /// Pages of the file that hold nothing.
    pub free_pages: u64,
    /// Pages that only older states still reach.
    pub pending_pages: u64,
    /// Pages in the hands of [streams](crate::PageStream), or that one gave back since the last transaction began.
    pub reserved_pages: u64,
    /// Pages of the page map.
    pub map_pages: u64,
    /// Pages of both journal areas.
    pub journal_pages: u64,
    /// Pages of the free record.
    pub record_pages: u64,
    /// Allocated logical pages.
    pub logical_pages: u64,
    /// Number of named snapshots.
    pub snapshots: u64,
    /// Pages that only named snapshots reach; 0 when the map was not counted.
    pub snapshot_pages: u64,
}

impl PageStore {
    /// Writes a new, empty store over whatever `storage` holds.
    ///
    /// # Errors
    /// I/O errors.
    pub fn create(storage: Arc<dyn Storage>, page_size: PageSize) -> Result<Self> {
        let superblock = empty_superblock(page_size);
        let len = 2 << page_size.shift();
        let bytes = superblock.encode();
        storage.shrink(0).map_err(PageError::io("shrink", 0))?;
        storage.grow(len).map_err(grow_error(0, len))?;
        let second = 1 << page_size.shift();
        storage
            .write_at(second, &bytes)
            .map_err(PageError::io("write", second))?;
        storage.sync().map_err(PageError::io("sync", 0))?;
        // As a commit does: that both slots are the same tells whoever opens it that one is durable.
        storage
            .write_at(0, &bytes)
            .map_err(PageError::io("write", 0))?;
        Self::open_with(storage, StoreOptions::default())
    }

    /// Opens an existing store for writing.
    ///
    /// # Errors
    /// A specific error for each way in which the bytes are not a sound store; I/O errors.
    pub fn open(storage: Arc<dyn Storage>) -> Result<Self> {
        Self::open_with(storage, StoreOptions::default())
    }

    /// Opens an existing store with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(storage: Arc<dyn Storage>, options: StoreOptions) -> Result<Self> {
        let Chosen {
            superblock,
            is_durable,
            ..
        } = recovery::choose_superblock(&*storage)?;
        if !options.read_only && !is_durable {
            // Written by a process that ended before its sync: what is built on it must not outlive it.
            storage.sync().map_err(PageError::io("sync", 0))?;
        }
        let view = map_view(&*storage, superblock.page_size, superblock.physical_pages)?;
        let recovery = recovery::recover(&*storage, &view, &superblock)?;
        if !options.read_only {
            recovery.frames.write_again(&*storage)?;
        }
        let verified = VerifiedPages::new(superblock.physical_pages, options.check);
        let remember = options.check != ReadCheck::EveryRead;
        let base = Arc::new(Base::new(&superblock, view, Arc::new(verified), remember));
        let mut free = FreePages {
            physical_pages: superblock.physical_pages,
            logical_pages: superblock.logical_pages,
            ..FreePages::default()
        };
        let mut record = Run::default();
        if !options.read_only {
            let stored = recovery::read_free_record(&*storage, &superblock)?;
            (free.physical, free.logical) = (stored.physical, stored.logical);
            record = stored.run;
            base.named.get_or_init(|| stored.named);
        }
        if !options.read_only && !is_durable {
            mend_slots(&*storage, &superblock)?;
        }
        let mut allocation = Allocation::new(free);
        allocation.track(&base);
        let returned = Arc::clone(&allocation.returned);
        let journal = Journal::recovered(superblock.journal, &recovery);
        tracing::debug!(
            sequence = superblock.sequence,
            pages = superblock.physical_pages,
            frames = recovery.frames.iter().count(),
            "opened"
        );
        let writer = Writer {
            allocation,
            base: Arc::clone(&base),
            record,
            journal: superblock.journal,
            drained: superblock.drained,
            chain: superblock.chain,
        };
        Ok(Self {
            storage,
            page_size: superblock.page_size,
            read_only: options.read_only,
            writer: Mutex::new(writer),
            current: RwLock::new(base),
            journal: Mutex::new(journal),
            synced: AtomicU64::new(recovery.synced),
            sync_turn: Mutex::new(false),
            sync_ended: Condvar::new(),
            sync_gate: Mutex::new(()),
            poisoned: AtomicBool::new(false),
            returned,
            recovered: Mutex::new(recovery.frames),
            activity: Activity::default(),
        })
    }

    /// A new store in memory.
    ///
    /// # Errors
    /// None in practice; the signature is that of [`create`](Self::create).
    pub fn in_memory(page_size: PageSize) -> Result<Self> {
        Self::create(Arc::new(MemoryStorage::new()), page_size)
    }

    /// Whether a storage holds nothing yet: it is empty, or the creation of a store of this page size was interrupted before
    /// it was durable. A store that holds a page is longer, so that not even zeros over all of it look like this.
    ///
    /// # Errors
    /// I/O errors.
    pub fn is_blank(storage: &dyn Storage, page_size: PageSize) -> Result<bool> {
        const SECTOR: usize = 512;
        let len = storage.len().map_err(PageError::io("length", 0))?;
        if len == 0 {
            return Ok(true);
        }
        if len != 2 << page_size.shift() {
            return Ok(false);
        }
        let mut bytes = vec![0; len as usize];
        storage
            .read_at(0, &mut bytes)
            .map_err(PageError::io("read", 0))?;
        // A torn creation consists of sectors that are zero or as a creation writes them.
        let mut fresh = vec![0; bytes.len()];
        let superblock = empty_superblock(page_size).encode();
        for slot in fresh.chunks_exact_mut(page_size.bytes()) {
            slot[..superblock.len()].copy_from_slice(&superblock);
        }
        let mut sectors = bytes.chunks(SECTOR).zip(fresh.chunks(SECTOR));
        if !sectors.all(|(is, made)| is == made || is.iter().all(|&byte| byte == 0)) {
            return Ok(false);
        }
        match recovery::choose_superblock(storage) {
            Ok(_) => Ok(false),
            Err(error @ PageError::Io { .. }) => Err(error),
            Err(_) => Ok(true),
        }
    }

    /// The last committed state.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            base: Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Begins a transaction; waits while another one is open.
    ///
    /// # Errors
    /// [`PageError::ReadOnly`], [`PageError::Poisoned`].
    pub fn begin(&self) -> Result<PageTxn<'_>> {
        PageTxn::new(self, self.writable()?)
    }

    /// Size of each page.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// True when opened read-only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Journal frames found at open that no checkpoint contains yet. Given once.
    pub fn take_recovered(&self) -> RecoveredFrames {
        std::mem::take(
            &mut self
                .recovered
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Cuts the file's tail off that the last checkpoint left out, when no reader reaches into it any more, and
    /// what an aborted transaction, a stream that was dropped, or a crash before a cut, left behind it.
    ///
    /// # Errors
    /// I/O errors; the file is then as long as before.
    pub fn cut_tail(&self) -> Result<()> {
        let mut writer = self.writable()?;
        self.resolve_cut(&mut writer)?;
        let base_end = writer.base.physical_pages;
        let allocation = &mut writer.allocation;
        allocation.release();
        // What a stream has lengthened the file by is in no state; while it, or an older state, is held it is not free.
        let free = &mut allocation.free;
        let behind = free.physical_pages.saturating_sub(base_end);
        if behind > 0 && free.physical.take_exact(base_end, behind) {
            free.physical_pages = base_end;
        }
        // No state reaches beyond this: a cut that was taken back counts the tail in again.
        self.shrink(allocation.free.physical_pages)
    }

    fn shrink(&self, pages: u32) -> Result<()> {
        let len = u64::from(pages) << self.page_size.shift();
        self.storage
            .shrink(len)
            .map_err(PageError::io("shrink", len))
    }

    /// Sizes of the store. Walks the page map when `count_map` is set, else `map_pages` and `snapshot_pages` are 0.
    ///
    /// # Errors
    /// Corruption found in the map; I/O errors.
    pub fn stats(&self, count_map: bool) -> Result<PageStoreStats> {
        let writer = self.writer();
        let free = &writer.allocation.free;
        let (mut physical, mut logical) = (free.physical.pages(), free.logical.pages());
        let mut record = writer.record;
        if self.read_only {
            // Only a writer needs the free record, so a reader has not read it yet.
            let superblock = recovery::choose_superblock(&*self.storage)?.superblock;
            let stored = recovery::read_free_record(&*self.storage, &superblock)?;
            (physical, logical) = (stored.physical.pages(), stored.logical.pages());
            record = stored.run;
            writer.base.named.get_or_init(|| stored.named);
        }
        let mut stats = PageStoreStats {
            physical_pages: u64::from(free.physical_pages),
            free_pages: physical,
            pending_pages: writer.allocation.pending_pages(),
            reserved_pages: writer.allocation.reserved.pages(),
            map_pages: 0,
            journal_pages: writer.journal.iter().map(|run| u64::from(run.pages)).sum(),
            record_pages: u64::from(record.pages),
            logical_pages: u64::from(free.logical_pages) - 1 - logical,
            snapshots: writer.base.named.get().map_or(0, |list| list.len() as u64),
            snapshot_pages: 0,
        };
        if count_map {
            stats.map_pages = crate::verify::count_map_pages(&writer.base)?;
            let accounted = SUPERBLOCK_SLOTS
                + stats.free_pages
                + stats.pending_pages
                + stats.reserved_pages
                + stats.map_pages
                + stats.journal_pages
                + stats.record_pages
                + stats.logical_pages;
            // Each page is exactly one of these, or a named snapshot's: a damaged file may say otherwise.
            stats.snapshot_pages = stats.physical_pages.saturating_sub(accounted);
        }
        Ok(stats)
    }

    /// True after a failed sync or journal write: no write succeeds until the store is opened again.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
        tracing::error!("a sync or write failed: the store takes no more writes");
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.read_only {
            return Err(PageError::ReadOnly);
        }
        if self.is_poisoned() {
            Err(PageError::Poisoned)
        } else {
            Ok(())
        }
    }

    /// The writer's lock, when the store takes writes. Whoever held it may have failed meanwhile: then pages that count as free here
    /// may be in a state that is durable.
    pub(crate) fn writable(&self) -> Result<MutexGuard<'_, Writer>> {
        self.check_writable()?; // nothing to wait for
        let writer = self.writer();
        self.check_writable()?;
        Ok(writer)
    }

    pub(crate) fn counters(&self) -> &Activity {
        &self.activity
    }

    pub(crate) fn returned(&self) -> &Arc<Returned> {
        &self.returned
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer's lock, unless it is taken.
    pub(crate) fn try_writer(&self) -> Option<MutexGuard<'_, Writer>> {
        match self.writer.try_lock() {
            Ok(writer) => Some(writer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a cut of the tail, or takes it back when older readers reach into it or the system refuses.
    pub(crate) fn resolve_cut(&self, writer: &mut Writer) -> Result<()> {
        let Some(cut) = writer.allocation.cut.take() else {
            return Ok(());
        };
        let pages = writer.allocation.free.physical_pages;
        let mut result = Ok(());
        if writer.allocation.oldest_live() >= cut.sequence {
            result = self.shrink(pages);
            let before = u64::from(cut.from) << self.page_size.shift();
            // Should the length not be known, the tail stays outside: growing finds it there, or makes it again.
            if result.is_ok() || self.storage.len().is_ok_and(|len| len < before) {
                return result;
            }
        }
        let tail = Run {
            first: pages,
            pages: cut.from - pages,
        };
        writer.allocation.free.physical_pages = cut.from;
        writer.allocation.defer(cut.sequence, vec![tail]);
        result
    }

    pub(crate) fn publish(&self, base: Arc<Base>, superblock: &Superblock) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = base;
        let drained = JournalMark {
            sequence: superblock.drained,
            chain: superblock.chain,
        };
        self.activity.committed();
        self.journal().release(superblock.journal, drained);
        self.synced.fetch_max(superblock.drained, Ordering::AcqRel);
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.check_writable()?;
        self.storage
            .write_at(offset, bytes)
            .map_err(PageError::io("write", offset))?;
        self.activity.wrote(bytes.len());
        Ok(())
    }

    /// A failed write of a superblock leaves the file's state unknown, so it poisons.
    pub(crate) fn write_superblock(&self, slot: PhysicalPage, bytes: &[u8]) -> Result<()> {
        let written = self.write(u64::from(slot.0) << self.page_size.shift(), bytes);
        if written.is_err() {
            self.poison();
        }
        written
    }

    pub(crate) fn write_zeros(&self, run: Run) -> Result<()> {
        let mut offset = u64::from(run.first) << self.page_size.shift();
        let mut left = (run.pages as usize) << self.page_size.shift();
        let zeros = vec![0; left.min(ZEROS_BYTES)];
        while left > 0 {
            let now = left.min(zeros.len());
            self.write(offset, &zeros[..now])?;
            offset += now as u64;
            left -= now;
        }
        Ok(())
    }

    /// Makes what was written to the file so far durable, and no state: for who will commit much, and lets the device work on it
    /// meanwhile, from another thread.
    ///
    /// # Errors
    /// I/O errors; the store is then poisoned.
    pub fn sync_ahead(&self) -> Result<()> {
        self.sync()
    }

    pub(crate) fn sync(&self) -> Result<()> {
        let _alone = self
            .sync_gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.check_writable()?;
        let begun = Instant::now();
        self.storage.sync().map_err(|source| {
            self.poison();
            PageError::Io {
                operation: "sync",
                offset: 0,
                source,
            }
        })?;
        self.activity.synced(begun);
        Ok(())
    }

    pub(crate) fn grow(&self, from: u64, to: u64) -> Result<()> {
        self.check_writable()?;
        self.storage.grow(to).map_err(grow_error(from, to))
    }

    pub(crate) fn view(&self, pages: u32) -> Result<View> {
        map_view(&*self.storage, self.page_size, pages)
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }
}

/// Makes both slots hold the superblock that one of them holds durably. A commit overwrites one of them first: without
/// this, after damage to one slot, it could be the only good one.
fn mend_slots(storage: &dyn Storage, superblock: &Superblock) -> Result<()> {
    let bytes = superblock.encode();
    for sequence in [superblock.sequence, superblock.sequence + 1] {
        let slot = Superblock::slot(sequence);
        let offset = u64::from(slot.0) << superblock.page_size.shift();
        let mut present = vec![0; bytes.len()];
        if storage.read_at(offset, &mut present).is_err() || present != bytes {
            storage
                .write_at(offset, &bytes)
                .map_err(PageError::io("write", offset))?;
            storage.sync().map_err(PageError::io("sync", 0))?;
        }
    }
    Ok(())
}

/// A disk without space is told from one that fails.
pub(crate) fn grow_error(from: u64, to: u64) -> impl FnOnce(std::io::Error) -> PageError {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    move |source| match source.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => PageError::Full { from, to, source },
        _ => PageError::Io {
            operation: "grow",
            offset: to,
            source,
        },
    }
}

fn map_view(storage: &dyn Storage, page_size: PageSize, pages: u32) -> Result<View> {
    storage
        .view(u64::from(pages) << page_size.shift())
        .map_err(PageError::io("map", 0))
}

/// The state of a new store.
pub(crate) fn empty_superblock(page_size: PageSize) -> Superblock {
    Superblock {
        page_size,
        sequence: 1,
        map_height: 0,
        logical_pages: 1,
        physical_pages: 2,
        root: RootEntries {
            physical: vec![0],
            hash: vec![[0; 32]],
        },
        free: FreePlace::Inline(vec![0, 0]),
        journal: [Run::default(); 2],
        drained: 0,
        chain: 0,
        roots: Roots::default(),
    }
}

/// How to open a [`PageStore`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct StoreOptions {
    /// No write is attempted; the journal is read all the same.
    pub read_only: bool,
    /// When a page's hash is checked.
    pub check: ReadCheck,
}

impl StoreOptions {
    /// Writable, pages checked at first touch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `read_only`.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Sets `check`.
    #[must_use]
    pub fn check(mut self, check: ReadCheck) -> Self {
        self.check = check;
        self
    }
}
