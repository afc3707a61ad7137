//! Other processes: the test program run again, for one of its own tests.

use std::process::Command;

/// This program, to run only the test `name` and show what that prints.
pub(crate) fn child(name: &str) -> Command {
    let program = std::env::current_exe().expect("a test program has a path");
    let mut command = Command::new(program);
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command
}
