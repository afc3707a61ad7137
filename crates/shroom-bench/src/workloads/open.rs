//! Opening a loaded store, up to the answer to the first get. The process has just begun; the files may be in the page cache.

use std::time::Instant;

use crate::context::Context;
use crate::data::Ids;
use crate::store::{Durability, Outcome, Tally};

pub(crate) fn run(context: &mut Context) -> Outcome {
    let data = context.data(Ids::Dense);
    let directory = context.fixture(data);
    let mut tally = Tally::default();
    let start = Instant::now();
    let store = (context.peer.open)(&directory, Durability::Visible)?;
    store.get_fresh(&[data.id(data.count / 3)], &mut tally)?;
    let took = start.elapsed();
    context.check(tally);
    store.close()?;
    context.record("open", took.as_secs_f64() * 1e3);
    Ok(())
}
