//! The labelled tables and blocks of docs/format.md.
//!
//! A label is a comment on the line before: `<!-- structure: superblock -->`. Every table has one; of blocks only those that are
//! checked.

use crate::Result;

/// What is checked of the document.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) tables: Vec<Table>,
    pub(super) fences: Vec<Fence>,
}

/// A table with its label.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Line of its heading, from 1.
    pub(super) line: usize,
    /// "structure", "numbers", ...
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// Cells without the backquotes around them.
    pub(super) rows: Vec<Vec<String>>,
}

/// A block of literal text with its label.
#[derive(Debug)]
pub(super) struct Fence {
    pub(super) name: String,
    pub(super) text: String,
}

impl Table {
    /// The cell of a row in a column; `None` when there is no such column.
    pub(super) fn cell<'t>(&self, row: &'t [String], column: &str) -> Option<&'t str> {
        let at = self.columns.iter().position(|name| name == column)?;
        row.get(at).map(String::as_str)
    }

    /// How the table is called in a message.
    pub(super) fn shown(&self) -> String {
        format!("line {}, {} {:?}", self.line, self.kind, self.name)
    }
}

impl Document {
    /// Finds tables and labelled blocks.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut document = Self::default();
        let mut label: Option<(String, String)> = None;
        let mut lines = text.lines().enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            if let Some(found) = parse_label(line) {
                label = Some(found);
            } else if line.starts_with("```") {
                let block: Vec<&str> = lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| !line.starts_with("```"))
                    .collect();
                if let Some((_, name)) = label.take() {
                    let text = block.join("\n") + "\n";
                    document.fences.push(Fence { name, text });
                }
            } else if line.starts_with('|') {
                let Some((kind, name)) = label.take() else {
                    return Err(format!("line {}: the table has no label", index + 1));
                };
                lines.next(); // The line of dashes.
                let mut rows = Vec::new();
                while let Some((_, row)) = lines.next_if(|(_, line)| line.starts_with('|')) {
                    rows.push(cells(row));
                }
                let columns = cells(line);
                if let Some(row) = rows.iter().find(|row| row.len() != columns.len()) {
                    return Err(format!(
                        "line {}: a row of {} cells under {} columns: {row:?}",
                        index + 1,
                        row.len(),
                        columns.len()
                    ));
                }
                document.tables.push(Table {
                    line: index + 1,
                    kind,
                    name,
                    columns,
                    rows,
                });
            } else if label.take().is_some() {
                return Err(format!("line {index}: a label without table or block"));
            }
        }
        Ok(document)
    }

    /// The block with a label.
    pub(super) fn fence(&self, name: &str) -> Option<&str> {
        let mut found = self.fences.iter().filter(|fence| fence.name == name);
        found.next().map(|fence| fence.text.as_str())
    }
}

fn parse_label(line: &str) -> Option<(String, String)> {
    let inner = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    let (kind, name) = inner.split_once(": ").unwrap_or((inner, ""));
    Some((kind.to_owned(), name.to_owned()))
}

fn cells(row: &str) -> Vec<String> {
    let inner = row.trim().trim_start_matches('|').trim_end_matches('|');
    let cell = |text: &str| {
        let text = text.trim();
        let bare = text
            .strip_prefix('`')
            .and_then(|rest| rest.strip_suffix('`'));
        bare.filter(|bare| !bare.contains('`'))
            .unwrap_or(text)
            .to_owned()
    };
    inner.split('|').map(cell).collect()
}

/// The document with another text in a labelled block.
pub(super) fn with_fence(text: &str, name: &str, block: &str) -> Result<String> {
    let label = format!("<!-- example: {name} -->\n```");
    let missing = || format!("no block {name:?}");
    let start = text.find(&label).ok_or_else(missing)? + label.len();
    let start = start + text[start..].find('\n').ok_or_else(missing)? + 1;
    let end = start + text[start..].find("```").ok_or_else(missing)?;
    Ok(format!("{}{block}{}", &text[..start], &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_tables_and_blocks_by_their_labels() {
        let text = "<!-- structure: x -->\n| size | field |\n|---|---|\n| 2 | `a` |\n\n<!-- example: y -->\n```text\n00\n```\n```\nz\n```\n";
        let document = Document::parse(text).unwrap();
        assert_eq!(document.tables[0].rows, [["2", "a"]]);
        assert_eq!(document.fence("y"), Some("00\n"));
        assert_eq!(document.fences.len(), 1);
        let other = with_fence(text, "y", "01\n").unwrap();
        assert_eq!(Document::parse(&other).unwrap().fence("y"), Some("01\n"));
    }

    #[test]
    fn a_table_without_a_label_is_an_error_and_so_is_a_label_without_a_table() {
        assert!(Document::parse("| size | field |\n|---|---|\n").is_err());
        assert!(Document::parse("<!-- structure: x -->\ntext\n").is_err());
        assert!(Document::parse("<!-- words -->\n| a | b |\n|---|---|\n| 1 |\n").is_err());
    }
}
