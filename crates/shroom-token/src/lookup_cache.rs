//! What the lookups under one root learn: directory pages decoded, and where packs lie in the file.
//!
//! A directory page on disk is three columns of differences, small and slow to search; a pack's header says where its
//! columns begin, one cache miss before they can be read. A lookup that has passed here before needs neither: it searches
//! plain ids, and reads a pack's columns at once.
//!
//! * A1 A cache belongs to one root of a state that never changes: what it holds is never stale.
//! * A2 What it holds was checked when it was entered: verified bytes, ids that ascend between their neighbours' bounds, a
//!   pack that starts with the id that names it.
//! * A3 It holds at most [`ENTRIES_MAX`] entries; lookups beyond them read the pages.
//!
//! Absent on purpose: holds no value and no page; the mapping is the cache of those.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use shroom_page::{LogicalPage, PageRead};
use shroom_seg::SegmentAddr;

use crate::lookup::{Place, open_node};
use crate::node::{Node, NodeFlaw};
use crate::pack::PackHead;
use crate::{Pack, Result, TokenError, TokenId, TokenRoot};

/// Entries of all decoded pages together; one takes 24 bytes, so 12 MiB at most. That is the directory of 90 million
/// tokens of 16 bytes, at 4 KiB pages.
const ENTRIES_MAX: usize = 1 << 19;
/// Ids around a guess that are compared. Where ids are uniform the guess is off by a few packs.
const WINDOW_LEN: usize = 16;
/// Set in a cell's place once that is an offset in the file.
const LOCATED: u64 = 1 << 63;

/// What lookups learned, shared by readers. It belongs to one root: another root's lookups need a new one.
#[derive(Debug)]
pub struct LookupCache {
    top: OnceLock<Box<CachedNode>>,
    /// Entries that may still be kept.
    room: AtomicUsize,
}

impl Default for LookupCache {
    fn default() -> Self {
        Self::with_room(ENTRIES_MAX)
    }
}

/// A directory page, decoded.
#[derive(Debug)]
pub(crate) struct CachedNode {
    ids: Box<[u64]>,
    /// First id after this page, if any.
    next: Option<u64>,
    /// Entries an id, in units of 2^-64, for guesses.
    density: u64,
    pub(crate) below: Below,
}

/// What a directory page's entries name.
#[derive(Debug)]
pub(crate) enum Below {
    Packs(Box<[PackCell]>),
    Nodes { level: u8, cells: Box<[NodeCell]> },
}

/// A directory page, and its copy once it was read.
#[derive(Debug)]
pub(crate) struct NodeCell {
    page: LogicalPage,
    node: OnceLock<Box<CachedNode>>,
}

/// Where a pack is: page and offset at first, then where its bytes lie in the file, and what its header says.
#[derive(Debug)]
pub(crate) struct PackCell {
    /// Page and offset, as `page << 16 | offset`; or [`LOCATED`] with an offset in the file.
    place: AtomicU64,
    /// count u16, id width u8 and kind u8 as `id_width << 4 | kind`, common length u16, length of the data u16.
    shape: AtomicU64,
}

impl LookupCache {
    /// Nothing learned yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn with_room(entries: usize) -> Self {
        Self {
            top: OnceLock::new(),
            room: AtomicUsize::new(entries),
        }
    }

    /// The root directory page; `None` when there is none, or it cannot be kept.
    #[inline]
    pub(crate) fn top<R: PageRead>(
        &self,
        pages: &R,
        root: &TokenRoot,
    ) -> Result<Option<&CachedNode>> {
        match self.top.get() {
            Some(top) => Ok(Some(top)),
            None => match root.level() {
                Some(level) => self.read(&self.top, pages, root.addr.page, level, None, None),
                None => Ok(None),
            },
        }
    }

    /// The directory page that entry `index` of `node` names; `None` when it cannot be kept.
    #[inline]
    pub(crate) fn child<'c, R: PageRead>(
        &self,
        pages: &R,
        node: &'c CachedNode,
        level: u8,
        cell: &'c NodeCell,
        index: usize,
    ) -> Result<Option<&'c CachedNode>> {
        match cell.node.get() {
            Some(child) => Ok(Some(child)),
            None => {
                let key = node.ids.get(index).copied();
                self.read(&cell.node, pages, cell.page, level, key, node.next(index))
            }
        }
    }

    /// Decodes a directory page whose first id must be `key` and whose ids must be below `next`.
    #[cold]
    fn read<'c, R: PageRead>(
        &self,
        slot: &'c OnceLock<Box<CachedNode>>,
        pages: &R,
        page: LogicalPage,
        level: u8,
        key: Option<u64>,
        next: Option<u64>,
    ) -> Result<Option<&'c CachedNode>> {
        let node = open_node(pages, page, level, key)?;
        let decoded = CachedNode::decode(&node, level, next)
            .map_err(|flaw| TokenError::Directory { page, flaw })?;
        // Taken before it is kept: racing readers may take it twice for one page, and so keep less.
        let len = decoded.ids.len();
        let taken = self
            .room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| {
                room.checked_sub(len)
            });
        if taken.is_err() {
            return Ok(None);
        }
        Ok(Some(slot.get_or_init(|| Box::new(decoded))))
    }
}

