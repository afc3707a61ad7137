//! The format is a contract: files written long ago open, and the same operations still write the same bytes.
//!
//! After a deliberate change of the format, `UPDATE_GOLDEN=1 cargo test -p shroom --test golden` writes the files anew, and
//! `cargo xtask spec --update` the listing of what is in them; they are committed together with `docs/format.md`, the version and the
//! changelog.

use std::path::PathBuf;
use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::{Db, Options};

/// The file of the tests that know what is in it.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/format-1.shroom");

/// Every golden file, and what writes it now.
type Written = (&'static str, fn() -> Vec<u8>);
const FILES: [Written; 3] = [
    ("format-1.shroom", write),
    ("format-1-journal.shroom", write_with_journal),
    ("format-1-snapshots.shroom", write_with_snapshots),
];

fn pattern(id: u64, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (id as usize * 31 + at * 7) as u8)
        .collect()
}

/// Tokens of each kind: dense and scattered ids, equal and mixed lengths, empty, blobs of one segment, of several and with
/// extents.
fn tokens() -> Vec<(u64, Vec<u8>)> {
    let mut tokens: Vec<_> = (0..60).map(|id| (id, pattern(id, 16))).collect();
    tokens.extend((1..40).map(|id| (id * 1_000_003, pattern(id, id as usize * 5 % 97))));
    tokens.push((1 << 40, Vec::new()));
    tokens.push((1 << 41, pattern(1, 700)));
    tokens.push((1 << 42, pattern(2, 1800)));
    tokens.push((1 << 43, pattern(3, 5000)));
    tokens.push((u64::MAX, b"last".to_vec()));
    tokens
}

fn write() -> Vec<u8> {
    let memory = MemoryStorage::new();
    let options = Options::new().page_size(1024).background(false);
    let db = options.open_storage(Arc::new(memory.clone())).unwrap();
    let mut batch = db.batch();
    for (id, bytes) in tokens() {
        batch.put(id, &bytes);
    }
    batch.tag(2026);
    batch.commit().unwrap();
    db.close().unwrap();
    memory.to_bytes()
}

/// Pages of 512 bytes as a crash leaves them: a page map and a directory of more than one level, a sum that is kept, blobs that
/// grew in several steps, free pages, and a journal with every operation.
fn write_with_journal() -> Vec<u8> {
    let memory = MemoryStorage::new();
    let options = Options::new()
        .page_size(512)
        .journal_limit(64 << 10)
        .track_content_root(true)
        .background(false);
    let db = options.open_storage(Arc::new(memory.clone())).unwrap();
    let small = (0..700).map(|id| (id * 1_000_003, pattern(id, id as usize % 41)));
    db.bulk_load(small).unwrap();
    for step in 0..8 {
        for id in 0..4 {
            db.append(1 + id, &pattern(id + step, 300)).unwrap();
        }
        db.checkpoint().unwrap();
    }
    for id in (0..700).filter(|id| id % 5 == 0) {
        db.delete(id * 1_000_003).unwrap();
    }
    db.put(u64::MAX, &pattern(5, 10_000)).unwrap();
    db.checkpoint().unwrap();
    let mut batch = db.batch();
    batch.put(7, b"in the journal").append(1, b"and more");
    batch.delete(1_000_003).delete(8).tag(u64::MAX - 1);
    batch.commit().unwrap();
    db.write_at(2, 100, &[0xee; 50]).unwrap();
    db.truncate(3, 777).unwrap();
    db.flush().unwrap();
    memory.to_bytes()
}

/// Pages of 4,096 bytes, closed: named snapshots that share pages, one of them of an empty database, and values in extents.
fn write_with_snapshots() -> Vec<u8> {
    let memory = MemoryStorage::new();
    let options = Options::new().page_size(4096).background(false);
    let db = options.open_storage(Arc::new(memory.clone())).unwrap();
    db.save_snapshot("empty").unwrap();
    for id in 0..120 {
        db.put(id, &pattern(id, id as usize % 60)).unwrap();
    }
    db.put(1000, &pattern(1, 9000)).unwrap();
    db.put(1001, &pattern(2, 3000)).unwrap();
    db.save_snapshot("sp\u{e4}ter").unwrap();
    for id in (0..120).step_by(9) {
        db.put(id, &pattern(id + 1, id as usize % 90)).unwrap();
    }
    db.write_at(1000, 5000, b"in place").unwrap();
    let mut batch = db.batch();
    batch.delete(1001).tag(3);
    batch.commit().unwrap();
    db.save_snapshot("third").unwrap();
    db.delete(5).unwrap();
    db.close().unwrap();
    memory.to_bytes()
}

#[test]
fn the_golden_files_are_still_written() {
    for (name, write) in FILES {
        let path = PathBuf::from(GOLDEN).with_file_name(name);
        let bytes = write();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &bytes).unwrap();
        }
        let golden = std::fs::read(path).unwrap();
        let differs = golden.iter().zip(&bytes).position(|(old, new)| old != new);
        let (expected, got) = (golden.len(), bytes.len());
        assert_eq!((differs, expected), (None, got), "{name}");
    }
}

#[test]
fn the_golden_file_is_still_read() {
    let db = Db::open_read_only(GOLDEN).unwrap();
    let read: Vec<(u64, Vec<u8>)> = db
        .iter()
        .map(|token| token.map(|(id, bytes)| (id, bytes.to_vec())).unwrap())
        .collect();
    assert_eq!(read, tokens());
    assert_eq!(db.tag(), 2026);
    assert!(db.verify().unwrap().is_sound());
}

/// The encoding of proofs is a contract as well: each is the only one of what it says.
#[test]
fn the_golden_file_is_still_proven_with_the_same_bytes() {
    let db = Db::open_read_only(GOLDEN).unwrap();
    let root = db.page_root();
    let vectors = [
        (
            7,
            true,
            2730,
            "a3ddfde6f0e361ebaf0db831f884cf7ab2b895886804e03297301cc694d56139",
        ),
        (
            60,
            false,
            2730,
            "a3ddfde6f0e361ebaf0db831f884cf7ab2b895886804e03297301cc694d56139",
        ),
        (
            1 << 43,
            true,
            8910,
            "08d9c749e584354f05706c4d2efabc9692d2dccd99d9dd949dda8dda9b72bd09",
        ),
    ];
    for (id, present, len, hash) in vectors {
        let proof = db.prove(id).unwrap();
        let bytes = proof.as_bytes();
        let got = blake3::hash(bytes).to_hex();
        assert_eq!((bytes.len(), got.as_str()), (len, hash), "{id}");
        let value = proof.verify(root.as_bytes(), id).unwrap();
        assert_eq!(value.is_some(), present);
    }
}
