//! The BLAKE3 hash of an image, without writing it.
//!
//! The superblock slots are the first bytes of a file and the last that are known, and other pages may be late, too. BLAKE3
//! is a tree over chunks of 1,024 bytes, and two pages are a power of two of chunks: a *unit*, a subtree of its own. So
//! units are hashed as they come, and two subtrees are joined once both are there.
//!
//! * H1 Units are numbered from 0, which is the slots. A subtree of units `n .. n + 2^k` is kept under `n`, a multiple of
//!   `2^k`; its other half of a subtree twice as large is not there yet.
//! * H2 Memory is a chaining value a bit of the image's length, about, and as much more for each page that is late.

use std::collections::BTreeMap;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

use super::ImageSink;
use crate::{PageSize, PhysicalPage, Result};

/// Computes the hash that the file of an image has.
#[derive(Debug)]
pub struct HashImage {
    page_bytes: usize,
    /// Units of which one page is there: their bytes, the other page being zero still.
    halves: BTreeMap<u64, Vec<u8>>,
    /// Subtrees by their first unit: which power of two of units they have, and their value.
    subtrees: BTreeMap<u64, (u32, ChainingValue)>,
    hash: Option<[u8; 32]>,
}

impl HashImage {
    /// For an image with pages of this size.
    pub fn new(page_size: PageSize) -> Self {
        Self {
            page_bytes: page_size.bytes(),
            halves: BTreeMap::new(),
            subtrees: BTreeMap::new(),
            hash: None,
        }
    }

    /// The hash, once the image is finished.
    pub fn hash(&self) -> Option<[u8; 32]> {
        self.hash
    }

    fn chaining_value(&self, unit: u64, bytes: &[u8]) -> ChainingValue {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(unit * 2 * self.page_bytes as u64);
        hasher.update(bytes);
        hasher.finalize_non_root()
    }

    fn add_unit(&mut self, unit: u64, bytes: &[u8]) {
        let (mut first, mut power) = (unit, 0);
        let mut value = self.chaining_value(unit, bytes);
        loop {
            let other = first ^ (1 << power);
            if self.subtrees.get(&other).map(|found| found.0) != Some(power) {
                break;
            }
            let Some((_, there)) = self.subtrees.remove(&other) else {
                break;
            };
            value = match other < first {
                true => merge_subtrees_non_root(&there, &value, Mode::Hash),
                false => merge_subtrees_non_root(&value, &there, Mode::Hash),
            };
            first = first.min(other);
            power += 1;
        }
        self.subtrees.insert(first, (power, value));
    }
}

impl ImageSink for HashImage {
    fn page(&mut self, page: PhysicalPage, bytes: &[u8]) -> Result<()> {
        let (unit, half) = (u64::from(page.0) / 2, page.0 as usize % 2);
        let mut both = match self.halves.remove(&unit) {
            Some(both) => both,
            None => {
                let mut both = vec![0; 2 * self.page_bytes];
                both[half * self.page_bytes..][..self.page_bytes].copy_from_slice(bytes);
                self.halves.insert(unit, both);
                return Ok(());
            }
        };
        both[half * self.page_bytes..][..self.page_bytes].copy_from_slice(bytes);
        self.add_unit(unit, &both);
        Ok(())
    }

    fn finish(&mut self, pages: u32, slots: &[u8]) -> Result<()> {
        // The last unit may be half a one.
        let last = self.halves.pop_first();
        let mut right =
            last.map(|(unit, both)| self.chaining_value(unit, &both[..self.page_bytes]));
        debug_assert!(self.halves.is_empty() && right.is_some() != pages.is_multiple_of(2));
        // Subtrees of the sizes 1, 2, 4, ... at those units join the slots, one after the other; what is behind them joins
        // from the right.
        let mut edge = Vec::new();
        for (first, (power, value)) in std::mem::take(&mut self.subtrees).into_iter().rev() {
            if first == 1 << power {
                edge.push(value);
            } else {
                right = Some(match right {
                    Some(right) => merge_subtrees_non_root(&value, &right, Mode::Hash),
                    None => value,
                });
            }
        }
        let mut edge = edge.into_iter().rev().chain(right).peekable();
        if edge.peek().is_none() {
            self.hash = Some(*blake3::hash(slots).as_bytes());
            return Ok(());
        }
        let mut left = self.chaining_value(0, slots);
        while let Some(right) = edge.next() {
            if edge.peek().is_none() {
                let root = merge_subtrees_root(&left, &right, Mode::Hash);
                self.hash = Some(*root.as_bytes());
                break;
            }
            left = merge_subtrees_non_root(&left, &right, Mode::Hash);
        }
        Ok(())
    }
}
