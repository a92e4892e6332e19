#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jetsam::format::names::fuzz_one(data));
