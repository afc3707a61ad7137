//! What is left of a damaged directory: the packs that can still be proven to hold current tokens, and the ids that are lost.
//!
//! * S1 A pack that a sound directory page names, on a sound page, is proven.
//! * S2 A pack whose directory page is lost is proven when no other explanation of its segment is left: the segment is live,
//!   its ids fit the gap, and nothing that could be read, nor anything that could *not* be read, may own it otherwise.
//! * S3 Everything else is lost, or unproven and labelled so. A value whose bytes look like a pack never becomes tokens.
//!
//! Why S2 holds. A live segment has one referrer: a directory leaf, a pack's blob reference, or a link of a chain. All links and
//! all blob references can be seen when every unreadable page is known to hold neither: because the directory names it as
//! one of its pages, or a blob as its raw bytes, or the free-space index as its own. Packs that lost their directory page are among
//! the segments that look like packs, so the references of all of these count, true or not. A segment that none of them
//! reaches is named by the directory; and a page that no blob's extent covers is no raw page.
//!
//! Absent on purpose: reads no value of a blob, and no operation newer than the pages.

use std::collections::HashSet;
use std::sync::Arc;

use shroom_page::{LogicalPage, PageRead, Snapshot, Surveyed};
use shroom_seg::{LiveSegment, SegmentAddr, blob_extents, index_pages, live_segments};

use crate::lookup::{open_node, open_pack, pack_error};
use crate::{Pack, Result, Stored, TokenError, TokenId, TokenRoot, inline_len_max};

/// Blobs whose descriptors are not what a pack says, beyond which no more are opened: each may be long to read.
const REFUSED_MAX: usize = 4096;

/// A part of the id space, in a damaged directory.
#[derive(Clone, Debug)]
pub enum Span {
    /// A pack whose tokens are readable.
    Pack {
        /// Its segment.
        addr: SegmentAddr,
        /// Id of its first token.
        first: TokenId,
        /// Id of its last token.
        last: TokenId,
        /// Whether its tokens are proven to be current.
        proven: bool,
    },
    /// Ids of which no token can be proven.
    Lost {
        /// The lowest id that may be concerned.
        first: TokenId,
        /// The highest.
        last: TokenId,
        /// The directory page, or the page of the pack.
        page: LogicalPage,
        /// What is wrong with it.
        error: Arc<TokenError>,
    },
}

impl Span {
    /// The lowest and the highest id concerned.
    pub fn ids(&self) -> (TokenId, TokenId) {
        match self {
            Self::Pack { first, last, .. } | Self::Lost { first, last, .. } => (*first, *last),
        }
    }

    /// Whether it is a pack of proven tokens.
    pub fn is_proven(&self) -> bool {
        matches!(self, Self::Pack { proven: true, .. })
    }
}

/// What [`survivors`] found.
#[derive(Debug, Default)]
pub struct Survivors {
    /// Packs and losses in order of ids, without overlap. What lies between them held no token.
    pub spans: Vec<Span>,
    /// Directory pages that are unreadable, whether or not their packs were found without them.
    pub directory_damage: Vec<(LogicalPage, Arc<TokenError>)>,
}

/// Finds the packs under `root` that survive. Memory grows with the number of packs, not with their tokens.
///
/// # Errors
/// Errors of the system only; damage is in the result.
pub fn survivors(pages: &Snapshot, root: &TokenRoot, seg_root: &[u8; 64]) -> Result<Survivors> {
    let mut walk = Walk {
        pages,
        seen: HashSet::new(),
        directory_pages: Vec::new(),
        is_forged: false,
        spans: Vec::new(),
        gaps: Vec::new(),
    };
    let all = (0, u64::MAX);
    match root.level() {
        Some(level) => walk.page(root.addr, level, None, all)?,
        None if root.height == 1 => walk.pack(root.addr, None, all)?,
        None => {}
    }
    if !walk.gaps.is_empty() {
        let search = Search::new(&walk, seg_root)?;
        let complete = search.complete;
        walk.fill(search.packs(), complete);
    }
    let damage = walk.gaps.into_iter().map(|gap| (gap.page, gap.error));
    Ok(Survivors {
        spans: walk.spans,
        directory_damage: damage.collect(),
    })
}

/// Ids whose directory page is lost.
#[derive(Debug)]
struct Gap {
    first: u64,
    last: u64,
    page: LogicalPage,
    error: Arc<TokenError>,
}

