//! `shroom compact FILE [--into NEW]`: the same tokens, as small as it gets, in the same file or in a new one.
//!
//! * N1 FILE is a sound database with all tokens at any moment, wherever the command ends.
//! * N2 NEW appears under its name with all tokens, or not at all; what has the name already is never replaced.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use shroom::compaction::{NewFile, NewFileProgress, Progress};
use shroom::{Db, Options};

use crate::at::At;
use crate::error::{CliError, Result};
use crate::output::{self, Format, bytes, grouped};
use crate::signals::Interrupt;

/// Compact a database: its bytes then depend on the tokens, the tag and the page size alone
///
/// Without --into the file itself is compacted, which takes little more room than it has. Pages of named snapshots stay there.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database; with --into it is only read
    file: PathBuf,
    /// Write a new file instead: absent
    #[arg(long, value_name = "NEW")]
    into: Option<PathBuf>,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    format: Format,
}

/// What a progress bar has when all is done.
const BAR_LEN: u64 = 1000;

/// Compacts, and prints the figures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match (&arguments.into, &arguments.at.name) {
        (Some(new), _) => into_new(arguments, new),
        (None, None) => in_place(arguments),
        (None, Some(_)) => Err(CliError::Refused(
            "--at NAME is compacted into a new file: --into NEW".to_owned(),
        )),
    }
}

fn into_new(arguments: &Arguments, new: &Path) -> Result<()> {
    let start = Instant::now();
    let interrupt = Interrupt::listen().map_err(CliError::signals)?;
    let failed = CliError::database(&arguments.file);
    let db = Db::open_read_only(&arguments.file).map_err(&failed)?;
    let state = arguments.at.open(&db, &arguments.file)?;
    let tokens = state.len().map_err(&failed)?;
    let bar = progress_bar(
        tokens,
        "{bar:40} {human_pos} of {human_len} tokens, {eta} left",
    );
    let mut signal = None;
    let mut progress = |done: &NewFileProgress| {
        bar.set_position(done.tokens);
        signal = interrupt.signal();
        match signal {
            None => ControlFlow::Continue(()),
            Some(_) => ControlFlow::Break(()),
        }
    };
    let made = state.compact_into_with(new, &mut progress);
    bar.finish_and_clear();
    if let (Err(shroom::Error::Stopped), Some(signal)) = (&made, signal) {
        return Err(CliError::Interrupted(signal));
    }
    let made = made.map_err(|error| match error.is_corruption() {
        true => failed(error),
        false => CliError::database(new)(error),
    })?;
    print(&made, start.elapsed().as_secs_f64(), arguments.format.json)
}

fn in_place(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let interrupt = Interrupt::listen().map_err(CliError::signals)?;
    let failed = CliError::database(&arguments.file);
    let db = Options::new()
        .create(false)
        .open(&arguments.file)
        .map_err(&failed)?;
    let before = db.stats().map_err(&failed)?.file_bytes;
    let bar = progress_bar(BAR_LEN, "{bar:40} {percent} %, {eta} left");
    let mut signal = None;
    let mut progress = |done: &Progress| {
        bar.set_position((done.share * BAR_LEN as f64) as u64);
        signal = interrupt.signal();
        match signal {
            None => ControlFlow::Continue(()),
            Some(_) => ControlFlow::Break(()),
        }
    };
    let made = db.compact_with(&mut progress);
    bar.finish_and_clear();
    let stopped = matches!(made, Err(shroom::Error::Stopped));
    if let Some(signal) = signal.filter(|_| stopped) {
        // What was done is kept.
        db.close().map_err(&failed)?;
        return Err(CliError::Interrupted(signal));
    }
    let made = made.map_err(&failed)?;
    let stats = db.stats().map_err(&failed)?;
    db.close().map_err(&failed)?;
    let seconds = start.elapsed().as_secs_f64();
    if arguments.format.json {
        return output::print_json(&json!({
            "tokens": stats.tokens,
            "payload_bytes": stats.payload_bytes,
            "file_bytes_before": before,
            "file_bytes": stats.file_bytes,
            "canonical": made.canonical,
            "snapshots": made.snapshots,
            "seconds": seconds,
        }));
    }
    let canonical = match (made.canonical, made.snapshots) {
        (true, _) => "yes".to_owned(),
        (false, 0) => "no".to_owned(),
        (false, kept) => format!("no: {} named snapshots stay where they are", grouped(kept)),
    };
    output::print_table(&[
        ("tokens", grouped(stats.tokens)),
        ("payload", bytes(stats.payload_bytes)),
        ("file before", bytes(before)),
        ("file", bytes(stats.file_bytes)),
        ("canonical", canonical),
        ("time", format!("{seconds:.3} s")),
    ])
}

fn progress_bar(len: u64, template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(len);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn print(made: &NewFile, seconds: f64, json: bool) -> Result<()> {
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