impl CachedNode {
    fn decode(node: &Node<'_>, level: u8, next: Option<u64>) -> Result<Self, NodeFlaw> {
        let ids: Box<[u64]> = node.entries().map(|entry| entry.id).collect();
        let following = ids.iter().skip(1).copied().map(Some).chain([next]);
        for (index, (&id, following)) in ids.iter().zip(following).enumerate() {
            if let Some(got) = following.filter(|following| *following <= id) {
                let (previous, got) = (TokenId(id), TokenId(got));
                let index = index + 1;
                return Err(NodeFlaw::Order {
                    index,
                    previous,
                    got,
                });
            }
        }
        let below = match level.checked_sub(1) {
            None => Below::Packs(
                node.entries()
                    .map(|entry| PackCell::new(entry.addr))
                    .collect(),
            ),
            Some(level) => {
                let cells = node.entries().map(|entry| NodeCell {
                    page: entry.addr.page,
                    node: OnceLock::new(),
                });
                Below::Nodes {
                    level,
                    cells: cells.collect(),
                }
            }
        };
        Ok(Self {
            density: density(&ids, next),
            ids,
            next,
            below,
        })
    }

    /// The last entry whose id is at most `id`; `None` when `id` is below all.
    #[inline]
    pub(crate) fn find(&self, id: u64) -> Option<usize> {
        let offset = id.checked_sub(*self.ids.first()?)?;
        let guess = ((u128::from(offset) * u128::from(self.density)) >> 64) as usize;
        let start_max = self.ids.len().saturating_sub(WINDOW_LEN);
        let start = guess.saturating_sub(WINDOW_LEN / 2).min(start_max);
        let window = self.ids.get(start..).and_then(<[u64]>::first_chunk);
        match window.map(|window| count_up_to(window, id)) {
            Some(found) if found > 0 && (found < WINDOW_LEN || start == start_max) => {
                Some(start + found - 1)
            }
            _ => self
                .ids
                .partition_point(|first| *first <= id)
                .checked_sub(1),
        }
    }

    /// Id of entry `index`.
    #[inline]
    pub(crate) fn id(&self, index: usize) -> Option<u64> {
        self.ids.get(index).copied()
    }

    /// First id after what entry `index` names, if any.
    #[inline]
    pub(crate) fn next(&self, index: usize) -> Option<u64> {
        self.ids.get(index + 1).copied().or(self.next)
    }

    /// Where to read on below entry `index`, which is at `addr`.
    pub(crate) fn place(&self, addr: SegmentAddr, index: usize) -> Place {
        Place {
            addr,
            key: self.id(index),
            next: self.next(index),
        }
    }
}

/// Entries an id, in units of 2^-64.
fn density(ids: &[u64], next: Option<u64>) -> u64 {
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
        return 0;
    };
    let (end, steps) = match next {
        Some(next) => (next, ids.len()),
        None => (*last, ids.len() - 1),
    };
    let span = u128::from(end.wrapping_sub(*first).max(1));
    u64::try_from(((steps as u128) << 64) / span).unwrap_or(u64::MAX)
}

/// How many ids of a window are at most `id`: of the last ones of its quarters first, then in one quarter. No branch depends on
/// an id.
#[inline]
fn count_up_to(window: &[u64; WINDOW_LEN], id: u64) -> usize {
    let quarters =
        usize::from(window[3] <= id) + usize::from(window[7] <= id) + usize::from(window[11] <= id);
    let start = quarters * 4;
    let within = |index: usize| usize::from(window[(start + index) % WINDOW_LEN] <= id);
    start + within(0) + within(1) + within(2) + within(3)
}

impl NodeCell {
    pub(crate) fn addr(&self) -> SegmentAddr {
        SegmentAddr::new(self.page, 0)
    }
}

impl PackCell {
    fn new(addr: SegmentAddr) -> Self {
        Self {
            place: AtomicU64::new(u64::from(addr.page.0) << 16 | u64::from(addr.offset)),
            shape: AtomicU64::new(0),
        }
    }

    /// The pack's header and data, once it is known where they lie.
    #[inline]
    pub(crate) fn located<'p, R: PageRead>(&self, pages: &'p R) -> Option<(PackHead, &'p [u8])> {
        let place = self.place.load(Ordering::Acquire);
        if place & LOCATED == 0 {
            return None;
        }
        let (head, len) = unpack(self.shape.load(Ordering::Relaxed));
        Some((head, pages.lasting_bytes(place & !LOCATED, len)?))
    }

    /// Where the pack is, when its place in the file is not known yet.
    pub(crate) fn addr(&self) -> Option<SegmentAddr> {
        let place = self.place.load(Ordering::Acquire);
        let addr = SegmentAddr::new(LogicalPage((place >> 16) as u32), place as u16);
        (place & LOCATED == 0).then_some(addr)
    }

    /// Notes where the pack lies, if that lasts.
    pub(crate) fn locate<R: PageRead>(&self, pages: &R, pack: &Pack<'_>, data: &[u8]) {
        if let Some(position) = pages.lasting_position(data) {
            let shape = shape_word(pack.head(), data.len());
            self.shape.store(shape, Ordering::Relaxed);
            // Whoever sees the place sees the shape.
            self.place.store(LOCATED | position, Ordering::Release);
        }
    }
}

