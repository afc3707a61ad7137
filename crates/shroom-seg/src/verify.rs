//! The full check of a segment store against what the layer above references.
//!
//! * V1 Every byte of every storage page is header, live segment or free segment, and the header agrees.
//! * V2 The live segments are exactly the referenced ones, each referenced once, and those that stand alone have no link.
//! * V3 Every allocated logical page is exactly one of: storage page, index page, extent page, page of the layer above.
//! * V4 The index has the class of every page, and the root the totals.
//! * V5 All blobs together are walked through at most twice the bytes and extent pages that the store has, whatever they say.
//!
//! Absent on purpose: repairs nothing. Damage is collected, not returned as an error; the system's errors are returned.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use shroom_page::{LogicalPage, PageRead};

use crate::blob::Blob;
use crate::chain::{self, store_bytes};
use crate::index_page::Geometry;
use crate::index_walk::IndexWalk;
use crate::layout::Extent;
use crate::page::{self, Next};
use crate::root::{ROOT_LEN, SegRoot};
use crate::{Result, SegError, SegmentAddr};

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The page concerned; 0 when it is the root.
    pub page: LogicalPage,
    /// Offset in the page, when it is about one place there.
    pub offset: Option<u16>,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{}+{offset}: {}", self.page, self.text),
            None => write!(f, "{}: {}", self.page, self.text),
        }
    }
}

/// What [`verify`] saw.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SegReport {
    /// All that is wrong, in page order within each check.
    pub findings: Vec<Finding>,
    /// Storage pages that hold a referenced segment.
    pub storage_pages: u64,
    /// Pages of the free-space index.
    pub index_pages: u64,
    /// Pages of extents.
    pub extent_pages: u64,
    /// Pages that the layer above keeps.
    pub other_pages: u64,
    /// Live segments found.
    pub live_segments: u64,
    /// Free bytes found in storage pages.
    pub free_bytes: u64,
}

impl SegReport {
    /// True when nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// All that the layer above references: the input of [`verify`].
#[derive(Clone, Default, Debug)]
pub struct References {
    segments: Vec<SegmentAddr>,
    /// Those of them that stand alone.
    alone: Vec<SegmentAddr>,
    extents: Vec<Extent>,
    pages: Vec<LogicalPage>,
    /// Bytes of the chains that were walked, those of refused blobs included.
    walked_bytes: u64,
    /// Pages of all extents.
    extent_pages: u64,
}

impl References {
    /// No reference yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A segment that stands alone.
    pub fn add_segment(&mut self, addr: SegmentAddr) {
        self.segments.push(addr);
        self.alone.push(addr);
    }

    /// A blob: its chain's segments and its extents' pages. Reads the whole chain, and the padding of the extents.
    ///
    /// # Errors
    /// Corruption, when the blob is not one of `length` bytes, or when it and the blobs before it are larger than two
    /// such stores; then nothing of it is added.
    pub fn add_blob<R: PageRead>(
        &mut self,
        pages: &R,
        head: SegmentAddr,
        length: u64,
    ) -> Result<()> {
        // No two blobs share a byte, so all together are not larger than the store. Hostile ones may cost twice as much: one
        // blob that is named twice is still a finding of its own.
        let budget = (2 * store_bytes(pages)).saturating_sub(self.walked_bytes);
        let (walked, ended) = chain::walk(pages, head, budget);
        self.walked_bytes = self.walked_bytes.saturating_add(walked);
        ended?;
        let mut blob = Blob::open_recording(pages, head, length)?;
        let mut tail = blob.tail_bytes;
        while tail > 0 {
            tail -= blob.chain.take(tail)?.len() as u64;
        }
        blob.chain.end()?;
        let of_extents = blob.extents.iter().map(|extent| u64::from(extent.pages));
        let extent_pages = of_extents.fold(self.extent_pages, |sum, pages| sum + pages);
        let limit = u64::from(pages.allocated_pages_max());
        if extent_pages > 2 * limit {
            return Err(SegError::Blob {
                addr: head,
                detail: format!(
                    "the extents of all blobs up to this one have {extent_pages} pages, of {limit}"
                ),
            });
        }
        if let Some(last) = blob.extents.last()
            && blob.padding > 0
        {
            let page = pages.page(LogicalPage(last.end().0 - 1))?;
            if page
                .iter()
                .rev()
                .take(blob.padding as usize)
                .any(|&byte| byte != 0)
            {
                return Err(SegError::Padding { addr: head });
            }
        }
        self.extent_pages = extent_pages;
        self.extents.append(&mut blob.extents);
        self.segments.extend(blob.chain.into_visited());
        Ok(())
    }

