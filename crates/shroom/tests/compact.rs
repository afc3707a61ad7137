//! The canonical image: equal content gives equal bytes, whatever the history, and as few as the format allows.
//!
//! `SHROOM_COMPACT_PAIRS` sets how many pairs of histories are compared (`cargo xtask canonical` compares 1,000).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::storage::faulty::{CrashPlan, FaultyStorage};
use shroom::{Db, Error, Options, Snapshot};
use shroom_sim::{Change, Model, Op, Random, Workload, assert_sound, run};

const PAGE_SIZES: [u32; 5] = [512, 1024, 4096, 16_384, 65_536];

fn options(page_size: u32) -> Options {
    Options::new()
        .page_size(page_size)
        .journal_limit(64 << 10)
        .background(false)
}

fn compacted(snapshot: &Snapshot) -> Vec<u8> {
    let storage = MemoryStorage::new();
    let go_on = |_: &_| ControlFlow::Continue(());
    let made = snapshot.compact_into_storage(&storage, go_on).unwrap();
    let bytes = storage.to_bytes();
    assert_eq!(made.file_bytes, bytes.len() as u64);
    bytes
}

/// A database over the storage, and how its content comes about: by random operations.
fn live(page_size: u32, random: &mut Random) -> (Db, Model) {
    let db = options(page_size)
        .open_storage(Arc::new(MemoryStorage::new()))
        .unwrap();
    let workload = Workload {
        page_size,
        ids: 1 + random.below(400),
        value_len_max: 3 * page_size as usize,
        acknowledged: 4,
    };
    let mut model = Model::default();
    for _ in 0..random.below(250) {
        let op = workload.op(random);
        run(&db, &op).unwrap();
        model.apply(&op);
    }
    (db, model)
}

/// Another history of the same content: other tokens first, then these in some order and in pieces, whatever is too much
/// deleted; with saved snapshots, checkpoints, reopening and a crash in between.
fn relive(model: &Model, page_size: u32, random: &mut Random) -> Db {
    let storage = Arc::new(FaultyStorage::new());
    let open = |storage: &Arc<FaultyStorage>| {
        let storage = Arc::clone(storage);
        options(page_size).open_storage(storage).unwrap()
    };
    let mut db = open(&storage);
    let mut order: Vec<u64> = model.tokens.keys().copied().collect();
    for _ in 0..random.below(60) {
        let other = random.below(500);
        let len = random.below(page_size.into()) as usize;
        db.put(other, &random.bytes(len)).unwrap();
        order.push(other);
    }
    for index in (1..order.len()).rev() {
        order.swap(index, random.below(index as u64 + 1) as usize);
    }
    if random.below(3) == 0 {
        let sorted = model.tokens.iter().map(|(&id, bytes)| (id, bytes));
        db.bulk_load(sorted.filter(|(id, _)| id % 2 == 0)).unwrap();
    }
    let mut batch: Vec<Change> = Vec::new();
    for id in order {
        match model.tokens.get(&id) {
            None => batch.push(Change::Delete(id)),
            Some(bytes) => {
                let cut = random.below(bytes.len() as u64 + 1) as usize;
                batch.push(Change::Put(id, bytes[..cut].to_vec()));
                batch.push(Change::Append(id, bytes[cut..].to_vec()));
            }
        }
        if random.below(8) == 0 {
            run(
                &db,
                &Op::Batch(std::mem::take(&mut batch), random.below(2) == 0),
            )
            .unwrap();
        }
        match random.below(60) {
            0 => db.checkpoint().unwrap(),
            1 => _ = db.save_snapshot(&format!("{id} {}", random.next())),
            2 => {
                db.close().unwrap();
                db = open(&storage);
            }
            _ => {}
        }
    }
    batch.push(Change::Tag(model.tag));
    run(&db, &Op::Batch(batch, true)).unwrap();
    if random.below(2) == 0 {
        // A crash, after which the journal is replayed: what was synced is all there is.
        let image = storage.crash_image(storage.events(), &CrashPlan::LoseAll);
        db = open(&Arc::new(FaultyStorage::from_image(image)));
    }
    db
}

