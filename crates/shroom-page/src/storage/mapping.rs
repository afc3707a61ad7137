//! Readable views: of a file through a read-only memory mapping, or of chunks in memory.
//!
//! The only module of the project with `unsafe` code: making the mapping, slicing it with one bounds check, and asking the processor
//! for bytes ahead of their use.
//!
//! * M1 A view's length never exceeds the storage's length at the time it was made.
//! * M2 `slice` hands out nothing beyond the view's length, whatever it is asked.
//! * M3 A mapping keeps the file, and so its lock, for as long as a view of it lives.
//! * M4 On Unix a mapping reaches past the end of the file, so that growth rarely maps anew; by M1 and M2 nobody
//!   touches those bytes before the file has grown over them.
//!
//! Absent on purpose: writes nothing, knows no page. Gives no access advice: turning read-ahead off
//! (`MADV_RANDOM`) would slow scans and cold opens, and pages already in memory do not gain from it.

#![expect(
    unsafe_code,
    reason = "a mapping's bytes are promised by the kernel, not by the language"
)]

use std::fmt;
use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

/// Length of a chunk of a view in memory: the largest page, so that no aligned page crosses a chunk.
pub(super) const CHUNK_LEN: usize = crate::PAGE_SIZE_MAX as usize;

/// `CHUNK_LEN` bytes.
pub(super) type Chunk = Arc<[u8]>;

/// Smallest mapping on Unix, in bytes.
const CAPACITY_MIN: u64 = 1 << 20;

/// A read-only mapping of the start of a file.
#[derive(Debug)]
pub(super) struct Mapping {
    mmap: Mmap,
    /// Holds the lock on the file (M3).
    _file: Arc<File>,
}

impl Mapping {
    /// Maps at least the first `len` bytes of `file`, which is at least that long and locked; `len` is not 0.
    pub(super) fn new(file: &Arc<File>, len: u64) -> io::Result<Self> {
        let capacity = mapping_capacity(len);
        let mmap = match Self::map(file, capacity) {
            // The address space is limited: take what is needed and no more.
            Err(_) if capacity != len => Self::map(file, len)?,
            result => result?,
        };
        Ok(Self {
            mmap,
            _file: Arc::clone(file),
        })
    }

    fn map(file: &File, len: u64) -> io::Result<Mmap> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: the bytes behind a shared slice must not change, and reading them must not fault. This rests on:
        // - Other processes and handles: each storage locks the file, for writing alone or for reading together, and
        //   the lock lives as long as this mapping (M3). A program that ignores the advisory lock and writes into
        //   or truncates the file is outside what can be defended against, as for every mapped file.
        // - This process: writes go through `pwrite`, and the page store never writes a page that a live
        //   reader can reach, never punches one out, and never shrinks the file below what a live reader reaches.
        // - Bytes beyond the end of the file are mapped but never read: a view is no longer than the file was
        //   when it was made (M1), and slices do not leave their view (M2).
        unsafe { MmapOptions::new().len(len).map(file) }
    }

    /// Bytes that can be mapped into views as the file grows.
    pub(super) fn capacity(&self) -> u64 {
        self.mmap.len() as u64
    }
}

fn mapping_capacity(len: u64) -> u64 {
    if cfg!(unix) {
        len.saturating_mul(2)
            .checked_next_power_of_two()
            .unwrap_or(len)
            .max(CAPACITY_MIN)
    } else {
        len // a longer mapping would extend the file
    }
}

/// Readable bytes of a storage, from its start. Cheap to clone; keeps what it reads from alive.
#[derive(Clone)]
pub struct View {
    /// First mapped byte; dangling when `mapped_len` is 0.
    base: NonNull<u8>,
    /// Length of a mapped view; 0 for a view of chunks.
    mapped_len: usize,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Mapping(Arc<Mapping>),
    Chunks { chunks: Arc<Vec<Chunk>>, len: u64 },
}

// SAFETY: `base` points into the mapping that `source` owns, which is Send and Sync, and is only read through.
unsafe impl Send for View {}
// SAFETY: as for Send; a View has no interior mutability.
unsafe impl Sync for View {}

