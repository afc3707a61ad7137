//! Keeping the sum over all tokens (format §11) with the pages: each commit that changes tokens takes the elements of their old
//! values out and adds those of the new ones. So a put pays nothing; the checkpoint that moves it into the pages pays twice an
//! element, on all processors.
//!
//! * L1 The sum in a checkpoint's pages is that of exactly the tokens in those pages, after each slice of a drain: old values
//!   are read from the pages that the commit builds on, whatever an overlay says. A replay over a slice counts nothing twice.
//! * L2 A file that keeps no sum pays nothing for this.

use std::ops::RangeInclusive;
use std::sync::Arc;

use shroom_page::{PageRead, Roots};
use shroom_seg::{BlobChunks, SegmentAddr, SegmentTxn, blob_read};
use shroom_token::{Stored, TokenId, TokenRoot};

use crate::core::Core;
use crate::error::Result;
use crate::lattice::{Element, LATTICE_LEN, Lattice};
use crate::overlay::Overlay;
use crate::root::ApplicationRoot;
use crate::state::{Base, State};

impl Base {
    /// The sum over the tokens in the pages, where the file keeps it.
    pub(crate) fn kept_sum(&self) -> Result<Option<Lattice>> {
        let Some(head) = self.lattice else {
            return Ok(None);
        };
        let mut bytes = [0; LATTICE_LEN];
        blob_read(&self.pages, head, LATTICE_LEN as u64, 0, &mut bytes)?;
        Ok(Some(Lattice::from_bytes(&bytes)))
    }
}

/// The sum's way through one commit. Every commit that changes tokens must tell it which.
#[derive(Debug)]
pub(crate) struct Tracker(Option<Tracked>);

#[derive(Debug)]
struct Tracked {
    /// What the commit builds on.
    before: State,
    /// Where the sum is.
    head: SegmentAddr,
    /// What the commit adds to it, once it changes a token.
    change: Option<Lattice>,
}

impl Tracker {
    /// For a commit that builds on the store's newest state.
    pub(crate) fn open(core: &Core) -> Result<Self> {
        let pages = core.store.snapshot();
        let root = ApplicationRoot::decode(&pages.roots().application)?;
        let Some(head) = root.lattice else {
            return Ok(Self(None));
        };
        let base = Arc::new(Base::new(pages)?);
        Ok(Self(Some(Tracked {
            before: State::new(base, None, Overlay::default()),
            head,
            change: None,
        })))
    }

    /// The changes of an overlay to the tokens with these ids are in the commit. `hashed` is called after each.
    pub(crate) fn apply(
        &mut self,
        overlay: &Overlay,
        ids: RangeInclusive<u64>,
        hashed: &(dyn Fn() + Sync),
    ) -> Result<()> {
        let Some(tracked) = &mut self.0 else {
            return Ok(());
        };
        let base = Arc::clone(&tracked.before.base);
        let after = State::new(base, None, overlay.clone());
        let changes = overlay.range(*ids.start(), *ids.end());
        let ids: Vec<u64> = changes.map(|(id, _)| id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let change = difference(&tracked.before, &after, &ids, hashed)?;
        tracked.add(&change);
        Ok(())
    }

    /// Tokens get these values in the commit, each its first change in it.
    pub(crate) fn put<'v>(&mut self, tokens: impl Iterator<Item = (u64, &'v [u8])>) -> Result<()> {
        let Some(tracked) = &mut self.0 else {
            return Ok(());
        };
        let tokens: Vec<(u64, &[u8])> = tokens.collect();
        let change = crate::content_root::sum_over(tokens.len(), &|index, sum| {
            let (id, bytes) = tokens[index];
            if let Some(old) = tracked.before.element(id)? {
                sum.remove(old);
            }
            let mut element = Element::new(id, bytes.len() as u64);
            element.update(bytes);
            sum.add(element);
            Ok(())
        })?;
        tracked.add(&change);
        Ok(())
    }

    /// A token has in these pages the value that the commit gives it, its first change in it. Both values are read and hashed piece
    /// by piece, and not held.
    pub(crate) fn changed<R: PageRead>(
        &mut self,
        pages: &R,
        root: &TokenRoot,
        id: u64,
    ) -> Result<()> {
        let Some(tracked) = &mut self.0 else {
            return Ok(());
        };
        let mut change = Lattice::default();
        if let Some(old) = tracked.before.element(id)? {
            change.remove(old);
        }
        if let Some(stored) = shroom_token::get(pages, root, TokenId(id))? {
            let mut element = Element::new(id, stored.len());
            match stored {
                Stored::Inline(bytes) => element.update(bytes),
                Stored::Blob { head, length } => {
                    for chunk in BlobChunks::new(pages, head, length)? {
                        element.update(chunk?);
                    }
                }
            }
            change.add(element);
        }
        tracked.add(&change);
        Ok(())
    }

    /// Stores the sum.
    pub(crate) fn finish(self, segments: &mut SegmentTxn<'_, '_>, roots: &mut Roots) -> Result<()> {
        let Some(tracked) = self.0 else {
            return Ok(());
        };
        let Some(mut sum) = tracked.change else {
            return Ok(());
        };
        if let Some(kept) = tracked.before.base.kept_sum()? {
            sum.add_all(&kept);
        }
        replace(segments, roots, Some(tracked.head), Some(&sum))
    }
}

