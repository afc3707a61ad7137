//! What the code has of the structures of this layer that `docs/format.md` describes, as [`shroom_page::format`] has its own.

use shroom_page::format::{Field, Numbers, Structure};
use shroom_page::{LogicalPage, PageSize};
use shroom_seg::SegmentAddr;

use crate::pack::blob_reference;
use crate::{node, pack, root};

/// The structures of this layer.
pub fn structures() -> Vec<Structure> {
    let addr = SegmentAddr::new(LogicalPage(0x1111_1111), 0x2222);
    let reference = blob_reference(addr, 0x3333_3333_3333_3333);
    let fields = vec![
        Field::marked("page", &reference, 0x11),
        Field::marked("offset", &reference, 0x22),
        Field::marked("length", &reference, 0x33),
    ];
    vec![
        Structure::fixed("blob reference", fields),
        root::structure(),
        pack::structure(),
        node::structure(),
    ]
}

/// The numbers of this layer.
pub fn numbers() -> Vec<Numbers> {
    vec![
        Numbers::fixed("index kinds", node::KINDS.to_vec()),
        Numbers::fixed("pack kinds", pack::KINDS.to_vec()),
        Numbers::fixed(
            "limits",
            vec![
                ("highest directory height", node::HEIGHT_MAX.into()),
                ("most tokens of a pack", pack::PACK_TOKENS_MAX as u64),
                ("longest slack", pack::SLACK_LEN_MAX as u64),
            ],
        ),
        Numbers::by_page_size("by page size", |size: PageSize| {
            vec![("inline", pack::inline_len_max(size.bytes()) as u64)]
        }),
    ]
}
