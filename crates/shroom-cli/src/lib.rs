//! `shroom`: import, export, inspect and script ShroomDB files from a command line.
//!
//! * C1 Exit codes: 0 done, 1 absent or corrupt, 2 usage or I/O, 128 + n when signal n ended it.
//! * C2 A command that only inspects opens its file read-only.
//! * C3 What a command reports goes to standard output, and only that; warnings, errors and progress go to
//!   standard error.
//! * C4 A pipe closed by its reader ends a command quietly.
//!
//! Absent on purpose: reads no page, segment or pack itself; everything goes through the `shroom` crate. Each
//! subcommand is one file, with its arguments and its `run`.
//!
//! A library besides the program, so that the fuzzer can hold a shell's conversation in memory.

#![forbid(unsafe_code)]

mod at;
mod check_proof;
mod compact;
mod completions;
mod copy;
mod del;
mod delta;
mod dump;
mod error;
mod export;
mod get;
mod hash;
mod ids;
mod import;
mod input;
mod ls;
mod manifest;
mod map;
mod output;
mod platform;
mod prove;
mod put;
mod salvage;
mod shell;
mod signals;
mod snapshot;
mod stat;
mod verify;
mod walk;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::Result;

/// ShroomDB: many small blobs in one small file.
#[derive(Debug, Parser)]
#[command(
    name = "shroom",
    version,
    about,
    after_help = "Exit codes: 0 done, 1 absent or corrupt, 2 usage or I/O."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::Arguments),
    Export(export::Arguments),
    Put(put::Arguments),
    Get(get::Arguments),
    Del(del::Arguments),
    Ls(ls::Arguments),
    Stat(stat::Arguments),
    Verify(verify::Arguments),
    Map(map::Arguments),
    Dump(dump::Arguments),
    Compact(compact::Arguments),
    Hash(hash::Arguments),
    Prove(prove::Arguments),
    CheckProof(check_proof::Arguments),
    Salvage(salvage::Arguments),
    Snapshot(snapshot::Arguments),
    Delta(delta::Arguments),
    Shell(shell::Arguments),
    Completions(completions::Arguments),
}

pub use shell::converse;

/// The program: reads the process's arguments, does what they say, and returns the exit code (C1).
pub fn main() -> ExitCode {
    // clap itself leaves with 2 on a usage error, and with 0 after --help and --version.
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_silent() {
                eprintln!("shroom: {error}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Import(arguments) => import::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Put(arguments) => put::run(&arguments),
        Command::Get(arguments) => get::run(&arguments),
        Command::Del(arguments) => del::run(&arguments),
        Command::Ls(arguments) => ls::run(&arguments),
        Command::Stat(arguments) => stat::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Map(arguments) => map::run(&arguments),
        Command::Dump(arguments) => dump::run(&arguments),
        Command::Compact(arguments) => compact::run(&arguments),
        Command::Hash(arguments) => hash::run(&arguments),
        Command::Prove(arguments) => prove::run(&arguments),
        Command::CheckProof(arguments) => check_proof::run(&arguments),
        Command::Salvage(arguments) => salvage::run(&arguments),
        Command::Snapshot(arguments) => snapshot::run(&arguments),
        Command::Delta(arguments) => delta::run(&arguments),
        Command::Shell(arguments) => shell::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_argument_definitions_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
