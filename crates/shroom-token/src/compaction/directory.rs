//! The directory while a step changes it: its leaves in order, read when they are needed.
//!
//! * D1 A leaf that did not change is not written. The pages above the leaves are written anew when a leaf came, went or moved.
//! * D2 Leaves ascend strictly, so no page is met twice, whatever a damaged file says.
//!
//! Absent on purpose: does not look into packs.

use std::collections::VecDeque;

use shroom_page::LogicalPage;
use shroom_seg::{SegmentAddr, SegmentTxn};

use crate::lookup::open_pack;
use crate::merge::directory::{plant, read_entries, rewrite};
use crate::node::Entry;
use crate::{Result, TokenError, TokenId, TokenRoot};

/// A leaf: its page, or its entries, or both.
struct Leaf {
    /// The first id in it.
    id: u64,
    page: Option<LogicalPage>,
    entries: Option<VecDeque<Entry>>,
    changed: bool,
}

/// A directory being edited: leaves that are done with, and those behind them.
pub(super) struct DirectoryEdit {
    before: Vec<Leaf>,
    after: VecDeque<Leaf>,
    /// The pages above the leaves.
    nodes: Vec<LogicalPage>,
    /// The leaves as they were, to tell whether the pages above them still serve.
    old: Vec<Entry>,
    root: TokenRoot,
}

impl DirectoryEdit {
    /// All leaves are behind.
    pub(super) fn open(segments: &SegmentTxn<'_, '_>, root: &TokenRoot) -> Result<Self> {
        let mut edit = Self {
            before: Vec::new(),
            after: VecDeque::new(),
            nodes: Vec::new(),
            old: Vec::new(),
            root: *root,
        };
        let Some(top) = root.level() else {
            if root.height > 0 {
                let (pack, _) = open_pack(segments.pages(), root.addr, None)?;
                let id = pack.first_id().0;
                let addr = root.addr;
                edit.after.push_back(Leaf {
                    id,
                    page: None,
                    entries: Some([Entry { id, addr }].into()),
                    changed: false,
                });
            }
            return Ok(edit);
        };
        let first = read_entries(segments, root.addr.page, top, None)?;
        let mut level = vec![Entry::page(
            first.first().map_or(0, |entry| entry.id),
            root.addr.page,
        )];
        for at in (1..=top).rev() {
            let mut below = Vec::new();
            for entry in &level {
                edit.nodes.push(entry.addr.page);
                below.append(&mut read_entries(
                    segments,
                    entry.addr.page,
                    at,
                    Some(entry.id),
                )?);
            }
            check_order(&below)?;
            level = below;
        }
        edit.after = level
            .iter()
            .map(|entry| Leaf {
                id: entry.id,
                page: Some(entry.addr.page),
                entries: None,
                changed: false,
            })
            .collect();
        edit.old = level;
        Ok(edit)
    }

