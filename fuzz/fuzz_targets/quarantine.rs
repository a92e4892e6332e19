#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jetsam::salvage::quarantine::fuzz_one(data));
