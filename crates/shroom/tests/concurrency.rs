//! Many threads: values keep their bytes, flushes share syncs. Readers beside writers are in `stress.rs`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shroom::Options;
use shroom::storage::{FileStorage, OpenMode, Storage, View};
use shroom_sim::assert_sound;

fn options() -> Options {
    Options::new().page_size(1024).journal_limit(64 << 10)
}

fn stamp_value(stamp: u64, id: u64) -> Vec<u8> {
    let len = 8 + (stamp.wrapping_mul(31) ^ id.wrapping_mul(17)) % 600;
    let mut value = vec![(stamp ^ id) as u8; len as usize];
    value[..8].copy_from_slice(&stamp.to_le_bytes());
    value
}

#[test]
fn values_and_snapshots_outlive_checkpoints_and_the_handle() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db.shroom");
    let db = options().open(&path).unwrap();
    let mut held = Vec::new();
    for round in 0..60_u64 {
        for id in 0..30 {
            db.put(id, &stamp_value(round, id)).unwrap();
        }
        if round % 2 == 0 {
            db.checkpoint().unwrap();
        }
        let id = round % 30;
        held.push((round, id, db.get(id).unwrap().unwrap(), db.snapshot()));
        if round % 3 == 2 {
            drop(held.swap_remove(round as usize / 4 % held.len()));
        }
    }
    db.close().unwrap();
    for (round, id, value, snapshot) in &held {
        assert!(*value == stamp_value(*round, *id), "round {round}");
        for token in snapshot.iter() {
            let (id, bytes) = token.unwrap();
            assert!(
                bytes == stamp_value(*round, id),
                "round {round}, token {id}"
            );
        }
    }
    drop(held);
    let db = options().open(&path).unwrap();
    assert_eq!(db.len().unwrap(), 30);
    assert_sound(&db);
}

/// A file that counts its syncs and takes its time for them.
#[derive(Debug)]
struct Counting {
    file: FileStorage,
    syncs: AtomicU64,
}

impl Storage for Counting {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2));
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

/// Callers once took their turns under a lock, and the one that had just synced was the first to get it again: the others
/// waited for a sync each.
#[test]
fn concurrent_flushes_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let file = FileStorage::open(&dir.path().join("db.shroom"), OpenMode::OPEN_OR_CREATE).unwrap();
    let storage = Arc::new(Counting {
        file,
        syncs: AtomicU64::new(0),
    });
    let db = options().open_storage(storage.clone()).unwrap();
    db.put(0, b"so that the journal is there").unwrap();
    db.flush().unwrap();
    let before = storage.syncs.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let db = &db;
            scope.spawn(move || {
                for round in 0..50 {
                    db.put(thread * 1000 + round, b"value").unwrap();
                    db.flush().unwrap();
                }
            });
        }
    });
    let syncs = storage.syncs.load(Ordering::Relaxed) - before;
    println!("{syncs} syncs for 400 flushes by 8 threads");
    assert!(syncs < 200, "{syncs} syncs for 400 flushes");
    let before = storage.syncs.load(Ordering::Relaxed);
    db.flush().unwrap();
    assert_eq!(
        storage.syncs.load(Ordering::Relaxed),
        before,
        "nothing to sync"
    );
    db.put(1, b"one").unwrap();
    db.flush().unwrap();
    assert_eq!(
        storage.syncs.load(Ordering::Relaxed),
        before + 1,
        "one sync"
    );
}
