//! Edits on the tokens of one pack: what is stored afterwards goes to the stream.
//!
//! * A1 A value is a blob exactly when it is longer than the inline limit; an old blob is freed, cut or
//!   appended to, never left behind.
//! * A2 Totals follow every token that comes, goes or changes length.
//!
//! Absent on purpose: knows no directory, and writes no pack.

use shroom_seg::{SegmentAddr, blob_read};

use super::{Leaf, Merge};
use crate::lookup::pack_error;
use crate::node::Entry;
use crate::pack::blob_reference;
use crate::{Bytes, Edit, Pack, PackFlaw, Result, Stored, TokenError, TokenId};

impl<'e, I: Iterator<Item = (TokenId, Edit<'e>)>> Merge<'_, '_, '_, I> {
    /// Adds the tokens of `entry`'s pack, with the edits below `limit` applied, to the stream.
    /// When no edit changes anything, the stream stays as it was, and the answer is false.
    pub(super) fn apply(
        &mut self,
        leaf: &mut Leaf<'_>,
        entry: Entry,
        limit: Option<u64>,
    ) -> Result<bool> {
        let data = self.read_pack(entry)?;
        let changed = self.apply_to(leaf, entry.addr, &data, limit);
        self.spare.push(data);
        changed
    }

    fn apply_to(
        &mut self,
        leaf: &mut Leaf<'_>,
        addr: SegmentAddr,
        data: &[u8],
        limit: Option<u64>,
    ) -> Result<bool> {
        let pack = Pack::parse(data).map_err(pack_error(addr))?;
        let mark = self.stream.mark();
        let mut changed = false;
        let mut index = 0;
        loop {
            let token = (index < pack.len()).then(|| pack.id(index).0);
            let edit = self.edits.peek_below(limit);
            let old = match (token, edit) {
                (None, None) => break,
                (Some(id), edit) if edit.is_none_or(|edit| id < edit) => {
                    self.copy(addr, &pack, index, limit)?;
                    index += 1;
                    continue;
                }
                (Some(id), Some(edit)) if id == edit => {
                    let old = pack.slot(index).map_err(pack_error(addr))?;
                    index += 1;
                    Some(old)
                }
                _ => None,
            };
            let Some((id, edit)) = self.edits.take()? else {
                break;
            };
            if self.edit(id, old, edit)? {
                if !changed {
                    changed = true;
                    leaf.claimed.push(addr);
                }
                self.write_ahead(leaf)?;
            }
        }
        if !changed {
            self.stream.rewind(mark);
        }
        Ok(changed)
    }

    /// Edits where there is no pack yet.
    pub(super) fn apply_to_nothing(
        &mut self,
        leaf: &mut Leaf<'_>,
        limit: Option<u64>,
    ) -> Result<()> {
        while self.edits.peek_below(limit).is_some() {
            let Some((id, edit)) = self.edits.take()? else {
                break;
            };
            self.edit(id, None, edit)?;
            self.write_ahead(leaf)?;
        }
        Ok(())
    }

    /// Copies a token that no edit names, after checking what a sound pack can hold.
    pub(super) fn copy(
        &mut self,
        addr: SegmentAddr,
        pack: &Pack<'_>,
        index: usize,
        limit: Option<u64>,
    ) -> Result<()> {
        let bytes = checked_token(pack, index, self.inline_len_max).map_err(pack_error(addr))?;
        let id = pack.id(index);
        match limit {
            Some(limit) if id.0 >= limit => {
                return Err(TokenError::BeyondNeighbour {
                    child: addr.page,
                    limit: TokenId(limit),
                    got: id,
                });
            }
            _ => {}
        }
        self.stream.push(id.0, &[bytes], pack.is_blob(index));
        Ok(())
    }

    /// Applies one edit; true when it changes something, and then the token (unless it went) is in the stream.
    /// Otherwise the old token is, as it was.
    fn edit(&mut self, id: TokenId, old: Option<Stored<'_>>, edit: Edit<'_>) -> Result<bool> {
        let (kept, tail) = match edit {
            Edit::Delete => {
                let Some(old) = old else {
                    return Ok(false);
                };
                self.totals.remove(old.len())?;
                self.free_blob(old)?;
                return Ok(true);
            }
            Edit::Put(bytes) => (None, bytes),
            Edit::Append { kept, tail } => (Some(kept), tail),
            Edit::Blob { head, length } => return self.set_blob(id, old, head, length),
        };
        let old_len = old.map_or(0, |old| old.len());
        let kept_len = kept.unwrap_or(0);
        if kept_len > old_len {
            return Err(TokenError::KeptBeyondEnd {
                id,
                kept: kept_len,
                length: old_len,
            });
        }
        let length = kept_len
            .checked_add(tail.len())
            .ok_or(TokenError::TooLong { id })?;
        if let Some(old) = old {
            if is_unchanged(old, kept, &tail) {
                self.push_stored(id, old);
                return Ok(false);
            }
            self.totals.remove(old_len)?;
        }
        self.totals.add(length)?;
        if length > self.inline_len_max as u64 {
            let head = self.store_blob(old, kept_len, &tail)?;
            self.push_stored(id, Stored::Blob { head, length });
            return Ok(true);
        }
        match old {
            Some(Stored::Inline(bytes)) => {
                let kept = bytes.get(..kept_len as usize).unwrap_or(bytes);
                self.push_parts(id, kept, &tail);
            }
            Some(Stored::Blob { head, length }) => {
                let mut kept = vec![0; kept_len as usize];
                blob_read(self.segments.pages(), head, length, 0, &mut kept)?;
                self.segments.blob_free(head, length)?;
                self.push_parts(id, &kept, &tail);
            }
            None => self.push_parts(id, &[], &tail),
        }
        Ok(true)
    }

    /// Makes a stored blob the value; whether that changes anything.
    fn set_blob(
        &mut self,
        id: TokenId,
        old: Option<Stored<'_>>,
        head: SegmentAddr,
        length: u64,
    ) -> Result<bool> {
        if length <= self.inline_len_max as u64 {
            let limit = self.inline_len_max;
            return Err(TokenError::ShortBlob { id, length, limit });
        }
        let new = Stored::Blob { head, length };
        if let Some(old) = old {
            self.totals.remove(old.len())?;
        }
        self.totals.add(length)?;
        self.push_stored(id, new);
        Ok(old != Some(new))
    }

    /// Stores the first `kept` bytes of `old` and then `tail` as a blob.
    fn store_blob(
        &mut self,
        old: Option<Stored<'_>>,
        kept: u64,
        tail: &Bytes<'_>,
    ) -> Result<SegmentAddr> {
        match old {
            Some(Stored::Blob { mut head, length }) if kept > 0 => {
                if kept < length {
                    head = self.segments.blob_truncate(head, length, kept)?;
                }
                if !tail.is_empty() {
                    head = self.segments.blob_append(head, kept, tail.parts())?;
                }
                Ok(head)
            }
            Some(Stored::Inline(bytes)) if kept > 0 => {
                let mut parts = vec![bytes.get(..kept as usize).unwrap_or(bytes)];
                parts.extend_from_slice(tail.parts());
                Ok(self.segments.blob_create(&parts)?)
            }
            old => {
                if let Some(old) = old {
                    self.free_blob(old)?;
                }
                Ok(self.segments.blob_create(tail.parts())?)
            }
        }
    }

    fn free_blob(&mut self, old: Stored<'_>) -> Result<()> {
        if let Stored::Blob { head, length } = old {
            self.segments.blob_free(head, length)?;
        }
        Ok(())
    }

    fn push_stored(&mut self, id: TokenId, stored: Stored<'_>) {
        match stored {
            Stored::Inline(bytes) => self.stream.push(id.0, &[bytes], false),
            Stored::Blob { head, length } => {
                self.stream
                    .push(id.0, &[&blob_reference(head, length)], true);
            }
        }
    }

    fn push_parts(&mut self, id: TokenId, kept: &[u8], tail: &Bytes<'_>) {
        match tail {
            Bytes::One(part) => self.stream.push(id.0, &[kept, part], false),
            Bytes::Many(parts) => {
                let mut all = vec![kept];
                all.extend_from_slice(parts);
                self.stream.push(id.0, &all, false);
            }
        }
    }
}

