//! Bytes of which some chunks are known, and the BLAKE3 hash over all of them (format §13).
//!
//! A set of chunks is a bit mask, chunk `i` being bit `i`: no page has more than 64.
//!
//! * K1 A known chunk that hashes to the right hash is at its place: BLAKE3 binds a chunk's number, and whether a node of its
//!   tree is a chunk or a parent. So two lengths that are told apart by how deep that chunk lies cannot be taken for each other:
//!   those of pages, which are powers of two. (Pages of 512 and of 1,024 bytes are one chunk, and so there as a whole.) The page root's input says in its first chunk how long it is.
//! * K2 A set of chunks has one encoding: no bit past the last chunk, one value for each largest subtree without a known chunk.

use alloc::vec::Vec;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use super::ProofFlaw;

/// Bytes of a chunk.
pub(super) const CHUNK_LEN: usize = 1024;
/// Bytes that a mask can speak of.
const LEN_MAX: usize = 64 * CHUNK_LEN;

/// The chunks that hold bytes `start..start + count` of a string; those of its whole length are all its chunks.
pub(super) fn chunks_of(start: usize, count: usize) -> u64 {
    debug_assert!(start + count <= LEN_MAX);
    if count == 0 {
        return 0;
    }
    let (first, last) = (start / CHUNK_LEN, (start + count - 1) / CHUNK_LEN);
    (u64::MAX << first) & (u64::MAX >> (63 - last))
}

/// Goes over a proof's bytes.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    pub(super) at: usize,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { at: 0, rest: bytes }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes to come.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, expected: usize) -> Result<&'a [u8], ProofFlaw> {
        let Some((taken, rest)) = self.rest.split_at_checked(expected) else {
            let (at, got) = (self.at, self.rest.len());
            return Err(ProofFlaw::Short { at, expected, got });
        };
        self.rest = rest;
        self.at += expected;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ProofFlaw> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }
}

/// A string of which some chunks are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks<'a> {
    /// Length of the string.
    len: usize,
    known: u64,
    /// The known chunks, one after the other.
    bytes: &'a [u8],
    /// A chaining value for each largest subtree without a known chunk, from the left.
    values: &'a [u8],
}

impl<'a> Chunks<'a> {
    /// Bytes of the mask for a string of `len` bytes.
    pub(super) fn mask_len(len: usize) -> usize {
        len.div_ceil(CHUNK_LEN).div_ceil(8)
    }

    /// The chunks of a string of `len` bytes at the cursor: mask, chunks, values.
    pub(super) fn parse(cursor: &mut Cursor<'a>, len: usize) -> Result<Self, ProofFlaw> {
        let at = cursor.at;
        let mut mask = [0; 8];
        let mask_len = Self::mask_len(len);
        for (to, from) in mask.iter_mut().zip(cursor.take(mask_len)?) {
            *to = *from;
        }
        let known = u64::from_le_bytes(mask);
        if known == 0 || known & !chunks_of(0, len) != 0 {
            let field = "mask of chunks";
            return Err(ProofFlaw::Field { field, at });
        }
        let bytes = cursor.take(known_len(len, known))?;
        let values = cursor.take(unknown_subtrees(0, len, known) * 32)?;
        Ok(Self {
            len,
            known,
            bytes,
            values,
        })
    }

    pub(super) fn known(&self) -> u64 {
        self.known
    }

    /// The whole string, when every chunk is known.
    pub(super) fn whole(&self) -> Option<&'a [u8]> {
        (self.bytes.len() == self.len).then_some(self.bytes)
    }

    /// Copies bytes from `start` on; which chunks they are in. `None` when these are not all known, or the string ends before.
    pub(super) fn read(&self, start: usize, buffer: &mut [u8]) -> Option<u64> {
        let end = start.checked_add(buffer.len())?;
        if end > self.len {
            return None;
        }
        let needed = chunks_of(start, buffer.len());
        if needed & !self.known != 0 {
            return None;
        }
        if buffer.is_empty() {
            return Some(0);
        }
        // All chunks in between are known, so that the bytes are one piece.
        let at = known_len(self.len, self.known & low_bits(start / CHUNK_LEN)) + start % CHUNK_LEN;
        buffer.copy_from_slice(self.bytes.get(at..at + buffer.len())?);
        Some(needed)
    }

    /// The hash of the string, as far as its known chunks and the values tell.
    pub(super) fn hash(&self) -> [u8; 32] {
        if let Some(whole) = self.whole() {
            return *blake3::hash(whole).as_bytes();
        }
        // A string of one chunk is known as a whole: no mask is zero.
        let left = left_subtree_len(self.len as u64) as usize;
        let mut walk = Walk {
            known: self.known,
            bytes: self.bytes,
            values: self.values,
        };
        let left_value = walk.value(0, left);
        let right_value = walk.value(left, self.len - left);
        *merge_subtrees_root(&left_value, &right_value, Mode::Hash).as_bytes()
    }
}

