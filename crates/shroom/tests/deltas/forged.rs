//! Deltas that were forged, and the state of a file after an application that failed.

use std::sync::Arc;

use shroom::delta::DeltaInfo;
use shroom::storage::MemoryStorage;
use shroom::storage::faulty::{Event, Fault, FaultyStorage};
use shroom::{Db, Error, ErrorKind};
use shroom_sim::assert_sound;
use shroom_sim::forge::delta::{Layout, head, seal};
use shroom_sim::forge::field;

use super::{export, options, read};

fn open(storage: &Arc<MemoryStorage>) -> Db {
    options(512).open_storage(storage.clone()).unwrap()
}

/// A source whose snapshot "b" has its new pages below those that it shares with "a", and the file of a copy that is at "a".
fn low_change() -> (Db, Vec<u8>) {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage);
    let put = |ids: std::ops::Range<u64>, round: u8| {
        for id in ids {
            db.put(id, &[round; 100]).unwrap();
        }
        db.checkpoint().unwrap();
    };
    put(0..400, 1);
    put(400..800, 1);
    for id in 0..350 {
        db.delete(id).unwrap();
    }
    db.checkpoint().unwrap();
    db.save_snapshot("a").unwrap();
    db.close().unwrap();
    let copy = storage.to_bytes();
    let db = open(&storage);
    db.put(500, b"changed").unwrap();
    db.save_snapshot("b").unwrap();
    (db, copy)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..][..4].try_into().unwrap())
}

/// A frozen superblock says that its file ended before pages which it shares with the earlier state.
#[test]
fn a_later_state_beyond_its_own_end_is_refused() {
    let (source, image) = low_change();
    let mut delta = export(&source, Some("a"), "b");
    let superblock = Layout::of(&delta).unwrap().superblock;
    let end = u32_at(&delta, head::END);
    delta[superblock + field::PHYSICAL_PAGES..][..4].copy_from_slice(&end.to_le_bytes());
    seal(&mut delta);
    let copy = Arc::new(MemoryStorage::from_bytes(image));
    let error = Db::apply_delta_storage(copy.clone(), &delta[..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
    assert!(error.to_string().contains("outside the file"), "{error}");
    let db = open(&copy);
    assert_sound(&db);
    db.put(1, b"x").unwrap();
    db.checkpoint().unwrap();
    db.restore("a").unwrap();
}

/// Roots that lead nowhere make a useless state, but not a useless file.
#[test]
fn after_a_forged_state_the_earlier_one_can_be_restored() {
    let (source, copy) = low_change();
    let mut delta = export(&source, Some("a"), "b");
    let layout = Layout::of(&delta).unwrap();
    // That of the segments, and the page of the directory.
    let roots = layout.superblock + 144;
    for byte in &mut delta[roots..][..64] {
        *byte ^= 0x55;
    }
    delta[roots + 64 + 4..][..4].copy_from_slice(&[9, 9, 9, 0]);
    seal(&mut delta);
    let copy = Arc::new(MemoryStorage::from_bytes(copy));
    let applied = Db::apply_delta_storage(copy.clone(), &delta[..]);
    assert!(!applied.unwrap().already);
    let db = open(&copy);
    db.restore("a").unwrap();
    db.delete_snapshot("b").unwrap();
    assert_sound(&db);
    let [ours, theirs] = [&db, &source].map(|db| read(&db.open_snapshot("a").unwrap()));
    assert_eq!(ours, theirs);
    db.close().unwrap();
    let delta = export(&source, Some("a"), "b");
    Db::apply_delta_storage(copy, &delta[..]).unwrap();
}

/// After a sync that failed the system may show pages that it has not written and never will: those of the application that
/// failed do not count as there.
#[test]
fn what_a_failed_application_wrote_is_written_again() {
    let (source, copy) = low_change();
    let delta = export(&source, Some("a"), "b");
    let layout = Layout::of(&delta).unwrap();
    let places: Vec<u32> = layout
        .frames(&delta)
        .map(|frame| u32_at(&delta, frame))
        .chain([u32_at(&delta, head::PLACE)])
        .collect();
    let mut failed = 0;
    for call in 0.. {
        let storage = FaultyStorage::from_image(copy.clone());
        storage.fail_call(call, Fault::Error(std::io::ErrorKind::Other));
        let applied = Db::apply_delta_storage(Arc::new(storage.clone()), &delta[..]);
        let Some(injected) = storage.injected().first().copied() else {
            break;
        };
        storage.clear_faults();
        if injected.operation != "sync" || applied.is_ok() {
            continue;
        }
        failed += 1;
        let before = storage.events();
        let again = Db::apply_delta_storage(Arc::new(storage.clone()), &delta[..]).unwrap();
        if again.already {
            continue;
        }
        let events = storage.events_from(before);
        for place in &places {
            let offset = u64::from(*place) * 512;
            let written = events.iter().any(|event| {
                matches!(event, Event::Write { offset: at, bytes }
                    if (*at..*at + bytes.len() as u64).contains(&offset))
            });
            assert!(written, "page {place}, after a fault in call {call}");
        }
    }
    assert!(failed > 2);
}

/// A file that was lengthened for a delta that is refused gets its length back; and what a delta says of its length must be so.
#[test]
fn a_refused_delta_leaves_no_long_file() {
    let (source, image) = low_change();
    let mut delta = export(&source, Some("a"), "b");
    let layout = Layout::of(&delta).unwrap();
    let long = 100_000_u32.to_le_bytes();
    delta[layout.superblock + field::PHYSICAL_PAGES..][..4].copy_from_slice(&long);
    delta[head::END..][..4].copy_from_slice(&long);
    seal(&mut delta);
    for (len, why) in [
        (layout.pages + 600, "it ends"),
        (delta.len(), "it reaches up to page"),
    ] {
        let copy = Arc::new(MemoryStorage::from_bytes(image.clone()));
        let error = Db::apply_delta_storage(copy.clone(), &delta[..len]).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(copy.to_bytes().len(), image.len());
    }
}

/// Without a name of an earlier state a delta holds all pages.
#[test]
fn a_delta_that_names_no_earlier_state_begins_with_nothing() {
    let (source, image) = low_change();
    let mut delta = export(&source, None, "b");
    let led = export(&source, Some("a"), "b");
    delta[head::ROOTS[0]..][..32].copy_from_slice(&led[head::ROOTS[0]..][..32]);
    seal(&mut delta);
    let copy = Arc::new(MemoryStorage::from_bytes(image));
    let error = Db::apply_delta_storage(copy, &delta[..]).unwrap_err();
    assert!(error.to_string().contains("names no state"), "{error}");
}

/// What is wrong with the roots that a delta brings is wrong with the delta, not with the file.
#[test]
fn roots_that_no_database_has_are_the_delta_s_fault() {
    let (source, image) = low_change();
    let sound = export(&source, Some("a"), "b");
    let roots = Layout::of(&sound).unwrap().superblock + 144;
    // The height of the directory, the flags of the application.
    for at in [64, 96 + 14] {
        let mut delta = sound.clone();
        delta[roots + at] = 200;
        seal(&mut delta);
        let copy = Arc::new(MemoryStorage::from_bytes(image.clone()));
        let applied = Db::apply_delta_storage(copy.clone(), &delta[..]);
        for error in [
            applied.unwrap_err(),
            DeltaInfo::check(&delta[..]).unwrap_err(),
        ] {
            assert!(matches!(error, Error::Delta { .. }), "{error}");
        }
        assert!(copy.to_bytes() == image);
    }
}
