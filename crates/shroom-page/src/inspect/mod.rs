//! Looking at a store without changing it: what each page of the file is used for, and its structures in words.
//!
//! * I1 Nothing is written, and nothing is replayed into the file.
//! * I2 What is damaged is shown as far as it can be, and called damaged; only a store without a sound superblock cannot be looked at.
//! * I3 Each state's walk enters a physical page once, so that it ends whatever a malicious map says.
//!
//! Absent on purpose: does not know what a page of the layers above holds.

mod glance;
mod journal;
mod words;

use std::sync::Arc;

pub use self::glance::Glance;
pub use self::journal::{SeenFrame, SeenFrameState};
pub use self::words::explain_page_header;
use crate::map::Entry;
use crate::map_walk::MapPages;
use crate::recovery::{self, FreeRecord};
use crate::salvage::{DamagedStore, Survey};
use crate::snapshot::{Base, Snapshot};
use crate::storage::Storage;
use crate::superblock::Superblock;
use crate::{LogicalPage, PageError, PageSize, PhysicalPage, Result};

/// What a page of the file is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageUse {
    /// One of the two superblock slots.
    Superblock,
    /// A page of the page map.
    Map {
        /// Its level as an entry: the pages under it are of the level below.
        level: u8,
        /// Its index in that level.
        index: u32,
    },
    /// The content of a logical page.
    Content(LogicalPage),
    /// The free record.
    FreeRecord,
    /// A journal area, 0 or 1.
    Journal(u8),
    /// The frozen superblock of a named snapshot, by its index in [`StoreInspection::names`].
    Frozen(u32),
    /// Free.
    Free,
}

/// A page of the file, as one state of the store or the store itself uses it.
#[derive(Debug)]
#[non_exhaustive]
pub struct SeenPage {
    /// Where it lies.
    pub physical: PhysicalPage,
    /// What it is.
    pub page_use: PageUse,
    /// The named snapshot whose state has it, by its index in [`StoreInspection::names`]; `None`: the present state, or none.
    pub snapshot: Option<u32>,
    /// What is wrong with it.
    pub error: Option<PageError>,
}

/// A store that is looked at. Its file may be damaged anywhere but in both superblocks.
#[derive(Debug)]
pub struct StoreInspection {
    storage: Arc<dyn Storage>,
    store: DamagedStore,
    superblock: Superblock,
    record: Result<FreeRecord>,
}

impl StoreInspection {
    /// Finds the newest sound superblock, the journal's frames and the free record.
    ///
    /// # Errors
    /// Those of [`DamagedStore::open`].
    pub fn open(storage: Arc<dyn Storage>) -> Result<Self> {
        let store = DamagedStore::open(&*storage)?;
        let superblock = recovery::newest_superblock(&*storage)?.superblock;
        let record = match recovery::read_free_record(&*storage, &superblock) {
            // Beyond the end of a file that was cut.
            Err(error @ PageError::Io { .. }) if store.damage().is_empty() => return Err(error),
            record => record,
        };
        Ok(Self {
            storage,
            store,
            superblock,
            record,
        })
    }

    /// The present state. Reading a page that is damaged gives an error.
    pub fn snapshot(&self) -> &Snapshot {
        self.store.snapshot()
    }

    /// What is wrong with the superblock slots, the file's length, the journal and the free record.
    pub fn damage(&self) -> impl Iterator<Item = &PageError> {
        self.store.damage().iter().chain(self.record.as_ref().err())
    }

    /// Names of the named snapshots, ascending by their bytes; none where the free record is damaged.
    pub fn names(&self) -> Vec<String> {
        let record = self.record.iter();
        let named = record.flat_map(|record| record.named.iter());
        named.map(|named| named.name.to_string()).collect()
    }

    /// Size of a page.
    pub fn page_size(&self) -> PageSize {
        self.superblock.page_size
    }

