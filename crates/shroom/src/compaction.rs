//! Compaction in place: the file's pages move, a bounded commit at a time, until they lie as in the canonical image.
//!
//! * I1 Each step is an ordinary commit that changes no token. A crash, a stop or an error between two steps leaves a sound file
//!   with all content, and nothing of how far the work was is stored.
//! * I2 Readers never wait. A writer waits for a step only where it would wait for a checkpoint: when the journal is full. Then
//!   no other step begins before it.
//! * I3 Whatever else is committed between two steps, the number of steps is bounded. Without such commits, snapshots that are
//!   saved, and a kept sum, the result is the canonical image in all but what the format says (§10).
//! * I4 The file grows by a few steps and a 64th of its data at most, as long as no reader holds a state for long.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use shroom_page::{Arranged, Arranging, LogicalPage, PageRead, Roots, Snapshot as Pages};
use shroom_seg::SegmentTxn;
use shroom_token::compaction::{Gather, Home, survey};
use shroom_token::{TokenId, TokenRoot, range};

use crate::core::{Core, Writer};
use crate::db::Db;
use crate::drain::{Drain, Draining};
use crate::error::{Error, Result};
use crate::lattice::LATTICE_LEN;
use crate::root::ApplicationRoot;
use crate::state::Base;
use crate::sync::{AtomicU64, Builder, Mutex, MutexGuard};

/// A step changes this part of the file, by default.
const STEP_PART: u64 = 128;
/// But at least and at most so many bytes.
const STEP_BYTES: (u64, u64) = (1 << 20, 16 << 20);
/// Numbers that the image may need beyond those in use: a part of these, and a few.
const NUMBERS_PART: u32 = 8;
const NUMBERS_MIN: u32 = 512;
/// When so many times as many numbers were given out as there can be pages, those behind are left where they are.
const NUMBERS_SPARSE: u32 = 8;
/// How often what readers held in place is tried again.
const SWEEPS_MAX: u32 = 3;
/// A file of fewer pages is not compacted by itself.
const AUTOMATIC_PAGES_MIN: u64 = 64;

/// What a compaction is at. The stages come in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CompactStage {
    /// What is near in ids is gathered, page after page.
    Gather,
    /// The tokens are packed again, in the order of ids.
    Pack,
    /// Pages go to their places in the file.
    Arrange,
    /// The file is cut.
    Cut,
}

/// How far a compaction in place is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CompactProgress {
    /// What it is at.
    pub stage: CompactStage,
    /// About how much of it is done, 0 to 1.
    pub share: f64,
    /// All of it is.
    pub done: bool,
    /// When it is done: whether the pages are those of the canonical image, at their places. Not when something was written
    /// meanwhile, when there are named snapshots, or when the file keeps the sum for the content root.
    pub canonical: bool,
    /// Named snapshots, whose pages stay where they are.
    pub snapshots: u64,
    /// Length of the file now, in bytes.
    pub file_bytes: u64,
}

/// Is told of the progress after each step, and may stop the work.
pub type OnCompactProgress<'p> = &'p mut dyn FnMut(&CompactProgress) -> ControlFlow<()>;

impl Db {
    /// Compacts the file in place: packs are full, no page is free, and the file is as short as [`compact_into`](Self::compact_into)
    /// would make it. Readers and writers go on meanwhile. When nothing is written meanwhile, the file is then equal to the
    /// canonical image but for its sequence numbers. The pages of named snapshots stay where they are, so such a file is not; and where
    /// those are most pages of the present state, too, its tokens are not packed again, which would only add to the file.
    ///
    /// Needs little more room than the file has: a 64th of the data and a few steps, each a 128th of the file (1 to 16 MiB). A crash at
    /// any point leaves all content; what was done is not lost, but the next compaction begins anew. Called while another one runs,
    /// it takes part in that and returns when it is done.
    ///
    /// # Errors
    /// Corruption of the bytes read; those of [`checkpoint`](Self::checkpoint).
    pub fn compact(&self) -> Result<CompactProgress> {
        self.compact_with(&mut |_| ControlFlow::Continue(()))
    }