    /// The segments, in the order in which they were added; those of a blob's chain from its head on.
    pub fn segments(&self) -> &[SegmentAddr] {
        &self.segments
    }

    /// First page and number of pages of all extents, in the order in which their blobs were added.
    pub fn extents(&self) -> impl ExactSizeIterator<Item = (LogicalPage, u32)> {
        self.extents
            .iter()
            .map(|extent| (extent.first, extent.pages))
    }

    /// A page that the layer above keeps itself.
    pub fn add_page(&mut self, page: LogicalPage) {
        self.pages.push(page);
    }
}

/// Totals of a segment store, from its root and its index pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SegStats {
    /// Number of storage pages.
    pub storage_pages: u32,
    /// Free bytes in the storage pages.
    pub free_bytes: u64,
    /// Pages of the free-space index.
    pub index_pages: u64,
    /// Levels of the free-space index; 0 when it is in the root.
    pub index_height: u8,
}

/// The totals that `root` names. Reads the index pages, not the storage pages.
///
/// # Errors
/// Corruption of the root or of the index, and errors of the page layer.
pub fn stats<R: PageRead>(pages: &R, root: &[u8; ROOT_LEN]) -> Result<SegStats> {
    let root = SegRoot::parse(root)?;
    let walk = IndexWalk::new(pages, &root)?;
    if let Some(Finding {
        page, text: detail, ..
    }) = walk.findings.into_iter().next()
    {
        return Err(SegError::Index { page, detail });
    }
    Ok(SegStats {
        storage_pages: root.storage_pages,
        free_bytes: root.free_bytes,
        index_pages: walk.pages.len() as u64,
        index_height: root.height,
    })
}

/// What a page is used for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Owner {
    Storage,
    Index,
    Extent,
    Above,
}

impl Owner {
    fn name(self) -> &'static str {
        match self {
            Self::Storage => "storage page",
            Self::Index => "page of the free-space index",
            Self::Extent => "extent page",
            Self::Above => "page of the layer above",
        }
    }
}

/// Checks the whole store (V1 to V4) against what is referenced. Findings do not stop it.
///
/// # Errors
/// Errors of the system only; damage is in the report.
pub fn verify<R: PageRead>(
    pages: &R,
    root: &[u8; ROOT_LEN],
    references: &References,
) -> Result<SegReport> {
    let mut check = Checking {
        pages,
        report: SegReport::default(),
    };
    let root = match SegRoot::parse(root) {
        Ok(root) => root,
        Err(error) => {
            check.find(LogicalPage::NONE, None, error.to_string());
            return Ok(check.report);
        }
    };
    let mut walk = IndexWalk::new(pages, &root)?;
    check.report.findings.append(&mut walk.findings);

    let mut segments = references.segments.clone();
    segments.sort_unstable();
    for pair in segments.windows(2).filter(|pair| pair[0] == pair[1]) {
        check.find(
            pair[0].page,
            Some(pair[0].offset),
            "segment is referenced twice".into(),
        );
    }
    segments.dedup();
    let mut alone = references.alone.clone();
    alone.sort_unstable();
    let owners = check.owners(&segments, &walk, references)?;
    for of_page in segments.chunk_by(|one, other| one.page == other.page) {
        check.storage_page(of_page, &alone, &walk)?;
    }
    for (page, class) in walk.classed() {
        let owner = owners
            .binary_search_by_key(&page, |&(page, _)| page.0.into())
            .map(|at| owners[at].1);
        if owner != Ok(Owner::Storage) {
            let page = LogicalPage(page.try_into().unwrap_or(u32::MAX));
            check.find(
                page,
                None,
                format!("has class {class} but is not a storage page"),
            );
        }
    }
    check.totals(&root);
    Ok(check.report)
}

struct Checking<'p, R> {
    pages: &'p R,
    report: SegReport,
}

