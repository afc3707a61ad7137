//! A pack of which a proof holds some parts.
//!
//! * K4 What it answers follows from the pack's bytes alone, whether or not ids ascend: they are searched by halves.

use core::ops::Range;

use shroom_page::PartialRead;
use shroom_seg::{SegmentAddr, segment_span};
use zerocopy::FromBytes;

use super::layout::{Layout, PackHead, PackHeader, flaw_of};
use super::{
    BLOB_REFERENCE_LEN, KIND_BLOBS, PACK_HEADER_LEN, PackFlaw, SLACK_LEN_MAX, read_blob_reference,
};
use crate::proof::{count_where, number_at};
use crate::{Result, Stored, TokenError, TokenId};

/// Where a token's value is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// In these bytes of the pack's page.
    Inline(Range<usize>),
    /// In a blob.
    Blob {
        /// First segment of the blob.
        head: SegmentAddr,
        /// Length of the value, in bytes.
        length: u64,
    },
}

/// A pack that is read token by token.
pub(crate) struct PartialPack<'p, R> {
    pages: &'p R,
    addr: SegmentAddr,
    base: u64,
    head: PackHead,
    layout: Layout,
    /// Where in its page the bytes behind the header begin, and how many there are.
    body_at: usize,
    body_len: usize,
}

impl<'p, R: PartialRead> PartialPack<'p, R> {
    /// The pack at `addr`. Reads its header only.
    pub(crate) fn open(pages: &'p R, addr: SegmentAddr) -> Result<Self> {
        let span = segment_span(pages, addr)?;
        let flawed = |flaw| TokenError::Pack { addr, flaw };
        let Some(body_len) = span.len().checked_sub(PACK_HEADER_LEN) else {
            let (expected, got) = (PACK_HEADER_LEN, span.len());
            return Err(flawed(PackFlaw::Short { expected, got }));
        };
        let body_at = span.start + PACK_HEADER_LEN;
        let bytes: [u8; PACK_HEADER_LEN] = pages.array(addr.page, span.start)?;
        let header = PackHeader::read_from_bytes(&bytes).map_err(|_| {
            let (expected, got) = (PACK_HEADER_LEN, span.len());
            flawed(PackFlaw::Short { expected, got })
        })?;
        let mut head = PackHead::read(&header, &[]);
        let layout = Layout::of(head);
        let values_len = body_len.checked_sub(layout.values_at);
        let Some(values_len) = values_len.filter(|_| head.is_sound()) else {
            return Err(flawed(flaw_of(head, span.len())));
        };
        if head.is_uniform() {
            head.length = u16::from_le_bytes(pages.array(addr.page, body_at)?);
            let used = usize::from(head.count) * usize::from(head.length);
            let slack = values_len.checked_sub(used);
            if slack.is_none_or(|slack| slack > SLACK_LEN_MAX) {
                return Err(flawed(flaw_of(head, span.len())));
            }
        }
        Ok(Self {
            pages,
            addr,
            base: header.base.get(),
            head,
            layout,
            body_at,
            body_len,
        })
    }

    /// Id of token 0.
    pub(crate) fn first_id(&self) -> TokenId {
        TokenId(self.base)
    }

    /// Where the token `id` is, if this pack holds it.
    pub(crate) fn get(&self, id: TokenId) -> Result<Option<Found>> {
        match self.find(id)? {
            Some(index) => self.slot(index).map(Some),
            None => Ok(None),
        }
    }

    fn find(&self, id: TokenId) -> Result<Option<usize>> {
        let Some(offset) = id.0.checked_sub(self.base) else {
            return Ok(None);
        };
        let others = usize::from(self.head.count) - 1; // sound: not 0
        if self.head.id_width == 0 {
            let index = usize::try_from(offset).ok();
            return Ok(index.filter(|index| *index <= others));
        }
        let index = count_where(others, |index| Ok(self.id_offset(index)? <= offset))?;
        let found = match index.checked_sub(1) {
            None => offset == 0,
            Some(other) => self.id_offset(other)? == offset,
        };
        Ok(found.then_some(index))
    }

    /// Difference of the id of token `index + 1` to that of the first.
    fn id_offset(&self, index: usize) -> Result<u64> {
        self.number(self.layout.ids_at, index, self.head.id_width.into())
    }

    /// Value `index` of the column at `column` behind the header.
    fn number(&self, column: usize, index: usize, width: usize) -> Result<u64> {
        let at = self.body_at + column + index * width;
        number_at(self.pages, self.addr.page, at, width)
    }

    fn slot(&self, index: usize) -> Result<Found> {
        let (start, end) = match self.head.is_uniform() {
            true => {
                let length = usize::from(self.head.length);
                (index * length, (index + 1) * length)
            }
            false => {
                let end_at = |index| self.number(self.layout.ends_at, index, self.layout.end_width);
                let start = match index.checked_sub(1) {
                    None => 0,
                    Some(before) => end_at(before)?,
                };
                (start as usize, end_at(index)? as usize)
            }
        };
        let flawed = |flaw| TokenError::Pack {
            addr: self.addr,
            flaw,
        };
        let limit = self.body_len - self.layout.values_at;
        if start > end || end > limit {
            return Err(flawed(PackFlaw::Span {
                index,
                start,
                end,
                limit,
            }));
        }
        let values_at = self.body_at + self.layout.values_at;
        let span = values_at + start..values_at + end;
        if !self.is_blob(index)? {
            return Ok(Found::Inline(span));
        }
        let got = span.len();
        let malformed = || flawed(PackFlaw::BlobReference { index, got });
        if got != BLOB_REFERENCE_LEN {
            return Err(malformed());
        }
        let bytes: [u8; BLOB_REFERENCE_LEN] = self.pages.array(self.addr.page, span.start)?;
        match read_blob_reference(&bytes) {
            Some(Stored::Blob { head, length }) => Ok(Found::Blob { head, length }),
            _ => Err(malformed()),
        }
    }

    fn is_blob(&self, index: usize) -> Result<bool> {
        if self.head.kind & KIND_BLOBS == 0 {
            return Ok(false);
        }
        let byte = self.number(self.layout.blobs_at, index / 8, 1)?;
        Ok(byte >> (index % 8) & 1 != 0)
    }
}
