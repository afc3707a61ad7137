//! Tokens between their old packs and their new ones: in ascending order of ids, as they are stored.
//!
//! * Q1 Ids ascend strictly over the whole stream, also over what was already taken off its front.
//!
//! Absent on purpose: does not decide where to cut; `run` does.

use std::ops::Range;

use crate::pack::{PackShape, StoredToken, encode};

/// A queue of stored tokens. Bytes lie in one arena; taking from the front moves nothing until half is gone.
#[derive(Default)]
pub(crate) struct Stream {
    items: Vec<Item>,
    /// Items before this one were taken.
    start: usize,
    arena: Vec<u8>,
    /// Stored bytes of the items that are left.
    values_len: usize,
}

#[derive(Clone, Copy)]
struct Item {
    id: u64,
    at: usize,
    len: usize,
    blob: bool,
}

/// A place in a stream to go back to.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    items: usize,
    arena: usize,
    values_len: usize,
}

impl Stream {
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.arena.clear();
        self.start = 0;
        self.values_len = 0;
    }

    /// Tokens that are left.
    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stored bytes of the tokens that are left.
    pub(crate) fn values_len(&self) -> usize {
        self.values_len
    }

    /// Adds a token behind all others; `parts` together are its stored bytes.
    pub(crate) fn push(&mut self, id: u64, parts: &[&[u8]], blob: bool) {
        debug_assert!(self.items.last().is_none_or(|last| last.id < id));
        let at = self.arena.len();
        for part in parts {
            self.arena.extend_from_slice(part);
        }
        let len = self.arena.len() - at;
        self.items.push(Item { id, at, len, blob });
        self.values_len += len;
    }

    /// Adds tokens before all others.
    pub(crate) fn push_front<'a>(&mut self, tokens: impl Iterator<Item = StoredToken<'a>>) {
        let mut items = Vec::new();
        for (id, bytes, blob) in tokens {
            items.push(Item {
                id,
                at: self.arena.len(),
                len: bytes.len(),
                blob,
            });
            self.arena.extend_from_slice(bytes);
            self.values_len += bytes.len();
        }
        debug_assert!(
            items
                .last()
                .is_none_or(|last| self.left().first().is_none_or(|x| last.id < x.id))
        );
        self.items.splice(self.start..self.start, items);
    }

    pub(crate) fn mark(&self) -> Mark {
        let (items, arena) = (self.items.len(), self.arena.len());
        Mark {
            items,
            arena,
            values_len: self.values_len,
        }
    }

    /// Takes back what was added behind since `mark`; nothing was taken from the front since.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        self.items.truncate(mark.items);
        self.arena.truncate(mark.arena);
        self.values_len = mark.values_len;
    }

    /// Token `index` of those left, as stored.
    pub(crate) fn token(&self, index: usize) -> Option<StoredToken<'_>> {
        self.left().get(index).map(|item| self.stored(item))
    }

    /// Shape of a pack of the tokens in `range`.
    pub(crate) fn shape(&self, range: Range<usize>) -> PackShape {
        let items = self.left().get(range).unwrap_or(&[]);
        items.iter().fold(PackShape::default(), |shape, item| {
            shape.with(item.id, item.len, item.blob)
        })
    }

    /// The longest run of tokens from `start` on that a pack of `capacity` bytes holds: its end.
    pub(crate) fn cut_forward(&self, start: usize, capacity: usize) -> usize {
        let mut shape = PackShape::default();
        let items = self.left().get(start..).unwrap_or(&[]);
        let fitting = items.iter().take_while(|item| {
            shape = shape.with(item.id, item.len, item.blob);
            shape.fits(capacity)
        });
        start + fitting.count()
    }

    /// Encodes the tokens in `range` as a pack, over whatever `out` held.
    pub(crate) fn encode(&self, range: Range<usize>, out: &mut Vec<u8>) {
        let items = self.left().get(range.clone()).unwrap_or(&[]);
        let shape = self.shape(range);
        encode(&shape, items.iter().map(|item| self.stored(item)), out);
    }

    /// Takes `count` tokens off the front.
    pub(crate) fn take_front(&mut self, count: usize) {
        let taken = self.left().get(..count).unwrap_or(&[]);
        self.values_len -= taken.iter().map(|item| item.len).sum::<usize>();
        self.start += count;
        if self.start == self.items.len() {
            self.clear();
        } else if self.start * 2 > self.items.len() {
            self.compact();
        }
    }

    /// Moves what is left to the start of fresh buffers.
    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(self.arena.len());
        self.items.drain(..self.start);
        self.start = 0;
        for item in &mut self.items {
            let at = arena.len();
            arena.extend_from_slice(self.arena.get(item.at..item.at + item.len).unwrap_or(&[]));
            item.at = at;
        }
        self.arena = arena;
    }

    fn left(&self) -> &[Item] {
        self.items.get(self.start..).unwrap_or(&[])
    }

    fn stored(&self, item: &Item) -> StoredToken<'_> {
        let bytes = self.arena.get(item.at..item.at + item.len).unwrap_or(&[]);
        (item.id, bytes, item.blob)
    }
}
