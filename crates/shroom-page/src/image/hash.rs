//! The BLAKE3 hash of an image, without writing it.
//!
//! The superblock slots are the first bytes of a file and the last that are known. BLAKE3 is a tree over chunks of
//! 1,024 bytes, and the two slots together are a power of two of chunks: a subtree of its own, at the left edge. So all
//! other subtrees are hashed as they come, and those that join the left edge wait for it.
//!
//! * H1 Units, of two pages each, are numbered from 0, which is the slots. `spine[k]` is the subtree of units
//!   `2^k .. 2^(k+1)`; each joins the left edge in turn.
//! * H2 Memory is a chaining value a bit of the image's length.

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

use super::ImageSink;
use crate::{PageSize, Result};

/// Computes the hash that the file of an image has.
#[derive(Debug)]
pub struct HashImage {
    unit_bytes: usize,
    /// Units complete so far, the slots included.
    units: u64,
    /// The unit being gathered.
    unit: Vec<u8>,
    spine: Vec<ChainingValue>,
    /// Complete subtrees behind the spine, each smaller than the one before it.
    rest: Vec<ChainingValue>,
    hash: Option<[u8; 32]>,
}

impl HashImage {
    /// For an image with pages of this size.
    pub fn new(page_size: PageSize) -> Self {
        let unit_bytes = 2 * page_size.bytes();
        Self {
            unit_bytes,
            units: 1,
            unit: Vec::with_capacity(unit_bytes),
            spine: Vec::new(),
            rest: Vec::new(),
            hash: None,
        }
    }

    /// The hash, once the image is finished.
    pub fn hash(&self) -> Option<[u8; 32]> {
        self.hash
    }

    fn chaining_value(&self, unit: u64, bytes: &[u8]) -> ChainingValue {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(unit * self.unit_bytes as u64);
        hasher.update(bytes);
        hasher.finalize_non_root()
    }

    fn end_unit(&mut self) {
        let mut value = self.chaining_value(self.units, &self.unit);
        self.unit.clear();
        // As many subtrees are complete with this unit as its number ends in ones.
        for _ in 0..self.units.trailing_ones() {
            match self.rest.pop() {
                Some(left) => value = merge_subtrees_non_root(&left, &value, Mode::Hash),
                None => break,
            }
        }
        self.units += 1;
        // The whole of the right half of what is there by now.
        if self.units.is_power_of_two() {
            self.spine.push(value);
        } else {
            self.rest.push(value);
        }
    }
}

impl ImageSink for HashImage {
    fn page(&mut self, bytes: &[u8]) -> Result<()> {
        self.unit.extend_from_slice(bytes);
        if self.unit.len() == self.unit_bytes {
            self.end_unit();
        }
        Ok(())
    }

    fn finish(&mut self, slots: &[u8]) -> Result<()> {
        let mut right =
            (!self.unit.is_empty()).then(|| self.chaining_value(self.units, &self.unit));
        while let Some(left) = self.rest.pop() {
            right = Some(match right {
                Some(right) => merge_subtrees_non_root(&left, &right, Mode::Hash),
                None => left,
            });
        }
        let mut edge = self.spine.drain(..).chain(right).peekable();
        if edge.peek().is_none() {
            self.hash = Some(*blake3::hash(slots).as_bytes());
            return Ok(());
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(slots);
        let mut left = hasher.finalize_non_root();
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
