//! The second pass: the canonical image, written in the order of ids to the low numbers.
//!
//! * H1 After each step the directory holds the leaves that are full, then one with the packs that no leaf holds yet and a
//!   pack of the tokens that no pack holds yet, then what is still to come. The image in memory goes on from there.
//! * H2 Pages of the directory above the leaves get their numbers as in the image, and are written at the end; until then others
//!   stand in.
//! * H3 After a disturbance the image is begun anew behind what is done. Tokens that come behind the last id that there was at the
//!   beginning are left as they are, so the pass ends.

use shroom_page::{LogicalPage, PageHeader, PageRead, PageType};
use shroom_seg::{SegmentAddr, SegmentTxn, WINDOW_PAGES, segment_data};

use super::directory::DirectoryEdit;
use super::numbers::Numbers;
use crate::canonical::CanonicalImage;
use crate::lookup::{open_node, pack_error};
use crate::merge::checked_token;
use crate::node::Entry;
use crate::{Pack, Result, Stored, TokenError, TokenId, TokenRoot, inline_len_max};

/// Packs that a step takes at least: more than a disturbance takes back.
const PACKS_MIN: usize = 4;
/// What renumbering a page costs, in bytes of the map.
const RENUMBERED_BYTES: usize = 128;
/// Kind of a directory page above the leaves.
const KIND_NODE: u8 = 4;

/// The second pass under way.
#[derive(Debug)]
pub struct Home {
    limit: LogicalPage,
    /// None before the first step and after a disturbance.
    image: Option<CanonicalImage<Numbers>>,
    /// Where the tokens are that are in no pack of the image yet.
    parked: Option<SegmentAddr>,
    /// The first id that is not in a full leaf.
    cut: u64,
    /// The first id that is in no pack of the image.
    next: u64,
    /// The highest id that there was at the beginning.
    last: u64,
    tokens: u64,
    /// Directory pages above the leaves.
    late: Vec<(LogicalPage, Box<[u8]>)>,
    /// Nothing has disturbed it: the result is the image.
    exact: bool,
}

impl Home {
    /// For the tokens with ids up to `last`; pages get numbers below `limit`.
    pub fn new(limit: LogicalPage, last: TokenId) -> Self {
        Self {
            limit,
            image: None,
            parked: None,
            cut: 0,
            next: 0,
            last: last.0,
            tokens: 0,
            late: Vec::new(),
            exact: true,
        }
    }

    /// Something else was committed since the last step.
    pub fn disturbed(&mut self) {
        self.exact = false;
        self.image = None;
        self.parked = None;
        self.late.clear();
        // The packs of the open leaf are as good as any: going back to its start might be for ever.
        self.cut = self.next;
    }

    /// Whether nothing has disturbed it.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Tokens that were taken into the image; after a disturbance some count twice.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Writes some, until about `budget` bytes have changed: the new root, and whether only [`finish`](Self::finish) is left.
    ///
    /// # Errors
    /// Corruption; errors of the layers below. After any error the transaction must be dropped, and this with it.
    pub fn step(
        &mut self,
        segments: &mut SegmentTxn<'_, '_>,
        root: &TokenRoot,
        budget: usize,
    ) -> Result<(TokenRoot, bool)> {
        let mut work = self.begin(segments, root)?;
        let mut packs = 0;
        let mut done = false;
        loop {
            let Some(entry) = work
                .directory
                .peek(segments)?
                .filter(|entry| entry.id <= self.last)
            else {
                done = true;
                break;
            };
            if packs >= PACKS_MIN
                && segments.dirty_bytes() + work.renumbered * RENUMBERED_BYTES >= budget
            {
                break;
            }
            if !work.take_pack(segments, entry)? {
                self.exact = false;
                done = true;
                break;
            }
            packs += 1;
            work.write_out(segments)?;
        }
        work.write_out(segments)?;
        let mut open = work.image.open_entries().to_vec();
        let waiting = work.image.waiting();
        let parked = waiting.as_ref().map(|(id, _)| *id);
        if let Some((id, pack)) = waiting {
            let addr = segments.allocate_fresh(&pack)?;
            self.parked = Some(addr);
            open.push(Entry { id, addr });
        }
        for (page, bytes) in work.image.segments().take_changed() {
            segments.store_page(page, &bytes)?;
        }
        let next = work.directory.peek(segments)?.map(|entry| entry.id);
        self.tokens += work.tokens;
        self.next = parked.or(next).unwrap_or(u64::MAX);
        self.cut = open
            .first()
            .map(|entry| entry.id)
            .or(next)
            .unwrap_or(u64::MAX);
        work.directory.push_entries(open);
        let Work {
            image,
            directory,
            late,
            ..
        } = work;
        self.image = Some(image);
        self.late.extend(late);
        Ok((directory.finish(segments, self.limit)?, done))
    }

