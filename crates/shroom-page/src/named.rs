//! Named snapshots: states that stay in the file until they are deleted (format §4.3).
//!
//! A named snapshot is the superblock of its state, frozen into a page of its own, which the free record names. It shares
//! every page with the states that have not changed it.
//!
//! * N1 A page that a named snapshot reaches is never free, and never written.
//! * N2 A page keeps its place in the map for as long as it lives, so whether a snapshot reaches it is one look-up there.
//! * N3 A frozen superblock is read when it is first needed: opening costs nothing for it.
//!
//! Absent on purpose: no birth times and no lists of dead pages; whether a page is shared is asked of the maps.

use std::sync::{Arc, OnceLock};

use crate::free_runs::{FreeRuns, put_varint, take_varint};
use crate::map::Entry;
use crate::map_walk::MapPages;
use crate::snapshot::{Base, Snapshot};
use crate::store::PageStore;
use crate::superblock::{FreePlace, Run, SlotError, Superblock, superblock_len};
use crate::{LogicalPage, PageError, PageSize, PhysicalPage, Result};

/// Bytes of the longest name.
pub const SNAPSHOT_NAME_MAX: usize = 255;

/// A named snapshot as the free record has it.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: Box<str>,
    /// The page that holds its superblock.
    pub(crate) place: Entry,
    frozen: OnceLock<Superblock>,
}

/// The named snapshots of a state, in ascending order of names.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamedList {
    entries: Vec<Arc<Named>>,
}

impl NamedList {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Named>> {
        self.entries.iter()
    }

    pub(crate) fn find(&self, name: &str) -> Result<&Arc<Named>> {
        let at = self.position(name).map_err(|_| no_such(name))?;
        Ok(&self.entries[at])
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.position(name).is_ok()
    }

