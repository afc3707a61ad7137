//! Figures on a database and its file.

pub use crate::activity::{Activity, HeldState};
use crate::core::Core;
use crate::error::Result;

/// Pages of the file by what they hold. Their sum with the two superblocks is the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageCounts {
    /// Segments: packs, and heads and tails of large values.
    pub storage: u64,
    /// Extents of large values.
    pub extent: u64,
    /// Directory of packs.
    pub directory: u64,
    /// Free-space index.
    pub free_index: u64,
    /// Page map.
    pub map: u64,
    /// Journal areas.
    pub journal: u64,
    /// The record of free pages.
    pub free_record: u64,
    /// What only named snapshots need.
    pub snapshots: u64,
    /// Free now, or as soon as no reader needs them; or written ahead for a value that is still being streamed.
    pub free: u64,
}

/// Figures on a database and its file, at the last checkpoint where they are about pages.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Number of tokens.
    pub tokens: u64,
    /// Sum of the tokens' lengths, in bytes.
    pub payload_bytes: u64,
    /// Length of the file, in bytes.
    pub file_bytes: u64,
    /// Bytes that the file takes on the disk, without the holes of [`Db::punch_holes`](crate::Db::punch_holes); `None` where
    /// the system does not say.
    pub allocated_bytes: Option<u64>,
    /// Free bytes in the file: in free pages and in storage pages.
    pub free_bytes: u64,
    /// Share of the storage pages' bytes that is free, 0 to 1.
    pub fragmentation: f64,
    /// Size of a page, in bytes.
    pub page_size: u32,
    /// Pages by what they hold.
    pub pages: PageCounts,
    /// Size of both journal areas, in bytes.
    pub journal_bytes: u64,
    /// Bytes of frames in the journal area being written.
    pub journal_used_bytes: u64,
    /// Approximate memory of what was written since the last checkpoint, in bytes.
    pub overlay_bytes: u64,
    /// Tokens written since the last checkpoint.
    pub overlay_tokens: u64,
    /// Number of the last checkpoint.
    pub checkpoint: u64,
    /// Number of named snapshots.
    pub snapshots: u64,
    /// The application's tag.
    pub tag: u64,
    /// What the database did since it was opened.
    pub activity: Activity,
}

impl Stats {
    /// Share of the file that is free, 0 to 1: free pages and what is free in storage pages.
    pub fn free_share(&self) -> f64 {
        self.free_bytes as f64 / self.file_bytes.max(1) as f64
    }

    pub(crate) fn of(core: &Core) -> Result<Self> {
        let state = core.state.load_full();
        let pages = &state.base.pages;
        let page_size = state.page_size() as u64;
        let store = core.store.stats(true)?;
        let seg = shroom_seg::stats(pages, &pages.roots().seg)?;
        let directory = shroom_token::directory_pages(pages, &state.base.root)?;
        let storage = u64::from(seg.storage_pages);
        let counts = PageCounts {
            storage,
            extent: store
                .logical_pages
                .saturating_sub(storage + seg.index_pages + directory),
            directory,
            free_index: seg.index_pages,
            map: store.map_pages,
            journal: store.journal_pages,
            free_record: store.record_pages,
            snapshots: store.snapshot_pages,
            free: store.free_pages + store.pending_pages + store.reserved_pages,
        };
        let journal = core.store.journal_stats();
        let overlays = || state.frozen.iter().chain([&state.overlay]);
        Ok(Self {
            tokens: state.count()?,
            payload_bytes: state.payload()?,
            file_bytes: store.physical_pages * page_size,
            allocated_bytes: core.store.allocated_bytes()?,
            free_bytes: counts.free * page_size + seg.free_bytes,
            fragmentation: seg.free_bytes as f64 / (storage * page_size).max(1) as f64,
            page_size: page_size as u32,
            pages: counts,
            journal_bytes: journal.area_bytes,
            journal_used_bytes: journal.used_bytes,
            overlay_bytes: overlays().map(|overlay| overlay.bytes()).sum(),
            overlay_tokens: overlays().map(|overlay| overlay.len() as u64).sum(),
            checkpoint: pages.sequence(),
            snapshots: store.snapshots,
            tag: state.tag(),
            activity: Activity::of(core),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use crate::Db;

    #[test]
    fn pages_add_up() {
        let db = Db::in_memory().unwrap();
        for id in 0..3000_u64 {
            db.put(id, &vec![id as u8; (id % 700) as usize]).unwrap();
        }
        db.put(9999, &vec![1; 300_000]).unwrap();
        db.checkpoint().unwrap();
        let stats = db.stats().unwrap();
        let pages = stats.pages;
        let sum = pages.storage + pages.extent + pages.directory + pages.free_index;
        let rest = pages.map + pages.journal + pages.free_record + pages.free + 2;
        assert_eq!(
            (sum + rest) * u64::from(stats.page_size),
            stats.file_bytes,
            "{stats:?}"
        );
        assert_eq!(stats.tokens, 3001);
        assert_eq!(
            stats.payload_bytes,
            (0..3000).map(|id| id % 700).sum::<u64>() + 300_000
        );
        assert!(pages.extent >= 70 && pages.storage > 200 && pages.directory >= 1);
    }

    /// Pages that a stream has written ahead, or has just given back, are in no state.
    #[test]
    fn pages_of_a_stream_add_up() {
        let db = Db::in_memory().unwrap();
        let check = || {
            let stats = db.stats().unwrap();
            let pages = stats.pages;
            let data = pages.storage + pages.extent + pages.directory + pages.free_index;
            let rest = pages.map + pages.journal + pages.free_record + pages.free + 2;
            assert_eq!((data + rest) * u64::from(stats.page_size), stats.file_bytes);
            pages.free
        };
        db.put(1, b"one").unwrap();
        db.checkpoint().unwrap();
        let mut writer = db.writer(2).unwrap();
        writer.write_all(&vec![2; 8 << 20]).unwrap();
        assert!(check() >= 1024);
        drop(writer);
        assert!(check() >= 1024);
    }
}
