//! Applying a delta: its pages go to free places, and one commit makes the state that they complete the present one.
//!
//! Absent on purpose: does not ask whether a place has its page's bytes already. After a sync that failed, the system may go on
//! showing bytes that it never wrote, and takes them for written.

use std::sync::Arc;

use super::header::{DeltaReader, Header};
use super::walk::{Receiver, Spot, walk};
use crate::free_runs::FreeRuns;
use crate::map::Entry;
use crate::map_walk::MapPages;
use crate::named::{self, Named, NamedList, visit_exclusive};
use crate::snapshot::{Base, Snapshot};
use crate::store::PageStore;
use crate::superblock::{RootEntries, Run};
use crate::txn::PageTxn;
use crate::{PageError, PhysicalPage, Result};

/// Bytes handed to one write call, at most.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// What applying a delta did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeltaApplied {
    /// The delta had been applied before: nothing was done.
    pub already: bool,
    /// Pages written, the frozen superblock among them.
    pub written: u32,
    /// Pages that another named snapshot has at their places.
    pub found: u32,
}

impl PageStore {
    /// Applies a delta: the state that it leads to is the present one afterwards, down to the page root, and saved under its
    /// name. The present state must have the page root that the delta leads on from, and the journal must hold nothing that is not in
    /// it. Atomic: after an error or a crash the state is as before, unless it happened at the very end, in or after the last commit:
    /// then it may be the later one. Applying the delta again is right in either: once it has been applied, that does nothing.
    ///
    /// # Errors
    /// [`PageError::Delta`] for a delta that is damaged or ends early; [`PageError::DeltaBase`] for one that leads on from another
    /// state; [`PageError::DeltaPlace`]; [`PageError::SnapshotExists`]; [`PageError::Misuse`] for another page size; those of
    /// [`PageTxn::commit`].
    pub fn apply_delta(&self, mut delta: DeltaReader<'_>) -> Result<DeltaApplied> {
        self.check_writable()?;
        let header = &delta.header;
        if header.info.page_size != self.page_size() {
            let (found, expected) = (self.page_size(), header.info.page_size);
            return Err(PageError::Misuse {
                what: "delta",
                detail: format!("of {expected:?}-byte pages, for a file with pages of {found:?}"),
            });
        }
        let (base, list) = self.named()?;
        if is_applied(&base, &list, header) {
            return Ok(DeltaApplied {
                already: true,
                ..DeltaApplied::default()
            });
        }
        check_base(&base, &list, header)?;
        // What it no longer needs must be free.
        drop((base, list));
        let applied = self.bring(&mut delta);
        if applied.is_err() {
            // What the file was lengthened by, if that can be. The first error is the one to report.
            let _ = self.cut_tail();
        }
        applied
    }

    /// Brings the pages of a delta that fits, and commits.
    fn bring(&self, delta: &mut DeltaReader<'_>) -> Result<DeltaApplied> {
        let header = &delta.header;
        self.make_way(header.end)?;
        let mut txn = self.begin()?;
        check_base(&txn.base, &txn.named, header)?;
        txn.set_drained(self.journal_mark().skip_one());
        txn.lengthen(header.end)?;
        txn.held = txn.held()?;
        let mut placing = Placing::new(&mut txn);
        walk(&mut delta.source, header, &mut placing)?;
        let run = Run {
            first: header.place,
            pages: 1,
        };
        placing.place(run, &header.frozen_page)?;
        let applied = placing.finish()?;
        drop(txn.turn_to(header)?);
        self.cut_tail()?;
        self.settle()?;
        Ok(applied)
    }

    /// Gives the journal's areas back, and moves the free record out of the places of a delta that ends with page `end`.
    fn make_way(&self, end: u32) -> Result<()> {
        let mut txn = self.begin()?;
        let areas = txn.writer.journal;
        let record = txn.writer.record;
        if self.journal_mark().sequence > txn.writer.drained {
            return Err(PageError::Misuse {
                what: "delta",
                detail: "the journal of the file holds writes that are not in its pages".into(),
            });
        }
        let in_the_way = |run: Run| !run.is_empty() && run.first < end;
        if !areas.into_iter().chain([record]).any(in_the_way) {
            return Ok(());
        }
        txn.set_drained(self.journal_mark());
        txn.set_journal_area(0, 0);
        txn.set_journal_area(1, 0);
        txn.lengthen(end)?;
        // They stay free in the new state, but not for what this commit writes.
        let mut freed = FreeRuns::default();
        let mut below = txn.free.physical.clone();
        below.truncate(end);
        for (first, pages) in below.iter() {
            let taken =
                txn.free.physical.take_exact(first, pages) && freed.try_insert(first, pages);
            assert!(taken, "a free run is taken as it is");
        }
        let base = Arc::clone(&txn.base);
        let root = RootEntries {
            physical: base.root_physical.iter().map(|place| place.get()).collect(),
            hash: base.root_hash.clone(),
        };
        txn.seal(root, &base.shape, base.roots, freed).map(|_| ())
    }
}

