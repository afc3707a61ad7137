//! Runs: neighbouring packs that change together, cut anew into packs that fill their pages.
//!
//! * U1 A pack that is written fits one segment; every token of the run is in exactly one pack.
//! * U2 Old packs are released before the new ones are placed, so that these find the room.
//! * U3 A run takes in at most `NEIGHBOURS_MAX` packs that no edit touches.
//!
//! A run is cut greedily: packs as large as a page, and a remainder of any size, which shares a page with others.
//! What costs space is therefore a pack a little smaller than a page (hardly anything fits beside it), and, less, the
//! overhead of a small pack. [`waste`] puts a price on both; a run takes in a neighbour when that lowers the sum
//! by more than the price of writing one more pack.
//!
//! Absent on purpose: does not look past the run's own directory leaf.

use shroom_seg::{SegmentAddr, segment};

use super::apply::checked_token;
use super::{Leaf, Merge};
use crate::lookup::pack_error;
use crate::node::Entry;
use crate::pack::{PACK_HEADER_LEN, PACK_TOKENS_MAX};
use crate::{Edit, Pack, Result, TokenError, TokenId};

/// Packs' worth of tokens that a run gathers before it writes the first ones.
const AHEAD_PACKS_MAX: usize = 6;
/// Packs' worth of tokens that stay for the end of the run to decide about.
const AHEAD_PACKS_KEPT: usize = 3;
/// Untouched packs that one run takes in.
const NEIGHBOURS_MAX: usize = 3;
/// Bytes that a pack costs beyond its tokens: its header, its segment's, and its directory entry.
const PACK_OVERHEAD_LEN: usize = 30;
/// Least gain for which two packs become one, as a part of the capacity.
const COMBINE_GAIN: usize = 200;
/// Least gain for which a neighbour is cut anew, as a part of the capacity. Measured under churn of 1 % a batch:
/// 1/200 fills pages to 93.3 % and writes 1.6 pages an edit, 1/40 92.6 % and 1.25, 1/8 91.5 % and 1.0.
const RECUT_GAIN: usize = 40;