/// Compares the canonical images of pairs of histories, and checks what is in them.
fn compare_pairs(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let page_size = PAGE_SIZES[seed as usize % PAGE_SIZES.len()];
        let mut random = Random(seed);
        let (first, model) = live(page_size, &mut random);
        let second = relive(&model, page_size, &mut random);
        let relived = Model::read(&second).unwrap();
        assert!(relived.tokens == model.tokens, "seed {seed}");
        assert_eq!(relived.tag, model.tag, "seed {seed}");
        let image = compacted(&first.snapshot());
        assert!(image == compacted(&second.snapshot()), "seed {seed}");
        let hash = *blake3::hash(&image).as_bytes();
        assert_eq!(second.file_hash().unwrap().as_bytes(), &hash, "seed {seed}");

        let reopened = options(page_size)
            .open_storage(Arc::new(MemoryStorage::from_bytes(image.clone())))
            .unwrap();
        assert_eq!(Model::read(&reopened).unwrap(), model, "seed {seed}");
        let findings = reopened.verify().unwrap().findings;
        assert!(findings.is_empty(), "seed {seed}: {findings:#?}");
        assert_eq!(reopened.stats().unwrap().pages.free, 0);
        assert!(image == compacted(&reopened.snapshot()), "seed {seed}");
        // It can be written to like any other.
        reopened.put(77, b"later").unwrap();
        reopened.checkpoint().unwrap();
        assert_sound(&reopened);
    }
}

#[test]
fn equal_content_gives_equal_bytes() {
    let pairs = std::env::var("SHROOM_COMPACT_PAIRS").map_or(60, |pairs| pairs.parse().unwrap());
    compare_pairs(0..pairs);
}

#[test]
fn other_content_gives_another_hash() {
    let hash = |tokens: &[(u64, &[u8])], tag: u64| {
        let db = Db::in_memory().unwrap();
        for (id, bytes) in tokens {
            db.put(*id, bytes).unwrap();
        }
        run(&db, &Op::Batch(vec![Change::Tag(tag)], false)).unwrap();
        db.file_hash().unwrap()
    };
    let hashes = [
        hash(&[], 0),
        hash(&[], 1),
        hash(&[(0, b"")], 0),
        hash(&[(1, b"")], 0),
        hash(&[(1, b"a")], 0),
        hash(&[(1, b"a\0")], 0),
        hash(&[(1, b"a"), (2, b"")], 0),
        hash(&[(1, &[7; 5000])], 0),
        hash(&[(1, &[7; 5001])], 0),
    ];
    let distinct: std::collections::HashSet<_> = hashes.iter().collect();
    assert_eq!(distinct.len(), hashes.len());
}

/// Shapes that a random history seldom has.
#[test]
fn shapes_at_the_edges() {
    type Tokens = BTreeMap<u64, Vec<u8>>;
    let mut shapes: Vec<(&str, u32, Tokens)> = vec![
        ("nothing", 512, BTreeMap::new()),
        (
            "one token at the last id",
            512,
            [(u64::MAX, vec![1; 3])].into(),
        ),
        (
            "more empty tokens than a pack counts",
            512,
            (0..140_000).map(|id| (id, vec![])).collect(),
        ),
    ];
    let values = |count: u64, len: &dyn Fn(u64) -> u64| {
        (0..count)
            .map(|id| (id, vec![id as u8; len(id) as usize]))
            .collect()
    };
    shapes.push((
        "directory of three levels",
        512,
        values(9000, &|id| 100 + id % 29),
    ));
    shapes.push(("large values in all sizes", 512, values(300, &|id| id * 13)));
    shapes.push((
        "extents longer than the window",
        512,
        values(6, &|id| 31_000 + id * 700),
    ));
    shapes.push(("full pages", 4096, values(400, &|_| 1000)));
    shapes.push((
        "values that are packed as they are long",
        4096,
        values(700, &|id| id),
    ));
    for (name, page_size, tokens) in shapes {
        let db = options(page_size)
            .open_storage(Arc::new(MemoryStorage::new()))
            .unwrap();
        db.bulk_load(tokens.iter().map(|(&id, bytes)| (id, bytes)))
            .unwrap();
        let image = compacted(&db.snapshot());
        let hash = *blake3::hash(&image).as_bytes();
        assert_eq!(db.file_hash().unwrap().as_bytes(), &hash, "{name}");
        let reopened = options(page_size)
            .open_storage(Arc::new(MemoryStorage::from_bytes(image)))
            .unwrap();
        let findings = reopened.verify().unwrap().findings;
        assert!(findings.is_empty(), "{name}: {findings:#?}");
        assert!(Model::read(&reopened).unwrap().tokens == tokens, "{name}");
    }
}

