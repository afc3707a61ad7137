//! Reading the journal after a crash: which frames count, and whether one that was synced is missing (format §4.2).
//!
//! * V1 The recovered frames continue the superblock's chain without a gap.
//! * V2 A later frame that says more was synced than was recovered means damage, never a silent loss.
//! * V3 What is handed out is a copy: the areas are written again, and may be cut off, while it is read.
//!
//! Every walk is bounded by the areas' sizes, and memory by the frames that count.

use zerocopy::FromBytes;

use crate::frame::FrameHeader;
use crate::free_runs::FreeRuns;
use crate::journal::{FRAME_ALIGN, FRAME_HEADER_LEN, JournalMark, frame_checksum};
use crate::named::NamedList;
use crate::storage::{Storage, View};
use crate::superblock::{FreePlace, Run, SEQUENCE_LIMIT, Superblock};
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
            .flat_map(|(_, bytes)| Frames { bytes, position: 0 })
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

/// A frame whose checksum is right.
#[derive(Clone, Copy, Debug)]
struct Frame<'a> {
    bytes: &'a [u8],
    checksum: u64,
    previous: u64,
    sequence: u64,
    synced: u64,
    epoch: u32,
}

impl<'a> Frame<'a> {
    /// The fields at `position`, unchecked; `None` when no frame can be there.
    fn peek(bytes: &'a [u8], position: usize) -> Option<Self> {
        let rest = bytes.get(position..)?;
        let (header, _) = FrameHeader::ref_from_prefix(rest).ok()?;
        let length = header.length.get() as usize;
        let bytes = rest
            .get(..FRAME_HEADER_LEN.checked_add(length)?)
            .filter(|_| length > 0)?;
        Some(Self {
            bytes,
            checksum: header.checksum.get(),
            previous: header.previous.get(),
            sequence: header.sequence.get(),
            synced: header.synced.get(),
            epoch: header.epoch.get(),
        })
    }

    fn is_sound(&self) -> bool {
        frame_checksum(self.bytes) == self.checksum
    }
}

/// The frames from the start of an area, as far as they continue each other.
struct Frames<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let frame = Frame::peek(self.bytes, self.position)?;
        self.position += frame.bytes.len().next_multiple_of(FRAME_ALIGN);
        Some(frame)
    }
}

/// The unbroken run of frames at the start of an area, without those up to the drained one when that is among them.
#[derive(Clone, Copy, Debug)]
struct Scan {
    first: u64,
    previous: u64,
    last: JournalMark,
    start: usize,
    end: usize,
    synced: u64,
    epoch: u32,
}

