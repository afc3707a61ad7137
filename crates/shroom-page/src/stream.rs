//! Pages that are written before the transaction that takes them in: for values that come bit by bit, and are larger than
//! memory.
//!
//! * P1 A stream holds no lock and no transaction between its calls; commits, readers and other streams go on meanwhile.
//! * P2 Until the commit of a transaction that adopted it, its pages are free in the file: a crash forgets them.
//! * P3 Dropped, it gives its pages back at once, to be taken by the next transaction.
//! * P4 Memory is 32 bytes for each page, the hash that the page map will hold, and a few bytes for each run of pages.
//!
//! Absent on purpose: knows no logical page; the transaction gives the numbers.

use std::sync::Arc;

use crate::allocation::{FreePages, Returned};
use crate::map::Entry;
use crate::store::PageStore;
use crate::superblock::Run;
use crate::{PageError, PhysicalPage, Result};

/// Pages reserved at a time, beyond those that are written at once, at most, in bytes: they come to lie in one piece.
const AHEAD_BYTES_MAX: u64 = 64 << 20;

/// Raw pages that were written to free places of the file, to be adopted by a transaction
/// ([`PageTxn::adopt`](crate::PageTxn::adopt)). Dropped without, it changes nothing.
///
/// ```
/// use shroom_page::{PageRead, PageSize, PageStore, Roots};
///
/// let store = PageStore::in_memory(PageSize::DEFAULT)?;
/// let mut stream = store.page_stream()?;
/// for number in 0..3 {
///     store.write_stream(&mut stream, &[number; 4096])?;
/// }
/// let mut txn = store.begin()?;
/// let first = txn.adopt(stream, None)?;
/// let snapshot = txn.commit(Roots::default())?;
/// assert_eq!(snapshot.run(first, 3)?.unwrap()[4096..4098], [1, 1]);
/// # Ok::<(), shroom_page::PageError>(())
/// ```
#[derive(Debug)]
pub struct PageStream {
    home: Arc<Returned>,
    written: StreamedPages,
    /// Reserved and not written yet.
    ahead: Run,
}

/// Where pages of a stream lie, and their hashes, in order.
#[derive(Debug, Default)]
pub(crate) struct StreamedPages {
    /// Runs of places, each with the number of pages before it.
    places: Vec<(u32, Run)>,
    hashes: Vec<[u8; 32]>,
}

impl StreamedPages {
    /// Number of pages.
    pub(crate) fn len(&self) -> u32 {
        self.hashes.len() as u32
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.places.iter().map(|&(_, run)| run)
    }

    /// The run of places that holds page `index`, and how many of its pages come before that.
    pub(crate) fn place(&self, index: u32) -> Option<(Run, u32)> {
        let at = self.places.partition_point(|&(before, _)| before <= index);
        let &(before, run) = self.places.get(at.checked_sub(1)?)?;
        let within = index - before;
        (within < run.pages).then_some((run, within))
    }

    /// What the page map will hold for page `index`.
    pub(crate) fn entry(&self, index: u32) -> Option<Entry> {
        let (run, within) = self.place(index)?;
        Some(Entry {
            physical: run.first + within,
            hash: *self.hashes.get(index as usize)?,
        })
    }

    /// What the page map will hold, page by page.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = Entry> {
        let places = self.places.into_iter();
        let places = places.flat_map(|(_, run)| run.first..run.first + run.pages);
        places
            .zip(self.hashes)
            .map(|(physical, hash)| Entry { physical, hash })
    }

    fn push(&mut self, run: Run, hashes: &[[u8; 32]]) {
        match self.places.last_mut() {
            Some((_, last)) if last.end() == u64::from(run.first) => last.pages += run.pages,
            _ => self.places.push((self.len(), run)),
        }
        self.hashes.extend_from_slice(hashes);
    }
}

impl PageStream {
    /// Pages written so far.
    pub fn pages(&self) -> u32 {
        self.written.len()
    }

    /// Whether it is one of the store to which these pages are returned.
    pub(crate) fn is_of(&self, home: &Arc<Returned>) -> bool {
        Arc::ptr_eq(&self.home, home)
    }

    /// What was written, and what is reserved besides: it is the caller's to give back.
    pub(crate) fn into_parts(mut self) -> (StreamedPages, Run) {
        (
            std::mem::take(&mut self.written),
            std::mem::take(&mut self.ahead),
        )
    }
}

impl Drop for PageStream {
    fn drop(&mut self) {
        let runs = self.written.runs().chain([self.ahead]);
        self.home.push(runs);
    }
}

impl PageStore {
    /// A stream without pages.
    ///
    /// # Errors
    /// [`PageError::ReadOnly`], [`PageError::Poisoned`].
    pub fn page_stream(&self) -> Result<PageStream> {
        self.check_writable()?;
        Ok(PageStream {
            home: Arc::clone(self.returned()),
            written: StreamedPages::default(),
            ahead: Run::default(),
        })
    }

