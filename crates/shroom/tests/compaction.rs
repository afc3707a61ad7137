//! Compaction in place: whatever comes in between, and wherever it stops, no token changes; alone, it makes the canonical image.
//!
//! `SHROOM_COMPACTION_SEEDS` sets how many histories are compared with their canonical images.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shroom::compaction::{Progress, Stage};
use shroom::storage::faulty::{CrashPlan, Fault, FaultyStorage, Torn};
use shroom::storage::{MemoryStorage, Storage};
use shroom::{Db, Error, ErrorKind, Options};
use shroom_sim::{Model, Op, Random, Workload, assert_sound, fingerprint, run};

const PAGE_SIZES: [u32; 5] = [512, 1024, 4096, 16_384, 65_536];

fn options(page_size: u32) -> Options {
    Options::new()
        .page_size(page_size)
        .journal_limit(64 << 10)
        .background(false)
}

fn open(storage: &Arc<impl Storage + 'static>, page_size: u32) -> Db {
    options(page_size)
        .open_storage(Arc::clone(storage) as _)
        .unwrap()
}

/// Random operations, with checkpoints now and then.
fn live(db: &Db, page_size: u32, operations: u64, random: &mut Random) -> Model {
    let workload = Workload {
        page_size,
        ids: 1 + random.below(600),
        value_len_max: [40, 400, 3 * page_size as usize, 12 * page_size as usize]
            [random.below(4) as usize],
        acknowledged: 4,
    };
    let mut model = Model::default();
    for _ in 0..operations {
        let op = workload.op(random);
        run(db, &op).unwrap();
        model.apply(&op);
        if random.below(20) == 0 {
            db.checkpoint().unwrap();
        }
    }
    model
}

/// Steps to the end, with a limit: none may go on for ever.
fn compact(db: &Db, budget: u64, mut between: impl FnMut(&Progress)) -> Progress {
    for _ in 0..20_000 {
        let progress = db.compact_step(budget).unwrap();
        assert!((0.0..=1.0).contains(&progress.share), "{progress:?}");
        if progress.done {
            return progress;
        }
        between(&progress);
    }
    panic!("a compaction does not end");
}

fn image(db: &Db) -> Vec<u8> {
    let storage = MemoryStorage::new();
    let go_on = |_: &_| ControlFlow::Continue(());
    db.snapshot().compact_into_storage(&storage, go_on).unwrap();
    storage.to_bytes()
}

/// Compares a closed file with the canonical image: they may differ in what the format says, and in nothing else.
fn assert_canonical(file: &[u8], image: &[u8], page_size: u32, what: &str) {
    assert_eq!(file.len(), image.len(), "{what}: length");
    let (page, len) = (page_size as usize, page_size.min(4096) as usize);
    let mut file = file.to_vec();
    for slot in [0, page] {
        let superblock = &mut file[slot..slot + len];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&superblock[..24]).update(&superblock[56..]);
        assert_eq!(hasher.finalize().as_bytes(), &superblock[24..56], "{what}");
        for field in [16..24, 24..56, 128..136, 136..144] {
            superblock[field.clone()].copy_from_slice(&image[slot..][field]);
        }
    }
    let differs = file
        .iter()
        .zip(image)
        .position(|(is, expected)| is != expected);
    let at = differs.map(|at| (at / page, at % page));
    assert_eq!(at, None, "{what}: first difference at (page, byte)");
}

