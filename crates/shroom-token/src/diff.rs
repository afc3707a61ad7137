//! Which tokens may differ between two states: from the pages that differ to ranges of ids.
//!
//! * F1 A token that differs is in the ranges: its pack lies on a page that differs, in each state that has the token; or
//!   the pack is the same, and a page of its blob differs.
//! * F2 A page that differs is a page of the directory or of the free-space index, or its differing segments are packs
//!   whose ids are in the ranges, or belong to blobs of such packs. Whatever cannot be told so is looked for among all blobs.
//! * F3 What a page is, the directory says, never the page's own bytes: those of a value may look like anything.
//!
//! Absent on purpose: compares no values. Memory grows with the number of pages that differ.

use std::collections::{BTreeSet, HashSet};

use shroom_page::{LogicalPage, PageHeader, PageRead, PageType, Snapshot, diff_pages};
use shroom_seg::{LiveSegment, SegmentAddr, blob_places, index_pages, live_segments};

use crate::lookup::{locate, open_node};
use crate::node::Node;
use crate::{Pack, Result, Stored, TokenId, TokenRoot, range};

/// Where two states differ.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Changes {
    /// Ids, first and last, outside which no token differs: ascending, and apart from each other.
    pub ranges: Vec<(u64, u64)>,
    /// The logical pages that differ, ascending.
    pub pages: Vec<LogicalPage>,
    /// Pages of both states that were compared: those above, and pages of the map.
    pub pages_compared: u64,
    /// Whether a page could not be told by the packs that differ, so that all tokens were looked at for blobs.
    pub is_full_walk: bool,
}

impl Changes {
    /// Whether a page of the blob of `length` bytes at `head` differs.
    ///
    /// # Errors
    /// Corruption of the blob.
    pub fn touch(&self, pages: &Snapshot, head: SegmentAddr, length: u64) -> Result<bool> {
        let places = blob_places(pages, head, length)?;
        let touches = |first: LogicalPage, count: u32| {
            let at = self.pages.partition_point(|page| *page < first);
            let next = self.pages.get(at);
            next.is_some_and(|page| u64::from(page.0) < u64::from(first.0) + u64::from(count))
        };
        let mut segments = places.segments.iter();
        Ok(segments.any(|segment| touches(segment.page, 1))
            || places
                .extents
                .iter()
                .any(|&(first, count)| touches(first, count)))
    }
}

/// A state to be compared: its pages, its root, and the blobs in its pages that are no token's (head and length).
pub type Compared<'p> = (&'p Snapshot, &'p TokenRoot, &'p [(SegmentAddr, u64)]);

/// Finds the ids outside which two states have the same tokens. Costs what differs; and a walk over all tokens when a page
/// differs that no differing pack accounts for, as after a change inside a large value that keeps its length.
///
/// # Errors
/// Corruption of the pages read; states with pages of different sizes.
pub fn changes(before: Compared<'_>, after: Compared<'_>) -> Result<Changes> {
    let mut changes = Changes::default();
    let mut differences = diff_pages(before.0, after.0)?;
    for difference in differences.by_ref() {
        let difference = difference?;
        if let Some(page) = difference.logical() {
            changes.pages.push(page);
            let places = [difference.before, difference.after];
            changes.pages_compared += places.iter().flatten().count() as u64;
        }
    }
    changes.pages_compared += differences.map_pages();
    let sides = [before, after].map(|(pages, root, others)| Side {
        pages,
        root,
        others,
    });
    let mut search = Search {
        sides,
        ranges: Vec::new(),
        packs: Vec::new(),
        doubts: Vec::new(),
    };
    for &page in &changes.pages {
        search.page(page)?;
    }
    let doubts = search.settle_doubts()?;
    changes.is_full_walk = !doubts.is_empty();
    if changes.is_full_walk {
        search.walk_blobs(&doubts)?;
    }
    changes.ranges = merged(search.ranges);
    Ok(changes)
}

/// First page and number of pages of each extent.
type Extents = BTreeSet<(LogicalPage, u32)>;

/// A segment, and the pack that it is.
type Content<'p> = (LiveSegment<'p>, Option<Pack<'p>>);

