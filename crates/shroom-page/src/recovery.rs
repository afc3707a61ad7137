//! Reading the journal after a crash: which frames count, and whether one that was synced is missing (format §4.2).
//!
//! * V1 The recovered frames continue the superblock's chain without a gap.
//! * V2 A later frame that says more was synced than was recovered means damage, never a silent loss.
//! * V3 What is handed out is a copy: the areas are written again, and may be cut off, while it is read.
//!
//! Every walk is bounded by the areas' sizes, and memory by the frames that count.

use std::borrow::Cow;

use crate::frames::{
    FRAME_HEADER_LEN, Frames, JournalMark, check_nothing_missing, scan, stale_epoch,
};
use crate::free_runs::FreeRuns;
use crate::named::NamedList;
use crate::slots::{self, Chosen};
use crate::storage::{Storage, View};
use crate::superblock::{FreePlace, Run, Superblock};
use crate::{PageError, PhysicalPage, Result, free_runs};

/// Frames that were committed after the last checkpoint, oldest first.
#[derive(Debug, Default)]
pub struct RecoveredFrames {
    /// The live part of each area that has one, and where in the file it begins.
    areas: Vec<(u64, Vec<u8>)>,
}

impl RecoveredFrames {
    /// The payloads with their sequences, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.areas
            .iter()
            .flat_map(|(_, bytes)| Frames::new(bytes))
            .map(|frame| {
                let payload = &frame.bytes[FRAME_HEADER_LEN..];
                (frame.sequence, payload)
            })
    }

    /// Whether there is nothing to replay.
    pub fn is_empty(&self) -> bool {
        self.areas.is_empty()
    }

    /// Writes the frames once more, where they are. They were read, but after a failed sync by the process before this one
    /// they may be in the system's cache alone, and no sync would write them.
    pub(crate) fn write_again(&self, storage: &dyn Storage) -> Result<()> {
        for (offset, bytes) in &self.areas {
            storage
                .write_at(*offset, bytes)
                .map_err(PageError::io("write", *offset))?;
        }
        Ok(())
    }
}

/// An area as it is at open: in the mapping where there is one, so that what is not live is not copied.
#[derive(Debug)]
enum AreaBytes<'a> {
    Mapped(&'a [u8]),
    Copied(Vec<u8>),
}

impl<'a> AreaBytes<'a> {
    fn read(storage: &dyn Storage, view: &'a View, offset: u64, len: u64) -> Result<Self> {
        let len = usize::try_from(len).map_err(|_| PageError::Misuse {
            what: "journal area",
            detail: format!("{len} bytes do not fit in memory here"),
        })?;
        // An area may lie behind the end of a file that was cut, where nothing can be read.
        if len == 0 {
            return Ok(Self::Mapped(&[]));
        }
        if let Some(bytes) = view.slice(offset, len) {
            return Ok(Self::Mapped(bytes));
        }
        let mut bytes = vec![0; len];
        storage
            .read_at(offset, &mut bytes)
            .map_err(PageError::io("read", offset))?;
        Ok(Self::Copied(bytes))
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(bytes) => bytes,
            Self::Copied(bytes) => bytes,
        }
    }
}

/// What the journal holds at open.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) frames: RecoveredFrames,
    pub(crate) mark: JournalMark,
    pub(crate) synced: u64,
    pub(crate) epoch: u32,
    /// Per area: sequence of its last live frame.
    pub(crate) live: [Option<u64>; 2],
}

/// Finds the frames that continue the superblock; an error when some that were synced are missing.
pub(crate) fn recover(
    storage: &dyn Storage,
    view: &View,
    superblock: &Superblock,
) -> Result<Recovery> {
    match recover_sound(storage, view, superblock, u64::MAX)? {
        (recovery, None) => Ok(recovery),
        (_, Some(damage)) => Err(damage),
    }
}

