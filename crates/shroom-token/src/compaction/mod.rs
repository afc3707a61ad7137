//! Compaction in place: the tokens move, a bounded commit at a time, until they lie as in their canonical image.
//!
//! Two passes. [`Gather`] takes what there is in the order of the pages and puts it to high numbers, what is near in ids
//! together; each page is empty when it has been passed. [`Home`] takes the tokens in the order of ids and writes the
//! image to the low numbers, which are free then. Without the first pass the second would leave holes in pages all over the file,
//! and need as much again as there is.
//!
//! * P1 Each step leaves a sound directory with the same tokens; nothing of what is only in memory is needed.
//! * P2 Besides the tokens' pages a pass needs those of a step, and the second one those of a bucket: about a 64th of the data.
//! * P3 Other changes may come in between, and be told by `disturbed`: then the passes still end, and the result may differ
//!   from the canonical image.
//!
//! Absent on purpose: does not commit, knows no place in the file and no thread.

mod buckets;
mod directory;
mod gather;
mod home;
mod numbers;
mod survey;

pub use gather::Gather;
pub use home::Home;
pub use survey::{Survey, survey};
