//! Pages written ahead of their transaction: in nobody else's hands, free in the file until they are adopted.

use std::sync::Arc;

use shroom_page::storage::faulty::{CrashPlan, Fault, FaultyStorage};
use shroom_page::storage::{MemoryStorage, Storage};
use shroom_page::{
    JournalMark, LogicalPage, PageError, PageRead, PageSize, PageStore, PageStream, Roots, Snapshot,
};

const PAGE: usize = 512;

fn create(storage: &(impl Storage + Clone)) -> PageStore {
    let size = PageSize::new(PAGE as u32).unwrap();
    PageStore::create(Arc::new(storage.clone()), size).unwrap()
}

fn page_of(number: u32) -> [u8; PAGE] {
    let mut page = [number as u8; PAGE];
    page[..4].copy_from_slice(&number.to_le_bytes());
    page
}

/// Adds pages `numbers` to a stream, some at a time.
fn write(store: &PageStore, stream: &mut PageStream, numbers: std::ops::Range<u32>) {
    let numbers: Vec<u32> = numbers.collect();
    for some in numbers.chunks(7) {
        let bytes: Vec<u8> = some.iter().flat_map(|&number| page_of(number)).collect();
        store.write_stream(stream, &bytes).unwrap();
    }
}

fn check(pages: &impl PageRead, first: LogicalPage, numbers: std::ops::Range<u32>) {
    for (logical, number) in (first.0..).zip(numbers) {
        let page = pages.page(LogicalPage(logical)).unwrap();
        assert_eq!(page, page_of(number), "{logical}");
    }
}

/// A commit that has nothing to do with any stream.
fn commit(store: &PageStore, pages: u32) -> Snapshot {
    let mut txn = store.begin().unwrap();
    for _ in 0..pages {
        let page = txn.allocate().unwrap();
        txn.page_mut(page).unwrap().fill(9);
    }
    txn.commit(Roots::default()).unwrap()
}

#[track_caller]
fn assert_sound(store: &PageStore) {
    assert_eq!(store.verify().unwrap().findings, []);
    let stats = store.stats(true).unwrap();
    assert_eq!(stats.snapshot_pages, 0, "{stats:?}");
}

/// From none to four levels of the page map, in one commit and in a second.
#[test]
fn adopted_pages_are_a_run_of_logical_pages() {
    for (before, pages) in [
        (0, 1),
        (0, 5),
        (0, 4000),
        (3, 4000),
        (40, 500),
        (700, 6),
        (2000, 9000),
    ] {
        let store = create(&MemoryStorage::new());
        let old = commit(&store, before);
        let mut stream = store.page_stream().unwrap();
        write(&store, &mut stream, 0..pages);
        assert_eq!(stream.pages(), pages);
        let mut txn = store.begin().unwrap();
        let first = txn.adopt(stream, None).unwrap();
        check(&txn, first, 0..pages);
        let whole = txn.run(first, 1).unwrap();
        assert!(whole.is_some_and(|run| run.starts_with(&page_of(0))));
        let new = txn.commit(Roots::default()).unwrap();
        check(&new, first, 0..pages);
        assert_eq!(old.logical_pages(), before + 1);
        assert_sound(&store);
        // Some are changed and freed in the transaction that adopts them.
        let mut stream = store.page_stream().unwrap();
        write(&store, &mut stream, 0..pages);
        let mut txn = store.begin().unwrap();
        let second = txn
            .adopt(stream, Some(LogicalPage(first.0 + pages)))
            .unwrap();
        assert_eq!(second.0, first.0 + pages, "the numbers behind were free");
        txn.page_mut(second).unwrap()[..4].copy_from_slice(&77_u32.to_le_bytes());
        let last = LogicalPage(second.0 + pages - 1);
        if pages > 1 {
            txn.free(last).unwrap();
        }
        txn.free(first).unwrap();
        let both = txn.commit(Roots::default()).unwrap();
        assert_eq!(both.page(second).unwrap()[..4], 77_u32.to_le_bytes());
        assert!(pages == 1 || !both.is_allocated(last).unwrap());
        assert!(!both.is_allocated(first).unwrap());
        check(&both, LogicalPage(second.0 + 1), 1..pages - 1);
        assert_sound(&store);
    }
}

/// Numbers that the same transaction frees are taken for adopted pages, and their old places are freed.
#[test]
fn adopted_pages_take_the_place_of_freed_ones() {
    let store = create(&MemoryStorage::new());
    commit(&store, 300);
    let mut stream = store.page_stream().unwrap();
    write(&store, &mut stream, 0..250);
    let mut txn = store.begin().unwrap();
    for number in 20..290 {
        txn.free(LogicalPage(number)).unwrap();
    }
    let first = txn.adopt(stream, None).unwrap();
    assert_eq!(first.0, 20);
    let snapshot = txn.commit(Roots::default()).unwrap();
    check(&snapshot, first, 0..250);
    assert_sound(&store);
}

