//! How a model is run, and storages in which each call is a step of the schedule.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shroom::Db;
use shroom_page::storage::faulty::{CrashPlan, FaultyStorage};
use shroom_page::storage::{FileStorage, OpenMode, Storage, View};
use shroom_page::{PageRead, PageSize, PageStore};
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

/// Schedules tried of each kind, unless `SHROOM_MODEL_ITERATIONS` says otherwise.
const ITERATIONS: u64 = 100;
/// How often a thread is overtaken at a place that matters, at most: the depths of the bugs that are looked for.
const DEPTHS: [usize; 2] = [2, 5];
/// A situation: the thread that checkpoints in the background writes.
pub(crate) const CHECKPOINT_WRITES: &str = "the checkpoint's thread writes";
/// Stack of each thread, in bytes.
const STACK_LEN: usize = 1 << 20;

/// Runs a model under many schedules: random ones, and those that overtake a thread at a few places only (PCT, Burckhardt et
/// al., ASPLOS 2010). The same seed tries the same ones.
///
/// A model that never gets to what it is about shows nothing: each of `situations` must be [`saw`] in some schedule.
pub(crate) fn explore(situations: &[&'static str], model: fn()) {
    SEEN.take();
    let iterations = number("SHROOM_MODEL_ITERATIONS").unwrap_or(ITERATIONS) as usize;
    let seed = number("SHROOM_MODEL_SEED").unwrap_or(1);
    run(RandomScheduler::new_from_seed(seed, iterations), model);
    for depth in DEPTHS {
        run(PctScheduler::new_from_seed(seed, depth, iterations), model);
    }
    let seen = SEEN.take();
    println!("{} schedules; {seen:?}", (1 + DEPTHS.len()) * iterations);
    for situation in situations {
        assert!(seen.contains_key(situation), "in no schedule: {situation}");
    }
}

thread_local! {
    /// How often each situation came about. All threads of a model are one of the system's.
    static SEEN: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Notes that something came about which the model is there for.
pub(crate) fn saw(situation: &'static str) {
    SEEN.with_borrow_mut(|seen| *seen.entry(situation).or_default() += 1);
}

/// Notes it when it is so.
pub(crate) fn saw_if(is_so: bool, situation: &'static str) {
    if is_so {
        saw(situation);
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}

fn run(scheduler: impl Scheduler + 'static, model: fn()) {
    let mut config = Config::new();
    config.stack_size = STACK_LEN;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(model);
}

/// Lets any other thread go on.
pub(crate) fn step() {
    shuttle::thread::sleep(Duration::ZERO);
}

/// A number below `limit`, chosen by the schedule.
pub(crate) fn below(limit: u64) -> u64 {
    shuttle::rand::thread_rng().gen_range(0..limit)
}

/// A storage each of whose calls lets others in before and after. A write lands in two halves.
///
/// After a sync has failed no other may begin: it could succeed, and yet what the first one lost would stay lost.
#[derive(Debug)]
pub(crate) struct Stepped<S> {
    pub(crate) inner: S,
    syncs: AtomicU64,
    sync_failed: AtomicBool,
}

/// What there is below the steps.
pub(crate) trait Inner: Storage {
    fn sync_now(&self) -> io::Result<()>;
}

impl Inner for FaultyStorage {
    fn sync_now(&self) -> io::Result<()> {
        self.sync()
    }
}

/// For what is read through the mapping while it is written. Nothing is lost there, so nothing need wait for the disk.
impl Inner for FileStorage {
    fn sync_now(&self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Inner> Stepped<S> {
    pub(crate) fn new(inner: S) -> Arc<Self> {
        Arc::new(Self {
            inner,
            syncs: AtomicU64::new(0),
            sync_failed: AtomicBool::new(false),
        })
    }

    /// Syncs begun so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    fn stepped<T>(&self, call: impl FnOnce(&S) -> T) -> T {
        step();
        let result = call(&self.inner);
        step();
        result
    }
}

impl<S: Inner> Storage for Stepped<S> {
    fn len(&self) -> io::Result<u64> {
        self.stepped(|inner| inner.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.stepped(|inner| inner.read_at(offset, buffer))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let thread = shuttle::thread::current();
        saw_if(
            thread.name() == Some("shroom-checkpoint"),
            CHECKPOINT_WRITES,
        );
        let (first, second) = bytes.split_at(bytes.len() / 2);
        self.stepped(|inner| inner.write_at(offset, first))?;
        self.inner.write_at(offset + first.len() as u64, second)
    }

    fn sync(&self) -> io::Result<()> {
        step();
        assert!(
            !self.sync_failed.load(Ordering::Relaxed),
            "a sync after one that failed"
        );
        self.syncs.fetch_add(1, Ordering::Relaxed);
        // What is written while it runs is not covered.
        let synced = self.inner.sync_now();
        self.sync_failed
            .fetch_or(synced.is_err(), Ordering::Relaxed);
        step();
        synced
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        self.stepped(|inner| inner.grow(len))
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.stepped(|inner| inner.shrink(len))
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.stepped(|inner| inner.punch_hole(offset, len))
    }

    fn view(&self, len: u64) -> io::Result<View> {
        self.stepped(|inner| inner.view(len))
    }
}

/// A new file, removed when the second value is dropped. What is written to it shows at once in every view of it.
pub(crate) fn stepped_file() -> (Arc<Stepped<FileStorage>>, tempfile::TempPath) {
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let file = FileStorage::open(&path, OpenMode::EXISTING).unwrap();
    (Stepped::new(file), path)
}

/// A storage that knows what a crash would leave of it.
pub(crate) fn stepped_memory() -> (Arc<Stepped<FaultyStorage>>, FaultyStorage) {
    let storage = FaultyStorage::new();
    (Stepped::new(storage.clone()), storage)
}

/// What a crash at this moment leaves when nothing is kept but what was synced.
fn after_crash(storage: &FaultyStorage) -> Arc<FaultyStorage> {
    let image = storage.crash_image(usize::MAX, &CrashPlan::LoseAll);
    Arc::new(FaultyStorage::from_image(image))
}

pub(crate) fn store_after_crash(storage: &FaultyStorage) -> PageStore {
    PageStore::open(after_crash(storage)).unwrap()
}

pub(crate) fn database_after_crash(storage: &FaultyStorage) -> Db {
    let options = shroom::Options::new().background(false);
    options.open_storage(after_crash(storage)).unwrap()
}

/// The smallest pages, so that little is written.
pub(crate) fn small_pages() -> PageSize {
    PageSize::new(512).unwrap()
}

/// Whether all of a page is the same byte, and which.
pub(crate) fn fill_of(page: &[u8]) -> Option<u8> {
    page.iter().all(|byte| *byte == page[0]).then_some(page[0])
}

/// The fill of each of the pages 1 to `pages`.
pub(crate) fn fills(state: &impl PageRead, pages: u32) -> Vec<Option<u8>> {
    let page = |number| state.page(shroom_page::LogicalPage(number));
    let fill = |number| fill_of(page(number).unwrap());
    (1..=pages).map(fill).collect()
}
