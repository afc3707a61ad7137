//! Where the next pack of tokens in a row goes: to a page of its own, or, cut short, to what another page has left.
//!
//! When the next token does not fit it, a page has half a token left on average. Filled with short packs this saves most of it
//! where lengths vary.

use shroom_page::LogicalPage;

use crate::merge::Stream;
use crate::pack::PackShape;

/// A short pack goes to a room when it leaves at most this part of it.
const WASTE_DIVISOR: usize = 8;

/// Where a pack may go.
pub(crate) struct Room {
    pub(crate) page: LogicalPage,
    /// Largest data that it takes.
    pub(crate) size: usize,
    /// Tokens of the pack.
    pub(crate) tokens: usize,
    /// What would be left.
    waste: usize,
}

/// The room for the next pack in a page that has others: one that takes as many tokens as an empty page would, `full`;
/// or else that where the pack leaves the least, if that is little. `tightest` gives the page with the smallest room that takes so
/// many bytes, and its room; `largest` is the largest.
pub(crate) fn best_room(
    waiting: &Stream,
    full: usize,
    largest: usize,
    tightest: impl Fn(usize) -> Option<(LogicalPage, usize)>,
) -> Option<Room> {
    let mut shape = PackShape::default();
    let mut best: Option<Room> = None;
    for index in 0..full {
        let (id, bytes, blob) = waiting.token(index)?;
        shape = shape.with(id, bytes.len(), blob);
        let len = shape.encoded_len();
        if len > largest {
            break;
        }
        let Some((page, size)) = tightest(len) else {
            break;
        };
        let tokens = index + 1;
        let room = Room {
            page,
            size,
            tokens,
            waste: size - len,
        };
        if tokens == full {
            return Some(room);
        }
        let tight = room.waste * WASTE_DIVISOR <= size;
        if tight && best.as_ref().is_none_or(|best| room.waste < best.waste) {
            best = Some(room);
        }
    }
    best
}
