//! How results are written: plain tables and numbers for people, one JSON document for programs.
//!
//! Nothing here knows a command; a closed pipe is reported as such and ends a command quietly.

use std::io::{self, BufWriter, StdoutLock, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value as Json;

use crate::error::{CliError, Result};

/// Output buffer, in bytes.
const BUFFER_LEN: usize = 64 * 1024;

/// Whether to answer with JSON: shared by every command that reports.
#[derive(Debug, clap::Args)]
pub(crate) struct Format {
    /// Answer with one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Standard output, buffered.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(BUFFER_LEN, io::stdout().lock())
}

/// Prints a JSON document on one line.
pub(crate) fn print_json(document: &Json) -> Result<()> {
    print_text(&document.to_string())
}

/// Prints `text` and a line end.
pub(crate) fn print_text(text: &str) -> Result<()> {
    let mut out = stdout();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(CliError::output)
}

/// Prints names on the left and values on the right, without borders.
pub(crate) fn print_table(rows: &[(&str, String)]) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in rows {
        table.add_row(vec![*name, value]);
    }
    if let Some(names) = table.column_mut(0) {
        names.set_padding((0, 1));
    }
    if let Some(values) = table.column_mut(1) {
        values.set_cell_alignment(CellAlignment::Right);
    }
    print_text(&table.trim_fmt())
}

/// A number with its digits in groups of three: 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count of bytes, in full.
pub(crate) fn bytes(number: u64) -> String {
    format!("{} bytes", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_come_in_groups_of_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    }
}