/// The bits below bit `count`, which is at most 64.
fn low_bits(count: usize) -> u64 {
    match count {
        0 => 0,
        _ => u64::MAX >> (64 - count),
    }
}

/// Bytes of the known chunks of a string of `len` bytes.
fn known_len(len: usize, known: u64) -> usize {
    let last = len.div_ceil(CHUNK_LEN) - 1;
    let short = match known >> last & 1 {
        0 => 0,
        _ => (last + 1) * CHUNK_LEN - len,
    };
    known.count_ones() as usize * CHUNK_LEN - short
}

/// How many largest subtrees of the one over `len` bytes at `start` have no known chunk.
fn unknown_subtrees(start: usize, len: usize, known: u64) -> usize {
    let all = chunks_of(start, len);
    if known & all == 0 {
        1
    } else if known & all == all {
        0
    } else {
        let left = left_subtree_len(len as u64) as usize;
        unknown_subtrees(start, left, known) + unknown_subtrees(start + left, len - left, known)
    }
}

/// A string of three chunks, the last of them shorter, of which one is known, and then another.
#[cfg(feature = "std")]
pub(super) fn structure() -> crate::format::Structure {
    use crate::format::{Case, Field, Structure};

    let case = |(len, known): (usize, u64)| {
        let string: Vec<u8> = (0..len).map(|_| 0x11).collect();
        let mut written = Vec::new();
        write(&string, known, &mut written);
        let (mask_len, values) = (Chunks::mask_len(len), unknown_subtrees(0, len, known));
        let mut fields = vec![Field::new("mask", 0, mask_len)];
        let chunks_end = mask_len + known_len(len, known);
        fields.push(Field::rest("chunks", &fields, chunks_end));
        fields.push(Field::rest("values", &fields, written.len()));
        let given = vec![
            ("n", len as u64),
            ("known_bytes", known_len(len, known) as u64),
            ("subtrees", values as u64),
        ];
        Case { given, fields }
    };
    let cases = [(2500, 1), (2500, 4), (16_384, 2), (512, 1), (191, 1)];
    Structure::of("chunks of a string", cases.map(case))
}

/// The tree from left to right, with what is left of the known chunks and of the values.
struct Walk<'a> {
    known: u64,
    bytes: &'a [u8],
    values: &'a [u8],
}

impl Walk<'_> {
    /// The chaining value of the subtree over `len` bytes at `start`. At most six levels deep.
    fn value(&mut self, start: usize, len: usize) -> ChainingValue {
        let all = chunks_of(start, len);
        if self.known & all == 0 {
            let mut value = [0; 32];
            let (taken, rest) = self.values.split_at(32); // counted when they were parsed
            value.copy_from_slice(taken);
            self.values = rest;
            return value;
        }
        if self.known & all == all {
            let (taken, rest) = self.bytes.split_at(len); // as above
            self.bytes = rest;
            return chaining_value(start, taken);
        }
        let left = left_subtree_len(len as u64) as usize;
        let left_value = self.value(start, left);
        let right_value = self.value(start + left, len - left);
        merge_subtrees_non_root(&left_value, &right_value, Mode::Hash)
    }
}

/// The chaining value of a subtree with these bytes, at `start` of the whole.
fn chaining_value(start: usize, bytes: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start as u64);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

