//! Deltas: what one named snapshot has and another one has not, as a stream that makes a copy of the one file follow the other
//! (format §12).
//!
//! A delta carries the later state's frozen superblock, then each page of it that the earlier state has not, a page of the map
//! before those under it. So each page is proven, when it arrives, by the hash in a page that came before it, up to the page root
//! in the header; and the receiver, which has the earlier state, knows itself which pages must come.
//!
//! * X1 The same two states give the same bytes, so that a transfer may go on where it was interrupted.
//! * X2 A page goes to the place that it has in the source. The receiver's state then is the source's, down to its page root.
//! * X3 Nothing that a state of the receiver reaches is written. Until the last sync it is in the earlier state, after it in the later.
//!
//! Absent on purpose: nothing smaller than a page, and no compression.

mod apply;
mod export;
mod header;
mod walk;

pub use apply::DeltaApplied;
pub use export::PageDelta;
pub use header::{DeltaInfo, DeltaReader};

pub(crate) use header::structures;

/// Bytes of a page in a delta before its content: its physical number.
const FRAME_HEADER_LEN: usize = 4;