    /// Writes the end of the image, the upper pages of the directory and the free-space index: the new root.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn finish(
        mut self,
        segments: &mut SegmentTxn<'_, '_>,
        root: &TokenRoot,
    ) -> Result<TokenRoot> {
        let mut work = self.begin(segments, root)?;
        let exact = self.exact && work.directory.is_passed();
        let mut new = *root;
        if exact {
            new = work.image.finish_directory()?;
        } else {
            work.image.finish_packs()?;
        }
        work.image.segments().write_held()?;
        work.write_out(segments)?;
        let Work {
            image,
            mut directory,
            late,
            ..
        } = work;
        segments.pages_mut().set_number_floor(LogicalPage(1))?;
        if exact {
            for (what, expected, got) in [
                ("tokens", root.tokens, new.tokens),
                ("payload bytes", root.payload, new.payload),
            ] {
                if expected != got {
                    return Err(TokenError::Totals {
                        what,
                        expected,
                        got,
                    });
                }
            }
            directory.free_nodes(segments)?;
            for (page, bytes) in self.late.iter().chain(&late) {
                write_new(segments, *page, bytes)?;
            }
        } else {
            directory.push_entries(image.open_entries().to_vec());
            new = directory.finish(segments, LogicalPage(1))?;
        }
        segments.rehome_index()?;
        Ok(new)
    }

    /// Goes to where the last step ended; what is in memory is taken out of the directory.
    fn begin(&mut self, segments: &mut SegmentTxn<'_, '_>, root: &TokenRoot) -> Result<Work> {
        segments.pages_mut().set_number_floor(self.limit)?;
        let mut directory = DirectoryEdit::open(segments, root)?;
        let image = match self.image.take() {
            Some(image) => {
                directory.split(segments, self.cut)?;
                for _ in image.open_entries() {
                    directory.take(segments)?;
                }
                if let Some(parked) = self.parked.take() {
                    directory.take(segments)?;
                    segments.free(parked)?;
                }
                image
            }
            None => {
                // A pack that begins before holds tokens from here on, perhaps.
                let found = directory.find(segments, self.cut)?;
                let cut = found
                    .and_then(|found| found.entry())
                    .map_or(0, |entry| entry.id);
                directory.split(segments, cut)?;
                let free = segments.pages().free_numbers();
                let numbers = Numbers::new(segments.pages().page_size(), free, self.limit);
                self.exact &= cut == 0 || directory.is_first(cut);
                self.exact &= numbers.are_all(self.limit);
                CanonicalImage::new(numbers)
            }
        };
        Ok(Work {
            image,
            directory,
            late: Vec::new(),
            renumbered: 0,
            tokens: 0,
        })
    }
}

/// A step under way.
struct Work {
    image: CanonicalImage<Numbers>,
    directory: DirectoryEdit,
    late: Vec<(LogicalPage, Box<[u8]>)>,
    /// Pages that got another number.
    renumbered: usize,
    tokens: u64,
}

