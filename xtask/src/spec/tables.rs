//! D1: the tables of structures and numbers beside those of the code.

use shroom::format::{Case, Field, Numbers, Structure};

use super::document::{Document, Table};
use super::expression::evaluate;

/// Columns that a table of another kind may not have, so that no structure goes by unchecked.
const CHECKED_COLUMNS: [&str; 4] = ["offset", "size", "type", "value"];

/// Every difference.
pub(super) fn differences(
    document: &Document,
    structures: &[Structure],
    numbers: &[Numbers],
) -> Vec<String> {
    let mut differences = Vec::new();
    let numbers = merged(numbers);
    for table in &document.tables {
        let found = match table.kind.as_str() {
            "structure" => match structures.iter().find(|known| known.name == table.name) {
                Some(structure) => compare_structure(table, structure, structures),
                None => vec!["the code has no such structure".to_owned()],
            },
            "numbers" => match numbers.iter().find(|known| known.name == table.name) {
                Some(numbers) => compare_numbers(table, numbers),
                None => vec!["the code has no such numbers".to_owned()],
            },
            "vectors" | "worked" => Vec::new(),
            "words" => CHECKED_COLUMNS
                .iter()
                .filter(|column| table.columns.iter().any(|name| name == *column))
                .map(|column| format!("mere words have no column {column:?}"))
                .collect(),
            _ => vec!["tables of this kind are not known".to_owned()],
        };
        let shown = table.shown();
        differences.extend(found.into_iter().map(|flaw| format!("{shown}: {flaw}")));
    }
    let names = structures
        .iter()
        .map(|structure| ("structure", structure.name));
    for (kind, name) in names.chain(numbers.iter().map(|numbers| ("numbers", numbers.name))) {
        let is_it = |table: &&Table| table.kind == kind && table.name == name;
        let count = document.tables.iter().filter(is_it).count();
        if count != 1 {
            differences.push(format!("{kind} {name:?}: {count} tables, expected one"));
        }
    }
    differences
}

/// Numbers of the same name, in one.
fn merged(numbers: &[Numbers]) -> Vec<Numbers> {
    let mut all: Vec<Numbers> = Vec::new();
    for more in numbers {
        let Some(known) = all.iter_mut().find(|known| known.name == more.name) else {
            all.push(more.clone());
            continue;
        };
        for (case, (given, values)) in known.cases.iter_mut().zip(&more.cases) {
            assert_eq!(case.0, *given, "numbers {:?} of two layers", known.name);
            case.1.extend(values);
        }
    }
    all
}

fn compare_structure(table: &Table, structure: &Structure, all: &[Structure]) -> Vec<String> {
    let mut differences: Vec<String> = structure
        .cases
        .iter()
        .flat_map(|case| compare_case(table, case, all))
        .collect();
    differences.dedup();
    differences
}

fn compare_case(table: &Table, case: &Case, all: &[Structure]) -> Vec<String> {
    let mut differences = Vec::new();
    let mut end = 0;
    let mut fields = case.fields.iter();
    for row in &table.rows {
        let cell = |column| table.cell(row, column);
        let (Some(size), Some(name), Some(kind)) = (cell("size"), cell("field"), cell("type"))
        else {
            return vec!["it has no columns size, type and field".to_owned()];
        };
        let len = match evaluate(size, &case.given) {
            Ok(len) => len,
            Err(flaw) => {
                differences.push(flaw);
                continue;
            }
        };
        let offset = match cell("offset").filter(|offset| *offset != "..") {
            Some(offset) => evaluate(offset, &case.given),
            None => Ok(end),
        };
        match offset {
            Ok(offset) if offset == end => {}
            Ok(offset) => differences.push(format!(
                "{name} is at {offset}, but what is before it ends at {end}"
            )),
            Err(flaw) => differences.push(flaw),
        }
        if let Some(flaw) = type_flaw(kind, len, all) {
            differences.push(format!("{name}: {flaw}"));
        }
        let in_code = fields.next();
        if in_code.is_none_or(|field| (field.name, field.offset, field.len) != (name, end, len)) {
            let given = &case.given;
            let got = match in_code {
                Some(Field { name, offset, len }) => format!("{name} at {offset}, {len} bytes"),
                None => "nothing".to_owned(),
            };
            differences.push(format!(
                "{name} at {end}, {len} bytes; the code has {got} (given {given:?})"
            ));
        }
        end += len;
    }
    differences.extend(fields.map(|field| format!("{} is missing", field.name)));
    differences
}

/// Why something of this type cannot have this size.
fn type_flaw(kind: &str, len: u64, all: &[Structure]) -> Option<String> {
    let (element, many) = match kind.strip_suffix("[]") {
        Some(element) => (element, true),
        None => (kind, false),
    };
    let unit = match element {
        "u8" => 1,
        "u16" => 2,
        "u32" => 4,
        "u64" => 8,
        "hash" => 32,
        "bytes" | "ASCII" | "UTF-8" | "zeros" if !many => return None,
        name => {
            let structure = all.iter().find(|structure| structure.name == name);
            let Some([Case { fields, .. }]) = structure.map(|structure| &structure.cases[..])
            else {
                return Some(format!("no type {kind:?} of one size is known"));
            };
            fields.iter().map(|field| field.len).sum()
        }
    };
    let fits = if many {
        len.is_multiple_of(unit)
    } else {
        len == unit || len == 0
    };
    (!fits).then(|| format!("{len} bytes are no {kind}"))
}