#[test]
fn alone_it_makes_the_canonical_image() {
    let seeds = std::env::var("SHROOM_COMPACTION_SEEDS").map_or(80, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let mut random = Random(seed);
        let page_size = PAGE_SIZES[seed as usize % PAGE_SIZES.len()];
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, page_size);
        let operations = random.below(300);
        let model = live(&db, page_size, operations, &mut random);
        let what = format!("seed {seed}, page size {page_size}");
        let budget = [1, 3_000, 40_000, 1 << 20][random.below(4) as usize];
        let done = compact(&db, budget, |_| {
            if random.below(8) == 0 {
                assert_sound(&db);
                assert_eq!(Model::read(&db).unwrap(), model, "{what}");
            }
        });
        assert!(done.canonical, "{what}: {done:?}");
        assert_eq!(Model::read(&db).unwrap(), model, "{what}");
        assert_sound(&db);
        let image = image(&db);
        db.close().unwrap();
        assert_canonical(&storage.to_bytes(), &image, page_size, &what);
        // Again, and by a single call; and once more after a few writes.
        let db = open(&storage, page_size);
        assert!(db.compact().unwrap().canonical, "{what}");
        db.put(3, b"other").unwrap();
        db.delete(5).unwrap();
        assert!(db.compact().unwrap().canonical, "{what}");
        let image = self::image(&db);
        db.close().unwrap();
        assert_canonical(&storage.to_bytes(), &image, page_size, &what);
    }
}

#[test]
fn shapes_at_the_edges() {
    let dense = |count: u64, len: &dyn Fn(u64) -> u64| -> Vec<(u64, Vec<u8>)> {
        (0..count)
            .map(|id| (id, vec![id as u8; len(id) as usize]))
            .collect()
    };
    let shapes = [
        ("nothing", 512, dense(0, &|_| 0)),
        ("the last id", 512, vec![(u64::MAX, vec![1; 3])]),
        ("one pack", 4096, dense(20, &|_| 16)),
        ("one large value", 512, vec![(7, vec![9; 300_000])]),
        (
            "three levels of directory",
            512,
            dense(9000, &|id| 100 + id % 29),
        ),
        ("values in all sizes", 512, dense(300, &|id| id * 13)),
        (
            "values that fill pages",
            1024,
            dense(200, &|id| (id % 9) * 1024),
        ),
        ("many packs", 4096, dense(60_000, &|_| 16)),
    ];
    for (what, page_size, tokens) in shapes {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, page_size);
        db.bulk_load(tokens.iter().map(|(id, bytes)| (*id, bytes)))
            .unwrap();
        for (id, bytes) in tokens.iter().step_by(3) {
            db.append(*id, bytes).unwrap();
            db.put(id / 2, &bytes[..bytes.len() / 2]).unwrap();
        }
        let model = Model::read(&db).unwrap();
        let done = compact(&db, 200_000, |_| {});
        assert!(done.canonical, "{what}: {done:?}");
        assert_eq!(Model::read(&db).unwrap(), model, "{what}");
        let image = image(&db);
        db.close().unwrap();
        assert_canonical(&storage.to_bytes(), &image, page_size, what);
    }
}

/// The smallest steps, and a crash at each event of each, with any part of what was not synced lost, torn or reordered.
#[test]
fn a_crash_at_any_event_loses_nothing() {
    for seed in 0..8_u64 {
        let mut random = Random(seed);
        let page_size = [512, 1024, 4096][seed as usize % 3];
        let storage = Arc::new(FaultyStorage::new());
        let db = open(&storage, page_size);
        let mut model = live(&db, page_size, 60, &mut random);
        if seed % 2 == 1 {
            db.save_snapshot("kept").unwrap();
            model.named.insert("kept".into(), Arc::new(model.live()));
        }
        model.tokens.extend([(1, vec![7; 30])]);
        db.put(1, &[7; 30]).unwrap();
        db.flush().unwrap();
        let expected = model.fingerprint();
        let from = storage.events();
        compact(&db, [1, 2_000, 50_000][random.below(3) as usize], |_| {});
        let total = storage.events();
        let every = 1 + (total - from) as u64 / 600;
        for event in from..=total {
            if random.below(every) != 0 {
                continue;
            }
            let torn = Torn::Sector512;
            let seed = random.next();
            for plan in [
                CrashPlan::LoseAll,
                CrashPlan::KeepAll,
                CrashPlan::Random {
                    seed,
                    torn,
                    reordered: true,
                },
            ] {
                let image = storage.crash_image(event, &plan);
                let reopened = Arc::new(MemoryStorage::from_bytes(image));
                let read_only = random.below(8) != 0;
                let db = options(page_size).read_only(read_only);
                let db = db.open_storage(Arc::clone(&reopened) as _).unwrap();
                assert_eq!(
                    fingerprint(&db).unwrap(),
                    expected,
                    "event {event}, {plan:?}"
                );
                assert_sound(&db);
                if !read_only {
                    let done = db.compact().unwrap();
                    assert_eq!(done.canonical, done.snapshots == 0);
                    assert_eq!(fingerprint(&db).unwrap(), expected);
                    assert_sound(&db);
                }
            }
        }
    }
}

