//! `shroom export FILE DIR`: the directory that was imported, byte for byte.
//!
//! * E1 Nothing is written outside DIR: a manifest's paths are relative and free of `..` (M3); no file is written
//!   through a symbolic link; and links are made last, when no file is left to write.
//! * E2 Every file with content has exactly its token's bytes when read by its path. A link that would not lead to
//!   them, inside DIR, becomes a file.
//! * E3 A link without content that leads out of DIR is refused before anything is written, or left out
//!   with `--skip-links`.
//! * E4 What is in DIR already is touched only with `--force`.
//!
//! Absent on purpose: no defence against another process that changes DIR meanwhile; no owners and times.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;
use shroom::{Db, Reader, Snapshot};

use crate::at::At;
use crate::error::{CliError, Result};
use crate::manifest::{self, Entry, Kind, shown, stays_inside};
use crate::output::{self, Format, bytes, grouped};
use crate::platform;

/// Export an imported directory, byte for byte
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database
    file: PathBuf,
    /// The directory to write: absent or empty
    directory: PathBuf,
    /// Write into a directory that is not empty, replacing files of the same name
    #[arg(long)]
    force: bool,
    /// Leave out links that lead out of the directory, instead of refusing them
    #[arg(long)]
    skip_links: bool,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    format: Format,
}

/// Exports, and prints the figures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let db = Db::open_read_only(&arguments.file).map_err(CliError::database(&arguments.file))?;
    let state = arguments.at.open(&db, &arguments.file)?;
    let (mut entries, first_id) = (read_manifest(&state, &arguments.file)?, 1);
    let skipped = check_links(&mut entries, arguments.skip_links)?;
    let root = prepare_directory(&arguments.directory, arguments.force)?;
    let mut export = Export {
        state,
        file: &arguments.file,
        force: arguments.force,
        checked: HashSet::new(),
        root,
    };
    let mut counts = Counts {
        skipped,
        ..Counts::default()
    };
    for (entry, id) in entries.iter().zip(first_id..) {
        export.write(entry, id, &mut counts)?;
    }
    export.link(&entries)?;
    counts.print(start.elapsed().as_secs_f64(), arguments.format.json)
}

fn read_manifest(state: &Snapshot, file: &Path) -> Result<Vec<Entry>> {
    let absent = |message: &str| CliError::Absent(format!("{}: {message}", file.display()));
    match state.get(0).map_err(CliError::database(file))? {
        None => Err(absent(
            "no token 0, the manifest: this was not made by 'shroom import'",
        )),
        Some(text) => manifest::parse(&text).map_err(|message| absent(&message)),
    }
}

/// Holds E3. Returns how many links were left out; those have no content, so no other entry's id changes.
fn check_links(entries: &mut Vec<Entry>, skip: bool) -> Result<u64> {
    let before = entries.len();
    for entry in entries.iter() {
        match &entry.kind {
            Kind::Symlink(target) if !stays_inside(&entry.path, target) => {
                let message = format!(
                    "link '{}' leads out of the directory, to '{}'",
                    shown(&entry.path),
                    shown(target)
                );
                if !skip {
                    return Err(CliError::Refused(format!(
                        "{message}; --skip-links leaves it out"
                    )));
                }
                eprintln!("shroom: skipped: {message}");
            }
            _ => {}
        }
    }
    entries.retain(|entry| match &entry.kind {
        Kind::Symlink(target) => stays_inside(&entry.path, target),
        _ => true,
    });
    Ok((before - entries.len()) as u64)
}

/// Makes DIR, or checks that it is empty (E4). Returns its canonical path.
fn prepare_directory(directory: &Path, force: bool) -> Result<PathBuf> {
    fs::create_dir_all(directory).map_err(CliError::file("create", directory))?;
    let mut listing = fs::read_dir(directory).map_err(CliError::file("list", directory))?;
    if !force && listing.next().is_some() {
        let message = format!(
            "{} is not empty; --force writes into it all the same",
            directory.display()
        );
        return Err(CliError::Refused(message));
    }
    fs::canonicalize(directory).map_err(CliError::file("read", directory))
}

/// A running export.
struct Export<'a> {
    state: Snapshot,
    file: &'a Path,
    root: PathBuf,
    force: bool,
    /// Directories, relative to the root, that are known to be directories and not links.
    checked: HashSet<PathBuf>,
}

