//! Named snapshots against models: what is saved is there with exactly its content, whatever happens later, and whatever the
//! disk kept in a crash; and what differs between two states is found, exactly.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use shroom::diff::Difference;
use shroom::storage::faulty::FaultyStorage;
use shroom::storage::{MemoryStorage, Storage};
use shroom::{Db, Error, Options, Snapshot};
use shroom_sim::{Model, Random, Workload, assert_sound, crash_images, run};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    live: Model,
    named: BTreeMap<String, Model>,
}

impl State {
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    fn read(db: &Db) -> Self {
        let names = db.snapshots().unwrap().into_iter();
        let named = names.map(|saved| {
            let model = read(&db.open_snapshot(&saved.name).unwrap());
            assert_eq!(saved.tokens, model.tokens.len() as u64);
            assert_eq!(saved.payload_bytes, model.payload());
            assert_eq!(saved.tag, model.tag);
            (saved.name, model)
        });
        Self {
            named: named.collect(),
            live: read(&db.snapshot()),
        }
    }
}

fn read(snapshot: &Snapshot) -> Model {
    Model::read_snapshot(snapshot).unwrap()
}

fn found(before: &Snapshot, after: &Snapshot) -> Vec<Difference> {
    before
        .diff(after)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// A snapshot operation at random, on the database and on the model; whether it acknowledges.
fn step(db: &Db, state: &mut State, workload: &Workload, random: &mut Random) -> bool {
    let name = format!("s{}", random.below(5));
    let known = state.named.contains_key(&name);
    match random.below(20) {
        0 | 1 if !known => {
            db.save_snapshot(&name).unwrap();
            state.named.insert(name, state.live.clone());
        }
        2 if known => {
            db.delete_snapshot(&name).unwrap();
            state.named.remove(&name);
        }
        3 if known => {
            db.restore(&name).unwrap();
            state.live = state.named[&name].clone();
        }
        _ => {
            let op = workload.op(random);
            run(db, &op).unwrap();
            state.live.apply(&op);
            return op.acknowledges();
        }
    }
    true
}

fn options(page_size: u32, background: bool) -> Options {
    Options::new()
        .page_size(page_size)
        .journal_limit(64 << 10)
        .background(background)
}

#[test]
fn snapshots_and_their_differences_are_those_of_models() {
    for seed in 0..30_u64 {
        let page_size = [512, 1024, 4096][seed as usize % 3];
        let workload = Workload {
            page_size,
            ids: 300,
            value_len_max: [3_000, 40_000][seed as usize % 2],
            acknowledged: 10,
        };
        let mut random = Random(seed);
        let storage = Arc::new(MemoryStorage::new());
        let options = options(page_size, seed % 4 == 0);
        let mut db = options.clone().open_storage(storage.clone()).unwrap();
        let mut state = State::default();
        let mut held: Vec<(Snapshot, Model)> = Vec::new();
        for round in 0..220 {
            step(&db, &mut state, &workload, &mut random);
            if random.below(10) == 0 {
                held.push((db.snapshot(), state.live.clone()));
            }
            if round % 20 == 0 {
                assert_eq!(State::read(&db), state, "seed {seed}, round {round}");
                assert_sound(&db);
                for (name, model) in &state.named {
                    held.push((db.open_snapshot(name).unwrap(), model.clone()));
                }
                for (before, old) in &held {
                    assert_eq!(read(before), *old);
                    let (after, new) = &held[random.below(held.len() as u64) as usize];
                    assert_eq!(found(before, after), old.differences(new), "seed {seed}");
                }
                held.truncate(random.below(4) as usize);
            }
            if random.below(40) == 0 {
                held.clear();
                db.close().unwrap();
                db = options.clone().open_storage(storage.clone()).unwrap();
                assert_eq!(State::read(&db), state, "seed {seed}, round {round}");
            }
        }
        let stats = db.stats().unwrap();
        assert_eq!(stats.snapshots, state.named.len() as u64);
    }
}

/// The state after each operation that may change it, with the events at which it began, and what was acknowledged when.
#[derive(Default)]
struct History {
    states: Vec<(usize, u64)>,
    acknowledged: Vec<(usize, usize)>,
}

impl History {
    fn note(&mut self, began: usize, state: &State) {
        self.states.push((began, state.fingerprint()));
    }

    fn acknowledge(&mut self, events: usize) {
        self.acknowledged.push((events, self.states.len() - 1));
    }

    fn allows(&self, events: usize, found: &State) -> bool {
        let first = self
            .acknowledged
            .iter()
            .rev()
            .find(|&&(at, _)| at <= events);
        let states = &self.states[first.map_or(0, |&(_, state)| state)..];
        let found = found.fingerprint();
        let mut possible = states.iter().filter(|&&(began, _)| began <= events);
        possible.any(|&(_, state)| state == found)
    }
}

#[test]
fn a_saved_snapshot_survives_every_crash() {
    let mut images = 0;
    for seed in 0..16_u64 {
        let page_size = [512, 1024, 4096][seed as usize % 3];
        let workload = Workload {
            page_size,
            ids: 40,
            value_len_max: 3_000,
            acknowledged: 10,
        };
        let mut random = Random(seed);
        let storage = FaultyStorage::new();
        let options = options(page_size, false);
        let db = options
            .clone()
            .open_storage(Arc::new(storage.clone()))
            .unwrap();
        let mut state = State::default();
        let mut history = History::default();
        let first = storage.events();
        history.note(0, &state);
        history.acknowledge(first);
        for _ in 0..50 {
            let began = storage.events();
            let acknowledges = step(&db, &mut state, &workload, &mut random);
            history.note(began, &state);
            if acknowledges {
                history.acknowledge(storage.events());
            }
        }
        db.close().unwrap();
        history.acknowledge(storage.events());
        let mut seen = HashSet::new();
        for events in first..=storage.events() {
            for (plan, image) in crash_images(&storage, events, &mut random, &mut seen, 2) {
                let image: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(image));
                let open = |read_only| {
                    options
                        .clone()
                        .read_only(read_only)
                        .open_storage(image.clone())
                };
                let what = format!("seed {seed}, event {events}, {plan:?}");
                images += 1;
                let read_only = images % 3 > 0;
                let db = open(read_only).unwrap_or_else(|error| panic!("{what}: {error}"));
                let found = State::read(&db);
                assert!(history.allows(events, &found), "{what}");
                if read_only {
                    continue;
                }
                // A slot whose write the crash tore is mended by then.
                assert_sound(&db);
                db.close().unwrap();
                assert_eq!(State::read(&open(true).unwrap()), found, "{what}: closed");
            }
        }
    }
    println!("{images} crash images");
}

