//! Images: closed databases read from their bytes alone. They hold what the database holds, and take the memory that they say.

use std::sync::Arc;

use allocation_counter::measure;
use shroom::image::Image;
use shroom::layers::page::{PageError, PageSize};
use shroom::storage::MemoryStorage;
use shroom::{Db, Error, ErrorKind, Options, ReadCheck, Result};
use shroom_sim::{Model, Random, Workload, content_root, read_image, run};

/// A closed database of random operations: its file, and what it holds. A snapshot is in it, and of every second the sum.
fn closed(page_size: PageSize, seed: u64, operations: usize) -> (Vec<u8>, Model) {
    let memory = MemoryStorage::new();
    let options = options(page_size).track_content_root(seed % 2 == 1);
    let db = options.open_storage(Arc::new(memory.clone())).unwrap();
    let workload = Workload {
        page_size: page_size.bytes() as u32,
        ids: 300,
        value_len_max: page_size.bytes() * 5,
        acknowledged: 10,
    };
    let mut random = Random(seed);
    let mut model = Model::default();
    for number in 0..operations {
        let op = workload.op(&mut random);
        run(&db, &op).unwrap();
        model.apply(&op);
        if number == operations / 2 {
            db.save_snapshot("half").unwrap();
        }
    }
    db.close().unwrap();
    (memory.to_bytes(), model)
}

fn options(page_size: PageSize) -> Options {
    Options::new()
        .page_size(page_size.bytes() as u32)
        .background(false)
}

fn small() -> PageSize {
    PageSize::new(512).unwrap()
}

fn open(bytes: &[u8]) -> Db {
    let storage = Arc::new(MemoryStorage::from_bytes(bytes.to_vec()));
    let options = Options::new().create(false).read_only(true);
    options.open_storage(storage).unwrap()
}

#[test]
fn an_image_holds_what_the_database_holds() {
    for page_size in PageSize::all() {
        for seed in [u64::from(page_size.shift()), 100] {
            let (bytes, model) = closed(page_size, seed, 150);
            let db = open(&bytes);
            for check in [ReadCheck::FirstTouch, ReadCheck::EveryRead] {
                let image = Image::with_check(&bytes, check).unwrap();
                assert_eq!(read_image(&image).unwrap().tokens, model.tokens);
                assert_eq!(image.len(), model.tokens.len() as u64);
                assert_eq!(image.is_empty(), model.tokens.is_empty());
                assert_eq!(image.tag(), model.tag);
                assert_eq!(image.page_root(), db.page_root());
                let content = image.content_root().unwrap();
                assert_eq!(*content.as_bytes(), content_root(&model));
                let (found, expected) = (image.verify().unwrap(), db.verify().unwrap());
                assert!(found.is_sound(), "{:?}", found.findings);
                assert_eq!(
                    (found.tokens, found.payload_bytes, found.packs),
                    (expected.tokens, expected.payload_bytes, expected.packs)
                );
            }
            compare_ranges(&Image::new(&bytes).unwrap(), &model, seed);
        }
    }
}

/// Ids that are not there, and walks between any two ids, with and without them, from both ends.
fn compare_ranges(image: &Image<'_>, model: &Model, seed: u64) {
    let mut random = Random(seed);
    let mut ids = [0, 0].map(|_: u64| random.below(320));
    for _ in 0..60 {
        ids[random.below(2) as usize] = random.below(320);
        let present = model.tokens.contains_key(&ids[0]);
        assert_eq!(image.contains(ids[0]).unwrap(), present);
        let [low, high] = [ids[0].min(ids[1]), ids[0].max(ids[1])];
        let keys = |range: shroom::image::Range<'_>| -> Vec<u64> {
            range.map(|token| token.unwrap().0).collect()
        };
        let expected: Vec<u64> = model.tokens.range(low..=high).map(|(id, _)| *id).collect();
        assert_eq!(keys(image.range(low..=high)), expected);
        let expected: Vec<u64> = model.tokens.range(low..high).map(|(id, _)| *id).collect();
        let backward = image.range(low..high).rev();
        let mut backward: Vec<u64> = backward.map(|token| token.unwrap().0).collect();
        backward.reverse();
        assert_eq!(backward, expected);
        let expected: Vec<u64> = model.tokens.range(high..).map(|(id, _)| *id).collect();
        assert_eq!(keys(image.range(high..)), expected);
    }
}

#[test]
fn an_open_file_is_refused_and_a_closed_one_is_not() {
    let memory = MemoryStorage::new();
    let db = options(small())
        .open_storage(Arc::new(memory.clone()))
        .unwrap();
    db.put(1, b"in the journal").unwrap();
    db.flush().unwrap();
    let bytes = memory.to_bytes();
    let error = Image::new(&bytes).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Page(PageError::NotClosed { journal_pages: 1.. })
        ),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Misuse);
    db.close().unwrap();
    let bytes = memory.to_bytes();
    let image = Image::new(&bytes).unwrap();
    let value = image.get(1).unwrap().unwrap();
    assert_eq!(value.as_slice().unwrap(), Some(&b"in the journal"[..]));
    assert!(value.read_at(10, &mut [0; 5]).is_err() && value.read_at(u64::MAX, &mut []).is_err());
}

