//! A transactional array of pages in one file: the bottom layer of ShroomDB, useful alone.
//!
//! Pages have stable *logical* numbers. A transaction changes any of them and commits atomically:
//! changed pages are written to free places of the file, and a checksummed superblock is flipped.
//! A [`Snapshot`] is an immutable view that costs one reference count and is never blocked. Every page is
//! authenticated by a BLAKE3 hash held by its referrer, up to a single 32-byte root. Beside the
//! pages lie two journal areas: a byte-exact, chained log of opaque frames for the layers above.
//! It implements sections 2 to 4 of the file format.
//!
//! * The store is at the last commit that returned or at the one under way, whenever it crashes: nothing that a superblock reaches is
//!   written before a newer superblock is durable.
//! * No byte is handed out before its page's hash was seen to match. Bytes that are not as they should be give an error, never a
//!   panic, a hang or unbounded memory.
//! * No page that a snapshot reaches is written, moved or cut off while the snapshot lives.
//! * A failed sync is never retried: the store takes no more writes until it is opened again.
//! * The same calls give the same bytes, when no older snapshot is held meanwhile.
//!
//! Modules number the invariants that they keep.
//!
//! ```
//! use shroom_page::{PageRead, PageSize, PageStore, Roots};
//!
//! let store = PageStore::in_memory(PageSize::DEFAULT)?;
//! let mut txn = store.begin()?;
//! let page = txn.allocate()?;
//! txn.page_mut(page)?[100] = 42;
//! let first = txn.commit(Roots::default())?;
//!
//! let mut txn = store.begin()?;
//! txn.page_mut(page)?[100] = 43;
//! let second = txn.commit(Roots::default())?;
//! assert_eq!(first.page(page)?[100], 42); // a snapshot does not change
//! assert_eq!(second.page(page)?[100], 43);
//! assert!(store.verify()?.is_sound());
//! # Ok::<(), shroom_page::PageError>(())
//! ```
//!
//! Absent on purpose: knows no token, no segment and no operation; keeps no page cache (the mapping is the cache).
//!
//! Without the feature `std` the crate is `no_std` with an allocator, and has what reads: [`SlicePages`], [`ProvenPages`], the codecs.

#![deny(unsafe_code)]
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(
    not(feature = "std"),
    expect(dead_code, reason = "the codecs also have what only the store needs")
)]

extern crate alloc;

/// What the README says is run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

// The codecs, and what reads pages: `core` and `alloc`.
mod error;
mod frames;
mod free_runs;
mod header;
mod ids;
mod map;
mod map_walk;
mod page_root;
mod proof;
mod read;
mod slice;
mod slots;
mod superblock;
mod sync;
mod verified;
mod verify;

// The store.
#[cfg(feature = "std")]
mod activity;
#[cfg(feature = "std")]
mod allocation;
#[cfg(feature = "std")]
mod arrange;
#[cfg(feature = "std")]
mod commit;
#[cfg(feature = "std")]
mod delta;
#[cfg(feature = "std")]
mod diff;
#[cfg(feature = "std")]
pub mod explain;
#[cfg(feature = "std")]
#[doc(hidden)]
pub mod format;
#[cfg(feature = "std")]
mod hashing;
#[cfg(feature = "std")]
mod holes;
#[cfg(feature = "std")]
mod image;
#[cfg(feature = "std")]
pub mod inspect;
#[cfg(feature = "std")]
mod journal;
#[cfg(feature = "std")]
mod map_repair;
#[cfg(feature = "std")]
mod named;
#[cfg(feature = "std")]
mod named_txn;
#[cfg(feature = "std")]
mod recovery;
#[cfg(feature = "std")]
mod salvage;
#[cfg(feature = "std")]
mod snapshot;
#[cfg(feature = "std")]
pub mod storage;
#[cfg(feature = "std")]
mod store;
#[cfg(feature = "std")]
mod stream;
#[cfg(feature = "std")]
mod translations;
#[cfg(feature = "std")]
mod txn;
#[cfg(feature = "std")]
mod vacuum;

pub use error::{PageError, Result};
pub use frames::{FRAME_HEADER_LEN, JournalMark};
pub use header::{PAGE_HEADER_LEN, PageHeader, PageType};
pub use ids::{LogicalPage, PAGE_SIZE_MAX, PAGE_SIZE_MIN, PageSize, PhysicalPage};
pub use proof::{PartialRead, ProofFlaw, ProvenPages};
pub use read::PageRead;
pub use slice::SlicePages;
pub use superblock::{FORMAT_VERSION, Roots};
pub use verified::ReadCheck;
pub use verify::{PageFinding, PageReport};

#[cfg(feature = "std")]
pub use {
    activity::{HeldState, StoreActivity},
    arrange::{Arranged, Arranging},
    delta::{DeltaApplied, DeltaInfo, DeltaReader, PageDelta},
    diff::{PageDifference, PageDifferences, diff_pages},
    image::{FileImage, HashImage, ImageSink, ImageWriter},
    journal::JournalStats,
    map_repair::RepairedMapPage,
    named::SNAPSHOT_NAME_MAX,
    proof::ProofRecorder,
    recovery::RecoveredFrames,
    salvage::{DamagedStore, Surveyed},
    snapshot::Snapshot,
    store::{PageStore, PageStoreStats, StoreOptions},
    stream::PageStream,
    txn::PageTxn,
};