/// A crash at any event, with a stream open: the last commit, all else free.
#[test]
fn a_crash_forgets_a_stream_that_was_not_adopted() {
    let storage = FaultyStorage::new();
    let store = create(&storage);
    commit(&store, 10);
    let created = storage.events();
    let mut stream = store.page_stream().unwrap();
    write(&store, &mut stream, 0..60);
    let expected = commit(&store, 5).sequence();
    write(&store, &mut stream, 60..130);
    let committed = storage.events();
    let mut txn = store.begin().unwrap();
    let first = txn.adopt(stream, None).unwrap();
    let adopted = txn.commit(Roots::default()).unwrap().sequence();
    for events in created..=storage.events() {
        for plan in [
            CrashPlan::LoseAll,
            CrashPlan::KeepAll,
            CrashPlan::Subset(events as u64),
        ] {
            let image = FaultyStorage::from_image(storage.crash_image(events, &plan));
            let reopened = PageStore::open(Arc::new(image)).unwrap();
            let snapshot = reopened.snapshot();
            assert!(snapshot.sequence() >= expected - 1);
            assert!(events < committed || snapshot.sequence() >= expected);
            if snapshot.sequence() == adopted {
                check(&snapshot, first, 0..130);
            } else {
                assert!(snapshot.logical_pages() <= 16);
            }
            assert_sound(&reopened);
            assert_eq!(reopened.stats(true).unwrap().reserved_pages, 0);
        }
    }
}

#[test]
fn what_is_not_adopted_is_free_again() {
    let store = create(&MemoryStorage::new());
    commit(&store, 50);
    let free = |store: &PageStore| {
        drop(store.begin().unwrap()); // sees what was given back
        let stats = store.stats(true).unwrap();
        assert_eq!(stats.reserved_pages, 0);
        stats.free_pages + stats.pending_pages
    };
    let (pages, before) = (store.stats(false).unwrap().physical_pages, free(&store));
    let used = pages - before;
    let mut stream = store.page_stream().unwrap();
    write(&store, &mut stream, 0..400);
    assert!(store.stats(false).unwrap().reserved_pages >= 400);
    drop(stream);
    assert_eq!(
        store.stats(false).unwrap().physical_pages - free(&store),
        used
    );
    // An aborted transaction gives back what it adopted.
    let mut stream = store.page_stream().unwrap();
    write(&store, &mut stream, 0..400);
    let mut txn = store.begin().unwrap();
    let first = txn.adopt(stream, None).unwrap();
    txn.free(first).unwrap();
    txn.page_mut(LogicalPage(first.0 + 1)).unwrap().fill(1);
    txn.spill().unwrap();
    drop(txn);
    assert_eq!(
        store.stats(false).unwrap().physical_pages - free(&store),
        used
    );
    assert_sound(&store);
    commit(&store, 1);
    assert_sound(&store);
}

/// A cut of the tail, a vacuum, punched holes and a restore: none of them touches what a stream has written.
#[test]
fn nothing_else_takes_the_pages_of_a_stream() {
    let storage = MemoryStorage::new();
    let store = create(&storage);
    let mut txn = store.begin().unwrap();
    txn.save_snapshot("before").unwrap();
    txn.commit(Roots::default()).unwrap();
    commit(&store, 900);
    let mut stream = store.page_stream().unwrap();
    write(&store, &mut stream, 0..300);
    let mut txn = store.begin().unwrap();
    for number in 5..890 {
        txn.free(LogicalPage(number)).unwrap();
    }
    txn.commit(Roots::default()).unwrap();
    store.cut_tail().unwrap();
    write(&store, &mut stream, 300..310);
    store.vacuum(&mut drop).unwrap();
    store.punch_holes().unwrap();
    write(&store, &mut stream, 310..600);
    let mark = JournalMark::default();
    store.restore_snapshot("before", mark.skip_one()).unwrap();
    store.vacuum(&mut drop).unwrap();
    let mut other = store.page_stream().unwrap();
    write(&store, &mut other, 5000..5100);
    store.cut_tail().unwrap();
    for number in 0..600 {
        let mut page = [0; PAGE];
        store.read_stream(&stream, number, &mut page).unwrap();
        assert_eq!(page, page_of(number));
    }
    assert_eq!(store.verify().unwrap().findings, []);
    let mut txn = store.begin().unwrap();
    let first = txn.adopt(stream, None).unwrap();
    txn.commit(Roots::default()).unwrap();
    drop(other);
    store.vacuum(&mut drop).unwrap();
    let reopened = PageStore::open(Arc::new(storage)).unwrap();
    check(&reopened.snapshot(), first, 0..600);
    assert_eq!(reopened.verify().unwrap().findings, []);
    let stats = reopened.stats(true).unwrap();
    assert!(stats.free_pages < 40, "{stats:?}");
}

