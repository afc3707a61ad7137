//! Forged packs: see `checks/pack.rs`.

#![no_main]
#![forbid(unsafe_code)]

#[path = "../checks/pack.rs"]
mod pack;

libfuzzer_sys::fuzz_target!(|input: &[u8]| pack::examine(input));
