//! A page store with a model beside it, driven by a seed: what the crash and fault tests share.

mod random;

use std::collections::BTreeMap;
use std::sync::Arc;

use shroom_page::storage::faulty::FaultyStorage;
use shroom_page::{
    JournalMark, LogicalPage, PageError, PageRead, PageSize, PageStore, PageStream, PageTxn,
    Result, Roots, Snapshot,
};

pub(crate) use random::Random;

/// A state that was committed, or was about to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Logical page -> the number that fills it.
    pub(crate) pages: BTreeMap<u32, u64>,
    pub(crate) drained: u64,
}

/// What must survive a crash after so many events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    pub(crate) events: usize,
    pub(crate) stamp: u64,
    pub(crate) synced: u64,
}

/// Changes the pages and the model, and returns what is drained with them; `None` aborts.
type Body<'b> = &'b mut dyn FnMut(&mut World, &mut PageTxn<'_>, &mut State) -> Result<Option<u64>>;

/// A store, what it should hold, and what it has promised.
pub(crate) struct World {
    pub(crate) storage: FaultyStorage,
    pub(crate) store: Arc<PageStore>,
    pub(crate) random: Random,
    /// By stamp, which is kept in the application root.
    pub(crate) states: BTreeMap<u64, State>,
    pub(crate) stamp: u64,
    /// All payloads that were ever appended as the frame of a sequence.
    pub(crate) frames: BTreeMap<u64, Vec<Vec<u8>>>,
    pub(crate) promises: Vec<Promise>,
    marks: Vec<JournalMark>,
    snapshots: Vec<(Snapshot, State)>,
    /// Each with what fills its pages.
    streams: Vec<(PageStream, Vec<u64>)>,
    fill: u64,
    salt: u64,
}

fn fill_page(page: &mut [u8], fill: u64) {
    for word in page.chunks_exact_mut(8) {
        word.copy_from_slice(&fill.to_le_bytes());
    }
}

fn holds(page: &[u8], fill: u64) -> bool {
    page.chunks_exact(8).all(|word| word == fill.to_le_bytes())
}

pub(crate) fn roots(stamp: u64) -> Roots {
    let mut roots = Roots::default();
    roots.application[..8].copy_from_slice(&stamp.to_le_bytes());
    roots
}

pub(crate) fn stamp_of(roots: &Roots) -> u64 {
    u64::from_le_bytes(roots.application[..8].try_into().unwrap())
}

/// Asserts that the pages are those of the state.
pub(crate) fn check(pages: &impl PageRead, state: &State) {
    let highest = state.pages.keys().next_back().copied().unwrap_or(0);
    assert!(highest < pages.logical_pages(), "{highest}");
    for number in 1..pages.logical_pages() {
        let page = pages.page(LogicalPage(number));
        match state.pages.get(&number) {
            Some(&fill) => assert!(holds(page.unwrap(), fill), "page {number}"),
            None => assert!(
                matches!(page, Err(PageError::Unallocated { .. })),
                "page {number}: {page:?}"
            ),
        }
    }
}

/// Asserts that the frames found at open continue the state, are what was appended, and reach `synced`.
pub(crate) fn check_frames(
    store: &PageStore,
    state: &State,
    frames: &BTreeMap<u64, Vec<Vec<u8>>>,
    synced: u64,
) {
    let recovered = store.take_recovered();
    let mut next = state.drained + 1;
    for (sequence, payload) in recovered.iter() {
        assert_eq!(sequence, next, "frames follow each other");
        assert!(
            frames[&sequence].iter().any(|known| known == payload),
            "frame {sequence}"
        );
        next += 1;
    }
    assert!(
        next > synced,
        "frame {synced} was synced, {} is the last",
        next - 1
    );
    assert_eq!(store.journal_mark().sequence, next - 1);
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let storage = FaultyStorage::new();
        let size = PageSize::new([512, 512, 1024, 4096][seed as usize % 4]).unwrap();
        let store = PageStore::create(Arc::new(storage.clone()), size).unwrap();
        Self::with(
            storage,
            store,
            seed,
            BTreeMap::from([(0, State::default())]),
            0,
        )
    }

    /// Goes on with a store that was opened and found to hold the state `stamp`.
    pub(crate) fn with(
        storage: FaultyStorage,
        store: PageStore,
        seed: u64,
        states: BTreeMap<u64, State>,
        stamp: u64,
    ) -> Self {
        let mut world = Self {
            storage,
            store: Arc::new(store),
            random: Random(seed),
            states,
            stamp,
            frames: BTreeMap::new(),
            promises: Vec::new(),
            marks: Vec::new(),
            snapshots: Vec::new(),
            streams: Vec::new(),
            fill: seed << 32,
            salt: 0,
        };
        world.promise();
        world
    }

    pub(crate) fn state(&self) -> &State {
        &self.states[&self.stamp]
    }

    /// Notes what the store has promised by now.
    pub(crate) fn promise(&mut self) {
        self.promises.push(Promise {
            events: self.storage.events(),
            stamp: self.stamp,
            synced: self.store.journal_synced(),
        });
    }

    /// What was promised before event number `events`.
    pub(crate) fn promised(&self, events: usize) -> Promise {
        let after = self
            .promises
            .partition_point(|promise| promise.events <= events);
        self.promises[after.max(1) - 1]
    }

    /// Does something at random.
    pub(crate) fn step(&mut self) -> Result<()> {
        match self.random.below(20) {
            16..=18 => self.write_stream()?,
            19 if !self.streams.is_empty() => {
                let at = self.random.below(self.streams.len() as u64) as usize;
                drop(self.streams.swap_remove(at));
            }
            0..=6 => self.transaction()?,
            7..=10 => self.journal()?,
            11 => {
                self.store.vacuum(&mut drop)?;
                self.check_snapshots();
            }
            12 => self.store.cut_tail()?,
            13 => self
                .snapshots
                .push((self.store.snapshot(), self.state().clone())),
            14 => self.snapshots.clear(),
            _ => self.marks.push(self.store.journal_mark()),
        }
        self.promise();
        // Every page is accounted for.
        let stats = self.store.stats(true)?;
        assert_eq!(stats.snapshot_pages, 0, "{stats:?}");
        Ok(())
    }

    /// Writes some pages of a stream, an old one or a new one.
    fn write_stream(&mut self) -> Result<()> {
        let at = self.random.below(3) as usize;
        if at >= self.streams.len() {
            self.streams.push((self.store.page_stream()?, Vec::new()));
        }
        let at = at.min(self.streams.len() - 1);
        let (stream, fills) = &mut self.streams[at];
        let page_len = self.store.page_size().bytes();
        let pages = 1 + self.random.below(9);
        let mut bytes = vec![0; pages as usize * page_len];
        for page in bytes.chunks_exact_mut(page_len) {
            self.fill += 1;
            fill_page(page, self.fill);
            fills.push(self.fill);
        }
        let written = self.store.write_stream(stream, &bytes);
        fills.truncate(stream.pages() as usize);
        for (index, &fill) in fills.iter().enumerate() {
            let mut page = vec![0; page_len];
            self.store.read_stream(stream, index as u32, &mut page)?;
            assert!(holds(&page, fill), "page {index} of a stream");
        }
        written
    }

    pub(crate) fn check_snapshots(&self) {
        for (snapshot, state) in &self.snapshots {
            check(snapshot, state);
        }
    }

    /// Appends some frames, and may sync them. Drains the journal when it is full.
    fn journal(&mut self) -> Result<()> {
        for _ in 0..1 + self.random.below(4) {
            let next = self.store.journal_mark().sequence + 1;
            // Most frames are the same bytes when they are appended again after a crash.
            let salt = if self.random.below(4) == 0 {
                self.salt
            } else {
                0
            };
            let len = 1 + (next.wrapping_mul(0x9E37_79B9) >> 7) as usize % 300;
            let payload = vec![(next ^ salt) as u8; len];
            let mut appended = self.store.journal_append(&payload)?;
            if appended.is_none() && self.store.journal_rotate()? {
                appended = self.store.journal_append(&payload)?;
            }
            match appended {
                Some(sequence) => {
                    assert_eq!(sequence, next);
                    self.frames.entry(sequence).or_default().push(payload);
                }
                None => {
                    let mark = self.store.journal_mark();
                    self.commit_with(&mut |_, txn, _| {
                        txn.set_drained(mark);
                        txn.set_journal_area(0, 3);
                        txn.set_journal_area(1, 4);
                        Ok(Some(mark.sequence))
                    })?;
                }
            }
        }
        if self.random.below(2) == 0 {
            self.store
                .journal_sync(self.store.journal_mark().sequence)?;
        }
        Ok(())
    }

    fn transaction(&mut self) -> Result<()> {
        self.commit_with(&mut |world, txn, state| {
            for _ in 0..1 + world.random.below(12) {
                world.change(txn, state)?;
            }
            check(txn, state);
            if world.random.below(8) == 0 {
                return Ok(None);
            }
            let mut drained = state.drained;
            if world.random.below(3) == 0 {
                // A mark from before the last appends, at times.
                let at = world.random.below(world.marks.len() as u64 + 1) as usize;
                let mark = world.marks.get(at).copied();
                let mark = mark.unwrap_or_else(|| world.store.journal_mark());
                if mark.sequence >= state.drained {
                    txn.set_drained(mark);
                    drained = mark.sequence;
                }
            }
            if world.random.below(8) == 0 {
                let index = world.random.below(2) as usize;
                txn.set_journal_area(index, world.random.below(5) as u32);
            }
            Ok(Some(drained))
        })
    }

    /// One transaction; `body` changes it and the model, and returns what it drains, or `None` to abort.
    fn commit_with(&mut self, body: Body<'_>) -> Result<()> {
        let mut state = self.state().clone();
        let store = Arc::clone(&self.store);
        let stamp = self.states.keys().next_back().unwrap() + 1;
        let result = (|| {
            let mut txn = store.begin()?;
            let drained = body(self, &mut txn, &mut state)?;
            let Some(drained) = drained else {
                return Ok(());
            };
            state.drained = drained;
            self.states.insert(stamp, state.clone());
            let snapshot = txn.commit(roots(stamp))?;
            self.stamp = stamp;
            check(&snapshot, &state);
            Ok(())
        })();
        self.check_snapshots();
        result
    }

    fn pick(&mut self, state: &State) -> Option<u32> {
        let at = self.random.below(state.pages.len() as u64) as usize;
        state.pages.keys().nth(at).copied()
    }

    fn change(&mut self, txn: &mut PageTxn<'_>, state: &mut State) -> Result<()> {
        self.fill += 1;
        let fill = self.fill;
        let page_len = txn.page_size().bytes();
        match self.random.below(12) {
            10 | 11 if self.streams.iter().any(|(stream, _)| stream.pages() > 0) => {
                let written = |(stream, _): &(PageStream, _)| stream.pages() > 0;
                let at = self.streams.iter().position(written);
                let (stream, fills) = self.streams.swap_remove(at.expect("just seen"));
                let behind = self.pick(state).map(|page| LogicalPage(page + 1));
                let behind = behind.filter(|_| self.random.below(2) == 0);
                let first = txn.adopt(stream, behind)?;
                state.pages.extend((first.0..).zip(fills));
            }
            0..=2 => {
                let page = txn.allocate()?;
                fill_page(txn.page_mut(page)?, fill);
                assert_eq!(state.pages.insert(page.0, fill), None);
            }
            3..=5 => {
                let Some(page) = self.pick(state) else {
                    return Ok(());
                };
                fill_page(txn.page_mut(LogicalPage(page))?, fill);
                state.pages.insert(page, fill);
            }
            6 | 7 => {
                let Some(page) = self.pick(state) else {
                    return Ok(());
                };
                txn.free(LogicalPage(page))?;
                state.pages.remove(&page);
            }
            8 => {
                let pages = 1 + self.random.below(5) as u32;
                let first = txn.allocate_run(pages)?;
                let mut bytes = vec![0; page_len * pages as usize];
                fill_page(&mut bytes, fill);
                if txn.write_run(first, &bytes).is_err() {
                    assert!(txn.page(first).is_err(), "no content yet");
                    txn.write_run(first, &bytes)?;
                }
                state
                    .pages
                    .extend((first.0..first.0 + pages).map(|page| (page, fill)));
            }
            _ => {
                if txn.spill().is_err() {
                    check(txn, state);
                    txn.spill()?;
                }
            }
        }
        Ok(())
    }

    /// Opens the storage again as a new process would, after the old one was killed: nothing is lost but what was in memory.
    pub(crate) fn kill(mut self) -> Self {
        self.snapshots.clear();
        self.streams.clear();
        self.marks.clear();
        self.storage.clear_faults();
        let promised = self.promised(usize::MAX);
        self.store = Arc::new(PageStore::open(Arc::new(self.storage.clone())).unwrap());
        let stamp = stamp_of(self.store.snapshot().roots());
        assert!(stamp >= promised.stamp, "{stamp}, promised {promised:?}");
        self.stamp = stamp;
        check(&self.store.snapshot(), self.state());
        check_frames(&self.store, self.state(), &self.frames, promised.synced);
        self.salt += 1;
        self.promise();
        self
    }
}
