//! Arranging a store's pages as an image has them (format, "Canonical image"): each page and each page of the map at the
//! place that follows from its number, in bounded commits, front to back.
//!
//! A commit fills one window of the file and clears the next: what lies in that and does not belong there goes behind it.
//! Its place is free for the commit after.
//!
//! * R1 Each step is an ordinary commit: whatever happens, the file holds every page.
//! * R2 A page of the map goes to its place in the step in which all under it are at theirs, and is not changed after.
//! * R3 Two windows more than the file's data are needed, and what of the map lies above their pages.
//! * R4 Memory is 4 bytes a page of the file, and some 100 a page of the map.
//!
//! Absent on purpose: moves nothing where a number is free, or a named snapshot may keep a page where it is. Does not cut the file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::free_runs::FreeRuns;
use crate::map::{Entry, MapShape};
use crate::map_walk::MapPages;
use crate::snapshot::{Base, Snapshot};
use crate::store::PageStore;
use crate::txn::PageTxn;
use crate::{LogicalPage, PageError, PageRead, PhysicalPage, Result};

/// Physical pages that hold the superblock.
const SLOTS: u32 = 2;
/// Bytes handed to one write call, at most.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// Where an image has its pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    shape: MapShape,
    /// The highest page number.
    last: u32,
}

impl Layout {
    pub(crate) fn new(shape: MapShape, logical_pages: u32) -> Self {
        let last = logical_pages.saturating_sub(1);
        Self { shape, last }
    }

    /// Levels of map pages.
    fn levels(&self) -> u8 {
        self.shape.height
    }

    /// Numbers under one page of a level.
    fn span(&self, level: u8) -> u32 {
        self.shape.spans[usize::from(level) + 1]
    }

    /// The place of a page, which is not page 0.
    pub(crate) fn page(&self, number: u32) -> u32 {
        let before = (0..self.levels()).map(|level| number / self.span(level));
        SLOTS + number - 1 + before.sum::<u32>()
    }

    /// The place of page `index` of a level of the map.
    pub(crate) fn node(&self, level: u8, index: u32) -> u32 {
        let end = u64::from(index + 1) * u64::from(self.span(level));
        if end <= u64::from(self.last) + 1 {
            // Full: behind its last page, and the lower levels' that are full with it.
            return self.page((end - 1) as u32) + u32::from(level) + 1;
        }
        let next = u64::from(self.last) + 1;
        let full = |level: &u8| next.is_multiple_of(u64::from(self.span(*level)));
        let with_last = (0..self.levels()).filter(full).count() as u32;
        let lower = (0..level).filter(|level| !full(level)).count() as u32;
        self.page(self.last) + with_last + lower + 1
    }

    /// Pages of a level.
    fn nodes(&self, level: u8) -> u32 {
        self.last / self.span(level) + 1
    }

    /// Length of the file, in pages.
    pub(crate) fn end(&self) -> u32 {
        if self.last == 0 && self.levels() == 0 {
            return SLOTS;
        }
        let last = (0..self.levels()).map(|level| self.node(level, self.nodes(level) - 1));
        last.chain([self.page(self.last)]).max().unwrap_or(SLOTS) + 1
    }
}

/// Where a transaction puts what it writes while it arranges the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    layout: Layout,
    /// A page of the map whose place is below this goes there.
    exact_end: u32,
    /// All else goes here or behind.
    pub(crate) behind: u32,
}

/// A file being arranged.
#[derive(Debug)]
pub struct Arranging {
    /// Of the state that the rest of this describes.
    sequence: u64,
    layout: Layout,
    /// Pages that a step may move to their places.
    window: u32,
    /// What is below is arranged, but for what was missed.
    next: u32,
    /// What is between `next` and this was cleared by the last step.
    cleared: u32,
    /// For each place of the file, the number of the page there; 0 for anything else.
    owners: Vec<u32>,
    nodes: BTreeMap<(u8, u32), u32>,
    nodes_at: BTreeMap<u32, (u8, u32)>,
    missed: u64,
}

