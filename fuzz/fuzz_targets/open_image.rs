//! Opens arbitrary bytes as a database: see `checks/open_image.rs`.

#![no_main]
#![forbid(unsafe_code)]

#[path = "../checks/open_image.rs"]
mod open_image;

libfuzzer_sys::fuzz_target!(|input: &[u8]| open_image::examine(input));