    /// Writes whole raw pages behind those of the stream, which nobody else can see. Where free pages have to be found for
    /// them, now and then, waits while a transaction is open.
    ///
    /// # Errors
    /// [`PageError::Misuse`] when `bytes` is not whole pages, or the stream another store's; I/O errors; a full disk.
    /// [`PageStream::pages`] says how many of the pages were written.
    pub fn write_stream(&self, stream: &mut PageStream, mut bytes: &[u8]) -> Result<()> {
        let page_len = self.page_size().bytes();
        self.check_stream(stream)?;
        if !bytes.len().is_multiple_of(page_len) {
            return Err(misuse(format!("{} bytes are not whole pages", bytes.len())));
        }
        while !bytes.is_empty() {
            let pages = u32::try_from(bytes.len() / page_len).unwrap_or(u32::MAX);
            if stream.ahead.is_empty() {
                self.reserve(stream, pages)?;
            }
            let place = Run {
                first: stream.ahead.first,
                pages: pages.min(stream.ahead.pages),
            };
            let (now, rest) = bytes.split_at(place.pages as usize * page_len);
            let hashes = self.write_and_hash(&[place], now)?;
            stream.written.push(place, &hashes);
            stream.ahead.first += place.pages;
            stream.ahead.pages -= place.pages;
            bytes = rest;
        }
        Ok(())
    }

    /// Reads page `index` of a stream back, and checks it.
    ///
    /// # Errors
    /// [`PageError::HashMismatch`] when it is not what was written; [`PageError::Misuse`] when there is no such page, or
    /// `buffer` is not a page; I/O errors.
    pub fn read_stream(&self, stream: &PageStream, index: u32, buffer: &mut [u8]) -> Result<()> {
        self.check_stream(stream)?;
        let entry = stream.written.entry(index);
        let Some(entry) = entry.filter(|_| buffer.len() == self.page_size().bytes()) else {
            let pages = stream.pages();
            return Err(misuse(format!(
                "page {index} of {pages}, into {} bytes",
                buffer.len()
            )));
        };
        let offset = u64::from(entry.physical) << self.page_size().shift();
        let read = self.storage().read_at(offset, buffer);
        read.map_err(PageError::io("read", offset))?;
        if *blake3::hash(buffer).as_bytes() == entry.hash {
            return Ok(());
        }
        Err(PageError::HashMismatch {
            logical: crate::LogicalPage::NONE,
            physical: PhysicalPage(entry.physical),
            offset,
        })
    }

    pub(crate) fn check_stream(&self, stream: &PageStream) -> Result<()> {
        if stream.is_of(self.returned()) {
            Ok(())
        } else {
            Err(misuse("it belongs to another store".into()))
        }
    }

    /// Takes free pages for a stream: at least one, and up to `pages` or, so that they lie in one piece, more.
    fn reserve(&self, stream: &mut PageStream, pages: u32) -> Result<()> {
        let mut writer = self.writable()?;
        if let Err(error) = self.resolve_cut(&mut writer) {
            tracing::warn!(%error, "the file's tail could not be cut off, and is used again");
        }
        let allocation = &mut writer.allocation;
        allocation.release();
        let ahead_max = (AHEAD_BYTES_MAX >> self.page_size().shift()) as u32;
        // A quarter of what there is: what is left over is given back.
        let ample = pages.max((stream.pages() / 4).min(ahead_max));
        let behind = stream.written.places.last();
        let behind = behind.and_then(|&(_, run)| u32::try_from(run.end()).ok());
        let run = self.find_pages(&mut allocation.free, behind, [ample, pages])?;
        allocation.reserved.insert(run.first, run.pages);
        stream.ahead = run;
        Ok(())
    }

    /// Takes one of these numbers of free pages, the first if there is room: right `behind` what there is, or else in one piece
    /// elsewhere. When the disk is full, the longest piece that is free, if that is less.
    fn find_pages(
        &self,
        free: &mut FreePages,
        behind: Option<u32>,
        wanted: [u32; 2],
    ) -> Result<Run> {
        for pages in wanted {
            // An error of growing the file comes again below.
            if let Some(first) = behind
                && matches!(free.take_at(self, first, pages), Ok(true))
            {
                return Ok(Run { first, pages });
            }
            match free.take_run(self, pages) {
                Err(PageError::Full { .. }) => {}
                found => return found,
            }
        }
        let [_, pages] = wanted;
        let longest = free.physical.iter().max_by_key(|&(_, len)| len);
        match longest {
            Some((first, len)) if len < pages => {
                let taken = free.physical.take_exact(first, len);
                assert!(taken, "a free run is free");
                Ok(Run { first, pages: len })
            }
            _ => free.take_run(self, pages),
        }
    }
}

pub(crate) fn misuse(detail: String) -> PageError {
    PageError::Misuse {
        what: "stream",
        detail,
    }
}
