//! The write path: from changes to a journal frame, the overlay and a new state. What all handles of a database share.
//!
//! * W1 Writers are serialised by one lock; readers take none.
//! * W2 A state is published only after its frame is in the journal's buffer, and a state holds whole batches.
//! * W3 What a state holds is in the file after a sync that began later.
//!
//! A batch too large for the journal is merged into the pages directly and committed by a checkpoint.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, Weak};

use shroom_page::{JournalMark, PageError, PageStore};

use crate::activity::Counters;
use crate::compaction::Compactor;
use crate::drain::{Drain, Draining};
use crate::error::{Error, Result};
use crate::operation::Operation;
use crate::options::Options;
use crate::overlay::{OPERATIONS_MAX, Overlay};
use crate::pace::Progress;
use crate::state::{Base, State};
use crate::sync::{ArcSwap, Condvar, JoinHandle, Mutex, MutexGuard};

/// A value has at most this many pages' bytes (16 GiB at 4 KiB pages).
const VALUE_PAGES_MAX: u64 = 1 << 22;
/// Upper bound of an operation's bytes besides its data: code and three varints.
const OPERATION_OVERHEAD: usize = 32;

/// A change asked for, over borrowed bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Write<'a> {
    Put {
        id: u64,
        bytes: &'a [u8],
    },
    /// Under the next id, chosen once there is room: whoever waits for a checkpoint lets other writers in.
    Insert {
        bytes: &'a [u8],
    },
    Append {
        id: u64,
        bytes: &'a [u8],
    },
    /// The bytes from `offset` on, which is not behind the end, become these.
    Replace {
        id: u64,
        offset: u64,
        bytes: &'a [u8],
    },
    Truncate {
        id: u64,
        length: u64,
    },
    Delete {
        id: u64,
    },
    Tag {
        value: u64,
    },
}

impl Write<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Put { bytes, .. }
            | Self::Insert { bytes }
            | Self::Append { bytes, .. }
            | Self::Replace { bytes, .. } => bytes.len() + OPERATION_OVERHEAD,
            _ => OPERATION_OVERHEAD,
        }
    }

    /// Whether what it comes to depends on the length that its token has.
    fn needs_length(&self) -> bool {
        match self {
            Self::Append { .. }
            | Self::Replace { .. }
            | Self::Truncate { .. }
            | Self::Delete { .. } => true,
            Self::Put { .. } | Self::Insert { .. } | Self::Tag { .. } => false,
        }
    }
}

/// What a write did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Sequence of the journal frame that must be durable for the write to be.
    pub(crate) sequence: u64,
    /// Id of the token inserted.
    pub(crate) id: u64,
    /// Length of the token after the last append.
    pub(crate) length: u64,
    /// Whether the last token deleted was there.
    pub(crate) deleted: bool,
}

/// What all handles of a database share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) store: PageStore,
    pub(crate) state: ArcSwap<State>,
    pub(crate) options: Options,
    writer: Mutex<Writer>,
    /// Signalled when a background checkpoint has ended.
    pub(crate) drained: Condvar,
    pub(crate) progress: Progress,
    /// For the thread that drains in the background.
    pub(crate) this: Weak<Core>,
    /// Sequence of the checkpoint found at open.
    pub(crate) opened_at: u64,
    pub(crate) compactor: Compactor,
    pub(crate) counters: Counters,
}

/// What only the holder of the writer's lock changes.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    scratch: Vec<u8>,
    pub(crate) draining: Draining,
    /// Who waits for a checkpoint, or for a step of a compaction, to end.
    pub(crate) waiting: u32,
    /// The thread of the last compaction that began by itself.
    pub(crate) compaction_thread: Option<JoinHandle<()>>,
    /// The thread that ran the last background checkpoint.
    pub(crate) thread: Option<JoinHandle<()>>,
    /// Bytes of the active journal area at which the next pause is due, while a checkpoint runs.
    pub(crate) pause_at: u64,
    /// Highest id in use: `None` when not known, `Some(None)` when there is no token.
    highest: Option<Option<u64>>,
    pub(crate) closed: bool,
    /// The handle that closed it is at it.
    pub(crate) closing: bool,
}

