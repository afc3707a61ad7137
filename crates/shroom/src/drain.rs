//! The checkpoint: merging a frozen overlay into the pages, a slice of the id space at a time.
//!
//! * D1 What is drained stays visible: readers see the frozen overlay until the state that contains it is published.
//! * D2 The journal frames of an overlay are durable before the commit of its first slice of several, and released only by
//!   the commit that contains its last; a crash before replays them over whatever slices are in, which changes nothing.
//! * D3 When a checkpoint runs depends on bytes written and calls made, never on time.

use std::iter::Peekable;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, PoisonError};
use std::thread;

use shroom_page::{JournalMark, PageError, Roots};
use shroom_seg::SegmentTxn;
use shroom_token::{Bytes, Edit, TokenId, TokenRoot, merge};

use crate::core::{Core, Writer};
use crate::error::{Error, ErrorKind, Result};
use crate::overlay::Overlay;
use crate::read_ahead::ReadAhead;
use crate::root::ApplicationRoot;
use crate::state::{Base, State};
use crate::sync::{Builder, MutexGuard};
use crate::sync_ahead::SyncAhead;
use crate::tracking::Tracker;

/// Size of a new journal area, in bytes.
const AREA_BYTES_MIN: u64 = 64 << 10;
/// A new journal area has this part of the file: were it small beside the file, each of the first checkpoints would rewrite a page for
/// every token that it moves.
const AREA_PART: u64 = 16;
/// A journal area that was filled becomes so many times as large, up to its limit.
const AREA_GROWTH: u32 = 4;
/// A journal area may grow to this however small the data is, in bytes.
const AREA_BYTES_SMALL: u64 = 1 << 20;
/// Changed pages in memory, at least, before a slice is committed, in bytes.
const SLICE_BYTES_MIN: u64 = 8 << 20;
/// A slice is at most this part of the file (copy-on-write needs as much free space).
const SLICE_PART: u64 = 8;

/// Changed pages in memory, in bytes, that are written out before more of a slice is merged.
const PART_BYTES: usize = 2 << 20;

/// What hashing a token costs, where the content root is kept, in the time that merging it takes.
const HASHING_STEPS: u64 = 2;

/// What a checkpoint commits besides the pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    /// The last frame that it contains.
    pub(crate) mark: JournalMark,
    /// New sizes of the journal areas, in pages.
    pub(crate) areas: [Option<u32>; 2],
}

/// Where the background checkpoint is.
#[derive(Debug, Default)]
pub(crate) enum Draining {
    #[default]
    Idle,
    /// A thread is at it.
    Running,
    /// A step of a compaction has the pages to itself.
    Compacting,
    /// It failed; the frozen overlay is still there, and so are its frames.
    Failed { error: Arc<Error>, drain: Drain },
}

impl Draining {
    /// Somebody else changes the pages.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Running | Self::Compacting)
    }
}

