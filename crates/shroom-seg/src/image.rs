//! Segments and blobs of a store that is written in one pass (format, "Canonical image").
//!
//! * I1 Pages get their numbers in the order in which they are begun. The last [`WINDOW_PAGES`] storage pages are held in
//!   memory, and take segments for as long as they are; other pages are written at once.
//! * I2 A storage page is filled from its start, so it has at most one free segment: its end.
//! * I3 A segment goes to the held page where it leaves the least room, the lowest of equals; else to a new page.
//! * I4 What the pages hold follows from the calls alone.
//!
//! Memory is the window, and a byte for each page of the image (its class in the free-space index).
//!
//! Absent on purpose: frees nothing and changes nothing; knows no value but a blob's.

use std::collections::{BTreeSet, VecDeque};

use shroom_page::{ImageWriter, LogicalPage, PageSize};

use crate::index_page::{Block, Geometry};
use crate::layout::{Extent, Plan, chain_data, segment_capacity};
use crate::page;
use crate::root::{INLINE_CLASSES, ROOT_LEN, SegRoot};
use crate::{Result, SegError, SegmentAddr};

/// Storage pages that are held before they are written.
pub const WINDOW_PAGES: usize = 64;

/// Takes the pages of an image, and gives them their numbers.
pub trait ImagePages {
    /// Size of each page.
    fn page_size(&self) -> PageSize;

    /// Begins the next page: its number. In an image the numbers are 1, 2, ... without a gap.
    ///
    /// # Errors
    /// [`PageError::TooManyPages`](shroom_page::PageError::TooManyPages).
    fn begin(&mut self) -> shroom_page::Result<LogicalPage>;

    /// Writes a page that was begun.
    ///
    /// # Errors
    /// Those of the page layer.
    fn write(&mut self, page: LogicalPage, bytes: &[u8]) -> shroom_page::Result<()>;

    /// Begins the next page, and writes it.
    ///
    /// # Errors
    /// Those of [`begin`](Self::begin) and [`write`](Self::write).
    fn push(&mut self, bytes: &[u8]) -> shroom_page::Result<LogicalPage> {
        let page = self.begin()?;
        self.write(page, bytes)?;
        Ok(page)
    }
}

impl ImagePages for ImageWriter<'_> {
    fn page_size(&self) -> PageSize {
        Self::page_size(self)
    }

    fn begin(&mut self) -> shroom_page::Result<LogicalPage> {
        Self::begin(self)
    }

    fn write(&mut self, page: LogicalPage, bytes: &[u8]) -> shroom_page::Result<()> {
        Self::write(self, page, bytes)
    }
}

/// Writes the segments of an image.
#[derive(Debug)]
pub struct SegmentImage<P> {
    image: P,
    geometry: Geometry,
    window: VecDeque<Held>,
    /// Largest data that each held storage page takes, and its number.
    rooms: BTreeSet<(usize, u32)>,
    /// Class of each page, up to the last storage page that was written.
    classes: Vec<u8>,
    storage_pages: u32,
    free_bytes: u64,
}

/// A page that is not written yet.
#[derive(Debug)]
struct Held {
    page: LogicalPage,
    bytes: Box<[u8]>,
    /// Since it was last given out.
    changed: bool,
}

impl<P: ImagePages> SegmentImage<P> {
    /// An image without segments.
    pub fn new(image: P) -> Self {
        Self {
            geometry: Geometry::new(image.page_size()),
            image,
            window: VecDeque::with_capacity(WINDOW_PAGES),
            rooms: BTreeSet::new(),
            classes: Vec::new(),
            storage_pages: 0,
            free_bytes: 0,
        }
    }

    /// Size of each page.
    pub fn page_size(&self) -> PageSize {
        self.image.page_size()
    }

    /// Where the pages go.
    pub fn pages(&self) -> &P {
        &self.image
    }

    /// Where the pages go.
    pub fn pages_mut(&mut self) -> &mut P {
        &mut self.image
    }

    /// The held pages that have changed since the last call: who is to read what is in them so far needs them.
    pub fn take_changed(&mut self) -> Vec<(LogicalPage, Box<[u8]>)> {
        let changed = self.window.iter_mut().filter(|held| held.changed);
        let given = changed.map(|held| {
            held.changed = false;
            (held.page, held.bytes.clone())
        });
        given.collect()
    }

    /// Largest data of one segment, in bytes: the page size less 12.
    pub fn capacity(&self) -> usize {
        segment_capacity(self.page_bytes())
    }

    /// The held page that takes a segment of `size` bytes and has the least room, and how much data it takes.
    pub fn tightest(&self, size: usize) -> Option<(LogicalPage, usize)> {
        let found = self.rooms.range((size, 0)..).next();
        found.map(|&(room, page)| (LogicalPage(page), room))
    }

