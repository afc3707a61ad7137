//! The tokens that survive, in order of ids: those of the packs, with the journal's changes over them.
//!
//! * T1 The bytes given from the pages are never more than the pages there are: a forged file that names the same bytes many times
//!   cannot make the new database grow without end.

use std::borrow::Cow;
use std::iter::Peekable;
use std::sync::Arc;

use shroom_page::{LogicalPage, PageRead};
use shroom_seg::{SegmentAddr, blob_slice, blob_to_vec, segment_data};
use shroom_token::{Pack, Span, Stored, TokenError};

use super::report::{Loss, SalvageReport};
use super::source::{Source, misplaced, span_loss};
use crate::error::Result;
use crate::overlay::{Change, Grown};

type Changes<'s> = Box<dyn Iterator<Item = (u64, &'s Change)> + 's>;

/// Iterator over what survives.
pub(super) struct Tokens<'s> {
    source: &'s Source,
    unproven: bool,
    spans: std::slice::Iter<'s, Span>,
    pack: Option<Cursor<'s>>,
    changes: Peekable<Changes<'s>>,
    report: SalvageReport,
    /// Tokens found in packs.
    found: u64,
    /// Bytes that values from the pages may still have.
    budget: u64,
    failed: Option<crate::Error>,
}

/// A place in a pack.
struct Cursor<'s> {
    pack: Pack<'s>,
    addr: SegmentAddr,
    index: usize,
}

impl<'s> Tokens<'s> {
    pub(super) fn new(source: &'s Source, unproven: bool) -> Self {
        let pages = source
            .pages
            .physical_pages()
            .min(source.pages.logical_pages());
        let changes: Changes<'s> = Box::new(source.overlay.range(0, u64::MAX));
        Self {
            source,
            unproven,
            spans: source.survivors.spans.iter(),
            pack: None,
            changes: changes.peekable(),
            report: source.report.clone(),
            found: 0,
            budget: u64::from(pages) * source.pages.page_size().bytes() as u64,
            failed: None,
        }
    }