/// Each call of the storage fails once: an error, and nothing lost; then it is done all the same.
#[test]
fn every_call_may_fail() {
    let page_size = 512;
    let mut random = Random(11);
    let storage = Arc::new(FaultyStorage::new());
    let db = open(&storage, page_size);
    let model = live(&db, page_size, 120, &mut random);
    db.close().unwrap();
    let start = storage.crash_image(storage.events(), &CrashPlan::KeepAll);
    for (number, kind) in (0_u64..).zip([0, 1, 2].into_iter().cycle()) {
        let storage = Arc::new(FaultyStorage::from_image(start.clone()));
        let db = open(&storage, page_size);
        let fault = match kind {
            0 => Fault::Error(std::io::ErrorKind::StorageFull),
            1 => Fault::SyncLoss,
            _ => Fault::ShortWrite,
        };
        storage.fail_call(storage.calls() + number, fault);
        let mut failed = None;
        for _ in 0..20_000 {
            match db.compact_step(6_000) {
                Ok(progress) if progress.done => break,
                Ok(_) => {}
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        assert_eq!(
            fingerprint(&db).unwrap(),
            model.fingerprint(),
            "call {number}"
        );
        match failed {
            None if storage.injected().is_empty() => break,
            None => {}
            Some(_) => {
                let again = db.compact();
                let poisoned = again
                    .as_ref()
                    .is_err_and(|error| error.kind() == ErrorKind::Poisoned);
                assert!(poisoned || again.is_ok(), "call {number}: {again:?}");
            }
        }
        drop(db);
        let image = storage.crash_image(storage.events(), &CrashPlan::LoseAll);
        let db = open(&Arc::new(MemoryStorage::from_bytes(image)), page_size);
        assert_sound(&db);
        assert!(db.compact().unwrap().canonical);
        assert!(number < 20_000);
    }
}

/// Operations, snapshots, restores and held states between the steps.
#[test]
fn anything_may_come_in_between() {
    for seed in 0..60_u64 {
        let mut random = Random(1000 + seed);
        let page_size = [512, 1024, 4096][seed as usize % 3];
        let storage = Arc::new(MemoryStorage::new());
        let options = options(page_size)
            .background(seed % 4 == 3)
            .track_content_root(seed % 5 == 0);
        let db = options.open_storage(Arc::clone(&storage) as _).unwrap();
        let mut model = live(&db, page_size, 150, &mut random);
        let workload = Workload {
            page_size,
            ids: 600,
            value_len_max: 4 * page_size as usize,
            acknowledged: 10,
        };
        let mut held = Vec::new();
        for round in 0..3 {
            let budget = [1, 2_000, 30_000][random.below(3) as usize];
            let often = 1 + random.below(12);
            compact(&db, budget, |_| {
                if random.below(often) != 0 {
                    return;
                }
                match random.below(30) {
                    0 => {
                        let name = format!("{round} {}", random.next());
                        db.save_snapshot(&name).unwrap();
                        model.named.insert(name, Arc::new(model.live()));
                    }
                    1 => held.push((db.snapshot(), model.live())),
                    2 => held.clear(),
                    3 if !model.named.is_empty() => {
                        let at = random.below(model.named.len() as u64) as usize;
                        let name = model.named.keys().nth(at).unwrap().clone();
                        let then = model.named.remove(&name).unwrap();
                        if random.below(2) == 0 {
                            db.restore(&name).unwrap();
                            (model.tokens, model.tag) = (then.tokens.clone(), then.tag);
                        }
                        db.delete_snapshot(&name).unwrap();
                    }
                    4 => assert_sound(&db),
                    5 => db.checkpoint().unwrap(),
                    _ => {
                        let op = workload.op(&mut random);
                        run(&db, &op).unwrap();
                        model.apply(&op);
                    }
                }
            });
            assert_eq!(Model::read(&db).unwrap(), model, "seed {seed}");
            assert_sound(&db);
            for (snapshot, expected) in &held {
                assert_eq!(Model::read_snapshot(snapshot).unwrap(), *expected);
            }
        }
        held.clear();
        let roots = (db.content_root().unwrap(), image(&db));
        let done = db.compact().unwrap();
        let plain = model.named.is_empty() && seed % 5 != 0;
        assert_eq!(done.canonical, plain, "seed {seed}: {done:?}");
        assert_eq!(done.snapshots, model.named.len() as u64);
        assert_eq!(Model::read(&db).unwrap(), model, "seed {seed}");
        assert_eq!(db.content_root().unwrap(), roots.0);
        for name in model.named.keys() {
            db.delete_snapshot(name).unwrap();
        }
        assert_eq!(db.compact().unwrap().canonical, seed % 5 != 0);
        db.close().unwrap();
        if seed % 5 != 0 {
            assert_canonical(
                &storage.to_bytes(),
                &roots.1,
                page_size,
                &format!("seed {seed}"),
            );
        }
    }
}

/// Whoever commits after each step makes it do some things again, but not for ever.
#[test]
fn a_commit_after_each_step_does_not_hold_it_up() {
    for (page_size, budget) in [(512, 1), (512, 20_000), (4096, 100_000)] {
        let count = |disturb: bool| {
            let db = open(&Arc::new(MemoryStorage::new()), page_size);
            let mut random = Random(3);
            for _ in 0..1500 {
                let len = random.below(500) as usize;
                db.put(random.below(1000), &random.bytes(len)).unwrap();
            }
            let mut steps = 0_u64;
            let done = compact(&db, budget, |_| {
                steps += 1;
                if disturb {
                    // Ahead, behind, and beyond the last.
                    for id in [steps % 1000, random.below(1000), 2000 + steps] {
                        let len = random.below(500) as usize;
                        db.put(id, &random.bytes(len)).unwrap();
                    }
                    db.checkpoint().unwrap();
                }
            });
            assert_eq!(done.canonical, !disturb);
            assert_sound(&db);
            steps
        };
        let (alone, disturbed) = (count(false), count(true));
        println!("{page_size}, {budget}: {alone} steps, disturbed {disturbed}");
        assert!(
            disturbed < 3 * alone + 200,
            "{alone} steps alone, {disturbed}"
        );
    }
}

/// A file of many pages, in which ids and pages have nothing to do with each other, grows by little, and shrinks.
#[test]
fn it_needs_little_more_than_the_file_has() {
    for (page_size, len_max, seed) in [(512, 300, 1), (4096, 900, 2), (1024, 2600, 3)] {
        let mut random = Random(seed);
        let storage = Arc::new(MemoryStorage::new());
        let db = options(page_size)
            .journal_limit(1 << 20)
            .open_storage(Arc::clone(&storage) as _)
            .unwrap();
        let tokens = 12_000_000 / len_max;
        for _ in 0..tokens {
            let id = random.below(tokens) * 7;
            let len = random.below(len_max) as usize;
            db.put(id, &random.bytes(len)).unwrap();
        }
        let before = fingerprint(&db).unwrap();
        // Then it has no free page.
        db.close().unwrap();
        let db = options(page_size)
            .open_storage(Arc::clone(&storage) as _)
            .unwrap();
        let start = storage.len().unwrap();
        let (mut most, step) = (start, 128 << 10);
        let done = compact(&db, step, |_| most = most.max(storage.len().unwrap()));
        let end = storage.len().unwrap();
        println!("page size {page_size}: {start} bytes, at most {most}, then {end}");
        assert!(done.canonical, "{done:?}");
        assert!(end < start && done.file_bytes == end);
        assert!(
            most - start <= start / 32 + 8 * step,
            "{start} bytes grew to {most}"
        );
        assert_eq!(fingerprint(&db).unwrap(), before);
        assert_sound(&db);
    }
}

/// Writers and readers do not rest, and two threads compact.
#[test]
fn readers_and_writers_go_on() {
    let storage = Arc::new(MemoryStorage::new());
    let db = options(1024)
        .background(true)
        .open_storage(Arc::clone(&storage) as _)
        .unwrap();
    let value =
        |id: u64, round: u64| vec![(id ^ round) as u8; (id * 37 + round * 11) as usize % 900];
    for id in 0..6000_u64 {
        db.put(id, &value(id, 0)).unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut round = 1;
            while !stop.load(Ordering::Relaxed) {
                for id in (0..3000).step_by(7) {
                    db.put(id, &value(id, round)).unwrap();
                }
                round += 1;
            }
            round
        });
        for part in 0..2 {
            let (db, stop) = (&db, &stop);
            scope.spawn(move || {
                let mut random = Random(part);
                while !stop.load(Ordering::Relaxed) {
                    // What no writer changes is as it was, in each state.
                    let id = 3000 + random.below(3000);
                    assert_eq!(&*db.get(id).unwrap().unwrap(), value(id, 0), "{id}");
                    if random.below(500) == 0 {
                        let snapshot = db.snapshot();
                        let tokens = snapshot.range(3000..).filter(|token| token.is_ok());
                        assert_eq!(tokens.count(), 3000);
                    }
                }
            });
        }
        let compactions: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..3 {
                        assert!(db.compact().unwrap().done);
                    }
                })
            })
            .collect();
        for compaction in compactions {
            compaction.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > 1);
    });
    assert!(db.stats().unwrap().activity.compactions >= 3);
    assert_sound(&db);
    assert!(db.compact().unwrap().canonical);
    let image = image(&db);
    db.close().unwrap();
    assert_canonical(&storage.to_bytes(), &image, 1024, "at last");
}

