//! Sets of free pages as runs, and the free record that a checkpoint stores (format §4.1).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Free pages as maximal runs: first page -> length. Adjacent runs are always joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FreeRuns {
    runs: BTreeMap<u32, u32>,
    pages: u64,
}

impl FreeRuns {
    /// Pages in the set.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u32, u32)> + '_ {
        self.runs.iter().map(|(&first, &len)| (first, len))
    }

    pub(crate) fn contains(&self, page: u32) -> bool {
        self.runs
            .range(..=page)
            .next_back()
            .is_some_and(|(&first, &len)| page - first < len)
    }

    /// Whether a page of the run is in the set.
    pub(crate) fn overlaps(&self, first: u32, len: u32) -> bool {
        let end = u64::from(first) + u64::from(len);
        let mut before_end = self.runs.range(..u32::try_from(end).unwrap_or(u32::MAX));
        before_end
            .next_back()
            .is_some_and(|(&run, &run_len)| len > 0 && run + run_len > first)
    }

    /// Adds a run that this process knows to be outside the set.
    pub(crate) fn insert(&mut self, first: u32, len: u32) {
        assert!(self.try_insert(first, len), "page {first} freed twice");
    }

    /// Adds a run; false, with nothing changed, when one of its pages is in the set or beyond the highest page
    /// number: what a file claims may be either.
    #[must_use]
    pub(crate) fn try_insert(&mut self, mut first: u32, len: u32) -> bool {
        let Some(mut end) = first
            .checked_add(len)
            .filter(|_| !self.overlaps(first, len))
        else {
            return false;
        };
        if len == 0 {
            return true;
        }
        self.pages += u64::from(len);
        if let Some((&before, &before_len)) = self.runs.range(..first).next_back()
            && before + before_len == first
        {
            self.runs.remove(&before);
            first = before;
        }
        if let Some(after_len) = self.runs.remove(&end) {
            end += after_len;
        }
        self.runs.insert(first, end - first);
        true
    }

    /// The numbers of `lowest..limit` that are not in the set, whose members are all in that range.
    pub(crate) fn complement(&self, lowest: u32, limit: u32) -> Self {
        let mut set = Self::default();
        let mut next = lowest;
        for (first, end) in self
            .iter()
            .map(|(first, len)| (first, first + len))
            .chain([(limit, limit)])
        {
            if first > next {
                set.insert(next, first - next);
            }
            next = next.max(end);
        }
        set
    }

    /// The runs of this set that are not, as they are, in the other.
    pub(crate) fn runs_not_in(&self, other: &Self) -> impl Iterator<Item = (u32, u32)> {
        self.iter()
            .filter(|(first, len)| other.runs.get(first) != Some(len))
    }

    /// Takes the lowest page.
    pub(crate) fn take_one(&mut self) -> Option<u32> {
        let (&first, _) = self.runs.first_key_value()?;
        self.take_from_run(first, first, 1);
        Some(first)
    }

    /// Takes the lowest `len` consecutive pages from `floor` on.
    pub(crate) fn take_run_from(&mut self, floor: u32, len: u32) -> Option<u32> {
        let before = self.runs.range(..=floor).next_back();
        let after = self.runs.range(floor.saturating_add(1)..);
        let runs = before.into_iter().chain(after);
        let (run, first) = runs
            .map(|(&run, &run_len)| (run, run.max(floor), run_len))
            .find(|&(run, first, run_len)| first - run < run_len && run_len - (first - run) >= len)
            .map(|(run, first, _)| (run, first))?;
        self.take_from_run(run, first, len);
        Some(first)
    }

    /// The page after the last; 0 for the empty set.
    pub(crate) fn end(&self) -> u32 {
        self.runs
            .last_key_value()
            .map_or(0, |(&first, &len)| first + len)
    }

    /// Takes up to `len` consecutive pages from the end of the last run, none of them below `floor`.
    pub(crate) fn take_last(&mut self, floor: u32, len: u32) -> Option<(u32, u32)> {
        let (run, run_len) = self.iter().next_back()?;
        let end = run + run_len;
        let first = run.max(floor).max(end.saturating_sub(len));
        if first >= end {
            return None;
        }
        self.take_from_run(run, first, end - first);
        Some((first, end - first))
    }

    /// How many consecutive pages from `first` on are in the set.
    pub(crate) fn len_from(&self, first: u32) -> u32 {
        let run = self.runs.range(..=first).next_back();
        run.map_or(0, |(&run, &len)| (run + len).saturating_sub(first))
    }

    /// Takes exactly these pages, when all are in the set.
    pub(crate) fn take_exact(&mut self, first: u32, len: u32) -> bool {
        let Some((&run, &run_len)) = self.runs.range(..=first).next_back() else {
            return false;
        };
        if u64::from(first - run) + u64::from(len) > u64::from(run_len) {
            return false;
        }
        self.take_from_run(run, first, len);
        true
    }

    /// Removes all pages from `limit` on, and says how many there were.
    pub(crate) fn truncate(&mut self, limit: u32) -> u64 {
        let before = self.pages;
        for (_, len) in self.runs.split_off(&limit) {
            self.pages -= u64::from(len);
        }
        if let Some(mut last) = self.runs.last_entry() {
            let first = *last.key();
            if first + *last.get() > limit {
                self.pages -= u64::from(first + *last.get() - limit);
                *last.get_mut() = limit - first;
            }
        }
        before - self.pages
    }

    fn take_from_run(&mut self, run: u32, first: u32, len: u32) {
        let run_len = self.runs.remove(&run).expect("the run was just looked up");
        let head = first - run;
        let tail = run_len - head - len;
        if head > 0 {
            self.runs.insert(run, head);
        }
        if tail > 0 {
            self.runs.insert(first + len, tail);
        }
        self.pages -= u64::from(len);
    }
}

