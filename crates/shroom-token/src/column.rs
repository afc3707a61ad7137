//! Columns of little-endian integers of 0 to 8 bytes each: the ids, ends, pages and offsets of packs (format §7)
//! and directory pages (format §8). Values are differences to a base that the holder keeps.
//!
//! * C1 `len * width` bytes are there; the slice may go on past them, which makes 8-byte loads possible.
//! * C2 A search ends after O(log len) probes, whatever the bytes are.
//!
//! Absent on purpose: knows no base, and does not check that values ascend.

use alloc::vec::Vec;

/// Values that a search counts through around its guess: with uniform ids, a guess into `n` values is off by about
/// `sqrt(n) / 2`, some 7 in a pack of 16-byte values and 10 in a directory leaf of 4 KiB.
const WINDOW_LEN: usize = 32;
/// Values of a window that are compared one by one once the last of them is known to be the first above the target.
const BLOCK_LEN: usize = 4;

/// Bytes that hold every value up to `max`: 0 to 8.
pub(crate) const fn width_of(max: u64) -> usize {
    (u64::BITS - max.leading_zeros()).div_ceil(8) as usize
}

/// A read-only column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column<'a> {
    bytes: &'a [u8],
    len: usize,
    width: usize,
}

impl<'a> Column<'a> {
    /// Columns of at most so many values are searched by halves.
    pub(crate) const WINDOW_LEN: usize = WINDOW_LEN;

