//! Where things are, and how other programs are run.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Cargo, as the one that runs this.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds the command line in release mode, alone: beside the crates for tests it would get their features too. Returns the
/// path of the `shroom` binary.
pub(crate) fn build_release() -> Result<PathBuf> {
    build_binary("shroom-cli", "shroom", &[])
}

/// Builds a package in release mode, alone, with further arguments; returns the path of one of its binaries.
pub(crate) fn build_binary(package: &str, binary: &str, arguments: &[&str]) -> Result<PathBuf> {
    // This program lies in TARGET/PROFILE, so both builds share a target directory wherever that is.
    let own = std::env::current_exe()
        .map_err(|error| format!("cannot find the target directory: {error}"))?;
    let target = own
        .ancestors()
        .nth(2)
        .ok_or("cannot find the target directory")?;
    run(cargo()
        .args(["build", "--release", "--package", package])
        .args(arguments)
        .arg("--target-dir")
        .arg(target))?;
    Ok(target
        .join("release")
        .join(format!("{binary}{}", std::env::consts::EXE_SUFFIX)))
}

/// A target directory of its own for builds with other flags, so that neither build discards the other's work.
pub(crate) fn target_directory(purpose: &str) -> PathBuf {
    let shared = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| root().join("target"));
    shared.join(purpose)
}

/// Runs a program to its end; failure is an error that shows the command.
pub(crate) fn run(command: &mut Command) -> Result {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} ended with {status}", shown(command))),
        Err(error) => Err(format!("cannot run {}: {error}", shown(command))),
    }
}

/// Can a program be run, and does it succeed, quietly?
pub(crate) fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A directory of our own under the system's temporary one, removed in the end.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty directory.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("shroom-{name}-{}", std::process::id()));
        fs::create_dir(&path)
            .map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// A path inside.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A number with its digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups
        .map(String::from_utf8_lossy)
        .collect::<Vec<_>>()
        .join(",")
}
