//! The codec of one storage page: segments and the page's own free list (format §5).
//!
//! * P1 Bytes 8.. of a page are tiled by segments, live or free; nothing else is there.
//! * P2 Free segments are zero, ascending in the list, and never touch each other.
//! * P3 `used` counts the live segments and `free_bytes` sums the whole sizes of the free ones.
//! * P4 No function panics, whatever the bytes: a walk only goes forward, so it ends.
//!
//! Absent on purpose: knows no other page, no transaction, no heap but for [`check`]; `core` and `alloc` only.

use alloc::vec::Vec;
use core::mem::{offset_of, size_of};
use core::ops::Range;

use shroom_page::{LogicalPage, PAGE_HEADER_LEN, PageType};
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Fault, SegError, SegmentAddr};

/// Bytes of a segment that are not data: the length and the link.
pub(crate) const SEGMENT_OVERHEAD: usize = 4;
/// Bytes of a far link, after the link field.
pub(crate) const FAR_LINK_LEN: usize = SegmentAddr::LEN;

const NEXT_END: u16 = 0;
const NEXT_FAR: u16 = 1;
const LENGTH_FIELD: usize = 2;
/// First byte of every storage page.
pub(crate) const STORAGE: u8 = PageType::Storage as u8;

/// The page header as storage pages use it (format §2.2).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct StorageHeader {
    page_type: u8,
    kind: u8,
    used: U16,
    free_head: U16,
    free_bytes: U16,
}
const _: () = assert!(size_of::<StorageHeader>() == PAGE_HEADER_LEN);
const _: () =
    assert!(offset_of!(StorageHeader, used) == 2 && offset_of!(StorageHeader, free_bytes) == 6);

/// What a link says, by the format's names; an offset is this or more.
#[cfg(feature = "std")]
pub(crate) const LINKS: [(&str, u64); 3] = [
    ("end", NEXT_END as u64),
    ("far", NEXT_FAR as u64),
    ("offset", PAGE_HEADER_LEN as u64),
];

#[cfg(feature = "std")]
pub(crate) fn storage_header_structure() -> shroom_page::format::Structure {
    let fields = shroom_page::format_fields!(StorageHeader {
        "page_type" => page_type,
        "kind" => kind,
        "used" => used,
        "free_head" => free_head,
        "free_bytes" => free_bytes,
    });
    shroom_page::format::Structure::fixed("storage page header", fields)
}

#[cfg(feature = "std")]
pub(crate) fn segment_structure() -> shroom_page::format::Structure {
    use shroom_page::format::{Case, Field, Structure};

    let segment = |(length, far): (usize, bool)| {
        let next = match far {
            true => Next::Far(SegmentAddr::from_bytes([0; FAR_LINK_LEN])),
            false => Next::End,
        };
        let data = &[0; 100][..length];
        let link_len = SEGMENT_OVERHEAD - LENGTH_FIELD;
        let mut fields = vec![
            Field::new("length", 0, LENGTH_FIELD),
            Field::new("data", LENGTH_FIELD, length),
            Field::new("next", LENGTH_FIELD + length, link_len),
        ];
        fields.push(Field::rest("far", &fields, Segment { data, next }.size()));
        let given = vec![("length", length as u64), ("is_far", far.into())];
        Case { given, fields }
    };
    Structure::of(
        "segment",
        [(0, false), (9, false), (100, true)].map(segment),
    )
}

/// What is wrong in a page, and at which offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PageFault {
    pub(crate) offset: usize,
    pub(crate) fault: Fault,
}

impl PageFault {
    fn at<T>(offset: usize, fault: Fault) -> Result<T, Self> {
        Err(Self { offset, fault })
    }

    /// The error for this fault in `page`.
    pub(crate) fn on(page: LogicalPage) -> impl Fn(Self) -> SegError {
        move |Self { offset, fault }| SegError::Storage {
            addr: SegmentAddr::new(page, offset as u16),
            fault,
        }
    }
}

/// Where a segment's chain goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Nowhere: the segment is the last.
    End,
    /// At an offset of the same page.
    Local(u16),
    /// In another page.
    Far(SegmentAddr),
}

/// A parsed segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment<'p> {
    pub(crate) data: &'p [u8],
    pub(crate) next: Next,
}

