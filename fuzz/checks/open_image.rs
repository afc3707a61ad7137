//! Opens arbitrary bytes as a database in memory, reads everything, verifies, then writes.
//!
//! * F1 Nothing panics, hangs, or takes memory without bound, whatever the bytes are.
//! * F2 A file that `verify` finds sound can be read in full, forwards and backwards with the same result, and holds as
//!   many tokens as it says.
//! * F3 A sound file takes a write and stays sound, unless its sequences are at their end.
//! * F4 What is wrong with a file is said to be wrong with the file: neither misuse nor an I/O error.
//! * F5 A sound file has a canonical image, which is sound, holds as many tokens, and has itself as its image.
//! * F6 What named snapshots hold can be read, compared and restored, or is said to be damaged.
//! * F7 All this holds where the bytes are read as they are, as an image; and a closed file that is sound holds the same there.
//!
//! Every page is kept by a hash, which random changes would break before anything else is reached. So an input is tried
//! in three ways: as it is; with everything sealed again (`forge`), so that F1 to F4 hold for whatever the file says; and
//! with its superblocks sealed and no hash looked at, which lets damage through that no seal can cover.
//!
//! Shared by the fuzz target and by the test that replays its seeds.

use std::ops::ControlFlow;
use std::sync::Arc;

use shroom::layers::page::PageError;
use shroom::storage::MemoryStorage;
use shroom::{Db, ErrorKind, FileHash, Options, ReadCheck};
use shroom_sim::{Model, forge::Image, read_image};

/// Longest value written back, in bytes.
const VALUE_LEN: usize = 3000;

/// Tries an input in every way.
pub(crate) fn examine(input: &[u8]) {
    exercise(input, ReadCheck::FirstTouch);
    let Some(image) = Image::new(input.to_vec()) else {
        return;
    };
    let mut sealed = image.clone();
    sealed.seal();
    exercise(sealed.bytes(), ReadCheck::FirstTouch);
    let mut trusted = image;
    trusted.seal_superblock(0);
    trusted.seal_superblock(1);
    exercise(trusted.bytes(), ReadCheck::Off);
}

fn exercise(image: &[u8], check: ReadCheck) {
    let options = Options::new()
        .create(false)
        .background(false)
        .read_check(check);
    let checked = check != ReadCheck::Off;
    let open = |options: &Options| {
        let opened = options.open_storage(Arc::new(MemoryStorage::from_bytes(image.to_vec())));
        opened.map_err(blames_the_file).ok()
    };

    let held = read_bytes(image, check);
    if let Some(db) = open(&options.clone().read_only(true)) {
        let sound = checked && is_sound(&db);
        let read = read_all(&db, sound).map_err(blames_the_file);
        if sound {
            let tokens = read.expect("a sound file can be read");
            assert_eq!(db.len().expect("a sound file has a length"), tokens);
            if let Some(held) = held {
                let held = held.expect("what is sound as a database is sound as an image");
                assert_eq!(held.tokens.len() as u64, tokens);
            }
        }
        let root = db.content_root().map_err(blames_the_file);
        assert!(!sound || root.is_ok(), "{root:?}");
        let _ = read_states(&db).map_err(blames_the_file);
        let hash = db.file_hash().map_err(blames_the_file);
        if sound {
            compact(&db, hash.expect("a sound file can be compacted"));
        }
    }
    if let Some(db) = open(&options) {
        let endless = Image::new(image.to_vec()).is_some_and(|image| image.has_sequences_left());
        let sound = checked && endless && is_sound(&db);
        let written = write_some(&db);
        if sound {
            written.expect("a sound file can be written");
            assert!(is_sound(&db), "{:?}", db.verify());
        }
        // What a snapshot holds is only checked when it is read.
        let turned = turn(&db).map_err(blames_the_file);
        let sound = sound && turned.is_ok_and(|snapshots| snapshots == 0);
        let closed = db.close();
        assert!(!sound || closed.is_ok(), "{closed:?}");
    }
}

