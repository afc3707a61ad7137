//! The page layer's structures in words (format §2 to §4).

use super::{PageUse, StoreInspection};
use crate::explain::{Explainer, Explanation, hexadecimal, span};
use crate::named::decode_frozen;
use crate::superblock::{FreePlace, SlotError, Superblock, superblock_len};
use crate::{
    PAGE_HEADER_LEN, PageError, PageHeader, PageSize, PageType, PhysicalPage, Result, map,
};

impl StoreInspection {
    /// The superblock in slot 0 or 1, in words; `roots` explains the bytes that the layers above keep there.
    ///
    /// # Errors
    /// I/O errors.
    pub fn explain_slot(
        &self,
        slot: u32,
        roots: &mut dyn FnMut(&mut Explainer<'_>),
    ) -> Result<Explanation> {
        let position = u64::from(slot) << self.page_size().shift();
        let len = self.storage.len().map_err(PageError::io("length", 0))?;
        let there = len.saturating_sub(position);
        let mut bytes = vec![0; there.min(self.page_size().bytes() as u64) as usize];
        self.storage
            .read_at(position, &mut bytes)
            .map_err(PageError::io("read", position))?;
        let superblock = bytes.get(..superblock_len(self.page_size()));
        let decoded = Superblock::decode(superblock.unwrap_or(&bytes));
        let state = match &decoded {
            Ok(superblock) if *superblock == self.superblock => "the state of the file",
            Ok(_) => "an earlier state",
            Err(_) => "damaged",
        };
        let title = format!("superblock in slot {slot}, {state}");
        let explanation = Explanation::new(title, position, &bytes, |explainer| {
            explain_superblock(explainer, self.page_size(), roots);
        });
        Ok(
            explanation.with_flaw(decoded.err().map(|error| match error {
                SlotError::Zero => "it is all zeros".into(),
                SlotError::NoMagic => "it does not begin with SHROOMDB".into(),
                SlotError::Version(version) => format!("format version {version}"),
                SlotError::Malformed(detail) => detail,
            })),
        )
    }

    /// A page of this layer in words: of the map, of the free record, or a frozen superblock. `None` for every other use.
    pub fn explain_page(
        &self,
        page: PhysicalPage,
        page_use: PageUse,
        roots: &mut dyn FnMut(&mut Explainer<'_>),
    ) -> Option<Explanation> {
        let position = u64::from(page.0) << self.page_size().shift();
        let bytes = self.bytes(page)?;
        match page_use {
            PageUse::Map { level, index } => {
                let level = level.checked_sub(1)?;
                let title = format!("page map at {page}: level {level}, index {index}");
                let fanout = map::fanout(self.page_size());
                let explanation = Explanation::new(title, position, bytes, |explainer| {
                    explain_node(explainer, level, index, fanout);
                });
                Some(explanation.with_flaw(map::check_node(bytes, level, fanout).err()))
            }
            PageUse::Frozen(index) => {
                let name = self.names().get(index as usize).cloned();
                let title = format!(
                    "frozen superblock of the snapshot {:?} at {page}",
                    name.unwrap_or_default()
                );
                let explanation = Explanation::new(title, position, bytes, |explainer| {
                    explain_superblock(explainer, self.page_size(), roots);
                });
                let latest = self.superblock.sequence;
                let flaw = decode_frozen(bytes, self.page_size(), latest).err();
                Some(explanation.with_flaw(flaw))
            }
            PageUse::FreeRecord => Some(self.explain_record()),
            _ => None,
        }
    }

    /// The free record, where it has pages of its own.
    fn explain_record(&self) -> Explanation {
        let FreePlace::Pages { run, bytes, .. } = self.superblock.free else {
            return Explanation::new("free record", 0, &[], |_| {});
        };
        let position = u64::from(run.first) << self.page_size().shift();
        let pages = (run.first..).take(run.pages as usize);
        let content: Vec<u8> = pages
            .filter_map(|page| self.bytes(PhysicalPage(page)))
            .flatten()
            .copied()
            .collect();
        let title = format!(
            "free record at P{}, {bytes} bytes",
            span(run.first.into(), run.pages.into())
        );
        let len = content.len().min(bytes as usize);
        let explanation = Explanation::new(title, position, &content[..len], explain_free_record);
        explanation.with_flaw(self.record.as_ref().err().map(ToString::to_string))
    }
}

/// A page's header (format §2.2), with the meaning that its layer gives the last four bytes.
pub fn explain_page_header(
    explainer: &mut Explainer<'_>,
    reserved: impl FnOnce(&mut Explainer<'_>),
) {
    let page_type = explainer.left().first().copied().unwrap_or_default();
    explainer.number(1, "page_type", |value| {
        match PageHeader::read(&[page_type; PAGE_HEADER_LEN]) {
            Some(header) => format!("{value}: {}", type_name(header.page_type)),
            None => format!("{value}: no page type"),
        }
    });
    explainer.number(1, "kind", |value| match (page_type, value) {
        (2, 1) => "1: free-index leaf".into(),
        (2, 2) => "2: free-index node".into(),
        (2, 3) => "3: directory leaf".into(),
        (2, 4) => "4: directory node".into(),
        (3, level) => format!("map page of level {level}"),
        (_, value) => value.to_string(),
    });
    explainer.number(2, "used", |value| match page_type {
        1 => format!("live segments: {value}"),
        _ => format!("entries: {value}"),
    });
    reserved(explainer);
}

fn type_name(page_type: PageType) -> &'static str {
    match page_type {
        PageType::Free => "free",
        PageType::Storage => "storage page",
        PageType::Index => "index page",
        PageType::Map => "page of the page map",
        PageType::Journal => "journal page",
    }
}

/// A map entry's columns, of which absent entries are taken together: those present are given to `meaning`.
fn explain_entries(
    explainer: &mut Explainer<'_>,
    count: usize,
    len: usize,
    name: &str,
    meaning: impl Fn(usize, &[u8]) -> String,
) {
    let column = explainer.left().get(..count.saturating_mul(len));
    let Some(column) = column else {
        return explainer.rest("entries, cut off");
    };
    let entries: Vec<&[u8]> = column.chunks(len).collect();
    let is_absent = |entry: &&[u8]| entry.iter().all(|&byte| byte == 0);
    let mut at = 0;
    while at < count {
        let absent = entries[at..]
            .iter()
            .take_while(|entry| is_absent(entry))
            .count();
        if absent > 0 {
            let name = format!("{name} {}", span(at as u64, absent as u64));
            explainer.field(absent * len, name, |_| "absent".into());
            at += absent;
        } else {
            explainer.field(len, format!("{name} {at}"), |bytes| meaning(at, bytes));
            at += 1;
        }
    }
}

/// Where the page of entry `index` of a level lies.
fn entry_meaning(level: u8, index: u64, bytes: &[u8]) -> String {
    let physical = bytes
        .iter()
        .rev()
        .fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    match level {
        0 => format!("logical page L{index} lies at P{physical}"),
        _ => format!(
            "the map page of level {}, index {index}, lies at P{physical}",
            level - 1
        ),
    }
}

/// A page of the map, of `level` (format §3).
fn explain_node(explainer: &mut Explainer<'_>, level: u8, index: u32, fanout: usize) {
    explain_page_header(explainer, |explainer| explainer.reserved(4, "reserved"));
    let first = u64::from(index) * fanout as u64;
    explain_entries(explainer, fanout, 4, "physical", |at, bytes| {
        entry_meaning(level, first + at as u64, bytes)
    });
    explain_entries(explainer, fanout, 32, "hash", |at, bytes| {
        format!(
            "BLAKE3 of the page of entry {at}: {}",
            hexadecimal(bytes, 32)
        )
    });
    let left = explainer.left().len();
    explainer.reserved(left, "after the entries");
}

/// A superblock and what follows it in its page (format §2.1).
fn explain_superblock(
    explainer: &mut Explainer<'_>,
    page_size: PageSize,
    roots: &mut dyn FnMut(&mut Explainer<'_>),
) {
    let end = superblock_len(page_size).min(explainer.left().len());
    explainer.field(8, "magic", |bytes| match bytes {
        b"SHROOMDB" => "SHROOMDB".into(),
        _ => "not SHROOMDB".into(),
    });
    explainer.number(2, "version", |value| format!("format version {value}"));
    explainer.number(1, "page_shift", |value| match value {
        9..=16 => format!("pages of {} bytes", 1 << value),
        _ => format!("{value} is no page size"),
    });
    let height = explainer.number(1, "map_height", |value| {
        format!("levels of map pages below the root entries: {value}")
    });
    explainer.reserved(4, "reserved");
    explainer.number(8, "sequence", |value| format!("checkpoint {value}"));
    explainer.field(32, "hash", |bytes| {
        format!("BLAKE3 of the rest: {}", hexadecimal(bytes, 32))
    });
    explainer.number(4, "logical_pages", |value| {
        format!("logical page numbers are below {value}")
    });
    explainer.number(4, "physical_pages", |value| {
        format!("the file has {value} pages")
    });
    let entries = explainer.number(4, "root_entries", |value| {
        format!("entries in the tail: {value}")
    });
    let in_pages = explainer.number(4, "free_first", |value| match value {
        0 => "the free record is in the tail".into(),
        _ => format!("the free record begins at P{value}"),
    });
    explainer.number(4, "free_pages", |value| format!("{value} pages of its own"));
    let record = explainer.number(4, "free_bytes", |value| {
        format!("the free record has {value} bytes")
    });
    explainer.field(32, "free_hash", |bytes| match in_pages {
        0 => "zero: the free record is in the tail".into(),
        _ => format!("BLAKE3 of the free record: {}", hexadecimal(bytes, 32)),
    });
    for area in 0..2 {
        let first = explainer.number(4, format!("journal[{area}] first"), |value| match value {
            0 => "no area".into(),
            _ => format!("the area begins at P{value}"),
        });
        explainer.number(4, format!("journal[{area}] pages"), |value| match first {
            0 => value.to_string(),
            _ => format!("{value} pages"),
        });
    }
    explainer.number(8, "drained", |value| {
        format!("journal frames up to {value} are in the pages")
    });
    explainer.field(8, "chain", |bytes| {
        format!("checksum of the last of them: {}", hexadecimal(bytes, 8))
    });
    roots(explainer);
    let height = height.min(map::HEIGHT_MAX.into()) as u8;
    let room = end.saturating_sub(explainer.at()) / map::ENTRY_LEN;
    let count = room.min(entries as usize);
    explain_entries(explainer, count, 4, "root physical", |at, bytes| {
        entry_meaning(height, at as u64, bytes)
    });
    explain_entries(explainer, count, 32, "root hash", |at, bytes| {
        format!(
            "BLAKE3 of the page of entry {at}: {}",
            hexadecimal(bytes, 32)
        )
    });
    if in_pages == 0 {
        let end = (explainer.at() + record as usize).min(end);
        explain_record_until(explainer, end);
    }
    let left = explainer.left().len();
    explainer.reserved(left, "after the tail");
}

/// A free record that is all there is (format §4.1).
fn explain_free_record(explainer: &mut Explainer<'_>) {
    let end = explainer.at() + explainer.left().len();
    explain_record_until(explainer, end);
}

fn explain_record_until(explainer: &mut Explainer<'_>, end: usize) {
    for (list, letter) in [("physical", 'P'), ("logical", 'L')] {
        let count = varint(explainer, end, &format!("free {list} runs"), |count| {
            format!("runs of free {list} pages: {count}")
        });
        let mut next = 0_u64;
        for run in 0..count {
            if explainer.at() >= end {
                return;
            }
            let first = next;
            let gap = varint(explainer, end, &format!("{list} run {run} gap"), |gap| {
                format!("the run begins at {letter}{}", first + gap)
            });
            let first = first + gap;
            let len = varint(explainer, end, &format!("{list} run {run} length"), |len| {
                format!("free: {letter}{}", span(first, len))
            });
            next = first + len;
        }
    }
    if explainer.at() >= end {
        return;
    }
    let count = varint(explainer, end, "snapshots", |count| {
        format!("named snapshots: {count}")
    });
    for _ in 0..count {
        if explainer.at() >= end {
            return;
        }
        let len = explainer.number(1, "name length", |len| format!("a name of {len} bytes"));
        explainer.field(len as usize, "name", |bytes| {
            format!("{:?}", String::from_utf8_lossy(bytes))
        });
        explainer.number(4, "page", |page| {
            format!("its frozen superblock lies at P{page}")
        });
        explainer.field(32, "hash", |bytes| {
            format!("BLAKE3 of that page: {}", hexadecimal(bytes, 32))
        });
    }
}

/// A number in LEB128 that ends before `end`; 0 when it does not.
fn varint(
    explainer: &mut Explainer<'_>,
    end: usize,
    name: &str,
    meaning: impl FnOnce(u64) -> String,
) -> u64 {
    let room = end.saturating_sub(explainer.at());
    let left = explainer.left();
    let before = left.get(..room.min(left.len())).unwrap_or_default();
    let mut rest = before;
    match crate::free_runs::take_varint(&mut rest) {
        Ok(value) => {
            let value = u64::from(value);
            explainer.field(before.len() - rest.len(), name, |_| meaning(value));
            value
        }
        Err(detail) => {
            explainer.field(before.len(), name, |_| detail);
            0
        }
    }
}
