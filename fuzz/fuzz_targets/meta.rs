#![no_main]

#[path = "../text_targets.rs"]
#[allow(dead_code)]
mod text_targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| text_targets::meta(data));
