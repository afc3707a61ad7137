//! `shroom compact FILE --into NEW`: the same tokens in a new file, as small as it gets.
//!
//! * N1 NEW appears under its name with all tokens, or not at all; what has the name already is never replaced.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use shroom::{Compaction, CompactionProgress, Db};

use crate::at::At;
use crate::error::{CliError, Result};
use crate::output::{self, Format, bytes, grouped};
use crate::signals::Interrupt;

/// Compact a database into a new file: its bytes depend on the tokens, the tag and the page size alone
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database; it is only read
    file: PathBuf,
    /// The file to write: absent
    #[arg(long, value_name = "NEW")]
    into: PathBuf,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    format: Format,
}

/// Compacts, and prints the figures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let interrupt = Interrupt::listen().map_err(CliError::signals)?;
    let failed = CliError::database(&arguments.file);
    let db = Db::open_read_only(&arguments.file).map_err(&failed)?;
    let state = arguments.at.open(&db, &arguments.file)?;
    let bar = progress_bar(state.len().map_err(&failed)?);
    let mut signal = None;
    let mut progress = |done: &CompactionProgress| {
        bar.set_position(done.tokens);
        signal = interrupt.signal();
        match signal {
            None => ControlFlow::Continue(()),
            Some(_) => ControlFlow::Break(()),
        }
    };
    let made = state.compact_into_with(&arguments.into, &mut progress);
    bar.finish_and_clear();
    if let (Err(shroom::Error::Stopped), Some(signal)) = (&made, signal) {
        return Err(CliError::Interrupted(signal));
    }
    let made = made.map_err(|error| match error.is_corruption() {
        true => failed(error),
        false => CliError::database(&arguments.into)(error),
    })?;
    print(&made, start.elapsed().as_secs_f64(), arguments.format.json)
}

fn progress_bar(tokens: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(Some(tokens), ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(tokens);
    match ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} tokens, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn print(made: &Compaction, seconds: f64, json: bool) -> Result<()> {
    if json {
        return output::print_json(&json!({
            "tokens": made.tokens,
            "payload_bytes": made.payload_bytes,
            "file_bytes": made.file_bytes,
            "seconds": seconds,
        }));
    }
    output::print_table(&[
        ("tokens", grouped(made.tokens)),
        ("payload", bytes(made.payload_bytes)),
        ("file", bytes(made.file_bytes)),
        ("time", format!("{seconds:.3} s")),
    ])
}