    /// A column at the start of `bytes`. The caller has checked that the width is at most 8 and that the bytes suffice.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], len: usize, width: usize) -> Self {
        debug_assert!(width <= 8 && len * width <= bytes.len());
        Self { bytes, len, width }
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bytes after the values.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.len * self.width..).unwrap_or(&[])
    }

    /// Value `index`; 0 past the end of the bytes (callers stay below `len`).
    #[inline]
    pub(crate) fn get(&self, index: usize) -> u64 {
        debug_assert!(index < self.len);
        let tail = self.bytes.get(index * self.width..).unwrap_or(&[]);
        let value = match tail.first_chunk::<8>() {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => near_end(tail),
        };
        value & mask(self.width)
    }

    /// Values `index - 1` (0 when there is none) and `index`, of at most 4 bytes each; 0 past the end of the bytes.
    #[inline(always)]
    pub(crate) fn pair(&self, index: usize) -> (u64, u64) {
        debug_assert!(self.width <= 4 && index < self.len);
        let before = index.saturating_sub(1);
        match self
            .bytes
            .get(before * self.width..)
            .and_then(<[u8]>::first_chunk)
        {
            Some(chunk) => {
                // Both in one load. Without a value before, the first one is moved up.
                let shift = 8 * self.width;
                let both = u64::from_le_bytes(*chunk) << if index == 0 { shift } else { 0 };
                (both & mask(self.width), both >> shift & mask(self.width))
            }
            None if index == 0 => (0, self.get(0)),
            None => (self.get(before), self.get(index)),
        }
    }

    /// How many values are at most `target`, for an ascending column. `span` is a value that the column would
    /// reach after its last one, if known: it saves touching the end of the column for the first guess.
    ///
    /// Ids are often near uniform, so the place is guessed by interpolation, and a window around it is counted
    /// through without branches: its cache lines load at once. Outside of it, doubling steps bracket the answer, and
    /// the bracket is searched by halves. On values that do not ascend the answer is arbitrary but in range.
    #[inline]
    pub(crate) fn count_up_to(&self, target: u64, span: Option<u64>) -> usize {
        match self.guess(target, span) {
            Some(guess) => self.count_near(target, guess),
            None => self.halve(target, 0, self.len),
        }
    }

    /// Where `target` would be if values were uniform: the first step of [`Column::count_up_to`]. `None` for a column so
    /// short that it is best searched by halves.
    #[inline]
    pub(crate) fn guess(&self, target: u64, span: Option<u64>) -> Option<usize> {
        let len = self.len;
        if len <= WINDOW_LEN {
            return None;
        }
        let (span, steps) = match span {
            Some(span) => (span, len),
            None => (self.get(len - 1), len - 1),
        };
        // Halved, since a processor converts signed integers; a guess need not be exact.
        let share = (target >> 1) as i64 as f64 / (span >> 1 | 1) as i64 as f64;
        let guess = (share * steps as i64 as f64) as i64 as usize;
        Some(guess.min(len - 2))
    }

    /// [`Column::count_up_to`] from a guess on, in a column longer than a window.
    #[inline]
    pub(crate) fn count_near(&self, target: u64, guess: usize) -> usize {
        let start_max = self.len.saturating_sub(WINDOW_LEN);
        let start = guess.saturating_sub(WINDOW_LEN / 2).min(start_max);
        let bytes = self.bytes.get(start * self.width..).unwrap_or(&[]);
        match count_in_window(bytes, self.width, target) {
            Some(found) if found > 0 && found < WINDOW_LEN => start + found,
            _ => self.count_from(target, start),
        }
    }

    /// The answer of [`Column::count_up_to`] when it is not inside the window at `start`, or that ends at the last bytes.
    #[cold]
    #[inline(never)]
    fn count_from(&self, target: u64, start: usize) -> usize {
        let end = self.len.min(start + WINDOW_LEN);
        let found = self.halve(target, start, end);
        let below = found == start && start > 0;
        let above = found == end && end < self.len;
        match below || above {
            false => found,
            true => self.gallop(target, start, below),
        }
    }

    /// The answer of [`Column::count_up_to`] when it is not in the window at `start`, but below or above it.
    fn gallop(&self, target: u64, start: usize, below: bool) -> usize {
        let mut step = WINDOW_LEN;
        if below {
            let mut high = start;
            while let Some(probe) = start.checked_sub(step) {
                if self.get(probe) <= target {
                    return self.halve(target, probe + 1, high);
                }
                high = probe;
                step *= 2;
            }
            return self.halve(target, 0, high);
        }
        let start = start + WINDOW_LEN;
        let mut low = start;
        while start + step < self.len {
            let probe = start + step;
            if self.get(probe) > target {
                return self.halve(target, low, probe);
            }
            low = probe + 1;
            step *= 2;
        }
        self.halve(target, low, self.len)
    }

    /// The answer of [`Column::count_up_to`] when it lies in `low..=high`.
    #[inline]
    fn halve(&self, target: u64, mut low: usize, high: usize) -> usize {
        let mut left = high - low;
        while left > 0 {
            let half = left / 2;
            let upper = self.get(low + half) <= target;
            low = if upper { low + half + 1 } else { low };
            left = if upper { left - half - 1 } else { half };
        }
        low
    }
}

/// The bits that a value of `width` bytes, 0 to 8, has of a load of 8 bytes.
#[inline]
const fn mask(width: usize) -> u64 {
    // Twice half of the way: a shift by 64 would not be one.
    !(u64::MAX << (4 * width) << (4 * width))
}

/// A load when fewer than 8 bytes are left.
#[cold]
fn near_end(tail: &[u8]) -> u64 {
    let mut chunk = [0; 8];
    for (to, from) in chunk.iter_mut().zip(tail) {
        *to = *from;
    }
    u64::from_le_bytes(chunk)
}

/// How many of the first `WINDOW_LEN` values are at most `target`; `None` when the bytes do not go on far enough for 8-byte loads.
fn count_in_window(bytes: &[u8], width: usize, target: u64) -> Option<usize> {
    match width {
        1 => count_window::<1>(bytes, target),
        2 => count_window::<2>(bytes, target),
        3 => count_window::<3>(bytes, target),
        4 => count_window::<4>(bytes, target),
        5 => count_window::<5>(bytes, target),
        6 => count_window::<6>(bytes, target),
        7 => count_window::<7>(bytes, target),
        8 => count_window::<8>(bytes, target),
        _ => None,
    }
}