    /// [`compact`](Self::compact), telling of its progress after each step, which may stop it.
    ///
    /// # Errors
    /// [`Stopped`](Error::Stopped); those of [`compact`](Self::compact).
    pub fn compact_with(&self, progress: OnCompactProgress<'_>) -> Result<CompactProgress> {
        self.core().compact(progress)
    }

    /// One step of a compaction in place, which changes about `budget` bytes: the next of the one that is under way, or the first of
    /// a new one. `done` says that it was the last.
    ///
    /// # Errors
    /// Those of [`compact`](Self::compact); the next call then begins anew.
    pub fn compact_step(&self, budget: u64) -> Result<CompactProgress> {
        let (progress, _) = self.core().compact_step(Some(budget), None)?;
        Ok(progress)
    }
}

/// The compaction of a database, while there is one.
#[derive(Debug, Default)]
pub(crate) struct Compactor {
    slot: Mutex<Slot>,
    finished: AtomicU64,
    /// 1 when a compaction is to begin.
    due: AtomicU64,
    /// 1 while one that began by itself has a thread.
    threads: AtomicU64,
    /// Free bytes that the last one left, without those that readers held.
    left: AtomicU64,
    /// Those.
    left_held: AtomicU64,
}

impl Compactor {
    /// How many were finished.
    pub(crate) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Slot {
    job: Option<Job>,
    /// How many were begun.
    runs: u64,
    /// What the last one came to.
    last: Option<CompactProgress>,
}

/// A compaction under way.
#[derive(Debug)]
struct Job {
    /// The last commit that it knows.
    sequence: u64,
    /// Nothing else was committed since it began.
    alone: bool,
    /// Numbers of the image are below this.
    limit: LogicalPage,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Survey(Option<Gather>),
    Gather(Gather),
    Pack(Home),
    Finish(Home),
    Arrange {
        plan: Option<Arranging>,
        sweeps: u32,
        /// Those of the image are written.
        exact: bool,
    },
    Cut {
        /// How many commits this may still take.
        left: u64,
        /// All is where it belongs.
        exact: bool,
    },
}

impl Phase {
    /// The last phase, of steps that move so many pages each.
    fn cut(core: &Core, exact: bool, window: u32) -> Self {
        let pages = u64::from(core.store.snapshot().physical_pages());
        let left = 4 + pages / u64::from(window);
        Self::Cut { left, exact }
    }
}

impl Core {
    fn compact(&self, progress: OnCompactProgress<'_>) -> Result<CompactProgress> {
        let mut run = None;
        loop {
            let (done, at) = self.compact_step(None, run)?;
            run = Some(at);
            if done.done {
                return Ok(done);
            }
            if progress(&done).is_break() {
                return Err(Error::Stopped);
            }
        }
    }

    /// One step, of a compaction that must be the given one; when that is over, what it came to.
    fn compact_step(
        &self,
        budget: Option<u64>,
        run: Option<u64>,
    ) -> Result<(CompactProgress, u64)> {
        let mut slot = self.compactor.slot();
        if let (Some(run), Some(last)) = (run, slot.last)
            && (slot.job.is_none() || run != slot.runs)
        {
            return Ok((last, run));
        }
        let shift = self.store.page_size().shift();
        let file = u64::from(self.store.snapshot().physical_pages()) << shift;
        let budget = budget.unwrap_or((file / STEP_PART).clamp(STEP_BYTES.0, STEP_BYTES.1));
        // Half for what goes away from its place, half for what comes.
        let window = (budget >> shift).clamp(2, 1 << 20) as u32 / 2;
        let mut job = match slot.job.take() {
            Some(job) => job,
            None => {
                slot.runs += 1;
                slot.last = None;
                Job::begin(self, window)?
            }
        };
        let progress = job.advance(self, budget.max(1), window)?;
        if progress.done {
            slot.last = Some(progress);
            self.compactor.finished.fetch_add(1, Ordering::Relaxed);
            self.note_left()?;
        } else {
            slot.job = Some(job);
        }
        Ok((progress, slot.runs))
    }

