//! The journal: frames appended to two areas in turn (format §4.2). Knows no operation: a payload is opaque bytes.
//!
//! * J1 A frame continues the chain of checksums of the frame before it, over both areas.
//! * J2 An area that holds a frame which is not drained is never overwritten.
//! * J3 Frames are durable up to `synced` only after a successful sync; a failed write or sync poisons the store.
//!
//! Absent on purpose: reading frames back (see `recovery`), choosing when to drain (the layer above).

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use zerocopy::IntoBytes;

use crate::frames::{FRAME_ALIGN, FRAME_HEADER_LEN, FrameHeader, JournalMark, frame_checksum};
use crate::recovery::Recovery;
use crate::store::PageStore;
use crate::superblock::{Run, SEQUENCE_LIMIT};
use crate::sync::MutexGuard;
use crate::{PageError, PhysicalPage, Result};

/// Buffered frames are written out (not synced) when they reach this size.
const BUFFER_BYTES_MAX: usize = 256 << 10;

/// Sizes of the journal, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Bytes of both areas in the file.
    pub area_bytes: u64,
    /// Size of the area being written; 0 when none is.
    pub active_bytes: u64,
    /// Bytes of frames in the area being written, those still in memory included.
    pub used_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Area {
    pub(crate) run: Run,
    /// Holds frames that are not drained.
    pub(crate) busy: bool,
    /// Sequence of the last frame in it.
    pub(crate) last: u64,
    /// A commit under way replaces it.
    retired: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) areas: [Area; 2],
    active: Option<usize>,
    /// Where in the active area the next frame goes, in bytes.
    position: u64,
    /// Frames not yet written, ending at `position`.
    buffer: Vec<u8>,
    pub(crate) mark: JournalMark,
    pub(crate) epoch: u32,
}

impl Journal {
    /// The journal as found at open: areas with live frames are full until drained.
    pub(crate) fn recovered(runs: [Run; 2], recovery: &Recovery) -> Self {
        let area = |index: usize| Area {
            run: runs[index],
            busy: recovery.live[index].is_some(),
            last: recovery.live[index].unwrap_or(0),
            retired: false,
        };
        Self {
            areas: [area(0), area(1)],
            mark: recovery.mark,
            epoch: recovery.epoch,
            ..Self::default()
        }
    }

    fn capacity(&self, area: usize, shift: u8) -> u64 {
        u64::from(self.areas[area].run.pages) << shift
    }

    fn push(&mut self, payload: &[u8], synced: u64) {
        let start = self.buffer.len();
        let header = FrameHeader {
            checksum: 0.into(),
            previous: self.mark.chain.into(),
            sequence: (self.mark.sequence + 1).into(),
            synced: synced.into(),
            epoch: self.epoch.into(),
            length: (payload.len() as u32).into(),
        };
        self.buffer.extend_from_slice(header.as_bytes());
        self.buffer.extend_from_slice(payload);
        let chain = frame_checksum(&self.buffer[start..]);
        self.buffer[start..start + 8].copy_from_slice(&chain.to_le_bytes());
        self.buffer
            .resize(self.buffer.len().next_multiple_of(FRAME_ALIGN), 0);
        self.position += (self.buffer.len() - start) as u64;
        self.mark = JournalMark {
            sequence: self.mark.sequence + 1,
            chain,
        };
    }

    /// Whether an area with live frames is free to be overwritten when the frames up to `drained` are drained.
    pub(crate) fn releases(&self, drained: u64) -> bool {
        self.areas
            .iter()
            .any(|area| area.busy && area.last <= drained)
    }

    /// After a checkpoint: the areas as committed; those whose frames are drained are free again.
    pub(crate) fn release(&mut self, runs: [Run; 2], drained: JournalMark) {
        if drained.sequence > self.mark.sequence {
            self.mark = drained;
        }
        for (index, run) in runs.into_iter().enumerate() {
            let area = &mut self.areas[index];
            let moved = area.run != run;
            area.run = run;
            area.retired = false;
            if area.busy && area.last <= drained.sequence {
                area.busy = false;
                if self.active == Some(index) {
                    self.active = None;
                    self.position = 0;
                    self.buffer.clear();
                }
            }
            assert!(
                !(moved && area.busy),
                "an area with live frames was replaced"
            );
        }
    }

    /// A commit that was to replace areas failed.
    pub(crate) fn keep_retired(&mut self) {
        for area in &mut self.areas {
            area.retired = false;
        }
    }
}

/// The turn to sync: given back when dropped, however the sync ends.
struct Turn<'s> {
    store: &'s PageStore,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.store.sync_turn() = false;
        self.store.sync_ended.notify_all();
    }
}

/// Bytes that a frame takes in an area.
fn frame_len(payload_len: usize) -> u64 {
    (FRAME_HEADER_LEN as u64 + payload_len as u64).next_multiple_of(FRAME_ALIGN as u64)
}

