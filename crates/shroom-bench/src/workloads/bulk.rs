//! Sorted load, durable at the end, and the size of what it makes.

use crate::context::{Context, load_sorted};
use crate::data::Ids;
use crate::store::{Durability, Outcome};
use crate::workloads::record_overhead;

pub(crate) fn run(context: &mut Context) -> Outcome {
    let data = context.data(Ids::Dense);
    let mut store = context.open_new(Durability::Synced)?;
    let took = load_sorted(&mut *store, data)?;
    store.close()?;
    context.record("bulk-rate", data.count as f64 / took.as_secs_f64());
    if context.peer.has_files {
        record_overhead(context, "bulk-overhead", data)?;
    }
    Ok(())
}
