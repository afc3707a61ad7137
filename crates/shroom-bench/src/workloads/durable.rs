//! Durable commits, one after the other: how long each takes, and how many bytes go to the device.

use std::time::Instant;

use crate::context::{Context, write_batches};
use crate::data::Ids;
use crate::process::device_bytes_written;
use crate::random::Random;
use crate::statistics::median;
use crate::store::{Durability, Outcome};

/// Commits before the measured ones: the first make files, logs and journals.
const WARM_UP: u64 = 10;

pub(crate) fn put(context: &mut Context) -> Outcome {
    run(context, 1, "durable-p50", Some("durable-bytes"))
}

pub(crate) fn batch(context: &mut Context) -> Outcome {
    run(context, 100, "durable-batch-p50", None)
}

fn run(context: &mut Context, batch: u64, time: &str, bytes: Option<&str>) -> Outcome {
    let data = context.data(Ids::Dense);
    let mut store = context.open_copy(data, Durability::Synced)?;
    store.flush()?;
    let mut random = Random::new(13);
    let mut times = Vec::new();
    let directory = context.directory();
    let mut written = device_bytes_written(&directory);
    for commit in 0..WARM_UP + context.settings.commits {
        if commit == WARM_UP {
            written = device_bytes_written(&directory);
        }
        let indices: Vec<u64> = (0..batch).map(|_| random.below(data.count)).collect();
        let tokens = data.tokens(&indices, commit + 1);
        let start = Instant::now();
        if batch == 1 {
            let (id, value) = tokens.get(0);
            store.put(id, value)?;
        } else {
            write_batches(&mut *store, &tokens, tokens.len())?;
        }
        if commit >= WARM_UP {
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    let written = written.zip(device_bytes_written(&directory));
    store.close()?;
    times.sort_by(f64::total_cmp);
    if let Some(middle) = median(&times) {
        context.record(time, middle);
        if let Some((row, (before, after))) = bytes.zip(written) {
            context.record(row, (after - before) as f64 / times.len() as f64);
        }
    }
    Ok(())
}