#[test]
fn a_full_disk_is_an_error_and_harms_nothing() {
    let storage = FaultyStorage::new();
    let store = create(&storage);
    commit(&store, 20);
    // Free pages in several pieces.
    let mut txn = store.begin().unwrap();
    for number in [3, 4, 7, 8, 9, 13] {
        txn.free(LogicalPage(number)).unwrap();
    }
    txn.commit(Roots::default()).unwrap();
    storage.set_capacity(Some(storage.image().len() as u64));
    let mut stream = store.page_stream().unwrap();
    let bytes = vec![5; 1000 * PAGE];
    let error = store.write_stream(&mut stream, &bytes).unwrap_err();
    assert!(matches!(error, PageError::Full { .. }), "{error}");
    let written = stream.pages();
    assert!(written > 0 && written < 1000);
    let stats = store.stats(true).unwrap();
    assert_eq!(
        (stats.free_pages, stats.reserved_pages),
        (0, written.into())
    );
    storage.set_capacity(None);
    let rest = &bytes[written as usize * PAGE..];
    store.write_stream(&mut stream, rest).unwrap();
    let mut txn = store.begin().unwrap();
    let first = txn.adopt(stream, None).unwrap();
    let snapshot = txn.commit(Roots::default()).unwrap();
    for number in first.0..first.0 + 1000 {
        assert_eq!(snapshot.page(LogicalPage(number)).unwrap(), [5; PAGE]);
    }
    assert_sound(&store);
}

#[test]
fn misuse_is_refused() {
    let (store, other) = (create(&MemoryStorage::new()), create(&MemoryStorage::new()));
    let mut stream = other.page_stream().unwrap();
    let misuse = |error: PageError| assert!(matches!(error, PageError::Misuse { .. }), "{error}");
    misuse(store.write_stream(&mut stream, &[0; PAGE]).unwrap_err());
    misuse(other.write_stream(&mut stream, &[0; PAGE - 1]).unwrap_err());
    misuse(other.read_stream(&stream, 0, &mut [0; PAGE]).unwrap_err());
    misuse(store.begin().unwrap().adopt(stream, None).unwrap_err());
    let stream = store.page_stream().unwrap();
    misuse(store.begin().unwrap().adopt(stream, None).unwrap_err());
}

/// Several at once, in turns, beside commits.
#[test]
fn streams_do_not_disturb_each_other() {
    let store = create(&MemoryStorage::new());
    let mut streams: Vec<_> = (0..4).map(|_| store.page_stream().unwrap()).collect();
    for round in 0..40 {
        for (index, stream) in (0..).zip(&mut streams) {
            let start = index * 10_000 + round * 5;
            write(&store, stream, start..start + 5);
        }
        commit(&store, 1);
    }
    let mut firsts = Vec::new();
    for stream in streams {
        let mut txn = store.begin().unwrap();
        firsts.push(txn.adopt(stream, None).unwrap());
        txn.commit(Roots::default()).unwrap();
        assert_sound(&store);
    }
    for (index, first) in (0..).zip(firsts) {
        check(
            &store.snapshot(),
            first,
            index * 10_000..index * 10_000 + 200,
        );
    }
}

/// A commit fails at each of its calls, while others wait for it to cut the tail and to punch holes. Once the superblock may be
/// durable they must not: what is free without that commit is what it has written.
#[test]
fn whoever_waited_for_a_failed_commit_spares_its_pages() {
    for number in 0.. {
        let storage = FaultyStorage::new();
        let store = create(&storage);
        commit(&store, 20);
        let mut stream = store.page_stream().unwrap();
        write(&store, &mut stream, 0..40);
        let mut txn = store.begin().unwrap();
        let first = txn.adopt(stream, None).unwrap();
        let fault = Fault::ErrorAfter(std::io::ErrorKind::Other);
        let failed = std::thread::scope(|scope| {
            scope.spawn(|| store.punch_holes());
            scope.spawn(|| store.cut_tail());
            // For them to come to wait. Should they come later, they find what they would find then.
            std::thread::sleep(std::time::Duration::from_millis(30));
            storage.fail_call(storage.calls() + number, fault);
            txn.commit(Roots::default()).is_err()
        });
        storage.clear_faults();
        if store.is_poisoned() {
            let image = storage.crash_image(storage.events(), &CrashPlan::KeepAll);
            let reopened = PageStore::open(Arc::new(FaultyStorage::from_image(image))).unwrap();
            if reopened.snapshot().is_allocated(first).unwrap() {
                check(&reopened.snapshot(), first, 0..40);
            }
            assert_sound(&reopened);
        } else {
            assert_eq!(store.verify().unwrap().findings, []);
        }
        if !failed {
            break;
        }
    }
}
