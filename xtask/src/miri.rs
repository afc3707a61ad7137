//! `cargo xtask miri`: the codecs and the store in memory, interpreted by Miri, which notices undefined behaviour.
//!
//! Needs the nightly toolchain's `miri` component, and says so where that is missing. What needs a memory-mapped file
//! is left out: Miri has none.

use std::process::Command;

use crate::Result;
use crate::workspace::{self, works};

/// Interpret the codecs' tests and the store in memory with Miri
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose names contain this
    filter: Option<String>,
}

/// Runs the tests. Without Miri there is nothing to fail: it is said, and that is all.
pub(crate) fn run(arguments: &Arguments) -> Result {
    if !works(cargo_miri().arg("--version")) {
        println!("SKIPPED: Miri is not installed, so nothing was checked");
        println!("to install it: rustup component add --toolchain nightly miri");
        return Ok(());
    }
    let codecs = ["shroom-page", "shroom-seg", "shroom-token"];
    let mut command = cargo_miri();
    command.args(["test", "--lib"]);
    command.args(codecs.iter().flat_map(|name| ["--package", name]));
    workspace::run(command.args(&arguments.filter))?;
    let mut command = cargo_miri();
    command.args(["test", "--package", "shroom", "--test", "memory"]);
    workspace::run(command.args(&arguments.filter))
}

/// `cargo miri` of the nightly toolchain, which a `cargo` of another toolchain cannot stand in for.
fn cargo_miri() -> Command {
    let mut command = Command::new("cargo");
    command
        .current_dir(workspace::root())
        .args(["+nightly", "miri"]);
    command
}
