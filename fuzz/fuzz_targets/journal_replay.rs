//! Replays forged journals: see `checks/journal_replay.rs`.

#![no_main]
#![forbid(unsafe_code)]

#[path = "../checks/journal_replay.rs"]
mod journal_replay;

libfuzzer_sys::fuzz_target!(|input: &[u8]| journal_replay::examine(input));
