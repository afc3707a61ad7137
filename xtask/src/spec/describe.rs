//! What the engine says of a file, as lines of text: the committed listing of the golden files has them, and the independent reader
//! prints the same.

use std::fmt::Write as _;
use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::{Db, Options, Snapshot};
use shroom_sim::findings_after_crash;

use crate::Result;

/// Values up to this long are listed as they are, longer ones by their hash.
const SHOWN_MAX: usize = 64;

/// Opens the bytes of a file for reading.
pub(super) fn open(bytes: &[u8]) -> Result<Db> {
    let storage = MemoryStorage::from_bytes(bytes.to_vec());
    let options = Options::new().read_only(true);
    options.open_storage(Arc::new(storage)).map_err(shown)
}

/// What a file holds.
pub(super) fn describe(bytes: &[u8]) -> Result<String> {
    let db = open(bytes)?;
    // One sound superblock is enough for a reader.
    let findings = findings_after_crash(&db).map_err(shown)?;
    if let Some(finding) = findings.first() {
        return Err(format!("the file is not sound: {finding}"));
    }
    let mut text = format!("page_size {}\n", db.stats().map_err(shown)?.page_size);
    state(&mut text, &db.snapshot())?;
    for saved in db.snapshots().map_err(shown)? {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "snapshot {}", saved.name);
        state(&mut text, &db.open_snapshot(&saved.name).map_err(shown)?)?;
    }
    Ok(text)
}

fn state(text: &mut String, snapshot: &Snapshot) -> Result {
    let roots = (
        snapshot.page_root(),
        snapshot.content_root().map_err(shown)?,
        snapshot.file_hash().map_err(shown)?,
    );
    let _ = writeln!(
        text,
        "tag {}\npage_root {}\ncontent_root {}\nfile_hash {}\ntokens {}",
        snapshot.tag(),
        roots.0,
        roots.1,
        roots.2,
        snapshot.len().map_err(shown)?
    );
    for token in snapshot.iter() {
        let (id, bytes) = token.map_err(shown)?;
        let _ = writeln!(text, "token {id} {} {}", bytes.len(), value(&bytes));
    }
    Ok(())
}

/// A value in a line.
pub(super) fn value(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => "-".into(),
        1..=SHOWN_MAX => hex(bytes),
        _ => format!("blake3:{}", blake3::hash(bytes)),
    }
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An error with its cause as text.
pub(super) fn shown(error: shroom::Error) -> String {
    error.to_string()
}

/// The first line in which two descriptions differ; `None` when they are equal.
pub(super) fn first_difference(expected: &str, got: &str) -> Option<String> {
    let (mut left, mut right) = (expected.lines(), got.lines());
    for number in 1.. {
        let (expected, got) = (left.next(), right.next());
        if expected == got {
            expected?;
            continue;
        }
        let or_end = |line: Option<&str>| line.unwrap_or("the end").to_owned();
        return Some(format!(
            "line {number}: expected {}, got {}",
            or_end(expected),
            or_end(got)
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found_at_the_end_too() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        for (expected, got) in [("a\nb", "a\nc"), ("a\nb", "a"), ("a", "a\nb")] {
            let found = first_difference(expected, got).unwrap();
            assert!(found.starts_with("line 2: "), "{found}");
        }
    }
}
