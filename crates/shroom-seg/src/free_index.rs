//! The free-space index in a transaction: finds the lowest page with enough room in O(log pages) (format §6).
//!
//! * F1 A block is loaded at its first use and changed in memory; `finish` writes those whose bytes changed.
//! * F2 The maximum that a node holds for a child is the child's highest class.
//! * F3 After `finish` there is no empty block, and the height is the least that serves, so the index is a
//!   function of the classes.
//! * F4 A hint is a lower bound: no page below `hints[c]` has class `c` or more.
//!
//! Absent on purpose: does not know what a class means beyond "more is more", and never looks at a storage page.

use std::collections::BTreeMap;

use shroom_page::{LogicalPage, PageRead, PageTxn};

use crate::index_page::{Block, Geometry};
use crate::root::{INLINE_CLASSES, SegRoot};
use crate::{Result, SegError};

/// A child that exists in memory only; `finish` gives it a page. No page has this number.
const PENDING: u32 = u32::MAX;
const CLASSES: usize = 256;

/// A loaded index page.
#[derive(Debug)]
struct Loaded {
    block: Block,
    /// Where it is stored; 0 for a new block.
    page: LogicalPage,
    max: u8,
    changed: bool,
}

impl Loaded {
    fn new(block: Block, page: LogicalPage) -> Self {
        Self {
            max: block.max(),
            block,
            page,
            changed: page.is_none(),
        }
    }

    /// Sets one class; true when the block's maximum changed.
    fn set(&mut self, position: usize, class: u8) -> bool {
        let old = std::mem::replace(&mut self.block.maxima[position], class);
        if old == class {
            return false;
        }
        self.changed = true;
        let before = self.max;
        if class >= self.max {
            self.max = class;
        } else if old == self.max {
            self.max = self.block.max();
        }
        self.max != before
    }

    fn set_child(&mut self, position: usize, child: u32) {
        let old = std::mem::replace(&mut self.block.children[position], child);
        self.block.used = self.block.used + u32::from(child != 0) - u32::from(old != 0);
        self.changed |= old != child;
    }
}

/// The index while a transaction changes it.
#[derive(Debug)]
pub(crate) struct FreeIndex {
    geometry: Geometry,
    /// Loaded blocks by level (0: leaves) and position in the level. The last level has the root alone.
    levels: Vec<BTreeMap<u32, Loaded>>,
    root: LogicalPage,
    hints: [u32; CLASSES],
}

impl FreeIndex {
    pub(crate) fn open(geometry: Geometry, root: &SegRoot) -> Self {
        let mut levels: Vec<_> = (0..root.height.max(1)).map(|_| BTreeMap::new()).collect();
        if root.height == 0 {
            let mut leaf = Block::empty_leaf(geometry);
            leaf.maxima[..INLINE_CLASSES].copy_from_slice(&root.classes);
            leaf.used = root.classes.iter().filter(|&&class| class != 0).count() as u32;
            levels[0].insert(0, Loaded::new(leaf, LogicalPage::NONE));
        }
        Self {
            geometry,
            levels,
            root: root.index,
            hints: [0; CLASSES],
        }
    }

    /// The lowest page whose class is at least `class` (which is at least 1).
    pub(crate) fn find<R: PageRead>(
        &mut self,
        pages: &R,
        class: u8,
    ) -> Result<Option<LogicalPage>> {
        let from = self.hints[usize::from(class)];
        if from == u32::MAX {
            return Ok(None);
        }
        let top = self.levels.len() - 1;
        let found = self.find_in(pages, top, 0, from, class)?;
        self.hints[usize::from(class)] = found.unwrap_or(u32::MAX);
        Ok(found.map(LogicalPage))
    }

    /// Sets the class of a page.
    pub(crate) fn set<R: PageRead>(
        &mut self,
        pages: &R,
        page: LogicalPage,
        class: u8,
    ) -> Result<()> {
        while u64::from(page.0) >= self.geometry.block_pages(self.levels.len() - 1) {
            if class == 0 {
                return Ok(());
            }
            self.grow(pages)?;
        }
        let leaf_pages = self.geometry.leaf_pages();
        let mut position = page.0 / leaf_pages;
        if !self.load(pages, 0, position, class != 0)? {
            return Ok(());
        }
        let Some(leaf) = self.levels[0].get_mut(&position) else {
            return Ok(());
        };
        let at = (page.0 % leaf_pages) as usize;
        let old = leaf.block.maxima[at];
        if old == class {
            return Ok(());
        }
        leaf.block.used = leaf.block.used + u32::from(class != 0) - u32::from(old != 0);
        for hint in self
            .hints
            .iter_mut()
            .take(usize::from(class) + 1)
            .skip(usize::from(old) + 1)
        {
            *hint = (*hint).min(page.0);
        }
        let mut changed = leaf.set(at, class);
        let mut max = leaf.max;
        for level in 1..self.levels.len() {
            if !changed {
                break;
            }
            let child = (position % self.geometry.fan_out()) as usize;
            position /= self.geometry.fan_out();
            let Some(node) = self.levels[level].get_mut(&position) else {
                break;
            };
            changed = node.set(child, max);
            max = node.max;
        }
        Ok(())
    }

