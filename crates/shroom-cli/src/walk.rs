//! What a directory holds, as manifest entries.
//!
//! * W1 Nothing is read through a link that leads out of the directory by name, except that a link to a file gives
//!   that file's content; linked directories are not entered, so a walk ends.
//! * W2 The result does not depend on the order in which the system lists names.
//!
//! Absent on purpose: reads no content.

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use crate::error::{CliError, Result};
use crate::manifest::{self, Entry, Kind, stays_inside};
use crate::platform;

/// The entries of a directory, in manifest order.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// What will be stored.
    pub(crate) entries: Vec<Entry>,
    /// What will not, and why: sockets, devices, the database itself.
    pub(crate) skipped: Vec<(PathBuf, &'static str)>,
}

/// Lists everything below `root`. The file at `exclude` (a canonical path) is left out.
pub(crate) fn walk(root: &Path, exclude: Option<&Path>) -> Result<Tree> {
    let canonical = fs::canonicalize(root).map_err(CliError::file("read", root))?;
    let mut tree = Tree::default();
    let mut waiting = vec![(canonical, Vec::new())];
    while let Some((directory, prefix)) = waiting.pop() {
        let before = tree.entries.len() + waiting.len();
        let failed = || CliError::file("list", &directory);
        for child in fs::read_dir(&directory).map_err(failed())? {
            let child = child.map_err(failed())?;
            let path = child_path(&prefix, &child)?;
            if exclude == Some(&child.path()) {
                tree.skipped.push((child.path(), "it is the database"));
            } else if child.file_type().map_err(failed())?.is_dir() {
                waiting.push((child.path(), path));
            } else {
                match kind_of(&child, &path)? {
                    Some(kind) => tree.entries.push(Entry { path, kind }),
                    None => tree
                        .skipped
                        .push((child.path(), "neither file, directory nor link")),
                }
            }
        }
        if tree.entries.len() + waiting.len() == before && !prefix.is_empty() {
            tree.entries.push(Entry {
                path: prefix,
                kind: Kind::Directory,
            });
        }
    }
    manifest::sort(&mut tree.entries);
    tree.skipped.sort();
    Ok(tree)
}

fn child_path(prefix: &[u8], child: &DirEntry) -> Result<Vec<u8>> {
    let name =
        platform::to_bytes(&child.file_name()).map_err(CliError::file("name", &child.path()))?;
    Ok(if prefix.is_empty() {
        name
    } else {
        [prefix, b"/", &name].concat()
    })
}

/// The kind of a child that is no directory; none when it cannot be stored.
fn kind_of(child: &DirEntry, path: &[u8]) -> Result<Option<Kind>> {
    let place = child.path();
    let failed = || CliError::file("read", &place);
    let file_type = child.file_type().map_err(failed())?;
    if !file_type.is_symlink() {
        let metadata = child.metadata().map_err(failed())?;
        return Ok(file_type.is_file().then(|| file_kind(&metadata)));
    }
    let target = fs::read_link(&place).map_err(failed())?;
    let target = platform::to_bytes(target.as_os_str()).map_err(failed())?;
    Ok(match fs::metadata(&place) {
        // Elsewhere the link would lead to another file or to none: its content is what counts.
        Ok(metadata) if metadata.is_file() && !stays_inside(path, &target) => {
            Some(file_kind(&metadata))
        }
        Ok(metadata) if metadata.is_file() => Some(Kind::Link(target)),
        Ok(metadata) if !metadata.is_dir() => None,
        _ => Some(Kind::Symlink(target)),
    })
}

fn file_kind(metadata: &fs::Metadata) -> Kind {
    if platform::is_executable(metadata) {
        Kind::Executable
    } else {
        Kind::File
    }
}
