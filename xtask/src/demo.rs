//! `cargo xtask demo [DIR]`: the main job on real input, from the build to the comparison byte for byte.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::workspace::{self, Scratch, grouped};

/// About 900 tiny files on any Linux and Mac.
const ZONEINFO: &str = "/usr/share/zoneinfo";

/// Build everything, import a directory, verify, export, compare, and print the sizes
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The directory; the system's time zones when left out
    directory: Option<PathBuf>,
}

/// Runs the demonstration. Any difference is a failure.
pub(crate) fn run(arguments: &Arguments) -> Result {
    step("Build everything");
    let shroom = workspace::build_release()?;
    let directory = choose(arguments);
    let scratch = Scratch::new("demo")?;
    let (database, exported) = (scratch.join("demo.shroom"), scratch.join("exported"));

    step(&format!("Import {}", directory.display()));
    workspace::run(
        Command::new(&shroom)
            .arg("import")
            .args([&database, &directory]),
    )?;
    step("Verify");
    workspace::run(Command::new(&shroom).arg("verify").arg(&database))?;
    step("Export");
    workspace::run(
        Command::new(&shroom)
            .arg("export")
            .args([&database, &exported]),
    )?;
    step("Compare byte for byte");
    let files = compare(&directory, &exported)?;
    println!("{} files and links are identical", grouped(files));
    step("Sizes");
    print_sizes(&directory, &database)
}

fn step(name: &str) {
    println!("\n== {name}");
}

fn choose(arguments: &Arguments) -> PathBuf {
    match &arguments.directory {
        Some(directory) => directory.clone(),
        None if Path::new(ZONEINFO).is_dir() => ZONEINFO.into(),
        None => {
            let sources = workspace::root().join("crates");
            println!(
                "\n{ZONEINFO} is missing here: this repository's own sources are used instead"
            );
            sources
        }
    }
}

/// Reads both directories in full; an error names the first difference. Returns the number of files.
fn compare(left: &Path, right: &Path) -> Result<u64> {
    let (expected, found) = (list(left)?, list(right)?);
    if let Some(path) = expected
        .keys()
        .chain(found.keys())
        .find(|path| !(expected.contains_key(*path) && found.contains_key(*path)))
    {
        return Err(format!("{} is on one side only", path.display()));
    }
    let mut files = 0;
    for (path, is_directory) in expected {
        if is_directory != found[&path] {
            return Err(format!(
                "{} is a directory on one side only",
                path.display()
            ));
        }
        if is_directory {
            continue;
        }
        // A dangling link cannot be read; then it must dangle on both sides, to the same place.
        let (left, right) = (left.join(&path), right.join(&path));
        let same = match (fs::read(&left), fs::read(&right)) {
            (Ok(left), Ok(right)) => left == right,
            (Err(_), Err(_)) => fs::read_link(&left).ok() == fs::read_link(&right).ok(),
            _ => false,
        };
        if !same {
            return Err(format!("{} differs", path.display()));
        }
        files += 1;
    }
    Ok(files)
}

/// Every path below a directory that an import keeps, and whether it is a directory. Links are not entered.
fn list(root: &Path) -> Result<BTreeMap<PathBuf, bool>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for child in read_directory(&directory)? {
            let path = child.path();
            let file_type = child
                .file_type()
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let relative = path
                .strip_prefix(root)
                .map_err(|error| error.to_string())?
                .to_owned();
            if file_type.is_dir() {
                waiting.push(path);
                found.insert(relative, true);
            } else if file_type.is_file() || file_type.is_symlink() {
                found.insert(relative, false);
            }
        }
    }
    Ok(found)
}

fn read_directory(path: &Path) -> Result<Vec<fs::DirEntry>> {
    let failed = |error| format!("cannot list {}: {error}", path.display());
    fs::read_dir(path)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)
}

fn print_sizes(directory: &Path, database: &Path) -> Result {
    let length = fs::metadata(database)
        .map_err(|error| format!("{}: {error}", database.display()))?
        .len();
    let usage = Usage::of(directory)?;
    let row = |name: &str, bytes: u64| println!("{name:<42}{:>14} bytes", grouped(bytes));
    row("database file", length);
    row(
        "directory: bytes in files (apparent size)",
        usage.apparent_bytes,
    );
    row("directory: disk usage (as du counts)", usage.disk_bytes);
    println!(
        "The database takes {:.1} % of the directory's disk usage.",
        100.0 * length as f64 / usage.disk_bytes.max(1) as f64
    );
    Ok(())
}

/// What a directory takes.
#[derive(Debug, Default)]
struct Usage {
    /// Lengths of its files, each hard-linked file once.
    apparent_bytes: u64,
    /// Blocks of its files, links and directories.
    disk_bytes: u64,
}

impl Usage {
    fn of(root: &Path) -> Result<Self> {
        let mut usage = Self::default();
        let mut seen = HashSet::new();
        usage.add(root, &mut seen)?;
        for path in list(root)?.keys() {
            usage.add(&root.join(path), &mut seen)?;
        }
        Ok(usage)
    }

    #[cfg(unix)]
    fn add(&mut self, path: &Path, seen: &mut HashSet<(u64, u64)>) -> Result {
        use std::os::unix::fs::MetadataExt;
        let metadata =
            fs::symlink_metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if seen.insert((metadata.dev(), metadata.ino())) {
            self.apparent_bytes += if metadata.is_file() {
                metadata.len()
            } else {
                0
            };
            self.disk_bytes += metadata.blocks() * 512;
        }
        Ok(())
    }

    /// Without block counts: whole blocks of 4 KiB.
    #[cfg(not(unix))]
    fn add(&mut self, path: &Path, _seen: &mut HashSet<(u64, u64)>) -> Result {
        let metadata =
            fs::symlink_metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let length = if metadata.is_file() {
            metadata.len()
        } else {
            0
        };
        self.apparent_bytes += length;
        self.disk_bytes += length.next_multiple_of(4096);
        Ok(())
    }
}