    /// Writes what changed, frees what became empty, and gives the index's part of the root:
    /// height, root page, inline classes.
    pub(crate) fn finish(
        mut self,
        txn: &mut PageTxn<'_>,
    ) -> Result<(u8, LogicalPage, [u8; INLINE_CLASSES])> {
        self.prune(txn)?;
        self.shrink(txn)?;
        let mut classes = [0; INLINE_CLASSES];
        if self.levels.len() == 1 {
            if !self.load(txn, 0, 0, false)? {
                return Ok((0, LogicalPage::NONE, classes));
            }
            if let Some(leaf) = self.levels[0].get(&0)
                && leaf.block.maxima[INLINE_CLASSES..]
                    .iter()
                    .all(|&class| class == 0)
            {
                classes.copy_from_slice(&leaf.block.maxima[..INLINE_CLASSES]);
                if !leaf.page.is_none() {
                    txn.free(leaf.page)?;
                }
                return Ok((0, LogicalPage::NONE, classes));
            }
        }
        self.write(txn)?;
        Ok((self.levels.len() as u8, self.root, classes))
    }

    /// Gives up the numbers of all blocks: `finish` gives them new ones, leaves first.
    pub(crate) fn rehome(&mut self, txn: &mut PageTxn<'_>) -> Result<()> {
        let top = self.levels.len() - 1;
        self.load(txn, top, 0, false)?;
        for level in (1..=top).rev() {
            let mut below = Vec::new();
            for (position, loaded) in &mut self.levels[level] {
                let children = (0..).zip(&loaded.block.children);
                let present = children.filter(|(_, child)| **child != 0);
                below.extend(present.map(|(at, _)| position * self.geometry.fan_out() + at));
            }
            for position in below {
                self.load(txn, level - 1, position, false)?;
            }
            for loaded in self.levels[level].values_mut() {
                let present = loaded
                    .block
                    .children
                    .iter_mut()
                    .filter(|child| **child != 0);
                present.for_each(|child| *child = PENDING);
            }
        }
        for loaded in self.levels.iter_mut().flat_map(BTreeMap::values_mut) {
            let page = std::mem::replace(&mut loaded.page, LogicalPage::NONE);
            if !page.is_none() {
                txn.free(page)?;
            }
            loaded.changed = true;
        }
        self.root = LogicalPage::NONE;
        Ok(())
    }

