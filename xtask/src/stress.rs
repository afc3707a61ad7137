//! `cargo xtask stress`: readers that check every byte beside writers, for as long as wanted (`crates/shroom/tests/stress.rs`).

use crate::Result;
use crate::workspace::{self, cargo};

/// Read from eight threads beside writers, and check every byte; in memory and in a file
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long each of the two runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What the threads choose to do
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs both; the first thing found wrong is a failure.
pub(crate) fn run(arguments: &Arguments) -> Result {
    workspace::run(
        cargo()
            .env("SHROOM_STRESS_SECONDS", arguments.seconds.to_string())
            .env("SHROOM_STRESS_SEED", arguments.seed.to_string())
            .args(["test", "--package", "shroom", "--test", "stress"])
            // One after the other, so that each has all cores.
            .args(["every_byte", "--", "--nocapture", "--test-threads=1"]),
    )
}
