//! `cargo xtask spec`: docs/format.md, and docs/format.ksy, against the code.
//!
//! * D1 Each table of the document is a structure or a set of numbers that the code has, and the two agree field by field, at every
//!   page size where it matters; each structure and number of the code has its table.
//! * D2 The worked example is what the engine writes now, byte for byte, and each part of it that the document explains is there.
//! * D3 Each golden file says what the committed listing says of it: every token, the roots, the file hash, the named snapshots.
//! * D4 With `--independent`: a reader in another language, its parser made from format.ksy, says the same of golden and fresh files.

mod describe;
mod document;
mod example;
mod expression;
mod fresh;
mod golden;
mod independent;
mod structs;
mod tables;
mod vectors;

use std::fs;

use crate::Result;
use crate::workspace;

/// The document.
const FORMAT: &str = "docs/format.md";

/// Compare the description of the file format with the code
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Also read golden and random files with an independent reader; needs Node.js, npm, Python 3.9 with pip, and a network
    #[arg(long)]
    independent: bool,
    /// How many random files the independent reader gets
    #[arg(long, default_value_t = 200)]
    files: u64,
    /// Seed of the first random file
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the worked example, the vectors and the golden files' listing anew, after a deliberate change
    #[arg(long)]
    update: bool,
}

/// Checks all; every difference is printed.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let path = workspace::root().join(FORMAT);
    let read = |path| fs::read_to_string(path).map_err(|error| format!("{FORMAT}: {error}"));
    let mut text = read(&path)?;
    let example = example::Example::write()?;
    if arguments.update {
        text = document::with_fence(&text, "file", &example.dump())?;
        text = document::with_fence(&text, "proof", &example.proof_dump())?;
        text = vectors::update(&text, &example)?;
        fs::write(&path, &text).map_err(|error| format!("{FORMAT}: {error}"))?;
        golden::update()?;
    }
    let document = document::Document::parse(&text)?;
    let mut differences = tables::differences(
        &document,
        &shroom::format::structures(),
        &shroom::format::numbers(),
    );
    let fields = document
        .tables
        .iter()
        .map(|table| table.rows.len())
        .sum::<usize>();
    println!(
        "{FORMAT}: {} tables with {fields} rows",
        document.tables.len()
    );
    differences.extend(structs::differences()?);
    differences.extend(example.differences(&document));
    differences.extend(vectors::differences(&document, &example)?);
    differences.extend(golden::differences()?);
    for difference in &differences {
        eprintln!("{difference}");
    }
    if !differences.is_empty() {
        return Err(format!(
            "{} differences between the description of the format and the code",
            differences.len()
        ));
    }
    println!("spec: the tables, the example, the vectors and the golden files agree with the code");
    match arguments.independent {
        true => independent::run(arguments.files, arguments.seed),
        false => Ok(()),
    }
}