    fn position(&self, name: &str) -> std::result::Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| (*entry.name).cmp(name))
    }

    /// Adds a snapshot whose name is not there.
    pub(crate) fn insert(&mut self, named: Named) {
        match self.position(&named.name) {
            Ok(_) => unreachable!("a name is checked before its snapshot is saved"),
            Err(at) => self.entries.insert(at, Arc::new(named)),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Result<Arc<Named>> {
        let at = self.position(name).map_err(|_| no_such(name))?;
        Ok(self.entries.remove(at))
    }

    /// Appends the list to a free record; a record without named snapshots ends before it.
    pub(crate) fn encode(&self, record: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        put_varint(record, self.len() as u32);
        for entry in self.iter() {
            record.push(entry.name.len() as u8);
            record.extend_from_slice(entry.name.as_bytes());
            record.extend_from_slice(&entry.place.physical.to_le_bytes());
            record.extend_from_slice(&entry.place.hash);
        }
    }

    /// Reads what follows the two lists of runs in a free record; says what is wrong with it.
    pub(crate) fn decode(mut rest: &[u8], physical_pages: u32) -> Result<Self, String> {
        let mut list = Self::default();
        if rest.is_empty() {
            return Ok(list);
        }
        let count = take_varint(&mut rest)?;
        if count == 0 {
            return Err("an empty list of named snapshots is left out".into());
        }
        for index in 0..count {
            let ends = || format!("ends inside named snapshot {index} of {count}");
            let (&len, tail) = rest.split_first().ok_or_else(ends)?;
            let (name, tail) = tail.split_at_checked(len.into()).ok_or_else(ends)?;
            let (physical, tail) = tail.split_first_chunk().ok_or_else(ends)?;
            let (&hash, tail) = tail.split_first_chunk().ok_or_else(ends)?;
            rest = tail;
            let name = std::str::from_utf8(name)
                .map_err(|_| format!("the name of snapshot {index} is not UTF-8"))?;
            check_name(name).map_err(|flaw| format!("snapshot {index}: {flaw}"))?;
            if list.entries.last().is_some_and(|last| *last.name >= *name) {
                return Err(format!(
                    "snapshot {index}, {name:?}, is not above the name before it"
                ));
            }
            let physical = u32::from_le_bytes(*physical);
            if !(2..physical_pages).contains(&physical) {
                return Err(format!(
                    "snapshot {name:?} is at page {physical}, outside 2..{physical_pages}"
                ));
            }
            list.entries
                .push(Arc::new(Named::new(name, Entry { physical, hash })));
        }
        if rest.is_empty() {
            Ok(list)
        } else {
            Err(format!("{} bytes left over", rest.len()))
        }
    }
}

pub(crate) fn structures() -> Vec<crate::format::Structure> {
    use crate::format::{Case, Field, Structure};

    let entry = |length: usize| {
        let mut list = NamedList::default();
        let (physical, hash) = (0x1111_1111, [0x22; 32]);
        list.insert(Named::new(&"n".repeat(length), Entry { physical, hash }));
        let mut record = Vec::new();
        list.encode(&mut record);
        // The number of snapshots, one byte, is not of the entry.
        let entry = &record[1..];
        let fields = vec![
            Field::new(
                "length",
                0,
                entry.iter().position(|&byte| byte == b'n').unwrap_or(0),
            ),
            Field::marked("name", entry, b'n'),
            Field::marked("page", entry, 0x11),
            Field::marked("hash", entry, 0x22),
        ];
        let given = vec![("length", length as u64)];
        Case { given, fields }
    };
    vec![Structure::of("named snapshot", [1, 5, 255].map(entry))]
}

impl Named {
    pub(crate) fn new(name: &str, place: Entry) -> Self {
        Self {
            name: name.into(),
            place,
            frozen: OnceLock::new(),
        }
    }

    pub(crate) fn run(&self) -> Run {
        Run {
            first: self.place.physical,
            pages: 1,
        }
    }

    /// Its superblock, as `current`, a state that names it, has it.
    pub(crate) fn superblock(&self, current: &Base) -> Result<&Superblock> {
        if let Some(frozen) = self.frozen.get() {
            return Ok(frozen);
        }
        let page = current.verify_entry(&self.place, LogicalPage::NONE)?;
        let frozen =
            decode_frozen(page, current.page_size, current.sequence).map_err(|detail| {
                PageError::Corrupt {
                    what: "named snapshot",
                    physical: PhysicalPage(self.place.physical),
                    detail: format!("{:?}: {detail}", self.name),
                }
            })?;
        Ok(self.frozen.get_or_init(|| frozen))
    }

    /// Its state, to look places up in its map: without a cache of translations.
    pub(crate) fn map_of(&self, current: &Base) -> Result<Base> {
        Ok(Base::frozen(self.superblock(current)?, current, None))
    }
}

/// The page that holds a frozen superblock.
pub(crate) fn encode_frozen(state: &Superblock) -> Vec<u8> {
    let frozen = Superblock {
        free: FreePlace::Inline(Vec::new()),
        journal: [Run::default(); 2],
        drained: 0,
        chain: 0,
        ..state.clone()
    };
    let mut page = frozen.encode();
    page.resize(state.page_size.bytes(), 0);
    page
}

/// The frozen superblock in a page of its own, of a store with pages of this size that is at sequence `latest`; says what is
/// wrong with it.
pub(crate) fn decode_frozen(
    page: &[u8],
    page_size: PageSize,
    latest: u64,
) -> Result<Superblock, String> {
    let (bytes, rest) = page.split_at(superblock_len(page_size).min(page.len()));
    let frozen = Superblock::decode(bytes).map_err(|error| match error {
        SlotError::Zero => "its page is all zeros".to_owned(),
        SlotError::NoMagic => "its page does not begin with SHROOMDB".to_owned(),
        SlotError::Version(version) => format!("format version {version}"),
        SlotError::Malformed(detail) => detail,
    })?;
    let sizes =
        |frozen: PageSize, file: PageSize| format!("page size {frozen:?} in a file of {file:?}");
    if frozen.page_size != page_size {
        return Err(sizes(frozen.page_size, page_size));
    }
    if frozen.sequence > latest {
        return Err(format!(
            "its sequence {} is above that of the file, {latest}",
            frozen.sequence
        ));
    }
    let plain = frozen.free == FreePlace::Inline(Vec::new())
        && frozen.journal == [Run::default(); 2]
        && (frozen.drained, frozen.chain) == (0, 0);
    if !plain || rest.iter().any(|&byte| byte != 0) {
        return Err("it has free pages, a journal, or reserved bytes that are not zero".into());
    }
    Ok(frozen)
}

/// Says what is wrong with a name.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > SNAPSHOT_NAME_MAX {
        return Err(format!(
            "a name has 1 to {SNAPSHOT_NAME_MAX} bytes, this one {}",
            name.len()
        ));
    }
    match name.chars().find(|letter| letter.is_control()) {
        Some(letter) => Err(format!(
            "a name has no control characters, this one {letter:?}"
        )),
        None => Ok(()),
    }
}

pub(crate) fn no_such(name: &str) -> PageError {
    PageError::NoSuchSnapshot { name: name.into() }
}

/// The maps of named snapshots, to ask whether they reach a page.
#[derive(Debug, Default)]
pub(crate) struct Held {
    maps: Vec<Base>,
}

