//! Development tasks: `cargo xtask TASK`.
//!
//! Each task is one module. Nothing here is part of what users install.

#![forbid(unsafe_code)]

mod api;
mod bench;
mod big_value;
mod canonical;
mod crashes;
mod demo;
mod dependencies;
mod features;
mod fuzz;
mod kill;
mod layers;
mod miri;
mod models;
mod mutations;
mod nostd;
mod platforms;
mod spec;
mod strace_put;
mod stress;
mod torture;
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
    Api(api::Arguments),
    /// Check the library crates with each feature alone, none, and all
    Features,
    /// Check the engine and the command line for other systems, and with the oldest compiler
    Platforms,
    /// Check the licences of all that is built for users
    Dependencies,
    Spec(spec::Arguments),
    Demo(demo::Arguments),
    StracePut(strace_put::Arguments),
    Bench(bench::Arguments),
    Canonical(canonical::Arguments),
    BigValue(big_value::Arguments),
    Fuzz(fuzz::Arguments),
    Crashes(crashes::Arguments),
    Models(models::Arguments),
    Mutations(mutations::Arguments),
    Nostd(nostd::Arguments),
    Torture(torture::Arguments),
    Kill(kill::Arguments),
    Stress(stress::Arguments),
    Miri(miri::Arguments),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Layers => layers::run(),
        Task::Api(arguments) => api::run(&arguments),
        Task::Features => features::run(),
        Task::Platforms => platforms::run(),
        Task::Dependencies => dependencies::run(),
        Task::Spec(arguments) => spec::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::StracePut(arguments) => strace_put::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Canonical(arguments) => canonical::run(&arguments),
        Task::BigValue(arguments) => big_value::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Crashes(arguments) => crashes::run(&arguments),
        Task::Models(arguments) => models::run(&arguments),
        Task::Mutations(arguments) => mutations::run(&arguments),
        Task::Nostd(arguments) => nostd::run(&arguments),
        Task::Torture(arguments) => torture::run(&arguments),
        Task::Kill(arguments) => kill::run(&arguments),
        Task::Stress(arguments) => stress::run(&arguments),
        Task::Miri(arguments) => miri::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
