//! A writer publishes states, readers load them: whole batches, in order, and bytes that stay as they were.

use shroom::{Db, Options};
use shuttle::thread;

use crate::support::{explore, saw_if, step, stepped_file};

/// A situation.
const REPLACED: &str = "a value was held while a checkpoint replaced its state";

/// Tokens of each batch: some small, one that takes pages of its own.
const LENGTHS: [usize; 4] = [8, 60, 8, 1500];

/// Everything that a batch writes is made of its number.
fn commit(db: &Db, stamp: u8) {
    let mut batch = db.batch();
    for (id, len) in LENGTHS.into_iter().enumerate() {
        batch.put(id as u64, &vec![stamp; len]);
    }
    batch.tag(stamp.into());
    batch.commit().unwrap();
}

fn read(db: &Db, rounds: usize) {
    let mut before = 0;
    for round in 0..rounds {
        // The value that a single lookup gives, held while the state it is from is replaced.
        let id = round % LENGTHS.len();
        let value = db.get(id as u64).unwrap().unwrap();
        let first = value[0];
        assert!(first >= before, "{first} after {before}");
        let snapshot = db.snapshot();
        let stamp = snapshot.tag() as u8;
        assert!(stamp >= first, "{stamp} after {first}");
        before = stamp;
        for (id, len) in LENGTHS.into_iter().enumerate() {
            let held = snapshot.get(id as u64).unwrap().unwrap();
            step();
            assert_eq!(held, vec![stamp; len], "token {id}");
        }
        let all: Vec<_> = snapshot.iter().map(Result::unwrap).collect();
        assert_eq!(all.len(), LENGTHS.len());
        assert!(
            all.iter()
                .all(|(id, bytes)| *bytes == vec![stamp; LENGTHS[*id as usize]])
        );
        assert_eq!(value, vec![first; LENGTHS[id]]);
        saw_if(db.tag() >= u64::from(first) + 3, REPLACED);
    }
}

/// Looks as often as it can, so that a state which is there for a moment only is seen as well.
fn watch(db: &Db) {
    let mut before = 0;
    for _ in 0..150 {
        let tag = db.tag();
        assert!(tag >= before, "{tag} after {before}");
        before = tag;
    }
}

#[test]
fn readers_see_whole_batches_in_order() {
    explore(&[REPLACED], || {
        let (storage, _path) = stepped_file();
        // Slices as small as can be: a checkpoint publishes several states.
        let options = Options::new()
            .page_size(512)
            .journal_limit(64 << 10)
            .slice_bytes(1);
        let db = options.open_storage(storage).unwrap();
        commit(&db, 1);
        db.checkpoint().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                for stamp in 2..=6 {
                    commit(&db, stamp);
                    if stamp % 2 == 0 {
                        db.checkpoint().unwrap();
                    }
                }
            });
            scope.spawn(|| read(&db, 3));
            scope.spawn(|| read(&db, 2));
            scope.spawn(|| watch(&db));
        });
        assert_eq!(db.tag(), 6);
        read(&db, 1);
    });
}
