//! `shroom delta export|apply|info`: copies that follow a database at the cost of what changed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value as Json, json};
use shroom::Db;
use shroom::delta::{Delta, DeltaInfo};

use crate::error::{CliError, Result};
use crate::output::{self, Format, bytes, grouped};

/// Write, apply and inspect deltas: what makes a copy of a database follow it from snapshot to snapshot
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the pages that a snapshot has and an earlier one has not
    Export(Export),
    /// Apply a delta to a copy of its database, which is at the earlier snapshot; afterwards it is at the later one
    Apply {
        /// The copy; made when the delta holds all pages and it is absent
        file: PathBuf,
        /// The delta; '-': standard input
        delta: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Check a delta as far as that is possible without its database, and say what it leads from and to
    Info {
        /// The delta; '-': standard input
        delta: PathBuf,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, clap::Args)]
struct Export {
    /// The database; it is only read
    file: PathBuf,
    /// Name of the snapshot that the copy is to follow to
    name: String,
    /// Name of the snapshot that the copy is at; left out: all pages, for a new copy
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// Write to a new file; left out: to standard output
    #[arg(long, short, value_name = "DELTA")]
    output: Option<PathBuf>,
    /// Go on with an output that was interrupted
    #[arg(long, requires = "output")]
    resume: bool,
    /// Leave out so many bytes at the start: they are there already
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 0,
        conflicts_with = "output"
    )]
    offset: u64,
    #[command(flatten)]
    format: Format,
}

/// Does what is asked.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.action {
        Action::Export(export) => export.run(),
        Action::Apply {
            file,
            delta,
            format,
        } => apply(file, delta, format.json),
        Action::Info { delta, format } => {
            let info = with_delta(delta, &mut |reader| {
                DeltaInfo::check(reader).map_err(CliError::database(delta))
            })?;
            print(&info, Vec::new(), format.json)
        }
    }
}

impl Export {
    fn run(&self) -> Result<()> {
        let failed = CliError::database(&self.file);
        let db = Db::open_read_only(&self.file).map_err(&failed)?;
        let delta = db
            .delta(self.from.as_deref(), &self.name)
            .map_err(&failed)?;
        let Some(path) = &self.output else {
            return self.write(&delta, self.offset, output::stdout(), &CliError::output);
        };
        let (file, offset) = if self.resume {
            resume(path, &delta)?
        } else {
            let file = OpenOptions::new().write(true).create_new(true).open(path);
            (file.map_err(CliError::file("create", path))?, 0)
        };
        let write_failed = |error| CliError::file("write", path)(error);
        self.write(&delta, offset, &file, &write_failed)?;
        file.sync_all().map_err(write_failed)?;
        print(delta.info(), Vec::new(), self.format.json)
    }

    /// Writes a delta, and tells errors of the output from those of the database.
    fn write(
        &self,
        delta: &Delta,
        offset: u64,
        writer: impl Write,
        output_failed: &dyn Fn(io::Error) -> CliError,
    ) -> Result<()> {
        let mut noting = Noting {
            writer,
            failed: None,
        };
        let written = delta.write(offset, &mut noting);
        match noting.failed {
            Some(error) => Err(output_failed(error)),
            None => written.map_err(CliError::database(&self.file)),
        }
    }
}

/// Opens an output that was interrupted, and says how much of the delta it has. One that has something else is refused.
fn resume(path: &Path, delta: &Delta) -> Result<(File, u64)> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let mut file = opened.map_err(CliError::file("open", path))?;
    let read = |file: &mut File| {
        let len = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut head = Vec::new();
        file.take(head_len(delta.info())).read_to_end(&mut head)?;
        Ok::<_, io::Error>((len, head))
    };
    let (len, head) = read(&mut file).map_err(CliError::file("read", path))?;
    if len > delta.info().bytes || head != beginning(delta, head.len()) {
        let path = path.display();
        return Err(CliError::Refused(format!("{path} holds something else")));
    }
    file.seek(SeekFrom::Start(len))
        .map_err(CliError::file("write", path))?;
    Ok((file, len))
}

/// Length of what comes before the pages, in bytes.
fn head_len(info: &DeltaInfo) -> u64 {
    info.bytes - info.pages * (u64::from(info.page_size) + 4)
}

/// The first bytes of a delta.
fn beginning(delta: &Delta, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    // It ends with an error, as the rest has no room; whatever is amiss in the pages is found when they are written.
    let _ = delta.write(0, &mut bytes[..]);
    bytes
}

/// Passes bytes on, and keeps the error that ended it.
struct Noting<W> {
    writer: W,
    failed: Option<io::Error>,
}

impl<W> Noting<W> {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.failed = Some(error);
            }
            kind.into()
        })
    }
}

impl<W: Write> Write for Noting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.writer.flush();
        self.note(flushed)
    }
}

/// Gives a delta's bytes to whoever reads them.
fn with_delta<T>(path: &Path, read: &mut dyn FnMut(&mut dyn Read) -> Result<T>) -> Result<T> {
    if path == Path::new("-") {
        return read(&mut io::stdin().lock());
    }
    let mut file = File::open(path).map_err(CliError::file("read", path))?;
    read(&mut file)
}

fn apply(file: &Path, delta: &Path, json: bool) -> Result<()> {
    let applied = with_delta(delta, &mut |reader| {
        Db::apply_delta(file, reader).map_err(|error| match error {
            shroom::Error::Delta { .. } => CliError::database(delta)(error),
            error => CliError::database(file)(error),
        })
    })?;
    let figures = vec![
        ("already", json!(applied.already)),
        ("pages_written", json!(applied.pages_written)),
        ("pages_found", json!(applied.pages_found)),
    ];
    print(&applied.info, figures, json)
}

fn print(info: &DeltaInfo, figures: Vec<(&str, Json)>, json: bool) -> Result<()> {
    if json {
        let mut document = json!({
            "from": info.from,
            "to": info.to,
            "from_root": info.from_root.to_string(),
            "to_root": info.to_root.to_string(),
            "page_size": info.page_size,
            "pages": info.pages,
            "bytes": info.bytes,
        });
        for (name, figure) in figures {
            document[name] = figure;
        }
        return output::print_json(&document);
    }
    let mut rows = vec![
        ("from", info.from.clone().unwrap_or_default()),
        ("from root", info.from_root.to_string()),
        ("to", info.to.clone()),
        ("to root", info.to_root.to_string()),
        ("page size", bytes(info.page_size.into())),
        ("pages", grouped(info.pages)),
        ("length", bytes(info.bytes)),
    ];
    let names = ["already applied", "pages written", "pages found"];
    for (name, (_, figure)) in names.into_iter().zip(figures) {
        rows.push((name, figure.as_u64().map_or(figure.to_string(), grouped)));
    }
    output::print_table(&rows)
}
