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
        let place = if state.changes(id) {
            state.get(id)?
        } else {
            match state.base.find(id)? {
                None => None,
                Some(Stored::Inline(bytes)) => return Ok(Some(Value::lent(bytes))),
                Some(stored) => Some(state.place(stored)?),
            }
        };
        Ok(place.map(|place| Value::new(Pin::Borrowed(state), place)))
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