impl Work {
    /// Moves the tokens of the first pack behind into the image; false when there are no numbers for them.
    fn take_pack(&mut self, segments: &mut SegmentTxn<'_, '_>, entry: Entry) -> Result<bool> {
        let inline = inline_len_max(segments.pages().page_size().bytes());
        let data = segment_data(segments.pages(), entry.addr)?.to_vec();
        let pack = Pack::parse(&data).map_err(pack_error(entry.addr))?;
        let mut wanted = 4 + WINDOW_PAGES as u64;
        for index in (0..pack.len()).filter(|&index| pack.is_blob(index)) {
            let length = pack.slot(index).map_err(pack_error(entry.addr))?.len();
            wanted += 1 + u64::from(self.image.segments().blob_plan(length)?.0);
        }
        if wanted > self.image.segments().pages().longest() {
            return Ok(false);
        }
        for index in 0..pack.len() {
            let bytes = checked_token(&pack, index, inline).map_err(pack_error(entry.addr))?;
            let id = pack.id(index);
            match pack.slot(index).map_err(pack_error(entry.addr))? {
                Stored::Inline(_) => self.image.push(id, bytes)?,
                Stored::Blob { head, length } => self.take_blob(segments, id, head, length)?,
            }
        }
        self.tokens += pack.len() as u64;
        segments.free(entry.addr)?;
        self.directory.take(segments)?;
        Ok(true)
    }

    /// Moves a blob into the image. Pages that hold what the image's do are only renumbered.
    fn take_blob(
        &mut self,
        segments: &mut SegmentTxn<'_, '_>,
        id: TokenId,
        head: SegmentAddr,
        length: u64,
    ) -> Result<()> {
        let blob = segments.blob_take(head, length)?;
        let (pages, tail_len) = self.image.segments().blob_plan(length)?;
        let page_len = segments.pages().page_size().bytes();
        let mut first = LogicalPage::NONE;
        if pages > 0 {
            first = self.image.segments().pages_mut().begin_run(pages)?;
        }
        let kept = blob.pages.len().min(pages as usize);
        let (same, rest) = blob.pages.split_at(kept);
        // What of the value is behind the pages that stay: other pages, and the tail.
        let behind = length.saturating_sub(kept as u64 * page_len as u64) as usize;
        let mut bytes = Vec::with_capacity(behind);
        for &page in rest {
            bytes.extend_from_slice(segments.pages().page(page)?);
            segments.pages_mut().free(page)?;
        }
        bytes.truncate(behind);
        bytes.extend_from_slice(&blob.tail);
        for (&page, number) in same.iter().zip(first.0..) {
            segments.pages_mut().renumber(page, LogicalPage(number))?;
        }
        self.renumbered += kept;
        let (whole, tail) = bytes.split_at(bytes.len().saturating_sub(tail_len));
        for (bytes, number) in whole.chunks(page_len).zip(first.0 + kept as u32..) {
            write_new(segments, LogicalPage(number), bytes)?;
        }
        let head = self.image.segments().blob_behind(first, pages, tail)?;
        self.image.push_blob(id, head, length)
    }

    /// Puts the pages that the image has written into the transaction.
    fn write_out(&mut self, segments: &mut SegmentTxn<'_, '_>) -> Result<()> {
        for (page, bytes) in self.image.segments().pages_mut().take_written() {
            let header = PageHeader::read(&bytes);
            match header.filter(|header| header.page_type == PageType::Index) {
                None => segments.store_page(page, &bytes)?,
                Some(header) if header.kind == KIND_NODE => self.late.push((page, bytes)),
                Some(_) => {
                    write_new(segments, page, &bytes)?;
                    let id = open_node(segments.pages(), page, 0, None)?.id(0);
                    self.directory.push_leaf(id, page);
                }
            }
        }
        Ok(())
    }
}

/// Makes a new page with a number that was begun, and zeros behind the bytes.
fn write_new(segments: &mut SegmentTxn<'_, '_>, page: LogicalPage, bytes: &[u8]) -> Result<()> {
    segments.pages_mut().allocate_at(page)?;
    let new = segments.pages_mut().page_mut(page)?;
    new[..bytes.len()].copy_from_slice(bytes);
    Ok(())
}
