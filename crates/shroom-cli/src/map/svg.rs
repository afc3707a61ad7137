//! The picture as SVG: a heading, the file's composition, a cell for each page or run of pages, and how full storage pages are.

use std::fmt::Write as _;

use shroom::inspect::{FileMap, PageKind};

use super::Title;
use super::cells::{Cell, Cells};
use crate::output::grouped;

/// Width of the picture, in its own units, and the space around what is drawn.
const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 24.0;
/// Findings that are written out.
const FINDINGS_SHOWN: usize = 8;
/// Bars of the histogram of fill.
const BUCKETS: usize = 10;

/// Colour of a kind: distinguishable also for most who see few colours.
fn colour(kind: PageKind) -> &'static str {
    match kind {
        PageKind::Superblock => "#1b1b1b",
        PageKind::Storage => "#0072b2",
        PageKind::Extent => "#009e73",
        PageKind::Directory => "#e69f00",
        PageKind::FreeIndex => "#d9c400",
        PageKind::Map => "#cc79a7",
        PageKind::Journal => "#d55e00",
        PageKind::FreeRecord => "#8c564b",
        PageKind::Snapshot => "#7a5cc2",
        PageKind::Free => "#e4e4e0",
        _ => "#ffffff",
    }
}

/// The shape of the grid.
struct Grid {
    columns: usize,
    /// Side of a cell.
    side: f64,
}

impl Grid {
    fn of(cells: usize) -> Self {
        let columns = ((cells as f64 * 1.7).sqrt().ceil() as usize).clamp(24, 256);
        let side = ((WIDTH - 2.0 * MARGIN) / columns as f64).floor().max(2.0);
        let columns = ((WIDTH - 2.0 * MARGIN) / side) as usize;
        Self { columns, side }
    }

    fn rows(&self, cells: usize) -> usize {
        cells.div_ceil(self.columns)
    }
}

/// Text that may stand between tags, and in attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' => escaped.push_str("&#10;"),
            // Not allowed in XML, whatever they are written as.
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// The drawing so far: elements, and how far down they reach.
struct Drawing {
    elements: String,
    y: f64,
}

impl Drawing {
    fn text(&mut self, x: f64, size: f64, class: &str, text: &str) {
        let _ = writeln!(
            self.elements,
            "<text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"{size}\" class=\"{class}\">{}</text>",
            self.y,
            escape(text)
        );
    }

    fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, style: &str) {
        let _ = writeln!(
            self.elements,
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" {style}/>"
        );
    }
}

/// Draws the file. `hover`: each cell says what it stands for, for a script to show.
pub(super) fn draw(map: &FileMap<'_>, cells: &Cells, title: &Title, hover: bool) -> String {
    let mut drawing = Drawing {
        elements: String::new(),
        y: MARGIN + 16.0,
    };
    draw_heading(&mut drawing, map, title);
    draw_composition(&mut drawing, map, title);
    draw_grid(&mut drawing, map, cells, hover);
    draw_signs(&mut drawing, cells);
    draw_fill(&mut drawing, map);
    draw_findings(&mut drawing, map);
    let height = drawing.y + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" width=\"{WIDTH:.0}\" height=\"{height:.0}\" \
         font-family=\"system-ui, 'DejaVu Sans', sans-serif\">\n\
         <style>.title{{font-weight:600;fill:#1b1b1b}}.plain{{fill:#333333}}.faint{{fill:#6b6b6b}}.bad{{fill:#c00000}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{}</svg>\n",
        drawing.elements
    )
}

fn draw_heading(drawing: &mut Drawing, map: &FileMap<'_>, title: &Title) {
    let composition = map.composition();
    drawing.text(MARGIN, 20.0, "title", &title.name);
    drawing.y += 22.0;
    let file_bytes = u64::from(map.len()) * u64::from(title.page_size);
    let overhead = match composition.payload_bytes {
        0 => String::new(),
        payload => format!(
            " (file: {:.3} times that)",
            file_bytes as f64 / payload as f64
        ),
    };
    let line = format!(
        "{} bytes in {} pages of {} bytes; {} tokens of {} bytes{overhead}",
        grouped(file_bytes),
        grouped(map.len().into()),
        grouped(title.page_size.into()),
        grouped(composition.tokens),
        grouped(composition.payload_bytes)
    );
    drawing.text(MARGIN, 13.0, "plain", &line);
    drawing.y += 18.0;
    let mut line = format!(
        "{} packs; {} large values, {} extents in {} pieces; {} runs of free pages, the longest {}",
        grouped(composition.packs),
        grouped(composition.large_values),
        grouped(composition.extents),
        grouped(composition.pieces),
        grouped(composition.free_runs),
        grouped(composition.longest_free_run)
    );
    if composition.journal_frame_bytes > 0 {
        let _ = write!(
            line,
            "; {} bytes only in the journal",
            grouped(composition.journal_frame_bytes)
        );
    }
    drawing.text(MARGIN, 13.0, "plain", &line);
    if !title.snapshots.is_empty() {
        drawing.y += 18.0;
        let line = format!(
            "{} ({}), sharing {} pages with the present state",
            match title.snapshots.len() {
                1 => "1 named snapshot".to_owned(),
                count => format!("{count} named snapshots"),
            },
            shortened(&title.snapshots.join(", "), 60),
            grouped(composition.shared_pages)
        );
        drawing.text(MARGIN, 13.0, "plain", &line);
    }
    drawing.y += 16.0;
}

fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A bar of the file's bytes by kind, and the legend below it.
fn draw_composition(drawing: &mut Drawing, map: &FileMap<'_>, title: &Title) {
    let counts: Vec<(PageKind, u64)> = PageKind::ALL
        .iter()
        .map(|&kind| (kind, map.count(kind)))
        .filter(|&(_, count)| count > 0)
        .collect();
    let whole = WIDTH - 2.0 * MARGIN;
    let mut x = MARGIN;
    for &(kind, count) in &counts {
        let width = whole * count as f64 / f64::from(map.len().max(1));
        let style = format!(
            "fill=\"{}\" stroke=\"#ffffff\" stroke-width=\"0.5\"",
            colour(kind)
        );
        drawing.rectangle(x, drawing.y, width, 16.0, &style);
        x += width;
    }
    drawing.y += 38.0;
    let column = whole / 3.0;
    for (index, &(kind, count)) in counts.iter().enumerate() {
        let x = MARGIN + column * (index % 3) as f64;
        let style = format!(
            "fill=\"{}\" stroke=\"#9a9a9a\" stroke-width=\"0.6\"",
            colour(kind)
        );
        drawing.rectangle(x, drawing.y - 10.0, 12.0, 12.0, &style);
        let share = count as f64 / f64::from(map.len().max(1)) * 100.0;
        let size = human(count * u64::from(title.page_size));
        let label = format!("{}: {} ({size}, {share:.1} %)", kind.name(), grouped(count));
        drawing.text(x + 18.0, 12.0, "plain", &label);
        if index % 3 == 2 || index + 1 == counts.len() {
            drawing.y += 19.0;
        }
    }
    drawing.y += 2.0;
}

