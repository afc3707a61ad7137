//! `shroom prove FILE ID`: a proof of what one token is, on standard output.

use std::io::Write;
use std::path::PathBuf;

use shroom::Db;

use crate::at::At;
use crate::error::{CliError, Result};
use crate::ids::parse_id;
use crate::output;

/// Prove what a token is, or that it is absent, to those who know the page root
///
/// The proof goes to standard output. `check-proof` verifies it.
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

/// Prints the proof.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let failed = CliError::database(&arguments.file);
    let db = Db::open_read_only(&arguments.file).map_err(&failed)?;
    let state = arguments.at.open(&db, &arguments.file)?;
    let proof = state.prove(arguments.id).map_err(&failed)?;
    let mut out = output::stdout();
    out.write_all(proof.as_bytes())
        .and_then(|()| out.flush())
        .map_err(CliError::output)
}