#[test]
fn a_file_is_there_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::create(dir.path().join("db")).unwrap();
    for id in 0..5000_u64 {
        db.put(id, &[id as u8; 100]).unwrap();
    }
    run(&db, &Op::Batch(vec![Change::Tag(9)], false)).unwrap();
    let new = dir.path().join("new");
    let mut calls = 0;
    let stop = |progress: &shroom::compaction::NewFileProgress| {
        calls += 1;
        assert_eq!(progress.tokens_total, 5000);
        match progress.tokens < 3000 {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    };
    let stopped = db.snapshot().compact_into_with(&new, stop);
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert!(calls == 3 && !new.exists());

    let made = db.compact_into(&new).unwrap();
    assert_eq!((made.tokens, made.payload_bytes), (5000, 500_000));
    let bytes = std::fs::read(&new).unwrap();
    assert_eq!(made.file_bytes, bytes.len() as u64);
    assert_eq!(
        db.file_hash().unwrap(),
        (*blake3::hash(&bytes).as_bytes()).into()
    );
    let copy = Db::open_read_only(&new).unwrap();
    assert_eq!((copy.len().unwrap(), copy.tag()), (5000, 9));
    // What is there is not replaced.
    assert!(db.compact_into(&new).is_err());
    assert!(std::fs::read(&new).unwrap() == bytes);
}

/// A saved snapshot compacts like the state it was; the present one is another.
#[test]
fn a_named_snapshot_compacts_to_what_it_was() {
    let db = Db::in_memory().unwrap();
    for id in 0..2000_u64 {
        db.put(id, &[id as u8; 50]).unwrap();
    }
    let before = db.file_hash().unwrap();
    db.save_snapshot("before").unwrap();
    db.delete(1000).unwrap();
    assert_ne!(db.file_hash().unwrap(), before);
    let saved = db.open_snapshot("before").unwrap();
    assert_eq!(saved.file_hash().unwrap(), before);
    db.restore("before").unwrap();
    assert_eq!(db.file_hash().unwrap(), before);
}

/// Whatever fails, and wherever the power goes, the new file is the whole database or none.
#[test]
fn every_fault_and_every_crash_leaves_all_or_nothing() {
    use shroom::storage::faulty::Fault;
    let db = options(512)
        .open_storage(Arc::new(MemoryStorage::new()))
        .unwrap();
    for id in 0..300_u64 {
        db.put(id, &vec![id as u8; (id * 3) as usize]).unwrap();
    }
    let expected = Model::read(&db).unwrap();
    let go_on = |_: &_| ControlFlow::Continue(());
    let whole = FaultyStorage::new();
    db.snapshot().compact_into_storage(&whole, go_on).unwrap();
    let mut random = Random(1);
    for events in 0..=whole.events() {
        let plans = [
            CrashPlan::LoseAll,
            CrashPlan::KeepAll,
            CrashPlan::Subset(random.next()),
        ];
        for plan in plans {
            let image = whole.crash_image(events, &plan);
            match options(512)
                .create(false)
                .open_storage(Arc::new(MemoryStorage::from_bytes(image)))
            {
                Ok(found) => assert!(
                    Model::read(&found).unwrap() == expected,
                    "{events} {plan:?}"
                ),
                Err(_) => assert!(events < whole.events() || plan != CrashPlan::KeepAll),
            }
        }
    }
    let done = whole.crash_image(whole.events(), &CrashPlan::LoseAll);
    assert!(done == whole.image(), "what was returned from is durable");
    for call in 0..whole.calls() {
        for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
            let storage = FaultyStorage::new();
            storage.fail_call(call, Fault::Error(kind));
            let result = db.snapshot().compact_into_storage(&storage, go_on);
            // Near a full disk it asks for less room, and may find it.
            let may_pass =
                kind == ErrorKind::StorageFull && storage.injected()[0].operation == "grow";
            assert!(result.is_err() || may_pass, "call {call}, {kind:?}");
            assert!(result.is_err() || storage.image() == done);
        }
    }
    let storage = FaultyStorage::new();
    storage.set_capacity(Some(done.len() as u64 - 1));
    let full = db
        .snapshot()
        .compact_into_storage(&storage, go_on)
        .unwrap_err();
    assert_eq!(full.kind(), shroom::ErrorKind::Full);
    storage.set_capacity(Some(done.len() as u64));
    db.snapshot().compact_into_storage(&storage, go_on).unwrap();
    assert!(storage.image() == done);
}

