use std::sync::Arc;

use super::*;
use crate::storage::MemoryStorage;
use crate::{PageRead, PageStore};

fn page_of(number: u32, page_size: PageSize) -> Vec<u8> {
    let mut bytes = vec![0; page_size.bytes()];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[page_size.bytes() - 1] = number as u8;
    bytes
}

/// Each of the pages that `late` divides is written when as many others have been.
fn write(sink: &mut dyn ImageSink, page_size: PageSize, pages: u32, late: u32) -> u32 {
    let mut image = ImageWriter::new(sink, page_size);
    let mut waiting = std::collections::VecDeque::new();
    for number in 1..=pages {
        let page = image.begin().unwrap();
        assert_eq!(page, LogicalPage(number));
        if number % late == 0 {
            waiting.push_back(page);
        } else {
            image.write(page, &page_of(number, page_size)).unwrap();
        }
        if u64::from(number) > u64::from(late).pow(2) && number % late == 1 {
            let page = waiting.pop_front().unwrap();
            image.write(page, &page_of(page.0, page_size)).unwrap();
        }
    }
    for page in waiting {
        image.write(page, &page_of(page.0, page_size)).unwrap();
    }
    image
        .finish(Roots {
            application: [9; 32],
            ..Roots::default()
        })
        .unwrap()
}

fn check(page_size: PageSize, pages: u32) {
    let storage = Arc::new(MemoryStorage::new());
    let mut file = FileImage::new(&*storage, page_size).unwrap();
    let physical = write(&mut file, page_size, pages, u32::MAX);
    let bytes = storage.to_bytes();
    assert_eq!(bytes.len(), physical as usize * page_size.bytes());
    for late in [2, 3, 7, 30, u32::MAX] {
        let mut hash = HashImage::new(page_size);
        write(&mut hash, page_size, pages, late);
        let expected = Some(*blake3::hash(&bytes).as_bytes());
        assert_eq!(
            hash.hash(),
            expected,
            "{page_size:?}, {pages} pages, {late}"
        );
        let again = MemoryStorage::new();
        let mut file = FileImage::new(&again, page_size).unwrap();
        write(&mut file, page_size, pages, late);
        assert!(
            again.to_bytes() == bytes,
            "{page_size:?}, {pages} pages, {late}"
        );
    }
    let store = PageStore::open(storage).unwrap();
    let report = store.verify().unwrap();
    assert!(
        report.is_sound(),
        "{page_size:?}, {pages} pages: {report:?}"
    );
    let stats = store.stats(true).unwrap();
    assert_eq!((stats.free_pages, stats.logical_pages), (0, pages.into()));
    let snapshot = store.snapshot();
    assert_eq!(snapshot.roots().application, [9; 32]);
    for number in [1, pages / 2, pages] {
        if (1..=pages).contains(&number) {
            let read = snapshot.page(LogicalPage(number)).unwrap();
            assert_eq!(read, page_of(number, page_size));
        }
    }
}

#[test]
fn images_open_and_have_the_hash_that_was_computed_without_them() {
    let small = PageSize::new(512).unwrap();
    // Through heights 0 to 3 (root 6, fan-out 14), around each turn.
    let edges = [
        5, 6, 13, 14, 15, 27, 28, 83, 84, 85, 195, 196, 197, 1175, 1176, 1177,
    ];
    for pages in (0..40).chain(edges).chain([2743, 2744, 3000]) {
        check(small, pages);
    }
    for pages in [0, 1, 2, 105, 106, 112, 113, 114, 300] {
        check(PageSize::DEFAULT, pages);
    }
    check(PageSize::new(65_536).unwrap(), 9);
}

#[test]
fn without_its_superblock_a_file_is_no_store() {
    let storage = Arc::new(MemoryStorage::new());
    let mut file = FileImage::new(&*storage, PageSize::DEFAULT).unwrap();
    let mut image = ImageWriter::new(&mut file, PageSize::DEFAULT);
    for number in 1..600 {
        image.push(&page_of(number, PageSize::DEFAULT)).unwrap();
    }
    drop(image);
    assert!(matches!(
        PageStore::open(storage),
        Err(PageError::NotADatabase { .. })
    ));
}
