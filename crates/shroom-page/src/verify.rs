//! Checking everything that this layer keeps: hashes, the map, and that each page is used once or free.

use std::collections::BTreeMap;
use std::fmt;

use crate::free_runs::FreeRuns;
use crate::map::{self, Entry};
use crate::recovery;
use crate::snapshot::Base;
use crate::store::PageStore;
use crate::superblock::Run;
use crate::{LogicalPage, PhysicalPage, Result};

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
    /// Everything that is wrong; empty for a sound store.
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
        let page = match base.verify_entry(&entry, logical) {
            Ok(page) => page,
            Err(error) => return self.find(entry.physical, logical, error.to_string()),
        };
        if let Some(other) = self.used.insert(entry.physical, logical) {
            self.find(
                entry.physical,
                logical,
                format!("reached twice (also as logical page {other})"),
            );
        }
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
        for run in journal.into_iter().chain([record]) {
            for page in run.first..run.first + run.pages {
                if self.used.insert(page, LogicalPage::NONE).is_some() {
                    self.find(
                        page,
                        LogicalPage::NONE,
                        "used by the map and by a run of the superblock".into(),
                    );
                }
            }
        }
        let mut expected = 2;
        let used: Vec<u32> = self
            .used
            .keys()
            .copied()
            .chain([self.base.physical_pages])
            .collect();
        for page in used {
            for free in expected..page {
                if !physical.contains(free) {
                    self.find(free, LogicalPage::NONE, "neither used nor free".into());
                }
            }
            if physical.contains(page) {
                self.find(
                    page,
                    LogicalPage::NONE,
                    "used, but in the free record".into(),
                );
            }
            expected = page.saturating_add(1);
        }
        for number in 1..self.base.logical_pages {
            let mapped = self
                .base
                .entry(0, number)
                .is_ok_and(|entry| !entry.is_absent());
            if mapped == logical.contains(number) {
                let detail = if mapped {
                    "mapped, but its number is free"
                } else {
                    "neither mapped nor free"
                };
                self.find(0, LogicalPage(number), detail.into());
            }
        }
    }
}

/// Map pages of a state.
pub(crate) fn count_map_pages(base: &Base) -> Result<u64> {
    let mut count = 0;
    for level in 1..=base.shape.height {
        let nodes = base
            .logical_pages
            .div_ceil(base.shape.spans[usize::from(level)]);
        for index in 0..nodes {
            count += u64::from(!base.entry(level, index)?.is_absent());
        }
    }
    Ok(count)
}
