//! All workloads of up to three operations, and every image that a crash at any point of them may leave: what it holds is the
//! state after some operation, not before the last one acknowledged as durable; it is sound, and takes writes.
//!
//! `cargo xtask crashes` does the same for longer workloads.

use shroom_sim::exhaustive::{Exhaustive, Start, Step};

/// Length of the longest workloads.
const OPERATIONS: usize = 3;

fn every_crash(start: Start) {
    for page_size in [512, 4096] {
        // What grows from nothing here is one pack: there is nothing to slice.
        let slices = [false, true].into_iter();
        for small_slices in slices.take(if start == Start::Empty { 1 } else { 2 }) {
            let tree = Exhaustive {
                page_size,
                start,
                small_slices,
                operations: OPERATIONS,
            };
            let tally = tree
                .run(2, &|_| {})
                .unwrap_or_else(|error| panic!("{error}"));
            println!("{tree}: {tally:?}");
            assert_eq!(tally.workloads, 1 + 8 + 8 * 8 + 8 * 8 * 8);
            assert!(tally.distinct > 500 && tally.written > 50, "{tally:?}");
        }
    }
}

#[test]
fn from_an_empty_file() {
    every_crash(Start::Empty);
}

#[test]
fn from_a_closed_database() {
    every_crash(Start::Closed);
}

#[test]
fn from_a_live_journal() {
    every_crash(Start::Crashed);
}

/// Slices, an extent and the journal together, in one longer workload.
#[test]
fn a_batch_over_slices_after_a_live_journal() {
    for page_size in [512, 4096] {
        let steps = [
            Step::Batch,
            Step::Flush,
            Step::Append,
            Step::Batch,
            Step::Checkpoint,
            Step::Append,
            Step::Close,
        ];
        let tree = Exhaustive {
            page_size,
            start: Start::Crashed,
            small_slices: true,
            operations: steps.len(),
        };
        let tally = tree
            .run_one(&steps)
            .unwrap_or_else(|error| panic!("{error}"));
        println!("{tree}: {tally:?}");
        assert!(tally.distinct > 60, "{tally:?}");
    }
}
