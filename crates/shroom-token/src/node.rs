//! Directory pages: sorted entries `first id -> (page, offset)` in three frame-of-reference columns.
//! Implements format §8.
//!
//! * N1 A leaf (level 0) names packs; a node of level n names directory pages of level n - 1, with offset 0.
//! * N2 Ids ascend strictly, there is at least one entry, and an entry's id is the first id stored under it.
//! * N3 Widths and bases are the least that serve, so equal entries give equal bytes.
//!
//! Absent on purpose: reads no page itself, and does not balance; `merge` does.

use alloc::vec::Vec;

use shroom_page::{LogicalPage, PAGE_HEADER_LEN, PageType};
use shroom_seg::SegmentAddr;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::TokenId;
use crate::column::{Column, width_of, write_column};

mod partial;
pub(crate) use partial::PartialNode;

/// Bytes before the columns.
pub(crate) const NODE_HEADER_LEN: usize = PAGE_HEADER_LEN + 14;
/// Levels of the whole tree, packs included: the highest root height.
pub(crate) const HEIGHT_MAX: u8 = 8;

const KIND_LEAF: u8 = 3;
const KIND_NODE: u8 = 4;

/// What is wrong with a directory page's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeFlaw {
    /// A header byte is out of range, or not the least that serves.
    #[error("{field} is {got}, expected {expected}")]
    Header {
        /// "page type", "kind", "level", "id width", ...
        field: &'static str,
        /// The value that serves, or the highest.
        expected: u64,
        /// What it holds.
        got: u64,
    },
    /// The columns do not fit the page.
    #[error("{entries} entries do not fit the page")]
    Overrun {
        /// Entries that the header claims.
        entries: usize,
    },
    /// Ids do not ascend strictly.
    #[error("id {got} of entry {index} is not above {previous}")]
    Order {
        /// Which entry, from 0.
        index: usize,
        /// The id before.
        previous: TokenId,
        /// Its id.
        got: TokenId,
    },
    /// Bytes after the columns are not zero.
    #[error("nonzero byte after the columns, at {at}")]
    Tail {
        /// Offset in the page.
        at: usize,
    },
}

/// One entry: the first id of a pack (leaf) or of a directory page (node), and where that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) addr: SegmentAddr,
}

impl Entry {
    /// An entry for a directory page.
    pub(crate) fn page(id: u64, page: LogicalPage) -> Self {
        Self {
            id,
            addr: SegmentAddr { page, offset: 0 },
        }
    }
}

/// What a directory page starts with.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct NodeHeader {
    page_type: u8,
    kind: u8,
    used: U16,
    level: u8,
    /// Of ids, pages and offsets.
    widths: [u8; 3],
    base_id: U64,
    base_page: U32,
    base_offset: U16,
}
const _: () = assert!(size_of::<NodeHeader>() == NODE_HEADER_LEN);

impl NodeHeader {
    /// Length of the columns; `None` when a field other than `used` is out of range.
    #[inline]
    fn columns_len(&self, level: u8) -> Option<usize> {
        let leaf = level == 0;
        let [id_width, page_width, offset_width] = self.widths;
        let sound = self.page_type == PageType::Index as u8
            && self.kind == if leaf { KIND_LEAF } else { KIND_NODE }
            && self.level == level
            && id_width <= 8
            && page_width <= 4
            && offset_width <= if leaf { 2 } else { 0 };
        let width = usize::from(id_width) + usize::from(page_width) + usize::from(offset_width);
        sound.then(|| usize::from(self.used.get()) * width)
    }

    /// Where the columns of ids, pages and offsets begin, from the end of the header on.
    #[inline]
    fn columns_at(&self) -> [usize; 3] {
        let used = usize::from(self.used.get());
        let [id_width, page_width, _] = self.widths.map(usize::from);
        [0, used * id_width, used * (id_width + page_width)]
    }

