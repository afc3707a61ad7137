//! `shroom dump FILE page N|superblock|journal|pack ID`: bytes of the file in words.
//!
//! What a structure means is the library's business; here it is printed, field by field. Exits with 1 when something shown is
//! damaged.

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value as Json, json};
use shroom::inspect::{Explanation, Inspection};
use shroom::layers::page::explain::hexadecimal;

use crate::error::{CliError, Result};
use crate::ids::parse_id;
use crate::output::{self, Format};

/// Bytes of a field that the table shows.
const SHOWN_LEN: usize = 12;

/// Explain bytes of a database in words: offset, bytes, field, meaning
///
/// Reads FILE only, and needs that nobody has it open for writing. A damaged file is explained as far as it is sound.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database
    file: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A page: N or PN by its place in the file, LN by its logical number
    Page {
        /// Number of the page
        #[arg(value_name = "N", value_parser = parse_page)]
        page: PageNumber,
        #[command(flatten)]
        format: Format,
    },
    /// Both superblocks
    Superblock {
        #[command(flatten)]
        format: Format,
    },
    /// The frames in the journal
    Journal {
        #[command(flatten)]
        format: Format,
    },
    /// The pack that a token is in
    Pack {
        /// Token id
        #[arg(value_parser = parse_id)]
        id: u64,
        #[command(flatten)]
        format: Format,
    },
}

/// A page as a user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageNumber {
    Physical(u32),
    Logical(u32),
}

fn parse_page(text: &str) -> Result<PageNumber, String> {
    let (digits, is_logical) = match text.strip_prefix(['L', 'l']) {
        Some(digits) => (digits, true),
        None => (text.strip_prefix(['P', 'p']).unwrap_or(text), false),
    };
    let number = parse_id(digits)
        .ok()
        .and_then(|number| u32::try_from(number).ok());
    match number {
        Some(number) if is_logical => Ok(PageNumber::Logical(number)),
        Some(number) => Ok(PageNumber::Physical(number)),
        None => Err(format!(
            "'{text}' is no page: expected a number, with P or nothing before it for a place in the file, with L for a logical page"
        )),
    }
}

/// Explains what is asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let failed = CliError::database(&arguments.file);
    let inspection = Inspection::open(&arguments.file).map_err(&failed)?;
    match &arguments.what {
        What::Page { page, format } => {
            let explanation = explain_page(&inspection, arguments, *page)?;
            print_all([explanation], format.json)
        }
        What::Superblock { format } => {
            let slots = inspection.explain_superblocks().map_err(&failed)?;
            print_all(slots, format.json)
        }
        What::Journal { format } => print_journal(&inspection, arguments, format.json),
        What::Pack { id, format } => {
            let pack = inspection.explain_pack(*id).map_err(&failed)?;
            let absent = || {
                let file = arguments.file.display();
                CliError::Absent(format!("{file}: no pack could hold token {id}"))
            };
            print_all([pack.ok_or_else(absent)?], format.json)
        }
    }
}

fn explain_page(
    inspection: &Inspection,
    arguments: &Arguments,
    page: PageNumber,
) -> Result<Explanation> {
    let failed = CliError::database(&arguments.file);
    let absent = || {
        let file = arguments.file.display();
        CliError::Absent(match page {
            PageNumber::Logical(page) => format!("{file}: no logical page {page}"),
            PageNumber::Physical(page) => {
                format!("{file}: no page {page}, it has {}", inspection.pages())
            }
        })
    };
    let place = match page {
        PageNumber::Physical(page) => Some(page),
        PageNumber::Logical(page) => inspection.place_of(page),
    };
    let place = place
        .filter(|&place| place < inspection.pages())
        .ok_or_else(absent)?;
    let map = inspection.map().map_err(&failed)?;
    map.explain(place).map_err(&failed)?.ok_or_else(absent)
}

