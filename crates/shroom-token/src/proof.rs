//! Proofs of tokens: that a token has a value, or is absent, in the pages that a page root stands for (format §13).
//!
//! A proof is the parts of the pages that a lookup reads, with the hashes that join them to the page root. To verify it is to
//! look the token up again, in the proof alone.
//!
//! * V1 Whatever the root, there is at most one answer for an id that a proof can be made for: the lookup follows from the
//!   bytes that the root stands for, and from nothing that the proof's maker may choose.
//! * V2 Under the root of a sound state the answer is what the state holds, and where there is none the proof is at fault: nobody
//!   can make a proof that says that the state is damaged.
//! * V3 Memory and time are bounded by the length of the proof, whatever its bytes are.
//! * V4 Verifying needs `core` and `alloc` only.
//!
//! Absent on purpose: does not say whose root it is, nor how old.

use alloc::vec;
use alloc::vec::Vec;

use shroom_page::{LogicalPage, PageError, PartialRead, ProofFlaw, ProvenPages};
use shroom_seg::{SegError, blob_to_vec};

use crate::error::check_key;
use crate::node::PartialNode;
use crate::pack::{Found, PartialPack};
use crate::{Result, TokenError, TokenId, TokenRoot};

/// Bytes of a value that are taken at a time: a value is as long as what is there of it, whatever it is said to be.
const PIECE_LEN: usize = 1024;

/// A proof that a token has a value, or is absent, in the state with a page root.
///
/// It does not say for which token it is: whoever verifies it says so. Nor does it hold the root, which must come from a source
/// that is trusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    bytes: Vec<u8>,
}

/// Why a proof does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// It is malformed, or for another page root, or for another token.
    #[error("the proof does not hold: {0}")]
    Proof(#[from] ProofFlaw),
    /// What the page root stands for is not a sound database.
    #[error("the proof is of a damaged state: {0}")]
    State(TokenError),
}

impl From<TokenError> for ProofError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Page(PageError::Proof(flaw))
            | TokenError::Seg(SegError::Page(PageError::Proof(flaw))) => Self::Proof(flaw),
            error => Self::State(error),
        }
    }
}

impl Proof {
    /// Proves what a state's pages hold for token `id`, against [`Snapshot::page_root`](shroom_page::Snapshot::page_root).
    ///
    /// What is made is verified before it is given away: also a damaged state has no proof that does not hold.
    ///
    /// # Errors
    /// Corruption of the bytes read.
    #[cfg(feature = "std")]
    pub fn new(pages: &shroom_page::Snapshot, id: impl Into<TokenId>) -> Result<Self> {
        let id = id.into();
        let recorder = shroom_page::ProofRecorder::new(pages);
        let found = find(&recorder, &pages.roots().token, id)?;
        let bytes = recorder.finish()?;
        let proof = Self { bytes };
        match proof.verify(&pages.page_root(), id) {
            Ok(proven) => debug_assert_eq!(proven, found),
            Err(ProofError::Proof(flaw)) => return Err(PageError::Proof(flaw).into()),
            Err(ProofError::State(error)) => return Err(error),
        }
        Ok(proof)
    }

    /// The proof with these bytes. Whether it holds is found by [`verify`](Self::verify).
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The page root that it is for, if it holds for any. It is not to be trusted for being there: compare it with a page root
    /// that is.
    ///
    /// # Errors
    /// [`ProofError::Proof`] when it is malformed.
    pub fn claimed_root(&self) -> Result<[u8; 32], ProofError> {
        Ok(ProvenPages::claimed_root(&self.bytes)?)
    }

    /// What token `id` is in the state with page root `root`: its value, or `None` when it is absent. A pure function of its
    /// arguments; takes time and memory in proportion to the proof's length at most.
    ///
    /// # Errors
    /// [`ProofError`] when that is not proven.
    pub fn verify(
        &self,
        root: &[u8; 32],
        id: impl Into<TokenId>,
    ) -> Result<Option<Vec<u8>>, ProofError> {
        let pages = ProvenPages::open(&self.bytes, root)?;
        let value = find(&pages, &pages.roots().token, id.into())?;
        pages.check_used()?;
        Ok(value)
    }
}

/// Looks a token up in parts of pages: the value, or `None` when it is absent.
fn find<R: PartialRead>(
    pages: &R,
    root: &[u8; TokenRoot::LEN],
    id: TokenId,
) -> Result<Option<Vec<u8>>> {
    let root = TokenRoot::decode(root)?;
    if root.height == 0 {
        return Ok(None);
    }
    let (mut addr, mut key, mut level) = (root.addr, None, root.level());
    while let Some(at) = level {
        let node = PartialNode::open(pages, addr.page, at)?;
        check_key(addr.page, key, node.id(0)?)?;
        let Some(index) = node.find(id.0)? else {
            return Ok(None);
        };
        let entry = node.entry(index)?;
        (addr, key, level) = (entry.addr, Some(entry.id), at.checked_sub(1));
    }
    let pack = PartialPack::open(pages, addr)?;
    check_key(addr.page, key, pack.first_id().0)?;
    match pack.get(id)? {
        None => Ok(None),
        Some(Found::Inline(span)) => {
            let mut value = Vec::new();
            for start in span.clone().step_by(PIECE_LEN) {
                let mut piece = vec![0; PIECE_LEN.min(span.end - start)];
                pages.read_at(addr.page, start, &mut piece)?;
                value.append(&mut piece);
            }
            Ok(Some(value))
        }
        Some(Found::Blob { head, length }) => Ok(Some(blob_to_vec(pages, head, length)?)),
    }
}

/// The number of `width` bytes, 0 to 8, at byte `at` of a page.
pub(crate) fn number_at<R: PartialRead>(
    pages: &R,
    page: LogicalPage,
    at: usize,
    width: usize,
) -> Result<u64> {
    let mut bytes = [0; 8];
    if let Some(bytes) = bytes.get_mut(..width) {
        pages.read_at(page, at, bytes)?;
    }
    Ok(u64::from_le_bytes(bytes))
}

/// How many of `len` things come before the first that is not `below`, found by halves: an answer that depends on nothing but
/// what `below` says, and so on the page alone, also where things are not in order.
pub(crate) fn count_where(
    len: usize,
    mut below: impl FnMut(usize) -> Result<bool>,
) -> Result<usize> {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        match below(middle)? {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    Ok(low)
}
