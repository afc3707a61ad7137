//! What a run did, in numbers.

use std::collections::BTreeMap;
use std::fmt;

/// Counts of what was done and seen. Those of several worlds add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By name.
    counts: BTreeMap<&'static str, u64>,
    /// Faults injected, by call and kind.
    faults: BTreeMap<String, u64>,
    /// Errors that the database gave, by kind.
    errors: BTreeMap<String, u64>,
}

impl Tally {
    /// Adds to a count.
    pub fn add(&mut self, name: &'static str, count: u64) {
        *self.counts.entry(name).or_default() += count;
    }

    /// A count; 0 when nothing was counted.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Counts a fault that was met.
    pub fn fault(&mut self, fault: String) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Counts an error that the database gave.
    pub fn error(&mut self, error: &shroom::Error) {
        *self
            .errors
            .entry(format!("{:?}", error.kind()))
            .or_default() += 1;
    }

    /// All faults met.
    pub fn faults(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Adds the counts of another world.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.counts {
            *self.counts.entry(name).or_default() += count;
        }
        for (name, count) in &other.faults {
            *self.faults.entry(name.clone()).or_default() += count;
        }
        for (name, count) in &other.errors {
            *self.errors.entry(name.clone()).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.counts {
            writeln!(f, "  {count:>12}  {name}")?;
        }
        writeln!(f, "faults injected, by call and kind: {}", self.faults())?;
        for (name, count) in &self.faults {
            writeln!(f, "  {count:>12}  {name}")?;
        }
        writeln!(f, "errors seen, by kind:")?;
        for (name, count) in &self.errors {
            writeln!(f, "  {count:>12}  {name}")?;
        }
        Ok(())
    }
}
