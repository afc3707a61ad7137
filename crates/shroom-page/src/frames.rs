//! The journal's frames as bytes: the codec, and which frames of an area continue each other (format §4.2).
//!
//! Every walk is bounded by the bytes that it is given.
//!
//! Absent on purpose: knows no file. `journal` writes frames, and `recovery` decides which count.

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[cfg(feature = "std")]
use crate::format::Structure;
use crate::superblock::SEQUENCE_LIMIT;
use crate::{PageError, Result};

/// Bytes of a frame before its payload.
pub const FRAME_HEADER_LEN: usize = 40;
/// Frames start at multiples of this.
pub(crate) const FRAME_ALIGN: usize = 8;

/// Header of a frame.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct FrameHeader {
    /// Of everything behind it, the payload included.
    pub(crate) checksum: U64,
    pub(crate) previous: U64,
    pub(crate) sequence: U64,
    pub(crate) synced: U64,
    pub(crate) epoch: U32,
    /// Of the payload, in bytes.
    pub(crate) length: U32,
}
const _: () = assert!(size_of::<FrameHeader>() == FRAME_HEADER_LEN);

#[cfg(feature = "std")]
pub(crate) fn structures() -> Vec<Structure> {
    let fields = crate::format_fields!(FrameHeader {
        "checksum" => checksum,
        "previous" => previous,
        "sequence" => sequence,
        "synced" => synced,
        "epoch" => epoch,
        "length" => length,
    });
    vec![Structure::fixed("frame", fields)]
}

/// A place in the chain of frames: the last frame's sequence and checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalMark {
    /// Sequence of the frame; 0 before the first.
    pub sequence: u64,
    /// Checksum of the frame; 0 before the first.
    pub chain: u64,
}

impl JournalMark {
    /// The next number, which no frame will have: for a commit that changes the pages by more than frames say. Frames
    /// after it continue this mark and no earlier one, so that none is ever replayed over the state before that commit.
    #[must_use]
    pub fn skip_one(self) -> Self {
        Self {
            sequence: self.sequence + 1,
            chain: self.chain,
        }
    }
}

/// Checksum of a frame: everything after the checksum itself.
pub(crate) fn frame_checksum(frame: &[u8]) -> u64 {
    xxh3_64(&frame[8..])
}

/// A frame whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// Header and payload.
    pub(crate) bytes: &'a [u8],
    pub(crate) checksum: u64,
    pub(crate) previous: u64,
    pub(crate) sequence: u64,
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

    pub(crate) fn is_sound(&self) -> bool {
        frame_checksum(self.bytes) == self.checksum
    }
}

/// The frames from the start of an area, as far as they continue each other.
pub(crate) struct Frames<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Where the next frame would begin.
    #[cfg(feature = "std")]
    pub(crate) fn position(&self) -> usize {
        self.position
    }
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
pub(crate) struct Scan {
    pub(crate) first: u64,
    pub(crate) previous: u64,
    pub(crate) last: JournalMark,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) synced: u64,
    pub(crate) epoch: u32,
}

pub(crate) fn scan(bytes: &[u8], drained: JournalMark) -> Option<Scan> {
    let mut scan: Option<Scan> = None;
    let mut frames = Frames::new(bytes);
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

/// Searches the rest of an area for a sound frame after `last` which knows that more than `last` was synced.
pub(crate) fn check_nothing_missing(bytes: &[u8], from: usize, last: u64) -> Result<()> {
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
pub(crate) fn stale_epoch(bytes: &[u8], from: usize, last: u64) -> u32 {
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