#[test]
fn errors_are_specific() {
    let db = Db::in_memory().unwrap();
    db.put(1, b"one").unwrap();
    db.save_snapshot("a").unwrap();
    db.put(1, b"two").unwrap();
    assert!(matches!(db.save_snapshot("a"), Err(Error::SnapshotExists { name }) if name == "a"));
    assert!(matches!(db.open_snapshot("b"), Err(Error::NoSuchSnapshot { name }) if name == "b"));
    assert!(matches!(db.restore("b"), Err(Error::NoSuchSnapshot { .. })));
    assert!(matches!(
        db.delete_snapshot("b"),
        Err(Error::NoSuchSnapshot { .. })
    ));
    assert!(matches!(
        db.snapshot_bytes("b"),
        Err(Error::NoSuchSnapshot { .. })
    ));
    assert!(matches!(
        db.diff("a", "b"),
        Err(Error::NoSuchSnapshot { .. })
    ));
    for name in ["", "line\nfeed", &"x".repeat(256)] {
        let error = db.save_snapshot(name).unwrap_err();
        assert_eq!(error.kind(), shroom::ErrorKind::Misuse, "{error}");
    }
    assert_eq!(db.get(1).unwrap().unwrap(), b"two");
    assert_eq!(
        db.stats().unwrap().overlay_tokens,
        1,
        "nothing was drained for it"
    );
}

/// Ids go on where the restored state ends, not where the lost one did.
#[test]
fn insert_after_a_restore_takes_the_next_id_of_the_restored_state() {
    let db = Db::in_memory().unwrap();
    db.insert(b"zero").unwrap();
    db.save_snapshot("a").unwrap();
    assert_eq!(db.insert(b"one").unwrap(), 1);
    assert_eq!(db.insert(b"two").unwrap(), 2);
    db.restore("a").unwrap();
    assert_eq!(db.len().unwrap(), 1);
    assert_eq!(db.insert(b"other").unwrap(), 1);
}

/// Frames that follow a restore do not continue the state before it, should its superblock ever count again.
#[test]
fn frames_after_a_restore_do_not_continue_an_earlier_superblock() {
    let storage = Arc::new(MemoryStorage::new());
    let options = options(512, false);
    let db = options.open_storage(storage.clone()).unwrap();
    db.put(1, b"saved").unwrap();
    db.save_snapshot("a").unwrap();
    db.put(2, b"lost by the restore").unwrap();
    db.checkpoint().unwrap();
    let before = storage.to_bytes();
    db.restore("a").unwrap();
    db.put(3, b"after").unwrap();
    db.flush().unwrap();
    assert_eq!(db.keys(..).collect::<Result<Vec<_>, _>>().unwrap(), [1, 3]);
    let mut mixed = storage.to_bytes();
    mixed[..1024].copy_from_slice(&before[..1024]);
    let mixed = Arc::new(MemoryStorage::from_bytes(mixed));
    match options.read_only(true).open_storage(mixed) {
        Ok(db) => assert!(
            db.get(3).unwrap().is_none(),
            "over a state it was not written to"
        ),
        Err(error) => assert!(error.is_corruption(), "{error}"),
    }
}

