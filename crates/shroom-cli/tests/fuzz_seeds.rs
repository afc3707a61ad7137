//! Replays the seeds of the fuzz target that talks to the shell, as an ordinary test.

#[path = "../../../fuzz/checks/cli_shell.rs"]
mod cli_shell;
#[path = "../../../fuzz/checks/seeds.rs"]
mod seeds;

seeds::replay_tests!(cli_shell);
