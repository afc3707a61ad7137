use proptest::prelude::*;

use super::*;

const CHUNK: u64 = CHUNK_LEN as u64;

fn kind<T: fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn bytes_round_trip_at_chunk_edges() {
    for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 3 * CHUNK_LEN] {
        let bytes: Vec<u8> = (0..len).map(|i| (i % 253) as u8).collect();
        let storage = MemoryStorage::from_bytes(bytes.clone());
        assert_eq!(storage.len().unwrap(), len as u64);
        assert_eq!(storage.to_bytes(), bytes);
    }
}

#[test]
fn a_clone_is_the_same_storage() {
    let storage = MemoryStorage::new();
    let other = storage.clone();
    storage.grow(10).unwrap();
    other.write_at(3, b"abc").unwrap();
    assert_eq!(storage.to_bytes(), b"\0\0\0abc\0\0\0\0");
    assert_eq!(format!("{storage:?}"), "MemoryStorage { len: 10 }");
}

#[test]
fn a_view_does_not_change() {
    let storage = MemoryStorage::from_bytes(vec![1; 3 * CHUNK_LEN]);
    let view = storage.view(2 * CHUNK).unwrap();
    storage.write_at(CHUNK - 2, &[9; 4]).unwrap();
    storage.punch_hole(0, CHUNK).unwrap();
    storage.shrink(5).unwrap();
    storage.grow(4 * CHUNK).unwrap();
    assert_eq!(view.len(), 2 * CHUNK);
    for chunk in 0..2 {
        assert!(
            view.slice(chunk * CHUNK, CHUNK_LEN)
                .unwrap()
                .iter()
                .all(|&byte| byte == 1)
        );
    }
    assert_eq!(view.slice(2 * CHUNK, 1), None);
}

#[test]
fn only_written_chunks_are_copied() {
    let storage = MemoryStorage::from_bytes(vec![1; 3 * CHUNK_LEN]);
    let before = storage.view(3 * CHUNK).unwrap();
    storage.write_at(CHUNK, &[2]).unwrap();
    let after = storage.view(3 * CHUNK).unwrap();
    let same = |chunk: u64| {
        let [a, b] = [&before, &after].map(|view| view.slice(chunk * CHUNK, 1).unwrap().as_ptr());
        a == b
    };
    assert_eq!([same(0), same(1), same(2)], [true, false, true]);
    drop(before);
    let address = after.slice(CHUNK, 1).unwrap().as_ptr();
    drop(after);
    storage.write_at(CHUNK, &[3]).unwrap();
    assert_eq!(
        storage
            .view(3 * CHUNK)
            .unwrap()
            .slice(CHUNK, 1)
            .unwrap()
            .as_ptr(),
        address,
        "no view, no copy"
    );
}

#[test]
fn a_hole_has_sharp_edges() {
    let edges = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK];
    for start in edges {
        for end in edges.into_iter().filter(|&end| end >= start) {
            let storage = MemoryStorage::from_bytes(vec![7; 2 * CHUNK_LEN]);
            assert!(storage.punch_hole(start, end - start).unwrap());
            let mut expected = vec![7; 2 * CHUNK_LEN];
            expected[start as usize..end as usize].fill(0);
            assert!(storage.to_bytes() == expected, "{start}..{end}");
        }
    }
}

#[test]
fn ranges_outside_are_errors_and_change_nothing() {
    let storage = MemoryStorage::from_bytes(vec![7; 100]);
    assert_eq!(
        kind(storage.read_at(99, &mut [0; 2])),
        io::ErrorKind::UnexpectedEof
    );
    assert_eq!(
        kind(storage.read_at(u64::MAX, &mut [0; 2])),
        io::ErrorKind::UnexpectedEof
    );
    assert_eq!(
        kind(storage.write_at(99, &[0; 2])),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(storage.write_at(u64::MAX, &[0; 2])),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(kind(storage.punch_hole(99, 2)), io::ErrorKind::InvalidInput);
    assert_eq!(
        kind(storage.punch_hole(1, u64::MAX)),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(kind(storage.view(101)), io::ErrorKind::UnexpectedEof);
    assert_eq!(kind(storage.grow(u64::MAX)), io::ErrorKind::StorageFull);
    assert_eq!(storage.to_bytes(), vec![7; 100]);
}

#[test]
fn grow_never_cuts_and_shrink_never_extends() {
    let storage = MemoryStorage::from_bytes(vec![7; 100]);
    storage.grow(50).unwrap();
    storage.shrink(200).unwrap();
    assert_eq!(storage.to_bytes(), vec![7; 100]);
    storage.sync().unwrap();
}

#[derive(Clone, Debug)]
enum Op {
    Write(u64, Vec<u8>),
    Grow(u64),
    Shrink(u64),
    Punch(u64, u64),
    View(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let limit = 5 * CHUNK / 2;
    // Near a chunk's edge as often as anywhere.
    let offset = prop_oneof![
        0..limit,
        (0..3u64, 0..8u64).prop_map(|(chunk, near)| (chunk * CHUNK + near).saturating_sub(4))
    ];
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        (any::<u8>(), 0..2 * CHUNK_LEN).prop_map(|(byte, len)| vec![byte; len])
    ];
    prop_oneof![
        4 => (offset.clone(), bytes).prop_map(|(offset, bytes)| Op::Write(offset, bytes)),
        2 => offset.clone().prop_map(Op::Grow),
        1 => offset.clone().prop_map(Op::Shrink),
        1 => (offset.clone(), 0..2 * CHUNK).prop_map(|(offset, len)| Op::Punch(offset, len)),
        1 => offset.prop_map(Op::View),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn behaves_like_a_vector(ops in proptest::collection::vec(op(), 1..30)) {
        let storage = MemoryStorage::new();
        let mut model: Vec<u8> = Vec::new();
        let mut views: Vec<(View, Vec<u8>)> = Vec::new();
        for op in ops {
            match op {
                Op::Write(offset, bytes) => {
                    let fits = offset as usize + bytes.len() <= model.len();
                    prop_assert_eq!(storage.write_at(offset, &bytes).is_ok(), fits);
                    if fits {
                        model[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
                    }
                }
                Op::Grow(len) => {
                    storage.grow(len).unwrap();
                    model.resize(model.len().max(len as usize), 0);
                }
                Op::Shrink(len) => {
                    storage.shrink(len).unwrap();
                    model.truncate(len as usize);
                }
                Op::Punch(offset, len) => {
                    let fits = (offset + len) as usize <= model.len();
                    prop_assert_eq!(storage.punch_hole(offset, len).is_ok(), fits);
                    if fits {
                        model[offset as usize..][..len as usize].fill(0);
                    }
                }
                Op::View(len) => {
                    let view = storage.view(len);
                    prop_assert_eq!(view.is_ok(), len as usize <= model.len());
                    views.extend(view.ok().map(|view| (view, model[..len as usize].to_vec())));
                }
            }
            prop_assert_eq!(storage.len().unwrap(), model.len() as u64);
        }
        prop_assert!(storage.to_bytes() == model);
        let mut read = vec![0xAA; model.len()];
        storage.read_at(0, &mut read).unwrap();
        prop_assert!(read == model);
        for (view, expected) in views {
            for (index, piece) in expected.chunks(512).enumerate() {
                prop_assert!(view.slice(index as u64 * 512, piece.len()) == Some(piece));
            }
        }
    }
}
