//! Bad input: damaged, cut, foreign and unreachable files. An error or exactly the right data, never anything else.

#[path = "damage/inspect.rs"]
mod inspect;

use std::path::Path;
use std::sync::Arc;

use shroom::storage::faulty::FaultyStorage;
use shroom::storage::{MemoryStorage, Storage};
use shroom::{Db, Error, ErrorKind, Options, Result};
use shroom_sim::{Model, Random, assert_sound};

fn options() -> Options {
    Options::new().page_size(512).background(false)
}

/// Everything there is to read, by every way of reading.
fn read_everything(db: &Db) -> Result<Model> {
    let model = Model::read(db)?;
    let backward: Vec<u64> = db.keys(..).rev().collect::<Result<_>>()?;
    assert!(backward.iter().rev().eq(model.tokens.keys()));
    for (id, bytes) in &model.tokens {
        assert_eq!(db.get(*id)?.expect("listed"), *bytes);
        assert_eq!(db.stat(*id)?.expect("listed").length, bytes.len() as u64);
    }
    assert_eq!(db.len()?, model.tokens.len() as u64);
    db.stats()?;
    Ok(model)
}

/// What comes of opening an image, reading and verifying it. The flag: verify found it sound.
fn try_image(image: &[u8], read_only: bool) -> Result<(Model, bool)> {
    let storage = Arc::new(MemoryStorage::from_bytes(image.to_vec()));
    let options = options().create(false).read_only(read_only);
    let db = options.open_storage(storage)?;
    let sound = db.verify()?.is_sound();
    let model = read_everything(&db);
    // The first finding keeps a damaged database from being closed.
    drop(db);
    Ok((model?, sound))
}

fn sample(storage: &FaultyStorage) -> Db {
    let db = options()
        .journal_limit(64 << 10)
        .open_storage(Arc::new(storage.clone()))
        .unwrap();
    let mut random = Random(5);
    for id in 0..20_u64 {
        let len = [0, 3, 17, 120, 130, 700, 1500][(id % 7) as usize];
        db.put(id * 3, &random.bytes(len)).unwrap();
    }
    let mut batch = db.batch();
    batch.delete(9).append(12, b"more").tag(3);
    batch.commit_synced().unwrap();
    db
}

fn closed() -> (Vec<u8>, Model) {
    let storage = FaultyStorage::new();
    let db = sample(&storage);
    let model = Model::read(&db).unwrap();
    db.close().unwrap();
    (storage.image(), model)
}

#[test]
fn every_bit_of_a_closed_file() {
    let (image, model) = closed();
    let (mut harmless, mut refused) = (0, 0);
    for bit in 0..image.len() * 8 {
        let mut damaged = image.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match try_image(&damaged, bit % 2 == 0) {
            Ok((found, _)) => {
                assert!(found == model, "bit {bit}: wrong data");
                harmless += 1;
            }
            Err(error) => {
                assert!(error.is_corruption(), "bit {bit}: {error}");
                refused += 1;
            }
        }
    }
    println!(
        "{} bit flips: {refused} refused, {harmless} harmless",
        image.len() * 8
    );
}

/// The journal's last frames are known to have been synced only by frames after them: damage there ends replay early.
#[test]
fn every_bit_of_a_file_with_a_live_journal() {
    let storage = FaultyStorage::new();
    let db = sample(&storage);
    db.checkpoint().unwrap();
    let mut states = vec![Model::read(&db).unwrap()];
    let before = storage.image();
    for id in 0..6 {
        db.put(id, &[id as u8; 60]).unwrap();
        db.flush().unwrap();
        states.push(Model::read(&db).unwrap());
    }
    std::mem::forget(db);
    let image = storage.image();
    // Each bit of the frames; of the other bytes, which a closed file has as well, some.
    let frames = |at: usize| before.get(at) != Some(&image[at]);
    let every = |at: usize| match image[at] {
        _ if frames(at) => 1,
        0 => 101,
        _ => 7,
    };
    let (mut harmless, mut refused, mut shorter) = (0, 0, 0);
    for bit in (0..image.len() * 8).filter(|bit| bit % every(bit / 8) == 0) {
        let mut damaged = image.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match try_image(&damaged, bit % 16 != 0) {
            Ok((found, _)) => {
                let state = states.iter().position(|state| *state == found);
                let state = state.unwrap_or_else(|| panic!("bit {bit}: wrong data"));
                assert!(state + 2 >= states.len(), "bit {bit}: state {state}");
                shorter += usize::from(state + 1 < states.len());
                harmless += 1;
            }
            Err(error) => {
                assert!(error.is_corruption(), "bit {bit}: {error}");
                refused += 1;
            }
        }
    }
    println!(
        "{} bit flips: {refused} refused, {harmless} harmless, of these {shorter} in the last frame",
        refused + harmless
    );
    assert!(refused > 0 && shorter > 0);
}

