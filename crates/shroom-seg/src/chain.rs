//! Reading segments and chains of segments (format §5).
//!
//! * C1 Only a segment that is a whole chain may be empty, and only the last of a chain has slack: at most 3 zero bytes.
//! * C2 A walk ends: it takes at most as many segments as the store has room for.
//!
//! Absent on purpose: writes nothing, and does not know what the bytes mean.

use alloc::vec::Vec;
use core::ops::Range;

use shroom_page::{PageRead, PartialRead};

use crate::page::{self, Next, PageFault, SEGMENT_OVERHEAD, Segment};
use crate::{Fault, Result, SegError, SegmentAddr};

/// The data of the live segment at `addr`, which must end its chain. Slack is included: the data may be followed
/// by up to 3 zero bytes.
///
/// # Errors
/// [`SegError::Linked`] when the segment links to another; corruption when there is none at `addr`. Whether the
/// segment is live (and not free) is known to its referrer and to [`verify`](crate::verify) only.
pub fn segment<R: PageRead>(pages: &R, addr: SegmentAddr) -> Result<&[u8]> {
    let segment = read(pages, addr)?;
    match segment.next {
        Next::End => Ok(segment.data),
        Next::Local(_) | Next::Far(_) => Err(SegError::Linked { addr }),
    }
}

/// The data of the live segment at `addr`, without a look at its link: for a reader that knows the segment to be the
/// only one of its chain, and would pay a cache miss for the link behind the data. [`verify`](crate::verify) checks it.
///
/// # Errors
/// Corruption when there is no segment at `addr`.
#[inline]
pub fn segment_data<R: PageRead>(pages: &R, addr: SegmentAddr) -> Result<&[u8]> {
    let page = pages.page(addr.page)?;
    match page::data(page, addr.offset) {
        Some(data) => Ok(data),
        // Says what is wrong.
        None => segment(pages, addr),
    }
}

/// The data of the segment at `offset` of a storage page, as [`segment_data`] reads it; `None` when there is none.
#[inline]
pub fn segment_data_of(page: &[u8], offset: u16) -> Option<&[u8]> {
    page::data(page, offset)
}

/// Where in its page the data of the segment at `addr` lies, in bytes, for a reader that has parts of pages only. Reads what
/// [`segment_data`] reads: the page's type and the segment's length.
///
/// # Errors
/// Corruption when there is no segment at `addr`.
pub fn segment_span<R: PartialRead>(pages: &R, addr: SegmentAddr) -> Result<Range<usize>> {
    let [page_type, kind] = pages.array(addr.page, 0)?;
    let page_len = pages.page_size().bytes();
    let fault = |fault| SegError::Storage { addr, fault };
    if usize::from(addr.offset) + 2 > page_len {
        return Err(fault(Fault::Outside { limit: page_len }));
    }
    let length = u16::from_le_bytes(pages.array(addr.page, addr.offset.into())?);
    page::data_span(page_type, addr.offset, length, page_len).ok_or_else(|| {
        fault(match page_type {
            page::STORAGE => Fault::Overrun { length },
            _ => Fault::NotStorage { page_type, kind },
        })
    })
}

/// The most bytes that the store can hold.
pub(crate) fn store_bytes<R: PageRead>(pages: &R) -> u64 {
    u64::from(pages.allocated_pages_max()) * pages.page_size().bytes() as u64
}

fn read<R: PageRead>(pages: &R, addr: SegmentAddr) -> Result<Segment<'_>> {
    page::segment(pages.page(addr.page)?, addr.offset).map_err(PageFault::on(addr.page))
}

/// Goes to the end of the chain at `head`, through at most `budget` bytes of segments: how many it took, and how it ended.
pub(crate) fn walk<R: PageRead>(pages: &R, head: SegmentAddr, budget: u64) -> (u64, Result<()>) {
    let mut chain = ChainReader::new(pages, head);
    let mut walked = 0;
    loop {
        match chain.advance() {
            Ok(true) => walked += (SEGMENT_OVERHEAD + chain.rest.len()) as u64,
            Ok(false) => return (walked, Ok(())),
            Err(error) => return (walked, Err(error)),
        }
        if walked > budget {
            let limit = store_bytes(pages) / SEGMENT_OVERHEAD as u64;
            return (walked, Err(SegError::ChainTooLong { addr: head, limit }));
        }
    }
}

