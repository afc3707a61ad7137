//! `shroom stat FILE --watch`: live figures, a line at a time.
//!
//! * W1 No lock is taken, so neither a writer nor a reader is ever kept from the file; and one that has it open is no hindrance.
//!
//! So what is shown is what the file says: the last checkpoint, and the journal frames that were written since.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use shroom::inspect::Glance;

use crate::error::{CliError, Result};
use crate::output::{self, grouped};
use crate::signals::Interrupt;

/// Lines between two headings.
const HEADING_EVERY: u64 = 20;
/// How long a signal may wait to be seen.
const PATIENCE: Duration = Duration::from_millis(50);

/// Reads an interval in seconds.
pub(crate) fn parse_interval(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (0.01..=86_400.0).contains(seconds));
    let seconds: f64 = seconds
        .ok_or_else(|| format!("'{text}' is no interval: expected 0.01 to 86400 seconds"))?;
    Ok(Duration::from_secs_f64(seconds))
}

/// Prints the figures of `file` now and then every `interval`, `count` times or until a signal comes.
pub(crate) fn run(file: &Path, interval: Duration, count: Option<u64>, json: bool) -> Result<()> {
    let interrupt = Interrupt::listen().map_err(CliError::signals)?;
    let start = Instant::now();
    let mut before: Option<(Duration, Glance)> = None;
    for line in 0..count.unwrap_or(u64::MAX) {
        if line > 0 {
            wait_until(
                start + interval * u32::try_from(line).unwrap_or(u32::MAX),
                &interrupt,
            )?;
        }
        let glance = Glance::at(file).map_err(CliError::database(file))?;
        let now = start.elapsed();
        let rate = before.map(|(then, old)| Rate::between(&old, &glance, now - then));
        if json {
            output::print_json(&glance_json(&glance, now))?;
        } else {
            if line % HEADING_EVERY == 0 {
                output::print_text(&heading())?;
            }
            output::print_text(&row(&glance, now, rate.as_ref()))?;
        }
        before = Some((now, glance));
    }
    Ok(())
}

fn wait_until(moment: Instant, interrupt: &Interrupt) -> Result<()> {
    loop {
        interrupt.check()?;
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(PATIENCE));
    }
}

/// What happened between two looks, a second.
struct Rate {
    commits: f64,
    checkpoints: f64,
}

impl Rate {
    fn between(old: &Glance, new: &Glance, time: Duration) -> Self {
        let seconds = time.as_secs_f64().max(f64::MIN_POSITIVE);
        // Another file may have taken the name.
        let rate = |old: u64, new: u64| new.saturating_sub(old) as f64 / seconds;
        Self {
            commits: rate(old.commits, new.commits),
            checkpoints: rate(old.checkpoint, new.checkpoint),
        }
    }
}

fn heading() -> String {
    format!(
        "{:>8} {:>10} {:>8} {:>14} {:>17} {:>17} {:>6} {:>8} {:>13} {:>10}",
        "seconds",
        "checkpoint",
        "a second",
        "tokens",
        "payload",
        "file",
        "free",
        "journal",
        "commits",
        "a second"
    )
}

fn row(glance: &Glance, now: Duration, rate: Option<&Rate>) -> String {
    let per_second = |rate: Option<f64>| rate.map_or("-".into(), |rate| format!("{rate:.1}"));
    let share =
        |part: u64, whole: u64| format!("{:.1} %", part as f64 / whole.max(1) as f64 * 100.0);
    let free = glance.free_pages.map_or("-".into(), |free_pages| {
        let free = free_pages * u64::from(glance.page_size) + glance.storage_free_bytes;
        share(free, glance.file_bytes)
    });
    format!(
        "{:>8.1} {:>10} {:>8} {:>14} {:>17} {:>17} {free:>6} {:>8} {:>13} {:>10}",
        now.as_secs_f64(),
        grouped(glance.checkpoint),
        per_second(rate.map(|rate| rate.checkpoints)),
        grouped(glance.tokens),
        grouped(glance.payload_bytes),
        grouped(glance.file_bytes),
        share(glance.journal_used_bytes, glance.journal_bytes),
        grouped(glance.commits),
        per_second(rate.map(|rate| rate.commits)),
    )
}

fn glance_json(glance: &Glance, now: Duration) -> Json {
    json!({
        "seconds": now.as_secs_f64(),
        "checkpoint": glance.checkpoint,
        "tokens": glance.tokens,
        "payload_bytes": glance.payload_bytes,
        "file_bytes": glance.file_bytes,
        "allocated_bytes": glance.allocated_bytes,
        "page_size": glance.page_size,
        "pages": glance.pages,
        "storage_pages": glance.storage_pages,
        "storage_free_bytes": glance.storage_free_bytes,
        "free_pages": glance.free_pages,
        "snapshots": glance.snapshots,
        "journal_bytes": glance.journal_bytes,
        "journal_used_bytes": glance.journal_used_bytes,
        "commits": glance.commits,
        "tag": glance.tag,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_seconds() {
        assert_eq!(parse_interval("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["", "0", "-1", "nan", "inf", "1e9", "x"] {
            parse_interval(bad).unwrap_err();
        }
    }
}