/// What a step did.
#[derive(Debug)]
pub enum Arranged {
    /// A commit; more is to be done.
    Moved(Snapshot),
    /// All is done.
    Done,
    /// Another commit came in between: what is known of the file is no longer true.
    Disturbed,
}

impl Arranging {
    /// Pages that are not where they belong, since something else was there, or was held there for a reader.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// How much of the file is arranged, and its length when it is: pages.
    pub fn progress(&self) -> (u32, u32) {
        let end = self.layout.end();
        (self.next.min(end), end)
    }

    fn new(base: &Base, window: u32) -> Result<Self> {
        let layout = Layout::new(base.shape, base.logical_pages);
        let mut survey = Survey {
            base,
            seen: FreeRuns::default(),
            first_wrong: layout.end(),
            plan: Self {
                sequence: base.sequence,
                layout,
                window: window.max(1),
                next: 0,
                cleared: 0,
                owners: vec![0; base.physical_pages as usize],
                nodes: BTreeMap::new(),
                nodes_at: BTreeMap::new(),
                missed: 0,
            },
        };
        for index in 0..base.root_physical.len() as u32 {
            survey.visit(base.shape.height, index, &base.root_entry(index as usize))?;
        }
        let Survey {
            first_wrong,
            mut plan,
            ..
        } = survey;
        (plan.next, plan.cleared) = (first_wrong, first_wrong);
        Ok(plan)
    }

    /// The numbers of the pages that belong into a part of the file.
    fn pages_of(&self, part: &Range<u32>) -> Range<u32> {
        let first = |place| {
            // Places ascend with the numbers.
            let (mut low, mut high) = (1, self.layout.last + 1);
            while low < high {
                let middle = low + (high - low) / 2;
                match self.layout.page(middle) < place {
                    true => low = middle + 1,
                    false => high = middle,
                }
            }
            low
        };
        first(part.start)..first(part.end)
    }

    /// The pages of the map that belong into a part of the file.
    fn nodes_of(&self, part: &Range<u32>) -> Vec<(u8, u32)> {
        let mut found = Vec::new();
        let pages = self.pages_of(part);
        for level in 0..self.layout.levels() {
            // A page of the map is at most one a level behind the last page under it.
            let span = self.layout.span(level);
            let first = (pages.start.saturating_sub(1) / span).saturating_sub(1);
            let last = (pages.end / span).min(self.layout.nodes(level) - 1);
            let nodes = (first..=last).map(|index| (level, index));
            found.extend(
                nodes.filter(|&(level, index)| part.contains(&self.layout.node(level, index))),
            );
        }
        found
    }

    /// Brings what is known of the file after a commit that moved these pages and rewrote these of the map.
    fn follow(
        &mut self,
        base: &Base,
        (numbers, touched): (&BTreeSet<u32>, &BTreeSet<(u8, u32)>),
        before: &Base,
    ) -> Result<()> {
        self.sequence = base.sequence;
        self.owners.resize(base.physical_pages as usize, 0);
        for &number in numbers {
            let old = before.entry(0, number)?.physical as usize;
            if let Some(owner) = self.owners.get_mut(old).filter(|owner| **owner == number) {
                *owner = 0;
            }
        }
        let mut nodes = BTreeSet::new();
        for &number in numbers {
            let new = base.entry(0, number)?.physical as usize;
            if let Some(owner) = self.owners.get_mut(new) {
                *owner = number;
            }
            if self.layout.levels() > 0 {
                nodes.insert((0, number / self.layout.span(0)));
            }
        }
        nodes.extend(touched);
        // With a page of the map those above it are rewritten.
        for (level, index) in std::mem::take(&mut nodes) {
            let first = index * self.layout.span(level);
            let above = level..self.layout.levels();
            nodes.extend(above.map(|at| (at, first / self.layout.span(at))));
        }
        for &node in &nodes {
            if let Some(old) = self.nodes.remove(&node) {
                self.nodes_at.remove(&old);
            }
        }
        for (level, index) in nodes {
            let physical = base.entry(level + 1, index)?.physical;
            self.nodes.insert((level, index), physical);
            self.nodes_at.insert(physical, (level, index));
        }
        Ok(())
    }
}

