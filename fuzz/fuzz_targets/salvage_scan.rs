#![no_main]

#[path = "../salvage_targets.rs"]
mod salvage_targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| salvage_targets::scan(data));
