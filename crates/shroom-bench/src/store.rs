//! What every peer can do, as the workloads see it.

use std::path::Path;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Whether a step worked out; the error is shown, not handled.
pub(crate) type Outcome<T = ()> = Result<T, Error>;

/// One change: a new value, or none for a deletion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) id: u64,
    pub(crate) value: Option<&'a [u8]>,
}

/// What a write promises when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Readers see it.
    Visible,
    /// It survives a power failure.
    Synced,
}

/// What was read, summed up so that the reading cannot be optimised away, and so that all peers can be held to the same answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) found: u64,
    pub(crate) absent: u64,
    pub(crate) sum: u64,
}

impl Tally {
    /// Counts the answer to one get. Touches the value's first and last byte, as a caller would.
    #[inline]
    pub(crate) fn add(&mut self, value: Option<&[u8]>) {
        match value {
            Some(bytes) => {
                let ends = bytes.first().zip(bytes.last());
                let (first, last) = ends.map_or((0, 0), |(&first, &last)| (first, last));
                self.found += 1;
                self.sum = self
                    .sum
                    .wrapping_add(u64::from(first) + u64::from(last) + bytes.len() as u64);
            }
            None => self.absent += 1,
        }
    }

    /// Counts one token of a scan.
    #[inline]
    pub(crate) fn add_token(&mut self, id: u64, bytes: &[u8]) {
        self.add(Some(bytes));
        self.sum = self.sum.wrapping_add(id);
    }
}

/// One engine, opened on files of its own.
///
/// The loops over many gets are the peer's, so that no call through a table of functions comes between them.
pub(crate) trait Store {
    /// Writes tokens in ascending order of ids, the fastest way that the peer has, durably. May be called again with higher
    /// ids.
    fn load_sorted(&mut self, tokens: &mut dyn Iterator<Item = (u64, &[u8])>) -> Outcome;

    /// Commits changes together. The store was opened for this durability.
    fn write(&mut self, changes: &[Change<'_>]) -> Outcome;

    /// Commits one value by itself.
    fn put(&mut self, id: u64, value: &[u8]) -> Outcome {
        self.write(&[Change {
            id,
            value: Some(value),
        }])
    }

    /// Gets through one view of the store (a snapshot, a read transaction), opened once.
    fn get_reused(&self, ids: &[u64], tally: &mut Tally) -> Outcome;

    /// Gets that each see the newest state: a view each, where the peer has views.
    fn get_fresh(&self, ids: &[u64], tally: &mut Tally) -> Outcome;

    /// All tokens, in order of ids where the peer has one.
    fn scan(&self, _tally: &mut Tally) -> Outcome {
        unsupported("scan")
    }

    /// Makes everything durable.
    fn flush(&mut self) -> Outcome;

    /// Makes the files as small as the peer can. The store stays open.
    fn compact(&mut self) -> Outcome {
        unsupported("compact")
    }

    /// Closes the store: all is durable, and no thread of it runs on.
    fn close(self: Box<Self>) -> Outcome;
}

/// How a peer opens or creates a store in a directory, for writes of one durability.
pub(crate) type Open = fn(&Path, Durability) -> Outcome<Box<dyn Store>>;

/// An error for what a peer does not have; the workloads do not ask for it.
pub(crate) fn unsupported<T>(what: &str) -> Outcome<T> {
    Err(format!("{what}: the peer has no such operation").into())
}
