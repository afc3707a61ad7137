//! Iteration in id order, both ways, over the merged layers of a state.
//!
//! Items are found some at a time: a refill walks the base and the overlays side by side from where the last one ended.
//! So an iterator borrows no page, may own its state, and pays for a seek once a refill.
//!
//! * I1 The ids still to come lie in `low..=high`; what was found and not yet given lies outside.
//! * I2 A large value is located when its item is given, not when it is found.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use shroom_token::{Stored, TokenId};

use crate::error::Result;
use crate::overlay::{Change, Overlay};
pub use crate::reader::Chunks;
use crate::state::{Place, State};
use crate::value::{Pin, Value};

/// Items found by the first refill; doubles up to the maximum, so that short ranges cost little.
const REFILL_MIN: usize = 16;
const REFILL_MAX: usize = 1024;

/// An item found: its place, or that it takes a look-up.
#[derive(Debug)]
pub(crate) enum Item {
    Ready(Place),
    LookUp,
}

/// The state that is walked: an iterator of a snapshot borrows it, and so its values cost no reference count.
#[derive(Debug)]
enum Held<'s> {
    Borrowed(&'s Arc<State>),
    Owned(Arc<State>),
}

impl<'s> Held<'s> {
    fn state(&self) -> &Arc<State> {
        match self {
            Self::Borrowed(state) => state,
            Self::Owned(state) => state,
        }
    }

    fn pin(&self) -> Pin<'s> {
        match self {
            Self::Borrowed(state) => Pin::Borrowed(state),
            Self::Owned(state) => Pin::Shared(Arc::clone(state)),
        }
    }
}

/// Iterator over tokens and their values, made by `iter` and `range` of [`Db`](crate::Db) and
/// [`Snapshot`](crate::Snapshot). Sees one state, whatever is written meanwhile. That of a snapshot is faster, since its
/// values borrow from the snapshot.
#[derive(Debug)]
#[must_use = "an iterator does nothing until it is asked for an item"]
pub struct Iter<'s> {
    state: Held<'s>,
    bounds: Option<(u64, u64)>,
    front: VecDeque<(u64, Item)>,
    back: VecDeque<(u64, Item)>,
    refill: usize,
}

impl Iter<'static> {
    pub(crate) fn new(state: Arc<State>, bounds: impl RangeBounds<u64>) -> Self {
        Self::over(Held::Owned(state), bounds)
    }
}

impl<'s> Iter<'s> {
    pub(crate) fn borrowed(state: &'s Arc<State>, bounds: impl RangeBounds<u64>) -> Self {
        Self::over(Held::Borrowed(state), bounds)
    }

    fn over(state: Held<'s>, bounds: impl RangeBounds<u64>) -> Self {
        let low = match bounds.start_bound() {
            Bound::Unbounded => Some(0),
            Bound::Included(&id) => Some(id),
            Bound::Excluded(&id) => id.checked_add(1),
        };
        let high = match bounds.end_bound() {
            Bound::Unbounded => Some(u64::MAX),
            Bound::Included(&id) => Some(id),
            Bound::Excluded(&id) => id.checked_sub(1),
        };
        let bounds = low.zip(high).filter(|(low, high)| low <= high);
        Self {
            state,
            bounds,
            front: VecDeque::new(),
            back: VecDeque::new(),
            refill: REFILL_MIN,
        }
    }

    #[inline]
    fn value(&self, id: u64, item: Item) -> Result<Option<(u64, Value<'s>)>> {
        let place = match item {
            Item::Ready(Place::Mapped { position, len }) => {
                if let Held::Borrowed(state) = self.state
                    && let Some(bytes) = state.base.pages.bytes_at(position, len)
                {
                    return Ok(Some((id, Value::lent(bytes))));
                }
                Some(Place::Mapped { position, len })
            }
            Item::Ready(place) => Some(place),
            Item::LookUp => self.state.state().get(id)?,
        };
        Ok(place.map(|place| (id, Value::new(self.state.pin(), place))))
    }

    #[inline]
    pub(crate) fn step(&mut self, forward: bool) -> Option<Result<(u64, Item)>> {
        let found = if forward {
            self.front.pop_front()
        } else {
            self.back.pop_front()
        };
        match found {
            Some(item) => Some(Ok(item)),
            None => self.step_on(forward),
        }
    }

    /// The next item when none is at hand.
    #[cold]
    fn step_on(&mut self, forward: bool) -> Option<Result<(u64, Item)>> {
        while let Some((low, high)) = self.bounds {
            if let Err(error) = self.refill(low, high, forward) {
                self.bounds = None;
                self.front.clear();
                self.back.clear();
                return Some(Err(error));
            }
            let found = if forward {
                self.front.pop_front()
            } else {
                self.back.pop_front()
            };
            if let Some(item) = found {
                return Some(Ok(item));
            }
        }
        // Nothing is left between the two ends: take what the other end found.
        let item = if forward {
            self.back.pop_back()
        } else {
            self.front.pop_back()
        };
        item.map(Ok)
    }

