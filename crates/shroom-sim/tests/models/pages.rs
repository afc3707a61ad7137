//! Pages of the file are used again while readers hold older states: over a real mapping, so that a page which is written too
//! early, or cut off, is seen.

use std::sync::Arc;

use shroom_page::storage::{FileStorage, Storage};
use shroom_page::{LogicalPage, PageStore, Roots, Snapshot};
use shuttle::thread;

use crate::support::{Stepped, below, explore, fills, saw_if, small_pages, step, stepped_file};

/// Situations.
const OLD_READ: &str = "a state was read two commits later";
const CUT_WAITED: &str = "a cut waited for a reader";
const DELETED_READ: &str = "a deleted snapshot was read";

/// Pages that each commit writes anew.
const PAGES: u32 = 6;

/// A store whose pages all hold `stamp`, as its roots say.
fn fill(store: &PageStore, stamp: u8) -> Snapshot {
    let mut txn = store.begin().unwrap();
    for page in 1..=PAGES {
        txn.page_mut(LogicalPage(page)).unwrap().fill(stamp);
    }
    txn.commit(roots(stamp)).unwrap()
}

fn roots(stamp: u8) -> Roots {
    let mut roots = Roots::default();
    roots.token[0] = stamp;
    roots
}

fn store(storage: &Arc<Stepped<FileStorage>>) -> PageStore {
    let storage: Arc<dyn Storage> = storage.clone();
    let store = PageStore::create(storage, small_pages()).unwrap();
    let mut txn = store.begin().unwrap();
    for _ in 1..=PAGES {
        txn.allocate().unwrap();
    }
    txn.commit(Roots::default()).unwrap();
    fill(&store, 1);
    store
}

/// What a snapshot reads is what it was made with, each time.
fn check(snapshot: &Snapshot) {
    let stamp = snapshot.roots().token[0];
    let expected = vec![Some(stamp); PAGES as usize];
    assert_eq!(fills(snapshot, PAGES), expected, "stamp {stamp}");
}

/// Reads each of `rounds` snapshots twice, and sees time pass in one direction.
fn read(store: &PageStore, rounds: u32) {
    let mut before = 0;
    for _ in 0..rounds {
        let snapshot = store.snapshot();
        assert!(snapshot.sequence() >= before);
        before = snapshot.sequence();
        check(&snapshot);
        step();
        let later = store.snapshot().sequence();
        check(&snapshot);
        saw_if(later >= before + 2, OLD_READ);
    }
}

/// All that waited for readers is free after they have gone.
fn assert_released(store: &PageStore) {
    drop(store.begin().unwrap());
    let stats = store.stats(true).unwrap();
    assert_eq!(stats.pending_pages, 0);
    assert!(store.verify().unwrap().is_sound());
}

#[test]
fn pages_of_a_held_state_are_not_used_again() {
    explore(&[OLD_READ], || {
        let (storage, _path) = stepped_file();
        let store = store(&storage);
        thread::scope(|scope| {
            scope.spawn(|| {
                for stamp in 2..=6 {
                    check(&fill(&store, stamp));
                }
            });
            scope.spawn(|| read(&store, 3));
            scope.spawn(|| read(&store, 3));
        });
        // Two states' worth of pages is what it takes when no reader is slow; each held one adds its own.
        assert_released(&store);
        let before = store.snapshot().physical_pages();
        for stamp in 7..=12 {
            fill(&store, stamp);
        }
        assert_eq!(
            store.snapshot().physical_pages(),
            before,
            "freed pages are used again"
        );
        assert_released(&store);
    });
}

#[test]
fn the_file_is_not_cut_below_a_held_state() {
    explore(&[OLD_READ, CUT_WAITED], || {
        let (storage, _path) = stepped_file();
        let store = store(&storage);
        // Room for the cut: a run behind the pages that is then free.
        let mut txn = store.begin().unwrap();
        let run = txn.allocate_run(8).unwrap();
        txn.write_run(run, &[9; 8 * 512]).unwrap();
        txn.commit(roots(1)).unwrap();
        let mut txn = store.begin().unwrap();
        for page in run.0..run.0 + 8 {
            txn.free(LogicalPage(page)).unwrap();
        }
        txn.commit(roots(1)).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                fill(&store, 2);
                store.vacuum(&mut drop).unwrap();
                fill(&store, 3);
                store.vacuum(&mut drop).unwrap();
            });
            scope.spawn(|| store.cut_tail().unwrap());
            scope.spawn(|| read(&store, 4));
        });
        let len = storage.len().unwrap();
        let needed = u64::from(store.snapshot().physical_pages()) * 512;
        saw_if(
            len > needed || store.stats(false).unwrap().pending_pages > 0,
            CUT_WAITED,
        );
        store.vacuum(&mut drop).unwrap();
        store.cut_tail().unwrap();
        check(&store.snapshot());
        assert_released(&store);
        let len = storage.len().unwrap();
        assert_eq!(len, u64::from(store.snapshot().physical_pages()) * 512);
    });
}

/// What an opened named snapshot reaches stays while it is held, though the name is deleted and its pages freed.
#[test]
fn pages_of_a_named_snapshot_are_not_used_again_while_it_is_held() {
    explore(&[DELETED_READ], || {
        let (storage, _path) = stepped_file();
        let store = store(&storage);
        let mut txn = store.begin().unwrap();
        txn.save_snapshot("first").unwrap();
        txn.commit(roots(1)).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                fill(&store, 2);
                let mut txn = store.begin().unwrap();
                txn.delete_snapshot("first").unwrap();
                txn.commit(roots(2)).unwrap();
                fill(&store, 3);
                fill(&store, 4);
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    if below(2) == 0 {
                        step();
                    }
                    // Deleted already, it cannot be opened any more.
                    let Ok(first) = store.open_snapshot("first") else {
                        return;
                    };
                    for _ in 0..3 {
                        check(&first);
                        step();
                        saw_if(
                            !store.snapshot_names().unwrap().contains(&"first".into()),
                            DELETED_READ,
                        );
                        check(&first);
                    }
                });
            }
        });
        assert_released(&store);
    });
}
