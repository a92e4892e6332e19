//! Forecasts by hand-made stores: what each line of servers makes of the same files, and what a start would lose.

mod rebuilt;
mod store;

use std::time::Duration;

use jetsam::crypto::ServerKey;
use jetsam::format::compression::compress;
use jetsam::format::record::NewRecord;
use jetsam::preflight::{MachineSpeed, PreflightOptions, Reading, Start, measure};
use jetsam::report::Removal;
use jetsam::report::actions::Action;
use jetsam::report::events::EventCode;

pub use store::{Store, block, message, messages, tombstone};

#[test]
fn a_clean_store_starts_everywhere_that_reads_its_index() {
    for (version, fast) in [
        (1, ["2.10", "2.11", "2.12", "2.14", "2.15"].as_slice()),
        (2, ["2.11", "2.12", "2.14", "2.15"].as_slice()),
        (3, ["2.12", "2.14", "2.15"].as_slice()),
        (4, ["2.14", "2.15"].as_slice()),
    ] {
        let store = Store::new("")
            .with("msgs/1.blk", messages(1, 1..=4))
            .indexed(version, &[(1, 1, 4)]);
        for server in ["2.10", "2.11", "2.12", "2.14", "2.15"] {
            let want = (Start::Ok, fast.contains(&server), 4, 0);
            assert_eq!(
                store.brief(server),
                want,
                "version {version}, server {server}"
            );
        }
    }
}

#[test]
fn a_cut_counts_every_message_behind_it() {
    let size = messages(1, 1..=1).len();
    let store = Store::new("")
        .with("msgs/1.blk", messages(1, 1..=10))
        .with("msgs/2.blk", messages(2, 11..=12))
        .flip("msgs/1.blk", 3 * size + 40);
    let told = store.by("2.15");
    // The bit can be set right, so that all seven can be proven.
    assert_eq!((told.messages, told.lost, told.lost_proven), (5, 7, 7));
    assert_eq!(told.lost_seqs, [(4, 10)]);
    assert_eq!(told.exit_code(), 4);
    let cut = told
        .actions
        .iter()
        .find(|action| action.kind.as_str() == "truncate-block");
    let cut = cut.expect("a cut");
    assert_eq!(
        (cut.file.as_str(), cut.offset),
        ("msgs/1.blk", Some(3 * size as u64))
    );
}

#[test]
fn a_damaged_compressed_block_costs_the_block_or_the_stream() {
    let mut compressed = Vec::new();
    compress(&messages(2, 2..=10), &mut compressed).expect("compressed");
    let at = compressed.len() / 2;
    let store = Store::new("")
        .with("msgs/1.blk", messages(1, 1..=1))
        .with("msgs/2.blk", compressed)
        .with("msgs/3.blk", messages(3, 11..=12))
        .flip("msgs/2.blk", at);
    store.expect(
        |told| (told.start, told.messages, told.lost),
        &[
            ("2.15", (Start::StreamSkipped, 0, 0)),
            ("2.15.2", (Start::StreamDeleted, 0, 12)),
            ("2.14", (Start::StreamSkipped, 0, 0)),
            ("2.14.9", (Start::StreamDeleted, 0, 12)),
            ("2.14.0", (Start::StreamDeleted, 0, 12)),
            ("2.12", (Start::Ok, 3, 9)),
            ("2.10", (Start::Ok, 3, 9)),
        ],
    );
    let told = store.by("2.15.2");
    assert_eq!(
        told.actions.last().expect("an action").kind.as_str(),
        "remove-stream"
    );
    assert_eq!(told.exit_code(), 4);
    let told = store.by("2.15");
    let removes = |action: &Action| action.kind.as_str() == "remove-stream";
    assert!(!told.actions.iter().any(removes), "{:?}", told.actions);
    assert_eq!(told.exit_code(), 4);
}

#[test]
fn what_does_not_open_is_deleted_from_2_11_9_to_2_14_9_and_2_15_2() {
    // No server reads a name like this.
    let store = Store::new("")
        .with("msgs/1.blk", messages(1, 1..=3))
        .with("msgs/-1.blk", "");
    store.expect(
        |told| (told.start, told.lost),
        &[
            ("2.10", (Start::StreamSkipped, 0)),
            ("2.11.8", (Start::StreamSkipped, 0)),
            ("2.11.9", (Start::StreamDeleted, 3)),
            ("2.12.0", (Start::StreamDeleted, 3)),
            ("2.14.9", (Start::StreamDeleted, 3)),
            ("2.14.10", (Start::StreamSkipped, 0)),
            ("2.15.0", (Start::StreamDeleted, 3)),
            ("2.15.2", (Start::StreamDeleted, 3)),
            ("2.15", (Start::StreamSkipped, 0)),
        ],
    );
}

