//! What one process measured.

use serde::{Deserialize, Serialize};

/// Figures of one peer in one workload, in one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Row and value, in the row's unit.
    pub(crate) figures: Vec<(String, f64)>,
    /// Sum of what was read: the same for all peers with as many tokens.
    pub(crate) checksum: Option<(u64, u64)>,
    /// Figures of stores of several sizes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) points: Vec<Point>,
    /// Latency over time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) windows: Vec<Window>,
}

/// A figure of a store of some size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Name of the curve: see [`crate::workloads::scale::CURVES`].
    pub(crate) curve: String,
    /// Number of tokens.
    pub(crate) count: u64,
    pub(crate) value: f64,
}

/// Latencies of all operations that ended in one stretch of time, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// When the stretch began, in milliseconds since the start.
    pub(crate) start_ms: u64,
    pub(crate) operations: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}
