//! The database handle: what users call.

use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use shroom_page::PageStore;
use shroom_page::storage::MemoryStorage;

use crate::TokenInfo;
use crate::batch::Batch;
use crate::core::{Core, Write};
use crate::error::Result;
use crate::iter::{Iter, Keys};
use crate::options::Options;
use crate::salvage::{Salvage, SalvageReport};
use crate::snapshot::Snapshot;
use crate::stats::Stats;
use crate::value::{Pin, Value};
use crate::verify::Report;

/// A database: tokens (a `u64` id and its bytes) in one file.
///
/// A cheap handle: clone it freely, and use it from any number of threads. Reads take no lock and are never blocked by
/// the writer; writers are serialised. A write is visible at once and durable after [`flush`](Self::flush). When the last
/// handle is dropped the database is flushed and closed; [`close`](Self::close) does the same and tells of errors.
#[derive(Clone, Debug)]
pub struct Db {
    owner: Arc<Owner>,
}

/// Closes the database when the last handle goes.
#[derive(Debug)]
struct Owner {
    core: Arc<Core>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Err(error) = self.core.close() {
            tracing::error!(%error, "closing the database failed");
        }
    }
}

impl Db {
    pub(crate) fn new(store: PageStore, options: Options) -> Result<Self> {
        let db = Self {
            owner: Arc::new(Owner {
                core: Core::open(store, options)?,
            }),
        };
        db.core().settle_tracking()?;
        Ok(db)
    }

    pub(crate) fn core(&self) -> &Core {
        &self.owner.core
    }

