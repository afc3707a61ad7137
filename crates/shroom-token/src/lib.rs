//! An ordered map from `u64` ids to byte strings of any length, packed tightly into the pages of a transactional store.
//!
//! [`shroom_page`] gives pages that change atomically, and [`shroom_seg`] byte strings in them. This crate keeps many
//! small values ("tokens") in one segment, a **pack**, so that a token costs a few bytes beside its own; packs are
//! found through a **directory**, a shallow tree of their first ids. Long values are blobs of the segment layer.
//! It implements sections 7 and 8 of the file format.
//!
//! Changes come as a batch in ascending order of ids ([`merge`], [`bulk_append`]): each page that holds changed tokens is
//! written once, and packs are cut anew so that pages stay full. Reads ([`get`], [`range`]) borrow from the pages.
//!
//! * D1 Ids ascend strictly over all packs; a directory entry's id is the first id stored under it.
//! * D2 Every pack, blob and directory page is named exactly once.
//! * D3 A value is inline exactly when it is at most [`inline_len_max`] bytes long.
//! * D4 Bytes that are not as they should be give an error, never a panic, a hang or unbounded memory.
//! * D5 The same batches on the same store give the same bytes.
//!
//! Absent on purpose: no file, no thread, no cache of values, no journal; no commit of its own. The caller commits the 32-byte
//! [`TokenRoot`] with the pages.
//!
//! Without the feature `std` the crate is `no_std` with an allocator, and has what reads: [`get`], [`range`], [`verify`] and
//! [`Proof::verify`].
//!
//! ```
//! use shroom_page::{PageSize, PageStore, Roots};
//! use shroom_seg::SegmentTxn;
//! use shroom_token::{Bytes, Edit, Stored, TokenId, TokenRoot, get, merge, range};
//!
//! let store = PageStore::in_memory(PageSize::DEFAULT)?;
//! let mut txn = store.begin()?;
//! let mut segments = SegmentTxn::open(&mut txn, &[0; 64])?; // an empty store
//! let edits = [
//!     (TokenId(7), Edit::Put(Bytes::One(b"spore"))),
//!     (TokenId(9), Edit::Append { kept: 0, tail: Bytes::Many(vec![b"my", b"celium"]) }),
//! ];
//! let mut edits = edits.into_iter().peekable();
//! let root = merge(&mut segments, &TokenRoot::EMPTY, &mut edits, usize::MAX)?;
//! let seg = segments.finish()?;
//! let snapshot = txn.commit(Roots { seg, token: root.encode(), ..Roots::default() })?;
//!
//! let root = TokenRoot::decode(&snapshot.roots().token)?;
//! assert_eq!((root.tokens(), root.payload()), (2, 13));
//! assert_eq!(get(&snapshot, &root, TokenId(7))?, Some(Stored::Inline(b"spore")));
//! assert_eq!(get(&snapshot, &root, TokenId(8))?, None);
//! let last = range(&snapshot, &root, ..).next_back().transpose()?;
//! assert_eq!(last, Some((TokenId(9), Stored::Inline(b"mycelium"))));
//! # Ok::<(), shroom_token::TokenError>(())
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
mod column;
mod error;
mod id;
mod info;
mod lookup;
mod node;
mod pack;
mod proof;
mod range;
mod root;
mod stats;
mod verify;

// What writes, what remembers, and salvage.
#[cfg(feature = "std")]
mod bulk;
#[cfg(feature = "std")]
mod canonical;
#[cfg(feature = "std")]
pub mod compaction;
#[cfg(feature = "std")]
mod diff;
#[cfg(feature = "std")]
mod edge;
#[cfg(feature = "std")]
mod edit;
#[cfg(feature = "std")]
#[doc(hidden)]
pub mod format;
#[cfg(feature = "std")]
pub mod inspect;
#[cfg(feature = "std")]
mod lookup_cache;
#[cfg(feature = "std")]
mod lookup_cached;
#[cfg(feature = "std")]
mod lookup_many;
#[cfg(feature = "std")]
mod merge;
#[cfg(feature = "std")]
mod rooms;
#[cfg(feature = "std")]
mod salvage;

pub use error::{Result, TokenError};
pub use id::TokenId;
pub use info::{TokenInfo, info};
pub use lookup::get;
pub use node::NodeFlaw;
pub use pack::{Pack, PackFlaw, Stored, inline_len_max};
pub use proof::{Proof, ProofError};
pub use range::{Range, range};
pub use root::TokenRoot;
pub use stats::directory_pages;
pub use verify::{Reached, TokenReport, verify, walk};

#[cfg(feature = "std")]
pub use {
    bulk::bulk_append,
    canonical::CanonicalImage,
    diff::{Changes, Compared, changes},
    edit::{Bytes, Edit},
    lookup_cache::LookupCache,
    lookup_cached::get_cached,
    lookup_many::get_many_cached,
    merge::merge,
    salvage::{Span, Survivors, survivors},
};
