//! `cargo xtask layers`: the rules that keep the code in layers, checked.
//!
//! * R1 A crate depends only on crates below it: shroom -> token -> seg -> page (manifests).
//! * R2 In the engine, only the page layer's storage module names the file system, `memmap2` or `rustix`.
//! * R3 `unsafe` is in the storage's mapping module alone, and in one peer of the benchmarks; every other crate forbids it.
//! * R4 No file of the repository names a path of somebody's machine.

mod manifests;
mod rules;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::workspace;

/// Directories that are not ours to check.
const PASSED_OVER: [&str; 5] = ["target", ".git", "corpus", "artifacts", "seeds"];

/// Checks all rules; every violation is printed.
pub(crate) fn run() -> Result {
    let root = workspace::root();
    let mut violations = manifests::check(&root)?;
    let files = list(&root)?;
    for file in &files {
        let text = fs::read_to_string(root.join(file))
            .map_err(|error| format!("{}: {error}", file.display()))?;
        violations.extend(rules::check(file, &text));
    }
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => {
            println!("layers: {} files checked, all rules hold", files.len());
            Ok(())
        }
        count => Err(format!("{count} violations of the layer rules")),
    }
}

/// The text files to check, relative to the root, sorted.
pub(crate) fn list(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        let failed = |error| format!("cannot list {}: {error}", directory.display());
        for child in fs::read_dir(&directory).map_err(failed)? {
            let child = child.map_err(failed)?;
            let path = child.path();
            if PASSED_OVER.iter().any(|name| child.file_name() == *name) {
                continue;
            }
            if child.file_type().map_err(failed)?.is_dir() {
                waiting.push(path);
            } else if is_checked(&path) {
                files.push(
                    path.strip_prefix(root)
                        .map_err(|error| error.to_string())?
                        .to_owned(),
                );
            }
        }
    }
    files.sort();
    Ok(files)
}

fn is_checked(path: &Path) -> bool {
    let ending = path.extension().is_some_and(|ending| {
        ["rs", "md", "toml", "sh", "yml"]
            .iter()
            .any(|known| ending == *known)
    });
    ending || path.ends_with(".ci/run")
}
