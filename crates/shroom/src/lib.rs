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
//! for values as streams. Names that belong to one purpose are in its module: [`compaction`], [`delta`], [`diff`], [`image`],
//! [`inspect`], [`proof`], [`salvage`], [`stats`], [`verify`]. Without the feature `std` there is only [`image`], which reads a closed file in
//! a slice of bytes.
//!
//! What a database does can be watched: [`Db::activity`] counts, [`Db::held_states`] says what keeps old pages, and with a subscriber of
//! the crate `tracing` there are spans `recovery`, `flush`, `checkpoint` and `compaction` with events inside. Writing and reading a
//! token emits nothing.
//!
//! Features beside `std`, none of which is on by default: `serde` for typed values (`put_value` and `get_value`, as MessagePack), `bytes` to make
//! [`Value`]s into `bytes::Bytes`.
//!
//! The layers below are crates of their own ([`layers`]): `shroom-page` (a transactional page array), `shroom-seg` (an allocator of byte
//! chains) and `shroom-token` (an ordered `u64 -> bytes` directory).
//!
//! Promises, in order: nothing lost and nothing wrong; the smallest file; reads at hash-map speed; one sync per durable
//! commit; deterministic bytes; one file.

#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(
    not(feature = "std"),
    expect(dead_code, reason = "what reads also has what only the database needs")
)]

extern crate alloc;

// Reading a file in a slice of bytes: `core` and `alloc`.
mod digest;
mod error;
pub mod image;
mod lattice;
mod root;
pub mod verify;

// The database.
#[cfg(feature = "std")]
mod activity;
#[cfg(feature = "std")]
mod batch;
#[cfg(feature = "std")]
mod bulk;
#[cfg(feature = "std")]
pub mod compaction;
#[cfg(feature = "std")]
mod content_root;
#[cfg(feature = "std")]
mod core;
#[cfg(feature = "std")]
mod db;
#[cfg(feature = "std")]
pub mod delta;
#[cfg(feature = "std")]
pub mod diff;
#[cfg(feature = "std")]
mod drain;
#[cfg(feature = "std")]
#[doc(hidden)]
pub mod format;
#[cfg(feature = "std")]
pub mod inspect;
#[cfg(feature = "std")]
pub mod iter;
#[cfg(feature = "std")]
mod operation;
#[cfg(feature = "std")]
mod options;
#[cfg(feature = "std")]
mod overlay;
#[cfg(feature = "std")]
mod pace;
#[cfg(feature = "std")]
mod pieces;
#[cfg(feature = "std")]
mod promises;
#[cfg(feature = "std")]
pub mod proof;
#[cfg(feature = "std")]
mod read_ahead;
#[cfg(feature = "std")]
mod reader;
#[cfg(feature = "std")]
pub mod salvage;
#[cfg(feature = "std")]
mod saved;
#[cfg(feature = "std")]
mod snapshot;
#[cfg(feature = "std")]
mod state;
#[cfg(feature = "std")]
pub mod stats;
#[cfg(feature = "std")]
mod sync;
#[cfg(feature = "std")]
mod sync_ahead;
#[cfg(feature = "std")]
mod tracking;
#[cfg(feature = "serde")]
mod typed;
#[cfg(feature = "std")]
mod value;
#[cfg(feature = "std")]
mod writer;
#[cfg(feature = "std")]
mod writing_at;

pub use digest::{ContentRoot, FileHash, PageRoot};
pub use error::{Error, ErrorKind, Result};
pub use shroom_page::ReadCheck;

#[cfg(feature = "std")]
pub use {
    batch::Batch, db::Db, options::Options, reader::Reader, saved::SavedSnapshot,
    shroom_page::storage, shroom_token::TokenInfo, snapshot::Snapshot, value::Value,
    writer::ValueWriter,
};

/// The crates below this one: what errors and findings hold is theirs, and `storage` is.
pub mod layers {
    pub use shroom_page as page;
    pub use shroom_seg as seg;
    pub use shroom_token as token;
}

/// The Rust of the documents, which the tests run.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/tuning.md")]
    struct Tuning;
    #[doc = include_str!("../../../docs/faq.md")]
    struct Questions;
    #[doc = include_str!("../../../docs/cli.md")]
    struct Command;
}
