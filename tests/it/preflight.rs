//! Forecasts held against what real servers made of the committed damaged stores; and what is counted as lost, over stores of
//! the fault harness, where every byte that was touched is known.

use std::sync::atomic::AtomicBool;

use jetsam::env::{FileSystem, OsFileSystem};
use jetsam::preflight::{Forecast, PreflightOptions, Reading, Start, forecast};
use jetsam::recovery::options::Options;
use jetsam::recovery::{StreamDir, Watch};
use jetsam::testing::{Damage, DamageKind, Layout, Store, StoreKind, Target, Workload};

use crate::support::{Fixture, damaged};

fn told(files: &dyn FileSystem, stream: &StreamDir, options: &Options) -> Forecast {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let preflight = PreflightOptions::default();
    forecast(files, stream, options, &preflight, &watch)
}

/// Damages the store, and holds what is told against what was touched. Returns how the start comes out.
fn check(store: &Store, layout: &Layout, kind: DamageKind, seed: u64) -> Start {
    let files = store.files.fork();
    let target = Target::new(store, &files, layout);
    let damage = Damage::inflict(kind, seed, &target).expect("a file system");
    let damage = damage.expect("something to damage");
    let told = told(&files, &store.stream, &store.access.options());
    if told.start != Start::StreamDeleted {
        return told.start;
    }
    let lost = |seq: &u64| {
        let mut spans = told.lost_seqs.iter();
        spans.any(|(from, to)| (from..=to).contains(&seq))
    };
    let untouched: Vec<u64> = store
        .reference
        .live()
        .iter()
        .filter(|seq| !damage.touched.messages.contains(*seq))
        .collect();
    let silent: Vec<_> = untouched.iter().filter(|seq| !lost(seq)).collect();
    assert!(silent.is_empty(), "{damage}: {silent:?} are not told of");
    assert!(told.lost <= store.reference.live().len(), "{damage}");
    assert!(told.lost_proven >= untouched.len() as u64, "{damage}");
    told.start
}

/// A store whose compressed blocks have three chunks each.
fn compressed(kind: StoreKind) -> Store {
    let workload = Workload::new(kind, 25_000, 5).with_block_size(3_000_000);
    workload.killed().build().expect("a store")
}

#[test]
fn a_damaged_chunk_hides_no_other_chunk_from_the_count() {
    for kind in [StoreKind::S2, StoreKind::S2Aes] {
        let store = compressed(kind);
        let layout = Layout::read(&store.files, &store.stream, &store.access).expect("a layout");
        let mut deleted = 0;
        for damage in [
            DamageKind::FlipBlock,
            DamageKind::ZeroedSector,
            DamageKind::OverwrittenRange,
            DamageKind::CutMiddle,
        ] {
            for seed in 0..4 {
                deleted += u32::from(check(&store, &layout, damage, seed) == Start::StreamDeleted);
            }
        }
        assert!(deleted >= 8, "{deleted} of 16 cost the stream");
    }
}

/// Two names for one block: on purpose more careful than the server.
const TWINS: [&str; 4] = [
    "3.1-text-between",
    "3.1-leading-zero",
    "3.1-plus-sign",
    "3.1-beyond-32-bits",
];

/// What the recorded verdict says in the words of a forecast: the start, the reading, the messages.
fn verdict_of(fixture: &Fixture) -> (Start, Reading, u64) {
    let word = |name: &str| fixture.verdict[name].as_str().unwrap_or_default();
    let start = match word("outcome") {
        "opened" => Start::Ok,
        "skipped" => Start::StreamSkipped,
        "error" => Start::StreamDeleted,
        _ => Start::ServerDown,
    };
    let read = match word("read_outcome") {
        "panic" | "oom" | "timeout" => Reading::ServerDown,
        _ => Reading::Ok,
    };
    let messages = fixture.verdict["state"]["messages"].as_u64();
    (start, read, messages.unwrap_or(0))
}

#[test]
fn every_damaged_store_is_foretold_as_the_server_did() {
    let (mut wrong, mut down, mut down_reading) = (Vec::new(), 0, 0);
    for fixture in damaged() {
        let case = fixture.case();
        if TWINS.contains(&case.as_str()) {
            continue;
        }
        let (_temp, stream) = fixture.scratch();
        let told = told(&OsFileSystem, &stream, &fixture.options());
        let did = verdict_of(&fixture);
        down += u32::from(did.0 == Start::ServerDown);
        down_reading += u32::from(did.1 == Reading::ServerDown);
        if (told.start, told.read, told.messages) != did {
            let told = (told.start, told.read, told.messages);
            wrong.push(format!("{case}: foretold {told:?}, the server: {did:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // H24 and H33 at the start, H37 at the first read.
    assert!(down >= 15 && down_reading >= 1, "{down} {down_reading}");
}
