//! Deltas: copies of a database that follow it, at the cost of what changed (format §12).
//!
//! * D1 A delta is the pages that one named snapshot has and another one has not. Equal snapshots of one file give equal bytes.
//! * D2 Where it is applied the present state becomes the later snapshot, and nothing else: each page is proven by the page root.
//! * D3 The file is in the earlier state or in the later one, whatever happens in between.

use std::fmt;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use shroom_page::storage::{FileStorage, OpenMode, Storage};
use shroom_page::{DeltaReader, PageDelta, PageError, PageStore};
use shroom_token::TokenRoot;

use crate::db::Db;
use crate::digest::PageRoot;
use crate::error::{Error, Result};
use crate::root::ApplicationRoot;
use crate::saved::named;

/// Bytes that go through a reader or writer at a time, about.
const BUFFER_LEN: usize = 256 << 10;

/// What a delta says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeltaInfo {
    /// Name that the earlier snapshot had in the source; `None`: the delta begins with nothing, and makes a whole database.
    pub from: Option<String>,
    /// Name of the later snapshot, under which it is saved where the delta is applied.
    pub to: String,
    /// Page root of the earlier snapshot: of the file that the delta can be applied to.
    pub from_root: PageRoot,
    /// Page root of the later snapshot: of that file afterwards.
    pub to_root: PageRoot,
    /// Size of each page, in bytes.
    pub page_size: u32,
    /// Number of pages in the delta.
    pub pages: u64,
    /// Length of the delta, in bytes.
    pub bytes: u64,
}

/// What applying a delta did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedDelta {
    /// The delta.
    pub info: DeltaInfo,
    /// The file was in the later state already, and nothing was done.
    pub already: bool,
    /// Pages written.
    pub pages_written: u64,
    /// Pages that other named snapshots of the file have at their places.
    pub pages_found: u64,
}

/// The difference between two named snapshots, or all of one, ready to be written. Holds both; readers and writers go on.
#[derive(Debug)]
#[must_use = "a delta is nowhere until it is written"]
pub struct Delta {
    pages: PageDelta,
    info: DeltaInfo,
}

impl Db {
    /// What makes a copy that is at one named snapshot follow to another; or, without the first, what makes a new copy.
    /// Costs a walk over what differs in the page map.
    ///
    /// # Errors
    /// [`NoSuchSnapshot`](Error::NoSuchSnapshot); corruption of the page map.
    pub fn delta(&self, from: Option<&str>, to: &str) -> Result<Delta> {
        let pages = self.core().store.delta(from, to).map_err(named)?;
        let info = DeltaInfo::of(pages.info());
        Ok(Delta { pages, info })
    }

    /// Writes the delta from one named snapshot to another, or from nothing: see [`delta`](Self::delta).
    ///
    /// # Errors
    /// Those of [`delta`](Self::delta) and of [`Delta::write`].
    pub fn export_delta(
        &self,
        from: Option<&str>,
        to: &str,
        writer: impl Write,
    ) -> Result<DeltaInfo> {
        let delta = self.delta(from, to)?;
        delta.write(0, writer)?;
        Ok(delta.info)
    }

    /// Applies a delta to the database at `path`, which must be in the state that the delta leads on from, and closed; where the
    /// delta begins with nothing, the file is made if it is absent. Afterwards it is in the later state, down to the page
    /// root, and has it as a named snapshot: what the next delta leads on from. After an error or a crash it is as before (a new
    /// file: empty), or, when that happened at the very end, in the later state; to apply the delta again is right in either.
    ///
    /// Named snapshots of the file stay. Those that the delta's source does not have, or no longer, must be deleted when they lie
    /// where the delta's pages go.
    ///
    /// # Errors
    /// An error of kind [`Corruption`](crate::ErrorKind::Corruption) for a delta that is damaged or ends early, of kind
    /// [`Misuse`](crate::ErrorKind::Misuse) for one that does not lead on from the file's state;
    /// [`SnapshotExists`](Error::SnapshotExists); those of [`Options::open`](crate::Options::open).
    pub fn apply_delta(path: impl AsRef<Path>, reader: impl Read) -> Result<AppliedDelta> {
        apply(reader, &|delta| {
            let mode = OpenMode::ReadWrite {
                create: delta.is_complete(),
                create_new: false,
                truncate: false,
            };
            Ok(Arc::new(FileStorage::open(path.as_ref(), mode)?))
        })
    }