impl Export<'_> {
    /// Writes an entry that is no link.
    fn write(&mut self, entry: &Entry, id: u64, counts: &mut Counts) -> Result<()> {
        let path = platform::to_path(&entry.path).map_err(CliError::file("name", &self.root))?;
        match &entry.kind {
            Kind::Directory => {
                self.ensure_directory(&path)?;
                counts.directories += 1;
            }
            Kind::Link(_) | Kind::Symlink(_) => {
                self.ensure_parent(&path)?;
                counts.links += 1;
            }
            Kind::File | Kind::Executable => {
                self.ensure_parent(&path)?;
                let content = self.content(entry, id)?;
                self.write_file(&path, &content, entry.kind == Kind::Executable)?;
                counts.files += 1;
                counts.payload_bytes += content.len();
            }
        }
        Ok(())
    }

    /// Makes the links (E1: after all files), then turns those into files that do not lead to their bytes (E2).
    fn link(&self, entries: &[Entry]) -> Result<()> {
        let links = || {
            entries
                .iter()
                .zip(1..)
                .filter_map(|(entry, id)| match &entry.kind {
                    Kind::Link(target) | Kind::Symlink(target) => Some((entry, target, id)),
                    _ => None,
                })
        };
        for (entry, target, _) in links() {
            // A link with content that leads out by name stays a file: the second pass finds no link there.
            if stays_inside(&entry.path, target) {
                self.make_link(entry, target)?;
            }
        }
        for (entry, _, id) in links() {
            let path = self.place(entry)?;
            let inside = match fs::canonicalize(&path) {
                Ok(end) => end.starts_with(&self.root),
                Err(_) => !entry.kind.has_content(),
            };
            if entry.kind.has_content() {
                let content = self.content(entry, id)?;
                if !inside || !same_bytes(&path, &content) {
                    remove_if_present(&path)?;
                    self.write_file(
                        &platform::to_path(&entry.path).map_err(CliError::file("name", &path))?,
                        &content,
                        false,
                    )?;
                }
            } else if !inside {
                // Only through another link can it lead out: such a manifest was not made by an import.
                remove_if_present(&path)?;
                let message = format!(
                    "link '{}' leads out of the directory through another link",
                    shown(&entry.path)
                );
                return Err(CliError::Refused(message));
            }
        }
        Ok(())
    }

    fn make_link(&self, entry: &Entry, target: &[u8]) -> Result<()> {
        let path = self.place(entry)?;
        let target = platform::to_path(target).map_err(CliError::file("name", &path))?;
        if self.force {
            remove_if_present(&path)?;
        }
        match platform::symlink(&target, &path) {
            // No links on this system: the content goes in its place.
            Err(error)
                if error.kind() == io::ErrorKind::Unsupported && entry.kind.has_content() =>
            {
                Ok(())
            }
            result => result.map_err(CliError::file("create", &path)),
        }
    }

    fn place(&self, entry: &Entry) -> Result<PathBuf> {
        let path = platform::to_path(&entry.path).map_err(CliError::file("name", &self.root))?;
        Ok(self.root.join(path))
    }

    fn content(&self, entry: &Entry, id: u64) -> Result<Reader> {
        let reader = self.state.reader(id);
        match reader.map_err(CliError::database(self.file))? {
            Some(reader) => Ok(reader),
            None => {
                let name = shown(&entry.path);
                Err(CliError::Absent(format!(
                    "{}: no token {id}, which is '{name}'",
                    self.file.display()
                )))
            }
        }
    }

    fn ensure_parent(&mut self, path: &Path) -> Result<()> {
        match path.parent() {
            Some(parent) => self.ensure_directory(parent),
            None => Ok(()),
        }
    }

    /// Makes a directory and those above it; refuses to go through a link (E1).
    fn ensure_directory(&mut self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() || self.checked.contains(path) {
            return Ok(());
        }
        self.ensure_parent(path)?;
        let place = self.root.join(path);
        match fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                let message = format!(
                    "{} is no directory, or a link: refusing to write through it",
                    place.display()
                );
                return Err(CliError::Refused(message));
            }
            Err(_) => fs::create_dir(&place).map_err(CliError::file("create", &place))?,
        }
        self.checked.insert(path.to_owned());
        Ok(())
    }

    /// Writes a new file: whatever has the name is removed first with `--force`, and otherwise an error, so that
    /// nothing is ever written through a link.
    fn write_file(&self, path: &Path, content: &Reader, executable: bool) -> Result<()> {
        let place = self.root.join(path);
        if self.force {
            remove_if_present(&place)?;
        }
        let failed = |action| CliError::file(action, &place);
        let mut file = File::create_new(&place).map_err(failed("create"))?;
        for chunk in content.chunks() {
            let chunk = chunk.map_err(CliError::database(self.file))?;
            file.write_all(chunk).map_err(failed("write"))?;
        }
        if executable {
            platform::make_executable(&file).map_err(failed("set permissions of"))?;
        }
        Ok(())
    }
}

/// Removes a file or a link, never a directory.
fn remove_if_present(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CliError::file("replace", path)(error))
        }
        _ => Ok(()),
    }
}

/// Does the file hold exactly these bytes? One that cannot be read does not.
fn same_bytes(path: &Path, expected: &Reader) -> bool {
    let compare = || -> io::Result<bool> {
        if fs::metadata(path)?.len() != expected.len() {
            return Ok(false);
        }
        let mut file = File::open(path)?;
        let mut buffer = vec![0; 64 * 1024];
        for chunk in expected.chunks() {
            for piece in chunk?.chunks(buffer.len()) {
                let read = &mut buffer[..piece.len()];
                file.read_exact(read)?;
                if read != piece {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    };
    compare().unwrap_or(false)
}

/// What an export prints.
#[derive(Debug, Default)]
struct Counts {
    files: u64,
    links: u64,
    directories: u64,
    skipped: u64,
    payload_bytes: u64,
}

impl Counts {
    fn print(&self, seconds: f64, json: bool) -> Result<()> {
        if json {
            return output::print_json(&json!({
                "files": self.files,
                "links": self.links,
                "empty_directories": self.directories,
                "skipped_links": self.skipped,
                "written_bytes": self.payload_bytes,
                "seconds": seconds,
            }));
        }
        output::print_table(&[
            ("files", grouped(self.files)),
            ("links", grouped(self.links)),
            ("empty directories", grouped(self.directories)),
            ("written", bytes(self.payload_bytes)),
            ("time", format!("{seconds:.3} s")),
        ])
    }
}