/// Damage to the source is an error, or touches nothing that is copied: never another content.
#[test]
fn damage_is_never_copied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = options(512).open(&path).unwrap();
    for id in 0..200_u64 {
        db.put(id * 3, &vec![id as u8; (id * 5) as usize]).unwrap();
    }
    let hash = db.file_hash().unwrap();
    db.close().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut random = Random(3);
    let mut refused = 0;
    for _ in 0..400 {
        let mut damaged = bytes.clone();
        let at = random.below(bytes.len() as u64) as usize;
        damaged[at] ^= 1 << random.below(8);
        let storage = Arc::new(MemoryStorage::from_bytes(damaged));
        let read_only = Options::new().read_only(true).open_storage(storage);
        match read_only.and_then(|db| db.file_hash()) {
            Ok(found) => assert_eq!(found, hash, "byte {at}"),
            Err(error) => {
                assert!(error.is_corruption(), "byte {at}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 300, "{refused}");
}

/// What the canonical image of some content is must not change by accident (format, section 10).
#[test]
fn the_hashes_of_known_contents() {
    let hash = |page_size: u32, tokens: &[(u64, Vec<u8>)], tag: u64| {
        let db = options(page_size)
            .open_storage(Arc::new(MemoryStorage::new()))
            .unwrap();
        db.bulk_load(tokens.iter().map(|(id, bytes)| (*id, bytes)))
            .unwrap();
        run(&db, &Op::Batch(vec![Change::Tag(tag)], false)).unwrap();
        db.file_hash().unwrap().to_string()
    };
    let mixed: Vec<(u64, Vec<u8>)> = (0..2000_u64)
        .map(|id| (id * id, vec![id as u8; (id * 7919 % 613) as usize]))
        .collect();
    let large: Vec<(u64, Vec<u8>)> = (0..40_u64)
        .map(|id| (id, vec![id as u8; (id * id * 37) as usize]))
        .collect();
    let found = [
        hash(4096, &[], 0),
        hash(4096, &[(1, b"spore".to_vec())], 7),
        hash(512, &mixed, 0),
        hash(4096, &mixed, 0),
        hash(1024, &large, 1),
    ];
    let expected = [
        "6b84c7dc9f0d8007bc50a1cc4604a0487242c7e46beff8768aff89f5609b1d81",
        "b57dd01f4fc783403ce6535b41715d3880f7ae86868a4b34063cfc9be84242ce",
        "6c71c93c42575a81f263715a3f57205e1370bfc3ba12460cab4c383017899b73",
        "f21708c9f36922e0fb3f139ffc8d0a58a347d6da2a74cb6bf1b2515bc42da1c9",
        "fa46dc1460f4ad6167b421a0679508c94c96e437aab0a54df15af5051eddb7d1",
    ];
    assert_eq!(found, expected);
}

/// Holes are where nothing is: the content stays, the file's length stays, and later writes find their place.
#[test]
fn holes_are_punched_where_nothing_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = options(4096).open(&path).unwrap();
    for id in 0..4000_u64 {
        db.put(id, &[id as u8 | 1; 1000]).unwrap();
    }
    db.save_snapshot("all").unwrap();
    for id in 4000..6000_u64 {
        db.put(id, &[id as u8 | 1; 1000]).unwrap();
    }
    db.checkpoint().unwrap();
    let held = db.snapshot();
    for id in (0..6000).filter(|id| id % 50 != 0) {
        db.delete(id).unwrap();
    }
    db.checkpoint().unwrap();
    let model = Model::read(&db).unwrap();
    // What a reader holds is left alone.
    db.punch_holes().unwrap();
    assert!(
        held.iter()
            .all(|token| token.unwrap().1.iter().all(|&byte| byte != 0))
    );
    assert_eq!(held.len().unwrap(), 6000);
    drop(held);
    db.put(0, b"a commit after the reader").unwrap();
    db.put(0, &model.tokens[&0]).unwrap();
    db.checkpoint().unwrap();
    let len = std::fs::metadata(&path).unwrap().len();
    let before = db.stats().unwrap();
    let punched = db.punch_holes().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), len);
    let after = db.stats().unwrap();
    assert_eq!(after.file_bytes, before.file_bytes);
    if let (Some(bytes), Some(before), Some(after)) =
        (punched, before.allocated_bytes, after.allocated_bytes)
    {
        assert!(bytes > 1 << 20, "{bytes}");
        assert!(after < before, "{after} of {before}");
    }
    assert_sound(&db);
    assert!(Model::read(&db).unwrap() == model);
    assert_eq!(db.open_snapshot("all").unwrap().len().unwrap(), 4000);
    for id in 0..4000_u64 {
        db.put(id, &[7; 1000]).unwrap();
    }
    db.checkpoint().unwrap();
    assert_sound(&db);
    db.close().unwrap();
    let read_only = Db::open_read_only(&path).unwrap();
    assert!(read_only.punch_holes().is_err());
    assert_sound(&read_only);
}

