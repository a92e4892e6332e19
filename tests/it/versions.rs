//! Forecasts by hand-made stores: what each line of servers makes of the same files, and what a start would lose.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jetsam::crypto::ServerKey;
use jetsam::env::OsEntropy;
use jetsam::env::memory::MemoryFileSystem;
use jetsam::format::checksum::{HashKey, hex16};
use jetsam::format::compression::compress;
use jetsam::format::record::{NewRecord, encode_record};
use jetsam::format::seqset::SeqSet;
use jetsam::format::state::{BlockEntry, StateFile, SubjectTable};
use jetsam::preflight::{Forecast, Pace, PreflightOptions, Reading, Start, forecast, measure};
use jetsam::recovery::events::EventCode;
use jetsam::recovery::options::Options;
use jetsam::recovery::report::{Outcome, Source};
use jetsam::recovery::{StreamDir, Watch, examine, rebuild_index};

const DIR: &str = "/js/A/streams/S";

pub fn message(sequence: u64) -> NewRecord<'static> {
    NewRecord::Message {
        sequence,
        timestamp_ns: sequence as i64 * 1_000,
        subject: b"s.a",
        headers: b"",
        body: b"something to keep",
    }
}

pub fn tombstone(sequence: u64) -> NewRecord<'static> {
    NewRecord::Tombstone {
        sequence,
        timestamp_ns: sequence as i64 * 1_000,
    }
}

pub fn block(number: u32, records: &[NewRecord<'_>]) -> Vec<u8> {
    let key = HashKey::for_block(b"S", number);
    let mut bytes = Vec::new();
    for record in records {
        encode_record(&mut bytes, &key, record).expect("a record");
    }
    bytes
}

pub fn messages(number: u32, seqs: std::ops::RangeInclusive<u64>) -> Vec<u8> {
    block(number, &seqs.map(message).collect::<Vec<_>>())
}

/// A stream on a disk of its own.
pub struct Store {
    fs: MemoryFileSystem,
    options: Options,
}

impl Store {
    pub fn new(config: &str) -> Self {
        let inf = format!(
            r#"{{"name":"S","subjects":["s.>"],"storage":"file",{config}"num_replicas":1}}"#
        );
        let sum = hex16(HashKey::for_stream(b"S").hash64(&[inf.as_bytes()]));
        let fs = MemoryFileSystem::new();
        fs.seed_dir(format!("{DIR}/msgs"));
        fs.seed_dir(format!("{DIR}/obs"));
        let store = Store {
            fs,
            options: Options::new(1_000_000_000),
        };
        store.with("meta.inf", inf).with("meta.sum", sum)
    }

    pub fn with(self, file: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.fs.seed_file(format!("{DIR}/{file}"), bytes);
        self
    }

    /// The index of blocks that hold these sequences.
    fn indexed(self, version: u8, blocks: &[(u32, u64, u64)]) -> Self {
        self.index(version, blocks, |_| {})
    }

    fn index(
        self,
        version: u8,
        blocks: &[(u32, u64, u64)],
        change: impl Fn(&mut StateFile),
    ) -> Self {
        let each = messages(1, 1..=1).len() as u64;
        let entries = blocks.iter().map(|(number, first, last)| BlockEntry {
            number: *number,
            bytes: (last - first + 1) * each,
            first_sequence: *first,
            first_time_ns: *first as i64 * 1_000,
            last_sequence: *last,
            last_time_ns: *last as i64 * 1_000,
            deleted_count: 0,
            ttl_count: u64::from(version > 1),
            schedule_count: 0,
            deleted: SeqSet::new(),
            deleted_declared_count: 0,
        });
        let entries: Vec<_> = entries.collect();
        let (first, last) = (entries[0].clone(), entries[entries.len() - 1].clone());
        let file = format!("{DIR}/msgs/{}.blk", last.number);
        let tail = self.fs.files()[std::path::Path::new(&file)].clone();
        let mut subjects = SubjectTable::new();
        let count = entries.iter().map(BlockEntry::message_count).sum();
        subjects.push(jetsam::format::state::SubjectEntry {
            subject: b"s.a",
            total: count,
            first_block: first.number,
            last_block: last.number,
        });
        let mut state = StateFile {
            version,
            messages: count,
            bytes: entries.iter().map(|entry| entry.bytes).sum(),
            first_sequence: first.first_sequence,
            first_time_ns: first.first_time_ns,
            last_sequence: last.last_sequence,
            last_time_ns: last.last_time_ns,
            subjects,
            blocks: entries,
            last_block: last.number,
            last_record_hash: *tail.last_chunk().expect("a record"),
        };
        change(&mut state);
        self.sealed(state.encode(u64::MAX).expect("an index"))
    }

    fn sealed(self, mut bytes: Vec<u8>) -> Self {
        let hash = HashKey::for_stream(b"S").hash64(&[&bytes]);
        bytes.extend(hash.to_le_bytes());
        self.with("msgs/index.db", bytes)
    }

    fn flip(self, file: &str, at: usize) -> Self {
        let path = format!("{DIR}/{file}");
        let mut bytes = self.fs.files()[std::path::Path::new(&path)].clone();
        bytes[at] ^= 4;
        self.with(file, bytes)
    }

    fn without(self, file: &str) -> Self {
        let kept: Vec<_> = self.fs.files().into_iter().collect();
        let fs = MemoryFileSystem::new();
        fs.seed_dir(format!("{DIR}/msgs"));
        for (path, bytes) in kept {
            if path != std::path::Path::new(&format!("{DIR}/{file}")) {
                fs.seed_file(path, bytes);
            }
        }
        Store { fs, ..self }
    }

    fn stream() -> StreamDir {
        StreamDir {
            account: Some("A".into()),
            name: "S".into(),
            dir: DIR.into(),
        }
    }

    pub fn told(&self, preflight: &PreflightOptions) -> Forecast {
        let before = self.fs.files();
        let cancel = AtomicBool::new(false);
        let watch = Watch {
            progress: &|_| {},
            cancel: &cancel,
        };
        let told = forecast(&self.fs, &Store::stream(), &self.options, preflight, &watch);
        assert_eq!(self.fs.files(), before, "a forecast changes nothing");
        told
    }

    pub fn by(&self, server: &str) -> Forecast {
        self.told(&PreflightOptions {
            server: server.parse().expect("a version"),
            ..PreflightOptions::default()
        })
    }

    /// Start, fast path, messages, lost.
    fn brief(&self, server: &str) -> (Start, bool, u64, u64) {
        let told = self.by(server);
        (told.start, told.fast_path, told.messages, told.lost)
    }
}

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
    assert_eq!((told.messages, told.lost, told.lost_proven), (5, 7, 6));
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
    for (server, want) in [
        ("2.15", (Start::StreamDeleted, 0, 12)),
        ("2.14.0", (Start::StreamDeleted, 0, 12)),
        ("2.12", (Start::Ok, 3, 9)),
        ("2.10", (Start::Ok, 3, 9)),
    ] {
        let told = store.by(server);
        assert_eq!((told.start, told.messages, told.lost), want, "{server}");
    }
    let told = store.by("2.15");
    assert_eq!(
        told.actions.last().expect("an action").kind.as_str(),
        "remove-stream"
    );
    assert_eq!(told.exit_code(), 4);
}

