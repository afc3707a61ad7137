//! Loading sorted tokens behind all that are there: packs are filled in order, and only the right edge of the
//! directory is touched.
//!
//! * B1 Every pack but the last fills a page as far as whole tokens allow, or what a page before it has left; every directory
//!   page is full.
//! * B2 Memory is one pack and one directory page a level, however many tokens come (beside what the page
//!   transaction holds).
//!
//! Absent on purpose: does not sort, and does not commit in between.

use std::collections::BTreeSet;

use shroom_page::{LogicalPage, PageRead};
use shroom_seg::{SegmentAddr, SegmentTxn};

use crate::edge::{RightEdge, WriteNode};
use crate::lookup::{open_pack, pack_error};
use crate::merge::directory::read_entries;
use crate::merge::{Stream, Totals, checked_token};
use crate::node::{Entry, encode};
use crate::pack::{PackShape, blob_reference};
use crate::rooms::best_room;
use crate::{Result, TokenError, TokenId, TokenRoot, inline_len_max};

/// Bytes that no pack is worth being made for.
const ROOM_MIN: usize = 32;
/// Pages whose rooms are kept.
const ROOMS_MAX: usize = 64;

/// Appends tokens whose ids ascend and are above all stored ones, and returns the new root.
///
/// # Errors
/// [`TokenError::NotAscending`] for an id that is not above the one before; corruption; errors of the layers below.
/// After any error the transaction must be dropped.
pub fn bulk_append<T: AsRef<[u8]>>(
    segments: &mut SegmentTxn<'_, '_>,
    root: &TokenRoot,
    tokens: impl IntoIterator<Item = (TokenId, T)>,
) -> Result<TokenRoot> {
    let mut tokens = tokens.into_iter().peekable();
    if tokens.peek().is_none() {
        return Ok(*root);
    }
    let mut bulk = Bulk::open(segments, root)?;
    for (id, bytes) in tokens {
        bulk.push(id, bytes.as_ref())?;
    }
    bulk.finish()
}

struct Bulk<'m, 't, 's> {
    segments: &'m mut SegmentTxn<'t, 's>,
    edge: RightEdge,
    /// Tokens of the last pack.
    stream: Stream,
    shape: PackShape,
    /// Where the last pack was, until it is written again.
    home: Option<SegmentAddr>,
    /// What pages with packs have left, and the pages.
    rooms: BTreeSet<(usize, LogicalPage)>,
    last: Option<TokenId>,
    totals: Totals,
    encoded: Vec<u8>,
}

impl WriteNode for SegmentTxn<'_, '_> {
    fn write_node(
        &mut self,
        page: Option<LogicalPage>,
        entries: &[Entry],
        level: u8,
    ) -> Result<LogicalPage> {
        let page = match page {
            Some(page) => page,
            None => self.pages_mut().allocate()?,
        };
        encode(entries, level, self.pages_mut().page_mut(page)?);
        Ok(page)
    }

    fn drop_node(&mut self, page: LogicalPage) -> Result<()> {
        Ok(self.pages_mut().free(page)?)
    }
}

impl<'m, 't, 's> Bulk<'m, 't, 's> {
    fn open(segments: &'m mut SegmentTxn<'t, 's>, root: &TokenRoot) -> Result<Self> {
        let mut edge = RightEdge::new(segments.pages().page_size().bytes());
        let (mut addr, mut key) = (root.addr, None);
        for level in (0..root.height.saturating_sub(1)).rev() {
            let page = addr.page;
            let mut entries = read_entries(segments, page, level, key)?;
            if let Some(last) = entries.pop() {
                (addr, key) = (last.addr, Some(last.id));
            }
            edge.push_below(page, entries);
        }
        let mut bulk = Self {
            segments,
            edge,
            stream: Stream::default(),
            shape: PackShape::default(),
            home: None,
            rooms: BTreeSet::new(),
            last: None,
            totals: Totals {
                tokens: root.tokens,
                payload: root.payload,
            },
            encoded: Vec::new(),
        };
        if root.height > 0 {
            bulk.load(addr, key)?;
        }
        Ok(bulk)
    }

