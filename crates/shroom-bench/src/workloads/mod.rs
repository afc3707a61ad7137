//! One file for each kind of work.

pub(crate) mod bulk;
pub(crate) mod bytes;
pub(crate) mod churn;
pub(crate) mod cold;
pub(crate) mod delete;
pub(crate) mod durable;
pub(crate) mod get;
pub(crate) mod latency;
pub(crate) mod load;
pub(crate) mod memory;
pub(crate) mod open;
pub(crate) mod put;
pub(crate) mod real;
pub(crate) mod scale;
pub(crate) mod scan;
pub(crate) mod small;
pub(crate) mod ycsb;

use crate::context::Context;
use crate::data::Data;
use crate::store::Outcome;

/// Records what the files of the closed store take beyond the values of all tokens, in bytes a token.
fn record_overhead(context: &mut Context, row: &str, data: Data) -> Outcome {
    let over = context.files_len()? as f64 - payload(data, 0..data.count) as f64;
    context.record(row, over / data.count as f64);
    Ok(())
}

/// Sum of the values' lengths of a version that all tokens have, in bytes.
fn payload(data: Data, indices: impl Iterator<Item = u64>) -> u64 {
    let mut value = Vec::new();
    let lengths = indices.map(|index| {
        value.clear();
        data.value(index, 0, &mut value);
        value.len() as u64
    });
    lengths.sum()
}
