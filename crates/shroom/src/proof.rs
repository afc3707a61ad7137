//! Proofs that a token has a value, or is absent, for those who have nothing of the database but its page root.

use shroom_page::PageError;
pub use shroom_page::ProofFlaw;
pub use shroom_token::{Proof, ProofError};

use crate::db::Db;
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::state::State;

impl Db {
    /// Proves what token `id` is now: its value, or that it is absent. The proof is for the [`page_root`](Self::page_root) of
    /// the last checkpoint. When what was written to the token since is only in the journal, it is moved into the pages first, as
    /// [`checkpoint`](Self::checkpoint) does, and the page root is another. Where other threads write, the two belong together
    /// when both are a [`Snapshot`]'s.
    ///
    /// ```
    /// let db = shroom::Db::in_memory()?;
    /// db.put(42, b"spore")?;
    /// let proof = db.prove(42)?;
    /// let root = db.page_root();
    ///
    /// // Elsewhere: the root is known, the proof comes from anyone, and no database is there.
    /// let proof = shroom::proof::Proof::from_bytes(proof.into_bytes());
    /// assert_eq!(proof.verify(root.as_bytes(), 42)?.as_deref(), Some(&b"spore"[..]));
    /// assert_eq!(db.prove(43)?.verify(root.as_bytes(), 43)?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Corruption of the bytes read; those of [`checkpoint`](Self::checkpoint) when one is needed.
    pub fn prove(&self, id: u64) -> Result<Proof> {
        let core = self.core();
        let state = core.state.load_full();
        if !state.is_above_base(id) {
            return state.prove(id);
        }
        let writer = match core.writable() {
            Err(Error::Page(PageError::ReadOnly)) => return Err(Error::OnlyInJournal { id }),
            writer => writer?,
        };
        let writer = core.drain_all(writer)?;
        // Nobody writes while the lock is held: the state is its base.
        let state = core.state.load_full();
        drop(writer);
        state.prove(id)
    }
}

impl Snapshot {
    /// Proves what token `id` is in this state, for its [`page_root`](Self::page_root): see [`Db::prove`].
    ///
    /// # Errors
    /// [`OnlyInJournal`](Error::OnlyInJournal) when what this state has of the token was not in the pages yet; corruption of
    /// the bytes read.
    pub fn prove(&self, id: u64) -> Result<Proof> {
        match self.state().is_above_base(id) {
            true => Err(Error::OnlyInJournal { id }),
            false => self.state().prove(id),
        }
    }
}

impl State {
    /// Whether a token was written since the last checkpoint.
    fn is_above_base(&self, id: u64) -> bool {
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.get(id));
        self.overlay.get(id).is_some() || frozen.is_some()
    }

    /// Proves what the pages hold of a token.
    fn prove(&self, id: u64) -> Result<Proof> {
        Ok(Proof::new(&self.base.pages, id)?)
    }
}
