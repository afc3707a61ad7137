//! `shroom put FILE ID [PATH|-]`: stores one token, durably, of any length.
//!
//! * P1 FILE is opened, and locked, once there is something to write: what fails before, or goes on reading from FILE itself, as the
//!   begin of a pipe may, finds it as it was.

use std::io::Read;
use std::path::PathBuf;

use serde_json::json;
use shroom::Db;

use crate::copy::copy;
use crate::error::{CliError, Result};
use crate::ids::parse_id;
use crate::input::open_source;
use crate::output::{self, Format};

/// Bytes read before the database is opened. A source that is not longer has ended by then.
const READ_FIRST: u64 = 8 << 20;

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
    let (mut source, read_failed) = open_source(&arguments.path)?;
    let mut begin = Vec::new();
    let read = source.by_ref().take(READ_FIRST).read_to_end(&mut begin);
    read.map_err(&read_failed)?;
    let mut source = begin.as_slice().chain(source);
    let failed = CliError::database(&arguments.file);
    let db = Db::open(&arguments.file).map_err(&failed)?;
    let mut writer = db.writer(arguments.id).map_err(&failed)?;
    copy(&mut source, &mut writer, &read_failed, &failed, &|| Ok(()))?;
    let length = writer.finish().map_err(&failed)?;
    db.flush().map_err(&failed)?;
    db.close().map_err(&failed)?;
    if arguments.format.json {
        output::print_json(&json!({ "id": arguments.id, "length": length }))?;
    }
    Ok(())
}
