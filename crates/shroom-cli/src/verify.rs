//! `shroom verify FILE`: checks every page, segment and token; changes nothing.
//!
//! A file that is damaged so that it cannot even be opened is a finding too, and exits with 1; a file that
//! cannot be reached (absent, locked, unreadable) exits with 2.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;
use shroom::Db;

use crate::error::{CliError, Result};
use crate::output::{self, Format, grouped};

/// Check a database: exits with 0 when sound, 1 when corrupt
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database
    file: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// Prints every finding, and a summary.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let (findings, tokens) = examine(&arguments.file)?;
    let seconds = start.elapsed().as_secs_f64();
    if arguments.format.json {
        output::print_json(&json!({
            "sound": findings.is_empty(),
            "findings": findings,
            "tokens": tokens,
            "seconds": seconds,
        }))?;
    } else {
        let mut lines = findings.clone();
        lines.push(match findings.len() {
            0 => format!("sound: {} tokens, {seconds:.3} s", grouped(tokens)),
            1 => "corrupt: 1 finding".to_owned(),
            count => format!("corrupt: {} findings", grouped(count as u64)),
        });
        output::print_text(&lines.join("\n"))?;
    }
    if findings.is_empty() {
        Ok(())
    } else {
        Err(CliError::Reported)
    }
}

/// Everything that is wrong with the file, and its tokens.
fn examine(file: &Path) -> Result<(Vec<String>, u64)> {
    match Db::open_read_only(file).and_then(|db| check(&db)) {
        Ok(result) => Ok(result),
        Err(error) if error.is_corruption() => Ok((vec![error.to_string()], 0)),
        Err(error) => Err(CliError::database(file)(error)),
    }
}

fn check(db: &Db) -> shroom::Result<(Vec<String>, u64)> {
    let report = db.verify()?;
    // The report counts the tokens of the last checkpoint; those that a crash left in the journal count too.
    let tokens = if report.is_sound() {
        db.len()?
    } else {
        report.tokens
    };
    Ok((
        report.findings.iter().map(ToString::to_string).collect(),
        tokens,
    ))
}
