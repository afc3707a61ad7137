//! Bulk load: sorted tokens merged straight into the pages, in one commit.
//!
//! Memory is bounded: tokens are taken some at a time, and full pages are written out as they come.

use std::iter::Peekable;
use std::sync::Arc;
use std::thread;

use shroom_seg::SegmentTxn;
use shroom_token::{Bytes, Edit, TokenId, TokenRoot};

use crate::activity::Changes;
use crate::core::Core;
use crate::drain::Drain;
use crate::error::{Error, Result};
use crate::overlay::Overlay;
use crate::state::State;
use crate::sync_ahead::SyncAhead;

/// Bytes of tokens taken at a time.
const CHUNK_BYTES: usize = 8 << 20;

impl Core {
    /// See [`Db::bulk_load`](crate::Db::bulk_load).
    pub(crate) fn bulk_load<T: AsRef<[u8]>>(
        &self,
        tokens: &mut dyn Iterator<Item = (u64, T)>,
    ) -> Result<u64> {
        let mut writer = self.drain_all(self.writable()?)?;
        let state = self.state.load_full();
        let last = crate::iter::Keys(crate::iter::Iter::new(state, ..))
            .next_back()
            .transpose()?;
        let (mut count, mut payload_bytes) = (0, 0);
        let mut tokens = Ascending {
            tokens,
            limit: self.value_len_max(),
            previous: None,
        }
        .peekable();
        let drain = Drain {
            mark: self.mark().skip_one(),
            areas: [None; 2],
        };
        let base = thread::scope(|scope| {
            let mut ahead = SyncAhead::new(scope, self);
            self.commit_pages(&drain, None, |segments, mut root, tracker| {
                while let Some(chunk) = take_chunk(&mut tokens)? {
                    count += chunk.len() as u64;
                    let lengths = chunk.iter().map(|(_, bytes)| bytes.as_ref().len() as u64);
                    payload_bytes += lengths.sum::<u64>();
                    root = load_chunk(segments, root, last, &chunk)?;
                    tracker.put(chunk.iter().map(|(id, bytes)| (*id, bytes.as_ref())))?;
                    let full = segments.dirty_bytes() >= CHUNK_BYTES / 2;
                    segments.pages_mut().spill()?;
                    if full {
                        ahead.start()?;
                    }
                }
                ahead.finish()?;
                Ok(root)
            })
        })?;
        writer.forget_ids();
        let changes = Changes {
            puts: count,
            payload_bytes,
            ..Changes::default()
        };
        self.counters.changed(&writer, &changes);
        self.state
            .store(Arc::new(State::new(base, None, Overlay::default())));
        Ok(count)
    }
}

fn load_chunk<T: AsRef<[u8]>>(
    segments: &mut SegmentTxn<'_, '_>,
    root: TokenRoot,
    last: Option<u64>,
    chunk: &[(u64, T)],
) -> Result<TokenRoot> {
    let tokens = chunk
        .iter()
        .map(|(id, bytes)| (TokenId(*id), bytes.as_ref()));
    if last.is_none_or(|last| chunk[0].0 > last) {
        return Ok(shroom_token::bulk_append(segments, &root, tokens)?);
    }
    let mut edits = tokens
        .map(|(id, bytes)| (id, Edit::Put(Bytes::One(bytes))))
        .peekable();
    Ok(shroom_token::merge(
        segments,
        &root,
        &mut edits,
        usize::MAX,
    )?)
}

fn take_chunk<T: AsRef<[u8]>>(
    tokens: &mut Peekable<impl Iterator<Item = Result<(u64, T)>>>,
) -> Result<Option<Vec<(u64, T)>>> {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    while bytes < CHUNK_BYTES {
        let Some(token) = tokens.next().transpose()? else {
            break;
        };
        bytes += token.1.as_ref().len() + size_of::<(u64, T)>();
        chunk.push(token);
    }
    Ok((!chunk.is_empty()).then_some(chunk))
}

/// Passes tokens on as long as their ids ascend and their values are not too long.
struct Ascending<'i, T> {
    tokens: &'i mut dyn Iterator<Item = (u64, T)>,
    limit: u64,
    previous: Option<u64>,
}

impl<T: AsRef<[u8]>> Iterator for Ascending<'_, T> {
    type Item = Result<(u64, T)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (id, bytes) = self.tokens.next()?;
        let length = bytes.as_ref().len() as u64;
        match self.previous.replace(id) {
            Some(previous) if previous >= id => Some(Err(Error::NotAscending { previous, id })),
            _ if length > self.limit => Some(Err(Error::ValueTooLarge {
                id,
                length,
                limit: self.limit,
            })),
            _ => Some(Ok((id, bytes))),
        }
    }
}