impl Core {
    /// Reads the checkpoint and replays the journal over it.
    pub(crate) fn open(store: PageStore, options: Options) -> Result<Arc<Self>> {
        let _span = tracing::debug_span!("recovery").entered();
        let base = Arc::new(Base::new(store.snapshot())?);
        let mut overlay = Overlay::default();
        let recovered = store.take_recovered();
        for (sequence, payload) in recovered.iter() {
            replay(&mut overlay, payload).map_err(|detail| Error::Journal { sequence, detail })?;
        }
        if !overlay.is_empty() {
            tracing::info!(tokens = overlay.len(), "journal replayed");
        }
        let state = State::new(base, None, overlay);
        state.check_appends()?;
        let opened_at = store.snapshot().sequence();
        Ok(Arc::new_cyclic(|this| Self {
            store,
            state: ArcSwap::from_pointee(state),
            options,
            writer: Mutex::default(),
            drained: Condvar::new(),
            progress: Progress::default(),
            this: Weak::clone(this),
            opened_at,
            compactor: Compactor::default(),
            counters: Counters::default(),
        }))
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer's lock, when the database takes writes.
    pub(crate) fn writable(&self) -> Result<MutexGuard<'_, Writer>> {
        if self.store.is_read_only() {
            return Err(PageError::ReadOnly.into());
        }
        if self.store.is_poisoned() {
            return Err(PageError::Poisoned.into());
        }
        let writer = self.writer();
        writer.check_open()?;
        Ok(writer)
    }

