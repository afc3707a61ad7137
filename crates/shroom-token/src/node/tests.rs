//! The directory page codec: exact bytes, round trips, and arbitrary bytes.

use proptest::prelude::*;

use super::*;

fn entry(id: u64, page: u32, offset: u16) -> Entry {
    Entry {
        id,
        addr: SegmentAddr {
            page: LogicalPage(page),
            offset,
        },
    }
}

#[test]
fn columns_take_the_least_width() {
    let mut page = vec![0xee; 512];
    encode(
        &[entry(1_000, 7, 8), entry(1_005, 3, 300), entry(2_000, 4, 8)],
        0,
        &mut page,
    );
    let header = [
        2, 3, 3, 0, 0, 2, 1, 2, 0xe8, 3, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 8, 0,
    ];
    let columns = [0, 0, 5, 0, 0xe8, 3, 4, 0, 1, 0, 0, 0x24, 1, 0, 0];
    assert_eq!(page[..22], header);
    assert_eq!(page[22..37], columns);
    assert!(page[37..].iter().all(|byte| *byte == 0));
    let node = Node::parse(&page, 0).unwrap();
    node.check().unwrap();
    assert_eq!(node.entry(1), entry(1_005, 3, 300));
    assert_eq!(node.find(999, None), None);
    assert_eq!(node.find(1_004, Some(5_000)), Some(0));
    assert_eq!(node.find(u64::MAX, Some(5_000)), Some(2));
    page[511] = 1;
    assert_eq!(
        Node::parse(&page, 0).unwrap().check(),
        Err(NodeFlaw::Tail { at: 511 })
    );
}

#[test]
fn one_entry_has_no_columns() {
    let mut page = vec![0; 512];
    encode(&[entry(u64::MAX, u32::MAX, 0)], 3, &mut page);
    assert_eq!(page[..8], [2, 4, 1, 0, 3, 0, 0, 0]);
    assert_eq!(
        Node::parse(&page, 3).unwrap().entry(0),
        entry(u64::MAX, u32::MAX, 0)
    );
}

#[test]
fn unsound_headers_name_the_field() {
    let mut page = vec![0; 512];
    encode(&[entry(1, 2, 0), entry(2, 3, 0)], 1, &mut page);
    let cases = [
        (0, 1, "page type"),
        (1, 3, "kind"),
        (2, 0, "used"),
        (4, 2, "level"),
        (5, 9, "id width"),
        (6, 5, "page width"),
        (7, 1, "offset width"),
    ];
    for (at, byte, expected) in cases {
        let mut wrong = page.clone();
        wrong[at] = byte;
        match Node::parse(&wrong, 1) {
            Err(NodeFlaw::Header { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    let mut many = page.clone();
    many[3] = 9;
    assert!(matches!(
        Node::parse(&many, 1),
        Err(NodeFlaw::Overrun { .. })
    ));
}

proptest! {
    #[test]
    fn round_trip(entries in prop::collection::btree_map(any::<u64>(), (1u32.., 8u16..), 1..60), shift in 0u32..64, probes in prop::collection::vec(any::<u64>(), 8)) {
        let mut entries: Vec<_> = entries.into_iter().map(|(id, (page, offset))| entry(id >> shift, page >> (shift / 2) | 1, offset)).collect();
        entries.dedup_by_key(|entry| entry.id);
        let mut page = vec![0xee; 1024];
        encode(&entries, 0, &mut page);
        let node = Node::parse(&page, 0).unwrap();
        node.check().unwrap();
        prop_assert_eq!(&node.entries().collect::<Vec<_>>(), &entries);
        for id in probes.into_iter().map(|id| id >> shift).chain(entries.iter().map(|entry| entry.id)) {
            let expected = entries.partition_point(|entry| entry.id <= id).checked_sub(1);
            prop_assert_eq!(node.find(id, None), expected);
        }
    }

    #[test]
    fn damaged_pages_are_safe(entries in prop::collection::btree_map(any::<u64>(), (1u32.., 8u16..), 1..30), damage in prop::collection::vec((0usize..512, any::<u8>()), 0..6), head in prop::collection::vec((0usize..22, any::<u8>()), 0..4), id in any::<u64>()) {
        let entries: Vec<_> = entries.into_iter().map(|(id, (page, offset))| entry(id, page, offset)).collect();
        let mut page = vec![0; 512];
        encode(&entries, 0, &mut page);
        for (at, byte) in damage.into_iter().chain(head) {
            page[at] = byte;
        }
        for level in 0..3 {
            if let Ok(node) = Node::parse(&page, level) {
                let _ = (node.find(id, None), node.find(id, Some(id / 2)), node.check());
                prop_assert_eq!(node.entries().count(), node.len());
            }
        }
    }
}
