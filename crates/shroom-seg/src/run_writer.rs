//! Writing a run of raw pages from pieces of any length.
//!
//! * W4 A run of up to `SCRATCH_BYTES` is written by one call, so that the page layer can place it contiguously.
//! * W5 No more than `SCRATCH_BYTES` and a page are gathered; long pieces of a longer run go straight through.
//!
//! Absent on purpose: allocates no page.

use shroom_page::{LogicalPage, PageRead, PageTxn};

use crate::Result;
use crate::layout::Extent;

/// Bytes gathered before they are written.
const SCRATCH_BYTES: usize = 1 << 20;
/// Pieces with this many bytes of whole pages are not gathered in a longer run.
const DIRECT_BYTES: usize = 64 << 10;

/// Slices to be written, in order.
pub(crate) struct Source<'a> {
    current: &'a [u8],
    parts: &'a [&'a [u8]],
}

impl<'a> Source<'a> {
    /// `first`, then `parts`.
    pub(crate) fn new(first: &'a [u8], parts: &'a [&'a [u8]]) -> Self {
        Self {
            current: first,
            parts,
        }
    }

    /// The next piece, of at most `most` bytes; `None` at the end, or when `most` is 0.
    pub(crate) fn take(&mut self, most: u64) -> Option<&'a [u8]> {
        while self.current.is_empty() {
            let (first, parts) = self.parts.split_first()?;
            (self.current, self.parts) = (first, parts);
        }
        let length = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(self.current.len());
        let (piece, rest) = self.current.split_at(length);
        self.current = rest;
        (length > 0).then_some(piece)
    }
}

/// Writes the pages of a run front to back.
pub(crate) struct RunWriter {
    page_bytes: usize,
    next: LogicalPage,
    /// The run is longer than the scratch buffer.
    long: bool,
    scratch: Vec<u8>,
}

impl RunWriter {
    /// Writes all pages of `run`, which is allocated.
    pub(crate) fn new(page_bytes: usize, run: Extent) -> Self {
        let run_bytes = u64::from(run.pages) * page_bytes as u64;
        let long = run_bytes > SCRATCH_BYTES as u64;
        let scratch = Vec::with_capacity(if long { 0 } else { run_bytes as usize });
        Self {
            page_bytes,
            next: run.first,
            long,
            scratch,
        }
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, txn: &mut PageTxn<'_>, mut bytes: &[u8]) -> Result<()> {
        if !self.long {
            self.scratch.extend_from_slice(bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            let filled = self.scratch.len() % self.page_bytes;
            if filled == 0 && bytes.len() >= DIRECT_BYTES + self.page_bytes {
                self.flush(txn)?;
                let (direct, rest) = bytes.split_at(bytes.len() - bytes.len() % self.page_bytes);
                self.put(txn, direct)?;
                bytes = rest;
                continue;
            }
            let (gathered, rest) = bytes.split_at(bytes.len().min(self.page_bytes - filled));
            self.scratch.extend_from_slice(gathered);
            bytes = rest;
            self.flush_full(txn)?;
        }
        Ok(())
    }

    /// Appends a whole page of the store.
    pub(crate) fn copy(&mut self, txn: &mut PageTxn<'_>, page: LogicalPage) -> Result<()> {
        self.scratch.extend_from_slice(txn.page(page)?);
        self.flush_full(txn)
    }

    /// Pads the last page with zeros, and writes what is gathered.
    pub(crate) fn finish(mut self, txn: &mut PageTxn<'_>) -> Result<()> {
        let padded = self.scratch.len().next_multiple_of(self.page_bytes);
        self.scratch.resize(padded, 0);
        self.flush(txn)
    }

    fn flush_full(&mut self, txn: &mut PageTxn<'_>) -> Result<()> {
        let whole_pages = self.scratch.len().is_multiple_of(self.page_bytes);
        if self.long && whole_pages && self.scratch.len() >= SCRATCH_BYTES {
            self.flush(txn)?;
        }
        Ok(())
    }

    fn flush(&mut self, txn: &mut PageTxn<'_>) -> Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        if !scratch.is_empty() {
            self.put(txn, &scratch)?;
        }
        scratch.clear();
        self.scratch = scratch;
        Ok(())
    }

    fn put(&mut self, txn: &mut PageTxn<'_>, pages: &[u8]) -> Result<()> {
        txn.write_run(self.next, pages)?;
        self.next = LogicalPage(self.next.0 + (pages.len() / self.page_bytes) as u32);
        Ok(())
    }
}