impl View {
    /// The first `len` bytes of a mapping. `len` is at most the capacity and the present length of the file.
    pub(super) fn mapped(mapping: Arc<Mapping>, len: u64) -> Self {
        assert!(
            len <= mapping.capacity(),
            "view of {len} bytes over a mapping of {}",
            mapping.capacity()
        );
        // `as`: the capacity is a usize.
        Self {
            base: NonNull::from(&mapping.mmap[..]).cast(),
            mapped_len: len as usize,
            source: Source::Mapping(mapping),
        }
    }

    /// The first `len` bytes of chunks, which hold at least that many.
    pub(super) fn chunks(chunks: Arc<Vec<Chunk>>, len: u64) -> Self {
        assert!(
            len <= (chunks.len() * CHUNK_LEN) as u64,
            "view of {len} bytes over {} chunks",
            chunks.len()
        );
        Self {
            base: NonNull::dangling(),
            mapped_len: 0,
            source: Source::Chunks { chunks, len },
        }
    }

    /// A view of nothing.
    pub(crate) fn empty() -> Self {
        Self::chunks(Arc::default(), 0)
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match &self.source {
            Source::Mapping(_) => self.mapped_len as u64,
            Source::Chunks { len, .. } => *len,
        }
    }

    /// True for a view of nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` bytes from `offset`. `None` when they reach beyond the view, or are not contiguous: a view in memory is
    /// made of 64 KiB chunks, so that a piece of at most 64 KiB that is aligned to its own length always is.
    #[inline]
    pub fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.mapped_len as u64 => {
                // SAFETY: `offset <= end <= mapped_len`, so both fit in a usize and the range lies within the
                // `mapped_len` bytes from `base`, which are mapped for as long as `source` lives, and so for as long
                // as this borrow of self. That nobody changes the bytes is argued at `Mapping::map`. With
                // `mapped_len` 0 the slice is empty and `base` is a dangling, aligned, non-null pointer.
                Some(unsafe {
                    std::slice::from_raw_parts(self.base.as_ptr().add(offset as usize), len)
                })
            }
            _ => self.slice_of_chunk(offset, len),
        }
    }

    fn slice_of_chunk(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let Source::Chunks {
            chunks,
            len: view_len,
        } = &self.source
        else {
            return None;
        };
        let end = offset.checked_add(len as u64)?;
        if end > *view_len {
            return None;
        }
        if len == 0 {
            return Some(&[]);
        }
        let chunk = chunks.get(usize::try_from(offset / CHUNK_LEN as u64).ok()?)?;
        let start = (offset % CHUNK_LEN as u64) as usize;
        chunk.get(start..start.checked_add(len)?)
    }

    /// Offset of `bytes` when it is a slice of this view's mapping, within the view's length. `None` for an empty
    /// slice, a slice of something else, and always for a view in memory.
    pub fn position_of(&self, bytes: &[u8]) -> Option<u64> {
        let offset = bytes
            .as_ptr()
            .addr()
            .checked_sub(self.base.as_ptr().addr())?;
        let end = offset.checked_add(bytes.len())?;
        (!bytes.is_empty() && end <= self.mapped_len).then_some(offset as u64)
    }
}

/// Bytes of a cache line; only speed depends on it.
const LINE_LEN: usize = 64;

/// Asks the processor to load the first bytes of a slice, up to 512 of them, without waiting for it. Does nothing where there is no
/// stable way to ask.
#[inline]
pub fn prefetch(bytes: &[u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in bytes.chunks(LINE_LEN).take(8) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing as far as the program can tell, and never faults; the pointer is of a live slice.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (bytes, LINE_LEN);
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Mapping(mapping) => f
                .debug_struct("View")
                .field("len", &self.len())
                .field("mapped", &mapping.capacity())
                .finish(),
            Source::Chunks { chunks, len } => f
                .debug_struct("View")
                .field("len", len)
                .field("chunks", &chunks.len())
                .finish(),
        }
    }
}

#[cfg(all(test, not(miri)))] // there are no mapped files there
mod tests;