/// The stored bytes of a token, after checking that it could have been written: in order, inline or a sound blob.
pub(crate) fn checked_token<'a>(
    pack: &Pack<'a>,
    index: usize,
    inline_len_max: usize,
) -> Result<&'a [u8], PackFlaw> {
    let id = pack.id(index);
    if let Some(before) = index.checked_sub(1) {
        let previous = pack.id(before);
        if previous >= id {
            return Err(PackFlaw::Order {
                index,
                previous,
                got: id,
            });
        }
    }
    match pack.slot(index)? {
        Stored::Inline(bytes) if bytes.len() > inline_len_max => {
            let length = bytes.len() as u64;
            Err(PackFlaw::InlineLimit {
                index,
                length,
                limit: inline_len_max,
            })
        }
        _ => pack.stored(index),
    }
}

/// True when the first `kept` bytes (none for a put) and `tail` are what is already stored, as far as can be
/// told without reading a blob.
fn is_unchanged(old: Stored<'_>, kept: Option<u64>, tail: &Bytes<'_>) -> bool {
    if kept == Some(old.len()) && tail.is_empty() {
        return true;
    }
    let Stored::Inline(bytes) = old else {
        return false;
    };
    let Some(mut rest) = bytes.get(kept.unwrap_or(0) as usize..) else {
        return false;
    };
    for part in tail.parts() {
        match rest.strip_prefix(*part) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}
