//! What allocating, replacing and reading segments costs, and appending to a blob.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use shroom_page::{PageSize, PageStore, Roots};
use shroom_seg::{SegmentAddr, SegmentTxn, blob_slice, segment};

/// Segments in the store that is read and changed.
const SEGMENTS: usize = 100_000;

/// A length from 8 to 507 bytes that follows from `n`.
fn length(n: usize) -> usize {
    8 + n.wrapping_mul(2_654_435_761) / 16 % 500
}

fn build() -> (PageStore, [u8; 64], Vec<SegmentAddr>) {
    let store = PageStore::in_memory(PageSize::DEFAULT).expect("a store in memory");
    let mut txn = store.begin().expect("no other transaction");
    let mut segments = SegmentTxn::open(&mut txn, &[0; 64]).expect("an empty store");
    let data = [7; 512];
    let addrs = (0..SEGMENTS).map(|n| segments.allocate(&data[..length(n)]).expect("allocate"));
    let addrs = addrs.collect();
    let seg = segments.finish().expect("finish");
    txn.commit(Roots {
        seg,
        ..Roots::default()
    })
    .expect("commit");
    (store, seg, addrs)
}

fn segments(criterion: &mut Criterion) {
    criterion.bench_function("allocate 100,000 segments, commit", |bencher| {
        bencher.iter_batched(|| (), |()| build(), BatchSize::PerIteration);
    });

    let (store, seg, addrs) = build();
    criterion.bench_function(
        "replace 10,000 of 100,000 segments by other sizes",
        |bencher| {
            bencher.iter(|| {
                let mut txn = store.begin().expect("no other transaction");
                let mut segments = SegmentTxn::open(&mut txn, &seg).expect("open");
                for n in 0..10_000 {
                    let addr = addrs[n * 7 % SEGMENTS];
                    black_box(
                        segments
                            .replace(addr, &[9; 512][..length(n + 1)])
                            .expect("replace"),
                    );
                }
                segments.finish().expect("finish")
            });
        },
    );

    let snapshot = store.snapshot();
    let mut n = 0;
    criterion.bench_function("read one of 100,000 segments", |bencher| {
        bencher.iter(|| {
            n = (n + 7919) % SEGMENTS;
            segment(&snapshot, addrs[n]).expect("segment").len()
        });
    });
}

fn blobs(criterion: &mut Criterion) {
    let store = PageStore::in_memory(PageSize::DEFAULT).expect("a store in memory");
    let data = vec![5; 1 << 20];
    let mut txn = store.begin().expect("no other transaction");
    let mut segments = SegmentTxn::open(&mut txn, &[0; 64]).expect("an empty store");
    let head = segments.blob_create(&[&data]).expect("create");
    let small = segments.blob_create(&[&data[..60_000]]).expect("create");
    let seg = segments.finish().expect("finish");
    let snapshot = txn
        .commit(Roots {
            seg,
            ..Roots::default()
        })
        .expect("commit");

    criterion.bench_function("append 100 bytes to a blob of 1 MiB", |bencher| {
        bencher.iter(|| {
            let mut txn = store.begin().expect("no other transaction");
            let mut segments = SegmentTxn::open(&mut txn, &seg).expect("open");
            let head = segments
                .blob_append(head, 1 << 20, &[&data[..100]])
                .expect("append");
            black_box(head);
            segments.finish().expect("finish")
        });
    });
    criterion.bench_function("slice of a blob of 60,000 bytes", |bencher| {
        bencher.iter(|| {
            blob_slice(&snapshot, small, 60_000)
                .expect("blob")
                .map(<[u8]>::len)
        });
    });
}

criterion_group!(benches, segments, blobs);
criterion_main!(benches);