    /// [`apply_delta`](Self::apply_delta) over any storage, of which the caller has the only handle.
    ///
    /// # Errors
    /// As [`apply_delta`](Self::apply_delta).
    pub fn apply_delta_storage(
        storage: Arc<dyn Storage>,
        reader: impl Read,
    ) -> Result<AppliedDelta> {
        apply(reader, &|_| Ok(Arc::clone(&storage)))
    }
}

fn apply(
    reader: impl Read,
    open: &dyn Fn(&DeltaReader<'_>) -> Result<Arc<dyn Storage>>,
) -> Result<AppliedDelta> {
    let mut reader = BufReader::with_capacity(BUFFER_LEN, reader);
    let delta = DeltaReader::new(&mut reader).map_err(of_delta)?;
    // Before anything changes.
    check_roots(&delta)?;
    let info = DeltaInfo::of(delta.info());
    let storage = open(&delta)?;
    let page_size = delta.info().page_size;
    if PageStore::is_blank(&*storage, page_size)? {
        delta.check_complete()?;
        drop(PageStore::create(Arc::clone(&storage), page_size)?);
    }
    let applied = PageStore::open(storage)?
        .apply_delta(delta)
        .map_err(of_delta)?;
    Ok(AppliedDelta {
        info,
        already: applied.already,
        pages_written: applied.written.into(),
        pages_found: applied.found.into(),
    })
}

/// What a delta leads to must be a database's state.
fn check_roots(delta: &DeltaReader<'_>) -> Result<()> {
    let flaw = |detail: String| Error::Delta { offset: 0, detail };
    TokenRoot::decode(&delta.roots().token).map_err(|error| flaw(error.to_string()))?;
    let application = ApplicationRoot::decode(&delta.roots().application);
    application.map_err(|error| flaw(error.to_string()))?;
    Ok(())
}

/// The page layer's errors about deltas and names, as this layer's.
fn of_delta(error: PageError) -> Error {
    match error {
        PageError::Delta { offset, detail } => Error::Delta { offset, detail },
        error => named(error),
    }
}

impl Delta {
    /// What it says of itself.
    pub fn info(&self) -> &DeltaInfo {
        &self.info
    }

    /// Writes its bytes from `offset` on: what was written before an interruption need not be written again.
    ///
    /// # Errors
    /// Corruption of the pages, each of which is checked; I/O errors of the writer; an offset beyond the end.
    pub fn write(&self, offset: u64, writer: impl Write) -> Result<()> {
        let mut writer = BufWriter::with_capacity(BUFFER_LEN, writer);
        self.pages.write(offset, &mut writer)?;
        writer.flush().map_err(|source| {
            let (operation, offset) = ("write of a delta", self.info.bytes);
            Error::Page(PageError::Io {
                operation,
                offset,
                source,
            })
        })
    }
}

impl DeltaInfo {
    fn of(info: &shroom_page::DeltaInfo) -> Self {
        Self {
            from: info.from_name.clone(),
            to: info.to_name.clone(),
            from_root: info.from_root.into(),
            to_root: info.to_root.into(),
            page_size: info.page_size.bytes() as u32,
            pages: info.pages.into(),
            bytes: info.bytes,
        }
    }

    /// Reads what a delta says of itself from its beginning.
    ///
    /// # Errors
    /// An error of kind [`Corruption`](crate::ErrorKind::Corruption) when it is no delta; I/O errors of the reader.
    pub fn read(mut reader: impl Read) -> Result<Self> {
        let delta = DeltaReader::new(&mut reader).map_err(of_delta)?;
        Ok(Self::of(delta.info()))
    }

    /// Reads a delta to its end, and checks all of it that can be checked without the file that it is for: that it is whole, and
    /// that each page is the one that the page root which it leads to asks for.
    ///
    /// # Errors
    /// As [`read`](Self::read), for any damage.
    pub fn check(reader: impl Read) -> Result<Self> {
        let mut reader = BufReader::with_capacity(BUFFER_LEN, reader);
        let delta = DeltaReader::new(&mut reader).map_err(of_delta)?;
        check_roots(&delta)?;
        Ok(Self::of(&delta.check().map_err(of_delta)?))
    }
}

impl fmt::Display for DeltaInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            Some(from) => write!(f, "from {from:?} to {:?}", self.to)?,
            None => write!(f, "all of {:?}", self.to)?,
        }
        write!(f, ": {} pages, {} bytes", self.pages, self.bytes)
    }
}
