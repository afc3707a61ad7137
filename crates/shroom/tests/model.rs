//! The database against a `BTreeMap`: random operations, every read, snapshots held, reopened in every way.

use std::sync::Arc;

use proptest::prelude::*;
use shroom::storage::MemoryStorage;
use shroom::{Db, Error, Options, Snapshot};
use shroom_sim::{Model, Op, Outcome, Random, Workload, assert_sound, check_reader, perform, run};

/// Where a database lives.
enum Home {
    Memory(Arc<MemoryStorage>),
    File(tempfile::TempDir),
}

impl Home {
    fn open(&self, options: &Options) -> Db {
        match self {
            Self::Memory(storage) => options.open_storage(storage.clone()),
            Self::File(dir) => options.open(dir.path().join("model.shroom")),
        }
        .expect("open")
    }
}

/// How a database is left and found again.
#[derive(Clone, Copy, Debug)]
enum Reopen {
    Close,
    Drop,
    /// Left by closing, and looked at read-only first.
    ReadOnly,
}

struct Bench {
    home: Home,
    options: Options,
    db: Option<Db>,
    model: Model,
    snapshots: Vec<(Snapshot, Model)>,
    random: Random,
    workload: Workload,
}

impl Bench {
    fn new(home: Home, page_size: u32, background: bool, seed: u64) -> Self {
        let options = Options::new()
            .page_size(page_size)
            .journal_limit(64 << 10)
            .stream_bytes(1)
            .background(background);
        let workload = Workload {
            page_size,
            ids: 150,
            value_len_max: 80_000,
            acknowledged: 12,
        };
        Self {
            db: Some(home.open(&options)),
            home,
            options,
            model: Model::default(),
            snapshots: Vec::new(),
            random: Random(seed),
            workload,
        }
    }

    fn db(&self) -> &Db {
        self.db.as_ref().expect("open")
    }

    fn step(&mut self) {
        match self.random.below(30) {
            0 => self.reopen(),
            1 => self.take_snapshot(),
            2 => self.check_snapshot(),
            3..6 => self.check_reads(),
            _ => self.change(),
        }
    }

    fn change(&mut self) {
        let op = self.workload.op(&mut self.random);
        let before = self.model.clone();
        self.model.apply(&op);
        let db = self.db();
        match &op {
            Op::Insert(bytes) => match (db.insert(bytes), before.next_id()) {
                (Ok(id), expected) => assert_eq!(Some(id), expected),
                (Err(Error::IdsExhausted), None) => {}
                (Err(error), _) => panic!("{error}"),
            },
            Op::Append(id, bytes) => {
                let length = db.append(*id, bytes).unwrap();
                assert_eq!(length, self.model.tokens[id].len() as u64);
            }
            Op::Delete(id) => assert_eq!(
                db.delete(*id).unwrap(),
                before.tokens.contains_key(id),
                "{id}"
            ),
            Op::Bulk(tokens) => assert_eq!(
                db.bulk_load(tokens.iter().map(|(id, bytes)| (*id, bytes)))
                    .unwrap(),
                tokens.len() as u64
            ),
            Op::Stream { id, .. } => {
                let length = Outcome::Length(self.model.tokens[id].len() as u64);
                assert_eq!(perform(db, &op).unwrap(), length);
            }
            op => run(db, op).unwrap(),
        }
    }

    fn take_snapshot(&mut self) {
        if self.snapshots.len() == 4 {
            self.check_snapshot();
        }
        let snapshot = self.db().snapshot();
        self.snapshots.push((snapshot, self.model.clone()));
    }

    fn check_snapshot(&mut self) {
        if self.snapshots.is_empty() {
            return;
        }
        let at = self.random.below(self.snapshots.len() as u64) as usize;
        let (snapshot, model) = self.snapshots.swap_remove(at);
        assert_eq!(snapshot.tag(), model.tag);
        assert_eq!(snapshot.len().unwrap(), model.tokens.len() as u64);
        let mut expected = model.tokens.iter();
        for token in snapshot.iter() {
            let (id, bytes) = token.unwrap();
            let (expected_id, expected_bytes) = expected.next().expect("one token too many");
            assert_eq!(id, *expected_id);
            assert!(bytes == *expected_bytes, "snapshot: token {id}");
        }
        assert!(expected.next().is_none(), "tokens are missing");
        let ids: Vec<u64> = (0..40).map(|_| self.workload_id()).collect();
        for (id, value) in ids.iter().zip(snapshot.get_many(&ids).unwrap()) {
            let expected = model.tokens.get(id);
            assert!(
                value.as_deref() == expected.map(|bytes| &bytes[..]),
                "snapshot: {id} of many"
            );
        }
        for _ in 0..10 {
            let id = self.workload_id();
            let found = snapshot.get(id).unwrap().map(|bytes| bytes.to_vec());
            assert!(found.as_ref() == model.tokens.get(&id), "snapshot: {id}");
            if let (Some(reader), Some(expected)) = (snapshot.reader(id).unwrap(), found) {
                check_reader(reader, &expected, &mut self.random);
            }
        }
    }

    fn workload_id(&mut self) -> u64 {
        self.random.below(160)
    }

