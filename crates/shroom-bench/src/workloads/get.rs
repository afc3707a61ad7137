//! Random gets: as many as there are tokens, in a warm-up and then in several passes, of which the median counts.

use std::time::Instant;

use crate::context::Context;
use crate::data::{Data, Ids};
use crate::random::Random;
use crate::statistics::median;
use crate::store::{Outcome, Store, Tally};

/// Measured passes over the same order.
const PASSES: usize = 3;

pub(crate) fn dense(context: &mut Context) -> Outcome {
    let data = context.data(Ids::Dense);
    let store = context.open_loaded(data)?;
    let ids = order(data, 0);
    measure(context, "get-dense", &ids, |tally| {
        store.get_reused(&ids, tally)
    })?;
    store.close()
}

pub(crate) fn random(context: &mut Context) -> Outcome {
    let data = context.data(Ids::Random);
    let store = context.open_loaded(data)?;
    let ids = order(data, 0);
    measure(context, "get-random", &ids, |tally| {
        store.get_reused(&ids, tally)
    })?;
    measure(context, "get-fresh", &ids, |tally| {
        store.get_fresh(&ids, tally)
    })?;
    let absent = order(data, data.count);
    measure(context, "get-absent", &absent, |tally| {
        store.get_reused(&absent, tally)
    })?;
    store.close()
}

/// The same gets for every peer: random tokens, with repetitions. `offset` is added to the indices.
pub(crate) fn order(data: Data, offset: u64) -> Vec<u64> {
    let mut random = Random::new(3);
    (0..data.count)
        .map(|_| data.id(offset + random.below(data.count)))
        .collect()
}

/// Nanoseconds a get. One pass comes first, unmeasured, so that every page has been read and checked.
pub(crate) fn measure(
    context: &mut Context,
    row: &str,
    ids: &[u64],
    pass: impl Fn(&mut Tally) -> Outcome,
) -> Outcome {
    let mut warm_up = Tally::default();
    pass(&mut warm_up)?;
    context.check(warm_up);
    let mut times = Vec::new();
    for _ in 0..PASSES {
        let mut tally = Tally::default();
        let start = Instant::now();
        pass(&mut tally)?;
        times.push(start.elapsed().as_nanos() as f64 / ids.len() as f64);
        if tally != warm_up {
            return Err(format!("{row}: two passes read different values").into());
        }
    }
    times.sort_by(f64::total_cmp);
    let middle = median(&times).ok_or("no pass was measured")?;
    context.record(row, middle);
    Ok(())
}

/// All gets of a loaded store find what was stored; used where reading is not what is measured.
pub(crate) fn all_found(store: &dyn Store, ids: &[u64]) -> Outcome<Tally> {
    let mut tally = Tally::default();
    store.get_reused(ids, &mut tally)?;
    match tally.absent {
        0 => Ok(tally),
        absent => Err(format!("{absent} tokens are missing").into()),
    }
}
