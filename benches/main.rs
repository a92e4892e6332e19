//! Benchmarks: codecs, the walk over one block, the recovery of whole stores.
//!
//! `JETSAM_BENCH_TINY=1` makes everything small enough to run once in seconds; see docs/BENCHMARKS.md.

#![expect(
    clippy::disallowed_methods,
    reason = "the fence is around the library; this measures it from outside"
)]

mod codecs;
mod common;
mod recovery;
mod scan;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let (warm_up, measured) = if common::is_tiny() {
        (Duration::from_millis(1), Duration::from_millis(10))
    } else {
        (Duration::from_millis(500), Duration::from_secs(2))
    };
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(warm_up)
        .measurement_time(measured)
        .configure_from_args();
    codecs::all(&mut criterion);
    scan::all(&mut criterion);
    recovery::all(&mut criterion);
    criterion.final_summary();
}
