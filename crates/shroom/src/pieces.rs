//! A value's bytes in order, in the pieces in which they lie, without putting them together: in memory that does not grow
//! with the value.

use shroom_seg::BlobChunks;
use shroom_token::Stored;

use crate::error::Result;
use crate::overlay::{Change, Overlay};
use crate::state::{Base, State, misplaced};

/// Is given the pieces, in order.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(&[u8]);

impl State {
    /// Calls `visit` with the value of token `id`, piece by piece; returns its bytes, 0 when it is absent.
    pub(crate) fn for_each_piece(&self, id: u64, visit: Visit<'_>) -> Result<u64> {
        let overlay = Some(&self.overlay);
        let layers = [overlay, self.frozen.as_ref()];
        self.base.pieces_under(&layers, id, u64::MAX, visit)
    }
}

impl Base {
    /// The first `limit` bytes of a token under overlays, newest first.
    fn pieces_under(
        &self,
        layers: &[Option<&Overlay>],
        id: u64,
        limit: u64,
        visit: Visit<'_>,
    ) -> Result<u64> {
        let Some((newest, below)) = layers.split_first() else {
            return self.pieces(id, limit, visit);
        };
        let grown = match newest.and_then(|overlay| overlay.get(id)) {
            None => return self.pieces_under(below, id, limit, visit),
            Some(Change::Deleted) => return Ok(0),
            Some(Change::Value(bytes)) => return Ok(visit_up_to(bytes, limit, visit)),
            Some(Change::Grown(grown)) => grown,
        };
        let kept = grown.kept.min(limit);
        let mut done = 0;
        if kept > 0 {
            done = self.pieces_under(below, id, kept, visit)?;
        }
        if done < kept {
            return Err(misplaced(id, done, grown.kept));
        }
        for piece in &grown.pieces {
            done += visit_up_to(piece, limit - done, visit);
        }
        Ok(done)
    }

    /// The first `limit` bytes of a token in the pages.
    pub(crate) fn pieces(&self, id: u64, limit: u64, visit: Visit<'_>) -> Result<u64> {
        match self.find(id)? {
            None => Ok(0),
            Some(Stored::Inline(bytes)) => Ok(visit_up_to(bytes, limit, visit)),
            Some(Stored::Blob { head, length }) => {
                let mut done = 0;
                for chunk in BlobChunks::new(&self.pages, head, length)? {
                    done += visit_up_to(chunk?, limit - done, visit);
                    if done == limit {
                        break;
                    }
                }
                Ok(done)
            }
        }
    }
}

fn visit_up_to(bytes: &[u8], limit: u64, visit: Visit<'_>) -> u64 {
    let len = usize::try_from(limit).map_or(bytes.len(), |limit| limit.min(bytes.len()));
    if len > 0 {
        visit(&bytes[..len]);
    }
    len as u64
}
