//! The crashes that a life could have ended in: images of the file at its events, opened and judged.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::storage::faulty::{CrashPlan, Event, FaultyStorage};
use shroom::{Db, Options, ReadCheck};
use xxhash_rust::xxh3::xxh3_64;

use super::life::Ended;
use super::world::World;
use super::{Failure, FailureKind, Plug};
use crate::history::crash_plans;
use crate::{Model, findings, findings_after_crash, fingerprint, is_blank};

/// Random plans at each place, besides the systematic ones.
const RANDOM_PLANS: usize = 3;
/// Bits turned in a file that was closed.
const FLIPS_CLOSED: u64 = 6;

/// An image, and where it comes from.
struct Image<'a> {
    ended: &'a Ended,
    /// Numbers of the sync events.
    syncs: &'a [usize],
    /// Number of events before the crash.
    events: usize,
    bytes: Vec<u8>,
    hash: u64,
}

fn must_be_empty(findings: shroom::Result<Vec<String>>) -> Result<(), Failure> {
    let findings = findings.map_err(|error| Failure::new(FailureKind::Unreadable, error))?;
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::new(FailureKind::Unsound, findings.join("; ")))
}

/// What an image holds; `None` when there is nothing yet. Opened for reading only.
fn open_image(options: &Options, image: &[u8]) -> Result<Option<Db>, Failure> {
    let unreadable = |error| Failure::new(FailureKind::Unreadable, error);
    let storage = Arc::new(MemoryStorage::from_bytes(image.to_vec()));
    if is_blank(&*storage).map_err(|error| unreadable(error.into()))? {
        return Ok(None);
    }
    let options = options.clone().read_only(true);
    options.open_storage(storage).map(Some).map_err(unreadable)
}

fn content(db: Option<&Db>) -> Result<u64, Failure> {
    match db {
        None => Ok(Model::default().fingerprint()),
        Some(db) => fingerprint(db).map_err(|error| Failure::new(FailureKind::Unreadable, error)),
    }
}

