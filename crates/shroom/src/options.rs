//! How to open a database.

use std::path::Path;
use std::sync::Arc;

use shroom_page::storage::{FileStorage, OpenMode, Storage};
use shroom_page::{PAGE_SIZE_MAX, PAGE_SIZE_MIN, PageSize, PageStore, ReadCheck, StoreOptions};

use crate::db::Db;
use crate::error::{Error, Result};

/// Largest journal area by default, in bytes: about what a checkpoint drains in a fraction of a second.
const JOURNAL_LIMIT: u64 = 32 << 20;
/// Smallest journal limit, in bytes.
const JOURNAL_LIMIT_MIN: u64 = 64 << 10;

/// Options for opening a database.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("state.shroom");
/// let db = shroom::Options::new().page_size(1024).create_new(true).open(&path)?;
/// db.put(1, b"one")?;
/// db.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options open nothing by themselves"]
pub struct Options {
    pub(crate) page_size: u32,
    pub(crate) journal_limit: u64,
    pub(crate) check: ReadCheck,
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    pub(crate) truncate: bool,
    pub(crate) read_only: bool,
    pub(crate) background: bool,
    /// `None`: as the file does.
    pub(crate) track_content_root: Option<bool>,
    /// Free share of the file from which on it is compacted after a checkpoint.
    pub(crate) compact_above: Option<f64>,
    /// Exactly this many bytes of changed pages make a slice of a checkpoint; `None`: by the file's size.
    pub(crate) slice_bytes: Option<usize>,
    /// Exactly this many bytes are gathered by a writer before they go to pages; `None`: by the page size.
    pub(crate) stream_bytes: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            page_size: PageSize::DEFAULT.bytes() as u32,
            journal_limit: JOURNAL_LIMIT,
            check: ReadCheck::FirstTouch,
            create: true,
            create_new: false,
            truncate: false,
            read_only: false,
            background: true,
            track_content_root: None,
            compact_above: None,
            slice_bytes: None,
            stream_bytes: None,
        }
    }
}

impl Options {
    /// Writable, created when absent, 4 KiB pages, journal areas of up to 32 MiB, pages checked at first touch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Page size of a new file, in bytes: a power of two from 512 to 65,536. An existing file keeps its own.
    pub fn page_size(mut self, bytes: u32) -> Self {
        self.page_size = bytes;
        self
    }

    /// Largest size of each of the two journal areas, in bytes, at least 64 KiB. They start small and grow with use; a batch
    /// larger than this goes straight to the pages. More means fewer checkpoints and more memory.
    pub fn journal_limit(mut self, bytes: u64) -> Self {
        self.journal_limit = bytes;
        self
    }

    /// When a page's hash is checked.
    pub fn read_check(mut self, check: ReadCheck) -> Self {
        self.check = check;
        self
    }

    /// Whether to create the file when it is absent or empty. On by default.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Whether to fail when the file exists.
    pub fn create_new(mut self, create_new: bool) -> Self {
        self.create_new = create_new;
        self
    }

    /// Whether to discard what the file holds.
    pub fn truncate(mut self, truncate: bool) -> Self {
        self.truncate = truncate;
        self
    }

    /// Opens for reading only: shares the file with other readers, and never writes to it.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether checkpoints run on a thread of their own, which is the default. Without, the write that fills a journal area
    /// runs the checkpoint: then the file's bytes depend on nothing but the operations.
    pub fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    /// Whether the file keeps track of the hash of its tokens, so that [`Db::content_root`] need not read them all. A file keeps
    /// what was chosen last, whoever opens it; a new one does not keep track. Turning it on reads every token once, turning it
    /// off drops it. A put does not pay for it: a checkpoint takes longer, by about twice the hash of each token that it
    /// moves, and the file is 2 KiB larger. A compacted file does not keep track until it is told to.
    pub fn track_content_root(mut self, track: bool) -> Self {
        self.track_content_root = Some(track);
        self
    }

