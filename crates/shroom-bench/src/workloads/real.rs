//! Files that are there on many systems, each a token.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::context::{Context, write_batches};
use crate::data::Tokens;
use crate::store::{Durability, Outcome};

/// Files committed together.
const FILES: usize = 100;

pub(crate) fn run(context: &mut Context) -> Outcome {
    let sources = [
        ("real-zoneinfo", Some(PathBuf::from("/usr/share/zoneinfo"))),
        ("real-terminfo", Some(PathBuf::from("/usr/share/terminfo"))),
        ("real-rust-docs", rust_docs()),
    ];
    for (row, source) in sources {
        let mut tokens = Tokens::default();
        if let Some(source) = source.filter(|source| source.is_dir()) {
            read_tree(&source, &mut tokens)?;
        }
        if tokens.len() == 0 {
            continue;
        }
        let mut store = context.open_new(Durability::Visible)?;
        write_batches(&mut *store, &tokens, FILES)?;
        if context.peer.can_compact {
            store.compact()?;
        }
        store.close()?;
        context.record(row, context.files_len()? as f64 / tokens.payload() as f64);
    }
    Ok(())
}

/// Adds the regular files below a directory, in the order of their names, with ids 0, 1, 2 and so on. Links are passed over.
fn read_tree(directory: &Path, tokens: &mut Tokens) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read_tree(&entry.path(), tokens)?;
        } else if kind.is_file() {
            let bytes = fs::read(entry.path())?;
            tokens.push(tokens.len() as u64, &bytes);
        }
    }
    Ok(())
}

/// Where the toolchain keeps its documentation, when it has any.
fn rust_docs() -> Option<PathBuf> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    let sysroot = String::from_utf8(output.stdout).ok()?;
    Some(Path::new(sysroot.trim()).join("share/doc/rust/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_in_the_order_of_its_names() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("b")).unwrap();
        fs::write(directory.path().join("b/inner"), "two").unwrap();
        fs::write(directory.path().join("a"), "one").unwrap();
        fs::write(directory.path().join("c"), "three").unwrap();
        let mut tokens = Tokens::default();
        read_tree(directory.path(), &mut tokens).unwrap();
        let found: Vec<_> = tokens.iter().collect();
        assert_eq!(found, [(0, &b"one"[..]), (1, b"two"), (2, b"three")]);
    }
}
