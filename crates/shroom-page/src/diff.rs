//! What differs between two states: a walk over both maps that passes over whatever they share.
//!
//! * F1 Two entries at the same place with the same page and hash lead to the same bytes, all the way down.
//! * F2 A walk ends, and gives no more than there are pages, whatever a damaged map says.
//!
//! Absent on purpose: does not look into the pages of the layers above.

use crate::map::Entry;
use crate::map_walk::MapPages;
use crate::snapshot::{Base, Snapshot};
use crate::{LogicalPage, PageError, PhysicalPage, Result};

/// A page that two states have differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageDifference {
    /// 0 for a logical page; else that of a page of the map, whose entries are of the level below.
    pub level: u8,
    /// The logical page; of a map page, its number among those of its level.
    pub index: u32,
    /// Where it lies in the first state, if it is there.
    pub before: Option<PhysicalPage>,
    /// Where it lies in the second state, if it is there.
    pub after: Option<PhysicalPage>,
}

impl PageDifference {
    /// The logical page that differs; `None` for a page of the map.
    pub fn logical(&self) -> Option<LogicalPage> {
        (self.level == 0).then_some(LogicalPage(self.index))
    }
}

/// The pages that differ between two states, those of the map included, in ascending order of what they hold or lead to;
/// a page of the map comes before those under it. Costs what differs, not what is there: a page is taken to be the same
/// when it lies at the same place with the same hash.
///
/// # Errors
/// [`PageError::Misuse`] when the states have pages of different sizes.
pub fn diff_pages<'s>(before: &'s Snapshot, after: &'s Snapshot) -> Result<PageDifferences<'s>> {
    let (before, after) = (&*before.base, &*after.base);
    if before.page_size != after.page_size {
        let detail = format!(
            "of {:?} and of {:?} bytes",
            before.page_size, after.page_size
        );
        return Err(PageError::Misuse {
            what: "states with pages of different sizes",
            detail,
        });
    }
    let level = before.shape.height.max(after.shape.height);
    let taller = [before, after]
        .into_iter()
        .filter(|state| state.shape.height == level);
    let roots = taller.map(|state| state.root_physical.len()).max();
    Ok(PageDifferences {
        before,
        after,
        stack: (0..roots.unwrap_or(0) as u32)
            .rev()
            .map(|index| (level, index))
            .collect(),
        left: u64::from(before.physical_pages) + u64::from(after.physical_pages),
        map_pages: 0,
    })
}

/// Iterator over the pages that differ, made by [`diff_pages`].
#[derive(Debug)]
pub struct PageDifferences<'s> {
    before: &'s Base,
    after: &'s Base,
    /// Places in the map still to be compared: level and index.
    stack: Vec<(u8, u32)>,
    /// Pages that may still be found.
    left: u64,
    map_pages: u64,
}

impl PageDifferences<'_> {
    /// Pages of the two maps read so far.
    pub fn map_pages(&self) -> u64 {
        self.map_pages
    }

    fn compare(&mut self, level: u8, index: u32) -> Result<Option<PageDifference>> {
        let (before, after) = (
            self.before.entry(level, index)?,
            self.after.entry(level, index)?,
        );
        // A map that is lower than this level has no page here, and may have some below.
        let spans = |state: &Base| level > state.shape.height && covers(state, level, index);
        let hidden = spans(self.before) || spans(self.after);
        // A damaged map may give an absent entry a hash.
        let same = before == after || (before.is_absent() && after.is_absent());
        if same && !hidden {
            return Ok(None);
        }
        if level > 0 {
            let fanout = self.before.fanout as u32;
            let children = (0..fanout).rev().filter_map(|digit| {
                let child = index.checked_mul(fanout)?.checked_add(digit)?;
                Some((level - 1, child))
            });
            self.stack.extend(children);
        }
        if same {
            return Ok(None);
        }
        let present = [before, after]
            .iter()
            .filter(|entry| !entry.is_absent())
            .count() as u64;
        self.left = self.left.checked_sub(present).ok_or(PageError::Corrupt {
            what: "page map",
            physical: PhysicalPage(before.physical.max(after.physical)),
            detail: "its pages are reached many times".into(),
        })?;
        if level > 0 {
            self.map_pages += present;
        }
        let place = |entry: Entry| (!entry.is_absent()).then_some(PhysicalPage(entry.physical));
        Ok(Some(PageDifference {
            level,
            index,
            before: place(before),
            after: place(after),
        }))
    }
}

/// Whether entry `index` of `level` is for numbers that the state has.
fn covers(state: &Base, level: u8, index: u32) -> bool {
    let span = (state.fanout as u64).checked_pow(level.into());
    let first = span.and_then(|span| span.checked_mul(index.into()));
    first.is_some_and(|first| first < state.logical_pages.into())
}

impl Iterator for PageDifferences<'_> {
    type Item = Result<PageDifference>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((level, index)) = self.stack.pop() {
            match self.compare(level, index) {
                Ok(None) => {}
                Ok(Some(difference)) => return Some(Ok(difference)),
                Err(error) => {
                    self.stack.clear();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