fn compare_numbers(table: &Table, numbers: &Numbers) -> Vec<String> {
    let mut differences = Vec::new();
    for (given, values) in &numbers.cases {
        let mut left = values.clone();
        // A row may use those above it.
        let mut known = given.clone();
        for row in &table.rows {
            let (Some(name), Some(value)) = (table.cell(row, "name"), table.cell(row, "value"))
            else {
                return vec!["it has no columns name and value".to_owned()];
            };
            let Some(at) = left.iter().position(|(known, _)| *known == name) else {
                differences.push(format!("the code has no number {name:?}"));
                continue;
            };
            let (name, expected) = left.remove(at);
            known.push((name, expected));
            match evaluate(value, &known) {
                Ok(value) if value == expected => {}
                Ok(value) => differences.push(format!(
                    "{name} is {value}, in the code {expected} (given {given:?})"
                )),
                Err(flaw) => differences.push(flaw),
            }
        }
        differences.extend(left.iter().map(|(name, _)| format!("{name} is missing")));
    }
    differences.dedup();
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "\
<!-- structure: segment address -->
| offset | size | type | field | meaning |
|---|---|---|---|---|
| 0 | 4 | u32 | page | which page |
| 4 | 2 | u16 | offset | where in it |

<!-- structure: map -->
| offset | size | type | field |
|---|---|---|---|
| 0 | 4 * F | u32[] | physical |
| 4 * F | page_size - 4 * F | zeros | zeros |

<!-- numbers: kinds -->
| value | name |
|---|---|
| 3 | leaf |
| page_size / 4 | limit |
";

    fn code() -> (Vec<Structure>, Vec<Numbers>) {
        let map = |size: u64| {
            let mut fields = vec![Field::new("physical", 0, 4 * size as usize / 36)];
            fields.push(Field::rest("zeros", &fields, size as usize));
            let given = vec![("page_size", size), ("F", size / 36)];
            Case { given, fields }
        };
        let map = |size: u64| {
            let mut case = map(size);
            case.fields[0].len = size / 36 * 4;
            case.fields[1] = Field::rest("zeros", &case.fields[..1], size as usize);
            case
        };
        let address = vec![Field::new("page", 0, 4), Field::new("offset", 4, 2)];
        let numbers = |size| {
            (
                vec![("page_size", size)],
                vec![("leaf", 3), ("limit", size / 4)],
            )
        };
        (
            vec![
                Structure::fixed("segment address", address),
                Structure::of("map", [map(512), map(1024)]),
            ],
            vec![Numbers {
                name: "kinds",
                cases: vec![numbers(512), numbers(1024)],
            }],
        )
    }

    fn count(text: &str) -> usize {
        let (structures, numbers) = code();
        let document = Document::parse(text).unwrap();
        differences(&document, &structures, &numbers).len()
    }

    #[test]
    fn tables_that_say_what_the_code_does_pass() {
        assert_eq!(count(SOUND), 0);
    }

    /// A check that cannot fail is none.
    #[test]
    fn every_spoiled_table_is_found() {
        let spoiled = [
            ("| 0 | 4 | u32 | page", "| 0 | 8 | u64 | page"),
            ("| 0 | 4 | u32 | page", "| 1 | 4 | u32 | page"),
            ("| 4 | 2 | u16 | offset", "| 4 | 2 | u32 | offset"),
            ("| 4 | 2 | u16 | offset", "| 4 | 2 | u16 | place"),
            ("| 4 | 2 | u16 | offset | where in it |\n", ""),
            (
                "| where in it |\n",
                "| where in it |\n| 6 | 1 | u8 | more | |\n",
            ),
            ("| 0 | 4 * F | u32[]", "| 0 | 8 * F | u32[]"),
            ("| 4 * F | page_size", "| 36 * F | page_size"),
            ("page_size - 4 * F", "page_size - 4 * G"),
            ("| u32[] |", "| u33[] |"),
            ("structure: map", "structure: maps"),
            ("structure: map", "words"),
            ("| 3 | leaf |", "| 4 | leaf |"),
            ("| 3 | leaf |\n", ""),
            ("| 3 | leaf |\n", "| 3 | leaf |\n| 5 | twig |\n"),
            ("page_size / 4", "page_size / 8"),
            ("page_size / 4", "128"),
            ("<!-- numbers: kinds -->", "<!-- numbers: sorts -->"),
        ];
        for (from, to) in spoiled {
            assert_eq!(SOUND.matches(from).count(), 1, "{from}");
            assert!(count(&SOUND.replacen(from, to, 1)) > 0, "{from} -> {to}");
        }
        assert!(count(&format!("{SOUND}\n{SOUND}")) > 0, "a table twice");
    }
}
