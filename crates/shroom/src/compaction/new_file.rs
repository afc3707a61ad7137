//! Compaction into a new file: the canonical image, whose bytes depend on the tokens, the tag and the page size alone.
//!
//! * K1 One pass over the tokens in ascending order of ids. Memory is bounded: a window of pages, the write buffer, and a
//!   byte for each page of the new file; and any one value that the journal appends to or changes.
//! * K2 The new file is a database only once all of it is durable. A compaction that fails or is stopped leaves no file.
//! * K3 A database whose directory promises more or fewer tokens, or more bytes than its pages have, gives an error, not
//!   another content.
//!
//! Named snapshots stay behind: the image holds the one state that was compacted.

use std::ops::ControlFlow;
use std::path::Path;

use shroom_page::storage::{FileStorage, OpenMode, Storage};
use shroom_page::{FileImage, HashImage, ImageSink, ImageWriter, PageRead, Roots};
use shroom_seg::{BlobChunks, SegError};
use shroom_token::{CanonicalImage, Stored, TokenError, TokenId};

use crate::db::Db;
use crate::digest::FileHash;
use crate::error::{Error, Result};
use crate::iter::{Item, Iter};
use crate::root::ApplicationRoot;
use crate::snapshot::Snapshot;
use crate::state::State;

/// Tokens between two calls for progress.
const PROGRESS_TOKENS: u64 = 1024;

/// What a compaction into a new file made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewFile {
    /// Number of tokens.
    pub tokens: u64,
    /// Sum of the tokens' lengths, in bytes.
    pub payload_bytes: u64,
    /// Length of the new file, in bytes.
    pub file_bytes: u64,
}

/// How far a compaction into a new file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewFileProgress {
    /// Tokens written.
    pub tokens: u64,
    /// Tokens that there are.
    pub tokens_total: u64,
    /// Bytes of values written.
    pub payload_bytes: u64,
    /// Bytes of the new file so far, about.
    pub file_bytes: u64,
}

/// Is told of the progress, and may stop the work.
type OnProgress<'p> = &'p mut dyn FnMut(&NewFileProgress) -> ControlFlow<()>;

impl Db {
    /// Writes the present state to a new file at `path`, as small as it gets. See [`Snapshot::compact_into`].
    ///
    /// # Errors
    /// Those of [`Snapshot::compact_into`].
    pub fn compact_into(&self, path: impl AsRef<Path>) -> Result<NewFile> {
        self.snapshot().compact_into(path)
    }

    /// Gives the blocks of all free pages back to the file system, for a file that is to keep its length. Returns how many
    /// bytes that are, or `None` where the system cannot: it can on Linux, with most file systems. Pages that readers or
    /// snapshots still need are left alone. What is written there later needs blocks again: on a full disk that fails.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub fn punch_holes(&self) -> Result<Option<u64>> {
        let core = self.core();
        drop(core.writable()?);
        Ok(core.store.punch_holes()?)
    }

    /// The hash of the present state's compacted file. See [`Snapshot::file_hash`].
    ///
    /// # Errors
    /// Those of [`Snapshot::file_hash`].
    pub fn file_hash(&self) -> Result<FileHash> {
        self.snapshot().file_hash()
    }
}

impl Snapshot {
    /// Writes this state to a new file at `path`, which must not exist: its canonical image. Pages are full, none is free, and
    /// equal tokens, tag and page size give equal bytes, whatever the history. Readers and writers of this database go on
    /// meanwhile. Named snapshots are not in the new file.
    ///
    /// # Errors
    /// Corruption of the bytes read; I/O errors; a full disk. Then there is no file at `path`.
    pub fn compact_into(&self, path: impl AsRef<Path>) -> Result<NewFile> {
        self.compact_into_with(path, |_| ControlFlow::Continue(()))
    }

    /// [`compact_into`](Self::compact_into), telling of its progress now and then, which may stop it.
    ///
    /// # Errors
    /// [`Stopped`](Error::Stopped); those of [`compact_into`](Self::compact_into).
    pub fn compact_into_with(
        &self,
        path: impl AsRef<Path>,
        mut progress: impl FnMut(&NewFileProgress) -> ControlFlow<()>,
    ) -> Result<NewFile> {
        let path = path.as_ref();
        let storage = FileStorage::open(path, OpenMode::CREATE_NEW)?;
        let written = self.compact_into_storage(&storage, &mut progress);
        if written.is_err()
            && let Err(error) = storage.remove(path)
        {
            tracing::warn!(%error, "an unfinished file could not be removed");
        }
        written
    }

