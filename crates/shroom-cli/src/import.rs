//! `shroom import FILE DIR`: a directory becomes a database, each file a token.
//!
//! * I1 FILE appears complete, or not at all: the tokens are loaded into a new file beside it, which takes its
//!   name only when it is closed and durable. A failed or interrupted import leaves what was there before.
//! * I2 An existing database that holds tokens is replaced only with `--force`; a file that is no database, never.
//! * I3 Memory holds the few MiB that a bulk load gathers. Files over 8 MiB are streamed after it, one by one.

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use shroom::{Db, Options};

use crate::copy::copy;
use crate::error::{CliError, Result};
use crate::manifest::{self, Entry};
use crate::output::{self, Format, bytes, grouped};
use crate::platform;
use crate::signals::Interrupt;
use crate::walk::{self, Tree};

/// Files of up to this many bytes are loaded together.
const SMALL_BYTES_MAX: u64 = 8 << 20;

/// Import a directory: each file becomes a token, ids 1.. in path order
///
/// Token 0 is the manifest: it names the others. FILE must be absent or an empty database.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database to make
    file: PathBuf,
    /// The directory to read
    directory: PathBuf,
    /// Replace a database that holds tokens
    #[arg(long)]
    force: bool,
    /// Page size in bytes: a power of two, 512 to 65536
    #[arg(long, value_name = "BYTES")]
    page_size: Option<u32>,
    #[command(flatten)]
    format: Format,
}

/// Imports, and prints the figures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let interrupt = Interrupt::listen().map_err(CliError::signals)?;
    let directory =
        fs::metadata(&arguments.directory).map_err(CliError::file("read", &arguments.directory))?;
    if !directory.is_dir() {
        return Err(CliError::Refused(format!(
            "{} is not a directory",
            arguments.directory.display()
        )));
    }
    let destination = Destination::prepare(arguments)?;
    let tree = walk::walk(
        &arguments.directory,
        destination.existing.as_ref().map(|_| &*destination.path),
    )?;
    for (path, why) in &tree.skipped {
        eprintln!("shroom: skipped {}: {why}", path.display());
    }
    let loaded = load(arguments, &destination, &tree, &interrupt)?;
    let file_bytes = destination.publish()?;
    Summary {
        loaded,
        file_bytes,
        skipped: tree.skipped.len(),
        seconds: start.elapsed().as_secs_f64(),
    }
    .print(arguments.format.json)
}

/// Where the database goes: the name it will have, and the file that is written meanwhile.
struct Destination {
    path: PathBuf,
    temporary: PathBuf,
    page_size: Option<u32>,
    /// What has the name now, locked so that nobody else writes to it.
    existing: Option<Db>,
}

