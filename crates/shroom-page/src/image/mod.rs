//! A store that is written in one pass: pages are begun in the order of their logical numbers, and each has its place in
//! the file from then on; a page of the map has the place behind the last page under it. So an image of any size is made
//! without being read again.
//!
//! * I1 Logical pages are 1, 2, ... without a gap; no page of the image is free, and there is no journal.
//! * I2 Each page is written once, and may be written after others that were begun later. A page of the map is written when
//!   all pages under it are, so memory is one map page a level, and one more for each page that is late.
//! * I3 The superblock comes last: without it a file is no store.
//! * I4 The bytes follow from the pages, the roots and the page size alone.
//!
//! Absent on purpose: does not know what the pages hold; frees nothing and changes nothing.

mod file;
mod hash;

pub use self::file::FileImage;
pub use self::hash::HashImage;

use std::collections::BTreeMap;

use crate::map::{self, Entry, MapShape, NodeBuilder};
use crate::superblock::{FreePlace, RootEntries, Roots, Run, Superblock};
use crate::{LogicalPage, PageError, PageSize, PhysicalPage, Result};

/// Physical pages that hold the superblock.
const SLOTS: u32 = 2;

/// Takes the bytes of an image: each page behind the superblock slots once, mostly in order, and then the slots.
pub trait ImageSink {
    /// A page of the file.
    ///
    /// # Errors
    /// I/O errors; a full disk.
    fn page(&mut self, page: PhysicalPage, bytes: &[u8]) -> Result<()>;

    /// The first two pages of the file, which has `pages` pages; nothing follows.
    ///
    /// # Errors
    /// I/O errors.
    fn finish(&mut self, pages: u32, slots: &[u8]) -> Result<()>;
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
    fanout: u32,
    physical_pages: u32,
    levels: Vec<Level>,
}

/// Entries of one level of the map.
#[derive(Default)]
struct Level {
    /// Entries begun.
    count: u32,
    /// Pages of the map, by their index in the level, that are not written yet.
    open: BTreeMap<u32, Node>,
}

