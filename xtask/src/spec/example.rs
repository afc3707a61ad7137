//! D2: the worked example of the document, written by the engine.

use std::fmt::Write as _;
use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::{Db, Options};

use super::describe::{open, shown};
use super::document::Document;
use crate::Result;

/// Page size of the example, in bytes.
const PAGE_SIZE: u32 = 512;
/// The token whose proof is shown.
pub(super) const PROVEN: u64 = 12;
/// A token that is not there.
pub(super) const ABSENT: u64 = 10;

/// The example's file and a proof.
pub(super) struct Example {
    pub(super) file: Vec<u8>,
    pub(super) proof: Vec<u8>,
}

impl Example {
    /// Has the engine write the file as the document says, in two commits, and end without closing it.
    pub(super) fn write() -> Result<Self> {
        let memory = MemoryStorage::new();
        let write = || {
            let options = Options::new().page_size(PAGE_SIZE).background(false);
            let db = options.open_storage(Arc::new(memory.clone()))?;
            let mut batch = db.batch();
            batch.put(7, b"spore").put(8, b"cap").put(9, &[b'm'; 600]);
            batch.put(PROVEN, b"gill").tag(2026);
            batch.commit()?;
            db.close()?;
            let db = options.open_storage(Arc::new(memory.clone()))?;
            let mut batch = db.batch();
            batch.append(7, b"s").delete(8).tag(2027);
            batch.commit_synced()?;
            let file = memory.to_bytes();
            db.close().map(|()| file)
        };
        let file = write().map_err(shown)?;
        let proof = open(&file)?.prove(PROVEN).map_err(shown)?.into_bytes();
        Ok(Self { file, proof })
    }

    /// The example as it is open for reading.
    pub(super) fn open(&self) -> Result<Db> {
        open(&self.file)
    }

    /// The file as `hexdump -C` prints it.
    pub(super) fn dump(&self) -> String {
        dump(&self.file)
    }

    /// The proof, likewise.
    pub(super) fn proof_dump(&self) -> String {
        dump(&self.proof)
    }

    /// Every difference between the document and the example.
    pub(super) fn differences(&self, document: &Document) -> Vec<String> {
        let mut differences = Vec::new();
        for (name, expected) in [("file", self.dump()), ("proof", self.proof_dump())] {
            match document.fence(name) {
                None => differences.push(format!("no example {name:?} in the document")),
                Some(shown) => {
                    let found = super::describe::first_difference(&expected, shown);
                    differences.extend(found.map(|flaw| format!("example {name:?}, {flaw}")));
                }
            }
        }
        for (name, bytes) in [("file", &self.file), ("proof", &self.proof)] {
            let explained = document
                .tables
                .iter()
                .filter(|table| table.kind == "worked" && table.name == name);
            let mut rows = 0;
            for table in explained {
                rows += table.rows.len();
                for row in &table.rows {
                    let (at, shown) = (table.cell(row, "at"), table.cell(row, "bytes"));
                    if let Some(flaw) = part_flaw(bytes, at.unwrap_or(""), shown.unwrap_or("")) {
                        differences.push(format!("{}: {flaw}", table.shown()));
                    }
                }
            }
            if rows == 0 {
                differences.push(format!("nothing of the example {name:?} is explained"));
            }
        }
        differences
    }
}

/// Why these bytes are not at this place; both in hexadecimal.
fn part_flaw(file: &[u8], at: &str, bytes: &str) -> Option<String> {
    let parsed = || {
        let at = usize::from_str_radix(at, 16).ok()?;
        let bytes: Option<Vec<u8>> = bytes
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).ok())
            .collect();
        bytes
            .filter(|bytes| !bytes.is_empty())
            .map(|bytes| (at, bytes))
    };
    let Some((at, bytes)) = parsed() else {
        return Some(format!("{at:?} and {bytes:?} are no place and bytes"));
    };
    let got = file.get(at..at + bytes.len()).unwrap_or(&[]);
    (got != bytes).then(|| format!("at {at:x} are {got:02x?}, not {bytes:02x?}"))
}

/// Bytes as `hexdump -C` prints them: rows that repeat the one before are a star.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut before: Option<&[u8]> = None;
    let mut starred = false;
    for (index, row) in bytes.chunks(16).enumerate() {
        if before == Some(row) {
            if !starred {
                text.push_str("*\n");
            }
            starred = true;
            continue;
        }
        (before, starred) = (Some(row), false);
        let half = |from: usize| {
            let cells = (from..from + 8).map(|at| match row.get(at) {
                Some(byte) => format!("{byte:02x} "),
                None => "   ".into(),
            });
            cells.collect::<String>()
        };
        let letters = row.iter().map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '.',
        });
        let letters: String = letters.collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:08x}  {} {} |{letters}|",
            index * 16,
            half(0),
            half(8)
        );
    }
    let _ = writeln!(text, "{:08x}", bytes.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dump_is_that_of_hexdump() {
        let mut bytes = vec![b'a'; 64];
        bytes.extend(*b"\x00\xffSHROOM");
        let expected = "\
00000000  61 61 61 61 61 61 61 61  61 61 61 61 61 61 61 61  |aaaaaaaaaaaaaaaa|
*
00000040  00 ff 53 48 52 4f 4f 4d                           |..SHROOM|
00000048
";
        assert_eq!(dump(&bytes), expected);
    }

    #[test]
    fn a_spoiled_example_is_found() {
        let example = Example::write().unwrap();
        let file = "| at | bytes |\n|---|---|\n| 0 | `53 48 52 4f` |\n";
        let proof = "| at | bytes |\n|---|---|\n| 8 | `01 09` |\n";
        let text = format!(
            "<!-- worked: file -->\n{file}\n<!-- worked: proof -->\n{proof}\n\
             <!-- example: file -->\n```\n{}```\n<!-- example: proof -->\n```\n{}```\n",
            example.dump(),
            example.proof_dump()
        );
        let count = |text: &str| {
            let document = Document::parse(text).unwrap();
            example.differences(&document).len()
        };
        assert_eq!(count(&text), 0);
        for (from, to) in [
            (
                "00000000  53 48 52 4f 4f 4d 44",
                "00000000  53 48 52 4f 4f 4d 45",
            ),
            ("<!-- example: file", "<!-- example: fill"),
            ("<!-- worked: file", "<!-- worked: fill"),
            ("| 0 | `53 48", "| 0 | `53 49"),
            ("| 0 | `53 48", "| 1 | `53 48"),
            ("| 8 | `01 09` |", "| 8 | one |"),
        ] {
            assert_eq!(text.matches(from).count(), 1, "{from}");
            assert!(count(&text.replacen(from, to, 1)) > 0, "{from} -> {to}");
        }
    }
}
