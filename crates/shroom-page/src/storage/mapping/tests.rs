use std::io::Write;

use super::*;

fn mapped(bytes: &[u8], len: u64) -> View {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    View::mapped(
        Arc::new(Mapping::new(&Arc::new(file), bytes.len() as u64).unwrap()),
        len,
    )
}

fn in_chunks(bytes: &[u8], len: u64) -> View {
    let chunks = bytes.chunks(CHUNK_LEN).map(|piece| {
        let mut chunk = vec![0; CHUNK_LEN];
        chunk[..piece.len()].copy_from_slice(piece);
        Chunk::from(chunk)
    });
    View::chunks(Arc::new(chunks.collect()), len)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[test]
fn a_mapped_slice_is_any_range_within_the_view() {
    let bytes = pattern(10_000);
    let view = mapped(&bytes, 9_000);
    assert_eq!((view.len(), view.is_empty()), (9_000, false));
    for (offset, len) in [
        (0, 0),
        (0, 1),
        (0, 9_000),
        (4_095, 2),
        (8_999, 1),
        (9_000, 0),
    ] {
        assert_eq!(
            view.slice(offset as u64, len),
            Some(&bytes[offset..offset + len]),
            "{offset} {len}"
        );
    }
    // The bytes are in the file and in the mapping, but not in the view.
    for (offset, len) in [(0, 9_001), (8_999, 2), (9_000, 1), (9_001, 0), (1 << 40, 1)] {
        assert_eq!(view.slice(offset, len), None, "{offset} {len}");
    }
    for (offset, len) in [
        (u64::MAX, 1),
        (u64::MAX, 0),
        (1, usize::MAX),
        (0, usize::MAX),
        (u64::MAX, usize::MAX),
    ] {
        assert_eq!(view.slice(offset, len), None, "{offset} {len}");
    }
}

#[test]
fn a_slice_of_chunks_is_contiguous_or_none() {
    let bytes = pattern(3 * CHUNK_LEN);
    let view = in_chunks(&bytes, 2 * CHUNK_LEN as u64 + 700);
    for page_size in crate::PageSize::all().map(crate::PageSize::bytes) {
        for offset in (0..2 * CHUNK_LEN).step_by(page_size) {
            assert_eq!(
                view.slice(offset as u64, page_size),
                Some(&bytes[offset..offset + page_size])
            );
        }
    }
    let chunk = CHUNK_LEN as u64;
    assert_eq!(
        view.slice(2 * chunk, 700),
        Some(&bytes[2 * CHUNK_LEN..][..700])
    );
    assert_eq!(view.slice(2 * chunk + 700, 0), Some(&[][..]));
    for (offset, len) in [
        (chunk - 1, 2),
        (0, CHUNK_LEN + 1),
        (2 * chunk, 701),
        (2 * chunk + 700, 1),
        (2 * chunk + 701, 0),
        (u64::MAX, 1),
        (u64::MAX, usize::MAX),
        (1, usize::MAX),
    ] {
        assert_eq!(view.slice(offset, len), None, "{offset} {len}");
    }
}

#[test]
fn an_empty_view_has_only_the_empty_slice() {
    let view = View::chunks(Arc::default(), 0);
    assert!(view.is_empty());
    assert_eq!(view.slice(0, 0), Some(&[][..]));
    assert_eq!(view.slice(0, 1), None);
    assert_eq!(view.slice(1, 0), None);
    assert_eq!(view.position_of(&[1]), None);
}

#[test]
fn position_of_knows_its_own_bytes_only() {
    let bytes = pattern(10_000);
    let view = mapped(&bytes, 9_000);
    let longer = View {
        mapped_len: 10_000,
        ..view.clone()
    };
    for (offset, len) in [(0, 1), (0, 9_000), (77, 33), (8_999, 1)] {
        assert_eq!(
            view.position_of(view.slice(offset, len).unwrap()),
            Some(offset)
        );
    }
    assert_eq!(
        longer.position_of(longer.slice(8_990, 11).unwrap()),
        Some(8_990)
    );
    assert_eq!(
        view.position_of(longer.slice(8_990, 11).unwrap()),
        None,
        "beyond the view"
    );
    assert_eq!(view.position_of(&bytes[..10]), None, "another allocation");
    assert_eq!(view.position_of(view.slice(5, 0).unwrap()), None, "empty");
    let other = mapped(&bytes, 9_000);
    assert_eq!(
        view.position_of(other.slice(0, 9_000).unwrap()),
        None,
        "another mapping"
    );
    let chunks = in_chunks(&bytes, 9_000);
    assert_eq!(chunks.position_of(chunks.slice(0, 10).unwrap()), None);
}

#[test]
fn capacity_leaves_room_to_grow() {
    if cfg!(unix) {
        assert_eq!(mapping_capacity(1), 1 << 20);
        assert_eq!(mapping_capacity(1 << 19), 1 << 20);
        assert_eq!(mapping_capacity((1 << 19) + 1), 1 << 21);
        assert_eq!(mapping_capacity(3 << 30), 8 << 30);
        assert_eq!(mapping_capacity(u64::MAX), u64::MAX);
    }
}

#[test]
#[should_panic(expected = "view of")]
fn a_view_beyond_its_mapping_is_our_bug() {
    mapped(&[1], 1 << 30);
}

#[test]
fn views_cross_threads_and_outlive_their_origin() {
    let bytes = pattern(5_000);
    let view = mapped(&bytes, 5_000);
    let clone = view.clone();
    drop(view);
    let read = std::thread::spawn(move || clone.slice(1_000, 4_000).map(<[u8]>::to_vec))
        .join()
        .unwrap();
    assert_eq!(read.as_deref(), Some(&bytes[1_000..]));
}

#[test]
fn debug_says_what_it_is() {
    assert!(format!("{:?}", mapped(&[1, 2], 2)).starts_with("View { len: 2, mapped: "));
    assert_eq!(
        format!("{:?}", in_chunks(&[1], 1)),
        "View { len: 1, chunks: 1 }"
    );
}