/// Flips of the normal run; the variable asks for more.
const FLIPS: usize = 200;
const FLIPS_VARIABLE: &str = "SHROOM_TEST_FLIPS";

/// Random bits of a file of 2 MB: everything is read, from both ends up to the damage.
#[test]
fn random_bits_of_a_large_file() {
    let storage = FaultyStorage::new();
    let options = Options::new().background(false);
    let db = options.open_storage(Arc::new(storage.clone())).unwrap();
    let mut random = Random(77);
    let tokens: Vec<(u64, Vec<u8>)> = (0..30_000)
        .map(|index| (index * 3, random.bytes(32 + index as usize % 64)))
        .collect();
    let loaded = tokens.iter().map(|(id, bytes)| (*id, bytes));
    db.bulk_load(loaded).unwrap();
    db.close().unwrap();
    let image = storage.image();
    let flips = std::env::var(FLIPS_VARIABLE).map_or(FLIPS, |flips| flips.parse().unwrap());
    let (mut harmless, mut refused, mut in_part) = (0, 0, 0);
    for flip in 0..flips {
        let bit = random.below(image.len() as u64 * 8);
        let mut damaged = image.clone();
        damaged[bit as usize / 8] ^= 1 << (bit % 8);
        let storage = Arc::new(MemoryStorage::from_bytes(damaged));
        let db = match options.clone().read_only(true).open_storage(storage) {
            Ok(db) => db,
            Err(error) => {
                assert!(error.is_corruption(), "flip {flip}, bit {bit}: {error}");
                refused += 1;
                continue;
            }
        };
        let agree = |found: Result<(u64, shroom::Value<'_>)>, right: &(u64, Vec<u8>)| match found {
            Ok((id, bytes)) => {
                assert!(id == right.0 && bytes == right.1, "bit {bit}: wrong data");
                true
            }
            Err(error) => {
                assert!(error.is_corruption(), "flip {flip}, bit {bit}: {error}");
                false
            }
        };
        let mut forward = db.iter().zip(&tokens);
        if forward.all(|(found, right)| agree(found, right)) {
            assert_eq!(db.len().unwrap(), tokens.len() as u64);
            harmless += 1;
            continue;
        }
        let mut backward = db.iter().rev().zip(tokens.iter().rev());
        assert!(!backward.all(|(found, right)| agree(found, right)));
        in_part += 1;
    }
    println!("{flips} bit flips: {refused} refused, {in_part} in part, {harmless} harmless");
}

#[test]
fn every_length() {
    let (image, model) = closed();
    for len in 0..image.len() {
        match try_image(&image[..len], len % 2 == 0) {
            Ok(_) => panic!("{len} of {} bytes opened", image.len()),
            Err(error) => assert!(error.is_corruption(), "{len} bytes: {error}"),
        }
    }
    let longer = [&image[..], &[0xEE; 700]].concat();
    assert!(try_image(&longer, true).unwrap().0 == model);
}

