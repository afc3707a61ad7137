//! Development tasks: `cargo xtask TASK`.
//!
//! Each task is one module. Nothing here is part of what users install.

#![forbid(unsafe_code)]

mod demo;
mod fuzz;
mod layers;
mod strace_put;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Result of a task; the message says why it failed.
type Result<T = (), E = String> = std::result::Result<T, E>;

/// Development tasks of the ShroomDB workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Layers,
    Demo(demo::Arguments),
    StracePut(strace_put::Arguments),
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Layers => layers::run(),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::StracePut(arguments) => strace_put::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
