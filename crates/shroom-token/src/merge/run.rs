//! Runs: neighbouring packs that change together, cut anew into packs that fill their pages.
//!
//! * U1 A pack that is written fits one segment; every token of the run is in exactly one pack.
//! * U2 Old packs are released before the new ones are placed, so that these find the room.
//!
//! Absent on purpose: does not look past the run's own directory leaf.

use shroom_seg::{SegmentAddr, segment};

use super::apply::checked_token;
use super::{Leaf, Merge};
use crate::lookup::pack_error;
use crate::node::Entry;
use crate::pack::PACK_TOKENS_MAX;
use crate::{Edit, Pack, Result, TokenError, TokenId};

/// Packs' worth of tokens that a run gathers before it writes the first ones.
const AHEAD_PACKS_MAX: usize = 6;
/// Packs' worth of tokens that stay for the end of the run to decide about.
const AHEAD_PACKS_KEPT: usize = 3;

impl<'e, I: Iterator<Item = (TokenId, Edit<'e>)>> Merge<'_, '_, '_, I> {
    /// Merges the run that starts at the leaf's present entry, which the next edit falls into.
    pub(super) fn run(&mut self, leaf: &mut Leaf<'_>) -> Result<()> {
        if leaf.old.is_empty() {
            self.apply_to_nothing(leaf, leaf.upper)?;
        }
        loop {
            self.gather(leaf)?;
            if self.stream.is_empty() && leaf.claimed.is_empty() {
                // Edits that change nothing.
                leaf.keep();
                return Ok(());
            }
            if !self.extend(leaf)? {
                break;
            }
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
        let home = match leaf.claimed.as_slice() {
            [_] if !starts.is_empty() => leaf.claimed.pop(),
            _ => None,
        };
        self.release(leaf)?;
        // A run of one pack stays at home with its first, largest part.
        let mut home = home;
        for count in self.lengths(&starts) {
            self.write_front(leaf, count, home.take())?;
        }
        Ok(())
    }

    /// Takes in a neighbour that helps to fill packs; false when none does.
    fn extend(&mut self, leaf: &mut Leaf<'_>) -> Result<bool> {
        let (starts, remainder) = self.greedy();
        if starts.is_empty() {
            return Ok(false);
        }
        let env = |n: &str, d: f64| std::env::var(n).ok().and_then(|x| x.parse().ok()).unwrap_or(d);
        let (alpha, beta, thr, maxn) = (env("ALPHA", 0.25), env("BETA", 0.9), env("THR", 128.0), env("MAXN", 3.0));
        let cap = self.capacity as f64;
        let waste = |len: f64| if len <= 0.0 { 0.0 } else { (30.0 + len * alpha).min((cap - len) * beta) };
        let now = waste(remainder as f64);
        if leaf.claimed.len() as f64 >= starts.len() as f64 + maxn {
            return Ok(false);
        }
        let gain = |len: usize| {
            let total = (remainder + len) as f64 - 12.0;
            let after = if total <= cap { waste(total) } else { waste(total - cap + 12.0) };
            let g = now + waste(len as f64) - after;
            if total <= cap { g - env("THRC", 20.0) } else { g - thr }
        };
        let next = leaf.old.get(leaf.at).copied();
        let previous = leaf.out.last().copied();
        let next_gain = match next { Some(e) => gain(self.pack_len(e)?), None => f64::MIN };
        let previous_gain = match previous { Some(e) => gain(self.pack_len(e)?), None => f64::MIN };
        if next_gain.max(previous_gain) < 0.0 {
            return Ok(false);
        }
        if next_gain >= previous_gain {
            self.absorb_next(leaf, next.unwrap())?;
        } else {
            self.absorb_previous(leaf, previous.unwrap())?;
        }
        Ok(true)
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
        (starts, self.stream.shape(last..self.stream.len()).encoded_len())
    }

    fn lengths(&self, starts: &[usize]) -> Vec<usize> {
        let ends = starts.iter().skip(1).copied().chain([self.stream.len()]);
        starts.iter().zip(ends).map(|(start, end)| end - start).collect()
    }

    /// Encoded length of a pack, with its slack.
    fn pack_len(&self, entry: Entry) -> Result<usize> {
        Ok(segment(self.segments.pages(), entry.addr)?.len())
    }

    /// Takes the pack after the run into it.
    fn absorb_next(&mut self, leaf: &mut Leaf<'_>, next: Entry) -> Result<()> {
        let data = self.read_pack(next)?;
        let pack = Pack::parse(&data).map_err(pack_error(next.addr))?;
        for index in 0..pack.len() {
            let bytes = checked_token(&pack, index, self.inline_len_max);
            let bytes = bytes.map_err(pack_error(next.addr))?;
            self.stream.push(pack.id(index).0, &[bytes], pack.is_blob(index));
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
        let (last, first) = (pack.id(pack.len() - 1), self.stream.token(0).map(|token| token.0));
        if let Some(limit) = first.filter(|first| *first <= last.0) {
            let (child, limit) = (previous.addr.page, TokenId(limit));
            return Err(TokenError::BeyondNeighbour { child, limit, got: last });
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
        let Some((id, _, _)) = self.stream.token(0) else {
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