/// The rules of the format's section 10, written down again as plainly as they can be, for values inside packs.
#[derive(Default)]
struct Plainly {
    page_size: usize,
    /// Where each page begun is filled to, from page 1 on; `None` for a directory page.
    pages: Vec<Option<usize>>,
    /// Entries of the last page of each level: id, page and offset.
    levels: Vec<Vec<[u64; 3]>>,
    /// Where each value begins.
    places: BTreeMap<u64, (u32, usize)>,
}

fn width(value: u64) -> usize {
    (0..=8)
        .find(|&width| width == 8 || value >> (8 * width) == 0)
        .unwrap()
}

/// Length of a pack, and where its values begin.
fn pack_len(tokens: &[(u64, usize)]) -> (usize, usize) {
    let (count, first, last) = (tokens.len(), tokens[0], tokens[tokens.len() - 1]);
    let values: usize = tokens.iter().map(|token| token.1).sum();
    let ids = match last.0 - first.0 == count as u64 - 1 {
        true => 0,
        false => (count - 1) * width(last.0 - first.0),
    };
    let ends = match tokens.iter().all(|token| token.1 == first.1) {
        true => 2,
        false if values > 255 => 2 * count,
        false => count,
    };
    (12 + ids + ends + values, 12 + ids + ends)
}

impl Plainly {
    fn room(&self, page: usize) -> Option<usize> {
        (self.page_size - self.pages[page - 1]?).checked_sub(4)
    }

    /// The held page with the least room for `len`.
    fn tightest(&self, len: usize) -> Option<(usize, usize)> {
        let storage = (1..=self.pages.len())
            .rev()
            .filter(|page| self.pages[page - 1].is_some());
        let rooms = storage
            .take(64)
            .filter_map(|page| Some((self.room(page)?, page)));
        rooms.filter(|&(room, _)| room >= len).min()
    }

