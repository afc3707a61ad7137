//! Crashes: whatever the disk kept, the content is a prefix of history with everything acknowledged in it.
//!
//! * K1 A crash at any event, with any part of the unsynced changes lost, torn or reordered, leaves an image that opens.
//! * K2 Its content is the state after some whole batch, not before the last one acknowledged as durable.
//! * K3 It is sound, takes writes, and survives a crash of its own recovery.

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shroom::storage::MemoryStorage;
use shroom::storage::faulty::FaultyStorage;
use shroom::{Db, Options};
use shroom_sim::{
    History, Model, Random, Workload, assert_sound, crash_images, fingerprint, is_blank,
};

/// With small slices, a checkpoint commits after each pack that it changes.
fn options(page_size: u32, small_slices: bool) -> Options {
    let options = Options::new()
        .page_size(page_size)
        .journal_limit(64 << 10)
        .stream_bytes(1)
        .background(false);
    if small_slices {
        options.slice_bytes(1)
    } else {
        options
    }
}

/// Images tried, by all tests of this binary.
static IMAGES: AtomicU64 = AtomicU64::new(0);

/// Opens an image and checks what it holds; returns which state it is. One in three is opened for writing, and closed: what
/// was recovered is moved into the pages, and is the same then.
fn check(history: &History, events: usize, image: &[u8], options: &Options, what: &str) -> usize {
    let number = IMAGES.fetch_add(1, Ordering::Relaxed);
    let read_only = !number.is_multiple_of(3);
    let storage = Arc::new(MemoryStorage::from_bytes(image.to_vec()));
    // A crash during creation leaves nothing to read.
    if read_only && is_blank(&*storage).unwrap() {
        assert!(history.possible(events).contains(&0), "{what}: blank");
        return 0;
    }
    let open = |read_only| {
        options
            .clone()
            .read_only(read_only)
            .open_storage(storage.clone())
            .unwrap_or_else(|error| panic!("{what}: cannot open: {error}"))
    };
    let db = open(read_only);
    let state = find_state(history, events, &db, what);
    assert_sound(&db);
    if !read_only {
        db.close().unwrap();
        let db = open(true);
        assert_eq!(
            fingerprint(&db).unwrap(),
            history.fingerprint(state),
            "{what}: closed"
        );
        assert_sound(&db);
    }
    state
}

fn find_state(history: &History, events: usize, db: &Db, what: &str) -> usize {
    let found = fingerprint(db).unwrap_or_else(|error| panic!("{what}: cannot read: {error}"));
    history
        .find(events, found)
        .unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Writes on after a crash, crashes that again, and closes what is left at last.
fn go_on(image: &[u8], options: &Options, workload: &Workload, random: &mut Random, what: &str) {
    let storage = FaultyStorage::from_image(image.to_vec());
    let db = options
        .open_storage(Arc::new(storage.clone()))
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut history = History::new(Model::read(&db).unwrap(), 0);
    // What was recovered is as durable as it was; nothing new is acknowledged by opening.
    for _ in 0..3 + random.below(12) {
        history.run(&db, &storage, &workload.op(random));
    }
    let operations = storage.events();
    db.close()
        .unwrap_or_else(|error| panic!("{what}: close: {error}"));
    history.acknowledge(storage.events());
    let mut seen = HashSet::new();
    let total = storage.events();
    let mut places: Vec<usize> = (0..4)
        .map(|_| random.below(total as u64 + 1) as usize)
        .collect();
    places.extend([operations, total]);
    for events in places {
        for (plan, image) in crash_images(&storage, events, random, &mut seen, 2) {
            let what = format!("{what}, then event {events} of {total} {plan:?}");
            check(&history, events, &image, options, &what);
        }
    }
}

fn crash_test(options: &Options, seed: u64, operations: usize, every: u64, workload: Workload) {
    let page_size = workload.page_size;
    let mut random = Random(seed);
    let storage = FaultyStorage::new();
    let db = options.open_storage(Arc::new(storage.clone())).unwrap();
    let mut history = History::new(Model::default(), 0);
    // Never finished: none of what it writes may ever be seen, or missed as free.
    let mut unfinished = db.writer(1).unwrap();
    for _ in 0..operations {
        history.run(&db, &storage, &workload.op(&mut random));
        if random.below(4) == 0 {
            let len = random.below(2 * u64::from(page_size)) as usize;
            unfinished.write_all(&random.bytes(len)).unwrap();
        }
    }
    let closing = storage.events();
    db.close().unwrap();
    history.acknowledge(storage.events());
    let total = storage.events();
    let mut seen = HashSet::new();
    let mut reached = BTreeMap::new();
    for events in 0..=total {
        if random.below(every) != 0 && events < closing {
            continue;
        }
        for (plan, image) in crash_images(&storage, events, &mut random, &mut seen, 4) {
            let what =
                format!("page size {page_size}, seed {seed}, event {events} of {total}, {plan:?}");
            *reached
                .entry(check(&history, events, &image, options, &what))
                .or_insert(0) += 1;
            if random.below(24) == 0 {
                go_on(&image, options, &workload, &mut random, &what);
            }
        }
    }
    println!(
        "page size {page_size}, seed {seed}: {operations} operations, {total} events, {} crash images so far, {} states reached",
        IMAGES.load(Ordering::Relaxed),
        reached.len()
    );
}

#[test]
fn small_databases_at_every_event() {
    for seed in 0..24 {
        for page_size in [512, 1024, 4096] {
            let workload = Workload {
                page_size,
                ids: 40,
                value_len_max: 3000,
                acknowledged: 25,
            };
            let options = options(page_size, seed % 2 == 1);
            crash_test(&options, seed, 50, 1, workload);
        }
    }
}

#[test]
fn journals_that_fill_and_values_that_bypass_them() {
    for (seed, page_size) in [(1, 512), (2, 1024), (3, 4096), (4, 65536)] {
        let workload = Workload {
            page_size,
            ids: 60,
            value_len_max: 90_000,
            acknowledged: 15,
        };
        crash_test(&options(page_size, false), seed, 60, 2, workload);
    }
}

/// Checkpoints of many slices, most of them with a batch that lies on both sides of a slice's end.
#[test]
fn checkpoints_in_many_slices() {
    for (seed, page_size) in [(5, 512), (6, 512), (7, 1024), (8, 4096)] {
        let workload = Workload {
            page_size,
            ids: 600,
            value_len_max: 400,
            acknowledged: 6,
        };
        crash_test(&options(page_size, true), seed, 150, 4, workload);
    }
}

/// As above, with the checkpoint on a thread of its own: where a crash falls differs from run to run, but not what it may leave.
#[test]
fn checkpoints_in_the_background() {
    for (seed, page_size) in [(9, 512), (10, 512), (11, 1024), (12, 4096)] {
        let workload = Workload {
            page_size,
            ids: 600,
            value_len_max: 2000,
            acknowledged: 3,
        };
        let options = options(page_size, seed % 2 == 1).background(true);
        crash_test(&options, seed, 300, 4, workload);
    }
}
