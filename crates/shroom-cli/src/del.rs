//! `shroom del FILE ID...`: deletes tokens, durably.

use std::path::PathBuf;

use serde_json::json;
use shroom::Options;

use crate::error::{CliError, Result};
use crate::ids::parse_id;
use crate::output::{self, Format};

/// Delete tokens; exits with 1 when one of them was absent
///
/// The others are deleted all the same. Returns once the deletions are durable.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database
    file: PathBuf,
    /// Token ids
    #[arg(value_parser = parse_id, required = true)]
    ids: Vec<u64>,
    #[command(flatten)]
    format: Format,
}

/// Deletes the tokens.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let failed = CliError::database(&arguments.file);
    let db = Options::new()
        .create(false)
        .open(&arguments.file)
        .map_err(&failed)?;
    let (mut deleted, mut absent) = (Vec::new(), Vec::new());
    for &id in &arguments.ids {
        let existed = db.delete(id).map_err(&failed)?;
        if existed { &mut deleted } else { &mut absent }.push(id);
    }
    db.flush().map_err(&failed)?;
    db.close().map_err(&failed)?;
    if arguments.format.json {
        output::print_json(&json!({ "deleted": deleted, "absent": absent }))?;
    }
    if absent.is_empty() {
        return Ok(());
    }
    let list = absent
        .iter()
        .map(u64::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    Err(CliError::Absent(format!(
        "{}: no token {list}",
        arguments.file.display()
    )))
}
