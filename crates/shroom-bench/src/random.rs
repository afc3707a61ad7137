//! Seeded random numbers: the same on every machine and in every run.

/// Splitmix64 (Steele, Lea, Flood 2014): small, fast, and good enough to pick ids, lengths and bytes.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

/// The output function of splitmix64: a bijection, so that distinct inputs stay distinct.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below a limit that is far below 2^64, so that the bias of the remainder does not matter.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// In [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Appends `len` random bytes.
    pub(crate) fn fill(&mut self, bytes: &mut Vec<u8>, len: usize) {
        let end = bytes.len() + len;
        while bytes.len() < end {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(end);
    }

    /// The numbers below `count` in random order (Fisher and Yates).
    pub(crate) fn permutation(&mut self, count: u64) -> Vec<u64> {
        let mut order: Vec<u64> = (0..count).collect();
        for index in (1..order.len()).rev() {
            order.swap(index, self.below(index as u64 + 1) as usize);
        }
        order
    }
}

/// Ranks with Zipf's distribution, by the method of Gray et al., "Quickly generating billion-record synthetic databases"
/// (1994), which YCSB uses too; exponent 0.99 as there. Ranks are scattered over the items, so that popular ones are not
/// neighbours.
#[derive(Debug)]
pub(crate) struct Zipf {
    items: u64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    /// Over the items below `items`, of which there must be some. Takes time in proportion to their number.
    pub(crate) fn new(items: u64) -> Self {
        let zeta_of = |count: u64| -> f64 { (1..=count).map(|i| (i as f64).powf(-THETA)).sum() };
        let zeta = zeta_of(items);
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - THETA)) / (1.0 - zeta_of(2) / zeta);
        Self {
            items,
            alpha: 1.0 / (1.0 - THETA),
            zeta,
            eta,
        }
    }

    /// 0 is the most popular rank.
    fn rank(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1.min(self.items - 1);
        }
        let rank = self.items as f64 * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.items - 1)
    }

    /// An item below the number given to [`new`](Self::new).
    pub(crate) fn item(&self, random: &mut Random) -> u64 {
        mix(self.rank(random)) % self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_has_each_number_once_and_is_not_sorted() {
        let mut order = Random::new(1).permutation(1000);
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert!(order.iter().copied().eq(0..1000));
    }

    #[test]
    fn zipf_ranks_are_as_frequent_as_they_should_be() {
        let zipf = Zipf::new(1000);
        let mut random = Random::new(2);
        let mut counts = [0_u64; 1000];
        for _ in 0..200_000 {
            counts[zipf.rank(&mut random) as usize] += 1;
        }
        // Rank 0 has 1 / zeta of all; ranks fall off about as their reciprocals.
        let expected = 200_000.0 / zipf.zeta;
        assert!((counts[0] as f64 / expected - 1.0).abs() < 0.05);
        assert!(counts[0] > counts[3] && counts[3] > counts[30] && counts[30] > counts[900]);
        assert!((0..1000).all(|_| zipf.item(&mut random) < 1000));
    }
}
