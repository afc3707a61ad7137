//! Opens stores whose page map and superblock are forged: see `checks/page_map.rs`.

#![no_main]
#![forbid(unsafe_code)]

#[path = "../checks/page_map.rs"]
mod page_map;

libfuzzer_sys::fuzz_target!(|input: &[u8]| page_map::examine(input));
