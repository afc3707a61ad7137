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

/// Copies nothing when the value was read through the database itself, whose state it then goes on pinning, or was put together for the
/// read; else, as of a snapshot, copies the bytes.
#[cfg(feature = "bytes")]
impl From<Value<'_>> for bytes::Bytes {
    fn from(value: Value<'_>) -> Self {
        let (state, place) = match value.0 {
            Bytes::Placed(_, Place::Owned(bytes)) => return bytes.into(),
            Bytes::Placed(Pin::Guard(guard), place) => (arc_swap::Guard::into_inner(guard), place),
            Bytes::Placed(Pin::Shared(state), place) => (state, place),
            lent => return Self::copy_from_slice(&Value(lent)),
        };
        Self::from_owner(Value::new(Pin::Shared(state), place))
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

#[cfg(all(test, feature = "bytes"))]
mod tests {
    use crate::Db;

    /// The bytes outlive the database's handles and what is written since, wherever they lie.
    #[test]
    fn values_become_bytes() {
        let db = Db::in_memory().unwrap();
        db.put(1, b"in the pages").unwrap();
        db.put(2, &[2; 100_000]).unwrap();
        db.checkpoint().unwrap();
        db.put(3, b"in the overlay").unwrap();
        db.append(1, b" and appended to").unwrap();
        let read: Vec<bytes::Bytes> = (1..=3)
            .map(|id| db.get(id).unwrap().unwrap().into())
            .collect();
        let held = db.snapshot();
        let lent: Vec<bytes::Bytes> = held.iter().map(|token| token.unwrap().1.into()).collect();
        assert_eq!(read, lent);
        drop(held);
        for id in 1..=3 {
            db.put(id, &read[2]).unwrap(); // from `Bytes`, as from any slice
        }
        db.checkpoint().unwrap();
        db.close().unwrap();
        assert_eq!(read[0], &b"in the pages and appended to"[..]);
        assert_eq!(read[1], vec![2; 100_000]);
        assert_eq!(read[2], &b"in the overlay"[..]);
    }

    #[test]
    fn bytes_of_the_database_are_not_copied() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path().join("file")).unwrap();
        db.put(1, &[1; 2000]).unwrap();
        db.checkpoint().unwrap();
        let value = db.get(1).unwrap().unwrap();
        let place = value.as_ptr();
        let bytes = bytes::Bytes::from(value);
        assert_eq!(bytes.as_ptr(), place);
        assert_eq!(bytes.slice(10..20).as_ptr(), place.wrapping_add(10));
    }
}
