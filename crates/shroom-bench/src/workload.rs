//! The workloads: what each measures, on which loaded stores, and which peers take part.

use crate::context::{Context, Settings};
use crate::data::{Data, Ids, Sizes};
use crate::peer::{Peer, Scan};
use crate::store::Outcome;
use crate::workloads::{
    bulk, bytes, churn, cold, delete, durable, get, latency, load, memory, open, put, real, scale,
    scan, small, ycsb,
};

/// One workload. It runs in a process of its own for each peer and round.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Stores that must have been loaded.
    pub(crate) needs: &'static [Ids],
    /// Sizes that it insists on, whatever was asked for.
    pub(crate) sizes: Option<Sizes>,
    pub(crate) takes: fn(&Peer) -> bool,
    /// Rows of syncs and of bytes of whole blocks a commit, which are counted in a further run.
    pub(crate) traced_rows: Option<[&'static str; 2]>,
    /// More rounds than this would say nothing new.
    pub(crate) rounds_max: usize,
    /// Left out of a quick run.
    pub(crate) is_long: bool,
    /// Runs only when it is named.
    pub(crate) is_on_request: bool,
    pub(crate) run: fn(&mut Context) -> Outcome,
}

/// Stores that can be read and written, for more than size.
fn general(peer: &Peer) -> bool {
    peer.can_read && !peer.size_only
}

fn files(peer: &Peer) -> bool {
    general(peer) && peer.has_files
}

fn many_commits(peer: &Peer) -> bool {
    general(peer) && peer.can_skip_sync
}

fn synced(peer: &Peer) -> bool {
    peer.can_sync && !peer.size_only
}

fn sized(peer: &Peer) -> bool {
    peer.has_files
}

impl Workload {
    const fn new(
        name: &'static str,
        about: &'static str,
        run: fn(&mut Context) -> Outcome,
    ) -> Self {
        Self {
            name,
            about,
            needs: &[],
            sizes: None,
            takes: general,
            traced_rows: None,
            rounds_max: usize::MAX,
            is_long: false,
            is_on_request: false,
            run,
        }
    }

    /// The stores that a peer must have loaded before.
    pub(crate) fn fixtures(&self, peer: &Peer, settings: &Settings) -> Vec<Data> {
        if !peer.has_files {
            return Vec::new();
        }
        let settings = self.settings(settings);
        self.needs
            .iter()
            .map(|&ids| settings.data(peer, ids))
            .collect()
    }

    /// The settings, with what this workload insists on.
    pub(crate) fn settings(&self, settings: &Settings) -> Settings {
        Settings {
            sizes: self.sizes.unwrap_or(settings.sizes),
            ..*settings
        }
    }
}

const DENSE: &[Ids] = &[Ids::Dense];
const RANDOM: &[Ids] = &[Ids::Random];

/// All workloads, in the order in which they run.
pub(crate) const ALL: &[Workload] = &[
    Workload::new("bulk", "load sorted ids, durable at the end", bulk::run),
    Workload::new(
        "load",
        "load random ids in batches of 1000, not synced",
        load::run,
    ),
    Workload {
        needs: DENSE,
        ..Workload::new(
            "get-dense",
            "random gets, ids 0.., through one view",
            get::dense,
        )
    },
    Workload {
        needs: RANDOM,
        ..Workload::new(
            "get-random",
            "random gets, random ids: one view, a view each, absent ids",
            get::random,
        )
    },
    Workload {
        needs: &[Ids::Dense, Ids::Random],
        takes: |peer| general(peer) && peer.scan != Scan::Missing,
        ..Workload::new("scan", "all tokens in order of ids", scan::run)
    },
    Workload {
        needs: DENSE,
        ..Workload::new(
            "churn",
            "overwrite tokens twice over with new sizes, batches of 1000, ids 0..",
            churn::dense,
        )
    },
    Workload {
        needs: RANDOM,
        is_long: true,
        ..Workload::new("churn-random", "the same with random ids", churn::random)
    },
    Workload {
        needs: DENSE,
        takes: many_commits,
        ..Workload::new(
            "put",
            "single overwrites, a commit each, not synced",
            put::run,
        )
    },
    Workload {
        needs: DENSE,
        takes: synced,
        traced_rows: Some(["durable-syncs", "durable-blocks"]),
        ..Workload::new("durable", "single overwrites, durable each", durable::put)
    },
    Workload {
        needs: DENSE,
        takes: synced,
        traced_rows: Some(["durable-batch-syncs", "durable-batch-blocks"]),
        ..Workload::new(
            "durable-batch",
            "batches of 100 overwrites, durable each",
            durable::batch,
        )
    },
    Workload {
        needs: RANDOM,
        ..Workload::new(
            "delete",
            "delete half, random order, batches of 1000; compact",
            delete::run,
        )
    },
    Workload {
        needs: DENSE,
        takes: files,
        ..Workload::new("open", "open to the first get, in a new process", open::run)
    },
    Workload {
        needs: RANDOM,
        takes: files,
        rounds_max: 1,
        ..Workload::new(
            "memory",
            "private memory after two gets for each token",
            memory::run,
        )
    },
    Workload {
        takes: files,
        rounds_max: 1,
        ..Workload::new("small", "file of 100 tokens of 32 bytes", small::run)
    },
    Workload {
        takes: sized,
        rounds_max: 1,
        is_long: true,
        ..Workload::new("bytes", "bytes a token after compaction", bytes::run)
    },
    Workload {
        needs: DENSE,
        sizes: Some(Sizes::Json),
        takes: sized,
        is_long: true,
        ..Workload::new(
            "json",
            "documents that compress well: size and gets",
            bytes::json,
        )
    },
    Workload {
        takes: sized,
        rounds_max: 1,
        is_long: true,
        ..Workload::new(
            "real",
            "files of zoneinfo, terminfo and the Rust documentation, where present",
            real::run,
        )
    },
    Workload {
        needs: DENSE,
        takes: many_commits,
        is_long: true,
        ..Workload::new(
            "ycsb",
            "YCSB A, B, C and F, Zipf-distributed ids",
            ycsb::run,
        )
    },
    Workload {
        needs: DENSE,
        takes: many_commits,
        rounds_max: 1,
        is_long: true,
        ..Workload::new(
            "latency",
            "latency of each operation of a mixed load",
            latency::run,
        )
    },
    Workload {
        needs: RANDOM,
        takes: files,
        ..Workload::new(
            "cold",
            "random gets of a store of which nothing is in memory",
            cold::run,
        )
    },
    Workload {
        takes: |peer| files(peer) && peer.can_skip_sync,
        rounds_max: 1,
        is_on_request: true,
        ..Workload::new("scale", "cost and size of ever larger stores", scale::run)
    },
];

/// The workload of a name.
pub(crate) fn named(name: &str) -> Option<&'static Workload> {
    ALL.iter().find(|workload| workload.name == name)
}
