//! A store with a model beside it: what every integration test of this crate drives.

#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::BTreeMap;

use shroom_page::{LogicalPage, PageRead, PageSize, PageStore, Roots, Snapshot};
use shroom_seg::{References, SegStats, SegmentTxn, blob_to_vec};
use shroom_token::{
    Edit, LookupCache, Result, Stored, TokenId, TokenReport, TokenRoot, bulk_append, get,
    get_cached, get_many_cached, merge, range, verify,
};

/// SplitMix64: deterministic, seeded.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// A length between `low` and `high`, log-uniform.
    pub(crate) fn log_uniform(&mut self, low: u64, high: u64) -> usize {
        let unit = self.next() as f64 / u64::MAX as f64;
        (low as f64 * (high as f64 / low as f64).powf(unit)) as usize
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index as u64 + 1) as usize);
        }
    }
}

/// Pages in memory whose bytes have lasting positions, as those of a mapped file have.
pub(crate) struct Lasting<'a, R>(pub(crate) &'a R);

impl<R: PageRead> PageRead for Lasting<'_, R> {
    fn page_size(&self) -> PageSize {
        self.0.page_size()
    }

    fn logical_pages(&self) -> u32 {
        self.0.logical_pages()
    }

    fn page(&self, page: LogicalPage) -> shroom_page::Result<&[u8]> {
        self.0.page(page)
    }

    fn is_allocated(&self, page: LogicalPage) -> shroom_page::Result<bool> {
        self.0.is_allocated(page)
    }

    fn run(&self, first: LogicalPage, pages: u32) -> shroom_page::Result<Option<&[u8]>> {
        self.0.run(first, pages)
    }

    fn allocated_pages_max(&self) -> u32 {
        self.0.allocated_pages_max()
    }

    fn lasting_position(&self, bytes: &[u8]) -> Option<u64> {
        let size = self.page_size().bytes();
        (1..self.logical_pages()).find_map(|number| {
            let page = self.page(LogicalPage(number)).ok()?;
            let offset = bytes.as_ptr().addr().checked_sub(page.as_ptr().addr())?;
            (offset < size).then(|| u64::from(number) * size as u64 + offset as u64)
        })
    }

    fn lasting_bytes(&self, position: u64, len: usize) -> Option<&[u8]> {
        let size = self.page_size().bytes() as u64;
        let page = self.page(LogicalPage((position / size) as u32)).ok()?;
        let start = (position % size) as usize;
        page.get(start..start + len)
    }
}

/// A page store whose commits hold one token map.
pub(crate) struct Store {
    pub(crate) pages: PageStore,
}

impl Store {
    pub(crate) fn new(page_size: PageSize) -> Self {
        Self {
            pages: PageStore::in_memory(page_size).unwrap(),
        }
    }

    pub(crate) fn snapshot(&self) -> (Snapshot, TokenRoot) {
        let snapshot = self.pages.snapshot();
        let root = TokenRoot::decode(&snapshot.roots().token).unwrap();
        (snapshot, root)
    }

    pub(crate) fn change(
        &self,
        change: impl FnOnce(&mut SegmentTxn<'_, '_>, &TokenRoot) -> Result<TokenRoot>,
    ) -> Result<()> {
        let (snapshot, root) = self.snapshot();
        let mut txn = self.pages.begin()?;
        let mut segments = SegmentTxn::open(&mut txn, &snapshot.roots().seg)?;
        let root = change(&mut segments, &root)?;
        let seg = segments.finish()?;
        txn.commit(Roots {
            seg,
            token: root.encode(),
            ..Roots::default()
        })?;
        Ok(())
    }

    /// Merges in as many commits as `budget` asks for; answers how many.
    pub(crate) fn merge<'e>(
        &self,
        edits: impl IntoIterator<Item = (TokenId, Edit<'e>)>,
        budget: usize,
    ) -> Result<usize> {
        let mut edits = edits.into_iter().peekable();
        let mut commits = 0;
        while edits.peek().is_some() || commits == 0 {
            self.change(|segments, root| merge(segments, root, &mut edits, budget))?;
            commits += 1;
        }
        Ok(commits)
    }

