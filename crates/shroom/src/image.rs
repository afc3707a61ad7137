//! Reading a closed database that is a slice of bytes: in flash, in ROM, in the program itself (`include_bytes!`), in a mapping that
//! somebody else made. Needs `core` and an allocator only: it is all that there is of this crate without the feature `std`.
//!
//! ```
//! use std::sync::Arc;
//! use shroom::image::Image;
//! use shroom::{Options, storage::MemoryStorage};
//!
//! let file = MemoryStorage::new();
//! let db = Options::new().open_storage(Arc::new(file.clone()))?;
//! db.put(42, b"spore")?;
//! db.close()?;
//!
//! let bytes = file.to_bytes(); // what would be in flash
//! let image = Image::new(&bytes)?;
//! let value = image.get(42)?.unwrap();
//! assert_eq!(value.as_slice()?, Some(&b"spore"[..]));
//! assert!(image.verify()?.is_sound());
//! # Ok::<(), shroom::Error>(())
//! ```
//!
//! * I1 Nothing is checked twice and nothing is read unchecked: a page, of the map as of the data, is compared with the hash in its
//!   referrer when a call first touches it, up to the superblock, which has a hash of its own. [`ReadCheck::EveryRead`] compares
//!   again at each touch.
//! * I2 Bytes that are not as they should be give an error: never a panic, an endless loop, or a read outside of the slice.
//! * I3 What is allocated: 4 KiB and two bits a page of the file for an image, and 16 KiB more while it is opened; nothing for a look-up;
//!   2 KiB for a [`Range`]; for a large value 64 bytes for each of its extents (nearly always one) while it is read. What is
//!   asked for as a vector comes on top, and [`Image::verify`] says what it takes.
//!
//! Absent on purpose: replays no journal. A file that was not closed is refused with [`PageError::NotClosed`]: open it with a `Db`,
//! and close it. Knows no named snapshots.
//!
//! [`PageError::NotClosed`]: shroom_page::PageError::NotClosed

mod tokens;
mod value;

use core::ops::RangeBounds;

use shroom_page::{ReadCheck, SlicePages};
use shroom_seg::blob_read;
use shroom_token::{TokenId, TokenRoot};

use crate::digest::{ContentRoot, PageRoot};
use crate::error::Result;
use crate::lattice::{Element, LATTICE_LEN, Lattice};
use crate::root::ApplicationRoot;
use crate::verify::Report;

pub use tokens::Range;
pub use value::{Chunks, Value};

/// A closed database in a slice of bytes. See the [module](self).
#[derive(Debug)]
pub struct Image<'b> {
    pages: SlicePages<'b>,
    root: TokenRoot,
    application: ApplicationRoot,
}

impl<'b> Image<'b> {
    /// Over the bytes of a closed database's file; bytes after its end do not matter. Reads the superblocks only.
    ///
    /// # Errors
    /// A specific error for each way in which the bytes are not a database;
    /// [`PageError::NotClosed`](shroom_page::PageError::NotClosed) when it was not closed.
    pub fn new(bytes: &'b [u8]) -> Result<Self> {
        Self::with_check(bytes, ReadCheck::FirstTouch)
    }

    /// As [`new`](Self::new), and says when a page is compared with its hash: [`ReadCheck::EveryRead`] is for memory that may change
    /// its bytes while it is read.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_check(bytes: &'b [u8], check: ReadCheck) -> Result<Self> {
        let pages = SlicePages::with_check(bytes, check)?;
        Ok(Self {
            root: TokenRoot::decode(&pages.roots().token)?,
            application: ApplicationRoot::decode(&pages.roots().application)?,
            pages,
        })
    }

    /// The token `id`, if there is one. What of a large value is checked, and when, is up to what is read of it.
    ///
    /// # Errors
    /// Corruption of the bytes read.
    pub fn get(&self, id: u64) -> Result<Option<Value<'_>>> {
        let stored = shroom_token::get(&self.pages, &self.root, TokenId(id))?;
        Ok(stored.map(|stored| Value::new(&self.pages, stored)))
    }

    /// Whether token `id` is there.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains(&self, id: u64) -> Result<bool> {
        Ok(self.get(id)?.is_some())
    }

    /// Number of tokens, as the file says; [`verify`](Self::verify) counts them.
    pub fn len(&self) -> u64 {
        self.root.tokens()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens with ids in a range, in id order; reversible.
    pub fn range(&self, ids: impl RangeBounds<u64>) -> Range<'_> {
        Range::new(&self.pages, &self.root, ids)
    }

    /// The application's tag.
    pub fn tag(&self) -> u64 {
        self.application.tag
    }

    /// Hash that authenticates every page and the roots: whoever knows it knows that all that is read is as it was written.
    pub fn page_root(&self) -> PageRoot {
        self.pages.page_root().into()
    }

    /// Hash of the set of tokens, as a database has it: reads them all.
    ///
    /// # Errors
    /// Corruption of the bytes read.
    pub fn content_root(&self) -> Result<ContentRoot> {
        Ok(self.sum()?.root().into())
    }

    /// Checks each page against its hash, whatever was seen before, and everything above: the directory, the packs, large values,
    /// the free space in pages, the totals, and the sum of the content root where the file keeps it. Takes memory in proportion to
    /// the file meanwhile: for each page, pack and large value some tens of bytes, and a quarter of the file and 16 KiB at most.
    ///
    /// Left out is what an image does not read: the free record, named snapshots and their pages, and the older superblock.
    ///
    /// # Errors
    /// None in practice; what is wrong is in the report.
    pub fn verify(&self) -> Result<Report> {
        let mut report = Report::of_pages(self.pages.verify());
        let roots = self.pages.roots();
        report.check_layers(&self.pages, roots, &self.root, |report, references| {
            let Some(head) = self.application.lattice else {
                return Ok(());
            };
            references.add_blob(&self.pages, head, LATTICE_LEN as u64)?;
            let mut kept = [0; LATTICE_LEN];
            blob_read(&self.pages, head, LATTICE_LEN as u64, 0, &mut kept)?;
            report.compare_sums(&Lattice::from_bytes(&kept), &self.sum()?);
            Ok(())
        })?;
        Ok(report)
    }

    /// The sum over all tokens.
    fn sum(&self) -> Result<Lattice> {
        let mut sum = Lattice::default();
        for token in self.range(..) {
            let (id, value) = token?;
            let mut element = Element::new(id, value.len());
            for chunk in value.chunks()? {
                element.update(chunk?);
            }
            sum.add(element);
        }
        Ok(sum)
    }
}
