//! A storage in memory: 64 KiB chunks, shared with views and copied when written.
//!
//! * Y1 A view is an immutable snapshot: a chunk that a view shares is copied before it is written.
//! * Y2 There are as many chunks as the length needs, and the bytes of the last one beyond the length are zero.
//!
//! Absent on purpose: durability. `sync` does nothing; the faulty storage is the one that knows what was synced.

use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::mapping::{CHUNK_LEN, Chunk};
use super::{Storage, View};

/// A storage in memory. A clone is another handle to the same bytes.
#[derive(Clone, Default)]
pub struct MemoryStorage {
    content: Arc<RwLock<ChunkedBytes>>,
}

impl MemoryStorage {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// A storage that holds `bytes`.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self {
            content: Arc::new(RwLock::new(ChunkedBytes::from_bytes(&bytes))),
        }
    }

    /// A copy of the present content.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.read().to_bytes()
    }

    // A panic while the lock is held leaves valid bytes: nothing here needs poisoning.
    fn read(&self) -> RwLockReadGuard<'_, ChunkedBytes> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, ChunkedBytes> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage")
            .field("len", &self.read().len())
            .finish()
    }
}

impl Storage for MemoryStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.read().len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read().read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write().write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        self.write().grow(len)
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.write().shrink(len);
        Ok(())
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.write().punch_hole(offset, len).map(|()| true)
    }

    fn view(&self, len: u64) -> io::Result<View> {
        self.read().view(len)
    }
}

/// Bytes in copy-on-write chunks: what this storage and the faulty one keep.
#[derive(Clone, Default)]
pub(super) struct ChunkedBytes {
    chunks: Arc<Vec<Chunk>>,
    len: u64,
}

/// Stands for every chunk that was grown or punched, and not written since.
static ZERO_CHUNK: LazyLock<Chunk> = LazyLock::new(|| Chunk::from(vec![0; CHUNK_LEN]));

impl ChunkedBytes {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let chunk = |piece: &[u8]| {
            if piece.len() == CHUNK_LEN {
                return Chunk::from(piece);
            }
            let mut chunk = piece.to_vec();
            chunk.resize(CHUNK_LEN, 0);
            Chunk::from(chunk)
        };
        let chunks = Arc::new(bytes.chunks(CHUNK_LEN).map(chunk).collect());
        Self {
            chunks,
            len: bytes.len() as u64,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len as usize);
        for chunk in self.chunks.iter() {
            let wanted = CHUNK_LEN.min(self.len as usize - bytes.len());
            bytes.extend_from_slice(&chunk[..wanted]);
        }
        bytes
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if !within(offset, buffer.len() as u64, self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = buffer;
        for (index, start, len) in pieces(offset, rest.len()) {
            let (piece, after) = rest.split_at_mut(len);
            piece.copy_from_slice(&self.chunks[index][start..start + len]);
            rest = after;
        }
        Ok(())
    }

    pub(super) fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        check_within("write", offset, bytes.len() as u64, self.len)?;
        let mut rest = bytes;
        for (index, start, len) in pieces(offset, rest.len()) {
            let (piece, after) = rest.split_at(len);
            self.chunk_mut(index)[start..start + len].copy_from_slice(piece);
            rest = after;
        }
        Ok(())
    }

    pub(super) fn grow(&mut self, len: u64) -> io::Result<()> {
        if len <= self.len {
            return Ok(());
        }
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let bytes = isize::try_from(len).map_err(|_| full())? as usize;
        let chunks = Arc::make_mut(&mut self.chunks);
        let added = bytes.div_ceil(CHUNK_LEN) - chunks.len();
        chunks.try_reserve(added).map_err(|_| full())?;
        chunks.extend(std::iter::repeat_n(&*ZERO_CHUNK, added).cloned());
        self.len = len;
        Ok(())
    }

    pub(super) fn shrink(&mut self, len: u64) {
        if len >= self.len {
            return;
        }
        self.len = len;
        let keep = (len as usize).div_ceil(CHUNK_LEN);
        Arc::make_mut(&mut self.chunks).truncate(keep);
        let last = len as usize % CHUNK_LEN;
        if last != 0 {
            self.chunk_mut(keep - 1)[last..].fill(0);
        }
    }

    pub(super) fn punch_hole(&mut self, offset: u64, len: u64) -> io::Result<()> {
        check_within("punch", offset, len, self.len)?;
        for (index, start, len) in pieces(offset, len as usize) {
            if len == CHUNK_LEN {
                Arc::make_mut(&mut self.chunks)[index] = Arc::clone(&ZERO_CHUNK);
            } else {
                self.chunk_mut(index)[start..start + len].fill(0);
            }
        }
        Ok(())
    }

    pub(super) fn view(&self, len: u64) -> io::Result<View> {
        check_view(len, self.len)?;
        Ok(View::chunks(Arc::clone(&self.chunks), len))
    }

    fn chunk_mut(&mut self, index: usize) -> &mut [u8] {
        Arc::make_mut(&mut Arc::make_mut(&mut self.chunks)[index])
    }
}

/// The parts of a range that lie in one chunk each: chunk, start in it, length.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut position = offset as usize;
    let end = position + len;
    std::iter::from_fn(move || {
        let (index, start) = (position / CHUNK_LEN, position % CHUNK_LEN);
        let len = (end - position).min(CHUNK_LEN - start);
        position += len;
        (len > 0).then_some((index, start, len))
    })
}

fn within(offset: u64, len: u64, limit: u64) -> bool {
    offset.checked_add(len).is_some_and(|end| end <= limit)
}

/// Refuses a range that leaves the storage: a storage never grows by being written to.
pub(super) fn check_within(operation: &str, offset: u64, len: u64, limit: u64) -> io::Result<()> {
    if within(offset, len, limit) {
        return Ok(());
    }
    let message =
        format!("{operation} of {len} bytes at {offset} leaves the storage of {limit} bytes");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Refuses a view longer than the storage (invariant M1 of the mapping).
pub(super) fn check_view(len: u64, limit: u64) -> io::Result<()> {
    if len <= limit {
        return Ok(());
    }
    let message = format!("view of {len} bytes over a storage of {limit} bytes");
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
}

#[cfg(test)]
mod tests;
