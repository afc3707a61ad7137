//! Checking a store: the walk over its map, and all that lies beside it.

use super::{PageReport, Walk};
use crate::free_runs::FreeRuns;
use crate::map_walk::MapPages;
use crate::named::{Named, NamedList};
use crate::recovery::{self, FreeRecord};
use crate::snapshot::Base;
use crate::store::PageStore;
use crate::superblock::Run;
use crate::{LogicalPage, PageError, PhysicalPage, Result};

impl PageStore {
    /// Checks every page of the last committed state against its hash, and that each page of the file is exactly one of:
    /// superblock, map page, content of one logical page, free record, journal, or free. A page may be shared with
    /// named snapshots, at the same place of their maps; theirs are checked as well.
    ///
    /// # Errors
    /// I/O errors. What is wrong with the bytes is in the report.
    pub fn verify(&self) -> Result<PageReport> {
        let base = self.snapshot().base;
        let mut walk = Walk::new(&*base);
        walk.visit_all(&base);
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
    fn check_slots(&self, walk: &mut Walk<'_, Base>) -> Result<()> {
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

impl Walk<'_, Base> {
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
        self.visit_all(&state);
        self.walked.push(state);
        Ok(())
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