    /// The least id, page and offset.
    #[inline]
    fn base(&self) -> Entry {
        let page = LogicalPage(self.base_page.get());
        let offset = self.base_offset.get();
        Entry {
            id: self.base_id.get(),
            addr: SegmentAddr { page, offset },
        }
    }
}

/// `kind` in the page header, by the format's names.
#[cfg(feature = "std")]
pub(crate) const KINDS: [(&str, u64); 2] = [
    ("directory leaf", KIND_LEAF as u64),
    ("directory node", KIND_NODE as u64),
];

#[cfg(feature = "std")]
pub(crate) fn structure() -> shroom_page::format::Structure {
    use core::mem::offset_of;
    use shroom_page::format::{Case, Field, Structure};

    let page_size = 1024;
    let page = |used: usize| {
        let entries: Vec<Entry> = (0..used)
            .map(|index| Entry {
                id: (index as u64) << 20,
                addr: SegmentAddr::new(LogicalPage(1 + index as u32), 8 + index as u16 * 30),
            })
            .collect();
        let mut page = vec![0; page_size];
        encode(&entries, 0, &mut page);
        let Ok((header, _)) = NodeHeader::ref_from_prefix(&page) else {
            unreachable!("a page is longer than its header");
        };
        let [id_width, page_width, offset_width] = header.widths.map(usize::from);
        let widths_at = offset_of!(NodeHeader, widths);
        let mut fields = shroom_page::format_fields!(NodeHeader {
            "page_type" => page_type,
            "kind" => kind,
            "used" => used,
            "level" => level,
        });
        for (index, name) in ["id_width", "page_width", "offset_width"]
            .into_iter()
            .enumerate()
        {
            fields.push(Field::new(name, widths_at + index, 1));
        }
        fields.extend(shroom_page::format_fields!(NodeHeader {
            "base_id" => base_id,
            "base_page" => base_page,
            "base_offset" => base_offset,
        }));
        let [_, pages_at, offsets_at] = header.columns_at();
        let columns_len = NodeShape::of(&entries).encoded_len();
        let ends = [
            ("ids", NODE_HEADER_LEN + pages_at),
            ("pages", NODE_HEADER_LEN + offsets_at),
            ("offsets", columns_len),
            ("zeros", page_size),
        ];
        for (name, end) in ends {
            fields.push(Field::rest(name, &fields, end));
        }
        let given = vec![
            ("page_size", page_size as u64),
            ("used", used as u64),
            ("id_width", id_width as u64),
            ("page_width", page_width as u64),
            ("offset_width", offset_width as u64),
        ];
        Case { given, fields }
    };
    Structure::of("directory page", [1, 2, 20].map(page))
}

/// A view of a directory page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    header: &'a NodeHeader,
    ids: Column<'a>,
    pages: Column<'a>,
    offsets: Column<'a>,
}

impl<'a> Node<'a> {
    /// A directory page of `level`. O(1): reads the header only.
    #[inline]
    pub(crate) fn parse(page: &'a [u8], level: u8) -> Result<Self, NodeFlaw> {
        Self::parse_sound(page, level).ok_or_else(|| header_flaw(page, level))
    }

    /// [`Node::parse`], without saying what is wrong.
    #[inline]
    pub(crate) fn parse_sound(page: &'a [u8], level: u8) -> Option<Self> {
        let (header, body) = NodeHeader::ref_from_prefix(page).ok()?;
        let used = usize::from(header.used.get());
        if header.columns_len(level)? > body.len() || used == 0 {
            return None;
        }
        let [id_width, page_width, offset_width] = header.widths.map(usize::from);
        let [_, pages_at, offsets_at] = header.columns_at();
        Some(Self {
            header,
            ids: Column::new(body, used, id_width),
            pages: Column::new(body.get(pages_at..)?, used, page_width),
            offsets: Column::new(body.get(offsets_at..)?, used, offset_width),
        })
    }

    /// Number of entries, at least 1.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// First id under entry `index`, below [`Node::len`].
    #[inline]
    pub(crate) fn id(&self, index: usize) -> u64 {
        self.header.base_id.get().wrapping_add(self.ids.get(index))
    }

