//! Packs: many small tokens in the data of one segment. Implements format §7.
//!
//! * K1 Ids ascend strictly, so their offsets from `base` fit the last one's width.
//! * K2 A slot's bytes lie inside `values`; an end outside of it is corruption, found when the slot is read.
//! * K3 The encoding of a set of tokens is unique: widths and kind are the least that serve (bit 0 is set
//!   whenever all stored lengths are equal), so equal content gives equal bytes.
//!
//! Absent on purpose: knows no page and no segment; the bytes come from the caller.

mod encode;
mod flaw;
mod layout;
mod partial;
#[cfg(feature = "std")]
mod point;

use shroom_page::LogicalPage;
use shroom_seg::SegmentAddr;
use zerocopy::FromBytes;

pub(crate) use self::encode::PackShape;
#[cfg(feature = "std")]
pub(crate) use self::encode::{StoredToken, encode};
pub use self::flaw::PackFlaw;
pub(crate) use self::layout::PackHead;
#[cfg(feature = "std")]
pub(crate) use self::layout::structure;
use self::layout::{Layout, PackHeader, header_flaw};
pub(crate) use self::partial::{Found, PartialPack};
#[cfg(feature = "std")]
pub(crate) use self::point::Missing;
use crate::TokenId;
use crate::column::Column;

/// Bytes before a pack's columns, without the common length.
pub(crate) const PACK_HEADER_LEN: usize = 12;
/// Bytes of a blob reference: address and length.
pub(crate) const BLOB_REFERENCE_LEN: usize = SegmentAddr::LEN + 8;
/// Tokens that one pack can count.
pub(crate) const PACK_TOKENS_MAX: usize = u16::MAX as usize;
/// Zero bytes that may follow the values (format §5).
pub(crate) const SLACK_LEN_MAX: usize = 3;

const KIND_UNIFORM: u8 = 1;
const KIND_WIDE_ENDS: u8 = 2;
const KIND_BLOBS: u8 = 4;

/// The bits of `kind`, by the format's names.
#[cfg(feature = "std")]
pub(crate) const KINDS: [(&str, u64); 3] = [
    ("uniform", KIND_UNIFORM as u64),
    ("wide ends", KIND_WIDE_ENDS as u64),
    ("blobs", KIND_BLOBS as u64),
];

/// Longest value that is stored in its pack, in bytes, at a page size in bytes; longer ones are blobs.
pub fn inline_len_max(page_size: usize) -> usize {
    page_size / 4
}

/// A stored token: its bytes in the pack, or where they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored<'a> {
    /// The value itself.
    Inline(&'a [u8]),
    /// Where the value is.
    Blob {
        /// First segment of the blob.
        head: SegmentAddr,
        /// Length of the value, in bytes.
        length: u64,
    },
}

impl Stored<'_> {
    /// Length of the value, in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Blob { length, .. } => *length,
        }
    }

    /// True for a value of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where values end.
#[derive(Clone, Copy, Debug)]
enum Ends<'a> {
    Uniform(usize),
    Column(Column<'a>),
}

/// A view of a pack's bytes. Parsing reads the header only; [`Pack::check`] reads all.
#[derive(Clone, Copy, Debug)]
pub struct Pack<'a> {
    base: u64,
    /// Offsets of tokens 1.. from `base`; width 0 when ids are consecutive.
    ids: Column<'a>,
    id_width: u8,
    kind: u8,
    ends: Ends<'a>,
    /// Empty when no value is a blob.
    blobs: &'a [u8],
    /// The values and the slack.
    values: &'a [u8],
}

impl<'a> Pack<'a> {
    /// A pack over the data of its segment. O(1).
    #[inline]
    pub fn parse(data: &'a [u8]) -> Result<Self, PackFlaw> {
        Self::parse_sound(data).ok_or_else(|| header_flaw(data))
    }