/// F7: what the bytes hold as an image, if they are sound; `None` when they are not those of a closed file.
fn read_bytes(bytes: &[u8], check: ReadCheck) -> Option<Result<Model, ()>> {
    let image = match shroom::image::Image::with_check(bytes, check) {
        Ok(image) => image,
        Err(shroom::Error::Page(PageError::NotClosed { .. })) => return None,
        Err(error) => {
            blames_the_file(error);
            return Some(Err(()));
        }
    };
    let report = image.verify().map_err(blames_the_file);
    let read = read_image(&image).map_err(blames_the_file);
    let root = image.content_root().map_err(blames_the_file);
    if check == ReadCheck::Off || !report.is_ok_and(|report| report.is_sound()) {
        return Some(Err(()));
    }
    let model = read.expect("a sound image can be read");
    assert_eq!(image.len(), model.tokens.len() as u64);
    assert!(root.is_ok(), "{root:?}");
    Some(Ok(model))
}

/// F5.
fn compact(db: &Db, hash: FileHash) {
    let storage = Arc::new(MemoryStorage::new());
    let made = db
        .snapshot()
        .compact_into_storage(&*storage, |_| ControlFlow::Continue(()))
        .expect("what could be hashed can be written");
    let options = Options::new().create(false).read_only(true);
    let compacted = options
        .open_storage(storage)
        .expect("a canonical image can be opened");
    assert!(is_sound(&compacted), "{:?}", compacted.verify());
    assert_eq!(compacted.len().expect("it has a length"), made.tokens);
    assert_eq!(compacted.file_hash().expect("it has a hash"), hash);
}

/// F4. Without hash checks a page that changes its meaning while it is read counts as the file's fault too.
fn blames_the_file(error: shroom::Error) -> shroom::Error {
    assert!(error.is_corruption(), "{error:?}");
    error
}

fn is_sound(db: &Db) -> bool {
    db.verify()
        .map_err(blames_the_file)
        .is_ok_and(|report| report.is_sound())
}

/// Reads every token in every way, and compares the ways when the file is sound. Returns how many there are.
fn read_all(db: &Db, sound: bool) -> shroom::Result<u64> {
    let mut forwards = Vec::new();
    for item in db.iter() {
        let (id, value) = item?;
        let (found, info) = (db.get(id)?, db.stat(id)?);
        if sound {
            assert_eq!(&*value, &*found.expect("an id that was listed is found"));
            assert_eq!(info.expect("and has figures").length, value.len() as u64);
        }
        forwards.push(id);
    }
    let mut backwards = db.keys(..).rev().collect::<Result<Vec<u64>, _>>()?;
    db.stats()?;
    if sound {
        backwards.reverse();
        assert_eq!(forwards, backwards);
        assert!(forwards.is_sorted_by(|left, right| left < right));
    }
    Ok(forwards.len() as u64)
}

/// F6: everything in every named snapshot.
fn read_states(db: &Db) -> shroom::Result<()> {
    for saved in db.snapshots()? {
        let snapshot = db.open_snapshot(&saved.name)?;
        for item in snapshot.iter() {
            item?;
        }
        assert_eq!(snapshot.len()?, saved.tokens);
        db.snapshot_bytes(&saved.name)?;
        snapshot
            .diff(&db.snapshot())?
            .try_for_each(|id| id.map(drop))?;
    }
    Ok(())
}

/// Saves the present state, turns to each named snapshot, and deletes them; how many others there were.
fn turn(db: &Db) -> shroom::Result<usize> {
    let names = db.snapshots()?.into_iter().map(|saved| saved.name);
    let names: Vec<String> = names.collect();
    match db.save_snapshot("turned") {
        Err(shroom::Error::SnapshotExists { .. }) => {}
        saved => saved?,
    }
    for name in &names {
        db.restore(name)?;
        db.delete_snapshot(name)?;
    }
    Ok(names.len())
}

/// Overwrites, appends to, deletes and adds tokens.
fn write_some(db: &Db) -> shroom::Result<()> {
    let ids = db.keys(..).take(8).collect::<Result<Vec<u64>, _>>()?;
    for (index, &id) in ids.iter().enumerate() {
        match index % 3 {
            0 => db.put(id, &[1; VALUE_LEN])?,
            1 => match db.append(id, &[2; VALUE_LEN]) {
                // A token may be as long as the format allows.
                Err(error) if error.kind() == ErrorKind::Misuse => {}
                appended => drop(appended?),
            },
            _ => drop(db.delete(id)?),
        }
    }
    db.put(u64::MAX, b"last")?;
    db.put(0, b"first")?;
    db.flush()
}
