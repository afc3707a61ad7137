//! The same operations give the same bytes, in memory and on disk.

use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::{Db, Options};
use shroom_sim::{Model, Random, Workload, assert_sound, run};

fn options(page_size: u32) -> Options {
    Options::new()
        .page_size(page_size)
        .journal_limit(64 << 10)
        .background(false)
}

/// A checkpoint commits after each pack that it changes.
fn in_slices(page_size: u32) -> Options {
    options(page_size).slice_bytes(1)
}

fn drive(db: &Db, page_size: u32, seed: u64) {
    let workload = Workload {
        page_size,
        ids: 500,
        value_len_max: 9_000,
        acknowledged: 4,
    };
    let mut random = Random(seed);
    for _ in 0..700 {
        run(db, &workload.op(&mut random)).unwrap();
    }
}

fn in_memory(page_size: u32, seed: u64, close: bool) -> Vec<u8> {
    bytes_of(&options(page_size), page_size, seed, close)
}

fn bytes_of(options: &Options, page_size: u32, seed: u64, close: bool) -> Vec<u8> {
    let storage = Arc::new(MemoryStorage::new());
    let db = options.open_storage(storage.clone()).unwrap();
    drive(&db, page_size, seed);
    if close {
        db.close().unwrap();
        storage.to_bytes()
    } else {
        db.flush().unwrap();
        storage.to_bytes()
    }
}

#[test]
fn the_same_operations_give_the_same_bytes() {
    for page_size in [512, 4096, 65536] {
        for seed in 0..2 {
            for close in [false, true] {
                let first = in_memory(page_size, seed, close);
                assert!(
                    first == in_memory(page_size, seed, close),
                    "page size {page_size}, seed {seed}, closed: {close}"
                );
            }
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("db.shroom");
            let db = options(page_size).open(&path).unwrap();
            drive(&db, page_size, seed);
            db.close().unwrap();
            assert!(
                std::fs::read(&path).unwrap() == in_memory(page_size, seed, true),
                "on disk, page size {page_size}, seed {seed}"
            );
        }
    }
}

#[test]
fn the_same_slices_give_the_same_bytes() {
    for page_size in [512, 4096] {
        let options = in_slices(page_size);
        for close in [false, true] {
            let first = bytes_of(&options, page_size, 3, close);
            assert!(
                first == bytes_of(&options, page_size, 3, close),
                "page size {page_size}, closed: {close}"
            );
        }
    }
}

/// Reading changes nothing in the file.
#[test]
fn reads_leave_no_trace() {
    let quiet = in_memory(1024, 5, true);
    let storage = Arc::new(MemoryStorage::new());
    let db = options(1024).open_storage(storage.clone()).unwrap();
    let workload = Workload {
        page_size: 1024,
        ids: 500,
        value_len_max: 9_000,
        acknowledged: 4,
    };
    let mut random = Random(5);
    for step in 0..700 {
        run(&db, &workload.op(&mut random)).unwrap();
        if step % 10 == 0 {
            db.iter().take(50).for_each(|token| drop(token.unwrap()));
            db.len().unwrap();
            db.stats().unwrap();
        }
    }
    db.close().unwrap();
    assert!(storage.to_bytes() == quiet);
}

/// When a checkpoint ends is a matter of time in the background; what it contains is not, however it is sliced.
#[test]
fn neither_the_background_nor_slices_change_the_content() {
    for seed in 0..3 {
        let ways = [options(512), in_slices(512)]
            .map(|options| [options.clone().background(true), options.background(false)]);
        let mut contents = ways.as_flattened().iter().map(|options| {
            let storage = Arc::new(MemoryStorage::new());
            let db = options.open_storage(storage.clone()).unwrap();
            drive(&db, 512, seed);
            db.close().unwrap();
            let db = options.open_storage(storage).unwrap();
            assert_sound(&db);
            Model::read(&db).unwrap()
        });
        let first = contents.next().unwrap();
        assert!(contents.all(|content| content == first), "seed {seed}");
    }
}