    /// The entry with the highest id up to `id`, to be changed; nothing may have been split off or pushed.
    pub(super) fn find(
        &mut self,
        segments: &SegmentTxn<'_, '_>,
        id: u64,
    ) -> Result<Option<Found<'_>>> {
        let index = self.after.partition_point(|leaf| leaf.id <= id);
        let next = self.after.get(index).map(|leaf| leaf.id);
        let Some(leaf) = index
            .checked_sub(1)
            .and_then(|index| self.after.get_mut(index))
        else {
            return Ok(None);
        };
        let at = leaf
            .load(segments, next)?
            .partition_point(|entry| entry.id <= id);
        Ok(at.checked_sub(1).map(|at| Found { leaf, at }))
    }

    /// Moves unchanged leaves with numbers below `limit` to new ones, at most `count`; whether that were all.
    pub(super) fn evacuate(
        &mut self,
        segments: &mut SegmentTxn<'_, '_>,
        limit: LogicalPage,
        mut count: usize,
    ) -> Result<bool> {
        for leaf in &mut self.after {
            let low = |page: &LogicalPage| *page < limit;
            let Some(page) = leaf.page.filter(low).filter(|_| !leaf.changed) else {
                continue;
            };
            if count == 0 {
                return Ok(false);
            }
            count -= 1;
            let to = segments.pages_mut().allocate_run(1)?;
            segments.pages_mut().renumber(page, to)?;
            leaf.page = Some(to);
        }
        Ok(true)
    }

    /// Passes over the entries below `id`: those from it on are behind.
    pub(super) fn split(&mut self, segments: &SegmentTxn<'_, '_>, id: u64) -> Result<()> {
        while self.after.get(1).is_some_and(|leaf| leaf.id <= id) {
            self.before.extend(self.after.pop_front());
        }
        let next = self.after.get(1).map(|leaf| leaf.id);
        let Some(leaf) = self.after.front_mut().filter(|leaf| leaf.id < id) else {
            return Ok(());
        };
        let entries = leaf.load(segments, next)?;
        let at = entries.partition_point(|entry| entry.id < id);
        let behind = entries.split_off(at);
        leaf.changed |= !behind.is_empty();
        self.before.extend(self.after.pop_front());
        if let Some(first) = behind.front() {
            self.after.push_front(Leaf {
                id: first.id,
                page: None,
                entries: Some(behind),
                changed: true,
            });
        }
        Ok(())
    }

    /// The first entry behind.
    pub(super) fn peek(&mut self, segments: &SegmentTxn<'_, '_>) -> Result<Option<Entry>> {
        let next = self.after.get(1).map(|leaf| leaf.id);
        let Some(leaf) = self.after.front_mut() else {
            return Ok(None);
        };
        Ok(leaf.load(segments, next)?.front().copied())
    }

    /// Takes the first entry behind out of the directory.
    pub(super) fn take(&mut self, segments: &mut SegmentTxn<'_, '_>) -> Result<Option<Entry>> {
        let entry = self.peek(segments)?;
        let Some(leaf) = self.after.front_mut() else {
            return Ok(None);
        };
        if let Some(entries) = &mut leaf.entries {
            entries.pop_front();
            leaf.changed = true;
            match entries.front() {
                Some(first) => leaf.id = first.id,
                None => {
                    let page = leaf.page;
                    self.after.pop_front();
                    if let Some(page) = page {
                        segments.pages_mut().free(page)?;
                    }
                }
            }
        }
        Ok(entry)
    }

    /// Puts a leaf that is written already before those behind.
    pub(super) fn push_leaf(&mut self, id: u64, page: LogicalPage) {
        self.before.push(Leaf {
            id,
            page: Some(page),
            entries: None,
            changed: false,
        });
    }

    /// Puts entries before those behind.
    pub(super) fn push_entries(&mut self, entries: Vec<Entry>) {
        if let Some(first) = entries.first() {
            self.before.push(Leaf {
                id: first.id,
                page: None,
                entries: Some(entries.into()),
                changed: true,
            });
        }
    }

    /// Whether no leaf comes before the entry with this id.
    pub(super) fn is_first(&self, id: u64) -> bool {
        self.before.is_empty() && self.after.front().is_none_or(|leaf| leaf.id >= id)
    }

    /// Whether nothing is behind.
    pub(super) fn is_passed(&self) -> bool {
        self.after.is_empty()
    }

    /// Frees the pages above the leaves: whoever calls this puts others there.
    pub(super) fn free_nodes(self, segments: &mut SegmentTxn<'_, '_>) -> Result<()> {
        let mut nodes = self.nodes.into_iter();
        nodes.try_for_each(|page| Ok(segments.pages_mut().free(page)?))
    }

    /// Writes what changed, none of it below `limit`, and gives the new root.
    pub(super) fn finish(
        self,
        segments: &mut SegmentTxn<'_, '_>,
        limit: LogicalPage,
    ) -> Result<TokenRoot> {
        let untouched = |leaf: &Leaf| leaf.page.is_none() && !leaf.changed;
        if self.before.iter().chain(&self.after).any(untouched) {
            return Ok(self.root); // the only pack, which the root names
        }
        let mut leaves = Vec::new();
        for leaf in self.before.into_iter().chain(self.after) {
            let Some(mut entries) = leaf.entries.filter(|_| leaf.changed) else {
                leaves.extend(leaf.page.map(|page| Entry::page(leaf.id, page)));
                continue;
            };
            let mut page = leaf.page;
            if let Some(low) = page.take_if(|page| *page < limit || entries.is_empty()) {
                segments.pages_mut().free(low)?;
            }
            if !entries.is_empty() {
                let written = rewrite(segments, 0, page, &[], entries.make_contiguous(), false)?;
                leaves.extend(written.iter().map(|child| child.entry));
            }
        }
        if leaves == self.old {
            return Ok(self.root);
        }
        check_order(&leaves)?;
        for page in self.nodes {
            segments.pages_mut().free(page)?;
        }
        let planted = plant(segments, 0, leaves, true)?;
        Ok(TokenRoot {
            tokens: self.root.tokens,
            payload: self.root.payload,
            ..planted
        })
    }
}

/// An entry of a leaf that was read.
pub(super) struct Found<'d> {
    leaf: &'d mut Leaf,
    at: usize,
}

impl Found<'_> {
    pub(super) fn entry(&self) -> Option<Entry> {
        self.leaf.entries.as_ref()?.get(self.at).copied()
    }

    /// Its pack is somewhere else now.
    pub(super) fn moved(&mut self, addr: SegmentAddr) {
        if let Some(entry) = self
            .leaf
            .entries
            .as_mut()
            .and_then(|entries| entries.get_mut(self.at))
        {
            entry.addr = addr;
            self.leaf.changed = true;
        }
    }
}

impl Leaf {
    /// Its entries; `next` is the first id of the leaf behind it.
    fn load(
        &mut self,
        segments: &SegmentTxn<'_, '_>,
        next: Option<u64>,
    ) -> Result<&mut VecDeque<Entry>> {
        if let (None, Some(page)) = (&self.entries, self.page) {
            let entries = read_entries(segments, page, 0, Some(self.id))?;
            if let (Some(last), Some(limit)) = (entries.last(), next)
                && last.id >= limit
            {
                return Err(TokenError::BeyondNeighbour {
                    child: page,
                    limit: TokenId(limit),
                    got: TokenId(last.id),
                });
            }
            self.entries = Some(entries.into());
        }
        Ok(self.entries.get_or_insert_default())
    }
}

fn check_order(entries: &[Entry]) -> Result<()> {
    let wrong = entries.windows(2).find(|pair| pair[0].id >= pair[1].id);
    match wrong {
        None => Ok(()),
        Some(pair) => Err(TokenError::BeyondNeighbour {
            child: pair[0].addr.page,
            limit: TokenId(pair[1].id),
            got: TokenId(pair[0].id),
        }),
    }
}
