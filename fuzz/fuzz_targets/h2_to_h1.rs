//! libFuzzer's way to `properties::h2_to_h1`.
#![no_main]

#[path = "../properties.rs"]
#[allow(dead_code, reason = "each target uses one")]
mod properties;

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::h2_to_h1(input));
