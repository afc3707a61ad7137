use std::sync::Arc;

use super::*;
use crate::storage::MemoryStorage;
use crate::storage::faulty::{CrashPlan, FaultyStorage};
use crate::{FileImage, ImageWriter, PageSize, Roots};

fn page_of(number: u32, page_size: PageSize) -> Vec<u8> {
    let mut bytes = vec![0; page_size.bytes()];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// The bytes that an image of these pages has behind the superblock slots.
fn image(page_size: PageSize, pages: u32) -> Vec<u8> {
    let storage = MemoryStorage::new();
    let mut file = FileImage::new(&storage, page_size).unwrap();
    let mut image = ImageWriter::new(&mut file, page_size);
    for number in 1..=pages {
        image.push(&page_of(number, page_size)).unwrap();
    }
    image.finish(Roots::default()).unwrap();
    storage.to_bytes().split_off(2 * page_size.bytes())
}

/// A store whose pages came about in any order, many of them several times, some by way of another number.
fn disorderly(
    storage: Arc<dyn crate::storage::Storage>,
    page_size: PageSize,
    pages: u32,
) -> PageStore {
    let store = PageStore::create(storage, page_size).unwrap();
    let mut state = 1_u32;
    let mut below = |limit: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % limit
    };
    let mut missing: Vec<u32> = (1..=pages).collect();
    while !missing.is_empty() {
        let mut txn = store.begin().unwrap();
        for _ in 0..1 + below(40) {
            if missing.is_empty() {
                break;
            }
            let number = missing.swap_remove(below(missing.len() as u32) as usize);
            let detour = below(3) == 0;
            let at = LogicalPage(if detour { pages + 7 + number } else { number });
            txn.allocate_at(at).unwrap();
            assert!(txn.allocate_at(at).is_err());
            txn.page_mut(at)
                .unwrap()
                .copy_from_slice(&page_of(number, page_size));
            if detour {
                txn.commit(Roots::default()).unwrap();
                txn = store.begin().unwrap();
                txn.renumber(at, LogicalPage(number)).unwrap();
                assert_eq!(
                    txn.page(LogicalPage(number)).unwrap(),
                    page_of(number, page_size)
                );
                assert!(txn.page(at).is_err());
            }
        }
        let some = 1 + below(pages);
        if txn.is_allocated(LogicalPage(some)).unwrap() {
            txn.page_mut(LogicalPage(some)).unwrap();
        }
        txn.commit(Roots::default()).unwrap();
    }
    store
}

fn finish(store: &PageStore, plan: &mut Arranging) {
    loop {
        match store.arrange(plan).unwrap() {
            Arranged::Moved(_) => {}
            Arranged::Done => break,
            Arranged::Disturbed => panic!("nothing else is written"),
        }
    }
}

#[test]
fn an_arranged_file_is_an_image() {
    let sizes = [
        (
            512,
            &[
                0, 1, 6, 7, 13, 14, 27, 28, 83, 84, 90, 195, 196, 197, 400, 2743, 2744, 3100,
            ][..],
        ),
        (1024, &[5, 20, 21, 560, 800, 1100][..]),
        (4096, &[1, 105, 106, 112, 113, 700][..]),
    ];
    for (bytes, counts) in sizes {
        let page_size = PageSize::new(bytes).unwrap();
        for (&pages, window) in counts.iter().zip([1, 3, 8, 64].into_iter().cycle()) {
            let storage = Arc::new(MemoryStorage::new());
            let store = disorderly(Arc::clone(&storage) as _, page_size, pages);
            let window = if pages > 500 { 64 } else { window };
            let mut plan = store.begin_arranging(window).unwrap().unwrap();
            finish(&store, &mut plan);
            assert_eq!(plan.missed(), 0, "{bytes}: {pages} pages");
            store.vacuum(&mut |_| {}).unwrap();
            assert!(store.verify().unwrap().is_sound());
            let file = storage.to_bytes().split_off(2 * bytes as usize);
            assert!(file == image(page_size, pages), "{bytes}: {pages} pages");
            let again = store.begin_arranging(window).unwrap().unwrap();
            assert_eq!(again.progress().0, again.progress().1);
        }
    }
}

