//! The format is a contract: a file written long ago opens, and the same operations still write the same bytes.
//!
//! After a deliberate change of the format, `UPDATE_GOLDEN=1 cargo test -p shroom --test golden` writes the file anew; it is
//! committed together with `docs/format.md`, the version and the changelog.

use std::path::Path;
use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::{Db, Options};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/format-1.shroom");

/// Tokens of each kind: dense and scattered ids, equal and mixed lengths, empty, blobs of one segment, of several and with
/// extents.
fn tokens() -> Vec<(u64, Vec<u8>)> {
    let pattern = |id: u64, len: usize| -> Vec<u8> {
        (0..len)
            .map(|at| (id as usize * 31 + at * 7) as u8)
            .collect()
    };
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

#[test]
fn the_golden_file_is_still_written() {
    let bytes = write();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(Path::new(GOLDEN).parent().unwrap()).unwrap();
        std::fs::write(GOLDEN, &bytes).unwrap();
    }
    let golden = std::fs::read(GOLDEN).unwrap();
    let differs = golden.iter().zip(&bytes).position(|(old, new)| old != new);
    assert_eq!((differs, golden.len()), (None, bytes.len()));
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
