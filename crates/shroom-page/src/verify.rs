//! Checking everything that this layer keeps: hashes, the map, and that each page is used once or free.

use std::collections::BTreeMap;
use std::fmt;

use crate::free_runs::FreeRuns;
use crate::map::{self, Entries, Entry};
use crate::named::{Named, NamedList};
use crate::recovery::{self, FreeRecord};
use crate::snapshot::Base;
use crate::store::PageStore;
use crate::superblock::Run;
use crate::{LogicalPage, PageError, PhysicalPage, Result};

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

/// What [`PageStore::verify`] found.
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
struct Walk<'a> {
    /// The last committed state.
    base: &'a Base,
    /// The named snapshots that were walked over before.
    walked: Vec<Base>,
    used: BTreeMap<u32, LogicalPage>,
    mapped: FreeRuns,
    report: PageReport,
}

impl PageStore {
    /// Checks every page of the last committed state against its hash, and that each page of the file is exactly one of:
    /// superblock, map page, content of one logical page, free record, journal, or free. A page may be shared with
    /// named snapshots, at the same place of their maps; theirs are checked as well.
    ///
    /// # Errors
    /// I/O errors. What is wrong with the bytes is in the report.
    pub fn verify(&self) -> Result<PageReport> {
        let base = self.snapshot().base;
        let mut walk = Walk {
            base: &base,
            walked: Vec::new(),
            used: BTreeMap::new(),
            mapped: FreeRuns::default(),
            report: PageReport::default(),
        };
        for index in 0..base.root_physical.len() as u32 {
            let entry = base.root_entry(index as usize);
            walk.visit(&base, base.shape.height, index, entry);
        }
        let named = match self.named() {
            Ok((now, named)) if now.sequence == base.sequence => named,
            // Committed meanwhile: the snapshots of the state being checked.
            Ok(_) => base.named.get().cloned().unwrap_or_default(),
            Err(error) if error.is_corruption() => NamedList::default(), // found again below
            Err(error) => return Err(error),
        };
        for named in named.iter() {
            walk.snapshot(named)?;
        }
        // The newest superblock may be younger than `base`; its free record is checked when it is the same state.
        let superblock = recovery::choose_superblock(self.storage())?.superblock;
        if superblock.sequence == base.sequence {
            match recovery::read_free_record(self.storage(), &superblock) {
                Ok(record) => walk.account(&record, superblock.journal),
                Err(error) if error.is_corruption() => {
                    walk.find(0, LogicalPage::NONE, error.to_string())
                }
                Err(error) => return Err(error),
            }
        }
        self.check_slots(&mut walk)?;
        Ok(walk.report)
    }

    /// Checks both superblock slots. A crash may leave the older state in one of them, which is sound; anything else there
    /// means that the next damage loses the database. Left out while a transaction is open: it may be writing them.
    fn check_slots(&self, walk: &mut Walk<'_>) -> Result<()> {
        let Some(_writer) = self.try_writer() else {
            return Ok(());
        };
        let newest = recovery::newest_superblock(self.storage())?;
        if !newest.is_durable {
            for slot in 0..2 {
                match recovery::slot_damage(self.storage(), &newest.superblock, slot)? {
                    Some(PageError::Corrupt { what, detail, .. }) => {
                        walk.find(slot, LogicalPage::NONE, format!("{what}: {detail}"));
                    }
                    Some(error) => walk.find(slot, LogicalPage::NONE, error.to_string()),
                    None => {}
                }
            }
        }
        Ok(())
    }
}

