//! Reading the pages of a delta in the order in which they must come, each proven by one before it.

use super::header::{DeltaReader, Header, Source, empty_root, flaw};
use super::{DeltaInfo, FRAME_HEADER_LEN};
use crate::free_runs::FreeRuns;
use crate::map::{self, Entry};
use crate::{PageError, Result};

/// Where an entry of the map is: its level and its index there.
pub(super) type Spot = (u8, u32);

/// Who takes the pages.
pub(super) trait Receiver {
    /// Whether the page of an entry is there already, with all that it leads to, so that it is not in the delta. `next` is the
    /// place of the page that comes next.
    fn has(&mut self, spot: Spot, entry: &Entry, next: Option<u32>) -> Result<bool>;

    /// Takes a page whose bytes have the entry's hash; `offset` is where it began.
    fn take(&mut self, spot: Spot, entry: &Entry, page: &[u8], offset: u64) -> Result<()>;
}

/// Reads all pages of a delta, to its end.
pub(super) fn walk(
    source: &mut Source<'_>,
    header: &Header,
    receiver: &mut dyn Receiver,
) -> Result<()> {
    let mut walk = Walk {
        left: header.info.pages,
        next: None,
        reach: header.place + 1,
        fanout: map::fanout(header.info.page_size),
        page_len: header.info.page_size.bytes(),
        source,
        header,
        receiver,
    };
    walk.advance()?;
    let root = &header.frozen.root;
    for (index, (&physical, &hash)) in (0..).zip(root.physical.iter().zip(&root.hash)) {
        let entry = Entry { physical, hash };
        walk.visit((header.frozen.map_height, index), entry)?;
    }
    if walk.next.is_some() {
        let detail = "more pages than its map leads to".into();
        return Err(flaw(walk.source.offset, detail));
    }
    if walk.reach != header.end {
        let detail = format!(
            "it reaches up to page {}, its head says {}",
            walk.reach, header.end
        );
        return Err(flaw(0, detail));
    }
    walk.source.finish()
}

struct Walk<'w, 'r> {
    source: &'w mut Source<'r>,
    header: &'w Header,
    receiver: &'w mut dyn Receiver,
    /// Pages that follow the next one.
    left: u32,
    /// Place of the page that comes next.
    next: Option<u32>,
    /// One more than the highest place so far.
    reach: u32,
    fanout: usize,
    page_len: usize,
}

impl Walk<'_, '_> {
    /// Reads the place of the page that comes next.
    fn advance(&mut self) -> Result<()> {
        self.next = None;
        if let Some(left) = self.left.checked_sub(1) {
            let mut place = [0; FRAME_HEADER_LEN];
            self.source.fill(&mut place)?;
            self.left = left;
            self.next = Some(u32::from_le_bytes(place));
        }
        Ok(())
    }

    fn visit(&mut self, (level, index): Spot, entry: Entry) -> Result<()> {
        let at = self.source.offset;
        if entry.is_absent() {
            return match entry == Entry::ABSENT {
                true => Ok(()),
                false => Err(flaw(at, "an absent entry of the map has a hash".into())),
            };
        }
        if self.receiver.has((level, index), &entry, self.next)? {
            return Ok(());
        }
        let page = self.page(&entry)?;
        let fits = match level.checked_sub(1) {
            None if (1..self.header.frozen.logical_pages).contains(&index) => Ok(()),
            None => Err(format!("logical page {index} is out of range")),
            Some(below) => map::check_node(&page, below, self.fanout),
        };
        fits.map_err(|detail| flaw(at, detail))?;
        self.receiver.take((level, index), &entry, &page, at)?;
        let Some(below) = level.checked_sub(1) else {
            return Ok(());
        };
        let Some(entries) = map::node_entries(&page, self.fanout) else {
            return Ok(()); // was checked above
        };
        for digit in 0..self.fanout {
            let entry = entries.get(digit);
            let child = index
                .checked_mul(self.fanout as u32)
                .and_then(|first| first.checked_add(digit as u32));
            match child {
                Some(child) => self.visit((below, child), entry)?,
                None if entry.is_absent() => {}
                None => return Err(flaw(at, "a page of the map leads beyond all pages".into())),
            }
        }
        Ok(())
    }

    /// The page that must come next.
    fn page(&mut self, entry: &Entry) -> Result<Vec<u8>> {
        let at = self.source.offset;
        let Some(place) = self.next else {
            let detail = format!("it ends, but page {} is still to come", entry.physical);
            return Err(flaw(at, detail));
        };
        if place != entry.physical || !(2..self.header.end).contains(&place) {
            let (wanted, end) = (entry.physical, self.header.end);
            let detail = format!("page {place}, expected page {wanted}, in 2..{end}");
            return Err(flaw(at, detail));
        }
        let mut page = vec![0; self.page_len];
        self.source.fill(&mut page)?;
        if *blake3::hash(&page).as_bytes() != entry.hash {
            return Err(flaw(at, format!("page {place} does not match its hash")));
        }
        self.reach = self.reach.max(place + 1);
        self.advance()?;
        Ok(page)
    }
}

/// Checks a delta without the state that it leads on from.
struct Unapplied {
    /// It leads on from nothing.
    complete: bool,
    seen: FreeRuns,
}

impl Receiver for Unapplied {
    fn has(&mut self, _: Spot, entry: &Entry, next: Option<u32>) -> Result<bool> {
        Ok(!self.complete && next != Some(entry.physical))
    }

    fn take(&mut self, _: Spot, entry: &Entry, _: &[u8], offset: u64) -> Result<()> {
        if self.seen.try_insert(entry.physical, 1) {
            return Ok(());
        }
        Err(flaw(offset, format!("page {} comes twice", entry.physical)))
    }
}

impl DeltaReader<'_> {
    /// Reads the delta to its end, and checks all that can be checked without the state that it leads on from: that each page
    /// in it has the hash, and the place, that the page root which it leads to asks for.
    ///
    /// # Errors
    /// [`PageError::Delta`](crate::PageError::Delta); I/O errors of the reader.
    pub fn check(mut self) -> Result<DeltaInfo> {
        let mut unapplied = Unapplied {
            complete: self.is_complete(),
            seen: FreeRuns::default(),
        };
        // The place of the frozen superblock is no page's.
        let _ = unapplied.seen.try_insert(self.header.place, 1);
        walk(&mut self.source, &self.header, &mut unapplied)?;
        Ok(self.header.info)
    }

    /// Whether it leads on from a store that holds nothing, as a new one.
    pub fn is_complete(&self) -> bool {
        self.check_complete().is_ok()
    }

    /// Checks that it leads on from a store that holds nothing.
    ///
    /// # Errors
    /// [`PageError::DeltaBase`].
    pub fn check_complete(&self) -> Result<()> {
        let (expected, found) = (self.info().from_root, empty_root(self.info().page_size));
        if expected == found {
            Ok(())
        } else {
            Err(PageError::DeltaBase { expected, found })
        }
    }
}
