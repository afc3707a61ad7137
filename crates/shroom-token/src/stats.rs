//! Sizes of the directory.
//!
//! Absent on purpose: reads neither packs nor the directory's leaves.

use shroom_page::{LogicalPage, PageRead};

use crate::lookup::open_node;
use crate::{Result, TokenError, TokenRoot};

/// Number of pages of the directory. Reads its inner pages, not its leaves.
///
/// # Errors
/// Corruption (pages that lead to each other would make more of them than there are), or an error of the layers below.
pub fn directory_pages<R: PageRead>(pages: &R, root: &TokenRoot) -> Result<u64> {
    let mut count = 0;
    if let Some(level) = root.level() {
        below(pages, root.addr.page, level, None, &mut count)?;
    }
    Ok(count)
}

fn below<R: PageRead>(
    pages: &R,
    page: LogicalPage,
    level: u8,
    key: Option<u64>,
    count: &mut u64,
) -> Result<()> {
    *count += 1;
    let Some(child_level) = level.checked_sub(1) else {
        return Ok(());
    };
    let node = open_node(pages, page, level, key)?;
    if child_level == 0 {
        *count += node.len() as u64;
    }
    let limit = u64::from(pages.allocated_pages_max());
    if *count > limit {
        return Err(TokenError::Totals {
            what: "directory pages",
            expected: limit,
            got: *count,
        });
    }
    for index in (0..node.len()).filter(|_| child_level > 0) {
        let entry = node.entry(index);
        below(pages, entry.addr.page, child_level, Some(entry.id), count)?;
    }
    Ok(())
}
