//! The only door to bytes: positioned reads and writes, sync, grow and shrink, behind one trait.
//!
//! Production and tests run the same engine over different storages: a file, memory, or (feature
//! `faulty`) one that records, fails, loses, tears and reorders writes.

#[cfg(feature = "faulty")]
pub mod faulty;
mod file;
mod mapping;
mod memory;

pub use file::{FileStorage, OpenMode};
pub use mapping::View;
pub use mapping::prefetch;
pub use memory::MemoryStorage;

use std::fmt::Debug;
use std::io;

#[expect(
    clippy::len_without_is_empty,
    reason = "a storage's emptiness is no question anyone asks"
)]
/// Bytes with positioned access. All methods take `&self`; calls may come from several threads.
pub trait Storage: Send + Sync + Debug + 'static {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`; an error when the storage ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, within the present length. Durable only after [`sync`](Self::sync).
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all earlier writes durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;

    /// Extends to `len` bytes of zeros with blocks allocated, so that a later write cannot run out of disk.
    /// Does nothing when it is already that long. A full disk gives `ErrorKind::StorageFull`.
    fn grow(&self, len: u64) -> io::Result<()>;

    /// Cuts to `len` bytes. The caller knows that no live [`View`] is read beyond it.
    fn shrink(&self, len: u64) -> io::Result<()>;

    /// Gives the blocks of a range back to the file system, reading zeros from then on. False: not supported here.
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<bool>;

    /// Bytes that the storage takes on its disk, holes left out. `None`: not known here.
    fn allocated(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// A readable view of the first `len` bytes. Writes made later may or may not be seen through it.
    fn view(&self, len: u64) -> io::Result<View>;
}