    /// Commits changes as one batch.
    pub(crate) fn write(&self, writes: &[Write<'_>]) -> Result<Outcome> {
        let outcome = self.write_locked(self.writable()?, writes)?;
        self.compact_if_due();
        Ok(outcome)
    }

    pub(crate) fn value_len_max(&self) -> u64 {
        VALUE_PAGES_MAX << self.store.page_size().shift()
    }

    pub(crate) fn write_locked<'g>(
        &'g self,
        mut writer: MutexGuard<'g, Writer>,
        writes: &[Write<'_>],
    ) -> Result<Outcome> {
        let len: usize = writes.iter().map(Write::len).sum();
        if len as u64 > self.options.journal_limit || writes.len() > OPERATIONS_MAX {
            return self.write_direct(writer, writes);
        }
        loop {
            match self.try_write(&mut writer, writes)? {
                Ok(outcome) => {
                    self.counters.wrote(&writer, writes);
                    self.slow_down(writer);
                    return Ok(outcome);
                }
                Err(len) => writer = self.make_room(writer, len)?,
            }
        }
    }

    /// Commits changes as one batch, if the journal has room for it; else says how many bytes it takes.
    pub(crate) fn try_write(
        &self,
        writer: &mut Writer,
        writes: &[Write<'_>],
    ) -> Result<Result<Outcome, usize>> {
        let mut outcome = self.begin_outcome(writer, writes)?;
        let state = self.state.load();
        writer.scratch.clear();
        self.encode(&state, writes, &mut outcome, &mut writer.scratch)?;
        let len = writer.scratch.len();
        outcome.sequence = if len == 0 {
            self.store.journal_mark().sequence
        } else if !state.overlay.has_room(writes.len()) {
            return Ok(Err(len));
        } else {
            match self.store.journal_append(&writer.scratch)? {
                Some(sequence) => sequence,
                None => return Ok(Err(len)),
            }
        };
        writer.note_ids(writes, outcome.id);
        if len > 0 {
            // What is seen now is what a replay of the frame will come to. It fits: its operations were made for this state.
            let mut overlay = state.overlay.clone();
            replay(&mut overlay, &writer.scratch).map_err(|detail| Error::Journal {
                sequence: outcome.sequence,
                detail,
            })?;
            let next = State::new(Arc::clone(&state.base), state.frozen.clone(), overlay);
            drop(state);
            self.state.store(Arc::new(next));
        }
        Ok(Ok(outcome))
    }

    /// Adds the operations that writes come to, one after the other, in a state.
    fn encode(
        &self,
        state: &State,
        writes: &[Write<'_>],
        outcome: &mut Outcome,
        frame: &mut Vec<u8>,
    ) -> Result<()> {
        // Lengths after the operations so far, where one that follows may depend on them.
        let mut lengths = BTreeMap::new();
        let is_noted = writes.len() > 1 && writes.iter().any(Write::needs_length);
        for write in writes {
            let length = |id: u64| match lengths.get(&id) {
                Some(&length) => Ok(length),
                None => state.length(id),
            };
            let Some(operation) = self.resolve(write, outcome, length)? else {
                continue;
            };
            operation.encode(frame);
            if let Some((id, length)) = operation.length_after().filter(|_| is_noted) {
                lengths.insert(id, length);
            }
        }
        Ok(())
    }

    /// The operation that a write comes to where tokens have these lengths; `None` when it changes nothing.
    fn resolve<'w>(
        &self,
        write: &Write<'w>,
        outcome: &mut Outcome,
        length: impl Fn(u64) -> Result<Option<u64>>,
    ) -> Result<Option<Operation<'w>>> {
        Ok(match *write {
            Write::Put { id, bytes } => {
                self.check_length(id, bytes.len() as u64)?;
                Some(Operation::Put { id, bytes })
            }
            Write::Insert { bytes } => {
                let id = outcome.id;
                self.check_length(id, bytes.len() as u64)?;
                Some(Operation::Put { id, bytes })
            }
            Write::Append { id, bytes } => {
                let before = length(id)?;
                let offset = before.unwrap_or(0);
                outcome.length = offset.saturating_add(bytes.len() as u64);
                self.check_length(id, outcome.length)?;
                // Appending nothing to a token that is there changes nothing.
                let changes = before.is_none() || !bytes.is_empty();
                changes.then_some(Operation::Append { id, offset, bytes })
            }
            Write::Replace { id, offset, bytes } => {
                self.check_length(id, offset.saturating_add(bytes.len() as u64))?;
                check_end(id, offset, length(id)?)?;
                Some(Operation::Append { id, offset, bytes })
            }
            Write::Truncate { id, length: end } => {
                let before = length(id)?;
                check_end(id, end, before)?;
                let cuts = before.is_some_and(|before| before > end);
                cuts.then_some(Operation::Append {
                    id,
                    offset: end,
                    bytes: &[],
                })
            }
            Write::Delete { id } => {
                outcome.deleted = length(id)?.is_some();
                outcome.deleted.then_some(Operation::Delete { id })
            }
            Write::Tag { value } => Some(Operation::Tag { value }),
        })
    }

    pub(crate) fn check_length(&self, id: u64, length: u64) -> Result<()> {
        let limit = self.value_len_max();
        if length > limit {
            Err(Error::ValueTooLarge { id, length, limit })
        } else {
            Ok(())
        }
    }

    /// Merges changes into the pages at once, and commits by a checkpoint.
    fn write_direct<'g>(
        &'g self,
        writer: MutexGuard<'g, Writer>,
        writes: &[Write<'_>],
    ) -> Result<Outcome> {
        for write in writes {
            match *write {
                Write::Put { id, bytes } => self.check_length(id, bytes.len() as u64)?,
                // Its id is not chosen yet.
                Write::Insert { bytes } => self.check_length(0, bytes.len() as u64)?,
                _ => {}
            }
        }
        let mut writer = self.drain_all(writer)?;
        let state = self.state.load_full();
        let mut overlay = Overlay::default();
        let mut outcome = self.begin_outcome(&mut writer, writes)?;
        // A single large value is not copied on its way.
        let put = match *writes {
            [Write::Put { id, bytes }] => Some((id, bytes)),
            [Write::Insert { bytes }] => Some((outcome.id, bytes)),
            _ => None,
        };
        for write in writes.iter().filter(|_| put.is_none()) {
            let length = |id: u64| match overlay.get(id) {
                Some(change) => Ok(change.length()),
                None => state.length(id),
            };
            if let Some(operation) = self.resolve(write, &mut outcome, length)? {
                overlay.apply(operation).map_err(|detail| Error::Journal {
                    sequence: 0,
                    detail,
                })?;
            }
        }
        let drain = Drain {
            mark: self.store.journal_mark().skip_one(),
            areas: [None; 2],
        };
        let base = match put {
            Some(put) => self.drain_value(&drain, put)?,
            None => self.drain_atomically(&drain, &overlay)?,
        };
        writer.note_ids(writes, outcome.id);
        self.counters.wrote(&writer, writes);
        outcome.sequence = drain.mark.sequence;
        self.state
            .store(Arc::new(State::new(base, None, Overlay::default())));
        Ok(outcome)
    }

    /// Stores a value under the next id above the highest in use.
    pub(crate) fn insert(&self, bytes: &[u8]) -> Result<u64> {
        Ok(self.write(&[Write::Insert { bytes }])?.id)
    }

    /// The outcome of writes to come: chooses the id of an insert.
    fn begin_outcome(&self, writer: &mut Writer, writes: &[Write<'_>]) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        if let [Write::Insert { .. }] = writes {
            let highest = match writer.highest {
                Some(highest) => highest,
                None => crate::iter::Keys(crate::iter::Iter::new(self.state.load_full(), ..))
                    .next_back()
                    .transpose()?,
            };
            writer.highest = Some(highest);
            outcome.id = match highest {
                None => 0,
                Some(highest) => highest.checked_add(1).ok_or(Error::IdsExhausted)?,
            };
        }
        Ok(outcome)
    }

    /// Makes everything up to a frame durable.
    pub(crate) fn sync(&self, sequence: u64) -> Result<()> {
        let _span = tracing::debug_span!("flush", sequence).entered();
        Ok(self.store.journal_sync(sequence)?)
    }

    /// Makes everything that is visible durable.
    pub(crate) fn flush(&self) -> Result<()> {
        if self.store.is_read_only() {
            return Ok(());
        }
        let mark = {
            let writer = self.writer();
            if writer.closed {
                return Err(Error::Closed);
            }
            self.store.journal_mark()
        };
        self.sync(mark.sequence)?;
        self.compact_if_due();
        Ok(())
    }

    pub(crate) fn mark(&self) -> JournalMark {
        self.store.journal_mark()
    }
}

impl Writer {
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    /// Keeps the highest id in use, or forgets it.
    fn note_ids(&mut self, writes: &[Write<'_>], inserted: u64) {
        for write in writes {
            let Some(highest) = self.highest else { return };
            self.highest = match *write {
                Write::Put { id, .. } | Write::Append { id, .. } | Write::Replace { id, .. } => {
                    Some(highest.max(Some(id)))
                }
                Write::Insert { .. } => Some(Some(inserted)),
                Write::Delete { id } if highest == Some(id) => None,
                _ => Some(highest),
            };
        }
    }

    pub(crate) fn forget_ids(&mut self) {
        self.highest = None;
    }
}

/// A value has no gaps: a place in it is at most its end.
pub(crate) fn check_end(id: u64, offset: u64, length: Option<u64>) -> Result<()> {
    let length = length.unwrap_or(0);
    if offset <= length {
        return Ok(());
    }
    Err(Error::BeyondEnd { id, offset, length })
}

/// Applies the operations of a frame; says what is wrong with them.
pub(crate) fn replay(overlay: &mut Overlay, payload: &[u8]) -> std::result::Result<(), String> {
    let mut rest = payload;
    while let Some(operation) = Operation::decode(&mut rest)? {
        overlay.apply(operation)?;
    }
    Ok(())
}
