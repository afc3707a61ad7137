//! The content root of a model, by its definition (`docs/format.md`, §11) and by none of the engine's code.

use crate::Model;

/// Numbers of 16 bits in a sum.
const NUMBERS: usize = 1024;

/// The content root of a model's tokens.
pub fn content_root(model: &Model) -> [u8; 32] {
    let mut sum = [0_u16; NUMBERS];
    let mut element = [0; 2 * NUMBERS];
    for (id, bytes) in &model.tokens {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"shroom content element 1");
        hasher.update(&id.to_le_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
        hasher.finalize_xof().fill(&mut element);
        for (number, pair) in sum.iter_mut().zip(element.chunks_exact(2)) {
            *number = number.wrapping_add(u16::from_le_bytes([pair[0], pair[1]]));
        }
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"shroom content root 1");
    for number in sum {
        hasher.update(&number.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the format's description.
    #[test]
    fn gives_the_published_roots() {
        let root = |tokens: &[(u64, &[u8])]| {
            let mut model = Model::default();
            for &(id, bytes) in tokens {
                model.tokens.insert(id, bytes.to_vec());
            }
            blake3::Hash::from(content_root(&model)).to_string()
        };
        type Tokens = &'static [(u64, &'static [u8])];
        let examples: [(Tokens, &str); 3] = [
            (
                &[],
                "954f299908b190a9727360d719a7132f580977111b7cce2c4df3719a05b1bd85",
            ),
            (
                &[(0, b"")],
                "6faafc028c17215a0b6b11e8889c55fbafa5e1d3a1c6b90a4af95d6a5e129ce0",
            ),
            (
                &[(42, b"spore")],
                "41da9c80087233aa3c4fe3d20e0cadf2dfe5182177696eecd1700e5bb8148c08",
            ),
        ];
        for (tokens, expected) in examples {
            assert_eq!(root(tokens), expected);
        }
    }
}
