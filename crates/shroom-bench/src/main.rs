//! ShroomDB beside its peers: `cargo run --release -p shroom-bench -- --help`.
//!
//! One process measures one peer in one workload; this one starts them in turn, round after round, and puts their figures
//! together. Peers are in [`peers`], workloads in [`workloads`], the rows and targets in [`rows`].

#![deny(unsafe_code)]

mod arguments;
mod context;
mod counts;
mod data;
mod job;
mod machine;
mod peer;
mod peers;
mod plot;
mod process;
mod random;
mod results;
mod rows;
mod run;
mod sample;
mod statistics;
mod store;
mod table;
mod trace;
mod workload;
mod workloads;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Internal};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.internal {
        None => run::run(&arguments),
        Some(Internal::Job { job }) => job::run(job),
        Some(Internal::Count { operation }) => counts::run(operation.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shroom-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
