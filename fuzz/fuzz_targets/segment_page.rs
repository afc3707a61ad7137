//! Storage pages with forged bytes: see `checks/segment_page.rs`.

#![no_main]
#![forbid(unsafe_code)]

#[path = "../checks/segment_page.rs"]
mod segment_page;

libfuzzer_sys::fuzz_target!(|input: &[u8]| segment_page::examine(input));
