//! Writing a value as a stream: its pages go to free places of the file as they come, and one commit at the end makes them the
//! token's value.
//!
//! * V1 Until it is finished nothing is changed: dropped, or lost in a crash, its pages are free.
//! * V2 Between two calls a writer holds no lock; several write at once, beside everything else.
//! * V3 Memory is the buffer, and the hash of each page written.
//! * V4 An append adds to the value that the token has when it is finished. What it has written fits the value it began with; when
//!   somebody has changed the end of that meanwhile, it is written once more.

use std::fmt;
use std::io;
use std::sync::Arc;

use shroom_page::PageStream;
use shroom_token::{Edit, Stored, TokenId, merge};

use crate::activity::Changes;
use crate::core::{Core, Write};
use crate::db::Db;
use crate::drain::Drain;
use crate::error::Result;
use crate::overlay::Overlay;
use crate::state::State;
use crate::writing_at::copy_part;

/// Bytes gathered, at least, before they are written. What is not longer goes through the journal.
const BUFFER_BYTES_MIN: usize = 1 << 20;
/// Pages in the buffer, at least: an appended stream is an extent of its own, and a value has at most 65,535.
const BUFFER_PAGES_MIN: usize = 64;
/// The last page is padded when that wastes at most this fraction of the value: then it is read in one piece.
const WASTE_DIVISOR: u64 = 32;

/// A value being written, made by [`Db::writer`] and [`Db::append_writer`].
///
/// Nothing is to be seen of it before [`finish`](Self::finish), and then everything at once. Dropped without, it changes nothing.
///
/// It takes memory for a buffer of 1 MiB (64 pages, when that is more) and 32 bytes for each page written: 0.8 % of the value at 4
/// KiB pages. A value longer than the buffer goes straight to free pages of the file, whatever is committed meanwhile; finishing
/// it runs a checkpoint, after which it is durable. A shorter one goes through the journal, as by [`put`](Db::put) or
/// [`append`](Db::append).
///
/// ```
/// use std::io::Write;
/// # let db = shroom::Db::in_memory()?;
/// let mut writer = db.writer(1)?;
/// for line in 0..1000 {
///     writeln!(writer, "line {line}")?;
/// }
/// assert!(db.get(1)?.is_none()); // not yet
/// let length = writer.finish()?;
/// assert_eq!(db.get(1)?.unwrap().len() as u64, length);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a writer that is not finished changes nothing"]
pub struct ValueWriter {
    /// Before the handle: should that be the last, its pages are free when the database is closed.
    pages: Option<Pages>,
    db: Db,
    id: u64,
    appends: bool,
    /// Bytes written by the caller.
    written: u64,
    /// Not in pages yet.
    buffer: Vec<u8>,
    buffer_len: usize,
}

/// What is in the file already: the end of the value that is appended to, and the bytes that were written.
#[derive(Debug)]
struct Pages {
    stream: PageStream,
    /// Bytes of the token's value before them.
    kept: u64,
    /// The bytes of that value behind these, which begin the first page.
    carried: Vec<u8>,
}

impl Db {
    /// Writes the value of token `id` as a stream: it is set when the writer is finished.
    ///
    /// # Errors
    /// A database that takes no writes.
    pub fn writer(&self, id: u64) -> Result<ValueWriter> {
        ValueWriter::new(self, id, false)
    }

    /// Appends to the value of token `id`, which is made when absent, as a stream: all of it when the writer is finished, to what
    /// is there then. Where somebody else has changed the end of the value since the writer began to write pages, they are
    /// written again.
    ///
    /// # Errors
    /// A database that takes no writes.
    pub fn append_writer(&self, id: u64) -> Result<ValueWriter> {
        ValueWriter::new(self, id, true)
    }
}

