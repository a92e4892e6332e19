#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jetsam::format::replica_state::fuzz_one(data));
