//! Sorted batch merge: edits in ascending order of ids go through the directory once, from left to right.
//!
//! * M1 Every edit is applied exactly once, in order; an edit out of order is refused.
//! * M2 A pack, and a directory page, that no edit changes is neither read past its header nor written, unless a
//!   neighbour combines with it.
//! * M3 The root's totals stay exact.
//!
//! After an error the transaction holds half a merge: abort it. Absent on purpose: no commit, and no cache.

mod apply;
pub(crate) mod directory;
mod run;
mod stream;

pub(crate) use self::apply::checked_token;
pub(crate) use self::stream::Stream;

use std::iter::Peekable;

use shroom_page::{LogicalPage, PageRead};
use shroom_seg::SegmentTxn;

use self::directory::{Child, combine, plant, read_entries, rewrite};
use crate::lookup::open_pack;
use crate::node::Entry;
use crate::{Edit, Result, TokenError, TokenId, TokenRoot, inline_len_max};

/// Applies `edits`, in ascending order of ids, and returns the new root.
///
/// Stops early, between two packs, once `segments.dirty_bytes()` is at least `budget` bytes, but not before some
/// edits were applied: `edits` then still holds the rest, for another merge (after a commit, say).
///
/// # Errors
/// [`TokenError::NotAscending`], [`TokenError::KeptBeyondEnd`] and [`TokenError::TooLong`] for bad edits;
/// corruption; errors of the layers below. After any error the transaction must be dropped.
pub fn merge<'e, I: Iterator<Item = (TokenId, Edit<'e>)>>(
    segments: &mut SegmentTxn<'_, '_>,
    root: &TokenRoot,
    edits: &mut Peekable<I>,
    budget: usize,
) -> Result<TokenRoot> {
    let page_size = segments.pages().page_size().bytes();
    let capacity = segments.capacity();
    let mut merge = Merge {
        segments,
        edits: Edits {
            source: edits,
            last: None,
            stopped: false,
        },
        budget,
        capacity,
        inline_len_max: inline_len_max(page_size),
        totals: Totals {
            tokens: root.tokens,
            payload: root.payload,
        },
        stream: Stream::default(),
        encoded: Vec::new(),
        spare: Vec::new(),
    };
    let new = merge.root(root)?;
    let Totals { tokens, payload } = merge.totals;
    if new.height == 0 && (tokens, payload) != (0, 0) {
        return Err(TokenError::Totals {
            what: "tokens",
            expected: tokens,
            got: 0,
        });
    }
    Ok(TokenRoot {
        tokens,
        payload,
        ..new
    })
}

/// A merge under way.
struct Merge<'m, 't, 's, I: Iterator> {
    segments: &'m mut SegmentTxn<'t, 's>,
    edits: Edits<'m, I>,
    budget: usize,
    /// Largest pack, in bytes.
    capacity: usize,
    inline_len_max: usize,
    totals: Totals,
    /// Tokens of the present run.
    stream: Stream,
    /// Buffer for the pack being written.
    encoded: Vec<u8>,
    /// Buffers for packs being read.
    spare: Vec<Vec<u8>>,
}

/// The edits that are left.
struct Edits<'m, I: Iterator> {
    source: &'m mut Peekable<I>,
    last: Option<TokenId>,
    stopped: bool,
}

impl<'e, I: Iterator<Item = (TokenId, Edit<'e>)>> Edits<'_, I> {
    /// Id of the next edit, if it is below `limit` and the merge goes on.
    #[inline]
    fn peek_below(&mut self, limit: Option<u64>) -> Option<u64> {
        if self.stopped {
            return None;
        }
        let (id, _) = self.source.peek()?;
        limit.is_none_or(|limit| id.0 < limit).then_some(id.0)
    }

    /// Takes the next edit, whose id must be above the last one's.
    fn take(&mut self) -> Result<Option<(TokenId, Edit<'e>)>> {
        let Some((id, edit)) = self.source.next() else {
            return Ok(None);
        };
        match self.last.replace(id) {
            Some(previous) if previous >= id => Err(TokenError::NotAscending { previous, got: id }),
            _ => Ok(Some((id, edit))),
        }
    }
}

/// The root's totals, as edits change them.
pub(crate) struct Totals {
    pub(crate) tokens: u64,
    pub(crate) payload: u64,
}

impl Totals {
    /// One more token. True totals cannot overflow: the lengths of the tokens that there are add up to less.
    pub(crate) fn add(&mut self, length: u64) -> Result<()> {
        let payload = self.payload.checked_add(length);
        let tokens = self.tokens.checked_add(1);
        self.payload = payload.ok_or(wrong("payload bytes", self.payload, length))?;
        self.tokens = tokens.ok_or(wrong("tokens", self.tokens, 1))?;
        Ok(())
    }

    /// One token less.
    fn remove(&mut self, length: u64) -> Result<()> {
        let payload = self.payload.checked_sub(length);
        let tokens = self.tokens.checked_sub(1);
        self.payload = payload.ok_or(wrong("payload bytes", self.payload, length))?;
        self.tokens = tokens.ok_or(wrong("tokens", 0, 1))?;
        Ok(())
    }
}

