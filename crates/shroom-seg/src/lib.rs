//! An allocator of variable-length byte chains over a transactional page store.
//!
//! [`shroom_page`] gives an array of pages that changes atomically. This crate stores byte strings of any length in
//! it: a **segment** is a string inside one page, at the cost of 4 bytes; a **blob** is a string of any length,
//! whose bulk lies in runs of raw pages so that it is read as one slice. Pages are shared and filled lowest first,
//! by a free-space index that finds room in O(log pages). It implements sections 5 and 6 of the file format.
//!
//! * S1 A segment never crosses a page.
//! * S2 Every byte of a storage page is header, live segment or free segment.
//! * S3 A live segment has one referrer: a link of its chain, or the layer above.
//! * S4 Bytes that are not as they should be give an error, never a panic, a hang or unbounded memory.
//! * S5 The same operations on the same store give the same bytes.
//!
//! Absent on purpose: no file, no thread, no cache, no key. The caller remembers addresses and blob lengths, and
//! commits the 64-byte root that [`SegmentTxn::finish`] returns with the pages.
//!
//! Without the feature `std` the crate is `no_std` with an allocator, and reads and checks, over the pages of a
//! slice or of a proof.
//!
//! ```
//! use shroom_page::{PageSize, PageStore, Roots};
//! use shroom_seg::{References, SegmentTxn, blob_read, segment, verify};
//!
//! let store = PageStore::in_memory(PageSize::DEFAULT)?;
//! let mut txn = store.begin()?;
//! let mut segments = SegmentTxn::open(&mut txn, &[0; 64])?; // an empty store
//! let name = segments.allocate(b"mycelium")?;
//! let book = segments.blob_create(&[&[1; 100_000], &[2; 100_000]])?;
//! let book = segments.blob_append(book, 200_000, &[&[3; 4608]])?;
//! let name = segments.replace(name, b"mushroom")?;
//! let seg = segments.finish()?;
//! let snapshot = txn.commit(Roots { seg, ..Roots::default() })?;
//!
//! assert_eq!(segment(&snapshot, name)?, b"mushroom");
//! let mut page = [0; 100];
//! blob_read(&snapshot, book, 204_608, 199_950, &mut page)?;
//! assert_eq!(page[..50], [2; 50]);
//!
//! let mut references = References::new();
//! references.add_segment(name);
//! references.add_blob(&snapshot, book, 204_608)?;
//! assert!(verify(&snapshot, &seg, &references)?.is_sound());
//! # Ok::<(), shroom_seg::SegError>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(
    not(feature = "std"),
    expect(dead_code, reason = "the codecs also have what only writers need")
)]

extern crate alloc;

/// What the README says is run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

// The codecs, and what reads: `core` and `alloc`.
mod addr;
mod blob;
mod chain;
mod cursor;
mod error;
mod index_page;
mod index_walk;
mod layout;
mod page;
mod places;
mod root;
mod verify;

// What writes, and salvage.
#[cfg(feature = "std")]
mod blob_txn;
#[cfg(feature = "std")]
#[doc(hidden)]
pub mod format;
#[cfg(feature = "std")]
mod free_index;
#[cfg(feature = "std")]
mod image;
#[cfg(feature = "std")]
pub mod inspect;
#[cfg(feature = "std")]
mod moving;
#[cfg(feature = "std")]
mod run_writer;
#[cfg(feature = "std")]
mod salvage;
#[cfg(feature = "std")]
mod txn;

pub use addr::SegmentAddr;
pub use blob::{blob_pages, blob_read, blob_slice, blob_to_vec};
pub use chain::{segment, segment_data, segment_data_of, segment_span};
pub use cursor::{BlobChunks, BlobCursor};
pub use error::{Fault, Result, SegError};
pub use places::{BlobPlaces, blob_places};
pub use root::free_bytes;
pub use verify::{Finding, References, SegReport, SegStats, stats, verify};

#[cfg(feature = "std")]
pub use {
    image::{ImagePages, SegmentImage, WINDOW_PAGES},
    moving::TakenBlob,
    salvage::{LiveSegment, blob_extents, index_pages, live_segments},
    txn::SegmentTxn,
};
