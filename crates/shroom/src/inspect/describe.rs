//! A page of the map in a few lines: for whoever points at it.

use shroom_page::{LogicalPage, PhysicalPage};
use shroom_seg::SegmentAddr;
use shroom_seg::inspect::storage_room;

use super::map::{BlobOwner, FileMap, MappedExtent, MappedPack, MappedPage, PageKind};

/// Packs and segments of a page that are listed one by one.
const LISTED_MAX: usize = 6;

impl FileMap<'_> {
    /// What a page is and who owns it, a line each; empty for a page that the file does not have.
    pub fn describe(&self, page: u32) -> Vec<String> {
        let Some(mapped) = self.page(page) else {
            return Vec::new();
        };
        let position = u64::from(page) * u64::from(self.inspection.page_size());
        let mut lines = vec![format!("P{page}, byte {position}: {}", mapped.kind.name())];
        if mapped.damaged {
            lines.push("DAMAGED".into());
        }
        match mapped.kind {
            PageKind::Storage => self.describe_storage(page, mapped, &mut lines),
            PageKind::Extent => lines.extend(self.describe_extent(page, mapped)),
            _ => lines.extend(self.describe_other(mapped)),
        }
        match (mapped.present, mapped.snapshots) {
            (_, 0) => {}
            (true, 1) => lines.push("shared with 1 snapshot".into()),
            (true, count) => lines.push(format!("shared with {count} snapshots")),
            (false, 1) => lines.push("needed by 1 snapshot".into()),
            (false, count) => lines.push(format!("needed by {count} snapshots")),
        }
        lines
    }

    fn describe_other(&self, mapped: MappedPage) -> Option<String> {
        let (level, number) = (mapped.level, mapped.number);
        Some(match mapped.kind {
            PageKind::Map => format!("level {}, index {number}", level.saturating_sub(1)),
            PageKind::Directory if level == 0 => format!("logical page L{number}, a leaf"),
            PageKind::Directory => format!("logical page L{number}, a node of level {level}"),
            PageKind::FreeIndex => format!("logical page L{number}"),
            PageKind::Journal if mapped.fill > 0 => {
                format!("area {number}, frames that are not in the pages yet")
            }
            PageKind::Journal => format!("area {number}, nothing that counts"),
            PageKind::Snapshot if level == u8::MAX => {
                let names = self.inspection.snapshot_names();
                let name = names.get(number as usize).cloned().unwrap_or_default();
                format!("superblock of the snapshot {name:?}")
            }
            PageKind::Snapshot if level > 0 => format!("its page map, level {}", level - 1),
            PageKind::Snapshot => format!("its logical page L{number}"),
            PageKind::Unknown if mapped.present => {
                format!("logical page L{number}, which no token needs")
            }
            PageKind::Unknown => "neither in use nor free".into(),
            _ => return None,
        })
    }

    fn describe_storage(&self, page: u32, mapped: MappedPage, lines: &mut Vec<String>) {
        let bytes = self.inspection.store.bytes(PhysicalPage(page));
        if let Some(room) = bytes.and_then(storage_room) {
            lines.push(format!(
                "logical page L{}, {} % full, {} bytes free in {}",
                mapped.number,
                mapped.fill,
                room.free_bytes,
                match room.free_segments {
                    1 => "one place".to_owned(),
                    count => format!("{count} places"),
                }
            ));
        }
        let packs = self.packs_on(mapped.number);
        for pack in packs.iter().take(LISTED_MAX) {
            lines.push(match pack.tokens {
                Some((first, _, 1)) => format!("a pack: token {first}"),
                Some((first, last, count)) => {
                    format!("a pack: {count} tokens, {first} to {last}")
                }
                None => "a pack that cannot be read".into(),
            });
        }
        if packs.len() > LISTED_MAX {
            lines.push(format!("{} more packs", packs.len() - LISTED_MAX));
        }
        let chains = self.chains_on(mapped.number);
        for (_, owner, is_head) in chains.iter().take(LISTED_MAX) {
            let part = if *is_head { "the head" } else { "a part" };
            lines.push(format!("{part} of {}", owner_name(*owner)));
        }
        if chains.len() > LISTED_MAX {
            lines.push(format!(
                "{} more segments of large values",
                chains.len() - LISTED_MAX
            ));
        }
    }

    fn describe_extent(&self, page: u32, mapped: MappedPage) -> Vec<String> {
        let mut lines = vec![format!("logical page L{}", mapped.number)];
        if let Some(extent) = self.extent_of(mapped.number) {
            let index = mapped.number - extent.first;
            let from = extent.start + u64::from(index) * u64::from(self.inspection.page_size());
            let to = (from + u64::from(self.inspection.page_size())).min(extent.length);
            lines.push(format!(
                "bytes {from} to {to} of {}",
                owner_name(extent.owner)
            ));
            lines.push(format!(
                "page {} of {} of an extent",
                index + 1,
                extent.pages
            ));
        }
        if mapped.piece_start {
            lines.push(format!("a piece of the value begins at P{page}"));
        }
        lines
    }

    pub(super) fn packs_on(&self, logical: u32) -> &[MappedPack] {
        let of_page = |page: u32| self.packs.partition_point(|pack| pack.addr.page.0 < page);
        &self.packs[of_page(logical)..of_page(logical.saturating_add(1))]
    }

    pub(super) fn chains_on(&self, logical: u32) -> &[(SegmentAddr, BlobOwner, bool)] {
        let of_page = |page: u32| {
            self.chains
                .partition_point(|(addr, ..)| addr.page < LogicalPage(page))
        };
        &self.chains[of_page(logical)..of_page(logical.saturating_add(1))]
    }

    pub(super) fn extent_of(&self, logical: u32) -> Option<MappedExtent> {
        let after = self
            .extents
            .partition_point(|extent| extent.first <= logical);
        let extent = self.extents[..after].last()?;
        (logical - extent.first < extent.pages).then_some(*extent)
    }
}

pub(super) fn owner_name(owner: BlobOwner) -> String {
    match owner {
        BlobOwner::Token(id) => format!("token {id}"),
        BlobOwner::ContentSum => "the sum over the tokens".into(),
    }
}