    fn all(&mut self, tokens: &[(u64, usize)]) {
        let mut start = 0;
        let capacity = self.page_size - 12;
        for end in 0..=tokens.len() {
            // Some wait until more wait than a pack holds; at the end, all that are left.
            while start < end && (end == tokens.len() || pack_len(&tokens[start..end]).0 > capacity)
            {
                start += self.next_pack(&tokens[start..end], capacity);
            }
        }
        for level in 0.. {
            if level + 1 == self.levels.len() && self.levels[level].len() == 1
                || level == self.levels.len()
            {
                break;
            }
            let top = level + 1 == self.levels.len();
            let entry = self.begin_directory_page(level);
            if top {
                break;
            }
            self.enter(level + 1, entry);
        }
    }

    fn next_pack(&mut self, waiting: &[(u64, usize)], capacity: usize) -> usize {
        let fits = |&count: &usize| pack_len(&waiting[..count]).0 <= capacity;
        let full = (1..=waiting.len()).take_while(fits).last().unwrap();
        let pairs = (1..full).filter_map(|count| {
            let len = pack_len(&waiting[..count]).0;
            let (room, page) = self.tightest(len)?;
            (8 * (room - len) <= room).then_some((room - len, count, page))
        });
        let (count, page) = match self.tightest(pack_len(&waiting[..full]).0) {
            Some((_, page)) => (full, page),
            None => match pairs.min() {
                Some((_, count, page)) => (count, page),
                None => {
                    self.pages.push(Some(8));
                    (full, self.pages.len())
                }
            },
        };
        let offset = self.pages[page - 1].unwrap();
        let (len, mut at) = pack_len(&waiting[..count]);
        for &(id, value) in &waiting[..count] {
            self.places.insert(id, (page as u32, offset + 2 + at));
            at += value;
        }
        self.pages[page - 1] = Some(offset + 4 + len);
        self.enter(0, [waiting[0].0, page as u64, offset as u64]);
        count
    }

    fn enter(&mut self, level: usize, entry: [u64; 3]) {
        if level == self.levels.len() {
            self.levels.push(Vec::new());
        }
        let mut entries = self.levels[level].clone();
        entries.push(entry);
        let column = |at: usize| entries.iter().map(move |entry| entry[at]);
        let widths = (0..3).map(|at| width(column(at).max().unwrap() - column(at).min().unwrap()));
        if 22 + entries.len() * widths.sum::<usize>() <= self.page_size {
            self.levels[level] = entries;
            return;
        }
        let full = self.begin_directory_page(level);
        self.levels[level] = vec![entry];
        self.enter(level + 1, full);
    }

    fn begin_directory_page(&mut self, level: usize) -> [u64; 3] {
        self.pages.push(None);
        [self.levels[level][0][0], self.pages.len() as u64, 0]
    }
}

#[test]
fn values_lie_where_the_format_says() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let page_size = PAGE_SIZES[seed as usize % 3];
        let (spread, longest) = (
            1 + random.below(3) * 1000,
            1 + random.below(u64::from(page_size) / 4),
        );
        let mut id = 0;
        let tokens: Vec<(u64, usize)> = (0..random.below(2500))
            .map(|_| {
                id += 1 + random.below(spread);
                let short = random.below(3) == 0;
                let len = random.below(if short { 1 + longest / 8 } else { 1 + longest });
                (id, len as usize)
            })
            .collect();
        let mut plainly = Plainly {
            page_size: page_size as usize,
            ..Plainly::default()
        };
        plainly.all(&tokens);
        let db = options(page_size)
            .open_storage(Arc::new(MemoryStorage::new()))
            .unwrap();
        let value = |&(id, len): &(u64, usize)| (id, vec![id as u8; len]);
        db.bulk_load(tokens.iter().map(value)).unwrap();
        let image = MemoryStorage::from_bytes(compacted(&db.snapshot()));
        let image = options(page_size).open_storage(Arc::new(image)).unwrap();
        for (&id, &(page, offset)) in &plainly.places {
            let info = image.stat(id).unwrap().unwrap();
            let found = (info.page.0, usize::from(info.offset));
            assert_eq!(found, (page, offset), "seed {seed}, token {id}");
        }
        let pages = image.stats().unwrap().pages;
        assert_eq!(
            pages.storage + pages.directory,
            plainly.pages.len() as u64,
            "seed {seed}"
        );
    }
}