/// After a failed sync each step is refused, those that only look included (found by the simulation, seed 7102340).
#[test]
fn no_step_is_taken_on_a_poisoned_database() {
    for with_snapshots in [false, true] {
        let mut steps = 0;
        loop {
            let storage = Arc::new(FaultyStorage::new());
            let db = open(&storage, 512);
            if with_snapshots {
                // Of little, so that packing the tokens again repays.
                db.put(1, b"one").unwrap();
                db.save_snapshot("one").unwrap();
            }
            let tokens = (0..400_u64).map(|id| (id, [id as u8; 40]));
            db.bulk_load(tokens).unwrap();
            for id in (0..400).step_by(3) {
                db.delete(id).unwrap();
            }
            db.checkpoint().unwrap();
            let done = (0..steps).any(|_| db.compact_step(1).unwrap().done);
            db.put(99, b"changed").unwrap();
            storage.fail_call(storage.calls() + 1, Fault::SyncLoss);
            if db.flush().is_ok() {
                storage.fail_call(storage.calls() + 1, Fault::SyncLoss);
                db.put(99, b"again").unwrap();
                assert!(db.checkpoint().is_err(), "step {steps}");
            }
            let refused = db.compact_step(1).unwrap_err();
            assert_eq!(
                refused.kind(),
                ErrorKind::Poisoned,
                "step {steps}: {refused}"
            );
            if done {
                break;
            }
            steps += 1;
        }
        assert!(steps >= 2, "{steps}");
    }
}

