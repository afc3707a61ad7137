//! What blobs promise beyond their bytes: one slice where the layout allows, costs in proportion, bounded memory.

use std::path::Path;
use std::sync::Arc;

use shroom_page::storage::{FileStorage, OpenMode};
use shroom_page::{PageRead, PageSize, PageStore, Roots, Snapshot};
use shroom_seg::{
    BlobChunks, References, SegError, SegmentAddr, SegmentTxn, blob_pages, blob_read, blob_slice,
    blob_to_vec, verify,
};

/// A store, its root, and one transaction a call.
struct Store {
    pages: PageStore,
    seg: [u8; 64],
}

impl Store {
    /// In a file, where a run of pages is one slice (in memory it is so up to 64 KiB).
    fn in_file(name: &str, page_bytes: u32) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let storage = FileStorage::open(&path, OpenMode::REPLACE).unwrap();
        let page_size = PageSize::new(page_bytes).unwrap();
        Self {
            pages: PageStore::create(Arc::new(storage), page_size).unwrap(),
            seg: [0; 64],
        }
    }

    fn new(page_bytes: u32) -> Self {
        Self {
            pages: PageStore::in_memory(PageSize::new(page_bytes).unwrap()).unwrap(),
            seg: [0; 64],
        }
    }

    fn write<T>(&mut self, edit: impl FnOnce(&mut SegmentTxn<'_, '_>) -> T) -> T {
        let mut txn = self.pages.begin().unwrap();
        let mut segments = SegmentTxn::open(&mut txn, &self.seg).unwrap();
        let result = edit(&mut segments);
        self.seg = segments.finish().unwrap();
        txn.commit(Roots {
            seg: self.seg,
            ..Roots::default()
        })
        .unwrap();
        result
    }

    fn snapshot(&self) -> Snapshot {
        self.pages.snapshot()
    }
}

fn fill(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect()
}

#[test]
fn a_blob_written_at_once_is_one_slice_where_little_is_wasted() {
    for page in PageSize::all().map(PageSize::bytes) {
        let mut store = Store::in_file(&format!("slices-{page}"), page as u32);
        for (length, whole) in [
            (0, true),
            (1, true),
            (page - 14, true),
            (page - 13, true),
            (page, true),
            (page + 1, false),
            (2 * page, true),
            (40 * page + 1, true),
            (40 * page - 1, true),
            (16 * page + page / 2 - page / 16, false),
            (16 * page + page / 2 + 1, true),
        ] {
            let data = fill(length);
            let head = store.write(|segments| segments.blob_create(&[&data]).unwrap());
            let snapshot = store.snapshot();
            let slice = blob_slice(&snapshot, head, length as u64).unwrap();
            // A longer run is written by several calls, which the page layer may place apart.
            if length <= 1 << 20 {
                assert_eq!(slice.is_some(), whole, "{length} bytes in pages of {page}");
            }
            assert!(slice.is_none_or(|slice| slice == data));
            assert!(blob_to_vec(&snapshot, head, length as u64).unwrap() == data);
            let pieces = BlobChunks::new(&snapshot, head, length as u64)
                .unwrap()
                .count();
            assert!(pieces <= 3, "{pieces} pieces");
            assert!(
                blob_pages(&snapshot, head, length as u64).unwrap()
                    <= (length.div_ceil(page) + 1) as u64
            );
        }
    }
}

/// Appends `count` times `step` bytes, a transaction each, and gives the bytes written beside those appended.
fn grow(page_bytes: u32, count: usize, step: usize) -> f64 {
    let mut store = Store::new(page_bytes);
    let data = fill(count * step);
    let mut head = store.write(|segments| segments.blob_create(&[]).unwrap());
    let mut written = 0;
    for at in (0..data.len()).step_by(step) {
        let before = store.snapshot();
        head = store.write(|segments| {
            segments
                .blob_append(head, at as u64, &[&data[at..at + step]])
                .unwrap()
        });
        written += changed_pages(&before, &store.snapshot()) * page_bytes as usize;
    }
    let snapshot = store.snapshot();
    assert!(blob_to_vec(&snapshot, head, data.len() as u64).unwrap() == data);
    let pieces = BlobChunks::new(&snapshot, head, data.len() as u64)
        .unwrap()
        .count();
    assert!(
        pieces <= 16 + 2 * (data.len() / (64 << 10)),
        "{pieces} pieces of {}",
        data.len()
    );
    let mut references = References::new();
    references
        .add_blob(&snapshot, head, data.len() as u64)
        .unwrap();
    assert_eq!(
        verify(&snapshot, &store.seg, &references).unwrap().findings,
        []
    );
    // What every append costs: its storage page.
    (written - count * page_bytes as usize) as f64 / data.len() as f64
}

