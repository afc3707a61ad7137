//! Storage pages and pages of the free-space index in words, and what room they have (format §5 and §6).
//!
//! Absent on purpose: decides nothing. Bytes that are no such page are explained as far as they look like one.

use shroom_page::explain::{Explainer, Explanation};
use shroom_page::inspect::explain_page_header;
use shroom_page::{LogicalPage, PageSize};

use crate::index_page::{Block, Geometry};
use crate::page::{self, FreeSegment, Next, PageFault, Segment};
use crate::root::SegRoot;
use crate::{Result, SegmentAddr, index_page};

/// What a storage page has room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct StorageRoom {
    /// Live segments.
    pub live_segments: usize,
    /// Free segments.
    pub free_segments: usize,
    /// Bytes of the free segments, their links included.
    pub free_bytes: usize,
    /// Most data that one segment could still take.
    pub largest: usize,
}

/// The room in a storage page; `None` when its bytes are not those of a sound one.
pub fn storage_room(bytes: &[u8]) -> Option<StorageRoom> {
    let room = page::room(bytes).ok()?;
    Some(StorageRoom {
        live_segments: room.used,
        free_segments: page::free_segments(bytes).filter(Result::is_ok).count(),
        free_bytes: room.free_bytes,
        largest: room.largest.unwrap_or(0),
    })
}

