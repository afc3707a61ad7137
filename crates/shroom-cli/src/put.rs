//! `shroom put FILE ID [PATH|-]`: stores one token, durably.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::json;
use shroom::Db;

use crate::error::{CliError, Result};
use crate::ids::parse_id;
use crate::output::{self, Format};

/// Store a token, from a file or from standard input
///
/// Creates the database when it is absent. Returns once the token is durable.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database
    file: PathBuf,
    /// Token id
    #[arg(value_parser = parse_id)]
    id: u64,
    /// Where the bytes come from; - is standard input
    #[arg(default_value = "-")]
    path: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// Stores the token, and reports its length only when JSON is asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let bytes = read_source(&arguments.path)?;
    let failed = CliError::database(&arguments.file);
    let db = Db::open(&arguments.file).map_err(&failed)?;
    db.put(arguments.id, &bytes).map_err(&failed)?;
    db.flush().map_err(&failed)?;
    db.close().map_err(&failed)?;
    if arguments.format.json {
        output::print_json(&json!({ "id": arguments.id, "length": bytes.len() }))?;
    }
    Ok(())
}

fn read_source(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map_err(CliError::input)?;
        Ok(bytes)
    } else {
        std::fs::read(path).map_err(CliError::file("read", path))
    }
}