    /// Opens the database, and creates it when the file is absent or empty.
    ///
    /// # Errors
    /// Those of [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(path)
    }

    /// Creates a database; an error when the file exists.
    ///
    /// # Errors
    /// Those of [`Options::open`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().create_new(true).open(path)
    }

    /// Opens an existing database for reading, beside other readers. What a crash left in the journal is read too.
    ///
    /// # Errors
    /// Those of [`Options::open`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().read_only(true).open(path)
    }

    /// Writes what is proven to be left of a damaged database to a new one, and says what is lost. The damaged file is only
    /// read. See [`Salvage`](crate::salvage::Salvage).
    ///
    /// # Errors
    /// Those of [`Salvage::run`](crate::salvage::Salvage::run).
    pub fn salvage(damaged: impl AsRef<Path>, new: impl AsRef<Path>) -> Result<SalvageReport> {
        Salvage::new().run(damaged, new)
    }

    /// A database in memory.
    ///
    /// # Errors
    /// None in practice.
    pub fn in_memory() -> Result<Self> {
        Options::new().open_storage(Arc::new(MemoryStorage::new()))
    }

    /// Sets the value of token `id`.
    ///
    /// # Errors
    /// [`ValueTooLarge`](crate::Error::ValueTooLarge); I/O errors; a full disk. Then nothing has changed.
    pub fn put(&self, id: u64, bytes: &[u8]) -> Result<()> {
        self.core().write(&[Write::Put { id, bytes }]).map(|_| ())
    }

    /// Appends to the value of token `id`, which is made when absent; returns the new length. Costs the bytes
    /// appended, not the token's.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub fn append(&self, id: u64, bytes: &[u8]) -> Result<u64> {
        Ok(self.core().write(&[Write::Append { id, bytes }])?.length)
    }

    /// Stores a value under the next id above the highest in use (0 in an empty database), and returns it.
    ///
    /// # Errors
    /// [`IdsExhausted`](crate::Error::IdsExhausted); those of [`put`](Self::put).
    pub fn insert(&self, bytes: &[u8]) -> Result<u64> {
        self.core().insert(bytes)
    }

    /// Deletes token `id`; whether it was there.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub fn delete(&self, id: u64) -> Result<bool> {
        Ok(self.core().write(&[Write::Delete { id }])?.deleted)
    }

    /// Collects changes to commit together.
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self.core())
    }

    /// Loads tokens in ascending order of ids straight into the pages, at about disk speed, and durably: all of them or,
    /// after an error or a crash, none. Returns their number. Tokens that are there already are overwritten.
    ///
    /// # Errors
    /// [`NotAscending`](crate::Error::NotAscending); those of [`put`](Self::put).
    pub fn bulk_load<T: AsRef<[u8]>>(
        &self,
        tokens: impl IntoIterator<Item = (u64, T)>,
    ) -> Result<u64> {
        let loaded = self.core().bulk_load(&mut tokens.into_iter())?;
        self.core().compact_if_due();
        Ok(loaded)
    }

    /// The value of token `id`. Copies nothing when the value lies contiguously.
    ///
    /// # Errors
    /// Corruption of the bytes read.
    #[inline]
    pub fn get(&self, id: u64) -> Result<Option<Value<'static>>> {
        let state = self.core().state.load();
        let place = state.get(id)?;
        Ok(place.map(|place| Value::new(Pin::Guard(state), place)))
    }

    /// Whether token `id` is there.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains(&self, id: u64) -> Result<bool> {
        Ok(self.core().state.load().length(id)?.is_some())
    }

    /// Number of tokens. Looks up what was written since the last checkpoint, once for each state.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn len(&self) -> Result<u64> {
        self.core().state.load().count()
    }

    /// Whether there is no token.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.keys(..).next().transpose()?.is_none())
    }

    /// Where token `id` lies, and its length.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn stat(&self, id: u64) -> Result<Option<TokenInfo>> {
        self.core().state.load().info(id)
    }

    /// All tokens in id order; reversible. Sees the state of this moment.
    pub fn iter(&self) -> Iter<'static> {
        self.range(..)
    }

    /// The tokens with ids in a range, in id order; reversible.
    pub fn range(&self, ids: impl RangeBounds<u64>) -> Iter<'static> {
        Iter::new(self.core().state.load_full(), ids)
    }

    /// The ids in a range, in order; reversible.
    pub fn keys(&self, ids: impl RangeBounds<u64>) -> Keys<'static> {
        Keys(self.range(ids))
    }

    /// The present state, to be read from consistently for as long as it is held. O(1).
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.core().state.load_full())
    }

    /// The application's tag, committed with the last batch that set one; 0 at first.
    pub fn tag(&self) -> u64 {
        self.core().state.load().tag()
    }

    /// Makes everything that was written durable: one sync, shared by concurrent callers.
    ///
    /// # Errors
    /// I/O errors. After a failed sync the database takes no more writes until it is opened again.
    pub fn flush(&self) -> Result<()> {
        self.core().flush()
    }

    /// Moves what the journal holds into the pages now.
    ///
    /// # Errors
    /// Those of [`put`](Self::put) and [`flush`](Self::flush).
    pub fn checkpoint(&self) -> Result<()> {
        let core = self.core();
        drop(core.drain_all(core.writable()?)?);
        core.compact_if_due();
        Ok(())
    }

    /// Figures on the database and its file.
    ///
    /// # Errors
    /// Corruption of the bytes read.
    pub fn stats(&self) -> Result<Stats> {
        Stats::of(self.core())
    }

    /// Checks every byte of the last checkpoint: hashes, that each page is used once or free, segments, the free-space
    /// index, packs, order and counts.
    ///
    /// # Errors
    /// I/O errors. What is wrong with the bytes is in the report.
    pub fn verify(&self) -> Result<Report> {
        Report::of(self.core())
    }

    /// Drains and gives back the journal, cuts the file to its data, and closes it for all handles.
    ///
    /// # Errors
    /// Those of [`flush`](Self::flush). Whatever was flushed before is durable in any case.
    pub fn close(self) -> Result<()> {
        self.core().close()
    }
}

/// All tokens in id order, as in the state of this moment.
impl IntoIterator for &Db {
    type Item = Result<(u64, Value<'static>)>;
    type IntoIter = Iter<'static>;

    fn into_iter(self) -> Iter<'static> {
        self.iter()
    }
}
