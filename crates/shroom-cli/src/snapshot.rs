//! `shroom snapshot FILE save|ls|restore|rm|diff`: states saved in the file by name.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value as Json, json};
use shroom::diff::Difference;
use shroom::{Db, SavedSnapshot};

use crate::error::{CliError, Result};
use crate::output::{self, Format};

/// Save, list, restore, remove and compare named snapshots
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database
    file: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Save the present state under a name that is not taken
    Save {
        /// Name: 1 to 255 bytes
        name: String,
    },
    /// List the snapshots: name, tokens, payload bytes, bytes that only it needs
    Ls {
        #[command(flatten)]
        format: Format,
    },
    /// Make a snapshot the present state; everything written since is gone
    Restore {
        /// Name of the snapshot
        name: String,
    },
    /// Delete a snapshot
    Rm {
        /// Name of the snapshot
        name: String,
    },
    /// Print the ids that differ: + added, ~ changed, - removed
    Diff {
        /// Name of the first snapshot
        before: String,
        /// Name of the second; the present state when left out
        after: Option<String>,
        #[command(flatten)]
        format: Format,
    },
}

/// Does what is asked.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let file = &arguments.file;
    match &arguments.action {
        Action::Save { name } => change(file, |db| db.save_snapshot(name)),
        Action::Restore { name } => change(file, |db| db.restore(name)),
        Action::Rm { name } => change(file, |db| db.delete_snapshot(name)),
        Action::Ls { format } => list(file, format.json),
        Action::Diff {
            before,
            after,
            format,
        } => diff(file, before, after.as_deref(), format.json),
    }
}

/// Changes a database that is there: none is made for it.
fn change(file: &Path, change: impl FnOnce(&Db) -> shroom::Result<()>) -> Result<()> {
    let failed = CliError::database(file);
    let db = shroom::Options::new()
        .create(false)
        .open(file)
        .map_err(&failed)?;
    change(&db).map_err(&failed)?;
    db.close().map_err(&failed)
}

fn list(file: &Path, json: bool) -> Result<()> {
    let failed = CliError::database(file);
    let db = Db::open_read_only(file).map_err(&failed)?;
    let list = listed(&db, db.snapshots().map_err(&failed)?).map_err(&failed)?;
    if json {
        let entries = list.iter().map(|(saved, own)| snapshot_json(saved, *own));
        return output::print_json(&Json::Array(entries.collect()));
    }
    let mut out = output::stdout();
    for (saved, own_bytes) in &list {
        let (tokens, payload) = (saved.tokens, saved.payload_bytes);
        writeln!(out, "{}\t{tokens}\t{payload}\t{own_bytes}", saved.name)
            .map_err(CliError::output)?;
    }
    out.flush().map_err(CliError::output)
}

/// Snapshots with the bytes that only each of them needs.
pub(crate) fn listed(
    db: &Db,
    list: Vec<SavedSnapshot>,
) -> shroom::Result<Vec<(SavedSnapshot, u64)>> {
    let own = |saved: SavedSnapshot| Ok((db.snapshot_bytes(&saved.name)?, saved));
    let list = list.into_iter().map(own);
    list.map(|entry| entry.map(|(bytes, saved)| (saved, bytes)))
        .collect()
}

/// All that is known of a snapshot.
pub(crate) fn snapshot_json(saved: &SavedSnapshot, own_bytes: u64) -> Json {
    json!({
        "name": saved.name,
        "checkpoint": saved.checkpoint,
        "tokens": saved.tokens,
        "payload_bytes": saved.payload_bytes,
        "own_bytes": own_bytes,
        "tag": saved.tag,
    })
}

fn diff(file: &Path, before: &str, after: Option<&str>, json: bool) -> Result<()> {
    let failed = CliError::database(file);
    let db = Db::open_read_only(file).map_err(&failed)?;
    let before = db.open_snapshot(before).map_err(&failed)?;
    let after = match after {
        Some(name) => db.open_snapshot(name).map_err(&failed)?,
        None => db.snapshot(),
    };
    let mut out = output::stdout();
    let mut separator = "";
    if json {
        out.write_all(b"[").map_err(CliError::output)?;
    }
    // Streamed: a long difference needs no more memory than a short one.
    for difference in before.diff(&after).map_err(&failed)? {
        let difference = difference.map_err(&failed)?;
        let (sign, change) = match difference {
            Difference::Added(_) => ('+', "added"),
            Difference::Changed(_) => ('~', "changed"),
            Difference::Removed(_) => ('-', "removed"),
        };
        let id = difference.id();
        let written = if json {
            let entry = json!({ "id": id, "change": change });
            write!(out, "{}{entry}", std::mem::replace(&mut separator, ","))
        } else {
            writeln!(out, "{sign}{id}")
        };
        written.map_err(CliError::output)?;
    }
    let end: &[u8] = if json { b"]\n" } else { b"" };
    out.write_all(end)
        .and_then(|()| out.flush())
        .map_err(CliError::output)
}
