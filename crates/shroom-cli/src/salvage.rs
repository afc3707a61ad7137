//! `shroom salvage DAMAGED NEW`: what can be proven of a damaged database becomes a new one.
//!
//! The damaged file is only read. Exits with 0 when nothing was lost, and with 1 when something was, or when nothing can be
//! proven at all.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;
use shroom::salvage::{Salvage, SalvageReport};

use crate::error::{CliError, Result};
use crate::output::{self, Format, bytes, grouped};

/// Recover what is left of a damaged database: exits with 0 when nothing was lost, else 1
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The damaged database; it is only read
    damaged: PathBuf,
    /// The database to write: absent
    new: PathBuf,
    /// Recover also tokens that are probably, but not provably, current
    #[arg(long)]
    unproven: bool,
    #[command(flatten)]
    format: Format,
}

/// Salvages, and prints what was lost.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let report = Salvage::new()
        .unproven(arguments.unproven)
        .run(&arguments.damaged, &arguments.new)
        .map_err(CliError::database(&arguments.damaged))?;
    let seconds = start.elapsed().as_secs_f64();
    if arguments.format.json {
        print_json(&report, seconds)?;
    } else {
        print_text(&report, seconds)?;
    }
    if report.is_complete() {
        Ok(())
    } else {
        Err(CliError::Reported)
    }
}

fn print_json(report: &SalvageReport, seconds: f64) -> Result<()> {
    let loss = |loss: &shroom::salvage::Loss| {
        json!({
            "first": loss.first,
            "last": loss.last,
            "page": loss.page.0,
            "physical_page": loss.physical.0,
            "reason": loss.reason,
        })
    };
    output::print_json(&json!({
        "tokens": report.tokens,
        "payload_bytes": report.payload_bytes,
        "checkpoint": report.checkpoint,
        "journal_frames": report.journal_frames,
        "tag": report.tag,
        "missing": report.missing,
        "lost": report.lost.iter().map(loss).collect::<Vec<_>>(),
        "unproven": report.unproven,
        "damage": report.damage,
        "seconds": seconds,
    }))
}

fn print_text(report: &SalvageReport, seconds: f64) -> Result<()> {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(
        report
            .damage
            .iter()
            .map(|damage| format!("damaged: {damage}")),
    );
    lines.extend(report.lost.iter().map(|loss| format!("lost: {loss}")));
    let unproven = report.unproven.iter();
    lines.extend(unproven.map(|(first, last)| format!("unproven: ids {first} to {last}")));
    if report.tag.is_none() {
        lines.push("lost: the tag".into());
    }
    if !lines.is_empty() {
        output::print_text(&lines.join("\n"))?;
    }
    let missing = match report.missing {
        Some(missing) => grouped(missing),
        None => "unknown".into(),
    };
    output::print_table(&[
        ("recovered", format!("{} tokens", grouped(report.tokens))),
        ("payload", bytes(report.payload_bytes)),
        ("missing", missing),
        ("journal frames", grouped(report.journal_frames)),
        ("time", format!("{seconds:.3} s")),
    ])
}
