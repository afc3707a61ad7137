//! Point lookup: from the root through the directory to one pack.
//!
//! * L1 A descent reads at most `height` pages, of strictly falling levels, and allocates nothing.
//! * L2 What an entry names must start with the entry's id; anything else is corruption, not "absent".
//!
//! Absent on purpose: lookups that remember are in `lookup_cached`; the page layer's mapping is the cache of pages.

use shroom_page::{LogicalPage, PageRead};
use shroom_seg::{SegmentAddr, segment_data, segment_data_of};

use crate::error::check_key;
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
    let place = Place::root(root);
    match root.level() {
        None if root.height == 0 => Ok(None),
        level => get_from(pages, place, level, id),
    }
}

/// The token `id` under a place: a directory page of `level`, or a pack when there is no level.
///
/// What a lookup needs of each page stays in registers: results that could hold an error are built in memory, and copying
/// them from there right after they were written stalls the processor. So an error is found out in a second, cold pass.
#[inline]
pub(crate) fn get_from<'p, R: PageRead>(
    pages: &'p R,
    mut place: Place,
    mut level: Option<u8>,
    id: TokenId,
) -> Result<Option<Stored<'p>>> {
    while let Some(at) = level {
        let node = Node::parse_sound(pages.page(place.addr.page)?, at);
        let Some(node) = node.filter(|node| place.starts_with(node.id(0))) else {
            return open_node(pages, place.addr.page, at, place.key).map(|_| None);
        };
        match place.step(&node, id) {
            Some(below) => place = below,
            None => return Ok(None),
        }
        level = at.checked_sub(1);
    }
    let page = pages.page(place.addr.page)?;
    let pack = segment_data_of(page, place.addr.offset).and_then(Pack::parse_sound);
    let Some(pack) = pack.filter(|pack| place.starts_with(pack.first_id().0)) else {
        return place.open(pages).map(|_| None);
    };
    let Some(index) = pack.find(id, place.next.map(TokenId)) else {
        return Ok(None);
    };
    match pack.slot_sound(index) {
        Some(stored) => Ok(Some(stored)),
        None => pack.slot(index).map(Some).map_err(pack_error(place.addr)),
    }
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
    #[inline]
    fn root(root: &TokenRoot) -> Self {
        Self {
            addr: root.addr,
            key: None,
            next: None,
        }
    }

    /// True when `id` is the first id that must be there.
    #[inline]
    fn starts_with(&self, id: u64) -> bool {
        self.key.is_none_or(|key| key == id)
    }

    /// What the directory page at this place says on `id`; `None` when it is below every id there.
    #[inline]
    fn step(&self, node: &Node<'_>, id: TokenId) -> Option<Self> {
        let index = node.find(id.0, self.next)?;
        let entry = node.entry(index);
        let next = if index + 1 < node.len() {
            Some(node.id(index + 1))
        } else {
            self.next
        };
        Some(Self {
            addr: entry.addr,
            key: Some(entry.id),
            next,
        })
    }

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
    let mut place = Place::root(root);
    let mut level = root.level();
    if root.height == 0 {
        return Ok(None);
    }
    while let Some(at) = level {
        let node = open_node(pages, place.addr.page, at, place.key)?;
        match place.step(&node, id) {
            Some(below) => place = below,
            None => return Ok(None),
        }
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

/// Says where a flawed pack is.
pub(crate) fn pack_error(addr: SegmentAddr) -> impl Fn(PackFlaw) -> TokenError {
    move |flaw| TokenError::Pack { addr, flaw }
}
