//! A storage for tests, in memory: records what is done to it, fails on demand, and builds the images that a
//! crash could leave behind. Deterministic: the same calls and seeds give the same bytes.
//!
//! ```
//! use shroom_page::storage::Storage;
//! use shroom_page::storage::faulty::{CrashPlan, FaultyStorage};
//!
//! let storage = FaultyStorage::new();
//! storage.grow(4)?;
//! storage.write_at(0, b"old!")?;
//! storage.sync()?;
//! storage.write_at(0, b"new!")?;
//! let now = storage.events();
//! assert_eq!(storage.crash_image(now, &CrashPlan::LoseAll), b"old!");
//! assert_eq!(storage.crash_image(now, &CrashPlan::KeepAll), b"new!");
//! let reopened = FaultyStorage::from_image(storage.crash_image(now, &CrashPlan::LoseAll));
//! assert_eq!(reopened.len()?, 4);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! * X1 The log holds exactly what changed the content: replaying it onto the first image gives the present content.
//! * X2 A crash image holds everything before the last completed sync, and of the changes after it what the plan keeps.
//! * X3 A failed call leaves no event, unless its fault says that it has an effect.
//!
//! Absent on purpose: knows no format; no clock and no randomness but the seeds given.

mod crash;

pub use crash::{CrashPlan, Torn};

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::memory::ChunkedBytes;
use super::{Storage, View};
use crash::History;

/// One change of the content, or a sync. An event's number is its place in the log, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes written (for a short write: those that landed).
    Write {
        /// First byte.
        offset: u64,
        /// What was written.
        bytes: Arc<[u8]>,
    },
    /// A completed sync: all before it is durable.
    Sync,
    /// A sync that failed and lost the writes since the last completed one ([`Fault::SyncLoss`], [`Fault::SyncForgotten`]).
    SyncLost,
    /// Extended with zeros.
    Grow {
        /// New length in bytes.
        len: u64,
    },
    /// Cut.
    Shrink {
        /// New length in bytes.
        len: u64,
    },
    /// A range turned to zeros.
    PunchHole {
        /// First byte.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Bit rot ([`FaultyStorage::corrupt`]): in every image of a crash after it.
    Rot {
        /// First byte.
        offset: u64,
        /// What is there from now on.
        bytes: Arc<[u8]>,
    },
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// With this error, and no effect. A failed sync leaves the writes as they were: neither lost nor durable.
    Error(io::ErrorKind),
    /// With this error, after its whole effect.
    ErrorAfter(io::ErrorKind),
    /// A write: the first half of the bytes lands, then an error. Any other call: an error and no effect.
    ShortWrite,
    /// A sync: an error, and the writes since the last completed sync are lost. The old bytes are read from then
    /// on, and a later sync succeeds, as on Linux. Lengths and holes stay. Any other call: an error and no effect.
    SyncLoss,
    /// A sync: an error, and the writes since the last completed sync never reach the disk, though they are read as before and
    /// later syncs succeed: what Linux does with pages that stay in its cache. Written again, they do. Any other call: an
    /// error and no effect.
    SyncForgotten,
    /// A write: its bytes land at `to` instead (or as near to it as the length allows), and the call succeeds. Any other
    /// call: no effect yet, the fault waits for the next.
    Misdirected {
        /// First byte, in the file, of where the write lands.
        to: u64,
    },
}

/// A fault that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    /// Number of the call.
    pub call: u64,
    /// What was called: "read", "write", "sync", "grow", "shrink", "punch", "view" or "length".
    pub operation: &'static str,
    /// How it failed.
    pub fault: Fault,
}

impl Fault {
    fn error(self, call: u64) -> io::Error {
        let kind = match self {
            Self::Error(kind) | Self::ErrorAfter(kind) => kind,
            Self::ShortWrite | Self::SyncLoss | Self::SyncForgotten | Self::Misdirected { .. } => {
                io::ErrorKind::Other
            }
        };
        io::Error::new(kind, format!("injected fault at call {call}: {self:?}"))
    }
}

/// A recording, failing storage in memory. A clone is another handle to the same state.
#[derive(Clone)]
pub struct FaultyStorage {
    state: Arc<Mutex<State>>,
}

