//! Load in random order of ids, and the size of what it makes.

use crate::context::{Context, write_all};
use crate::data::Ids;
use crate::store::{Durability, Outcome};
use crate::workloads::record_overhead;

pub(crate) fn run(context: &mut Context) -> Outcome {
    let data = context.data(Ids::Random);
    let mut store = context.open_new(Durability::Visible)?;
    let took = write_all(
        &mut *store,
        data,
        &mut (0..data.count).map(|index| (index, 0)),
    )?;
    store.close()?;
    context.record("load-rate", data.count as f64 / took.as_secs_f64());
    if context.peer.has_files {
        record_overhead(context, "load-overhead", data)?;
    }
    Ok(())
}
