//! Directory pages under a merge: rewritten, split, combined; the tree grows and shrinks.
//!
//! * D1 A page whose entries did not change is not written.
//! * D2 A page that overflows is split evenly into as few pages as needed; when entries were only added at the
//!   right edge of the tree, pages are filled to the brim instead.
//! * D3 A page that a merge leaves under a quarter full joins a neighbour under the same parent, if both fit.
//!
//! Absent on purpose: knows no pack.

use std::ops::Range;

use shroom_page::{LogicalPage, PageRead};
use shroom_seg::SegmentTxn;

use crate::lookup::open_node;
use crate::node::{Entry, HEIGHT_MAX, NodeShape, encode};
use crate::{Result, TokenError, TokenRoot};

/// An entry for a directory page that a merge went past.
#[derive(Clone, Copy)]
pub(crate) struct Child {
    pub(crate) entry: Entry,
    /// Encoded length, when the page was rewritten.
    pub(crate) rewritten: Option<usize>,
}

/// Reads all entries of a directory page.
pub(crate) fn read_entries(
    segments: &SegmentTxn<'_, '_>,
    page: LogicalPage,
    level: u8,
    key: Option<u64>,
) -> Result<Vec<Entry>> {
    let node = open_node(segments.pages(), page, level, key)?;
    node.check()
        .map_err(|flaw| TokenError::Directory { page, flaw })?;
    Ok(node.entries().collect())
}

/// Writes `new` where `old` was, on `page` (if there was one) and as many more as needed, and frees `page` when
/// nothing is left. `last` says that no id of the tree comes after these.
pub(crate) fn rewrite(
    segments: &mut SegmentTxn<'_, '_>,
    level: u8,
    page: Option<LogicalPage>,
    old: &[Entry],
    new: &[Entry],
    last: bool,
) -> Result<Vec<Child>> {
    let page_size = segments.pages().page_size().bytes();
    if let (Some(page), true) = (page, new == old) {
        let entry = Entry::page(old.first().map_or(0, |entry| entry.id), page);
        return Ok(vec![Child {
            entry,
            rewritten: None,
        }]);
    }
    let untouched = old.len().saturating_sub(1);
    let appended = last && new.len() > old.len() && new.get(..untouched) == old.get(..untouched);
    let parts = if appended {
        cut_full(new, page_size)
    } else {
        cut_evenly(new, page_size)
    };
    let mut page = page;
    let mut children = Vec::with_capacity(parts.len());
    for part in parts {
        let entries = new.get(part).unwrap_or(&[]);
        let first = entries.first().map_or(0, |entry| entry.id);
        let (target, same) = match page.take() {
            Some(page) => (page, entries == old),
            None => (segments.pages_mut().allocate()?, false),
        };
        if !same {
            encode(entries, level, segments.pages_mut().page_mut(target)?);
        }
        let rewritten = Some(NodeShape::of(entries).encoded_len());
        children.push(Child {
            entry: Entry::page(first, target),
            rewritten,
        });
    }
    if let Some(page) = page {
        segments.pages_mut().free(page)?;
    }
    Ok(children)
}

/// Combines rewritten children of `level` that are under a quarter full with a neighbour.
pub(crate) fn combine(
    segments: &mut SegmentTxn<'_, '_>,
    level: u8,
    children: &mut Vec<Child>,
) -> Result<()> {
    let page_size = segments.pages().page_size().bytes();
    let mut index = 0;
    while let Some(child) = children.get(index) {
        let small = child.rewritten.is_some_and(|len| len < page_size / 4);
        let joined = small
            && (join(segments, level, children, index)?
                || index > 0 && join(segments, level, children, index - 1)?);
        if joined {
            index = index.saturating_sub(1);
        } else {
            index += 1;
        }
    }
    Ok(())
}

