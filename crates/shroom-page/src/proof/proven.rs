//! Reading pages from a proof: every byte handed out is one that the page root stands for.
//!
//! Absent on purpose: does not look at a map page's header and places, which nothing read here depends on; a proof says what the
//! page root stands for, not that the file is sound.

use alloc::vec::Vec;
use core::cell::Cell;

use zerocopy::FromBytes;

use super::chunks::{Chunks, Cursor};
use super::path::{self, Step};
use super::{MAGIC, PartialRead, ProofFlaw, RECORD_HEAD_LEN, VERSION};
use crate::map::MapShape;
use crate::page_root::{DOMAIN, HEAD_LEN, Head, input_len};
use crate::{LogicalPage, PageError, PageRead, PageSize, Result, Roots};

/// A string of the proof, and what was done with it.
#[derive(Debug)]
struct Piece<'a> {
    chunks: Chunks<'a>,
    /// Chunks that were read.
    used: Cell<u64>,
    /// Its hash was seen to be the one that its referrer holds.
    sound: Cell<bool>,
}

impl<'a> Piece<'a> {
    fn parse(cursor: &mut Cursor<'a>, len: usize) -> Result<Self, ProofFlaw> {
        Ok(Self {
            chunks: Chunks::parse(cursor, len)?,
            used: Cell::new(0),
            sound: Cell::new(false),
        })
    }

    fn read(&self, start: usize, buffer: &mut [u8]) -> Option<()> {
        let read = self.chunks.read(start, buffer)?;
        self.used.set(self.used.get() | read);
        Some(())
    }

    fn is_used(&self) -> bool {
        self.used.get() == self.chunks.known()
    }
}

/// The pages of a proof, as far as it holds them.
#[derive(Debug)]
pub struct ProvenPages<'a> {
    page_size: PageSize,
    logical_pages: u32,
    shape: MapShape,
    roots: Roots,
    /// The page root's input.
    head: Piece<'a>,
    /// By level and index, ascending.
    pages: Vec<(u8, u32, Piece<'a>)>,
    /// Logical pages that it holds as a whole.
    whole_pages: u32,
}

impl<'a> ProvenPages<'a> {
    /// Reads a proof for the page root `root`.
    ///
    /// # Errors
    /// A [`ProofFlaw`] when it is malformed, or for another root. Whether its pages are those that the root stands for is
    /// checked when they are read.
    pub fn open(proof: &'a [u8], root: &[u8; 32]) -> Result<Self, ProofFlaw> {
        let pages = Self::parse(proof)?;
        match pages.root() == *root {
            true => Ok(pages),
            false => Err(ProofFlaw::Root),
        }
    }

    /// The page root that a proof is for, if it is good for any: whoever knows the right one must compare.
    ///
    /// # Errors
    /// A [`ProofFlaw`] when it is malformed.
    pub fn claimed_root(proof: &'a [u8]) -> Result<[u8; 32], ProofFlaw> {
        Ok(Self::parse(proof)?.root())
    }

    fn root(&self) -> [u8; 32] {
        self.head.chunks.hash()
    }

    fn parse(proof: &'a [u8]) -> Result<Self, ProofFlaw> {
        let mut cursor = Cursor::new(proof);
        let wrong = |field, at| Err(ProofFlaw::Field { field, at });
        if cursor.array()? != MAGIC {
            return wrong("magic", 0);
        }
        let [version, page_shift] = cursor.array()?;
        if version != VERSION {
            return wrong("version", MAGIC.len());
        }
        let Some(page_size) = PageSize::from_shift(page_shift) else {
            return wrong("page size", MAGIC.len() + 1);
        };
        let (head, shape, entries) = parse_head(&cursor, page_size)?;
        let head_piece = Piece::parse(&mut cursor, input_len(entries))?;
        // What was read ahead is its first bytes.
        head_piece.used.set(1);
        let mut pages: Vec<(u8, u32, Piece<'a>)> = Vec::new();
        let mut whole_pages = 0;
        while !cursor.is_at_end() {
            let at = cursor.at;
            let [level, index @ ..] = cursor.array::<RECORD_HEAD_LEN>()?;
            let index = u32::from_le_bytes(index);
            if pages
                .last()
                .is_some_and(|last| (last.0, last.1) >= (level, index))
            {
                return Err(ProofFlaw::Order { at });
            }
            let piece = Piece::parse(&mut cursor, page_size.bytes())?;
            whole_pages += u32::from(level == 0 && piece.chunks.whole().is_some());
            pages.push((level, index, piece));
        }
        Ok(Self {
            page_size,
            logical_pages: head.logical_pages.get(),
            shape,
            roots: head.roots,
            head: head_piece,
            pages,
            whole_pages,
        })
    }

    /// The roots that the layers above committed with these pages.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Checks, after all that was asked, that the proof holds nothing else.
    ///
    /// # Errors
    /// [`ProofFlaw::Unused`] or [`ProofFlaw::UnusedRoot`] when it does.
    pub fn check_used(&self) -> Result<(), ProofFlaw> {
        if !self.head.is_used() {
            return Err(ProofFlaw::UnusedRoot);
        }
        match self.pages.iter().find(|(_, _, piece)| !piece.is_used()) {
            None => Ok(()),
            Some(&(level, index, _)) => Err(ProofFlaw::Unused { level, index }),
        }
    }

    fn find(&self, level: u8, index: u32) -> Option<&Piece<'a>> {
        let key = |(level, index, _): &(u8, u32, _)| (*level, *index);
        let found = self.pages.binary_search_by_key(&(level, index), key).ok()?;
        self.pages.get(found).map(|(_, _, piece)| piece)
    }

