//! The figures that the project promises, measured on this machine: file sizes, reads beside a hash map, latency of puts,
//! opening. Run with `cargo run --release -p shroom --example figures [-- NAME...]`.
//!
//! Seeds are fixed; sizes are exact and repeat, times vary with the machine: compare within one run.

mod compaction;
mod data;
mod reads;
mod roots;
mod sizes;
mod states;
mod values;
mod writes;

use std::error::Error;
use std::path::Path;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let dir = tempfile::tempdir_in(std::env::var_os("SHROOM_DIR").unwrap_or_else(|| ".".into()))?;
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    type Part = (&'static str, fn(&Path) -> Outcome);
    let parts: [Part; 14] = [
        ("sizes", sizes::sizes),
        ("churn", sizes::churn),
        ("gets", reads::gets),
        ("puts", writes::puts),
        ("durable", writes::durable),
        ("open", reads::open),
        ("large", values::large),
        ("streaming", values::streaming),
        ("snapshots", states::snapshots),
        ("deltas", states::deltas),
        ("compact", compaction::compact),
        ("compact-in-place", compaction::compact_in_place),
        ("roots", roots::roots),
        ("proofs", roots::proofs),
    ];
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|want| want == name) {
            part(dir.path())?;
        }
    }
    Ok(())
}