    /// Entry `index`, below [`Node::len`].
    #[inline]
    pub(crate) fn entry(&self, index: usize) -> Entry {
        let base = self.header.base().addr;
        let page = base.page.0.wrapping_add(self.pages.get(index) as u32);
        let offset = base.offset.wrapping_add(self.offsets.get(index) as u16);
        Entry {
            id: self.id(index),
            addr: SegmentAddr {
                page: LogicalPage(page),
                offset,
            },
        }
    }

    /// All entries, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> + use<'a> {
        let node = *self;
        (0..node.len()).map(move |index| node.entry(index))
    }

    /// The last entry whose id is at most `id`. `next` is the first id after this page, when known.
    #[inline]
    pub(crate) fn find(&self, id: u64, next: Option<u64>) -> Option<usize> {
        let base = self.header.base_id.get();
        let offset = id.checked_sub(base)?;
        let span = next.and_then(|next| next.checked_sub(base));
        self.ids.count_up_to(offset, span).checked_sub(1)
    }

    /// The bytes after the columns.
    fn tail(&self) -> &'a [u8] {
        self.offsets.rest()
    }

    /// Checks what parsing does not: order, least widths and bases, zeros after the columns. O(len).
    pub(crate) fn check(&self) -> Result<(), NodeFlaw> {
        let mut shape = NodeShape::default();
        for (index, entry) in self.entries().enumerate() {
            if index > 0 && entry.id <= self.id(index - 1) {
                let (previous, got) = (TokenId(self.id(index - 1)), TokenId(entry.id));
                return Err(NodeFlaw::Order {
                    index,
                    previous,
                    got,
                });
            }
            shape = shape.with(entry);
        }
        let [id_width, page_width, offset_width] = shape.widths().map(|width| width as u64);
        let (base, got) = (shape.base(), self.header.base());
        let [id_width_got, page_width_got, offset_width_got] = self.header.widths.map(u64::from);
        for (field, expected, got) in [
            ("id width", id_width, id_width_got),
            ("page width", page_width, page_width_got),
            ("offset width", offset_width, offset_width_got),
            ("base id", base.id, got.id),
            ("base page", base.addr.page.0.into(), got.addr.page.0.into()),
            (
                "base offset",
                base.addr.offset.into(),
                got.addr.offset.into(),
            ),
        ] {
            if expected != got {
                return Err(NodeFlaw::Header {
                    field,
                    expected,
                    got,
                });
            }
        }
        if self.header.kind == KIND_NODE && got.addr.offset != 0 {
            return Err(NodeFlaw::Header {
                field: "offset in a node",
                expected: 0,
                got: got.addr.offset.into(),
            });
        }
        match self.tail().iter().rposition(|byte| *byte != 0) {
            None => Ok(()),
            Some(at) => Err(NodeFlaw::Tail {
                at: shape.encoded_len() + at,
            }),
        }
    }
}

/// Says which field of an unsound header is at fault.
#[cold]
fn header_flaw(page: &[u8], level: u8) -> NodeFlaw {
    let Ok((header, _)) = NodeHeader::ref_from_prefix(page) else {
        return NodeFlaw::Overrun { entries: 0 };
    };
    let leaf = level == 0;
    let flaw = |field, expected: u8, got: u8| NodeFlaw::Header {
        field,
        expected: expected.into(),
        got: got.into(),
    };
    let kind = if leaf { KIND_LEAF } else { KIND_NODE };
    let offset_width_max = if leaf { 2 } else { 0 };
    let [id_width, page_width, offset_width] = header.widths;
    if header.page_type != PageType::Index as u8 {
        flaw("page type", PageType::Index as u8, header.page_type)
    } else if header.kind != kind {
        flaw("kind", kind, header.kind)
    } else if header.level != level {
        flaw("level", level, header.level)
    } else if header.used.get() == 0 {
        flaw("used", 1, 0)
    } else if page_width > 4 {
        flaw("page width", 4, page_width)
    } else if offset_width > offset_width_max {
        flaw("offset width", offset_width_max, offset_width)
    } else if id_width > 8 {
        flaw("id width", 8, id_width)
    } else {
        let entries = header.used.get().into();
        NodeFlaw::Overrun { entries }
    }
}

