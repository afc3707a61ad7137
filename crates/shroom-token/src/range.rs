//! Iteration over a range of ids, from both ends.
//!
//! * R1 Both ends share the bounds `low..=high`, which shrink with every token yielded: the ends cannot pass each
//!   other, and bytes whose ids do not progress give an error, so an iteration always ends.
//! * R2 An end opens its pages when it is first asked, and reads a pack at a time.
//!
//! Absent on purpose: no prefetch, and no copy of values.

use alloc::vec::Vec;
use core::fmt;
use core::iter::FusedIterator;
use core::ops::{Bound, RangeBounds};

use shroom_page::PageRead;
use shroom_seg::SegmentAddr;

use crate::lookup::{open_node, open_pack, pack_error};
use crate::node::{Entry, Node};
use crate::{Pack, PackFlaw, Result, Stored, TokenError, TokenId, TokenRoot};

/// The tokens with ids in `bounds`, in ascending order; reversible. After an error the iteration ends.
pub fn range<'p, R: PageRead>(
    pages: &'p R,
    root: &TokenRoot,
    bounds: impl RangeBounds<TokenId>,
) -> Range<'p, R> {
    let low = match bounds.start_bound() {
        Bound::Unbounded => Some(0),
        Bound::Included(id) => Some(id.0),
        Bound::Excluded(id) => id.0.checked_add(1),
    };
    let high = match bounds.end_bound() {
        Bound::Unbounded => Some(u64::MAX),
        Bound::Included(id) => Some(id.0),
        Bound::Excluded(id) => id.0.checked_sub(1),
    };
    let (low, high) = low.zip(high).unwrap_or((1, 0));
    let done = low > high || root.height == 0;
    Range {
        pages,
        root: *root,
        low,
        high,
        done,
        front: None,
        back: None,
    }
}

/// Iterator over tokens, made by [`range`].
pub struct Range<'p, R> {
    pages: &'p R,
    root: TokenRoot,
    low: u64,
    high: u64,
    done: bool,
    front: Option<Cursor<'p>>,
    back: Option<Cursor<'p>>,
}

impl<R> fmt::Debug for Range<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Range")
            .field("low", &self.low)
            .field("high", &self.high)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl<'p, R: PageRead> Iterator for Range<'p, R> {
    type Item = Result<(TokenId, Stored<'p>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(Self::step_forward)
    }
}

impl<R: PageRead> DoubleEndedIterator for Range<'_, R> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(Self::step_backward)
    }
}

impl<R: PageRead> FusedIterator for Range<'_, R> {}

type Token<'p> = (TokenId, Stored<'p>);

impl<'p, R: PageRead> Range<'p, R> {
    /// Passes up to `count` tokens to `visit`, in ascending order; returns how many there were, fewer only at the end.
    /// As calling `next` that often, but a pack at a time: several times faster.
    ///
    /// # Errors
    /// Of `visit`, and of the iteration, which has ended then.
    pub fn visit<E: From<TokenError>>(
        &mut self,
        count: usize,
        mut visit: impl FnMut(TokenId, Stored<'p>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut visited = 0;
        while visited < count && !self.done {
            let run = self.visit_pack(count - visited, &mut visit);
            // What is left after an error is not to be visited.
            self.done |= !matches!(run, Ok(1..));
            visited += run?;
        }
        Ok(visited)
    }

    /// [`Range::visit`] within one pack; 0 at the end.
    fn visit_pack<E: From<TokenError>>(
        &mut self,
        count: usize,
        visit: &mut impl FnMut(TokenId, Stored<'p>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let Some(cursor) = self.front_cursor()? else {
            return Ok(0);
        };
        let (pack, first, addr) = (cursor.pack, cursor.index, cursor.addr);
        let end = pack.len().min(first.saturating_add(count));
        let (mut low, high) = (self.low, self.high);
        let mut start = pack.start(first);
        for index in first..end {
            let id = pack.id(index).0;
            if id < low {
                let previous = TokenId(low.saturating_sub(1));
                return Err(order(addr, index, previous, TokenId(id)).into());
            }
            if id > high {
                self.done = true;
                return Ok(index - first);
            }
            let (stored, next) = pack.slot_at(index, start).map_err(pack_error(addr))?;
            visit(TokenId(id), stored)?;
            if id == high {
                self.done = true;
                return Ok(index + 1 - first);
            }
            (low, start) = (id + 1, next);
        }
        self.low = low;
        if let Some(cursor) = &mut self.front {
            cursor.index = end;
        }
        Ok(end - first)
    }

    /// The front cursor before its next token; `None` when there is none.
    fn front_cursor(&mut self) -> Result<Option<&mut Cursor<'p>>> {
        if self.front.is_none() {
            self.front = Some(Cursor::open(self.pages, &self.root, Side::Low, self.low)?);
        }
        let Some(cursor) = &mut self.front else {
            return Ok(None);
        };
        if cursor.index >= cursor.pack.len() && !cursor.turn(self.pages, Side::Low)? {
            return Ok(None);
        }
        Ok(Some(cursor))
    }
}

