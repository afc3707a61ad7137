//! Replays the fuzzer's seeds, what it found among them, as ordinary tests.

#[path = "../../../fuzz/checks/directory_page.rs"]
mod directory_page;
#[path = "../../../fuzz/checks/pack.rs"]
mod pack;
#[path = "../../../fuzz/checks/seeds.rs"]
mod seeds;

seeds::replay_tests!(directory_page, pack);
