//! An arena: cells with numbers that never move, made as they are needed, while others read those that are there.
//!
//! * R1 A cell that was made stays where it is until the arena is dropped, and is found without a lock.
//! * R2 Making the next cell costs a chunk at most, however many there are.
//!
//! Cells change only by what they are made of (atomics, `OnceLock`). Absent on purpose: giving a single cell back.

use std::sync::OnceLock;

/// Cells of the first row; each row has twice as many as the one before.
const ROW_CELLS_MIN: u32 = 64;
/// Cells of a chunk, at most.
const CHUNK_CELLS_MAX: u32 = 512;
/// Numbers of cells are below this.
pub(super) const CELLS_MAX: u32 = 1 << 27;
const ROWS: usize = row_of(CELLS_MAX - 1) + 1;

/// A row's chunks.
type Row<T> = Box<[OnceLock<Box<[T]>>]>;

#[derive(Debug)]
pub(super) struct Arena<T> {
    rows: [OnceLock<Row<T>>; ROWS],
}

const fn row_of(cell: u32) -> usize {
    ((cell + ROW_CELLS_MIN).ilog2() - ROW_CELLS_MIN.ilog2()) as usize
}

/// Where a cell is: its row, the chunk in that, and the place in that.
#[inline]
fn place_of(cell: u32) -> (usize, usize, usize) {
    let row = row_of(cell);
    let offset = cell + ROW_CELLS_MIN - (ROW_CELLS_MIN << row);
    let chunk = offset / CHUNK_CELLS_MAX;
    (row, chunk as usize, (offset % CHUNK_CELLS_MAX) as usize)
}

impl<T: Default> Arena<T> {
    pub(super) fn new() -> Self {
        Self {
            rows: [const { OnceLock::new() }; ROWS],
        }
    }

    /// A cell that was made, by whoever gave its number.
    #[inline]
    pub(super) fn cell(&self, cell: u32) -> &T {
        let (row, chunk, place) = place_of(cell);
        let row = self.rows.get(row).and_then(OnceLock::get);
        let chunk = row.and_then(|row| row.get(chunk)?.get());
        let cell = chunk.and_then(|chunk| chunk.get(place));
        cell.expect("a cell is made before its number is given away")
    }

    /// A cell, which is made if it is not there: empty.
    pub(super) fn make(&self, cell: u32) -> &T {
        assert!(cell < CELLS_MAX, "cell {cell} of {CELLS_MAX}");
        let (row, chunk, place) = place_of(cell);
        let row_cells = ROW_CELLS_MIN << row;
        let chunks = || {
            let chunks = 0..row_cells.div_ceil(CHUNK_CELLS_MAX);
            chunks.map(|_| OnceLock::new()).collect()
        };
        let cells = || {
            let cells = 0..row_cells.min(CHUNK_CELLS_MAX);
            cells.map(|_| T::default()).collect()
        };
        let row = self.rows[row].get_or_init(chunks);
        &row[chunk].get_or_init(cells)[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cell_has_a_place_of_its_own() {
        let mut expected = (0, 0, 0);
        for cell in 0..200_000 {
            assert_eq!(place_of(cell), expected, "{cell}");
            let (row, chunk, place) = expected;
            let cells = ROW_CELLS_MIN << row;
            let last_of_chunk = place + 1 == cells.min(CHUNK_CELLS_MAX) as usize;
            let last_of_row =
                last_of_chunk && chunk + 1 == cells.div_ceil(CHUNK_CELLS_MAX) as usize;
            expected = match (last_of_row, last_of_chunk) {
                (true, _) => (row + 1, 0, 0),
                (false, true) => (row, chunk + 1, 0),
                (false, false) => (row, chunk, place + 1),
            };
        }
        assert_eq!(place_of(CELLS_MAX - 1).0, ROWS - 1);
    }

    #[test]
    fn cells_stay() {
        let arena = Arena::<OnceLock<u32>>::new();
        let first: *const _ = arena.make(0);
        for cell in 0..5000 {
            arena.make(cell).set(cell).unwrap();
        }
        assert!((0..5000).all(|cell| arena.cell(cell).get() == Some(&cell)));
        assert!(std::ptr::eq(first, arena.cell(0)));
        assert!(std::ptr::eq(first, arena.make(0)));
    }
}