#[test]
fn damaged_everywhere_at_random() {
    let (image, model) = closed();
    let mut random = Random(11);
    for round in 0..3000 {
        let mut damaged = image.clone();
        for _ in 0..1 + random.below(6) {
            let at = random.below(damaged.len() as u64) as usize;
            let len = (1 + random.below(64) as usize).min(damaged.len() - at);
            let from = random.below((damaged.len() - len) as u64 + 1) as usize;
            match random.below(3) {
                0 => damaged.copy_within(from..from + len, at),
                1 => damaged[at..at + len].fill(0),
                _ => damaged[at..at + len].copy_from_slice(&random.bytes(len)),
            }
        }
        if let Ok((found, _)) = try_image(&damaged, round % 2 == 0) {
            assert!(found == model, "round {round}: wrong data");
        }
    }
}

#[test]
fn garbage_is_refused() {
    let mut random = Random(3);
    for round in 0..2000 {
        let len = random.below(8192) as usize;
        let mut bytes = random.bytes(len);
        if round % 2 == 0 && len >= 512 {
            bytes[..12].copy_from_slice(b"SHROOMDB\x01\x00\x09\x00");
        }
        let error = try_image(&bytes, round % 3 == 0).unwrap_err();
        assert!(error.is_corruption(), "round {round}: {error}");
    }
}

#[test]
fn another_version() {
    let (mut image, _) = closed();
    for slot in [0, 512] {
        image[slot + 8] = 2;
    }
    let error = try_image(&image, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotADatabase);
    assert!(error.to_string().contains("version 2"), "{error}");
}

fn kind(result: Result<Db>) -> ErrorKind {
    result.expect_err("must not open").kind()
}

#[test]
fn files_that_are_not_there_or_not_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("absent.shroom");
    assert_eq!(
        kind(Options::new().create(false).open(&path)),
        ErrorKind::Io
    );
    assert_eq!(kind(Db::open_read_only(&path)), ErrorKind::Io);
    assert!(!path.exists());
    assert_eq!(kind(Db::open(dir.path())), ErrorKind::Io);
    assert_eq!(kind(Db::open_read_only(dir.path())), ErrorKind::Io);
    assert_eq!(
        kind(Db::open(dir.path().join("no/such/dir"))),
        ErrorKind::Io
    );
    std::fs::write(&path, b"").unwrap();
    assert_eq!(
        kind(Options::new().create(false).open(&path)),
        ErrorKind::NotADatabase
    );
    assert_eq!(kind(Db::open_read_only(&path)), ErrorKind::NotADatabase);
    assert_eq!(kind(Db::create(&path)), ErrorKind::Io);
    std::fs::write(&path, b"hello, this is a text file and no database at all").unwrap();
    assert_eq!(kind(Db::open(&path)), ErrorKind::NotADatabase);
    assert_eq!(std::fs::read(&path).unwrap().len(), 49, "left alone");
}

#[test]
fn an_existing_file_keeps_its_page_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db.shroom");
    let db = options().open(&path).unwrap();
    db.put(1, b"one").unwrap();
    db.close().unwrap();
    let db = Options::new().page_size(8192).open(&path).unwrap();
    assert_eq!(db.stats().unwrap().page_size, 512);
    assert_eq!(db.get(1).unwrap().unwrap(), b"one");
    drop(db);
    for bytes in [0, 100, 511, 513, 131_072] {
        assert!(matches!(
            Options::new().page_size(bytes).open(&path),
            Err(Error::Option {
                option: "page_size",
                ..
            })
        ));
    }
    assert!(matches!(
        Options::new().journal_limit(1).open(&path),
        Err(Error::Option {
            option: "journal_limit",
            ..
        })
    ));
    let db = Options::new()
        .truncate(true)
        .page_size(1024)
        .open(&path)
        .unwrap();
    assert!(db.is_empty().unwrap());
    assert_eq!(db.stats().unwrap().page_size, 1024);
}