impl World<'_> {
    /// Tries crashes at events of a life; returns one of the images, and what it holds, to go on with.
    pub(super) fn examine(&mut self, ended: &Ended) -> Result<Option<(Vec<u8>, Model)>, Failure> {
        let storage = &ended.storage;
        let syncs: Vec<usize> = storage
            .events_from(0)
            .iter()
            .enumerate()
            .filter(|(_, event)| **event == Event::Sync)
            .map(|(number, _)| number)
            .collect();
        let mut tried: HashSet<(u64, Range<usize>)> = HashSet::new();
        let mut chosen: Option<(Vec<u8>, usize)> = None;
        for events in self.places(ended.first_event, storage.events()) {
            let possible = ended.history.possible(events);
            for plan in crash_plans(storage, events, &mut self.random, RANDOM_PLANS) {
                let bytes = storage.crash_image(events, &plan);
                let hash = xxh3_64(&bytes);
                if !tried.insert((hash, possible.clone())) {
                    continue;
                }
                let image = Image {
                    ended,
                    syncs: &syncs,
                    events,
                    bytes,
                    hash,
                };
                let at = |failure: Failure| Failure {
                    message: format!("crash at event {events}, {plan:?}: {}", failure.message),
                    ..failure
                };
                let state = self.judge(&image).map_err(at)?;
                if let Some(state) = state.filter(|_| self.random.below(tried.len() as u64) == 0) {
                    chosen = Some((image.bytes, state));
                }
            }
            if self.random.below(3) == 0 {
                self.misdirect(ended, &syncs, events)?;
            }
        }
        if ended.closed && ended.damaged_at.is_none() {
            self.judge_closed(ended)?;
        }
        Ok(chosen.map(|(image, state)| (image, ended.history.model_at(state))))
    }

    /// Some of the numbers of events from `first` to `last`, ascending, the last among them.
    fn places(&mut self, first: usize, last: usize) -> Vec<usize> {
        let count = last - first + 1;
        if count <= self.settings.places {
            return (first..=last).collect();
        }
        let mut places: Vec<usize> = (1..self.settings.places)
            .map(|_| first + self.random.below(count as u64) as usize)
            .collect();
        places.push(last);
        places.sort_unstable();
        places.dedup();
        places
    }

    fn count_image(&mut self, hash: u64) {
        self.tally.add("crash images opened", 1);
        self.digest.update(&hash.to_le_bytes());
        self.images.insert(hash);
    }

    /// Judges an image; returns the number of the state found, where it is known.
    fn judge(&mut self, image: &Image<'_>) -> Result<Option<usize>, Failure> {
        self.count_image(image.hash);
        let Image { ended, events, .. } = *image;
        if ended.damaged_at.is_some_and(|damaged| events >= damaged) {
            if let Some(range) = ended.history.possible_with_damage(events, image.syncs) {
                self.judge_damaged(&image.bytes, ended, range)?;
            }
            return Ok(None);
        }
        let mut options = ended.opening.options(self.settings.workload.page_size);
        if self.random.below(8) != 0 {
            // An image does not change while it is read, so that one check tells as much as many.
            options = options.read_check(ReadCheck::FirstTouch);
        }
        let db = open_image(&options, &image.bytes)?;
        let found = content(db.as_ref())?;
        let state = ended
            .history
            .find(events, found)
            .map_err(|message| Failure::new(FailureKind::WrongState, message))?;
        if let Some(db) = db.filter(|_| self.random.below(4) == 0) {
            self.tally.add("crash images verified", 1);
            must_be_empty(findings_after_crash(&db))?;
        }
        if self.random.below(12) == 0 {
            self.crash_recovery(image, &options, found)?;
        }
        if self.random.below(6) == 0
            && let Some(range) = ended.history.possible_with_flip(events)
        {
            self.flip(image.bytes.clone(), ended, range)?;
        }
        Ok(Some(state))
    }

    /// Opens an image for writing, and crashes that at its events: what was found stays.
    fn crash_recovery(
        &mut self,
        image: &Image<'_>,
        options: &Options,
        expected: u64,
    ) -> Result<(), Failure> {
        let in_recovery = |kind: FailureKind, message: String| {
            Failure::new(kind, format!("crash of the recovery: {message}"))
        };
        let unreadable =
            |error: shroom::Error| in_recovery(FailureKind::Unreadable, error.to_string());
        let storage = FaultyStorage::from_image(image.bytes.clone());
        let plug = Plug::new(storage.clone());
        let db = options
            .open_storage(self.engine.storage(plug.clone()))
            .map_err(unreadable)?;
        if fingerprint(&db).map_err(unreadable)? != expected {
            let message = "opened for writing it holds something else".to_owned();
            return Err(in_recovery(FailureKind::WrongState, message));
        }
        if self.random.below(3) == 0 {
            plug.pull();
            drop(db);
        } else {
            db.close().map_err(unreadable)?;
        }
        self.tally.add("recoveries opened for writing", 1);
        let mut tried = HashSet::from([image.hash]);
        for events in self.places(0, storage.events()) {
            for plan in crash_plans(&storage, events, &mut self.random, 2) {
                let bytes = storage.crash_image(events, &plan);
                let hash = xxh3_64(&bytes);
                if !tried.insert(hash) {
                    continue;
                }
                self.count_image(hash);
                self.tally.add("recoveries crashed again", 1);
                let at = |failure: Failure| {
                    in_recovery(
                        failure.kind,
                        format!("event {events}, {plan:?}: {}", failure.message),
                    )
                };
                let db = open_image(options, &bytes).map_err(at)?;
                if content(db.as_ref()).map_err(at)? != expected {
                    let message = "it holds something else".to_owned();
                    return Err(at(Failure::new(FailureKind::WrongState, message)));
                }
                if let Some(db) = db.filter(|_| self.random.below(4) == 0) {
                    must_be_empty(findings_after_crash(&db)).map_err(at)?;
                }
            }
        }
        Ok(())
    }

    /// A crash in which a write that was not synced lands in a wrong place.
    fn misdirect(&mut self, ended: &Ended, syncs: &[usize], events: usize) -> Result<(), Failure> {
        let undamaged = ended.damaged_at.is_none_or(|damaged| events < damaged);
        let range = ended.history.possible_with_damage(events, syncs);
        let (true, Some(range)) = (undamaged, range) else {
            return Ok(());
        };
        if ended.storage.unsynced_changes(events) == 0 {
            return Ok(());
        }
        let plan = CrashPlan::Misdirected {
            seed: self.random.next(),
        };
        let bytes = ended.storage.crash_image(events, &plan);
        self.tally.add("crash images with a misdirected write", 1);
        self.count_image(xxh3_64(&bytes));
        self.judge_damaged(&bytes, ended, range)
            .map_err(|failure| Failure {
                message: format!("crash at event {events}, {plan:?}: {}", failure.message),
                ..failure
            })
    }

    /// A closed file: it is sound, holds no journal, and turned bits are noticed.
    fn judge_closed(&mut self, ended: &Ended) -> Result<(), Failure> {
        let image = ended.storage.image();
        let options = ended.opening.options(self.settings.workload.page_size);
        let Some(db) = open_image(&options, &image)? else {
            let message = "a closed file is blank";
            return Err(Failure::new(FailureKind::WrongState, message));
        };
        must_be_empty(findings(&db))?;
        let stats = db
            .stats()
            .map_err(|error| Failure::new(FailureKind::Unreadable, error))?;
        if stats.journal_bytes != 0 {
            let message = format!(
                "a closed file has a journal of {} bytes",
                stats.journal_bytes
            );
            return Err(Failure::new(FailureKind::Unsound, message));
        }
        let events = ended.storage.events();
        for _ in 0..FLIPS_CLOSED {
            self.flip(image.clone(), ended, ended.history.possible(events))?;
        }
        Ok(())
    }

    fn flip(
        &mut self,
        mut bytes: Vec<u8>,
        ended: &Ended,
        range: Range<usize>,
    ) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        let bit = self.random.below(bytes.len() as u64 * 8);
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        self.tally.add("bits turned in images", 1);
        self.judge_damaged(&bytes, ended, range)
            .map_err(|failure| Failure {
                message: format!(
                    "bit {} of byte {} turned: {}",
                    bit % 8,
                    bit / 8,
                    failure.message
                ),
                ..failure
            })
    }
}
