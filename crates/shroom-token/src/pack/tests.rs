//! The pack codec: exact bytes, round trips, and arbitrary bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const INLINE_LEN_MAX: usize = 1_024;

fn build(tokens: &BTreeMap<u64, (Vec<u8>, bool)>) -> Vec<u8> {
    let stored = || {
        tokens
            .iter()
            .map(|(id, (bytes, blob))| (*id, bytes.as_slice(), *blob))
    };
    let shape = stored().fold(PackShape::default(), |shape, (id, bytes, blob)| {
        shape.with(id, bytes.len(), blob)
    });
    let mut out = vec![0xee; 3];
    encode(&shape, stored(), &mut out);
    assert_eq!(out.len(), shape.encoded_len());
    out
}

fn inline(tokens: &[(u64, &[u8])]) -> Vec<u8> {
    build(
        &tokens
            .iter()
            .map(|(id, bytes)| (*id, (bytes.to_vec(), false)))
            .collect(),
    )
}

#[test]
fn consecutive_ids_and_equal_lengths_need_no_columns() {
    let bytes = inline(&[(7, b"ab"), (8, b"cd"), (9, b"ef")]);
    assert_eq!(
        bytes,
        [&[7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 1, 2, 0][..], b"abcdef"].concat()
    );
}

#[test]
fn ids_and_ends_take_the_least_width() {
    let bytes = inline(&[(1, b"a"), (0x102, b""), (0x10001, b"bcd")]);
    let header = [1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 3, 0];
    let columns = [0x01, 0x01, 0, 0, 0, 1, 1, 1, 4];
    assert_eq!(bytes, [&header[..], &columns, b"abcd"].concat());
    let wide = inline(&[(1, &[1; 200]), (2, &[2; 56])]);
    assert_eq!(wide[10..16], [0, 2, 200, 0, 0, 1]);
    let narrow = inline(&[(1, &[1; 200]), (2, &[2; 55])]);
    assert_eq!(narrow[10..14], [0, 0, 200, 255]);
}

#[test]
fn blobs_are_marked_in_a_bitmap() {
    let head = SegmentAddr {
        page: LogicalPage(0x0203),
        offset: 9,
    };
    let reference = blob_reference(head, 5_000).to_vec();
    let tokens = [
        (5, (b"inline".to_vec(), false)),
        (6, (reference.clone(), true)),
    ];
    let bytes = build(&tokens.into_iter().collect());
    let header = [5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 4, 6, 20, 0b10];
    assert_eq!(
        bytes,
        [
            &header[..],
            b"inline",
            &[3, 2, 0, 0, 9, 0, 0x88, 0x13, 0, 0, 0, 0, 0, 0]
        ]
        .concat()
    );
    let pack = Pack::parse(&bytes).unwrap();
    pack.check(INLINE_LEN_MAX).unwrap();
    assert_eq!(
        pack.get(TokenId(6), None),
        Ok(Some(Stored::Blob {
            head,
            length: 5_000
        }))
    );
    assert!(matches!(
        pack.check(5_000),
        Err(PackFlaw::InlineLimit { index: 1, .. })
    ));
}

#[test]
fn slack_is_short_and_zero() {
    let mut bytes = inline(&[(7, b"ab"), (9, b"c")]);
    for _ in 0..3 {
        bytes.push(0);
        Pack::parse(&bytes).unwrap().check(INLINE_LEN_MAX).unwrap();
    }
    *bytes.last_mut().unwrap() = 1;
    assert!(matches!(
        Pack::parse(&bytes).unwrap().check(INLINE_LEN_MAX),
        Err(PackFlaw::Slack { got: 3 })
    ));
    bytes.push(0);
    let check = Pack::parse(&bytes).unwrap().check(INLINE_LEN_MAX);
    assert!(matches!(check, Err(PackFlaw::Slack { got: 4 })));
    let mut uniform = inline(&[(7, b"a"), (8, b"b")]);
    uniform.extend_from_slice(&[0; 4]);
    assert!(matches!(
        Pack::parse(&uniform),
        Err(PackFlaw::Slack { got: 4 })
    ));
}

