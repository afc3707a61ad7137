//! The turn of a compaction's step: nobody else changes the pages while it is held.

use std::sync::{Arc, PoisonError};

use shroom_page::{Roots, Snapshot as Pages};
use shroom_seg::SegmentTxn;
use shroom_token::TokenRoot;

use crate::core::Core;
use crate::drain::Draining;
use crate::error::Result;
use crate::state::Base;

impl Core {
    /// Waits until nobody changes the pages, nor waits to, and has them alone from then on.
    pub(super) fn take_turn(&self) -> Result<Turn<'_>> {
        let mut writer = self.writable()?;
        while writer.draining.is_busy() || writer.waiting > 0 {
            writer = self
                .drained
                .wait(writer)
                .unwrap_or_else(PoisonError::into_inner);
        }
        writer.check_open()?;
        let mut writer = self.wait_for_drain(writer)?;
        writer.draining = Draining::Compacting;
        drop(writer);
        Ok(Turn { core: self })
    }
}

/// The pages are the holder's: no checkpoint and no other commit begins.
pub(super) struct Turn<'c> {
    pub(super) core: &'c Core,
}

impl Turn<'_> {
    pub(super) fn publish(&self, pages: Pages) -> Result<()> {
        let base = Arc::new(Base::new(pages)?);
        let _writer = self.core.writer();
        self.core.publish_base(base, false);
        Ok(())
    }

    /// One commit of what `change` does to the places of tokens, and of the pages that it frees.
    pub(super) fn commit<T>(
        &self,
        change: impl FnOnce(&mut SegmentTxn<'_, '_>, &TokenRoot, &mut Roots) -> Result<(TokenRoot, T)>,
    ) -> Result<T> {
        let mut txn = self.core.store.begin()?;
        txn.grow_frugally();
        let mut roots = *self.core.store.snapshot().roots();
        let mut segments = SegmentTxn::open(&mut txn, &roots.seg)?;
        let root = TokenRoot::decode(&roots.token)?;
        let (root, value) = change(&mut segments, &root, &mut roots)?;
        roots.seg = segments.finish()?;
        roots.token = root.encode();
        self.publish(txn.commit(roots)?)?;
        Ok(value)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.core.writer().draining = Draining::Idle;
        self.core.drained.notify_all();
    }
}
