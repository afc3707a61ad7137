//! The canonical image: tokens packed as tightly as this format can in one pass, so that equal content gives equal bytes
//! (format, "Canonical image").
//!
//! * C1 Packs and blobs are placed in ascending order of ids, and where they go follows from the tokens and the page size
//!   alone.
//! * C2 A pack is as long as the room that it is given, to a whole token.
//! * C3 Memory is the tokens of one pack, one directory page a level, and what the segment layer holds.
//!
//! What a page has left when the next token does not fit it is filled with a short pack, as soon as one comes that fits it
//! well. With lengths that vary this saves most of what a page would otherwise waste, half a token on average.
//!
//! Absent on purpose: does not sort; knows no file.

use shroom_page::{ImageWriter, LogicalPage};
use shroom_seg::{ImagePages, SegError, SegmentAddr, SegmentImage};

use crate::edge::{RightEdge, WriteNode};
use crate::merge::{Stream, Totals};
use crate::node::{Entry, encode};
use crate::pack::{PackShape, blob_reference};
use crate::rooms::best_room;
use crate::{Result, TokenError, TokenId, TokenRoot, inline_len_max};

/// Writes tokens as a canonical image.
///
/// ```
/// use shroom_page::storage::MemoryStorage;
/// use shroom_page::{FileImage, ImageWriter, PageSize, PageStore, Roots};
/// use shroom_token::{CanonicalImage, Stored, TokenId, TokenRoot, get};
///
/// let storage = std::sync::Arc::new(MemoryStorage::new());
/// let mut file = FileImage::new(&*storage, PageSize::DEFAULT)?;
/// let mut image = CanonicalImage::new(ImageWriter::new(&mut file, PageSize::DEFAULT));
/// image.push(TokenId(7), b"spore")?;
/// let (pages, seg, token) = image.finish()?;
/// pages.finish(Roots { seg, token: token.encode(), ..Roots::default() })?;
///
/// let snapshot = PageStore::open(storage)?.snapshot();
/// let root = TokenRoot::decode(&snapshot.roots().token)?;
/// assert_eq!(get(&snapshot, &root, TokenId(7))?, Some(Stored::Inline(b"spore")));
/// # Ok::<(), shroom_token::TokenError>(())
/// ```
pub struct CanonicalImage<P> {
    segments: SegmentImage<P>,
    edge: RightEdge,
    /// Tokens that are in no pack yet: no more than one fills a page with.
    waiting: Stream,
    shape: PackShape,
    last: Option<TokenId>,
    totals: Totals,
    encoded: Vec<u8>,
}

impl<P> std::fmt::Debug for CanonicalImage<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CanonicalImage")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl<P: ImagePages> WriteNode for SegmentImage<P> {
    fn write_node(
        &mut self,
        _page: Option<LogicalPage>,
        entries: &[Entry],
        level: u8,
    ) -> Result<LogicalPage> {
        let mut bytes = vec![0; self.page_size().bytes()];
        encode(entries, level, &mut bytes);
        Ok(self.page(&bytes)?)
    }

    fn drop_node(&mut self, _page: LogicalPage) -> Result<()> {
        Ok(()) // no page of an image was there before
    }
}

impl CanonicalImage<ImageWriter<'_>> {
    /// Pages of the file so far.
    pub fn physical_pages(&self) -> u32 {
        self.segments.pages().physical_pages()
    }
}

impl<P: ImagePages> CanonicalImage<P> {
    /// An image without tokens.
    pub fn new(image: P) -> Self {
        let page_size = image.page_size().bytes();
        Self {
            segments: SegmentImage::new(image),
            edge: RightEdge::new(page_size),
            waiting: Stream::default(),
            shape: PackShape::default(),
            last: None,
            totals: Totals {
                tokens: 0,
                payload: 0,
            },
            encoded: Vec::new(),
        }
    }

    /// Adds a token, whose id is above all others.
    ///
    /// # Errors
    /// [`TokenError::NotAscending`]; those of the layers below.
    pub fn push(&mut self, id: TokenId, bytes: &[u8]) -> Result<()> {
        if bytes.len() > inline_len_max(self.segments.page_size().bytes()) {
            return self.push_chunks(id, bytes.len() as u64, std::iter::once(Ok(bytes)));
        }
        self.begin(id, bytes.len() as u64)?;
        self.push_stored(id, bytes, false)
    }

