//! Pages that a stream has written, taken into a transaction without a copy.

use super::PageTxn;
use crate::stream::{self, PageStream, StreamedPages};
use crate::{LogicalPage, Result};

impl PageTxn<'_> {
    /// Makes the pages of a stream the content of as many consecutive new logical pages, whose first is returned: those from
    /// `behind` on, when it is given and they are free, or else the lowest such run of numbers. Nothing is written or copied. They
    /// become part of the store at the commit; when there is none they are free again.
    ///
    /// # Errors
    /// [`Misuse`](crate::PageError::Misuse) when the stream has no page, or is another store's;
    /// [`TooManyPages`](crate::PageError::TooManyPages); I/O errors.
    pub fn adopt(
        &mut self,
        stream: PageStream,
        behind: Option<LogicalPage>,
    ) -> Result<LogicalPage> {
        self.store.check_stream(&stream)?;
        let pages = stream.pages();
        if pages == 0 {
            return Err(stream::misuse("it has no page".into()));
        }
        let first = match behind {
            Some(behind) if self.take_numbers(behind, pages)? => behind,
            _ => self.allocate_numbers(pages)?,
        };
        let (written, ahead) = stream.into_parts();
        for run in written.runs().chain([ahead]).filter(|run| !run.is_empty()) {
            self.writer.allocation.unreserve(run);
            self.from_streams.push(run);
        }
        self.free.physical.insert(ahead.first, ahead.pages);
        for run in written.runs() {
            self.forget_verified(run);
        }
        self.adopted.insert(first.0, written);
        self.refresh_view()?;
        Ok(first)
    }

    /// The run of adopted pages that a logical page is in, and its index there.
    pub(crate) fn adopted_page(&self, logical: u32) -> Option<(&StreamedPages, u32)> {
        let (&first, pages) = self.adopted.range(..=logical).next_back()?;
        (logical - first < pages.len()).then_some((pages, logical - first))
    }

    /// Puts the pages of the adopted run that a logical page is in with those that this transaction has placed, one by one.
    pub(super) fn unfold_adopted(&mut self, logical: u32) {
        if self.adopted_page(logical).is_none() {
            return;
        }
        if let Some((&first, _)) = self.adopted.range(..=logical).next_back()
            && let Some(pages) = self.adopted.remove(&first)
        {
            self.placed.extend((first..).zip(pages.into_entries()));
        }
    }
}
