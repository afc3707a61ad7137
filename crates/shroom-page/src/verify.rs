//! Checking everything that this layer keeps: hashes, the map, and that each page is used once or free.

use std::collections::BTreeMap;
use std::fmt;

use crate::free_runs::FreeRuns;
use crate::map::{self, Entry};
use crate::recovery;
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
}

impl PageReport {
    /// True when nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Walk over the map that notes what each physical page is used for.
struct Walk<'a> {
    base: &'a Base,
    used: BTreeMap<u32, LogicalPage>,
    mapped: FreeRuns,
    report: PageReport,
}

impl PageStore {
    /// Checks every page of the last committed state against its hash, and that each page of the file is exactly one of:
    /// superblock, map page, content of one logical page, free record, journal, or free.
    ///
    /// # Errors
    /// I/O errors. What is wrong with the bytes is in the report.
    pub fn verify(&self) -> Result<PageReport> {
        let base = self.snapshot().base;
        let mut walk = Walk {
            base: &base,
            used: BTreeMap::new(),
            mapped: FreeRuns::default(),
            report: PageReport::default(),
        };
        for index in 0..base.root_physical.len() as u32 {
            walk.visit(base.shape.height, index, base.root_entry(index as usize));
        }
        // The newest superblock may be younger than `base`; its free record is checked when it is the same state.
        let superblock = recovery::choose_superblock(self.storage())?.superblock;
        if superblock.sequence == base.sequence {
            match recovery::read_free_record(self.storage(), &superblock) {
                Ok((physical, logical, record)) => {
                    walk.account(&physical, &logical, record, superblock.journal)
                }
                Err(error) if error.is_corruption() => {
                    walk.find(0, LogicalPage::NONE, error.to_string())
                }
                Err(error) => return Err(error),
            }
        }
        Ok(walk.report)
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

    fn visit(&mut self, level: u8, index: u32, entry: Entry) {
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
        let base = self.base;
        // Each page is visited once, whatever a damaged map says.
        if let Some(other) = self.used.insert(entry.physical, logical) {
            return self.find(
                entry.physical,
                logical,
                format!("reached twice (also as logical page {other})"),
            );
        }
        if level == 0 {
            let _ = self.mapped.try_insert(index, 1); // the highest number has no end; it is found below
        }
        let page = match base.verify_entry(&entry, logical) {
            Ok(page) => page,
            Err(error) => return self.find(entry.physical, logical, error.to_string()),
        };
        if level == 0 {
            self.report.logical_pages += 1;
            if index == 0 || index >= base.logical_pages {
                self.find(
                    entry.physical,
                    logical,
                    format!("mapped, but numbers are 1 to {}", base.logical_pages),
                );
            }
            return;
        }
        self.report.map_pages += 1;
        if let Err(detail) = map::check_node(page, level - 1, base.fanout) {
            return self.find(entry.physical, logical, detail);
        }
        let Some(entries) = map::node_entries(page, base.fanout) else {
            return;
        };
        for digit in 0..base.fanout {
            match index
                .checked_mul(base.fanout as u32)
                .and_then(|first| first.checked_add(digit as u32))
            {
                Some(child) => self.visit(level - 1, child, entries.get(digit)),
                None => return,
            }
        }
    }

    fn account(&mut self, physical: &FreeRuns, logical: &FreeRuns, record: Run, journal: [Run; 2]) {
        self.report.free_pages = physical.pages();
        self.report.record_pages = u64::from(record.pages);
        self.report.journal_pages = journal.iter().map(|run| u64::from(run.pages)).sum();
        let mut used = FreeRuns::default();
        for &page in self
            .used
            .range(2..self.base.physical_pages)
            .map(|(page, _)| page)
        {
            used.insert(page, 1);
        }
        for run in journal.into_iter().chain([record]) {
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