#[test]
fn a_closed_or_read_only_database_is_not_compacted() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, 512);
    for id in 0..500_u64 {
        db.put(id, &[1; 100]).unwrap();
    }
    assert!(!db.compact_step(1).unwrap().done);
    let other = db.clone();
    db.close().unwrap();
    assert!(matches!(other.compact(), Err(Error::Closed)));
    let db = options(512)
        .read_only(true)
        .open_storage(Arc::clone(&storage) as _)
        .unwrap();
    assert_eq!(db.compact().unwrap_err().kind(), ErrorKind::Misuse);
    drop((db, other));
    let db = open(&storage, 512);
    let mut steps = 0;
    let stopped = db.compact_with(|_| {
        steps += 1;
        ControlFlow::Break(())
    });
    assert!(matches!(stopped, Err(Error::Stopped)) && steps == 1);
    assert!(db.compact().unwrap().canonical);
}

/// With everything in the caller's thread the bytes depend on the operations alone, and the file stays small.
#[test]
fn a_file_compacts_itself() {
    let mut files = Vec::new();
    for background in [false, false, true] {
        let storage = Arc::new(MemoryStorage::new());
        let options = options(512).background(background).compact_above(0.4);
        let db = options.open_storage(Arc::clone(&storage) as _).unwrap();
        let mut random = Random(5);
        for round in 0..6 {
            for id in 0..2000_u64 {
                let len = random.below(200) as usize;
                db.put(id, &vec![round; len]).unwrap();
            }
            for id in (0..2000).filter(|id| id % 7 != 0) {
                db.delete(id).unwrap();
            }
            db.checkpoint().unwrap();
        }
        if !background {
            let stats = db.stats().unwrap();
            assert!(stats.activity.compactions >= 2, "{stats:?}");
            assert!(stats.free_share() < 0.4, "{stats:?}");
            files.push(storage.to_bytes());
        }
        assert_sound(&db);
        let model = Model::read(&db).unwrap();
        db.close().unwrap();
        assert_eq!(Model::read(&open(&storage, 512)).unwrap(), model);
    }
    assert!(files[0] == files[1]);
    let wrong = Options::new().compact_above(1.5);
    assert_eq!(
        wrong
            .open_storage(Arc::new(MemoryStorage::new()))
            .unwrap_err()
            .kind(),
        ErrorKind::Misuse
    );
}