    /// [`Pack::parse`], without saying what is wrong.
    #[inline]
    pub(crate) fn parse_sound(data: &'a [u8]) -> Option<Self> {
        let (header, body) = PackHeader::ref_from_prefix(data).ok()?;
        let head = PackHead::read(header, body);
        if !head.is_sound() {
            return None;
        }
        let layout = Layout::of(head);
        let count = usize::from(head.count);
        let values = body.get(layout.values_at..)?;
        let columns = |at, len, width| Column::new(body.get(at..).unwrap_or(&[]), len, width);
        // Where unequal values end is read with the slot that is asked for: one cache miss less.
        let ends = if head.is_uniform() {
            let length = usize::from(head.length);
            if values.len().checked_sub(count * length)? > SLACK_LEN_MAX {
                return None;
            }
            Ends::Uniform(length)
        } else {
            Ends::Column(columns(layout.ends_at, count, layout.end_width))
        };
        Some(Self {
            base: header.base.get(),
            ids: columns(layout.ids_at, count - 1, head.id_width.into()),
            id_width: head.id_width,
            kind: head.kind,
            ends,
            blobs: body.get(layout.blobs_at..layout.values_at)?,
            values,
        })
    }

    /// Number of tokens, at least 1.
    pub fn len(&self) -> usize {
        self.ids.len() + 1
    }

    /// What its header says.
    pub(crate) fn head(&self) -> PackHead {
        let length = match self.ends {
            Ends::Uniform(length) => length as u16,
            Ends::Column(_) => 0,
        };
        PackHead {
            count: self.len() as u16,
            id_width: self.id_width,
            kind: self.kind,
            length,
        }
    }

    /// Never true: a pack holds a token.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Id of token 0.
    pub fn first_id(&self) -> TokenId {
        TokenId(self.base)
    }

    /// Id of token `index`, below [`Pack::len`].
    #[inline]
    pub fn id(&self, index: usize) -> TokenId {
        let offset = match (index, self.id_width) {
            (0, _) => 0,
            (_, 0) => index as u64,
            _ => self.ids.get(index - 1),
        };
        TokenId(self.base.wrapping_add(offset))
    }

    /// How many tokens have an id of at most `id`. `next` is the first id after this pack, when known.
    #[inline]
    pub fn count_up_to(&self, id: TokenId, next: Option<TokenId>) -> usize {
        let Some(offset) = id.0.checked_sub(self.base) else {
            return 0;
        };
        if self.id_width == 0 {
            let last = self.ids.len();
            return usize::try_from(offset).map_or(last, |offset| offset.min(last)) + 1;
        }
        let span = next.and_then(|next| next.0.checked_sub(self.base));
        self.ids.count_up_to(offset, span) + 1
    }

    /// Index of the token `id`, if this pack holds it. `next` is the first id after this pack, when known.
    #[inline]
    pub(crate) fn find(&self, id: TokenId, next: Option<TokenId>) -> Option<usize> {
        let index = self.count_up_to(id, next).checked_sub(1)?;
        (self.id(index) == id).then_some(index)
    }