impl Walk<'_> {
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

    /// Walks over what only a named snapshot reaches, of the states so far.
    fn snapshot(&mut self, named: &Named) -> Result<()> {
        self.report.snapshots += 1;
        let state = match named.map_of(self.base) {
            Ok(state) => state,
            Err(error) if error.is_corruption() => {
                self.find(named.place.physical, LogicalPage::NONE, error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for index in 0..state.root_physical.len() as u32 {
            let entry = state.root_entry(index as usize);
            self.visit(&state, state.shape.height, index, entry);
        }
        self.walked.push(state);
        Ok(())
    }

    /// Whether a state that was walked over before has the same page, by the same hash, at the same place.
    fn is_walked(&self, level: u8, index: u32, entry: Entry) -> bool {
        let mut states = self.walked.iter().chain([self.base]);
        states.any(|state| state.entry(level, index).is_ok_and(|known| known == entry))
    }

    fn visit(&mut self, base: &Base, level: u8, index: u32, entry: Entry) {
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
        let is_live = std::ptr::eq(base, self.base);
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
            if index == 0 || index >= base.logical_pages {
                self.find_beyond(base, entry, logical);
            }
            return;
        }
        if let Err(detail) = map::check_node(page, level - 1, base.fanout) {
            return self.find(entry.physical, logical, detail);
        }
        let Some(entries) = map::node_entries(page, base.fanout) else {
            return;
        };
        self.visit_under(base, level, index, entries);
    }

    /// What a snapshot shares with a state that was walked over was checked there, but for numbers that the snapshot does not
    /// have.
    fn visit_end(&mut self, base: &Base, level: u8, index: u32, entry: Entry) {
        let span = base.shape.spans[usize::from(level)];
        let end = (u64::from(index) + 1) * u64::from(span);
        if end <= u64::from(base.logical_pages) {
            return;
        }
        let Some(below) = level.checked_sub(1) else {
            return self.find_beyond(base, entry, LogicalPage(index));
        };
        if let Ok(entries) = base.node_of(&entry, below) {
            self.visit_under(base, level, index, entries);
        }
    }

    fn find_beyond(&mut self, base: &Base, entry: Entry, logical: LogicalPage) {
        let detail = format!("mapped, but numbers are 1 to {}", base.logical_pages);
        self.find(entry.physical, logical, detail);
    }

    fn visit_under(&mut self, base: &Base, level: u8, index: u32, entries: Entries<'_>) {
        for digit in 0..base.fanout {
            match index
                .checked_mul(base.fanout as u32)
                .and_then(|first| first.checked_add(digit as u32))
            {
                Some(child) => self.visit(base, level - 1, child, entries.get(digit)),
                None => return,
            }
        }
    }

    fn account(&mut self, record: &FreeRecord, journal: [Run; 2]) {
        let (physical, logical) = (&record.physical, &record.logical);
        self.report.free_pages = physical.pages();
        self.report.record_pages = u64::from(record.run.pages);
        self.report.snapshot_pages += record.named.len() as u64;
        self.report.journal_pages = journal.iter().map(|run| u64::from(run.pages)).sum();
        let mut used = FreeRuns::default();
        for &page in self
            .used
            .range(2..self.base.physical_pages)
            .map(|(page, _)| page)
        {
            used.insert(page, 1);
        }
        let frozen = record.named.iter().map(|named| named.run());
        for run in journal.into_iter().chain([record.run]).chain(frozen) {
            if !used.try_insert(run.first, run.pages) {
                let detail = format!("the map, or another run, uses pages of the run {run:?}");
                self.find(run.first, LogicalPage::NONE, detail);
            }
        }
        let (pages, numbers) = (self.base.physical_pages, self.base.logical_pages);
        self.mapped.truncate(numbers);
        for (first, len, is_free) in differences(physical, &used.complement(2, pages)) {
            let state = if is_free {
                "free, but not all unused"
            } else {
                "unused, but not all free"
            };
            self.find(
                first,
                LogicalPage::NONE,
                format!("{len} pages from here are {state}"),
            );
        }
        for (first, len, is_free) in differences(logical, &self.mapped.complement(1, numbers)) {
            let state = if is_free {
                "free, but not all unmapped"
            } else {
                "unmapped, but not all free"
            };
            self.find(
                0,
                LogicalPage(first),
                format!("{len} numbers from here are {state}"),
            );
        }
    }
}

/// The runs that only one of two sets has: first, length, and whether it is of the first set.
fn differences<'a>(
    free: &'a FreeRuns,
    unused: &'a FreeRuns,
) -> impl Iterator<Item = (u32, u32, bool)> + 'a {
    let only_free = free
        .runs_not_in(unused)
        .map(|(first, len)| (first, len, true));
    let only_unused = unused
        .runs_not_in(free)
        .map(|(first, len)| (first, len, false));
    only_free.chain(only_unused)
}

/// Map pages of a state.
pub(crate) fn count_map_pages(base: &Base) -> Result<u64> {
    let mut count = 0;
    let mut left = vec![];
    for index in 0..base.root_physical.len() {
        left.push((base.shape.height, base.root_entry(index)));
    }
    while let Some((level, entry)) = left.pop() {
        if level == 0 || entry.is_absent() {
            continue;
        }
        count += 1;
        // More map pages than the file has pages: a damaged map leads to one by many ways.
        if count > u64::from(base.physical_pages) {
            return Err(PageError::Corrupt {
                what: "page map",
                physical: PhysicalPage(entry.physical),
                detail: "reached many times".into(),
            });
        }
        if level > 1 {
            let entries = base.node_of(&entry, level - 1)?;
            left.extend((0..base.fanout).map(|digit| (level - 1, entries.get(digit))));
        }
    }
    Ok(count)
}
