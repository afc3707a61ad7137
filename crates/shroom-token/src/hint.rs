//! What the lookups of one state learn from each other: a copy of the root directory page, and a guess at a pack's layout.
//!
//! A lookup in a pack that is not in the processor's caches is a chain of misses: the header says where the ids are, the ids
//! where the value is. Packs of one store are mostly alike, so the layout of the last one tells about where those lines will
//! be, and touching them first lets the processor fetch them while it waits for the header. A wrong guess costs a wasted load,
//! never a wrong answer.
//!
//! Absent on purpose: no copy of other directory pages, whose number has no bound.

use std::hint::black_box;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use shroom_seg::SegmentAddr;

use crate::lookup::Place;
use crate::node::Node;
use crate::pack::PACK_HEADER_LEN;
use crate::{Pack, TokenId};

/// Bytes of a cache line; only speed depends on it.
const LINE_LEN: usize = 64;

/// What lookups learned, shared by readers. It belongs to one root: another root's lookups need a new one.
#[derive(Debug, Default)]
pub struct PackHint {
    /// count u16, id width u8, kind u8, common length u16; 0 before the first.
    shape: AtomicU64,
    top: OnceLock<Top>,
}

/// A copy of the root directory page, decoded: every lookup begins there.
#[derive(Debug)]
pub(crate) struct Top {
    ids: Box<[u64]>,
    addrs: Box<[SegmentAddr]>,
    /// Level of the pages that the entries name; `None` for packs.
    pub(crate) below: Option<u8>,
}

impl Top {
    pub(crate) fn new(node: &Node<'_>, below: Option<u8>) -> Self {
        Self {
            ids: node.entries().map(|entry| entry.id).collect(),
            addrs: node.entries().map(|entry| entry.addr).collect(),
            below,
        }
    }

    /// Where to look for `id`; `None` when it is below every stored id.
    #[inline]
    pub(crate) fn find(&self, id: TokenId) -> Option<Place> {
        let after = self.ids.partition_point(|first| *first <= id.0);
        let index = after.checked_sub(1)?;
        Some(Place {
            addr: *self.addrs.get(index)?,
            key: self.ids.get(index).copied(),
            next: self.ids.get(after).copied(),
        })
    }
}

impl PackHint {
    /// Nothing learned yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The copy of the root directory page, once there is one.
    #[inline]
    pub(crate) fn top(&self) -> Option<&Top> {
        self.top.get()
    }

    /// Keeps a copy of the root directory page.
    pub(crate) fn keep(&self, top: Top) -> &Top {
        self.top.get_or_init(|| top)
    }

    /// Loads from where token `id` would be in a pack like the last one. `data` starts at the pack and may go on past it;
    /// `key` is the pack's first id, `next` that of the pack after it.
    #[inline]
    pub(crate) fn touch(&self, data: &[u8], id: u64, key: u64, next: u64) {
        let [low, high, id_width, kind, len_low, len_high, ..] =
            self.shape.load(Ordering::Relaxed).to_le_bytes();
        let count = usize::from(u16::from_le_bytes([low, high]));
        let id_width = usize::from(id_width);
        let uniform = kind & 1 != 0;
        let ids_at = PACK_HEADER_LEN + if uniform { 2 } else { 0 };
        let offset = id.wrapping_sub(key);
        let index = if id_width == 0 {
            offset as usize
        } else {
            // Halved, since a processor converts signed integers.
            let span = next.wrapping_sub(key) >> 1 | 1;
            let share = (offset >> 1) as i64 as f64 / span as i64 as f64;
            (share * count as i64 as f64) as i64 as usize
        };
        let index = index.min(count);
        let ends_at = ids_at + count.saturating_sub(1) * id_width;
        let step = if uniform {
            usize::from(u16::from_le_bytes([len_low, len_high]))
        } else {
            1 + usize::from(kind >> 1 & 1)
        };
        let at = ends_at + index * step;
        if id_width > 0 {
            // Uniform ids lie within a few places of the guess: the lines beside its own.
            let id_at = ids_at + index * id_width;
            black_box(data.get(id_at.saturating_sub(LINE_LEN)).copied());
            black_box(data.get(id_at).copied());
            black_box(data.get(id_at + LINE_LEN).copied());
            black_box(data.get(at.saturating_sub(LINE_LEN)).copied());
            black_box(data.get(at + LINE_LEN).copied());
        }
        black_box(data.get(at).copied());
    }

    /// Remembers a pack's layout, when it differs enough to matter.
    #[inline]
    pub(crate) fn remember(&self, pack: &Pack<'_>) {
        let [low, high, id_width, kind, len_low, len_high] = pack.shape_bytes();
        let shape = u64::from_le_bytes([low, high, id_width, kind, len_low, len_high, 0, 0]);
        let old = self.shape.load(Ordering::Relaxed);
        // Counts vary a little from pack to pack; a shared cache line must not be written for that.
        let near = (shape as u16).abs_diff(old as u16) <= (shape as u16) / 8;
        if shape >> 16 != old >> 16 || !near {
            self.shape.store(shape, Ordering::Relaxed);
        }
    }
}