impl<R: PageRead> Checking<'_, R> {
    fn find(&mut self, page: LogicalPage, offset: Option<u16>, text: String) {
        self.report.findings.push(Finding { page, offset, text });
    }

    /// Who owns each page; compares that with the pages allocated.
    fn owners(
        &mut self,
        segments: &[SegmentAddr],
        walk: &IndexWalk,
        references: &References,
    ) -> Result<Vec<(LogicalPage, Owner)>> {
        let mut owners: Vec<(LogicalPage, Owner)> = segments
            .iter()
            .map(|addr| (addr.page, Owner::Storage))
            .collect();
        owners.dedup();
        self.report.storage_pages = owners.len() as u64;
        self.report.index_pages = walk.pages.len() as u64;
        owners.extend(walk.pages.iter().map(|&page| (page, Owner::Index)));
        let before = owners.len();
        let extent_pages = references
            .extents
            .iter()
            .flat_map(|extent| extent.page_numbers());
        owners.extend(extent_pages.map(|page| (page, Owner::Extent)));
        self.report.extent_pages = (owners.len() - before) as u64;
        owners.extend(references.pages.iter().map(|&page| (page, Owner::Above)));
        self.report.other_pages = references.pages.len() as u64;
        owners.sort_unstable();
        for pair in owners.windows(2) {
            if let [(page, one), (other_page, other)] = *pair
                && page == other_page
            {
                self.find(
                    page,
                    None,
                    format!("is used as {} and as {}", one.name(), other.name()),
                );
            }
        }
        owners.dedup_by_key(|owner| owner.0);

        self.compare_allocated(&owners)?;
        Ok(owners)
    }

    /// Compares the pages that are used, ascending, with those allocated.
    fn compare_allocated(&mut self, owners: &[(LogicalPage, Owner)]) -> Result<()> {
        let mut owned = owners.iter().copied().peekable();
        let mut next = self.pages.next_allocated(LogicalPage(0))?;
        let mut left = self.pages.allocated_pages_max();
        while owned.peek().is_some() || next.is_some() {
            let used = owned.next_if(|owner| next.is_none_or(|next| owner.0 <= next));
            if let Some((page, owner)) = used
                && Some(page) != next
            {
                let exists = page.0 < self.pages.logical_pages();
                let what = if exists {
                    "is not allocated"
                } else {
                    "does not exist"
                };
                self.find(
                    page,
                    None,
                    format!("{what}, but is used as {}", owner.name()),
                );
                continue;
            }
            let Some(page) = next else { continue };
            if used.is_none() {
                self.find(page, None, "is allocated, but nothing uses it".into());
            }
            if left == 0 {
                // The page map leads to the same places again and again.
                self.find(
                    page,
                    None,
                    "is one more page than the file has places for".into(),
                );
                break;
            }
            left -= 1;
            next = self.pages.next_allocated(LogicalPage(page.0 + 1))?;
        }
        Ok(())
    }

    /// Checks one storage page, of which these segments are referenced.
    fn storage_page(
        &mut self,
        referenced: &[SegmentAddr],
        alone: &[SegmentAddr],
        walk: &IndexWalk,
    ) -> Result<()> {
        let Some(page) = referenced.first().map(|addr| addr.page) else {
            return Ok(());
        };
        let bytes = match self.pages.page(page).map_err(SegError::from) {
            Ok(bytes) => bytes,
            Err(error) if error.is_corruption() => {
                self.find(page, None, error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let found = page::check(bytes);
        for fault in &found.faults {
            self.find(page, Some(fault.offset as u16), fault.fault.to_string());
        }
        self.report.live_segments += found.live.len() as u64;
        self.report.free_bytes += found.free_bytes as u64;
        let class = Geometry::new(self.pages.page_size()).class(found.largest);
        if walk.class(page) != class {
            let text = format!(
                "the free-space index says class {}, the page has {class}",
                walk.class(page)
            );
            self.find(page, None, text);
        }
        let is_live = |offset: u16| {
            found
                .live
                .binary_search_by_key(&offset, |&(live, _)| live)
                .is_ok()
        };
        for addr in referenced.iter().filter(|addr| !is_live(addr.offset)) {
            self.find(
                page,
                Some(addr.offset),
                "a segment is referenced here, but none is live".into(),
            );
        }
        for &(offset, next) in &found.live {
            if referenced
                .binary_search_by_key(&offset, |addr| addr.offset)
                .is_err()
            {
                self.find(
                    page,
                    Some(offset),
                    "segment is live, but nothing references it".into(),
                );
            }
            let stands_alone = alone.binary_search(&SegmentAddr::new(page, offset)).is_ok();
            if next != Next::End && stands_alone {
                let error = SegError::Linked {
                    addr: SegmentAddr::new(page, offset),
                };
                self.find(page, Some(offset), error.to_string());
            }
            if let Next::Local(target) = next
                && !is_live(target)
            {
                self.find(
                    page,
                    Some(offset),
                    format!("segment links to offset {target}, where none is live"),
                );
            }
        }
        Ok(())
    }

    fn totals(&mut self, root: &SegRoot) {
        let (pages, free_bytes) = (self.report.storage_pages, self.report.free_bytes);
        if u64::from(root.storage_pages) != pages {
            let text = format!(
                "the segment root counts {} storage pages, there are {pages}",
                root.storage_pages
            );
            self.find(LogicalPage::NONE, None, text);
        }
        if root.free_bytes != free_bytes {
            let text = format!(
                "the segment root counts {} free bytes, there are {free_bytes}",
                root.free_bytes
            );
            self.find(LogicalPage::NONE, None, text);
        }
    }
}
