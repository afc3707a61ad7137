//! Operations and crashes beside a model: see `checks/ops_model.rs`.

#![no_main]
#![forbid(unsafe_code)]

#[path = "../checks/ops_model.rs"]
mod ops_model;

libfuzzer_sys::fuzz_target!(|input: &[u8]| ops_model::examine(input));