impl ValueWriter {
    fn new(db: &Db, id: u64, appends: bool) -> Result<Self> {
        drop(db.core().writable()?);
        let page_len = db.core().store.page_size().bytes();
        Ok(Self {
            pages: None,
            db: db.clone(),
            id,
            appends,
            written: 0,
            buffer: Vec::new(),
            buffer_len: db.core().stream_buffer_len(page_len),
        })
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Makes what was written the value of the token, or the end of it. Returns the length of the value.
    ///
    /// # Errors
    /// [`ValueTooLarge`](crate::Error::ValueTooLarge); I/O errors; a full disk. Then nothing has changed, and what was written is given up.
    pub fn finish(mut self) -> Result<u64> {
        let db = self.db.clone();
        let core = db.core();
        if self.pages.is_none() {
            let (id, bytes) = (self.id, &self.buffer[..]);
            if !self.appends {
                core.write(&[Write::Put { id, bytes }])?;
                return Ok(self.written);
            }
            return Ok(core.write(&[Write::Append { id, bytes }])?.length);
        }
        self.write_pages(core)?;
        let mut writer = core.drain_all(core.writable()?)?;
        let state = core.state.load_full();
        let old = match state.base.find(self.id)? {
            Some(Stored::Blob { head, length }) => Some((head, length)),
            _ => None,
        };
        if self.appends && !self.continues(&state)? {
            self.write_again(core, &state)?;
        }
        let rest = self.take_rest(core)?;
        let Some(Pages {
            stream,
            kept,
            carried,
        }) = self.pages.take()
        else {
            return Ok(0); // there are pages, or this was left above
        };
        let length = kept + carried.len() as u64 + self.written;
        core.check_length(self.id, length)?;
        let id = TokenId(self.id);
        let drain = Drain {
            mark: core.mark().skip_one(),
            areas: [None; 2],
        };
        let base = core.commit_pages(&drain, None, |segments, root, tracker| {
            let head = segments.blob_adopt(old, kept, stream, &rest, length)?;
            let edit = (id, Edit::Blob { head, length });
            let root = merge(
                segments,
                &root,
                &mut std::iter::once(edit).peekable(),
                usize::MAX,
            )?;
            tracker.changed(segments.pages(), &root, id.0)?;
            Ok(root)
        })?;
        writer.forget_ids();
        let changes = Changes {
            puts: u64::from(!self.appends),
            appends: u64::from(self.appends),
            payload_bytes: self.written,
            ..Changes::default()
        };
        core.counters.changed(&writer, &changes);
        let state = State::new(base, None, Overlay::default());
        core.state.store(Arc::new(state));
        Ok(length)
    }

    /// Writes the whole pages of the buffer to the file.
    fn write_pages(&mut self, core: &Core) -> Result<()> {
        if self.pages.is_none() {
            let pages = self.begin(core)?;
            self.buffer.splice(0..0, pages.carried.iter().copied());
            self.pages = Some(pages);
        }
        let Some(pages) = &mut self.pages else {
            return Ok(());
        };
        let page_len = core.store.page_size().bytes();
        let whole = self.buffer.len() - self.buffer.len() % page_len;
        let before = pages.stream.pages();
        let result = core
            .store
            .write_stream(&mut pages.stream, &self.buffer[..whole]);
        let done = (pages.stream.pages() - before) as usize * page_len;
        self.buffer.drain(..done);
        Ok(result?)
    }

    /// Where the pages belong: for an append, behind the whole pages of the value.
    fn begin(&self, core: &Core) -> Result<Pages> {
        let stream = core.store.page_stream()?;
        let mut pages = Pages {
            stream,
            kept: 0,
            carried: Vec::new(),
        };
        if self.appends {
            let mut state = core.state.load_full();
            let page_len = state.page_size() as u64;
            let (mut kept, mut length) = whole_pages(&state, self.id)?;
            if length - kept > page_len {
                // Much of it was written since the last checkpoint.
                drop(core.drain_all(core.writable()?)?);
                state = core.state.load_full();
                (kept, length) = whole_pages(&state, self.id)?;
            }
            pages.kept = kept;
            copy_part(&state, self.id, kept, length, &mut pages.carried)?;
        }
        Ok(pages)
    }

    /// Whether the pages still fit the value.
    fn continues(&self, state: &State) -> Result<bool> {
        let Some(pages) = &self.pages else {
            return Ok(true);
        };
        let (kept, length) = whole_pages(state, self.id)?;
        if pages.kept > kept || length != pages.kept + pages.carried.len() as u64 {
            return Ok(false);
        }
        let mut end = Vec::new();
        copy_part(state, self.id, pages.kept, length, &mut end)?;
        Ok(end == pages.carried)
    }

    /// Writes everything once more, behind the value as it is now.
    fn write_again(&mut self, core: &Core, state: &State) -> Result<()> {
        let Some(old) = self.pages.take() else {
            return Ok(());
        };
        let rest = std::mem::take(&mut self.buffer);
        let (kept, length) = whole_pages(state, self.id)?;
        let mut carried = Vec::new();
        copy_part(state, self.id, kept, length, &mut carried)?;
        self.buffer.clone_from(&carried);
        self.pages = Some(Pages {
            stream: core.store.page_stream()?,
            kept,
            carried,
        });
        let mut page = vec![0; core.store.page_size().bytes()];
        let mut skip = old.carried.len();
        for index in 0..old.stream.pages() {
            core.store.read_stream(&old.stream, index, &mut page)?;
            let skipped = skip.min(page.len());
            skip -= skipped;
            self.buffer.extend_from_slice(&page[skipped..]);
            if self.buffer.len() >= self.buffer_len {
                self.write_pages(core)?;
            }
        }
        self.buffer.extend_from_slice(&rest[skip.min(rest.len())..]);
        self.write_pages(core)
    }

    /// What is left in the buffer, less than a page, to be stored beside the pages; unless it is worth a page of its own.
    fn take_rest(&mut self, core: &Core) -> Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.buffer);
        let page_len = core.store.page_size().bytes();
        if let Some(pages) = &mut self.pages
            && !rest.is_empty()
        {
            let length = pages.kept + pages.carried.len() as u64 + self.written;
            if (page_len - rest.len()) as u64 <= length / WASTE_DIVISOR {
                rest.resize(page_len, 0);
                core.store.write_stream(&mut pages.stream, &rest)?;
                rest.clear();
            }
        }
        Ok(rest)
    }
}