/// Writes `string` as [`Chunks::parse`] reads it, with the `known` chunks of it, of which there is at least one.
pub(super) fn write(string: &[u8], known: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&known.to_le_bytes()[..Chunks::mask_len(string.len())]);
    for (index, chunk) in string.chunks(CHUNK_LEN).enumerate() {
        if known >> index & 1 != 0 {
            out.extend_from_slice(chunk);
        }
    }
    write_values(string, 0, string.len(), known, out);
}

fn write_values(string: &[u8], start: usize, len: usize, known: u64, out: &mut Vec<u8>) {
    let all = chunks_of(start, len);
    if known & all == 0 {
        out.extend_from_slice(&chaining_value(start, &string[start..start + len]));
    } else if known & all != all {
        let left = left_subtree_len(len as u64) as usize;
        write_values(string, start, left, known, out);
        write_values(string, start + left, len - left, known, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(len: usize) -> Vec<u8> {
        (0..len).map(|index| (index * 7 % 253) as u8).collect()
    }

    /// Every set of chunks of short strings, and some of long ones.
    fn cases() -> impl Iterator<Item = (usize, u64)> {
        let short = [
            512, 1023, 1024, 1025, 2048, 2500, 3072, 3971, 4096, 8192, 7777,
        ];
        let all = short
            .into_iter()
            .flat_map(|len| (1..=chunks_of(0, len)).map(move |known| (len, known)));
        let long = [16_384, 32_768, 65_536].into_iter().flat_map(|len| {
            let pattern =
                move |seed: u64| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) & chunks_of(0, len);
            (1..40)
                .map(move |seed| (len, pattern(seed)))
                .chain([(len, chunks_of(0, len))])
        });
        all.chain(long).filter(|(_, known)| *known != 0)
    }

    #[test]
    fn known_chunks_hash_to_the_hash_of_the_whole() {
        for (len, known) in cases() {
            let string = string(len);
            let mut bytes = Vec::new();
            write(&string, known, &mut bytes);
            let mut cursor = Cursor::new(&bytes);
            let chunks = Chunks::parse(&mut cursor, len).unwrap();
            assert!(cursor.is_at_end(), "{len} {known:b}");
            assert_eq!(chunks.hash(), *blake3::hash(&string).as_bytes());
            for start in (0..len).step_by(97) {
                for count in [0, 1, 8, 32, 1500] {
                    let mut buffer = vec![0; count];
                    let read = chunks.read(start, &mut buffer);
                    let inside = start + count <= len;
                    let there = inside && chunks_of(start, count) & !known == 0;
                    assert_eq!(read.is_some(), there, "{len} {known:b} {start} {count}");
                    if there {
                        assert_eq!(buffer, string[start..start + count]);
                    }
                }
            }
        }
    }

    #[test]
    fn another_length_is_another_hash() {
        // The same bytes, said to be of a page of another size.
        for (len, other) in [
            (4096, 8192),
            (8192, 4096),
            (65_536, 16_384),
            (2048, 4096),
            (1024, 512),
        ] {
            let string = string(len);
            let expected = blake3::hash(&string);
            for known in 1..=chunks_of(0, len.min(8192)) {
                let mut bytes = Vec::new();
                write(&string, known, &mut bytes);
                // As far as it parses at all.
                bytes.resize(bytes.len() + 2 * len, 0);
                let parsed = Chunks::parse(&mut Cursor::new(&bytes), other);
                if let Ok(chunks) = parsed {
                    assert_ne!(chunks.hash(), *expected.as_bytes(), "{len} {other} {known}");
                }
            }
        }
    }

    #[test]
    fn masks_that_no_writer_writes_are_refused() {
        let bytes = [0xff; 5000];
        for (len, mask) in [(1024, 0), (1024, 2), (1024, 3), (2048, 4), (3971, 16)] {
            let mut bytes = bytes;
            bytes[0] = mask;
            let parsed = Chunks::parse(&mut Cursor::new(&bytes), len);
            assert!(
                matches!(parsed, Err(ProofFlaw::Field { .. })),
                "{len} {mask}"
            );
        }
        let short = Chunks::parse(&mut Cursor::new(&bytes[..100]), 1024);
        assert!(matches!(short, Err(ProofFlaw::Field { .. })));
        let short = Chunks::parse(&mut Cursor::new(&[1; 100]), 1024);
        assert!(matches!(short, Err(ProofFlaw::Short { .. })));
    }
}
