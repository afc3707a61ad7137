//! End to end: reads, writes and scans of the database, beside a hash map.

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use shroom::Db;

const TOKENS: u64 = 100_000;

fn scrambled(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A closed and reopened file of 16-byte tokens.
fn loaded(dir: &tempfile::TempDir, name: &str, id: fn(u64) -> u64) -> Db {
    let path = dir.path().join(name);
    let db = Db::create(&path).unwrap();
    for number in 0..TOKENS {
        db.put(id(number), &[number as u8; 16]).unwrap();
    }
    db.close().unwrap();
    Db::open(&path).unwrap()
}

fn reads(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let dense = loaded(&dir, "dense", |number| number);
    let random = loaded(&dir, "random", scrambled);
    let map: HashMap<u64, Box<[u8]>> = (0..TOKENS).map(|id| (id, [id as u8; 16].into())).collect();
    let mut number = 0_u64;
    let mut next = move || {
        number = number.wrapping_add(0x5851_f42d);
        number % TOKENS
    };
    let mut group = criterion.benchmark_group("get");
    group.bench_function("hash map", |bencher| bencher.iter(|| map[&next()][0]));
    group.bench_function("dense ids", |bencher| {
        bencher.iter(|| dense.get(next()).unwrap().unwrap()[0])
    });
    group.bench_function("random ids", |bencher| {
        bencher.iter(|| random.get(scrambled(next())).unwrap().unwrap()[0])
    });
    let snapshot = dense.snapshot();
    group.bench_function("snapshot", |bencher| {
        bencher.iter(|| snapshot.get(next()).unwrap().unwrap()[0])
    });
    group.bench_function("absent", |bencher| {
        bencher.iter(|| dense.get(TOKENS + next()).unwrap().is_none())
    });
    group.finish();
    criterion.bench_function("scan 100,000", |bencher| {
        bencher.iter(|| {
            dense
                .iter()
                .map(|token| token.unwrap().1.len())
                .sum::<usize>()
        });
    });
}

fn writes(criterion: &mut Criterion) {
    let db = Db::in_memory().unwrap();
    let mut number = 0_u64;
    criterion.bench_function("put", |bencher| {
        bencher.iter(|| {
            number += 1;
            db.put(scrambled(number) % TOKENS, black_box(&[7; 64]))
                .unwrap();
        });
    });
    criterion.bench_function("bulk load 100,000", |bencher| {
        bencher.iter_batched(
            || Db::in_memory().unwrap(),
            |db| {
                db.bulk_load((0..TOKENS).map(|id| (id, [id as u8; 16])))
                    .unwrap()
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, reads, writes);
criterion_main!(benches);
