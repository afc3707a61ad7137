//! `shroom hash FILE`: the hashes that stand for a whole database.

use std::path::PathBuf;

use serde_json::json;
use shroom::Db;

use crate::at::At;
use crate::error::{CliError, Result};
use crate::output::{self, Format};

/// Print the hashes that stand for a database: of its tokens, of its pages, of its compacted file
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database
    file: PathBuf,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    format: Format,
}

/// Prints the hashes.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let failed = CliError::database(&arguments.file);
    let db = Db::open_read_only(&arguments.file).map_err(&failed)?;
    let state = arguments.at.open(&db, &arguments.file)?;
    let content_root = state.content_root().map_err(&failed)?.to_string();
    let page_root = state.page_root().to_string();
    let file_hash = state.file_hash().map_err(&failed)?.to_string();
    if arguments.format.json {
        return output::print_json(&json!({
            "content_root": content_root,
            "page_root": page_root,
            "file_hash": file_hash,
        }));
    }
    output::print_text(&format!(
        "content_root {content_root}\npage_root {page_root}\nfile_hash {file_hash}"
    ))
}