/// How many of `WINDOW_LEN` values are at most `target`: of the last ones of blocks first, then in one block. Known sizes
/// leave no bounds check and no branch. `None` when the bytes do not go on far enough for 8-byte loads.
#[inline]
fn count_window<const WIDTH: usize>(bytes: &[u8], target: u64) -> Option<usize> {
    let value = |bytes: &[u8], index: usize| {
        let chunk = bytes.get(index * WIDTH..)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*chunk) & mask(WIDTH))
    };
    let bytes = bytes.get(..(WINDOW_LEN - 1) * WIDTH + 8)?;
    let mut blocks = 0;
    for block in 0..WINDOW_LEN / BLOCK_LEN {
        let last = value(bytes, block * BLOCK_LEN + BLOCK_LEN - 1)?;
        blocks += usize::from(last <= target);
    }
    let mut found = blocks * BLOCK_LEN;
    if found == WINDOW_LEN {
        return Some(found);
    }
    let block = bytes.get(found * WIDTH..)?;
    let block = block.get(..(BLOCK_LEN - 2) * WIDTH + 8)?;
    for index in 0..BLOCK_LEN - 1 {
        found += usize::from(value(block, index)? <= target);
    }
    Some(found)
}

/// Appends `values` to `out`, each of `width` bytes.
pub(crate) fn write_column(out: &mut Vec<u8>, width: usize, values: impl Iterator<Item = u64>) {
    for value in values {
        let bytes = value.to_le_bytes();
        debug_assert!(width_of(value) <= width);
        out.extend_from_slice(bytes.get(..width).unwrap_or(&bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn widths() {
        let cases = [
            (0, 0),
            (1, 1),
            (255, 1),
            (256, 2),
            (65_535, 2),
            (65_536, 3),
            (u64::MAX, 8),
        ];
        for (max, width) in cases {
            assert_eq!(width_of(max), width, "{max}");
        }
    }

    #[test]
    fn values_of_no_width_are_zero() {
        assert_eq!(Column::new(&[], 5, 0).get(4), 0);
    }

    proptest! {
        #[test]
        fn reads_what_was_written(mut values in prop::collection::vec(any::<u64>(), 1..300), shift in 0u32..64, spare in 0usize..9) {
            values.iter_mut().for_each(|value| *value >>= shift);
            let width = width_of(values.iter().copied().max().unwrap());
            let mut bytes = Vec::new();
            write_column(&mut bytes, width, values.iter().copied());
            bytes.resize(bytes.len() + spare, 0xff);
            let column = Column::new(&bytes, values.len(), width);
            for (index, value) in values.iter().enumerate() {
                prop_assert_eq!(column.get(index), *value);
                if width <= 4 {
                    let before = index.checked_sub(1).map_or(0, |before| values[before]);
                    prop_assert_eq!(column.pair(index), (before, *value));
                }
            }
        }

        #[test]
        fn searches_like_partition_point(values in prop::collection::btree_set(any::<u64>(), 1..300), shift in 0u32..64, targets in prop::collection::vec(any::<u64>(), 20), span in prop::option::of(any::<u64>())) {
            let mut values: Vec<u64> = values.into_iter().map(|value| value >> shift).collect();
            values.dedup();
            let width = width_of(*values.last().unwrap());
            let mut bytes = Vec::new();
            write_column(&mut bytes, width, values.iter().copied());
            let column = Column::new(&bytes, values.len(), width);
            let near = values.iter().flat_map(|value| [value.wrapping_sub(1), *value, value.wrapping_add(1)]);
            for target in targets.iter().map(|target| target >> shift).chain(near) {
                let expected = values.partition_point(|value| *value <= target);
                prop_assert_eq!(column.count_up_to(target, span), expected);
                prop_assert_eq!(column.count_up_to(target, None), expected);
            }
        }

        #[test]
        fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..200), len in 0usize..80, width in 0usize..9, target in any::<u64>(), span in prop::option::of(any::<u64>())) {
            prop_assume!(len * width <= bytes.len());
            let column = Column::new(&bytes, len, width);
            prop_assert!(column.count_up_to(target, span) <= len);
        }
    }
}
