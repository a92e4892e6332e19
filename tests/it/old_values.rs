//! The last verified value of a key whose newest value is lost.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use jetsam::block::builder::BlockBuilder;
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::checksum::HashKey;
use jetsam::format::limits::RECORD_HEADER_LENGTH;
use jetsam::format::record::NewRecord;
use jetsam::format::seqset::SeqSet;
use jetsam::format::state::{BlockEntry, STATE_VERSION, StateFile, SubjectEntry, SubjectTable};
use jetsam::recovery::{Flow, Item};
use jetsam::report::Watch;
use jetsam::report::events::EventCode;
use jetsam::salvage::{self, SalvageOptions, SalvageReport, Uncertain, check, messages};
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;
use jetsam::stream::writer::{Sealing, StoreWriter};

use crate::cases::{Case, case_options};
use crate::made::{copies, jetsam, join, joined, options, time};
use crate::support::look;

fn quiet<T>(work: impl FnOnce(&Watch<'_>) -> T) -> T {
    let cancel = AtomicBool::new(false);
    work(&Watch {
        progress: &|_| {},
        cancel: &cancel,
    })
}

fn salvaged(stream: &StreamDir, options: &Options, uncertain: Uncertain) -> Salvaged {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let out = temp.path().join(&stream.name);
    let wish = SalvageOptions {
        out: out.clone(),
        uncertain,
        ..SalvageOptions::default()
    };
    let report = quiet(|watch| {
        salvage::salvage(&OsFileSystem, stream, options, &wish, &OsEntropy, watch)
            .expect("a salvage")
    });
    let made = StreamDir {
        dir: out,
        ..stream.clone()
    };
    Salvaged {
        seqs: read(&made, options),
        served: look(&made, options).state.map_or(0, |state| state.messages),
        report,
    }
}

struct Salvaged {
    report: SalvageReport,
    /// The messages of the new store, as salvage reads them.
    seqs: Vec<u64>,
    /// How many a server finds there.
    served: u64,
}

impl Salvaged {
    fn marked(&self) -> Vec<(u64, String)> {
        marked(&self.report)
    }
}

fn marked(report: &SalvageReport) -> Vec<(u64, String)> {
    let events = report.stream.events.iter();
    let marks = events.filter(|event| event.code == EventCode::KvOldValue);
    let marks = marks.map(|event| (event.seq.expect("a sequence"), event.detail.clone()));
    marks.collect()
}

fn old_values(report: &SalvageReport) -> u64 {
    report.stream.salvage.as_ref().expect("totals").old_values
}

/// The sequences that are kept of a stream.
fn read(stream: &StreamDir, options: &Options) -> Vec<u64> {
    let mut seqs = Vec::new();
    quiet(|watch| {
        let mut visit = |item: Item<'_>| {
            if let Item::Message(message) = item {
                seqs.push(message.seq);
            }
            Flow::Continue
        };
        messages(
            &OsFileSystem,
            stream,
            options,
            0..=u64::MAX,
            &mut visit,
            watch,
        )
        .expect("messages");
    });
    seqs
}

#[test]
fn the_old_values_of_a_bucket_come_back_where_the_new_ones_are_lost() {
    let case = Case::unpack("09a-old-blocks-new-index");
    let stream = case.stream("KV_B");
    let truth: BTreeMap<u64, String> = case
        .truth()
        .into_iter()
        .map(|message| (message.seq, message.subject))
        .collect();
    let options = case_options();
    let made = salvaged(&stream, &options, Uncertain::Keep);
    // What was live before the newer values came, to the message.
    assert!(made.seqs.iter().eq(truth.keys()), "the messages of t0");
    assert_eq!((made.served, old_values(&made.report)), (1000, 330));
    let ledger = made.report.stream.ledger.clone().expect("an account");
    assert_eq!((ledger.live.len(), ledger.lost.len()), (670, 530));
    let marks = made.marked();
    assert_eq!(marks.len(), 330);
    for (seq, detail) in &marks {
        let key = truth[seq].strip_prefix("$KV.B.").expect("a key");
        assert_eq!(detail, &format!("{key}, sequence {seq}"));
        assert!(!ledger.live.contains(*seq) && !ledger.lost.contains(*seq));
    }

    let seen = quiet(|watch| check(&OsFileSystem, &stream, &options, watch).expect("a view"));
    assert_eq!(marked(&seen), marks);
    assert_eq!(seen.stream.state, made.report.stream.state);
    assert_eq!(seen.stream.digest, made.report.stream.digest);
    assert_eq!(read(&stream, &options), made.seqs);

    let without = salvaged(&stream, &options, Uncertain::Drop);
    assert_eq!((without.seqs.len(), without.served), (670, 670));
    assert!(without.marked().is_empty());
}

