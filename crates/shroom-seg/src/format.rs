//! What the code has of the structures of this layer that `docs/format.md` describes, as [`shroom_page::format`] has its own.

use shroom_page::format::{Case, Field, Numbers, Structure};
use shroom_page::{LogicalPage, PAGE_HEADER_LEN, PageSize};

use crate::index_page::{Block, CLASS_MAX, Geometry, KIND_LEAF, KIND_NODE};
use crate::layout::{COUNT_LEN, Extent, chain_data, segment_capacity};
use crate::{SegmentAddr, page, root};

/// The structures of this layer.
pub fn structures() -> Vec<Structure> {
    let address = SegmentAddr::new(LogicalPage(0x1111_1111), 0x2222).to_bytes();
    let parts = vec![
        Field::marked("page", &address, 0x11),
        Field::marked("offset", &address, 0x22),
    ];
    vec![
        page::storage_header_structure(),
        page::segment_structure(),
        Structure::fixed("segment address", parts),
        extent(),
        Structure::of("blob data", [(0, 9), (1, 88), (3, 5)].map(blob_data)),
        root::structure(),
        Structure::of("free-index leaf", PageSize::all().map(leaf)),
        Structure::of("free-index node", PageSize::all().map(node)),
    ]
}

/// The numbers of this layer.
pub fn numbers() -> Vec<Numbers> {
    vec![
        Numbers::fixed(
            "index kinds",
            vec![
                ("free-index leaf", KIND_LEAF.into()),
                ("free-index node", KIND_NODE.into()),
            ],
        ),
        Numbers::fixed("links", page::LINKS.to_vec()),
        Numbers::fixed(
            "limits",
            vec![
                ("highest class", CLASS_MAX.into()),
                ("highest free-space index height", root::HEIGHT_MAX.into()),
                ("inline classes", root::INLINE_CLASSES as u64),
                ("most extents", (1 << (8 * COUNT_LEN)) - 1),
            ],
        ),
        Numbers::by_page_size("by page size", |size| {
            let geometry = Geometry::new(size);
            vec![
                ("N", geometry.fan_out().into()),
                ("L", geometry.leaf_pages().into()),
                ("unit", geometry.unit() as u64),
                ("capacity", segment_capacity(size.bytes()) as u64),
            ]
        }),
    ]
}

fn sample_extent() -> Extent {
    Extent {
        first: LogicalPage(0x1111_1111),
        pages: 0x2222_2222,
    }
}

fn extent() -> Structure {
    let data = chain_data(&[sample_extent()], &[]).unwrap_or_default();
    let count = blob_data((1, 0)).fields[0].len as usize;
    let fields = vec![
        Field::marked("first", &data[count..], 0x11),
        Field::marked("pages", &data[count..], 0x22),
    ];
    Structure::fixed("extent", fields)
}

fn blob_data((extents, tail): (usize, usize)) -> Case {
    let extent = Extent {
        first: LogicalPage(0x1111_1111),
        pages: 0x1111_1111,
    };
    let data = chain_data(&vec![extent; extents], &vec![0x33; tail]).unwrap_or_default();
    let start = data.iter().position(|&byte| byte >= 0x11);
    let mut fields = vec![Field::new("extent_count", 0, start.unwrap_or(data.len()))];
    let column = match extents {
        0 => Field::rest("extents", &fields, fields[0].len as usize),
        _ => Field::marked("extents", &data, 0x11),
    };
    fields.push(column);
    fields.push(Field::rest("tail", &fields, data.len()));
    let given = vec![("extent_count", extents as u64), ("tail", tail as u64)];
    Case { given, fields }
}

fn leaf(size: PageSize) -> Case {
    let geometry = Geometry::new(size);
    let mut block = Block::empty_leaf(geometry);
    block.maxima.fill(0x11);
    let page = written(&block, size);
    let fields = vec![
        Field::new("header", 0, PAGE_HEADER_LEN),
        Field::marked("classes", &page, 0x11),
    ];
    let given = vec![("L", geometry.leaf_pages().into())];
    Case { given, fields }
}

fn node(size: PageSize) -> Case {
    let geometry = Geometry::new(size);
    let mut block = Block::empty_node(geometry);
    block.children.fill(0x1111_1111);
    block.maxima.fill(0x22);
    let page = written(&block, size);
    let mut fields = vec![
        Field::new("header", 0, PAGE_HEADER_LEN),
        Field::marked("children", &page, 0x11),
        Field::marked("maxima", &page, 0x22),
    ];
    fields.push(Field::rest("zeros", &fields, page.len()));
    let given = vec![
        ("N", geometry.fan_out().into()),
        ("page_size", page.len() as u64),
    ];
    Case { given, fields }
}

/// The page as written, its header as zeros.
fn written(block: &Block, size: PageSize) -> Vec<u8> {
    let mut page = vec![0; size.bytes()];
    block.write(&mut page);
    page[..PAGE_HEADER_LEN].fill(0);
    page
}
