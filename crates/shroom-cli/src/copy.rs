//! Bytes from a file or a pipe into a token, piece by piece: nothing holds the whole value.

use std::io::{ErrorKind, Read, Write};

use shroom::ValueWriter;

use crate::error::{CliError, Result};

/// Bytes read at a time.
const BUFFER_LEN: usize = 256 * 1024;

/// Copies all of `source` to `target`, which is still to be finished. `go_on` is asked before each piece.
///
/// # Errors
/// What `read_failed` and `write_failed` make of an error of either side; that of `go_on`.
pub(crate) fn copy(
    source: &mut dyn Read,
    target: &mut ValueWriter,
    read_failed: &dyn Fn(std::io::Error) -> CliError,
    write_failed: &dyn Fn(shroom::Error) -> CliError,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        go_on()?;
        let len = match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(read_failed(error)),
        };
        let written = target.write_all(&buffer[..len]);
        // A writer's errors are the database's, each of them in one of the system's.
        written.map_err(|error| match error.downcast::<shroom::Error>() {
            Ok(error) => write_failed(error),
            Err(error) => read_failed(error),
        })?;
    }
}
