//! The rows of the table: what each figure is called, its unit, and what ShroomDB is to reach.

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A second.
    Rate,
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Bytes,
    BytesEach,
    Ratio,
    Count,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rate => "/s",
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Bytes => "B",
            Self::BytesEach => "B/token",
            Self::Ratio => "x payload",
            Self::Count => "a commit",
        }
    }

    /// Whether more is better.
    pub(crate) fn more_is_better(self) -> bool {
        self == Self::Rate
    }
}

/// What a figure of ours is held against. At least as good as a factor says: for rates so many times as much, for all else at most
/// so many times as much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// At most so much.
    AtMost(f64),
    /// At least so much.
    AtLeast(f64),
    /// So many times a peer's figure.
    Peer(&'static str, f64),
    /// So many times the best peer's; limits are no peers.
    Best(f64),
    /// So many times our own figure in another row.
    Row(&'static str, f64),
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) targets: &'static [Target],
}

const fn row(
    name: &'static str,
    title: &'static str,
    unit: Unit,
    targets: &'static [Target],
) -> Row {
    Row {
        name,
        title,
        unit,
        targets,
    }
}

use Target::{AtLeast, AtMost, Best};
use Unit::{Bytes, BytesEach, Count, Microseconds, Milliseconds, Nanoseconds, Rate, Ratio};

/// All rows, in the order of the table.
pub(crate) const ALL: &[Row] = &[
    row(
        "bulk-rate",
        "bulk load, sorted ids, durable at the end",
        Rate,
        &[Target::Peer("RocksDB", 1.1)],
    ),
    row(
        "bulk-overhead",
        "... overhead a token (file - payload)",
        BytesEach,
        &[AtMost(6.0)],
    ),
    row(
        "load-rate",
        "load, random ids, batches of 1000, not synced",
        Rate,
        &[Best(2.0)],
    ),
    row(
        "load-overhead",
        "... overhead a token",
        BytesEach,
        &[AtMost(14.0)],
    ),
    row(
        "get-dense",
        "random get, dense ids, reused view",
        Nanoseconds,
        &[Target::Peer("HashMap", 1.0)],
    ),
    row(
        "get-random",
        "random get, random ids, reused view",
        Nanoseconds,
        &[Target::Peer("HashMap", 1.0)],
    ),
    row(
        "get-fresh",
        "random get, random ids, fresh view each time",
        Nanoseconds,
        &[Target::Row("get-random", 1.1)],
    ),
    row(
        "get-absent",
        "get of an absent id",
        Nanoseconds,
        &[AtMost(150.0)],
    ),
    row(
        "scan-dense",
        "full scan in id order, dense ids",
        Rate,
        &[AtLeast(40e6)],
    ),
    row(
        "scan-random",
        "full scan in id order, random ids",
        Rate,
        &[AtLeast(40e6)],
    ),
    row(
        "churn-rate",
        "churn: two overwrites a token with new sizes, batches of 1000",
        Rate,
        &[Best(2.0)],
    ),
    row(
        "churn-size",
        "... file / payload after it, closed, not compacted",
        Ratio,
        &[AtMost(1.12)],
    ),
    row("churn-random-rate", "churn, random ids", Rate, &[Best(2.0)]),
    row(
        "churn-random-size",
        "... file / payload after it",
        Ratio,
        &[],
    ),
    row(
        "put",
        "single put, own commit, not synced",
        Microseconds,
        &[AtMost(0.7)],
    ),
    row(
        "durable-p50",
        "durable put, p50",
        Microseconds,
        &[Target::Peer("bare", 1.05), Target::Peer("RocksDB", 1.0)],
    ),
    row(
        "durable-bytes",
        "... bytes written by the device a commit, for anybody",
        Bytes,
        &[AtMost(4300.0)],
    ),
    row("durable-syncs", "... syncs a commit", Count, &[AtMost(1.0)]),
    row(
        "durable-blocks",
        "... bytes of whole blocks of files a commit",
        Bytes,
        &[],
    ),
    row(
        "durable-batch-p50",
        "durable batch of 100 overwrites, p50",
        Microseconds,
        &[Target::Peer("RocksDB", 0.7)],
    ),
    row(
        "durable-batch-syncs",
        "... syncs a commit",
        Count,
        &[AtMost(1.0)],
    ),
    row(
        "durable-batch-blocks",
        "... bytes of whole blocks of files a commit",
        Bytes,
        &[],
    ),
    row(
        "delete",
        "delete half, random order, batches of 1000",
        Nanoseconds,
        &[AtMost(700.0)],
    ),
    row(
        "delete-overhead",
        "... overhead a token after compaction (random ids)",
        BytesEach,
        &[AtMost(13.0)],
    ),
    row(
        "open",
        "open to first get, new process",
        Milliseconds,
        &[AtMost(0.2)],
    ),
    row(
        "memory",
        "private memory after two gets a token",
        Bytes,
        &[AtMost(2e6)],
    ),
    row(
        "small",
        "file for 100 tokens of 32 bytes",
        Bytes,
        &[AtMost(16_384.0)],
    ),
    row(
        "small-1k",
        "... with pages of 1 KiB",
        Bytes,
        &[AtMost(8192.0)],
    ),
    row(
        "bytes-dense-16",
        "after compaction: dense ids, 16 bytes",
        BytesEach,
        &[AtMost(17.2)],
    ),
    row(
        "bytes-dense-64",
        "after compaction: dense ids, 64 bytes",
        BytesEach,
        &[AtMost(66.0)],
    ),
    row(
        "bytes-random-16",
        "after compaction: random ids, 16 bytes",
        BytesEach,
        &[AtMost(23.5)],
    ),
    row(
        "bytes-random-64",
        "after compaction: random ids, 64 bytes",
        BytesEach,
        &[AtMost(72.5)],
    ),
    row(
        "cold-get",
        "random get, random ids, nothing in memory",
        Microseconds,
        &[],
    ),
    row(
        "cold-bytes",
        "... bytes read from the device a get",
        Bytes,
        &[],
    ),
    row(
        "json-overhead",
        "JSON documents, compacted: overhead a token",
        BytesEach,
        &[],
    ),
    row("json-get", "... random get", Nanoseconds, &[]),
    row(
        "real-zoneinfo",
        "files of zoneinfo: file / payload",
        Ratio,
        &[],
    ),
    row(
        "real-terminfo",
        "files of terminfo: file / payload",
        Ratio,
        &[],
    ),
    row(
        "real-rust-docs",
        "files of the Rust documentation: file / payload",
        Ratio,
        &[],
    ),
    row("ycsb-a", "YCSB A: half reads, half updates", Rate, &[]),
    row("ycsb-b", "YCSB B: 95 % reads, 5 % updates", Rate, &[]),
    row("ycsb-c", "YCSB C: reads", Rate, &[]),
    row(
        "ycsb-f",
        "YCSB F: half reads, half read-modify-writes",
        Rate,
        &[],
    ),
    row(
        "latency-rate",
        "mixed load, half gets, half puts",
        Rate,
        &[],
    ),
    row("latency-p50", "... p50", Microseconds, &[]),
    row("latency-p999", "... p99.9", Microseconds, &[]),
    row(
        "latency-put-p999",
        "... p99.9 of the puts",
        Microseconds,
        &[AtMost(100.0)],
    ),
    row(
        "latency-max",
        "... longest operation",
        Milliseconds,
        &[AtMost(5.0)],
    ),
];

