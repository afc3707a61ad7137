//! Values as streams: reading, writing, appending; and changing parts of a value.

use std::collections::BTreeMap;
use std::io::{self, BufRead, ErrorKind as Io, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shroom::storage::faulty::FaultyStorage;
use shroom::storage::{FileStorage, MemoryStorage, OpenMode, Storage, View};
use shroom::{Db, Error, ErrorKind, Options, Reader, ValueWriter};
use shroom_sim::{Random, assert_sound, check_reader};

/// In memory, with streams that go to pages at once.
fn eager() -> Db {
    eager_options()
        .open_storage(Arc::new(MemoryStorage::new()))
        .unwrap()
}

fn eager_options() -> Options {
    Options::new().stream_bytes(1).background(false)
}

fn stream(mut writer: ValueWriter, bytes: &[u8]) -> u64 {
    for piece in bytes.chunks(100_000) {
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

#[track_caller]
fn assert_value(db: &Db, id: u64, expected: &[u8]) {
    assert!(db.get(id).unwrap().unwrap() == *expected, "token {id}");
}

/// The database's error in an error of a stream.
fn inner(error: io::Error) -> Error {
    error.downcast().expect("an error of the database")
}

/// Where the readers' pages lie in one piece, in several, and partly in memory only.
#[test]
fn a_reader_gives_the_value_wherever_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(1);
    for page_size in [512, 4096, 65536] {
        let options = Options::new().page_size(page_size).background(false);
        let db = options
            .open(dir.path().join(format!("{page_size}.shroom")))
            .unwrap();
        let mut value = random.bytes(3_000_000);
        db.put(1, &value).unwrap();
        db.put(2, b"between").unwrap();
        db.checkpoint().unwrap();
        check_reader(db.reader(1).unwrap().unwrap(), &value, &mut random);
        // Appended in the pages, then in the overlay.
        for len in [1, 700, 70_000, 5, 300_000] {
            let more = random.bytes(len);
            value.extend_from_slice(&more);
            assert_eq!(db.append(1, &more).unwrap(), value.len() as u64);
            check_reader(db.reader(1).unwrap().unwrap(), &value, &mut random);
            if len != 5 {
                db.checkpoint().unwrap();
            }
        }
        db.put(3, b"").unwrap();
        check_reader(db.reader(3).unwrap().unwrap(), b"", &mut random);
        assert!(db.reader(4).unwrap().is_none());
        let before = db.snapshot();
        db.delete(1).unwrap();
        assert!(db.reader(1).unwrap().is_none());
        db.checkpoint().unwrap();
        check_reader(before.reader(1).unwrap().unwrap(), &value, &mut random);
    }
}

/// What was lent must be the bytes in the file, not a copy of them.
#[test]
fn a_reader_of_a_file_copies_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::create(dir.path().join("lent.shroom")).unwrap();
    let value = Random(2).bytes(5 << 20);
    db.put(1, &value).unwrap();
    db.checkpoint().unwrap();
    let whole = db.get(1).unwrap().unwrap();
    assert!(!whole.is_copied());
    let reader = db.reader(1).unwrap().unwrap();
    let range = whole.as_ptr_range();
    let mut pieces = 0;
    for piece in reader.chunks() {
        assert!(range.contains(&piece.unwrap().as_ptr()));
        pieces += 1;
    }
    assert_eq!(pieces, 5);
}

#[test]
fn damage_is_an_error_where_it_is_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.shroom");
    let db = Db::create(&path).unwrap();
    let value = Random(3).bytes(4 << 20);
    db.put(1, &value).unwrap();
    db.close().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let place = bytes
        .windows(32)
        .position(|window| window == &value[3 << 20..(3 << 20) + 32]);
    bytes[place.unwrap()] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let db = Db::open_read_only(&path).unwrap();
    let mut reader = db.reader(1).unwrap().unwrap();
    let mut start = vec![0; 2 << 20];
    reader.read_exact(&mut start).unwrap();
    assert!(value.starts_with(&start));
    let error = std::io::copy(&mut reader, &mut std::io::sink()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    let inner = error.get_ref().unwrap().downcast_ref::<shroom::Error>();
    assert!(inner.unwrap().is_corruption());
    let mut chunks = reader.chunks();
    assert!(chunks.by_ref().any(|chunk| chunk.is_err()));
    assert!(chunks.next().is_none());
    // What lies behind the damage can still be read.
    reader.seek(SeekFrom::End(-10)).unwrap();
    assert_eq!(reader.fill_buf().unwrap(), &value[value.len() - 10..]);
}

/// Lengths at every edge of pages, buffer and padding; then what is read is what was written, in one piece.
#[test]
fn what_a_writer_wrote_is_the_value() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(4);
    for page_size in [512, 4096, 65536] {
        let db = Options::new()
            .page_size(page_size)
            .open(dir.path().join(format!("{page_size}.shroom")))
            .unwrap();
        let buffer = (1 << 20).max(64 * page_size as usize);
        let page = page_size as usize;
        let lengths = [
            0,
            1,
            page,
            buffer - 1,
            buffer,
            buffer + 1,
            buffer + page - 1,
            2 * buffer + page / 2,
            5 * buffer + 3 * page,
        ];
        for (id, len) in (0..).zip(lengths) {
            let bytes = random.bytes(len);
            db.put(id, b"before").unwrap();
            assert_eq!(stream(db.writer(id).unwrap(), &bytes), len as u64);
            assert_value(&db, id, &bytes);
            let pieces = db.reader(id).unwrap().unwrap().chunks().count();
            assert!(pieces <= len / (1 << 20) + 4, "{pieces} pieces of {len}");
            check_reader(db.reader(id).unwrap().unwrap(), &bytes, &mut random);
        }
        assert_eq!(db.len().unwrap(), lengths.len() as u64);
        assert_sound(&db);
        db.close().unwrap();
    }
}