    /// Moves what the journal holds into the pages, in the background as far as that goes, and gives its pages back.
    fn empty_journal(&self) -> Result<()> {
        let mut writer = self.wait_for_drain(self.writable()?)?;
        writer.check_open()?;
        if self.options.background && !self.state.load().overlay.is_empty() {
            let mark = self.mark();
            if self.store.journal_rotate()? && self.freeze() {
                let areas = [None; 2];
                self.start(&mut writer, Drain { mark, areas })?;
                writer = self.wait_for_drain(writer)?;
                writer.check_open()?;
            }
        }
        let areas = self.store.journal_pages();
        if self.freeze() || areas != [0; 2] {
            let drain = Drain {
                mark: self.mark(),
                areas: areas.map(|pages| (pages > 0).then_some(0)),
            };
            self.drain_now(&mut writer, drain)?;
        }
        Ok(())
    }

    /// Free bytes of the file: those that can be used now, and those that wait for readers; and its length.
    fn free_bytes(&self) -> Result<(u64, u64, u64)> {
        let store = self.store.stats(false)?;
        let shift = self.store.page_size().shift();
        let inside = shroom_seg::free_bytes(&self.store.snapshot().roots().seg)?;
        let free = (store.free_pages << shift) + inside;
        Ok((
            free,
            store.pending_pages << shift,
            store.physical_pages << shift,
        ))
    }

    /// A compaction is over: what is free now is no reason for another one.
    fn note_left(&self) -> Result<()> {
        let (free, held, _) = self.free_bytes()?;
        self.compactor.left.store(free, Ordering::Relaxed);
        self.compactor.left_held.store(held, Ordering::Relaxed);
        Ok(())
    }

    /// Called after a checkpoint: decides whether the file is to be compacted.
    pub(crate) fn note_drained(&self, writer: &mut Writer) {
        let Some(share) = self.options.compact_above.filter(|_| !writer.closed) else {
            return;
        };
        // While one runs it needs no other; it holds this, or its work is there.
        let idle = self
            .compactor
            .slot
            .try_lock()
            .is_ok_and(|slot| slot.job.is_none());
        let Ok((free, held, file)) = self.free_bytes() else {
            return; // the bytes are damaged, and whoever reads them is told
        };
        let free = free + held;
        let least = AUTOMATIC_PAGES_MIN << self.store.page_size().shift();
        // What readers held then may be free by now.
        let left_held = self.compactor.left_held.load(Ordering::Relaxed);
        let left = self.compactor.left.load(Ordering::Relaxed) + left_held.min(held);
        if !idle || file < least || (free as f64) < share * file as f64 || free < 2 * left {
            return;
        }
        let core = self.this.upgrade().filter(|_| self.options.background);
        let Some(core) = core else {
            self.compactor.due.store(1, Ordering::Relaxed);
            return;
        };
        if self.compactor.threads.swap(1, Ordering::AcqRel) != 0 {
            return;
        }
        if let Some(before) = writer.compaction_thread.take() {
            // It needs no lock any more.
            drop(before.join());
        }
        let work = move || {
            core.compact_by_itself();
            core.compactor.threads.store(0, Ordering::Release);
        };
        match Builder::new().name("shroom-compaction".into()).spawn(work) {
            Ok(thread) => writer.compaction_thread = Some(thread),
            Err(error) => {
                self.compactor.threads.store(0, Ordering::Release);
                tracing::warn!(%error, "no thread for a compaction");
            }
        }
    }

    /// Compacts when a checkpoint has found that it is time to.
    pub(crate) fn compact_if_due(&self) {
        if self.compactor.due.load(Ordering::Relaxed) != 0 {
            self.compactor.due.store(0, Ordering::Relaxed);
            self.compact_by_itself();
        }
    }

    fn compact_by_itself(&self) {
        match self.compact(&mut |_| ControlFlow::Continue(())) {
            Ok(_) | Err(Error::Closed) => {}
            // Nothing is lost, and nobody has asked for it. The next one would get no further.
            Err(error) => {
                tracing::warn!(%error, "a compaction ended early");
                // When even this cannot be read, no other one begins either.
                self.note_left().ok();
            }
        }
    }