impl Core {
    /// Makes room in the journal for a frame of `len` bytes: begins the other area, and drains what the full one holds.
    pub(crate) fn make_room<'g>(
        &'g self,
        writer: MutexGuard<'g, Writer>,
        len: usize,
    ) -> Result<MutexGuard<'g, Writer>> {
        let mut writer = self.wait_for_drain(writer)?;
        writer.check_open()?;
        if !self.store.journal_fits(len) {
            self.make_areas(&mut writer, len)?;
            return Ok(writer);
        }
        let sealed = self.store.journal_active();
        let mark = self.mark();
        if !self.store.journal_rotate()? {
            // After a crash both areas may hold frames.
            writer = self.drain_all(writer)?;
            self.store.journal_rotate()?;
            return Ok(writer);
        }
        writer.pause_at = 0;
        if self.freeze() {
            let mut drain = Drain {
                mark,
                areas: [None; 2],
            };
            if let Some(area) = sealed {
                drain.areas[area] = self.grown_area(area);
            }
            self.start(&mut writer, drain)?;
        }
        Ok(writer)
    }

    /// Drains everything, and makes both areas large enough for a frame of `len` bytes.
    fn make_areas(&self, writer: &mut Writer, len: usize) -> Result<()> {
        let need = (2 * len as u64)
            .next_power_of_two()
            .clamp(AREA_BYTES_MIN, 2 * self.options.journal_limit);
        let begun = (self.data_bytes() / AREA_PART).min(self.options.journal_limit);
        let pages = self.pages(need.max(begun)).max(4);
        self.freeze();
        let drain = Drain {
            mark: self.mark(),
            areas: [Some(pages); 2],
        };
        self.drain_now(writer, drain)?;
        self.store.journal_rotate()?;
        Ok(())
    }

    fn pages(&self, bytes: u64) -> u32 {
        (bytes >> self.store.page_size().shift()) as u32
    }

    /// Length of the file without what no checkpoint has.
    fn data_bytes(&self) -> u64 {
        let pages = self.state.load().base.pages.physical_pages();
        u64::from(pages) << self.store.page_size().shift()
    }

    /// A larger size for an area that was filled, as far as the data and the limit warrant.
    fn grown_area(&self, area: usize) -> Option<u32> {
        let present = self.store.journal_pages()[area];
        let data = self.data_bytes();
        let limit = self.options.journal_limit;
        let warranted = (data / 2).clamp(AREA_BYTES_SMALL.min(limit), limit);
        let next = present
            .saturating_mul(AREA_GROWTH)
            .min(self.pages(warranted));
        (next > present).then_some(next)
    }

    /// Moves the overlay below an empty one; false when there was nothing in it. Nothing may be frozen already.
    pub(crate) fn freeze(&self) -> bool {
        let state = self.state.load_full();
        assert!(state.frozen.is_none(), "an overlay was frozen over another");
        if state.overlay.is_empty() {
            return false;
        }
        let frozen = Some(state.overlay.clone());
        self.state.store(Arc::new(State::new(
            Arc::clone(&state.base),
            frozen,
            Overlay::default(),
        )));
        true
    }

    /// Drains the frozen overlay, on a thread where that is wanted.
    pub(crate) fn start(&self, writer: &mut Writer, drain: Drain) -> Result<()> {
        if !self.options.background {
            return self.drain_now(writer, drain);
        }
        let Some(core) = self.this.upgrade() else {
            return self.drain_now(writer, drain);
        };
        writer.draining = Draining::Running;
        let before = writer.thread.take();
        let work = move || {
            // Held to the end: taking it down takes a while, and a writer may be waiting.
            let frozen = core.state.load().frozen.clone();
            // A panic would be a bug of ours; nobody may wait for ever because of it.
            let ended = catch_unwind(AssertUnwindSafe(|| {
                core.drain_frozen(&drain, &mut |base, last| {
                    let _writer = core.writer();
                    core.publish_base(base, last);
                })
            }));
            let failed = |error| Draining::Failed {
                error: Arc::new(error),
                drain,
            };
            let mut writer = core.writer();
            let panic;
            (writer.draining, panic) = match ended {
                Ok(Ok(())) => {
                    core.note_drained(&mut writer);
                    (Draining::Idle, None)
                }
                Ok(Err(error)) => (failed(error), None),
                Err(panic) => (failed(Error::Page(PageError::Poisoned)), Some(panic)),
            };
            core.drained.notify_all();
            drop(writer);
            drop(frozen);
            // It may still be taking its own down, with a hold on the storage. Whoever closes waits for the last thread only.
            if let Some(before) = before {
                drop(before.join());
            }
            if let Some(panic) = panic {
                resume_unwind(panic);
            }
        };
        match Builder::new().name("shroom-checkpoint".into()).spawn(work) {
            Ok(thread) => {
                writer.thread = Some(thread);
                Ok(())
            }
            Err(_) => self.drain_now(writer, drain),
        }
    }

    /// Drains the frozen overlay, if any, here and now, under the writer's lock.
    pub(crate) fn drain_now(&self, writer: &mut Writer, drain: Drain) -> Result<()> {
        writer.draining = Draining::Idle;
        let result = self.drain_frozen(&drain, &mut |base, last| self.publish_base(base, last));
        if let Err(error) = result {
            let error = Arc::new(error);
            if self.state.load().frozen.is_some() {
                writer.draining = Draining::Failed {
                    error: Arc::clone(&error),
                    drain,
                };
            }
            return Err(Error::Checkpoint(error));
        }
        self.note_drained(writer);
        Ok(())
    }

    /// Waits until nobody else changes the pages. A compaction begins no step while somebody waits.
    pub(crate) fn wait_while_busy<'g>(
        &'g self,
        mut writer: MutexGuard<'g, Writer>,
    ) -> MutexGuard<'g, Writer> {
        if !writer.draining.is_busy() {
            return writer;
        }
        writer.waiting += 1;
        while writer.draining.is_busy() {
            writer = self
                .drained
                .wait(writer)
                .unwrap_or_else(PoisonError::into_inner);
        }
        writer.waiting -= 1;
        self.drained.notify_all();
        writer
    }

    /// Waits until no checkpoint runs. One that failed is tried again where that can help: the disk may have room again, and a
    /// page whose write failed is no part of any state. (A failed sync is not tried again: it has poisoned the store.)
    pub(crate) fn wait_for_drain<'g>(
        &'g self,
        writer: MutexGuard<'g, Writer>,
    ) -> Result<MutexGuard<'g, Writer>> {
        let mut writer = self.wait_while_busy(writer);
        if let Draining::Failed { error, drain } = &writer.draining {
            let (error, drain) = (Arc::clone(error), *drain);
            if !matches!(error.kind(), ErrorKind::Full | ErrorKind::Io) {
                return Err(Error::Checkpoint(error));
            }
            self.drain_now(&mut writer, drain)?;
        }
        Ok(writer)
    }

    /// Drains all that the journal holds: afterwards the state is its base.
    pub(crate) fn drain_all<'g>(
        &'g self,
        writer: MutexGuard<'g, Writer>,
    ) -> Result<MutexGuard<'g, Writer>> {
        let mut writer = self.wait_for_drain(writer)?;
        writer.check_open()?;
        if self.freeze() {
            self.drain_now(
                &mut writer,
                Drain {
                    mark: self.mark(),
                    areas: [None; 2],
                },
            )?;
        }
        Ok(writer)
    }

    /// Merges the frozen overlay slice by slice; `publish` is called after each commit, and told which is the last.
    fn drain_frozen(&self, drain: &Drain, publish: &mut dyn FnMut(Arc<Base>, bool)) -> Result<()> {
        let frozen = self.state.load().frozen.clone().unwrap_or_default();
        let span = tracing::debug_span!("checkpoint", tokens = frozen.len());
        let _entered = span.enter();
        let timed = (!frozen.is_empty()).then(|| self.counters.checkpoint());
        let kept = self.state.load().base.lattice.is_some();
        let steps = if kept { 1 + HASHING_STEPS } else { 1 };
        self.progress.begin(frozen.len() as u64 * steps);
        let edits = frozen.edits().inspect(|_| self.progress.step(1));
        let mut edits = edits.peekable();
        // What is below is in the pages.
        let mut first_id = 0;
        loop {
            let before = self.store.snapshot();
            let budget = self.slice_bytes(before.physical_pages());
            let mut roots = *before.roots();
            drop(before);
            let mut tracker = Tracker::open(self)?;
            let mut txn = self.store.begin()?;
            let mut segments = SegmentTxn::open(&mut txn, &roots.seg)?;
            let root = TokenRoot::decode(&roots.token)?;
            let root = thread::scope(|scope| {
                let _reading = ReadAhead::begin(scope, self, &frozen, first_id);
                self.merge_slice(&mut segments, root, &mut edits, budget)
            })?;
            let next = edits.peek().map(|(id, _)| id.0);
            let last_id = next.map_or(u64::MAX, |next| next.saturating_sub(1));
            let hashed = || self.progress.step(HASHING_STEPS);
            tracker.apply(&frozen, first_id..=last_id, &hashed)?;
            tracker.finish(&mut segments, &mut roots)?;
            roots.seg = segments.finish()?;
            roots.token = root.encode();
            let last = next.is_none();
            first_id = next.unwrap_or(u64::MAX);
            if last {
                drain.finish(&mut txn, &mut roots, frozen.tag)?;
            } else {
                // Should the rest not follow, its frames must.
                self.sync(drain.mark.sequence)?;
            }
            publish(Arc::new(Base::new(txn.commit(roots)?)?), last);
            if last {
                if let Some(timed) = timed {
                    timed.done();
                }
                return Ok(());
            }
        }
    }

    /// Merges a slice. What a large one has changed is written out as it comes, and synced meanwhile.
    fn merge_slice<'e>(
        &self,
        segments: &mut SegmentTxn<'_, '_>,
        mut root: TokenRoot,
        edits: &mut Peekable<impl Iterator<Item = (TokenId, Edit<'e>)>>,
        budget: usize,
    ) -> Result<TokenRoot> {
        thread::scope(|scope| {
            let mut ahead = SyncAhead::new(scope, self);
            let mut written = 0;
            loop {
                let part = segments.dirty_bytes() + PART_BYTES.min(budget - written);
                root = merge(segments, &root, edits, part)?;
                written += segments.pages().dirty_bytes();
                if edits.peek().is_none() || written >= budget {
                    break;
                }
                segments.pages_mut().spill()?;
                ahead.start()?;
            }
            ahead.finish()?;
            Ok(root)
        })
    }

    /// Bytes of changed pages after which a slice is committed, in a file of this many pages.
    fn slice_bytes(&self, physical_pages: u32) -> usize {
        let file = u64::from(physical_pages) << self.store.page_size().shift();
        let by_size = (file / SLICE_PART).max(SLICE_BYTES_MIN) as usize;
        self.options.slice_bytes.unwrap_or(by_size)
    }

    /// Merges an overlay in one commit.
    pub(crate) fn drain_atomically(&self, drain: &Drain, overlay: &Overlay) -> Result<Arc<Base>> {
        let mut edits = overlay.edits().peekable();
        self.commit_pages(drain, overlay.tag, |segments, root, tracker| {
            let root = merge(segments, &root, &mut edits, usize::MAX)?;
            tracker.apply(overlay, 0..=u64::MAX, &|| {})?;
            Ok(root)
        })
    }

    /// Puts one value in one commit.
    pub(crate) fn drain_value(
        &self,
        drain: &Drain,
        (id, bytes): (u64, &[u8]),
    ) -> Result<Arc<Base>> {
        let edit = (TokenId(id), Edit::Put(Bytes::One(bytes)));
        let mut edits = std::iter::once(edit).peekable();
        self.commit_pages(drain, None, |segments, root, tracker| {
            let root = merge(segments, &root, &mut edits, usize::MAX)?;
            tracker.put(std::iter::once((id, bytes)))?;
            Ok(root)
        })
    }

    /// One commit of whatever `change` does to the tokens, and tells the tracker.
    pub(crate) fn commit_pages(
        &self,
        drain: &Drain,
        tag: Option<u64>,
        change: impl FnOnce(&mut SegmentTxn<'_, '_>, TokenRoot, &mut Tracker) -> Result<TokenRoot>,
    ) -> Result<Arc<Base>> {
        let mut roots = *self.store.snapshot().roots();
        let mut tracker = Tracker::open(self)?;
        let mut txn = self.store.begin()?;
        let mut segments = SegmentTxn::open(&mut txn, &roots.seg)?;
        let root = TokenRoot::decode(&roots.token)?;
        let root = change(&mut segments, root, &mut tracker)?;
        tracker.finish(&mut segments, &mut roots)?;
        roots.seg = segments.finish()?;
        roots.token = root.encode();
        drain.finish(&mut txn, &mut roots, tag)?;
        Ok(Arc::new(Base::new(txn.commit(roots)?)?))
    }

    /// Publishes a base below the overlays that are there; after the last slice the frozen one is in it.
    pub(crate) fn publish_base(&self, base: Arc<Base>, last: bool) {
        let state = self.state.load_full();
        let frozen = if last { None } else { state.frozen.clone() };
        self.state
            .store(Arc::new(State::new(base, frozen, state.overlay.clone())));
    }

    /// Drains everything, gives the journal's space back and cuts the file to its data. The database takes no more writes.
    pub(crate) fn close(&self) -> Result<()> {
        if self.store.is_read_only() {
            return Ok(());
        }
        let mut writer = self.writer();
        if std::mem::replace(&mut writer.closed, true) {
            return self.wait_for_close(writer);
        }
        writer.closing = true;
        let closing = Closing { core: self };
        let closed = self.close_locked(writer);
        if closed.is_err() && !self.store.is_poisoned() {
            // What no checkpoint could take stays in the journal.
            self.sync(self.mark().sequence)?;
        }
        drop(closing);
        closed
    }

    /// For whoever closes what another handle has closed or is closing: that one may be waiting for a checkpoint still.
    fn wait_for_close(&self, mut writer: MutexGuard<'_, Writer>) -> Result<()> {
        while writer.closing {
            writer = self
                .drained
                .wait(writer)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(writer);
        // Does nothing but tell of a failure.
        self.sync(self.mark().sequence)
    }

    /// Waits until no checkpoint runs and the threads have ended, whether or not they could do their work. The database is
    /// closed, so no other begins.
    fn end_threads<'g>(&'g self, mut writer: MutexGuard<'g, Writer>) -> MutexGuard<'g, Writer> {
        // A compaction ends with the step that it is at, for which it needs the lock.
        if let Some(thread) = writer.compaction_thread.take() {
            drop(writer);
            drop(thread.join());
            writer = self.writer();
        }
        writer = self.wait_while_busy(writer);
        if let Some(thread) = writer.thread.take() {
            // It is past its last use of the lock, and lets go of the storage, and so of the file's lock, as it ends.
            drop(thread.join());
        }
        writer
    }

    fn close_locked(&self, writer: MutexGuard<'_, Writer>) -> Result<()> {
        let writer = self.end_threads(writer);
        if self.store.is_poisoned() {
            return Err(PageError::Poisoned.into());
        }
        let mut writer = self.wait_for_drain(writer)?;
        let areas = self.store.journal_pages();
        if !self.freeze() && areas == [0; 2] && self.store.snapshot().sequence() == self.opened_at {
            // A stream that was given up may have lengthened the file.
            return Ok(self.store.cut_tail()?);
        }
        let drain = Drain {
            mark: self.mark(),
            areas: areas.map(|pages| (pages > 0).then_some(0)),
        };
        self.drain_now(&mut writer, drain)?;
        let mut published = Ok(());
        self.store.vacuum(&mut |pages| match Base::new(pages) {
            // The state's own base must not keep the file's tail alive.
            Ok(base) => self.publish_base(Arc::new(base), true),
            Err(error) => published = Err(error),
        })?;
        published?;
        Ok(self.store.settle()?)
    }
}

/// The database is being closed: it no longer is when this is dropped, however that went.
struct Closing<'c> {
    core: &'c Core,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.core.writer().closing = false;
        self.core.drained.notify_all();
    }
}

impl Drain {
    fn finish(
        &self,
        txn: &mut shroom_page::PageTxn<'_>,
        roots: &mut Roots,
        tag: Option<u64>,
    ) -> Result<()> {
        txn.set_drained(self.mark);
        for (index, pages) in self.areas.into_iter().enumerate() {
            if let Some(pages) = pages {
                txn.set_journal_area(index, pages);
            }
        }
        if let Some(tag) = tag {
            let root = ApplicationRoot::decode(&roots.application)?;
            roots.application = ApplicationRoot { tag, ..root }.encode();
        }
        Ok(())
    }
}
