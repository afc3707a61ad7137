//! `shroom get FILE ID`: the raw bytes of one token on standard output.

use std::io::Write;
use std::path::PathBuf;

use shroom::Db;

use crate::at::At;
use crate::error::{CliError, Result};
use crate::ids::parse_id;
use crate::output;

/// Print the raw bytes of a token; exits with 1 when it is absent
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database
    file: PathBuf,
    /// Token id
    #[arg(value_parser = parse_id)]
    id: u64,
    #[command(flatten)]
    at: At,
}

/// Prints the token.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let failed = CliError::database(&arguments.file);
    let db = Db::open_read_only(&arguments.file).map_err(&failed)?;
    let state = arguments.at.open(&db, &arguments.file)?;
    let Some(reader) = state.reader(arguments.id).map_err(&failed)? else {
        return Err(CliError::Absent(format!(
            "{}: no token {}",
            arguments.file.display(),
            arguments.id
        )));
    };
    let mut out = output::stdout();
    for chunk in reader.chunks() {
        out.write_all(chunk.map_err(&failed)?)
            .map_err(CliError::output)?;
    }
    out.flush().map_err(CliError::output)
}
