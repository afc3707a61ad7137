//! `shroom map FILE [-o PICTURE]`: what each page of a file is used for, as a picture and in figures.
//!
//! * M1 The same file gives the same picture, whatever it is called by: it has no time and no path in it.
//! * M2 A damaged file is drawn as far as it is sound; the damage is in the picture, on standard output and in the exit code.

mod cells;
mod html;
mod svg;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use shroom::inspect::{FileMap, Inspection, PageKind};

use self::cells::Cells;
use crate::error::{CliError, Result};
use crate::output::{self, Format, bytes, grouped};

/// Draw a database: its pages by type and fill, packs and extents, what snapshots share, and what is free
///
/// Reads FILE only, and needs that nobody has it open for writing. Without --output, prints the figures. Exits with 1 when
/// damage was found, after it was drawn.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database
    file: PathBuf,
    /// The picture: .svg, or .html, where pointing at a cell shows what is there
    #[arg(short, long, value_name = "PICTURE")]
    output: Option<PathBuf>,
    /// Most cells to draw; a file of more pages has several in each
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    cells: u32,
    #[command(flatten)]
    format: Format,
}

/// How a picture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Picture {
    Svg,
    Html,
}

impl Picture {
    fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("svg") => Ok(Self::Svg),
            Some("html") => Ok(Self::Html),
            _ => Err(CliError::Refused(format!(
                "{}: a picture's name ends in .svg or .html",
                path.display()
            ))),
        }
    }
}

/// Draws the file, and prints its figures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let failed = CliError::database(&arguments.file);
    let picture = arguments.output.as_deref().map(Picture::of).transpose()?;
    let inspection = Inspection::open(&arguments.file).map_err(&failed)?;
    let map = inspection.map().map_err(&failed)?;
    if let (Some(path), Some(picture)) = (&arguments.output, picture) {
        refuse_database(path, &arguments.file)?;
        let name = arguments.file.file_name().unwrap_or_default();
        let title = Title {
            name: name.to_string_lossy().into_owned(),
            page_size: inspection.page_size(),
            snapshots: inspection.snapshot_names(),
        };
        let cells = Cells::new(&map, arguments.cells);
        let text = match picture {
            Picture::Svg => svg::draw(&map, &cells, &title, false),
            Picture::Html => html::draw(&map, &cells, &title),
        };
        fs::write(path, text).map_err(CliError::file("write", path))?;
    }
    if arguments.format.json {
        output::print_json(&map_json(&map))?;
    } else {
        print_figures(&map, inspection.page_size())?;
    }
    match map.findings().is_empty() {
        true => Ok(()),
        false => Err(CliError::Reported),
    }
}

/// What a picture says of the file besides its pages.
struct Title {
    /// The file's name, without its directory.
    name: String,
    /// Size of a page, in bytes.
    page_size: u32,
    /// Names of the snapshots.
    snapshots: Vec<String>,
}

/// A database may be called x.svg; it is not to be drawn over.
fn refuse_database(path: &Path, file: &Path) -> Result<()> {
    let place = |path: &Path| fs::canonicalize(path).ok();
    if place(path).is_some() && place(path) == place(file) {
        let message = format!("{}: is the database itself", path.display());
        return Err(CliError::Refused(message));
    }
    Ok(())
}

fn print_figures(map: &FileMap<'_>, page_size: u32) -> Result<()> {
    let composition = map.composition();
    let mut lines: Vec<String> = Vec::new();
    lines.extend(
        map.findings()
            .iter()
            .map(|finding| format!("damaged: {finding}")),
    );
    if map.findings_left_out() > 0 {
        lines.push(format!(
            "damaged: {} more findings",
            grouped(map.findings_left_out())
        ));
    }
    if !lines.is_empty() {
        output::print_text(&lines.join("\n"))?;
    }
    let pages = |count: u64| match count {
        1 => "1 page".to_owned(),
        _ => format!("{} pages", grouped(count)),
    };
    let mut rows: Vec<(&str, String)> = PageKind::ALL
        .iter()
        .map(|&kind| (kind.name(), map.count(kind)))
        .filter(|&(_, count)| count > 0)
        .map(|(name, count)| (name, pages(count)))
        .collect();
    let file_bytes = u64::from(map.len()) * u64::from(page_size);
    rows.extend([
        ("file", bytes(file_bytes)),
        ("tokens", grouped(composition.tokens)),
        ("payload", bytes(composition.payload_bytes)),
        ("packs", grouped(composition.packs)),
        ("large values", grouped(composition.large_values)),
        ("extents", grouped(composition.extents)),
        ("pieces of extents", grouped(composition.pieces)),
        (
            "free in storage pages",
            bytes(composition.storage_free_bytes),
        ),
        ("places of them", grouped(composition.free_segments)),
        ("runs of free pages", grouped(composition.free_runs)),
        ("the longest", pages(composition.longest_free_run)),
        ("shared with snapshots", pages(composition.shared_pages)),
        (
            "only in the journal",
            bytes(composition.journal_frame_bytes),
        ),
    ]);
    output::print_table(&rows)
}

fn map_json(map: &FileMap<'_>) -> Json {
    let composition = map.composition();
    let counts: serde_json::Map<String, Json> = PageKind::ALL
        .iter()
        .map(|&kind| (kind.name().replace([' ', '-'], "_"), map.count(kind).into()))
        .collect();
    json!({
        "pages": counts,
        "tokens": composition.tokens,
        "payload_bytes": composition.payload_bytes,
        "packs": composition.packs,
        "large_values": composition.large_values,
        "extents": composition.extents,
        "pieces": composition.pieces,
        "storage_free_bytes": composition.storage_free_bytes,
        "free_segments": composition.free_segments,
        "free_runs": composition.free_runs,
        "longest_free_run": composition.longest_free_run,
        "shared_pages": composition.shared_pages,
        "journal_frame_bytes": composition.journal_frame_bytes,
        "findings": map.findings(),
        "findings_left_out": map.findings_left_out(),
    })
}