impl Segment<'_> {
    /// Bytes the segment takes in its page.
    fn size(&self) -> usize {
        let link = if matches!(self.next, Next::Far(_)) {
            FAR_LINK_LEN
        } else {
            0
        };
        SEGMENT_OVERHEAD + self.data.len() + link
    }
}

/// What a page has room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Room {
    /// Live segments.
    pub(crate) used: usize,
    /// Whole sizes of the free segments.
    pub(crate) free_bytes: usize,
    /// Data capacity of the largest free segment, when there is one.
    pub(crate) largest: Option<usize>,
}

/// A free segment, and where the link to it is stored.
#[derive(Clone, Copy)]
pub(crate) struct FreeSegment {
    pub(crate) offset: usize,
    pub(crate) length: usize,
    next: usize,
    /// Position of the u16 that links here: the header's, or that of the free segment before.
    link: usize,
}

impl FreeSegment {
    fn end(&self) -> usize {
        self.offset + SEGMENT_OVERHEAD + self.length
    }

    fn next_position(&self) -> usize {
        self.end() - 2
    }
}

/// Walks the free list; bounded because offsets must ascend.
struct FreeList<'p> {
    page: &'p [u8],
    at: usize,
    least: usize,
    link: usize,
}

impl<'p> FreeList<'p> {
    fn new(page: &'p [u8], header: &StorageHeader) -> Self {
        let link = offset_of!(StorageHeader, free_head);
        Self {
            page,
            at: header.free_head.get().into(),
            least: PAGE_HEADER_LEN,
            link,
        }
    }
}

impl Iterator for FreeList<'_> {
    type Item = Result<FreeSegment, PageFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.at;
        if offset == 0 {
            return None;
        }
        self.at = 0; // a fault ends the walk
        if offset < self.least {
            return Some(PageFault::at(
                offset,
                Fault::FreeOrder {
                    expected: self.least,
                },
            ));
        }
        let fault = Some(PageFault::at(
            offset,
            Fault::Outside {
                limit: self.page.len(),
            },
        ));
        let Some(length) = read_u16(self.page, offset) else {
            return fault;
        };
        let length = usize::from(length);
        let Some(next) = read_u16(self.page, offset + LENGTH_FIELD + length) else {
            return Some(PageFault::at(
                offset,
                Fault::Overrun {
                    length: length as u16,
                },
            ));
        };
        let free = FreeSegment {
            offset,
            length,
            next: next.into(),
            link: self.link,
        };
        self.at = free.next;
        self.link = free.next_position();
        self.least = free.end() + SEGMENT_OVERHEAD; // at least one live segment lies between
        Some(Ok(free))
    }
}

/// The free segments of a page, ascending; an error is the last.
#[cfg(feature = "std")]
pub(crate) fn free_segments(
    page: &[u8],
) -> impl Iterator<Item = Result<FreeSegment, PageFault>> + '_ {
    let list = header(page).map(|header| FreeList::new(page, &header));
    list.into_iter().flatten()
}

/// Makes a storage page with one free segment out of `page`, whatever it held.
pub(crate) fn init(page: &mut [u8]) {
    page.fill(0);
    let free = page.len() - PAGE_HEADER_LEN;
    let header = StorageHeader {
        page_type: PageType::Storage as u8,
        kind: 0,
        used: U16::ZERO,
        free_head: U16::new(PAGE_HEADER_LEN as u16),
        free_bytes: U16::new(free as u16),
    };
    put_header(page, &header);
    put_u16(page, PAGE_HEADER_LEN, free - SEGMENT_OVERHEAD);
}

/// The segment at `offset`. Whether it is live is the caller's knowledge, and [`check`]'s.
pub(crate) fn segment(page: &[u8], offset: u16) -> Result<Segment<'_>, PageFault> {
    header(page)?;
    parse(page, offset.into())
}

/// The data of the segment at `offset` of a storage page, its link unread; `None` when there is no segment.
#[inline]
pub(crate) fn data(page: &[u8], offset: u16) -> Option<&[u8]> {
    let page_type = *page.first()?;
    let length = u16::from_le_bytes(*page.get(usize::from(offset)..)?.first_chunk()?);
    page.get(data_span(page_type, offset, length, page.len())?)
}

