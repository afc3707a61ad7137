//! `cargo xtask models`: the protocols between threads, under thousands of schedules each.
//!
//! The models are tests of shroom-sim that only a build with `--cfg shuttle` has. It lies in a target directory of its own, so
//! that neither build discards the other's work.

use crate::Result;
use crate::workspace::{self, cargo};

/// Run the engine's threads under schedules that are chosen one after the other
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only models whose names contain this
    #[arg(default_value = "")]
    filter: String,
    /// Schedules of each model, of each of three kinds: with fewer, some do not come to what they are about
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..))]
    iterations: u64,
    /// Other seeds try other schedules; the same one tries the same
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Builds and runs the models; the first schedule that goes wrong is shown.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    flags.push_str(" --cfg shuttle");
    workspace::run(
        cargo()
            .env("RUSTFLAGS", flags)
            .env("CARGO_TARGET_DIR", workspace::target_directory("models"))
            .env("SHROOM_MODEL_ITERATIONS", arguments.iterations.to_string())
            .env("SHROOM_MODEL_SEED", arguments.seed.to_string())
            .args(["test", "--package", "shroom-sim", "--test", "models", "--"])
            .args([&arguments.filter, "--nocapture"]),
    )
}
