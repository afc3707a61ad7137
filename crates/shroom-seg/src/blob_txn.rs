//! Writing blobs: create, append, overwrite, truncate, free; and blobs whose pages were written before (format §5).
//!
//! * W1 Appending costs the appended bytes: at most the tail and small last extents are written again, and each byte
//!   is written again O(log n) times however many appends build a blob.
//! * W2 The tier of an extent is the power of 4 of its pages. Appends let no tier rise along a blob, and at most 3 extents
//!   have the same, so they make at most 48. Pages that a stream has written are an extent of their own, unless their numbers can
//!   follow those before: whoever streams has to see to it that they are many.
//! * W3 Memory is bounded by the scratch buffer and the tail, whatever the length.
//!
//! Absent on purpose: does not remember a value's length; the caller does.

use shroom_page::{LogicalPage, PageRead, PageStream};

use crate::blob::Blob;
use crate::layout::{Extent, Plan, chain_data};
use crate::run_writer::{RunWriter, Source};
use crate::{Result, SegError, SegmentAddr, SegmentTxn};

/// Extents of this size are not rewritten to join them with what follows, when they can be extended instead.
const EXTEND_BYTES: u64 = 64 << 10;

/// Changed pages of an overwritten range that are kept in memory before they are written out, in bytes.
const OVERWRITTEN_BYTES_MAX: usize = 8 << 20;

/// Extents of one tier (powers of 4 pages) that a blob may have.
const TIER_EXTENTS_MAX: usize = 3;

/// A blob as an edit sees it: what its chain says, without the chain.
#[derive(Default)]
pub(crate) struct Editing {
    pub(crate) segments: Vec<SegmentAddr>,
    pub(crate) extents: Vec<Extent>,
    pub(crate) padding: u64,
    pub(crate) tail: Vec<u8>,
}

impl Editing {
    fn extent_pages(&self) -> u64 {
        let pages = self.extents.iter().map(|extent| u64::from(extent.pages));
        pages.sum()
    }
}

impl SegmentTxn<'_, '_> {
    /// Stores the concatenation of `parts` as a blob.
    ///
    /// # Errors
    /// [`SegError::Range`] when the length overflows; those of the page layer.
    pub fn blob_create(&mut self, parts: &[&[u8]]) -> Result<SegmentAddr> {
        let length = total(0, parts)?;
        self.store(Editing::default(), parts, length, length)
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
        let extent_pages = editing.extent_pages();
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

    /// Overwrites bytes of the blob of `length` bytes at `head`, from `offset` on. The head may move. Costs the pages touched.
    ///
    /// # Errors
    /// [`SegError::Range`] when the bytes end after the blob; corruption, when the blob is not one of `length` bytes.
    pub fn blob_write_at(
        &mut self,
        head: SegmentAddr,
        length: u64,
        offset: u64,
        mut bytes: &[u8],
    ) -> Result<SegmentAddr> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > length {
            return Err(SegError::Range {
                offset,
                end,
                length,
            });
        }
        let mut editing = self.edit(head, length)?;
        let page_bytes = self.page_bytes() as u64;
        let (mut at, mut start) = (offset, 0);
        for extent in &editing.extents {
            let extent_end = start + u64::from(extent.pages) * page_bytes;
            while at < extent_end && !bytes.is_empty() {
                let number = extent.first.0 + ((at - start) / page_bytes) as u32;
                let within = ((at - start) % page_bytes) as usize;
                let page = self.pages_mut().page_mut(LogicalPage(number))?;
                let (now, rest) = bytes.split_at(bytes.len().min(page.len() - within));
                page[within..within + now.len()].copy_from_slice(now);
                at += now.len() as u64;
                bytes = rest;
                if self.pages().dirty_bytes() >= OVERWRITTEN_BYTES_MAX {
                    self.pages_mut().spill()?;
                }
            }
            start = extent_end;
        }
        if bytes.is_empty() {
            return Ok(head);
        }
        let within = (at - start) as usize;
        editing.tail[within..within + bytes.len()].copy_from_slice(bytes);
        self.store_descriptor(&editing.segments, &editing.extents, &editing.tail)
    }

    /// Makes a blob of `length` bytes: the first `kept` of `old` (a head and a length), which must be whole pages of its extents;
    /// then the pages of `stream`; then `tail`. Without a tail the last page may be padded with zeros. The rest of `old` is
    /// freed.
    ///
    /// # Errors
    /// [`SegError::Range`] when the parts do not make `length` bytes so; corruption, when `old` is not as it should be; those of
    /// the page layer.
    pub fn blob_adopt(
        &mut self,
        old: Option<(SegmentAddr, u64)>,
        kept: u64,
        stream: PageStream,
        tail: &[u8],
        length: u64,
    ) -> Result<SegmentAddr> {
        let mut editing = match old {
            Some((head, length)) => self.edit(head, length)?,
            None => Editing::default(),
        };
        let page_bytes = self.page_bytes() as u64;
        let extent_pages = editing.extent_pages();
        let kept_pages = kept / page_bytes;
        let held = kept.saturating_add(u64::from(stream.pages()) * page_bytes);
        let fits = match tail.len() as u64 {
            0 => length <= held && held - length < page_bytes,
            tail => held.checked_add(tail) == Some(length),
        };
        if !fits || !kept.is_multiple_of(page_bytes) || kept_pages > extent_pages {
            return Err(SegError::Range {
                offset: kept,
                end: held.saturating_add(tail.len() as u64),
                length,
            });
        }
        self.drop_pages(&mut editing.extents, extent_pages - kept_pages)?;
        let pages = stream.pages();
        let behind = editing.extents.last().map(|last| last.end());
        let first = self.pages_mut().adopt(stream, behind)?;
        match editing.extents.last_mut() {
            Some(last) if last.end() == first => last.pages += pages,
            _ => editing.extents.push(Extent { first, pages }),
        }
        self.store_descriptor(&editing.segments, &editing.extents, tail)
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

    pub(crate) fn edit(&self, head: SegmentAddr, length: u64) -> Result<Editing> {
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
        self.store_descriptor(&editing.segments, &editing.extents, &tail)
    }

    /// Stores what names the extents, and the tail, in the place of the segments `old`.
    fn store_descriptor(
        &mut self,
        old: &[SegmentAddr],
        extents: &[Extent],
        tail: &[u8],
    ) -> Result<SegmentAddr> {
        let Some(data) = chain_data(extents, tail) else {
            let none = SegmentAddr::new(LogicalPage::NONE, 0);
            return Err(SegError::Blob {
                addr: old.first().copied().unwrap_or(none),
                detail: format!("{} extents", extents.len()),
            });
        };
        self.store_chain(old, &data)
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