#[test]
fn check_refuses_wasteful_encodings() {
    let flaw = |bytes: &[u8]| {
        Pack::parse(bytes)
            .unwrap()
            .check(INLINE_LEN_MAX)
            .unwrap_err()
    };
    // Consecutive ids spelled out.
    let spelled = [7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 1, 1, 0, 1, b'a', b'b'];
    assert!(matches!(
        flaw(&spelled),
        PackFlaw::Header {
            field: "id width",
            expected: 0,
            got: 1
        }
    ));
    // Equal lengths with ends.
    let ends = [7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 2, b'a', b'b'];
    assert!(matches!(
        flaw(&ends),
        PackFlaw::Header {
            field: "kind",
            expected: 1,
            got: 0
        }
    ));
    // Ids that do not ascend.
    let order = [
        7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 1, 1, 0, 5, 5, b'a', b'b', b'c',
    ];
    assert!(matches!(flaw(&order), PackFlaw::Order { index: 2, .. }));
}

fn tokens() -> impl Strategy<Value = BTreeMap<u64, (Vec<u8>, bool)>> {
    let id = prop_oneof![0u64..40, any::<u64>(), (0u64..9).prop_map(|n| u64::MAX - n)];
    let blob = (1u32..9, 8u16..99, 1_025u64..).prop_map(|(page, offset, length)| {
        let head = SegmentAddr {
            page: LogicalPage(page),
            offset,
        };
        (blob_reference(head, length).to_vec(), true)
    });
    let bytes = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| (bytes, false)),
        4 => Just((vec![1, 2, 3], false)),
        1 => blob,
    ];
    prop::collection::btree_map(id, bytes, 1..60)
}

proptest! {
    #[test]
    fn round_trip(tokens in tokens(), probe in any::<u64>(), next in prop::option::of(any::<u64>()), slack in 0usize..4) {
        let mut bytes = build(&tokens);
        bytes.resize(bytes.len() + slack, 0);
        let pack = Pack::parse(&bytes).unwrap();
        pack.check(INLINE_LEN_MAX).unwrap();
        prop_assert_eq!(pack.len(), tokens.len());
        for (index, (id, (stored, blob))) in tokens.iter().enumerate() {
            prop_assert_eq!(pack.id(index).0, *id);
            prop_assert_eq!(pack.stored(index).unwrap(), stored.as_slice());
            prop_assert_eq!(pack.is_blob(index), *blob);
            let at = pack.stored_at(index, &bytes);
            prop_assert_eq!(&bytes[at..at + stored.len()], stored.as_slice());
        }
        for id in tokens.keys().flat_map(|id| [id.wrapping_sub(1), *id, id.wrapping_add(1)]).chain([probe]) {
            let found = pack.get(TokenId(id), next.map(TokenId)).unwrap();
            prop_assert_eq!(found.is_some(), tokens.contains_key(&id));
            let below = tokens.range(..=id).count();
            prop_assert_eq!(pack.count_up_to(TokenId(id), next.map(TokenId)), below);
        }
    }

    #[test]
    fn damaged_packs_are_safe(tokens in tokens(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>(), keep in any::<bool>()) {
        let mut bytes = build(&tokens);
        for (at, byte) in damage {
            let at = if byte % 2 == 0 { at.index(bytes.len()) } else { at.index(14.min(bytes.len())) };
            bytes[at] = byte;
        }
        if !keep {
            bytes.truncate(cut.index(bytes.len()));
        }
        walk(&bytes, tokens.keys().copied());
    }

    #[test]
    fn arbitrary_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..300), id in any::<u64>()) {
        walk(&bytes, [id].into_iter());
    }
}

/// Reads everything; must not panic.
fn walk(bytes: &[u8], ids: impl Iterator<Item = u64>) {
    let Ok(pack) = Pack::parse(bytes) else {
        return;
    };
    for index in 0..pack.len() {
        let _ = (pack.id(index), pack.slot(index), pack.stored(index));
    }
    for id in ids {
        let _ = pack.get(TokenId(id), Some(TokenId(id.wrapping_add(9))));
        let _ = pack.get(TokenId(id), None);
    }
    if pack.check(INLINE_LEN_MAX).is_ok() {
        for index in 0..pack.len() {
            assert!(pack.get(pack.id(index), None).unwrap().is_some());
        }
    }
}