/// The root's totals are not those of its tokens.
fn wrong(what: &'static str, expected: u64, got: u64) -> TokenError {
    TokenError::Totals {
        what,
        expected,
        got,
    }
}

/// A directory leaf under a merge: what was, what will be, and the run in between.
struct Leaf<'o> {
    old: &'o [Entry],
    /// The first old entry that is neither in `out` nor in the run.
    at: usize,
    /// Ids from here on belong to the next leaf.
    upper: Option<u64>,
    out: Vec<Entry>,
    /// Old packs whose tokens are in the stream, to be freed.
    claimed: Vec<shroom_seg::SegmentAddr>,
}

impl Leaf<'_> {
    /// The first id that does not belong to old entry `index`.
    fn limit(&self, index: usize) -> Option<u64> {
        self.old.get(index + 1).map(|entry| entry.id).or(self.upper)
    }

    /// Leaves the present entry as it is.
    fn keep(&mut self) {
        self.out.extend(self.old.get(self.at));
        self.at += 1;
    }
}

impl<'e, I: Iterator<Item = (TokenId, Edit<'e>)>> Merge<'_, '_, '_, I> {
    fn root(&mut self, root: &TokenRoot) -> Result<TokenRoot> {
        if self.edits.peek_below(None).is_none() {
            return Ok(*root);
        }
        let (level, children) = match root.level() {
            Some(level) => (level, self.page(root.addr.page, level, None, None)?),
            None => {
                let old = self.only_pack(root)?;
                let new = self.leaf(&old, None)?;
                if let [] | [_] = new.as_slice() {
                    let height = new.len() as u8;
                    let addr = new
                        .first()
                        .map_or(TokenRoot::EMPTY.addr, |entry| entry.addr);
                    return Ok(TokenRoot {
                        height,
                        addr,
                        tokens: 0,
                        payload: 0,
                    });
                }
                (0, rewrite(self.segments, 0, None, &old, &new, true)?)
            }
        };
        let entries = children.iter().map(|child| child.entry).collect();
        plant(self.segments, level, entries, true)
    }

    /// The pack that a root of height 1 names, as a leaf's only entry.
    fn only_pack(&self, root: &TokenRoot) -> Result<Vec<Entry>> {
        if root.height == 0 {
            return Ok(Vec::new());
        }
        let (pack, _) = open_pack(self.segments.pages(), root.addr, None)?;
        Ok(vec![Entry {
            id: pack.first_id().0,
            addr: root.addr,
        }])
    }

    /// Merges the edits below `upper` into a directory page: what its parent holds for it afterwards.
    fn page(
        &mut self,
        page: LogicalPage,
        level: u8,
        key: Option<u64>,
        upper: Option<u64>,
    ) -> Result<Vec<Child>> {
        let old = read_entries(self.segments, page, level, key)?;
        if let (Some(last), Some(limit)) = (old.last(), upper)
            && last.id >= limit
        {
            let (limit, got) = (TokenId(limit), TokenId(last.id));
            return Err(TokenError::BeyondNeighbour {
                child: page,
                limit,
                got,
            });
        }
        let new = match level.checked_sub(1) {
            None => self.leaf(&old, upper)?,
            Some(below) => {
                let mut children = Vec::with_capacity(old.len() + 2);
                for (index, &entry) in old.iter().enumerate() {
                    let limit = old.get(index + 1).map(|next| next.id).or(upper);
                    if self.edits.peek_below(limit).is_some() {
                        let key = Some(entry.id);
                        children.append(&mut self.page(entry.addr.page, below, key, limit)?);
                    } else {
                        children.push(Child {
                            entry,
                            rewritten: None,
                        });
                    }
                }
                combine(self.segments, below, &mut children)?;
                children.iter().map(|child| child.entry).collect()
            }
        };
        rewrite(
            self.segments,
            level,
            Some(page),
            &old,
            &new,
            upper.is_none(),
        )
    }

    /// Merges the edits below `upper` into the packs of a leaf: its entries afterwards.
    fn leaf(&mut self, old: &[Entry], upper: Option<u64>) -> Result<Vec<Entry>> {
        let out = Vec::with_capacity(old.len() + 8);
        let mut leaf = Leaf {
            old,
            at: 0,
            upper,
            out,
            claimed: Vec::new(),
        };
        if old.is_empty() {
            self.run(&mut leaf)?;
        }
        while leaf.at < old.len() {
            match self.edits.peek_below(leaf.limit(leaf.at)) {
                Some(_) => self.run(&mut leaf)?,
                None => leaf.keep(),
            }
        }
        Ok(leaf.out)
    }

    /// A copy of a pack's segment.
    fn read_pack(&mut self, entry: Entry) -> Result<Vec<u8>> {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        let (_, data) = open_pack(self.segments.pages(), entry.addr, Some(entry.id))?;
        copy.extend_from_slice(data);
        Ok(copy)
    }

    /// Stops taking edits when enough is dirty.
    fn check_budget(&mut self) {
        self.edits.stopped |= self.segments.dirty_bytes() >= self.budget;
    }
}
