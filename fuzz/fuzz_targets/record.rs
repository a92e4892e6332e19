#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jetsam::format::record::fuzz_one(data));
