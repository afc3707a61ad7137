//! Readers that check every byte, beside writers that never rest: values follow from the chronicle, so a reader knows what
//! any state holds, and knows it of a snapshot for as long as it holds it.
//!
//! Pages are reused all the time: small journal areas, overwrites, deletes, large values that come and go. Longer:
//! `cargo xtask stress`.

#[path = "support/chronicle.rs"]
mod chronicle;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shroom::storage::{FileStorage, MemoryStorage, OpenMode, Storage};
use shroom::{Db, Options, Snapshot, Value};
use shroom_sim::{Op, Random, assert_sound, run};

use chronicle::IDS;

/// How long each test runs, in seconds, and with which seed, when not as in the normal run.
const SECONDS: &str = "SHROOM_STRESS_SECONDS";
const SEED: &str = "SHROOM_STRESS_SEED";
const SECONDS_NORMAL: f64 = 2.5;
/// How much longer, at most, until enough was done.
const PATIENCE: Duration = Duration::from_secs(60);

const READERS: u64 = 8;
/// Snapshots and values that a reader holds at a time.
const HELD_MAX: usize = 4;
/// The file stays below this: what is written to it is many times as much.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What the threads share.
struct Arena {
    db: Db,
    /// The last batch; whoever holds it writes the next.
    stamp: Mutex<u64>,
    done: AtomicBool,
    /// Values compared, byte for byte.
    values: AtomicU64,
    bytes: AtomicU64,
    /// Looks at a snapshot after at least one checkpoint went on under it.
    held: AtomicU64,
}

/// A snapshot, and the checkpoint after which it was taken.
struct Held {
    snapshot: Snapshot,
    checkpoint: u64,
}

