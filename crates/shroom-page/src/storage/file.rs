//! A storage in a file: positioned reads and writes, an exclusive or shared lock, and a cached mapping.
//!
//! * F1 The lock is held before a byte is changed, truncation included, and until the last view is dropped.
//! * F2 Growth allocates blocks, so that a full disk is an error of `grow`; a failed `grow` leaves the length as it was.
//! * F3 A sync is asked for once and its error is returned: trying again could report success for lost data.
//! * F4 A created file's directory entry is synced before `open` returns.
//!
//! Absent on purpose: no buffering, no writable mapping, no second file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::mapping::Mapping;
use super::memory::{check_view, check_within};
use super::{Storage, View};
use crate::PageError;

/// Bytes written at a time where the system cannot allocate blocks.
const ZERO_PIECE_LEN: usize = 1 << 20;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file for reading; shares its lock with other readers.
    ReadOnly,
    /// A file for reading and writing, locked for this handle alone.
    ReadWrite {
        /// Create the file when it is absent.
        create: bool,
        /// Create the file; an error when it exists. `create` is then implied.
        create_new: bool,
        /// Cut an existing file to nothing, once it is locked.
        truncate: bool,
    },
}

impl OpenMode {
    /// Reading and writing a file that exists.
    pub const EXISTING: Self = Self::ReadWrite {
        create: false,
        create_new: false,
        truncate: false,
    };
    /// Reading and writing; the file is created when it is absent.
    pub const OPEN_OR_CREATE: Self = Self::ReadWrite {
        create: true,
        create_new: false,
        truncate: false,
    };
    /// Reading and writing a file that must not exist yet.
    pub const CREATE_NEW: Self = Self::ReadWrite {
        create: true,
        create_new: true,
        truncate: false,
    };
    /// Reading and writing an empty file: created when absent, cut to nothing otherwise.
    pub const REPLACE: Self = Self::ReadWrite {
        create: true,
        create_new: false,
        truncate: true,
    };

    fn writes(self) -> bool {
        matches!(self, Self::ReadWrite { .. })
    }
}

/// A storage in a locked file. The lock is given back when the storage and all its views are dropped.
///
/// The lock is the open file's, not its name's: when the file is removed, or another takes its name, this handle goes on
/// reading and writing the file that it opened, and whoever opens the name gets the other.
#[derive(Debug)]
pub struct FileStorage {
    file: Arc<File>,
    writable: bool,
    /// Length in bytes, against which writes are checked; changed while `resize` is held.
    len: AtomicU64,
    resize: Mutex<()>,
    mapping: Mutex<Option<Arc<Mapping>>>,
}