struct State {
    /// What reaches the disk with the next sync.
    content: ChunkedBytes,
    /// What is read instead, once a failed sync has forgotten writes.
    cached: Option<ChunkedBytes>,
    history: History,
    faults: BTreeMap<u64, Fault>,
    injected: Vec<Injected>,
    calls: u64,
    capacity: Option<u64>,
    refused: u64,
}

impl Default for FaultyStorage {
    fn default() -> Self {
        Self::from_image(Vec::new())
    }
}

impl FaultyStorage {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// A storage that holds `image`, all of it durable: what a process finds after a crash.
    pub fn from_image(image: Vec<u8>) -> Self {
        let content = ChunkedBytes::from_bytes(&image);
        let history = History::new(image);
        let state = State {
            content,
            cached: None,
            history,
            faults: BTreeMap::new(),
            injected: Vec::new(),
            calls: 0,
            capacity: None,
            refused: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// A copy of the present content, as the running process sees it.
    pub fn image(&self) -> Vec<u8> {
        self.lock().seen().to_bytes()
    }

    /// Number of events so far.
    pub fn events(&self) -> usize {
        self.lock().history.events().len()
    }

    /// A copy of the events from number `first` on (the written bytes are shared).
    pub fn events_from(&self, first: usize) -> Vec<Event> {
        self.lock()
            .history
            .events()
            .get(first..)
            .unwrap_or_default()
            .to_vec()
    }

    /// The content as the process saw it after the first `events` events (all of them when there are fewer), but for what a
    /// [`Fault::SyncForgotten`] left in the cache.
    pub fn image_at(&self, events: usize) -> Vec<u8> {
        self.lock().history.image_at(events)
    }

    /// How many changes a crash after the first `events` events can lose: writes, growth, cuts and holes since the
    /// last completed sync. Their order is the order of the bits of [`CrashPlan::Subset`].
    pub fn unsynced_changes(&self, events: usize) -> usize {
        self.lock().history.unsynced(events).count()
    }

    /// What a crash after the first `events` events (all when there are fewer) leaves on the disk: all that happened
    /// before the last completed sync, and of the changes since then what `plan` keeps. What is kept of
    /// a write beyond the length that is kept is lost with it.
    pub fn crash_image(&self, events: usize, plan: &CrashPlan) -> Vec<u8> {
        self.lock().history.crash_image(events, plan)
    }

    /// Number of calls so far of any method of [`Storage`].
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Makes call number `call` (from 0, so that [`calls`](Self::calls) is the next) fail once.
    pub fn fail_call(&self, call: u64, fault: Fault) {
        self.lock().faults.insert(call, fault);
    }

    /// Forgets all faults not yet met.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// The faults met so far, in order.
    pub fn injected(&self) -> Vec<Injected> {
        self.lock().injected.clone()
    }

    /// How often growth was refused so far by [`set_capacity`](Self::set_capacity).
    pub fn refused(&self) -> u64 {
        self.lock().refused
    }

    /// From now on `grow` beyond `bytes` gives `ErrorKind::StorageFull`; `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Bit rot: overwrites part of the present content, and of every crash image from now on. Views
    /// taken before do not see it.
    ///
    /// # Panics
    /// When the range is not within the content: a mistake of the test.
    pub fn corrupt(&self, offset: u64, bytes: &[u8]) {
        let mut state = self.lock();
        state
            .change(|content| content.write_at(offset, bytes))
            .expect("rot within the content");
        state.record(Event::Rot {
            offset,
            bytes: bytes.into(),
        });
    }

    /// Bit rot: [`corrupt`](Self::corrupt)s one bit (0 to 7) of the byte at `offset`.
    ///
    /// # Panics
    /// When the byte is not within the content, or `bit` is above 7.
    pub fn flip_bit(&self, offset: u64, bit: u32) {
        assert!(bit < 8, "bit {bit} of a byte");
        let mut byte = [0];
        self.lock()
            .seen()
            .read_at(offset, &mut byte)
            .expect("rot within the content");
        self.corrupt(offset, &[byte[0] ^ 1 << bit]);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call; runs `effect` unless a fault says otherwise; `fault_effect` is what the fault leaves behind, and the
    /// result when the call succeeds in spite of it.
    fn call<T>(
        &self,
        operation: &'static str,
        effect: impl FnOnce(&mut State) -> io::Result<T>,
        fault_effect: impl FnOnce(&mut State, Fault) -> Option<T>,
    ) -> io::Result<T> {
        let mut state = self.lock();
        let call = state.calls;
        state.calls += 1;
        let Some(fault) = state.faults.remove(&call) else {
            return effect(&mut state);
        };
        if matches!(fault, Fault::Misdirected { .. }) && operation != "write" {
            state.faults.entry(call + 1).or_insert(fault);
            return effect(&mut state);
        }
        state.injected.push(Injected {
            call,
            operation,
            fault,
        });
        match fault {
            Fault::ErrorAfter(_) => drop(effect(&mut state)?),
            _ => {
                if let Some(result) = fault_effect(&mut state, fault) {
                    return Ok(result);
                }
            }
        }
        Err(fault.error(call))
    }
}

impl State {
    /// Logs an event that the content has already seen.
    fn record(&mut self, event: Event) {
        self.history.record(event, &self.content);
    }

    /// What the process reads.
    fn seen(&self) -> &ChunkedBytes {
        self.cached.as_ref().unwrap_or(&self.content)
    }

    /// Changes what is read, and what reaches the disk.
    fn change(&mut self, change: impl Fn(&mut ChunkedBytes) -> io::Result<()>) -> io::Result<()> {
        change(&mut self.content)?;
        self.cached.as_mut().map_or(Ok(()), change)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(|content| content.write_at(offset, bytes))?;
        self.record(Event::Write {
            offset,
            bytes: bytes.into(),
        });
        Ok(())
    }

    fn grow(&mut self, len: u64) -> io::Result<()> {
        if len <= self.content.len() {
            return Ok(());
        }
        if self.capacity.is_some_and(|capacity| len > capacity) {
            self.refused += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.change(|content| content.grow(len))?;
        self.record(Event::Grow { len });
        Ok(())
    }

    fn shrink(&mut self, len: u64) {
        if len < self.content.len() {
            self.content.shrink(len);
            if let Some(cached) = &mut self.cached {
                cached.shrink(len);
            }
            self.record(Event::Shrink { len });
        }
    }

    /// Takes the writes since the last completed sync back; whether they are still read.
    fn lose_unsynced_writes(&mut self, cached: bool) {
        self.cached = cached.then(|| self.seen().clone());
        self.content = ChunkedBytes::from_bytes(&self.history.image_without_unsynced_writes());
        self.record(Event::SyncLost);
    }
}

impl fmt::Debug for FaultyStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("FaultyStorage")
            .field("len", &state.seen().len())
            .field("events", &state.history.events().len())
            .field("calls", &state.calls)
            .finish()
    }
}

impl Storage for FaultyStorage {
    fn len(&self) -> io::Result<u64> {
        self.call("length", |state| Ok(state.seen().len()), |_, _| None)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.call(
            "read",
            |state| state.seen().read_at(offset, buffer),
            |_, _| None,
        )
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.call(
            "write",
            |state| state.write(offset, bytes),
            |state, fault| match fault {
                Fault::ShortWrite => {
                    // Out of range, nothing lands; the call fails in any case.
                    let _ = state.write(offset, &bytes[..bytes.len() / 2]);
                    None
                }
                Fault::Misdirected { to } => {
                    let last = state.content.len().checked_sub(bytes.len() as u64)?;
                    state.write(to.min(last), bytes).ok()
                }
                _ => None,
            },
        )
    }

    fn sync(&self) -> io::Result<()> {
        self.call(
            "sync",
            |state| {
                state.record(Event::Sync);
                Ok(())
            },
            |state, fault| {
                match fault {
                    Fault::SyncLoss => state.lose_unsynced_writes(false),
                    Fault::SyncForgotten => state.lose_unsynced_writes(true),
                    _ => {}
                }
                None
            },
        )
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        self.call("grow", |state| state.grow(len), |_, _| None)
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.call(
            "shrink",
            |state| {
                state.shrink(len);
                Ok(())
            },
            |_, _| None,
        )
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.call(
            "punch",
            |state| {
                state.change(|content| content.punch_hole(offset, len))?;
                state.record(Event::PunchHole { offset, len });
                Ok(true)
            },
            |_, _| None,
        )
    }

    fn view(&self, len: u64) -> io::Result<View> {
        self.call("view", |state| state.seen().view(len), |_, _| None)
    }
}

#[cfg(test)]
mod tests;
