//! Point lookup with what earlier ones learned: through decoded directory pages to a pack whose place is known.
//!
//! Where nothing was learned yet, or what is there is not sound, it is the lookup in the pages.
//!
//! Absent on purpose: what is learned, and how much of it is kept, is in `lookup_cache`.

use shroom_page::PageRead;
use shroom_page::storage::prefetch;

use crate::lookup::{get, get_from, pack_error};
use crate::lookup_cache::{Below, CachedNode, LookupCache, PackCell};
use crate::pack::{Missing, PackHead};
use crate::{Result, Stored, TokenId, TokenRoot};

/// Like [`get`], with what earlier lookups under the same root learned: faster.
///
/// # Errors
/// As [`get`].
#[inline]
pub fn get_cached<'p, R: PageRead>(
    pages: &'p R,
    root: &TokenRoot,
    cache: &LookupCache,
    id: TokenId,
) -> Result<Option<Stored<'p>>> {
    match descend(pages, root, cache, id)? {
        Descent::Located(pack) => {
            pack.prefetch_ids();
            pack.get(pages, root, id)
        }
        Descent::Settled(found) => Ok(found),
    }
}

/// How far what earlier lookups learned leads.
pub(crate) enum Descent<'p> {
    /// To the pack that would hold the token.
    Located(LocatedPack<'p>),
    /// To the end.
    Settled(Option<Stored<'p>>),
}

/// A pack whose place and header are known; nothing of it was read for this lookup.
pub(crate) struct LocatedPack<'p> {
    head: PackHead,
    pub(crate) data: &'p [u8],
    /// Its first id.
    base: u64,
    /// First id after it, if any.
    next: Option<u64>,
}

impl<'p> LocatedPack<'p> {
    #[inline(always)]
    pub(crate) fn get<R: PageRead>(
        &self,
        pages: &'p R,
        root: &TokenRoot,
        id: TokenId,
    ) -> Result<Option<Stored<'p>>> {
        match self.head.token(self.data, self.base, self.next, id.0) {
            Ok(stored) => Ok(Some(stored)),
            Err(Missing::Absent) => Ok(None),
            // To say where it is.
            Err(Missing::Unsound) => get(pages, root, id),
        }
    }

    /// Asks for the columns where they are short enough to be searched by halves: each half would else wait for its own line.
    #[inline(always)]
    fn prefetch_ids(&self) {
        if self.head.is_short() {
            prefetch(self.columns());
        }
    }

    /// The bytes that are read to find a token: its columns.
    #[inline]
    pub(crate) fn columns(&self) -> &'p [u8] {
        let columns = self.data.get(..self.head.columns_end());
        columns.unwrap_or(self.data)
    }
}

/// Goes down what earlier lookups learned.
#[inline(always)]
pub(crate) fn descend<'p, R: PageRead>(
    pages: &'p R,
    root: &TokenRoot,
    cache: &LookupCache,
    id: TokenId,
) -> Result<Descent<'p>> {
    let Some(mut node) = cache.top(pages, root)? else {
        return get(pages, root, id).map(Descent::Settled);
    };
    loop {
        let Some(index) = node.find(id.0) else {
            return Ok(Descent::Settled(None));
        };
        match &node.below {
            Below::Nodes { level, cells } => {
                let Some(cell) = cells.get(index) else {
                    return Ok(Descent::Settled(None));
                };
                match cache.child(pages, node, *level, cell, index)? {
                    Some(child) => node = child,
                    None => {
                        let place = node.place(cell.addr(), index);
                        return get_from(pages, place, Some(*level), id).map(Descent::Settled);
                    }
                }
            }
            Below::Packs(cells) => {
                let (Some(base), Some(cell)) = (node.id(index), cells.get(index)) else {
                    return Ok(Descent::Settled(None));
                };
                let Some((head, data)) = cell.located(pages) else {
                    return get_first(pages, root, node, cell, index, id).map(Descent::Settled);
                };
                let next = node.next(index);
                return Ok(Descent::Located(LocatedPack {
                    head,
                    data,
                    base,
                    next,
                }));
            }
        }
    }
}

/// The first lookup in the pack that entry `index` of `node` names: the following ones know where it lies.
///
/// Apart from [`get_cached`], so that there no pack is put together in memory.
#[inline(never)]
fn get_first<'p, R: PageRead>(
    pages: &'p R,
    root: &TokenRoot,
    node: &CachedNode,
    cell: &PackCell,
    index: usize,
    id: TokenId,
) -> Result<Option<Stored<'p>>> {
    let Some(addr) = cell.addr() else {
        return get(pages, root, id);
    };
    let place = node.place(addr, index);
    let (pack, data) = place.open(pages)?;
    cell.locate(pages, &pack, data);
    pack.get(id, place.next.map(TokenId))
        .map_err(pack_error(addr))
}