/// What an image that may be damaged holds; whether it was found sound.
fn try_image(bytes: &[u8]) -> Result<(Model, bool)> {
    let image = Image::new(bytes)?;
    let model = read_image(&image);
    let sound = image.verify()?.is_sound();
    assert!(!sound || model.is_ok(), "sound, but it cannot be read");
    Ok((model?, sound))
}

/// A small image with a pack, a blob in a segment and one with an extent.
fn few() -> (Vec<u8>, Model) {
    let memory = MemoryStorage::new();
    let db = options(small())
        .open_storage(Arc::new(memory.clone()))
        .unwrap();
    let mut model = Model::default();
    for (id, len) in [(1, 3), (2, 40), (5, 300), (1 << 40, 1030), (u64::MAX, 0)] {
        let bytes = Random(id).bytes(len);
        db.put(id, &bytes).unwrap();
        model.tokens.insert(id, bytes);
    }
    db.close().unwrap();
    (memory.to_bytes(), model)
}

#[test]
fn every_bit_flip_is_an_error_or_changes_nothing() {
    let (bytes, model) = few();
    let (mut refused, mut unseen) = (0, 0);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match try_image(&damaged) {
            Ok((found, _)) => {
                assert!(found == model, "bit {bit}");
                unseen += 1;
            }
            Err(error) => {
                assert!(error.is_corruption(), "bit {bit}: {error}");
                refused += 1;
            }
        }
    }
    // One slot may be damaged, and pages that are free; all others count.
    assert!(refused > 0 && unseen >= 2 * 512 * 8, "{refused} {unseen}");
}

#[test]
fn a_cut_image_is_an_error() {
    let (bytes, model) = few();
    for len in 0..bytes.len() {
        let error = try_image(&bytes[..len]).unwrap_err();
        assert!(error.is_corruption(), "{len}: {error}");
    }
    let longer = [&bytes[..], &[0xff; 700]].concat();
    assert!(try_image(&longer).unwrap() == (model, true));
}

/// What the module says that it allocates.
#[test]
fn memory_is_bounded_as_stated() {
    for page_size in PageSize::all() {
        let (bytes, model) = closed(page_size, u64::from(page_size.shift()), 200);
        let pages = bytes.len() / page_size.bytes();
        let held_max = (4 << 10) + pages as u64 / 4 + 64;
        let mut opened = None;
        let open = measure(|| opened = Some(Image::new(&bytes).unwrap()));
        assert!(open.bytes_max <= held_max + (16 << 10), "{open:?}");
        assert!(open.bytes_current as u64 <= held_max, "{open:?}");
        let image = opened.unwrap();
        let mut slices = 0;
        for (id, bytes) in &model.tokens {
            let mut found = None;
            let get = measure(|| found = image.get(*id).unwrap());
            assert_eq!(get.count_total, 0, "{id}: {get:?}");
            let value = found.unwrap();
            let slice = measure(|| slices += usize::from(value.as_slice().unwrap().is_some()));
            let mut part = [0; 7];
            let start = bytes.len().saturating_sub(7);
            let end = part.len().min(bytes.len());
            let read = measure(|| value.read_at(start as u64, &mut part[..end]).unwrap());
            let chunks = measure(|| assert!(value.chunks().unwrap().all(|chunk| chunk.is_ok())));
            // None of these values has more than a few extents.
            for taken in [slice, read, chunks] {
                let extents = bytes.len().div_ceil(page_size.bytes()).max(1) as u64;
                let extents = if bytes.len() > page_size.bytes() / 4 {
                    extents
                } else {
                    0
                };
                assert!(taken.bytes_max <= 64 * extents, "{id}: {taken:?}");
            }
        }
        assert!(slices > 0);
        let walk = measure(|| assert_eq!(image.range(..).count(), model.tokens.len()));
        assert!(walk.bytes_max <= 2 << 10, "{walk:?}");
        check_verify(&bytes);
    }
    // Many tokens in little space.
    for page_size in [small(), PageSize::DEFAULT] {
        let memory = MemoryStorage::new();
        let db = options(page_size)
            .open_storage(Arc::new(memory.clone()))
            .unwrap();
        db.bulk_load((0..20_000_u64).map(|id| (id * 5, id.to_le_bytes())))
            .unwrap();
        db.close().unwrap();
        check_verify(&memory.to_bytes());
    }
}

fn check_verify(bytes: &[u8]) {
    let image = Image::new(bytes).unwrap();
    let verify = measure(|| assert!(image.verify().unwrap().is_sound()));
    let len = bytes.len() as u64;
    println!("verify takes {} for {len} bytes", verify.bytes_max);
    assert!(verify.bytes_max <= len / 4 + (16 << 10), "{verify:?}");
}
