//! Looking at a database file: what its pages are used for, its bytes in words, and its figures while others write.
//!
//! For tools, and for people who want to see what is in a file. Nothing is written, and nothing is replayed into the file. A
//! damaged file can be looked at as far as it is sound, as long as one of its superblocks is.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("state.shroom");
//! # let db = shroom::Db::open(&path)?;
//! # db.put(7, b"spore")?;
//! # db.close()?;
//! use shroom::inspect::{Inspection, PageKind};
//!
//! let inspection = Inspection::open(&path)?;
//! let map = inspection.map()?;
//! assert_eq!(map.page(0).unwrap().kind, PageKind::Superblock);
//! assert_eq!(map.count(PageKind::Storage), 1);
//! let pack = inspection.explain_pack(7)?.unwrap();
//! assert!(pack.fields.iter().any(|field| field.meaning.contains("\"spore\"")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod build;
mod describe;
mod explain;
mod glance;
mod map;

use std::path::Path;
use std::sync::Arc;

use shroom_page::inspect::StoreInspection;
use shroom_page::storage::{FileStorage, OpenMode, Storage};
use shroom_page::{LogicalPage, PhysicalPage, Roots, Snapshot};
use shroom_token::TokenRoot;

pub use self::glance::Glance;
pub use self::map::{Composition, FileMap, MappedPage, PageKind};
use crate::error::Result;
use crate::root::ApplicationRoot;
pub use shroom_page::explain::{Explanation, Field};

/// A database file that is looked at. It is locked against writers, not against readers.
#[derive(Debug)]
pub struct Inspection {
    store: StoreInspection,
}

impl Inspection {
    /// Opens the file at `path`, which may be damaged.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) when somebody has it open for writing; corruption when neither superblock is sound;
    /// I/O errors.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let storage = FileStorage::open(path.as_ref(), OpenMode::ReadOnly)?;
        Self::open_storage(Arc::new(storage))
    }

    /// [`open`](Self::open), over any storage.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_storage(storage: Arc<dyn Storage>) -> Result<Self> {
        let store = StoreInspection::open(storage)?;
        Ok(Self { store })
    }

    /// Size of a page, in bytes.
    pub fn page_size(&self) -> u32 {
        self.store.page_size().bytes() as u32
    }

    /// Names of the named snapshots, ascending by their bytes.
    pub fn snapshot_names(&self) -> Vec<String> {
        self.store.names()
    }

    /// Pages of the file.
    pub fn pages(&self) -> u32 {
        self.store.pages()
    }

    /// Place in the file of a logical page of the present state; `None` when there is none.
    pub fn place_of(&self, logical: u32) -> Option<u32> {
        let place = self.store.place_of(LogicalPage(logical));
        place.map(|physical| physical.0)
    }

    /// The bytes of a page of the file, sound or not.
    pub fn page_bytes(&self, page: u32) -> Option<&[u8]> {
        self.store.bytes(PhysicalPage(page))
    }

    /// What each page of the file is used for. Reads all of them, and every pack. Takes 12 bytes of memory a page, and some a pack.
    ///
    /// # Errors
    /// I/O errors. Damage is in the map.
    pub fn map(&self) -> Result<FileMap<'_>> {
        build::build(self)
    }

    fn snapshot(&self) -> &Snapshot {
        self.store.snapshot()
    }

    fn roots(&self) -> &Roots {
        self.snapshot().roots()
    }

    fn token_root(&self) -> Result<TokenRoot> {
        Ok(TokenRoot::decode(&self.roots().token)?)
    }

    fn application_root(&self) -> Result<ApplicationRoot> {
        ApplicationRoot::decode(&self.roots().application)
    }
}
