//! Making the map: the page layer says which state has a page, the layers above say who owns its content.

use std::fmt::Display;

use shroom_page::inspect::{PageUse, SeenFrame, SeenFrameState, SeenPage};
use shroom_page::{LogicalPage, PhysicalPage};
use shroom_seg::inspect::storage_room;
use shroom_seg::{References, SegmentAddr, blob_extents, index_pages};
use shroom_token::{Reached, TokenError, TokenId, walk};

use super::Inspection;
use super::map::{
    BlobOwner, Composition, FINDINGS_MAX, FileMap, MappedExtent, MappedPack, MappedPage, PageKind,
};
use crate::error::{Error, Result};
use crate::lattice::LATTICE_LEN;

/// Makes the map of a file.
pub(super) fn build(inspection: &Inspection) -> Result<FileMap<'_>> {
    let mut builder = Builder {
        map: FileMap {
            inspection,
            pages: vec![MappedPage::UNKNOWN; inspection.pages() as usize],
            packs: Vec::new(),
            chains: Vec::new(),
            extents: Vec::new(),
            composition: Composition::default(),
            findings: Vec::new(),
            findings_left_out: 0,
        },
        references: References::new(),
        extent_pages: 0,
    };
    for error in inspection.store.damage() {
        builder.find(error);
    }
    builder.uses()?;
    builder.journal()?;
    builder.tokens()?;
    builder.index()?;
    builder.content_sum()?;
    builder.fill();
    builder.sort();
    Ok(builder.map)
}

struct Builder<'i> {
    map: FileMap<'i>,
    /// All blobs.
    references: References,
    /// Pages of extents whose blobs are damaged.
    extent_pages: u64,
}

impl<'i> Builder<'i> {
    /// Notes something that is wrong, once: several layers may come upon the same page.
    fn find(&mut self, finding: &dyn Display) {
        let finding = finding.to_string();
        if self.map.findings.contains(&finding) {
            return;
        }
        if self.map.findings.len() < FINDINGS_MAX {
            self.map.findings.push(finding);
        } else {
            self.map.findings_left_out += 1;
        }
    }

