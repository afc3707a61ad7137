//! Verifies proofs that an input changed: see `checks/proof.rs`.

#![no_main]
#![forbid(unsafe_code)]

#[path = "../checks/proof.rs"]
mod proof;

libfuzzer_sys::fuzz_target!(|input: &[u8]| proof::examine(input));
