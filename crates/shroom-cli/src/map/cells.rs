//! Pages as cells of a picture: one a page for a small file, one for a run of pages for a large one.
//!
//! * C1 Every page is in exactly one cell, in the order of the file; all cells but the last stand for as many pages.

use shroom::inspect::{FileMap, MappedPage, PageKind};

/// A cell of the picture.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// Its first page.
    pub(super) first: u32,
    /// Number of pages.
    pub(super) pages: u32,
    /// Pages of each kind that is there, in the order of [`PageKind::ALL`], and the sum of their fill in per cent.
    pub(super) kinds: Vec<(PageKind, u32, u32)>,
    /// Pages that are damaged.
    pub(super) damaged: u32,
    /// Pages that the present state shares with snapshots.
    pub(super) shared: u32,
    /// Pages that begin a piece of a large value.
    pub(super) piece_starts: u32,
}

impl Cell {
    fn of(first: u32, pages: &[MappedPage]) -> Self {
        let count =
            |has: fn(&MappedPage) -> bool| pages.iter().filter(|page| has(page)).count() as u32;
        let kinds = PageKind::ALL.iter().filter_map(|&kind| {
            let of_kind = || pages.iter().filter(|page| page.kind == kind);
            let fill = of_kind().map(|page| u32::from(page.fill)).sum();
            let count = of_kind().count() as u32;
            (count > 0).then_some((kind, count, fill))
        });
        Self {
            first,
            pages: pages.len() as u32,
            kinds: kinds.collect(),
            damaged: count(|page| page.damaged || page.kind == PageKind::Unknown),
            shared: count(|page| page.present && page.snapshots > 0),
            piece_starts: count(|page| page.piece_start),
        }
    }
}

/// All cells of a picture.
pub(super) struct Cells {
    /// In the order of the file.
    pub(super) cells: Vec<Cell>,
    /// Pages that a cell stands for.
    pub(super) pages_each: u32,
}

impl Cells {
    /// As many cells as there are pages, or at most `most`, of a power of two of pages each.
    pub(super) fn new(map: &FileMap<'_>, most: u32) -> Self {
        let least = map.len().div_ceil(most.max(1)).max(1);
        let pages_each = least.checked_next_power_of_two().unwrap_or(least);
        let mut cells = Vec::new();
        let mut run = Vec::with_capacity(pages_each as usize);
        for (place, page) in (0_u32..).zip(map.pages()) {
            run.push(page);
            if run.len() as u32 == pages_each || place + 1 == map.len() {
                cells.push(Cell::of(place + 1 - run.len() as u32, &run));
                run.clear();
            }
        }
        Self { cells, pages_each }
    }

    /// What a cell stands for, a line each.
    pub(super) fn describe(&self, map: &FileMap<'_>, cell: &Cell) -> Vec<String> {
        if self.pages_each == 1 {
            return map.describe(cell.first);
        }
        let mut lines = vec![format!(
            "P{} to P{}",
            cell.first,
            cell.first + (cell.pages - 1)
        )];
        for &(kind, count, fill) in &cell.kinds {
            let fill = match kind {
                PageKind::Storage | PageKind::Directory | PageKind::Map => {
                    format!(", {} % full", fill / count)
                }
                _ => String::new(),
            };
            lines.push(format!("{count} {}{fill}", kind.name()));
        }
        for (count, what) in [
            (cell.damaged, "damaged"),
            (cell.shared, "shared with snapshots"),
            (cell.piece_starts, "pieces of large values begin here"),
        ] {
            if count > 0 {
                lines.push(format!("{count} {what}"));
            }
        }
        lines
    }
}