impl Destination {
    /// Checks what is at FILE (I2), before anything is written.
    fn prepare(arguments: &Arguments) -> Result<Self> {
        let file = &arguments.file;
        let failed = CliError::database(file);
        // An empty file is no database yet, and holds nothing to lose.
        let occupied =
            fs::metadata(file).is_ok_and(|metadata| !metadata.is_file() || metadata.len() > 0);
        let existing = match occupied {
            true => Some(Options::new().create(false).open(file).map_err(&failed)?),
            false => None,
        };
        let mut page_size = arguments.page_size;
        if let Some(db) = &existing {
            let stats = db.stats().map_err(&failed)?;
            if stats.tokens > 0 && !arguments.force {
                let count = grouped(stats.tokens);
                let message = format!(
                    "{} already holds {count} tokens; --force replaces it",
                    file.display()
                );
                return Err(CliError::Refused(message));
            }
            page_size = page_size.or(Some(stats.page_size));
        }
        // Through a link, so that a rename replaces the database and not the link.
        let path = fs::canonicalize(file).unwrap_or_else(|_| file.clone());
        let name = path
            .file_name()
            .ok_or_else(|| CliError::Refused(format!("{} names no file", file.display())))?;
        fs::metadata(parent_of(&path)).map_err(CliError::file("create", &path))?;
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".importing-{}", std::process::id()));
        Ok(Self {
            temporary: path.with_file_name(temporary),
            path,
            page_size,
            existing,
        })
    }

    fn create(&self) -> Result<Db> {
        let mut options = Options::new().create_new(true);
        if let Some(size) = self.page_size {
            options = options.page_size(size);
        }
        options
            .open(&self.temporary)
            .map_err(CliError::database(&self.temporary))
    }

    /// Gives the finished file its name, durably (I1). Returns its length in bytes.
    fn publish(mut self) -> Result<u64> {
        let failed = |action| CliError::file(action, &self.path);
        let file_bytes = fs::metadata(&self.temporary)
            .map_err(failed("measure"))?
            .len();
        if let Ok(metadata) = fs::metadata(&self.path) {
            fs::set_permissions(&self.temporary, metadata.permissions())
                .map_err(failed("set permissions of"))?;
        }
        drop(self.existing.take());
        fs::rename(&self.temporary, &self.path).map_err(failed("create"))?;
        let parent = parent_of(&self.path);
        platform::sync_directory(parent).map_err(CliError::file("sync", parent))?;
        Ok(file_bytes)
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        // After `publish` there is nothing of that name; an error here would hide the one that led here.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// What was loaded.
#[derive(Debug, Default)]
struct Loaded {
    files: u64,
    payload_bytes: u64,
    manifest_bytes: u64,
}

impl Loaded {
    fn count(&mut self, bytes: u64) {
        self.files += 1;
        self.payload_bytes += bytes;
    }
}

fn load(
    arguments: &Arguments,
    destination: &Destination,
    tree: &Tree,
    interrupt: &Interrupt,
) -> Result<Loaded> {
    let failed = CliError::database(&destination.temporary);
    let db = destination.create()?;
    let manifest = manifest::encode(&tree.entries);
    let content = tree.entries.iter().filter(|entry| entry.kind.has_content());
    let mut loaded = Loaded {
        manifest_bytes: manifest.len() as u64,
        ..Loaded::default()
    };
    let bar = progress_bar(content.clone().count() as u64);
    let mut failure = None;
    let mut large = Vec::new();

    let files = content.zip(1..).map_while(|(entry, id)| {
        match read_entry(&arguments.directory, entry, interrupt) {
            Ok(Source::Small(content)) => {
                loaded.count(content.len() as u64);
                bar.inc(1);
                Some(Some((id, content)))
            }
            Ok(Source::Large(path)) => {
                large.push((id, path));
                Some(None)
            }
            Err(error) => {
                failure = Some(error);
                None
            }
        }
    });
    db.bulk_load(std::iter::once((0, manifest)).chain(files.flatten()))
        .map_err(&failed)?;
    if let Some(error) = failure {
        return Err(error);
    }
    for (id, path) in large {
        let read_failed = |error| CliError::file("read", &path)(error);
        let mut file = File::open(&path).map_err(read_failed)?;
        let mut writer = db.writer(id).map_err(&failed)?;
        let go_on = || interrupt.check();
        copy(&mut file, &mut writer, &read_failed, &failed, &go_on)?;
        loaded.count(writer.finish().map_err(&failed)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    db.flush().map_err(&failed)?;
    db.close().map_err(&failed)?;
    interrupt.check().map(|()| loaded)
}

/// The bytes of an entry.
enum Source {
    Small(Vec<u8>),
    /// To be streamed.
    Large(PathBuf),
}

fn read_entry(directory: &Path, entry: &Entry, interrupt: &Interrupt) -> Result<Source> {
    interrupt.check()?;
    let path = platform::to_path(&entry.path).map_err(CliError::file("name", directory))?;
    let path = directory.join(path);
    let failed = || CliError::file("read", &path);
    let length = fs::metadata(&path).map_err(failed())?.len();
    if length > SMALL_BYTES_MAX {
        return Ok(Source::Large(path));
    }
    Ok(Source::Small(fs::read(&path).map_err(failed())?))
}

/// A progress bar on standard error when that is a terminal; otherwise one that draws nothing.
fn progress_bar(files: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(Some(files), ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(files);
    match ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} files, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// What an import prints.
struct Summary {
    loaded: Loaded,
    file_bytes: u64,
    skipped: usize,
    seconds: f64,
}

impl Summary {
    fn print(&self, json: bool) -> Result<()> {
        let Loaded {
            files,
            payload_bytes,
            manifest_bytes,
        } = self.loaded;
        // The manifest counts as overhead: it is not what the user stored.
        let overhead = self.file_bytes as i64 - payload_bytes as i64;
        if json {
            return output::print_json(&json!({
                "files": files,
                "payload_bytes": payload_bytes,
                "manifest_bytes": manifest_bytes,
                "file_bytes": self.file_bytes,
                "overhead_bytes": overhead,
                "skipped": self.skipped,
                "seconds": self.seconds,
            }));
        }
        let share = if files == 0 {
            String::new()
        } else {
            format!(" ({:.1} a file)", overhead as f64 / files as f64)
        };
        output::print_table(&[
            ("files", grouped(files)),
            ("payload", bytes(payload_bytes)),
            ("file", bytes(self.file_bytes)),
            (
                "overhead",
                format!("{}{share}", bytes(overhead.max(0) as u64)),
            ),
            ("of it manifest", bytes(manifest_bytes)),
            ("time", format!("{:.3} s", self.seconds)),
        ])
    }
}