/// Appends of any length to values of any length, and the value that a plain append would have made.
#[test]
fn what_an_append_writer_wrote_is_the_end() {
    let mut random = Random(5);
    for page_size in [512, 4096] {
        let storage = Arc::new(MemoryStorage::new());
        let db = eager_options()
            .page_size(page_size)
            .open_storage(storage)
            .unwrap();
        let mut values = vec![Vec::new(); 12];
        for round in 0..60 {
            let id = random.below(12) as usize;
            let limit = [10, 2 * u64::from(page_size), 100_000][random.below(3) as usize];
            let len = random.below(limit) as usize;
            let bytes = random.bytes(len);
            values[id].extend_from_slice(&bytes);
            let length = match random.below(3) {
                0 => db.append(id as u64, &bytes).unwrap(),
                _ => stream(db.append_writer(id as u64).unwrap(), &bytes),
            };
            assert_eq!(length, values[id].len() as u64);
            if random.below(3) == 0 {
                db.checkpoint().unwrap();
            }
            check_reader(
                db.reader(id as u64).unwrap().unwrap(),
                &values[id],
                &mut random,
            );
            if round % 10 == 0 {
                assert_sound(&db);
            }
        }
        assert_sound(&db);
    }
}

#[test]
fn an_unfinished_writer_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("unfinished.shroom");
    let db = Db::create(&path).unwrap();
    db.put(1, b"kept").unwrap();
    db.checkpoint().unwrap();
    let root = db.page_root();
    let mut writer = db.writer(1).unwrap();
    let mut appending = db.append_writer(1).unwrap();
    let bytes = Random(6).bytes(3 << 20);
    writer.write_all(&bytes).unwrap();
    appending.write_all(&bytes).unwrap();
    assert_eq!(writer.written(), 3 << 20);
    assert_value(&db, 1, b"kept");
    drop((writer, appending));
    assert_value(&db, 1, b"kept");
    assert_eq!(db.page_root(), root);
    assert_sound(&db);
    db.close().unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() < 64 << 10);
}

