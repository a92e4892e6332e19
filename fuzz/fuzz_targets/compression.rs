#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jetsam::format::compression::fuzz_one(data));