/// A value with its unit's usual precision.
pub(crate) fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Rate if value >= 1e6 => format!("{:.2} M", value / 1e6),
        Unit::Rate if value >= 1e3 => format!("{:.1} k", value / 1e3),
        Unit::Rate | Unit::Nanoseconds => format!("{value:.0}"),
        Unit::Milliseconds | Unit::Ratio | Unit::BytesEach => format!("{value:.2}"),
        Unit::Microseconds if value < 10.0 => format!("{value:.2}"),
        Unit::Microseconds => format!("{value:.0}"),
        Unit::Bytes if value >= 1e6 => format!("{:.2} M", value / 1e6),
        Unit::Bytes => format!("{value:.0}"),
        Unit::Count => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_of_their_own_and_targets_name_rows_that_are_there() {
        for (index, row) in ALL.iter().enumerate() {
            assert!(
                ALL[..index].iter().all(|other| other.name != row.name),
                "{}",
                row.name
            );
            for target in row.targets {
                if let Target::Row(name, _) = target {
                    assert!(ALL.iter().any(|other| other.name == *name), "{name}");
                }
            }
        }
    }

    #[test]
    fn values_are_shown_with_sense() {
        assert_eq!(shown(12_900_000.0, Unit::Rate), "12.90 M");
        assert_eq!(shown(1234.0, Unit::Rate), "1.2 k");
        assert_eq!(shown(0.456, Unit::Microseconds), "0.46");
        assert_eq!(shown(16_384.0, Unit::Bytes), "16384");
        assert_eq!(shown(17.204, Unit::BytesEach), "17.20");
    }
}
