//! Checking everything that this layer keeps: hashes, the map, and that each page is used once or free.
//!
//! Here is the walk over a map, which finds what is wrong with the map and its pages. `store` adds what only a store has: named
//! snapshots, the free record, the journal and both slots.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::free_runs::FreeRuns;
use crate::map::{self, Entries, Entry};
use crate::map_walk::MapPages;
use crate::{LogicalPage, PhysicalPage};

#[cfg(feature = "std")]
mod store;
#[cfg(feature = "std")]
pub(crate) use store::count_map_pages;

/// More findings than this are not noted: a damaged file may have one for each of four thousand million pages.
const FINDINGS_MAX: usize = 1_000;

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageFinding {
    /// Where in the file.
    pub physical: PhysicalPage,
    /// Which logical page, where one is concerned; else 0.
    pub logical: LogicalPage,
    /// What was expected and what was found.
    pub detail: String,
}

impl fmt::Display for PageFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}", self.physical)?;
        if !self.logical.is_none() {
            write!(f, " (logical {})", self.logical)?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// What a check of a store, or of the pages in a slice, found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageReport {
    /// What is wrong (the first 1,000 findings); empty for a sound store.
    pub findings: Vec<PageFinding>,
    /// Logical pages whose hash was checked.
    pub logical_pages: u64,
    /// Map pages whose hash was checked.
    pub map_pages: u64,
    /// Free physical pages.
    pub free_pages: u64,
    /// Pages of the journal areas.
    pub journal_pages: u64,
    /// Pages of the free record.
    pub record_pages: u64,
    /// Named snapshots checked.
    pub snapshots: u64,
    /// Pages that only named snapshots reach, their frozen superblocks included. Each was checked against its hash.
    pub snapshot_pages: u64,
}

impl PageReport {
    /// True when nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Walk over the maps that notes what each physical page is used for.
pub(crate) struct Walk<'a, M> {
    /// The last committed state.
    base: &'a M,
    /// The named snapshots that were walked over before.
    walked: Vec<M>,
    used: BTreeMap<u32, LogicalPage>,
    mapped: FreeRuns,
    report: PageReport,
}

impl<'a, M: MapPages> Walk<'a, M> {
    /// Nothing visited yet.
    fn new(base: &'a M) -> Self {
        Self {
            base,
            walked: Vec::new(),
            used: BTreeMap::new(),
            mapped: FreeRuns::default(),
            report: PageReport::default(),
        }
    }

    /// What is wrong with the map of a state, and with the pages under it.
    pub(crate) fn report(base: &'a M) -> PageReport {
        let mut walk = Self::new(base);
        walk.visit_all(base);
        walk.report
    }

    /// Visits all pages of a state.
    fn visit_all(&mut self, state: &M) {
        for index in 0..state.root().physical.len() as u32 {
            let entry = state.root_entry(index as usize);
            self.visit(state, state.shape().height, index, entry);
        }
    }

    fn find(&mut self, physical: u32, logical: LogicalPage, detail: String) {
        if self.report.findings.len() >= FINDINGS_MAX {
            return;
        }
        self.report.findings.push(PageFinding {
            physical: PhysicalPage(physical),
            logical,
            detail,
        });
    }

    /// Whether a state that was walked over before has the same page, by the same hash, at the same place.
    fn is_walked(&self, level: u8, index: u32, entry: Entry) -> bool {
        let mut states = self.walked.iter().chain([self.base]);
        states.any(|state| state.entry(level, index).is_ok_and(|known| known == entry))
    }

    fn visit(&mut self, base: &M, level: u8, index: u32, entry: Entry) {
        if entry.is_absent() {
            if entry != Entry::ABSENT {
                self.find(
                    0,
                    LogicalPage::NONE,
                    format!("absent map entry {index} of level {level} has a hash"),
                );
            }
            return;
        }
        let logical = if level == 0 {
            LogicalPage(index)
        } else {
            LogicalPage::NONE
        };
        let is_live = core::ptr::eq(base, self.base);
        if !is_live && self.is_walked(level, index, entry) {
            return self.visit_end(base, level, index, entry);
        }
        // Each page is visited once, whatever a damaged map says.
        if let Some(other) = self.used.insert(entry.physical, logical) {
            return self.find(
                entry.physical,
                logical,
                format!("reached twice (also as logical page {other})"),
            );
        }
        if level == 0 && is_live {
            let _ = self.mapped.try_insert(index, 1); // the highest number has no end; it is found below
        }
        let page = match base.verify_entry(&entry, logical) {
            Ok(page) => page,
            Err(error) => return self.find(entry.physical, logical, error.to_string()),
        };
        if !is_live {
            self.report.snapshot_pages += 1;
        } else if level == 0 {
            self.report.logical_pages += 1;
        } else {
            self.report.map_pages += 1;
        }
        if level == 0 {
            if index == 0 || index >= base.logical_pages() {
                self.find_beyond(base, entry, logical);
            }
            return;
        }
        if let Err(detail) = map::check_node(page, level - 1, base.fanout()) {
            return self.find(entry.physical, logical, detail);
        }
        let Some(entries) = map::node_entries(page, base.fanout()) else {
            return;
        };
        self.visit_under(base, level, index, entries);
    }

    /// What a snapshot shares with a state that was walked over was checked there, but for numbers that the snapshot does not
    /// have.
    fn visit_end(&mut self, base: &M, level: u8, index: u32, entry: Entry) {
        let span = base.shape().spans[usize::from(level)];
        let end = (u64::from(index) + 1) * u64::from(span);
        if end <= u64::from(base.logical_pages()) {
            return;
        }
        let Some(below) = level.checked_sub(1) else {
            return self.find_beyond(base, entry, LogicalPage(index));
        };
        if let Ok(entries) = base.node_of(&entry, below) {
            self.visit_under(base, level, index, entries);
        }
    }

    fn find_beyond(&mut self, base: &M, entry: Entry, logical: LogicalPage) {
        let detail = format!("mapped, but numbers are 1 to {}", base.logical_pages());
        self.find(entry.physical, logical, detail);
    }

    fn visit_under(&mut self, base: &M, level: u8, index: u32, entries: Entries<'_>) {
        for digit in 0..base.fanout() {
            match index
                .checked_mul(base.fanout() as u32)
                .and_then(|first| first.checked_add(digit as u32))
            {
                Some(child) => self.visit(base, level - 1, child, entries.get(digit)),
                None => return,
            }
        }
    }
}