/// Where the data of the segment at `offset` lies whose length field is `length`; `None` when it cannot be one.
#[inline]
pub(crate) fn data_span(
    page_type: u8,
    offset: u16,
    length: u16,
    page_len: usize,
) -> Option<Range<usize>> {
    let offset = usize::from(offset);
    let start = offset + LENGTH_FIELD;
    let end = start + usize::from(length);
    let sound = page_type == STORAGE && offset >= PAGE_HEADER_LEN && end + 2 <= page_len;
    sound.then_some(start..end)
}

/// The page's counts and its largest free segment.
pub(crate) fn room(page: &[u8]) -> Result<Room, PageFault> {
    let header = header(page)?;
    let mut largest = None;
    for free in FreeList::new(page, &header) {
        largest = largest.max(Some(free?.length));
    }
    Ok(Room {
        used: header.used.get().into(),
        free_bytes: header.free_bytes.get().into(),
        largest,
    })
}

/// What the header says of the free bytes, without a look at the list.
pub(crate) fn free_bytes(page: &[u8]) -> Result<usize, PageFault> {
    Ok(header(page)?.free_bytes.get().into())
}

/// What would be left of the smallest free segment that holds `size` bytes of data; `None` when none does.
pub(crate) fn tightest(page: &[u8], size: usize) -> Result<Option<usize>, PageFault> {
    let header = header(page)?;
    let mut least: Option<usize> = None;
    for free in FreeList::new(page, &header) {
        let rest = free?.length.checked_sub(size);
        least = least.into_iter().chain(rest).min();
    }
    Ok(least)
}

/// Places `data` in the smallest free segment that holds it (the lowest of equals), with a far link when given.
/// Returns its offset, or `None` when no free segment serves. A remainder under 4 bytes becomes slack of the
/// segment; a segment with a link takes none, since slack may only end a chain.
pub(crate) fn allocate(
    page: &mut [u8],
    data: &[u8],
    far: Option<SegmentAddr>,
) -> Result<Option<u16>, PageFault> {
    let mut header = header(page)?;
    let size = data.len() + if far.is_some() { FAR_LINK_LEN } else { 0 };
    let mut best: Option<FreeSegment> = None;
    for free in FreeList::new(page, &header) {
        let free = free?;
        let Some(rest) = free.length.checked_sub(size) else {
            continue;
        };
        let slack_refused = far.is_some() && (1..SEGMENT_OVERHEAD).contains(&rest);
        if !slack_refused && best.is_none_or(|best| free.length < best.length) {
            best = Some(free);
            if rest == 0 {
                break;
            }
        }
    }
    let Some(free) = best else { return Ok(None) };
    let rest = free.length - size;
    let (slack, taken) = if rest < SEGMENT_OVERHEAD {
        put_u16(page, free.link, free.next);
        (rest, free.length + SEGMENT_OVERHEAD)
    } else {
        // The remainder keeps the old segment's end, and with it the link to the next one.
        let remainder = free.offset + SEGMENT_OVERHEAD + size;
        put_u16(page, remainder, rest - SEGMENT_OVERHEAD);
        put_u16(page, free.link, remainder);
        (0, size + SEGMENT_OVERHEAD)
    };
    let free_bytes = usize::from(header.free_bytes.get());
    let Some(left) = free_bytes.checked_sub(taken) else {
        return PageFault::at(
            free.offset,
            Fault::FreeBytes {
                counted: free_bytes,
                found: taken,
            },
        );
    };
    put_segment(page, free.offset, data, slack, far);
    // The list head may have moved: it is in the page, not in the copy.
    header = self::header(page)?;
    let used = usize::from(header.used.get()) + 1;
    if used > page.len() / SEGMENT_OVERHEAD {
        return PageFault::at(
            offset_of!(StorageHeader, used),
            Fault::Used {
                counted: used,
                found: 0,
            },
        );
    }
    header.used = U16::new(used as u16);
    header.free_bytes = U16::new(left as u16);
    put_header(page, &header);
    Ok(Some(free.offset as u16))
}

/// Replaces the data of the last segment of a chain where it is, when the new data takes the same room.
pub(crate) fn overwrite(page: &mut [u8], offset: u16, data: &[u8]) -> Result<bool, PageFault> {
    let old = segment(page, offset)?;
    let same = old.next == Next::End
        && old
            .data
            .len()
            .checked_sub(data.len())
            .is_some_and(|slack| slack < 4);
    if same {
        let slack = old.data.len() - data.len();
        put_segment(page, offset.into(), data, slack, None);
    }
    Ok(same)
}

