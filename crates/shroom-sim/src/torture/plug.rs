//! A storage's plug: pulled, the database over it can do nothing more, as after its process was killed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shroom::storage::faulty::FaultyStorage;
use shroom::storage::{Storage, View};

/// A handle to a faulty storage that can be made useless.
#[derive(Clone, Debug)]
pub struct Plug {
    storage: FaultyStorage,
    pulled: Arc<AtomicBool>,
}

impl Plug {
    /// A working handle.
    pub fn new(storage: FaultyStorage) -> Self {
        Self {
            storage,
            pulled: Arc::default(),
        }
    }

    /// From now on every call through this handle and its clones fails, and does nothing.
    pub fn pull(&self) {
        self.pulled.store(true, Ordering::Relaxed);
    }

    fn storage(&self) -> io::Result<&FaultyStorage> {
        if self.pulled.load(Ordering::Relaxed) {
            return Err(io::Error::other("the process was killed"));
        }
        Ok(&self.storage)
    }
}

impl Storage for Plug {
    fn len(&self) -> io::Result<u64> {
        self.storage()?.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.storage()?.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.storage()?.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.storage()?.sync()
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        self.storage()?.grow(len)
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.storage()?.shrink(len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.storage()?.punch_hole(offset, len)
    }

    fn view(&self, len: u64) -> io::Result<View> {
        self.storage()?.view(len)
    }
}