/// What is only in the journal is compacted, too, and a tag is kept.
#[test]
fn the_journal_is_emptied_first() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, 512);
    run(&db, &Op::Put(5, vec![1; 100])).unwrap();
    let mut batch = db.batch();
    batch.tag(77);
    batch.commit().unwrap();
    assert!(db.compact().unwrap().canonical);
    assert_eq!((db.tag(), db.stats().unwrap().journal_bytes), (77, 0));
    let image = image(&db);
    db.close().unwrap();
    assert_canonical(&storage.to_bytes(), &image, 512, "one token");
}

/// Each leaves its tokens at high numbers, and the next one must not go on from there for ever.
#[test]
fn stopped_compactions_do_not_use_up_the_numbers() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, 512);
    let mut random = Random(6);
    for id in 0..300_u64 {
        let len = random.below(300) as usize;
        db.put(id, &random.bytes(len)).unwrap();
    }
    let expected = fingerprint(&db).unwrap();
    db.close().unwrap();
    for round in 0..160 {
        let db = open(&storage, 512);
        loop {
            let progress = db
                .compact_step(1 << 20)
                .unwrap_or_else(|error| panic!("round {round}: {error}"));
            if progress.stage >= Stage::Pack {
                break;
            }
        }
        db.close().unwrap();
    }
    let db = open(&storage, 512);
    assert_eq!(fingerprint(&db).unwrap(), expected);
    assert_sound(&db);
    assert!(db.compact().unwrap().canonical);
    let image = image(&db);
    db.close().unwrap();
    assert_canonical(
        &storage.to_bytes(),
        &image,
        512,
        "after many that were stopped",
    );
}

