//! Reading the journal after a crash: which frames count, and whether one that was synced is missing (format §4.2).
//!
//! * V1 The recovered frames continue the superblock's chain without a gap.
//! * V2 A later frame that says more was synced than was recovered means damage, never a silent loss.
//! * V3 What is handed out is a copy: the areas are written again, and may be cut off, while it is read.
//!
//! Every walk is bounded by the areas' sizes, and memory by the frames that count.

use crate::free_runs::FreeRuns;
use crate::journal::{FRAME_ALIGN, FRAME_HEADER_LEN, JournalMark, frame_checksum};
use crate::storage::{Storage, View};
use crate::superblock::{FreePlace, Run, SEQUENCE_LIMIT, Superblock};
use crate::{PageError, PhysicalPage, Result, free_runs};

/// Frames that were committed after the last checkpoint, oldest first.
#[derive(Debug, Default)]
pub struct RecoveredFrames {
    /// The live part of each area that has one.
    areas: Vec<Vec<u8>>,
}

impl RecoveredFrames {
    /// The payloads with their sequences, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.areas
            .iter()
            .flat_map(|bytes| Frames { bytes, position: 0 })
            .map(|frame| {
                let payload = &frame.bytes[FRAME_HEADER_LEN..];
                (frame.sequence, payload)
            })
    }

    /// Whether there is nothing to replay.
    pub fn is_empty(&self) -> bool {
        self.areas.is_empty()
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

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    bytes[offset..offset + 8]
        .try_into()
        .map_or(0, u64::from_le_bytes)
}

impl<'a> Frame<'a> {
    /// The fields at `position`, unchecked; `None` when no frame can be there.
    fn peek(bytes: &'a [u8], position: usize) -> Option<Self> {
        let rest = bytes.get(position..)?;
        let header = rest.get(..FRAME_HEADER_LEN)?;
        let lengths = u64_at(header, 32);
        let length = (lengths >> 32) as usize;
        let bytes = rest
            .get(..FRAME_HEADER_LEN.checked_add(length)?)
            .filter(|_| length > 0)?;
        Some(Self {
            bytes,
            checksum: u64_at(header, 0),
            previous: u64_at(header, 8),
            sequence: u64_at(header, 16),
            synced: u64_at(header, 24),
            epoch: lengths as u32,
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

/// Finds the frames that continue the superblock.
pub(crate) fn recover(
    storage: &dyn Storage,
    view: &View,
    superblock: &Superblock,
) -> Result<Recovery> {
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
        let bytes = AreaBytes::read(
            storage,
            view,
            u64::from(run.first) << shift,
            u64::from(run.pages) << shift,
        )?;
        areas.push((scan(bytes.bytes(), recovery.mark), bytes));
    }
    let mut order = Vec::new();
    for _ in 0..2 {
        let next = areas.iter().position(|(scan, _)| {
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
    for (area, (scan, bytes)) in areas.iter().enumerate() {
        recovery.epoch = recovery.epoch.max(scan.map_or(0, |scan| scan.epoch));
        let from = if order.contains(&area) {
            scan.map_or(0, |scan| scan.end)
        } else {
            0
        };
        check_nothing_missing(bytes.bytes(), from, recovery.mark.sequence)?;
        let stale = stale_epoch(bytes.bytes(), from, recovery.mark.sequence);
        recovery.epoch = recovery.epoch.max(stale);
    }
    // A frame cannot know of a later one that it is durable.
    recovery.synced = recovery.synced.min(recovery.mark.sequence);
    for area in order {
        if let (Some(scan), bytes) = &areas[area] {
            let live = bytes.bytes().get(scan.start..scan.end).unwrap_or_default();
            recovery.frames.areas.push(live.to_vec());
        }
    }
    Ok(recovery)
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

/// Reads and checks the free record.
pub(crate) fn read_free_record(
    storage: &dyn Storage,
    superblock: &Superblock,
) -> Result<(FreeRuns, FreeRuns, Run)> {
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
    let (physical, logical) =
        free_runs::decode_record(&bytes, superblock.physical_pages, superblock.logical_pages)
            .map_err(|detail| corrupt(run, detail))?;
    for used in superblock
        .journal
        .into_iter()
        .chain([run])
        .filter(|used| !used.is_empty())
    {
        if physical.overlaps(used.first, used.pages) {
            return Err(corrupt(
                run,
                format!("calls pages of the run {used:?} free, which is in use"),
            ));
        }
    }
    Ok((physical, logical, run))
}

/// The state of the file.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) superblock: Superblock,
    /// Both slots hold it. The second is written once the first is durable.
    pub(crate) is_durable: bool,
}

/// Reads both slots and chooses the newest that is sound.
pub(crate) fn choose_superblock(storage: &dyn Storage) -> Result<Chosen> {
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
        let expected = u64::from(superblock.physical_pages) << superblock.page_size.shift();
        return if len < expected {
            Err(PageError::Truncated {
                expected,
                found: len,
            })
        } else {
            Ok(Chosen {
                superblock,
                is_durable,
            })
        };
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
