//! Changing a part of a value: overwriting bytes, and cutting its end.
//!
//! * A1 What ends a value goes through the journal: its cost is what is written, and what of the value follows it.
//! * A2 A change far from the end of a large value is made in its pages, in a commit of its own: its cost is the pages touched.

use shroom_token::{Edit, Stored, TokenId, inline_len_max, merge};

use crate::activity::Changes;
use crate::core::{Core, Write, check_end};
use crate::db::Db;
use crate::drain::Drain;
use crate::error::{Error, Result};
use crate::overlay::Overlay;
use crate::pieces::Walk;
use crate::state::State;

/// Bytes behind those written that are written again, through the journal, rather than changing pages.
const REST_BYTES_MAX: u64 = 64 << 10;

impl Db {
    /// Overwrites bytes of token `id` from `offset` on; what goes past its end makes it longer, and an absent token is like an
    /// empty one. Near the end of a value, or in a short one, the change goes through the journal like a [`put`](Self::put);
    /// elsewhere it is made in the pages touched, by a checkpoint, and is durable at once. Where the file keeps track of the
    /// content root, that reads the whole value.
    ///
    /// # Errors
    /// [`BeyondEnd`](Error::BeyondEnd) when `offset` is past the end; those of [`put`](Self::put).
    pub fn write_at(&self, id: u64, offset: u64, bytes: &[u8]) -> Result<()> {
        self.core().write_at(id, offset, bytes)
    }

    /// Cuts the value of token `id` to its first `length` bytes, through the journal, whatever its size. An absent token is like
    /// an empty one, and stays absent.
    ///
    /// # Errors
    /// [`BeyondEnd`](Error::BeyondEnd) when it is shorter than that; those of [`put`](Self::put).
    pub fn truncate(&self, id: u64, length: u64) -> Result<()> {
        let write = Write::Truncate { id, length };
        self.core().write(&[write]).map(|_| ())
    }
}

impl Core {
    fn write_at(&self, id: u64, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut writer = self.writable()?;
        let end = offset.saturating_add(bytes.len() as u64);
        self.check_length(id, end)?;
        let rest_max = REST_BYTES_MAX.min(self.options.journal_limit / 4);
        // So much that it may go straight to the pages: nothing is to lie over them, nor to come in between.
        let large = bytes.len() as u64 + rest_max >= self.options.journal_limit / 2;
        if large {
            writer = self.drain_all(writer)?;
        }
        let edit = Changes {
            edits: 1,
            payload_bytes: bytes.len() as u64,
            ..Changes::default()
        };
        let mut rewritten = Vec::new();
        loop {
            let state = self.state.load_full();
            let length = state.length(id)?;
            check_end(id, offset, length)?;
            if bytes.is_empty() && length.is_some() {
                return Ok(());
            }
            let length = length.unwrap_or(0);
            if length.saturating_sub(end) > rest_max {
                writer = self.drain_all(writer)?;
                if self.write_inside(id, offset, bytes)? {
                    self.counters.changed(&writer, &edit);
                    return Ok(());
                }
                continue; // changed while the checkpoint was waited for
            }
            // A short value as a whole, so that it is read in one piece.
            let first = if length <= inline_len_max(state.page_size()) as u64 {
                0
            } else {
                offset
            };
            rewritten.clear();
            copy_part(&state, id, first, offset, &mut rewritten)?;
            rewritten.extend_from_slice(bytes);
            copy_part(&state, id, end, length, &mut rewritten)?;
            let bytes = &rewritten[..];
            let writes = match first {
                0 => [Write::Put { id, bytes }],
                offset => [Write::Replace { id, offset, bytes }],
            };
            if large {
                return self.write_locked(writer, &writes).map(|_| ());
            }
            // Else the overlay that is drained meanwhile would be torn down here, by the writer.
            drop(state);
            match self.try_write(&mut writer, &writes)? {
                Ok(_) => {
                    self.counters.changed(&writer, &edit);
                    self.slow_down(writer);
                    return Ok(());
                }
                // Others may write while room is made.
                Err(len) => writer = self.make_room(writer, len)?,
            }
        }
    }

    /// Overwrites bytes of a value in the pages, over which nothing lies; false when they are not all inside a large one.
    fn write_inside(&self, id: u64, offset: u64, bytes: &[u8]) -> Result<bool> {
        let state = self.state.load_full();
        let Some(Stored::Blob { head, length }) = state.base.find(id)? else {
            return Ok(false);
        };
        if offset + bytes.len() as u64 > length {
            return Ok(false);
        }
        let drain = Drain {
            mark: self.mark().skip_one(),
            areas: [None; 2],
        };
        let base = self.commit_pages(&drain, None, |segments, mut root, tracker| {
            let moved = segments.blob_write_at(head, length, offset, bytes)?;
            if moved != head {
                let edit = (
                    TokenId(id),
                    Edit::Blob {
                        head: moved,
                        length,
                    },
                );
                let mut edits = std::iter::once(edit).peekable();
                root = merge(segments, &root, &mut edits, usize::MAX)?;
            }
            tracker.changed(segments.pages(), &root, id)?;
            Ok(root)
        })?;
        let state = State::new(base, None, Overlay::default());
        self.state.store(std::sync::Arc::new(state));
        Ok(true)
    }
}

/// Adds bytes `from..to` of a value, if that is not empty, to `bytes`.
pub(crate) fn copy_part(
    state: &State,
    id: u64,
    from: u64,
    to: u64,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    if from >= to {
        return Ok(());
    }
    let Some(content) = state.content(id)? else {
        return Err(Error::BeyondEnd {
            id,
            offset: to,
            length: 0,
        });
    };
    let (mut walk, mut at) = (Walk::default(), from);
    while at < to {
        let piece = content.slice(state, &mut walk, at, u32::MAX)?;
        let len = usize::try_from(to - at).map_or(piece.len(), |left| left.min(piece.len()));
        bytes.extend_from_slice(&piece[..len]);
        at += len as u64;
    }
    Ok(())
}
