//! Sends arbitrary lines to the shell: see `checks/cli_shell.rs`.

#![no_main]
#![forbid(unsafe_code)]

#[path = "../checks/cli_shell.rs"]
mod cli_shell;

libfuzzer_sys::fuzz_target!(|input: &[u8]| cli_shell::examine(input));
