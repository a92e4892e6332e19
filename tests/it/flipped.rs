//! One flipped bit in a file beside the blocks - a key, the metadata, its checksum, the index - costs no message.
//!
//! A run takes some of the bits, others with another seed; `JETSAM_FLIPS=all` takes every one, and some minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use jetsam::env::memory::{MemoryFileSystem, SeededEntropy};
use jetsam::report::Watch;
use jetsam::report::stream::StreamReport;
use jetsam::salvage::{self, SalvageReport};
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;

use crate::salvage::into;
use crate::support::{Fixture, golden};

const KINDS: [&str; 6] = [
    "plain-none",
    "plain-chacha",
    "plain-aes",
    "s2-none",
    "s2-chacha",
    "s2-aes",
];
const SEED: u64 = 4;

/// A committed store in memory, where a thousand salvages cost no disk.
fn in_memory(fixture: &Fixture) -> (MemoryFileSystem, StreamDir) {
    let memory = MemoryFileSystem::new();
    let stream = StreamDir {
        account: Some(fixture.account.clone()),
        name: fixture.name.clone(),
        dir: Path::new("/js")
            .join(&fixture.account)
            .join("streams")
            .join(&fixture.name),
    };
    let mut dirs = vec![fixture.dir.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let below = path.strip_prefix(&fixture.dir).expect("below");
            memory.seed_file(stream.dir.join(below), fs::read(&path).expect("a file"));
        }
    }
    for below in ["msgs", "obs"] {
        memory.seed_dir(stream.dir.join(below));
    }
    (memory, stream)
}

/// The files that a stream cannot be read without, or that tell what is in it.
fn side_files(memory: &MemoryFileSystem, stream: &StreamDir) -> Vec<PathBuf> {
    let is_side_file = |path: &PathBuf| {
        let Ok(below) = path.strip_prefix(&stream.dir) else {
            return false;
        };
        let below = below.to_string_lossy();
        ["meta.inf", "meta.sum", "meta.key", "msgs/index.db"].contains(&below.as_ref())
            || below.starts_with("msgs/") && below.ends_with(".key")
    };
    memory.files().into_keys().filter(is_side_file).collect()
}

fn watching<T>(act: impl FnOnce(&Watch<'_>) -> T) -> T {
    let cancel = AtomicBool::new(false);
    act(&Watch {
        progress: &|_| {},
        cancel: &cancel,
    })
}

fn see(memory: &MemoryFileSystem, stream: &StreamDir, options: &Options) -> SalvageReport {
    watching(|watch| salvage::check(memory, stream, options, watch)).expect("a view")
}

fn make_anew(memory: &MemoryFileSystem, stream: &StreamDir, options: &Options) -> SalvageReport {
    let wish = into(Path::new("/out"));
    let entropy = SeededEntropy::new(SEED);
    let made =
        |watch: &Watch<'_>| salvage::salvage(memory, stream, options, &wish, &entropy, watch);
    watching(made).expect("a new store")
}

/// What must be as it was.
fn told(report: &StreamReport) -> String {
    let totals = report.salvage.as_ref().expect("totals");
    let state = report.state.as_ref().expect("a state");
    format!(
        "{} lost, {} uncertain, digest {:?}, {}..{}, deleted {:?}",
        totals.lost,
        totals.uncertain,
        report.digest,
        state.first_seq,
        state.last_seq,
        state.deleted
    )
}

/// Flips one bit in every `stride` of the side files of a stream, and makes a new store every `making` times.
fn flip_all(kind: &str, name: &str, stride: u64, making: u64) -> u64 {
    let is_it = |fixture: &Fixture| {
        fixture.name == name
            && fixture
                .dir
                .to_string_lossy()
                .contains(&format!("v2.15.2/{kind}/"))
    };
    let fixture = golden().into_iter().find(is_it).expect("a store");
    let mut options = fixture.options();
    (options.expire, options.limits, options.threads) = (false, false, 1);
    let (whole, stream) = in_memory(&fixture);
    let want = told(&see(&whole, &stream, &options).stream);
    let stride = match std::env::var_os("JETSAM_FLIPS").is_some_and(|which| which == "all") {
        true => 1,
        false => stride,
    };
    let (mut bit, mut flips) = (SEED, 0);
    for path in side_files(&whole, &stream) {
        let bytes = whole.files()[&path].clone();
        for at in 0..bytes.len() as u64 * 8 {
            bit += 1;
            // Neighbouring strides take different bits of a byte.
            if (bit + bit / stride) % stride != 0 {
                continue;
            }
            let mut flipped = bytes.clone();
            flipped[at as usize / 8] ^= 1 << (at % 8);
            let damaged = whole.fork();
            damaged.seed_file(&path, flipped);
            let seen = see(&damaged, &stream, &options);
            let what = || format!("{kind} {name}: bit {at} of {}", path.display());
            assert_eq!(told(&seen.stream), want, "{}", what());
            flips += 1;
            if flips % making == 0 {
                let made = make_anew(&damaged, &stream, &options);
                assert_eq!(told(&made.stream), want, "{}", what());
            }
        }
    }
    flips
}

#[test]
fn a_flipped_bit_beside_the_blocks_of_a_small_stream_costs_nothing() {
    let flips: u64 = KINDS
        .iter()
        .map(|kind| flip_all(kind, "TTLS", 13, 50))
        .sum();
    assert!(flips > 1500, "{flips}");
}

#[test]
fn a_flipped_bit_beside_the_blocks_of_a_longer_stream_costs_nothing() {
    let flips: u64 = KINDS
        .iter()
        .map(|kind| flip_all(kind, "ORDERS", 211, 20))
        .sum();
    assert!(flips > 200, "{flips}");
}
