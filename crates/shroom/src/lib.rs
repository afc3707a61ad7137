//! ShroomDB: a tiny single-file storage engine for thousands to hundreds of millions of small independent blobs
//! ("tokens": a `u64` id and its bytes).
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("state.shroom");
//! let db = shroom::Db::open(&path)?;
//! db.put(42, b"spore")?; // visible at once, to every thread
//! assert_eq!(db.get(42)?.unwrap(), b"spore"); // zero-copy where contiguous
//! assert!(db.delete(42)?); // it existed
//! db.flush()?; // durable: one fdatasync
//!
//! let mut batch = db.batch();
//! batch.put(1, b"cap").put(2, b"stem").append(2, b" and root").tag(7);
//! batch.commit_synced()?; // all or nothing, also across a crash
//!
//! let before = db.snapshot(); // O(1), never blocks and is never blocked
//! db.put(1, b"changed")?;
//! assert_eq!(before.get(1)?.unwrap(), b"cap");
//! for token in db.range(1..) {
//!     let (id, bytes) = token?;
//!     println!("{id}: {} bytes", bytes.len());
//! }
//! drop(before);
//! db.close()?; // a closed file is only data
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is needed first is at the root: [`Db`], [`Options`], [`Batch`], [`Snapshot`], [`Value`], and [`Reader`] and [`ValueWriter`]
//! for values as streams. Names that belong to one purpose are in its module: [`compaction`], [`delta`], [`diff`], [`proof`],
//! [`salvage`], [`stats`], [`verify`].
//!
//! What a database does can be watched: [`Db::activity`] counts, [`Db::held_states`] says what keeps old pages, and with a subscriber of
//! the crate `tracing` there are spans `recovery`, `flush`, `checkpoint` and `compaction` with events inside. Writing and reading a
//! token emits nothing.
//!
//! Features, none of which is on by default: `serde` for typed values (`put_value` and `get_value`, as MessagePack), `bytes` to make
//! [`Value`]s into `bytes::Bytes`.
//!
//! The layers below are crates of their own ([`layers`]): `shroom-page` (a transactional page array), `shroom-seg` (an allocator of byte
//! chains) and `shroom-token` (an ordered `u64 -> bytes` directory).
//!
//! Promises, in order: nothing lost and nothing wrong; the smallest file; reads at hash-map speed; one sync per durable
//! commit; deterministic bytes; one file.

#![forbid(unsafe_code)]

mod activity;
mod batch;
mod bulk;
pub mod compaction;
mod content_root;
mod core;
mod db;
pub mod delta;
pub mod diff;
mod digest;
mod drain;
mod error;
#[doc(hidden)]
pub mod format;
pub mod iter;
mod lattice;
mod operation;
mod options;
mod overlay;
mod pace;
mod pieces;
mod promises;
pub mod proof;
mod reader;
mod root;
pub mod salvage;
mod saved;
mod snapshot;
mod state;
pub mod stats;
mod sync;
mod tracking;
#[cfg(feature = "serde")]
mod typed;
mod value;
pub mod verify;
mod writer;
mod writing_at;

pub use batch::Batch;
pub use db::Db;
pub use digest::{ContentRoot, FileHash, PageRoot};
pub use error::{Error, ErrorKind, Result};
pub use options::Options;
pub use reader::Reader;
pub use saved::SavedSnapshot;
pub use shroom_page::{ReadCheck, storage};
pub use shroom_token::TokenInfo;
pub use snapshot::Snapshot;
pub use value::Value;
pub use writer::ValueWriter;

/// The crates below this one: what errors and findings hold is theirs, and [`storage`] is.
pub mod layers {
    pub use shroom_page as page;
    pub use shroom_seg as seg;
    pub use shroom_token as token;
}
