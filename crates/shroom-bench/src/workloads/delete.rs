//! Deletion of half of all tokens in random order, and what compaction makes of the rest.

use std::time::{Duration, Instant};

use crate::context::{BATCH, Context};
use crate::data::Ids;
use crate::random::Random;
use crate::store::{Change, Durability, Outcome};
use crate::workloads::get::all_found;
use crate::workloads::payload;

pub(crate) fn run(context: &mut Context) -> Outcome {
    let data = context.data(Ids::Random);
    let mut store = context.open_copy(data, Durability::Visible)?;
    let order = Random::new(17).permutation(data.count);
    let (gone, left) = order.split_at(order.len() / 2);
    let mut took = Duration::ZERO;
    for indices in gone.chunks(BATCH) {
        let changes: Vec<Change<'_>> = indices
            .iter()
            .map(|&index| Change {
                id: data.id(index),
                value: None,
            })
            .collect();
        let start = Instant::now();
        store.write(&changes)?;
        took += start.elapsed();
    }
    context.record("delete", took.as_nanos() as f64 / gone.len().max(1) as f64);
    if context.peer.can_compact {
        store.compact()?;
    }
    let ids: Vec<u64> = left.iter().map(|&index| data.id(index)).collect();
    let tally = all_found(&*store, &ids)?;
    context.check(tally);
    store.close()?;
    if context.peer.can_compact {
        let over = context.files_len()? as f64 - payload(data, left.iter().copied()) as f64;
        context.record("delete-overhead", over / left.len() as f64);
    }
    Ok(())
}
