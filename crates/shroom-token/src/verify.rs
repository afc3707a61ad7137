//! The full check: every directory page, every pack, every blob's shape, and the totals.
//!
//! * V1 Damage is collected and the walk goes on; errors of the system end it.
//! * V2 A page or pack named twice is reported and not entered again, and no more are entered than the file has room for, so
//!   that the walk ends.
//!
//! Absent on purpose: repairs nothing; what storage pages hold besides is for `shroom_seg::verify` to check,
//! with the references collected here. What else may be made of what the walk comes upon, it does not know.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use shroom_page::{LogicalPage, PageRead};
use shroom_seg::{References, SegmentAddr};

use crate::lookup::{open_node, open_pack, pack_error};
use crate::node::Entry;
use crate::pack::PACK_HEADER_LEN;
use crate::{Pack, Result, Stored, TokenError, TokenId, TokenRoot, inline_len_max};

/// What [`verify`] saw.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct TokenReport {
    /// All that is wrong, in order of ids.
    pub findings: Vec<TokenError>,
    /// Tokens found.
    pub tokens: u64,
    /// Sum of their lengths, in bytes.
    pub payload: u64,
    /// Packs found.
    pub packs: u64,
    /// Bytes of the packs' segments.
    pub pack_bytes: u64,
    /// Tokens that are blobs.
    pub blobs: u64,
    /// Directory pages found.
    pub directory_pages: u64,
}

impl TokenReport {
    /// True when nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// What a [`walk`] over all tokens comes upon.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Reached<'p> {
    /// A directory page.
    DirectoryPage {
        /// Its number.
        page: LogicalPage,
        /// 0: its entries are packs.
        level: u8,
    },
    /// A pack.
    Pack {
        /// Its segment.
        addr: SegmentAddr,
        /// What is in it; `None` when it cannot be read.
        pack: Option<Pack<'p>>,
    },
    /// A value that lies outside of its pack.
    Blob {
        /// The token.
        id: TokenId,
        /// Its first segment.
        head: SegmentAddr,
        /// Its length, in bytes.
        length: u64,
    },
}

/// Checks order, counts, widths, routing keys and totals of all tokens under `root`, and adds every directory page,
/// pack and blob to `references`.
///
/// # Errors
/// Errors of the system only; damage is in the report.
pub fn verify<R: PageRead>(
    pages: &R,
    root: &TokenRoot,
    references: &mut References,
) -> Result<TokenReport> {
    walk(pages, root, &mut |reached| {
        match reached {
            Reached::DirectoryPage { page, .. } => references.add_page(page),
            Reached::Pack { addr, .. } => references.add_segment(addr),
            Reached::Blob { head, length, .. } => references.add_blob(pages, head, length)?,
        }
        Ok(())
    })
}

/// Checks order, counts, widths, routing keys and totals of all tokens under `root`, and visits every directory page, pack and
/// blob that is named, sound or not. Corruption that `visit` returns is a finding.
///
/// # Errors
/// Errors of the system only; damage is in the report.
pub fn walk<R: PageRead>(
    pages: &R,
    root: &TokenRoot,
    visit: &mut dyn FnMut(Reached<'_>) -> Result<()>,
) -> Result<TokenReport> {
    let report = TokenReport::default();
    let mut walk = Walk {
        pages,
        visit,
        report,
        seen: BTreeSet::new(),
        full: false,
    };
    match root.level() {
        Some(level) => walk.page(root.addr, level, None, None)?,
        None if root.height == 1 => walk.pack(root.addr, None, None)?,
        None => {}
    }
    let mut report = walk.report;
    for (what, expected, got) in [
        ("tokens", root.tokens, report.tokens),
        ("payload bytes", root.payload, report.payload),
    ] {
        if expected != got {
            report.findings.push(TokenError::Totals {
                what,
                expected,
                got,
            });
        }
    }
    Ok(report)
}

struct Walk<'w, R> {
    pages: &'w R,
    visit: &'w mut dyn FnMut(Reached<'_>) -> Result<()>,
    report: TokenReport,
    seen: BTreeSet<SegmentAddr>,
    /// As many places were seen as there can be.
    full: bool,
}