impl FileStorage {
    /// Opens and locks the file at `path`.
    ///
    /// # Errors
    /// [`PageError::Locked`] when another handle or process holds a lock that excludes this one; [`PageError::Open`] for
    /// everything else: absent, a directory or other non-file, permission denied, ...
    pub fn open(path: &Path, mode: OpenMode) -> Result<Self, PageError> {
        let failed = |source| PageError::Open {
            path: path.to_path_buf(),
            source,
        };
        let (file, created) = open_file(path, mode).map_err(failed)?;
        check_regular(&file).map_err(failed)?;
        match if mode.writes() {
            file.try_lock()
        } else {
            file.try_lock_shared()
        } {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(PageError::Locked {
                    path: path.to_path_buf(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut len = file.metadata().map_err(failed)?.len();
        // An empty file may be one whose creator has not synced its directory entry.
        if created || (mode.writes() && len == 0) {
            sync_parent(path).map_err(failed)?;
        }
        if matches!(mode, OpenMode::ReadWrite { truncate: true, .. }) && len != 0 {
            file.set_len(0).map_err(failed)?;
            len = 0;
        }
        Ok(Self::new(file, mode.writes(), len))
    }

    /// Opens the file at `path` for reading, whoever has it locked, and locks it against nobody. Its bytes may change
    /// between two reads, and its end may come nearer: it must not be mapped.
    pub(crate) fn open_unlocked(path: &Path) -> Result<Self, PageError> {
        let failed = |source| PageError::Open {
            path: path.to_path_buf(),
            source,
        };
        let (file, _) = open_file(path, OpenMode::ReadOnly).map_err(failed)?;
        check_regular(&file).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        Ok(Self::new(file, false, len))
    }

    fn new(file: File, writable: bool, len: u64) -> Self {
        Self {
            file: Arc::new(file),
            writable,
            len: AtomicU64::new(len),
            resize: Mutex::new(()),
            mapping: Mutex::new(None),
        }
    }

    /// Closes the storage and removes its file, which has not been renamed since it was opened at `path`.
    ///
    /// # Errors
    /// Those of the system; the file is then still there.
    pub fn remove(self, path: &Path) -> io::Result<()> {
        if !cfg!(unix) {
            // An open file has its name until it is closed there.
            drop(self);
        }
        std::fs::remove_file(path)
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the storage was opened read-only",
        ))
    }

    fn check_written_range(&self, operation: &str, offset: u64, len: u64) -> io::Result<()> {
        self.check_writable()?;
        check_within(operation, offset, len, self.len.load(Ordering::Acquire))
    }
}

impl Storage for FileStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        read_exact_at(&self.file, offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_written_range("write", offset, bytes.len() as u64)?;
        write_all_at(&self.file, offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        sync_data(&self.file)
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let _resizing = lock(&self.resize);
        let present = self.len.load(Ordering::Acquire);
        if len <= present {
            return Ok(());
        }
        if let Err(error) = allocate(&self.file, present, len) {
            // What the attempt allocated is given back; its own error is the one to report.
            let _ = self.file.set_len(present);
            return Err(error);
        }
        self.len.store(len, Ordering::Release);
        Ok(())
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let _resizing = lock(&self.resize);
        if len >= self.len.load(Ordering::Acquire) {
            return Ok(());
        }
        if !cfg!(unix) {
            // Windows refuses to cut a file that is mapped; a live view still makes this fail there.
            *lock(&self.mapping) = None;
        }
        self.file.set_len(len)?;
        self.len.store(len, Ordering::Release);
        Ok(())
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.check_written_range("punch", offset, len)?;
        if len == 0 {
            return Ok(true);
        }
        punch(&self.file, offset, len)
    }

    #[cfg(unix)]
    fn allocated(&self) -> io::Result<Option<u64>> {
        use std::os::unix::fs::MetadataExt;
        /// What `stat` counts in, whatever the file system's blocks are.
        const BLOCK_LEN: u64 = 512;
        Ok(Some(self.file.metadata()?.blocks() * BLOCK_LEN))
    }

    fn view(&self, len: u64) -> io::Result<View> {
        check_view(len, Storage::len(self)?)?;
        if len == 0 {
            return Ok(View::empty()); // nothing to map
        }
        let mut cached = lock(&self.mapping);
        let mapping = match cached.take() {
            Some(mapping) if mapping.capacity() >= len => mapping,
            _ => Arc::new(Mapping::new(&self.file, len)?),
        };
        *cached = Some(Arc::clone(&mapping));
        Ok(View::mapped(mapping, len))
    }
}

/// Locks; a panic elsewhere while it was held left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens without locking, and says whether the file was created.
fn open_file(path: &Path, mode: OpenMode) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(mode.writes());
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Without effect on a file, but opening a pipe by mistake does not wait for its other end.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    }
    match mode {
        OpenMode::ReadWrite {
            create_new: true, ..
        } => Ok((options.create_new(true).open(path)?, true)),
        OpenMode::ReadWrite { create: true, .. } => match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok((options.create(true).open(path)?, true))
            }
            result => Ok((result?, false)),
        },
        _ => Ok((options.open(path)?, false)),
    }
}

fn check_regular(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    Ok(())
}

/// Reads from `offset` until `buffer` is full.
#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    // Continues after an interruption.
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Writes all of `bytes` at `offset`.
#[cfg(unix)]
fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    // Continues after an interruption.
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Reads from `offset` until `buffer` is full.
#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = &mut buffer[read..];
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes all of `bytes` at `offset`.
#[cfg(windows)]
fn write_all_at(file: &File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `fdatasync`, once (F3): `File::sync_data` would repeat an interrupted call, and the repetition does not
/// report an error that the kernel has counted as reported by the first one.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn sync_data(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fdatasync(file)?)
}

/// Makes the file's data durable.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn sync_data(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// Extends the file from `from` to `to` bytes of zeros, with blocks.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::{Errno, retry_on_intr};
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), from, to - from)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => allocate_by_writing(file, from, to),
        result => Ok(result?),
    }
}

/// Extends the file from `from` to `to` bytes of zeros, with blocks.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    allocate_by_writing(file, from, to)
}

fn allocate_by_writing(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZERO_PIECE_LEN.min(usize::try_from(to - from).unwrap_or(ZERO_PIECE_LEN))];
    let mut position = from;
    while position < to {
        let piece = zeros
            .len()
            .min(usize::try_from(to - position).unwrap_or(usize::MAX));
        write_all_at(file, position, &zeros[..piece])?;
        position += piece as u64;
    }
    Ok(())
}

/// Gives the range's blocks back; false when the system or the file system cannot.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn punch(file: &File, offset: u64, len: u64) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::{Errno, retry_on_intr};
    match retry_on_intr(|| {
        fallocate(
            file,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            offset,
            len,
        )
    }) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives the range's blocks back; false when the system or the file system cannot.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn punch(_file: &File, _offset: u64, _len: u64) -> io::Result<bool> {
    Ok(false)
}

/// Makes the file's directory entry durable (F4).
#[cfg(unix)]
fn sync_parent(path: &Path) -> io::Result<()> {
    let path = path.canonicalize()?; // the entry is where a symbolic link leads
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    match File::open(parent)?.sync_all() {
        // Some network file systems cannot sync a directory, and do not need to.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Nothing to do: directory entries are journalled by the system.
#[cfg(not(unix))]
fn sync_parent(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, not(miri)))] // there are no mapped files there
mod tests;
