//! `cargo xtask canonical`: many pairs of histories with equal content compact to equal bytes (`crates/shroom/tests/compact.rs`), and as
//! many histories compact to their canonical images in place (`crates/shroom/tests/compaction.rs`).

use crate::Result;
use crate::workspace::{self, cargo};

/// Compare the canonical images of pairs of random histories with equal content
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many pairs
    #[arg(long, default_value_t = 1000)]
    pairs: u64,
}

/// Compares; the first pair that differs is a failure.
pub(crate) fn run(arguments: &Arguments) -> Result {
    workspace::run(
        cargo()
            .env("SHROOM_COMPACT_PAIRS", arguments.pairs.to_string())
            .args(["test", "--package", "shroom", "--test", "compact"])
            .arg("equal_content"),
    )?;
    workspace::run(
        cargo()
            .env("SHROOM_COMPACTION_SEEDS", arguments.pairs.to_string())
            .args(["test", "--package", "shroom", "--test", "compaction"])
            .arg("alone"),
    )
}
