//! Deltas: a copy that follows its source has the source's states, down to the page root, whatever happens to either, and
//! whatever interrupts it.

#[path = "deltas/between.rs"]
mod between;
#[path = "deltas/forged.rs"]
mod forged;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use shroom::delta::DeltaInfo;
use shroom::storage::MemoryStorage;
use shroom::storage::faulty::{Fault, FaultyStorage};
use shroom::{Db, Error, ErrorKind, Options, PageRoot, Snapshot};
use shroom_sim::{Change, Model, Op, Random, Workload, assert_sound, crash_images, run};

fn options(page_size: u32) -> Options {
    Options::new()
        .page_size(page_size)
        .journal_limit(64 << 10)
        .background(false)
}

fn read(snapshot: &Snapshot) -> Model {
    Model::read_snapshot(snapshot).unwrap()
}

fn export(db: &Db, from: Option<&str>, to: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let info = db.export_delta(from, to, &mut bytes).unwrap();
    assert_eq!(info.bytes, bytes.len() as u64);
    assert_eq!(DeltaInfo::read(&bytes[..]).unwrap(), info);
    assert_eq!(DeltaInfo::check(&bytes[..]).unwrap(), info);
    bytes
}

/// Everything that a copy must have.
#[derive(Default)]
struct Copy {
    storage: Arc<MemoryStorage>,
    named: BTreeMap<String, (PageRoot, Model)>,
}

impl Copy {
    fn open(&self, page_size: u32) -> Db {
        let storage = self.storage.clone();
        options(page_size)
            .create(false)
            .open_storage(storage)
            .unwrap()
    }

    fn check(&self, page_size: u32, at: &str) {
        let db = self.open(page_size);
        assert_sound(&db);
        assert_eq!(read(&db.snapshot()), self.named[at].1);
        assert_eq!(db.page_root(), self.named[at].0);
        let names = db.snapshots().unwrap().into_iter().map(|saved| saved.name);
        assert!(names.eq(self.named.keys().cloned()));
        for (name, (root, model)) in &self.named {
            let saved = db.open_snapshot(name).unwrap();
            assert_eq!((saved.page_root(), read(&saved)), (*root, model.clone()));
        }
        db.close().unwrap();
    }
}

#[test]
fn a_copy_follows_its_source() {
    let mut applied = 0;
    for seed in 0..24_u64 {
        let page_size = [512, 1024, 4096][seed as usize % 3];
        let workload = Workload {
            page_size,
            ids: [40, 400][seed as usize / 3 % 2],
            value_len_max: [300, 30_000][seed as usize / 6 % 2],
            acknowledged: 5,
        };
        let mut random = Random(seed);
        let storage = Arc::new(MemoryStorage::new());
        let tracked = options(page_size).track_content_root(seed % 5 == 0);
        let mut db = tracked.open_storage(storage.clone()).unwrap();
        let mut model = Model::default();
        let mut copy = Copy::default();
        let mut at: Option<String> = None;
        for round in 0..12 {
            for _ in 0..random.below(60) {
                let op = workload.op(&mut random);
                run(&db, &op).unwrap();
                model.apply(&op);
            }
            let to = format!("{round}");
            db.save_snapshot(&to).unwrap();
            let root = db.open_snapshot(&to).unwrap().page_root();
            // What is written later is not in it.
            for _ in 0..random.below(4) {
                let op = workload.op(&mut random);
                run(&db, &op).unwrap();
                model.apply(&op);
            }
            let saved = read(&db.open_snapshot(&to).unwrap());
            let delta = export(&db, at.as_deref(), &to);
            if random.below(3) == 0 {
                db.close().unwrap();
                db = tracked.open_storage(storage.clone()).unwrap();
            }
            assert!(export(&db, at.as_deref(), &to) == delta, "the same bytes");
            let resumed = random.below(delta.len() as u64 + 1);
            let mut rest = Vec::new();
            let again = db.delta(at.as_deref(), &to).unwrap();
            again.write(resumed, &mut rest).unwrap();
            assert!(rest == delta[resumed as usize..], "from {resumed}");

            let done = Db::apply_delta_storage(copy.storage.clone(), &delta[..]).unwrap();
            assert!(!done.already);
            assert_eq!(done.pages_written + done.pages_found, done.info.pages + 1);
            copy.named.insert(to.clone(), (root, saved));
            let image = copy.storage.to_bytes();
            let done = Db::apply_delta_storage(copy.storage.clone(), &delta[..]).unwrap();
            assert!(done.already);
            assert!(copy.storage.to_bytes() == image, "nothing was done");
            copy.check(page_size, &to);
            assert!(copy.storage.to_bytes() == image, "what is only read stays");
            applied += 1;
            // What the source no longer has may lie where the next delta's pages go.
            if random.below(2) == 0 && copy.named.len() > 1 {
                let oldest = copy.named.keys().find(|name| **name != to).cloned();
                let oldest = oldest.unwrap();
                db.delete_snapshot(&oldest).unwrap();
                let open = copy.open(page_size);
                open.delete_snapshot(&oldest).unwrap();
                open.close().unwrap();
                copy.named.remove(&oldest);
                copy.check(page_size, &to);
            }
            at = Some(to);
        }
    }
    assert_eq!(applied, 24 * 12);
}