    /// Waits until nobody changes the pages, nor waits to, and has them alone from then on.
    fn take_turn(&self) -> Result<Turn<'_>> {
        let mut writer = self.writable()?;
        while writer.draining.is_busy() || writer.waiting > 0 {
            writer = self
                .drained
                .wait(writer)
                .unwrap_or_else(PoisonError::into_inner);
        }
        writer.check_open()?;
        let mut writer = self.wait_for_drain(writer)?;
        writer.draining = Draining::Compacting;
        drop(writer);
        Ok(Turn { core: self })
    }
}

/// The pages are the holder's: no checkpoint and no other commit begins.
struct Turn<'c> {
    core: &'c Core,
}

impl Turn<'_> {
    fn publish(&self, pages: Pages) -> Result<()> {
        let base = Arc::new(Base::new(pages)?);
        let _writer = self.core.writer();
        self.core.publish_base(base, false);
        Ok(())
    }

    /// One commit of what `change` does to the places of tokens, and of the pages that it frees.
    fn commit<T>(
        &self,
        change: impl FnOnce(&mut SegmentTxn<'_, '_>, &TokenRoot, &mut Roots) -> Result<(TokenRoot, T)>,
    ) -> Result<T> {
        let mut txn = self.core.store.begin()?;
        txn.grow_frugally();
        let mut roots = *self.core.store.snapshot().roots();
        let mut segments = SegmentTxn::open(&mut txn, &roots.seg)?;
        let root = TokenRoot::decode(&roots.token)?;
        let (root, value) = change(&mut segments, &root, &mut roots)?;
        roots.seg = segments.finish()?;
        roots.token = root.encode();
        self.publish(txn.commit(roots)?)?;
        Ok(value)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.core.writer().draining = Draining::Idle;
        self.core.drained.notify_all();
    }
}

impl Job {
    fn begin(core: &Core, window: u32) -> Result<Self> {
        core.empty_journal()?;
        let pages = core.store.snapshot();
        let phase = match repays(core, &pages)? {
            true => Phase::Survey(None),
            false => Phase::cut(core, false, window),
        };
        Ok(Self {
            sequence: pages.sequence(),
            alone: true,
            limit: image_limit(pages.logical_pages(), pages.allocated_pages_max()),
            phase,
        })
    }

    /// One step.
    fn advance(&mut self, core: &Core, budget: u64, window: u32) -> Result<CompactProgress> {
        let bytes = usize::try_from(budget).unwrap_or(usize::MAX);
        // Put back unless it fails: then there is no job any more.
        let phase = std::mem::replace(&mut self.phase, Phase::Survey(None));
        self.phase = match phase {
            Phase::Survey(gather) => self.survey(core, gather)?,
            Phase::Gather(gather) => self.gather(core, gather, bytes)?,
            Phase::Pack(home) => self.pack(core, home, bytes)?,
            Phase::Finish(home) => self.finish(core, home)?,
            Phase::Arrange {
                plan,
                sweeps,
                exact,
            } => self.arrange(core, plan, sweeps, exact, window)?,
            Phase::Cut { left, exact } => match self.cut(core, left, exact, window)? {
                Some(phase) => phase,
                None => return self.done(core, exact),
            },
        };
        self.progress(core)
    }

