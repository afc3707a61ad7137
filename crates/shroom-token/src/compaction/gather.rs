//! The first pass: page after page is emptied, and what it held goes to high numbers.
//!
//! * G1 Packs keep their bytes, but for references to blobs that moved. Pages of extents are not copied.
//! * G2 When it is done without disturbance no page has a number below the limit.

use shroom_page::LogicalPage;
use shroom_seg::{SegmentAddr, SegmentTxn, segment_data};

use super::buckets::Buckets;
use super::directory::DirectoryEdit;
use super::survey::{Item, Survey};
use crate::lookup::{open_pack, pack_error};
use crate::pack::blob_reference;
use crate::{Pack, Result, Stored, TokenId, TokenRoot};

/// What moving a directory leaf costs in which nothing else changed, in bytes of the map.
const LEAF_BYTES: usize = 8192;
/// What renumbering a page costs, in bytes of the map.
const RENUMBERED_BYTES: usize = 128;

/// The first pass under way.
#[derive(Debug)]
pub struct Gather {
    limit: LogicalPage,
    items: std::vec::IntoIter<Item>,
    rest: Option<LogicalPage>,
    buckets: Buckets,
    /// The free-space index has high numbers.
    index_moved: bool,
    /// Others may take low numbers again and again.
    disturbed: bool,
}

impl Gather {
    /// Empties the numbers below `limit`, of which `survey` says what is there.
    pub fn new(survey: Survey, limit: LogicalPage) -> Self {
        Self {
            limit,
            items: survey.items.into_iter(),
            rest: survey.rest,
            buckets: Buckets::new(survey.bounds),
            index_moved: false,
            disturbed: false,
        }
    }

    /// From which page on another survey is needed, once what the last one said is done.
    pub fn wants_survey(&self) -> Option<LogicalPage> {
        self.rest.filter(|_| self.items.len() == 0)
    }

    /// Goes on with another survey.
    pub fn surveyed(&mut self, survey: Survey) {
        self.items = survey.items.into_iter();
        self.rest = survey.rest;
    }

    /// Something else was committed since the last step.
    pub fn disturbed(&mut self) {
        self.buckets.close();
        self.disturbed = true;
    }

    /// The lowest page that is still to be emptied, as far as is known, and the first that need not be.
    pub fn progress(&self) -> (LogicalPage, LogicalPage) {
        let next = self.items.as_slice().first().map(|item| item.page);
        (next.or(self.rest).unwrap_or(self.limit), self.limit)
    }

    /// Moves some, until about `budget` bytes have changed, but at least one: the new root, and whether all is done.
    ///
    /// # Errors
    /// Corruption; errors of the layers below. After any error the transaction must be dropped, and this with it.
    pub fn step(
        &mut self,
        segments: &mut SegmentTxn<'_, '_>,
        root: &TokenRoot,
        budget: usize,
    ) -> Result<(TokenRoot, bool)> {
        segments.pages_mut().set_number_floor(self.limit)?;
        if !std::mem::replace(&mut self.index_moved, true) {
            segments.rehome_index()?;
        }
        let mut directory = DirectoryEdit::open(segments, root)?;
        let mut renumbered = 0;
        while let Some(item) = self.items.next() {
            match item.blob {
                false => self.move_pack(segments, &mut directory, item)?,
                true => renumbered += self.move_blob(segments, &mut directory, item)?,
            }
            if segments.dirty_bytes() + renumbered * RENUMBERED_BYTES >= budget {
                break;
            }
        }
        let leaves_moved = directory.evacuate(segments, self.limit, budget / LEAF_BYTES + 1)?;
        let root = directory.finish(segments, self.limit)?;
        let passed = self.items.len() == 0 && self.rest.is_none();
        let done = passed && (leaves_moved || self.disturbed);
        Ok((root, done))
    }

    fn move_pack(
        &mut self,
        segments: &mut SegmentTxn<'_, '_>,
        directory: &mut DirectoryEdit,
        item: Item,
    ) -> Result<()> {
        let addr = SegmentAddr::new(item.page, item.offset);
        let Some(mut found) = directory.find(segments, item.id)? else {
            return Ok(());
        };
        if found
            .entry()
            .is_none_or(|entry| entry.addr != addr || entry.id != item.id)
        {
            return Ok(());
        }
        let (pack, data) = open_pack(segments.pages(), addr, Some(item.id))?;
        // Slack must not add up.
        let last = pack.len() - 1;
        let end = pack.stored_at(last, data) + pack.stored(last).map_err(pack_error(addr))?.len();
        let data = data.get(..end).unwrap_or(data).to_vec();
        segments.free(addr)?;
        found.moved(self.buckets.place(segments, item.id, &data)?);
        Ok(())
    }

    /// Moves a blob, and has its pack refer to it there: the number of its pages.
    fn move_blob(
        &mut self,
        segments: &mut SegmentTxn<'_, '_>,
        directory: &mut DirectoryEdit,
        item: Item,
    ) -> Result<usize> {
        let old = SegmentAddr::new(item.page, item.offset);
        let Some(mut found) = directory.find(segments, item.id)? else {
            return Ok(0);
        };
        let Some(entry) = found.entry() else {
            return Ok(0);
        };
        let mut data = segment_data(segments.pages(), entry.addr)?.to_vec();
        let pack = Pack::parse(&data).map_err(pack_error(entry.addr))?;
        let Some(index) = pack.find(TokenId(item.id), None) else {
            return Ok(0);
        };
        let at = pack.stored_at(index, &data);
        let length = match pack.slot(index).map_err(pack_error(entry.addr))? {
            Stored::Blob { head, length } if head == old => length,
            _ => return Ok(0),
        };
        let blob = segments.blob_take(old, length)?;
        let place = |segments: &mut SegmentTxn<'_, '_>, last: &[u8]| {
            self.buckets.place(segments, item.id, last)
        };
        let head = segments.blob_put(&blob, place)?;
        let reference = blob_reference(head, length);
        if let Some(present) = data.get_mut(at..at + reference.len()) {
            present.copy_from_slice(&reference);
        }
        let addr = segments.replace(entry.addr, &data)?;
        if addr != entry.addr {
            found.moved(addr);
        }
        Ok(blob.pages.len())
    }
}