/// What a stream has lengthened the file by is cut off again, be it the last to hold the database, and the only one to change the file.
#[test]
fn a_writer_that_is_given_up_leaves_no_length_behind() {
    let dir = tempfile::tempdir().unwrap();
    for changed in [false, true] {
        let path = dir.path().join(format!("{changed}.shroom"));
        let db = Db::create(&path).unwrap();
        db.put(1, b"kept").unwrap();
        db.close().unwrap();
        let before = std::fs::metadata(&path).unwrap().len();
        let db = Db::open(&path).unwrap();
        if changed {
            db.put(1, b"kept?").unwrap();
        }
        let mut writer = db.writer(2).unwrap();
        drop(db);
        writer.write_all(&Random(12).bytes(3 << 20)).unwrap();
        drop(writer);
        let after = std::fs::metadata(&path).unwrap().len();
        assert_eq!(after, before, "changed: {changed}");
        assert_sound(&Db::open(&path).unwrap());
    }
}

/// A value that was cut and not yet moved into the pages: what lies behind the cut is neither read nor checked.
#[test]
fn damage_behind_a_cut_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.shroom");
    let db = Db::create(&path).unwrap();
    let value = Random(13).bytes(4 << 20);
    db.put(1, &value).unwrap();
    db.close().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let place = bytes
        .windows(32)
        .position(|window| window == &value[3 << 20..(3 << 20) + 32]);
    bytes[place.unwrap()] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let db = Db::open(&path).unwrap();
    let length = (1 << 20) + 10;
    db.truncate(1, length as u64).unwrap();
    let mut expected = value[..length].to_vec();
    let check = |expected: &[u8]| {
        assert_value(&db, 1, expected);
        let reader = db.reader(1).unwrap().unwrap();
        check_reader(reader, expected, &mut Random(14));
        db.content_root().unwrap();
    };
    check(&expected);
    let more = Random(15).bytes(2 << 20);
    stream(db.append_writer(1).unwrap(), &more);
    expected.extend_from_slice(&more);
    check(&expected);
    assert_sound(&db);
}

/// Streams in several threads, beside puts, checkpoints in the background and each other.
#[test]
fn several_write_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new()
        .journal_limit(256 << 10)
        .open(dir.path().join("several.shroom"))
        .unwrap();
    let value = |id: u64| Random(id).bytes(2_500_000 + id as usize * 1001);
    std::thread::scope(|scope| {
        for id in 0..4 {
            let db = &db;
            scope.spawn(move || {
                stream(db.writer(id).unwrap(), &value(id));
                stream(db.append_writer(id).unwrap(), &value(id + 10));
            });
        }
        for id in 100..2_100 {
            db.put(id, &id.to_le_bytes().repeat(40)).unwrap();
        }
    });
    for id in 0..4 {
        let mut expected = value(id);
        expected.extend_from_slice(&value(id + 10));
        assert_value(&db, id, &expected);
    }
    for id in 100..2_100_u64 {
        assert_value(&db, id, &id.to_le_bytes().repeat(40));
    }
    assert_sound(&db);
    db.close().unwrap();
}

/// The value changes under an append that has written pages already: it follows the value that there is in the end.
#[test]
fn an_append_follows_what_others_made_of_the_value() {
    let mut random = Random(7);
    let added = random.bytes(30_000);
    let changes: [&dyn Fn(&Db); 7] = [
        &|_| {},
        &|db| _ = db.append(1, b"more").unwrap(),
        &|db| db.put(1, b"short").unwrap(),
        &|db| assert!(db.delete(1).unwrap()),
        &|db| db.truncate(1, 20_000).unwrap(),
        &|db| db.write_at(1, 100, b"far from the end").unwrap(),
        &|db| db.write_at(1, 49_990, b"at the end").unwrap(),
    ];
    for (number, change) in changes.iter().enumerate() {
        for first in [0, 50_000] {
            let db = eager();
            let mut value = random.bytes(first);
            db.put(1, &value).unwrap();
            if first == 0 && number > 3 {
                continue;
            }
            db.checkpoint().unwrap();
            let mut writer = db.append_writer(1).unwrap();
            writer.write_all(&added[..20_001]).unwrap();
            change(&db);
            value = db
                .get(1)
                .unwrap()
                .map_or(Vec::new(), |value| value.to_vec());
            writer.write_all(&added[20_001..]).unwrap();
            value.extend_from_slice(&added);
            assert_eq!(writer.finish().unwrap(), value.len() as u64, "{number}");
            assert_value(&db, 1, &value);
            assert_sound(&db);
        }
    }
}