fn print_journal(inspection: &Inspection, arguments: &Arguments, json: bool) -> Result<()> {
    let mut out = output::stdout();
    let mut is_sound = true;
    let mut count = 0_u64;
    let areas = inspection.journal_areas();
    let mut head = String::new();
    for (area, (first, pages)) in areas.into_iter().enumerate() {
        head += &match pages {
            0 => format!("journal area {area}: none\n"),
            _ => format!("journal area {area}: {pages} pages from P{first} on\n"),
        };
    }
    let write =
        |out: &mut dyn Write, text: &str| out.write_all(text.as_bytes()).map_err(CliError::output);
    write(&mut out, &if json { "[".to_owned() } else { head })?;
    inspection
        .explain_journal::<Stop>(&mut |frame| {
            is_sound &= frame.flaws.is_empty();
            let separator = if json && count > 0 { "," } else { "" };
            count += 1;
            write(&mut out, separator)?;
            match json {
                true => write(&mut out, &explanation_json(&frame).to_string())?,
                false => write(&mut out, &format!("\n{}", table(&frame)))?,
            }
            Ok(())
        })
        .map_err(|stop| match stop {
            Stop::Database(error) => CliError::database(&arguments.file)(error),
            Stop::Output(error) => error,
        })?;
    let end = if json {
        "]\n".to_owned()
    } else {
        format!("\n{count} frames\n")
    };
    write(&mut out, &end)?;
    out.flush().map_err(CliError::output)?;
    sound(is_sound)
}

/// What ends the walk over the journal.
enum Stop {
    Database(shroom::Error),
    Output(CliError),
}

impl From<shroom::Error> for Stop {
    fn from(error: shroom::Error) -> Self {
        Self::Database(error)
    }
}

impl From<CliError> for Stop {
    fn from(error: CliError) -> Self {
        Self::Output(error)
    }
}

fn print_all(explanations: impl IntoIterator<Item = Explanation>, json: bool) -> Result<()> {
    let explanations: Vec<_> = explanations.into_iter().collect();
    if json {
        let documents: Vec<_> = explanations.iter().map(explanation_json).collect();
        output::print_json(&Json::Array(documents))?;
    } else {
        let tables: Vec<_> = explanations.iter().map(table).collect();
        output::print_text(tables.join("\n").trim_end())?;
    }
    sound(
        explanations
            .iter()
            .all(|explanation| explanation.flaws.is_empty()),
    )
}

fn sound(is_sound: bool) -> Result<()> {
    match is_sound {
        true => Ok(()),
        false => Err(CliError::Reported),
    }
}

fn explanation_json(explanation: &Explanation) -> Json {
    let field = |field: &shroom::inspect::Field| {
        json!({
            "offset": field.offset,
            "length": field.len,
            "bytes": hexadecimal(field_bytes(explanation, field), usize::MAX),
            "field": field.name,
            "meaning": field.meaning,
        })
    };
    json!({
        "title": explanation.title,
        "position": explanation.position,
        "fields": explanation.fields.iter().map(field).collect::<Vec<_>>(),
        "flaws": explanation.flaws,
    })
}

fn field_bytes<'e>(explanation: &'e Explanation, field: &shroom::inspect::Field) -> &'e [u8] {
    let end = field.offset.saturating_add(field.len);
    explanation.bytes.get(field.offset..end).unwrap_or_default()
}

/// An explanation for people. Offsets count from the start of what is explained.
fn table(explanation: &Explanation) -> String {
    use std::fmt::Write as _;

    let names = explanation
        .fields
        .iter()
        .map(|field| field.name.chars().count());
    let name_len = names.max().unwrap_or(0).max("field".len());
    let bytes_len = 2 * SHOWN_LEN + 1;
    let mut text = format!(
        "{} (byte {} of the file)\n",
        explanation.title, explanation.position
    );
    for flaw in &explanation.flaws {
        let _ = writeln!(text, "damaged: {flaw}");
    }
    let _ = writeln!(
        text,
        "{:>7}  {:bytes_len$}  {:name_len$}  meaning",
        "offset", "bytes", "field"
    );
    for field in &explanation.fields {
        let bytes = hexadecimal(field_bytes(explanation, field), SHOWN_LEN);
        let _ = writeln!(
            text,
            "{:>7}  {bytes:bytes_len$}  {:name_len$}  {}",
            field.offset, field.name, field.meaning
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_two_numbers() {
        assert_eq!(parse_page("7"), Ok(PageNumber::Physical(7)));
        assert_eq!(parse_page("P0x10"), Ok(PageNumber::Physical(16)));
        assert_eq!(parse_page("L12"), Ok(PageNumber::Logical(12)));
        for bad in ["", "L", "X7", "-1", "4294967296"] {
            parse_page(bad).unwrap_err();
        }
    }
}
