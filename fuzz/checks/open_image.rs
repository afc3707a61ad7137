//! Opens arbitrary bytes as a database in memory, reads everything, verifies, then writes.
//!
//! * F1 Nothing panics, hangs, or takes memory without bound, whatever the bytes are.
//! * F2 A file that `verify` finds sound can be read in full, forwards and backwards with the same result, and holds as
//!   many tokens as it says.
//! * F3 A sound file takes a write and stays sound.
//!
//! Every page is kept by a hash, which random changes would break before anything else is reached. So the input is tried
//! twice: as it is, and with its superblocks' hashes put right and the pages' hashes not looked at. The second time
//! damaged pages do reach every decoder above; then only F1 is asked for.

//! Shared by the fuzz target and by the test that replays its seeds.

use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::{Db, Options, ReadCheck};

/// Longest value written back, in bytes.
const VALUE_LEN: usize = 3000;

/// Tries an input both ways.
pub(crate) fn examine_both(image: &[u8]) {
    examine(image.to_vec(), ReadCheck::FirstTouch);
    examine(sealed(image.to_vec()), ReadCheck::Off);
}

fn examine(image: Vec<u8>, check: ReadCheck) {
    let options = Options::new()
        .create(false)
        .background(false)
        .read_check(check);
    let open = |options: &Options| {
        options.open_storage(Arc::new(MemoryStorage::from_bytes(image.clone())))
    };

    let trusted = check != ReadCheck::Off;
    if let Ok(db) = open(&options.clone().read_only(true)) {
        let sound = trusted && db.verify().is_ok_and(|report| report.is_sound());
        let read = read_all(&db, sound);
        if sound {
            let tokens = read.expect("a sound file can be read");
            assert_eq!(db.len().expect("a sound file has a length"), tokens);
        }
    }
    if let Ok(db) = open(&options) {
        let sound = trusted && db.verify().is_ok_and(|report| report.is_sound());
        let written = write_some(&db);
        if sound {
            written.expect("a sound file can be written");
            let report = db.verify().expect("a sound file can be verified");
            assert!(report.is_sound(), "{:?}", report.findings);
        }
        let closed = db.close();
        assert!(!sound || closed.is_ok());
    }
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

/// Overwrites, appends to, deletes and adds tokens.
fn write_some(db: &Db) -> shroom::Result<()> {
    let ids = db.keys(..).take(8).collect::<Result<Vec<u64>, _>>()?;
    for (index, &id) in ids.iter().enumerate() {
        match index % 3 {
            0 => db.put(id, &[1; VALUE_LEN])?,
            1 => drop(db.append(id, &[2; VALUE_LEN])?),
            _ => drop(db.delete(id)?),
        }
    }
    db.put(u64::MAX, b"last")?;
    db.put(0, b"first")?;
    db.flush()
}

/// The image with right hashes in its superblocks (format §2.1), as far as it is long enough to have any.
fn sealed(mut image: Vec<u8>) -> Vec<u8> {
    let Some(&shift) = image.get(10) else {
        return image;
    };
    if !(9..=16).contains(&shift) {
        return image;
    }
    let page_len = 1_usize << shift;
    for start in [0, page_len] {
        let Some(slot) = image.get_mut(start..start + page_len.min(4096)) else {
            break;
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&slot[..24]).update(&slot[56..]);
        slot[24..56].copy_from_slice(hasher.finalize().as_bytes());
    }
    image
}
