//! Forged directory pages: see `checks/directory_page.rs`.

#![no_main]
#![forbid(unsafe_code)]

#[path = "../checks/directory_page.rs"]
mod directory_page;

libfuzzer_sys::fuzz_target!(|input: &[u8]| directory_page::examine(input));
