//! Packs and directory pages in words (format §7 and §8).
//!
//! Absent on purpose: decides nothing. Bytes that are no pack or directory page are explained as far as they look like one.

use shroom_page::PageRead;
use shroom_page::explain::{Explainer, Explanation, hexadecimal};
use shroom_page::inspect::explain_page_header;
use shroom_seg::SegmentAddr;
use shroom_seg::inspect::explain_addr;

use crate::lookup::locate;
use crate::node::Node;
use crate::pack::{BLOB_REFERENCE_LEN, PACK_HEADER_LEN};
use crate::{Pack, Result, TokenId, TokenRoot, inline_len_max};

/// Bytes of a value that its meaning shows.
const SHOWN_LEN: usize = 24;

/// The root of this layer in words (format §8): 32 bytes.
pub fn explain_root(explainer: &mut Explainer<'_>) {
    explainer.number(1, "token height", |value| match value {
        0 => "no token".into(),
        1 => "one pack".into(),
        _ => format!("levels of directory pages: {}", value - 1),
    });
    explainer.reserved(3, "token reserved");
    explain_addr(explainer, "token", "the directory begins at");
    explainer.reserved(6, "token reserved");
    explainer.number(8, "token tokens", |value| format!("tokens: {value}"));
    explainer.number(8, "token payload", |value| {
        format!("{value} bytes of values")
    });
}

/// A directory page in words; `None` when it is none.
pub fn explain_directory_page(
    title: impl Into<String>,
    position: u64,
    bytes: &[u8],
) -> Option<Explanation> {
    let level = match bytes.get(1)? {
        3 => 0,
        4 => *bytes.get(4)?,
        _ => return None,
    };
    let explanation = Explanation::new(title, position, bytes, |explainer| {
        explain_node(explainer, bytes, level);
    });
    let flaw = Node::parse(bytes, level).and_then(|node| node.check());
    Some(explanation.with_flaw(flaw.err().map(|flaw| flaw.to_string())))
}

fn explain_node(explainer: &mut Explainer<'_>, bytes: &[u8], level: u8) {
    let mut widths = [0; 3];
    explain_page_header(explainer, |explainer| {
        explainer.number(1, "level", |value| format!("level {value}"));
        let names = ["id_width", "page_width", "offset_width"];
        for (width, name) in widths.iter_mut().zip(names) {
            *width = explainer.number(1, name, |value| format!("{value} bytes each")) as usize;
        }
    });
    explainer.number(8, "base_id", |value| format!("the first id is {value}"));
    explainer.number(4, "base_page", |value| {
        format!("the lowest page is L{value}")
    });
    explainer.number(2, "base_offset", |value| {
        format!("the lowest offset is {value}")
    });
    let Ok(node) = Node::parse(bytes, level) else {
        return;
    };
    let target = if level == 0 { "pack" } else { "directory page" };
    for index in 0..node.len() {
        let id = node.id(index);
        explainer.field(widths[0], format!("id {index}"), |_| {
            format!("{target} {index}: ids from {id} on")
        });
    }
    for index in 0..node.len() {
        let page = node.entry(index).addr.page;
        explainer.field(widths[1], format!("page {index}"), |_| {
            format!("{target} {index} is on {page}")
        });
    }
    for index in 0..node.len() {
        let offset = node.entry(index).addr.offset;
        explainer.field(widths[2], format!("offset {index}"), |_| {
            format!("{target} {index} is at byte {offset}")
        });
    }
    let left = explainer.left().len();
    explainer.reserved(left, "after the columns");
}

