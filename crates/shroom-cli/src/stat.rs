//! `shroom stat FILE [ID]`: figures of the whole database, or of one token; live ones are in `watch`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};
use shroom::stats::Stats;
use shroom::{Db, TokenInfo};

use crate::at::At;
use crate::error::{CliError, Result};
use crate::ids::parse_id;
use crate::ls::token_json;
use crate::output::{self, Format, bytes, grouped};
use crate::{snapshot, watch};

/// Print the figures of a database, or of one token
///
/// With --watch, prints a line of figures again and again, also while another process has the database open for writing: it takes no
/// lock and disturbs nobody. The figures are then those of the last checkpoint, and of the commits that the journal got since. Without
/// --watch, the database is opened, which fails while somebody has it open for writing.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database
    file: PathBuf,
    /// Token id; the whole database when left out
    #[arg(value_parser = parse_id)]
    id: Option<u64>,
    /// Print live figures every SECONDS (1 when left out), until a signal comes
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "1",
        value_parser = watch::parse_interval,
        conflicts_with_all = ["id", "name"]
    )]
    watch: Option<Duration>,
    /// Stop after N lines
    #[arg(long, value_name = "N", requires = "watch")]
    count: Option<u64>,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    format: Format,
}

/// Prints the figures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(interval) = arguments.watch {
        let json = arguments.format.json;
        return watch::run(&arguments.file, interval, arguments.count, json);
    }
    let failed = CliError::database(&arguments.file);
    let db = Db::open_read_only(&arguments.file).map_err(&failed)?;
    match arguments.id {
        Some(id) => match arguments
            .at
            .open(&db, &arguments.file)?
            .stat(id)
            .map_err(&failed)?
        {
            Some(info) => print_token(&info, arguments.format.json),
            None => Err(CliError::Absent(format!(
                "{}: no token {id}",
                arguments.file.display()
            ))),
        },
        None if arguments.at.name.is_some() => print_snapshot(&db, arguments),
        None => print_database(&db.stats().map_err(&failed)?, arguments.format.json),
    }
}

fn print_token(info: &TokenInfo, json: bool) -> Result<()> {
    if json {
        return output::print_json(&token_json(info));
    }
    output::print_table(&[
        ("token", grouped(info.id.0)),
        ("length", bytes(info.length)),
        ("first page", grouped(info.page.0.into())),
        ("offset", grouped(info.offset.into())),
        ("pages", grouped(info.pages)),
    ])
}

fn print_snapshot(db: &Db, arguments: &Arguments) -> Result<()> {
    let failed = CliError::database(&arguments.file);
    let name = arguments.at.name.as_deref().unwrap_or_default();
    // For its error, should there be none.
    drop(arguments.at.open(db, &arguments.file)?);
    let mut list = db.snapshots().map_err(&failed)?;
    list.retain(|saved| saved.name == name);
    let listed = snapshot::listed(db, list).map_err(&failed)?;
    for (saved, own_bytes) in &listed {
        if arguments.format.json {
            output::print_json(&snapshot::snapshot_json(saved, *own_bytes))?;
        } else {
            output::print_table(&[
                ("snapshot", saved.name.clone()),
                ("tokens", grouped(saved.tokens)),
                ("payload", bytes(saved.payload_bytes)),
                ("own", bytes(*own_bytes)),
                ("checkpoint", grouped(saved.checkpoint)),
                ("tag", grouped(saved.tag)),
            ])?;
        }
    }
    Ok(())
}

fn print_database(stats: &Stats, json: bool) -> Result<()> {
    if json {
        return output::print_json(&stats_json(stats));
    }
    output::print_table(&[
        ("tokens", grouped(stats.tokens)),
        ("payload", bytes(stats.payload_bytes)),
        ("file", bytes(stats.file_bytes)),
        (
            "on the disk",
            stats.allocated_bytes.map_or("unknown".into(), bytes),
        ),
        ("overhead", overhead(stats)),
        ("free", bytes(stats.free_bytes)),
        (
            "fragmentation",
            format!("{:.1} %", stats.fragmentation * 100.0),
        ),
        ("journal", bytes(stats.journal_bytes)),
        ("overlay", bytes(stats.overlay_bytes)),
        ("page size", bytes(stats.page_size.into())),
        ("storage pages", grouped(stats.pages.storage)),
        ("directory pages", grouped(stats.pages.directory)),
        ("free-space index pages", grouped(stats.pages.free_index)),
        ("map pages", grouped(stats.pages.map)),
        ("extent pages", grouped(stats.pages.extent)),
        ("journal pages", grouped(stats.pages.journal)),
        ("free-record pages", grouped(stats.pages.free_record)),
        ("snapshot pages", grouped(stats.pages.snapshots)),
        ("free pages", grouped(stats.pages.free)),
        ("snapshots", grouped(stats.snapshots)),
        ("checkpoint", grouped(stats.checkpoint)),
        ("tag", grouped(stats.tag)),
    ])
}

/// What the file takes beyond the payload; a token's share of it beside.
fn overhead(stats: &Stats) -> String {
    let total = stats.file_bytes.saturating_sub(stats.payload_bytes);
    match stats.tokens {
        0 => bytes(total),
        tokens => format!(
            "{} ({:.2} a token)",
            bytes(total),
            total as f64 / tokens as f64
        ),
    }
}

/// The figures as JSON; the names are the library's.
pub(crate) fn stats_json(stats: &Stats) -> Json {
    json!({
        "tokens": stats.tokens,
        "payload_bytes": stats.payload_bytes,
        "file_bytes": stats.file_bytes,
        "allocated_bytes": stats.allocated_bytes,
        "free_bytes": stats.free_bytes,
        "fragmentation": stats.fragmentation,
        "journal_bytes": stats.journal_bytes,
        "journal_used_bytes": stats.journal_used_bytes,
        "overlay_bytes": stats.overlay_bytes,
        "overlay_tokens": stats.overlay_tokens,
        "checkpoint": stats.checkpoint,
        "snapshots": stats.snapshots,
        "tag": stats.tag,
        "page_size": stats.page_size,
        "pages": {
            "storage": stats.pages.storage,
            "directory": stats.pages.directory,
            "free_index": stats.pages.free_index,
            "map": stats.pages.map,
            "extent": stats.pages.extent,
            "journal": stats.pages.journal,
            "free_record": stats.pages.free_record,
            "snapshots": stats.pages.snapshots,
            "free": stats.pages.free,
        },
    })
}
