//! One token of a pack whose header is known: what a lookup reads of it, and nothing else.
//!
//! Reading through a [`Pack`](super::Pack) would put the view together in memory first; here all that a lookup needs stays in
//! registers, and the lines of ids and ends load at the same time.
//!
//! Absent on purpose: says nothing of what is wrong; a lookup in the pages does.

use shroom_page::storage::prefetch;

use super::layout::{Layout, PackHead};
use super::{KIND_BLOBS, PACK_HEADER_LEN, Stored, read_blob_reference};
use crate::column::Column;

/// Bytes of a cache line; only speed depends on it.
const LINE_LEN: usize = 64;

/// Why [`PackHead::token`] gives no token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Missing {
    /// The pack does not hold it.
    Absent,
    /// The pack is not as it should be.
    Unsound,
}

impl PackHead {
    /// Where the values begin in a pack with this header.
    #[inline]
    pub(crate) fn columns_end(self) -> usize {
        PACK_HEADER_LEN + Layout::of(self).values_at
    }

    /// Whether it has a column of ids that is searched by halves.
    #[inline]
    pub(crate) fn is_short(self) -> bool {
        self.id_width != 0 && usize::from(self.count) <= Column::WINDOW_LEN
    }

    /// Token `id` of the pack with this header in `data`, whose first id is `base`. `next` is the first id after this
    /// pack, when known.
    #[inline(always)]
    pub(crate) fn token<'a>(
        self,
        data: &'a [u8],
        base: u64,
        next: Option<u64>,
        id: u64,
    ) -> Result<Stored<'a>, Missing> {
        let offset = id.checked_sub(base).ok_or(Missing::Absent)?;
        let body = data.get(PACK_HEADER_LEN..).ok_or(Missing::Unsound)?;
        let layout = Layout::of(self);
        let count = usize::from(self.count);
        let index = if self.id_width == 0 {
            usize::try_from(offset)
                .ok()
                .filter(|index| *index < count)
                .ok_or(Missing::Absent)?
        } else {
            self.search(
                body,
                &layout,
                next.and_then(|next| next.checked_sub(base)),
                offset,
            )?
        };
        let (start, end) = if self.is_uniform() {
            let length = usize::from(self.length);
            (index * length, (index + 1) * length)
        } else {
            let ends = body.get(layout.ends_at..).ok_or(Missing::Unsound)?;
            let (start, end) = Column::new(ends, count, layout.end_width).pair(index);
            (start as usize, end as usize)
        };
        let bytes = body
            .get(layout.values_at + start..layout.values_at + end)
            .ok_or(Missing::Unsound)?;
        if self.kind & KIND_BLOBS != 0 {
            let blobs = body.get(layout.blobs_at + index / 8);
            if blobs.is_some_and(|byte| byte >> (index % 8) & 1 != 0) {
                return read_blob_reference(bytes).ok_or(Missing::Unsound);
            }
        }
        Ok(Stored::Inline(bytes))
    }

    /// Index of the token whose id is `offset` above the first, in a pack with a column of ids.
    #[inline(always)]
    fn search(
        self,
        body: &[u8],
        layout: &Layout,
        span: Option<u64>,
        offset: u64,
    ) -> Result<usize, Missing> {
        let ids = body.get(layout.ids_at..).ok_or(Missing::Unsound)?;
        let ids = Column::new(ids, usize::from(self.count) - 1, self.id_width.into());
        let found = match ids.guess(offset, span) {
            Some(guess) => {
                self.touch(body, layout, guess);
                ids.count_near(offset, guess)
            }
            None => ids.count_up_to(offset, span),
        };
        let id = match found.checked_sub(1) {
            Some(before) => ids.get(before),
            None => 0,
        };
        if id == offset {
            Ok(found)
        } else {
            Err(Missing::Absent)
        }
    }

    /// Asks for the lines that come after the ids, where they would be if the guess were right: so they are on their way while the
    /// ids are searched. Ids that are uniform lie within a few places of the guess.
    #[inline(always)]
    fn touch(self, body: &[u8], layout: &Layout, guess: usize) {
        let (first, last) = if self.is_uniform() {
            let at = layout.values_at + guess * usize::from(self.length);
            (at.saturating_sub(LINE_LEN), at + LINE_LEN)
        } else {
            let at = layout.ends_at + guess * layout.end_width;
            (at, at)
        };
        let lines = body.get(first..=last.min(body.len().saturating_sub(1)));
        prefetch(lines.unwrap_or_default());
    }
}
