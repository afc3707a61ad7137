//! Writing blobs: create, append, truncate, free (format §5).
//!
//! * W1 Appending costs the appended bytes: at most the tail and small last extents are written again, and each byte
//!   is written again O(log n) times however many appends build a blob.
//! * W2 The tier of an extent is the power of 4 of its pages. Tiers never rise along a blob, and at most 3 extents
//!   have the same, so there are at most 48.
//! * W3 Memory is bounded by the scratch buffer and the tail, whatever the length.
//!
//! Absent on purpose: does not remember a value's length; the caller does.

use shroom_page::{LogicalPage, PageRead};

use crate::blob::Blob;
use crate::layout::{Extent, Plan, chain_data};
use crate::run_writer::{RunWriter, Source};
use crate::{Result, SegError, SegmentAddr, SegmentTxn};

/// Extents of this size are not rewritten to join them with what follows, when they can be extended instead.
const EXTEND_BYTES: u64 = 64 << 10;

/// Extents of one tier (powers of 4 pages) that a blob may have.
const TIER_EXTENTS_MAX: usize = 3;

/// A blob as an edit sees it: what its chain says, without the chain.
struct Editing {
    segments: Vec<SegmentAddr>,
    extents: Vec<Extent>,
    padding: u64,
    tail: Vec<u8>,
}

impl SegmentTxn<'_, '_> {
    /// Stores the concatenation of `parts` as a blob.
    ///
    /// # Errors
    /// [`SegError::Range`] when the length overflows; those of the page layer.
    pub fn blob_create(&mut self, parts: &[&[u8]]) -> Result<SegmentAddr> {
        let length = total(0, parts)?;
        let editing = Editing {
            segments: Vec::new(),
            extents: Vec::new(),
            padding: 0,
            tail: Vec::new(),
        };
        self.store(editing, parts, length, length)
    }

    /// Appends `parts` to the blob of `length` bytes at `head`. The head may move.
    ///
    /// # Errors
    /// As [`blob_create`](Self::blob_create); corruption, when the blob is not one of `length` bytes.
    pub fn blob_append(
        &mut self,
        head: SegmentAddr,
        length: u64,
        parts: &[&[u8]],
    ) -> Result<SegmentAddr> {
        let new_length = total(length, parts)?;
        let mut editing = self.edit(head, length)?;
        if new_length == length {
            return Ok(head);
        }
        if editing.padding > 0 {
            let filled = self.page_bytes() - editing.padding as usize;
            self.last_page_to_tail(&mut editing, filled)?;
        }
        let loose = editing.tail.len() as u64 + (new_length - length);
        self.store(editing, parts, loose, new_length)
    }

    /// Cuts the blob of `length` bytes at `head` to its first `new_length`. The head may move.
    ///
    /// # Errors
    /// [`SegError::Range`] when `new_length` is above `length`; corruption, when the blob is not one of `length` bytes.
    pub fn blob_truncate(
        &mut self,
        head: SegmentAddr,
        length: u64,
        new_length: u64,
    ) -> Result<SegmentAddr> {
        if new_length > length {
            return Err(SegError::Range {
                offset: 0,
                end: new_length,
                length,
            });
        }
        let mut editing = self.edit(head, length)?;
        if new_length == length {
            return Ok(head);
        }
        let page_bytes = self.page_bytes() as u64;
        let extent_pages: u64 = editing
            .extents
            .iter()
            .map(|extent| u64::from(extent.pages))
            .sum();
        let held = extent_pages * page_bytes;
        if new_length >= held {
            editing.tail.truncate((new_length - held) as usize);
        } else {
            editing.tail.clear();
            self.drop_pages(
                &mut editing.extents,
                extent_pages - new_length.div_ceil(page_bytes),
            )?;
            let filled = (new_length % page_bytes) as usize;
            if filled > 0 {
                self.last_page_to_tail(&mut editing, filled)?;
            }
        }
        let loose = editing.tail.len() as u64;
        self.store(editing, &[], loose, new_length)
    }

    /// Frees the blob of `length` bytes at `head`.
    ///
    /// # Errors
    /// Corruption, when the blob is not one of `length` bytes.
    pub fn blob_free(&mut self, head: SegmentAddr, length: u64) -> Result<()> {
        let editing = self.edit(head, length)?;
        for extent in editing.extents {
            self.free_pages(extent)?;
        }
        for addr in editing.segments {
            self.free(addr)?;
        }
        Ok(())
    }

    fn edit(&self, head: SegmentAddr, length: u64) -> Result<Editing> {
        let mut blob = Blob::open_recording(self.pages(), head, length)?;
        let mut tail = Vec::new();
        let mut left = blob.tail_bytes;
        while left > 0 {
            let piece = blob.chain.take(left)?;
            tail.extend_from_slice(piece);
            left -= piece.len() as u64;
        }
        blob.chain.end()?;
        let Blob {
            extents,
            padding,
            chain,
            ..
        } = blob;
        Ok(Editing {
            segments: chain.into_visited(),
            extents,
            padding,
            tail,
        })
    }