/// Frees the live segment at `offset`: zeroes it, links it into the list and joins it with free neighbours.
pub(crate) fn free(page: &mut [u8], offset: u16) -> Result<(), PageFault> {
    let header = header(page)?;
    let start = usize::from(offset);
    let size = parse(page, start)?.size();
    let end = start + size;
    let mut before: Option<FreeSegment> = None;
    let mut after: Option<FreeSegment> = None;
    for free in FreeList::new(page, &header) {
        let free = free?;
        if free.offset >= end {
            after = Some(free);
            break;
        }
        if free.end() > start {
            return PageFault::at(start, Fault::NotLive);
        }
        before = Some(free);
    }
    let used = usize::from(header.used.get());
    let Some(used_left) = used.checked_sub(1) else {
        return PageFault::at(
            start,
            Fault::Used {
                counted: used,
                found: 1,
            },
        );
    };
    let free_bytes = usize::from(header.free_bytes.get()) + size;
    if free_bytes > page.len() - PAGE_HEADER_LEN {
        return PageFault::at(
            start,
            Fault::FreeBytes {
                counted: free_bytes,
                found: page.len() - PAGE_HEADER_LEN,
            },
        );
    }

    let (mut low, mut high, mut next) = (start, end, after.map_or(0, |free| free.offset));
    let mut link = before.map_or(offset_of!(StorageHeader, free_head), |free| {
        free.next_position()
    });
    page[start..end].fill(0);
    if let Some(after) = after.filter(|after| after.offset == end) {
        put_u16(page, after.offset, 0);
        put_u16(page, after.next_position(), 0);
        (high, next) = (after.end(), after.next);
    }
    if let Some(before) = before.filter(|before| before.end() == start) {
        put_u16(page, before.offset, 0);
        put_u16(page, before.next_position(), 0);
        (low, link) = (before.offset, before.link);
    }
    put_u16(page, low, high - low - SEGMENT_OVERHEAD);
    put_u16(page, high - 2, next);
    put_u16(page, link, low);
    let mut header = self::header(page)?;
    header.used = U16::new(used_left as u16);
    header.free_bytes = U16::new(free_bytes as u16);
    put_header(page, &header);
    Ok(())
}

/// What a full check of a page found.
#[derive(Default, Debug)]
pub(crate) struct Check {
    /// The live segments in order: offset, whole size and link.
    pub(crate) live: Vec<(u16, Next)>,
    /// Whole sizes of the free segments.
    pub(crate) free_bytes: usize,
    /// Data capacity of the largest free segment.
    pub(crate) largest: Option<usize>,
    /// All that is wrong.
    pub(crate) faults: Vec<PageFault>,
}

/// Checks that every byte of a page is header, live segment or free segment, and that the header agrees.
pub(crate) fn check(page: &[u8]) -> Check {
    let mut check = Check::default();
    let header = match header(page) {
        Ok(header) => header,
        Err(fault) => {
            check.faults.push(fault);
            return check;
        }
    };
    let mut free_list = FreeList::new(page, &header);
    let mut next_free = next_free(&mut free_list, &mut check);
    let mut at = PAGE_HEADER_LEN;
    while at < page.len() {
        if let Some(free) = next_free.filter(|free| free.offset <= at) {
            if free.offset < at {
                check.faults.push(PageFault {
                    offset: free.offset,
                    fault: Fault::FreeMisplaced,
                });
            } else {
                let data = &page[at + LENGTH_FIELD..free.next_position()];
                if data.iter().any(|&byte| byte != 0) {
                    check.faults.push(PageFault {
                        offset: at,
                        fault: Fault::FreeNotZero,
                    });
                }
                check.free_bytes += free.end() - at;
                check.largest = check.largest.max(Some(free.length));
                at = free.end();
            }
            next_free = self::next_free(&mut free_list, &mut check);
            continue;
        }
        match parse(page, at) {
            Ok(segment) => {
                if segment.next != Next::End && segment.data.is_empty() {
                    check.faults.push(PageFault {
                        offset: at,
                        fault: Fault::EmptyLink,
                    });
                }
                check.live.push((at as u16, segment.next));
                at += segment.size();
            }
            Err(fault) => {
                check.faults.push(fault);
                return check; // the tiling is lost, so the counts mean nothing
            }
        }
    }
    if let Some(free) = next_free {
        check.faults.push(PageFault {
            offset: free.offset,
            fault: Fault::FreeMisplaced,
        });
    }
    let (used, free_bytes) = (
        usize::from(header.used.get()),
        usize::from(header.free_bytes.get()),
    );
    if used != check.live.len() {
        let fault = Fault::Used {
            counted: used,
            found: check.live.len(),
        };
        check.faults.push(PageFault {
            offset: offset_of!(StorageHeader, used),
            fault,
        });
    }
    if free_bytes != check.free_bytes {
        let fault = Fault::FreeBytes {
            counted: free_bytes,
            found: check.free_bytes,
        };
        check.faults.push(PageFault {
            offset: offset_of!(StorageHeader, free_bytes),
            fault,
        });
    }
    check
}

