//! Where the first pass puts what it takes: near to what is near in ids.
//!
//! * B1 A page of the first pass holds segments of one bucket, a range of ids with about a 64th of the data. So the second
//!   pass, which goes by ids, leaves holes in the pages of one bucket at a time.
//! * B2 Of each bucket some pages are open. A segment goes where it leaves the least room; a page that is left with the least
//!   is closed for another.

use std::collections::BTreeSet;

use shroom_page::LogicalPage;
use shroom_seg::{SegmentAddr, SegmentTxn};

use crate::Result;

/// Ranges of ids.
pub(super) const BUCKETS: usize = 64;
/// Open pages of a bucket.
const OPEN_MAX: usize = 16;

/// The first ids of all buckets but the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds {
    starts: Vec<u64>,
    /// Bytes in the last bucket.
    bytes: usize,
}

impl Bounds {
    /// Counts a pack's tokens, of which `id` is the first; buckets have about `each` bytes.
    pub(super) fn count(&mut self, id: u64, bytes: usize, each: usize) {
        if self.bytes >= each {
            self.starts.push(id);
            self.bytes = 0;
        }
        self.bytes += bytes;
    }

    fn bucket(&self, id: u64) -> usize {
        self.starts.partition_point(|&start| start <= id)
    }
}

/// The open pages, by room and number.
#[derive(Debug)]
pub(super) struct Buckets {
    bounds: Bounds,
    open: Vec<BTreeSet<(usize, LogicalPage)>>,
}

impl Buckets {
    pub(super) fn new(bounds: Bounds) -> Self {
        let open = vec![BTreeSet::new(); bounds.starts.len() + 1];
        Self { bounds, open }
    }

    /// Closes all pages: something else may have been put there.
    pub(super) fn close(&mut self) {
        self.open.iter_mut().for_each(BTreeSet::clear);
    }

    /// Stores a segment of the token `id`, or of the pack that begins with it.
    pub(super) fn place(
        &mut self,
        segments: &mut SegmentTxn<'_, '_>,
        id: u64,
        data: &[u8],
    ) -> Result<SegmentAddr> {
        let open = &mut self.open[self.bounds.bucket(id)];
        let tightest = (data.len(), LogicalPage::NONE);
        let found = open.range(tightest..).next().copied();
        let mut placed = None;
        if let Some(at) = found {
            open.remove(&at);
            placed = segments.allocate_in(at.1, data)?;
        }
        let addr = match placed {
            Some(addr) => addr,
            None => segments.allocate_fresh(data)?,
        };
        let room = segments.room_in(addr.page)?;
        if room > 0 {
            open.insert((room, addr.page));
        }
        if open.len() > OPEN_MAX {
            open.pop_first();
        }
        Ok(addr)
    }
}
