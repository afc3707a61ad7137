//! The content root of a state: the hash of its set of tokens (format §11).
//!
//! Where the file keeps the sum over its tokens, only what was written since the last checkpoint is hashed. Elsewhere every token
//! is, on all processors: the threads share one walk over the state, from which each takes some tokens at a time. A state
//! remembers its root, and a base the sum of the last state over it that was asked, so that the next one costs only what was
//! written in between.
//!
//! * E1 The root depends on the tokens alone, not on which thread hashed which.
//! * E2 Memory does not grow with the number of tokens or with their lengths.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use shroom_seg::SegError;
use shroom_token::{Stored, TokenError};

use crate::db::Db;
use crate::digest::{ContentRoot, PageRoot};
use crate::error::Result;
use crate::iter::{Item, Iter};
use crate::lattice::{Element, Lattice};
use crate::overlay::Overlay;
use crate::snapshot::Snapshot;
use crate::state::{Base, State};
use crate::tracking::difference;

/// Tokens that a thread takes at a time.
const TAKEN: usize = 64;
/// One more thread is worth starting for this many tokens, or for this many bytes of values.
const TOKENS_PER_THREAD: u64 = 2048;
const BYTES_PER_THREAD: u64 = 1 << 20;
/// One more thread is worth starting for this many changes.
const CHANGES_PER_THREAD: u64 = 256;

impl Db {
    /// The hash of the set of tokens in the present state. See [`Snapshot::content_root`].
    ///
    /// # Errors
    /// Corruption of the bytes read.
    pub fn content_root(&self) -> Result<ContentRoot> {
        self.core().state.load_full().content_root()
    }

    /// Whether the file keeps track of the content root: see
    /// [`Options::track_content_root`](crate::Options::track_content_root).
    pub fn tracks_content_root(&self) -> bool {
        self.core().state.load().base.lattice.is_some()
    }

    /// The hash that authenticates every page of the last checkpoint. O(1). What only the journal holds is not in it:
    /// [`checkpoint`](Self::checkpoint) before, if it shall be.
    ///
    /// While a checkpoint of many changes goes on, and after a crash in one, it is that of pages which have some of the changes and
    /// not the others. To be sure of a whole state, take it after a checkpoint without writers, or take that of a [named
    /// snapshot](Self::save_snapshot).
    pub fn page_root(&self) -> PageRoot {
        self.core().state.load().base.pages.page_root().into()
    }
}

impl Snapshot {
    /// The hash of this state's set of tokens (id, bytes): equal for equal sets, whatever their history, the page size and
    /// the places in the file; the tag is not in it. Reads every token, on all processors, the first time; where the file keeps track
    /// ([`Options::track_content_root`](crate::Options::track_content_root)), only those written since the last checkpoint. In
    /// any case only those written since it was asked last, if no checkpoint came in between.
    ///
    /// # Errors
    /// Corruption of the bytes read.
    pub fn content_root(&self) -> Result<ContentRoot> {
        self.state().content_root()
    }

    /// The hash that authenticates every page of the checkpoint that this state lies on. O(1). What only the journal held
    /// is not in it.
    pub fn page_root(&self) -> PageRoot {
        self.state().base.pages.page_root().into()
    }
}

impl State {
    /// The content root: found once, then remembered.
    pub(crate) fn content_root(self: &Arc<Self>) -> Result<ContentRoot> {
        if let Some(&root) = self.content.get() {
            return Ok(root);
        }
        let sum = self.sum()?;
        let root = *self.content.get_or_init(|| sum.root().into());
        let asked = Arc::new(Asked {
            frozen: self.frozen.clone(),
            overlay: self.overlay.clone(),
            sum,
        });
        // The one before is taken down here, not under the lock.
        let _before = self.base.asked().replace(asked);
        Ok(root)
    }

    /// The sum over all tokens, from the nearest that is known.
    fn sum(self: &Arc<Self>) -> Result<Lattice> {
        // Not under the lock: others may be asking, too.
        let asked = Option::clone(&self.base.asked());
        let asked = asked.filter(|asked| same(&asked.frozen, &self.frozen));
        let base = Arc::clone(&self.base);
        let (known, mut sum, ids) = match asked {
            Some(asked) => {
                let known = Self::new(base, asked.frozen.clone(), asked.overlay.clone());
                let ids = self.overlay.differing_ids(&asked.overlay);
                (known, asked.sum.clone(), ids)
            }
            None => {
                let Some(sum) = self.base.kept_sum()? else {
                    return scan(self);
                };
                let mut ids: Vec<u64> = self.changed_ids().collect();
                ids.sort_unstable();
                ids.dedup();
                (Self::new(base, None, Overlay::default()), sum, ids)
            }
        };
        sum.add_all(&difference(&known, self, &ids, &|| {})?);
        Ok(sum)
    }
}