/// Whether a state is the one that a delta leads to, saved under its name.
fn is_applied(base: &Base, list: &NamedList, header: &Header) -> bool {
    let saved = list.find(&header.info.to_name);
    base.page_root() == header.info.to_root
        && saved.is_ok_and(|saved| saved.place == frozen_entry(header))
}

fn frozen_entry(header: &Header) -> Entry {
    Entry {
        physical: header.place,
        hash: *blake3::hash(&header.frozen_page).as_bytes(),
    }
}

fn check_base(base: &Base, list: &NamedList, header: &Header) -> Result<()> {
    let name = &header.info.to_name;
    if list.contains(name) {
        return Err(PageError::SnapshotExists { name: name.clone() });
    }
    let (expected, found) = (header.info.from_root, base.page_root());
    if expected == found {
        Ok(())
    } else {
        Err(PageError::DeltaBase { expected, found })
    }
}

/// Puts the pages of a delta at their places, some at a time.
struct Placing<'t, 's> {
    txn: &'t mut PageTxn<'s>,
    /// Pages to be written, and where they go.
    buffer: Vec<u8>,
    run: Run,
    applied: DeltaApplied,
}

impl<'t, 's> Placing<'t, 's> {
    fn new(txn: &'t mut PageTxn<'s>) -> Self {
        Self {
            txn,
            buffer: Vec::new(),
            run: Run::default(),
            applied: DeltaApplied::default(),
        }
    }

    fn place(&mut self, at: Run, page: &[u8]) -> Result<()> {
        if !self.txn.free.physical.take_exact(at.first, at.pages) {
            return Err(PageError::DeltaPlace {
                physical: PhysicalPage(at.first),
            });
        }
        self.txn.base.verified.remove(at.first);
        let joins = self.run.end() == u64::from(at.first);
        if !joins || self.buffer.len() + page.len() > WRITE_BYTES_MAX {
            self.flush()?;
            self.run = Run { pages: 0, ..at };
        }
        self.run.pages += at.pages;
        self.buffer.extend_from_slice(page);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let store = self.txn.store;
        let offset = u64::from(self.run.first) << store.page_size().shift();
        store.write(offset, &self.buffer)?;
        self.applied.written += self.run.pages;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<DeltaApplied> {
        self.flush()?;
        Ok(self.applied)
    }
}

impl Receiver for Placing<'_, '_> {
    fn has(&mut self, (level, index): Spot, entry: &Entry, _: Option<u32>) -> Result<bool> {
        Ok(self.txn.base.entry(level, index)? == *entry)
    }

    fn take(&mut self, (level, index): Spot, entry: &Entry, page: &[u8], _: u64) -> Result<()> {
        // Another named snapshot of the file may share it.
        for map in self.txn.held.maps() {
            if map.entry(level, index)? == *entry {
                self.applied.found += 1;
                return Ok(());
            }
        }
        let run = Run {
            first: entry.physical,
            pages: 1,
        };
        self.place(run, page)
    }
}

impl PageTxn<'_> {
    /// Makes the state whose pages a delta has brought the present one.
    fn turn_to(mut self, header: &Header) -> Result<Snapshot> {
        let view = self.store.view(self.free.physical_pages)?;
        let base = Arc::clone(&self.base);
        let state = Base::brought(&header.frozen, view, self.free.physical_pages, &base);
        let mut freed = FreeRuns::default();
        let others: Vec<&Base> = self.held.maps().chain([&state]).collect();
        visit_exclusive(&base, &others, &mut |_, _, entry| {
            self.release_unused(&mut freed, entry.physical)
        })?;
        self.free.logical = named::mapped(&state)?.complement(1, state.logical_pages);
        self.free.logical_pages = state.logical_pages;
        let name = &header.info.to_name;
        self.named.insert(Named::new(name, frozen_entry(header)));
        self.pass_sequence(header.frozen.sequence);
        let (root, roots) = (header.frozen.root.clone(), header.frozen.roots);
        self.seal(root, &state.shape, roots, freed)
    }
}