#[test]
fn copies_of_a_bucket_keep_an_old_value_only_where_none_has_the_new_one() {
    let case = Case::unpack("09a-old-blocks-new-index");
    let stream = case.stream("KV_B");
    let temp = tempfile::tempdir().expect("a temporary directory");
    let both = copies(temp.path(), &stream, 2);
    let wish = joined(&temp.path().join("merged"));
    let report = join(&both, &case_options(), &wish).expect("a merge");
    assert_eq!(old_values(&report), 330);
    let state = report.stream.state.clone().expect("a state");
    assert_eq!((state.messages, marked(&report).len()), (1000, 330));
    let ledger = report.stream.ledger.expect("an account");
    assert_eq!((ledger.live.len(), ledger.lost.len()), (670, 530));

    let whole = bucket(&temp.path().join("KV_M"), &MADE);
    let copied = copies(&temp.path().join("made"), &whole, 2);
    spoil(&copied[1], &[11, 14]);
    let wish = joined(&temp.path().join("healed"));
    let report = join(&copied, &options(None), &wish).expect("a merge");
    assert_eq!((old_values(&report), marked(&report)), (0, Vec::new()));
    assert!(!report.stream.loses_messages);
}

/// A stream with one message per subject: sequences up to ten in the first block, from eleven on in the second.
struct Bucket {
    name: &'static str,
    config: &'static str,
    /// Sequence, subject, headers.
    messages: &'static [(u64, &'static str, &'static str)],
    /// What the index does not count.
    removed: &'static [u64],
}

const DELETE: &str = "NATS/1.0\r\nKV-Operation: DEL\r\n\r\n";
const MARKER: &str = "NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\n\r\n";

const MADE: Bucket = Bucket {
    name: "KV_M",
    config: "",
    messages: &[
        (1, "$KV.M.a", ""),
        (2, "$KV.M.b", ""),
        (3, "$KV.M.c", ""),
        (4, "$KV.M.c", DELETE),
        (5, "$KV.M.d", ""),
        (6, "$KV.M.d", ""),
        // Deleted altogether: the index lists no such subject.
        (7, "$KV.M.e", ""),
        (8, "elsewhere", ""),
        (9, "$KV.M.g", MARKER),
        (10, "$KV.M.f", ""),
        (11, "$KV.M.a", ""),
        (12, "$KV.M.b", ""),
        (13, "$KV.M.c", ""),
        (14, "$KV.M.d", ""),
        (15, "elsewhere", ""),
        (16, "$KV.M.g", ""),
        (17, "$KV.M.h", ""),
    ],
    removed: &[1, 2, 3, 4, 5, 6, 7, 8, 9],
};

fn bucket(dir: &Path, made: &Bucket) -> StreamDir {
    let name = made.name.as_bytes();
    let writer = StoreWriter::create(&OsFileSystem, dir, name, b"A", Sealing::Plain, &OsEntropy)
        .expect("a store");
    let json = format!(
        "{{\"name\":\"{}\",\"subjects\":[\"$KV.M.>\",\"elsewhere\"],\"retention\":\"limits\",\"max_consumers\":-1,\
         \"max_msgs\":-1,\"max_bytes\":-1,\"discard\":\"new\",\"max_msgs_per_subject\":1,\
         \"storage\":\"file\",\"num_replicas\":1,\"Created\":\"2026-01-02T03:04:05.678Z\"{}}}",
        made.name, made.config
    );
    writer.meta(json.as_bytes()).expect("metadata");
    let mut hash = [0; 8];
    for number in [1, 2] {
        let mut block = BlockBuilder::new(name, number);
        for (seq, subject, headers) in made.messages {
            if (*seq > 10) == (number == 2) {
                let record = NewRecord::Message {
                    sequence: *seq,
                    timestamp_ns: time(*seq),
                    subject: subject.as_bytes(),
                    headers: headers.as_bytes(),
                    body: b"a value of some length",
                };
                block.push(&record).expect("a record");
            }
        }
        hash = block.last_hash();
        writer
            .block(number, &mut block.into_content())
            .expect("a block");
    }
    writer.finish().expect("a durable store");
    let stream = StreamDir {
        account: Some("A".into()),
        name: made.name.into(),
        dir: dir.to_owned(),
    };
    fs::write(dir.join("msgs/index.db"), index_of(made, hash)).expect("an index");
    stream
}