/// A number of bytes, roughly.
fn human(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

fn draw_grid(drawing: &mut Drawing, map: &FileMap<'_>, cells: &Cells, hover: bool) {
    let grid = Grid::of(cells.cells.len());
    let top = drawing.y;
    for (index, cell) in cells.cells.iter().enumerate() {
        let x = MARGIN + grid.side * (index % grid.columns) as f64;
        let y = top + grid.side * (index / grid.columns) as f64;
        if hover {
            let details = cells.describe(map, cell).join("\n");
            let _ = write!(
                drawing.elements,
                "<g class=\"c\" data-t=\"{}\">",
                escape(&details)
            );
        }
        draw_cell(drawing, cell, (x, y), grid.side);
        if hover {
            drawing.elements.push_str("</g>\n");
        }
    }
    drawing.y = top + grid.side * grid.rows(cells.cells.len()) as f64 + 20.0;
}

/// A cell: its kinds one above the other, what is in use in full colour, what is not pale.
fn draw_cell(drawing: &mut Drawing, cell: &Cell, (x, y): (f64, f64), side: f64) {
    let gap = if side >= 6.0 { 1.0 } else { 0.3 };
    let inner = side - gap;
    let mut bottom = y + inner;
    for &(kind, count, fill) in &cell.kinds {
        let height = inner * f64::from(count) / f64::from(cell.pages);
        let fill = if kind == PageKind::Free {
            count * 100
        } else {
            fill
        };
        let used = height * f64::from(fill) / f64::from(count * 100);
        let colour = colour(kind);
        if used < height {
            let style = format!("fill=\"{colour}\" fill-opacity=\"0.28\"");
            drawing.rectangle(x, bottom - height, inner, height - used, &style);
        }
        drawing.rectangle(x, bottom - used, inner, used, &format!("fill=\"{colour}\""));
        bottom -= height;
    }
    if cell.piece_starts > 0 && cell.pages == 1 {
        drawing.rectangle(x, y, (inner * 0.14).max(1.0), inner, "fill=\"#003d2c\"");
    }
    if cell.shared > 0 {
        let radius = (inner * 0.16).clamp(0.8, 4.0);
        let _ = writeln!(
            drawing.elements,
            "<circle cx=\"{:.2}\" cy=\"{:.2}\" r=\"{radius:.2}\" fill=\"#ffffff\" stroke=\"#7a5cc2\" stroke-width=\"{:.2}\"/>",
            x + inner - radius * 1.6,
            y + radius * 1.6,
            radius * 0.6
        );
    }
    if cell.damaged > 0 {
        let _ = writeln!(
            drawing.elements,
            "<path d=\"M{x:.2} {y:.2}h{inner:.2}v{inner:.2}h-{inner:.2}zl{inner:.2} {inner:.2}m0 -{inner:.2}l-{inner:.2} {inner:.2}\" \
             fill=\"none\" stroke=\"#e00000\" stroke-width=\"{:.2}\"/>",
            (inner * 0.12).clamp(0.7, 3.0)
        );
    }
}

/// What cells and the signs on them mean.
fn draw_signs(drawing: &mut Drawing, cells: &Cells) {
    let each = match cells.pages_each {
        1 => "Each cell is a page, in the order of the file, from left to right.".to_owned(),
        pages => format!(
            "Each cell stands for {} pages in a row, in the order of the file; its colours are their kinds, by their number.",
            grouped(pages.into())
        ),
    };
    drawing.text(MARGIN, 12.0, "faint", &each);
    drawing.y += 17.0;
    let mut signs = vec!["Full colour from below: in use. Pale: free inside the page."];
    let has = |count: fn(&Cell) -> u32| cells.cells.iter().any(|cell| count(cell) > 0);
    if cells.pages_each == 1 && has(|cell| cell.piece_starts) {
        signs.push("Dark left edge: a piece of a large value begins.");
    }
    if has(|cell| cell.shared) {
        signs.push("Ring: the present state shares the page with a snapshot.");
    }
    if has(|cell| cell.damaged) {
        signs.push("Red cross: damaged, or named by nothing.");
    }
    for line in signs.chunks(2) {
        drawing.text(MARGIN, 12.0, "faint", &line.join(" "));
        drawing.y += 17.0;
    }
    drawing.y += 8.0;
}

/// How many storage pages are how full.
fn draw_fill(drawing: &mut Drawing, map: &FileMap<'_>) {
    let mut buckets = [0_u64; BUCKETS];
    let mut sum = 0;
    for page in map.pages().filter(|page| page.kind == PageKind::Storage) {
        let bucket = (usize::from(page.fill) * BUCKETS / 100).min(BUCKETS - 1);
        buckets[bucket] += 1;
        sum += u64::from(page.fill);
    }
    let pages: u64 = buckets.iter().sum();
    if pages == 0 {
        return;
    }
    let composition = map.composition();
    let line = format!(
        "Storage pages by fill in per cent, {} on average; {} bytes free in them, in {} places",
        sum / pages,
        grouped(composition.storage_free_bytes),
        grouped(composition.free_segments)
    );
    drawing.text(MARGIN, 13.0, "plain", &line);
    drawing.y += 12.0;
    let (height, width) = (70.0, 44.0);
    let most = buckets.iter().copied().max().unwrap_or(1).max(1);
    let base = drawing.y + height;
    for (bucket, &count) in buckets.iter().enumerate() {
        let x = MARGIN + width * bucket as f64;
        let bar = (height - 14.0) * count as f64 / most as f64;
        let style = format!("fill=\"{}\"", colour(PageKind::Storage));
        drawing.rectangle(x, base - bar, width - 4.0, bar, &style);
        if count > 0 {
            drawing.y = base - bar - 3.0;
            drawing.text(x, 10.0, "faint", &grouped(count));
        }
        drawing.y = base + 13.0;
        let label = format!("{}-{}", bucket * 10, (bucket + 1) * 10);
        drawing.text(x, 10.0, "faint", &label);
    }
    drawing.rectangle(
        MARGIN,
        base,
        width * BUCKETS as f64 - 4.0,
        0.8,
        "fill=\"#6b6b6b\"",
    );
    drawing.y = base + 26.0;
}

fn draw_findings(drawing: &mut Drawing, map: &FileMap<'_>) {
    let findings = map.findings();
    for finding in findings.iter().take(FINDINGS_SHOWN) {
        drawing.y += 8.0;
        drawing.text(
            MARGIN,
            12.0,
            "bad",
            &format!("damaged: {}", shortened(finding, 150)),
        );
        drawing.y += 8.0;
    }
    let more = findings.len().saturating_sub(FINDINGS_SHOWN) as u64 + map.findings_left_out();
    if more > 0 {
        drawing.y += 8.0;
        drawing.text(
            MARGIN,
            12.0,
            "bad",
            &format!("and {} more findings", grouped(more)),
        );
        drawing.y += 8.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_element() {
        let escaped = escape("a<b>&\"'\n\u{1}\u{ffff}ü");
        assert_eq!(escaped, "a&lt;b&gt;&amp;&quot;&#39;&#10;\u{fffd}\u{fffd}ü");
    }

    #[test]
    fn a_grid_fits_the_picture() {
        for cells in [1, 3, 100, 4096, 65_536] {
            let grid = Grid::of(cells);
            assert!(grid.columns as f64 * grid.side <= WIDTH - 2.0 * MARGIN);
            assert!(grid.rows(cells) * grid.columns >= cells);
        }
        assert_eq!(
            (human(999), human(1_572_864)),
            ("999 B".into(), "1.5 MiB".into())
        );
    }
}