    /// Heap bytes of the loaded blocks.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.levels
            .iter()
            .flat_map(BTreeMap::values)
            .map(|loaded| loaded.block.heap_bytes())
            .sum()
    }

    /// Puts a node above the root, whose first child is the old root.
    fn grow<R: PageRead>(&mut self, pages: &R) -> Result<()> {
        let top = self.levels.len() - 1;
        self.load(pages, top, 0, false)?; // the new root needs its maximum
        let mut root = Loaded::new(Block::empty_node(self.geometry), LogicalPage::NONE);
        if let Some(old) = self.levels[top].get(&0) {
            root.set_child(
                0,
                if old.page.is_none() {
                    PENDING
                } else {
                    old.page.0
                },
            );
            root.set(0, old.max);
        }
        self.root = LogicalPage::NONE;
        self.levels.push(BTreeMap::from([(0, root)]));
        Ok(())
    }

    fn find_in<R: PageRead>(
        &mut self,
        pages: &R,
        level: usize,
        position: u32,
        from: u32,
        class: u8,
    ) -> Result<Option<u32>> {
        if !self.load(pages, level, position, false)? {
            return Ok(None);
        }
        let below = if level == 0 {
            1
        } else {
            self.geometry.block_pages(level - 1)
        };
        let base = u64::from(position) * self.geometry.block_pages(level);
        let first = (u64::from(from).saturating_sub(base) / below) as usize;
        let mut at = first;
        loop {
            let block = self.levels[level]
                .get(&position)
                .map(|loaded| &loaded.block);
            let Some(hit) = block.and_then(|block| block.first_at_least(at, class)) else {
                return Ok(None);
            };
            let number = base + hit as u64 * below;
            let Ok(number) = u32::try_from(number) else {
                return Ok(None);
            };
            if level == 0 {
                return Ok(Some(number));
            }
            let child = position * self.geometry.fan_out() + hit as u32;
            if let Some(found) = self.find_in(pages, level - 1, child, from, class)? {
                return Ok(Some(found));
            }
            // Only in the child that `from` cuts may the class lie before the cut.
            if from <= number {
                let page = self.levels[level]
                    .get(&position)
                    .map_or(LogicalPage::NONE, |loaded| loaded.page);
                let detail =
                    format!("entry {hit} promises class {class}, which no page below it has");
                return Err(SegError::Index { page, detail });
            }
            at = hit + 1;
        }
    }

    /// Makes sure that a block is in memory; false when it does not exist and `create` is false.
    fn load<R: PageRead>(
        &mut self,
        pages: &R,
        level: usize,
        position: u32,
        create: bool,
    ) -> Result<bool> {
        if self.levels[level].contains_key(&position) {
            return Ok(true);
        }
        let parent = position / self.geometry.fan_out();
        let child = (position % self.geometry.fan_out()) as usize;
        let is_root = level + 1 == self.levels.len();
        let page = if is_root {
            self.root
        } else {
            if !self.load(pages, level + 1, parent, create)? {
                return Ok(false);
            }
            let parent = self.levels[level + 1].get(&parent);
            LogicalPage(parent.map_or(0, |parent| parent.block.children[child]))
        };
        let block = if !page.is_none() {
            Block::parse(pages.page(page)?, level, self.geometry).map_err(|detail| {
                SegError::Index {
                    page,
                    detail: detail.into(),
                }
            })?
        } else if create {
            if !is_root && let Some(parent) = self.levels[level + 1].get_mut(&parent) {
                parent.set_child(child, PENDING);
            }
            if level == 0 {
                Block::empty_leaf(self.geometry)
            } else {
                Block::empty_node(self.geometry)
            }
        } else {
            return Ok(false);
        };
        self.levels[level].insert(position, Loaded::new(block, page));
        Ok(true)
    }

    /// Removes loaded blocks that became empty, and their links; an empty root stays for `shrink`.
    fn prune(&mut self, txn: &mut PageTxn<'_>) -> Result<()> {
        for level in 0..self.levels.len() - 1 {
            let fan_out = self.geometry.fan_out();
            let (below, above) = self.levels.split_at_mut(level + 1);
            let mut freed = Vec::new();
            below[level].retain(|&position, loaded| {
                if loaded.block.used != 0 {
                    return true;
                }
                freed.push((position, loaded.page));
                false
            });
            for (position, page) in freed {
                if !page.is_none() {
                    txn.free(page)?;
                }
                // A loaded block's parents are loaded.
                if let Some(parent) = above[0].get_mut(&(position / fan_out)) {
                    parent.set((position % fan_out) as usize, 0);
                    parent.set_child((position % fan_out) as usize, 0);
                }
            }
        }
        Ok(())
    }

    /// Takes off roots whose only child is the first one.
    fn shrink(&mut self, txn: &mut PageTxn<'_>) -> Result<()> {
        while self.levels.len() > 1 {
            let top = self.levels.len() - 1;
            if !self.load(txn, top, 0, false)? {
                break;
            }
            let Some(root) = self.levels[top].get(&0) else {
                break;
            };
            let child = root.block.children[0];
            if root.block.used > u32::from(child != 0) {
                break;
            }
            if !root.page.is_none() {
                txn.free(root.page)?;
            }
            self.root = if child == PENDING {
                LogicalPage::NONE
            } else {
                LogicalPage(child)
            };
            self.levels.pop();
        }
        Ok(())
    }

    fn write(&mut self, txn: &mut PageTxn<'_>) -> Result<()> {
        let fan_out = self.geometry.fan_out();
        let mut image = vec![0; txn.page_size().bytes()];
        for level in 0..self.levels.len() {
            let (below, above) = self.levels.split_at_mut(level + 1);
            for (&position, loaded) in &mut below[level] {
                if !loaded.changed {
                    continue;
                }
                if loaded.page.is_none() {
                    loaded.page = txn.allocate()?;
                    match above
                        .first_mut()
                        .and_then(|level| level.get_mut(&(position / fan_out)))
                    {
                        Some(parent) => {
                            parent.set_child((position % fan_out) as usize, loaded.page.0)
                        }
                        None => self.root = loaded.page,
                    }
                }
                loaded.block.write(&mut image);
                if txn.page(loaded.page)? != image {
                    txn.page_mut(loaded.page)?.copy_from_slice(&image);
                }
                loaded.changed = false;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
