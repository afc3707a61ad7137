//! The right edge of a directory that grows at its end: entries come in order, and each page is filled to the brim.
//!
//! * E1 A page of a level is written when the next entry does not fit it, and is then named one level up.
//! * E2 Memory is one directory page a level.
//!
//! Absent on purpose: does not write; whoever grows the directory says how.

use shroom_page::LogicalPage;
use shroom_seg::SegmentAddr;

use crate::Result;
use crate::merge::directory::check_height;
use crate::node::{Entry, NodeShape};

/// Writes directory pages.
pub(crate) trait WriteNode {
    /// Writes `entries` as a page of `level`, on `page` when that was there before, and says where.
    fn write_node(
        &mut self,
        page: Option<LogicalPage>,
        entries: &[Entry],
        level: u8,
    ) -> Result<LogicalPage>;

    /// Gives back a page whose only entry became the root.
    fn drop_node(&mut self, page: LogicalPage) -> Result<()>;
}

/// The last page of each level, leaf first.
pub(crate) struct RightEdge {
    page_size: usize,
    levels: Vec<Level>,
}

/// The last directory page of a level, without the entry that is being built below it.
#[derive(Default)]
struct Level {
    page: Option<LogicalPage>,
    entries: Vec<Entry>,
    shape: NodeShape,
}

impl RightEdge {
    /// An edge without a page, in pages of `page_size` bytes.
    pub(crate) fn new(page_size: usize) -> Self {
        Self {
            page_size,
            levels: Vec::new(),
        }
    }

    /// Puts a stored page, with all entries but that which is still being built, under those there are.
    pub(crate) fn push_below(&mut self, page: LogicalPage, entries: Vec<Entry>) {
        let level = Level {
            page: Some(page),
            shape: NodeShape::of(&entries),
            entries,
        };
        self.levels.insert(0, level);
    }

    /// The entries of the last leaf.
    pub(crate) fn leaf(&self) -> &[Entry] {
        self.levels.first().map_or(&[], |leaf| &leaf.entries)
    }

    /// Adds an entry at the end of a level.
    pub(crate) fn add(
        &mut self,
        level: usize,
        entry: Entry,
        writer: &mut impl WriteNode,
    ) -> Result<()> {
        if level == self.levels.len() {
            check_height(level as u8)?;
            self.levels.push(Level::default());
        }
        if let Some(at) = self.levels.get_mut(level) {
            let shape = at.shape.with(entry);
            if shape.fits(self.page_size) {
                at.shape = shape;
                at.entries.push(entry);
                return Ok(());
            }
        }
        let full = self.write(level, writer)?;
        self.levels[level] = Level {
            page: None,
            entries: vec![entry],
            shape: NodeShape::default().with(entry),
        };
        self.add(level + 1, full, writer)
    }

    /// Writes the last page of each level: the height of the tree, and its root. At least one entry was added.
    pub(crate) fn finish(mut self, writer: &mut impl WriteNode) -> Result<(u8, SegmentAddr)> {
        let mut level = 0;
        loop {
            let top = level + 1 == self.levels.len();
            let at = &self.levels[level];
            if let ([only], true) = (at.entries.as_slice(), top) {
                if let Some(page) = at.page {
                    writer.drop_node(page)?;
                }
                return Ok((level as u8 + 1, only.addr));
            }
            let entry = self.write(level, writer)?;
            if top {
                return Ok((level as u8 + 2, entry.addr));
            }
            self.add(level + 1, entry, writer)?;
            level += 1;
        }
    }

    /// Writes the last page of a level: the entry that names it.
    fn write(&mut self, level: usize, writer: &mut impl WriteNode) -> Result<Entry> {
        let at = &self.levels[level];
        let page = writer.write_node(at.page, &at.entries, level as u8)?;
        Ok(Entry::page(at.entries[0].id, page))
    }
}
