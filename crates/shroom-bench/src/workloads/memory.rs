//! Memory that a reader cannot give back: what is backed by no file, beyond what the process had before it opened the store.

use crate::context::Context;
use crate::data::Ids;
use crate::process::private_bytes;
use crate::random::Random;
use crate::store::{Outcome, Tally};

/// Gets between which the ids are made, so that they take little memory themselves.
const STRETCH: usize = 1000;

pub(crate) fn run(context: &mut Context) -> Outcome {
    let data = context.data(Ids::Random);
    let mut random = Random::new(19);
    let mut ids = vec![0; STRETCH];
    let before = private_bytes();
    let store = context.open_loaded(data)?;
    let mut tally = Tally::default();
    for _ in 0..(2 * data.count as usize).div_ceil(STRETCH) {
        ids.fill_with(|| data.id(random.below(data.count)));
        store.get_reused(&ids, &mut tally)?;
    }
    let after = private_bytes();
    if tally.absent > 0 {
        return Err(format!("{} tokens are missing", tally.absent).into());
    }
    context.check(tally);
    store.close()?;
    if let Some((before, after)) = before.zip(after) {
        context.record("memory", after.saturating_sub(before) as f64);
    }
    Ok(())
}