impl Arena {
    /// Counts a value that was found as it must be.
    fn compare(&self, found: Option<&[u8]>, tag: u64, id: u64) {
        let expected = chronicle::token(tag, id);
        assert!(
            found == expected.as_deref(),
            "token {id} at tag {tag}: {:?} bytes found, {:?} expected",
            found.map(<[u8]>::len),
            expected.map(|bytes| bytes.len())
        );
        self.values.fetch_add(1, Ordering::Relaxed);
        let len = found.map_or(0, <[u8]>::len);
        self.bytes.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// Whether enough was done for the test to mean something.
    fn has_worked(&self) -> bool {
        self.values.load(Ordering::Relaxed) > 5000
            && self.held.load(Ordering::Relaxed) > 50
            && self.db.stats().unwrap().checkpoint > 20
    }

    /// A value of one of the states between two moments.
    fn compare_between(&self, found: Option<&[u8]>, tags: std::ops::RangeInclusive<u64>, id: u64) {
        let tag = tags
            .clone()
            .find(|&tag| chronicle::token(tag, id).as_deref() == found);
        let Some(tag) = tag else {
            panic!("token {id} is as in no state of {tags:?}");
        };
        self.compare(found, tag, id);
    }

    /// Looks at a snapshot in some way; all of them must agree with its tag.
    fn look(&self, snapshot: &Snapshot, random: &mut Random) {
        let tag = snapshot.tag();
        match random.below(6) {
            0 => self.scan(snapshot, 0..IDS, false),
            1 => self.scan(snapshot, 0..IDS, true),
            2 => {
                let first = random.below(IDS);
                self.scan(snapshot, first..(first + 30).min(IDS), random.below(2) == 0);
            }
            3 => {
                let count = (0..IDS)
                    .filter(|&id| chronicle::token(tag, id).is_some())
                    .count();
                assert_eq!(snapshot.len().unwrap(), count as u64);
                assert_eq!(snapshot.keys(..).count(), count);
            }
            _ => {
                for _ in 0..20 {
                    let id = random.below(IDS + 5);
                    let value = snapshot.get(id).unwrap();
                    if id < IDS {
                        self.compare(value.as_deref(), tag, id);
                    } else {
                        assert!(value.is_none());
                    }
                }
            }
        }
    }

    /// Every token of a range, those that are absent included, in one or the other direction.
    fn scan(&self, snapshot: &Snapshot, ids: std::ops::Range<u64>, backward: bool) {
        let tag = snapshot.tag();
        let tokens = snapshot.range(ids.clone());
        let mut found: Vec<(u64, Value<'_>)> = if backward {
            tokens.rev().collect::<Result<_, _>>().unwrap()
        } else {
            tokens.collect::<Result<_, _>>().unwrap()
        };
        if backward {
            found.reverse();
        }
        let mut found = found.into_iter().peekable();
        for id in ids {
            let value = found.next_if(|&(other, _)| other == id);
            self.compare(value.as_ref().map(|(_, value)| &value[..]), tag, id);
        }
        assert!(found.next().is_none(), "out of order, or twice");
    }

    fn read(&self, mut random: Random) {
        let mut held = VecDeque::new();
        let mut values = VecDeque::new();
        let mut newest = 0;
        while !self.done.load(Ordering::Relaxed) {
            match random.below(8) {
                0 => {
                    let checkpoint = self.db.stats().unwrap().checkpoint;
                    let snapshot = self.db.snapshot();
                    assert!(snapshot.tag() >= newest, "back in time");
                    newest = snapshot.tag();
                    held.push_back(Held {
                        snapshot,
                        checkpoint,
                    });
                    if held.len() > HELD_MAX {
                        held.remove(random.below(HELD_MAX as u64) as usize);
                    }
                }
                1 => {
                    let snapshot = self.db.snapshot();
                    newest = newest.max(snapshot.tag());
                    self.look(&snapshot, &mut random);
                }
                2..5 => {
                    let Some(held) = held.get(random.below(HELD_MAX as u64) as usize) else {
                        continue;
                    };
                    self.look(&held.snapshot, &mut random);
                    if self.db.stats().unwrap().checkpoint > held.checkpoint {
                        self.held.fetch_add(1, Ordering::Relaxed);
                    }
                }
                5 => {
                    // A value that outlives the state it was read from.
                    let snapshot = self.db.snapshot();
                    let (tag, id) = (snapshot.tag(), random.below(IDS));
                    let before = self.db.tag();
                    let value = self.db.get(id).unwrap();
                    let tags = before.max(tag)..=self.db.tag();
                    self.compare_between(value.as_deref(), tags.clone(), id);
                    values.push_back((value, tags, id));
                    if values.len() > HELD_MAX {
                        let (value, tags, id) = values.pop_front().unwrap();
                        self.compare_between(value.as_deref(), tags, id);
                    }
                }
                _ => {
                    let id = random.below(IDS);
                    // No thread sees a state older than one that it saw before.
                    let before = self.db.tag();
                    assert!(before >= newest, "back in time");
                    let value = self.db.get(id).unwrap();
                    newest = self.db.tag();
                    self.compare_between(value.as_deref(), before..=newest, id);
                }
            }
        }
    }

    fn write(&self, mut random: Random) {
        while !self.done.load(Ordering::Relaxed) {
            {
                let mut stamp = self.stamp.lock().unwrap();
                let synced = random.below(16) == 0;
                run(&self.db, &Op::Batch(chronicle::batch(*stamp + 1), synced)).unwrap();
                *stamp += 1;
            }
            match random.below(400) {
                0 => self.db.checkpoint().unwrap(),
                1..10 => self.db.flush().unwrap(),
                _ => {}
            }
        }
    }
}

fn stress(name: &str, storage: Arc<dyn Storage>) {
    let seconds = std::env::var(SECONDS).map_or(SECONDS_NORMAL, |text| text.parse().unwrap());
    let seed = std::env::var(SEED).map_or(1, |text| text.parse().unwrap());
    let options = Options::new().page_size(1024).journal_limit(64 << 10);
    let arena = Arena {
        db: options.open_storage(Arc::clone(&storage)).unwrap(),
        stamp: Mutex::new(0),
        done: AtomicBool::new(false),
        values: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        held: AtomicU64::new(0),
    };
    let mut longest = 0;
    std::thread::scope(|scope| {
        let arena = &arena;
        let threads: Vec<_> = (0..READERS + 2)
            .map(|thread| {
                let random = Random(seed << 8 | thread);
                scope.spawn(move || {
                    if thread < READERS {
                        arena.read(random);
                    } else {
                        arena.write(random);
                    }
                })
            })
            .collect();
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        // On a busy machine it takes longer. A thread that failed ends the test at once.
        while (Instant::now() < end || !arena.has_worked() && Instant::now() < end + PATIENCE)
            && !threads.iter().any(|thread| thread.is_finished())
        {
            std::thread::sleep(Duration::from_millis(5));
            longest = longest.max(storage.len().unwrap());
        }
        arena.done.store(true, Ordering::Relaxed);
    });
    let enough = arena.has_worked();
    let stamp = arena.stamp.into_inner().unwrap();
    let checkpoints = arena.db.stats().unwrap().checkpoint;
    let (values, bytes, held) = (
        arena.values.into_inner(),
        arena.bytes.into_inner(),
        arena.held.into_inner(),
    );
    println!(
        "{name}, seed {seed}: {stamp} batches, {checkpoints} checkpoints, {values} values of {bytes} bytes compared, \
         {held} looks across checkpoints, longest file {longest} bytes"
    );
    assert!(enough, "too little was done");
    assert!(longest < FILE_BYTES_MAX, "pages are not reused");
    assert_eq!(arena.db.tag(), stamp);
    assert_sound(&arena.db);
    let options = options.clone();
    arena.db.close().unwrap();
    let db = options.open_storage(storage).unwrap();
    assert!(shroom_sim::Model::read(&db).unwrap() == chronicle::model(stamp));
    assert_sound(&db);
}

#[test]
fn every_byte_read_beside_writers_in_memory() {
    stress("in memory", Arc::new(MemoryStorage::new()));
}

#[test]
fn every_byte_read_beside_writers_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stress.shroom");
    let file = FileStorage::open(&path, OpenMode::CREATE_NEW).unwrap();
    stress("in a file", Arc::new(file));
}