fn scan(bytes: &[u8], drained: JournalMark) -> Option<Scan> {
    let mut scan: Option<Scan> = None;
    let mut frames = Frames { bytes, position: 0 };
    while let Some(frame) = frames.next() {
        let continues = scan.is_none_or(|scan| {
            frame.previous == scan.last.chain
                && Some(frame.sequence) == scan.last.sequence.checked_add(1)
                && frame.epoch == scan.epoch
        }) && frame.sequence < SEQUENCE_LIMIT;
        if !continues || !frame.is_sound() {
            break;
        }
        let last = JournalMark {
            sequence: frame.sequence,
            chain: frame.checksum,
        };
        let start = scan.unwrap_or(Scan {
            first: frame.sequence,
            previous: frame.previous,
            last,
            start: 0,
            end: 0,
            synced: 0,
            epoch: frame.epoch,
        });
        let mut next = Scan {
            last,
            end: frames.position.min(bytes.len()),
            synced: start.synced.max(frame.synced),
            ..start
        };
        if last == drained {
            next.first = last.sequence + 1;
            next.previous = last.chain;
            next.start = next.end;
        }
        scan = Some(next);
    }
    scan
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

/// Searches the rest of an area for a sound frame after `last` which knows that more than `last` was synced.
fn check_nothing_missing(bytes: &[u8], from: usize, last: u64) -> Result<()> {
    // Forged headers could make each position hash the whole rest; honest ones need little.
    let mut budget = bytes.len().saturating_mul(4);
    for position in (from.next_multiple_of(FRAME_ALIGN)..bytes.len()).step_by(FRAME_ALIGN) {
        let Some(frame) = Frame::peek(bytes, position) else {
            continue;
        };
        if frame.sequence <= last || frame.synced <= last || frame.synced >= frame.sequence {
            continue;
        }
        budget = budget.saturating_sub(frame.bytes.len());
        if budget == 0 || frame.is_sound() {
            return Err(PageError::JournalDamaged {
                missing: last.saturating_add(1),
                synced: frame.synced,
            });
        }
    }
    Ok(())
}

/// Highest epoch of the frames that a crash cut off from the chain. The next filling must have another: a frame written
/// again, the same byte for byte, would bring those behind it back to life.
fn stale_epoch(bytes: &[u8], from: usize, last: u64) -> u32 {
    let frames_max = (bytes.len() / (FRAME_HEADER_LEN + FRAME_ALIGN)) as u64;
    // As above; out of budget, a header is taken at its word.
    let mut budget = bytes.len().saturating_mul(4);
    let mut epoch = 0;
    for position in (from.next_multiple_of(FRAME_ALIGN)..bytes.len()).step_by(FRAME_ALIGN) {
        let Some(frame) = Frame::peek(bytes, position) else {
            continue;
        };
        let ahead = frame.sequence.wrapping_sub(last);
        if ahead == 0 || ahead > frames_max || frame.epoch <= epoch {
            continue;
        }
        budget = budget.saturating_sub(frame.bytes.len());
        if budget == 0 || frame.is_sound() {
            epoch = frame.epoch;
        }
    }
    epoch
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

/// The state of the file.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) superblock: Superblock,
    /// Both slots hold it. The second is written once the first is durable.
    pub(crate) is_durable: bool,
    /// Bytes of the storage.
    pub(crate) len: u64,
}

impl Chosen {
    /// The error for a storage that is shorter than the superblock says.
    pub(crate) fn truncation(&self) -> Option<PageError> {
        let superblock = &self.superblock;
        let expected = u64::from(superblock.physical_pages) << superblock.page_size.shift();
        let found = self.len;
        (found < expected).then_some(PageError::Truncated { expected, found })
    }
}

/// Reads both slots and chooses the newest that is sound, of a file that is as long as it says.
pub(crate) fn choose_superblock(storage: &dyn Storage) -> Result<Chosen> {
    let chosen = newest_superblock(storage)?;
    match chosen.truncation() {
        Some(error) => Err(error),
        None => Ok(chosen),
    }
}

/// What is wrong with a slot beside the newest superblock: it is not sound, or has the same number and is another; `None` for
/// the newest itself, and for an older one.
pub(crate) fn slot_damage(
    storage: &dyn Storage,
    newest: &Superblock,
    slot: u32,
) -> Result<Option<PageError>> {
    use crate::superblock::{SlotError, superblock_len};

    let page_size = newest.page_size;
    let offset = u64::from(slot) << page_size.shift();
    let len = storage.len().map_err(PageError::io("length", 0))?;
    let there = len
        .saturating_sub(offset)
        .min(superblock_len(page_size) as u64);
    let mut bytes = vec![0; there as usize];
    storage
        .read_at(offset, &mut bytes)
        .map_err(PageError::io("read", offset))?;
    let detail = match Superblock::decode(&bytes) {
        Ok(superblock) if superblock.page_size == page_size => {
            if superblock.sequence < newest.sequence || superblock == *newest {
                return Ok(None);
            }
            format!("differs from the other one of number {}", newest.sequence)
        }
        Ok(superblock) => format!(
            "page size {:?}, expected {page_size:?}",
            superblock.page_size
        ),
        Err(SlotError::Zero) => "it is all zeros".into(),
        Err(SlotError::NoMagic) => "it does not begin with SHROOMDB".into(),
        Err(SlotError::Version(version)) => format!("format version {version}"),
        Err(SlotError::Malformed(detail)) => detail,
    };
    Ok(Some(PageError::Corrupt {
        what: "superblock",
        physical: PhysicalPage(slot),
        detail,
    }))
}

/// Reads both slots and chooses the newest that is sound.
pub(crate) fn newest_superblock(storage: &dyn Storage) -> Result<Chosen> {
    use crate::PageSize;
    use crate::superblock::{FORMAT_VERSION, SlotError, superblock_len};

    let len = storage.len().map_err(PageError::io("length", 0))?;
    if len == 0 {
        return Err(PageError::NotADatabase {
            reason: "the file is empty (0 bytes)".into(),
        });
    }
    let read = |offset: u64, want: usize| -> Result<Vec<u8>> {
        let available = len.saturating_sub(offset).min(want as u64) as usize;
        let mut bytes = vec![0; available];
        if available == 0 {
            return Ok(bytes);
        }
        storage
            .read_at(offset, &mut bytes)
            .map_err(PageError::io("read", offset))?;
        Ok(bytes)
    };
    let first = Superblock::decode(&read(0, 4096)?);
    let mut best = first.clone().ok();
    // The second slot's place depends on the page size, which only a sound first slot tells.
    let sizes: Vec<PageSize> = match &best {
        Some(superblock) => vec![superblock.page_size],
        None => PageSize::all().collect(),
    };
    let mut version = None;
    let mut is_durable = false;
    for size in sizes {
        match Superblock::decode(&read(size.bytes() as u64, superblock_len(size))?) {
            Ok(second) if second.page_size == size => {
                is_durable = best.as_ref() == Some(&second);
                let newer = best
                    .as_ref()
                    .is_none_or(|best| best.sequence < second.sequence);
                best = if newer { Some(second) } else { best };
                // Larger sizes would look into pages, where a user may have stored a database.
                break;
            }
            Err(SlotError::Version(found)) => version = Some(found),
            _ => {}
        }
    }
    if let Some(superblock) = best {
        return Ok(Chosen {
            superblock,
            is_durable,
            len,
        });
    }
    if let Err(SlotError::Version(found)) = first {
        version = Some(found);
    }
    Err(match (first, version) {
        (_, Some(found)) => PageError::Version {
            found,
            supported: FORMAT_VERSION,
        },
        (Err(SlotError::Malformed(detail)), _) => PageError::Corrupt {
            what: "superblock",
            physical: PhysicalPage(0),
            detail: format!("neither slot is sound; the first: {detail}"),
        },
        (Err(SlotError::Zero), _) => PageError::NotADatabase {
            reason: "it begins with zeros".into(),
        },
        _ => PageError::NotADatabase {
            reason: "it does not begin with SHROOMDB".into(),
        },
    })
}
