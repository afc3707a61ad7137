//! A value of an image: lent where it lies in one piece, and in pieces where it does not.

use alloc::vec::Vec;
use core::fmt;

use shroom_page::SlicePages;
use shroom_seg::{BlobChunks, SegError, blob_read, blob_slice, blob_to_vec};
use shroom_token::Stored;

use crate::error::Result;

/// The value of a token, found and not read yet. Borrows from the image.
#[derive(Clone, Copy)]
pub struct Value<'i> {
    pages: &'i SlicePages<'i>,
    stored: Stored<'i>,
}

impl<'i> Value<'i> {
    pub(super) fn new(pages: &'i SlicePages<'i>, stored: Stored<'i>) -> Self {
        Self { pages, stored }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.stored.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, where they lie in one piece. Values up to a quarter of a page always do; larger ones nearly always do when they
    /// were written at once, and in an image that a compaction made.
    ///
    /// # Errors
    /// Corruption of the bytes read: those of the whole value.
    pub fn as_slice(&self) -> Result<Option<&'i [u8]>> {
        match self.stored {
            Stored::Inline(bytes) => Ok(Some(bytes)),
            Stored::Blob { head, length } => Ok(blob_slice(self.pages, head, length)?),
        }
    }

    /// The bytes in order, in pieces as long as they lie.
    ///
    /// # Errors
    /// Corruption of what says where the pieces are. That of their pages comes with them.
    pub fn chunks(&self) -> Result<Chunks<'i>> {
        Ok(Chunks(match self.stored {
            Stored::Inline(bytes) => Pieces::One(Some(bytes).filter(|bytes| !bytes.is_empty())),
            Stored::Blob { head, length } => {
                Pieces::Many(BlobChunks::new(self.pages, head, length)?)
            }
        }))
    }

    /// Fills `buffer` with the bytes from `offset` on. Only the pages that hold them are read.
    ///
    /// # Errors
    /// [`SegError::Range`] when that is not within the value; corruption of the bytes read.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        match self.stored {
            Stored::Inline(bytes) => {
                let start = usize::try_from(offset).ok();
                let part = start.and_then(|start| bytes.get(start..)?.get(..buffer.len()));
                buffer.copy_from_slice(part.ok_or(SegError::Range {
                    offset,
                    end: offset.saturating_add(buffer.len() as u64),
                    length: bytes.len() as u64,
                })?);
                Ok(())
            }
            Stored::Blob { head, length } => {
                Ok(blob_read(self.pages, head, length, offset, buffer)?)
            }
        }
    }

    /// A copy of the bytes. Memory grows with the bytes found, not with the length that the file claims.
    ///
    /// # Errors
    /// Corruption of the bytes read.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        match self.stored {
            Stored::Inline(bytes) => Ok(bytes.to_vec()),
            Stored::Blob { head, length } => Ok(blob_to_vec(self.pages, head, length)?),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&self.stored).finish()
    }
}

/// Iterator over the pieces of a value, made by [`Value::chunks`]. After an error it ends.
#[derive(Debug)]
pub struct Chunks<'i>(Pieces<'i>);

#[derive(Debug)]
enum Pieces<'i> {
    One(Option<&'i [u8]>),
    Many(BlobChunks<'i, SlicePages<'i>>),
}

impl<'i> Iterator for Chunks<'i> {
    type Item = Result<&'i [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Pieces::One(bytes) => bytes.take().map(Ok),
            Pieces::Many(chunks) => Some(chunks.next()?.map_err(Into::into)),
        }
    }
}
