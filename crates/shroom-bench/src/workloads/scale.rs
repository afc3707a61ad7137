//! The same store ten times as large, and again: what grows with it, and what should not.
//!
//! Random ids, loaded in batches in random order, closed, opened again, read at random.

use std::time::Instant;

use crate::context::{Context, write_all};
use crate::data::{Data, Ids};
use crate::process::private_bytes;
use crate::random::Random;
use crate::rows::Unit;
use crate::sample::Point;
use crate::store::{Durability, Outcome, Tally};

/// What is measured at each size: name, title, unit.
pub(crate) const CURVES: [(&str, &str, Unit); 6] = [
    ("load", "load in random order, batches of 1000", Unit::Rate),
    ("size", "file, closed, a token", Unit::BytesEach),
    ("close", "close after the load", Unit::Milliseconds),
    ("open", "open to the first get", Unit::Milliseconds),
    ("get", "random get, second pass", Unit::Nanoseconds),
    ("memory", "private memory after load and gets", Unit::Bytes),
];

/// Gets at each size: the same number, whatever the size.
const GETS: u64 = 500_000;

/// Gets whose ids are made at a time.
const STRETCH: u64 = 10_000;

pub(crate) fn run(context: &mut Context) -> Outcome {
    let mut factor = 1;
    while factor <= context.settings.scale_max {
        let data = context.data(Ids::Random);
        measure(
            context,
            Data {
                count: data.count * factor,
                ..data
            },
        )?;
        factor *= 10;
    }
    Ok(())
}

fn measure(context: &mut Context, data: Data) -> Outcome {
    let count = data.count.min(context.peer.tokens_max);
    let data = Data { count, ..data };
    let record = |context: &mut Context, curve: &str, value: f64| {
        context.sample.points.push(Point {
            curve: curve.to_owned(),
            count,
            value,
        });
    };
    let before = private_bytes();
    let mut store = context.open_new(Durability::Visible)?;
    let took = write_all(&mut *store, data, &mut (0..count).map(|index| (index, 0)))?;
    record(context, "load", count as f64 / took.as_secs_f64());
    let start = Instant::now();
    store.close()?;
    record(context, "close", start.elapsed().as_secs_f64() * 1e3);
    let size = context.files_len()? as f64 / count as f64;
    record(context, "size", size);

    let mut tally = Tally::default();
    let start = Instant::now();
    let store = (context.peer.open)(&context.directory(), Durability::Visible)?;
    store.get_fresh(&[data.id(count / 3)], &mut tally)?;
    record(context, "open", start.elapsed().as_secs_f64() * 1e3);
    let mut nanoseconds = 0;
    for _ in 0..2 {
        let mut random = Random::new(41);
        nanoseconds = 0;
        for _ in 0..GETS / STRETCH {
            let ids: Vec<u64> = (0..STRETCH).map(|_| data.id(random.below(count))).collect();
            let start = Instant::now();
            store.get_reused(&ids, &mut tally)?;
            nanoseconds += start.elapsed().as_nanos();
        }
    }
    record(context, "get", nanoseconds as f64 / GETS as f64);
    if let Some((before, after)) = before.zip(private_bytes()) {
        record(context, "memory", after.saturating_sub(before) as f64);
    }
    store.close()?;
    match tally.absent {
        0 => Ok(()),
        absent => Err(format!("{absent} tokens of {count} are missing").into()),
    }
}
