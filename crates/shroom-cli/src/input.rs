//! Bytes given to a command: a file, or standard input.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::error::{CliError, Result};

/// What an error of reading is to the user.
pub(crate) type ReadFailed = Box<dyn Fn(io::Error) -> CliError>;

/// Where the bytes come from, and what an error there is.
pub(crate) fn open_source(path: &Path) -> Result<(Box<dyn Read>, ReadFailed)> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), Box::new(CliError::input)));
    }
    let file = File::open(path).map_err(CliError::file("read", path))?;
    // Else it would be found out when a database was made already.
    let metadata = file.metadata().map_err(CliError::file("read", path))?;
    if metadata.is_dir() {
        return Err(CliError::file("read", path)(ErrorKind::IsADirectory.into()));
    }
    let path = path.to_owned();
    let failed = move |error| CliError::file("read", &path)(error);
    Ok((Box::new(file), Box::new(failed)))
}
