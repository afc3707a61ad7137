//! What the public types promise beside what they do, checked by the compiler: which may go to other threads, and what may
//! not outlive what.

use crate::compaction::{NewFile, NewFileProgress, Progress};
use crate::delta::{AppliedDelta, Delta, DeltaInfo};
use crate::diff::{Diff, Difference};
use crate::iter::{Chunks, Iter, Keys};
use crate::proof::{Proof, ProofError};
use crate::salvage::{Salvage, SalvageReport};
use crate::stats::Stats;
use crate::verify::Report;
use crate::{Batch, Db, Error, Options, Reader, SavedSnapshot, Snapshot, Value, ValueWriter};

/// Any number of threads may share it, and it may be handed to another one.
const fn any_thread<T: Send + Sync>() {}

const _: () = {
    any_thread::<Db>();
    any_thread::<Options>();
    any_thread::<Batch<'_>>();
    any_thread::<Snapshot>();
    any_thread::<SavedSnapshot>();
    any_thread::<Value<'_>>();
    any_thread::<Iter<'_>>();
    any_thread::<Keys<'_>>();
    any_thread::<Reader>();
    any_thread::<Chunks<'_>>();
    any_thread::<ValueWriter>();
    any_thread::<Diff>();
    any_thread::<Difference>();
    any_thread::<Delta>();
    any_thread::<DeltaInfo>();
    any_thread::<AppliedDelta>();
    any_thread::<NewFile>();
    any_thread::<NewFileProgress>();
    any_thread::<Progress>();
    any_thread::<Proof>();
    any_thread::<ProofError>();
    any_thread::<Salvage>();
    any_thread::<SalvageReport>();
    any_thread::<Stats>();
    any_thread::<Report>();
    any_thread::<Error>();
};

/// A value that was read through the database itself keeps what it needs: it may outlive every handle.
///
/// ```
/// let value = {
///     let db = shroom::Db::in_memory()?;
///     db.put(1, b"one")?;
///     db.get(1)?.unwrap()
/// };
/// assert_eq!(value, b"one");
/// # Ok::<(), shroom::Error>(())
/// ```
///
/// One that was read through a snapshot borrows from it.
///
/// ```
/// let db = shroom::Db::in_memory()?;
/// db.put(1, b"one")?;
/// let snapshot = db.snapshot();
/// let value = snapshot.get(1)?.unwrap();
/// assert_eq!(value, b"one");
/// drop(snapshot);
/// # Ok::<(), shroom::Error>(())
/// ```
///
/// ```compile_fail,E0505
/// let db = shroom::Db::in_memory()?;
/// db.put(1, b"one")?;
/// let snapshot = db.snapshot();
/// let value = snapshot.get(1)?.unwrap();
/// drop(snapshot);
/// assert_eq!(value, b"one");
/// # Ok::<(), shroom::Error>(())
/// ```
///
/// So do its iterators.
///
/// ```compile_fail,E0505
/// let db = shroom::Db::in_memory()?;
/// let snapshot = db.snapshot();
/// let mut tokens = snapshot.iter();
/// drop(snapshot);
/// assert!(tokens.next().is_none());
/// # Ok::<(), shroom::Error>(())
/// ```
///
/// A batch does not outlive the handle that it is for.
///
/// ```compile_fail,E0505
/// let db = shroom::Db::in_memory()?;
/// let mut batch = db.batch();
/// batch.put(1, b"one");
/// drop(db);
/// batch.commit()?;
/// # Ok::<(), shroom::Error>(())
/// ```
///
/// Slices of a value that is read as a stream end with its reader.
///
/// ```compile_fail,E0505
/// let db = shroom::Db::in_memory()?;
/// db.put(1, b"one")?;
/// let reader = db.reader(1)?.unwrap();
/// let piece = reader.chunks().next().unwrap()?;
/// drop(reader);
/// assert_eq!(piece, b"one");
/// # Ok::<(), shroom::Error>(())
/// ```
#[cfg(doctest)]
struct Lifetimes;