/// Finds the frames that continue the superblock, as far as they are sound in the first `len` bytes; and says what shows
/// that more were synced.
pub(crate) fn recover_sound(
    storage: &dyn Storage,
    view: &View,
    superblock: &Superblock,
    len: u64,
) -> Result<(Recovery, Option<PageError>)> {
    let mut damage = None;
    let mut recovery = Recovery {
        frames: RecoveredFrames::default(),
        mark: JournalMark {
            sequence: superblock.drained,
            chain: superblock.chain,
        },
        synced: superblock.drained,
        epoch: 0,
        live: [None; 2],
    };
    let shift = superblock.page_size.shift();
    let mut areas = Vec::new();
    for run in superblock.journal {
        let offset = u64::from(run.first) << shift;
        let there = (u64::from(run.pages) << shift).min(len.saturating_sub(offset));
        let bytes = AreaBytes::read(storage, view, offset, there)?;
        areas.push((scan(bytes.bytes(), recovery.mark), bytes, offset));
    }
    let mut order = Vec::new();
    for _ in 0..2 {
        let next = areas.iter().position(|(scan, ..)| {
            scan.is_some_and(|scan| {
                Some(scan.first) == recovery.mark.sequence.checked_add(1)
                    && scan.previous == recovery.mark.chain
                    && scan.start < scan.end
            })
        });
        let Some((area, scan)) = next.and_then(|area| Some((area, areas[area].0?))) else {
            break;
        };
        recovery.mark = scan.last;
        recovery.synced = recovery.synced.max(scan.synced);
        recovery.live[area] = Some(scan.last.sequence);
        order.push(area);
    }
    for (area, (scan, bytes, _)) in areas.iter().enumerate() {
        recovery.epoch = recovery.epoch.max(scan.map_or(0, |scan| scan.epoch));
        let from = if order.contains(&area) {
            scan.map_or(0, |scan| scan.end)
        } else {
            0
        };
        let missing = check_nothing_missing(bytes.bytes(), from, recovery.mark.sequence);
        damage = damage.or(missing.err());
        let stale = stale_epoch(bytes.bytes(), from, recovery.mark.sequence);
        recovery.epoch = recovery.epoch.max(stale);
    }
    // A frame cannot know of a later one that it is durable.
    recovery.synced = recovery.synced.min(recovery.mark.sequence);
    for area in order {
        if let (Some(scan), bytes, offset) = &areas[area] {
            let live = bytes.bytes().get(scan.start..scan.end).unwrap_or_default();
            let offset = offset + scan.start as u64;
            recovery.frames.areas.push((offset, live.to_vec()));
        }
    }
    Ok((recovery, damage))
}

/// What the free record of a state says.
#[derive(Debug, Default)]
pub(crate) struct FreeRecord {
    pub(crate) physical: FreeRuns,
    pub(crate) logical: FreeRuns,
    pub(crate) named: NamedList,
    /// Its own pages.
    pub(crate) run: Run,
}

/// Reads and checks the free record.
pub(crate) fn read_free_record(
    storage: &dyn Storage,
    superblock: &Superblock,
) -> Result<FreeRecord> {
    let corrupt = |run: Run, detail: String| PageError::Corrupt {
        what: "free record",
        physical: PhysicalPage(run.first),
        detail,
    };
    let (bytes, run) = match &superblock.free {
        FreePlace::Inline(bytes) => (bytes.clone(), Run::default()),
        &FreePlace::Pages { run, bytes, hash } => {
            // The superblock's checks bound the run by the file's length.
            let offset = u64::from(run.first) << superblock.page_size.shift();
            let mut record = vec![0; bytes as usize];
            storage
                .read_at(offset, &mut record)
                .map_err(PageError::io("read", offset))?;
            if *blake3::hash(&record).as_bytes() != hash {
                return Err(corrupt(run, "its hash is wrong".into()));
            }
            (record, run)
        }
    };
    let (physical, logical, rest) =
        free_runs::decode_record(&bytes, superblock.physical_pages, superblock.logical_pages)
            .map_err(|detail| corrupt(run, detail))?;
    let named = NamedList::decode(rest, superblock.physical_pages)
        .map_err(|detail| corrupt(run, detail))?;
    let runs = superblock.journal.into_iter().chain([run]);
    let mut used = FreeRuns::default();
    for part in runs.chain(named.iter().map(|named| named.run())) {
        if physical.overlaps(part.first, part.pages) {
            let detail = format!("calls pages of the run {part:?} free, which is in use");
            return Err(corrupt(run, detail));
        }
        if !used.try_insert(part.first, part.pages) {
            let detail = format!("the run {part:?} is in use twice");
            return Err(corrupt(run, detail));
        }
    }
    Ok(FreeRecord {
        physical,
        logical,
        named,
        run,
    })
}

/// Reads both slots and chooses the newest that is sound, of a file that is as long as it says.
pub(crate) fn choose_superblock(storage: &dyn Storage) -> Result<Chosen> {
    let chosen = newest_superblock(storage)?;
    match chosen.truncation() {
        Some(error) => Err(error),
        None => Ok(chosen),
    }
}

/// What is wrong with a slot beside the newest superblock: see [`slots::damage`].
pub(crate) fn slot_damage(
    storage: &dyn Storage,
    newest: &Superblock,
    slot: u32,
) -> Result<Option<PageError>> {
    let len = storage.len().map_err(PageError::io("length", 0))?;
    slots::damage(len, newest, slot, read_from(storage))
}

/// Reads both slots and chooses the newest that is sound.
pub(crate) fn newest_superblock(storage: &dyn Storage) -> Result<Chosen> {
    let len = storage.len().map_err(PageError::io("length", 0))?;
    slots::newest(len, read_from(storage))
}

fn read_from<'b>(storage: &dyn Storage) -> impl Fn(u64, usize) -> Result<Cow<'b, [u8]>> {
    move |offset, len| {
        let mut bytes = vec![0; len];
        storage
            .read_at(offset, &mut bytes)
            .map_err(PageError::io("read", offset))?;
        Ok(bytes.into())
    }
}