impl<'p, R: PageRead> Range<'p, R> {
    #[inline]
    fn step(
        &mut self,
        step: impl Fn(&mut Self) -> Result<Option<Token<'p>>>,
    ) -> Option<Result<Token<'p>>> {
        if self.done {
            return None;
        }
        let item = step(self).transpose();
        self.done |= !matches!(item, Some(Ok(_)));
        item
    }

    fn step_forward(&mut self) -> Result<Option<Token<'p>>> {
        let (low, high) = (self.low, self.high);
        let Some(cursor) = self.front_cursor()? else {
            return Ok(None);
        };
        let id = cursor.pack.id(cursor.index);
        if id.0 < low {
            let previous = TokenId(low.saturating_sub(1));
            return Err(order(cursor.addr, cursor.index, previous, id));
        }
        if id.0 > high {
            return Ok(None);
        }
        let stored = cursor
            .pack
            .slot(cursor.index)
            .map_err(pack_error(cursor.addr))?;
        cursor.index += 1;
        self.narrow(id.0.checked_add(1), Some(self.high));
        Ok(Some((id, stored)))
    }

    fn step_backward(&mut self) -> Result<Option<Token<'p>>> {
        if self.back.is_none() {
            self.back = Some(Cursor::open(self.pages, &self.root, Side::High, self.high)?);
        }
        let Some(cursor) = &mut self.back else {
            return Ok(None);
        };
        if cursor.index == 0 && !cursor.turn(self.pages, Side::High)? {
            return Ok(None);
        }
        let index = cursor.index.saturating_sub(1);
        let id = cursor.pack.id(index);
        if id.0 > self.high {
            let following = TokenId(self.high.saturating_add(1));
            return Err(order(cursor.addr, cursor.index, id, following));
        }
        if id.0 < self.low {
            return Ok(None);
        }
        let stored = cursor.pack.slot(index).map_err(pack_error(cursor.addr))?;
        cursor.index = index;
        self.narrow(Some(self.low), id.0.checked_sub(1));
        Ok(Some((id, stored)))
    }

    fn narrow(&mut self, low: Option<u64>, high: Option<u64>) {
        match low.zip(high) {
            Some((low, high)) if low <= high => (self.low, self.high) = (low, high),
            _ => self.done = true,
        }
    }
}

/// The end that a cursor moves from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Low,
    High,
}

/// A place between two tokens of a pack, and the way to it.
struct Cursor<'p> {
    /// Directory pages from the root down, and the entry taken in each.
    path: Vec<(Node<'p>, usize)>,
    pack: Pack<'p>,
    addr: SegmentAddr,
    /// Index of the token after the place.
    index: usize,
}

impl<'p> Cursor<'p> {
    /// The place before the first token of at least `id` (low side), or after the last one of at most `id`
    /// (high side), as far as the pack that would hold `id` goes.
    fn open<R: PageRead>(pages: &'p R, root: &TokenRoot, side: Side, id: u64) -> Result<Self> {
        let mut path = Vec::new();
        let mut target = Entry {
            id: 0,
            addr: root.addr,
        };
        let mut key = None;
        for level in (0..root.height.saturating_sub(1)).rev() {
            let node = open_node(pages, target.addr.page, level, key)?;
            let index = node.find(id, None).unwrap_or(0);
            path.push((node, index));
            target = node.entry(index);
            key = Some(target.id);
        }
        let (pack, _) = open_pack(pages, target.addr, key)?;
        let index = match side {
            Side::High => pack.count_up_to(TokenId(id), None),
            Side::Low => match id.checked_sub(1) {
                Some(before) => pack.count_up_to(TokenId(before), None),
                None => 0,
            },
        };
        Ok(Self {
            path,
            pack,
            addr: target.addr,
            index,
        })
    }

    /// Goes on to the next pack: the one after when moving from the low side. False when there is none.
    fn turn<R: PageRead>(&mut self, pages: &'p R, side: Side) -> Result<bool> {
        let next = |node: &Node<'p>, index: usize| match side {
            Side::Low => Some(index + 1).filter(|index| *index < node.len()),
            Side::High => index.checked_sub(1),
        };
        let levels = self.path.len();
        let Some(fork) = self
            .path
            .iter()
            .rposition(|(node, index)| next(node, *index).is_some())
        else {
            return Ok(false);
        };
        self.path.truncate(fork + 1);
        let Some((node, index)) = self.path.last_mut() else {
            return Ok(false);
        };
        *index = next(node, *index).unwrap_or(*index);
        let mut target = node.entry(*index);
        for depth in fork + 1..levels {
            let level = (levels - depth - 1) as u8;
            let node = open_node(pages, target.addr.page, level, Some(target.id))?;
            let index = if side == Side::Low { 0 } else { node.len() - 1 };
            self.path.push((node, index));
            target = node.entry(index);
        }
        (self.pack, _) = open_pack(pages, target.addr, Some(target.id))?;
        self.addr = target.addr;
        self.index = if side == Side::Low {
            0
        } else {
            self.pack.len()
        };
        Ok(true)
    }
}

/// Two tokens out of order, at `index` of a pack.
#[cold]
fn order(addr: SegmentAddr, index: usize, previous: TokenId, got: TokenId) -> TokenError {
    let flaw = PackFlaw::Order {
        index,
        previous,
        got,
    };
    TokenError::Pack { addr, flaw }
}