#[test]
fn the_kept_content_root_follows_streams_and_parts() {
    let storage = Arc::new(MemoryStorage::new());
    let options = eager_options().track_content_root(true);
    let db = options.open_storage(storage).unwrap();
    let plain = Db::in_memory().unwrap();
    let mut random = Random(8);
    let both = |change: &dyn Fn(&Db)| {
        change(&db);
        change(&plain);
        assert_eq!(db.content_root().unwrap(), plain.content_root().unwrap());
    };
    let (long, short) = (random.bytes(300_000), random.bytes(100));
    both(&|db| _ = stream(db.writer(1).unwrap(), &long));
    both(&|db| _ = stream(db.writer(2).unwrap(), &short));
    both(&|db| _ = stream(db.append_writer(1).unwrap(), &long[..70_000]));
    both(&|db| db.write_at(1, 9_000, &short).unwrap());
    both(&|db| db.write_at(2, 90, &short).unwrap());
    both(&|db| db.truncate(1, 100_000).unwrap());
    both(&|db| db.checkpoint().unwrap());
    both(&|db| _ = stream(db.writer(1).unwrap(), &long[5..200_000]));
    assert_sound(&db);
}

/// In a short value, near the end, far from the end, past the end; in the overlay and in the pages.
#[test]
fn parts_of_a_value_are_overwritten() {
    let mut random = Random(9);
    for page_size in [512, 4096] {
        for tracked in [false, true] {
            let db = Options::new()
                .page_size(page_size)
                .track_content_root(tracked)
                .open_storage(Arc::new(MemoryStorage::new()))
                .unwrap();
            let mut value = random.bytes(700_123);
            db.put(1, &value).unwrap();
            db.put(0, b"neighbour").unwrap();
            for _ in 0..40 {
                let offset = random.below(value.len() as u64 + 1) as usize;
                let len = [0, 1, 90, 10_000, 200_000][random.below(5) as usize];
                let bytes = random.bytes(len);
                db.write_at(1, offset as u64, &bytes).unwrap();
                let end = offset + bytes.len();
                value.resize(value.len().max(end), 0);
                value[offset..end].copy_from_slice(&bytes);
                assert_value(&db, 1, &value);
                if random.below(4) == 0 {
                    let length = value.len() - random.below(value.len() as u64 / 8) as usize;
                    db.truncate(1, length as u64).unwrap();
                    value.truncate(length);
                }
                if random.below(5) == 0 {
                    db.checkpoint().unwrap();
                }
            }
            assert_value(&db, 1, &value);
            assert_value(&db, 0, b"neighbour");
            assert_sound(&db);
        }
    }
}

#[test]
fn a_value_has_no_gaps() {
    let db = Db::in_memory().unwrap();
    let beyond = |result: shroom::Result<()>, expected: (u64, u64, u64)| match result {
        Err(Error::BeyondEnd { id, offset, length }) => assert_eq!((id, offset, length), expected),
        other => panic!("{other:?}"),
    };
    beyond(db.write_at(1, 1, b"x"), (1, 1, 0));
    beyond(db.truncate(1, 1), (1, 1, 0));
    db.truncate(1, 0).unwrap();
    assert!(db.get(1).unwrap().is_none(), "absent stays absent");
    db.write_at(1, 0, b"").unwrap();
    assert_value(&db, 1, b"");
    db.write_at(1, 0, b"abc").unwrap();
    db.write_at(1, 3, b"def").unwrap();
    db.write_at(1, 2, b"").unwrap();
    assert_value(&db, 1, b"abcdef");
    beyond(db.write_at(1, 7, b""), (1, 7, 6));
    beyond(db.truncate(1, 7), (1, 7, 6));
    db.checkpoint().unwrap();
    beyond(db.truncate(1, 7), (1, 7, 6));
    db.truncate(1, 6).unwrap();
    db.truncate(1, 2).unwrap();
    assert_value(&db, 1, b"ab");
    assert_eq!(
        db.write_at(1, u64::MAX, b"x").unwrap_err().kind(),
        ErrorKind::Misuse
    );
}