impl Tracked {
    fn add(&mut self, change: &Lattice) {
        self.change.get_or_insert_default().add_all(change);
    }
}

/// Puts another sum, or none, in the place of the one that is there.
fn replace(
    segments: &mut SegmentTxn<'_, '_>,
    roots: &mut Roots,
    old: Option<SegmentAddr>,
    sum: Option<&Lattice>,
) -> Result<()> {
    if let Some(head) = old {
        segments.blob_free(head, LATTICE_LEN as u64)?;
    }
    let lattice = match sum {
        None => None,
        Some(sum) => Some(segments.blob_create(&[&sum.to_bytes()])?),
    };
    let root = ApplicationRoot::decode(&roots.application)?;
    roots.application = ApplicationRoot { lattice, ..root }.encode();
    Ok(())
}

/// What the sum changes by when these tokens change from one state to another. `hashed` is called after each.
pub(crate) fn difference(
    before: &State,
    after: &State,
    ids: &[u64],
    hashed: &(dyn Fn() + Sync),
) -> Result<Lattice> {
    crate::content_root::sum_over(ids.len(), &|index, sum| {
        if let Some(old) = before.element(ids[index])? {
            sum.remove(old);
        }
        if let Some(new) = after.element(ids[index])? {
            sum.add(new);
        }
        hashed();
        Ok(())
    })
}

impl Core {
    /// Makes the file keep the sum, or no longer, as the options ask. When it begins to, all tokens are hashed.
    pub(crate) fn settle_tracking(&self) -> Result<()> {
        let Some(wanted) = self.options.track_content_root else {
            return Ok(());
        };
        if self.store.is_read_only() || self.state.load().base.lattice.is_some() == wanted {
            return Ok(());
        }
        let _writer = self.drain_all(self.writable()?)?;
        let state = self.state.load_full();
        let sum = match wanted {
            true => Some(crate::content_root::scan(&state)?),
            false => None,
        };
        let mut roots = *state.base.pages.roots();
        let mut txn = self.store.begin()?;
        let mut segments = SegmentTxn::open(&mut txn, &roots.seg)?;
        replace(&mut segments, &mut roots, state.base.lattice, sum.as_ref())?;
        roots.seg = segments.finish()?;
        let base = Arc::new(Base::new(txn.commit(roots)?)?);
        // Everything is drained, and the lock is held: nothing lies over the base.
        self.state
            .store(Arc::new(State::new(base, None, Overlay::default())));
        Ok(())
    }
}