/// Makes a database with a snapshot that shares nothing with the present state: 200 tokens of 3,000 ones, then of twos.
fn overwritten(storage: FaultyStorage) -> Db {
    let db = options(4096, false)
        .open_storage(Arc::new(storage))
        .unwrap();
    db.bulk_load((0..200).map(|id| (id, [1; 3_000]))).unwrap();
    db.save_snapshot("old").unwrap();
    db.bulk_load((0..200).map(|id| (id, [2; 3_000]))).unwrap();
    db
}

/// The checkpoint that did not fit is not tried again before the deletion that makes room for it.
#[test]
fn a_deletion_makes_room_on_a_full_disk() {
    let storage = FaultyStorage::new();
    let db = overwritten(storage.clone());
    for id in 200..350 {
        db.put(id, &[3; 3_000]).unwrap();
    }
    storage.set_capacity(Some(storage.len().unwrap()));
    assert_eq!(db.checkpoint().unwrap_err().kind(), shroom::ErrorKind::Full);
    db.delete_snapshot("old").unwrap();
    assert_eq!(db.len().unwrap(), 350);
    db.checkpoint().unwrap();
    assert_eq!(db.len().unwrap(), 350);
    assert_sound(&db);
}

/// A checkpoint that fails at damaged pages does not keep those pages from being left behind.
#[test]
fn a_restore_leaves_a_damaged_state_behind() {
    let storage = FaultyStorage::new();
    drop(overwritten(storage.clone()));
    let image = storage.image();
    let damaged = FaultyStorage::from_image(image.clone());
    for (page, bytes) in image.chunks(4096).enumerate().skip(2) {
        if bytes[2_000..2_100] == [2; 100] {
            damaged.flip_bit(page as u64 * 4096 + 2_000, 0);
        }
    }
    let db = options(4096, false)
        .open_storage(Arc::new(damaged.clone()))
        .unwrap();
    for id in 0..200 {
        db.put(id, b"small").unwrap();
    }
    let failed = db.checkpoint().unwrap_err();
    assert!(failed.is_corruption(), "{failed}");
    db.restore("old").unwrap();
    assert!(db.iter().all(|token| token.unwrap().1 == [1; 3_000]));
    db.put(200, b"after").unwrap();
    db.close().unwrap();
    let db = options(4096, false)
        .open_storage(Arc::new(damaged))
        .unwrap();
    assert_eq!(db.len().unwrap(), 201);
    assert_sound(&db);
}

#[test]
fn a_read_only_handle_lists_opens_and_compares() {
    let storage = Arc::new(MemoryStorage::new());
    let db = Options::new().open_storage(storage.clone()).unwrap();
    for id in 0..1000 {
        db.put(id, &[1; 100]).unwrap();
    }
    db.save_snapshot("a").unwrap();
    db.put(5, b"changed").unwrap();
    db.delete(7).unwrap();
    db.put(2000, b"added").unwrap();
    db.save_snapshot("b").unwrap();
    db.close().unwrap();
    let db = Options::new()
        .read_only(true)
        .open_storage(storage)
        .unwrap();
    assert_eq!(db.snapshots().unwrap().len(), 2);
    let diff = db.diff("a", "b").unwrap();
    let differences: Vec<_> = diff.map(Result::unwrap).collect();
    assert_eq!(
        differences,
        [
            Difference::Changed(5),
            Difference::Removed(7),
            Difference::Added(2000)
        ]
    );
    let back: Vec<_> = db.diff("b", "a").unwrap().map(Result::unwrap).collect();
    assert_eq!(
        back,
        [
            Difference::Changed(5),
            Difference::Added(7),
            Difference::Removed(2000)
        ]
    );
    assert!(db.save_snapshot("c").is_err() && db.restore("a").is_err());
    assert!(db.delete_snapshot("a").is_err());
    assert!(db.snapshot_bytes("a").unwrap() > 0);
}

/// The cost of a difference is that of what differs.
#[test]
fn a_small_difference_reads_few_pages() {
    let db = Db::in_memory().unwrap();
    db.bulk_load((0..200_000_u64).map(|id| (id, id.to_le_bytes())))
        .unwrap();
    db.put(1 << 40, &vec![3; 5_000_000]).unwrap();
    db.save_snapshot("a").unwrap();
    for id in [17, 100_000, 100_001] {
        db.put(id, b"new").unwrap();
    }
    db.save_snapshot("b").unwrap();
    let mut diff = db.diff("a", "b").unwrap();
    let ids: Vec<u64> = diff
        .by_ref()
        .map(|difference| difference.unwrap().id())
        .collect();
    assert_eq!(ids, [17, 100_000, 100_001]);
    assert!(diff.pages_compared() < 60, "{}", diff.pages_compared());
}
