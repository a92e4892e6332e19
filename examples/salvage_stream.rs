//! Copies everything that can be proven of a damaged stream into a new directory, which a server opens. The damaged one is only
//! read.
//!
//! ```text
//! cargo run --example salvage_stream -- /data/jetstream/$G/streams/ORDERS /rescued/jetstream/$G/streams/ORDERS
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use jetsam::env::{Clock, OsClock, OsEntropy, OsFileSystem};
use jetsam::report::Watch;
use jetsam::salvage::{SalvageOptions, salvage};
use jetsam::stream::find_streams;
use jetsam::stream::options::Options;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(source), Some(out)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: salvage_stream STREAM_DIR NEW_STREAM_DIR");
        return ExitCode::from(2);
    };
    let found = find_streams(&OsFileSystem, &source).map(|found| found.streams);
    let stream = match found.as_deref() {
        Ok([stream]) => stream,
        Ok(_) => {
            eprintln!("{} is not the directory of one stream", source.display());
            return ExitCode::FAILURE;
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let wish = SalvageOptions {
        out,
        // What a server that stands alone brings up.
        replicas: Some(1),
        ..SalvageOptions::default()
    };
    let never = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &never,
    };
    let options = Options::new(OsClock.now_ns());
    match salvage(&OsFileSystem, stream, &options, &wish, &OsEntropy, &watch) {
        Ok(report) => {
            if let Some(totals) = &report.stream.salvage {
                println!(
                    "{} messages are in the new store, {} are lost",
                    totals.recovered, totals.lost
                );
                for (from, to) in &totals.lost_ranges {
                    println!("    lost: {from} to {to}");
                }
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