fn index_of(made: &Bucket, last_record_hash: [u8; 8]) -> Vec<u8> {
    let removed: SeqSet = made.removed.iter().copied().collect();
    let live = made
        .messages
        .iter()
        .filter(|(seq, ..)| !removed.contains(*seq));
    let mut subjects = SubjectTable::new();
    for (seq, subject, _) in live.clone() {
        let block = 1 + u32::from(*seq > 10);
        subjects.push(SubjectEntry {
            subject: subject.as_bytes(),
            total: 1,
            first_block: block,
            last_block: block,
        });
    }
    let entry = |number: u32, first: u64, last: u64| {
        let deleted: SeqSet = removed
            .iter()
            .filter(|seq| (first..=last).contains(seq))
            .collect();
        BlockEntry {
            number,
            bytes: 600,
            first_sequence: first,
            first_time_ns: time(first),
            last_sequence: last,
            last_time_ns: time(last),
            deleted_count: deleted.len(),
            deleted,
            ..BlockEntry::default()
        }
    };
    let state = StateFile {
        version: STATE_VERSION,
        messages: live.count() as u64,
        bytes: 1200,
        first_sequence: 10,
        first_time_ns: time(10),
        last_sequence: 17,
        last_time_ns: time(17),
        subjects,
        // Behind its first sequence a block counts what it does not call deleted.
        blocks: vec![entry(1, 10, 10), entry(2, 11, 17)],
        last_block: 2,
        last_record_hash,
    };
    let mut file = state.encode(u64::MAX).expect("an index");
    let key = HashKey::for_stream(made.name.as_bytes());
    file.extend_from_slice(&key.hash64(&[&file]).to_le_bytes());
    file
}

/// Spoils the records of these sequences in the second block beyond mending.
fn spoil(stream: &StreamDir, seqs: &[u64]) {
    let path = stream.dir.join("msgs/2.blk");
    let mut bytes = fs::read(&path).expect("a block");
    for seq in seqs {
        let sequence = seq.to_le_bytes();
        let at = bytes
            .windows(8)
            .position(|window| window == sequence)
            .expect("the record")
            - 4;
        for byte in &mut bytes[at + RECORD_HEADER_LENGTH + 8..][..12] {
            *byte = !*byte;
        }
    }
    fs::write(path, bytes).expect("a damaged block");
}

#[test]
fn only_a_value_that_nothing_newer_speaks_against_comes_back() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let stream = bucket(&temp.path().join("KV_M"), &MADE);
    let options = options(None);
    let sound = salvaged(&stream, &options, Uncertain::Keep);
    assert_eq!(sound.seqs, [10, 11, 12, 13, 14, 15, 16, 17]);
    assert_eq!(old_values(&sound.report), 0);

    spoil(&stream, &[11, 13, 14, 15, 16]);
    let made = salvaged(&stream, &options, Uncertain::Keep);
    // Of `b` the new value is there, `c` and `g` were deleted last, `d` has an older one still, `e` is not listed, and what
    // lies elsewhere is no key.
    assert_eq!(made.seqs, [1, 6, 10, 12, 17]);
    let marks = [
        (1, "a, sequence 1".to_owned()),
        (6, "d, sequence 6".to_owned()),
    ];
    assert_eq!(made.marked(), marks);
    assert_eq!((made.served, old_values(&made.report)), (5, 2));
    let lost = made.report.stream.ledger.expect("an account").lost;
    assert_eq!(lost.iter().collect::<Vec<_>>(), [11, 13, 14, 15, 16]);
}

#[test]
fn a_stream_that_is_no_bucket_keeps_old_values_when_asked_to() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir = temp.path().join("PRICES");
    let stream = bucket(
        &dir,
        &Bucket {
            name: "PRICES",
            ..MADE
        },
    );
    spoil(&stream, &[11, 13, 14, 15, 16]);
    let mut options = options(None);
    let unasked = salvaged(&stream, &options, Uncertain::Keep);
    assert_eq!(unasked.seqs, [10, 12, 17]);
    options.kv_last = true;
    let asked = salvaged(&stream, &options, Uncertain::Keep);
    assert_eq!(asked.seqs, [1, 6, 8, 10, 12, 17]);
    assert_eq!(asked.marked()[2], (8, "elsewhere, sequence 8".to_owned()));

    let out = temp.path().join("out");
    let out = out.to_str().expect("text");
    let path = dir.to_str().expect("text");
    let (exit, text, _) = jetsam(&["salvage", path, "--kv-last", "--out", out]);
    assert_eq!(exit, 4, "{text}");
    assert!(text.contains("kv-old-value, 3 times"), "{text}");
    assert!(text.contains("3 old values of keys"), "{text}");
    let summary = fs::read_to_string(temp.path().join("out/summary.json")).expect("a summary");
    assert!(summary.contains("\"old_values\": 3"), "{summary}");
    let (_, json, _) = jetsam(&["check", path, "--kv-last", "--policy", "salvage", "--json"]);
    assert!(json.contains("\"old_values\":3"), "{json}");
}

#[test]
fn a_value_past_its_age_stays_away() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let stream = bucket(
        &temp.path().join("KV_M"),
        &Bucket {
            config: ",\"max_age\":1000000000",
            ..MADE
        },
    );
    spoil(&stream, &[11, 14]);
    let mut options = options(None);
    options.expire = true;
    // Sequences up to five are too old by one nanosecond and more.
    options.now_ns = time(5) + 1_000_000_000;
    let made = salvaged(&stream, &options, Uncertain::Keep);
    assert_eq!(made.marked(), [(6, "d, sequence 6".to_owned())]);
    assert_eq!(made.seqs, [6, 10, 12, 13, 15, 16, 17]);
}