    /// Stores a blob whose last `loose` bytes (its tail, then `parts`) are not in extents yet.
    fn store(
        &mut self,
        mut editing: Editing,
        parts: &[&[u8]],
        loose: u64,
        length: u64,
    ) -> Result<SegmentAddr> {
        let plan = Plan::new(self.page_bytes(), editing.extents.len(), loose, length);
        let mut source = Source::new(&editing.tail, parts);
        if plan.pages > 0 {
            let bytes = loose - plan.tail;
            self.push_pages(&mut editing.extents, plan.pages, &mut source, bytes)?;
        }
        let mut tail = Vec::with_capacity(plan.tail as usize);
        while let Some(piece) = source.take(u64::MAX) {
            tail.extend_from_slice(piece);
        }
        debug_assert_eq!(tail.len() as u64, plan.tail);
        let Some(data) = chain_data(&editing.extents, &tail) else {
            let addr = editing
                .segments
                .first()
                .copied()
                .unwrap_or(SegmentAddr::new(LogicalPage::NONE, 0));
            return Err(SegError::Blob {
                addr,
                detail: format!("{} extents", editing.extents.len()),
            });
        };
        self.store_chain(&editing.segments, &data)
    }

    /// Takes the last page off the extents; its first `filled` bytes become the tail.
    fn last_page_to_tail(&mut self, editing: &mut Editing, filled: usize) -> Result<()> {
        let Some(last) = editing.extents.last() else {
            return Ok(());
        };
        let page = self.pages().page(LogicalPage(last.end().0 - 1))?;
        editing.tail.splice(0..0, page.iter().copied().take(filled));
        editing.padding = 0;
        self.drop_pages(&mut editing.extents, 1)
    }

    /// Frees the last `pages` pages of the extents.
    fn drop_pages(&mut self, extents: &mut Vec<Extent>, mut pages: u64) -> Result<()> {
        while pages > 0 {
            let Some(last) = extents.last_mut() else {
                break;
            };
            let dropped = u64::from(last.pages).min(pages) as u32;
            last.pages -= dropped;
            pages -= u64::from(dropped);
            let freed = Extent {
                first: last.end(),
                pages: dropped,
            };
            if last.pages == 0 {
                extents.pop();
            }
            self.free_pages(freed)?;
        }
        Ok(())
    }

    fn free_pages(&mut self, extent: Extent) -> Result<()> {
        extent
            .page_numbers()
            .try_for_each(|page| Ok(self.pages_mut().free(page)?))
    }

    /// Adds `pages` pages with the next `bytes` of `source`, padded with zeros. Last extents that are small beside
    /// them are written again into the same run.
    fn push_pages(
        &mut self,
        extents: &mut Vec<Extent>,
        pages: u64,
        source: &mut Source<'_>,
        bytes: u64,
    ) -> Result<()> {
        let page_bytes = self.page_bytes();
        let is_large = |pages: u64| pages * page_bytes as u64 >= EXTEND_BYTES;
        let mut pages = count(pages)?;
        let mut absorbed = Vec::new();
        let mut extend_tried = false;
        while let Some(last) = extents.last().copied() {
            if !extend_tried && is_large(last.pages.into()) && is_large(pages.into()) {
                extend_tried = true;
                let joined = last.pages.checked_add(pages);
                if let Some(joined) = joined
                    && self.pages_mut().extend_run(last.end(), pages)?
                {
                    extents.pop();
                    extents.push(Extent {
                        first: last.first,
                        pages: joined,
                    });
                    return self.write_pages(
                        Extent {
                            first: last.end(),
                            pages,
                        },
                        &absorbed,
                        source,
                        bytes,
                    );
                }
            }
            let absorb = trailing(extents, pages);
            if absorb == 0 {
                break;
            }
            let of_tier = extents.split_off(extents.len() - absorb);
            pages = count(
                of_tier
                    .iter()
                    .fold(pages.into(), |sum, extent| sum + u64::from(extent.pages)),
            )?;
            absorbed.splice(0..0, of_tier);
        }
        let first = self.pages_mut().allocate_run(pages)?;
        let run = Extent { first, pages };
        extents.push(run);
        self.write_pages(run, &absorbed, source, bytes)
    }

    /// Writes the allocated pages `run`: the pages of `absorbed`, which are freed, then bytes of `source`.
    fn write_pages(
        &mut self,
        run: Extent,
        absorbed: &[Extent],
        source: &mut Source<'_>,
        mut bytes: u64,
    ) -> Result<()> {
        let mut writer = RunWriter::new(self.page_bytes(), run);
        let txn = self.pages_mut();
        for page in absorbed.iter().flat_map(|extent| extent.page_numbers()) {
            writer.copy(txn, page)?;
        }
        while let Some(piece) = source.take(bytes) {
            writer.write(txn, piece)?;
            bytes -= piece.len() as u64;
        }
        writer.finish(txn)?;
        absorbed
            .iter()
            .try_for_each(|&extent| self.free_pages(extent))
    }
}

/// How many of the last extents a new one of `pages` pages is to absorb, now, so that W2 holds: those of lower
/// tiers, or else those of its own when it would be one too many.
fn trailing(extents: &[Extent], pages: u32) -> usize {
    let tier = |pages: u32| pages.max(1).ilog2() / 2;
    let last = |below: u32| {
        extents
            .iter()
            .rev()
            .take_while(|extent| tier(extent.pages) < below)
            .count()
    };
    let (lower, same) = (last(tier(pages)), last(tier(pages) + 1));
    match lower {
        0 if same < TIER_EXTENTS_MAX => 0,
        0 => same,
        lower => lower,
    }
}

/// Length of a value with `parts` appended.
fn total(length: u64, parts: &[&[u8]]) -> Result<u64> {
    let end = parts
        .iter()
        .try_fold(length, |sum, part| sum.checked_add(part.len() as u64));
    end.ok_or(SegError::Range {
        offset: length,
        end: u64::MAX,
        length: u64::MAX,
    })
}

/// A page count that the format can hold.
fn count(pages: u64) -> Result<u32> {
    let limit = u64::from(u32::MAX);
    u32::try_from(pages).map_err(|_| SegError::Range {
        offset: 0,
        end: pages,
        length: limit,
    })
}
