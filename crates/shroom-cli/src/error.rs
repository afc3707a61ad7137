//! What ends a command early, and the exit code that says so (C1 in the crate's root).

use std::io;
use std::path::{Path, PathBuf};

/// Result of a command.
pub(crate) type Result<T, E = CliError> = std::result::Result<T, E>;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The database answered, and what was asked for is not in it, or is not what it should be.
    #[error("{0}")]
    Absent(String),
    /// Already reported in full; only the exit code is left to say.
    #[error("corrupt")]
    Reported,
    /// The arguments make no sense together, or ask for what is refused.
    #[error("{0}")]
    Refused(String),
    /// The engine failed.
    #[error("{}", database_message(path, source))]
    Database {
        /// The file as given.
        path: PathBuf,
        /// The engine's error.
        source: shroom::Error,
    },
    /// A file that is not the database failed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// A verb: "read", "create", ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Something of the process itself failed.
    #[error("{stream}: {source}")]
    Stream {
        /// "standard input", "standard output" or "signals".
        stream: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A signal asked to stop, and everything was put in order first.
    #[error("stopped by signal {0}")]
    Interrupted(i32),
}

impl CliError {
    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            _ if self.is_closed_pipe() => 0,
            Self::Absent(_) | Self::Reported => 1,
            Self::Database { source, .. } if source.is_corruption() => 1,
            Self::Database {
                source: shroom::Error::NoSuchSnapshot { .. },
                ..
            } => 1,
            Self::Interrupted(signal) => 128_u8.wrapping_add(*signal as u8),
            _ => 2,
        }
    }

    /// True when there is nothing left to tell.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Reported) || self.is_closed_pipe()
    }

    /// The reader of standard output went away: it has what it wanted (`shroom ls x | head`).
    fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Stream { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Wraps an error of the system on `path`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Wraps an error of the engine on the database at `path`.
    pub(crate) fn database(path: &Path) -> impl Fn(shroom::Error) -> Self {
        move |source| Self::Database {
            path: path.to_owned(),
            source,
        }
    }

    /// Wraps an error of standard output.
    pub(crate) fn output(source: io::Error) -> Self {
        Self::Stream {
            stream: "standard output",
            source,
        }
    }

    /// Wraps an error of listening to signals.
    pub(crate) fn signals(source: io::Error) -> Self {
        Self::Stream {
            stream: "signals",
            source,
        }
    }

    /// Wraps an error of standard input.
    pub(crate) fn input(source: io::Error) -> Self {
        Self::Stream {
            stream: "standard input",
            source,
        }
    }
}

/// The engine's message, with the file's name in front unless it names the file itself.
fn database_message(path: &Path, source: &shroom::Error) -> String {
    let message = source.to_string();
    let path = path.display().to_string();
    if message.contains(&path) {
        message
    } else {
        format!("{path}: {message}")
    }
}
