//! Random overwrites with new sizes, two for each token, and what they do to the file.

use crate::context::{Context, write_all};
use crate::data::Ids;
use crate::random::Random;
use crate::store::{Durability, Outcome, Tally};

pub(crate) fn dense(context: &mut Context) -> Outcome {
    run(context, Ids::Dense, ["churn-rate", "churn-size"])
}

pub(crate) fn random(context: &mut Context) -> Outcome {
    run(
        context,
        Ids::Random,
        ["churn-random-rate", "churn-random-size"],
    )
}

fn run(context: &mut Context, ids: Ids, [rate, size]: [&str; 2]) -> Outcome {
    let data = context.data(ids);
    let mut store = context.open_copy(data, Durability::Visible)?;
    let count = 2 * data.count;
    let versions = || {
        let mut random = Random::new(11);
        (1..=count).map(move |version| (random.below(data.count), version))
    };
    let took = write_all(&mut *store, data, &mut versions())?;
    let mut last = vec![0; data.count as usize];
    for (index, version) in versions() {
        last[index as usize] = version;
    }
    let mut tally = Tally::default();
    let mut value = Vec::new();
    let mut payload = 0;
    for (index, &version) in (0..).zip(&last) {
        value.clear();
        data.value(index, version, &mut value);
        payload += value.len();
        tally.add(Some(&value));
    }
    let all: Vec<u64> = (0..data.count).map(|index| data.id(index)).collect();
    let mut found = Tally::default();
    store.get_reused(&all, &mut found)?;
    if found != tally {
        return Err("the store does not hold what was written last".into());
    }
    store.close()?;
    context.record(rate, count as f64 / took.as_secs_f64());
    if context.peer.has_files {
        context.record(size, context.files_len()? as f64 / payload as f64);
    }
    Ok(())
}