    /// [`compact_into_with`](Self::compact_into_with) over any storage, whose content it replaces.
    ///
    /// # Errors
    /// As [`compact_into_with`](Self::compact_into_with); the storage then holds no database.
    pub fn compact_into_storage(
        &self,
        storage: &dyn Storage,
        mut progress: impl FnMut(&NewFileProgress) -> ControlFlow<()>,
    ) -> Result<NewFile> {
        let page_size = self.state().base.pages.page_size();
        let mut file = FileImage::new(storage, page_size)?;
        write_image(self.state(), &mut file, &mut progress)
    }

    /// BLAKE3 of the file that [`compact_into`](Self::compact_into) would write, without writing it: equal for equal
    /// tokens, tag and page size, whatever the history. Reads every token.
    ///
    /// # Errors
    /// Corruption of the bytes read.
    pub fn file_hash(&self) -> Result<FileHash> {
        let mut image = HashImage::new(self.state().base.pages.page_size());
        write_image(self.state(), &mut image, &mut |_| ControlFlow::Continue(()))?;
        let hash = image.hash();
        Ok(hash
            .unwrap_or_else(|| unreachable!("the image was finished"))
            .into())
    }
}

/// Writes the canonical image of a state.
fn write_image(
    state: &std::sync::Arc<State>,
    sink: &mut dyn ImageSink,
    progress: OnProgress<'_>,
) -> Result<NewFile> {
    let page_size = state.base.pages.page_size();
    let mut writing = Writing {
        state,
        image: CanonicalImage::new(ImageWriter::new(sink, page_size)),
        done: NewFileProgress {
            tokens: 0,
            tokens_total: state.count()?,
            payload_bytes: 0,
            file_bytes: 0,
        },
        blob_bytes_left: u64::from(state.base.pages.physical_pages()) << page_size.shift(),
    };
    let mut tokens = Iter::new(std::sync::Arc::clone(state), ..);
    while let Some((id, item)) = tokens.step(true).transpose()? {
        writing.write(id, item)?;
        if writing.done.tokens.is_multiple_of(PROGRESS_TOKENS) {
            writing.report(progress)?;
        }
    }
    writing.report(progress)?;
    let Writing { image, done, .. } = writing;
    if done.tokens != done.tokens_total {
        return Err(TokenError::Totals {
            what: "tokens",
            expected: done.tokens_total,
            got: done.tokens,
        }
        .into());
    }
    let (image, seg, token) = image.finish()?;
    let pages = image.finish(Roots {
        seg,
        token: token.encode(),
        application: ApplicationRoot::of_tag(state.tag()).encode(),
    })?;
    Ok(NewFile {
        tokens: done.tokens,
        payload_bytes: done.payload_bytes,
        file_bytes: u64::from(pages) << page_size.shift(),
    })
}

/// An image being written.
struct Writing<'w, 's> {
    state: &'w State,
    image: CanonicalImage<ImageWriter<'s>>,
    done: NewFileProgress,
    /// Bytes that large values in the pages may still have: a forged directory may name the same one many times.
    blob_bytes_left: u64,
}

impl Writing<'_, '_> {
    fn write(&mut self, id: u64, item: Item) -> Result<()> {
        let place = match item {
            Item::Ready(place) => Some(place),
            Item::LookUp => match self.state.stored_below(id)? {
                Some(Stored::Blob { head, length }) => {
                    let left = self.blob_bytes_left.checked_sub(length);
                    self.blob_bytes_left = left.ok_or_else(|| SegError::Blob {
                        addr: head,
                        detail: "the values have more bytes than the pages".into(),
                    })?;
                    let chunks = BlobChunks::new(&self.state.base.pages, head, length)?;
                    self.image.push_chunks(TokenId(id), length, chunks)?;
                    self.count(length);
                    return Ok(());
                }
                _ => self.state.get(id)?,
            },
        };
        if let Some(place) = place {
            let bytes = self.state.bytes(&place);
            self.image.push(TokenId(id), bytes)?;
            self.count(bytes.len() as u64);
        }
        Ok(())
    }

    fn count(&mut self, length: u64) {
        self.done.tokens += 1;
        self.done.payload_bytes += length;
    }

    fn report(&mut self, progress: OnProgress<'_>) -> Result<()> {
        let pages = u64::from(self.image.physical_pages());
        self.done.file_bytes = pages * self.state.page_size() as u64;
        match progress(&self.done) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Stopped),
        }
    }
}