impl PageStore {
    /// Appends one frame to the active area, in memory, and returns its sequence; `None` when it does not
    /// fit in what is left of the area, or none is active ([`journal_rotate`](Self::journal_rotate)).
    ///
    /// # Errors
    /// I/O errors when buffered frames were written out; the store is then poisoned. [`PageError::Misuse`] for an
    /// empty payload, or one of 4 GiB and more. [`PageError::Corrupt`] when no sequence is left, which only a forged file
    /// can bring about.
    pub fn journal_append(&self, payload: &[u8]) -> Result<Option<u64>> {
        self.check_writable()?;
        if payload.is_empty() || u32::try_from(payload.len()).is_err() {
            return Err(PageError::Misuse {
                what: "journal payload",
                detail: format!("{} bytes, expected 1 to {}", payload.len(), u32::MAX),
            });
        }
        let mut journal = self.journal();
        let Some(active) = journal.active else {
            return Ok(None);
        };
        let end = journal.position + frame_len(payload.len());
        if end > journal.capacity(active, self.page_size().shift()) {
            return Ok(None);
        }
        if journal.mark.sequence + 1 >= SEQUENCE_LIMIT {
            // Only a forged file counts from that far, and a frame that followed would not be found again.
            return Err(PageError::Corrupt {
                what: "journal",
                physical: PhysicalPage(journal.areas[active].run.first),
                detail: format!("frame {}, after which there is none", journal.mark.sequence),
            });
        }
        journal.push(payload, self.synced.load(Ordering::Acquire));
        let sequence = journal.mark.sequence;
        journal.areas[active].busy = true;
        journal.areas[active].last = sequence;
        if journal.buffer.len() >= BUFFER_BYTES_MAX {
            self.write_buffer(&mut journal)?;
        }
        Ok(Some(sequence))
    }

    /// Closes the active area and begins the other; false when that one is absent or still holds live frames.
    ///
    /// # Errors
    /// I/O errors; the store is then poisoned.
    pub fn journal_rotate(&self) -> Result<bool> {
        self.check_writable()?;
        let mut journal = self.journal();
        let next = (0..2).find(|&area| {
            let state = journal.areas[area];
            let usable = !state.busy && !state.retired && !state.run.is_empty();
            usable && journal.active != Some(area)
        });
        let Some(next) = next else { return Ok(false) };
        self.write_buffer(&mut journal)?;
        journal.active = Some(next);
        journal.position = 0;
        journal.epoch = journal.epoch.wrapping_add(1);
        Ok(true)
    }

    /// Whether a payload of `len` bytes fits in an empty area of the present size.
    pub fn journal_fits(&self, len: usize) -> bool {
        let journal = self.journal();
        (0..2).all(|area| frame_len(len) <= journal.capacity(area, self.page_size().shift()))
    }

    /// Index of the area being written, when there is one.
    pub fn journal_active(&self) -> Option<usize> {
        self.journal().active
    }

    /// The last frame appended.
    pub fn journal_mark(&self) -> JournalMark {
        self.journal().mark
    }

    /// Sequence of the last frame known to be durable.
    pub fn journal_synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Sizes of the journal.
    pub fn journal_stats(&self) -> JournalStats {
        let journal = self.journal();
        let shift = self.page_size().shift();
        JournalStats {
            area_bytes: (0..2).map(|area| journal.capacity(area, shift)).sum(),
            active_bytes: journal
                .active
                .map_or(0, |area| journal.capacity(area, shift)),
            used_bytes: journal.active.map_or(0, |_| journal.position),
        }
    }

    /// Size of each journal area, in pages; 0 when absent.
    pub fn journal_pages(&self) -> [u32; 2] {
        self.journal().areas.map(|area| area.run.pages)
    }

    /// Makes all frames up to `sequence` durable: one write and one `fdatasync`. Concurrent calls share them.
    ///
    /// # Errors
    /// I/O errors; the store is then poisoned.
    pub fn journal_sync(&self, sequence: u64) -> Result<()> {
        if self.synced.load(Ordering::Acquire) >= sequence {
            return self.check_writable();
        }
        // Whoever has the turn syncs for all that wait, and wakes them together: were they let in one by one, the
        // fastest caller would take turn after turn before them.
        let mut busy = self.sync_turn();
        while *busy && self.synced.load(Ordering::Acquire) < sequence {
            busy = self
                .sync_ended
                .wait(busy)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if self.synced.load(Ordering::Acquire) >= sequence {
            return self.check_writable();
        }
        *busy = true;
        drop(busy);
        let _turn = Turn { store: self };
        self.write_and_sync()
    }

    fn sync_turn(&self) -> MutexGuard<'_, bool> {
        self.sync_turn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write_and_sync(&self) -> Result<()> {
        self.check_writable()?;
        let reached = {
            let mut journal = self.journal();
            self.write_buffer(&mut journal)?;
            journal.mark.sequence
        };
        self.sync()?;
        self.synced.fetch_max(reached, Ordering::AcqRel);
        Ok(())
    }

    /// Sets an area aside that a commit replaces: no frame goes to it from now on. False, with nothing done, when it
    /// holds frames after `drained`.
    pub(crate) fn journal_retire(&self, index: usize, drained: u64) -> Result<bool> {
        let mut journal = self.journal();
        let area = journal.areas[index];
        if area.busy && area.last > drained {
            return Ok(false);
        }
        if journal.active == Some(index) {
            // Should the commit fail, these frames still count.
            self.write_buffer(&mut journal)?;
            journal.active = None;
            journal.position = 0;
        }
        journal.areas[index].retired = true;
        Ok(true)
    }

    fn write_buffer(&self, journal: &mut Journal) -> Result<()> {
        let Some(active) = journal.active.filter(|_| !journal.buffer.is_empty()) else {
            return Ok(());
        };
        let area = u64::from(journal.areas[active].run.first) << self.page_size().shift();
        let offset = area + journal.position - journal.buffer.len() as u64;
        let written = self.write(offset, &journal.buffer);
        if let Err(error @ PageError::Io { .. }) = written {
            self.poison();
            return Err(error);
        }
        written?;
        journal.buffer.clear();
        Ok(())
    }
}