    /// The token `id`, if this pack holds it. `next` is the first id after this pack, when known.
    #[inline]
    pub fn get(&self, id: TokenId, next: Option<TokenId>) -> Result<Option<Stored<'a>>, PackFlaw> {
        self.find(id, next)
            .map(|index| self.slot(index))
            .transpose()
    }

    /// [`Pack::slot`], without saying what is wrong.
    #[inline]
    pub(crate) fn slot_sound(&self, index: usize) -> Option<Stored<'a>> {
        let (start, end) = self.span(index);
        let bytes = self.values.get(start..end)?;
        match self.is_blob(index) {
            false => Some(Stored::Inline(bytes)),
            true => read_blob_reference(bytes),
        }
    }

    /// Token `index`, below [`Pack::len`].
    #[inline]
    pub fn slot(&self, index: usize) -> Result<Stored<'a>, PackFlaw> {
        let bytes = self.stored(index)?;
        match self.is_blob(index) {
            false => Ok(Stored::Inline(bytes)),
            true => read_blob_reference(bytes).ok_or(PackFlaw::BlobReference {
                index,
                got: bytes.len(),
            }),
        }
    }

    /// Where the values of token `index` start, for [`Pack::slot_at`].
    pub(crate) fn start(&self, index: usize) -> usize {
        if index < self.len() {
            self.span(index).0
        } else {
            0
        }
    }

    /// [`Pack::slot`] of a token whose value starts at `start`, and where the next one's starts: what a walk through a pack reads.
    #[inline]
    pub(crate) fn slot_at(
        &self,
        index: usize,
        start: usize,
    ) -> Result<(Stored<'a>, usize), PackFlaw> {
        let end = match self.ends {
            Ends::Uniform(length) => start + length,
            Ends::Column(ends) => ends.get(index) as usize,
        };
        match self.values.get(start..end) {
            Some(bytes) if !self.is_blob(index) => Ok((Stored::Inline(bytes), end)),
            _ => self.slot(index).map(|stored| (stored, end)),
        }
    }

    /// Where token `index`'s stored bytes start, in bytes from the start of `data` as given to [`Pack::parse`].
    pub(crate) fn stored_at(&self, index: usize, data: &[u8]) -> usize {
        let (start, _) = self.span(index);
        data.len() - self.values.len() + start
    }

    /// The stored bytes of token `index`: its value, or its blob reference.
    #[inline]
    pub(crate) fn stored(&self, index: usize) -> Result<&'a [u8], PackFlaw> {
        let (start, end) = self.span(index);
        let limit = self.values.len();
        self.values.get(start..end).ok_or(PackFlaw::Span {
            index,
            start,
            end,
            limit,
        })
    }

    /// True when token `index` is stored as a blob reference.
    #[inline]
    pub(crate) fn is_blob(&self, index: usize) -> bool {
        self.blobs
            .get(index / 8)
            .is_some_and(|byte| byte >> (index % 8) & 1 != 0)
    }

    #[inline]
    fn span(&self, index: usize) -> (usize, usize) {
        match self.ends {
            Ends::Uniform(length) => (index * length, (index + 1) * length),
            Ends::Column(ends) => {
                let (start, end) = ends.pair(index);
                (start as usize, end as usize)
            }
        }
    }

    /// What follows the values.
    pub(crate) fn slack(&self) -> &'a [u8] {
        let (_, end) = self.span(self.len() - 1);
        self.values.get(end..).unwrap_or(&[])
    }

    /// Checks every entry: order, spans, widths, blob references, slack. O(len).
    pub fn check(&self, inline_len_max: usize) -> Result<(), PackFlaw> {
        let mut shape = PackShape::default();
        for index in 0..self.len() {
            let id = self.id(index);
            if index > 0 && id <= self.id(index - 1) {
                return Err(PackFlaw::Order {
                    index,
                    previous: self.id(index - 1),
                    got: id,
                });
            }
            let slot = self.slot(index)?;
            let blob = matches!(slot, Stored::Blob { .. });
            if blob != (slot.len() > inline_len_max as u64) {
                let length = slot.len();
                return Err(PackFlaw::InlineLimit {
                    index,
                    length,
                    limit: inline_len_max,
                });
            }
            shape = shape.with(id.0, self.stored(index)?.len(), blob);
        }
        for (field, expected, got) in [
            (
                "id width",
                shape.id_width() as u64,
                u64::from(self.id_width),
            ),
            ("kind", u64::from(shape.kind()), u64::from(self.kind)),
        ] {
            if expected != got {
                return Err(PackFlaw::Header {
                    field,
                    expected,
                    got,
                });
            }
        }
        let padding = self.blobs.last().is_some_and(|byte| match self.len() % 8 {
            0 => false,
            rest => byte >> rest != 0,
        });
        let slack = self.slack();
        if padding || slack.len() > SLACK_LEN_MAX || slack.iter().any(|byte| *byte != 0) {
            return Err(PackFlaw::Slack { got: slack.len() });
        }
        Ok(())
    }
}

/// The 14 bytes that stand for a blob in a pack.
pub(crate) fn blob_reference(head: SegmentAddr, length: u64) -> [u8; BLOB_REFERENCE_LEN] {
    let mut bytes = [0; BLOB_REFERENCE_LEN];
    if let Some((address, rest)) = bytes.split_first_chunk_mut() {
        *address = head.to_bytes();
        rest.copy_from_slice(&length.to_le_bytes());
    }
    bytes
}

/// The slot of a blob reference; `None` when it is not 14 bytes, or names no page.
fn read_blob_reference(bytes: &[u8]) -> Option<Stored<'static>> {
    let (address, rest) = bytes.split_first_chunk::<{ SegmentAddr::LEN }>()?;
    let head = SegmentAddr::from_bytes(*address);
    let length = u64::from_le_bytes(rest.try_into().ok()?);
    (head.page != LogicalPage::NONE).then_some(Stored::Blob { head, length })
}

#[cfg(test)]
mod tests;