    /// The most data that a segment in a held page can have.
    pub fn largest_room(&self) -> usize {
        self.rooms.last().map_or(0, |&(room, _)| room)
    }

    /// Stores `data` in a segment where it leaves the least room.
    ///
    /// # Errors
    /// [`SegError::TooLarge`] above [`capacity`](Self::capacity); those of the page layer.
    pub fn allocate(&mut self, data: &[u8]) -> Result<SegmentAddr> {
        match self.tightest(data.len()) {
            Some((page, room)) => Ok(self.place(page, room, data)),
            None => self.allocate_fresh(data),
        }
    }

    /// Stores `data` in the held page that [`tightest`](Self::tightest) gave with this room.
    ///
    /// # Panics
    /// When the page is not held, or has another room: the caller's bug.
    pub fn place(&mut self, page: LogicalPage, room: usize, data: &[u8]) -> SegmentAddr {
        assert!(
            self.rooms.remove(&(room, page.0)),
            "{page} has another room"
        );
        let at = self.window.partition_point(|held| held.page < page);
        let held = &mut self.window[at];
        assert_eq!(held.page, page, "a page with room is held");
        let sound = "a page made here is sound, and its room was asked for";
        held.changed = true;
        let offset = page::allocate(&mut held.bytes, data, None).expect(sound);
        if let Some(room) = page::room(&held.bytes).expect(sound).largest {
            self.rooms.insert((room, page.0));
        }
        SegmentAddr::new(page, offset.expect(sound))
    }

