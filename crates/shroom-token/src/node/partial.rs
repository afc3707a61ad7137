//! A directory page of which a proof holds some parts.
//!
//! * N4 What it answers follows from the page's bytes alone, whether or not ids ascend: they are searched by halves.

use shroom_page::{LogicalPage, PartialRead};
use shroom_seg::SegmentAddr;
use zerocopy::FromBytes;

use super::{Entry, NODE_HEADER_LEN, NodeHeader, header_flaw};
use crate::proof::{count_where, number_at};
use crate::{Result, TokenError};

/// A directory page that is read entry by entry.
#[derive(Debug)]
pub(crate) struct PartialNode<'p, R> {
    pages: &'p R,
    page: LogicalPage,
    header: NodeHeader,
}

impl<'p, R: PartialRead> PartialNode<'p, R> {
    /// The directory page of `level` at `page`. Reads its header only.
    pub(crate) fn open(pages: &'p R, page: LogicalPage, level: u8) -> Result<Self> {
        let bytes: [u8; NODE_HEADER_LEN] = pages.array(page, 0)?;
        let room = pages.page_size().bytes() - NODE_HEADER_LEN;
        let flawed = || TokenError::Directory {
            page,
            flaw: header_flaw(&bytes, level),
        };
        let header = NodeHeader::read_from_bytes(&bytes).map_err(|_| flawed())?;
        match header.columns_len(level) {
            Some(len) if len <= room && header.used.get() > 0 => Ok(Self {
                pages,
                page,
                header,
            }),
            _ => Err(flawed()),
        }
    }

    /// Value `index` of one of the columns of ids, pages and offsets.
    fn column(&self, column: usize, index: usize) -> Result<u64> {
        let width = usize::from(self.header.widths[column]);
        let at = NODE_HEADER_LEN + self.header.columns_at()[column] + index * width;
        number_at(self.pages, self.page, at, width)
    }

    /// First id under entry `index`, below `used`.
    pub(crate) fn id(&self, index: usize) -> Result<u64> {
        let offset = self.column(0, index)?;
        Ok(self.header.base_id.get().wrapping_add(offset))
    }

    /// Entry `index`, below `used`.
    pub(crate) fn entry(&self, index: usize) -> Result<Entry> {
        let base = self.header.base().addr;
        let page = base.page.0.wrapping_add(self.column(1, index)? as u32);
        let offset = base.offset.wrapping_add(self.column(2, index)? as u16);
        Ok(Entry {
            id: self.id(index)?,
            addr: SegmentAddr::new(LogicalPage(page), offset),
        })
    }

    /// The last entry whose id is at most `id`.
    pub(crate) fn find(&self, id: u64) -> Result<Option<usize>> {
        let Some(offset) = id.checked_sub(self.header.base_id.get()) else {
            return Ok(None);
        };
        let used = usize::from(self.header.used.get());
        let found = count_where(used, |index| Ok(self.column(0, index)? <= offset))?;
        Ok(found.checked_sub(1))
    }
}
