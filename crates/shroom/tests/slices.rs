//! Checkpoints of many slices, on a thread of their own, while others read and write.
//!
//! * L1 Between two slices a reader sees whole batches: what the pages hold of one already does not show.
//! * L2 An append, a delete, or a put after a delete, that a slice contains and the frozen overlay still holds, shows once.
//! * L3 A snapshot, and an iterator under way, do not change when slices are committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shroom::storage::MemoryStorage;
use shroom::{Db, Options, Snapshot};
use shroom_sim::{Change, Model, Op, Random, Workload, assert_sound, perform, run};

const TOKENS: u64 = 1600;
/// So many tokens in a row are changed by each batch, and as many then are not: a run of packs that change is one slice.
const STRETCH: u64 = 64;

fn options(page_size: u32) -> Options {
    Options::new()
        .page_size(page_size)
        .journal_limit(64 << 10)
        .slice_bytes(1)
}

fn is_changed(id: u64) -> bool {
    (id / STRETCH).is_multiple_of(2)
}

/// What there is before the first batch: the tokens that none changes.
fn others() -> Vec<(u64, Vec<u8>)> {
    let ids = (0..TOKENS).filter(|&id| !is_changed(id));
    ids.map(|id| (id, vec![id as u8; 20])).collect()
}

/// Batch number `tag`, over many slices: some tokens grow, some come and go, some are set.
fn batch(tag: u64) -> Op {
    let mut changes: Vec<Change> = (0..TOKENS)
        .filter(|&id| is_changed(id))
        .filter_map(|id| {
            let bytes = vec![tag as u8; 12];
            match id % 4 {
                // Starts again now and then: what was appended before must be gone.
                0 if (id + tag).is_multiple_of(7) => Some(Change::Put(id, bytes)),
                0 => Some(Change::Append(id, bytes)),
                1 if tag.is_multiple_of(2) => Some(Change::Delete(id)),
                1 => Some(Change::Put(id, bytes)),
                2 => Some(Change::Put(id, vec![tag as u8; (tag % 60) as usize])),
                _ => None,
            }
        })
        .collect();
    changes.push(Change::Tag(tag));
    Op::Batch(changes, false)
}

/// Reads all that a snapshot holds, in every way; it is the state that its tag tells.
fn check_snapshot(snapshot: &Snapshot, states: &[Model]) {
    let tag = snapshot.tag();
    let expected = &states[tag as usize].tokens;
    let mut tokens = snapshot.iter();
    for (id, bytes) in expected {
        let (found, value) = tokens.next().expect("a token is missing").unwrap();
        assert_eq!(found, *id, "state {tag}");
        assert!(value == bytes[..], "state {tag}, token {id}");
    }
    assert!(tokens.next().is_none(), "state {tag}: one token too many");
    let ids = snapshot.keys(..).rev().map(|id| id.unwrap());
    assert!(
        ids.eq(expected.keys().rev().copied()),
        "state {tag}: backwards"
    );
    assert_eq!(snapshot.len().unwrap(), expected.len() as u64);
    for id in (0..TOKENS).step_by(17) {
        let found = snapshot.get(id).unwrap();
        assert_eq!(
            found.as_deref(),
            expected.get(&id).map(|bytes| &bytes[..]),
            "state {tag}, token {id}"
        );
    }
}

/// Takes snapshots until told to stop; each is read now, and again after some more were.
fn read(db: &Db, states: &[Model], stop: &AtomicBool) -> u64 {
    let mut held: Option<Snapshot> = None;
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut under_way = db.iter();
        let state = db.snapshot();
        let first = under_way.next();
        check_snapshot(&state, states);
        // The iterator was begun before the snapshot, and is ended after more slices.
        let ids = first
            .into_iter()
            .chain(under_way)
            .map(|token| token.unwrap().0);
        assert!(ids.is_sorted());
        if reads % 5 == 0
            && let Some(held) = held.replace(state)
        {
            check_snapshot(&held, states);
        }
        reads += 1;
    }
    reads
}

#[test]
fn readers_see_whole_batches_between_slices() {
    const BATCHES: u64 = 120;
    for page_size in [512, 1024] {
        let mut states = vec![Model::default()];
        states[0].apply(&Op::Bulk(others()));
        for tag in 1..=BATCHES {
            let mut state = states[tag as usize - 1].clone();
            state.apply(&batch(tag));
            states.push(state);
        }
        let storage = Arc::new(MemoryStorage::new());
        let db = options(page_size).open_storage(storage.clone()).unwrap();
        db.bulk_load(others()).unwrap();
        let stop = AtomicBool::new(false);
        let reads = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let (db, states, stop, reads) = (&db, &states, &stop, &reads);
                scope.spawn(move || reads.fetch_add(read(db, states, stop), Ordering::Relaxed));
            }
            for tag in 1..=BATCHES {
                run(&db, &batch(tag)).unwrap();
                if tag % 40 == 0 {
                    db.checkpoint().unwrap();
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        let commits = db.stats().unwrap().checkpoint;
        println!("page size {page_size}: {commits} commits, {reads:?} snapshots read");
        assert!(commits > 200 && reads.load(Ordering::Relaxed) > 0);
        assert_sound(&db);
        db.close().unwrap();
        let db = options(page_size).open_storage(storage).unwrap();
        assert!(Model::read(&db).unwrap() == states[BATCHES as usize]);
        assert_sound(&db);
    }
}

#[test]
fn random_operations_between_slices() {
    for seed in 0..8 {
        let page_size = [512, 4096][seed as usize % 2];
        let workload = Workload {
            page_size,
            ids: 500,
            value_len_max: 2000,
            acknowledged: 2,
        };
        let mut random = Random(seed);
        let db = options(page_size)
            .open_storage(Arc::new(MemoryStorage::new()))
            .unwrap();
        let mut model = Model::default();
        for step in 0..800 {
            let op = workload.op(&mut random);
            let answer = perform(&db, &op).unwrap();
            assert_eq!(answer, model.apply(&op), "seed {seed}, step {step}: {op:?}");
            if step % 20 == 0 {
                assert!(
                    Model::read(&db).unwrap() == model,
                    "seed {seed}, step {step}"
                );
                assert_eq!(db.len().unwrap(), model.tokens.len() as u64);
                assert_eq!(db.stats().unwrap().payload_bytes, model.payload());
            }
        }
        db.checkpoint().unwrap();
        assert!(Model::read(&db).unwrap() == model, "seed {seed}");
        assert_sound(&db);
    }
}
