//! What is stored: seeded ids and values.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use shroom::Db;

/// Splitmix64: small, seeded, good enough to pick ids and lengths.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A length from 8 to 512, uniform in its logarithm.
    pub(crate) fn length(&mut self) -> usize {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (8.0 * 64_f64.powf(unit)) as usize
    }

    pub(crate) fn fill(&mut self, bytes: &mut Vec<u8>, len: usize) {
        bytes.clear();
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
    }
}

pub(crate) const TOKENS: u64 = 1_000_000;

pub(crate) fn random_ids() -> Vec<u64> {
    let mut random = Random(7);
    (0..TOKENS).map(|_| random.next()).collect()
}

pub(crate) fn file_len(path: &Path) -> Result<u64, std::io::Error> {
    Ok(std::fs::metadata(path)?.len())
}

/// Loads 16-byte tokens in batches of 1000 and closes; returns the time to load.
pub(crate) fn load_16(path: &Path, ids: &[u64]) -> Result<Duration, Box<dyn Error>> {
    let db = Db::create(path)?;
    let start = Instant::now();
    for chunk in ids.chunks(1000) {
        let mut batch = db.batch();
        for &id in chunk {
            batch.put(id, &u128::from(Random(id).next()).to_le_bytes());
        }
        batch.commit()?;
    }
    db.flush()?;
    let loaded = start.elapsed();
    db.close()?;
    Ok(loaded)
}
