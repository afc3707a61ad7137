//! A snapshot: one state of the database, held.

use std::ops::RangeBounds;
use std::sync::Arc;

use shroom_token::Stored;

use crate::TokenInfo;
use crate::error::Result;
use crate::iter::{Iter, Keys};
use crate::state::State;
use crate::value::{Pin, Value};

/// One consistent state of the database, for as long as it is held. O(1) to take and to clone; does not keep writers from
/// writing, only the space of replaced pages from being reused.
#[derive(Clone, Debug)]
#[must_use = "a snapshot holds a state only as long as it is kept"]
pub struct Snapshot {
    state: Arc<State>,
}

impl Snapshot {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The value of token `id`.
    ///
    /// # Errors
    /// Corruption of the bytes read.
    #[inline]
    pub fn get(&self, id: u64) -> Result<Option<Value<'_>>> {
        let state = &*self.state;
        if state.changes(id) {
            let place = state.get(id)?;
            return Ok(place.map(|place| Value::new(Pin::Borrowed(state), place)));
        }
        match state.base.find(id)? {
            Some(stored) => self.lend(stored).map(Some),
            None => Ok(None),
        }
    }

    /// The values of many tokens, in the order of `ids`; an id may come more than once. Faster than getting one after the other,
    /// since what they need is loaded side by side.
    ///
    /// # Errors
    /// As [`get`](Self::get), for the first of them that fails.
    pub fn get_many(&self, ids: &[u64]) -> Result<Vec<Option<Value<'_>>>> {
        let state = &*self.state;
        let below = ids.iter().copied().filter(|&id| !state.changes(id));
        let mut below = state.base.find_many(below)?.into_iter();
        ids.iter()
            .map(|&id| match state.changes(id) {
                true => self.get(id),
                false => below
                    .next()
                    .flatten()
                    .map_or(Ok(None), |stored| self.lend(stored).map(Some)),
            })
            .collect()
    }

    /// The value that the base stores.
    #[inline]
    fn lend<'s>(&'s self, stored: Stored<'s>) -> Result<Value<'s>> {
        match stored {
            Stored::Inline(bytes) => Ok(Value::lent(bytes)),
            Stored::Blob { .. } => {
                let place = self.state.place(stored)?;
                Ok(Value::new(Pin::Borrowed(&self.state), place))
            }
        }
    }

    /// Whether token `id` is there.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains(&self, id: u64) -> Result<bool> {
        Ok(self.state.length(id)?.is_some())
    }

    /// Number of tokens.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn len(&self) -> Result<u64> {
        self.state.count()
    }

    /// Whether there is no token.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.keys(..).next().transpose()?.is_none())
    }

    /// Where token `id` lies, and its length.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn stat(&self, id: u64) -> Result<Option<TokenInfo>> {
        self.state.info(id)
    }

    /// All tokens in id order; reversible.
    pub fn iter(&self) -> Iter<'_> {
        self.range(..)
    }

    /// The tokens with ids in a range, in id order; reversible.
    pub fn range(&self, ids: impl RangeBounds<u64>) -> Iter<'_> {
        Iter::borrowed(&self.state, ids)
    }

    /// The ids in a range, in order; reversible.
    pub fn keys(&self, ids: impl RangeBounds<u64>) -> Keys<'_> {
        Keys(self.range(ids))
    }

    /// The application's tag in this state.
    pub fn tag(&self) -> u64 {
        self.state.tag()
    }
}

/// All tokens in id order.
impl<'s> IntoIterator for &'s Snapshot {
    type Item = Result<(u64, Value<'s>)>;
    type IntoIter = Iter<'s>;

    fn into_iter(self) -> Iter<'s> {
        self.iter()
    }
}