impl<'e, I: Iterator<Item = (TokenId, Edit<'e>)>> Merge<'_, '_, '_, I> {
    /// Merges the run that starts at the leaf's present entry, which the next edit falls into.
    pub(super) fn run(&mut self, leaf: &mut Leaf<'_>) -> Result<()> {
        if leaf.old.is_empty() {
            self.apply_to_nothing(leaf, leaf.upper)?;
        }
        for _ in 0..NEIGHBOURS_MAX {
            self.gather(leaf)?;
            if self.stream.is_empty() || !self.extend(leaf)? {
                break;
            }
        }
        // A neighbour that was taken in last may end where the next edit begins.
        self.gather(leaf)?;
        if self.stream.is_empty() && leaf.claimed.is_empty() {
            // Edits that changed nothing.
            leaf.keep();
            return Ok(());
        }
        self.finish(leaf)?;
        self.check_budget();
        Ok(())
    }

    /// Takes in the packs from here on that edits change.
    fn gather(&mut self, leaf: &mut Leaf<'_>) -> Result<()> {
        while let Some(&entry) = leaf.old.get(leaf.at) {
            let limit = leaf.limit(leaf.at);
            if self.edits.peek_below(limit).is_none() || !self.apply(leaf, entry, limit)? {
                break;
            }
            leaf.at += 1;
        }
        Ok(())
    }

    /// Takes in a neighbour, if that saves space; false when none does.
    fn extend(&mut self, leaf: &mut Leaf<'_>) -> Result<bool> {
        let capacity = self.capacity;
        let (_, remainder) = self.greedy();
        let gain = |len: usize| {
            let total = remainder + len.saturating_sub(PACK_HEADER_LEN);
            let before = waste(remainder, capacity) + waste(len, capacity);
            let (after, least) = match total.checked_sub(capacity) {
                None => (waste(total, capacity), capacity / COMBINE_GAIN),
                Some(rest) => (
                    waste(rest + PACK_HEADER_LEN, capacity),
                    capacity / RECUT_GAIN,
                ),
            };
            before.checked_sub(after + least)
        };
        let measure = |entry: Option<&Entry>| match entry {
            Some(entry) => {
                let len = segment(self.segments.pages(), entry.addr)?.len();
                Ok::<_, TokenError>(gain(len).map(|gain| (gain, *entry)))
            }
            None => Ok(None),
        };
        let next = measure(leaf.old.get(leaf.at))?;
        let previous = measure(leaf.out.last())?;
        match (next, previous) {
            (None, None) => return Ok(false),
            (Some((gain, next)), other) if other.is_none_or(|(least, _)| gain >= least) => {
                self.absorb_next(leaf, next)?;
            }
            (_, Some((_, previous))) => self.absorb_previous(leaf, previous)?,
            (Some((_, next)), None) => self.absorb_next(leaf, next)?,
        }
        Ok(true)
    }

    /// Writes full packs once a long run has gathered enough tokens.
    pub(super) fn write_ahead(&mut self, leaf: &mut Leaf<'_>) -> Result<()> {
        let (capacity, tokens) = (self.capacity, PACK_TOKENS_MAX);
        let pending = |merge: &Self, packs| {
            merge.stream.values_len() > packs * capacity || merge.stream.len() > packs * tokens
        };
        if !pending(self, AHEAD_PACKS_MAX) {
            return Ok(());
        }
        self.release(leaf)?;
        while pending(self, AHEAD_PACKS_KEPT) {
            let end = self.stream.cut_forward(0, capacity);
            self.write_front(leaf, end, None)?;
        }
        self.check_budget();
        Ok(())
    }

    /// Writes what is left of a run.
    fn finish(&mut self, leaf: &mut Leaf<'_>) -> Result<()> {
        let (starts, _) = self.greedy();
        // A run of one pack stays at home with its first, largest part.
        let mut home = match leaf.claimed.as_slice() {
            [_] if !starts.is_empty() => leaf.claimed.pop(),
            _ => None,
        };
        self.release(leaf)?;
        let ends = starts.iter().skip(1).copied().chain([self.stream.len()]);
        for (start, end) in starts.iter().zip(ends) {
            self.write_front(leaf, end - start, home.take())?;
        }
        Ok(())
    }

    /// Starts of packs filled one after another, and the encoded length of the last one.
    fn greedy(&self) -> (Vec<usize>, usize) {
        let mut starts = Vec::new();
        let mut start = 0;
        while start < self.stream.len() {
            starts.push(start);
            start = self.stream.cut_forward(start, self.capacity);
        }
        let last = starts.last().copied().unwrap_or(0);
        (
            starts,
            self.stream.shape(last..self.stream.len()).encoded_len(),
        )
    }

    /// Takes the pack after the run into it.
    fn absorb_next(&mut self, leaf: &mut Leaf<'_>, next: Entry) -> Result<()> {
        let data = self.read_pack(next)?;
        let pack = Pack::parse(&data).map_err(pack_error(next.addr))?;
        for index in 0..pack.len() {
            self.copy(next.addr, &pack, index, leaf.limit(leaf.at))?;
        }
        self.spare.push(data);
        leaf.claimed.push(next.addr);
        leaf.at += 1;
        Ok(())
    }

    /// Takes the pack before the run into it.
    fn absorb_previous(&mut self, leaf: &mut Leaf<'_>, previous: Entry) -> Result<()> {
        let data = self.read_pack(previous)?;
        let pack = Pack::parse(&data).map_err(pack_error(previous.addr))?;
        let mut tokens = Vec::with_capacity(pack.len());
        for index in 0..pack.len() {
            let bytes = checked_token(&pack, index, self.inline_len_max);
            let bytes = bytes.map_err(pack_error(previous.addr))?;
            tokens.push((pack.id(index).0, bytes, pack.is_blob(index)));
        }
        let last = pack.id(pack.len() - 1);
        if let Some((first, ..)) = self.stream.token(0).filter(|(first, ..)| *first <= last.0) {
            let (child, limit) = (previous.addr.page, TokenId(first));
            return Err(TokenError::BeyondNeighbour {
                child,
                limit,
                got: last,
            });
        }
        self.stream.push_front(tokens.into_iter());
        self.spare.push(data);
        leaf.claimed.push(previous.addr);
        leaf.out.pop();
        Ok(())
    }

    /// Frees the old packs that are in the stream.
    fn release(&mut self, leaf: &mut Leaf<'_>) -> Result<()> {
        for addr in leaf.claimed.drain(..) {
            self.segments.free(addr)?;
        }
        Ok(())
    }

    /// Writes the first `count` tokens as a pack: in place of `home`, or where there is room.
    fn write_front(
        &mut self,
        leaf: &mut Leaf<'_>,
        count: usize,
        home: Option<SegmentAddr>,
    ) -> Result<()> {
        let Some((id, ..)) = self.stream.token(0) else {
            return Ok(());
        };
        self.stream.encode(0..count, &mut self.encoded);
        let addr = match home {
            Some(home) => self.segments.replace(home, &self.encoded)?,
            None => self.segments.allocate(&self.encoded)?,
        };
        self.stream.take_front(count);
        leaf.out.push(Entry { id, addr });
        Ok(())
    }
}

/// Bytes that a pack of `len` bytes is expected to cost beyond its own: either as one of several in shared pages, of
/// which about a quarter stays unused at worst, or as the only large one in its page, of which hardly any rest is used.
fn waste(len: usize, capacity: usize) -> usize {
    match len {
        0 => 0,
        len => (PACK_OVERHEAD_LEN + len / 4).min(capacity.saturating_sub(len) * 9 / 10),
    }
}
