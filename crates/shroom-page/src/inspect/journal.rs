//! The frames that lie in the journal areas, whether they count or not.

use super::StoreInspection;
use crate::explain::{Explanation, hexadecimal};
use crate::frames::{FRAME_HEADER_LEN, Frames};
use crate::recovery::RecoveredFrames;
use crate::superblock::Run;
use crate::{PageError, Result};

/// What a frame in a journal area is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenFrameState {
    /// It continues the state of the newest superblock.
    Live,
    /// What it says is in the pages.
    Drained,
    /// It is sound, but continues nothing that is left.
    Cut,
}

/// A sound frame in a journal area.
#[derive(Debug)]
#[non_exhaustive]
pub struct SeenFrame<'f> {
    /// Which area, 0 or 1.
    pub area: u8,
    /// Offset in the file of its first byte.
    pub position: u64,
    /// Its number.
    pub sequence: u64,
    /// What it is worth.
    pub state: SeenFrameState,
    /// Header and payload.
    pub bytes: &'f [u8],
}

impl StoreInspection {
    /// Visits the frames of both areas, in the order in which they lie there, up to the first place of each area where no frame
    /// continues the one before it.
    ///
    /// # Errors
    /// Those of `visit`, which end it; I/O errors.
    pub fn visit_frames<E: From<PageError>>(
        &self,
        visit: &mut dyn FnMut(SeenFrame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let drained = self.superblock.drained;
        let last = last_sequence(self.store.frames()).unwrap_or(drained);
        for (area, run) in (0_u8..).zip(self.superblock.journal) {
            let position = u64::from(run.first) << self.page_size().shift();
            let bytes = self.area(run)?;
            let mut before: Option<(u64, u64)> = None;
            let mut frames = Frames::new(&bytes);
            let mut at = 0;
            while let Some(frame) = frames.next() {
                let continues = before.is_none_or(|(sequence, checksum)| {
                    Some(frame.sequence) == sequence.checked_add(1) && frame.previous == checksum
                });
                if !continues || !frame.is_sound() {
                    break;
                }
                before = Some((frame.sequence, frame.checksum));
                let state = match frame.sequence {
                    sequence if sequence <= drained => SeenFrameState::Drained,
                    sequence if sequence <= last => SeenFrameState::Live,
                    _ => SeenFrameState::Cut,
                };
                visit(SeenFrame {
                    area,
                    position: position + at as u64,
                    sequence: frame.sequence,
                    state,
                    bytes: frame.bytes,
                })?;
                at = frames.position();
            }
        }
        Ok(())
    }

    /// Bytes of live frames in the journal, their headers included.
    pub fn live_frame_bytes(&self) -> u64 {
        live_bytes(self.store.frames())
    }

    /// First page and number of pages of both areas; zeros for one that is absent.
    pub fn journal_areas(&self) -> [(u32, u32); 2] {
        self.superblock.journal.map(|run| (run.first, run.pages))
    }

    /// The bytes of an area, as far as the file has them.
    fn area(&self, run: Run) -> Result<Vec<u8>> {
        let shift = self.page_size().shift();
        let pages = run.pages.min(self.pages().saturating_sub(run.first));
        let offset = u64::from(run.first) << shift;
        let mut bytes = vec![0; (pages as usize) << shift];
        if bytes.is_empty() {
            return Ok(bytes);
        }
        self.storage
            .read_at(offset, &mut bytes)
            .map_err(PageError::io("read", offset))?;
        Ok(bytes)
    }
}

/// Number of the last frame that counts.
pub(super) fn last_sequence(frames: &RecoveredFrames) -> Option<u64> {
    frames.iter().map(|(sequence, _)| sequence).last()
}

/// Bytes of the frames that count.
pub(super) fn live_bytes(frames: &RecoveredFrames) -> u64 {
    let lengths = frames.iter().map(|(_, payload)| payload.len());
    lengths.map(|len| (FRAME_HEADER_LEN + len) as u64).sum()
}

impl SeenFrame<'_> {
    /// What the layer above wrote.
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(FRAME_HEADER_LEN..).unwrap_or_default()
    }

    /// The frame in words (format §4.2); `payload` explains what follows the header.
    pub fn explain(&self, payload: impl FnOnce(&mut crate::explain::Explainer<'_>)) -> Explanation {
        let worth = match self.state {
            SeenFrameState::Live => "not in the pages yet: replayed at open",
            SeenFrameState::Drained => "drained: what it says is in the pages",
            SeenFrameState::Cut => "continues nothing that is left: not replayed",
        };
        let title = format!(
            "frame {} in journal area {}, {worth}",
            self.sequence, self.area
        );
        Explanation::new(title, self.position, self.bytes, |explainer| {
            explainer.field(8, "checksum", |bytes| {
                format!(
                    "XXH3-64 of what follows, {} and sound",
                    hexadecimal(bytes, 8)
                )
            });
            explainer.field(8, "previous", |bytes| {
                format!(
                    "checksum of frame {} before it, {}",
                    self.sequence.wrapping_sub(1),
                    hexadecimal(bytes, 8)
                )
            });
            explainer.number(8, "sequence", |value| format!("frame number {value}"));
            explainer.number(8, "synced", |value| {
                format!("frames up to {value} were known to be durable when it was written")
            });
            explainer.number(4, "epoch", |value| format!("filling {value} of the areas"));
            explainer.number(4, "length", |value| format!("{value} bytes of payload"));
            payload(explainer);
        })
    }
}