/// What a named snapshot shares with the present state would be there twice.
#[test]
fn snapshots_do_not_make_the_file_grow() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, 1024);
    let mut random = Random(7);
    for id in 0..2000_u64 {
        let len = random.below(600) as usize;
        db.put(id, &random.bytes(len)).unwrap();
    }
    db.put(5000, &random.bytes(100_000)).unwrap();
    db.save_snapshot("all").unwrap();
    let before = fingerprint(&db).unwrap();
    db.close().unwrap();
    let start = storage.len().unwrap();
    let db = open(&storage, 1024);
    let mut most = start;
    let done = compact(&db, 64 << 10, |_| most = most.max(storage.len().unwrap()));
    assert!(!done.canonical && done.snapshots == 1);
    assert!(most <= start + start / 8, "{start} bytes grew to {most}");
    // What the snapshot does not have is packed again.
    for id in 0..2000_u64 {
        let len = random.below(600) as usize;
        db.put(id, &random.bytes(len)).unwrap();
    }
    for id in (0..2000_u64).filter(|id| id % 3 != 0) {
        db.delete(id).unwrap();
    }
    db.checkpoint().unwrap();
    let free = db.stats().unwrap().free_bytes;
    compact(&db, 64 << 10, |_| {});
    let left = db.stats().unwrap().free_bytes;
    assert!(left < free / 2, "{free} bytes were free, {left} are");
    db.restore("all").unwrap();
    assert_eq!(fingerprint(&db).unwrap(), before);
    assert_sound(&db);
}

/// Random tokens, of which few are left: a file that is to be compacted.
fn sparse(db: &Db, random: &mut Random, ids: std::ops::Range<u64>) {
    for id in ids.clone() {
        let len = random.below(200) as usize;
        db.put(id, &random.bytes(len)).unwrap();
    }
    for id in ids.filter(|id| id % 5 != 0) {
        db.delete(id).unwrap();
    }
    db.checkpoint().unwrap();
}

/// What is only free once readers are gone is a reason to compact then.
#[test]
fn what_readers_held_is_compacted_when_they_are_gone() {
    let storage = Arc::new(MemoryStorage::new());
    let options = options(512).compact_above(0.4);
    let db = options.open_storage(Arc::clone(&storage) as _).unwrap();
    let mut random = Random(8);
    for id in 0..2000_u64 {
        let len = random.below(200) as usize;
        db.put(id, &random.bytes(len)).unwrap();
    }
    db.checkpoint().unwrap();
    let held = db.snapshot();
    sparse(&db, &mut random, 0..2000);
    db.checkpoint().unwrap();
    let first = db.stats().unwrap().activity.compactions;
    assert!(first > 0);
    for round in 0..20_u64 {
        db.put(3000, &round.to_le_bytes()).unwrap();
        db.checkpoint().unwrap();
    }
    let with_reader = db.stats().unwrap();
    assert!(
        with_reader.activity.compactions <= first + 1,
        "{with_reader:?}"
    );
    drop(held);
    for round in 0..3_u64 {
        db.put(3000, &round.to_le_bytes()).unwrap();
        db.checkpoint().unwrap();
    }
    let stats = db.stats().unwrap();
    assert!(stats.free_share() < 0.4, "{with_reader:?}, then {stats:?}");
    assert_sound(&db);
}

