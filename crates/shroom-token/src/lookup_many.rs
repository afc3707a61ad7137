//! Many point lookups at once: where one lookup would wait for the memory, and the next one again, these wait together.
//!
//! A group of lookups goes step by step side by side. The first step finds the packs and asks for their columns, the second
//! finds the tokens and asks for their bytes; by the time a step needs what the one before has asked for, it is on its way or
//! there.

use alloc::vec::Vec;

use shroom_page::PageRead;
use shroom_page::storage::prefetch;

use crate::lookup_cache::LookupCache;
use crate::lookup_cached::{Descent, descend};
use crate::{Result, Stored, TokenId, TokenRoot};

/// Lookups side by side. A processor has some 10 to 16 loads under way at a time; more would push each other out.
const GROUP_LEN: usize = 16;

/// Like [`get_cached`](crate::get_cached) for each of `ids`, and in their order, but faster: what they need is loaded side by side.
///
/// # Errors
/// As [`get`](crate::get), for the first of them that fails.
pub fn get_many_cached<'p, R: PageRead>(
    pages: &'p R,
    root: &TokenRoot,
    cache: &LookupCache,
    ids: impl IntoIterator<Item = TokenId>,
) -> Result<Vec<Option<Stored<'p>>>> {
    let mut ids = ids.into_iter();
    let mut found = Vec::with_capacity(ids.size_hint().0);
    let mut group = Vec::with_capacity(GROUP_LEN);
    loop {
        for id in ids.by_ref().take(GROUP_LEN) {
            let descent = descend(pages, root, cache, id)?;
            if let Descent::Located(pack) = &descent {
                prefetch(pack.columns());
            }
            group.push((id, descent));
        }
        if group.is_empty() {
            return Ok(found);
        }
        for (id, descent) in group.drain(..) {
            let stored = match descent {
                Descent::Located(pack) => pack.get(pages, root, id)?,
                Descent::Settled(stored) => stored,
            };
            if let Some(Stored::Inline(bytes)) = stored {
                prefetch(bytes);
            }
            found.push(stored);
        }
    }
}
