//! Scans of all tokens, after one scan that warms up.

use std::time::Instant;

use crate::context::Context;
use crate::data::Ids;
use crate::statistics::median;
use crate::store::{Outcome, Tally};

/// Measured scans.
const PASSES: usize = 3;

pub(crate) fn run(context: &mut Context) -> Outcome {
    for (row, ids) in [("scan-dense", Ids::Dense), ("scan-random", Ids::Random)] {
        let data = context.data(ids);
        let store = context.open_loaded(data)?;
        let mut warm_up = Tally::default();
        store.scan(&mut warm_up)?;
        if warm_up.found != data.count {
            return Err(format!("{row}: {} of {} tokens", warm_up.found, data.count).into());
        }
        context.check(warm_up);
        let mut rates = Vec::new();
        for _ in 0..PASSES {
            let mut tally = Tally::default();
            let start = Instant::now();
            store.scan(&mut tally)?;
            rates.push(data.count as f64 / start.elapsed().as_secs_f64());
            if tally != warm_up {
                return Err(format!("{row}: two scans read different tokens").into());
            }
        }
        rates.sort_by(f64::total_cmp);
        context.record(row, median(&rates).ok_or("no scan was measured")?);
        store.close()?;
    }
    Ok(())
}
