//! Sizes of the directory.
//!
//! Absent on purpose: reads neither packs nor the directory's leaves.

use shroom_page::{LogicalPage, PageRead};

use crate::lookup::open_node;
use crate::{Result, TokenRoot};

/// Number of pages of the directory. Reads its inner pages, not its leaves.
///
/// # Errors
/// Corruption, or an error of the layers below.
pub fn directory_pages<R: PageRead>(pages: &R, root: &TokenRoot) -> Result<u64> {
    match root.level() {
        None => Ok(0),
        Some(level) => below(pages, root.addr.page, level, None),
    }
}

fn below<R: PageRead>(pages: &R, page: LogicalPage, level: u8, key: Option<u64>) -> Result<u64> {
    let Some(child_level) = level.checked_sub(1) else {
        return Ok(1);
    };
    let node = open_node(pages, page, level, key)?;
    if child_level == 0 {
        return Ok(1 + node.len() as u64);
    }
    let mut count = 1;
    for index in 0..node.len() {
        let entry = node.entry(index);
        count += below(pages, entry.addr.page, child_level, Some(entry.id))?;
    }
    Ok(count)
}
