//! Reading a value as a stream: `Read`, `BufRead` and `Seek` over one state, and its pieces without a copy.
//!
//! * E1 A reader holds one state; what is written meanwhile is not seen.
//! * E2 Memory does not grow with the value, but for what the overlays hold of it anyway.
//! * E3 Pages are checked as they are come to, some at a time, and not all before the first byte.

use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::iter::FusedIterator;
use std::sync::Arc;

use crate::db::Db;
use crate::error::Result;
use crate::pieces::{Content, Walk};
use crate::snapshot::Snapshot;
use crate::state::State;

/// Bytes that are checked and lent at a time, about.
const WINDOW_BYTES: usize = 1 << 20;

/// A value being read, made by [`Db::reader`] and [`Snapshot::reader`]: its bytes as they were then.
///
/// [`BufRead`] lends slices of the file and copies nothing. Seeking costs nothing by itself; past the end there is nothing
/// to read, as in a file. Errors of the database come as [`io::Error`]s that hold them.
///
/// ```
/// use std::io::{BufRead, Read, Seek, SeekFrom};
/// # let db = shroom::Db::in_memory()?;
/// db.put(1, b"one line\nand another")?;
/// let mut reader = db.reader(1)?.expect("it is there");
/// let mut line = String::new();
/// reader.read_line(&mut line)?;
/// reader.seek(SeekFrom::Current(4))?;
/// let mut rest = String::new();
/// reader.read_to_string(&mut rest)?;
/// assert_eq!((&*line, &*rest), ("one line\n", "another"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reader {
    state: Arc<State>,
    content: Content,
    walk: Walk,
    offset: u64,
    /// The piece that was lent last, where it lies in the file's mapping.
    window: Option<Window>,
}

/// A piece of the value in the file's mapping.
#[derive(Clone, Copy)]
struct Window {
    /// Of its first byte, in the value.
    start: u64,
    position: u64,
    len: usize,
}

impl Db {
    /// The value of token `id`, to be read bit by bit; `None` when it is absent.
    ///
    /// # Errors
    /// Corruption of what describes the value.
    pub fn reader(&self, id: u64) -> Result<Option<Reader>> {
        Reader::new(self.core().state.load_full(), id)
    }
}

impl Snapshot {
    /// The value of token `id` in this state, to be read bit by bit; `None` when it is absent.
    ///
    /// # Errors
    /// Corruption of what describes the value.
    pub fn reader(&self, id: u64) -> Result<Option<Reader>> {
        Reader::new(Arc::clone(self.state()), id)
    }
}

impl Reader {
    pub(crate) fn new(state: Arc<State>, id: u64) -> Result<Option<Self>> {
        let content = state.content(id)?;
        Ok(content.map(|content| Self {
            state,
            content,
            walk: Walk::default(),
            offset: 0,
            window: None,
        }))
    }

    /// Length of the whole value, in bytes.
    pub fn len(&self) -> u64 {
        self.content.length()
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes from the present position on, in slices of the file, or of what is held in memory: nothing is copied. The
    /// position stays.
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks {
            reader: self,
            walk: Walk::default(),
            offset: self.offset,
        }
    }

    fn window_pages(&self) -> u32 {
        (WINDOW_BYTES / self.state.page_size()) as u32
    }

    /// What is left of the last window.
    fn windowed(&self) -> Option<&[u8]> {
        let window = self.window?;
        let within = usize::try_from(self.offset.checked_sub(window.start)?).ok()?;
        let bytes = self
            .state
            .base
            .pages
            .bytes_at(window.position, window.len)?;
        bytes.get(within..).filter(|rest| !rest.is_empty())
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.windowed().is_none() {
            let pages_max = self.window_pages();
            let (state, content) = (&*self.state, &self.content);
            let bytes = content.slice(state, &mut self.walk, self.offset, pages_max)?;
            let Some(position) = state.base.pages.position_of(bytes) else {
                self.window = None;
                return Ok(bytes);
            };
            self.window = Some(Window {
                start: self.offset,
                position,
                len: bytes.len(),
            });
        }
        Ok(self.windowed().unwrap_or(&[]))
    }

    fn consume(&mut self, amount: usize) {
        self.offset = self.offset.saturating_add(amount as u64);
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => self.len().checked_add_signed(delta),
            SeekFrom::Current(delta) => self.offset.checked_add_signed(delta),
        };
        self.offset = target.ok_or_else(|| {
            let detail = format!("{to:?} at {} of {} bytes", self.offset, self.len());
            io::Error::new(io::ErrorKind::InvalidInput, detail)
        })?;
        Ok(self.offset)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("offset", &self.offset)
            .field("length", &self.len())
            .finish_non_exhaustive()
    }
}

/// The pieces of a value, in order, made by [`Reader::chunks`]. After an error there is no more.
#[derive(Debug)]
#[must_use = "an iterator does nothing until it is asked for an item"]
pub struct Chunks<'r> {
    reader: &'r Reader,
    walk: Walk,
    offset: u64,
}

impl<'r> Iterator for Chunks<'r> {
    type Item = Result<&'r [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reader { state, content, .. } = self.reader;
        let pages_max = self.reader.window_pages();
        let piece = content.slice(state, &mut self.walk, self.offset, pages_max);
        match &piece {
            Ok([]) => return None,
            Ok(piece) => self.offset += piece.len() as u64,
            Err(_) => self.offset = u64::MAX,
        }
        Some(piece)
    }
}

impl FusedIterator for Chunks<'_> {}
