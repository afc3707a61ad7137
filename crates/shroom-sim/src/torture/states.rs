//! Whole states compared with the model: named snapshots, what differs between them, roots, compacted files, and copies that
//! follow by deltas.

use std::ops::ControlFlow;
use std::sync::Arc;

use shroom::diff::Difference;
use shroom::storage::MemoryStorage;
use shroom::storage::faulty::{CrashPlan, FaultyStorage, Torn};
use shroom::{Db, Options, Result, Snapshot};

use super::reads::{Wrong, check_snapshot, same};
use crate::{Model, Random, content_root, findings, findings_after_crash, fingerprint};

/// The content root, beside one computed apart.
pub(super) fn check_root(db: &Db, model: &Model) -> Result<(), Wrong> {
    let root = db.content_root()?;
    same("content root", *root.as_bytes(), content_root(model))?;
    // A state remembers its root; it must not answer with another one's.
    let again = db.snapshot().content_root()?;
    same("content root again", again, root)
}

/// The list of named snapshots, and all of one of them.
pub(super) fn check_named(db: &Db, model: &Model, seed: u64) -> Result<(), Wrong> {
    let listed = db.snapshots()?.into_iter();
    let listed: Vec<_> = listed
        .map(|saved| (saved.name, saved.tokens, saved.payload_bytes, saved.tag))
        .collect();
    let expected = model.named.iter().map(|(name, saved)| {
        let tokens = saved.tokens.len() as u64;
        (name.clone(), tokens, saved.payload(), saved.tag)
    });
    same("named snapshots", listed, expected.collect())?;
    let mut random = Random(seed);
    if let Some(name) = one_of(&mut random, model) {
        let saved = db.open_snapshot(name)?;
        check_snapshot(&saved, &model.named[name], random.next())?;
        let own = db.snapshot_bytes(name)?;
        same("a snapshot has a page of its own", own > 0, true)?;
    }
    Ok(())
}

/// One of the named snapshots, if there is one.
fn one_of<'m>(random: &mut Random, model: &'m Model) -> Option<&'m String> {
    let count = model.named.len() as u64;
    (count > 0).then(|| {
        let index = random.below(count) as usize;
        model.named.keys().nth(index).expect("below their number")
    })
}

/// What differs between two states, named ones or the present one.
pub(super) fn check_diff(db: &Db, model: &Model, seed: u64) -> Result<(), Wrong> {
    let mut random = Random(seed);
    let mut state = || -> Result<(Snapshot, &Model)> {
        match one_of(&mut random, model).filter(|_| random.below(3) > 0) {
            Some(name) => Ok((db.open_snapshot(name)?, &*model.named[name])),
            None => Ok((db.snapshot(), model)),
        }
    };
    let ((before, old), (after, new)) = (state()?, state()?);
    let found: Result<Vec<Difference>> = before.diff(&after)?.collect();
    same("what differs", found?, old.differences(new))
}

fn compacted(snapshot: &Snapshot) -> Result<Vec<u8>> {
    let storage = MemoryStorage::new();
    snapshot.compact_into_storage(&storage, |_| ControlFlow::Continue(()))?;
    Ok(storage.to_bytes())
}

/// The compacted file, beside that of another history of the same content: all of it loaded at once.
pub(super) fn check_compacted(db: &Db, model: &Model) -> Result<(), Wrong> {
    let image = compacted(&db.snapshot())?;
    let file_hash = *db.file_hash()?.as_bytes();
    same("file hash", file_hash, *blake3::hash(&image).as_bytes())?;
    let page_size = db.stats()?.page_size;
    let options = Options::new().page_size(page_size).background(false);
    let other = options.open_storage(Arc::new(MemoryStorage::new()))?;
    other.bulk_load(model.tokens.iter().map(|(&id, bytes)| (id, bytes)))?;
    let mut batch = other.batch();
    batch.tag(model.tag);
    batch.commit()?;
    let equal = compacted(&other.snapshot())? == image;
    same("two compacted files are equal", equal, true)?;
    let storage = Arc::new(MemoryStorage::from_bytes(image));
    let opened = options.read_only(true).open_storage(storage)?;
    let found = (fingerprint(&opened)?, findings(&opened)?);
    let expected = (model.live().fingerprint(), Vec::new());
    same("a compacted file", found, expected)
}

