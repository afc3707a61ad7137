//! Rebuilding damaged pages of the page map, for salvage: read-only, and with full proof.
//!
//! A page of the map says everything twice: where each page lies, and what it hashes to. What damage took from one
//! column the other gives back, with the pages themselves; and the free record says which entries are absent.
//!
//! * X1 A rebuilt page is accepted when it has the hash that its referrer holds, and only then. However it was guessed, it is the page
//!   that was written.
//! * X2 Work is bounded: each page of the file is hashed at most once, and the pages tried are at most four for each page of
//!   the file and [`ATTEMPTS_MIN`].
//!
//! Absent on purpose: superblocks are not repaired, since nothing above them has their hash.

mod candidates;
mod facts;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use self::candidates::Evidence;
use self::facts::Facts;
use crate::map::{self, Entries, Entry};
use crate::map_walk::MapPages;
use crate::recovery::FreeRecord;
use crate::snapshot::Base;
use crate::superblock::Superblock;
use crate::verified::{ReadCheck, VerifiedPages};
use crate::{LogicalPage, PhysicalPage};

/// Pages that may be tried in a small file.
const ATTEMPTS_MIN: u64 = 1 << 14;
/// Pages that are tried in place of one damaged page.
const ATTEMPTS_PER_NODE: u64 = 1 << 14;
/// Damaged pages that are kept in mind in a small file. In a larger one, as many as it has pages.
const PENDING_MIN: usize = 1 << 10;

/// Rebuilt pages of the map, by the hash that each of them has.
pub(crate) type RebuiltNodes = BTreeMap<[u8; 32], Box<[u8]>>;

/// A damaged page of the page map that was rebuilt. The rebuilt page has the hash that its referrer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairedMapPage {
    /// Where it lies, damaged.
    pub physical: PhysicalPage,
    /// The first logical page under it.
    pub first: LogicalPage,
    /// The last logical page that may be under it.
    pub last: LogicalPage,
}

impl std::fmt::Display for RepairedMapPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "repaired: page map page {} (logical pages {} to {}), proven by its referrer's hash",
            self.physical, self.first, self.last
        )
    }
}

/// What was rebuilt.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    pub(crate) nodes: RebuiltNodes,
    pub(crate) pages: Vec<RepairedMapPage>,
}

/// Rebuilds what can be of the damaged pages of the map of `base`, the state of `superblock`. `record` gives the
/// free record, when that is sound; it is asked for only when a page of the map is damaged.
pub(crate) fn repair(
    base: &Base,
    superblock: &Superblock,
    record: impl FnOnce() -> Option<FreeRecord>,
) -> Repairs {
    let mut repair = Repair {
        base,
        physical_pages: superblock.physical_pages,
        reached: VerifiedPages::new(base.physical_pages, ReadCheck::FirstTouch),
        record: None,
        facts: None,
        pending: Vec::new(),
        repairs: Repairs::default(),
        attempts: u64::from(base.physical_pages) * 4 + ATTEMPTS_MIN,
    };
    for index in 0..base.root_physical.len() {
        repair.enter(base.shape.height, index as u32, base.root_entry(index));
    }
    if !repair.pending.is_empty() {
        repair.record = record();
        repair.run(superblock);
    }
    repair.repairs
}

/// A damaged page of the map.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Its own level; its entries are nodes of the level below, or logical pages.
    level: u8,
    /// Its index among the nodes of its level.
    index: u32,
    /// What refers to it.
    entry: Entry,
}

struct Repair<'b> {
    base: &'b Base,
    /// As the superblock has them: the file may be shorter.
    physical_pages: u32,
    /// Pages that something sound refers to.
    reached: VerifiedPages,
    record: Option<FreeRecord>,
    facts: Option<Facts<'b>>,
    pending: Vec<Node>,
    repairs: Repairs,
    /// Pages that may still be tried.
    attempts: u64,
}