/// Reads a chain front to back, and remembers its segments when asked to.
#[derive(Debug)]
pub(crate) struct ChainReader<'p, R> {
    pages: &'p R,
    head: SegmentAddr,
    /// What is left of the current segment.
    rest: &'p [u8],
    /// The current segment, once there is one.
    current: Option<SegmentAddr>,
    next: Option<SegmentAddr>,
    steps: u64,
    visited: Option<Vec<SegmentAddr>>,
}

/// Where a reader is in a chain, without a hold on the pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainPlace {
    current: Option<SegmentAddr>,
    /// Bytes that are left of the current segment.
    left: usize,
    next: Option<SegmentAddr>,
    steps: u64,
}

impl<'p, R: PageRead> ChainReader<'p, R> {
    pub(crate) fn new(pages: &'p R, head: SegmentAddr) -> Self {
        Self {
            pages,
            head,
            rest: &[],
            current: None,
            next: Some(head),
            steps: 0,
            visited: None,
        }
    }

    /// Goes on from a place that a reader of the same chain in the same state was at.
    pub(crate) fn resume(pages: &'p R, head: SegmentAddr, place: ChainPlace) -> Result<Self> {
        let mut rest: &[u8] = &[];
        if let Some(addr) = place.current.filter(|_| place.left > 0) {
            let data = read(pages, addr)?.data;
            rest = data
                .len()
                .checked_sub(place.left)
                .map_or(data, |start| &data[start..]);
        }
        Ok(Self {
            rest,
            current: place.current,
            next: place.next,
            steps: place.steps,
            ..Self::new(pages, head)
        })
    }

    /// Where it is.
    pub(crate) fn place(&self) -> ChainPlace {
        ChainPlace {
            current: self.current,
            left: self.rest.len(),
            next: self.next,
            steps: self.steps,
        }
    }

    pub(crate) fn recording(pages: &'p R, head: SegmentAddr) -> Self {
        Self {
            visited: Some(Vec::new()),
            ..Self::new(pages, head)
        }
    }

    /// The segments read so far, in order; empty unless recording.
    pub(crate) fn into_visited(self) -> Vec<SegmentAddr> {
        self.visited.unwrap_or_default()
    }

    /// Up to `most` bytes, and at least one unless `most` is 0; an error when the chain ends before.
    pub(crate) fn take(&mut self, most: u64) -> Result<&'p [u8]> {
        if most == 0 {
            return Ok(&[]);
        }
        while self.rest.is_empty() {
            if !self.advance()? {
                return Err(SegError::ChainLength {
                    addr: self.head,
                    expected: most,
                    found: 0,
                });
            }
        }
        let length = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(self.rest.len());
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        let mut filled = 0;
        while filled < N {
            let taken = self.take((N - filled) as u64)?;
            bytes[filled..filled + taken.len()].copy_from_slice(taken);
            filled += taken.len();
        }
        Ok(bytes)
    }

    /// Checks that nothing but slack is left.
    pub(crate) fn end(&mut self) -> Result<()> {
        if self.rest.is_empty() && self.steps == 0 {
            self.advance()?;
        }
        let found = self.rest.len() as u64;
        if self.next.is_some() || found >= SEGMENT_OVERHEAD as u64 {
            return Err(SegError::ChainLength {
                addr: self.head,
                expected: 0,
                found,
            });
        }
        if self.rest.iter().any(|&byte| byte != 0) {
            return Err(SegError::Padding { addr: self.head });
        }
        self.rest = &[];
        Ok(())
    }

    fn advance(&mut self) -> Result<bool> {
        let Some(addr) = self.next else {
            return Ok(false);
        };
        let limit = store_bytes(self.pages) / SEGMENT_OVERHEAD as u64;
        // The first is always tried: a proof without a whole page says itself that it lacks one.
        if self.steps > 0 && self.steps >= limit {
            return Err(SegError::ChainTooLong { addr, limit });
        }
        let segment = read(self.pages, addr)?;
        self.next = match segment.next {
            Next::End => None,
            Next::Local(offset) => Some(SegmentAddr::new(addr.page, offset)),
            Next::Far(far) => Some(far),
        };
        if self.next.is_some() && segment.data.is_empty() {
            return Err(SegError::EmptyLink { addr });
        }
        self.steps += 1;
        if let Some(visited) = &mut self.visited {
            visited.push(addr);
        }
        self.current = Some(addr);
        self.rest = segment.data;
        Ok(true)
    }
}