    /// Starts from the tokens of the last pack.
    fn load(&mut self, addr: SegmentAddr, key: Option<u64>) -> Result<()> {
        let (pack, _) = open_pack(self.segments.pages(), addr, key)?;
        let limit = inline_len_max(self.segments.pages().page_size().bytes());
        for index in 0..pack.len() {
            let bytes = checked_token(&pack, index, limit).map_err(pack_error(addr))?;
            let (id, blob) = (pack.id(index), pack.is_blob(index));
            self.stream.push(id.0, &[bytes], blob);
            self.shape = self.shape.with(id.0, bytes.len(), blob);
            self.last = Some(id);
        }
        self.home = Some(addr);
        Ok(())
    }

    fn push(&mut self, id: TokenId, bytes: &[u8]) -> Result<()> {
        match self.last.replace(id) {
            Some(previous) if previous >= id => {
                return Err(TokenError::NotAscending { previous, got: id });
            }
            _ => {}
        }
        self.totals.add(bytes.len() as u64)?;
        if bytes.len() <= inline_len_max(self.segments.pages().page_size().bytes()) {
            return self.push_stored(id, bytes, false);
        }
        let head = self.segments.blob_create(&[bytes])?;
        self.push_stored(id, &blob_reference(head, bytes.len() as u64), true)
    }

    fn push_stored(&mut self, id: TokenId, bytes: &[u8], blob: bool) -> Result<()> {
        self.stream.push(id.0, &[bytes], blob);
        self.shape = self.shape.with(id.0, bytes.len(), blob);
        // Without this token the others fit a pack.
        let mut full = self.stream.len() - 1;
        while !self.shape.fits(self.segments.capacity()) {
            self.write_pack(full)?;
            full = self.full();
        }
        Ok(())
    }

    /// How many tokens of the stream one pack holds.
    fn full(&self) -> usize {
        self.stream.cut_forward(0, self.segments.capacity())
    }

    /// Writes the first tokens of the stream as a pack; `full` is [`full`](Self::full).
    fn write_pack(&mut self, full: usize) -> Result<()> {
        let Some((id, _, _)) = self.stream.token(0) else {
            return Ok(());
        };
        let home = self.home.take();
        let room = match (home, self.rooms.last()) {
            (None, Some(&(largest, _))) => {
                let rooms = &self.rooms;
                best_room(&self.stream, full, largest, |len| {
                    let (size, page) = *rooms.range((len, LogicalPage(0))..).next()?;
                    Some((page, size))
                })
            }
            _ => None,
        };
        let tokens = room.as_ref().map_or(full, |room| room.tokens);
        self.stream.encode(0..tokens, &mut self.encoded);
        let placed = match &room {
            Some(room) => {
                self.rooms.remove(&(room.size, room.page));
                self.segments.allocate_in(room.page, &self.encoded)?
            }
            None => None,
        };
        let addr = match (placed, home) {
            (Some(addr), _) => addr,
            (None, Some(home)) => self.segments.replace(home, &self.encoded)?,
            (None, None) => self.segments.allocate(&self.encoded)?,
        };
        self.note_room(addr.page)?;
        self.stream.take_front(tokens);
        self.shape = self.stream.shape(0..self.stream.len());
        self.edge.add(0, Entry { id, addr }, self.segments)
    }

    /// Keeps what a page has left for short packs.
    fn note_room(&mut self, page: LogicalPage) -> Result<()> {
        let room = self.segments.room_in(page)?;
        if room >= ROOM_MIN {
            self.rooms.insert((room, page));
            if self.rooms.len() > ROOMS_MAX {
                self.rooms.pop_first();
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<TokenRoot> {
        while !self.stream.is_empty() {
            self.write_pack(self.full())?;
        }
        let (height, addr) = self.edge.finish(self.segments)?;
        let Totals { tokens, payload } = self.totals;
        Ok(TokenRoot {
            height,
            addr,
            tokens,
            payload,
        })
    }
}