/// A source with snapshots "a" and "b", and a copy of its file that is at "a": closed, or (odd seeds) with the areas of its journal,
/// as a crash right after leaves it.
fn pair(page_size: u32, seed: u64) -> (Db, Vec<u8>) {
    let workload = Workload {
        page_size,
        ids: 60,
        value_len_max: 3 * page_size as usize,
        acknowledged: 5,
    };
    let mut random = Random(seed);
    let storage = Arc::new(MemoryStorage::new());
    let db = options(page_size).open_storage(storage.clone()).unwrap();
    for _ in 0..80 {
        run(&db, &workload.op(&mut random)).unwrap();
    }
    db.save_snapshot("a").unwrap();
    let crashed = storage.to_bytes();
    db.close().unwrap();
    let closed = storage.to_bytes();
    let copy = if seed.is_multiple_of(2) {
        closed
    } else {
        crashed
    };
    let db = options(page_size).open_storage(storage).unwrap();
    for _ in 0..30 {
        run(&db, &workload.op(&mut random)).unwrap();
    }
    run(&db, &Op::Batch(vec![Change::Tag(seed)], false)).unwrap();
    db.save_snapshot("b").unwrap();
    (db, copy)
}

/// Checks that a copy is at one of the two states of its source, whole; whether it is the later one.
fn check_state(source: &Db, storage: Arc<MemoryStorage>, page_size: u32) -> bool {
    let db = options(page_size)
        .read_only(true)
        .open_storage(storage)
        .unwrap();
    let [a, b] = ["a", "b"].map(|name| source.open_snapshot(name).unwrap());
    let later = db.page_root() == b.page_root();
    let names = db.snapshots().unwrap().into_iter().map(|saved| saved.name);
    assert_eq!(names.collect::<String>(), if later { "ab" } else { "a" });
    let expected = if later { b } else { a };
    assert_eq!(db.page_root(), expected.page_root());
    assert_eq!(read(&db.snapshot()), read(&expected));
    assert_sound(&db);
    later
}

#[test]
fn an_application_survives_every_crash() {
    let (mut images, mut later) = (0, 0);
    for seed in 0..4_u64 {
        let page_size = [512, 1024, 4096, 512][seed as usize];
        let (source, copy) = pair(page_size, seed);
        let delta = export(&source, Some("a"), "b");
        let storage = FaultyStorage::from_image(copy);
        Db::apply_delta_storage(Arc::new(storage.clone()), &delta[..]).unwrap();
        let mut random = Random(seed);
        let mut seen = Default::default();
        for events in 0..=storage.events() {
            for (plan, image) in crash_images(&storage, events, &mut random, &mut seen, 2) {
                println!("seed {seed}, event {events}, {plan:?}");
                let image = Arc::new(MemoryStorage::from_bytes(image));
                images += 1;
                later += u32::from(check_state(&source, image.clone(), page_size));
                // It is applied again, and goes past what is there.
                Db::apply_delta_storage(image.clone(), &delta[..]).unwrap();
                assert!(check_state(&source, image, page_size));
            }
        }
    }
    println!("{images} images, {later} of them in the later state");
    assert!(later > 0 && later < images);
}

#[test]
fn a_fault_in_any_call_leaves_one_state_or_the_other() {
    let (source, copy) = pair(512, 9);
    let delta = export(&source, Some("a"), "b");
    let faults = [
        Fault::Error(std::io::ErrorKind::Other),
        Fault::Error(std::io::ErrorKind::StorageFull),
        Fault::ShortWrite,
        Fault::SyncLoss,
    ];
    for fault in faults {
        for call in 0.. {
            let storage = FaultyStorage::from_image(copy.clone());
            storage.fail_call(call, fault);
            let applied = Db::apply_delta_storage(Arc::new(storage.clone()), &delta[..]);
            if storage.injected().is_empty() {
                assert!(call > 10 && applied.is_ok());
                break;
            }
            storage.clear_faults();
            if let Err(error) = &applied {
                let kinds = [ErrorKind::Io, ErrorKind::Full, ErrorKind::Poisoned];
                assert!(
                    kinds.contains(&error.kind()),
                    "{fault:?}, call {call}: {error}"
                );
            }
            let image = Arc::new(MemoryStorage::from_bytes(storage.image()));
            let later = check_state(&source, image.clone(), 512);
            assert!(later || applied.is_err());
            Db::apply_delta_storage(image.clone(), &delta[..]).unwrap();
            assert!(check_state(&source, image, 512));
        }
    }
}

