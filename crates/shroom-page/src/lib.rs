//! A transactional array of pages in one file: the bottom layer of ShroomDB, useful alone.
//!
//! Pages have stable *logical* numbers. A transaction changes any of them and commits atomically:
//! changed pages are written to free places of the file, and a checksummed superblock is flipped.
//! A [`Snapshot`] is an immutable view that costs one reference count and is never blocked. Every page is
//! authenticated by a BLAKE3 hash held by its referrer, up to a single 32-byte root. Beside the
//! pages lie two journal areas: a byte-exact, chained log of opaque frames for the layers above.
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

#![deny(unsafe_code)]

mod allocation;
mod commit;
mod delta;
mod diff;
mod error;
mod free_runs;
mod header;
mod holes;
mod ids;
mod image;
mod journal;
mod map;
mod map_repair;
mod named;
mod named_txn;
mod recovery;
mod salvage;
mod snapshot;
pub mod storage;
mod store;
mod stream;
mod superblock;
mod sync;
mod translations;
mod txn;
mod vacuum;
mod verified;
mod verify;

pub use delta::{DeltaApplied, DeltaInfo, DeltaReader, PageDelta};
pub use diff::{PageDifference, PageDifferences, diff_pages};
pub use error::{PageError, Result};
pub use header::{PAGE_HEADER_LEN, PageHeader, PageType};
pub use ids::{LogicalPage, PAGE_SIZE_MAX, PAGE_SIZE_MIN, PageSize, PhysicalPage};
pub use image::{FileImage, HashImage, ImageSink, ImageWriter};
pub use journal::{FRAME_HEADER_LEN, JournalMark, JournalStats};
pub use map_repair::RepairedMapPage;
pub use named::SNAPSHOT_NAME_MAX;
pub use recovery::RecoveredFrames;
pub use salvage::{DamagedStore, Surveyed};
pub use snapshot::{PageRead, Snapshot};
pub use store::{PageStore, PageStoreStats, ReadCheck, StoreOptions};
pub use stream::PageStream;
pub use superblock::{FORMAT_VERSION, Roots};
pub use txn::PageTxn;
pub use verify::{PageFinding, PageReport};
