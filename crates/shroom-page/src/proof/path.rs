//! The way from the page root through the map to a page: which pages, and where each holds the hash of the next.

use crate::map::{self, MapShape};
use crate::{PAGE_HEADER_LEN, PageSize, page_root};

/// One step of the way: a page, and where the one before it (the page root's input for the first) holds its hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    /// 0 for a logical page, `n` for a page of the map of level `n - 1`.
    pub(super) level: u8,
    /// Index of the page in its level.
    pub(super) index: u32,
    /// Offset of its hash in its referrer.
    pub(super) hash_at: usize,
}

/// The way to logical page `number`, which is below the number of logical pages. The last step is the page itself.
pub(super) fn steps(
    page_size: PageSize,
    shape: &MapShape,
    number: u32,
) -> impl Iterator<Item = Step> + use<> {
    let shape = *shape;
    let fanout = map::fanout(page_size);
    (0..=shape.height).rev().map(move |level| {
        let index = number / shape.spans[usize::from(level)];
        let hash_at = match level == shape.height {
            true => page_root::hash_at(shape.root_entries, index as usize),
            false => PAGE_HEADER_LEN + fanout * 4 + index as usize % fanout * 32,
        };
        Step {
            level,
            index,
            hash_at,
        }
    })
}
