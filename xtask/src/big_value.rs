//! `cargo xtask big-value`: a value of many gigabytes, written as a stream, changed in parts and read back
//! (`crates/shroom/tests/streaming.rs`).

use std::path::PathBuf;

use crate::Result;
use crate::workspace::{self, cargo};

/// Stream a value of many gigabytes, append to it, overwrite and cut parts, and read every byte back
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Length of the value, in GiB; the disk needs a little more
    #[arg(long, default_value_t = 8)]
    gib: u64,
    /// Where the file is made; it is removed afterwards
    #[arg(long)]
    directory: Option<PathBuf>,
}

/// Runs the test.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let directory = match &arguments.directory {
        Some(directory) => directory.clone(),
        None => workspace::root().join("target"),
    };
    std::fs::create_dir_all(&directory)
        .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    workspace::run(
        cargo()
            .env("SHROOM_BIG_VALUE_BYTES", (arguments.gib << 30).to_string())
            .env("SHROOM_BIG_VALUE_DIR", directory)
            .args(["test", "--package", "shroom", "--test", "streaming"])
            .args(["a_big_value", "--", "--nocapture"]),
    )
}