/// The walk over what the directory still names.
struct Walk<'p> {
    pages: &'p Snapshot,
    seen: HashSet<SegmentAddr>,
    directory_pages: Vec<LogicalPage>,
    /// Something has its right hash and is malformed: no writer made it, so nothing can be concluded from what others say.
    is_forged: bool,
    spans: Vec<Span>,
    gaps: Vec<Gap>,
}

impl Walk<'_> {
    /// Enters a directory page, whose ids lie in `ids`.
    fn page(
        &mut self,
        addr: SegmentAddr,
        level: u8,
        key: Option<u64>,
        ids: (u64, u64),
    ) -> Result<()> {
        let page = addr.page;
        self.directory_pages.push(page);
        let node = self.first_visit(addr).and_then(|()| {
            let node = open_node(self.pages, page, level, key)?;
            node.check()
                .map_err(|flaw| TokenError::Directory { page, flaw })?;
            check_limit(page, node.id(node.len() - 1), ids.1)?;
            Ok(node)
        });
        let node = match self.sound(node)? {
            Ok(node) => node,
            Err(error) => {
                let (first, last) = ids;
                self.gaps.push(Gap {
                    first,
                    last,
                    page,
                    error,
                });
                return Ok(());
            }
        };
        for index in 0..node.len() {
            let entry = node.entry(index);
            let last = if index + 1 < node.len() {
                node.id(index + 1) - 1 // ids ascend, so the next is above 0
            } else {
                ids.1
            };
            match level.checked_sub(1) {
                Some(below) => self.page(entry.addr, below, Some(entry.id), (entry.id, last))?,
                None => self.pack(entry.addr, Some(entry.id), (entry.id, last))?,
            }
        }
        Ok(())
    }

    fn pack(&mut self, addr: SegmentAddr, key: Option<u64>, ids: (u64, u64)) -> Result<()> {
        let limit = inline_len_max(self.pages.page_size().bytes());
        let pack = self.first_visit(addr).and_then(|()| {
            let (pack, _) = open_pack(self.pages, addr, key)?;
            pack.check(limit).map_err(pack_error(addr))?;
            check_limit(addr.page, pack.id(pack.len() - 1).0, ids.1)?;
            Ok(pack)
        });
        let span = match self.sound(pack)? {
            Ok(pack) => Span::Pack {
                addr,
                first: pack.first_id(),
                last: pack.id(pack.len() - 1),
                proven: true,
            },
            Err(error) => Span::Lost {
                first: TokenId(ids.0),
                last: TokenId(ids.1),
                page: addr.page,
                error,
            },
        };
        self.spans.push(span);
        Ok(())
    }

    fn first_visit(&mut self, addr: SegmentAddr) -> Result<()> {
        if self.seen.insert(addr) {
            Ok(())
        } else {
            Err(TokenError::NamedTwice { addr })
        }
    }

    /// Sorts damage from errors of the system, and bytes that are unreadable from those that are wrong.
    fn sound<T>(&mut self, result: Result<T>) -> Result<Result<T, Arc<TokenError>>> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(error) if error.is_corruption() => {
                self.is_forged |= !is_unreadable(&error);
                Ok(Err(Arc::new(error)))
            }
            Err(error) => Err(error),
        }
    }

    /// Puts the packs that were found into the gaps. When all there can be were found, the rest of a gap held nothing.
    fn fill(&mut self, found: Vec<Found>, complete: bool) {
        let lost = |gap: &Gap, first: u64, last: u64| Span::Lost {
            first: TokenId(first),
            last: TokenId(last),
            page: gap.page,
            error: Arc::clone(&gap.error),
        };
        let mut found = found.into_iter().peekable();
        for gap in &self.gaps {
            let mut next = Some(gap.first);
            while let Some(pack) = found.next_if(|pack| pack.last <= gap.last) {
                let before = next.filter(|&next| next < pack.first && !complete);
                self.spans
                    .extend(before.map(|next| lost(gap, next, pack.first - 1)));
                self.spans.push(pack.span());
                next = pack.last.checked_add(1);
            }
            let rest = next.filter(|&next| next <= gap.last && !complete);
            self.spans
                .extend(rest.map(|next| lost(gap, next, gap.last)));
        }
        self.spans.sort_by_key(Span::ids);
    }
}

fn check_limit(child: LogicalPage, got: u64, last: u64) -> Result<()> {
    if got <= last {
        return Ok(());
    }
    Err(TokenError::BeyondNeighbour {
        child,
        limit: TokenId(last.saturating_add(1)),
        got: TokenId(got),
    })
}