impl<'b> Repair<'b> {
    /// Goes down from a proven entry, notes what it reaches and which nodes are damaged.
    fn enter(&mut self, level: u8, index: u32, entry: Entry) {
        let span = self.base.shape.spans[usize::from(level)];
        let is_below = u64::from(index) * u64::from(span) < u64::from(self.base.logical_pages);
        if entry.is_absent() || !is_below || self.reached.contains(entry.physical) {
            return;
        }
        self.reached.insert(entry.physical);
        if let Some(facts) = &mut self.facts {
            facts.reach(entry.physical);
        }
        let Some(below) = level.checked_sub(1) else {
            return;
        };
        match self.base.verify_entry(&entry, LogicalPage::NONE) {
            // With the right hash and malformed, it is no writer's work, and there is nothing to repair.
            Ok(bytes) if map::check_node(bytes, below, self.base.fanout).is_err() => {}
            Ok(bytes) => {
                if let Some(entries) = map::node_entries(bytes, self.base.fanout) {
                    self.enter_all(below, index, entries);
                }
            }
            Err(_) => {
                let most = PENDING_MIN.max(self.base.physical_pages as usize);
                if self.pending.len() < most {
                    self.pending.push(Node {
                        level: below,
                        index,
                        entry,
                    });
                }
            }
        }
    }

    /// Enters the entries of node `index` of `level`.
    fn enter_all(&mut self, level: u8, index: u32, entries: Entries<'_>) {
        for digit in 0..self.base.fanout {
            if let Some(child) = self.child(index, digit) {
                self.enter(level, child, entries.get(digit));
            }
        }
    }

    /// Index of an entry of node `index` among all entries of its level; `None` beyond the highest number.
    fn child(&self, index: u32, digit: usize) -> Option<u32> {
        index
            .checked_mul(self.base.fanout as u32)?
            .checked_add(digit as u32)
    }

    /// What each repair makes known serves the next, so what follows from evidence goes before what is guessed.
    fn run(&mut self, superblock: &Superblock) {
        self.facts = Some(Facts::new(
            self.base,
            self.record.as_ref(),
            superblock.journal,
            &self.reached,
        ));
        while self.attempts > 0 && !self.pending.is_empty() && (self.pass(false) || self.pass(true))
        {
        }
    }

    /// Tries each damaged node once; true when one was rebuilt.
    fn pass(&mut self, guess: bool) -> bool {
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_by_key(|node| (Reverse(node.level), node.index));
        let mut is_progress = false;
        for node in pending {
            match self.rebuild(&node, guess) {
                Some(page) => {
                    is_progress = true;
                    self.accept(&node, page);
                }
                None => self.pending.push(node),
            }
        }
        is_progress
    }

    fn rebuild(&mut self, node: &Node, guess: bool) -> Option<Box<[u8]>> {
        let is_present = self.presence(node);
        let facts = self.facts.as_mut()?;
        // Looking through the unreached pages costs as well.
        self.attempts = self
            .attempts
            .saturating_sub(1 + u64::from(guess) * facts.unreached_len() / 64);
        let allowed = self.attempts.min(ATTEMPTS_PER_NODE);
        let mut evidence = Evidence {
            node,
            fanout: self.base.fanout,
            page_len: self.base.page_size.bytes(),
            physical_pages: self.physical_pages,
            is_present,
            reached: &self.reached,
            facts,
            attempts: allowed,
        };
        let page = match guess {
            false => evidence.conclude(),
            true => evidence.guess(),
        };
        self.attempts -= allowed - evidence.attempts;
        page
    }

    /// For each entry of a node, whether it is present, as far as that is known.
    fn presence(&self, node: &Node) -> Vec<Option<bool>> {
        let span = u64::from(self.base.shape.spans[usize::from(node.level)]);
        let limit = u64::from(self.base.logical_pages);
        let is_present = |digit: usize| {
            let first = self.child(node.index, digit).map(u64::from)? * span;
            let end = (first + span).min(limit);
            let first = first.max(1); // logical page 0 is none
            if first >= end {
                return None;
            }
            let Some(record) = &self.record else {
                return Some(None);
            };
            let free = record.logical.len_from(first as u32);
            Some(Some(u64::from(free) < end - first))
        };
        let digits = 0..self.base.fanout;
        digits
            .map(|digit| is_present(digit).unwrap_or(Some(false)))
            .collect()
    }

    /// Takes a page that has the hash of the node.
    fn accept(&mut self, node: &Node, page: Box<[u8]>) {
        if let Some(entries) = map::node_entries(&page, self.base.fanout) {
            self.enter_all(node.level, node.index, entries);
        }
        self.repairs.nodes.insert(node.entry.hash, page);
        let span = u64::from(self.base.shape.spans[usize::from(node.level) + 1]);
        let first = u64::from(node.index) * span;
        let last = (first + span).min(u64::from(self.base.logical_pages)) - 1;
        self.repairs.pages.push(RepairedMapPage {
            physical: PhysicalPage(node.entry.physical),
            first: LogicalPage(first as u32),
            last: LogicalPage(last as u32),
        });
    }
}
