//! Replays the fuzzer's seeds, what it found among them, as ordinary tests.

#[path = "../../../fuzz/checks/seeds.rs"]
mod seeds;
#[path = "../../../fuzz/checks/segment_page.rs"]
mod segment_page;

seeds::replay_tests!(segment_page);
