//! A store written front to back: pages come in the order of their logical numbers, each goes to the next place of the
//! file, and a page of the map follows at once the last page under it. So an image of any size is made in one pass.
//!
//! * I1 Logical pages are 1, 2, ... without a gap; no page of the image is free, and there is no journal.
//! * I2 A map page is written when its last entry is, so memory is one map page a level.
//! * I3 The superblock comes last: without it a file is no store.
//! * I4 The bytes follow from the pages, the roots and the page size alone.
//!
//! Absent on purpose: does not know what the pages hold; frees nothing and changes nothing.

mod file;
mod hash;

pub use self::file::FileImage;
pub use self::hash::HashImage;

use crate::map::{self, Entry, MapShape, NodeBuilder};
use crate::superblock::{FreePlace, RootEntries, Roots, Run, Superblock};
use crate::{LogicalPage, PageError, PageSize, Result};

/// Physical pages that hold the superblock.
const SLOTS: u32 = 2;

/// Takes the bytes of an image: all pages behind the superblock slots in order, and then the slots.
pub trait ImageSink {
    /// The next page.
    ///
    /// # Errors
    /// I/O errors; a full disk.
    fn page(&mut self, bytes: &[u8]) -> Result<()>;

    /// The first two pages of the file; nothing follows.
    ///
    /// # Errors
    /// I/O errors.
    fn finish(&mut self, slots: &[u8]) -> Result<()>;
}

/// Writes the image of a store.
///
/// ```
/// use shroom_page::storage::MemoryStorage;
/// use shroom_page::{FileImage, ImageWriter, PageRead, PageSize, PageStore, Roots};
///
/// let storage = std::sync::Arc::new(MemoryStorage::new());
/// let mut file = FileImage::new(&*storage, PageSize::DEFAULT)?;
/// let mut image = ImageWriter::new(&mut file, PageSize::DEFAULT);
/// let page = image.push(&[7; 4096])?;
/// image.finish(Roots::default())?;
///
/// let store = PageStore::open(storage)?;
/// assert_eq!(store.snapshot().page(page)?, [7; 4096]);
/// assert!(store.verify()?.is_sound());
/// # Ok::<(), shroom_page::PageError>(())
/// ```
pub struct ImageWriter<'s> {
    sink: &'s mut dyn ImageSink,
    page_size: PageSize,
    fanout: usize,
    physical_pages: u32,
    levels: Vec<Level>,
}

/// Entries of one level of the map.
#[derive(Default)]
struct Level {
    /// Those of the page that is being filled.
    open: Vec<Entry>,
    /// All so far.
    count: u32,
}

impl std::fmt::Debug for ImageWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageWriter")
            .field("physical_pages", &self.physical_pages)
            .finish_non_exhaustive()
    }
}

impl<'s> ImageWriter<'s> {
    /// An image with pages of this size.
    pub fn new(sink: &'s mut dyn ImageSink, page_size: PageSize) -> Self {
        let nothing = Level {
            open: vec![Entry::ABSENT], // logical page 0 does not exist
            count: 1,
        };
        Self {
            sink,
            page_size,
            fanout: map::fanout(page_size),
            physical_pages: SLOTS,
            levels: vec![nothing],
        }
    }

    /// Size of each page.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// Number that the next page gets.
    pub fn next_page(&self) -> LogicalPage {
        LogicalPage(self.levels[0].count)
    }

    /// Pages written so far, with those of the map and the superblock slots.
    pub fn physical_pages(&self) -> u32 {
        self.physical_pages
    }

    /// Writes the next page, and the pages of the map that it completes.
    ///
    /// # Errors
    /// [`PageError::TooManyPages`]; those of the sink.
    ///
    /// # Panics
    /// When `bytes` is not exactly a page: the caller's bug.
    pub fn push(&mut self, bytes: &[u8]) -> Result<LogicalPage> {
        assert_eq!(
            bytes.len(),
            self.page_size.bytes(),
            "a page is pushed whole"
        );
        let page = self.next_page();
        let next = page.0.checked_add(1);
        if next.is_none_or(|next| MapShape::new(self.page_size, next).is_none()) {
            return Err(too_many());
        }
        let entry = self.write(bytes)?;
        self.add(0, entry)?;
        Ok(page)
    }

    /// Writes what is left of the map, and the superblock: the number of pages of the file.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(mut self, roots: Roots) -> Result<u32> {
        let logical_pages = self.levels[0].count;
        let shape = MapShape::new(self.page_size, logical_pages).ok_or_else(too_many)?;
        for level in 0..usize::from(shape.height) {
            if !self.levels[level].open.is_empty() {
                self.close(level)?;
            }
        }
        let root = std::mem::take(&mut self.levels[usize::from(shape.height)].open);
        // A page of a level is full with more entries than the root holds, so the root's are all here.
        assert_eq!(root.len(), shape.root_entries, "the root has its entries");
        let superblock = Superblock {
            page_size: self.page_size,
            sequence: 1,
            map_height: shape.height,
            logical_pages,
            physical_pages: self.physical_pages,
            root: RootEntries {
                physical: root.iter().map(|entry| entry.physical).collect(),
                hash: root.iter().map(|entry| entry.hash).collect(),
            },
            free: FreePlace::Inline(vec![0, 0]),
            journal: [Run::default(); 2],
            drained: 0,
            chain: 0,
            roots,
        };
        let bytes = superblock.encode();
        let mut slots = vec![0; SLOTS as usize * self.page_size.bytes()];
        for slot in slots.chunks_exact_mut(self.page_size.bytes()) {
            slot[..bytes.len()].copy_from_slice(&bytes);
        }
        self.sink.finish(&slots)?;
        Ok(self.physical_pages)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<Entry> {
        let physical = self.physical_pages;
        self.physical_pages = physical.checked_add(1).ok_or_else(too_many)?;
        self.sink.page(bytes)?;
        Ok(Entry {
            physical,
            hash: *blake3::hash(bytes).as_bytes(),
        })
    }

    /// Adds an entry to a level; a page of the map that it fills is written.
    fn add(&mut self, level: usize, entry: Entry) -> Result<()> {
        if level == self.levels.len() {
            self.levels.push(Level::default());
        }
        let at = &mut self.levels[level];
        at.open.push(entry);
        at.count += 1;
        if at.open.len() == self.fanout {
            self.close(level)?;
        }
        Ok(())
    }

    /// Writes the page of the map that a level is filling.
    fn close(&mut self, level: usize) -> Result<()> {
        let entries = std::mem::take(&mut self.levels[level].open);
        let mut builder = NodeBuilder::new(self.fanout, None);
        for (index, entry) in entries.into_iter().enumerate() {
            builder.set(index, entry);
        }
        let mut page = vec![0; self.page_size.bytes()];
        builder.build(level as u8, &mut page);
        let entry = self.write(&page)?;
        self.add(level + 1, entry)
    }
}

#[cold]
fn too_many() -> PageError {
    PageError::TooManyPages {
        limit: u32::MAX - 1,
    }
}

#[cfg(test)]
mod tests;