/// One of the two states.
#[derive(Clone, Copy)]
struct Side<'p> {
    pages: &'p Snapshot,
    root: &'p TokenRoot,
    /// Blobs that are no token's.
    others: &'p [(SegmentAddr, u64)],
}

impl<'p> Side<'p> {
    /// The segments of a page, when it looks like a storage page; with the packs that they are.
    fn contents(&self, page: LogicalPage) -> Result<Option<Vec<Content<'p>>>> {
        if !self.pages.is_allocated(page)? {
            return Ok(None);
        }
        let Some(segments) = live_segments(page, self.pages.page(page)?) else {
            return Ok(None);
        };
        let contents = segments.into_iter().map(|segment| {
            let pack = self.pack(&segment)?;
            Ok((segment, pack))
        });
        contents.collect::<Result<_>>().map(Some)
    }

    /// The pack that a segment is, when the directory says so.
    fn pack(&self, segment: &LiveSegment<'p>) -> Result<Option<Pack<'p>>> {
        let Some(pack) = Pack::parse(segment.data)
            .ok()
            .filter(|_| segment.link.is_none())
        else {
            return Ok(None);
        };
        let place = locate(self.pages, self.root, pack.first_id())?;
        let key = Some(pack.first_id().0);
        let named = place.is_some_and(|place| {
            place.addr == segment.addr && (place.key.is_none() || place.key == key)
        });
        Ok(named.then_some(pack))
    }

    /// Whether the directory has this page.
    fn is_directory(&self, page: LogicalPage) -> Result<bool> {
        let bytes = self.pages.page(page)?;
        let header = PageHeader::read(bytes);
        let Some(header) = header.filter(|header| header.page_type == PageType::Index) else {
            return Ok(false);
        };
        let wanted = header.reserved[0];
        let Some(node) = Node::parse_sound(bytes, wanted) else {
            return Ok(false);
        };
        let id = node.id(0);
        let (mut at, mut key) = (self.root.addr.page, None);
        for level in (wanted..=self.root.level().unwrap_or(0)).rev() {
            if self.root.level().is_none() || level == wanted {
                break;
            }
            let above = open_node(self.pages, at, level, key)?;
            let Some(index) = above.find(id, None) else {
                return Ok(false);
            };
            let entry = above.entry(index);
            (at, key) = (entry.addr.page, Some(entry.id));
        }
        Ok(self.root.level().is_some_and(|level| wanted <= level) && at == page)
    }
}

/// A page of one side that the packs on it do not account for.
struct Doubt {
    side: usize,
    page: LogicalPage,
    /// The segments that must belong to known blobs; none: the page itself must.
    segments: Vec<SegmentAddr>,
}