impl Base {
    fn asked(&self) -> MutexGuard<'_, Option<Arc<Asked>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last state over a base whose root was asked for: the next one's costs what changed in between.
#[derive(Debug)]
pub(crate) struct Asked {
    frozen: Option<Overlay>,
    overlay: Overlay,
    sum: Lattice,
}

/// Whether the frozen overlays of two states over one base are the same one.
fn same(left: &Option<Overlay>, right: &Option<Overlay>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => left.is_same(right),
        _ => false,
    }
}

/// The sum over all tokens of a state, by hashing each.
pub(crate) fn scan(state: &Arc<State>) -> Result<Lattice> {
    let pages = &state.base.pages;
    let scan = Scan {
        state,
        tokens: Mutex::new(Iter::new(Arc::clone(state), ..)),
        blob_bytes_left: AtomicU64::new(
            u64::from(pages.physical_pages()) * state.page_size() as u64,
        ),
        count: AtomicU64::new(0),
    };
    let root = &state.base.root;
    let by_size = root.tokens() / TOKENS_PER_THREAD + root.payload() / BYTES_PER_THREAD;
    let sum = in_parallel(by_size.saturating_add(1), &|| scan.work())?;
    let (expected, got) = (state.count()?, scan.count.into_inner());
    if expected == got {
        Ok(sum)
    } else {
        let what = "tokens";
        Err(TokenError::Totals {
            what,
            expected,
            got,
        }
        .into())
    }
}

/// A walk over all tokens that several threads share.
struct Scan<'s> {
    state: &'s Arc<State>,
    tokens: Mutex<Iter<'static>>,
    /// Bytes that large values in the pages may still have: a forged directory may name the same one many times.
    blob_bytes_left: AtomicU64,
    /// Tokens hashed by the threads that have ended.
    count: AtomicU64,
}

impl Scan<'_> {
    /// One thread's part.
    fn work(&self) -> Result<Lattice> {
        let mut sum = Lattice::default();
        let mut count = 0;
        let mut taken = Vec::with_capacity(TAKEN);
        loop {
            self.take(&mut taken)?;
            if taken.is_empty() {
                self.count.fetch_add(count, Ordering::Relaxed);
                return Ok(sum);
            }
            for (id, item) in taken.drain(..) {
                match self.element(id, &item) {
                    Ok(Some(element)) => {
                        sum.add(element);
                        count += 1;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        // Nobody need go on.
                        *self.tokens() = Iter::new(Arc::clone(self.state), 0..0);
                        return Err(error);
                    }
                }
            }
        }
    }

    fn tokens(&self) -> MutexGuard<'_, Iter<'static>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, taken: &mut Vec<(u64, Item)>) -> Result<()> {
        let mut tokens = self.tokens();
        while taken.len() < TAKEN {
            match tokens.step(true).transpose()? {
                Some(token) => taken.push(token),
                None => break,
            }
        }
        Ok(())
    }

    fn element(&self, id: u64, item: &Item) -> Result<Option<Element>> {
        if let Item::Ready(place) = item {
            let bytes = self.state.bytes(place);
            let mut element = Element::new(id, bytes.len() as u64);
            element.update(bytes);
            return Ok(Some(element));
        }
        if let Some(Stored::Blob { head, length }) = self.state.stored_below(id)? {
            let left = &self.blob_bytes_left;
            let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(length)
            });
            if taken.is_err() {
                let detail = "the values have more bytes than the pages".into();
                return Err(SegError::Blob { addr: head, detail }.into());
            }
        }
        self.state.element(id)
    }
}

impl State {
    /// The element of a token; `None` when it is absent.
    pub(crate) fn element(&self, id: u64) -> Result<Option<Element>> {
        let Some(content) = self.content(id)? else {
            return Ok(None);
        };
        let mut element = Element::new(id, content.length());
        self.for_each_piece(&content, &mut |piece| element.update(piece))?;
        Ok(Some(element))
    }
}

/// The sum of what `add` adds for each index below `count`, on all processors.
pub(crate) fn sum_over(
    count: usize,
    add: &(dyn Fn(usize, &mut Lattice) -> Result<()> + Sync),
) -> Result<Lattice> {
    let next = AtomicUsize::new(0);
    in_parallel(1 + count as u64 / CHANGES_PER_THREAD, &|| {
        let mut sum = Lattice::default();
        loop {
            // Stays far below an overflow: a thread ends at the first that is too high.
            let first = next.fetch_add(TAKEN, Ordering::Relaxed);
            if first >= count {
                return Ok(sum);
            }
            for index in first..count.min(first + TAKEN) {
                add(index, &mut sum)?;
            }
        }
    })
}

/// The sum of what `work` gives on the calling thread and on others, up to `threads` and the number of processors in all.
fn in_parallel(threads: u64, work: &(dyn Fn() -> Result<Lattice> + Sync)) -> Result<Lattice> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(processors))
            // Without a thread the work is done by those that there are.
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut sum = work();
        for other in others {
            let part = other.join().unwrap_or_else(|panic| resume_unwind(panic));
            sum = sum.and_then(|mut sum| {
                sum.add_all(&part?);
                Ok(sum)
            });
        }
        sum
    })
}