    pub(crate) fn bulk<T: AsRef<[u8]>>(
        &self,
        tokens: impl IntoIterator<Item = (TokenId, T)>,
    ) -> Result<()> {
        self.change(|segments, root| bulk_append(segments, root, tokens))
    }

    /// Checks all structures, this layer's and the one's below.
    pub(crate) fn verify(&self) -> TokenReport {
        let (snapshot, root) = self.snapshot();
        let mut references = References::new();
        let report = verify(&snapshot, &root, &mut references).unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
        let seg = shroom_seg::verify(&snapshot, &snapshot.roots().seg, &references).unwrap();
        assert!(seg.is_sound(), "{:?}", seg.findings);
        report
    }

    pub(crate) fn stats(&self) -> SegStats {
        let (snapshot, _) = self.snapshot();
        shroom_seg::stats(&snapshot, &snapshot.roots().seg).unwrap()
    }

    /// Compares everything with `model`.
    pub(crate) fn compare(&self, model: &BTreeMap<u64, Vec<u8>>) {
        let report = self.verify();
        let payload: usize = model.values().map(Vec::len).sum();
        assert_eq!(
            (report.tokens, report.payload),
            (model.len() as u64, payload as u64)
        );
        let (snapshot, root) = self.snapshot();
        assert_eq!(
            (root.tokens(), root.payload()),
            (report.tokens, report.payload)
        );
        for (id, bytes) in model {
            let stored = get(&snapshot, &root, TokenId(*id)).unwrap();
            let stored = stored.unwrap_or_else(|| panic!("token {id} is lost"));
            assert_eq!(&value(&snapshot, stored), bytes, "token {id}");
            for absent in [id.wrapping_sub(1), id.wrapping_add(1)] {
                let found = get(&snapshot, &root, TokenId(absent)).unwrap();
                assert_eq!(
                    found.is_some(),
                    model.contains_key(&absent),
                    "token {absent}"
                );
            }
        }
        compare_cached(&Lasting(&snapshot), &root, model);
        let mut expected = model.iter();
        for item in range(&snapshot, &root, ..) {
            let (id, stored) = item.unwrap();
            assert_eq!(Some((&id.0, &value(&snapshot, stored))), expected.next());
        }
        assert_eq!(expected.next(), None);
    }
}

/// Lookups that learn from each other: the first one in a pack reads the pages, later ones do not.
fn compare_cached(pages: &impl PageRead, root: &TokenRoot, model: &BTreeMap<u64, Vec<u8>>) {
    let cache = LookupCache::new();
    for id in model.keys() {
        for near in [*id, id.wrapping_add(1), *id] {
            let stored = get_cached(pages, root, &cache, TokenId(near)).unwrap();
            let found = stored.map(|stored| value(pages, stored));
            assert_eq!(found.as_ref(), model.get(&near), "token {near} near {id}");
        }
    }
    let ids = || {
        model
            .keys()
            .flat_map(|&id| [id, id.wrapping_add(1), id / 2])
    };
    // With what the cache has, and without.
    for cache in [&cache, &LookupCache::new()] {
        let found = get_many_cached(pages, root, cache, ids().map(TokenId)).unwrap();
        let found = found
            .into_iter()
            .map(|stored| stored.map(|stored| value(pages, stored)));
        assert!(found.eq(ids().map(|id| model.get(&id).cloned())));
    }
}

/// A token's bytes.
pub(crate) fn value<R: PageRead>(pages: &R, stored: Stored<'_>) -> Vec<u8> {
    match stored {
        Stored::Inline(bytes) => bytes.to_vec(),
        Stored::Blob { head, length } => blob_to_vec(pages, head, length).unwrap(),
    }
}