struct Search<'p> {
    sides: [Side<'p>; 2],
    ranges: Vec<(u64, u64)>,
    /// The packs that differ, by side.
    packs: Vec<(usize, Pack<'p>)>,
    doubts: Vec<Doubt>,
}

impl<'p> Search<'p> {
    /// Compares a page that differs.
    fn page(&mut self, page: LogicalPage) -> Result<()> {
        let before = self.sides[0].contents(page)?;
        let after = self.sides[1].contents(page)?;
        let sides = [before.as_deref(), after.as_deref()];
        // On one side it is a storage page for certain. Should it be a raw page on the other, then the description of that
        // blob differs, elsewhere; so a segment that is the same on both sides is what it was.
        let is_storage = sides
            .iter()
            .flatten()
            .copied()
            .flatten()
            .any(|(_, pack)| pack.is_some());
        for side in 0..2 {
            let Some(own) = sides[side] else {
                if self.sides[side].pages.is_allocated(page)? {
                    self.doubt(side, page, Vec::new());
                }
                continue;
            };
            let others = sides[1 - side].unwrap_or_default();
            let mut unknown = Vec::new();
            for (segment, pack) in own {
                // In order of addresses, on both sides.
                let at = others
                    .binary_search_by_key(&segment.addr.offset, |(other, _)| other.addr.offset);
                let same = at
                    .ok()
                    .map(|at| &others[at])
                    .filter(|(other, _)| other == segment);
                match pack {
                    // The directories of both sides name it, with the same bytes.
                    Some(_) if same.is_some_and(|(_, other)| other.is_some()) => {}
                    Some(pack) => {
                        let last = pack.id(pack.len() - 1);
                        self.ranges.push((pack.first_id().0, last.0));
                        self.packs.push((side, *pack));
                    }
                    None if is_storage && same.is_some() => {}
                    None => unknown.push(segment.addr),
                }
            }
            if !is_storage || !unknown.is_empty() {
                self.doubt(side, page, unknown);
            }
        }
        Ok(())
    }

    fn doubt(&mut self, side: usize, page: LogicalPage, segments: Vec<SegmentAddr>) {
        self.doubts.push(Doubt {
            side,
            page,
            segments,
        });
    }

    /// The pages that neither the directory, nor the free-space index, nor a blob of a differing pack accounts for.
    fn settle_doubts(&mut self) -> Result<HashSet<LogicalPage>> {
        let mut left = HashSet::new();
        let doubts = std::mem::take(&mut self.doubts);
        for side in 0..2 {
            let here = self.sides[side];
            let mut doubts = doubts.iter().filter(|doubt| doubt.side == side).peekable();
            if doubts.peek().is_none() {
                continue;
            }
            let known: HashSet<_> = index_pages(here.pages, &here.pages.roots().seg)?
                .into_iter()
                .collect();
            let (segments, extents) = self.blobs(side)?;
            for doubt in doubts {
                let mut own = doubt.segments.iter();
                let chained = !doubt.segments.is_empty() && own.all(|addr| segments.contains(addr));
                let raw = extents
                    .range(..=(doubt.page, u32::MAX))
                    .next_back()
                    .is_some_and(|&(first, count)| doubt.page.0 - first.0 < count);
                let known = chained || raw || known.contains(&doubt.page);
                if !known && !here.is_directory(doubt.page)? {
                    left.insert(doubt.page);
                }
            }
        }
        Ok(left)
    }

    /// The segments and extents of the blobs of the differing packs of a side, and of those that are no token's.
    fn blobs(&self, side: usize) -> Result<(HashSet<SegmentAddr>, Extents)> {
        let (mut segments, mut extents) = (HashSet::new(), Extents::new());
        for &(head, length) in self.sides[side].others {
            let places = blob_places(self.sides[side].pages, head, length)?;
            segments.extend(places.segments);
            extents.extend(places.extents);
        }
        let packs = self.packs.iter().filter(|(of, _)| *of == side);
        for (_, pack) in packs {
            for index in 0..pack.len() {
                if let Ok(Stored::Blob { head, length }) = pack.slot(index) {
                    let places = blob_places(self.sides[side].pages, head, length)?;
                    segments.extend(places.segments);
                    extents.extend(places.extents);
                }
            }
        }
        Ok((segments, extents))
    }

    /// Adds each token whose blob has one of these pages.
    fn walk_blobs(&mut self, wanted: &HashSet<LogicalPage>) -> Result<()> {
        let mut sorted: Vec<LogicalPage> = wanted.iter().copied().collect();
        sorted.sort_unstable();
        let wanted = Changes {
            pages: sorted,
            ..Changes::default()
        };
        for side in self.sides {
            for token in range(side.pages, side.root, ..) {
                let (TokenId(id), stored) = token?;
                if let Stored::Blob { head, length } = stored
                    && wanted.touch(side.pages, head, length)?
                {
                    self.ranges.push((id, id));
                }
            }
        }
        Ok(())
    }
}

/// Sorts ranges, and joins those that overlap or follow each other.
fn merged(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let joins = next.0 <= last.1.saturating_add(1);
        if joins {
            last.1 = last.1.max(next.1);
        }
        joins
    });
    ranges
}

#[cfg(test)]
mod tests {
    #[test]
    fn ranges_that_touch_are_joined() {
        let ranges = vec![
            (7, 9),
            (1, 2),
            (3, 3),
            (8, 20),
            (u64::MAX, u64::MAX),
            (30, 40),
        ];
        let expected = [(1, 3), (7, 20), (30, 40), (u64::MAX, u64::MAX)];
        assert_eq!(super::merged(ranges), expected);
    }
}