    /// Waits for its turn. Says whether something else was committed since the last one.
    fn turn<'c>(&mut self, core: &'c Core) -> Result<(Turn<'c>, bool)> {
        let turn = core.take_turn()?;
        let sequence = core.store.snapshot().sequence();
        let disturbed = sequence != self.sequence;
        self.alone &= !disturbed;
        Ok((turn, disturbed))
    }

    /// The turn is over.
    fn yield_turn(&mut self, core: &Core, turn: Turn<'_>) {
        self.sequence = core.store.snapshot().sequence();
        drop(turn);
    }

    fn survey(&mut self, core: &Core, gather: Option<Gather>) -> Result<Phase> {
        core.check_open()?;
        let pages = core.store.snapshot();
        let root = TokenRoot::decode(&pages.roots().token)?;
        let from = gather.as_ref().and_then(Gather::wants_survey);
        let surveyed = survey(&pages, &root, from.unwrap_or(LogicalPage(1)), self.limit)?;
        Ok(Phase::Gather(match gather {
            None => Gather::new(surveyed, self.limit),
            Some(mut gather) => {
                gather.surveyed(surveyed);
                gather
            }
        }))
    }

    fn gather(&mut self, core: &Core, mut gather: Gather, budget: usize) -> Result<Phase> {
        if gather.wants_survey().is_some() {
            return self.survey(core, Some(gather));
        }
        let (turn, disturbed) = self.turn(core)?;
        if disturbed {
            gather.disturbed();
        }
        let limit = self.limit;
        let done = turn.commit(|segments, root, roots| {
            let (root, done) = gather.step(segments, root, budget)?;
            move_sum(
                segments,
                roots,
                |head| head.page < limit,
                |segments, last| segments.allocate_fresh(last),
            )?;
            Ok((root, done))
        })?;
        self.yield_turn(core, turn);
        if !done {
            return Ok(Phase::Gather(gather));
        }
        let pages = core.store.snapshot();
        let root = TokenRoot::decode(&pages.roots().token)?;
        let last = range(&pages, &root, ..).next_back().transpose()?;
        let last = last.map_or(TokenId(0), |(id, _)| id);
        Ok(Phase::Pack(Home::new(self.limit, last)))
    }

    fn pack(&mut self, core: &Core, mut home: Home, budget: usize) -> Result<Phase> {
        let (turn, disturbed) = self.turn(core)?;
        if disturbed {
            home.disturbed();
        }
        let done = turn.commit(|segments, root, _| Ok(home.step(segments, root, budget)?))?;
        self.yield_turn(core, turn);
        Ok(match done {
            true => Phase::Finish(home),
            false => Phase::Pack(home),
        })
    }

    fn finish(&mut self, core: &Core, mut home: Home) -> Result<Phase> {
        let (turn, disturbed) = self.turn(core)?;
        if disturbed {
            home.disturbed();
        }
        let exact = home.is_exact();
        turn.commit(|segments, root, roots| {
            let root = home.finish(segments, root)?;
            move_sum(
                segments,
                roots,
                |_| true,
                |segments, last| segments.allocate(last),
            )?;
            Ok((root, ()))
        })?;
        self.yield_turn(core, turn);
        Ok(Phase::Arrange {
            plan: None,
            sweeps: 0,
            exact,
        })
    }

    fn arrange(
        &mut self,
        core: &Core,
        plan: Option<Arranging>,
        sweeps: u32,
        exact: bool,
        window: u32,
    ) -> Result<Phase> {
        let cut = |exact| Ok(Phase::cut(core, exact, window));
        let plan = match plan {
            Some(plan) => Some(plan),
            None => core.store.begin_arranging(window)?,
        };
        let Some(mut plan) = plan else {
            return cut(false);
        };
        let (turn, _) = self.turn(core)?;
        let arranged = core.store.arrange(&mut plan)?;
        if let Arranged::Moved(pages) = arranged {
            turn.publish(pages)?;
            self.yield_turn(core, turn);
            return Ok(Phase::Arrange {
                plan: Some(plan),
                sweeps,
                exact,
            });
        }
        self.yield_turn(core, turn);
        match arranged {
            // What readers held may be free now.
            Arranged::Done if plan.missed() > 0 && sweeps < SWEEPS_MAX => Ok(Phase::Arrange {
                plan: None,
                sweeps: sweeps + 1,
                exact,
            }),
            Arranged::Done => cut(exact && plan.missed() == 0),
            _ => cut(false),
        }
    }

    /// Moves pages from the file's end into free places, where there are some, and cuts it; none when there is no more to do.
    fn cut(&mut self, core: &Core, left: u64, exact: bool, window: u32) -> Result<Option<Phase>> {
        if core.store.journal_pages() != [0; 2] {
            // It may lie at the end of the file, or where a page belongs.
            core.empty_journal()?;
        }
        let (turn, _) = self.turn(core)?;
        let mut published = Ok(());
        let more = core.store.vacuum_pass(window as usize, &mut |pages| {
            published = turn.publish(pages);
        })?;
        published?;
        core.store.cut_tail()?;
        self.yield_turn(core, turn);
        let left = left.saturating_sub(1);
        Ok((more && left > 0).then_some(Phase::Cut { left, exact }))
    }

    fn done(&self, core: &Core, exact: bool) -> Result<CompactProgress> {
        let store = core.store.stats(false)?;
        let tidy = store.free_pages + store.pending_pages + store.journal_pages == 0;
        let plain = core.store.snapshot().roots().application;
        let kept = ApplicationRoot::decode(&plain)?.lattice.is_some();
        let canonical = self.alone && exact && tidy && !kept && store.snapshots == 0;
        Ok(CompactProgress {
            stage: CompactStage::Cut,
            done: true,
            canonical,
            share: 1.0,
            ..self.progress(core)?
        })
    }

    fn progress(&self, core: &Core) -> Result<CompactProgress> {
        let pages = core.store.snapshot();
        let part = |done: u64, all: u64| done as f64 / all.max(1) as f64;
        let (stage, within) = match &self.phase {
            Phase::Survey(_) => (CompactStage::Gather, 0.0),
            Phase::Gather(gather) => {
                let (next, limit) = gather.progress();
                let share = part(next.0.into(), limit.0.into());
                (CompactStage::Gather, share)
            }
            Phase::Pack(home) => {
                let tokens = TokenRoot::decode(&pages.roots().token)?.tokens();
                (CompactStage::Pack, part(home.tokens(), tokens).min(1.0))
            }
            Phase::Finish(_) => (CompactStage::Pack, 1.0),
            Phase::Arrange { plan, .. } => {
                let (next, end) = plan.as_ref().map_or((0, 1), Arranging::progress);
                (CompactStage::Arrange, part(next.into(), end.into()))
            }
            Phase::Cut { .. } => (CompactStage::Cut, 1.0),
        };
        let before = match stage {
            CompactStage::Gather => 0.0,
            CompactStage::Pack => 0.3,
            CompactStage::Arrange => 0.6,
            CompactStage::Cut => 0.7,
        };
        Ok(CompactProgress {
            stage,
            share: before + 0.3 * within,
            done: false,
            canonical: false,
            snapshots: core.store.stats(false)?.snapshots,
            file_bytes: u64::from(pages.physical_pages()) << core.store.page_size().shift(),
        })
    }
}

