//! Applies changed deltas: see `checks/delta.rs`.

#![no_main]
#![forbid(unsafe_code)]

#[path = "../checks/delta.rs"]
mod delta;

libfuzzer_sys::fuzz_target!(|input: &[u8]| delta::examine(input));
