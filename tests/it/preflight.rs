//! Forecasts held against what real servers made of the committed damaged stores; and what is counted as lost, over stores of
//! the fault harness, where every byte that was touched is known.

use std::sync::atomic::AtomicBool;

use jetsam::env::{FileSystem, OsFileSystem};
use jetsam::format::compression::compress;
use jetsam::format::record::NewRecord;
use jetsam::preflight::{Forecast, PreflightOptions, Reading, Start, forecast};
use jetsam::report::Watch;
use jetsam::report::actions::ActionKind;
use jetsam::report::events::EventCode;
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;
use jetsam::testing::{Damage, DamageKind, DamageTarget, Layout, Store, StoreKind, Workload};
use serde_json::Value;

use crate::support::{Fixture, damaged};
use crate::versions::{self, block, message, messages, tombstone};

fn told(files: &dyn FileSystem, stream: &StreamDir, options: &Options, server: &str) -> Forecast {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let preflight = PreflightOptions {
        server: server.parse().expect("a server"),
        ..PreflightOptions::default()
    };
    forecast(files, stream, options, &preflight, &watch)
}

/// Damages the store, and holds what is told against what was touched. Returns how the start comes out.
fn check(store: &Store, layout: &Layout, kind: DamageKind, seed: u64) -> Start {
    let files = store.files.fork();
    let target = DamageTarget::new(store, &files, layout);
    let damage = Damage::inflict(kind, seed, &target).expect("a file system");
    let damage = damage.expect("something to damage");
    // The last release that deletes what it cannot open.
    let told = told(&files, &store.stream, &store.access.options(), "2.15.2");
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
    // What a damaged tombstone said is not known any more, nor whether a deleted message stood in a damaged place.
    let most = store.reference.live().len() + store.reference.deleted().len();
    assert!(told.lost <= most, "{damage}: {} of {most}", told.lost);
    let least = untouched.len() as u64;
    assert!(
        told.lost_proven >= least,
        "{damage}: {} of {least} verify",
        told.lost_proven
    );
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
    let consumers: Vec<&Value> = fixture.verdict["consumers"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let offline = |consumer: &&Value| {
        let error = consumer["error"].as_str().unwrap_or_default();
        error.starts_with("offline")
    };
    let panics = |consumer: &&Value| consumer["outcome"] == "panic";
    let start = match word("outcome") {
        "opened" if consumers.iter().any(panics) => Start::ServerDown,
        "opened" if consumers.iter().any(offline) => Start::StreamSkipped,
        "opened" => Start::Ok,
        "skipped" | "error" => Start::StreamSkipped,
        _ => Start::ServerDown,
    };
    let read = match word("read_outcome") {
        "panic" | "oom" | "timeout" => Reading::ServerDown,
        _ => Reading::Ok,
    };
    let messages = fixture.verdict["state"]["messages"].as_u64();
    match start {
        Start::Ok => (start, read, messages.unwrap_or(0)),
        _ => (start, Reading::Ok, 0),
    }
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
        let told = told(&OsFileSystem, &stream, &fixture.options(), "2.15.3");
        let did = verdict_of(&fixture);
        down += u32::from(did.0 == Start::ServerDown);
        down_reading += u32::from(did.1 == Reading::ServerDown);
        if (told.start, told.read, told.messages) != did {
            let told = (told.start, told.read, told.messages);
            wrong.push(format!("{case}: foretold {told:?}, the server: {did:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // H24 at the start, H37 at the first read.
    assert!(down >= 3 && down_reading >= 1, "{down} {down_reading}");
}

#[test]
fn delete_markers_spare_age_since_2_11_2() {
    let config = r#""max_age":100000000,"allow_msg_ttl":true,"allow_rollup_hdrs":true,"subject_delete_marker_ttl":1000000000,"#;
    let store = versions::Store::new(config).with("msgs/1.blk", messages(1, 1..=4));
    let outcome = |server: &str| {
        let told = store.by(server);
        (told.messages, told.expired, told.lost)
    };
    assert_eq!(outcome("2.11.1"), (0, 4, 0));
    assert_eq!(outcome("2.11.2"), (4, 0, 0));
    assert_eq!(outcome("2.15"), (4, 0, 0));
}

#[test]
fn an_unknown_way_of_compression_costs_the_stream_before_2_14_7() {
    let mut wrapped = Vec::new();
    compress(&messages(1, 1..=40), &mut wrapped).expect("a block");
    wrapped[3] = 2;
    let store = versions::Store::new(r#""compression":"s2","#)
        .with("msgs/1.blk", wrapped)
        .with("msgs/2.blk", messages(2, 41..=44));
    for (server, start) in [
        ("2.14.6", Start::StreamDeleted),
        ("2.14.7", Start::Ok),
        ("2.15.0", Start::Ok),
    ] {
        let told = store.by(server);
        assert_eq!(told.start, start, "{server}");
        // The identifier of the stream tells of what the mark no longer does.
        assert!(told.lost_proven >= 40, "{server}: {}", told.lost_proven);
    }
}

#[test]
fn the_last_empty_block_decides_since_2_11_11() {
    let store = versions::Store::new("")
        .with("msgs/1.blk", block(1, &[tombstone(20)]))
        .with("msgs/2.blk", block(2, &[tombstone(7)]));
    let last = |server: &str| store.by(server).state.map(|state| state.last_seq);
    assert_eq!(last("2.11.10"), Some(20));
    assert_eq!(last("2.11.11"), Some(7));
    assert_eq!((last("2.12.0"), last("2.12.1")), (Some(20), Some(7)));
}

#[test]
fn a_block_with_tombstones_for_others_is_kept_since_2_14() {
    let store = versions::Store::new("")
        .with("msgs/1.blk", messages(1, 1..=4))
        .with("msgs/2.blk", block(2, &[message(5), tombstone(2)]))
        .with("msgs/3.blk", block(3, &[message(6), tombstone(5)]));
    let removed = |server: &str| {
        let told = store.by(server);
        assert_eq!(told.messages, 4, "{server}");
        let mut actions = told.actions.iter();
        actions.any(|action| action.kind == ActionKind::RemoveBlock && action.file == "msgs/2.blk")
    };
    assert!(removed("2.12"));
    assert!(!removed("2.14.0") && !removed("2.15"));
}

#[test]
fn timer_and_source_files_are_missed_only_by_servers_that_know_them() {
    for (config, code, not, since) in [
        (
            r#""allow_msg_schedules":true,"#,
            EventCode::SchedOutdated,
            "2.11.8",
            "2.12",
        ),
        (
            r#""sources":[{"name":"NORTH"}],"#,
            EventCode::SourcesOutdated,
            "2.14",
            "2.15",
        ),
    ] {
        let store = versions::Store::new(config).with("msgs/1.blk", messages(1, 1..=4));
        for (server, missed) in [(not, false), (since, true)] {
            let told = store.by(server);
            assert_eq!((told.start, told.messages), (Start::Ok, 4), "{server}");
            let saw = told.events.iter().any(|event| event.code == code);
            assert_eq!(saw, missed, "{server}, {code}");
        }
    }
}

#[test]
fn a_header_length_beyond_its_record_crashes_before_2_11_10() {
    let with_headers = NewRecord::Message {
        sequence: 2,
        timestamp_ns: 2_000,
        subject: b"s.a",
        headers: b"NATS/1.0\r\nKind: a\r\n\r\n",
        body: b"something",
    };
    let mut bytes = block(1, &[message(1), with_headers, message(3)]);
    // No checksum covers the length of the headers, which follows the subject.
    let at = block(1, &[message(1)]).len() + 22 + b"s.a".len();
    bytes[at] = 200;
    let store = versions::Store::new("").with("msgs/1.blk", bytes);
    for (server, start, read) in [
        // Without TTLs nobody looks before a reader does.
        ("2.10", Start::Ok, Reading::ServerDown),
        ("2.11.9", Start::ServerDown, Reading::Ok),
        ("2.11.10", Start::Ok, Reading::Ok),
        ("2.12.0", Start::Ok, Reading::Ok),
        ("2.15", Start::Ok, Reading::Ok),
    ] {
        let told = store.by(server);
        assert_eq!((told.start, told.read), (start, read), "{server}");
    }
}
