//! The test vectors of the document's tables, beside what the engine answers.

use shroom::{Db, Options};

use super::describe::{hex, shown};
use super::document::Document;
use super::example::{ABSENT, Example, PROVEN};
use crate::Result;

/// A row of a table of vectors: its first cell, and the others.
type Row = (String, Vec<String>);

/// Every difference.
pub(super) fn differences(document: &Document, example: &Example) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for (name, rows) in expected(example)? {
        let is_it = |kind: &str, found: &str| kind == "vectors" && found == name;
        let tables = document.tables.iter();
        let tables: Vec<_> = tables
            .filter(|table| is_it(&table.kind, &table.name))
            .collect();
        let [table] = tables[..] else {
            differences.push(format!("{} tables of vectors {name:?}", tables.len()));
            continue;
        };
        let found: Vec<Row> = table
            .rows
            .iter()
            .map(|row| (row[0].clone(), row[1..].to_vec()))
            .collect();
        if found.len() != rows.len() {
            let shown = table.shown();
            differences.push(format!(
                "{shown}: {} rows, expected {}",
                found.len(),
                rows.len()
            ));
        }
        for (found, expected) in found.iter().zip(&rows) {
            if found != expected {
                let shown = table.shown();
                differences.push(format!("{shown}: {found:?}, expected {expected:?}"));
            }
        }
    }
    let known = ["content root", "example"];
    let tables = document.tables.iter();
    let unknown = tables.filter(|table| table.kind == "vectors" && !known.contains(&&*table.name));
    differences.extend(unknown.map(|table| format!("{}: not known", table.shown())));
    Ok(differences)
}

/// The document with the vectors' rows as they should be.
pub(super) fn update(text: &str, example: &Example) -> Result<String> {
    let mut text = text.to_owned();
    for (name, rows) in expected(example)? {
        let missing = || format!("no table of vectors {name:?}");
        let label = format!("<!-- vectors: {name} -->\n");
        let table = text.find(&label).ok_or_else(missing)? + label.len();
        // Behind the heading and the line of dashes.
        let breaks = text[table..].match_indices('\n').nth(1);
        let start = table + breaks.ok_or_else(missing)?.0 + 1;
        let old = text[start..].split_inclusive('\n');
        let old = old.take_while(|line| line.starts_with('|'));
        let end = start + old.map(str::len).sum::<usize>();
        let row = |(first, others): &Row| {
            let others: String = others.iter().map(|cell| format!(" `{cell}` |")).collect();
            format!("| {first} |{others}\n")
        };
        let rows: String = rows.iter().map(row).collect();
        text.replace_range(start..end, &rows);
    }
    Ok(text)
}

fn expected(example: &Example) -> Result<[(&'static str, Vec<Row>); 2]> {
    Ok([
        ("content root", content_roots().map_err(shown)?),
        ("example", of_example(example)?),
    ])
}

fn content_roots() -> shroom::Result<Vec<Row>> {
    let counting: Vec<u8> = (0..5000).map(|index| (index % 251) as u8).collect();
    type Tokens<'t> = &'t [(u64, &'t [u8])];
    let sets: [(&str, Tokens<'_>); 4] = [
        ("none", &[]),
        ("0: no bytes", &[(0, b"")]),
        ("42: `spore`", &[(42, b"spore")]),
        (
            "1: `cap`; 2: `stem and root`; 2^64 - 1: 5,000 bytes, byte `i` is `i mod 251`",
            &[(1, b"cap"), (2, b"stem and root"), (u64::MAX, &counting)],
        ),
    ];
    let row = |(name, tokens): (&str, Tokens<'_>)| {
        let hash = |page_size| -> shroom::Result<(Db, String)> {
            let options = Options::new().page_size(page_size);
            let db =
                options.open_storage(std::sync::Arc::new(shroom::storage::MemoryStorage::new()))?;
            for (id, bytes) in tokens {
                db.put(*id, bytes)?;
            }
            let hash = db.file_hash()?.to_string();
            Ok((db, hash))
        };
        let ((db, small), (_, large)) = (hash(512)?, hash(4096)?);
        Ok((
            name.to_owned(),
            vec![db.content_root()?.to_string(), small, large],
        ))
    };
    sets.into_iter().map(row).collect()
}

fn of_example(example: &Example) -> Result<Vec<Row>> {
    let db = example.open()?;
    let root = db.page_root();
    let answer = |id: u64| -> Result<Vec<String>> {
        let proof = shroom::proof::Proof::from_bytes(example.proof.clone());
        let value = proof
            .verify(root.as_bytes(), id)
            .map_err(|error| error.to_string())?;
        Ok(vec![value.map_or("absent".into(), |value| hex(&value))])
    };
    let content = db.content_root().map_err(shown)?;
    let file = db.file_hash().map_err(shown)?;
    Ok(vec![
        ("page root".into(), vec![root.to_string()]),
        ("content root".into(), vec![content.to_string()]),
        ("file hash".into(), vec![file.to_string()]),
        (format!("what the proof says of {PROVEN}"), answer(PROVEN)?),
        (format!("what the proof says of {ABSENT}"), answer(ABSENT)?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spoiled_vector_is_found_and_an_update_mends_it() {
        let example = Example::write().unwrap();
        let empty = "<!-- vectors: content root -->\n| a | b | c | d |\n|---|---|---|---|\n\n\
                     <!-- vectors: example -->\n| a | b |\n|---|---|\n\n";
        let text = update(empty, &example).unwrap();
        let count = |text: &str| {
            let document = Document::parse(text).unwrap();
            differences(&document, &example).unwrap().len()
        };
        assert!(count(empty) > 0);
        assert_eq!(count(&text), 0, "{text}");
        let spoiled = text.replacen("954f2999", "954f2998", 1);
        assert!(count(&spoiled) > 0);
        assert_eq!(update(&spoiled, &example).unwrap(), text);
        assert!(
            count(&text.replacen("| absent |", "| gill |", 1)) == 0,
            "cells are in backquotes"
        );
        assert!(count(&text.replacen("`absent`", "`00`", 1)) > 0);
    }
}
