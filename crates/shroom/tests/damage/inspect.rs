//! Looking at files: what is drawn and explained of a sound one is what the database says of itself, and a damaged one is drawn and
//! explained as far as it is sound, whatever it holds.

use std::sync::Arc;

use shroom::inspect::{Explanation, Inspection, PageKind};
use shroom::storage::MemoryStorage;
use shroom::{Db, Error, Options};
use shroom_sim::Random;
use shroom_sim::forge::Image;

/// A file with everything in it: packs, large values, free pages, two snapshots, a kept sum, and a journal after a crash.
fn rich(page_size: u32) -> (Vec<u8>, Db) {
    let storage = Arc::new(MemoryStorage::new());
    let options = Options::new()
        .page_size(page_size)
        .track_content_root(true)
        .journal_limit(64 << 10)
        .background(false);
    let db = options
        .open_storage(Arc::<MemoryStorage>::clone(&storage))
        .unwrap();
    fill(&db, 0, 300);
    db.save_snapshot("mon").unwrap();
    fill(&db, 200, 200);
    db.save_snapshot("tue").unwrap();
    fill(&db, 100, 250);
    for id in 120..180 {
        db.delete(id).unwrap();
    }
    db.checkpoint().unwrap();
    db.put(1, b"only in the journal").unwrap();
    db.append(2, b"more").unwrap();
    db.flush().unwrap();
    (storage.to_bytes(), db)
}

fn fill(db: &Db, from: u64, tokens: u64) {
    let mut random = Random(from + tokens);
    for id in from..from + tokens {
        let len = random.below(300);
        db.put(id, &random.bytes(len as usize)).unwrap();
    }
    db.put(from + tokens, &random.bytes(20_000)).unwrap();
    db.checkpoint().unwrap();
}

fn inspect(bytes: &[u8]) -> shroom::Result<Inspection> {
    Inspection::open_storage(Arc::new(MemoryStorage::from_bytes(bytes.to_vec())))
}

/// Checks X1 of an explanation; the flaws that it names.
fn check(explanation: &Explanation) -> Vec<String> {
    let mut at = 0;
    for field in &explanation.fields {
        assert_eq!(field.offset, at, "{}: {field:?}", explanation.title);
        assert!(field.len > 0 && !field.name.is_empty() && !field.meaning.is_empty());
        at += field.len;
    }
    assert_eq!(at, explanation.bytes.len(), "{}", explanation.title);
    let flaw = |flaw| format!("{}: {flaw}", explanation.title);
    explanation.flaws.iter().map(flaw).collect()
}