    /// Corruption is a finding, anything else an error.
    fn sound<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_corruption() => {
                self.find(&error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What uses each page, by the page layer.
    fn uses(&mut self) -> Result<()> {
        let store = &self.map.inspection.store;
        store.visit(&mut |seen| self.use_page(&seen))?;
        Ok(())
    }

    fn use_page(&mut self, seen: &SeenPage) {
        if let Some(error) = &seen.error {
            self.find(error);
        }
        let Some(page) = self.map.pages.get_mut(seen.physical.0 as usize) else {
            return;
        };
        page.damaged |= seen.error.is_some();
        let (kind, level, number) = match seen.page_use {
            PageUse::Superblock => (PageKind::Superblock, 0, seen.physical.0),
            PageUse::Map { level, index } => (PageKind::Map, level, index),
            PageUse::Content(logical) => (PageKind::Unknown, 0, logical.0),
            PageUse::FreeRecord => (PageKind::FreeRecord, 0, 0),
            PageUse::Journal(area) => (PageKind::Journal, 0, area.into()),
            PageUse::Free => (PageKind::Free, 0, 0),
            _ => (PageKind::Snapshot, 0, seen.snapshot.unwrap_or_default()),
        };
        let is_frozen = matches!(seen.page_use, PageUse::Frozen(_));
        let is_new = *page
            == MappedPage {
                damaged: page.damaged,
                ..MappedPage::UNKNOWN
            };
        if seen.snapshot.is_some() && !is_frozen {
            page.snapshots = page.snapshots.saturating_add(1);
            if is_new {
                page.kind = PageKind::Snapshot;
                (page.level, page.number) = (level, number);
            } else if (page.level, page.number) != (level, number) {
                self.find_twice(seen.physical);
            }
        } else if is_new {
            page.kind = kind;
            page.present = matches!(seen.page_use, PageUse::Map { .. } | PageUse::Content(_));
            (page.level, page.number) = (level, number);
            // A frozen superblock is told from the pages of its state by its level, which no page of a map has.
            if is_frozen {
                (page.level, page.snapshots) = (u8::MAX, 1);
            }
        } else {
            self.find_twice(seen.physical);
        }
    }

    fn find_twice(&mut self, physical: PhysicalPage) {
        self.find(&format!("page {physical}: used for two things"));
        if let Some(page) = self.map.pages.get_mut(physical.0 as usize) {
            page.damaged = true;
        }
    }

    /// Pages of the journal in which frames lie that count.
    fn journal(&mut self) -> Result<()> {
        let store = &self.map.inspection.store;
        for page in &mut self.map.pages {
            if page.kind == PageKind::Journal {
                page.fill = 0;
            }
        }
        let shift = store.page_size().shift();
        let pages = &mut self.map.pages;
        store.visit_frames(&mut |frame: SeenFrame<'_>| -> Result<()> {
            if frame.state == SeenFrameState::Live {
                let end = frame.position + frame.bytes.len() as u64;
                for page in (frame.position >> shift)..=((end - 1) >> shift) {
                    if let Some(page) = pages.get_mut(page as usize) {
                        page.fill = 100;
                    }
                }
            }
            Ok(())
        })?;
        self.map.composition.journal_frame_bytes = store.live_frame_bytes();
        Ok(())
    }

    /// Directory pages, packs and large values of the present state.
    fn tokens(&mut self) -> Result<()> {
        let inspection = self.map.inspection;
        let Some(root) = self.sound(inspection.token_root())? else {
            return Ok(());
        };
        let pages = inspection.snapshot();
        let report = walk(pages, &root, &mut |reached| self.reach(&reached))?;
        for finding in &report.findings {
            self.find(finding);
        }
        self.map.composition.tokens = report.tokens;
        self.map.composition.payload_bytes = report.payload;
        Ok(())
    }

    fn reach(&mut self, reached: &Reached<'_>) -> shroom_token::Result<()> {
        match *reached {
            Reached::DirectoryPage { page, level } => {
                self.claim(page, PageKind::Directory, level);
            }
            Reached::Pack { addr, pack } => {
                self.claim(addr.page, PageKind::Storage, 0);
                let tokens = pack.map(|pack| {
                    let last = pack.id(pack.len() - 1);
                    (pack.first_id().0, last.0, pack.len() as u16)
                });
                self.map.packs.push(MappedPack { addr, tokens });
                self.map.composition.packs += 1;
            }
            Reached::Blob {
                id: TokenId(id),
                head,
                length,
            } => {
                self.map.composition.large_values += 1;
                self.blob(BlobOwner::Token(id), head, length)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The pages of a large value. Where its chain is damaged, its extents are shown all the same.
    fn blob(
        &mut self,
        owner: BlobOwner,
        head: SegmentAddr,
        length: u64,
    ) -> shroom_token::Result<()> {
        let inspection = self.map.inspection;
        let pages = inspection.snapshot();
        let (segments, extents) = (
            self.references.segments().len(),
            self.references.extents().len(),
        );
        let added = self.references.add_blob(pages, head, length);
        let extents: Vec<_> = match &added {
            Ok(()) => self.references.extents().skip(extents).collect(),
            Err(_) => {
                self.claim(head.page, PageKind::Storage, 0);
                self.map.chains.push((head, owner, true));
                let extents = blob_extents(pages, head, length).unwrap_or_default();
                let sum = extents.iter().map(|&(_, pages)| u64::from(pages)).sum();
                self.extent_pages = self.extent_pages.saturating_add(sum);
                // A malicious file may name the same pages again and again.
                match self.extent_pages <= self.map.pages.len() as u64 {
                    true => extents,
                    false => Vec::new(),
                }
            }
        };
        let chain = self.references.segments()[segments..].to_vec();
        for (index, addr) in chain.into_iter().enumerate() {
            self.claim(addr.page, PageKind::Storage, 0);
            self.map.chains.push((addr, owner, index == 0));
        }
        let mut start = 0;
        for (first, pages) in extents {
            self.extent(first, pages, start, length);
            self.map.extents.push(MappedExtent {
                first: first.0,
                pages,
                owner,
                start,
                length,
            });
            start += u64::from(pages) << inspection.store.page_size().shift();
        }
        added.map_err(TokenError::from)
    }

    fn extent(&mut self, first: LogicalPage, pages: u32, start: u64, length: u64) {
        let page_size = u64::from(self.map.inspection.page_size());
        let mut before = None;
        self.map.composition.extents += 1;
        for index in 0..pages {
            let logical = LogicalPage(first.0.saturating_add(index));
            let Some(place) = self.claim(logical, PageKind::Extent, 0) else {
                continue;
            };
            let left = length.saturating_sub(start + u64::from(index) * page_size);
            let starts = before.is_none_or(|before: u32| before + 1 != place);
            self.map.composition.pieces += u64::from(starts);
            if let Some(page) = self.map.pages.get_mut(place as usize) {
                page.piece_start = starts;
                page.fill = per_cent(left.min(page_size), page_size);
            }
            before = Some(place);
        }
    }

    /// Gives a logical page of the present state its kind, and says where it lies.
    fn claim(&mut self, logical: LogicalPage, kind: PageKind, level: u8) -> Option<u32> {
        let place = self.map.inspection.store.place_of(logical)?;
        let page = self.map.pages.get_mut(place.0 as usize)?;
        let is_content = page.present && page.kind != PageKind::Map && page.number == logical.0;
        match page.kind {
            PageKind::Unknown if is_content => (page.kind, page.level) = (kind, level),
            known if is_content && known == kind && kind == PageKind::Storage => {}
            _ => self.find_twice(place),
        }
        Some(place.0)
    }

    fn index(&mut self) -> Result<()> {
        let inspection = self.map.inspection;
        let (pages, roots) = (inspection.snapshot(), inspection.roots());
        let found = index_pages(pages, &roots.seg).map_err(Error::from);
        for page in self.sound(found)?.unwrap_or_default() {
            self.claim(page, PageKind::FreeIndex, 0);
        }
        Ok(())
    }

    /// The sum over the tokens, where the file keeps it.
    fn content_sum(&mut self) -> Result<()> {
        let root = self.map.inspection.application_root();
        let Some(head) = self.sound(root)?.and_then(|root| root.lattice) else {
            return Ok(());
        };
        let added = self.blob(BlobOwner::ContentSum, head, LATTICE_LEN as u64);
        self.sound(added.map_err(Error::from)).map(drop)
    }

    /// How full pages are, and the figures that follow from the pages.
    fn fill(&mut self) {
        let inspection = self.map.inspection;
        let page_size = u64::from(inspection.page_size());
        let composition = &mut self.map.composition;
        let mut free_run = 0;
        for (place, page) in (0_u32..).zip(&mut self.map.pages) {
            let bytes = inspection.store.bytes(PhysicalPage(place));
            let bytes = bytes.unwrap_or_default();
            match page.kind {
                PageKind::Storage => {
                    if let Some(room) = storage_room(bytes) {
                        page.fill =
                            per_cent(page_size.saturating_sub(room.free_bytes as u64), page_size);
                        composition.storage_free_bytes += room.free_bytes as u64;
                        composition.free_segments += room.free_segments as u64;
                    }
                }
                // What follows the entries is zero.
                PageKind::Directory | PageKind::Map | PageKind::Superblock => {
                    let zeros = bytes.iter().rev().take_while(|&&byte| byte == 0).count();
                    page.fill = per_cent((bytes.len() - zeros) as u64, page_size);
                }
                PageKind::Free => page.fill = 0,
                _ => {}
            }
            composition.shared_pages += u64::from(page.present && page.snapshots > 0);
            free_run = if page.kind == PageKind::Free {
                free_run + 1
            } else {
                0
            };
            composition.free_runs += u64::from(free_run == 1);
            composition.longest_free_run = composition.longest_free_run.max(free_run);
        }
    }

    fn sort(&mut self) {
        let map = &mut self.map;
        map.packs.sort_unstable_by_key(|pack| pack.addr);
        map.chains.sort_unstable_by_key(|(addr, ..)| *addr);
        map.extents.sort_unstable_by_key(|extent| extent.first);
        let unknown: Vec<u32> = (0..)
            .zip(&map.pages)
            .filter(|(_, page)| page.kind == PageKind::Unknown)
            .map(|(place, _)| place)
            .collect();
        for run in unknown.chunk_by(|one, next| one + 1 == *next) {
            let (first, last) = (run[0], run[run.len() - 1]);
            self.find(&format!(
                "pages P{first} to P{last}: nothing sound names them"
            ));
        }
    }
}

fn per_cent(part: u64, whole: u64) -> u8 {
    (part * 100).div_ceil(whole.max(1)).min(100) as u8
}
