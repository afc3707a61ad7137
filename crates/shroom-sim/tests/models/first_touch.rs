//! Several threads touch a page for the first time at once: whoever is first checks it, and none gets bytes that do not match.

use std::sync::Arc;

use shroom_page::storage::Storage;
use shroom_page::storage::faulty::{Fault, FaultyStorage};
use shroom_page::{LogicalPage, PageError, PageRead, PageStore, Roots, Snapshot};
use shuttle::thread;

use crate::support::{Stepped, below, explore, fill_of, saw, small_pages, stepped_memory};

/// Pages written: so many that some share a slot of the cache of translations, and the map has a level.
const PAGES: u32 = 40;
/// A situation.
const REFUSED: &str = "a page that does not match was refused";
/// What the damaged page holds.
const DAMAGED: u8 = 17;

/// A store in which page `n` is full of `n + salt`.
fn filled(storage: Arc<dyn Storage>, salt: u8) -> PageStore {
    let store = PageStore::create(storage, small_pages()).unwrap();
    let mut txn = store.begin().unwrap();
    for page in 1..=PAGES {
        assert_eq!(txn.allocate().unwrap(), LogicalPage(page));
    }
    fill(&mut txn, 1..=PAGES, salt);
    txn.commit(Roots::default()).unwrap();
    store
}

fn fill(txn: &mut shroom_page::PageTxn<'_>, pages: std::ops::RangeInclusive<u32>, salt: u8) {
    for page in pages {
        let bytes = txn.page_mut(LogicalPage(page)).unwrap();
        bytes.fill(page as u8 + salt);
    }
}

/// Reads some pages in an order of its own. Those that can be read hold what they must.
fn read_some(snapshot: &Snapshot, salts: &[u8]) {
    let (first, stride) = (below(u64::from(PAGES)) as u32, 1 + 2 * below(8) as u32);
    for step in 0..8 {
        let page = 1 + (first + step * stride) % PAGES;
        read_one(snapshot, page, salts);
    }
}

/// Whether a page could be read; then it is sound.
fn read_one(snapshot: &Snapshot, page: u32, salts: &[u8]) -> bool {
    match snapshot.page(LogicalPage(page)) {
        Ok(bytes) => {
            let fill = fill_of(bytes).expect("one fill");
            let expected: Vec<u8> = salts.iter().map(|salt| page as u8 + salt).collect();
            assert!(expected.contains(&fill), "page {page} holds {fill}");
            true
        }
        Err(PageError::HashMismatch { .. }) => {
            saw(REFUSED);
            false
        }
        Err(error) => panic!("page {page}: {error}"),
    }
}

#[test]
fn a_damaged_page_is_never_returned_by_racing_first_touches() {
    explore(&[REFUSED], || {
        let written = FaultyStorage::new();
        drop(filled(Arc::new(written.clone()), 0));
        let mut image = written.image();
        let at = image
            .chunks(512)
            .position(|page| fill_of(page) == Some(DAMAGED))
            .unwrap();
        image[at * 512 + 300] ^= 4;
        let storage = Stepped::new(FaultyStorage::from_image(image));
        let store = PageStore::open(storage).unwrap();
        let snapshot = store.snapshot();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..2 {
                        assert!(!read_one(&snapshot, DAMAGED.into(), &[0]));
                        assert!(read_one(&snapshot, 3, &[0]));
                        // One that has the same slot as the damaged one, in whatever size the cache has.
                        assert!(snapshot.run(LogicalPage(DAMAGED.into()), 1).is_err());
                        read_some(&snapshot, &[0]);
                    }
                });
            }
        });
    });
}

/// A write that does not land leaves older bytes where a new page should be. Their bit, set when they were checked, must not
/// vouch for the new page, however readers and the writer overtake each other.
#[test]
fn a_lost_write_is_never_returned_by_racing_first_touches() {
    explore(&[REFUSED], || {
        let (storage, faults) = stepped_memory();
        let store = filled(storage, 0);
        // Page after page is free and was verified, so the next commits write to places whose bits are set.
        for salt in [100, 0, 100] {
            let mut txn = store.begin().unwrap();
            fill(&mut txn, 1..=8, salt);
            let snapshot = txn.commit(Roots::default()).unwrap();
            (1..=8).for_each(|page| assert!(read_one(&snapshot, page, &[salt])));
        }
        thread::scope(|scope| {
            scope.spawn(|| {
                for salt in [50, 150] {
                    let mut txn = store.begin().unwrap();
                    for page in 1..=8 {
                        // A page that cannot be read back is not copied.
                        if let Ok(bytes) = txn.page_mut(LogicalPage(page)) {
                            bytes.fill(page as u8 + salt);
                        }
                    }
                    // The first write of the commit goes to the superblock's place instead, which no reader looks at.
                    faults.fail_call(faults.calls() + below(6), Fault::Misdirected { to: 0 });
                    if txn
                        .spill()
                        .and_then(|()| txn.commit(Roots::default()))
                        .is_err()
                    {
                        return;
                    }
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..3 {
                        let snapshot = store.snapshot();
                        // Twice: what was refused once stays refused.
                        for page in 1..=8 {
                            let first = read_one(&snapshot, page, &allowed(&snapshot));
                            assert_eq!(first, read_one(&snapshot, page, &allowed(&snapshot)));
                        }
                    }
                });
            }
        });
    });
}

/// The fills that pages 1 to 8 may have in a state of the model above: the sequence tells which.
fn allowed(snapshot: &Snapshot) -> [u8; 1] {
    [match snapshot.sequence() {
        // 1 is the empty store, 2 the first content, 3 to 5 the ones before the threads begin.
        5 => 100,
        6 => 50,
        7 => 150,
        other => panic!("no such state: {other}"),
    }]
}
