//! A value that was read: bytes that keep alive what they lie in.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::state::{Place, State};

/// What keeps a value's bytes alive.
#[derive(Debug)]
pub(crate) enum Pin<'a> {
    Borrowed(&'a State),
    /// Costs no reference count: the swap that replaces the state settles it.
    Guard(arc_swap::Guard<Arc<State>>),
    Shared(Arc<State>),
}

impl Deref for Pin<'_> {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        match self {
            Self::Borrowed(state) => state,
            Self::Guard(state) => state,
            Self::Shared(state) => state,
        }
    }
}

/// The bytes of a token, as they were when it was read. Dereferences to `[u8]`; nothing is copied when the value lies
/// contiguously in the file or in memory.
///
/// A value pins the state that it was read from: pages that were replaced since are not reused while it lives.
pub struct Value<'a>(Bytes<'a>);

/// Where a value's bytes are.
enum Bytes<'a> {
    /// In what a snapshot holds: nothing has to be looked up again to get at them.
    Lent(&'a [u8]),
    /// At a place of the state that is pinned.
    Placed(Pin<'a>, Place),
}

impl<'a> Value<'a> {
    #[inline]
    pub(crate) fn new(pin: Pin<'a>, place: Place) -> Self {
        Self(Bytes::Placed(pin, place))
    }

    #[inline]
    pub(crate) fn lent(bytes: &'a [u8]) -> Self {
        Self(Bytes::Lent(bytes))
    }

    /// True when the bytes were put together for this read rather than lent from the file or the overlay.
    pub fn is_copied(&self) -> bool {
        matches!(self.0, Bytes::Placed(_, Place::Owned(_)))
    }
}

impl Deref for Value<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Lent(bytes) => bytes,
            Bytes::Placed(pin, place) => pin.bytes(place),
        }
    }
}

/// Copies the bytes, unless they were put together for the read.
impl From<Value<'_>> for Vec<u8> {
    fn from(value: Value<'_>) -> Self {
        match value.0 {
            Bytes::Placed(_, Place::Owned(bytes)) => bytes.into_vec(),
            _ => value.to_vec(),
        }
    }
}

impl AsRef<[u8]> for Value<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&&**self).finish()
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Value<'_> {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for Value<'_> {}
