//! Changes a delta, seals it again or not, and applies it to a copy of the file that it is for.
//!
//! * D1 Nothing panics, whatever a delta says.
//! * D2 When it is refused, the copy is as it was: sound, at the same page root, with the same tokens. The delta that it was
//!   made from can be applied then.
//! * D3 When it is taken, the copy is at the page root that the delta says, and in its pages and maps, named snapshots
//!   included, nothing is amiss: those were checked. What the tokens are is up to whoever made it.
//! * D4 An unchanged delta, in as many pieces as one likes, is taken; any change that is not sealed is noticed.
//!
//! Shared by the fuzz target and by the test that replays its seeds.

use std::sync::Arc;

use shroom::delta::DeltaInfo;
use shroom::storage::faulty::FaultyStorage;
use shroom::{Db, ErrorKind, Options, PageRoot};
use shroom_page::PageStore;
use shroom_sim::forge::delta::{Layout, head, seal};
use shroom_sim::forge::field;
use shroom_sim::{Choices, Model, assert_sound};

/// Bytes that the copy may grow to: a forged delta may ask for any length.
const COPY_BYTES_MAX: u64 = 4 << 20;
/// Changes to a delta, at most.
const CHANGES_MAX: u8 = 12;

/// Tries an input.
pub(crate) fn examine(input: &[u8]) {
    let mut choices = Choices::new(input);
    let setting = choices.byte();
    let options = Options::new()
        .page_size([512, 512, 1024, 4096][usize::from(setting % 4)])
        .background(false);
    let source = FaultyStorage::new();
    let db = open(&options, &source);
    fill(&db, &mut choices, 1);
    // The map gets a level between the two when the first is small.
    let complete = setting & 4 != 0;
    db.save_snapshot("a").expect("save");
    let copy = db.close().map(|()| source.image()).expect("close");
    let db = open(&options, &source);
    fill(&db, &mut choices, 2);
    if setting & 8 != 0 {
        db.delete(3).expect("delete");
    }
    db.save_snapshot("b").expect("save");
    let mut sound = Vec::new();
    let from = (!complete).then_some("a");
    db.export_delta(from, "b", &mut sound).expect("export");
    let copy = if complete { Vec::new() } else { copy };
    let mut forged = sound.clone();
    let sealed = change(&mut forged, &mut choices);
    try_it(&options, &copy, &forged, &sound, sealed);
}

fn open(options: &Options, storage: &FaultyStorage) -> Db {
    let opened = options.open_storage(Arc::new(storage.clone()));
    opened.unwrap_or_else(|error| panic!("cannot open: {error}"))
}

/// Writes some tokens, so many that there are pages of the map, or so few that there are none.
fn fill(db: &Db, choices: &mut Choices<'_>, step: u64) {
    let (count, len) = (u64::from(choices.byte()), usize::from(choices.byte()));
    let fill = choices.byte();
    for id in 0..count {
        db.put(id * step, &vec![fill.wrapping_add(id as u8); len + 1])
            .expect("put");
    }
    let large = vec![fill; usize::from(choices.byte()) * 64];
    db.put(3, &large).expect("put");
}

/// Changes a delta; whether it was sealed then.
fn change(delta: &mut Vec<u8>, choices: &mut Choices<'_>) -> bool {
    let sealed = !choices.byte().is_multiple_of(3);
    for _ in 0..choices.byte() % CHANGES_MAX {
        let Some(layout) = Layout::of(delta) else {
            break;
        };
        let value = choices.word().to_le_bytes();
        let frames: Vec<usize> = layout.frames(delta).collect();
        let frame = |choices: &mut Choices<'_>| match frames.len() {
            0 => layout.superblock,
            count => frames[choices.index(count)],
        };
        let (at, len) = match choices.byte() % 10 {
            0 => (usize::from(choices.byte()) % layout.pages, 1),
            1 => {
                let fields = [head::PAGES, head::END, head::PLACE];
                (choices.one_of(&fields), 4)
            }
            2 => {
                let fields = [
                    field::SEQUENCE,
                    field::LOGICAL_PAGES,
                    field::PHYSICAL_PAGES,
                    field::ROOT_ENTRIES,
                    field::MAP_HEIGHT,
                    272,
                    276,
                ];
                let at = layout.superblock + choices.one_of(&fields);
                (at, choices.one_of(&[1, 4]))
            }
            3 => (frame(choices), 4),
            // An entry of a page of the map, should it be one.
            4..7 => (frame(choices) + 4 + 8 + 4 * choices.index(16), 1),
            7 => (
                frame(choices) + 4 + usize::from(choices.short()) % layout.page_len,
                4,
            ),
            8 => {
                let len = delta.len().saturating_sub(usize::from(choices.short()));
                delta.truncate(len);
                continue;
            }
            _ => {
                let again = frame(choices);
                let end = (again + 4 + layout.page_len).min(delta.len());
                delta.extend_from_within(again..end);
                continue;
            }
        };
        // Small numbers are places and counts that exist.
        let value = match choices.byte() % 3 {
            0 => value,
            1 => [value[0] % 16, 0, 0, 0],
            _ => [value[0], 0, 0, 0],
        };
        if let Some(bytes) = delta.get_mut(at..at + len) {
            bytes.copy_from_slice(&value[..len]);
        }
    }
    if sealed {
        seal(delta);
    }
    sealed
}

/// What a copy holds; of one that is not there yet, what an empty database does.
fn held(options: &Options, copy: &[u8]) -> (PageRoot, Model) {
    let storage = FaultyStorage::from_image(copy.to_vec());
    let db = open(options, &storage);
    assert_sound(&db);
    (db.page_root(), Model::read(&db).expect("a sound copy"))
}

fn try_it(options: &Options, copy: &[u8], forged: &[u8], sound: &[u8], sealed: bool) {
    let info = DeltaInfo::read(forged);
    let checked = DeltaInfo::check(forged);
    let storage = FaultyStorage::from_image(copy.to_vec());
    storage.set_capacity(Some(COPY_BYTES_MAX));
    let applied = Db::apply_delta_storage(Arc::new(storage.clone()), forged);
    storage.set_capacity(None);
    let now = storage.image();
    match applied {
        Ok(applied) => {
            assert!(sealed || forged == sound, "a change went unnoticed");
            let info = info.expect("what was applied has a head");
            assert_eq!(checked.expect("what was applied is sound"), info);
            assert_eq!(applied.info, info);
            let pages = PageStore::open(Arc::new(storage)).expect("the state that it leads to");
            assert_eq!(PageRoot::from(pages.snapshot().page_root()), info.to_root);
            let report = pages.verify().expect("verify");
            assert!(report.is_sound(), "{:?}", report.findings);
            let saved = pages.open_snapshot(&info.to).expect("it is saved");
            assert_eq!(PageRoot::from(saved.page_root()), info.to_root);
            if forged == sound {
                let db = open(options, &FaultyStorage::from_image(now));
                assert_sound(&db);
            }
        }
        Err(error) => {
            assert_ne!(forged, sound, "{error}");
            let kinds = [ErrorKind::Corruption, ErrorKind::Misuse, ErrorKind::Full];
            assert!(kinds.contains(&error.kind()), "{error:?}");
            assert_eq!(held(options, &now), held(options, copy));
            let again = Db::apply_delta_storage(Arc::new(storage), sound);
            again.expect("the delta that it was made from");
        }
    }
}
