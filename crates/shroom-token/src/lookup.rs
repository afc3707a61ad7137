//! Point lookup: from the root through the directory to one pack.
//!
//! * L1 A descent reads at most `height` pages, of strictly falling levels, and allocates nothing.
//! * L2 What an entry names must start with the entry's id; anything else is corruption, not "absent".
//!
//! Absent on purpose: no cache; the page layer's mapping is the cache.

use shroom_page::{LogicalPage, PageRead};
use shroom_seg::{SegmentAddr, segment_data};

use crate::hint::{PackHint, Top};
use crate::node::Node;
use crate::{Pack, PackFlaw, Result, Stored, TokenError, TokenId, TokenRoot};

/// The token `id`, if there is one. Its bytes are borrowed from the pages: nothing is copied.
///
/// # Errors
/// Corruption, or an error of the layers below.
#[inline]
pub fn get<'p, R: PageRead>(
    pages: &'p R,
    root: &TokenRoot,
    id: TokenId,
) -> Result<Option<Stored<'p>>> {
    let Some(place) = locate(pages, root, id)? else {
        return Ok(None);
    };
    let (pack, _) = place.open(pages)?;
    pack.get(id, place.next.map(TokenId))
        .map_err(pack_error(place.addr))
}

/// Like [`get`], with what earlier lookups under the same root learned: faster.
///
/// # Errors
/// As [`get`].
#[inline]
pub fn get_hinted<'p, R: PageRead>(
    pages: &'p R,
    root: &TokenRoot,
    hint: &PackHint,
    id: TokenId,
) -> Result<Option<Stored<'p>>> {
    let top = match hint.top() {
        Some(top) => top,
        None => match read_top(pages, root)? {
            Some(top) => hint.keep(top),
            None => return get(pages, root, id),
        },
    };
    let Some(place) = top.find(id) else {
        return Ok(None);
    };
    let Some(place) = descend(pages, place, top.below, id)? else {
        return Ok(None);
    };
    if let (Some(key), Some(next)) = (place.key, place.next) {
        // Behind the segment's length.
        let start = usize::from(place.addr.offset) + 2;
        if let Some(data) = pages.page(place.addr.page)?.get(start..) {
            hint.touch(data, id.0, key, next);
        }
    }
    let (pack, _) = place.open(pages)?;
    hint.remember(&pack);
    pack.get(id, place.next.map(TokenId))
        .map_err(pack_error(place.addr))
}

/// A copy of the root directory page; `None` when there is none.
#[cold]
fn read_top<R: PageRead>(pages: &R, root: &TokenRoot) -> Result<Option<Top>> {
    let Some(level) = root.level() else {
        return Ok(None);
    };
    let node = open_node(pages, root.addr.page, level, None)?;
    Ok(Some(Top::new(&node, level.checked_sub(1))))
}

/// The pack that would hold an id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) addr: SegmentAddr,
    /// First id that the pack must have; `None` when the root names it.
    pub(crate) key: Option<u64>,
    /// First id of the pack after it, if any.
    pub(crate) next: Option<u64>,
}

impl Place {
    /// The pack and its segment's data.
    #[inline]
    pub(crate) fn open<'p, R: PageRead>(&self, pages: &'p R) -> Result<(Pack<'p>, &'p [u8])> {
        open_pack(pages, self.addr, self.key)
    }
}

/// The pack that would hold `id`; `None` when `id` is below every stored id.
#[inline]
pub(crate) fn locate<R: PageRead>(
    pages: &R,
    root: &TokenRoot,
    id: TokenId,
) -> Result<Option<Place>> {
    let place = Place {
        addr: root.addr,
        key: None,
        next: None,
    };
    match root.level() {
        None => Ok((root.height == 1).then_some(place)),
        level => descend(pages, place, level, id),
    }
}

/// From a directory page of `level` to the pack that would hold `id`; `place` is that pack when there is no level.
#[inline(always)]
fn descend<R: PageRead>(
    pages: &R,
    mut place: Place,
    mut level: Option<u8>,
    id: TokenId,
) -> Result<Option<Place>> {
    while let Some(at) = level {
        let node = open_node(pages, place.addr.page, at, place.key)?;
        let Some(index) = node.find(id.0, place.next) else {
            return Ok(None);
        };
        let entry = node.entry(index);
        let next = if index + 1 < node.len() {
            Some(node.id(index + 1))
        } else {
            place.next
        };
        place = Place {
            addr: entry.addr,
            key: Some(entry.id),
            next,
        };
        level = at.checked_sub(1);
    }
    Ok(Some(place))
}

/// Reads a directory page of `level` whose first id must be `key`.
#[inline]
pub(crate) fn open_node<R: PageRead>(
    pages: &R,
    page: LogicalPage,
    level: u8,
    key: Option<u64>,
) -> Result<Node<'_>> {
    let bytes = pages.page(page)?;
    let node = Node::parse(bytes, level).map_err(|flaw| TokenError::Directory { page, flaw })?;
    check_key(page, key, node.id(0))?;
    Ok(node)
}

/// Reads a pack whose first id must be `key`, and its segment's data.
#[inline]
pub(crate) fn open_pack<R: PageRead>(
    pages: &R,
    addr: SegmentAddr,
    key: Option<u64>,
) -> Result<(Pack<'_>, &[u8])> {
    let data = segment_data(pages, addr)?;
    let pack = Pack::parse(data).map_err(pack_error(addr))?;
    check_key(addr.page, key, pack.first_id().0)?;
    Ok((pack, data))
}

#[inline]
fn check_key(child: LogicalPage, key: Option<u64>, got: u64) -> Result<()> {
    match key {
        Some(expected) if expected != got => Err(TokenError::RoutingKey {
            child,
            expected: TokenId(expected),
            got: TokenId(got),
        }),
        _ => Ok(()),
    }
}

/// Says where a flawed pack is.
pub(crate) fn pack_error(addr: SegmentAddr) -> impl Fn(PackFlaw) -> TokenError {
    move |flaw| TokenError::Pack { addr, flaw }
}