/// Moves the entries of child `index + 1` to child `index`, if one page holds them all.
fn join(
    segments: &mut SegmentTxn<'_, '_>,
    level: u8,
    children: &mut Vec<Child>,
    index: usize,
) -> Result<bool> {
    let page_size = segments.pages().page_size().bytes();
    let (Some(&left), Some(&right)) = (children.get(index), children.get(index + 1)) else {
        return Ok(false);
    };
    let read =
        |child: Child| read_entries(segments, child.entry.addr.page, level, Some(child.entry.id));
    let mut entries = read(left)?;
    entries.append(&mut read(right)?);
    let shape = NodeShape::of(&entries);
    if !shape.fits(page_size) {
        return Ok(false);
    }
    encode(
        &entries,
        level,
        segments.pages_mut().page_mut(left.entry.addr.page)?,
    );
    segments.pages_mut().free(right.entry.addr.page)?;
    children.remove(index + 1);
    if let Some(child) = children.get_mut(index) {
        child.rewritten = Some(shape.encoded_len());
    }
    Ok(true)
}

/// Puts a root over `entries`, which lie at `level` (0: directory leaves), by adding levels and taking off those
/// that have a single entry.
pub(crate) fn plant(
    segments: &mut SegmentTxn<'_, '_>,
    mut level: u8,
    mut entries: Vec<Entry>,
    last: bool,
) -> Result<TokenRoot> {
    while entries.len() > 1 {
        level += 1;
        check_height(level)?;
        let children = rewrite(segments, level, None, &[], &entries, last)?;
        entries = children.iter().map(|child| child.entry).collect();
    }
    let Some(&root) = entries.first() else {
        return Ok(TokenRoot::EMPTY);
    };
    let mut addr = root.addr;
    loop {
        let entries = read_entries(segments, addr.page, level, None)?;
        let [only] = entries.as_slice() else {
            return Ok(TokenRoot {
                height: level + 2,
                addr,
                tokens: 0,
                payload: 0,
            });
        };
        segments.pages_mut().free(addr.page)?;
        addr = only.addr;
        match level.checked_sub(1) {
            Some(below) => level = below,
            None => {
                return Ok(TokenRoot {
                    height: 1,
                    addr,
                    tokens: 0,
                    payload: 0,
                });
            }
        }
    }
}

/// Refuses a root directory page of a level that the format has no height for: before a writer gets there, the pages have
/// no more numbers; a forged directory may be as high as the format allows with hardly a page.
pub(crate) fn check_height(level: u8) -> Result<()> {
    let height = level.saturating_add(2);
    if height <= HEIGHT_MAX {
        return Ok(());
    }
    Err(TokenError::Root {
        field: "height",
        expected: "0 to 8",
        got: height.into(),
    })
}

/// Parts filled one after another.
fn cut_full(entries: &[Entry], page_size: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut shape = NodeShape::default();
    for (index, entry) in entries.iter().enumerate() {
        let with = shape.with(*entry);
        if with.fits(page_size) {
            shape = with;
        } else {
            parts.push(start..index);
            start = index;
            shape = NodeShape::default().with(*entry);
        }
    }
    if start < entries.len() {
        parts.push(start..entries.len());
    }
    parts
}

/// As few parts as needed, of about as many entries each.
fn cut_evenly(entries: &[Entry], page_size: usize) -> Vec<Range<usize>> {
    let full = cut_full(entries, page_size);
    // Filling in order gives the least number of parts; equal parts of that number almost always fit too.
    for count in full.len()..full.len() + 3 {
        let parts = (0..count).map(|part| {
            let at = |part| entries.len() * part / count;
            at(part)..at(part + 1)
        });
        let fits = |part: &Range<usize>| {
            let entries = entries.get(part.clone()).unwrap_or(&[]);
            !entries.is_empty() && NodeShape::of(entries).fits(page_size)
        };
        if parts.clone().all(|part| fits(&part)) {
            return parts.collect();
        }
    }
    full
}