/// Everything that can be asked; what was found to be wrong.
fn look_at_everything(inspection: &Inspection) -> shroom::Result<Vec<String>> {
    let map = inspection.map()?;
    let mut flaws = map.findings().to_vec();
    for page in 0..map.len() {
        assert!(!map.describe(page).is_empty());
        flaws.extend(check(&map.explain(page)?.expect("the file has the page")));
    }
    assert!(map.explain(map.len())?.is_none() && map.describe(map.len()).is_empty());
    flaws.extend(inspection.explain_superblocks()?.iter().flat_map(check));
    inspection.explain_journal::<Error>(&mut |frame| {
        flaws.extend(check(&frame));
        Ok(())
    })?;
    for id in [0, 150, 351, u64::MAX] {
        match inspection.explain_pack(id) {
            Ok(pack) => flaws.extend(pack.iter().flat_map(check)),
            Err(error) if error.is_corruption() => flaws.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(flaws)
}

#[test]
fn a_map_counts_what_the_database_counts() {
    for page_size in [512, 4096] {
        let (bytes, db) = rich(page_size);
        let inspection = inspect(&bytes).unwrap();
        let map = inspection.map().unwrap();
        assert_eq!(map.findings(), &[] as &[String]);
        let pages = db.stats().unwrap().pages;
        let expected = [
            (PageKind::Superblock, 2),
            (PageKind::Storage, pages.storage),
            (PageKind::Extent, pages.extent),
            (PageKind::Directory, pages.directory),
            (PageKind::FreeIndex, pages.free_index),
            (PageKind::Map, pages.map),
            (PageKind::Journal, pages.journal),
            (PageKind::FreeRecord, pages.free_record),
            (PageKind::Snapshot, pages.snapshots),
            (PageKind::Free, pages.free),
            (PageKind::Unknown, 0),
        ];
        for (kind, count) in expected {
            assert_eq!(map.count(kind), count, "{} at {page_size}", kind.name());
        }
        assert!(pages.extent > 0 && pages.snapshots > 0 && pages.free > 0 && pages.journal > 0);
        let composition = map.composition();
        let report = db.verify().unwrap();
        assert_eq!(composition.packs, report.packs);
        assert_eq!(
            (composition.tokens, composition.payload_bytes),
            (report.tokens, report.payload_bytes)
        );
        assert!(composition.shared_pages > 0 && composition.journal_frame_bytes > 0);
        assert!(composition.pieces >= composition.extents && composition.extents > 0);
        assert_eq!(
            composition.storage_free_bytes,
            db.stats().unwrap().free_bytes - pages.free * u64::from(page_size)
        );
        assert_eq!(look_at_everything(&inspection).unwrap(), &[] as &[String]);
    }
}

#[test]
fn explanations_say_what_is_there() {
    let (bytes, db) = rich(512);
    let inspection = inspect(&bytes).unwrap();
    let meanings = |explanation: &Explanation| -> String {
        explanation
            .fields
            .iter()
            .map(|field| format!("{}={}\n", field.name, field.meaning))
            .collect()
    };
    let mut frames = String::new();
    inspection
        .explain_journal::<Error>(&mut |frame| {
            if frame.title.contains("replayed") {
                frames += &meanings(&frame);
            }
            Ok(())
        })
        .unwrap();
    assert!(
        frames.contains("put token 1, 19 bytes: \"only in the journal\""),
        "{frames}"
    );
    assert!(frames.contains("by 4 bytes: \"more\""), "{frames}");
    let checkpoint = db.stats().unwrap().checkpoint;
    let slots = inspection.explain_superblocks().unwrap();
    let newest = slots
        .iter()
        .find(|slot| slot.title.contains("the state of the file"))
        .unwrap();
    let newest = meanings(newest);
    assert!(
        newest.contains(&format!("sequence=checkpoint {checkpoint}\n")),
        "{newest}"
    );
    assert!(
        newest.contains("the sum over the tokens is kept"),
        "{newest}"
    );
    // Where a value lies, as `stat` says, is where it is explained.
    let info = db.stat(301).unwrap().unwrap();
    let place = inspection.place_of(info.page.0).unwrap();
    let map = inspection.map().unwrap();
    let page = map.explain(place).unwrap().unwrap();
    let field = page
        .fields
        .iter()
        .find(|field| field.meaning.contains("token 301, "))
        .unwrap();
    assert_eq!(field.offset, usize::from(info.offset));
    let value = db.get(301).unwrap().unwrap();
    assert_eq!(&page.bytes[field.offset..field.offset + field.len], &*value);
    let large = db.stat(350).unwrap().unwrap();
    assert_eq!(large.length, 20_000);
    let place = inspection.place_of(large.page.0).unwrap();
    let lines = map.describe(place);
    assert!(
        lines.contains(&"bytes 0 to 512 of token 350".to_owned()),
        "{lines:?}"
    );
    assert!(map.page(place).unwrap().piece_start);
}

/// Each page damaged in turn: it is shown as damaged, all others as they are, or as what nothing sound names.
#[test]
fn every_damaged_page_is_shown_as_damaged() {
    let (bytes, _db) = rich(512);
    let sound = inspect(&bytes).unwrap();
    let sound = sound.map().unwrap();
    for page in 2..sound.len() {
        let before = sound.page(page).unwrap();
        let is_used = !matches!(before.kind, PageKind::Free | PageKind::Journal);
        let mut bytes = bytes.clone();
        bytes[page as usize * 512 + 100] ^= 0x40;
        let inspection = inspect(&bytes).unwrap();
        let map = inspection.map().unwrap();
        let after = map.page(page).unwrap();
        if before.kind == PageKind::FreeRecord {
            assert!(!map.findings().is_empty());
        } else if is_used {
            assert!(after.damaged, "page {page}, {:?}", map.describe(page));
            assert!(!map.findings().is_empty());
            assert!(!look_at_everything(&inspection).unwrap().is_empty());
        } else if before.kind == PageKind::Free {
            assert_eq!(map.findings(), &[] as &[String]);
        }
        for other in (0..map.len()).filter(|&other| other != page) {
            let (before, after) = (sound.page(other).unwrap(), map.page(other).unwrap());
            // What a damaged page names is not known any more.
            assert!(
                !after.damaged,
                "page {other} beside {page}: {:?}",
                map.describe(other)
            );
            assert!(
                after.kind == before.kind
                    || after.kind == PageKind::Unknown
                    || after.kind == PageKind::Snapshot
            );
        }
    }
}

#[test]
fn files_that_are_cut_or_overwritten_are_shown_as_far_as_they_go() {
    let (bytes, _db) = rich(512);
    for len in (0..bytes.len()).step_by(512 * 7 + 100) {
        match inspect(&bytes[..len]) {
            Ok(inspection) => assert!(!look_at_everything(&inspection).unwrap().is_empty()),
            Err(error) => assert!(error.is_corruption() && len < 1024, "{error}"),
        }
    }
    let mut random = Random(3);
    for _ in 0..60 {
        let mut bytes = bytes.clone();
        for _ in 0..random.below(40) + 1 {
            let at = random.below(bytes.len() as u64) as usize;
            let len = (random.below(600) as usize).min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&random.bytes(len));
        }
        match inspect(&bytes) {
            Ok(inspection) => drop(look_at_everything(&inspection).unwrap()),
            Err(error) => assert!(error.is_corruption(), "{error}"),
        }
    }
}

/// With every hash right, so that what is wrong gets as far as it can.
#[test]
fn forged_files_are_shown_without_a_panic() {
    for page_size in [512, 1024] {
        let (bytes, _db) = rich(page_size);
        let mut random = Random(4);
        for _ in 0..60 {
            let mut image = Image::new(bytes.clone()).unwrap();
            for _ in 0..random.below(6) + 1 {
                let len = image.bytes().len() as u64;
                let page = random.below(len / u64::from(page_size)) * u64::from(page_size);
                // Headers are where most is decided.
                let most = random.below(u64::from(page_size)) + 1;
                let at = (page + random.below(most)) as usize;
                let bits = 8 * (random.below(4) + 1);
                let value = random.below(1 << bits);
                let width = (random.below(4) as usize + 1).min(len as usize - at);
                image.bytes_mut()[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            }
            image.seal();
            match inspect(image.bytes()) {
                Ok(inspection) => drop(look_at_everything(&inspection).unwrap()),
                Err(error) => assert!(error.is_corruption(), "{error}"),
            }
        }
    }
}