    /// Pages of the file that are there. A file that was cut has fewer than its superblock says.
    pub fn pages(&self) -> u32 {
        self.base().physical_pages
    }

    /// Where a logical page of the present state lies; `None` where it is not allocated, or the map is damaged there.
    pub fn place_of(&self, page: LogicalPage) -> Option<PhysicalPage> {
        let entry = self.base().entry(0, page.0).ok()?;
        let inside = (2..self.pages()).contains(&entry.physical);
        inside.then_some(PhysicalPage(entry.physical))
    }

    /// The bytes of a page of the file, sound or not.
    pub fn bytes(&self, page: PhysicalPage) -> Option<&[u8]> {
        let size = self.page_size();
        let inside = page.0 < self.pages();
        let bytes = || {
            self.base()
                .view
                .slice(u64::from(page.0) << size.shift(), size.bytes())
        };
        inside.then(bytes).flatten()
    }

    /// Visits what uses each page of the file: each page of the present state, of each named snapshot, and of the store
    /// itself. A page that several states share is visited once for each of them; one that nothing uses is not visited, which is
    /// damage. Reads all pages once, to check their hashes.
    ///
    /// # Errors
    /// Those of the system; damage is in what is visited.
    pub fn visit(&self, visit: &mut dyn FnMut(SeenPage)) -> Result<()> {
        let pages = self.pages();
        let mut run = |first: u32, len: u32, page_use| {
            for physical in first..first.saturating_add(len).min(pages) {
                visit(seen(physical, page_use, None, None));
            }
        };
        run(0, 2, PageUse::Superblock);
        for (area, journal) in (0_u8..).zip(self.superblock.journal) {
            run(journal.first, journal.pages, PageUse::Journal(area));
        }
        if let Ok(record) = &self.record {
            run(record.run.first, record.run.pages, PageUse::FreeRecord);
            for (first, len) in record.physical.iter() {
                run(first, len, PageUse::Free);
            }
        }
        let present = self.base();
        visit_state(present, None, None, visit)?;
        let record = self.record.iter();
        for (index, named) in (0_u32..).zip(record.flat_map(|record| record.named.iter())) {
            let frozen = named.map_of(present);
            let (state, error) = match frozen {
                Ok(state) => (Some(state), None),
                Err(error) if error.is_corruption() => (None, Some(error)),
                Err(error) => return Err(error),
            };
            let physical = named.place.physical;
            visit(seen(physical, PageUse::Frozen(index), Some(index), error));
            if let Some(state) = state {
                visit_state(&state, Some(index), Some(present), visit)?;
            }
        }
        Ok(())
    }

    fn base(&self) -> &Base {
        &self.store.snapshot().base
    }
}

fn seen(
    physical: u32,
    page_use: PageUse,
    snapshot: Option<u32>,
    error: Option<PageError>,
) -> SeenPage {
    SeenPage {
        physical: PhysicalPage(physical),
        page_use,
        snapshot,
        error,
    }
}

/// Visits the pages of a state. `known` is one whose pages were checked before.
fn visit_state(
    state: &Base,
    snapshot: Option<u32>,
    known: Option<&Base>,
    visit: &mut dyn FnMut(SeenPage),
) -> Result<()> {
    let mut note = |level: u8, index: u32, entry: Entry, bytes: Result<&[u8]>| {
        let page_use = match level {
            0 => PageUse::Content(LogicalPage(index)),
            level => PageUse::Map { level, index },
        };
        // A page of the map may have been rebuilt; the one in the file is damaged all the same.
        let bytes = match level {
            0 => bytes,
            _ => bytes.and_then(|_| state.verify_entry(&entry, LogicalPage::NONE)),
        };
        let error = match bytes {
            Err(error) if !error.is_corruption() => return Err(error),
            bytes => bytes.err(),
        };
        visit(seen(entry.physical, page_use, snapshot, error));
        Ok(())
    };
    Survey::new(state, known, &mut note).run()
}
