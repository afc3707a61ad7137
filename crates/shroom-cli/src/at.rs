//! `--at NAME`: which state a reading command reads.

use std::path::Path;

use shroom::{Db, Snapshot};

use crate::error::{CliError, Result};

/// Which state to read: shared by every command that reads tokens.
#[derive(Debug, clap::Args)]
pub(crate) struct At {
    /// Read a named snapshot instead of the present state
    #[arg(long = "at", value_name = "NAME")]
    pub(crate) name: Option<String>,
}

impl At {
    /// The state asked for.
    pub(crate) fn open(&self, db: &Db, file: &Path) -> Result<Snapshot> {
        match &self.name {
            None => Ok(db.snapshot()),
            Some(name) => db.open_snapshot(name).map_err(CliError::database(file)),
        }
    }
}