/// True when a page cannot be read, false when it can and says something that cannot be.
fn is_unreadable(error: &TokenError) -> bool {
    use shroom_page::PageError;
    use shroom_seg::SegError;

    matches!(
        error,
        TokenError::Page(PageError::HashMismatch { .. } | PageError::Corrupt { .. })
            | TokenError::Seg(SegError::Page(
                PageError::HashMismatch { .. } | PageError::Corrupt { .. }
            ))
    )
}

/// A pack that was found without its directory page.
#[derive(Clone, Copy, Debug)]
struct Found {
    addr: SegmentAddr,
    first: u64,
    last: u64,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Proven,
    /// Nothing speaks against it, but pages are missing that might.
    Open,
    /// It may be bytes of a value.
    Contested,
}

impl Found {
    fn span(self) -> Span {
        let (addr, first, last) = (self.addr, TokenId(self.first), TokenId(self.last));
        match self.verdict {
            Verdict::Contested => Span::Lost {
                first,
                last,
                page: addr.page,
                error: Arc::new(TokenError::Unproven { addr }),
            },
            verdict => Span::Pack {
                addr,
                first,
                last,
                proven: verdict == Verdict::Proven,
            },
        }
    }
}

/// All live segments that look like packs without a directory page, and all that could own them otherwise.
struct Search {
    candidates: Vec<Found>,
    /// Segments that are said to continue a chain, or to begin a blob.
    owned: HashSet<SegmentAddr>,
    /// Heads of blobs whose extents are noted. Whatever length a pack claims: the descriptor alone says which they are.
    opened: HashSet<SegmentAddr>,
    /// Raw pages that a proven pack's blobs cover, and those of all packs.
    proven_raw: Vec<(u32, u32)>,
    raw: Vec<(u32, u32)>,
    /// Descriptors of blobs that were not what a pack said.
    refused: usize,
    /// Every page was read, or is known to hold neither packs nor references.
    complete: bool,
}

impl Search {
    fn new(walk: &Walk<'_>, seg_root: &[u8; 64]) -> Result<Self> {
        let mut search = Self {
            candidates: Vec::new(),
            owned: HashSet::new(),
            opened: HashSet::new(),
            proven_raw: Vec::new(),
            raw: Vec::new(),
            refused: 0,
            complete: !walk.is_forged,
        };
        for span in &walk.spans {
            if let Span::Pack { addr, .. } = *span {
                let (pack, _) = open_pack(walk.pages, addr, None)?;
                search.own(walk.pages, &pack, true)?;
            }
        }
        search.proven_raw = search.raw.clone();
        let unreadable = search.scan(walk)?;
        search.complete &= search.explains(walk, seg_root, &unreadable)?;
        Ok(search)
    }

    /// Looks at every page; returns those that cannot be read.
    fn scan(&mut self, walk: &Walk<'_>) -> Result<Vec<LogicalPage>> {
        let mut unreadable = Vec::new();
        let directory: HashSet<LogicalPage> = walk.directory_pages.iter().copied().collect();
        walk.pages.survey(&mut |surveyed| {
            match surveyed {
                Surveyed::Unmapped { .. } => self.complete = false,
                Surveyed::Page(page, Err(_)) => unreadable.push(page),
                Surveyed::Page(page, Ok(bytes)) if !directory.contains(&page) => {
                    for segment in live_segments(page, bytes).unwrap_or_default() {
                        self.look_at(walk, segment)?;
                    }
                }
                Surveyed::Page(..) => {}
            }
            Ok::<_, TokenError>(())
        })?;
        Ok(unreadable)
    }

    /// Notes a segment that looks like a pack, and what it names.
    fn look_at(&mut self, walk: &Walk<'_>, segment: LiveSegment<'_>) -> Result<()> {
        if let Some(link) = segment.link {
            self.owned.insert(link);
            return Ok(());
        }
        let limit = inline_len_max(walk.pages.page_size().bytes());
        let pack = Pack::parse(segment.data)
            .ok()
            .filter(|pack| pack.check(limit).is_ok());
        let Some(pack) = pack.filter(|_| !walk.seen.contains(&segment.addr)) else {
            return Ok(());
        };
        let (first, last) = (pack.first_id().0, pack.id(pack.len() - 1).0);
        let after = walk.gaps.partition_point(|gap| gap.first <= first);
        let gap = after.checked_sub(1).and_then(|at| walk.gaps.get(at));
        if gap.is_some_and(|gap| last <= gap.last) {
            self.candidates.push(Found {
                addr: segment.addr,
                first,
                last,
                verdict: Verdict::Open,
            });
        }
        self.own(walk.pages, &pack, false)
    }

