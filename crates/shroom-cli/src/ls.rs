//! `shroom ls FILE`: the tokens in id order, one a line, streamed.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;
use shroom::{Db, TokenInfo};

use crate::at::At;
use crate::error::{CliError, Result};
use crate::ids::{self, IdRange, parse_range};
use crate::output::{self, Format};

/// List tokens: id and length, in id order
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database
    file: PathBuf,
    /// Only ids in A..B (B excluded) or A..=B; either end may be left out
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    range: Option<IdRange>,
    /// Highest id first
    #[arg(long)]
    reverse: bool,
    /// Also print where a token lies: page, offset, pages used
    #[arg(long)]
    long: bool,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    format: Format,
}

/// Prints the list.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let failed = CliError::database(&arguments.file);
    let db = Db::open_read_only(&arguments.file).map_err(&failed)?;
    let snapshot = arguments.at.open(&db, &arguments.file)?;
    let mut keys = snapshot.keys(arguments.range.unwrap_or(ids::ALL));
    let mut list = List::new(output::stdout(), arguments);
    list.start().map_err(CliError::output)?;
    while let Some(id) = if arguments.reverse {
        keys.next_back()
    } else {
        keys.next()
    } {
        let id = id.map_err(&failed)?;
        // A snapshot's key has a token: only a damaged file could say otherwise, and `verify` tells what.
        if let Some(info) = snapshot.stat(id).map_err(&failed)? {
            list.entry(&info).map_err(CliError::output)?;
        }
    }
    list.finish().map_err(CliError::output)
}

/// Writes entries as they come: a million tokens need no more memory than one.
struct List<W> {
    out: W,
    json: bool,
    long: bool,
    entries: u64,
}

impl<W: Write> List<W> {
    fn new(out: W, arguments: &Arguments) -> Self {
        Self {
            out,
            json: arguments.format.json,
            long: arguments.long,
            entries: 0,
        }
    }

    fn start(&mut self) -> io::Result<()> {
        if self.json {
            self.out.write_all(b"[")
        } else {
            Ok(())
        }
    }

    fn entry(&mut self, info: &TokenInfo) -> io::Result<()> {
        self.entries += 1;
        if self.json {
            let separator = if self.entries > 1 { "," } else { "" };
            return write!(self.out, "{separator}{}", self.document(info));
        }
        if self.long {
            writeln!(
                self.out,
                "{}\t{}\t{}\t{}\t{}",
                info.id.0, info.length, info.page.0, info.offset, info.pages
            )
        } else {
            writeln!(self.out, "{}\t{}", info.id.0, info.length)
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.json {
            self.out.write_all(b"]\n")?;
        }
        self.out.flush()
    }

    fn document(&self, info: &TokenInfo) -> serde_json::Value {
        if self.long {
            token_json(info)
        } else {
            json!({ "id": info.id.0, "length": info.length })
        }
    }
}

/// All that is known of a token.
pub(crate) fn token_json(info: &TokenInfo) -> serde_json::Value {
    json!({
        "id": info.id.0,
        "length": info.length,
        "page": info.page.0,
        "offset": info.offset,
        "pages": info.pages,
    })
}
