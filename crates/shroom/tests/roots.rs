//! The content root and the page root: the values that the format's text gives, against the published lattice hash, and
//! equal whatever the history.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use proptest::prelude::*;
use shroom::storage::MemoryStorage;
use shroom::storage::faulty::FaultyStorage;
use shroom::{Db, Error, Options, Snapshot};
use shroom_page::{PageStore, Roots};
use shroom_seg::{SegmentAddr, SegmentTxn};
use shroom_sim::{Model, Random, Workload, assert_sound, crash_images, fingerprint, is_blank, run};
use shroom_token::TokenRoot;
use solana_lattice_hash::lt_hash::LtHash;

type Tokens = BTreeMap<u64, Vec<u8>>;

/// The content root as the format defines it, with the lattice hash of a published crate.
fn published(tokens: &Tokens) -> String {
    let mut sum = LtHash::identity();
    for (id, bytes) in tokens {
        let mut element = blake3::Hasher::new();
        element.update(b"shroom content element 1");
        element.update(&id.to_le_bytes());
        element.update(&(bytes.len() as u64).to_le_bytes());
        element.update(bytes);
        sum.mix_in(&LtHash::with(&element));
    }
    let mut root = b"shroom content root 1".to_vec();
    root.extend(sum.0.iter().flat_map(|lane| lane.to_le_bytes()));
    blake3::hash(&root).to_hex().to_string()
}

fn root(db: &Db) -> String {
    db.content_root().unwrap().to_string()
}

fn small(page_size: u32) -> Options {
    Options::new()
        .page_size(page_size)
        .journal_limit(64 << 10)
        .background(false)
}

fn in_memory(options: &Options) -> Db {
    let storage = Arc::new(MemoryStorage::new());
    options.open_storage(storage).unwrap()
}