#[test]
fn an_interrupted_application_is_repeated() {
    let (source, copy) = pair(512, 3);
    let delta = export(&source, Some("a"), "b");
    for len in (0..delta.len()).step_by(173) {
        let storage = Arc::new(MemoryStorage::from_bytes(copy.clone()));
        let error = Db::apply_delta_storage(storage.clone(), &delta[..len]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        assert!(error.to_string().contains("it ends"), "{error}");
        assert!(!check_state(&source, storage.clone(), 512));
        let done = Db::apply_delta_storage(storage.clone(), &delta[..]).unwrap();
        assert!(check_state(&source, storage, 512));
        assert_eq!(done.pages_written + done.pages_found, done.info.pages + 1);
    }
    // All pages came, but not the end.
    let storage = Arc::new(MemoryStorage::from_bytes(copy));
    let long = [&delta[..], b"x"].concat();
    let error = Db::apply_delta_storage(storage.clone(), &long[..]).unwrap_err();
    assert!(
        error.to_string().contains("bytes follow its end"),
        "{error}"
    );
    assert!(!check_state(&source, storage, 512));
}

#[test]
fn every_changed_byte_is_noticed() {
    let (source, copy) = pair(512, 5);
    let delta = export(&source, Some("a"), "b");
    let mut random = Random(5);
    for at in 0..delta.len() {
        if at > 700 && random.below(40) > 0 {
            continue;
        }
        let mut changed = delta.clone();
        changed[at] ^= 1 << random.below(8);
        let storage = Arc::new(MemoryStorage::from_bytes(copy.clone()));
        let error = Db::apply_delta_storage(storage.clone(), &changed[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "byte {at}: {error}");
        assert!(error.to_string().contains("byte"), "{error}");
        DeltaInfo::check(&changed[..]).unwrap_err();
        assert!(!check_state(&source, storage, 512));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (source, copy) = pair(512, 6);
    let delta = export(&source, Some("a"), "b");
    let image = |bytes: &[u8]| Arc::new(MemoryStorage::from_bytes(bytes.to_vec()));
    let apply = |storage: &Arc<MemoryStorage>, delta: &[u8]| {
        Db::apply_delta_storage(storage.clone(), delta)
    };
    let refused = |storage: &Arc<MemoryStorage>, delta: &[u8], why: &str| {
        let before = storage.to_bytes();
        let error = apply(storage, delta).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(storage.to_bytes() == before, "{why}");
        error
    };
    // Another state than the one it leads on from.
    let written = image(&copy);
    let db = options(512).open_storage(written.clone()).unwrap();
    db.put(1, b"here").unwrap();
    db.close().unwrap();
    let error = refused(&written, &delta, "leads on from page root");
    assert_eq!(error.kind(), ErrorKind::Misuse);
    // After a restore it fits.
    let db = options(512).open_storage(written.clone()).unwrap();
    db.restore("a").unwrap();
    db.close().unwrap();
    apply(&written, &delta).unwrap();
    assert!(check_state(&source, written, 512));
    // Writes that are in the journal only.
    let plugged = FaultyStorage::from_image(copy.clone());
    let db = options(512)
        .open_storage(Arc::new(plugged.clone()))
        .unwrap();
    db.put(1, b"here").unwrap();
    db.flush().unwrap();
    refused(&image(&plugged.image()), &delta, "holds writes");
    // The name.
    let named = image(&copy);
    let db = options(512).open_storage(named.clone()).unwrap();
    db.save_snapshot("b").unwrap();
    db.close().unwrap();
    let error = apply(&named, &delta).unwrap_err();
    assert!(matches!(error, Error::SnapshotExists { name } if name == "b"));
    // Another page size, no database, nothing there.
    let other = image(&[]);
    drop(options(1024).open_storage(other.clone()).unwrap());
    refused(&other, &delta, "512-byte pages");
    refused(&image(&[7; 9000]), &delta, "not a ShroomDB file");
    refused(&image(&[]), &delta, "leads on from page root");
    refused(&image(&copy), b"SHROOMDB and more", "it ends");
    refused(&image(&copy), &copy, "not a delta");
    // From nothing: only where there is nothing.
    let whole = export(&source, None, "b");
    refused(&image(&copy), &whole, "leads on from page root");
    let fresh = image(&[]);
    apply(&fresh, &whole).unwrap();
    let db = options(512).open_storage(fresh).unwrap();
    assert_eq!(
        read(&db.snapshot()),
        read(&source.open_snapshot("b").unwrap())
    );
    assert!(matches!(
        source.delta(Some("none"), "b"),
        Err(Error::NoSuchSnapshot { name }) if name == "none"
    ));
    let delta = source.delta(None, "b").unwrap();
    let beyond = delta.write(delta.info().bytes + 1, Vec::new());
    assert_eq!(beyond.unwrap_err().kind(), ErrorKind::Misuse);
}

/// A snapshot that the source has deleted lies where the next delta's pages go.
#[test]
fn a_snapshot_in_the_way_is_named_as_such() {
    let storage = Arc::new(MemoryStorage::new());
    let source = options(512).open_storage(storage).unwrap();
    let put = |round: u8| {
        for id in 0..200 {
            source.put(id, &[round; 40]).unwrap();
        }
    };
    let copy = Arc::new(MemoryStorage::new());
    let apply = |delta: &[u8]| Db::apply_delta_storage(copy.clone(), delta);
    put(1);
    source.save_snapshot("a").unwrap();
    apply(&export(&source, None, "a")).unwrap();
    put(2);
    source.save_snapshot("b").unwrap();
    apply(&export(&source, Some("a"), "b")).unwrap();
    source.delete_snapshot("a").unwrap();
    put(3);
    source.save_snapshot("c").unwrap();
    let delta = export(&source, Some("b"), "c");
    let error = apply(&delta).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a named snapshot of the file uses"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Misuse);
    let db = options(512).open_storage(copy.clone()).unwrap();
    assert_eq!(&*db.get(7).unwrap().unwrap(), [2; 40]);
    db.delete_snapshot("a").unwrap();
    db.close().unwrap();
    apply(&delta).unwrap();
    let db = options(512).open_storage(copy).unwrap();
    assert_sound(&db);
    assert_eq!(&*db.get(7).unwrap().unwrap(), [3; 40]);
    assert_eq!(
        &*db.open_snapshot("b").unwrap().get(7).unwrap().unwrap(),
        [2; 40]
    );
}

/// A writer that takes so many bytes and no more.
struct Short(usize);

impl Write for Short {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// While a delta is held, neither later writes nor the deletion of its snapshots change it; and files work as memory does.
#[test]
fn a_delta_of_a_busy_database_goes_through_files() {
    let dir = tempfile::tempdir().unwrap();
    let [path, copy] = ["db.shroom", "copy.shroom"].map(|name| dir.path().join(name));
    let source = options(4096).background(true).open(&path).unwrap();
    for id in 0..20_000_u64 {
        source.put(id, &id.to_le_bytes()).unwrap();
    }
    source.put(1 << 40, &vec![5; 300_000]).unwrap();
    source.save_snapshot("a").unwrap();
    let delta = source.delta(None, "a").unwrap();
    let mut bytes = Vec::new();
    delta.write(0, &mut bytes).unwrap();
    let root = source.page_root();
    source.delete_snapshot("a").unwrap();
    for id in 0..20_000_u64 {
        source.put(id, b"other").unwrap();
    }
    source.checkpoint().unwrap();
    let mut again = Vec::new();
    delta.write(0, &mut again).unwrap();
    assert!(again == bytes);
    let error = delta.write(0, Short(5_000)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);

    let done = Db::apply_delta(&copy, &bytes[..]).unwrap();
    assert_eq!(done.info.to_root, root);
    let db = Db::open(&copy).unwrap();
    let error = Db::apply_delta(&copy, &bytes[..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert_eq!(db.page_root(), root);
    assert_eq!(db.len().unwrap(), 20_001);
    assert_eq!(&*db.get(1 << 40).unwrap().unwrap(), vec![5; 300_000]);
    assert_sound(&db);
    let absent = dir.path().join("absent");
    source.save_snapshot("b").unwrap();
    db.close().unwrap();
    let onward = export(&source, None, "b");
    Db::apply_delta(&copy, &onward[..]).unwrap_err();
    let mut led = Vec::new();
    source.save_snapshot("c").unwrap();
    source.export_delta(Some("b"), "c", &mut led).unwrap();
    Db::apply_delta(&absent, &led[..]).unwrap_err();
    assert!(!absent.exists());
}