    fn check_reads(&mut self) {
        for _ in 0..8 {
            let id = self.workload_id();
            let mut random = Random(self.random.next());
            let expected = self.model.tokens.get(&id);
            let db = self.db();
            let found = db.get(id).unwrap();
            assert!(
                found.as_deref() == expected.map(|bytes| &bytes[..]),
                "token {id}: {:?} bytes, expected {:?}",
                found.map(|bytes| bytes.len()),
                expected.map(Vec::len)
            );
            let reader = db.reader(id).unwrap();
            assert_eq!(reader.is_some(), expected.is_some());
            if let (Some(reader), Some(expected)) = (reader, expected) {
                check_reader(reader, expected, &mut random);
            }
            assert_eq!(db.contains(id).unwrap(), expected.is_some());
            let info = db.stat(id).unwrap();
            assert_eq!(
                info.map(|info| (info.id.0, info.length)),
                expected.map(|bytes| (id, bytes.len() as u64))
            );
        }
        let db = self.db();
        assert_eq!(db.len().unwrap(), self.model.tokens.len() as u64);
        assert_eq!(db.is_empty().unwrap(), self.model.tokens.is_empty());
        assert_eq!(db.tag(), self.model.tag);
        let stats = db.stats().unwrap();
        assert_eq!(stats.tokens, self.model.tokens.len() as u64);
        assert_eq!(stats.payload_bytes, self.model.payload());
        assert_eq!(stats.tag, self.model.tag);
        self.check_range();
    }

    /// A random range, walked from both ends in turns.
    fn check_range(&mut self) {
        let (low, high) = (self.workload_id(), self.workload_id());
        let (low, high) = (low.min(high), low.max(high));
        let high = if self.random.below(4) == 0 {
            u64::MAX
        } else {
            high
        };
        let mut expected = self.model.tokens.range(low..high);
        let db = self.db.as_ref().expect("open");
        let (mut tokens, mut keys) = (db.range(low..high), db.keys(low..high));
        let bias = self.random.below(5);
        loop {
            let (token, key, expected) = if self.random.below(4) < bias {
                (tokens.next(), keys.next(), expected.next())
            } else {
                (tokens.next_back(), keys.next_back(), expected.next_back())
            };
            let token = token.transpose().unwrap();
            assert_eq!(key.transpose().unwrap(), expected.map(|(&id, _)| id));
            assert_eq!(
                token.as_ref().map(|&(id, _)| id),
                expected.map(|(&id, _)| id)
            );
            let (Some((id, bytes)), Some((_, expected))) = (token, expected) else {
                break;
            };
            assert!(bytes == *expected, "range: token {id}");
        }
        let end = db.keys(low..=high).next_back().transpose().unwrap();
        let expected = self.model.tokens.range(low..=high).next_back();
        assert_eq!(end, expected.map(|(&id, _)| id));
    }

    fn reopen(&mut self) {
        let how = [Reopen::Close, Reopen::Drop, Reopen::ReadOnly][self.random.below(3) as usize];
        let db = self.db.take().expect("open");
        // Snapshots hold the file's lock.
        while !self.snapshots.is_empty() {
            self.check_snapshot();
        }
        match how {
            Reopen::Drop => drop(db),
            Reopen::Close | Reopen::ReadOnly => db.close().unwrap(),
        }
        if let Reopen::ReadOnly = how {
            let db = self.home.open(&self.options.clone().read_only(true));
            assert!(Model::read(&db).unwrap() == self.model, "read-only");
            assert!(db.put(1, b"").is_err());
            assert_sound(&db);
        }
        self.db = Some(self.home.open(&self.options));
        self.check_all();
    }

    fn check_all(&mut self) {
        assert!(Model::read(self.db()).unwrap() == self.model, "content");
        assert_sound(self.db());
        self.check_reads();
    }

    fn finish(&mut self) {
        self.check_all();
        self.reopen();
    }
}

fn drive(home: Home, page_size: u32, background: bool, seed: u64, steps: usize) {
    let mut bench = Bench::new(home, page_size, background, seed);
    for _ in 0..steps {
        bench.step();
    }
    bench.finish();
}

fn page_size() -> impl Strategy<Value = u32> {
    (9..=16_u32).prop_map(|shift| 1 << shift)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_memory_in_the_foreground(page_size in page_size(), seed: u64, steps in 1..220_usize) {
        drive(Home::Memory(Arc::new(MemoryStorage::new())), page_size, false, seed, steps);
    }

    #[test]
    fn in_memory_in_the_background(page_size in page_size(), seed: u64, steps in 1..220_usize) {
        drive(Home::Memory(Arc::new(MemoryStorage::new())), page_size, true, seed, steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_a_file(page_size in page_size(), background: bool, seed: u64, steps in 1..220_usize) {
        drive(Home::File(tempfile::tempdir().unwrap()), page_size, background, seed, steps);
    }
}

/// Where bytes are appended depends on the operations before it in the same batch, which nobody has seen yet.
#[test]
fn each_operation_of_a_batch_follows_those_before_it() {
    let home = Home::Memory(Arc::new(MemoryStorage::new()));
    let options = Options::new();
    let expected = [
        (1, "new!"),
        (2, "two+"),
        (3, "three"),
        (5, "five and a half"),
    ];
    let check = |db: &Db| {
        let all: Vec<_> = db.snapshot().iter().map(Result::unwrap).map(own).collect();
        let expected = expected.map(|(id, text)| (id, text.as_bytes().to_vec()));
        assert_eq!(all, expected);
    };
    let db = home.open(&options);
    db.put(1, b"old").unwrap();
    db.put(5, b"five").unwrap();
    let mut batch = db.batch();
    batch
        .append(1, b"er")
        .delete(1)
        .append(1, b"new")
        .append(1, b"!");
    batch
        .put(2, b"two")
        .append(2, b"")
        .append(2, b"+")
        .delete(4);
    batch
        .append(3, b"lost")
        .put(3, b"three")
        .put(4, b"four")
        .delete(4);
    batch.append(5, b" and").append(5, b" a half");
    batch.commit().unwrap();
    check(&db);
    drop(db);
    check(&home.open(&options));
}

fn own((id, value): (u64, shroom::Value<'_>)) -> (u64, Vec<u8>) {
    (id, value.to_vec())
}