/// Learns where everything is.
struct Survey<'b> {
    base: &'b Base,
    /// Pages of the map visited: a damaged map may lead to one by many ways.
    seen: FreeRuns,
    /// The first place of the file that does not hold what belongs there.
    first_wrong: u32,
    plan: Arranging,
}

impl Survey<'_> {
    /// Visits what is under entry `index` of a level, level 0 being the pages themselves.
    fn visit(&mut self, level: u8, index: u32, entry: &Entry) -> Result<()> {
        if entry.is_absent() {
            return Ok(());
        }
        let fresh =
            entry.physical < self.base.physical_pages && self.seen.try_insert(entry.physical, 1);
        if !fresh || (level == 0 && !(1..self.base.logical_pages).contains(&index)) {
            return Err(PageError::Corrupt {
                what: "page map",
                physical: PhysicalPage(entry.physical),
                detail: "reached twice, or beyond the file".into(),
            });
        }
        let belongs = match level.checked_sub(1) {
            None => {
                self.plan.owners[entry.physical as usize] = index;
                self.plan.layout.page(index)
            }
            Some(below) => {
                self.plan.nodes.insert((below, index), entry.physical);
                self.plan.nodes_at.insert(entry.physical, (below, index));
                self.plan.layout.node(below, index)
            }
        };
        if belongs != entry.physical {
            self.first_wrong = self.first_wrong.min(belongs);
        }
        let Some(below) = level.checked_sub(1) else {
            return Ok(());
        };
        let entries = self.base.node_of(entry, below)?;
        let fanout = self.base.fanout as u32;
        for digit in 0..fanout {
            let child = index
                .checked_mul(fanout)
                .and_then(|at| at.checked_add(digit));
            let Some(child) = child else { break };
            self.visit(below, child, &entries.get(digit as usize))?;
        }
        Ok(())
    }
}

impl PageStore {
    /// Begins to arrange the file, `window` pages a step. `None` when it cannot be: numbers are free, or there are named
    /// snapshots.
    ///
    /// # Errors
    /// Corruption of the page map.
    pub fn begin_arranging(&self, window: u32) -> Result<Option<Arranging>> {
        let base = {
            let writer = self.writer();
            let named = writer
                .base
                .named
                .get()
                .is_some_and(|named| !named.is_empty());
            if named || writer.allocation.free.logical.pages() > 0 {
                return Ok(None);
            }
            Arc::clone(&writer.base)
        };
        Arranging::new(&base, window).map(Some)
    }

    /// Goes on with it: one commit.
    ///
    /// # Errors
    /// As [`commit`](PageTxn::commit). Then it must be begun anew.
    pub fn arrange(&self, plan: &mut Arranging) -> Result<Arranged> {
        let end = plan.layout.end();
        if plan.next >= end {
            return Ok(Arranged::Done);
        }
        let mut txn = self.begin()?;
        if txn.base.sequence != plan.sequence {
            return Ok(Arranged::Disturbed);
        }
        txn.grow_frugally();
        let before = Arc::clone(&txn.base);
        let fill = plan.next..plan.cleared;
        let clear = plan.cleared..plan.cleared.saturating_add(plan.window).min(end);
        txn.placement = Some(Placement {
            layout: plan.layout,
            exact_end: fill.end,
            behind: clear.end,
        });
        let missed = txn.fill(plan, &fill)?;
        txn.clear(plan, &clear)?;
        let numbers: BTreeSet<u32> = txn.placed.keys().copied().collect();
        let touched = txn.touched.clone();
        let roots = txn.base.roots;
        let snapshot = txn.commit(roots)?;
        plan.follow(&snapshot.base, (&numbers, &touched), &before)?;
        let wrong = |&(level, index): &(u8, u32)| {
            plan.nodes.get(&(level, index)) != Some(&plan.layout.node(level, index))
        };
        plan.missed += missed
            + plan
                .nodes_of(&fill)
                .iter()
                .filter(|node| wrong(node))
                .count() as u64;
        (plan.next, plan.cleared) = (clear.start, clear.end);
        if fill.end == end {
            plan.next = end;
        }
        Ok(Arranged::Moved(snapshot))
    }
}