fn shape_word(head: PackHead, len: usize) -> u64 {
    u64::from(head.count)
        | u64::from(head.id_width << 4 | head.kind) << 16
        | u64::from(head.length) << 24
        // Data lies in one page, of at most 64 KiB.
        | (len as u64) << 40
}

#[inline]
fn unpack(shape: u64) -> (PackHead, usize) {
    let head = PackHead {
        count: shape as u16,
        id_width: (shape >> 20) as u8 & 0xf,
        kind: (shape >> 16) as u8 & 0xf,
        length: (shape >> 24) as u16,
    };
    (head, (shape >> 40) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NODE_HEADER_LEN;
    use proptest::prelude::*;
    use shroom_page::{PageSize, PageStore, Roots};
    use shroom_seg::SegmentTxn;

    fn node(ids: &[u64], next: Option<u64>) -> CachedNode {
        CachedNode {
            ids: ids.into(),
            next,
            density: density(ids, next),
            below: Below::Packs(Box::default()),
        }
    }

    /// A store of `tokens` tokens of 8 bytes in pages of 512.
    fn store(tokens: u64) -> (PageStore, TokenRoot) {
        let store = PageStore::in_memory(PageSize::new(512).unwrap()).unwrap();
        let mut txn = store.begin().unwrap();
        let mut segments = SegmentTxn::open(&mut txn, &[0; 64]).unwrap();
        let tokens = (0..tokens).map(|id| (TokenId(id * 7), id.to_le_bytes()));
        let root = crate::bulk_append(&mut segments, &TokenRoot::EMPTY, tokens).unwrap();
        let seg = segments.finish().unwrap();
        txn.commit(Roots {
            seg,
            token: root.encode(),
            ..Roots::default()
        })
        .unwrap();
        (store, root)
    }

    #[test]
    fn what_does_not_fit_is_read_from_the_pages() {
        let (store, root) = store(20_000);
        assert!(root.height() >= 3);
        let pages = store.snapshot();
        for room in [0, 10, 100, 400, ENTRIES_MAX] {
            let cache = LookupCache::with_room(room);
            for id in (0..140_000).step_by(5) {
                let found = crate::get_cached(&pages, &root, &cache, TokenId(id)).unwrap();
                assert_eq!(found.is_some(), id % 7 == 0, "{id} with room for {room}");
            }
            let left = cache.room.load(Ordering::Relaxed);
            assert!(left <= room && (room < 400 || left < room));
        }
    }

    #[test]
    fn ids_that_do_not_ascend_are_corruption() {
        let (store, root) = store(20_000);
        let mut txn = store.begin().unwrap();
        let top = open_node(&txn, root.addr.page, root.level().unwrap(), None).unwrap();
        let child = top.entry(1).addr.page;
        // The second id becomes 0, and so the first one's equal.
        let start = NODE_HEADER_LEN;
        let width = usize::from(txn.page(child).unwrap()[5]);
        txn.page_mut(child).unwrap()[start + width..start + 2 * width].fill(0);
        let key = open_node(&txn, child, root.level().unwrap() - 1, None)
            .unwrap()
            .id(0);
        let found = crate::get_cached(&txn, &root, &LookupCache::new(), TokenId(key));
        assert!(
            matches!(found, Err(TokenError::Directory { page, flaw: NodeFlaw::Order { index: 1, .. } }) if page == child),
            "{found:?}"
        );
    }

    proptest! {
        #[test]
        fn finds_like_partition_point(ids in prop::collection::btree_set(any::<u64>(), 1..200), shift in 0u32..64, has_next: bool, targets in prop::collection::vec(any::<u64>(), 20)) {
            let mut ids: Vec<u64> = ids.into_iter().map(|id| id >> shift).collect();
            ids.dedup();
            let next = (has_next && ids.len() > 1).then(|| ids.pop().unwrap());
            let node = node(&ids, next);
            let near = ids.iter().flat_map(|id| [id.wrapping_sub(1), *id, id.wrapping_add(1)]);
            for target in targets.iter().map(|target| target >> shift).chain(near) {
                let expected = ids.partition_point(|id| *id <= target).checked_sub(1);
                prop_assert_eq!(node.find(target), expected);
            }
        }

        #[test]
        fn a_shape_fits_a_word(count: u16, id_width in 0u8..9, kind in 0u8..8, length: u16, len in 0usize..65_536) {
            let head = PackHead { count, id_width, kind, length };
            prop_assert_eq!(unpack(shape_word(head, len)), (head, len));
        }
    }
}