    fn refill(&mut self, low: u64, high: u64, forward: bool) -> Result<()> {
        let state = Arc::clone(self.state.state());
        let count = self.refill;
        self.refill = (count * 2).min(REFILL_MAX);
        let base = || {
            shroom_token::range(
                &state.base.pages,
                &state.base.root,
                TokenId(low)..=TokenId(high),
            )
        };
        let frozen = |overlay: &'_ Option<Overlay>| overlay.clone().unwrap_or_default();
        let frozen = frozen(&state.frozen);
        let found = if forward {
            &mut self.front
        } else {
            &mut self.back
        };
        let last = if forward {
            let mut overlay = state.overlay.range(low, high).peekable();
            let mut frozen = frozen.range(low, high).peekable();
            if overlay.peek().is_none() && frozen.peek().is_none() {
                take_base(base(), &state, count, found)?
            } else {
                let layers = Layers {
                    overlay,
                    frozen,
                    base: base().peekable(),
                    forward,
                };
                layers.take(&state, count, found)?
            }
        } else {
            let layers = Layers {
                overlay: state.overlay.range(low, high).rev().peekable(),
                frozen: frozen.range(low, high).rev().peekable(),
                base: base().rev().peekable(),
                forward,
            };
            layers.take(&state, count, found)?
        };
        self.bounds = match last {
            None => None,
            Some(last) if forward => last
                .checked_add(1)
                .filter(|&low| low <= high)
                .map(|low| (low, high)),
            Some(last) => last
                .checked_sub(1)
                .filter(|&high| low <= high)
                .map(|high| (low, high)),
        };
        Ok(())
    }
}

/// The three layers of a state, walked in the same direction; the newest wins.
struct Layers<O: Iterator, F: Iterator, B: Iterator> {
    overlay: std::iter::Peekable<O>,
    frozen: std::iter::Peekable<F>,
    base: std::iter::Peekable<B>,
    forward: bool,
}

impl<'s, O, F, B> Layers<O, F, B>
where
    O: Iterator<Item = (u64, &'s Change)>,
    F: Iterator<Item = (u64, &'s Change)>,
    B: Iterator<Item = shroom_token::Result<(TokenId, Stored<'s>)>>,
{
    /// Finds up to `count` tokens; returns the last id looked at, or `None` when there was nothing more to look at.
    fn take(
        mut self,
        state: &'s State,
        count: usize,
        found: &mut VecDeque<(u64, Item)>,
    ) -> Result<Option<u64>> {
        let mut last = None;
        // Deleted tokens count as well, so that a refill is bounded.
        for _ in 0..count {
            self.base.next_if(|stored| stored.is_err()).transpose()?;
            let base = self
                .base
                .peek()
                .and_then(|stored| stored.as_ref().ok())
                .map(|(id, _)| id.0);
            let overlay = self.overlay.peek().map(|&(id, _)| id);
            let frozen = self.frozen.peek().map(|&(id, _)| id);
            let ids = [overlay, frozen, base].into_iter().flatten();
            let Some(id) = (if self.forward { ids.min() } else { ids.max() }) else {
                return Ok(None);
            };
            let newest = self.overlay.next_if(|&(at, _)| at == id);
            let older = self.frozen.next_if(|&(at, _)| at == id);
            let stored = if base == Some(id) {
                self.base.next().transpose()?
            } else {
                None
            };
            let item = match newest.or(older) {
                Some((_, Change::Deleted)) => None,
                Some((_, Change::Value(bytes))) => {
                    Some(Item::Ready(Place::Shared(Arc::clone(bytes))))
                }
                Some((_, Change::Grown(_))) => Some(Item::LookUp),
                None => match stored {
                    Some((_, stored @ Stored::Inline(_))) => {
                        Some(Item::Ready(state.place(stored)?))
                    }
                    _ => Some(Item::LookUp),
                },
            };
            if let Some(item) = item {
                found.push_back((id, item));
            }
            last = Some(id);
        }
        Ok(last)
    }
}

/// [`Layers::take`], forward, where nothing was written since the checkpoint.
fn take_base<'s>(
    mut base: shroom_token::Range<'s, shroom_page::Snapshot>,
    state: &'s State,
    count: usize,
    found: &mut VecDeque<(u64, Item)>,
) -> Result<Option<u64>> {
    found.reserve(count);
    let visited = base.visit(count, |id, stored| {
        let item = match stored {
            Stored::Inline(bytes) => Item::Ready(state.place_of(bytes)),
            Stored::Blob { .. } => Item::LookUp,
        };
        found.push_back((id.0, item));
        Ok::<(), crate::Error>(())
    })?;
    // Fewer than asked for: the end.
    Ok((visited == count)
        .then(|| found.back().map(|&(id, _)| id))
        .flatten())
}

impl<'s> Iterator for Iter<'s> {
    type Item = Result<(u64, Value<'s>)>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.step(true)? {
            Ok((id, item)) => self.value(id, item).transpose(),
            Err(error) => Some(Err(error)),
        }
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self.step(false)? {
            Ok((id, item)) => self.value(id, item).transpose(),
            Err(error) => Some(Err(error)),
        }
    }
}

impl FusedIterator for Iter<'_> {}

/// Iterator over ids, made by `keys` of [`Db`](crate::Db) and [`Snapshot`](crate::Snapshot).
#[derive(Debug)]
#[must_use = "an iterator does nothing until it is asked for an item"]
pub struct Keys<'s>(pub(crate) Iter<'s>);

impl Iterator for Keys<'_> {
    type Item = Result<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.step(true)?.map(|(id, _)| id))
    }
}

impl DoubleEndedIterator for Keys<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        Some(self.0.step(false)?.map(|(id, _)| id))
    }
}

impl FusedIterator for Keys<'_> {}