#[test]
fn an_interrupted_arrangement_loses_nothing() {
    let page_size = PageSize::new(512).unwrap();
    let storage = Arc::new(FaultyStorage::new());
    let store = disorderly(Arc::clone(&storage) as _, page_size, 90);
    let from = storage.events();
    let mut plan = store.begin_arranging(9).unwrap().unwrap();
    finish(&store, &mut plan);
    for event in from..=storage.events() {
        for plan in [
            CrashPlan::LoseAll,
            CrashPlan::KeepAll,
            CrashPlan::Subset((event as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        ] {
            let image = storage.crash_image(event, &plan);
            let store = PageStore::open(Arc::new(FaultyStorage::from_image(image))).unwrap();
            assert!(store.verify().unwrap().is_sound(), "event {event}");
            for number in 1..=90 {
                let expected = page_of(number, page_size);
                assert_eq!(
                    store.snapshot().page(LogicalPage(number)).unwrap(),
                    expected
                );
            }
            let mut plan = store.begin_arranging(9).unwrap().unwrap();
            finish(&store, &mut plan);
            assert_eq!(plan.missed(), 0);
        }
    }
}

#[test]
fn pages_under_another_number_stay_where_a_snapshot_has_them() {
    let page_size = PageSize::new(512).unwrap();
    let store = disorderly(Arc::new(MemoryStorage::new()), page_size, 40);
    let mut txn = store.begin().unwrap();
    txn.save_snapshot("before").unwrap();
    txn.commit(Roots::default()).unwrap();
    let mut txn = store.begin().unwrap();
    for number in 1..=40 {
        txn.renumber(LogicalPage(number), LogicalPage(100 + number))
            .unwrap();
    }
    // Changed, freed, renumbered again, and a new page under an old number, all in one commit.
    txn.page_mut(LogicalPage(101)).unwrap()[8] = 1;
    txn.free(LogicalPage(102)).unwrap();
    txn.renumber(LogicalPage(103), LogicalPage(3)).unwrap();
    txn.set_number_floor(LogicalPage(150)).unwrap();
    assert_eq!(txn.allocate().unwrap(), LogicalPage(150));
    txn.commit(Roots::default()).unwrap();
    assert!(store.verify().unwrap().is_sound());
    let (now, before) = (store.snapshot(), store.open_snapshot("before").unwrap());
    for number in 4..=40 {
        let expected = page_of(number, page_size);
        assert_eq!(now.page(LogicalPage(100 + number)).unwrap(), expected);
        assert_eq!(before.page(LogicalPage(number)).unwrap(), expected);
    }
    assert!(store.begin_arranging(8).unwrap().is_none());
    let mut txn = store.begin().unwrap();
    txn.delete_snapshot("before").unwrap();
    txn.commit(Roots::default()).unwrap();
    assert!(store.verify().unwrap().is_sound());
    // The same without a snapshot, where pages are not copied.
    let mut txn = store.begin().unwrap();
    for number in 4..=40 {
        txn.renumber(LogicalPage(100 + number), LogicalPage(number))
            .unwrap();
    }
    txn.page_mut(LogicalPage(4)).unwrap()[8] = 1;
    txn.free(LogicalPage(5)).unwrap();
    txn.renumber(LogicalPage(6), LogicalPage(106)).unwrap();
    txn.commit(Roots::default()).unwrap();
    assert!(store.verify().unwrap().is_sound());
    assert_eq!(
        store.snapshot().page(LogicalPage(106)).unwrap(),
        page_of(6, page_size)
    );
}

/// A value may have any number of pages, and none of them may stay in memory for being a snapshot's too.
#[test]
fn renumbering_what_a_snapshot_has_takes_little_memory() {
    let page_size = PageSize::new(65_536).unwrap();
    let store = PageStore::create(Arc::new(MemoryStorage::new()), page_size).unwrap();
    let pages = 520;
    let mut txn = store.begin().unwrap();
    for number in 1..=pages {
        txn.allocate_at(LogicalPage(number)).unwrap();
        let bytes = page_of(number, page_size);
        txn.page_mut(LogicalPage(number))
            .unwrap()
            .copy_from_slice(&bytes);
    }
    txn.save_snapshot("all").unwrap();
    txn.commit(Roots::default()).unwrap();
    let mut txn = store.begin().unwrap();
    let to = txn.allocate_run(pages).unwrap();
    for number in 1..=pages {
        let new = LogicalPage(to.0 + number - 1);
        txn.renumber(LogicalPage(number), new).unwrap();
        assert!(txn.dirty_bytes() <= 32 << 20);
        assert_eq!(txn.page(new).unwrap(), page_of(number, page_size));
    }
    let present = txn.commit(Roots::default()).unwrap();
    let kept = store.open_snapshot("all").unwrap();
    for number in 1..=pages {
        let expected = page_of(number, page_size);
        assert_eq!(
            present.page(LogicalPage(to.0 + number - 1)).unwrap(),
            expected
        );
        assert_eq!(kept.page(LogicalPage(number)).unwrap(), expected);
    }
}