/// The test vectors of the format's section 11.
#[test]
fn the_vectors_of_the_format() {
    let counting: Vec<u8> = (0..5000).map(|index| (index % 251) as u8).collect();
    type Listed<'t> = &'t [(u64, &'t [u8])];
    let vectors: [(Listed<'_>, &str); 4] = [
        (
            &[],
            "954f299908b190a9727360d719a7132f580977111b7cce2c4df3719a05b1bd85",
        ),
        (
            &[(0, b"")],
            "6faafc028c17215a0b6b11e8889c55fbafa5e1d3a1c6b90a4af95d6a5e129ce0",
        ),
        (
            &[(42, b"spore")],
            "41da9c80087233aa3c4fe3d20e0cadf2dfe5182177696eecd1700e5bb8148c08",
        ),
        (
            &[(1, b"cap"), (2, b"stem and root"), (u64::MAX, &counting)],
            "a6bffa36e6a6ab20a265847ffa1e5509c311ecbbb60ba554fbd1642e3c59825c",
        ),
    ];
    for (tokens, expected) in vectors {
        let db = Db::in_memory().unwrap();
        for (id, bytes) in tokens {
            db.put(*id, bytes).unwrap();
        }
        let model: Tokens = tokens
            .iter()
            .map(|&(id, bytes)| (id, bytes.to_vec()))
            .collect();
        assert_eq!(published(&model), expected);
        assert_eq!(root(&db), expected, "in the journal");
        db.checkpoint().unwrap();
        assert_eq!(root(&db), expected, "in the pages");
    }
}

/// Operations on one database, and its root after each, in the journal and in the pages.
fn follow(options: &Options, seed: u64, operations: usize) {
    let mut random = Random(seed);
    let storage = Arc::new(MemoryStorage::new());
    let mut db = options.open_storage(storage.clone()).unwrap();
    let workload = Workload {
        page_size: 1024,
        ids: 60,
        value_len_max: 40_000,
        acknowledged: 12,
    };
    let mut model = Model::default();
    let mut held: Vec<(Snapshot, String)> = Vec::new();
    for step in 0..operations {
        let op = workload.op(&mut random);
        run(&db, &op).unwrap();
        model.apply(&op);
        match random.below(12) {
            0 => held.push((db.snapshot(), published(&model.tokens))),
            1..4 => assert_eq!(root(&db), published(&model.tokens), "seed {seed}, {step}"),
            4 => {
                db.close().unwrap();
                db = options.open_storage(storage.clone()).unwrap();
            }
            _ => {}
        }
    }
    assert_eq!(root(&db), published(&model.tokens), "seed {seed}");
    assert_sound(&db);
    for (snapshot, expected) in held {
        assert_eq!(snapshot.content_root().unwrap().to_string(), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn the_root_is_that_of_the_tokens_whatever_the_history(
        seed: u64,
        page_size in prop::sample::select(vec![512_u32, 1024, 4096, 65_536]),
    ) {
        follow(&small(page_size), seed, 60);
        // Soundness is, where it is kept, that it is the root of the tokens in the pages.
        follow(&small(page_size).track_content_root(true), seed, 60);
        follow(&small(page_size).track_content_root(true).slice_bytes(1), seed, 60);
    }

    #[test]
    fn any_changed_token_changes_the_root(
        mut tokens in prop::collection::btree_map(any::<u64>(), prop::collection::vec(any::<u8>(), 0..80), 1..30),
        picked: prop::sample::Index,
        byte: u8,
    ) {
        let db = Db::in_memory().unwrap();
        for (id, bytes) in &tokens {
            db.put(*id, bytes).unwrap();
        }
        let before = root(&db);
        prop_assert_eq!(&before, &published(&tokens));
        let id = *picked.get(&tokens.keys().copied().collect::<Vec<_>>());
        db.append(id, &[byte]).unwrap();
        tokens.get_mut(&id).unwrap().push(byte);
        prop_assert_eq!(root(&db), published(&tokens));
        prop_assert_ne!(&root(&db), &before);
        db.delete(id).unwrap();
        tokens.remove(&id);
        prop_assert_eq!(root(&db), published(&tokens));
    }
}

/// What is kept, and for how long.
#[test]
fn a_file_keeps_track_until_told_otherwise() {
    let storage = Arc::new(MemoryStorage::new());
    let open = |options: Options| options.open_storage(storage.clone()).unwrap();
    let plain = || small(1024);
    let mut tokens = Tokens::new();
    let mut check = |db: &Db, id: u64, tracked: bool| {
        assert_eq!(db.tracks_content_root(), tracked);
        for _ in 0..2 {
            assert_eq!(root(db), published(&tokens));
            let value = Random(id).bytes(id as usize * 40);
            db.put(id, &value).unwrap();
            tokens.insert(id, value);
            assert_eq!(root(db), published(&tokens));
            db.checkpoint().unwrap();
        }
        assert_eq!(root(db), published(&tokens));
        assert_sound(db);
    };
    let db = open(plain());
    check(&db, 1, false);
    db.save_snapshot("before").unwrap();
    db.close().unwrap();
    // Turned on over what the journal holds.
    let db = open(plain());
    check(&db, 2, false);
    db.put(2, &Random(2).bytes(80)).unwrap();
    drop(db);
    let db = open(plain().track_content_root(true));
    check(&db, 3, true);
    db.save_snapshot("since").unwrap();
    db.close().unwrap();
    let db = open(plain());
    check(&db, 300, true);
    let [before, since] = ["before", "since"].map(|name| db.open_snapshot(name).unwrap());
    let roots = [before, since].map(|snapshot| snapshot.content_root().unwrap());
    db.restore("since").unwrap();
    assert!(db.tracks_content_root());
    assert_eq!(db.content_root().unwrap(), roots[1]);
    // As it was when it was saved.
    db.restore("before").unwrap();
    assert!(!db.tracks_content_root());
    assert_eq!(db.content_root().unwrap(), roots[0]);
    db.close().unwrap();
    let db = open(plain().track_content_root(true));
    db.restore("before").unwrap();
    assert!(db.tracks_content_root());
    assert_eq!(db.content_root().unwrap(), roots[0]);
    assert_sound(&db);
    let pages = db.stats().unwrap().pages;
    db.close().unwrap();
    let db = open(plain().track_content_root(false));
    assert!(!db.tracks_content_root());
    assert_eq!(db.content_root().unwrap(), roots[0]);
    assert_sound(&db);
    let without = db.stats().unwrap().pages;
    assert!(without.storage + without.extent < pages.storage + pages.extent);
}

/// Every way into the pages: checkpoints, bulk loads in front and behind, batches and values too large for the journal.
#[test]
fn every_write_counts_in_a_kept_root() {
    for page_size in [512, 4096] {
        let db = in_memory(&small(page_size).track_content_root(true));
        let mut tokens = Tokens::new();
        let mut check = |what: &str, changed: Vec<(u64, Option<Vec<u8>>)>| {
            for (id, value) in changed {
                match value {
                    Some(value) => _ = tokens.insert(id, value),
                    None => _ = tokens.remove(&id),
                }
            }
            assert_eq!(root(&db), published(&tokens), "{what}");
            assert_sound(&db);
        };
        let value = |id: u64, len: usize| (id, Some(Random(id ^ len as u64).bytes(len)));
        let bulk = |ids: std::ops::Range<u64>, len: usize| {
            let tokens: Vec<_> = ids.map(|id| value(id * 3, len)).collect();
            let borrowed = tokens
                .iter()
                .map(|(id, bytes)| (*id, bytes.as_ref().unwrap()));
            db.bulk_load(borrowed).unwrap();
            tokens
        };
        check("bulk load", bulk(0..800, 20));
        check("bulk load behind", bulk(800..900, 3000));
        check("bulk load over", bulk(700..850, 70));
        let large = value(6, 200_000);
        db.put(6, large.1.as_ref().unwrap()).unwrap();
        check("large value", vec![large]);
        let larger = value(6, 150_000);
        db.put(6, larger.1.as_ref().unwrap()).unwrap();
        check("over a large value", vec![larger]);
        let inserted = value(2698, 100_000);
        assert_eq!(db.insert(inserted.1.as_ref().unwrap()).unwrap(), 2698);
        check("large value inserted", vec![inserted]);
        let batch: Vec<_> = (0..50).map(|id| value(id, 2000)).collect();
        let mut writes = db.batch();
        for (id, bytes) in &batch {
            writes
                .put(*id, b"not for long")
                .put(*id, bytes.as_ref().unwrap());
        }
        writes.delete(2697);
        writes.commit().unwrap();
        let all = batch.into_iter().chain([(2697, None)]);
        check("large batch", all.collect());
        for id in 0..60 {
            db.delete(id).unwrap();
        }
        check("deleted", (0..60).map(|id| (id, None)).collect());
        db.checkpoint().unwrap();
        check("deleted, in the pages", Vec::new());
    }
}

/// Large values: in one extent, in several, appended to twice (in the pages, in the overlay), cut by a replayed append.
#[test]
fn large_values_are_hashed_where_they_lie() {
    for page_size in [512, 4096] {
        let db = in_memory(&Options::new().page_size(page_size));
        let mut tokens = Tokens::new();
        for id in 0..12_u64 {
            let value = Random(id).bytes(3000 << id.min(9));
            db.put(id, &value).unwrap();
            tokens.insert(id, value);
            if id % 3 == 0 {
                db.checkpoint().unwrap();
            }
        }
        for (id, value) in &mut tokens {
            db.append(*id, b"first").unwrap();
            value.extend_from_slice(b"first");
        }
        db.checkpoint().unwrap();
        for (id, value) in &mut tokens {
            let more = Random(*id).bytes(7000);
            db.append(*id, &more).unwrap();
            value.extend_from_slice(&more);
        }
        assert_eq!(root(&db), published(&tokens));
        db.checkpoint().unwrap();
        assert_eq!(root(&db), published(&tokens));
        assert_eq!(
            db.snapshot().content_root().unwrap(),
            db.content_root().unwrap()
        );
    }
}

/// Enough tokens that several threads share the walk.
#[test]
fn many_tokens_on_all_processors() {
    let tokens: Tokens = (0..20_000_u64)
        .map(|index| (index * 7, index.to_le_bytes().to_vec()))
        .collect();
    let db = Db::in_memory().unwrap();
    db.bulk_load(tokens.iter().map(|(&id, bytes)| (id, bytes)))
        .unwrap();
    assert_eq!(root(&db), published(&tokens));
    db.put(3, b"between").unwrap();
    let mut more = tokens;
    more.insert(3, b"between".to_vec());
    assert_eq!(root(&db), published(&more));
}

/// Roots of snapshots, asked for while checkpoints run beside the writer, are those of the tokens in the snapshots.
#[test]
fn roots_beside_checkpoints() {
    for track in [false, true] {
        let options = small(1024).background(true).slice_bytes(1);
        let db = in_memory(&options.track_content_root(track));
        let writer = db.clone();
        let writing = std::thread::spawn(move || {
            let mut random = Random(11);
            for step in 0..6000 {
                let id = random.below(500);
                let len = random.below(90) as usize;
                match random.below(8) {
                    0 => _ = writer.delete(id).unwrap(),
                    1 => _ = writer.append(id, &random.bytes(len)).unwrap(),
                    _ => writer.put(id, &random.bytes(len)).unwrap(),
                }
                if step % 1500 == 700 {
                    writer.checkpoint().unwrap();
                }
            }
        });
        let mut asked = 0;
        while !writing.is_finished() || asked < 5 {
            let snapshot = db.snapshot();
            let root = snapshot.content_root().unwrap().to_string();
            let tokens = snapshot.iter().map(|token| token.unwrap());
            let tokens = tokens.map(|(id, bytes)| (id, bytes.to_vec())).collect();
            assert_eq!(root, published(&tokens), "kept: {track}");
            asked += 1;
        }
        writing.join().unwrap();
        assert_eq!(
            db.snapshot().content_root().unwrap(),
            db.content_root().unwrap()
        );
        db.checkpoint().unwrap();
        assert_sound(&db);
    }
}

/// The tag, the name of a snapshot and the page size are not content.
#[test]
fn what_is_no_token_is_not_in_the_content_root() {
    let first = in_memory(&small(512));
    let second = in_memory(&small(65_536));
    first.put(1, b"cap").unwrap();
    second.bulk_load([(1_u64, b"cap"), (2, b"rot")]).unwrap();
    let mut batch = second.batch();
    batch.tag(9).delete(2);
    batch.commit().unwrap();
    second.save_snapshot("kept").unwrap();
    assert_eq!(
        first.content_root().unwrap(),
        second.content_root().unwrap()
    );
    second.put(2, b"later").unwrap();
    assert_ne!(
        first.content_root().unwrap(),
        second.content_root().unwrap()
    );
    let kept = second.open_snapshot("kept").unwrap();
    assert_eq!(kept.content_root().unwrap(), first.content_root().unwrap());
    second.restore("kept").unwrap();
    assert_eq!(
        first.content_root().unwrap(),
        second.content_root().unwrap()
    );
}

/// The root of what a crash left is that of the tokens that are there.
#[test]
fn the_root_after_a_crash() {
    after_crashes(&small(512).slice_bytes(1));
}

/// A slice is in the pages and in the journal: nothing of it counts twice.
#[test]
fn a_kept_root_after_a_crash() {
    after_crashes(&small(512).slice_bytes(1).track_content_root(true));
}

fn after_crashes(options: &Options) {
    let storage = Arc::new(FaultyStorage::new());
    let db = options.open_storage(storage.clone()).unwrap();
    let workload = Workload {
        page_size: 512,
        ids: 40,
        value_len_max: 6000,
        acknowledged: 25,
    };
    let tracked = db.tracks_content_root();
    let mut random = Random(5);
    let mut model = Model::default();
    let mut known = BTreeMap::from([(model.fingerprint(), published(&model.tokens))]);
    for _ in 0..60 {
        let op = workload.op(&mut random);
        run(&db, &op).unwrap();
        model.apply(&op);
        known.insert(model.fingerprint(), published(&model.tokens));
    }
    drop(db);
    let events = storage.events();
    let mut checked = 0;
    let mut seen = HashSet::new();
    for event in (0..events).step_by(1.max(events / 60)) {
        for (_, image) in crash_images(&storage, event, &mut random, &mut seen, 2) {
            let storage = Arc::new(MemoryStorage::from_bytes(image));
            if is_blank(&*storage).unwrap() {
                continue;
            }
            let db = options.open_storage(storage).unwrap();
            let expected = &known[&fingerprint(&db).unwrap()];
            assert_eq!(&root(&db), expected, "event {event}");
            db.checkpoint().unwrap();
            assert_eq!(&root(&db), expected, "event {event}, in the pages");
            assert_eq!(db.tracks_content_root(), tracked);
            let report = db.verify().unwrap();
            assert!(report.is_sound(), "event {event}: {:?}", report.findings);
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked} images");
}

/// A database of a few tokens that keeps its root, changed by whoever can write the file properly.
fn forged(change: impl FnOnce(&mut SegmentTxn<'_, '_>, &mut Roots)) -> Arc<MemoryStorage> {
    let storage = Arc::new(MemoryStorage::new());
    let options = small(1024).track_content_root(true);
    let db = options.open_storage(storage.clone()).unwrap();
    for id in 0..200_u64 {
        db.put(id, &Random(id).bytes(30)).unwrap();
    }
    db.close().unwrap();
    let store = PageStore::open(storage.clone()).unwrap();
    let mut roots = *store.snapshot().roots();
    let mut txn = store.begin().unwrap();
    let mut segments = SegmentTxn::open(&mut txn, &roots.seg).unwrap();
    change(&mut segments, &mut roots);
    roots.seg = segments.finish().unwrap();
    txn.commit(roots).unwrap();
    storage
}

/// Reads what can be read of a forged file; returns what its verification finds, and the error of its root.
fn examine(storage: &Arc<MemoryStorage>) -> (Vec<String>, Option<String>) {
    let db = small(1024).open_storage(storage.clone()).unwrap();
    assert_eq!(db.get(7).unwrap().unwrap(), Random(7).bytes(30));
    let error = db.content_root().err();
    assert!(error.iter().all(Error::is_corruption), "{error:?}");
    let findings = db.verify().unwrap().findings;
    let findings = findings.iter().map(ToString::to_string).collect();
    db.put(7, b"changed").unwrap();
    let checkpoint = db.checkpoint();
    assert_eq!(checkpoint.is_err(), error.is_some(), "{checkpoint:?}");
    (findings, error.map(|error| error.to_string()))
}

#[test]
fn a_forged_sum_is_found_and_never_panics() {
    let lattice_at = 8..14;
    let sum = |storage: &Arc<MemoryStorage>| {
        let store = PageStore::open(storage.clone()).unwrap();
        let addr = store.snapshot().roots().application[lattice_at.clone()].to_vec();
        SegmentAddr::from_bytes(addr.try_into().unwrap())
    };
    let sound = forged(|_, _| {});
    assert_eq!(examine(&sound), (Vec::new(), None));

    let other = forged(|segments, roots| {
        let head = SegmentAddr::from_bytes(roots.application[8..14].try_into().unwrap());
        segments.blob_free(head, 2048).unwrap();
        let head = segments.blob_create(&[&[1; 2048]]).unwrap();
        roots.application[8..14].copy_from_slice(&head.to_bytes());
    });
    assert_ne!(sum(&other).page.0, 0);
    let (findings, error) = examine(&other);
    assert_eq!(error, None);
    assert_eq!(findings.len(), 1);
    assert!(
        findings[0].starts_with("the file keeps the content root"),
        "{findings:?}"
    );

    // In a page that is not there, behind the file's pages, in no segment of a page, and in a pack.
    let root = TokenRoot::decode(&{
        let store = PageStore::open(forged(|_, _| {})).unwrap();
        store.snapshot().roots().token
    });
    assert!(root.unwrap().height() > 1);
    for addr in [
        [200, 0, 0, 0, 8, 0],
        [255, 255, 255, 255, 8, 0],
        [1, 0, 0, 0, 9, 0],
        [1, 0, 0, 0, 8, 0],
    ] {
        let storage = forged(|_, roots| roots.application[8..14].copy_from_slice(&addr));
        let (findings, error) = examine(&storage);
        assert!(
            error.is_some() && !findings.is_empty(),
            "{addr:?}: {findings:?} {error:?}"
        );
    }
    // A sum that nobody names: a segment too many.
    let storage = forged(|_, roots| roots.application[8..16].fill(0));
    let (findings, error) = examine(&storage);
    assert!(error.is_none() && !findings.is_empty());
    // Flags and reserved bytes.
    for (at, byte) in [(14, 0), (14, 2), (15, 1), (16, 1), (8, 0), (12, 3)] {
        let storage = forged(|_, roots| {
            roots.application[at] = byte;
            if at == 8 {
                roots.application[8..12].fill(0);
            }
            if at == 12 {
                roots.application[13] = 0;
            }
        });
        let error = small(1024).open_storage(storage).map(|_| ()).unwrap_err();
        assert!(error.is_corruption(), "{at} {byte}: {error}");
    }
}

/// A directory that promises another number of tokens has no root, kept or not.
#[test]
fn a_forged_count_is_an_error_of_the_scan() {
    let storage = forged(|_, roots| roots.token[16] ^= 1);
    let db = small(1024)
        .track_content_root(false)
        .open_storage(storage)
        .unwrap();
    let error = db.content_root().unwrap_err();
    assert!(error.is_corruption(), "{error}");
}

/// The page root as the format defines it, from the bytes of the file alone.
fn page_root_of(file: &[u8]) -> String {
    let field = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let entries = field(64) as usize;
    let mut input = b"shroom page root 2".to_vec();
    input.push(file[11]);
    input.extend_from_slice(&file[56..60]);
    input.extend_from_slice(&file[64..68]);
    input.extend_from_slice(&file[144..272]);
    input.extend_from_slice(&file[272..272 + entries * 36]);
    blake3::hash(&input).to_hex().to_string()
}

#[test]
fn the_page_root_is_that_of_the_superblock() {
    let mut seen = Vec::new();
    for page_size in [512, 4096] {
        let storage = Arc::new(MemoryStorage::new());
        let db = small(page_size).open_storage(storage.clone()).unwrap();
        for id in 0..3000_u64 {
            db.put(id, &id.to_le_bytes()).unwrap();
        }
        db.close().unwrap();
        let db = small(page_size).open_storage(storage.clone()).unwrap();
        let root = db.page_root().to_string();
        assert_eq!(root, page_root_of(&storage.to_bytes()));
        assert_eq!(root, db.snapshot().page_root().to_string());
        db.put(1, b"in the journal").unwrap();
        assert_eq!(root, db.page_root().to_string());
        db.checkpoint().unwrap();
        assert_ne!(root, db.page_root().to_string());
        seen.push(root);
    }
    assert_ne!(seen[0], seen[1]);
}
