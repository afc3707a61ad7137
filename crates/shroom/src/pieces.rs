//! A value as the layers of a state hold it, lent piece by piece without putting them together: in memory that does not grow
//! with the value.
//!
//! * V1 The pieces of a value, in order, are its bytes; none is empty.

use std::sync::Arc;

use shroom_seg::BlobCursor;
use shroom_token::Stored;

use crate::error::Result;
use crate::overlay::{Change, Grown, Overlay};
use crate::state::{Place, State, misplaced};

/// A value: the beginning of what a layer below holds, then pieces of the overlays.
#[derive(Debug)]
pub(crate) struct Content {
    below: Below,
    /// Bytes of `below` that count.
    kept: u64,
    /// What follows, each with its end in the value.
    pieces: Vec<(u64, Arc<[u8]>)>,
    length: u64,
}

#[derive(Debug)]
enum Below {
    Nothing,
    Place(Place),
    Blob(BlobCursor),
}

/// What a walk over a value remembers from piece to piece.
#[derive(Debug, Default)]
pub(crate) struct Walk(Option<BlobCursor>);

impl Content {
    fn new(below: Below, length: u64) -> Self {
        Self {
            below,
            kept: length,
            pieces: Vec::new(),
            length,
        }
    }

    /// Bytes of the value.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes at the start of the value that lie in whole pages of the checkpoint, whatever follows them.
    pub(crate) fn whole_page_bytes(&self, page_size: usize) -> u64 {
        match &self.below {
            Below::Blob(blob) => {
                let whole = blob.whole_page_bytes().min(self.kept);
                whole - whole % page_size as u64
            }
            Below::Nothing | Below::Place(_) => 0,
        }
    }

    /// The bytes from `offset` on that lie in one piece, from at most `pages_max` pages; none at the end only.
    pub(crate) fn slice<'s>(
        &'s self,
        state: &'s State,
        walk: &mut Walk,
        offset: u64,
        pages_max: u32,
    ) -> Result<&'s [u8]> {
        if offset >= self.kept {
            let index = self.pieces.partition_point(|&(end, _)| end <= offset);
            return Ok(match self.pieces.get(index) {
                Some((end, piece)) => {
                    let start = end - piece.len() as u64;
                    &piece[(offset - start) as usize..]
                }
                None => &[],
            });
        }
        let bytes = match &self.below {
            Below::Nothing => &[],
            Below::Place(place) => &state.bytes(place)[offset as usize..],
            Below::Blob(blob) => {
                // Behind what is kept no page is looked at: its check may cost much, and fail.
                let page_len = state.page_size() as u64;
                let pages = (self.kept - 1) / page_len - offset / page_len + 1;
                let pages_max =
                    u32::try_from(pages).map_or(pages_max, |pages| pages.min(pages_max));
                let cursor = walk.0.get_or_insert_with(|| blob.clone());
                cursor.slice(&state.base.pages, offset, pages_max)?
            }
        };
        let left = usize::try_from(self.kept - offset).unwrap_or(usize::MAX);
        Ok(&bytes[..bytes.len().min(left)])
    }

    /// Keeps the first bytes only, and adds what an overlay has behind them.
    fn grow(&mut self, grown: &Grown) {
        self.kept = self.kept.min(grown.kept);
        let keep = self.pieces.partition_point(|&(end, _)| end <= grown.kept);
        if let Some((end, piece)) = self.pieces.get(keep) {
            let start = end - piece.len() as u64;
            if start < grown.kept {
                let head = piece[..(grown.kept - start) as usize].into();
                self.pieces[keep] = (grown.kept, head);
            }
        }
        let kept = self.pieces.partition_point(|&(end, _)| end <= grown.kept);
        self.pieces.truncate(kept);
        self.length = grown.kept;
        let pieces = grown.pieces().into_iter();
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            self.length += piece.len() as u64;
            self.pieces.push((self.length, Arc::clone(piece)));
        }
    }
}

impl State {
    /// Calls `visit` with a value, piece by piece.
    pub(crate) fn for_each_piece(
        &self,
        content: &Content,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let (mut walk, mut offset) = (Walk::default(), 0);
        while offset < content.length {
            let piece = content.slice(self, &mut walk, offset, u32::MAX)?;
            visit(piece);
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// The value of token `id`, if it is there.
    pub(crate) fn content(&self, id: u64) -> Result<Option<Content>> {
        let layers = [Some(&self.overlay), self.frozen.as_ref()];
        self.content_under(&layers, id)
    }

    fn content_under(&self, layers: &[Option<&Overlay>], id: u64) -> Result<Option<Content>> {
        let Some((newest, below)) = layers.split_first() else {
            return self.content_of_base(id);
        };
        let grown = match newest.and_then(|overlay| overlay.get(id)) {
            None => return self.content_under(below, id),
            Some(Change::Deleted) => return Ok(None),
            Some(Change::Value(bytes)) => {
                let (place, length) = (Place::Shared(Arc::clone(bytes)), bytes.len() as u64);
                return Ok(Some(Content::new(Below::Place(place), length)));
            }
            Some(Change::Grown(grown)) => grown,
        };
        let mut content = None;
        if grown.kept > 0 {
            content = self.content_under(below, id)?;
        }
        let mut content = content.unwrap_or(Content::new(Below::Nothing, 0));
        if content.length < grown.kept {
            return Err(misplaced(id, content.length, grown.kept));
        }
        content.grow(grown);
        Ok(Some(content))
    }

    fn content_of_base(&self, id: u64) -> Result<Option<Content>> {
        let Some(stored) = self.base.find(id)? else {
            return Ok(None);
        };
        let length = stored.len();
        let below = match stored {
            Stored::Inline(_) => Below::Place(self.place(stored)?),
            Stored::Blob { head, length } => {
                Below::Blob(BlobCursor::new(&self.base.pages, head, length)?)
            }
        };
        Ok(Some(Content::new(below, length)))
    }
}