/// Replayed over pages that contain them already, truncations and overwritten ends change nothing.
#[test]
fn parts_survive_a_crash() {
    let mut random = Random(10);
    let value = random.bytes(50_000);
    let storage = FaultyStorage::new();
    let options = Options::new().background(false);
    let db = options.open_storage(Arc::new(storage.clone())).unwrap();
    db.put(1, &value).unwrap();
    db.checkpoint().unwrap();
    db.truncate(1, 40_000).unwrap();
    db.append(1, b"tail").unwrap();
    db.truncate(1, 30_000).unwrap();
    db.write_at(1, 29_000, b"inside").unwrap();
    db.truncate(1, 29_500).unwrap();
    db.flush().unwrap();
    let mut expected = value[..29_500].to_vec();
    expected[29_000..29_006].copy_from_slice(b"inside");
    for _ in 0..2 {
        let image = storage.image();
        let again = options
            .open_storage(Arc::new(MemoryStorage::from_bytes(image)))
            .unwrap();
        assert_value(&again, 1, &expected);
        again.checkpoint().unwrap();
        assert_value(&again, 1, &expected);
        assert_sound(&again);
        db.checkpoint().unwrap();
    }
}

/// What a difference does not find in packs, it finds by looking at every token.
#[test]
fn a_difference_sees_a_change_that_keeps_the_length() {
    let db = Db::in_memory().unwrap();
    db.put(1, &[1; 500_000]).unwrap();
    db.put(2, &[2; 100]).unwrap();
    db.save_snapshot("before").unwrap();
    db.write_at(1, 1_000, &[3; 10]).unwrap();
    let before = db.open_snapshot("before").unwrap();
    let differences: Vec<_> = before
        .diff(&db.snapshot())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(differences.len(), 1);
    assert!(before.get(1).unwrap().unwrap() == [1; 500_000]);
    db.restore("before").unwrap();
    assert_value(&db, 1, &[1; 500_000]);
    assert_sound(&db);
}

#[test]
fn a_writer_of_a_closed_or_read_only_database_is_refused() {
    let storage = Arc::new(MemoryStorage::new());
    let db = eager_options().open_storage(storage.clone()).unwrap();
    let mut writer = db.writer(1).unwrap();
    writer.write_all(&[1; 100_000]).unwrap();
    db.clone().close().unwrap();
    let error = writer.write_all(&[1; 10_000]).unwrap_err();
    assert!(matches!(inner(error), Error::Closed));
    assert!(matches!(writer.finish(), Err(Error::Closed)));
    assert!(matches!(db.writer(2), Err(Error::Closed)));
    drop(db);
    let db = Options::new()
        .read_only(true)
        .open_storage(storage)
        .unwrap();
    assert!(db.is_empty().unwrap());
    assert_eq!(db.writer(1).unwrap_err().kind(), ErrorKind::Misuse);
    assert_eq!(
        db.write_at(1, 0, b"x").unwrap_err().kind(),
        ErrorKind::Misuse
    );
}

/// The disk is full in the middle: an error, nothing lost, and the writer goes on when there is room.
#[test]
fn a_full_disk_stops_a_writer_for_as_long_as_it_is_full() {
    let storage = FaultyStorage::new();
    let db = eager_options()
        .open_storage(Arc::new(storage.clone()))
        .unwrap();
    db.put(1, b"there").unwrap();
    db.checkpoint().unwrap();
    let bytes = Random(11).bytes(900_000);
    let mut writer = db.writer(1).unwrap();
    writer.write_all(&bytes[..300_000]).unwrap();
    storage.set_capacity(Some(storage.image().len() as u64));
    let mut done = 300_000;
    let error = loop {
        match writer.write(&bytes[done..]) {
            Ok(taken) => done += taken,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), Io::StorageFull);
    assert_eq!(inner(error).kind(), ErrorKind::Full);
    assert_value(&db, 1, b"there");
    assert_sound(&db);
    storage.set_capacity(None);
    writer.write_all(&bytes[done..]).unwrap();
    writer.finish().unwrap();
    assert_value(&db, 1, &bytes);
    assert_sound(&db);
}

