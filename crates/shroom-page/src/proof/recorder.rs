//! Making proofs: a snapshot that remembers what was read through it.
//!
//! * W1 It reads as [`ProvenPages`](super::ProvenPages) does, so that the same questions need the same bytes of the proof.

use std::cell::RefCell;
use std::collections::BTreeMap;

use zerocopy::IntoBytes;

use super::chunks::{self, chunks_of};
use super::{MAGIC, PartialRead, ProofFlaw, ProofHead, RecordHead, VERSION, path};
use crate::map_walk::MapPages;
use crate::{LogicalPage, PageError, PageRead, PageSize, Result, Snapshot};

/// Reads a snapshot's pages, and proves what it read.
#[derive(Debug)]
pub struct ProofRecorder<'s> {
    snapshot: &'s Snapshot,
    /// The chunks that were read of each logical page; none of one that was only asked after.
    read: RefCell<BTreeMap<u32, u64>>,
}

impl<'s> ProofRecorder<'s> {
    /// Nothing read yet.
    pub fn new(snapshot: &'s Snapshot) -> Self {
        Self {
            snapshot,
            read: RefCell::default(),
        }
    }

    fn note(&self, page: LogicalPage, chunks: u64) {
        *self.read.borrow_mut().entry(page.0).or_default() |= chunks;
    }

    /// The proof of all that was read, against [`Snapshot::page_root`].
    ///
    /// # Errors
    /// Corruption of the bytes read.
    pub fn finish(self) -> Result<Vec<u8>> {
        let base = &self.snapshot.base;
        let page_size = base.page_size;
        // The head of the input is always read.
        let mut head = 1;
        let mut pages: BTreeMap<(u8, u32), u64> = BTreeMap::new();
        for (number, chunks) in self.read.into_inner() {
            if number == 0 || number >= base.logical_pages {
                continue;
            }
            let mut referrer = None;
            for step in path::steps(page_size, &base.shape, number) {
                let needed = chunks_of(step.hash_at, 32);
                match referrer {
                    None => head |= needed,
                    Some(place) => *pages.entry(place).or_default() |= needed,
                }
                if base.entry(step.level, step.index)?.is_absent() {
                    referrer = None;
                    break;
                }
                referrer = Some((step.level, step.index));
            }
            if let Some(place) = referrer.filter(|_| chunks != 0) {
                *pages.entry(place).or_default() |= chunks;
            }
        }
        let head_of_proof = ProofHead {
            magic: MAGIC,
            version: VERSION,
            page_shift: page_size.shift(),
        };
        let mut proof = head_of_proof.as_bytes().to_vec();
        chunks::write(&base.page_root_input(), head, &mut proof);
        for ((level, index), known) in pages {
            let page = match level.checked_sub(1) {
                None => base.page(LogicalPage(index))?,
                Some(below) => base.node_page_of(&base.entry(level, index)?, below)?,
            };
            let record = RecordHead {
                level,
                index: index.into(),
            };
            proof.extend_from_slice(record.as_bytes());
            chunks::write(page, known, &mut proof);
        }
        Ok(proof)
    }
}

impl PageRead for ProofRecorder<'_> {
    fn page_size(&self) -> PageSize {
        self.snapshot.page_size()
    }

    fn logical_pages(&self) -> u32 {
        self.snapshot.logical_pages()
    }

    fn page(&self, page: LogicalPage) -> Result<&[u8]> {
        let bytes = self.snapshot.page(page)?;
        self.note(page, chunks_of(0, bytes.len()));
        Ok(bytes)
    }

    fn is_allocated(&self, page: LogicalPage) -> Result<bool> {
        self.note(page, 0);
        self.snapshot.is_allocated(page)
    }

    /// One by one, as they lie in the proof.
    fn run(&self, first: LogicalPage, pages: u32) -> Result<Option<&[u8]>> {
        match pages {
            1 => self.page(first).map(Some),
            _ => Ok(None),
        }
    }

    fn allocated_pages_max(&self) -> u32 {
        self.snapshot.allocated_pages_max()
    }
}

impl PartialRead for ProofRecorder<'_> {
    fn read_at(&self, page: LogicalPage, start: usize, buffer: &mut [u8]) -> Result<()> {
        let bytes = self.snapshot.page(page)?;
        let end = start.saturating_add(buffer.len());
        let Some(part) = bytes.get(start..end) else {
            let (level, index) = (0, page.0);
            return Err(PageError::Proof(ProofFlaw::Missing {
                level,
                index,
                start,
                end,
            }));
        };
        buffer.copy_from_slice(part);
        self.note(page, chunks_of(start, part.len()));
        Ok(())
    }
}