    /// Goes to a logical page: whether it is allocated, and its piece if the proof has one. Every piece on the way is sound.
    fn walk(&self, page: LogicalPage) -> Result<Option<Option<&Piece<'a>>>> {
        if page.is_none() || page.0 >= self.logical_pages {
            return Ok(None);
        }
        // Its way is checked once.
        if let Some(piece) = self.find(0, page.0).filter(|piece| piece.sound.get()) {
            return Ok(Some(Some(piece)));
        }
        let mut referrer = (&self.head, None);
        for step in path::steps(self.page_size, &self.shape, page.0) {
            let Step {
                level,
                index,
                hash_at,
            } = step;
            let mut hash = [0; 32];
            let (piece, place) = referrer;
            piece.read(hash_at, &mut hash).ok_or_else(|| {
                let (level, index) = place.unwrap_or((self.shape.height + 1, 0));
                missing(level, index, hash_at, hash.len())
            })?;
            // An absent entry is zero, which no page hashes to.
            if hash == [0; 32] {
                return Ok(None);
            }
            let Some(piece) = self.find(level, index) else {
                return match level {
                    0 => Ok(Some(None)),
                    _ => Err(missing(level, index, 0, self.page_size.bytes())),
                };
            };
            if !piece.sound.get() && piece.chunks.hash() != hash {
                return Err(ProofFlaw::Hash { level, index }.into());
            }
            piece.sound.set(true);
            referrer = (piece, Some((level, index)));
        }
        Ok(Some(Some(referrer.0)))
    }

    fn piece(&self, page: LogicalPage) -> Result<&Piece<'a>> {
        match self.walk(page)? {
            Some(Some(piece)) => Ok(piece),
            Some(None) => Err(missing(0, page.0, 0, self.page_size.bytes())),
            None => Err(self.unallocated(page)),
        }
    }

    fn unallocated(&self, page: LogicalPage) -> PageError {
        let limit = self.logical_pages;
        PageError::Unallocated { page, limit }
    }
}

/// The first fields of the page root's input, read ahead: they tell its length.
fn parse_head(
    cursor: &Cursor<'_>,
    page_size: PageSize,
) -> Result<(Head, MapShape, usize), ProofFlaw> {
    // The mask of an input, which has at most four chunks, is one byte.
    let (at, got) = (cursor.at, cursor.rest().len());
    let Some(bytes) = cursor.rest().get(1..1 + HEAD_LEN) else {
        let expected = 1 + HEAD_LEN;
        return Err(ProofFlaw::Short { at, expected, got });
    };
    let wrong = |field| Err(ProofFlaw::Field { field, at });
    if cursor.rest().first().is_some_and(|mask| mask & 1 == 0) {
        return wrong("mask of chunks");
    }
    let Ok(head) = Head::read_from_bytes(bytes) else {
        return wrong("page root input");
    };
    if head.domain != DOMAIN {
        return wrong("page root input");
    }
    let logical_pages = head.logical_pages.get();
    let entries = head.root_entries.get() as usize;
    match MapShape::new(page_size, logical_pages) {
        Some(shape)
            if logical_pages > 0
                && shape.height == head.map_height
                && shape.root_entries == entries =>
        {
            Ok((head, shape, entries))
        }
        _ => Err(ProofFlaw::Shape { logical_pages }),
    }
}

fn missing(level: u8, index: u32, start: usize, len: usize) -> PageError {
    let end = start.saturating_add(len);
    PageError::Proof(ProofFlaw::Missing {
        level,
        index,
        start,
        end,
    })
}

impl PageRead for ProvenPages<'_> {
    fn page_size(&self) -> PageSize {
        self.page_size
    }

    fn logical_pages(&self) -> u32 {
        self.logical_pages
    }

    fn page(&self, page: LogicalPage) -> Result<&[u8]> {
        let piece = self.piece(page)?;
        let Some(whole) = piece.chunks.whole() else {
            return Err(missing(0, page.0, 0, self.page_size.bytes()));
        };
        piece.used.set(piece.chunks.known());
        Ok(whole)
    }

    fn is_allocated(&self, page: LogicalPage) -> Result<bool> {
        Ok(self.walk(page)?.is_some())
    }

    /// Pages lie one by one in a proof.
    fn run(&self, first: LogicalPage, pages: u32) -> Result<Option<&[u8]>> {
        match pages {
            1 => self.page(first).map(Some),
            _ => Ok(None),
        }
    }

    /// Whoever reads pages as a whole finds no more of them.
    fn allocated_pages_max(&self) -> u32 {
        self.whole_pages
    }

    /// A state has fewer pages than page numbers: only a claim of more is the state's own fault.
    fn lacks_pages(&self, pages: u64) -> Option<PageError> {
        let (expected, got) = (pages, self.whole_pages);
        let possible = pages < u64::from(self.logical_pages);
        possible.then_some(PageError::Proof(ProofFlaw::Pages { expected, got }))
    }
}

impl PartialRead for ProvenPages<'_> {
    fn read_at(&self, page: LogicalPage, start: usize, buffer: &mut [u8]) -> Result<()> {
        let len = buffer.len();
        self.piece(page)?
            .read(start, buffer)
            .ok_or_else(|| missing(0, page.0, start, len))
    }
}
