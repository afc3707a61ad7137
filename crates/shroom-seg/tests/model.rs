//! The store against a map of byte strings: any sequence of operations, commits, aborts and reopenings, at every page
//! size, with a full check after each commit.

use proptest::prelude::*;
use shroom_page::{PageRead, PageSize, PageStore, Roots, Snapshot};
use shroom_seg::{
    BlobChunks, References, SegmentAddr, SegmentTxn, blob_pages, blob_read, blob_slice,
    blob_to_vec, segment, verify,
};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Op {
    Allocate(Size),
    Create(Size),
    Free(usize),
    Replace(usize, Size),
    Append(usize, Size),
    Truncate(usize, u16),
    Commit,
    Abort,
}

/// A length in 256ths of a page, and bytes beside it.
#[derive(Clone, Copy, Debug)]
struct Size(u32, u32);

impl Size {
    fn bytes(self, page_size: usize) -> usize {
        page_size / 256 * self.0 as usize + self.1 as usize
    }

    fn segment(self, page_size: usize) -> usize {
        self.bytes(page_size) % (page_size - 11)
    }
}

fn size() -> impl Strategy<Value = Size> {
    let pages = prop_oneof![8 => 0u32..64, 4 => 0u32..256, 4 => 250u32..262, 4 => 0u32..1200, 1 => 0u32..20_000];
    (pages, 0u32..40).prop_map(|(pages, bytes)| Size(pages, bytes))
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => size().prop_map(Op::Allocate),
        3 => size().prop_map(Op::Create),
        5 => any::<usize>().prop_map(Op::Free),
        4 => (any::<usize>(), size()).prop_map(|(pick, size)| Op::Replace(pick, size)),
        5 => (any::<usize>(), size()).prop_map(|(pick, size)| Op::Append(pick, size)),
        3 => (any::<usize>(), any::<u16>()).prop_map(|(pick, cut)| Op::Truncate(pick, cut)),
        2 => Just(Op::Commit),
        1 => Just(Op::Abort),
    ];
    prop::collection::vec(op, 1..150)
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Item {
    Segment(SegmentAddr),
    Blob(SegmentAddr),
}

/// What should be stored, by an id that lives only here.
type Live = BTreeMap<usize, (Item, Vec<u8>)>;

/// Bytes that differ between calls and positions.
fn fill(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ seed.wrapping_mul(97)) as u8 | 1)
        .collect()
}

/// In pieces, of which one is long.
fn parts(data: &[u8]) -> [&[u8]; 4] {
    let (one, rest) = data.split_at(data.len() / 7);
    let (two, three) = rest.split_at(rest.len().min(1));
    [one, two, &[], three]
}

fn compare<R: PageRead>(pages: &R, live: &Live) {
    for (item, data) in live.values() {
        match *item {
            Item::Segment(addr) => {
                let found = segment(pages, addr).unwrap();
                assert_eq!(found[..data.len()], data[..]);
                assert!(
                    found.len() - data.len() < 4
                        && found[data.len()..].iter().all(|&byte| byte == 0)
                );
            }
            Item::Blob(head) => {
                let length = data.len() as u64;
                assert!(blob_to_vec(pages, head, length).unwrap() == *data);
                if let Some(slice) = blob_slice(pages, head, length).unwrap() {
                    assert!(slice == data);
                }
                let from = data.len() / 3;
                let mut buffer = vec![0; (data.len() - from) / 2];
                blob_read(pages, head, length, from as u64, &mut buffer).unwrap();
                assert!(buffer == data[from..from + buffer.len()]);
                let chunks: usize = BlobChunks::new(pages, head, length)
                    .unwrap()
                    .map(|chunk| chunk.unwrap().len())
                    .sum();
                assert_eq!(chunks, data.len());
                let touched =
                    blob_pages(pages, head, length).unwrap() as usize * pages.page_size().bytes();
                assert!(
                    touched >= data.len() && touched <= data.len() + 3 * pages.page_size().bytes()
                );
            }
        }
    }
}

fn check(snapshot: &Snapshot, seg: &[u8; 64], live: &Live) {
    let mut references = References::new();
    for (item, data) in live.values() {
        match *item {
            Item::Segment(addr) => references.add_segment(addr),
            Item::Blob(head) => references
                .add_blob(snapshot, head, data.len() as u64)
                .unwrap(),
        }
    }
    let report = verify(snapshot, seg, &references).unwrap();
    assert_eq!(report.findings, []);
    if live.is_empty() {
        assert_eq!(seg, &[0; 64], "an empty store is as new");
    }
}

