//! Writing a delta: a walk over the later state's map, past all that the earlier one has at the same place.

use std::io::Write;
use std::sync::Arc;

use super::FRAME_HEADER_LEN;
use super::header::{DeltaInfo, Header, empty_root};
use crate::free_runs::FreeRuns;
use crate::map::Entry;
use crate::map_walk::MapPages;
use crate::named::{encode_frozen, reached_twice, visit_exclusive};
use crate::snapshot::{Base, Snapshot};
use crate::store::PageStore;
use crate::{LogicalPage, PageError, Result};

/// What one named snapshot has and another one has not, ready to be written. Holds both states.
#[derive(Debug)]
pub struct PageDelta {
    from: Option<Snapshot>,
    to: Snapshot,
    header: Header,
}

impl PageStore {
    /// The delta from one named snapshot to another, or from nothing. Costs a walk over what differs in their maps.
    ///
    /// # Errors
    /// [`PageError::NoSuchSnapshot`]; corruption of a map; I/O errors.
    pub fn delta(&self, from: Option<&str>, to: &str) -> Result<PageDelta> {
        let (base, list) = self.named()?;
        let open = |name: &str| {
            let superblock = list.find(name)?.superblock(&base)?;
            Ok::<_, PageError>(Snapshot {
                base: Arc::new(Base::frozen(superblock, &base, Some(Arc::clone(&base)))),
            })
        };
        let earlier = from.map(open).transpose()?;
        let later = open(to)?;
        let named = list.find(to)?;
        let page_size = self.page_size();
        let frozen = named.superblock(&base)?.clone();
        let place = named.place.physical;
        let (mut pages, mut end) = (0, place + 1);
        visit(&earlier, &later, &mut |_, entry| {
            pages += 1;
            end = end.max(entry.physical + 1);
            Ok(())
        })?;
        let names_len = from.map_or(0, str::len) + to.len();
        let info = DeltaInfo {
            from_name: from.map(Into::into),
            to_name: to.into(),
            from_root: match &earlier {
                Some(state) => state.page_root(),
                None => empty_root(page_size),
            },
            to_root: later.page_root(),
            page_size,
            pages,
            bytes: Header::delta_len(names_len, page_size, pages),
        };
        let header = Header {
            info,
            end,
            place,
            frozen_page: encode_frozen(&frozen),
            frozen,
        };
        Ok(PageDelta {
            from: earlier,
            to: later,
            header,
        })
    }
}

/// Visits each page that only the later state has, with its logical number (0 of a page of the map), in the order of the delta.
fn visit(
    earlier: &Option<Snapshot>,
    later: &Snapshot,
    visit: &mut dyn FnMut(LogicalPage, Entry) -> Result<()>,
) -> Result<()> {
    let others: Vec<&Base> = earlier.iter().map(|state| &*state.base).collect();
    let mut seen = FreeRuns::default();
    let state = &later.base;
    visit_exclusive(state, &others, &mut |level, index, entry| {
        let within = (2..state.physical_pages).contains(&entry.physical);
        if !within || !seen.try_insert(entry.physical, 1) {
            return Err(reached_twice(entry));
        }
        visit(LogicalPage(if level == 0 { index } else { 0 }), entry)
    })
}

impl PageDelta {
    /// What it says of itself.
    pub fn info(&self) -> &DeltaInfo {
        &self.header.info
    }

    /// Writes its bytes from `offset` on. Each page is checked against its hash before it is written; what lies before the offset is
    /// not read. What takes small calls badly should be buffered.
    ///
    /// # Errors
    /// [`PageError::Misuse`] for an offset beyond the end; corruption of the pages; I/O errors of the writer.
    pub fn write(&self, offset: u64, writer: &mut dyn Write) -> Result<()> {
        let bytes = self.header.info.bytes;
        if offset > bytes {
            return Err(PageError::Misuse {
                what: "offset",
                detail: format!("{offset}, in a delta of {bytes} bytes"),
            });
        }
        let mut target = Target {
            writer,
            skip: offset,
            offset: 0,
        };
        target.put(&self.header.encode())?;
        let frame_len = (FRAME_HEADER_LEN + self.header.info.page_size.bytes()) as u64;
        visit(&self.from, &self.to, &mut |logical, entry| {
            if target.passes(frame_len) {
                return Ok(());
            }
            let page = self.to.base.verify_entry(&entry, logical)?;
            target.put(&entry.physical.to_le_bytes())?;
            target.put(page)
        })
    }
}

/// Takes the bytes of a delta, and leaves those before an offset out.
struct Target<'w> {
    writer: &'w mut dyn Write,
    /// Offset of the first byte that is wanted.
    skip: u64,
    offset: u64,
}

impl Target<'_> {
    /// Goes past a part when none of it is wanted.
    fn passes(&mut self, len: u64) -> bool {
        let passes = self.offset + len <= self.skip;
        if passes {
            self.offset += len;
        }
        passes
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let unwanted = self
            .skip
            .saturating_sub(self.offset)
            .min(bytes.len() as u64);
        let wanted = &bytes[unwanted as usize..];
        self.writer
            .write_all(wanted)
            .map_err(PageError::io("write of a delta", self.offset + unwanted))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}