/// A compaction in place finds pages taken that no state reaches: it goes round them, and what they hold stays.
#[test]
fn a_compaction_leaves_what_a_stream_has_written_alone() {
    let mut random = Random(12);
    for page_size in [512, 4096] {
        let storage = Arc::new(MemoryStorage::new());
        let db = eager_options()
            .page_size(page_size)
            .open_storage(storage)
            .unwrap();
        let tokens: Vec<Vec<u8>> = (0..2_000).map(|_| random.bytes(300)).collect();
        for (id, bytes) in (0..).zip(&tokens) {
            db.put(id, bytes).unwrap();
        }
        db.checkpoint().unwrap();
        let value = random.bytes(400_000);
        let mut writer = db.writer(5_000).unwrap();
        writer.write_all(&value[..200_000]).unwrap();
        for id in (0..2_000).filter(|id| id % 3 > 0) {
            db.delete(id).unwrap();
        }
        let mut abandoned = db.writer(6_000).unwrap();
        abandoned.write_all(&value[..50_000]).unwrap();
        db.compact().unwrap();
        writer.write_all(&value[200_000..]).unwrap();
        db.compact().unwrap();
        writer.finish().unwrap();
        drop(abandoned);
        let check = |db: &Db| {
            assert_value(db, 5_000, &value);
            for id in (0..2_000_u64).step_by(3) {
                assert_value(db, id, &tokens[id as usize]);
            }
            assert_sound(db);
        };
        check(&db);
        db.compact().unwrap();
        check(&db);
    }
}

/// Counts the bytes written.
#[derive(Debug)]
struct Counting {
    file: FileStorage,
    written: Arc<AtomicU64>,
}

impl Storage for Counting {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let len = bytes.len() as u64;
        self.written.fetch_add(len, Ordering::Relaxed);
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        self.file.grow(len)
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.file.shrink(len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.file.punch_hole(offset, len)
    }

    fn view(&self, len: u64) -> io::Result<View> {
        self.file.view(len)
    }
}

/// Bytes of a value that can be had at any place without the rest: 64 KiB blocks, each from a seed of its own.
fn block(number: u64) -> Vec<u8> {
    Random(number).bytes(1 << 16)
}

/// 64 MiB, or as many bytes as `SHROOM_BIG_VALUE_BYTES` says (`cargo xtask big-value`): the costs that do not depend on the
/// length of the value, and those that do.
#[test]
fn a_big_value_costs_what_is_touched() {
    let bytes = std::env::var("SHROOM_BIG_VALUE_BYTES");
    let blocks = bytes.map_or(64 << 20, |bytes| bytes.parse::<u64>().expect("a number")) >> 16;
    let place = std::env::var_os("SHROOM_BIG_VALUE_DIR");
    let dir = match place {
        Some(place) => tempfile::tempdir_in(place),
        None => tempfile::tempdir(),
    };
    let dir = dir.unwrap();
    let path = dir.path().join("big.shroom");
    let written = Arc::new(AtomicU64::new(0));
    let storage = Counting {
        file: FileStorage::open(&path, OpenMode::REPLACE).unwrap(),
        written: Arc::clone(&written),
    };
    let db = Options::new()
        .background(false)
        .open_storage(Arc::new(storage))
        .unwrap();
    // The journal's areas are made by the first put.
    db.put(2, b"small").unwrap();
    let cost = |change: &mut dyn FnMut()| {
        let before = written.load(Ordering::Relaxed);
        change();
        written.load(Ordering::Relaxed) - before
    };
    let length = blocks << 16;
    let streamed = cost(&mut || {
        let mut writer = db.writer(1).unwrap();
        for number in 0..blocks {
            writer.write_all(&block(number)).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), length);
    });
    assert!(!db.get(1).unwrap().unwrap().is_copied(), "in one piece");
    assert!(
        streamed > length && streamed < length + length / 50,
        "{streamed}"
    );
    let appended = cost(&mut || {
        db.append(1, &[7; 100]).unwrap();
        db.checkpoint().unwrap();
    });
    assert!(appended < 64 << 10, "{appended}");
    let overwritten = cost(&mut || db.write_at(1, length / 2 - 50, &[8; 100]).unwrap());
    assert!(overwritten < 64 << 10, "{overwritten}");
    let cut = cost(&mut || {
        db.truncate(1, length + 50).unwrap();
        db.checkpoint().unwrap();
    });
    assert!(cut < 64 << 10, "{cut}");
    let appended_stream = cost(&mut || {
        let mut writer = db.append_writer(1).unwrap();
        for number in 0..24 {
            writer.write_all(&block(number)).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), length + 50 + (24 << 16));
    });
    assert!(appended_stream < 2 << 20, "{appended_stream}");
    println!(
        "{length} bytes: {streamed} written to stream it; {appended} to append 100, {overwritten} to overwrite 100, {cut} to \
         cut 50, {appended_stream} to append 1.5 MiB as a stream"
    );
    db.close().unwrap();
    let db = Db::open_read_only(&path).unwrap();
    assert_sound(&db);
    let mut reader = db.reader(1).unwrap().unwrap();
    let mut found = vec![0; 1 << 16];
    for number in 0..blocks {
        reader.read_exact(&mut found).unwrap();
        let mut expected = block(number);
        match number {
            _ if number + 1 == blocks / 2 => expected[(1 << 16) - 50..].fill(8),
            _ if number == blocks / 2 => expected[..50].fill(8),
            _ => {}
        }
        assert!(found == expected, "block {number} of {blocks}");
    }
    let mut end = vec![0; 50];
    reader.read_exact(&mut end).unwrap();
    assert_eq!(end, [7; 50]);
    for number in 0..24 {
        reader.read_exact(&mut found).unwrap();
        assert!(found == block(number));
    }
    assert_eq!(reader.read(&mut found).unwrap(), 0);
}