/// Damage that a compaction meets does not go away by beginning another one after each checkpoint.
#[test]
fn one_that_fails_is_not_begun_again_and_again() {
    let storage = Arc::new(MemoryStorage::new());
    let mut random = Random(9);
    let value = random.bytes(20_000);
    {
        let db = open(&storage, 512);
        db.put(5000, &value).unwrap();
        sparse(&db, &mut random, 0..2000);
        db.close().unwrap();
    }
    let mut bytes = storage.to_bytes();
    let needle = &value[10_000..10_032];
    let at = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    bytes[at] ^= 1;
    let storage = Arc::new(MemoryStorage::from_bytes(bytes));
    let options = options(512).compact_above(0.1);
    let db = options.open_storage(Arc::clone(&storage) as _).unwrap();
    let mut commits = Vec::new();
    for round in 0..6_u64 {
        let before = db.stats().unwrap().checkpoint;
        db.put(3000, &round.to_le_bytes()).unwrap();
        db.checkpoint().unwrap();
        commits.push(db.stats().unwrap().checkpoint - before);
    }
    assert_eq!(db.stats().unwrap().activity.compactions, 0);
    assert!(commits[0] > 2, "it was never begun: {commits:?}");
    assert!(commits[2..].iter().all(|&count| count <= 2), "{commits:?}");
}

/// Two writers, a thread that saves, restores and deletes snapshots, one that compacts, and a file that compacts itself.
#[test]
fn threads_do_anything_at_once() {
    for seed in 0..12_u64 {
        let storage = Arc::new(MemoryStorage::new());
        let options = Options::new()
            .page_size(512)
            .journal_limit(64 << 10)
            .background(true)
            .track_content_root(seed % 3 == 0)
            .compact_above([0.0, 0.1, 0.3][seed as usize % 3]);
        let db = options.open_storage(Arc::clone(&storage) as _).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = Random(seed);
                while !stop.load(Ordering::Relaxed) {
                    db.compact_step(1 + random.below(60_000)).unwrap();
                }
            });
            scope.spawn(|| {
                let mut random = Random(seed + 1000);
                for round in 0..200 {
                    let name = format!("{round}");
                    db.save_snapshot(&name).unwrap();
                    if random.below(2) == 0 {
                        let at = db.open_snapshot(&name).unwrap();
                        for token in at.range(..) {
                            token.unwrap();
                        }
                    }
                    if random.below(4) == 0 {
                        db.restore(&name).unwrap();
                    }
                    db.delete_snapshot(&name).unwrap();
                }
                stop.store(true, Ordering::Relaxed);
            });
            for thread in 0..2_u64 {
                let (db, stop) = (&db, &stop);
                scope.spawn(move || {
                    let mut random = Random(seed * 7 + thread);
                    while !stop.load(Ordering::Relaxed) {
                        let id = random.below(400) * 2 + thread;
                        let len = random.below(3000) as usize;
                        match random.below(8) {
                            0 => drop(db.delete(id).unwrap()),
                            1 => drop(db.append(id, &random.bytes(len / 10)).unwrap()),
                            2 => {
                                let mut writer = db.writer(id).unwrap();
                                writer.write_all(&random.bytes(len * 10)).unwrap();
                                writer.finish().unwrap();
                            }
                            // Or there is no such token, or it ends before.
                            3 => drop(db.write_at(id, 100, &random.bytes(50))),
                            4 => drop(db.truncate(id, 60)),
                            _ => db.put(id, &random.bytes(len)).unwrap(),
                        }
                    }
                });
            }
        });
        assert_sound(&db);
        let model = Model::read(&db).unwrap();
        let root = db.content_root().unwrap();
        if seed % 2 == 0 {
            db.close().unwrap();
        } else {
            drop(db);
        }
        let db = open(&storage, 512);
        assert_sound(&db);
        assert_eq!(Model::read(&db).unwrap(), model, "seed {seed}");
        assert_eq!(db.content_root().unwrap(), root, "seed {seed}");
        db.compact().unwrap();
        assert_eq!(Model::read(&db).unwrap(), model, "seed {seed}");
        assert_eq!(db.content_root().unwrap(), root, "seed {seed}");
        assert_sound(&db);
    }
}