impl Held {
    /// Those of a list that `current`, or the state before it, names.
    pub(crate) fn new(list: &NamedList, current: &Base) -> Result<Self> {
        let maps: Result<Vec<_>> = list.iter().map(|named| named.map_of(current)).collect();
        let mut maps = maps?;
        // A page that the present state shares with any is most likely shared with the newest.
        maps.sort_by_key(|map| std::cmp::Reverse(map.sequence));
        Ok(Self { maps })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.maps.is_empty()
    }

    pub(crate) fn maps(&self) -> impl Iterator<Item = &Base> {
        self.maps.iter()
    }

    /// Whether a snapshot reaches physical page `physical` as entry `index` of `level`.
    pub(crate) fn reaches(&self, level: u8, index: u32, physical: u32) -> Result<bool> {
        reached(&self.maps, level, index, physical)
    }
}

fn reached<'b>(
    states: impl IntoIterator<Item = &'b Base>,
    level: u8,
    index: u32,
    physical: u32,
) -> Result<bool> {
    for state in states {
        if state.entry(level, index)?.physical == physical {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Visits each page of `state` that no state of `others` has at the same place: level, index and entry, a page of the map
/// before those under it. What lies under a page that another one shares is shared too. `visit` must refuse a page that
/// it was given before: a damaged map may lead to one by many ways.
pub(crate) fn visit_exclusive(
    state: &Base,
    others: &[&Base],
    visit: &mut dyn FnMut(u8, u32, Entry) -> Result<()>,
) -> Result<()> {
    for index in 0..state.root_physical.len() as u32 {
        let entry = state.root_entry(index as usize);
        visit_under(state, others, (state.shape.height, index), entry, visit)?;
    }
    Ok(())
}

fn visit_under(
    state: &Base,
    others: &[&Base],
    (level, index): (u8, u32),
    entry: Entry,
    visit: &mut dyn FnMut(u8, u32, Entry) -> Result<()>,
) -> Result<()> {
    if entry.is_absent() || reached(others.iter().copied(), level, index, entry.physical)? {
        return Ok(());
    }
    visit(level, index, entry)?;
    let Some(below) = level.checked_sub(1) else {
        return Ok(());
    };
    let entries = state.node_of(&entry, below)?;
    let fanout = state.fanout as u32;
    for digit in 0..fanout {
        let child = index
            .checked_mul(fanout)
            .and_then(|at| at.checked_add(digit));
        let Some(child) = child else { break };
        let entry = entries.get(digit as usize);
        visit_under(state, others, (below, child), entry, visit)?;
    }
    Ok(())
}

/// The logical pages that are present in a state, all of whose pages must be within its file.
pub(crate) fn mapped(state: &Base) -> Result<FreeRuns> {
    let mut seen = FreeRuns::default();
    let mut mapped = FreeRuns::default();
    visit_exclusive(state, &[], &mut |level, index, entry| {
        let fresh = seen.try_insert(entry.physical, 1);
        let within = (2..state.physical_pages).contains(&entry.physical)
            && (level > 0 || (1..state.logical_pages).contains(&index));
        if fresh && within && (level > 0 || mapped.try_insert(index, 1)) {
            Ok(())
        } else {
            Err(reached_twice(entry))
        }
    })?;
    Ok(mapped)
}

#[cold]
pub(crate) fn reached_twice(entry: Entry) -> PageError {
    PageError::Corrupt {
        what: "page map of a named snapshot",
        physical: PhysicalPage(entry.physical),
        detail: "reached twice, outside the file, or mapped to a number that is out of range"
            .into(),
    }
}

impl PageStore {
    /// The last committed state with its named snapshots.
    pub(crate) fn named(&self) -> Result<(Arc<Base>, NamedList)> {
        let base = self.snapshot().base;
        if let Some(named) = base.named.get() {
            let named = named.clone();
            return Ok((base, named));
        }
        // Only a writer needs the free record at once, so a reader has not read it yet.
        let superblock = crate::recovery::choose_superblock(self.storage())?.superblock;
        if superblock.sequence != base.sequence {
            return Err(PageError::Misuse {
                what: "named snapshots",
                detail: "another handle has changed the store since it was opened read-only".into(),
            });
        }
        let record = crate::recovery::read_free_record(self.storage(), &superblock)?;
        let named = base.named.get_or_init(|| record.named).clone();
        Ok((base, named))
    }

    /// Names of the named snapshots of the last committed state, ascending by their bytes.
    ///
    /// # Errors
    /// A damaged free record, of a store that is open read-only; I/O errors.
    pub fn snapshot_names(&self) -> Result<Vec<String>> {
        let (_, named) = self.named()?;
        Ok(named.iter().map(|entry| entry.name.to_string()).collect())
    }

    /// The state that was saved under a name. Waits for no transaction. While it is held, what it reaches stays, even when
    /// the named snapshot is deleted.
    ///
    /// # Errors
    /// [`PageError::NoSuchSnapshot`]; corruption of its superblock; I/O errors.
    pub fn open_snapshot(&self, name: &str) -> Result<Snapshot> {
        let (base, named) = self.named()?;
        let superblock = named.find(name)?.superblock(&base)?;
        Ok(Snapshot {
            base: Arc::new(Base::frozen(superblock, &base, Some(Arc::clone(&base)))),
        })
    }

    /// Number of pages that only this named snapshot reaches: what its deletion would free. Costs a walk over the
    /// parts of its map that differ from those of the present state and of other snapshots.
    ///
    /// # Errors
    /// [`PageError::NoSuchSnapshot`]; corruption of a map; I/O errors.
    pub fn snapshot_pages(&self, name: &str) -> Result<u64> {
        let (base, mut named) = self.named()?;
        let state = named.remove(name)?.map_of(&base)?;
        let held = Held::new(&named, &base)?;
        let others: Vec<&Base> = held.maps().chain([&*base]).collect();
        let mut seen = FreeRuns::default();
        visit_exclusive(
            &state,
            &others,
            &mut |_, _, entry| match seen.try_insert(entry.physical, 1) {
                true => Ok(()),
                false => Err(reached_twice(entry)),
            },
        )?;
        Ok(seen.pages() + 1)
    }

    /// Pages of the present state, those of its map among them, that no named snapshot has: what would be free if the state moved.
    ///
    /// # Errors
    /// Corruption of the page map.
    pub fn present_pages(&self) -> Result<u64> {
        let (base, named) = self.named()?;
        let held = Held::new(&named, &base)?;
        let others: Vec<&Base> = held.maps().collect();
        let mut seen = FreeRuns::default();
        visit_exclusive(
            &base,
            &others,
            &mut |_, _, entry| match seen.try_insert(entry.physical, 1) {
                true => Ok(()),
                false => Err(reached_twice(entry)),
            },
        )?;
        Ok(seen.pages())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> NamedList {
        let mut list = NamedList::default();
        for (index, name) in names.iter().enumerate() {
            let hash = [index as u8; 32];
            let physical = 2 + index as u32;
            list.insert(Named::new(name, Entry { physical, hash }));
        }
        list
    }

    #[test]
    fn a_list_is_sorted_and_round_trips() {
        let list = list(&["zwei", "a", "ü", &"n".repeat(255)]);
        let mut record = Vec::new();
        list.encode(&mut record);
        let read = NamedList::decode(&record, 6).unwrap();
        let names: Vec<_> = read
            .iter()
            .map(|named| (&*named.name, named.place))
            .collect();
        assert!(names.is_sorted_by(|a, b| a.0.as_bytes() < b.0.as_bytes()));
        assert!(
            names
                .iter()
                .all(|(name, place)| list.find(name).unwrap().place == *place)
        );
        let mut again = Vec::new();
        read.encode(&mut again);
        assert_eq!(record, again);
        for len in 1..record.len() {
            NamedList::decode(&record[..len], 6).unwrap_err();
        }
    }

    #[test]
    fn every_malformed_list_says_what_is_wrong() {
        let entry = |name: &[u8], physical: u32| {
            let place = [&physical.to_le_bytes()[..], &[0; 32]].concat();
            [&[name.len() as u8], name, &place].concat()
        };
        let cases: [(Vec<u8>, &str); 9] = [
            (vec![0], "left out"),
            ([&[1][..], &entry(b"", 2)].concat(), "1 to 255 bytes"),
            ([&[1][..], &entry(b"\xff", 2)].concat(), "not UTF-8"),
            (
                [&[1][..], &entry(b"a\nb", 2)].concat(),
                "control characters",
            ),
            ([&[1][..], &entry(b"a", 1)].concat(), "outside 2..9"),
            ([&[1][..], &entry(b"a", 9)].concat(), "outside 2..9"),
            ([&[1][..], &entry(b"a", 2), &[7]].concat(), "left over"),
            (
                [&[2][..], &entry(b"a", 2), &entry(b"a", 3)].concat(),
                "not above",
            ),
            (
                [&[2][..], &entry(b"b", 2), &entry(b"a", 3)].concat(),
                "not above",
            ),
        ];
        for (bytes, expected) in cases {
            let error = NamedList::decode(&bytes, 9).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
