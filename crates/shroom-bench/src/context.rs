//! What a workload works with: one peer, its directories, and the figures as they come.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::data::{Data, Ids, Sizes, Tokens};
use crate::peer::Peer;
use crate::process;
use crate::sample::Sample;
use crate::store::{Change, Durability, Outcome, Store, Tally};

/// Changes committed together, where a workload says nothing else.
pub(crate) const BATCH: usize = 1000;

/// Tokens made ahead of the clock, so that memory stays bounded.
const AHEAD: usize = 100_000;

/// How large the workloads are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Number of tokens.
    pub(crate) count: u64,
    pub(crate) sizes: Sizes,
    /// Durable commits, each timed.
    pub(crate) commits: u64,
    /// Factors of `count` up to which stores are scaled.
    pub(crate) scale_max: u64,
    /// Length of the latency workload, in seconds.
    pub(crate) seconds: f64,
}

impl Settings {
    /// The tokens of a peer, which may be limited.
    pub(crate) fn data(&self, peer: &Peer, ids: Ids) -> Data {
        Data {
            count: self.count.min(peer.tokens_max),
            ids,
            sizes: self.sizes,
        }
    }
}

/// One peer in one workload, in one process.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) peer: Peer,
    pub(crate) settings: Settings,
    /// Where stores lie that were loaded once for all rounds; they are only read.
    pub(crate) fixtures: PathBuf,
    /// For this process alone, empty at first.
    pub(crate) scratch: PathBuf,
    pub(crate) sample: Sample,
}

impl Context {
    pub(crate) fn data(&self, ids: Ids) -> Data {
        self.settings.data(&self.peer, ids)
    }

    pub(crate) fn record(&mut self, row: &str, value: f64) {
        self.sample.figures.push((row.to_owned(), value));
    }

    /// Adds what was read to the checksum that all peers must agree on.
    pub(crate) fn check(&mut self, tally: Tally) {
        let count = self.settings.count.min(self.peer.tokens_max);
        let (_, sum) = self.sample.checksum.unwrap_or_default();
        let sum = sum.rotate_left(7) ^ tally.sum.wrapping_add(tally.found << 32) ^ tally.absent;
        self.sample.checksum = Some((count, sum));
    }

    /// Where the store of this process lies.
    pub(crate) fn directory(&self) -> PathBuf {
        self.scratch.join("store")
    }

    /// An empty store in a directory of this process.
    pub(crate) fn open_new(&self, durability: Durability) -> Outcome<Box<dyn Store>> {
        let directory = self.directory();
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        (self.peer.open)(&directory, durability)
    }

    /// A loaded store that is only read from.
    pub(crate) fn open_loaded(&self, data: Data) -> Outcome<Box<dyn Store>> {
        if self.peer.has_files {
            return (self.peer.open)(&self.fixture(data), Durability::Visible);
        }
        self.open_copy(data, Durability::Visible)
    }

    /// A loaded store that may be changed.
    pub(crate) fn open_copy(&self, data: Data, durability: Durability) -> Outcome<Box<dyn Store>> {
        if self.peer.has_files {
            let directory = self.directory();
            process::copy_directory(&self.fixture(data), &directory)?;
            return (self.peer.open)(&directory, durability);
        }
        let mut store = self.open_new(durability)?;
        if self.peer.can_read {
            load(&mut *store, data)?;
        }
        Ok(store)
    }

    /// Bytes of this process's store.
    pub(crate) fn files_len(&self) -> Outcome<u64> {
        Ok(process::files_len(&self.directory())?)
    }

    /// The directory of a loaded store.
    pub(crate) fn fixture(&self, data: Data) -> PathBuf {
        fixture(&self.fixtures, &self.peer, data)
    }
}

/// The directory of a peer's loaded store.
pub(crate) fn fixture(fixtures: &Path, peer: &Peer, data: Data) -> PathBuf {
    let Data { count, ids, sizes } = data;
    fixtures.join(format!("{}-{ids:?}-{sizes:?}-{count}", peer.name))
}

/// Loads a store that others will open, and closes it. Sorted where the ids are dense; otherwise in random order, by batches.
pub(crate) fn prepare(fixtures: &Path, peer: &Peer, data: Data) -> Outcome {
    let directory = fixture(fixtures, peer, data);
    fs::create_dir_all(&directory)?;
    let mut store = (peer.open)(&directory, Durability::Visible)?;
    load(&mut *store, data)?;
    if peer.wants_compaction {
        store.compact()?;
    }
    store.close()
}

fn load(store: &mut dyn Store, data: Data) -> Outcome {
    match data.ids {
        Ids::Dense => load_sorted(store, data)?,
        Ids::Random => write_all(store, data, &mut (0..data.count).map(|index| (index, 0)))?,
    };
    Ok(())
}

/// Tokens that [`load_sorted`] hands over at once: about 1.2 GB of mixed sizes.
const SORTED_AT_ONCE: usize = 10_000_000;

/// Loads all tokens in ascending order of ids; returns the time that the store took.
pub(crate) fn load_sorted(store: &mut dyn Store, data: Data) -> Outcome<Duration> {
    let mut took = Duration::ZERO;
    for indices in data.sorted().chunks(SORTED_AT_ONCE) {
        let tokens = data.tokens(indices, 0);
        let start = Instant::now();
        store.load_sorted(&mut tokens.iter())?;
        took += start.elapsed();
    }
    Ok(took)
}

/// Writes versions of tokens, given as index and version, in batches; returns the time that the store took.
pub(crate) fn write_all(
    store: &mut dyn Store,
    data: Data,
    versions: &mut dyn Iterator<Item = (u64, u64)>,
) -> Outcome<Duration> {
    let mut took = Duration::ZERO;
    let mut value = Vec::new();
    loop {
        let mut tokens = Tokens::default();
        for (index, version) in versions.take(AHEAD) {
            value.clear();
            data.value(index, version, &mut value);
            tokens.push(data.id(index), &value);
        }
        if tokens.len() == 0 {
            return Ok(took);
        }
        took += write_batches(store, &tokens, BATCH)?;
    }
}

/// Writes tokens in batches; returns the time that the store took.
pub(crate) fn write_batches(
    store: &mut dyn Store,
    tokens: &Tokens,
    batch: usize,
) -> Outcome<Duration> {
    let mut changes = Vec::with_capacity(batch);
    let start = Instant::now();
    for first in (0..tokens.len()).step_by(batch) {
        changes.clear();
        changes.extend((first..tokens.len().min(first + batch)).map(|position| {
            let (id, value) = tokens.get(position);
            Change {
                id,
                value: Some(value),
            }
        }));
        store.write(&changes)?;
    }
    Ok(start.elapsed())
}
