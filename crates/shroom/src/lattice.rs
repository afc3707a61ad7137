//! The lattice hash of a set of tokens (format §11): LtHash over 1,024 numbers of 16 bits, with BLAKE3 as its extendable
//! output. A token's element is added when it comes and subtracted when it goes, in any order; the sum says which set it is.
//!
//! * H1 Equal sets of (id, bytes) have equal sums, whatever the order and the steps that led to them.
//! * H2 An element depends on the id, the length and the bytes, each of them unambiguously.
//!
//! The construction is Bellare's and Micciancio's AdHash over a lattice, with the parameters of "Securing Update Propagation
//! with Homomorphic Hashing" (Lewi, Kim, Maykov, Weis; 2019). Absent on purpose: knows no page and no state.

use alloc::boxed::Box;
use core::fmt;

/// Numbers in a lattice.
const LANES: usize = 1024;
/// Bytes of a lattice, and of an element.
pub(crate) const LATTICE_LEN: usize = 2 * LANES;
const ELEMENT_DOMAIN: &[u8] = b"shroom content element 1";
const ROOT_DOMAIN: &[u8] = b"shroom content root 1";

/// The sum of the elements of a set.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Lattice(Box<[u16; LANES]>);

impl Default for Lattice {
    /// The sum of the empty set.
    fn default() -> Self {
        Self(Box::new([0; LANES]))
    }
}

impl fmt::Debug for Lattice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lattice({})", blake3::Hash::from(self.root()).to_hex())
    }
}

impl Lattice {
    /// Adds a token.
    pub(crate) fn add(&mut self, token: Element) {
        self.zip(&token.finish(), u16::wrapping_add);
    }

    /// Takes a token out.
    pub(crate) fn remove(&mut self, token: Element) {
        self.zip(&token.finish(), u16::wrapping_sub);
    }

    /// Adds every token of another set, and what was taken out of it is taken out of this.
    pub(crate) fn add_all(&mut self, other: &Self) {
        for (lane, &other) in self.0.iter_mut().zip(other.0.iter()) {
            *lane = lane.wrapping_add(other);
        }
    }

    #[inline]
    fn zip(&mut self, element: &[u8; LATTICE_LEN], change: impl Fn(u16, u16) -> u16) {
        let (numbers, _) = element.as_chunks::<2>();
        for (lane, &number) in self.0.iter_mut().zip(numbers) {
            *lane = change(*lane, u16::from_le_bytes(number));
        }
    }

    /// The sum of which these are the bytes.
    pub(crate) fn from_bytes(bytes: &[u8; LATTICE_LEN]) -> Self {
        let mut sum = Self::default();
        sum.zip(bytes, |_, number| number);
        sum
    }

    /// The sum's bytes.
    pub(crate) fn to_bytes(&self) -> [u8; LATTICE_LEN] {
        let mut bytes = [0; LATTICE_LEN];
        for (pair, lane) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(self.0.iter()) {
            *pair = lane.to_le_bytes();
        }
        bytes
    }

    /// The content root of the set.
    pub(crate) fn root(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(ROOT_DOMAIN);
        hasher.update(&self.to_bytes());
        hasher.finalize().into()
    }
}

/// A token's element: begun with the id and the length, then fed the bytes, in pieces of any length.
pub(crate) struct Element(blake3::Hasher);

impl Element {
    pub(crate) fn new(id: u64, length: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(ELEMENT_DOMAIN);
        hasher.update(&id.to_le_bytes());
        hasher.update(&length.to_le_bytes());
        Self(hasher)
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; LATTICE_LEN] {
        let mut element = [0; LATTICE_LEN];
        self.0.finalize_xof().fill(&mut element);
        element
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use solana_lattice_hash::lt_hash::LtHash;

    use super::*;

    fn element(id: u64, pieces: &[&[u8]]) -> Element {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut element = Element::new(id, length);
        for piece in pieces {
            element.update(piece);
        }
        element
    }

    /// The same element by an implementation that shares nothing with this one.
    fn published(id: u64, bytes: &[u8]) -> LtHash {
        let mut input = b"shroom content element 1".to_vec();
        input.extend_from_slice(&id.to_le_bytes());
        input.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        input.extend_from_slice(bytes);
        LtHash::with(blake3::Hasher::new().update(&input))
    }

    proptest! {
        #[test]
        fn is_the_published_lattice_hash(
            tokens in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..3000), any::<bool>()), 0..12),
        ) {
            let mut ours = Lattice::default();
            let mut theirs = LtHash::identity();
            for (id, bytes, comes) in &tokens {
                let (head, tail) = bytes.split_at(bytes.len() / 3);
                if *comes {
                    ours.add(element(*id, &[head, tail]));
                    theirs.mix_in(&published(*id, bytes));
                } else {
                    ours.remove(element(*id, &[head, tail]));
                    theirs.mix_out(&published(*id, bytes));
                }
            }
            prop_assert_eq!(&Lattice::from_bytes(&ours.to_bytes()), &ours);
            let theirs: Vec<u8> = theirs.0.iter().flat_map(|lane| lane.to_le_bytes()).collect();
            prop_assert_eq!(&ours.to_bytes()[..], &theirs[..]);
        }

        #[test]
        fn order_and_detours_do_not_matter(ids in prop::collection::vec(any::<u64>(), 1..20), split in 0..20_usize) {
            let mut straight = Lattice::default();
            for &id in &ids {
                straight.add(element(id, &[b"value"]));
            }
            let (first, second) = ids.split_at(split.min(ids.len()));
            let mut parts = [Lattice::default(), Lattice::default()];
            for (part, ids) in parts.iter_mut().zip([second, first]) {
                for &id in ids.iter().rev() {
                    part.add(element(id, &[b"other"]));
                    part.add(element(id, &[b"value"]));
                    part.remove(element(id, &[b"other"]));
                }
            }
            let [mut sum, second] = parts;
            sum.add_all(&second);
            prop_assert_eq!(sum, straight);
        }
    }

    #[test]
    fn id_length_and_bytes_do_not_run_into_each_other() {
        let of = |id, bytes: &[u8]| element(id, &[bytes]).finish();
        let elements = [
            of(1, b""),
            of(2, b""),
            of(1, b"a"),
            of(1, b"a\0"),
            of(1, b"\0a"),
            of(256, b""),
        ];
        for (index, element) in elements.iter().enumerate() {
            assert!(!elements[..index].contains(element), "{index}");
        }
    }
}
