//! The `shroom` program: see the library beside it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    shroom_cli::main()
}