/// Writes the runs of a free record, `physical` and `logical`.
pub(crate) fn encode_record(physical: &FreeRuns, logical: &FreeRuns) -> Vec<u8> {
    let mut bytes = Vec::new();
    for set in [physical, logical] {
        put_varint(&mut bytes, set.runs.len() as u32);
        let mut end = 0;
        for (first, len) in set.iter() {
            put_varint(&mut bytes, first - end);
            put_varint(&mut bytes, len);
            end = first + len;
        }
    }
    bytes
}

/// Reads the runs of a free record, and gives what follows them; physical pages are in `2..physical_pages`, logical ones in
/// `1..logical_pages`.
pub(crate) fn decode_record(
    bytes: &[u8],
    physical_pages: u32,
    logical_pages: u32,
) -> Result<(FreeRuns, FreeRuns, &[u8]), String> {
    let mut rest = bytes;
    let physical = decode_runs(&mut rest, 2, physical_pages)?;
    let logical = decode_runs(&mut rest, 1, logical_pages)?;
    Ok((physical, logical, rest))
}

fn decode_runs(rest: &mut &[u8], lowest: u32, limit: u32) -> Result<FreeRuns, String> {
    let count = take_varint(rest)?;
    let mut set = FreeRuns::default();
    let mut end = 0_u32;
    for index in 0..count {
        let gap = take_varint(rest)?;
        let len = take_varint(rest)?;
        let first = end
            .checked_add(gap)
            .filter(|&first| first >= lowest && (index == 0 || gap > 0));
        let next = first
            .and_then(|first| first.checked_add(len))
            .filter(|&next| len > 0 && next <= limit);
        let (Some(first), Some(next)) = (first, next) else {
            return Err(format!(
                "free run {index} (gap {gap}, length {len}) is outside {lowest}..{limit}"
            ));
        };
        set.insert(first, len);
        end = next;
    }
    Ok(set)
}

pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

pub(crate) fn take_varint(rest: &mut &[u8]) -> Result<u32, String> {
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let Some((&byte, tail)) = rest.split_first() else {
            return Err("ends inside a number".into());
        };
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if byte == 0 && shift > 0 {
                return Err("number not in its shortest form".into());
            }
            return u32::try_from(value).map_err(|_| "number above 32 bits".into());
        }
    }
    Err("number longer than 5 bytes".into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(ops in prop::collection::vec((0_u8..4, 2_u32..300, 1_u32..9), 1..200)) {
            let mut runs = FreeRuns::default();
            let mut model = BTreeSet::new();
            for (op, first, len) in ops {
                let range = first..first + len;
                match op {
                    0 => if range.clone().all(|page| !model.contains(&page)) {
                        runs.insert(first, len);
                        model.extend(range);
                    } else {
                        let before = runs.clone();
                        prop_assert!(runs.overlaps(first, len) && !runs.try_insert(first, len));
                        prop_assert_eq!(&runs, &before);
                    },
                    1 => prop_assert_eq!(runs.take_one(), model.pop_first()),
                    2 => {
                        let expected = range.clone().all(|page| model.contains(&page));
                        prop_assert_eq!(runs.take_exact(first, len), expected);
                        if expected {
                            model.retain(|page| !range.contains(page));
                        }
                    }
                    _ => {
                        let expected = model.iter().copied().find(|&page| (page..page + len).all(|p| model.contains(&p)));
                        prop_assert_eq!(runs.take_run_from(0, len), expected);
                        if let Some(first) = expected {
                            model.retain(|page| !(first..first + len).contains(page));
                        }
                    }
                }
                let pages: Vec<u32> = runs.iter().flat_map(|(first, len)| first..first + len).collect();
                prop_assert_eq!(pages, model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(runs.pages(), model.len() as u64);
                prop_assert_eq!(runs.end(), model.last().map_or(0, |last| last + 1));
                let absent = runs.complement(2, 400);
                prop_assert!((2..400).all(|page| absent.contains(page) != model.contains(&page)));
                let ends: Vec<_> = runs.iter().collect();
                prop_assert!(ends.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0));
            }
            let record = encode_record(&runs, &FreeRuns::default());
            prop_assert_eq!(decode_record(&record, 400, 1), Ok((runs, FreeRuns::default(), &[][..])));
        }

        #[test]
        fn arbitrary_records_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), limit in 2_u32..) {
            let _ = decode_record(&bytes, limit, limit);
        }
    }

    #[test]
    fn a_record_has_one_encoding() {
        for record in [&[0x80, 0, 0][..], &[1, 5, 0x81, 0, 0], &[0, 0x80, 0x80, 0]] {
            let flaw = decode_record(record, 400, 400).unwrap_err();
            assert_eq!(flaw, "number not in its shortest form");
        }
    }

    #[test]
    fn truncate_cuts_a_run() {
        let mut runs = FreeRuns::default();
        runs.insert(3, 4);
        runs.insert(10, 5);
        assert_eq!(runs.truncate(12), 3);
        assert_eq!(runs.iter().collect::<Vec<_>>(), [(3, 4), (10, 2)]);
        assert_eq!(runs.truncate(5), 4);
        assert_eq!(runs.pages(), 2);
    }
}
