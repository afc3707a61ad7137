//! Readers, journal writers and a committing writer at once, over a mapped file.
//!
//! A view of a file shows what is written later: a page that is written again, or cut off, while a snapshot reaches it shows
//! as a wrong fill, or ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shroom_page::storage::{FileStorage, OpenMode};
use shroom_page::{LogicalPage, PageRead, PageSize, PageStore, Roots, Snapshot};

const COMMITS: u64 = 300;
const PAGES: u32 = 60;

/// All pages of a state hold the state's number.
fn check(snapshot: &Snapshot) {
    let stamp = snapshot.roots().application[..8].to_vec();
    for number in 1..snapshot.logical_pages() {
        if snapshot.is_allocated(LogicalPage(number)).unwrap() {
            let page = snapshot.page(LogicalPage(number)).unwrap();
            assert!(
                page.chunks_exact(8).all(|word| word == stamp),
                "page {number}"
            );
        }
    }
}

fn write(store: &PageStore) {
    for stamp in 1..=COMMITS {
        let mut txn = store.begin().unwrap();
        // The number of pages goes up and down, so that the file's tail is cut.
        let wanted = if stamp % 20 < 10 { PAGES * 20 } else { PAGES };
        for number in 1..txn.logical_pages() {
            if number > wanted && txn.is_allocated(LogicalPage(number)).unwrap() {
                txn.free(LogicalPage(number)).unwrap();
            }
        }
        if wanted > PAGES && stamp % 20 == 0 {
            while txn.allocate().unwrap().0 < wanted {}
        }
        for number in 1..txn.logical_pages() {
            if txn.is_allocated(LogicalPage(number)).unwrap() {
                for word in txn
                    .page_mut(LogicalPage(number))
                    .unwrap()
                    .chunks_exact_mut(8)
                {
                    word.copy_from_slice(&stamp.to_le_bytes());
                }
            }
        }
        let mut roots = Roots::default();
        roots.application[..8].copy_from_slice(&stamp.to_le_bytes());
        if stamp % 7 == 0 {
            txn.set_drained(store.journal_mark());
            txn.set_journal_area((stamp % 2) as usize, 20 + (stamp % 3) as u32);
        }
        txn.commit(roots).unwrap();
        if stamp % 10 == 0 {
            store.vacuum(&mut drop).unwrap();
        }
    }
}

/// Ends the other threads, also when the one that holds it panics.
struct Done<'d>(&'d AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn snapshots_hold_still_and_frames_survive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let open = |mode| Arc::new(FileStorage::open(&path, mode).unwrap());
    let size = PageSize::new(512).unwrap();
    let store = PageStore::create(open(OpenMode::CREATE_NEW), size).unwrap();
    let mut txn = store.begin().unwrap();
    for _ in 0..PAGES {
        txn.allocate().unwrap();
    }
    txn.commit(Roots::default()).unwrap();
    let done = AtomicBool::new(false);
    let synced = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                let mut held = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    held.push(store.snapshot());
                    held.iter().for_each(check);
                    if held.len() > 2 * reader {
                        held.clear();
                    }
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mark = store.journal_mark().sequence;
                if store.journal_append(&[mark as u8; 50]).unwrap().is_none() {
                    store.journal_rotate().unwrap();
                    std::thread::yield_now();
                } else if mark.is_multiple_of(5) {
                    store.journal_sync(mark + 1).unwrap();
                    synced.store(mark + 1, Ordering::Relaxed);
                }
            }
        });
        let _done = Done(&done);
        write(&store);
    });
    let synced = synced.load(Ordering::Relaxed);
    assert!(store.verify().unwrap().is_sound());
    drop(store);
    let store = PageStore::open(open(OpenMode::EXISTING)).unwrap();
    check(&store.snapshot());
    assert!(store.verify().unwrap().is_sound());
    assert!(store.journal_mark().sequence >= synced && synced > 0);
    let frames = store.take_recovered();
    assert!(
        frames
            .iter()
            .all(|(sequence, payload)| payload == [(sequence - 1) as u8; 50])
    );
}
