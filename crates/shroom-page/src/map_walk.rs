//! The walk from a logical number to verified bytes: down the page map, wherever the bytes of the file are.
//!
//! * R1 No byte is handed out before its page's hash was seen to match: once since open, or at each read where nothing is
//!   remembered.
//! * R2 A walk reads at most one page of the map a level, and nothing outside the file.
//!
//! Absent on purpose: holds nothing; who implements it has the bytes, the root and what was verified.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::map::{self, Entries, Entry, MapShape};
use crate::superblock::Roots;
use crate::verified::VerifiedPages;
use crate::{LogicalPage, PageError, PageSize, PhysicalPage, Result, page_root};

/// A page map and the bytes of its file.
pub(crate) trait MapPages {
    /// Size of each page.
    fn page_size(&self) -> PageSize;

    /// Logical page numbers are below this.
    fn logical_pages(&self) -> u32;

    /// Length of the file, in pages.
    fn physical_pages(&self) -> u32;

    /// Height and width of the map.
    fn shape(&self) -> &MapShape;

    /// Entries of a map page.
    fn fanout(&self) -> usize;

    /// What the layers above keep in the superblock.
    fn roots(&self) -> &Roots;

    /// The map's root.
    fn root(&self) -> Entries<'_>;

    /// Bytes of the file; `None` when they are not all in it.
    fn slice(&self, offset: u64, len: usize) -> Option<&[u8]>;

    /// Which pages were seen to match their hashes.
    fn verified(&self) -> &VerifiedPages;

    /// Whether that is remembered. Else every read checks the hash again.
    fn remembers(&self) -> bool;

    /// The page of the map with this hash, where it was rebuilt because that in the file is damaged.
    fn rebuilt(&self, hash: Option<&[u8; 32]>) -> Option<&[u8]> {
        let _ = hash;
        None
    }

    /// Where a logical page lies, and its verified bytes.
    #[inline]
    fn locate(&self, page: LogicalPage) -> Result<(u32, &[u8])> {
        let (entries, index) = self.leaf(page.0)?;
        let physical = entries
            .physical
            .get(index)
            .map_or(0, |physical| physical.get());
        if physical == 0 || page.is_none() {
            return Err(self.unallocated(page.0));
        }
        let bytes = self.checked(physical, entries, index, page)?;
        Ok((physical, bytes))
    }

    /// Whether a logical page is allocated.
    fn is_allocated(&self, page: LogicalPage) -> Result<bool> {
        Ok(!page.is_none() && !self.entry(0, page.0)?.is_absent())
    }