    /// Notes the heads and the raw pages of a pack's blobs.
    fn own(&mut self, pages: &Snapshot, pack: &Pack<'_>, proven: bool) -> Result<()> {
        for index in 0..pack.len() {
            let Ok(Stored::Blob { head, length }) = pack.slot(index) else {
                continue;
            };
            self.owned.insert(head);
            // The raw pages of blobs are all different: more runs than pages are a forgery, and so are many refusals.
            if self.refused > REFUSED_MAX || self.raw.len() > pages.allocated_pages_max() as usize {
                self.complete = false;
                continue;
            }
            if self.opened.contains(&head) {
                continue;
            }
            match blob_extents(pages, head, length).map_err(TokenError::from) {
                Ok(extents) => {
                    self.opened.insert(head);
                    let runs = extents.iter().map(|(first, len)| (first.0, first.0 + len));
                    self.raw.extend(runs);
                }
                Err(error) if error.is_corruption() => {
                    self.refused += 1;
                    // A descriptor that is readable and wrong is no writer's work.
                    self.complete &= !proven || is_unreadable(&error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether each unreadable page is known to hold neither packs nor references.
    fn explains(
        &self,
        walk: &Walk<'_>,
        seg_root: &[u8; 64],
        unreadable: &[LogicalPage],
    ) -> Result<bool> {
        let mut harmless: HashSet<LogicalPage> = walk.directory_pages.iter().copied().collect();
        match index_pages(walk.pages, seg_root).map_err(TokenError::from) {
            Ok(pages) => harmless.extend(pages),
            Err(error) if error.is_corruption() => {}
            Err(error) => return Err(error),
        }
        let raw = Covered::new(&self.proven_raw);
        Ok(unreadable
            .iter()
            .all(|page| harmless.contains(page) || raw.contains(*page)))
    }

    /// The packs found, in order of ids, each with what can be said for it.
    fn packs(self) -> Vec<Found> {
        let raw = Covered::new(&self.raw);
        let verdict = |pack: &Found| {
            if self.owned.contains(&pack.addr) || raw.contains(pack.addr.page) {
                Verdict::Contested
            } else if self.complete {
                Verdict::Proven
            } else {
                Verdict::Open
            }
        };
        let mut found = self.candidates;
        for pack in &mut found {
            pack.verdict = verdict(pack);
        }
        found.sort_by_key(|pack| (pack.first, pack.addr));
        let (contested, mut clear): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|pack| pack.verdict == Verdict::Contested);
        merge_overlapping(&mut clear);
        // True packs do not overlap: what overlaps one is none.
        let is_apart = |pack: &Found| {
            let at = clear.partition_point(|clear| clear.first <= pack.last);
            at.checked_sub(1)
                .is_none_or(|at| clear[at].last < pack.first)
        };
        let mut all: Vec<_> = contested.into_iter().filter(is_apart).collect();
        merge_overlapping(&mut all);
        all.append(&mut clear);
        all.sort_by_key(|pack| pack.first);
        all
    }
}

/// Of packs that overlap, sorted by their first ids, none can be told to be the true one: they become one contested range.
fn merge_overlapping(packs: &mut Vec<Found>) {
    packs.dedup_by(|pack, before| {
        let overlaps = pack.first <= before.last;
        if overlaps {
            before.verdict = Verdict::Contested;
            before.last = before.last.max(pack.last);
        }
        overlaps
    });
}

/// A set of page numbers, from runs that may overlap.
struct Covered {
    /// First of each run, ascending, and the highest end of all runs up to it.
    runs: Vec<(u32, u32)>,
}

impl Covered {
    fn new(runs: &[(u32, u32)]) -> Self {
        let mut runs = runs.to_vec();
        runs.sort_unstable();
        let mut highest = 0;
        for (_, end) in &mut runs {
            highest = highest.max(*end);
            *end = highest;
        }
        Self { runs }
    }

    fn contains(&self, page: LogicalPage) -> bool {
        let after = self.runs.partition_point(|(first, _)| *first <= page.0);
        after
            .checked_sub(1)
            .is_some_and(|at| page.0 < self.runs[at].1)
    }
}
