//! The core workloads of YCSB that need no inserts and no scans, over tokens of the chosen sizes, popular ones by Zipf's law.

use std::time::{Duration, Instant};

use crate::context::Context;
use crate::data::{Data, Ids, Tokens};
use crate::random::{Random, Zipf};
use crate::store::{Durability, Outcome, Store, Tally};

/// What a share of the operations does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Update {
    /// Writes, without reading before.
    Blind,
    /// Reads, then writes.
    ReadModifyWrite,
}

/// Row, share of operations that write, and how. C comes first, since it leaves the store as it is.
const MIXES: [(&str, f64, Update); 4] = [
    ("ycsb-c", 0.0, Update::Blind),
    ("ycsb-b", 0.05, Update::Blind),
    ("ycsb-a", 0.5, Update::Blind),
    ("ycsb-f", 0.5, Update::ReadModifyWrite),
];

/// Operations made ahead of the clock.
const STRETCH: u64 = 10_000;

pub(crate) fn run(context: &mut Context) -> Outcome {
    let data = context.data(Ids::Dense);
    let mut store = context.open_copy(data, Durability::Visible)?;
    let zipf = Zipf::new(data.count);
    let count = (data.count / 4).max(1);
    let mut version = 0;
    for (row, share, update) in MIXES {
        let mut random = Random::new(23);
        let mut tally = Tally::default();
        let mut took = Duration::ZERO;
        for first in (0..count).step_by(STRETCH as usize) {
            let operations = (count - first).min(STRETCH);
            let stretch = Stretch::new(data, &zipf, &mut random, operations, share, &mut version);
            took += stretch.run(&mut *store, update, &mut tally)?;
        }
        if tally.absent > 0 {
            return Err(format!("{row}: {} tokens are missing", tally.absent).into());
        }
        context.check(tally);
        context.record(row, count as f64 / took.as_secs_f64());
    }
    store.close()
}

/// Operations in order: an id each, and for those that write, the position of the value.
struct Stretch {
    operations: Vec<(u64, Option<usize>)>,
    values: Tokens,
}

impl Stretch {
    fn new(
        data: Data,
        zipf: &Zipf,
        random: &mut Random,
        count: u64,
        share: f64,
        version: &mut u64,
    ) -> Self {
        let mut values = Tokens::default();
        let mut value = Vec::new();
        let operations = (0..count)
            .map(|_| {
                let index = zipf.item(random);
                if random.unit() >= share {
                    return (data.id(index), None);
                }
                *version += 1;
                value.clear();
                data.value(index, *version, &mut value);
                values.push(data.id(index), &value);
                (data.id(index), Some(values.len() - 1))
            })
            .collect();
        Self { operations, values }
    }

    fn run(&self, store: &mut dyn Store, update: Update, tally: &mut Tally) -> Outcome<Duration> {
        let start = Instant::now();
        for &(id, position) in &self.operations {
            if position.is_none() || update == Update::ReadModifyWrite {
                store.get_fresh(&[id], tally)?;
            }
            if let Some(position) = position {
                store.put(id, self.values.get(position).1)?;
            }
        }
        Ok(start.elapsed())
    }
}