/// Bytes of a value that are in whole pages of the checkpoint, and its length: 0 when it is absent.
fn whole_pages(state: &State, id: u64) -> Result<(u64, u64)> {
    let content = state.content(id)?;
    let page_len = state.page_size();
    Ok(content.map_or((0, 0), |content| {
        (content.whole_page_bytes(page_len), content.length())
    }))
}

impl Core {
    fn stream_buffer_len(&self, page_len: usize) -> usize {
        let by_pages = BUFFER_PAGES_MIN * page_len;
        let least = self
            .options
            .stream_bytes
            .unwrap_or(BUFFER_BYTES_MIN.max(by_pages));
        least.next_multiple_of(page_len)
    }
}

impl io::Write for ValueWriter {
    /// Takes some of the bytes, or is an error and takes none: then it may be tried again.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() && self.buffer.len() >= self.buffer_len {
            let db = self.db.clone();
            // A closed file is not written to.
            drop(db.core().writable()?);
            self.write_pages(db.core())?;
        }
        // What carries the end of an older value over may fill the buffer, and more.
        let room = self.buffer_len.saturating_sub(self.buffer.len()).max(1);
        let taken = room.min(bytes.len());
        let written = self.written + taken as u64;
        self.db.core().check_length(self.id, written)?;
        self.buffer.extend_from_slice(&bytes[..taken]);
        self.written = written;
        Ok(taken)
    }

    /// Does nothing: what was written is to be seen and durable after [`finish`](ValueWriter::finish) only.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for ValueWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueWriter")
            .field("id", &self.id)
            .field("appends", &self.appends)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}
