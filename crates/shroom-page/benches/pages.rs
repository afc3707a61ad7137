//! What the page layer costs: a lookup over a mapped file, a commit in memory, an append to the journal.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shroom_page::storage::{FileStorage, OpenMode};
use shroom_page::{LogicalPage, PageRead, PageSize, PageStore, Roots};

fn filled(store: &PageStore, pages: u32) {
    let mut txn = store.begin().unwrap();
    for number in 0..pages {
        let page = txn.allocate().unwrap();
        txn.page_mut(page).unwrap()[8..12].copy_from_slice(&number.to_le_bytes());
    }
    txn.commit(Roots::default()).unwrap();
}

/// The numbers 1 to `limit` in an order that no prefetcher follows.
fn scattered(limit: u32) -> impl FnMut() -> LogicalPage {
    let mut state = 1_u64;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        LogicalPage(1 + (((state >> 33) * u64::from(limit)) >> 31) as u32)
    }
}

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lookup in a mapped file");
    for pages in [100, 10_000, 100_000] {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(&folder.path().join("file"), OpenMode::CREATE_NEW).unwrap();
        let store = PageStore::create(Arc::new(storage), PageSize::DEFAULT).unwrap();
        filled(&store, pages);
        let snapshot = store.snapshot();
        for number in 1..=pages {
            snapshot.page(LogicalPage(number)).unwrap(); // verified once
        }
        let mut next = scattered(pages);
        group.bench_function(format!("{pages} pages"), |bencher| {
            bencher.iter(|| snapshot.page(next()).unwrap()[8])
        });
    }
}

fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit in memory");
    group.throughput(Throughput::Elements(100));
    let store = PageStore::in_memory(PageSize::DEFAULT).unwrap();
    filled(&store, 10_000);
    let mut next = scattered(10_000);
    group.bench_function("100 of 10000 pages", |bencher| {
        bencher.iter(|| {
            let mut txn = store.begin().unwrap();
            for _ in 0..100 {
                txn.page_mut(next()).unwrap()[9] ^= 1;
            }
            black_box(txn.commit(Roots::default()).unwrap());
        })
    });
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append to the journal");
    for len in [16, 256, 4096] {
        group.throughput(Throughput::Elements(1_000));
        let payload = vec![7; len as usize];
        group.bench_function(format!("{len} bytes"), |bencher| {
            // An area holds the whole batch: a few MiB.
            let store = || {
                let store = PageStore::in_memory(PageSize::DEFAULT).unwrap();
                let mut txn = store.begin().unwrap();
                txn.set_journal_area(0, 1_200);
                txn.commit(Roots::default()).unwrap();
                assert!(store.journal_rotate().unwrap());
                store
            };
            bencher.iter_batched(
                store,
                |store| {
                    for _ in 0..1_000 {
                        black_box(store.journal_append(&payload).unwrap().unwrap());
                    }
                    store
                },
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group!(benches, lookup, commit, append);
criterion_main!(benches);