fn changed_pages(before: &Snapshot, after: &Snapshot) -> usize {
    let page = |snapshot: &Snapshot, number| {
        snapshot
            .page(shroom_page::LogicalPage(number))
            .ok()
            .map(<[u8]>::to_vec)
    };
    (1..after.logical_pages())
        .filter(|&number| page(after, number).is_some_and(|p| Some(p) != page(before, number)))
        .count()
}

#[test]
fn appending_costs_the_appended_bytes() {
    for (page, count, step) in [
        (512, 600, 100),
        (512, 300, 512),
        (4096, 200, 1000),
        (4096, 60, 20_000),
        (4096, 40, 100_000),
    ] {
        let ratio = grow(page, count, step);
        assert!(
            ratio < 5.0,
            "{ratio:.2} bytes a byte for {count} appends of {step} with pages of {page}"
        );
    }
}

#[test]
fn memory_does_not_follow_the_length() {
    let mut store = Store::in_file("memory", 4096);
    let (part, length) = (fill(1 << 20), 65 << 20);
    let head = store.write(|segments| {
        let parts: Vec<&[u8]> = std::iter::repeat_n(&part[..], 64).collect();
        let head = segments.blob_create(&parts).unwrap();
        assert!(segments.dirty_bytes() < 100_000);
        let head = segments.blob_append(head, 64 << 20, &[&part]).unwrap();
        assert!(segments.dirty_bytes() < 100_000);
        head
    });
    let snapshot = store.snapshot();
    assert!(
        blob_to_vec(&snapshot, head, length)
            .unwrap()
            .chunks(1 << 20)
            .all(|chunk| chunk == part)
    );
    store.write(|segments| segments.blob_free(head, length).unwrap());
    assert_eq!(store.seg, [0; 64]);
}

#[test]
fn a_wrong_length_is_an_error() {
    let mut store = Store::new(512);
    for length in [0u64, 10, 498, 499, 512, 700, 5000, 40 * 512 - 3] {
        let data = fill(length as usize);
        let head = store.write(|segments| segments.blob_create(&[&data]).unwrap());
        let snapshot = store.snapshot();
        for wrong in [
            0,
            length / 2,
            length.saturating_sub(513),
            length + 4,
            length + 512,
            u64::MAX,
        ] {
            // Within its last page a padded blob does not know its length; `verify` sees a value that was cut.
            let padded = length > 498 && wrong.div_ceil(512) == length.div_ceil(512);
            if wrong.abs_diff(length) > 3 {
                let result = blob_to_vec(&snapshot, head, wrong);
                assert!(
                    padded || result.unwrap_err().is_corruption(),
                    "{length} as {wrong}"
                );
                let added = References::new().add_blob(&snapshot, head, wrong);
                assert!(
                    added.is_err() || (padded && wrong > length),
                    "{length} as {wrong}"
                );
            }
        }
        let past = blob_read(&snapshot, head, length, length, &mut [0]);
        assert!(matches!(past, Err(SegError::Range { .. })));
        let grown = store.pages.begin().map(|mut txn| {
            let mut segments = SegmentTxn::open(&mut txn, &store.seg).unwrap();
            segments.blob_truncate(head, length, length + 1)
        });
        assert!(matches!(grown, Ok(Err(SegError::Range { .. }))));
    }
}

#[test]
fn verify_names_what_is_leaked_or_shared() {
    let mut store = Store::new(512);
    let (one, two, blob) = store.write(|segments| {
        let addrs = (
            segments.allocate(b"one").unwrap(),
            segments.allocate(b"two").unwrap(),
        );
        (
            addrs.0,
            addrs.1,
            segments.blob_create(&[&fill(5000)]).unwrap(),
        )
    });
    let snapshot = store.snapshot();
    let check = |add: &dyn Fn(&mut References)| {
        let mut references = References::new();
        add(&mut references);
        let report = verify(&snapshot, &store.seg, &references).unwrap();
        report
            .findings
            .iter()
            .map(|finding| finding.to_string())
            .collect::<Vec<_>>()
    };
    let blob_of = |references: &mut References| references.add_blob(&snapshot, blob, 5000).unwrap();
    let sound = check(&|references| {
        [one, two]
            .into_iter()
            .for_each(|addr| references.add_segment(addr));
        blob_of(references);
    });
    assert!(sound.is_empty(), "{sound:?}");
    let leaked = check(&|references| {
        references.add_segment(one);
        blob_of(references);
    });
    assert_eq!(
        leaked,
        [format!("{two}: segment is live, but nothing references it")]
    );
    let shared = check(&|references| {
        [one, two, two]
            .into_iter()
            .for_each(|addr| references.add_segment(addr));
        blob_of(references);
        blob_of(references);
    });
    assert!(
        shared
            .iter()
            .any(|text| *text == format!("{two}: segment is referenced twice"))
    );
    assert!(
        shared
            .iter()
            .any(|text| text.contains("is used as extent page and as extent page"))
    );
    let lost = check(&|references| {
        [one, two]
            .into_iter()
            .for_each(|addr| references.add_segment(addr));
        references.add_segment(SegmentAddr::new(one.page, 9));
    });
    assert!(lost.iter().any(|text| text.contains("none is live")));
    assert_eq!(
        lost.iter()
            .filter(|text| text.contains("nothing uses it"))
            .count(),
        10
    );
}