    /// Adds a token of `length` bytes, which `chunks` gives in order.
    ///
    /// # Errors
    /// As [`push`](Self::push); when the chunks are not `length` bytes together; their errors.
    pub fn push_chunks<'b>(
        &mut self,
        id: TokenId,
        length: u64,
        chunks: impl Iterator<Item = Result<&'b [u8], SegError>>,
    ) -> Result<()> {
        if length <= inline_len_max(self.segments.page_size().bytes()) as u64 {
            let mut bytes = Vec::new();
            for chunk in chunks {
                bytes.extend_from_slice(chunk?);
            }
            return self.push(id, &bytes);
        }
        self.begin(id, length)?;
        let head = self.segments.blob(length, chunks)?;
        self.push_stored(id, &blob_reference(head, length), true)
    }

    /// The segments, for blobs to be put there.
    pub(crate) fn segments(&mut self) -> &mut SegmentImage<P> {
        &mut self.segments
    }

    /// Adds a token of `length` bytes whose value was stored as a blob.
    pub(crate) fn push_blob(&mut self, id: TokenId, head: SegmentAddr, length: u64) -> Result<()> {
        self.begin(id, length)?;
        self.push_stored(id, &blob_reference(head, length), true)
    }

    /// The tokens that are in no pack yet, as a pack, with the id of the first.
    pub(crate) fn waiting(&self) -> Option<(u64, Vec<u8>)> {
        let (id, ..) = self.waiting.token(0)?;
        let mut pack = Vec::new();
        self.waiting.encode(0..self.waiting.len(), &mut pack);
        Some((id, pack))
    }

    /// The packs that are in no directory leaf yet.
    pub(crate) fn open_entries(&self) -> &[Entry] {
        self.edge.leaf()
    }

    /// Writes what is waiting, the directory and the free-space index: the image, to be finished with these roots.
    ///
    /// # Errors
    /// Those of the layers below.
    pub fn finish(mut self) -> Result<(P, [u8; 64], TokenRoot)> {
        let root = self.finish_directory()?;
        let (image, seg) = self.segments.finish()?;
        Ok((image, seg, root))
    }

    /// Writes what is waiting.
    pub(crate) fn finish_packs(&mut self) -> Result<()> {
        while !self.waiting.is_empty() {
            self.write_pack(self.full())?;
        }
        Ok(())
    }

    /// Writes what is waiting, and the directory.
    pub(crate) fn finish_directory(&mut self) -> Result<TokenRoot> {
        self.finish_packs()?;
        let Totals { tokens, payload } = self.totals;
        let mut root = TokenRoot::EMPTY;
        if tokens > 0 {
            let edge = std::mem::replace(&mut self.edge, RightEdge::new(0));
            let (height, addr) = edge.finish(&mut self.segments)?;
            root = TokenRoot {
                height,
                addr,
                tokens,
                payload,
            };
        }
        Ok(root)
    }

    fn begin(&mut self, id: TokenId, length: u64) -> Result<()> {
        match self.last.replace(id) {
            Some(previous) if previous >= id => Err(TokenError::NotAscending { previous, got: id }),
            _ => self.totals.add(length),
        }
    }

    fn push_stored(&mut self, id: TokenId, bytes: &[u8], blob: bool) -> Result<()> {
        self.waiting.push(id.0, &[bytes], blob);
        self.shape = self.shape.with(id.0, bytes.len(), blob);
        // Without this token those that wait fit a pack.
        let mut full = self.waiting.len() - 1;
        while !self.shape.fits(self.segments.capacity()) {
            self.write_pack(full)?;
            full = self.full();
        }
        Ok(())
    }

    /// How many of the tokens that wait one pack holds.
    fn full(&self) -> usize {
        self.waiting.cut_forward(0, self.segments.capacity())
    }

    /// Writes the first of the tokens that wait as a pack; `full` is [`full`](Self::full).
    fn write_pack(&mut self, full: usize) -> Result<()> {
        let Some((id, _, _)) = self.waiting.token(0) else {
            return Ok(());
        };
        let largest = self.segments.largest_room();
        let room = best_room(&self.waiting, full, largest, |len| {
            self.segments.tightest(len)
        });
        let tokens = room.as_ref().map_or(full, |room| room.tokens);
        self.waiting.encode(0..tokens, &mut self.encoded);
        let addr = match room {
            Some(room) => self.segments.place(room.page, room.size, &self.encoded),
            None => self.segments.allocate_fresh(&self.encoded)?,
        };
        self.waiting.take_front(tokens);
        self.shape = self.waiting.shape(0..self.waiting.len());
        self.edge.add(0, Entry { id, addr }, &mut self.segments)
    }
}