/// Writers that are opened, written to, finished and given up in any order, between all else that changes the file, on a disk that is full now
/// and then.
#[test]
fn writers_in_any_order() {
    for seed in 0..12 {
        Interleaved::new(seed).run(250);
    }
}

struct Interleaved {
    random: Random,
    storage: FaultyStorage,
    db: Db,
    tokens: BTreeMap<u64, Vec<u8>>,
    saved: BTreeMap<String, BTreeMap<u64, Vec<u8>>>,
    /// Each with its token, whether it appends, and what was written.
    writers: Vec<(ValueWriter, u64, bool, Vec<u8>)>,
    readers: Vec<(Reader, Vec<u8>)>,
}

impl Interleaved {
    fn new(seed: u64) -> Self {
        let storage = FaultyStorage::new();
        let options = eager_options()
            .page_size([512, 1024, 4096][seed as usize % 3])
            .journal_limit(64 << 10)
            .slice_bytes(1)
            .track_content_root(seed.is_multiple_of(2))
            .background(seed.is_multiple_of(5));
        Self {
            random: Random(seed + 100),
            db: options.open_storage(Arc::new(storage.clone())).unwrap(),
            storage,
            tokens: BTreeMap::new(),
            saved: BTreeMap::new(),
            writers: Vec::new(),
            readers: Vec::new(),
        }
    }

    fn run(mut self, operations: usize) {
        for number in 0..operations {
            if self.random.below(12) == 0 {
                let room = self.random.below(40_000);
                let length = self.storage.image().len() as u64;
                self.storage.set_capacity(Some(length + room));
            }
            match self.step() {
                Err(error) if error.kind() == ErrorKind::Full => self.storage.set_capacity(None),
                result => result.unwrap(),
            }
            if number % 10 == 0 {
                self.check();
            }
        }
        self.storage.set_capacity(None);
        self.writers.clear();
        self.db.checkpoint().unwrap();
        self.check();
        for (mut reader, expected) in self.readers.drain(..) {
            let mut found = Vec::new();
            reader.read_to_end(&mut found).unwrap();
            assert!(found == expected);
        }
        drop(self.db);
        let image = FaultyStorage::from_image(self.storage.image());
        let db = eager_options().open_storage(Arc::new(image)).unwrap();
        assert!(
            db.iter()
                .map(|token| token.unwrap().0)
                .eq(self.tokens.keys().copied())
        );
        assert_sound(&db);
    }