#[test]
fn what_does_not_open_is_deleted_since_2_11_9() {
    // No server reads a name like this.
    let store = Store::new("")
        .with("msgs/1.blk", messages(1, 1..=3))
        .with("msgs/-1.blk", "");
    for (server, start, lost) in [
        ("2.10", Start::StreamSkipped, 0),
        ("2.11.8", Start::StreamSkipped, 0),
        ("2.11.9", Start::StreamDeleted, 3),
        ("2.12.0", Start::StreamDeleted, 3),
        ("2.15", Start::StreamDeleted, 3),
    ] {
        let told = store.by(server);
        assert_eq!((told.start, told.lost), (start, lost), "{server}");
    }
}

#[test]
fn late_faults_crash_since_2_14() {
    let store = Store::new(r#""max_msgs":2,"discard":"old","#)
        .with("msgs/1.blk", messages(1, 1..=4))
        .indexed(1, &[(1, 1, 4)])
        .flip("msgs/1.blk", 40);
    for server in ["2.14.0", "2.15"] {
        assert_eq!(store.by(server).start, Start::ServerDown, "{server}");
        assert_eq!(store.by(server).exit_code(), 4);
    }
    for server in ["2.10", "2.11", "2.12"] {
        assert_eq!(store.by(server).start, Start::Ok, "{server}");
    }
}

#[test]
fn a_scan_for_ttls_crashes_since_2_15() {
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
    assert_eq!(store.by("2.15").start, Start::ServerDown);
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
    for (server, start) in [
        ("2.10", Start::Ok),
        ("2.11.8", Start::Ok),
        ("2.11", Start::StreamSkipped),
        ("2.12", Start::Ok),
        ("2.15", Start::Ok),
    ] {
        assert_eq!(store.by(server).start, start, "{server}");
    }
}

#[test]
fn a_header_length_without_room_crashes_before_2_12_5() {
    let mut bytes = messages(1, 1..=3);
    // Headers claimed where the subject leaves no room for their length.
    let size = messages(1, 1..=1).len();
    bytes[size + 3] |= 0x80;
    bytes[size + 20] = (size - 30) as u8;
    let store = Store::new("").with("msgs/1.blk", bytes);
    for (server, start) in [
        ("2.10", Start::ServerDown),
        ("2.11", Start::ServerDown),
        ("2.12.4", Start::ServerDown),
        ("2.12.5", Start::Ok),
        ("2.14.0", Start::Ok),
        ("2.15", Start::Ok),
    ] {
        assert_eq!(store.by(server).start, start, "{server}");
    }
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
    for (server, start) in [
        ("2.12", Start::ServerDown),
        ("2.14.8", Start::ServerDown),
        ("2.14.9", Start::Ok),
        ("2.15.1", Start::ServerDown),
        ("2.15.2", Start::Ok),
    ] {
        assert_eq!(store.by(server).start, start, "{server}");
    }
}

#[test]
fn a_bad_block_key_fails_the_open_only_from_2_14_0_to_2_14_3() {
    let mut store = Store::new("")
        .with("msgs/1.blk", messages(1, 1..=3))
        .with("msgs/1.key", [0; 72]);
    store.options.keys.current = Some(ServerKey::new(b"key".to_vec()));
    for (server, start) in [
        ("2.12", Start::Ok),
        ("2.14.0", Start::StreamDeleted),
        ("2.14.3", Start::StreamDeleted),
        ("2.14.4", Start::Ok),
        ("2.15", Start::Ok),
    ] {
        let told = store.by(server);
        assert_eq!((told.start, told.messages), (start, 0), "{server}");
    }
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
    for (server, messages, lost) in [
        ("2.10.27", 0, 3),
        ("2.10.28", 3, 0),
        ("2.11.1", 0, 3),
        ("2.11.2", 3, 0),
        ("2.15", 3, 0),
    ] {
        let told = store.by(server);
        assert_eq!((told.messages, told.lost), (messages, lost), "{server}");
    }
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
    for (server, fast) in [
        ("2.10.20", false),
        ("2.10.21", true),
        ("2.10.22", true),
        ("2.10.23", false),
        ("2.15", false),
    ] {
        assert_eq!(store.by(server).fast_path, fast, "{server}");
    }
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
    assert_eq!((told.messages, told.expired, told.lost), (1, 3, 0));
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
    let pace = measure(&store.fs, &Store::stream(), &store.options, &clock);
    let mut slow = pace;
    slow.index_bytes = 1 << 40;
    let with = |probe: u64, pace: Pace| {
        store.told(&PreflightOptions {
            probe: Some(Duration::from_secs(probe)),
            pace: Some(pace),
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
    assert_eq!(with(900, pace).fits_probe, Some(true));
}

fn rebuilt(store: &Store, server: &str) -> jetsam::recovery::report::StreamReport {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    rebuild_index(
        &store.fs,
        &Store::stream(),
        &store.options,
        server.parse().expect("a version"),
        &OsEntropy,
        &watch,
    )
}

#[test]
fn an_index_is_rebuilt_in_the_version_its_server_reads() {
    for (server, version) in [
        ("2.10", 1),
        ("2.11", 2),
        ("2.12", 3),
        ("2.14", 4),
        ("2.15", 4),
    ] {
        let store = Store::new(r#""max_msgs":1,"discard":"old","max_age":100000000,"#)
            .with("msgs/1.blk", messages(1, 1..=3))
            .with("msgs/2.blk", messages(2, 4..=6));
        let report = rebuilt(&store, server);
        assert_ne!(report.outcome, Outcome::Refused, "{:?}", report.events);
        let index = std::path::PathBuf::from(format!("{DIR}/msgs/index.db"));
        assert_eq!(store.fs.files()[&index][1], version, "{server}");
        // Neither age nor limits have been at it.
        let state = report.state.expect("a state");
        assert_eq!((state.messages, state.first_seq, state.last_seq), (6, 1, 6));
        assert!(store.by(server).fast_path, "{server}");
    }
}

#[test]
fn nothing_is_rebuilt_where_more_would_have_to_change() {
    let size = messages(1, 1..=1).len();
    let sound = || {
        Store::new("")
            .with("msgs/1.blk", messages(1, 1..=3))
            .with("msgs/2.blk", messages(2, 4..=6))
    };
    let stores = [
        ("a bad record", sound().flip("msgs/1.blk", size + 30)),
        (
            "a torn tail",
            sound().with("msgs/2.blk", messages(2, 4..=6)[..size + 9].to_vec()),
        ),
        ("an empty last block", sound().with("msgs/3.blk", "")),
        ("a purge under way", sound().with("__msgs__/1.blk", "")),
    ];
    for (what, store) in stores {
        let before = store.fs.files();
        let report = rebuilt(&store, "2.15");
        assert_eq!(
            (report.outcome, report.exit_code()),
            (Outcome::Refused, 4),
            "{what}"
        );
        let last = report.events.last().expect("an event");
        assert_eq!(last.code, EventCode::RebuildRefused, "{what}");
        assert_eq!(store.fs.files(), before, "{what}");
    }
}

#[test]
fn a_rebuilt_store_needs_no_scan_for_ttls() {
    let record = NewRecord::Message {
        sequence: 1,
        timestamp_ns: 1_000,
        subject: b"s.a",
        headers: b"NATS/1.0\r\nNats-TTL: 1h\r\n\r\n",
        body: b"x",
    };
    let store =
        Store::new(r#""allow_msg_ttl":true,"#).with("msgs/1.blk", block(1, &[record, message(2)]));
    assert!(rebuilt(&store, "2.15").refusal.is_none());
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let report = examine(&store.fs, &Store::stream(), &store.options, &watch);
    assert_eq!(report.source, Some(Source::Index));
    assert_eq!(report.ttl.expect("a wheel").count, 1);
    assert_eq!(report.events, [], "nothing to catch up");
}