    /// The report, once all tokens were given.
    pub(super) fn finish(mut self) -> Result<SalvageReport> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut losses = std::mem::take(&mut self.report.lost);
        losses.sort_by_key(|loss| (loss.first, loss.last));
        for loss in &losses {
            self.source.lose(&mut self.report.lost, loss);
        }
        self.report.missing = self
            .source
            .tokens
            .map(|tokens| tokens.saturating_sub(self.found));
        Ok(self.report)
    }

    /// Id of the next token in a pack, if there is one more.
    fn peek_stored(&mut self) -> Result<Option<u64>> {
        loop {
            if let Some(cursor) = self.pack.as_ref().filter(|at| at.index < at.pack.len()) {
                return Ok(Some(cursor.pack.id(cursor.index).0));
            }
            let Some(span) = self.spans.next() else {
                return Ok(None);
            };
            self.pack = self.enter(span)?;
        }
    }

    fn enter(&mut self, span: &'s Span) -> Result<Option<Cursor<'s>>> {
        match span {
            Span::Lost {
                first,
                last,
                page,
                error,
            } => {
                let loss = span_loss((*first, *last), *page, error);
                self.report.lost.push(loss);
                Ok(None)
            }
            &Span::Pack {
                addr,
                first,
                last,
                proven,
            } => {
                if !proven && !self.unproven {
                    let error = Arc::new(TokenError::Unproven { addr });
                    let loss = span_loss((first, last), addr.page, &error);
                    self.report.lost.push(loss);
                    return Ok(None);
                }
                if !proven {
                    self.report.unproven.push((first.0, last.0));
                }
                let data = segment_data(&self.source.pages, addr)?;
                let pack = Pack::parse(data).map_err(|flaw| TokenError::Pack { addr, flaw })?;
                Ok(Some(Cursor {
                    pack,
                    addr,
                    index: 0,
                }))
            }
        }
    }

    /// The token under the cursor, as it is stored, and its pack's page.
    fn take_stored(&mut self) -> Result<Option<(Stored<'s>, LogicalPage)>> {
        let Some(cursor) = &mut self.pack else {
            return Ok(None);
        };
        let addr = cursor.addr;
        let stored = cursor.pack.slot(cursor.index);
        cursor.index += 1;
        self.found += 1;
        let stored = stored.map_err(|flaw| TokenError::Pack { addr, flaw })?;
        Ok(Some((stored, addr.page)))
    }

    /// The value's bytes; `None`, with the loss noted, when they are not sound.
    fn read(
        &mut self,
        id: u64,
        stored: Stored<'s>,
        page: LogicalPage,
    ) -> Result<Option<Cow<'s, [u8]>>> {
        let Some(rest) = self.budget.checked_sub(stored.len()) else {
            let mut loss = misplaced(id, 0, None);
            (loss.page, loss.reason) = (page, "the values have more bytes than the pages".into());
            self.report.lost.push(loss);
            return Ok(None);
        };
        let pages = &self.source.pages;
        let read = match stored {
            Stored::Inline(bytes) => Ok(Cow::Borrowed(bytes)),
            Stored::Blob { head, length } => match blob_slice(pages, head, length) {
                Ok(Some(bytes)) => Ok(Cow::Borrowed(bytes)),
                Ok(None) => blob_to_vec(pages, head, length).map(Cow::Owned),
                Err(error) => Err(error),
            },
        };
        match read.map_err(TokenError::from) {
            Ok(bytes) => {
                self.budget = rest;
                Ok(Some(bytes))
            }
            Err(error) if error.is_corruption() => {
                self.report.lost.push(Loss::new((id, id), page, &error));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a value together that the journal appended to.
    fn grow(
        &mut self,
        id: u64,
        stored: Option<(Stored<'s>, LogicalPage)>,
        grown: &Grown,
    ) -> Result<Option<Cow<'s, [u8]>>> {
        let below = match stored {
            _ if grown.kept == 0 => Some(Cow::Borrowed(&[][..])),
            Some((stored, page)) => self.read(id, stored, page)?,
            // Within a range that is lost it is reported there.
            None if self.source.may_have_lost(id) => None,
            None => {
                self.report.lost.push(misplaced(id, grown.kept, None));
                None
            }
        };
        let Some(below) = below else { return Ok(None) };
        let kept = usize::try_from(grown.kept).ok();
        let Some(kept) = kept.and_then(|kept| below.get(..kept)) else {
            let loss = misplaced(id, grown.kept, Some(below.len() as u64));
            self.report.lost.push(loss);
            return Ok(None);
        };
        let mut bytes = kept.to_vec();
        for piece in grown.pieces() {
            bytes.extend_from_slice(piece);
        }
        Ok(Some(Cow::Owned(bytes)))
    }

    fn advance(&mut self) -> Result<Option<(u64, Cow<'s, [u8]>)>> {
        loop {
            let stored_id = self.peek_stored()?;
            let change_id = self.changes.peek().map(|&(id, _)| id);
            let Some(id) = stored_id.into_iter().chain(change_id).min() else {
                return Ok(None);
            };
            let stored = match stored_id == Some(id) {
                true => self.take_stored()?,
                false => None,
            };
            let change = self.changes.next_if(|&(at, _)| at == id);
            let bytes = match (change.map(|(_, change)| change), stored) {
                (Some(Change::Deleted), _) | (None, None) => None,
                (Some(Change::Value(bytes)), _) => Some(Cow::Borrowed(&**bytes)),
                (Some(Change::Grown(grown)), stored) => self.grow(id, stored, grown)?,
                (None, Some((stored, page))) => self.read(id, stored, page)?,
            };
            if let Some(bytes) = bytes {
                self.report.tokens += 1;
                self.report.payload_bytes += bytes.len() as u64;
                return Ok(Some((id, bytes)));
            }
        }
    }
}

impl<'s> Iterator for Tokens<'s> {
    type Item = (u64, Cow<'s, [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed.is_some() {
            return None;
        }
        match self.advance() {
            Ok(token) => token,
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
}