/// A storage page in words. `data` explains the data of a live segment, and may leave any part of it.
pub fn explain_storage_page(
    title: impl Into<String>,
    position: u64,
    page: LogicalPage,
    bytes: &[u8],
    data: &mut dyn FnMut(SegmentAddr, &mut Explainer<'_>),
) -> Explanation {
    let check = page::check(bytes);
    let mut explanation = Explanation::new(title, position, bytes, |explainer| {
        explain_page_header(explainer, |explainer| {
            explainer.number(2, "free_head", |value| match value {
                0 => "no free segment".into(),
                _ => format!("the first free segment is at {value}"),
            });
            explainer.number(2, "free_bytes", |value| format!("{value} bytes are free"));
        });
        let live = check.live.iter().map(|&(offset, _)| (offset.into(), None));
        let free = page::free_segments(bytes).map_while(Result::ok);
        let free = free.map(|free| (free.offset, Some(free)));
        let mut parts: Vec<(usize, Option<FreeSegment>)> = live.chain(free).collect();
        parts.sort_by_key(|part| part.0);
        for (offset, free) in parts {
            if offset != explainer.at() {
                return; // the tiling is lost
            }
            match free {
                Some(free) => explain_free(explainer, &free),
                None => match page::segment(bytes, offset as u16) {
                    Ok(segment) => {
                        let addr = SegmentAddr::new(page, offset as u16);
                        explain_live(explainer, addr, &segment, data);
                    }
                    Err(_) => return,
                },
            }
        }
    });
    let faults = check.faults.into_iter().map(PageFault::on(page));
    explanation
        .flaws
        .extend(faults.map(|error| error.to_string()));
    explanation
}

fn explain_free(explainer: &mut Explainer<'_>, free: &FreeSegment) {
    explainer.number(2, "length", |value| {
        format!("free segment with room for {value} bytes")
    });
    explainer.field(free.length, "free", |bytes| {
        match bytes.iter().all(|&byte| byte == 0) {
            true => format!("{} zeros", bytes.len()),
            false => "must be zero, and is not".into(),
        }
    });
    explainer.number(2, "next", |value| match value {
        0 => "the last free segment".into(),
        _ => format!("the next free segment is at {value}"),
    });
}

fn explain_live(
    explainer: &mut Explainer<'_>,
    addr: SegmentAddr,
    segment: &Segment<'_>,
    data: &mut dyn FnMut(SegmentAddr, &mut Explainer<'_>),
) {
    explainer.number(2, "length", |value| {
        format!("live segment {addr} of {value} bytes")
    });
    let end = explainer.at() + segment.data.len();
    data(addr, explainer);
    let left = end.saturating_sub(explainer.at());
    explainer.field(left, "data", |bytes| {
        format!("{} bytes of data", bytes.len())
    });
    explainer.number(2, "next", |value| match segment.next {
        Next::End => "the end of its chain".into(),
        Next::Local(offset) => format!("the chain goes on at {offset} of this page"),
        Next::Far(_) => format!("{value}: a far link follows"),
    });
    if matches!(segment.next, Next::Far(_)) {
        explain_addr(explainer, "link", "the chain goes on at");
    }
}

/// A segment address, as two fields.
pub fn explain_addr(explainer: &mut Explainer<'_>, name: &str, meaning: &str) {
    let page = explainer.number(4, format!("{name} page"), |value| match value {
        0 => "none".into(),
        _ => format!("{meaning} logical page L{value}"),
    });
    explainer.number(2, format!("{name} offset"), |value| match page {
        0 => value.to_string(),
        _ => format!("byte {value} of that page"),
    });
}

/// The first bytes of a blob's chain in words: its extents, as many as `bytes` of it hold.
pub fn explain_blob_head(explainer: &mut Explainer<'_>, end: usize) {
    let count = explainer.number(2, "extent_count", |value| {
        format!("a large value, extents: {value}")
    });
    for index in 0..count {
        if explainer.at() + 8 > end {
            return;
        }
        let first = explainer.number(4, format!("extent {index} first"), |value| {
            format!("an extent begins at logical page L{value}")
        });
        explainer.number(4, format!("extent {index} pages"), |value| {
            format!(
                "{value} pages, L{}",
                shroom_page::explain::span(first, value)
            )
        });
    }
}

/// A page of the free-space index in words; `None` when it is none.
pub fn explain_index_page(
    title: impl Into<String>,
    position: u64,
    size: PageSize,
    bytes: &[u8],
) -> Option<Explanation> {
    let kind = *bytes.get(1)?;
    let level = match kind {
        index_page::KIND_LEAF => 0,
        index_page::KIND_NODE => 1,
        _ => return None,
    };
    let geometry = Geometry::new(size);
    let explanation = Explanation::new(title, position, bytes, |explainer| {
        explain_page_header(explainer, |explainer| explainer.reserved(4, "reserved"));
        let unit = size.bytes() / 256;
        let class = |value: u64| match value {
            0 => "no room".to_owned(),
            _ => format!("class {value}: room for {} bytes", value * unit as u64),
        };
        if level == 1 {
            for index in 0..geometry.fan_out() {
                explainer.number(4, format!("child {index}"), |value| match value {
                    0 => "absent".into(),
                    _ => format!("index page L{value}"),
                });
            }
            for index in 0..geometry.fan_out() {
                explainer.number(1, format!("maximum {index}"), class);
            }
        } else {
            explain_runs(explainer, class);
        }
        let left = explainer.left().len();
        explainer.reserved(left, "after the entries");
    });
    let flaw = Block::parse(bytes, level, geometry).err();
    Some(explanation.with_flaw(flaw.map(str::to_owned)))
}

/// Class bytes, of which equal ones that follow each other are one field.
fn explain_runs(explainer: &mut Explainer<'_>, class: impl Fn(u64) -> String) {
    let mut number = 0_u64;
    while let Some(&first) = explainer.left().first() {
        let run = explainer
            .left()
            .iter()
            .take_while(|&&byte| byte == first)
            .count();
        let name = format!(
            "classes of +{}",
            shroom_page::explain::span(number, run as u64)
        );
        explainer.field(run, name, |_| class(first.into()));
        number += run as u64;
    }
}

/// The root of this layer in words (format §6): 64 bytes.
pub fn explain_root(explainer: &mut Explainer<'_>) {
    let height = explainer.number(1, "seg height", |value| match value {
        0 => "the free-space index is in the root".into(),
        1 => "the free-space index is one leaf".into(),
        _ => format!("the free-space index has {} levels of nodes", value - 1),
    });
    explainer.reserved(3, "seg reserved");
    explainer.number(4, "seg root", |value| match height {
        0 => "none".into(),
        _ => format!("its root is logical page L{value}"),
    });
    explainer.number(4, "seg storage_pages", |value| {
        format!("storage pages: {value}")
    });
    explainer.reserved(4, "seg reserved");
    explainer.number(8, "seg free_bytes", |value| {
        format!("{value} bytes are free in them")
    });
    explainer.field(40, "seg classes", |bytes| {
        let classes = bytes.iter().enumerate().filter(|(_, class)| **class != 0);
        let classes: Vec<_> = classes
            .map(|(page, class)| format!("L{page}: {class}"))
            .collect();
        match classes.is_empty() {
            true if height > 0 => "zero: the index has pages of its own".into(),
            true => "no page has room".into(),
            false => format!("classes of room: {}", classes.join(", ")),
        }
    });
}

/// Number of storage pages and of free bytes in them, as the root of this layer says.
///
/// # Errors
/// Corruption of the root.
pub fn totals(root: &[u8; 64]) -> Result<(u32, u64)> {
    let root = SegRoot::parse(root)?;
    Ok((root.storage_pages, root.free_bytes))
}
