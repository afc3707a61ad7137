//! A state: what one moment's readers see. Base (the last checkpoint), then the frozen overlay that is being drained
//! into the next, then the current overlay.
//!
//! * S1 A state never changes. Reading it takes no lock, and copies no value that lies contiguously in the file.

use std::sync::{Arc, Mutex, OnceLock};

use shroom_page::{PageRead, Snapshot};
use shroom_seg::{SegmentAddr, blob_slice};
use shroom_token::{LookupCache, Stored, TokenId, TokenInfo, TokenRoot};

use crate::content_root::Asked;
use crate::digest::ContentRoot;
use crate::error::Result;
use crate::overlay::{Change, Overlay};
use crate::root::ApplicationRoot;

/// A checkpoint with its token root read out.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) pages: Snapshot,
    pub(crate) root: TokenRoot,
    pub(crate) tag: u64,
    /// Where the sum over all tokens is, if the file keeps it.
    pub(crate) lattice: Option<SegmentAddr>,
    pub(crate) asked: Mutex<Option<Arc<Asked>>>,
    cache: LookupCache,
}

impl Base {
    pub(crate) fn new(pages: Snapshot) -> Result<Self> {
        let root = TokenRoot::decode(&pages.roots().token)?;
        let application = ApplicationRoot::decode(&pages.roots().application)?;
        Ok(Self {
            pages,
            root,
            tag: application.tag,
            lattice: application.lattice,
            asked: Mutex::new(None),
            cache: LookupCache::new(),
        })
    }

    /// Where the value of a token lies, as far as that is known without reading a blob.
    #[inline]
    pub(crate) fn find(&self, id: u64) -> Result<Option<Stored<'_>>> {
        Ok(shroom_token::get_cached(
            &self.pages,
            &self.root,
            &self.cache,
            TokenId(id),
        )?)
    }
}

impl Base {
    /// [`find`](Self::find) for each of many ids, in their order.
    pub(crate) fn find_many(
        &self,
        ids: impl IntoIterator<Item = u64>,
    ) -> Result<Vec<Option<Stored<'_>>>> {
        let ids = ids.into_iter().map(TokenId);
        Ok(shroom_token::get_many_cached(
            &self.pages,
            &self.root,
            &self.cache,
            ids,
        )?)
    }
}

/// Where a value's bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In the file's mapping.
    Mapped { position: u64, len: usize },
    /// In the overlay.
    Shared(Arc<[u8]>),
    /// Put together for this read.
    Owned(Box<[u8]>),
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) base: Arc<Base>,
    pub(crate) frozen: Option<Overlay>,
    pub(crate) overlay: Overlay,
    /// Tokens in the state, once somebody asked.
    count: OnceLock<u64>,
    /// Hash of the tokens, once somebody asked.
    pub(crate) content: OnceLock<ContentRoot>,
}

