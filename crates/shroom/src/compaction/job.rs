//! A compaction under way: what its next step does.

use shroom_page::{Arranged, Arranging, LogicalPage, PageRead, Roots, Snapshot as Pages};
use shroom_seg::SegmentTxn;
use shroom_token::compaction::{Gather, Home, survey};
use shroom_token::{TokenId, TokenRoot, range};

use super::turn::Turn;
use super::{Progress, Stage};
use crate::core::Core;
use crate::error::Result;
use crate::lattice::LATTICE_LEN;
use crate::root::ApplicationRoot;

/// Numbers that the image may need beyond those in use: a part of these, and a few.
const NUMBERS_PART: u32 = 8;
const NUMBERS_MIN: u32 = 512;
/// When so many times as many numbers were given out as there can be pages, those behind are left where they are.
const NUMBERS_SPARSE: u32 = 8;
/// How often what readers held in place is tried again.
const SWEEPS_MAX: u32 = 3;

/// A compaction under way.
#[derive(Debug)]
pub(super) struct Job {
    /// The last commit that it knows.
    sequence: u64,
    /// Nothing else was committed since it began.
    alone: bool,
    /// Numbers of the image are below this.
    limit: LogicalPage,
    phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
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

impl Job {
    pub(super) fn begin(core: &Core, window: u32) -> Result<Self> {
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
    pub(super) fn advance(&mut self, core: &Core, budget: u64, window: u32) -> Result<Progress> {
        // Not every step changes something, and so finds this out by itself.
        core.check_open()?;
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

    fn done(&self, core: &Core, exact: bool) -> Result<Progress> {
        let store = core.store.stats(false)?;
        let tidy = store.free_pages + store.pending_pages + store.journal_pages == 0;
        let plain = core.store.snapshot().roots().application;
        let kept = ApplicationRoot::decode(&plain)?.lattice.is_some();
        let canonical = self.alone && exact && tidy && !kept && store.snapshots == 0;
        Ok(Progress {
            stage: Stage::Cut,
            done: true,
            canonical,
            share: 1.0,
            ..self.progress(core)?
        })
    }

    fn progress(&self, core: &Core) -> Result<Progress> {
        let pages = core.store.snapshot();
        let part = |done: u64, all: u64| done as f64 / all.max(1) as f64;
        let (stage, within) = match &self.phase {
            Phase::Survey(_) => (Stage::Gather, 0.0),
            Phase::Gather(gather) => {
                let (next, limit) = gather.progress();
                let share = part(next.0.into(), limit.0.into());
                (Stage::Gather, share)
            }
            Phase::Pack(home) => {
                let tokens = TokenRoot::decode(&pages.roots().token)?.tokens();
                (Stage::Pack, part(home.tokens(), tokens).min(1.0))
            }
            Phase::Finish(_) => (Stage::Pack, 1.0),
            Phase::Arrange { plan, .. } => {
                let (next, end) = plan.as_ref().map_or((0, 1), Arranging::progress);
                (Stage::Arrange, part(next.into(), end.into()))
            }
            Phase::Cut { .. } => (Stage::Cut, 1.0),
        };
        let before = match stage {
            Stage::Gather => 0.0,
            Stage::Pack => 0.3,
            Stage::Arrange => 0.6,
            Stage::Cut => 0.7,
        };
        Ok(Progress {
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
