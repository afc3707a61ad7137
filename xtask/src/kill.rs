//! `cargo xtask kill`: processes killed over a real file, for as many rounds as wanted (`crates/shroom/tests/kill`).

use crate::Result;
use crate::workspace::{self, cargo};

/// Kill writing, reading and creating processes at random, and check what they leave
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Each of some three processes
    #[arg(long, default_value_t = 2000)]
    rounds: u64,
    /// Who does what, and dies when
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the rounds; the first thing found wrong is a failure.
pub(crate) fn run(arguments: &Arguments) -> Result {
    workspace::run(
        cargo()
            .env("SHROOM_KILL_ROUNDS", arguments.rounds.to_string())
            .env("SHROOM_KILL_SEED", arguments.seed.to_string())
            .args(["test", "--package", "shroom", "--test", "kill"])
            .args(["killed_at_any_time", "--", "--exact", "--nocapture"]),
    )
}