impl State {
    pub(crate) fn new(base: Arc<Base>, frozen: Option<Overlay>, overlay: Overlay) -> Self {
        Self {
            base,
            frozen,
            overlay,
            count: OnceLock::new(),
            content: OnceLock::new(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, id: u64) -> Result<Option<Place>> {
        match self.overlay.get(id) {
            None => self.get_below(id),
            Some(Change::Deleted) => Ok(None),
            Some(Change::Value(bytes)) => Ok(Some(Place::Shared(Arc::clone(bytes)))),
            Some(Change::Grown(_)) => self.put_together(id),
        }
    }

    /// What the frozen overlay and the base say of a token that the overlay does not change.
    #[inline]
    fn get_below(&self, id: u64) -> Result<Option<Place>> {
        match self.frozen.as_ref().and_then(|frozen| frozen.get(id)) {
            None => self.get_base(id),
            Some(Change::Deleted) => Ok(None),
            Some(Change::Value(bytes)) => Ok(Some(Place::Shared(Arc::clone(bytes)))),
            Some(Change::Grown(_)) => self.put_together(id),
        }
    }

    #[inline]
    fn get_base(&self, id: u64) -> Result<Option<Place>> {
        self.base
            .find(id)?
            .map(|stored| self.place(stored))
            .transpose()
    }

    /// Where a stored value's bytes are.
    #[inline]
    pub(crate) fn place(&self, stored: Stored<'_>) -> Result<Place> {
        let pages = &self.base.pages;
        let bytes = match stored {
            Stored::Inline(bytes) => bytes,
            Stored::Blob { head, length } => match blob_slice(pages, head, length)? {
                Some(bytes) => bytes,
                None => {
                    return Ok(Place::Owned(
                        shroom_seg::blob_to_vec(pages, head, length)?.into(),
                    ));
                }
            },
        };
        Ok(self.place_of(bytes))
    }

    /// Where bytes of the base are.
    #[inline]
    pub(crate) fn place_of(&self, bytes: &[u8]) -> Place {
        match self.base.pages.position_of(bytes) {
            Some(position) => Place::Mapped {
                position,
                len: bytes.len(),
            },
            None => Place::Owned(bytes.into()),
        }
    }

    /// A value that an overlay has changed at its end. Of what lies below, no more is read than is kept.
    fn put_together(&self, id: u64) -> Result<Option<Place>> {
        let Some(content) = self.content(id)? else {
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(content.length() as usize);
        self.for_each_piece(&content, &mut |piece| bytes.extend_from_slice(piece))?;
        Ok(Some(Place::Owned(bytes.into())))
    }

    /// The bytes at a place that this state gave.
    #[inline]
    pub(crate) fn bytes<'a>(&'a self, place: &'a Place) -> &'a [u8] {
        match place {
            Place::Mapped { position, len } => self
                .base
                .pages
                .bytes_at(*position, *len)
                .expect("a place is read through the state that gave it"),
            Place::Shared(bytes) => bytes,
            Place::Owned(bytes) => bytes,
        }
    }

    /// Length of a token's value, without reading it; `None` when absent.
    pub(crate) fn length(&self, id: u64) -> Result<Option<u64>> {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.get(id));
        match self.overlay.get(id).or_else(frozen) {
            Some(change) => Ok(change.length()),
            None => Ok(self.base.find(id)?.map(|stored| stored.len())),
        }
    }

    /// Whether an overlay has the token.
    #[inline]
    pub(crate) fn changes(&self, id: u64) -> bool {
        let frozen = self.frozen.as_ref();
        self.overlay.get(id).is_some() || frozen.is_some_and(|frozen| frozen.get(id).is_some())
    }

    /// What the base says of a token that no overlay has changed.
    pub(crate) fn stored_below(&self, id: u64) -> Result<Option<Stored<'_>>> {
        match self.changes(id) {
            true => Ok(None),
            false => self.base.find(id),
        }
    }

    /// The ids of the tokens that the overlays change; one that both change comes twice.
    pub(crate) fn changed_ids(&self) -> impl Iterator<Item = u64> {
        let overlays = self.frozen.iter().chain([&self.overlay]);
        overlays.flat_map(|overlay| overlay.range(0, u64::MAX).map(|(id, _)| id))
    }

    /// Number of tokens; looks up each token of the overlays, the first time.
    pub(crate) fn count(&self) -> Result<u64> {
        if let Some(&count) = self.count.get() {
            return Ok(count);
        }
        let mut count = self.base.root.tokens();
        self.for_each_change(|id, change| {
            let before = self.base.find(id)?.is_some();
            let after = change.length().is_some();
            // Saturating: the file's own count may be a lie.
            count = count
                .saturating_add(u64::from(after))
                .saturating_sub(u64::from(before));
            Ok(())
        })?;
        Ok(*self.count.get_or_init(|| count))
    }

    /// Sum of the values' lengths.
    pub(crate) fn payload(&self) -> Result<u64> {
        let mut payload = self.base.root.payload();
        self.for_each_change(|id, change| {
            let before = self.base.find(id)?.map_or(0, |stored| stored.len());
            payload = payload
                .saturating_add(change.length().unwrap_or(0))
                .saturating_sub(before);
            Ok(())
        })?;
        Ok(payload)
    }

    /// Checks, after a replay, that each append begins inside the value that it appends to.
    pub(crate) fn check_appends(&self) -> Result<()> {
        self.for_each_change(|id, change| match change {
            Change::Grown(grown) if grown.kept > 0 => {
                let below = self.base.find(id)?.map_or(0, |stored| stored.len());
                if below < grown.kept {
                    Err(misplaced(id, below, grown.kept))
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        })
    }

    /// Calls `visit` with the newest change of each token that has one.
    fn for_each_change(&self, mut visit: impl FnMut(u64, &Change) -> Result<()>) -> Result<()> {
        for (id, change) in self.overlay.range(0, u64::MAX) {
            visit(id, change)?;
        }
        let frozen = self
            .frozen
            .iter()
            .flat_map(|frozen| frozen.range(0, u64::MAX));
        for (id, change) in frozen.filter(|&(id, _)| self.overlay.get(id).is_none()) {
            visit(id, change)?;
        }
        Ok(())
    }

    /// The application's tag.
    pub(crate) fn tag(&self) -> u64 {
        self.overlay
            .tag
            .or(self.frozen.as_ref().and_then(|frozen| frozen.tag))
            .unwrap_or(self.base.tag)
    }

    /// Where a token lies; for one that is only in an overlay, its length alone is known.
    pub(crate) fn info(&self, id: u64) -> Result<Option<TokenInfo>> {
        let Some(length) = self.length(id)? else {
            return Ok(None);
        };
        if self.changes(id) {
            return Ok(Some(TokenInfo {
                id: TokenId(id),
                length,
                page: Default::default(),
                offset: 0,
                pages: 0,
            }));
        }
        Ok(shroom_token::info(
            &self.base.pages,
            &self.base.root,
            TokenId(id),
        )?)
    }

    /// Size of each page.
    pub(crate) fn page_size(&self) -> usize {
        self.base.pages.page_size().bytes()
    }
}

pub(crate) fn misplaced(id: u64, length: u64, kept: u64) -> crate::Error {
    let detail = format!("token {id} has {length} bytes, but an append begins at {kept}");
    crate::Error::Journal {
        sequence: 0,
        detail,
    }
}