    /// Stores `data` at the start of a new page.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn allocate_fresh(&mut self, data: &[u8]) -> Result<SegmentAddr> {
        let (size, limit) = (data.len(), self.capacity());
        if size > limit {
            return Err(SegError::TooLarge { size, limit });
        }
        let mut bytes = vec![0; self.page_bytes()].into_boxed_slice();
        page::init(&mut bytes);
        if self.window.len() == WINDOW_PAGES {
            self.write_first()?;
        }
        let page = self.image.begin()?;
        let changed = true;
        self.window.push_back(Held {
            page,
            bytes,
            changed,
        });
        self.rooms.insert((limit, page.0));
        Ok(self.place(page, limit, data))
    }

    /// The next page, of the layer above.
    ///
    /// # Errors
    /// Those of the page layer.
    ///
    /// # Panics
    /// When `bytes` is not exactly a page.
    pub fn page(&mut self, bytes: &[u8]) -> Result<LogicalPage> {
        Ok(self.image.push(bytes)?)
    }

    /// Stores a value of `length` bytes, which `chunks` gives in order, as a blob with at most one extent.
    ///
    /// # Errors
    /// [`SegError::Range`] when the chunks are not `length` bytes together; their errors; those of the page layer.
    pub fn blob<'b>(
        &mut self,
        length: u64,
        chunks: impl Iterator<Item = Result<&'b [u8]>>,
    ) -> Result<SegmentAddr> {
        let page_bytes = self.page_bytes();
        let plan = Plan::new(page_bytes, 0, length, length);
        let pages = u32::try_from(plan.pages).map_err(|_| wrong_length(length, u64::MAX))?;
        let mut first = LogicalPage::NONE;
        let (mut written, mut found) = (0, 0_u64);
        let mut loose = Vec::with_capacity(page_bytes);
        for chunk in chunks {
            let mut chunk = chunk?;
            found = found.saturating_add(chunk.len() as u64);
            if found > length {
                return Err(wrong_length(length, found));
            }
            while !chunk.is_empty() {
                let (taken, rest) = chunk.split_at(chunk.len().min(page_bytes - loose.len()));
                chunk = rest;
                if written < pages && loose.is_empty() && taken.len() == page_bytes {
                    self.extent_page(&mut first, taken)?;
                    written += 1;
                    continue;
                }
                loose.extend_from_slice(taken);
                if written < pages && loose.len() == page_bytes {
                    self.extent_page(&mut first, &loose)?;
                    written += 1;
                    loose.clear();
                }
            }
        }
        if found < length {
            return Err(wrong_length(length, found));
        }
        if written < pages {
            loose.resize(page_bytes, 0);
            self.extent_page(&mut first, &loose)?;
            loose.clear();
        }
        self.blob_behind(first, pages, &loose)
    }

    /// How a value of `length` bytes is divided as a blob: pages of its only extent, and bytes behind it.
    ///
    /// # Errors
    /// [`SegError::Range`] when no number is high enough.
    pub fn blob_plan(&self, length: u64) -> Result<(u32, usize)> {
        let plan = Plan::new(self.page_bytes(), 0, length, length);
        let pages = u32::try_from(plan.pages).map_err(|_| wrong_length(length, u64::MAX))?;
        Ok((pages, plan.tail as usize))
    }

    /// Stores the blob whose extent is `pages` pages from `first` on, which were begun for it, and whose other bytes are
    /// `tail`.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn blob_behind(
        &mut self,
        first: LogicalPage,
        pages: u32,
        tail: &[u8],
    ) -> Result<SegmentAddr> {
        let extent = Extent { first, pages };
        let extents = if pages > 0 { &[extent][..] } else { &[] };
        let data = chain_data(extents, tail).expect("one extent can be counted");
        self.allocate(&data)
    }

    /// Writes what is held and the free-space index: the image, to be finished with this root.
    ///
    /// # Errors
    /// Those of the page layer.
    pub fn finish(mut self) -> Result<(P, [u8; ROOT_LEN])> {
        self.write_held()?;
        let mut root = SegRoot {
            height: 0,
            index: LogicalPage::NONE,
            storage_pages: self.storage_pages,
            free_bytes: self.free_bytes,
            classes: [0; INLINE_CLASSES],
        };
        let (inline, beyond) = self
            .classes
            .split_at(self.classes.len().min(INLINE_CLASSES));
        if beyond.iter().all(|&class| class == 0) {
            root.classes[..inline.len()].copy_from_slice(inline);
        } else {
            (root.height, root.index) = self.write_index()?;
        }
        Ok((self.image, root.to_bytes()))
    }

    /// Writes the blocks of the index, leaves first: its height and its root.
    fn write_index(&mut self) -> Result<(u8, LogicalPage)> {
        let geometry = self.geometry;
        let mut level = Vec::new();
        let leaves = std::mem::take(&mut self.classes);
        for (position, classes) in (0_u32..).zip(leaves.chunks(geometry.leaf_pages() as usize)) {
            let mut block = Block::empty_leaf(geometry);
            block.maxima[..classes.len()].copy_from_slice(classes);
            block.used = classes.iter().filter(|&&class| class != 0).count() as u32;
            if block.used > 0 {
                level.push((position, self.write_block(&block)?, block.max()));
            }
        }
        let mut height = 1;
        // The root stands for all pages from the first on.
        while !matches!(level[..], [(0, _, _)]) {
            let mut above = Vec::new();
            let same = |a: &(u32, _, _), b: &(u32, _, _)| {
                a.0 / geometry.fan_out() == b.0 / geometry.fan_out()
            };
            for children in level.chunk_by(same) {
                let mut block = Block::empty_node(geometry);
                for &(position, page, max) in children {
                    let at = (position % geometry.fan_out()) as usize;
                    let page: LogicalPage = page;
                    (block.children[at], block.maxima[at]) = (page.0, max);
                }
                block.used = children.len() as u32;
                let position = children[0].0 / geometry.fan_out();
                above.push((position, self.write_block(&block)?, block.max()));
            }
            level = above;
            height += 1;
        }
        Ok((height, level[0].1))
    }

    fn write_block(&mut self, block: &Block) -> Result<LogicalPage> {
        let mut bytes = vec![0; self.page_bytes()];
        block.write(&mut bytes);
        Ok(self.image.push(&bytes)?)
    }

    fn page_bytes(&self) -> usize {
        self.page_size().bytes()
    }

    /// The next page of an extent, which begins at `first`.
    fn extent_page(&mut self, first: &mut LogicalPage, bytes: &[u8]) -> Result<()> {
        let page = self.image.push(bytes)?;
        if first.is_none() {
            *first = page;
        }
        Ok(())
    }

    /// Writes what is held.
    ///
    /// # Errors
    /// Those of the page layer.
    pub fn write_held(&mut self) -> Result<()> {
        while !self.window.is_empty() {
            self.write_first()?;
        }
        Ok(())
    }

    /// Writes the first page held.
    fn write_first(&mut self) -> Result<()> {
        let Some(Held { page, bytes, .. }) = self.window.pop_front() else {
            return Ok(());
        };
        let room = page::room(&bytes).expect("a page made here is sound");
        if let Some(largest) = room.largest {
            self.rooms.remove(&(largest, page.0));
        }
        self.storage_pages += 1;
        self.free_bytes += room.free_bytes as u64;
        self.classes.resize(page.0 as usize, 0);
        self.classes.push(self.geometry.class(room.largest));
        Ok(self.image.write(page, &bytes)?)
    }
}

#[cold]
fn wrong_length(length: u64, found: u64) -> SegError {
    SegError::Range {
        offset: 0,
        end: found,
        length,
    }
}