#[test]
fn late_faults_crash_from_2_14_0_to_2_14_9_and_2_15_2() {
    let store = Store::new(r#""max_msgs":2,"discard":"old","#)
        .with("msgs/1.blk", messages(1, 1..=4))
        .indexed(1, &[(1, 1, 4)])
        .flip("msgs/1.blk", 40);
    for (server, start) in [
        ("2.14.0", Start::ServerDown),
        ("2.14.9", Start::ServerDown),
        ("2.14.10", Start::StreamSkipped),
        ("2.15.2", Start::ServerDown),
        ("2.15", Start::StreamSkipped),
    ] {
        assert_eq!(store.by(server).start, start, "{server}");
        assert_eq!(store.by(server).exit_code(), 4);
    }
    for server in ["2.10", "2.11", "2.12"] {
        assert_eq!(store.by(server).start, Start::Ok, "{server}");
    }
}

#[test]
fn a_scan_for_ttls_fails_the_open_since_2_15() {
    let record = NewRecord::Message {
        sequence: 1,
        timestamp_ns: 1_000,
        subject: b"s.a",
        headers: b"NATS/1.0\r\nNats-TTL: 1h\r\n\r\n",
        body: b"x",
    };
    let bytes = block(1, &[record, message(2)]);
    let length = block(1, &[record]).len() as u64 - messages(1, 1..=1).len() as u64;
    let store = Store::new(r#""allow_msg_ttl":true,"#)
        .with("msgs/1.blk", bytes)
        .index(2, &[(1, 1, 2)], |state| {
            state.bytes += length;
            state.blocks[0].bytes += length;
        })
        .flip("msgs/1.blk", 30);
    assert_eq!(store.by("2.15.2").start, Start::ServerDown);
    assert_eq!(store.by("2.15").start, Start::StreamSkipped);
    for server in ["2.11", "2.12", "2.14"] {
        let told = store.by(server);
        assert_eq!(
            (told.start, told.fast_path, told.unreadable),
            (Start::Ok, true, 1),
            "{server}"
        );
        assert_eq!(told.lost_seqs, [(1, 1)], "counted, and not to be had");
    }
}

#[test]
fn a_stream_that_needs_a_newer_server_is_left_out_since_2_11_9() {
    let store =
        Store::new(r#""metadata":{"_nats.req.level":"4"},"#).with("msgs/1.blk", messages(1, 1..=3));
    for (server, start) in [
        ("2.15", Start::Ok),
        ("2.14", Start::Ok),
        ("2.12", Start::StreamSkipped),
        ("2.11", Start::StreamSkipped),
        ("2.11.8", Start::Ok),
        ("2.10", Start::Ok),
    ] {
        assert_eq!(store.by(server).start, start, "{server}");
        assert_eq!(store.by(server).lost, 0, "its files stay");
    }
}

#[test]
fn a_stream_with_fields_of_a_newer_line_is_left_out_since_2_11_9() {
    let store = Store::new(r#""allow_msg_schedules":true,"#).with("msgs/1.blk", messages(1, 1..=3));
    store.starts(&[
        ("2.10", Start::Ok),
        ("2.11.8", Start::Ok),
        ("2.11", Start::StreamSkipped),
        ("2.12", Start::Ok),
        ("2.15", Start::Ok),
    ]);
}

#[test]
fn a_header_length_without_room_crashes_before_2_12_5() {
    let mut bytes = messages(1, 1..=3);
    // Headers claimed where the subject leaves no room for their length.
    let size = messages(1, 1..=1).len();
    bytes[size + 3] |= 0x80;
    bytes[size + 20] = (size - 30) as u8;
    let store = Store::new("").with("msgs/1.blk", bytes);
    store.starts(&[
        ("2.10", Start::ServerDown),
        ("2.11", Start::ServerDown),
        ("2.12.4", Start::ServerDown),
        ("2.12.5", Start::Ok),
        ("2.14.0", Start::Ok),
        ("2.15", Start::Ok),
    ]);
}

#[test]
fn junk_in_the_staging_of_purges_costs_all_since_2_14() {
    let store = Store::new("")
        .with("msgs/1.blk", messages(1, 1..=3))
        .with("__new_msgs__/junk.blk", "junk");
    assert_eq!(store.brief("2.12"), (Start::Ok, false, 3, 0));
    assert_eq!(store.brief("2.14"), (Start::Ok, false, 0, 3));
}

#[test]
fn an_unbounded_count_in_the_index_crashes_until_2_14_9() {
    let mut index = vec![11, 1, 0, 0, 0, 0, 0, 0, 0];
    // More blocks than fit into any memory.
    index.extend([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]);
    index.resize(40, 0);
    let store = Store::new("")
        .with("msgs/1.blk", messages(1, 1..=3))
        .sealed(index);
    store.starts(&[
        ("2.12", Start::ServerDown),
        ("2.14.8", Start::ServerDown),
        ("2.14.9", Start::Ok),
        ("2.15.1", Start::ServerDown),
        ("2.15.2", Start::Ok),
    ]);
}

#[test]
fn a_bad_block_key_fails_the_open_only_from_2_14_0_to_2_14_3() {
    let mut store = Store::new("")
        .with("msgs/1.blk", messages(1, 1..=3))
        .with("msgs/1.key", [0; 72]);
    store.options.keys.current = Some(ServerKey::new(b"key".to_vec()));
    store.expect(
        |told| (told.start, told.messages),
        &[
            ("2.12", (Start::Ok, 0)),
            ("2.14.0", (Start::StreamDeleted, 0)),
            ("2.14.3", (Start::StreamDeleted, 0)),
            ("2.14.4", (Start::Ok, 0)),
            ("2.15", (Start::Ok, 0)),
        ],
    );
}

#[test]
fn encrypting_a_stream_changes_its_creation_time() {
    let mut store = Store::new("").with("msgs/1.blk", messages(1, 1..=3));
    store.options.keys.current = Some(ServerKey::new(b"key".to_vec()));
    let told = store.by("2.15");
    assert_eq!((told.start, told.lost), (Start::Ok, 0));
    assert_eq!(told.exit_code(), 1);
    let codes: Vec<_> = told.events.iter().map(|event| event.code).collect();
    assert!(
        codes.contains(&EventCode::StreamCreatedChanged),
        "{codes:?}"
    );
}

#[test]
fn a_missing_block_goes_unnoticed_before_2_11_7() {
    let store = Store::new("")
        .with("msgs/1.blk", messages(1, 1..=3))
        .with("msgs/2.blk", messages(2, 4..=6))
        .with("msgs/3.blk", messages(3, 7..=9))
        .indexed(1, &[(1, 1, 3), (2, 4, 6), (3, 7, 9)])
        .without("msgs/2.blk");
    for (server, fast) in [
        ("2.10", true),
        ("2.11.6", true),
        ("2.11.7", false),
        ("2.15", false),
    ] {
        let told = store.by(server);
        assert_eq!(told.fast_path, fast, "{server}");
        assert_eq!(told.lost_seqs, [(4, 6)], "{server}");
    }
}

#[test]
fn a_stream_that_starts_where_it_is_configured_to_was_purged() {
    let store = Store::new(r#""first_seq":5,"#).with("msgs/1.blk", messages(1, 5..=7));
    store.expect(
        |told| (told.messages, told.lost),
        &[
            ("2.10.27", (0, 3)),
            ("2.10.28", (3, 0)),
            ("2.11.1", (0, 3)),
            ("2.11.2", (3, 0)),
            ("2.15", (3, 0)),
        ],
    );
}

#[test]
fn the_last_sequence_the_index_knew_is_kept_since_2_11_4() {
    // The last record is gone without a trace of damage.
    let store = Store::new("")
        .with("msgs/1.blk", messages(1, 1..=4))
        .indexed(1, &[(1, 1, 4)])
        .with("msgs/1.blk", messages(1, 1..=3));
    for (server, last) in [
        ("2.10", 3),
        ("2.11.3", 3),
        ("2.11.4", 4),
        ("2.12.0", 4),
        ("2.15", 4),
    ] {
        let told = store.by(server);
        assert_eq!(told.state.expect("a state").last_seq, last, "{server}");
        assert_eq!(told.lost_seqs, [(4, 4)], "{server}");
    }
}

#[test]
fn a_block_of_tombstones_stands_for_the_highest_since_2_11_11() {
    let store = Store::new("").with("msgs/1.blk", block(1, &[tombstone(20), tombstone(7)]));
    for (server, last) in [
        ("2.11.10", 7),
        ("2.11.11", 20),
        ("2.12.0", 7),
        ("2.12.1", 20),
    ] {
        let state = store.by(server).state.expect("a state");
        assert_eq!(state.last_seq, last, "{server}");
    }
}

#[test]
fn records_that_go_backwards_counted_before_2_11_10() {
    let store = Store::new("").with(
        "msgs/1.blk",
        block(1, &[message(1), message(2), message(3), message(2)]),
    );
    for (server, messages) in [("2.10", 4), ("2.11.9", 4), ("2.11.10", 3), ("2.15", 3)] {
        let state = store.by(server).state.expect("a state");
        assert_eq!(state.messages, messages, "{server}");
    }
}

#[test]
fn a_consumer_that_does_not_open_was_deleted_until_2_14_5() {
    let store = Store::new("")
        .with("msgs/1.blk", messages(1, 1..=3))
        .with("obs/C/meta.inf", r#"{"name":"C","durable_name":"C"}"#)
        .with("obs/C/meta.sum", "any")
        .with("obs/C/o.dat", "no state at all");
    for (server, lost) in [
        ("2.11.8", false),
        ("2.11.9", true),
        ("2.12", true),
        ("2.14.5", true),
        ("2.14.6", false),
        ("2.15", false),
    ] {
        let told = store.by(server);
        assert_eq!(told.consumers_lost == ["C"], lost, "{server}");
        assert_eq!(told.consumers_disabled == ["C"], !lost, "{server}");
        assert_eq!(told.exit_code() == 4, lost, "{server}");
    }
}

#[test]
fn totals_that_disagree_are_noticed_but_for_two_patches() {
    let store =
        Store::new("")
            .with("msgs/1.blk", messages(1, 1..=3))
            .index(1, &[(1, 1, 3)], |state| state.messages = 5);
    store.expect(
        |told| told.fast_path,
        &[
            ("2.10.20", false),
            ("2.10.21", true),
            ("2.10.22", true),
            ("2.10.23", false),
            ("2.15", false),
        ],
    );
}

#[test]
fn an_async_stream_forgets_since_2_12() {
    let store = Store::new(r#""persist_mode":"async","#)
        .with("msgs/1.blk", messages(1, 1..=4))
        .indexed(1, &[(1, 1, 4)])
        .with("msgs/1.blk", messages(1, 1..=3));
    let last = |server: &str| store.by(server).state.expect("a state").last_seq;
    assert_eq!((last("2.11.8"), last("2.12"), last("2.15")), (4, 3, 3));
}

#[test]
fn messages_beyond_age_and_limits_are_no_loss() {
    let mut store = Store::new(r#""max_age":1000000000,"#).with("msgs/1.blk", messages(1, 1..=4));
    store.options.now_ns = 1_000_000_000 + 2_500;
    let told = store.by("2.15");
    assert_eq!((told.messages, told.expired, told.lost), (2, 2, 0));
    let store =
        Store::new(r#""max_msgs":1,"discard":"old","#).with("msgs/1.blk", messages(1, 1..=4));
    let told = store.by("2.15");
    // The limit had taken them when the newer ones came: nothing is left for the start to remove.
    assert_eq!((told.messages, told.expired, told.lost), (1, 0, 0));
    let ledger = told.ledger.expect("a ledger");
    assert_eq!(
        (ledger.live.len(), ledger.removed[&Removal::Limit].len()),
        (1, 3)
    );
}

#[test]
fn a_jump_in_the_sequences_brings_the_reader_down() {
    let size = messages(1, 1..=1).len();
    let store = Store::new("")
        .with("msgs/1.blk", messages(1, 1..=4))
        .with("msgs/2.blk", messages(2, 5..=6))
        .indexed(4, &[(1, 1, 4), (2, 5, 6)]);
    // Bit 34 of a sequence.
    let store = store.flip("msgs/1.blk", size + 4 + 4);
    let told = store.by("2.15");
    assert_eq!(
        (told.start, told.fast_path, told.messages),
        (Start::Ok, true, 6)
    );
    assert_eq!((told.read, told.exit_code()), (Reading::ServerDown, 4));
}

#[test]
fn a_slow_start_does_not_fit_the_probe() {
    let store = Store::new("").with("msgs/1.blk", messages(1, 1..=4));
    let clock = jetsam::env::memory::ManualClock::new(0);
    let speed = measure(&store.fs, &Store::stream(), &store.options, &clock);
    let mut slow = speed;
    slow.index_bytes = 1 << 40;
    let with = |probe: u64, speed: MachineSpeed| {
        store.told(&PreflightOptions {
            probe: Some(Duration::from_secs(probe)),
            speed: Some(speed),
            ..PreflightOptions::default()
        })
    };
    let told = with(900, slow);
    assert_eq!((told.fits_probe, told.exit_code()), (Some(false), 2));
    assert!(
        told.events
            .iter()
            .any(|event| event.code == EventCode::StartBeyondProbe)
    );
    assert_eq!(with(900, speed).fits_probe, Some(true));
}
