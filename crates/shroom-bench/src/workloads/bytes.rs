//! Size alone: bytes a token, all in, after the peer has made its files as small as it can.

use crate::context::{Context, write_all};
use crate::data::{Data, Ids, Sizes};
use crate::store::{Durability, Outcome};
use crate::workloads::{get, record_overhead};

pub(crate) fn run(context: &mut Context) -> Outcome {
    for (row, ids, sizes) in [
        ("bytes-dense-16", Ids::Dense, Sizes::Fixed16),
        ("bytes-dense-64", Ids::Dense, Sizes::Fixed64),
        ("bytes-random-16", Ids::Random, Sizes::Fixed16),
        ("bytes-random-64", Ids::Random, Sizes::Fixed64),
    ] {
        let data = Data {
            sizes,
            ..context.data(ids)
        };
        let mut store = context.open_new(Durability::Visible)?;
        write_all(
            &mut *store,
            data,
            &mut (0..data.count).map(|index| (index, 0)),
        )?;
        if context.peer.can_compact {
            store.compact()?;
        }
        store.close()?;
        context.record(row, context.files_len()? as f64 / data.count as f64);
    }
    Ok(())
}

/// Documents that compress: the size after compaction, and what a get costs then.
pub(crate) fn json(context: &mut Context) -> Outcome {
    let data = context.data(Ids::Dense);
    let mut store = context.open_copy(data, Durability::Visible)?;
    if context.peer.can_compact {
        store.compact()?;
    }
    let ids = get::order(data, 0);
    get::measure(context, "json-get", &ids, |tally| {
        store.get_reused(&ids, tally)
    })?;
    store.close()?;
    record_overhead(context, "json-overhead", data)
}
