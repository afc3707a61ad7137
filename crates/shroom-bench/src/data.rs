//! What is stored: ids, lengths and bytes, each a function of a number and fixed seeds, so that no process needs another's
//! memory to know them.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::random::{Random, mix};

/// Which ids the tokens have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Ids {
    /// 0, 1, 2 and so on.
    Dense,
    /// Spread over all 64 bits.
    Random,
}

/// How long the values are, and what they are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sizes {
    /// 1 to 16 random bytes.
    Tiny,
    /// 16 random bytes.
    Fixed16,
    /// 32 random bytes.
    Fixed32,
    /// 64 random bytes.
    Fixed64,
    /// Generated JSON documents, about 138 bytes on average, which compress well.
    Json,
    /// 8 to 512 random bytes, uniform in the length's logarithm: 121 on average.
    Mixed,
}

/// A set of tokens. Token `index` has one id for good, and a value for each version of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) count: u64,
    pub(crate) ids: Ids,
    pub(crate) sizes: Sizes,
}

/// Set apart from the other uses of [`mix`].
const ID_SEED: u64 = 0x5348_524f_4f4d_4944;

impl Data {
    /// The id of token `index`. From `count` on: ids that no token has.
    pub(crate) fn id(&self, index: u64) -> u64 {
        match self.ids {
            Ids::Dense => index,
            Ids::Random => mix(index ^ ID_SEED),
        }
    }

    /// Appends the value of a version of a token.
    pub(crate) fn value(&self, index: u64, version: u64, bytes: &mut Vec<u8>) {
        let mut random = Random::new(mix(index.wrapping_mul(0x9e37_79b9) ^ version << 40));
        match self.sizes {
            Sizes::Tiny => {
                let len = 1 + random.below(16) as usize;
                random.fill(bytes, len);
            }
            Sizes::Fixed16 => random.fill(bytes, 16),
            Sizes::Fixed32 => random.fill(bytes, 32),
            Sizes::Fixed64 => random.fill(bytes, 64),
            Sizes::Json => json(index, &mut random, bytes),
            Sizes::Mixed => {
                let len = (8.0 * 64_f64.powf(random.unit())) as usize;
                random.fill(bytes, len);
            }
        }
    }

    /// Indices in ascending order of their ids.
    pub(crate) fn sorted(&self) -> Vec<u64> {
        let mut order: Vec<u64> = (0..self.count).collect();
        if self.ids == Ids::Random {
            order.sort_unstable_by_key(|&index| self.id(index));
        }
        order
    }

    /// Tokens of one version in memory, ready to be written.
    pub(crate) fn tokens(&self, indices: &[u64], version: u64) -> Tokens {
        let mut tokens = Tokens::default();
        for &index in indices {
            self.value(index, version, &mut tokens.bytes);
            tokens.ids.push(self.id(index));
            tokens.ends.push(tokens.bytes.len());
        }
        tokens
    }
}

/// A player's record, as a game might keep it.
fn json(index: u64, random: &mut Random, bytes: &mut Vec<u8>) {
    const NAMES: [&str; 8] = [
        "amanita",
        "boletus",
        "chanterelle",
        "morel",
        "oyster",
        "puffball",
        "reishi",
        "truffle",
    ];
    let name = NAMES[random.below(8) as usize];
    let [level, health, x, y, gold, points] =
        [60, 100, 4096, 4096, 100_000, 1000].map(|limit| random.below(limit));
    let items: Vec<String> = (0..random.below(6))
        .map(|_| format!("\"{}\"", NAMES[random.below(8) as usize]))
        .collect();
    let text = format!(
        "{{\"id\":{index},\"name\":\"{name}\",\"level\":{level},\"health\":{health},\"position\":{{\"x\":{x},\"y\":{y}}},\"gold\":{gold},\"xp\":{points},\"items\":[{}]}}",
        items.join(",")
    );
    bytes.extend_from_slice(text.as_bytes());
}

/// Tokens one behind the other in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    ids: Vec<u64>,
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tokens {
    pub(crate) fn push(&mut self, id: u64, value: &[u8]) {
        self.ids.push(id);
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Sum of the values' lengths.
    pub(crate) fn payload(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn get(&self, position: usize) -> (u64, &[u8]) {
        let start = position
            .checked_sub(1)
            .map_or(0, |before| self.ends[before]);
        (self.ids[position], &self.bytes[start..self.ends[position]])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (0..self.len()).map(|position| self.get(position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(ids: Ids, sizes: Sizes) -> Data {
        Data {
            count: 20_000,
            ids,
            sizes,
        }
    }

    #[test]
    fn values_have_the_lengths_that_the_sizes_promise() {
        for (sizes, low, high, mean) in [
            (Sizes::Tiny, 1, 16, 8.5),
            (Sizes::Fixed16, 16, 16, 16.0),
            (Sizes::Fixed32, 32, 32, 32.0),
            (Sizes::Fixed64, 64, 64, 64.0),
            (Sizes::Json, 80, 220, 138.0),
            (Sizes::Mixed, 8, 512, 121.0),
        ] {
            let data = data(Ids::Dense, sizes);
            let all: Vec<u64> = (0..data.count).collect();
            let tokens = data.tokens(&all, 0);
            let found = tokens.payload() as f64 / tokens.len() as f64;
            assert!(
                (found / mean - 1.0).abs() < 0.03,
                "{sizes:?}: {found} bytes on average"
            );
            for (_, value) in tokens.iter() {
                assert!(
                    (low..=high).contains(&value.len()),
                    "{sizes:?}: {}",
                    value.len()
                );
            }
        }
    }

    #[test]
    fn json_is_json() {
        let mut bytes = Vec::new();
        data(Ids::Dense, Sizes::Json).value(7, 0, &mut bytes);
        let parsed: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(parsed["id"], 7);
    }

    #[test]
    fn versions_differ_and_repeat() {
        let data = data(Ids::Random, Sizes::Fixed32);
        let [first, again, second] = [0, 0, 1].map(|version| data.tokens(&[5], version));
        assert_eq!(first.get(0), again.get(0));
        assert_eq!(first.get(0).0, second.get(0).0);
        assert_ne!(first.get(0).1, second.get(0).1);
    }

    #[test]
    fn sorted_random_ids_ascend_and_differ() {
        let data = data(Ids::Random, Sizes::Tiny);
        let ids: Vec<u64> = data.sorted().iter().map(|&index| data.id(index)).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ids.binary_search(&data.id(data.count)).is_err());
    }
}