/// The numbers of the image are below this. `numbers` is the first that was never given out, `pages_max` about how many are taken.
fn image_limit(numbers: u32, pages_max: u32) -> LogicalPage {
    let room = |pages: u32| pages.saturating_add(pages / NUMBERS_PART + NUMBERS_MIN);
    // Each compaction that is stopped half way leaves its high numbers to the next, which is not to go on from there for ever.
    let few = room(pages_max);
    match numbers > few.saturating_mul(NUMBERS_SPARSE) {
        true => LogicalPage(few),
        false => LogicalPage(room(numbers)),
    }
}

/// Whether the file gets smaller when the tokens are packed again. Where named snapshots have the pages, too, they stay, and the
/// packed ones would come on top.
fn repays(core: &Core, pages: &Pages) -> Result<bool> {
    let store = core.store.stats(false)?;
    if store.snapshots == 0 {
        return Ok(true);
    }
    let shift = core.store.page_size().shift();
    let used =
        (store.logical_pages << shift).saturating_sub(shroom_seg::free_bytes(&pages.roots().seg)?);
    Ok(core.store.present_pages()? << shift > used)
}

/// Moves the sum that the file keeps over its tokens, if it does and it is to be moved.
fn move_sum(
    segments: &mut SegmentTxn<'_, '_>,
    roots: &mut Roots,
    is_moved: impl FnOnce(shroom_seg::SegmentAddr) -> bool,
    place: impl FnOnce(
        &mut SegmentTxn<'_, '_>,
        &[u8],
    ) -> Result<shroom_seg::SegmentAddr, shroom_seg::SegError>,
) -> Result<()> {
    let root = ApplicationRoot::decode(&roots.application)?;
    if let Some(head) = root.lattice.filter(|&head| is_moved(head)) {
        let blob = segments.blob_take(head, LATTICE_LEN as u64)?;
        let lattice = Some(segments.blob_put(&blob, place)?);
        roots.application = ApplicationRoot { lattice, ..root }.encode();
    }
    Ok(())
}

impl Core {
    fn check_open(&self) -> Result<()> {
        self.writable().map(|_| ())
    }
}