/// What decides the encoded length of a directory page, kept up to date entry by entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NodeShape {
    count: usize,
    /// Lowest and highest id, page and offset.
    ids: (u64, u64),
    pages: (u32, u32),
    offsets: (u16, u16),
}

impl NodeShape {
    pub(crate) fn of(entries: &[Entry]) -> Self {
        entries
            .iter()
            .fold(Self::default(), |shape, entry| shape.with(*entry))
    }

    /// The shape with one more entry.
    pub(crate) fn with(self, entry: Entry) -> Self {
        let Entry {
            id,
            addr:
                SegmentAddr {
                    page: LogicalPage(page),
                    offset,
                },
        } = entry;
        if self.count == 0 {
            return Self {
                count: 1,
                ids: (id, id),
                pages: (page, page),
                offsets: (offset, offset),
            };
        }
        Self {
            count: self.count + 1,
            ids: (self.ids.0.min(id), self.ids.1.max(id)),
            pages: (self.pages.0.min(page), self.pages.1.max(page)),
            offsets: (self.offsets.0.min(offset), self.offsets.1.max(offset)),
        }
    }

    /// Bytes of the encoded page, without the zeros after its columns.
    pub(crate) fn encoded_len(&self) -> usize {
        NODE_HEADER_LEN + self.count * self.widths().iter().sum::<usize>()
    }

    /// True when a page of `page_size` bytes holds the entries.
    pub(crate) fn fits(&self, page_size: usize) -> bool {
        self.count <= usize::from(u16::MAX) && self.encoded_len() <= page_size
    }

    fn widths(&self) -> [usize; 3] {
        [
            width_of(self.ids.1 - self.ids.0),
            width_of((self.pages.1 - self.pages.0).into()),
            width_of((self.offsets.1 - self.offsets.0).into()),
        ]
    }

    fn base(&self) -> Entry {
        let page = LogicalPage(self.pages.0);
        Entry {
            id: self.ids.0,
            addr: SegmentAddr {
                page,
                offset: self.offsets.0,
            },
        }
    }
}

/// Encodes `entries`, which fit, as a directory page of `level` over whatever `page` held.
pub(crate) fn encode(entries: &[Entry], level: u8, page: &mut [u8]) {
    let shape = NodeShape::of(entries);
    debug_assert!(shape.count > 0 && shape.fits(page.len()));
    let [id_width, page_width, offset_width] = shape.widths();
    let base = shape.base();
    let kind = if level == 0 { KIND_LEAF } else { KIND_NODE };
    let mut out = Vec::with_capacity(shape.encoded_len());
    out.extend_from_slice(&[PageType::Index as u8, kind]);
    out.extend_from_slice(&(shape.count as u16).to_le_bytes());
    out.extend_from_slice(&[level, id_width as u8, page_width as u8, offset_width as u8]);
    out.extend_from_slice(&base.id.to_le_bytes());
    out.extend_from_slice(&base.addr.page.0.to_le_bytes());
    out.extend_from_slice(&base.addr.offset.to_le_bytes());
    write_column(
        &mut out,
        id_width,
        entries.iter().map(|entry| entry.id - base.id),
    );
    let pages = entries
        .iter()
        .map(|entry| u64::from(entry.addr.page.0 - base.addr.page.0));
    write_column(&mut out, page_width, pages);
    let offsets = entries
        .iter()
        .map(|entry| u64::from(entry.addr.offset - base.addr.offset));
    write_column(&mut out, offset_width, offsets);
    if let Some((columns, tail)) = page.split_at_mut_checked(out.len()) {
        columns.copy_from_slice(&out);
        tail.fill(0);
    }
}

#[cfg(test)]
mod tests;