/// A delta between two named snapshots, applied to a copy of the first, which crashes once on the way.
pub(super) fn check_delta(db: &Db, model: &Model, seed: u64) -> Result<(), Wrong> {
    let mut random = Random(seed);
    let Some(to) = one_of(&mut random, model) else {
        return Ok(());
    };
    let from = one_of(&mut random, model).filter(|&from| from != to);
    let storage = FaultyStorage::new();
    if let Some(from) = from {
        let mut whole = Vec::new();
        db.export_delta(None, from, &mut whole)?;
        Db::apply_delta_storage(Arc::new(storage.clone()), &whole[..])?;
    }
    let storage = FaultyStorage::from_image(storage.image());
    let mut delta = Vec::new();
    let info = db.export_delta(from.map(String::as_str), to, &mut delta)?;
    let copy = Copied {
        to: (to, &model.named[to]),
        from: from.map(|from| (from, &*model.named[from])),
        random: &mut random,
    };
    let root = db.open_snapshot(to)?.page_root();
    same("page root in a delta", info.to_root, root)?;
    let applied = Db::apply_delta_storage(Arc::new(storage.clone()), &delta[..])?;
    let pages = applied.pages_written + applied.pages_found;
    same("pages of a delta", pages, info.pages + 1)?;
    copy.check(&storage, &delta)
}

/// What a copy must hold.
struct Copied<'m, 'r> {
    to: (&'m String, &'m Model),
    from: Option<(&'m String, &'m Model)>,
    random: &'r mut Random,
}

impl Copied<'_, '_> {
    /// Checks the copy, and one whose making crashed at one of its events.
    fn check(self, storage: &FaultyStorage, delta: &[u8]) -> Result<(), Wrong> {
        let found = state_of(&storage.image())?;
        same("a copy", found, Some(self.state(true)))?;
        let events = self.random.below(storage.events() as u64 + 1) as usize;
        let plan = CrashPlan::Random {
            seed: self.random.next(),
            torn: Torn::Sector512,
            reordered: true,
        };
        let crashed = storage.crash_image(events, &plan);
        let found = state_of(&crashed)?;
        let [before, after] = [false, true].map(|applied| self.state(applied));
        let possible = found == Some(after) || found.is_none_or(|found| found == before);
        same(
            "a crashed copy is in one state or the other",
            possible,
            true,
        )?;
        let storage = FaultyStorage::from_image(crashed);
        Db::apply_delta_storage(Arc::new(storage.clone()), delta)?;
        let found = state_of(&storage.image())?;
        same("a copy after a crash", found, Some(after))
    }

    /// Fingerprint of the copy before the delta is applied, or after it.
    fn state(&self, applied: bool) -> u64 {
        let present = match self.from {
            Some((_, from)) => from.clone(),
            None => Model::default(),
        };
        let mut model = if applied { self.to.1.clone() } else { present };
        if let Some((name, from)) = self.from {
            model.named.insert(name.clone(), Arc::new(from.clone()));
        }
        if applied {
            let (name, to) = self.to;
            model.named.insert(name.clone(), Arc::new(to.clone()));
        }
        model.fingerprint()
    }
}

/// Fingerprint of what an image holds, which must be sound; `None` when there is nothing yet.
fn state_of(image: &[u8]) -> Result<Option<u64>, Wrong> {
    let storage = Arc::new(MemoryStorage::from_bytes(image.to_vec()));
    if crate::is_blank(&*storage).map_err(shroom::Error::from)? {
        return Ok(None);
    }
    let db = Options::new().read_only(true).open_storage(storage)?;
    same("findings in a copy", findings_after_crash(&db)?, Vec::new())?;
    Ok(Some(fingerprint(&db)?))
}