#[track_caller]
fn assert_sound(store: &Store, head: SegmentAddr, data: &[u8]) {
    let snapshot = store.snapshot();
    assert!(blob_to_vec(&snapshot, head, data.len() as u64).unwrap() == data);
    let mut references = References::new();
    references
        .add_blob(&snapshot, head, data.len() as u64)
        .unwrap();
    let report = verify(&snapshot, &store.seg, &references).unwrap();
    assert_eq!(report.findings, []);
}

/// In the tail, in an extent, in both, in the padded last page; and not past the end.
#[test]
fn overwritten_bytes_cost_the_pages_touched() {
    for page in [512, 4096_usize] {
        for length in [10, 3 * page + 70, 40 * page, 100 * page - 1, 9 * page + 1] {
            let mut store = Store::new(page as u32);
            let mut data = fill(length);
            let mut head = store.write(|segments| segments.blob_create(&[&data]).unwrap());
            let places = [0, length / 2, length - length.min(page + 3), length - 1];
            for (byte, at) in (1..).zip(places) {
                let end = length.min(at + page / 2);
                let before = store.snapshot();
                data[at..end].fill(byte);
                let bytes = &data[at..end];
                head = store.write(|segments| {
                    segments
                        .blob_write_at(head, length as u64, at as u64, bytes)
                        .unwrap()
                });
                // Two pages of an extent, and that of the tail.
                assert!(changed_pages(&before, &store.snapshot()) <= 3);
                assert_sound(&store, head, &data);
            }
            let past = store
                .write(|segments| segments.blob_write_at(head, length as u64, length as u64, &[1]));
            assert!(matches!(past, Err(SegError::Range { .. })), "{past:?}");
        }
    }
}

/// Pages written beforehand become a blob, or the end of one; what does not add up is refused.
#[test]
fn a_blob_takes_in_the_pages_of_a_stream() {
    let page = 512;
    let mut store = Store::new(page as u32);
    let streamed = |store: &Store, bytes: &[u8]| {
        let mut stream = store.pages.page_stream().unwrap();
        store.pages.write_stream(&mut stream, bytes).unwrap();
        stream
    };
    let mut data = fill(20 * page + 33);
    let (pages, tail) = data.split_at(20 * page);
    let stream = streamed(&store, pages);
    let length = data.len() as u64;
    let head = store.write(|segments| segments.blob_adopt(None, 0, stream, tail, length).unwrap());
    assert_sound(&store, head, &data);
    // Behind its first 12 pages, padded at the end.
    let mut more = fill(7 * page);
    more[7 * page - 5..].fill(0);
    let stream = streamed(&store, &more);
    data.truncate(12 * page);
    data.extend_from_slice(&more[..7 * page - 5]);
    let (kept, new_length) = (12 * page as u64, data.len() as u64);
    let head = store.write(|segments| {
        segments
            .blob_adopt(Some((head, length)), kept, stream, &[], new_length)
            .unwrap()
    });
    assert_sound(&store, head, &data);
    // Too many pages kept, a length that is another, a place inside a page.
    for (kept, length) in [(kept * 2, kept * 2 + 512), (kept, kept + 600), (100, 612)] {
        let stream = streamed(&store, &more[..page]);
        let mut txn = store.pages.begin().unwrap();
        let mut segments = SegmentTxn::open(&mut txn, &store.seg).unwrap();
        let old = Some((head, new_length));
        let refused = segments.blob_adopt(old, kept, stream, &[], length);
        assert!(
            matches!(refused, Err(SegError::Range { .. })),
            "{refused:?}"
        );
    }
    assert_sound(&store, head, &data);
    drop(store.pages.begin().unwrap());
    assert_eq!(store.pages.stats(false).unwrap().reserved_pages, 0);
}
