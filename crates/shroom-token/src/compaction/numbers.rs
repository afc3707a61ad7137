//! The numbers of the pages that the second pass begins, and the pages until they are put into the transaction.
//!
//! * N1 Numbers ascend, and each is free when it is given. Without disturbance they are 1, 2, ...

use std::collections::VecDeque;

use shroom_page::{LogicalPage, PageError, PageSize};
use shroom_seg::ImagePages;

/// Pages of an image in place.
#[derive(Debug)]
pub(super) struct Numbers {
    page_size: PageSize,
    /// Free numbers, ascending: first and how many.
    runs: VecDeque<(u32, u32)>,
    /// Pages written and not yet taken.
    written: Vec<(LogicalPage, Box<[u8]>)>,
}

impl Numbers {
    /// Gives numbers below `limit` of these runs.
    pub(super) fn new(
        page_size: PageSize,
        free: Vec<(LogicalPage, u32)>,
        limit: LogicalPage,
    ) -> Self {
        let below = free.into_iter().filter(|(first, _)| *first < limit);
        let runs = below.map(|(first, len)| (first.0, len.min(limit.0 - first.0)));
        Self {
            page_size,
            runs: runs.collect(),
            written: Vec::new(),
        }
    }

    /// Whether the numbers are all from 1 to below `limit`.
    pub(super) fn are_all(&self, limit: LogicalPage) -> bool {
        self.runs == [(1, limit.0 - 1)]
    }

    /// The longest run.
    pub(super) fn longest(&self) -> u64 {
        let runs = self.runs.iter().map(|&(_, len)| u64::from(len));
        runs.max().unwrap_or(0)
    }

    /// Begins consecutive pages: the first number.
    pub(super) fn begin_run(&mut self, pages: u32) -> shroom_page::Result<LogicalPage> {
        let run = self.runs.iter_mut().find(|(_, len)| *len >= pages);
        let (first, len) = run.ok_or_else(exhausted)?;
        let number = LogicalPage(*first);
        *first += pages;
        *len -= pages;
        self.runs.retain(|&(_, len)| len > 0);
        Ok(number)
    }

    /// The pages written since the last call.
    pub(super) fn take_written(&mut self) -> Vec<(LogicalPage, Box<[u8]>)> {
        std::mem::take(&mut self.written)
    }
}

impl ImagePages for Numbers {
    fn page_size(&self) -> PageSize {
        self.page_size
    }

    fn begin(&mut self) -> shroom_page::Result<LogicalPage> {
        self.begin_run(1)
    }

    fn write(&mut self, page: LogicalPage, bytes: &[u8]) -> shroom_page::Result<()> {
        self.written.push((page, bytes.into()));
        Ok(())
    }
}

#[cold]
fn exhausted() -> PageError {
    PageError::TooManyPages {
        limit: u32::MAX - 1,
    }
}