fn next_free(list: &mut FreeList<'_>, check: &mut Check) -> Option<FreeSegment> {
    match list.next()? {
        Ok(free) => Some(free),
        Err(fault) => {
            check.faults.push(fault);
            None
        }
    }
}

fn header(page: &[u8]) -> Result<StorageHeader, PageFault> {
    let Ok((header, _)) = StorageHeader::read_from_prefix(page) else {
        return PageFault::at(0, Fault::Outside { limit: page.len() });
    };
    if header.page_type != PageType::Storage as u8 || header.kind != 0 {
        return PageFault::at(
            0,
            Fault::NotStorage {
                page_type: header.page_type,
                kind: header.kind,
            },
        );
    }
    Ok(header)
}

fn parse(page: &[u8], start: usize) -> Result<Segment<'_>, PageFault> {
    let outside = Fault::Outside { limit: page.len() };
    if start < PAGE_HEADER_LEN {
        return PageFault::at(start, outside);
    }
    let Some(length) = read_u16(page, start) else {
        return PageFault::at(start, outside);
    };
    let data_start = start + LENGTH_FIELD;
    let data_end = data_start + usize::from(length);
    let overrun = Fault::Overrun { length };
    let (Some(data), Some(next)) = (page.get(data_start..data_end), read_u16(page, data_end))
    else {
        return PageFault::at(start, overrun);
    };
    let next = match next {
        NEXT_END => Next::End,
        NEXT_FAR => match page
            .get(data_end + 2..)
            .and_then(|rest| rest.first_chunk::<FAR_LINK_LEN>())
        {
            Some(link) => Next::Far(SegmentAddr::from_bytes(*link)),
            None => return PageFault::at(start, overrun),
        },
        reserved if usize::from(reserved) < PAGE_HEADER_LEN => {
            return PageFault::at(start, Fault::Link { next: reserved });
        }
        offset => Next::Local(offset),
    };
    Ok(Segment { data, next })
}

fn put_segment(page: &mut [u8], start: usize, data: &[u8], slack: usize, far: Option<SegmentAddr>) {
    let data_start = start + LENGTH_FIELD;
    let data_end = data_start + data.len();
    put_u16(page, start, data.len() + slack);
    page[data_start..data_end].copy_from_slice(data);
    page[data_end..data_end + slack].fill(0);
    let link = data_end + slack;
    put_u16(
        page,
        link,
        if far.is_some() {
            NEXT_FAR.into()
        } else {
            NEXT_END.into()
        },
    );
    if let Some(far) = far {
        page[link + 2..link + 2 + FAR_LINK_LEN].copy_from_slice(&far.to_bytes());
    }
}

fn put_header(page: &mut [u8], header: &StorageHeader) {
    page[..PAGE_HEADER_LEN].copy_from_slice(header.as_bytes());
}

fn read_u16(page: &[u8], at: usize) -> Option<u16> {
    page.get(at..)?
        .first_chunk()
        .map(|bytes| u16::from_le_bytes(*bytes))
}

/// Writes a value that the page size bounds (all offsets and lengths in a page are below 65,536).
fn put_u16(page: &mut [u8], at: usize, value: usize) {
    debug_assert!(value <= usize::from(u16::MAX));
    page[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
}

#[cfg(test)]
mod tests;
