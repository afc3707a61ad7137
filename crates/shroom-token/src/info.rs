//! Where a token lies: for tools that show a store's layout.
//!
//! Absent on purpose: does not read the value.

use shroom_page::{LogicalPage, PageRead};
use shroom_seg::{SegmentAddr, blob_pages};

use crate::lookup::{locate, pack_error};
use crate::{Result, Stored, TokenId, TokenRoot};

/// What is known about a token without reading its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenInfo {
    /// The token.
    pub id: TokenId,
    /// Length of its value, in bytes.
    pub length: u64,
    /// Logical page that holds its first byte.
    pub page: LogicalPage,
    /// Offset of its first byte in that page.
    pub offset: u16,
    /// Pages that hold its bytes; 1 for a value inside a pack.
    pub pages: u64,
}

/// What is known about the token `id`, if there is one.
///
/// # Errors
/// Corruption, or an error of the layers below.
pub fn info<R: PageRead>(pages: &R, root: &TokenRoot, id: TokenId) -> Result<Option<TokenInfo>> {
    let Some(place) = locate(pages, root, id)? else {
        return Ok(None);
    };
    let (pack, data) = place.open(pages)?;
    let index = pack
        .count_up_to(id, None)
        .checked_sub(1)
        .filter(|index| pack.id(*index) == id);
    let Some(index) = index else {
        return Ok(None);
    };
    let stored = pack.slot(index).map_err(pack_error(place.addr))?;
    let length = stored.len();
    Ok(Some(match stored {
        Stored::Inline(_) => {
            // After the segment's length field.
            let offset = usize::from(place.addr.offset) + 2 + pack.stored_at(index, data);
            TokenInfo {
                id,
                length,
                page: place.addr.page,
                offset: offset as u16,
                pages: 1,
            }
        }
        Stored::Blob { head, length } => {
            let (page, offset) = first_byte(pages, head)?;
            TokenInfo {
                id,
                length,
                page,
                offset,
                pages: blob_pages(pages, head, length)?,
            }
        }
    }))
}

/// Where a blob's first byte is: in its first extent, or behind its extent count (format §5).
fn first_byte<R: PageRead>(pages: &R, head: SegmentAddr) -> Result<(LogicalPage, u16)> {
    let bytes = pages.page(head.page)?;
    let segment = bytes.get(usize::from(head.offset)..).unwrap_or(&[]);
    Ok(match segment.first_chunk::<8>() {
        Some([_, _, low, high, a, b, c, d]) if (*low, *high) != (0, 0) => {
            (LogicalPage(u32::from_le_bytes([*a, *b, *c, *d])), 0)
        }
        _ => (head.page, head.offset.saturating_add(4)),
    })
}