    /// As [`PageRead::next_allocated`](crate::PageRead::next_allocated). Goes past all that an absent map page stands for in one step.
    fn next_allocated(&self, mut number: u32) -> Result<Option<LogicalPage>> {
        'pages: while number < self.logical_pages() {
            if !self.entry(0, number)?.is_absent() {
                return Ok(Some(LogicalPage(number)));
            }
            for level in (0..=self.shape().height).rev() {
                let index = number / self.span(level);
                if self.entry(level, index)?.is_absent() {
                    let Some(next) = (index + 1).checked_mul(self.span(level)) else {
                        return Ok(None);
                    };
                    number = next;
                    continue 'pages;
                }
            }
        }
        Ok(None)
    }

    /// As [`PageRead::run`](crate::PageRead::run).
    fn run(&self, first: LogicalPage, pages: u32) -> Result<Option<&[u8]>> {
        if first.is_none()
            || u64::from(first.0) + u64::from(pages) > u64::from(self.logical_pages())
        {
            return Err(self.unallocated(first.0));
        }
        let mut start = 0;
        let mut done = 0;
        while done < pages {
            let (entries, index) = self.leaf(first.0 + done)?;
            for index in index..entries.physical.len() {
                if done == pages {
                    break;
                }
                let physical = entries.physical[index].get();
                if physical == 0 {
                    return Err(self.unallocated(first.0 + done));
                }
                if done == 0 {
                    start = physical;
                } else if physical != start.wrapping_add(done) {
                    return Ok(None);
                }
                self.checked(physical, entries, index, LogicalPage(first.0 + done))?;
                done += 1;
            }
        }
        let len = pages as usize * self.page_size().bytes();
        Ok(self.slice(u64::from(start) << self.page_size().shift(), len))
    }

    /// The level-0 entries that hold logical page `number`, and its index in them.
    #[inline]
    fn leaf(&self, number: u32) -> Result<(Entries<'_>, usize)> {
        if number >= self.logical_pages() {
            return Err(self.unallocated(number));
        }
        let mut entries = self.root();
        let mut level = self.shape().height;
        let mut rest = number;
        loop {
            let span = self.shape().spans[usize::from(level)];
            let index = (rest / span) as usize;
            if level == 0 {
                return Ok((entries, index));
            }
            rest %= span;
            let physical = entries
                .physical
                .get(index)
                .map_or(0, |physical| physical.get());
            if physical == 0 {
                return Err(self.unallocated(number));
            }
            level -= 1;
            entries = self.node(physical, entries, index, level)?;
        }
    }

    /// The verified entries of a map page of `level`, which entry `index` of `parent` refers to.
    #[inline]
    fn node(
        &self,
        physical: u32,
        parent: Entries<'_>,
        index: usize,
        level: u8,
    ) -> Result<Entries<'_>> {
        let page = self.checked_node(physical, parent, index, level)?;
        map::node_entries(page, self.fanout())
            .ok_or_else(|| self.bad_node(physical, "too short".into()))
    }

    /// The verified bytes of a map page of `level`, which entry `index` of `referrer` refers to.
    #[inline]
    fn checked_node(
        &self,
        physical: u32,
        referrer: Entries<'_>,
        index: usize,
        level: u8,
    ) -> Result<&[u8]> {
        let fresh = !self.verified().contains(physical);
        let page = match self.checked(physical, referrer, index, LogicalPage::NONE) {
            Ok(page) => page,
            Err(error) => return self.rebuilt(referrer.hash.get(index)).ok_or(error),
        };
        if fresh {
            map::check_node(page, level, self.fanout()).map_err(|detail| {
                self.verified().remove(physical); // to be refused at the next touch too
                self.bad_node(physical, detail)
            })?;
        }
        Ok(page)
    }

    /// The bytes of a physical page, verified against the hash at `index` of its referrer.
    #[inline]
    fn checked(
        &self,
        physical: u32,
        referrer: Entries<'_>,
        index: usize,
        logical: LogicalPage,
    ) -> Result<&[u8]> {
        let offset = u64::from(physical) << self.page_size().shift();
        let bytes = self.slice(offset, self.page_size().bytes());
        let Some(bytes) = bytes.filter(|_| physical < self.physical_pages() && physical >= 2)
        else {
            return Err(self.outside(physical));
        };
        if !self.verified().contains(physical) {
            self.verify(physical, bytes, referrer.hash.get(index), logical)?;
        }
        Ok(bytes)
    }

    /// Compares the bytes of a physical page with its hash.
    #[cold]
    fn verify(
        &self,
        physical: u32,
        bytes: &[u8],
        hash: Option<&[u8; 32]>,
        logical: LogicalPage,
    ) -> Result<()> {
        self.verified().count_check();
        if hash != Some(blake3::hash(bytes).as_bytes()) {
            let offset = u64::from(physical) << self.page_size().shift();
            return Err(PageError::HashMismatch {
                logical,
                physical: PhysicalPage(physical),
                offset,
            });
        }
        if self.remembers() {
            self.verified().insert(physical);
        }
        Ok(())
    }

    /// The bytes of a physical page, unchecked; `None` when it is a superblock or outside the file.
    fn page_bytes(&self, physical: u32) -> Option<&[u8]> {
        let offset = u64::from(physical) << self.page_size().shift();
        let bytes = self.slice(offset, self.page_size().bytes());
        bytes.filter(|_| (2..self.physical_pages()).contains(&physical))
    }

    /// The bytes of physical page `entry.physical`, checked against its hash now, whatever was seen before.
    fn verify_entry(&self, entry: &Entry, logical: LogicalPage) -> Result<&[u8]> {
        let Some(bytes) = self.page_bytes(entry.physical) else {
            return Err(self.outside(entry.physical));
        };
        self.verify(entry.physical, bytes, Some(&entry.hash), logical)?;
        Ok(bytes)
    }

    /// Entry `index` of `level`: a logical page (0), or the node of level - 1 with that index. Absent when there is none.
    fn entry(&self, level: u8, index: u32) -> Result<Entry> {
        let Some(first) = u64::from(index).checked_mul(u64::from(self.span(level))) else {
            return Ok(Entry::ABSENT);
        };
        if level > self.shape().height || first >= u64::from(self.logical_pages()) {
            return Ok(Entry::ABSENT);
        }
        let mut entries = self.root();
        for at in (level..=self.shape().height).rev() {
            let digit = first / u64::from(self.span(at));
            let digit = if at == self.shape().height {
                digit
            } else {
                digit % self.fanout() as u64
            } as usize;
            let entry = entries.get(digit);
            if at == level || entry.is_absent() {
                return Ok(entry);
            }
            entries = self.node(entry.physical, entries, digit, at - 1)?;
        }
        Ok(Entry::ABSENT)
    }

    /// The verified entries of the node that `entry`, of `level + 1`, refers to.
    fn node_of(&self, entry: &Entry, level: u8) -> Result<Entries<'_>> {
        let page = self.node_page_of(entry, level)?;
        map::node_entries(page, self.fanout())
            .ok_or_else(|| self.bad_node(entry.physical, "too short".into()))
    }

    /// The verified page of the node that `entry`, of `level + 1`, refers to.
    fn node_page_of(&self, entry: &Entry, level: u8) -> Result<&[u8]> {
        let referrer = Entries {
            physical: &[],
            hash: core::slice::from_ref(&entry.hash),
        };
        // The page borrows from the view alone, not from the referrer.
        self.checked_node(entry.physical, referrer, 0, level)
    }

    /// The bytes that the page root is the hash of.
    fn page_root_input(&self) -> Vec<u8> {
        let (height, pages) = (self.shape().height, self.logical_pages());
        page_root::input(height, pages, self.roots(), self.root())
    }

    /// Hash of the roots and of the map's root: authenticates every page (format §3).
    fn page_root(&self) -> [u8; 32] {
        *blake3::hash(&self.page_root_input()).as_bytes()
    }

    /// Entry `index` of the root.
    fn root_entry(&self, index: usize) -> Entry {
        self.root().get(index)
    }

    /// Logical pages under one entry of a level.
    fn span(&self, level: u8) -> u32 {
        self.shape()
            .spans
            .get(usize::from(level))
            .copied()
            .unwrap_or(u32::MAX)
    }

    /// The error for a page that is not there.
    #[cold]
    fn unallocated(&self, number: u32) -> PageError {
        PageError::Unallocated {
            page: LogicalPage(number),
            limit: self.logical_pages(),
        }
    }

    /// The error for an entry that leaves the file.
    #[cold]
    fn outside(&self, physical: u32) -> PageError {
        PageError::Corrupt {
            what: "page map entry",
            physical: PhysicalPage(physical),
            detail: format!("points outside the file's {} pages", self.physical_pages()),
        }
    }

    /// The error for a malformed map page.
    #[cold]
    fn bad_node(&self, physical: u32, detail: String) -> PageError {
        PageError::Corrupt {
            what: "page map node",
            physical: PhysicalPage(physical),
            detail,
        }
    }
}