/// A pack in words: `data`, the data of its segment, is what the explainer has next. Nothing when it is no pack.
pub fn explain_pack(explainer: &mut Explainer<'_>, data: &[u8], page_size: usize) {
    let pack = match Pack::parse(data) {
        Ok(pack) => pack,
        Err(flaw) => return explainer.flaw(format!("pack: {flaw}")),
    };
    if let Err(flaw) = pack.check(inline_len_max(page_size)) {
        explainer.flaw(format!("pack: {flaw}"));
    }
    let head = pack.head();
    let count = pack.len();
    explainer.number(8, "base", |value| format!("pack: its first id is {value}"));
    explainer.number(2, "count", |value| format!("tokens: {value}"));
    explainer.number(1, "id_width", |value| match value {
        0 => "ids are consecutive".into(),
        _ => format!("ids take {value} bytes each"),
    });
    explainer.number(1, "kind", kind_meaning);
    debug_assert_eq!(PACK_HEADER_LEN, 12);
    let is_uniform = head.kind & 1 != 0;
    if is_uniform {
        explainer.number(2, "length", |value| {
            format!("each value takes {value} bytes")
        });
    }
    for index in 1..count {
        let id = pack.id(index);
        explainer.field(head.id_width.into(), format!("id {index}"), |_| {
            format!("token {id}")
        });
    }
    if !is_uniform {
        let width = if head.kind & 2 != 0 { 2 } else { 1 };
        for index in 0..count {
            let id = pack.id(index);
            explainer.number(width, format!("end {index}"), |value| {
                format!("token {id} ends at byte {value} of the values")
            });
        }
    }
    if head.kind & 4 != 0 {
        explainer.field(count.div_ceil(8), "bitmap", |_| {
            let blobs = (0..count).filter(|&index| pack.is_blob(index));
            let blobs: Vec<_> = blobs.map(|index| pack.id(index).to_string()).collect();
            format!("blob references: tokens {}", blobs.join(", "))
        });
    }
    for index in 0..count {
        let Ok(stored) = pack.stored(index) else {
            return;
        };
        explain_value(explainer, &pack, index, stored);
    }
    let slack = pack.slack().len();
    explainer.reserved(slack, "slack");
}

fn kind_meaning(kind: u64) -> String {
    let ends = match (kind & 1, kind & 2) {
        (1, _) => "all values have one length",
        (_, 0) => "ends are u8",
        _ => "ends are u16",
    };
    let blobs = if kind & 4 != 0 {
        ", some are blobs"
    } else {
        ""
    };
    format!("{kind}: {ends}{blobs}")
}

fn explain_value(explainer: &mut Explainer<'_>, pack: &Pack<'_>, index: usize, stored: &[u8]) {
    let id = pack.id(index);
    if pack.is_blob(index) && stored.len() == BLOB_REFERENCE_LEN {
        explain_addr(
            explainer,
            &format!("value {index}"),
            &format!("token {id} begins at"),
        );
        explainer.number(8, format!("value {index} length"), |value| {
            format!("token {id} has {value} bytes")
        });
        return;
    }
    explainer.field(stored.len(), format!("value {index}"), |bytes| {
        format!("token {id}, {} bytes: {}", bytes.len(), shown(bytes))
    });
}

/// A value as text where it is text, else its first bytes.
pub fn shown(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(SHOWN_LEN)];
    let more = if bytes.len() > start.len() { "…" } else { "" };
    match std::str::from_utf8(start) {
        Ok(text) if !text.chars().any(char::is_control) && !text.is_empty() => {
            format!("{text:?}{more}")
        }
        _ => hexadecimal(bytes, SHOWN_LEN),
    }
}

/// Segment of the pack that would hold a token, and the pack; `None` when the id is below all that are stored.
///
/// # Errors
/// Corruption, or an error of the layers below.
pub fn pack_of<'p, R: PageRead>(
    pages: &'p R,
    root: &TokenRoot,
    id: TokenId,
) -> Result<Option<(SegmentAddr, Pack<'p>)>> {
    let Some(place) = locate(pages, root, id)? else {
        return Ok(None);
    };
    let (pack, _) = place.open(pages)?;
    Ok(Some((place.addr, pack)))
}