    fn check(&self) {
        assert_eq!(self.db.len().unwrap(), self.tokens.len() as u64);
        for (&id, expected) in &self.tokens {
            assert_value(&self.db, id, expected);
        }
        for (name, tokens) in &self.saved {
            let snapshot = self.db.open_snapshot(name).unwrap();
            for (&id, expected) in tokens {
                assert!(snapshot.get(id).unwrap().unwrap() == **expected, "{name}");
            }
        }
        assert_sound(&self.db);
    }

    fn bytes(&mut self) -> Vec<u8> {
        let limit = [40, 700, 9_000, 30_000][self.random.below(4) as usize];
        let len = self.random.below(limit) as usize;
        self.random.bytes(len)
    }

    /// One operation; the model follows when it has succeeded.
    fn step(&mut self) -> shroom::Result<()> {
        let (id, bytes) = (self.random.below(4), self.bytes());
        let length = self.tokens.get(&id).map_or(0, Vec::len) as u64;
        let place = self.random.below(length + 1);
        let name = format!("saved {}", self.random.below(3));
        match self.random.below(26) {
            0..3 if self.writers.len() < 5 => {
                let appends = self.random.below(3) > 0;
                let writer = match appends {
                    true => self.db.append_writer(id)?,
                    false => self.db.writer(id)?,
                };
                self.writers.push((writer, id, appends, Vec::new()));
            }
            3..10 if !self.writers.is_empty() => {
                let index = self.random.below(self.writers.len() as u64) as usize;
                let (writer, _, _, written) = &mut self.writers[index];
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let taken = writer.write(rest).map_err(inner)?;
                    written.extend_from_slice(&rest[..taken]);
                    rest = &rest[taken..];
                }
            }
            10..13 if !self.writers.is_empty() => {
                let index = self.random.below(self.writers.len() as u64) as usize;
                let (writer, id, appends, written) = self.writers.swap_remove(index);
                let length = writer.finish()?;
                let value = self.tokens.entry(id).or_default();
                if !appends {
                    value.clear();
                }
                value.extend_from_slice(&written);
                assert_eq!(length, value.len() as u64);
            }
            13 if !self.writers.is_empty() => drop(self.writers.swap_remove(0)),
            14 => {
                self.db.put(id, &bytes)?;
                self.tokens.insert(id, bytes);
            }
            15 => {
                self.db.append(id, &bytes)?;
                self.tokens.entry(id).or_default().extend(bytes);
            }
            16 => {
                self.db.delete(id)?;
                self.tokens.remove(&id);
            }
            17 => {
                self.db.write_at(id, place, &bytes)?;
                let value = self.tokens.entry(id).or_default();
                let (at, end) = (place as usize, place as usize + bytes.len());
                value.resize(value.len().max(end), 0);
                value[at..end].copy_from_slice(&bytes);
            }
            18 => {
                self.db.truncate(id, place)?;
                if let Some(value) = self.tokens.get_mut(&id) {
                    value.truncate(place as usize);
                }
            }
            19 if !self.saved.contains_key(&name) => {
                self.db.save_snapshot(&name)?;
                self.saved.insert(name, self.tokens.clone());
            }
            20 if self.saved.contains_key(&name) => {
                self.db.restore(&name)?;
                self.tokens = self.saved[&name].clone();
            }
            21 if self.saved.contains_key(&name) => {
                self.db.delete_snapshot(&name)?;
                self.saved.remove(&name);
            }
            22 => _ = self.db.punch_holes()?,
            24..26 => _ = self.db.compact_step(50_000)?,
            23 => {
                if let Some(reader) = self.db.reader(id)? {
                    self.readers.push((reader, self.tokens[&id].clone()));
                }
                if self.readers.len() > 3 {
                    let (mut reader, expected) = self.readers.remove(0);
                    let mut found = Vec::new();
                    reader.read_to_end(&mut found).unwrap();
                    assert!(found == expected);
                }
            }
            _ => self.db.checkpoint()?,
        }
        Ok(())
    }
}
