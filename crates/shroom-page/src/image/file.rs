//! An image in a storage.

use super::{ImageSink, SLOTS};
use crate::storage::Storage;
use crate::store::grow_error;
use crate::{PageError, PageSize, PhysicalPage, Result};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// The file grows by at most this much at a time, in bytes, and by a quarter below that.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// Writes an image to a storage that holds nothing yet. Until it is finished and durable, the storage holds no superblock.
#[derive(Debug)]
pub struct FileImage<'t> {
    storage: &'t dyn Storage,
    page_size: PageSize,
    /// Where the gathered bytes go.
    offset: u64,
    /// Length of the storage.
    len: u64,
    buffer: Vec<u8>,
}

impl<'t> FileImage<'t> {
    /// Empties the storage, whatever it holds.
    ///
    /// # Errors
    /// I/O errors.
    pub fn new(storage: &'t dyn Storage, page_size: PageSize) -> Result<Self> {
        storage.shrink(0).map_err(PageError::io("shrink", 0))?;
        Ok(Self {
            storage,
            page_size,
            offset: u64::from(SLOTS) << page_size.shift(),
            len: 0,
            buffer: Vec::with_capacity(BUFFER_BYTES),
        })
    }

    fn flush(&mut self) -> Result<()> {
        let end = self.offset + self.buffer.len() as u64;
        self.reach(end)?;
        self.write(self.offset, &self.buffer)?;
        self.offset = end;
        self.buffer.clear();
        Ok(())
    }

    /// Makes the storage at least this long.
    fn reach(&mut self, end: u64) -> Result<()> {
        if end <= self.len {
            return Ok(());
        }
        let ample = end + (end / 4).min(GROWTH_BYTES_MAX);
        self.grow(ample).or_else(|error| match error {
            // Near a full disk the least that serves may still fit.
            PageError::Full { .. } => self.grow(end),
            error => Err(error),
        })
    }

    fn grow(&mut self, len: u64) -> Result<()> {
        self.storage.grow(len).map_err(grow_error(self.len, len))?;
        self.len = len;
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let written = self.storage.write_at(offset, bytes);
        written.map_err(PageError::io("write", offset))
    }

    fn sync(&self) -> Result<()> {
        self.storage.sync().map_err(PageError::io("sync", 0))
    }
}

impl ImageSink for FileImage<'_> {
    fn page(&mut self, page: PhysicalPage, bytes: &[u8]) -> Result<()> {
        let offset = u64::from(page.0) << self.page_size.shift();
        if offset != self.offset + self.buffer.len() as u64 {
            self.flush()?;
            self.offset = offset;
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn finish(&mut self, pages: u32, slots: &[u8]) -> Result<()> {
        self.flush()?;
        let end = u64::from(pages) << self.page_size.shift();
        self.reach(end)?;
        self.storage
            .shrink(end)
            .map_err(PageError::io("shrink", end))?;
        // What the superblock names is durable before there is one.
        self.sync()?;
        self.write(0, slots)?;
        self.sync()
    }
}
