//! Single overwrites of random tokens, each a commit of its own that is not synced. The clock stands still while values are made.

use std::time::{Duration, Instant};

use crate::context::Context;
use crate::data::{Ids, Tokens};
use crate::random::Random;
use crate::store::{Durability, Outcome};

/// Puts between two readings of the clock.
const STRETCH: u64 = 10_000;

pub(crate) fn run(context: &mut Context) -> Outcome {
    let data = context.data(Ids::Dense);
    let mut store = context.open_copy(data, Durability::Visible)?;
    let count = (data.count / 4).max(1);
    let mut random = Random::new(5);
    let mut took = Duration::ZERO;
    let mut value = Vec::new();
    for first in (0..count).step_by(STRETCH as usize) {
        let mut tokens = Tokens::default();
        for version in first..count.min(first + STRETCH) {
            let index = random.below(data.count);
            value.clear();
            data.value(index, version + 1, &mut value);
            tokens.push(data.id(index), &value);
        }
        let start = Instant::now();
        for (id, value) in tokens.iter() {
            store.put(id, value)?;
        }
        took += start.elapsed();
    }
    store.close()?;
    context.record("put", took.as_secs_f64() * 1e6 / count as f64);
    Ok(())
}