    /// Compacts the file by itself when a checkpoint leaves at least this share of it free, 0 to 1; off by default. What is free
    /// are pages and the rests of pages, as in [`Stats::free_share`](crate::stats::Stats::free_share). With a checkpoint in the
    /// background the compaction, too, has a thread of its own, and readers and writers go on; without, the call that ran the
    /// checkpoint runs it, and the file's bytes still depend on nothing but the operations. What a compaction could not free is
    /// no reason for another one, until there is twice as much; nor is a file under 64 pages. Nor is what one that failed left.
    pub fn compact_above(mut self, free_share: f64) -> Self {
        self.compact_above = Some(free_share);
        self
    }

    /// For tests: after how many bytes of changed pages a slice of a checkpoint is committed, whatever the file's size. A
    /// slice ends between two packs, so 1 makes it as small as it can be.
    #[cfg(feature = "faulty")]
    #[doc(hidden)]
    pub fn slice_bytes(mut self, bytes: usize) -> Self {
        self.slice_bytes = Some(bytes);
        self
    }

    /// For tests: how many bytes a [`ValueWriter`](crate::ValueWriter) gathers before they go to pages, in whole pages.
    #[cfg(feature = "faulty")]
    #[doc(hidden)]
    pub fn stream_bytes(mut self, bytes: usize) -> Self {
        self.stream_bytes = Some(bytes);
        self
    }

    /// Opens or creates the file.
    ///
    /// # Errors
    /// A specific error for each way in which the file cannot be opened, is locked, or is not a sound database.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Db> {
        self.check_options()?;
        let mode = if self.read_only {
            OpenMode::ReadOnly
        } else {
            OpenMode::ReadWrite {
                create: self.create,
                create_new: self.create_new,
                truncate: self.truncate,
            }
        };
        let storage = FileStorage::open(path.as_ref(), mode)?;
        self.open_checked(Arc::new(storage))
    }

    /// Opens or creates a database in any storage: memory, say, or one that injects faults.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_storage(&self, storage: Arc<dyn Storage>) -> Result<Db> {
        self.check_options()?;
        self.open_checked(storage)
    }

    fn check_options(&self) -> Result<PageSize> {
        if self.read_only && (self.create_new || self.truncate) {
            let detail = "cannot be combined with create_new or truncate".into();
            return Err(Error::Option {
                option: "read_only",
                detail,
            });
        }
        if self.journal_limit < JOURNAL_LIMIT_MIN || self.journal_limit > u64::from(u32::MAX) / 2 {
            let detail = format!(
                "expected {JOURNAL_LIMIT_MIN} to {} bytes, got {}",
                u32::MAX / 2,
                self.journal_limit
            );
            return Err(Error::Option {
                option: "journal_limit",
                detail,
            });
        }
        if let Some(share) = self
            .compact_above
            .filter(|share| !(0.0..=1.0).contains(share))
        {
            return Err(Error::Option {
                option: "compact_above",
                detail: format!("expected a share of 0 to 1, got {share}"),
            });
        }
        PageSize::new(self.page_size).ok_or_else(|| Error::Option {
            option: "page_size",
            detail: format!(
                "expected a power of two from {PAGE_SIZE_MIN} to {PAGE_SIZE_MAX}, got {}",
                self.page_size
            ),
        })
    }

    fn open_checked(&self, storage: Arc<dyn Storage>) -> Result<Db> {
        let page_size = self.check_options()?;
        let create = (self.create || self.create_new || self.truncate) && !self.read_only;
        if create && (self.truncate || PageStore::is_blank(&*storage, page_size)?) {
            drop(PageStore::create(Arc::clone(&storage), page_size)?);
        }
        let options = StoreOptions::new()
            .read_only(self.read_only)
            .check(self.check);
        Db::new(PageStore::open_with(storage, options)?, self.clone())
    }
}
