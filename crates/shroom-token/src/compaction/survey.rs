//! What lies on which pages: read before the first pass, a part of the pages at a time.
//!
//! * S1 Memory is bounded: at most [`ITEMS_MAX`] packs and blobs, twice that while they are chosen.
//! * S2 What it says is a hint: whoever uses it looks whether it is still so.

use shroom_page::{LogicalPage, PageRead};
use shroom_seg::SegmentAddr;

use super::buckets::{BUCKETS, Bounds};
use crate::lookup::{open_node, open_pack, pack_error};
use crate::{Result, Stored, TokenError, TokenRoot};

/// Packs and blobs that one survey notes.
const ITEMS_MAX: usize = 1 << 20;

/// A pack, or the head of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) page: LogicalPage,
    pub(super) offset: u16,
    /// Of the pack's first token, or of the blob's.
    pub(super) id: u64,
    pub(super) blob: bool,
}

/// What lies on a part of the pages.
#[derive(Debug)]
pub struct Survey {
    /// In the order of the pages.
    pub(super) items: Vec<Item>,
    /// The first page that it says nothing of; none when it says all.
    pub(super) rest: Option<LogicalPage>,
    pub(super) bounds: Bounds,
}

/// Surveys the pages from `from` to below `limit`. Reads the directory and every pack.
///
/// # Errors
/// Corruption; errors of the page layer.
pub fn survey<R: PageRead>(
    pages: &R,
    root: &TokenRoot,
    from: LogicalPage,
    limit: LogicalPage,
) -> Result<Survey> {
    let mut surveying = Surveying {
        pages,
        items: Vec::new(),
        from,
        limit,
        whole: true,
        visited: 0,
        bounds: Bounds::default(),
        data_bytes: (pages.allocated_pages_max() as usize * pages.page_size().bytes() / BUCKETS)
            .max(1),
    };
    match root.level() {
        None if root.height == 0 => {}
        None => surveying.pack(root.addr, None)?,
        Some(level) => surveying.node(root.addr.page, level, None)?,
    }
    surveying.keep_lowest()?;
    surveying.items.sort_unstable();
    Ok(Survey {
        rest: (!surveying.whole).then_some(surveying.limit),
        items: surveying.items,
        bounds: surveying.bounds,
    })
}

struct Surveying<'p, R> {
    pages: &'p R,
    items: Vec<Item>,
    from: LogicalPage,
    limit: LogicalPage,
    /// No item was left out.
    whole: bool,
    visited: u64,
    bounds: Bounds,
    /// Bytes for a bucket, about.
    data_bytes: usize,
}

impl<R: PageRead> Surveying<'_, R> {
    fn node(&mut self, page: LogicalPage, level: u8, key: Option<u64>) -> Result<()> {
        // A damaged directory may lead to one page by many ways.
        self.visited += 1;
        let limit = u64::from(self.pages.allocated_pages_max());
        if self.visited > limit {
            return Err(TokenError::Totals {
                what: "directory pages",
                expected: limit,
                got: self.visited,
            });
        }
        let node = open_node(self.pages, page, level, key)?;
        for entry in node.entries() {
            match level.checked_sub(1) {
                None => self.pack(entry.addr, Some(entry.id))?,
                Some(below) => self.node(entry.addr.page, below, Some(entry.id))?,
            }
        }
        Ok(())
    }

    fn pack(&mut self, addr: SegmentAddr, key: Option<u64>) -> Result<()> {
        let (pack, data) = open_pack(self.pages, addr, key)?;
        let mut bytes = data.len();
        let page_bytes = self.pages.page_size().bytes() as u64;
        self.note(addr, pack.first_id().0, false)?;
        for index in (0..pack.len()).filter(|&index| pack.is_blob(index)) {
            if let Stored::Blob { head, length } = pack.slot(index).map_err(pack_error(addr))? {
                self.note(head, pack.id(index).0, true)?;
                bytes += (length % page_bytes) as usize;
            }
        }
        self.bounds.count(pack.first_id().0, bytes, self.data_bytes);
        Ok(())
    }

    fn note(&mut self, addr: SegmentAddr, id: u64, blob: bool) -> Result<()> {
        if (self.from..self.limit).contains(&addr.page) {
            self.items.push(Item {
                page: addr.page,
                offset: addr.offset,
                id,
                blob,
            });
            if self.items.len() == 2 * ITEMS_MAX {
                self.keep_lowest()?;
            }
        }
        Ok(())
    }

    /// Leaves out the highest pages when there are too many items.
    fn keep_lowest(&mut self) -> Result<()> {
        if self.items.len() <= ITEMS_MAX {
            return Ok(());
        }
        let (_, middle, _) = self.items.select_nth_unstable(ITEMS_MAX);
        // A page's items are all there or none. There are some, since a page has fewer than that, unless a damaged file refers
        // to one blob again and again: the next survey would begin where this one did.
        let limit = middle.page;
        self.items.retain(|item| item.page < limit);
        if self.items.is_empty() {
            return Err(TokenError::Totals {
                what: "segments of a page",
                expected: self.pages.page_size().bytes() as u64,
                got: ITEMS_MAX as u64,
            });
        }
        self.limit = limit;
        self.whole = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shroom_page::{PageSize, PageStore, storage::MemoryStorage};

    use super::*;

    /// A survey that names none of a page's items would be followed by the same one for ever.
    #[test]
    fn a_page_that_is_referred_to_for_ever_is_damage() {
        let storage = Arc::new(MemoryStorage::new());
        let store = PageStore::create(storage, PageSize::new(512).unwrap()).unwrap();
        let pages = store.snapshot();
        let mut surveying = Surveying {
            pages: &pages,
            items: Vec::new(),
            from: LogicalPage(1),
            limit: LogicalPage(9),
            whole: true,
            visited: 0,
            bounds: Bounds::default(),
            data_bytes: 1,
        };
        let head = SegmentAddr::new(LogicalPage(3), 12);
        let noted = (0..2 * ITEMS_MAX as u64).try_for_each(|id| surveying.note(head, id, true));
        assert!(noted.is_err_and(|error| error.is_corruption()));
    }
}
