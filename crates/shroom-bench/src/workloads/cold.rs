//! Gets of a store of which the system has forgotten everything: what a store larger than memory costs at its worst.
//!
//! The first gets read what the later ones find in memory, the upper parts of an index above all; so there are few of them, and the
//! bytes are what the device delivered, read-ahead included.

use std::time::Instant;

use crate::context::Context;
use crate::data::Ids;
use crate::process::{device_bytes_read, drop_cache};
use crate::store::{Durability, Outcome};
use crate::workloads::get;

/// Gets measured; far fewer than a store of the usual size has pages.
const GETS: usize = 2000;

pub(crate) fn run(context: &mut Context) -> Outcome {
    let data = context.data(Ids::Random);
    let directory = context.fixture(data);
    drop_cache(&directory)?;
    let mut ids = get::order(data, 0);
    ids.truncate(GETS);
    let store = (context.peer.open)(&directory, Durability::Visible)?;
    let before = device_bytes_read();
    let start = Instant::now();
    let tally = get::all_found(&*store, &ids)?;
    let took = start.elapsed();
    let read = before.zip(device_bytes_read());
    context.check(tally);
    store.close()?;
    context.record("cold-get", took.as_secs_f64() * 1e6 / ids.len() as f64);
    if let Some((before, after)) = read {
        context.record("cold-bytes", (after - before) as f64 / ids.len() as f64);
    }
    Ok(())
}