/// A page of the map to be.
#[derive(Default)]
struct Node {
    /// Its place, once its last entry is begun.
    physical: Option<u32>,
    /// A hash is zero until the page is written.
    entries: Vec<Entry>,
    /// Entries begun whose page is not written.
    missing: usize,
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
        let first = Node {
            entries: vec![Entry::ABSENT], // logical page 0 does not exist
            ..Node::default()
        };
        let leaves = Level {
            count: 1,
            open: BTreeMap::from([(0, first)]),
        };
        Self {
            sink,
            page_size,
            fanout: map::fanout(page_size) as u32,
            physical_pages: SLOTS,
            levels: vec![leaves],
        }
    }

    /// Size of each page.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// Pages begun so far, with those of the map and the superblock slots.
    pub fn physical_pages(&self) -> u32 {
        self.physical_pages
    }

    /// Begins the next page: its number, for [`write`](Self::write).
    ///
    /// # Errors
    /// [`PageError::TooManyPages`].
    pub fn begin(&mut self) -> Result<LogicalPage> {
        let page = LogicalPage(self.levels[0].count);
        let next = page.0.checked_add(1);
        if next.is_none_or(|next| MapShape::new(self.page_size, next).is_none()) {
            return Err(too_many());
        }
        let physical = self.take_place()?;
        self.begin_entry(0, physical)?;
        Ok(page)
    }

    /// Writes a page that was begun, and the pages of the map that it completes.
    ///
    /// # Errors
    /// Those of the sink.
    ///
    /// # Panics
    /// When `bytes` is not exactly a page, or the page was not begun, or is written already: the caller's bug.
    pub fn write(&mut self, page: LogicalPage, bytes: &[u8]) -> Result<()> {
        assert_eq!(
            bytes.len(),
            self.page_size.bytes(),
            "a page is written whole"
        );
        self.write_entry(0, page.0, bytes)
    }

    /// Begins the next page, and writes it.
    ///
    /// # Errors
    /// Those of [`begin`](Self::begin) and [`write`](Self::write).
    ///
    /// # Panics
    /// When `bytes` is not exactly a page.
    pub fn push(&mut self, bytes: &[u8]) -> Result<LogicalPage> {
        let page = self.begin()?;
        self.write(page, bytes)?;
        Ok(page)
    }

    /// Writes what is left of the map, and the superblock: the number of pages of the file.
    ///
    /// # Errors
    /// Those of the sink.
    ///
    /// # Panics
    /// When a page was begun and not written: the caller's bug.
    pub fn finish(mut self, roots: Roots) -> Result<u32> {
        let logical_pages = self.levels[0].count;
        let shape = MapShape::new(self.page_size, logical_pages).ok_or_else(too_many)?;
        for level in 0..usize::from(shape.height) {
            let last = (self.levels[level].count - 1) / self.fanout;
            if self.levels[level].open.contains_key(&last) {
                self.end_node(level, last)?;
                self.write_node(level, last)?;
            }
        }
        // A page of a level is full with more entries than the root holds, so the root's are all in one.
        let root = self.levels[usize::from(shape.height)].open.remove(&0);
        let root = root.unwrap_or_default();
        let begun = "every page begun is written";
        assert!(
            root.missing == 0 && self.levels.iter().all(|level| level.open.is_empty()),
            "{begun}"
        );
        assert_eq!(
            root.entries.len(),
            shape.root_entries,
            "the root has its entries"
        );
        let superblock = Superblock {
            page_size: self.page_size,
            sequence: 1,
            map_height: shape.height,
            logical_pages,
            physical_pages: self.physical_pages,
            root: RootEntries {
                physical: root.entries.iter().map(|entry| entry.physical).collect(),
                hash: root.entries.iter().map(|entry| entry.hash).collect(),
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
        self.sink.finish(self.physical_pages, &slots)?;
        Ok(self.physical_pages)
    }

    /// The next place in the file.
    fn take_place(&mut self) -> Result<u32> {
        let physical = self.physical_pages;
        self.physical_pages = physical.checked_add(1).ok_or_else(too_many)?;
        Ok(physical)
    }

    /// Adds an entry to a level; a page of the map that it fills gets its place.
    fn begin_entry(&mut self, level: usize, physical: u32) -> Result<()> {
        if level == self.levels.len() {
            self.levels.push(Level::default());
        }
        let at = &mut self.levels[level];
        let index = at.count / self.fanout;
        at.count += 1;
        let node = at.open.entry(index).or_default();
        node.entries.push(Entry {
            physical,
            hash: [0; 32],
        });
        node.missing += 1;
        if node.entries.len() == self.fanout as usize {
            self.end_node(level, index)?;
        }
        Ok(())
    }

    /// Gives a page of the map its place: no entry follows.
    fn end_node(&mut self, level: usize, index: u32) -> Result<()> {
        let physical = self.take_place()?;
        if let Some(node) = self.levels[level].open.get_mut(&index) {
            node.physical = Some(physical);
        }
        self.begin_entry(level + 1, physical)
    }

    /// Writes the page of an entry of a level.
    fn write_entry(&mut self, level: usize, index: u32, bytes: &[u8]) -> Result<()> {
        let parent = index / self.fanout;
        let node = self.levels[level].open.get_mut(&parent);
        let entry = node.and_then(|node| {
            let entry = node.entries.get_mut((index % self.fanout) as usize);
            entry.filter(|entry| !entry.is_absent() && entry.hash == [0; 32])
        });
        let entry = entry.unwrap_or_else(|| panic!("page {index} is not to be written"));
        entry.hash = *blake3::hash(bytes).as_bytes();
        let physical = PhysicalPage(entry.physical);
        self.sink.page(physical, bytes)?;
        let mut complete = false;
        if let Some(node) = self.levels[level].open.get_mut(&parent) {
            node.missing -= 1;
            complete = node.missing == 0 && node.physical.is_some();
        }
        if complete {
            self.write_node(level, parent)?;
        }
        Ok(())
    }

    /// Writes a page of the map whose entries are complete.
    fn write_node(&mut self, level: usize, index: u32) -> Result<()> {
        let Some(node) = self.levels[level].open.remove(&index) else {
            return Ok(());
        };
        assert_eq!(node.missing, 0, "every page begun is written");
        let mut builder = NodeBuilder::new(self.fanout as usize, None);
        for (at, entry) in node.entries.into_iter().enumerate() {
            builder.set(at, entry);
        }
        let mut page = vec![0; self.page_size.bytes()];
        builder.build(level as u8, &mut page);
        self.write_entry(level + 1, index, &page)
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