impl PageTxn<'_> {
    /// The place for a page of the map.
    pub(crate) fn take_node_place(&mut self, level: u8, index: u32) -> Result<u32> {
        if let Some(placement) = self.placement {
            let place = placement.layout.node(level, index);
            if place < placement.exact_end && self.free.physical.take_exact(place, 1) {
                self.base.verified.remove(place);
                return Ok(place);
            }
        }
        self.take_physical()
    }

    /// Moves what belongs into a part of the file there, where that is free; returns how many pages could not go there.
    fn fill(&mut self, plan: &Arranging, part: &Range<u32>) -> Result<u64> {
        let base = Arc::clone(&self.base);
        let mut missed = 0;
        let mut gathered = Gathered::default();
        for number in plan.pages_of(part) {
            let place = plan.layout.page(number);
            let entry = base.entry(0, number)?;
            if entry.physical == place {
                continue;
            }
            if !self.free.physical.take_exact(place, 1) {
                missed += 1;
                continue;
            }
            base.verified.remove(place);
            if !gathered.takes(place) {
                self.write_gathered(&mut gathered)?;
            }
            gathered.push(place, number, &entry, base.page(LogicalPage(number))?);
        }
        self.write_gathered(&mut gathered)?;
        for (level, index) in plan.nodes_of(part) {
            if plan.nodes.get(&(level, index)) != Some(&plan.layout.node(level, index)) {
                self.touched.insert((level, index));
            }
        }
        Ok(missed)
    }

    /// Moves what does not belong into a part of the file behind it.
    fn clear(&mut self, plan: &Arranging, part: &Range<u32>) -> Result<()> {
        let base = Arc::clone(&self.base);
        let mut leaving = Vec::new();
        for place in part.clone() {
            self.touched.extend(plan.nodes_at.get(&place));
            let owner = plan.owners.get(place as usize).copied().unwrap_or(0);
            let stays = owner == 0 || plan.layout.page(owner) == place;
            if !stays && !self.placed.contains_key(&owner) {
                leaving.push(owner);
            }
        }
        let page_len = self.page_size().bytes();
        let mut rest = &leaving[..];
        while !rest.is_empty() {
            let run = self.take_behind(rest.len().min(WRITE_BYTES_MAX / page_len) as u32)?;
            let (now, later) = rest.split_at(run.pages as usize);
            let mut gathered = Gathered::default();
            for (&number, place) in now.iter().zip(run.first..) {
                let entry = base.entry(0, number)?;
                gathered.push(place, number, &entry, base.page(LogicalPage(number))?);
            }
            self.write_gathered(&mut gathered)?;
            rest = later;
        }
        Ok(())
    }

    fn write_gathered(&mut self, gathered: &mut Gathered) -> Result<()> {
        let Gathered {
            first,
            bytes,
            entries,
        } = std::mem::take(gathered);
        if !entries.is_empty() {
            self.store
                .write(u64::from(first) << self.page_size().shift(), &bytes)?;
        }
        self.placed.extend(entries);
        Ok(())
    }
}

/// Pages to be written at consecutive places.
#[derive(Default)]
struct Gathered {
    first: u32,
    bytes: Vec<u8>,
    entries: Vec<(u32, Entry)>,
}

impl Gathered {
    fn takes(&self, place: u32) -> bool {
        self.entries.is_empty()
            || place == self.first + self.entries.len() as u32 && self.bytes.len() < WRITE_BYTES_MAX
    }

    fn push(&mut self, place: u32, number: u32, entry: &Entry, bytes: &[u8]) {
        if self.entries.is_empty() {
            self.first = place;
        }
        self.bytes.extend_from_slice(bytes);
        let hash = entry.hash;
        let physical = place;
        self.entries.push((number, Entry { physical, hash }));
    }
}

#[cfg(test)]
mod tests;