#[test]
fn locks_exclude_and_share() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db.shroom");
    let db = Db::open(&path).unwrap();
    db.put(1, b"one").unwrap();
    assert_eq!(kind(Db::open(&path)), ErrorKind::Locked);
    assert_eq!(kind(Db::open_read_only(&path)), ErrorKind::Locked);
    assert_eq!(
        kind(Options::new().truncate(true).open(&path)),
        ErrorKind::Locked
    );
    db.close().unwrap();
    let readers = [
        Db::open_read_only(&path).unwrap(),
        Db::open_read_only(&path).unwrap(),
    ];
    assert_eq!(kind(Db::open(&path)), ErrorKind::Locked);
    for reader in &readers {
        assert_eq!(reader.get(1).unwrap().unwrap(), b"one");
        assert_eq!(reader.put(2, b"").unwrap_err().kind(), ErrorKind::Misuse);
        assert_eq!(reader.checkpoint().unwrap_err().kind(), ErrorKind::Misuse);
        reader.flush().unwrap();
    }
    drop(readers);
    drop(Db::open(&path).unwrap());
}

#[cfg(unix)]
#[test]
fn a_file_without_write_permission() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db.shroom");
    let db = Db::open(&path).unwrap();
    db.put(1, b"one").unwrap();
    db.close().unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
    let db = Db::open_read_only(&path).unwrap();
    assert_eq!(db.get(1).unwrap().unwrap(), b"one");
    drop(db);
    // The superuser may write to any file.
    if !may_write(&path) {
        assert_eq!(kind(Db::open(&path)), ErrorKind::Io);
    }
}

fn may_write(path: &Path) -> bool {
    std::fs::OpenOptions::new().write(true).open(path).is_ok()
}

#[test]
fn misuse_changes_nothing() {
    let storage = FaultyStorage::new();
    let db = options().open_storage(Arc::new(storage.clone())).unwrap();
    db.put(4, b"four").unwrap();
    let unordered = [(1, b"a"), (3, b"c"), (2, b"b")];
    assert!(matches!(
        db.bulk_load(unordered),
        Err(Error::NotAscending { previous: 3, id: 2 })
    ));
    assert!(matches!(
        db.bulk_load([(5, b"a"), (5, b"b")]),
        Err(Error::NotAscending { previous: 5, id: 5 })
    ));
    assert_eq!(db.len().unwrap(), 1);
    assert_sound(&db);
    db.put(u64::MAX, b"last").unwrap();
    assert!(matches!(db.insert(b"no"), Err(Error::IdsExhausted)));
    db.delete(u64::MAX).unwrap();
    assert_eq!(db.insert(b"yes").unwrap(), 5);
    assert_eq!(db.get(6).unwrap(), None);
    assert!(!db.delete(6).unwrap());
    assert_eq!(db.stat(6).unwrap().map(|info| info.length), None);
    let other = db.clone();
    db.close().unwrap();
    assert!(matches!(other.put(1, b""), Err(Error::Closed)));
    assert!(matches!(other.flush(), Err(Error::Closed)));
    assert_eq!(other.get(5).unwrap().unwrap(), b"yes");
    assert!(storage.len().unwrap() < 8192);
}

#[test]
fn a_value_beyond_the_limit() {
    // Zeroed on demand: the memory is never touched.
    let limit = 512_usize << 22;
    let huge = vec![0_u8; limit + 1];
    let db = options()
        .open_storage(Arc::new(MemoryStorage::new()))
        .unwrap();
    db.put(1, b"one").unwrap();
    match db.put(2, &huge) {
        Err(Error::ValueTooLarge {
            id: 2,
            length,
            limit: found,
        }) => {
            assert_eq!((length, found), (limit as u64 + 1, limit as u64));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        db.append(1, &huge[3..]),
        Err(Error::ValueTooLarge { id: 1, .. })
    ));
    assert!(matches!(db.insert(&huge), Err(Error::ValueTooLarge { .. })));
    assert!(matches!(
        db.bulk_load([(7, &huge[..1]), (8, &huge[..])]),
        Err(Error::ValueTooLarge { id: 8, .. })
    ));
    assert_eq!(db.keys(..).collect::<Result<Vec<_>>>().unwrap(), [1]);
    assert_eq!(db.get(1).unwrap().unwrap(), b"one");
    assert_sound(&db);
}
