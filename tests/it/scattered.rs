//! What opening a store reads how often: tombstones for messages all over the store read each block for all of them at once,
//! and damage is confirmed by a second reading.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use jetsam::block::builder::BlockBuilder;
use jetsam::env::OsEntropy;
use jetsam::env::memory::{Fault, MemoryFileSystem};
use jetsam::format::checksum::HashKey;
use jetsam::format::names::BlockFile;
use jetsam::format::record::{NewRecord, Run, Runs};
use jetsam::recovery::examine;
use jetsam::report::Watch;
use jetsam::report::events::EventCode;
use jetsam::report::stream::StreamReport;
use jetsam::stream::StreamDir;
use jetsam::stream::writer::{Sealing, StoreWriter};

use crate::support::everything;

const BLOCKS: u32 = 12;
const PER_BLOCK: u64 = 50;
const TIME_NS: i64 = 1_767_323_045_000_000_000;
const CONFIG: &[u8] =
    b"{\"name\":\"S\",\"subjects\":[\"s.>\"],\"retention\":\"limits\",\"max_consumers\":-1,\
    \"max_msgs\":-1,\"max_bytes\":-1,\"discard\":\"old\",\"max_age\":0,\"max_msgs_per_subject\":-1,\
    \"storage\":\"file\",\"num_replicas\":1,\"Created\":\"2026-01-02T03:04:05.678Z\"}";

/// Every third message is deleted, turn by turn from each block; the tombstones lie in a block behind them all.
fn deleted() -> Vec<u64> {
    let mut seqs = Vec::new();
    for at in (1..PER_BLOCK).step_by(3) {
        seqs.extend((0..u64::from(BLOCKS)).map(|block| block * PER_BLOCK + at + 1));
    }
    seqs
}

fn store(dir: &Path) -> MemoryFileSystem {
    let files = MemoryFileSystem::new();
    let writer =
        StoreWriter::create(&files, dir, b"S", b"A", Sealing::Plain, &OsEntropy).expect("a store");
    writer.meta(CONFIG).expect("metadata");
    for number in 1..=BLOCKS + 1 {
        let mut block = BlockBuilder::new(b"S", number);
        let mut add = |record: NewRecord<'_>| {
            block.push(&record).expect("a record");
        };
        if number <= BLOCKS {
            for at in 1..=PER_BLOCK {
                let sequence = u64::from(number - 1) * PER_BLOCK + at;
                add(NewRecord::Message {
                    sequence,
                    timestamp_ns: TIME_NS + sequence as i64,
                    subject: format!("s.{}", sequence % 7).as_bytes(),
                    headers: b"",
                    body: b"body",
                });
            }
        } else {
            for sequence in deleted() {
                add(NewRecord::Tombstone {
                    sequence,
                    timestamp_ns: TIME_NS + sequence as i64,
                });
            }
        }
        writer
            .block(number, &mut block.into_content())
            .expect("a block");
    }
    writer.finish().expect("a durable store");
    files
}

fn open(files: &MemoryFileSystem, dir: &Path) -> StreamReport {
    let stream = StreamDir {
        account: Some("A".into()),
        name: "S".into(),
        dir: dir.to_owned(),
    };
    let mut options = everything(0);
    options.expire = false;
    options.threads = 1;
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    examine(files, &stream, &options, &watch)
}

#[test]
fn scattered_tombstones_take_exactly_their_messages() {
    let dir = Path::new("/A/streams/S");
    let report = open(&store(dir), dir);
    let state = report.state.expect("a state");
    let gone: BTreeSet<u64> = deleted().into_iter().collect();
    assert_eq!(
        state.messages,
        u64::from(BLOCKS) * PER_BLOCK - gone.len() as u64
    );
    let listed: BTreeSet<u64> = state.deleted.expect("asked for").into_iter().collect();
    assert_eq!(listed, gone);
    let subjects = report.subjects.expect("asked for");
    let kept = |remainder: u64| {
        let all = 1..=u64::from(BLOCKS) * PER_BLOCK;
        all.filter(|seq| seq % 7 == remainder && !gone.contains(seq))
            .count() as u64
    };
    for remainder in 0..7 {
        assert_eq!(
            subjects.get(format!("s.{remainder}").as_bytes()),
            Some(&kept(remainder))
        );
    }
}

/// A block whose last record is damaged, and where that record begins.
fn damage_last_record(files: &MemoryFileSystem, dir: &Path) -> u64 {
    let path = dir.join("msgs/4.blk");
    let mut bytes = files.files().remove(&path).expect("a block");
    let last = bytes.len() - 3;
    bytes[last] ^= 16;
    let key = HashKey::for_block(b"S", 4);
    let (mut runs, mut run) = (Runs::new(&bytes, &key), Run::new());
    let mut found = None;
    while runs.next_run(&mut run) {
        found = run.fault.as_ref().map(|fault| fault.offset() as u64);
    }
    files.seed_file(&path, bytes);
    found.expect("a bad record")
}

#[test]
fn damage_that_a_second_reading_does_not_find_is_an_event_of_its_own() {
    let dir = Path::new("/A/streams/S");
    let files = store(dir);
    let offset = damage_last_record(&files, dir);
    let damaged = open(&files, dir);
    let codes = |report: &StreamReport, code| {
        let events = report.events.iter().filter(|event| event.code == code);
        events.map(|event| event.detail.clone()).collect::<Vec<_>>()
    };
    assert_eq!(codes(&damaged, EventCode::BlockBadRecord).len(), 1);
    assert_eq!(codes(&damaged, EventCode::BlockReadsDiffer).len(), 0);
    // From the third read of the file on the damage is gone: the mark and one window make the first reading.
    let files = files.fork();
    files.inject(Fault::Shrink {
        path: dir.join("msgs/4.blk"),
        after_reads: 2,
        length: offset,
    });
    let report = open(&files, dir);
    assert_eq!(codes(&report, EventCode::BlockBadRecord).len(), 0);
    assert_eq!(
        codes(&report, EventCode::BlockReadsDiffer),
        [format!("a bad record at offset {offset}, then no damage")]
    );
    assert_ne!(report.exit_code(), 0);
}

#[test]
fn a_block_is_not_read_again_for_each_of_its_tombstones() {
    let dir = Path::new("/A/streams/S");
    let files = store(dir);
    for number in 1..=BLOCKS {
        // A scan, the tombstones, and the look at what is readable: each in a read or two.
        files.inject(Fault::FailRead {
            path: dir.join(BlockFile::Block.path(number)),
            after_reads: 8,
            kind: ErrorKind::Other,
        });
    }
    let report = open(&files, dir);
    let applied = |code| report.events.iter().any(|event| event.code == code);
    assert!(applied(EventCode::TombstoneApplied), "{:?}", report.refusal);
    assert_eq!(report.refusal, None);
    assert!(report.unreadable.is_empty());
}