impl<R: PageRead> Walk<'_, R> {
    /// Checks a directory page, whose ids are from `key` to below `limit`, and all under it.
    fn page(
        &mut self,
        addr: SegmentAddr,
        level: u8,
        key: Option<u64>,
        limit: Option<u64>,
    ) -> Result<()> {
        if !self.first_visit(addr) {
            return Ok(());
        }
        let page = addr.page;
        self.reach(Reached::DirectoryPage { page, level })?;
        self.report.directory_pages += 1;
        let Some(node) = self.sound(open_node(self.pages, page, level, key))? else {
            return Ok(());
        };
        let checked = node
            .check()
            .map_err(|flaw| TokenError::Directory { page, flaw });
        self.sound(checked)?;
        self.check_limit(addr, limit, node.id(node.len() - 1));
        for index in 0..node.len() {
            let Entry { id, addr } = node.entry(index);
            let limit = if index + 1 < node.len() {
                Some(node.id(index + 1))
            } else {
                limit
            };
            match level.checked_sub(1) {
                Some(below) => self.page(addr, below, Some(id), limit)?,
                None => self.pack(addr, Some(id), limit)?,
            }
        }
        Ok(())
    }

    /// Checks a pack and the blobs that it names.
    fn pack(&mut self, addr: SegmentAddr, key: Option<u64>, limit: Option<u64>) -> Result<()> {
        if !self.first_visit(addr) {
            return Ok(());
        }
        self.report.packs += 1;
        let opened = self.sound(open_pack(self.pages, addr, key))?;
        let pack = opened.map(|(pack, _)| pack);
        self.reach(Reached::Pack { addr, pack })?;
        let Some((pack, data)) = opened else {
            return Ok(());
        };
        self.report.pack_bytes += data.len() as u64;
        let inline_len_max = inline_len_max(self.pages.page_size().bytes());
        self.sound(pack.check(inline_len_max).map_err(pack_error(addr)))?;
        self.check_limit(addr, limit, pack.id(pack.len() - 1).0);
        for index in 0..pack.len() {
            // What is wrong with a slot was reported by the check of the pack.
            let Ok(stored) = pack.slot(index) else {
                continue;
            };
            self.report.tokens += 1;
            self.report.payload = self.report.payload.saturating_add(stored.len());
            if let Stored::Blob { head, length } = stored {
                self.report.blobs += 1;
                let id = pack.id(index);
                self.reach(Reached::Blob { id, head, length })?;
            }
        }
        Ok(())
    }

    fn reach(&mut self, reached: Reached<'_>) -> Result<()> {
        let visited = (self.visit)(reached);
        self.sound(visited).map(drop)
    }

    /// Directory pages and packs are at most this many: no pack is shorter.
    fn places_max(&self) -> u64 {
        let page_len = self.pages.page_size().bytes() as u64;
        u64::from(self.pages.allocated_pages_max()) * page_len / PACK_HEADER_LEN as u64
    }

    fn first_visit(&mut self, addr: SegmentAddr) -> bool {
        // Two pages that the page map leads to the same place would be seen twice.
        if self.seen.len() as u64 >= self.places_max() {
            if !self.full {
                self.full = true;
                self.report.findings.push(TokenError::Totals {
                    what: "directory pages and packs",
                    expected: self.places_max(),
                    got: self.places_max() + 1,
                });
            }
            return false;
        }
        let first = self.seen.insert(addr);
        if !first {
            self.report.findings.push(TokenError::NamedTwice { addr });
        }
        first
    }

    fn check_limit(&mut self, addr: SegmentAddr, limit: Option<u64>, last: u64) {
        if let Some(limit) = limit.filter(|limit| last >= *limit) {
            let (child, limit, got) = (addr.page, TokenId(limit), TokenId(last));
            self.report
                .findings
                .push(TokenError::BeyondNeighbour { child, limit, got });
        }
    }

    /// Keeps damage as a finding, and gives errors of the system back.
    fn sound<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_corruption() => {
                self.report.findings.push(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