fn step(segments: &mut SegmentTxn<'_, '_>, live: &mut Live, seed: usize, op: &Op) {
    let page_size = segments.pages().page_size().bytes();
    let ids: Vec<usize> = live.keys().copied().collect();
    let picked = |pick: usize| (!ids.is_empty()).then(|| ids[pick % ids.len()]);
    match *op {
        Op::Allocate(size) => {
            let data = fill(seed, size.segment(page_size));
            let addr = segments.allocate(&data).unwrap();
            live.insert(seed, (Item::Segment(addr), data));
        }
        Op::Create(size) => {
            let data = fill(seed, size.bytes(page_size));
            let head = segments.blob_create(&parts(&data)).unwrap();
            live.insert(seed, (Item::Blob(head), data));
        }
        Op::Free(pick) => {
            if let Some((item, data)) = picked(pick).and_then(|id| live.remove(&id)) {
                match item {
                    Item::Segment(addr) => segments.free(addr).unwrap(),
                    Item::Blob(head) => segments.blob_free(head, data.len() as u64).unwrap(),
                }
            }
        }
        Op::Replace(pick, size) => {
            if let Some((Item::Segment(addr), old)) = picked(pick).and_then(|id| live.get_mut(&id))
            {
                let data = fill(seed, size.segment(page_size));
                *addr = segments.replace(*addr, &data).unwrap();
                *old = data;
            }
        }
        Op::Append(pick, size) => {
            if let Some((Item::Blob(head), data)) = picked(pick).and_then(|id| live.get_mut(&id)) {
                let more = fill(seed, size.bytes(page_size));
                *head = segments
                    .blob_append(*head, data.len() as u64, &parts(&more))
                    .unwrap();
                data.extend_from_slice(&more);
            }
        }
        Op::Truncate(pick, cut) => {
            if let Some((Item::Blob(head), data)) = picked(pick).and_then(|id| live.get_mut(&id)) {
                let length = data.len() * usize::from(cut) / usize::from(u16::MAX);
                *head = segments
                    .blob_truncate(*head, data.len() as u64, length as u64)
                    .unwrap();
                data.truncate(length);
            }
        }
        Op::Commit | Op::Abort => unreachable!("handled by the caller"),
    }
}

fn run(page_size: PageSize, ops: &[Op]) -> [u8; 64] {
    let store = PageStore::in_memory(page_size).unwrap();
    let mut committed = Live::new();
    let mut seg = [0; 64];
    let with_end = ops
        .iter()
        .chain([&Op::Commit])
        .cloned()
        .enumerate()
        .collect::<Vec<_>>();
    for batch in with_end.split_inclusive(|(_, op)| matches!(op, Op::Commit | Op::Abort)) {
        let mut live = committed.clone();
        let mut txn = store.begin().unwrap();
        let mut segments = SegmentTxn::open(&mut txn, &seg).unwrap();
        for (seed, op) in batch {
            match op {
                Op::Commit => {
                    compare(segments.pages(), &live);
                    seg = segments.finish().unwrap();
                    let snapshot = txn
                        .commit(Roots {
                            seg,
                            ..Roots::default()
                        })
                        .unwrap();
                    compare(&snapshot, &live);
                    check(&snapshot, &seg, &live);
                    committed = live;
                    break;
                }
                Op::Abort => break,
                op => step(&mut segments, &mut live, *seed, op),
            }
        }
    }
    // Free everything: nothing may be left.
    let mut txn = store.begin().unwrap();
    let mut segments = SegmentTxn::open(&mut txn, &seg).unwrap();
    for (item, data) in committed.values() {
        match *item {
            Item::Segment(addr) => segments.free(addr).unwrap(),
            Item::Blob(head) => segments.blob_free(head, data.len() as u64).unwrap(),
        }
    }
    let empty = segments.finish().unwrap();
    check(
        &txn.commit(Roots {
            seg: empty,
            ..Roots::default()
        })
        .unwrap(),
        &empty,
        &Live::new(),
    );
    seg
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn model_512(ops in ops()) { run(PageSize::new(512).unwrap(), &ops); }
    #[test]
    fn model_1024(ops in ops()) { run(PageSize::new(1024).unwrap(), &ops); }
    #[test]
    fn model_2048(ops in ops()) { run(PageSize::new(2048).unwrap(), &ops); }
    #[test]
    fn model_4096(ops in ops()) { run(PageSize::new(4096).unwrap(), &ops); }
    #[test]
    fn model_8192(ops in ops()) { run(PageSize::new(8192).unwrap(), &ops); }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn model_16384(ops in ops()) { run(PageSize::new(16_384).unwrap(), &ops); }
    #[test]
    fn model_32768(ops in ops()) { run(PageSize::new(32_768).unwrap(), &ops); }
    #[test]
    fn model_65536(ops in ops()) { run(PageSize::new(65_536).unwrap(), &ops); }

    #[test]
    fn the_same_operations_give_the_same_root(ops in ops()) {
        let page_size = PageSize::new(512).unwrap();
        prop_assert_eq!(run(page_size, &ops), run(page_size, &ops));
    }
}
