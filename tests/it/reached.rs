//! Messages that verify, and that a server which believes its index does not come to.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use jetsam::block::builder::BlockBuilder;
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::record::NewRecord;
use jetsam::recovery::RecoverOptions;
use jetsam::report::ledger::stretches;
use jetsam::report::stream::Source;
use jetsam::report::{Ledger, Watch};
use jetsam::salvage::audit;
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;
use jetsam::stream::writer::{Sealing, StoreWriter};

use crate::recover::mend;
use crate::support::{everything, look};

const CONFIG: &[u8] =
    b"{\"name\":\"S\",\"subjects\":[\"s.>\"],\"retention\":\"limits\",\"max_consumers\":-1,\
    \"max_msgs\":-1,\"max_bytes\":-1,\"discard\":\"old\",\"max_age\":0,\"max_msgs_per_subject\":-1,\
    \"storage\":\"file\",\"num_replicas\":1,\"Created\":\"2026-01-02T03:04:05.678Z\"}";

fn message(number: u32, sequence: u64) -> Vec<u8> {
    let record = NewRecord::Message {
        sequence,
        timestamp_ns: 1_767_323_045_000_000_000 + sequence as i64,
        subject: b"s.a",
        headers: b"",
        body: b"body",
    };
    encoded(number, &record)
}

fn encoded(number: u32, record: &NewRecord<'_>) -> Vec<u8> {
    let mut block = BlockBuilder::new(b"S", number);
    block.push(record).expect("a record");
    block.into_content()
}

fn options() -> Options {
    let mut options = everything(0);
    options.expire = false;
    options
}

/// A store of these blocks with a fresh index.
fn store(place: &Path, blocks: &[&[u64]]) -> StreamDir {
    let dir = place.join("S");
    let writer = StoreWriter::create(&OsFileSystem, &dir, b"S", b"A", Sealing::Plain, &OsEntropy)
        .expect("a store");
    writer.meta(CONFIG).expect("metadata");
    for (number, seqs) in (1..).zip(blocks) {
        let mut content: Vec<u8> = seqs.iter().flat_map(|seq| message(number, *seq)).collect();
        writer.block(number, &mut content).expect("a block");
    }
    writer.finish().expect("a durable store");
    let stream = StreamDir {
        account: Some("A".into()),
        name: "S".into(),
        dir,
    };
    let what = RecoverOptions {
        undo: false,
        ..RecoverOptions::default()
    };
    mend(&stream, &options(), &what);
    stream
}

fn account_of(stream: &StreamDir) -> Ledger {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let report = audit::check(&OsFileSystem, stream, &options(), &watch);
    assert_eq!(report.source, Some(Source::Index));
    report.ledger.expect("an account")
}

/// Each block verifies by itself; but the first read of block 1 has it walked anew, and from then on it reaches up to 6.
#[test]
fn a_block_that_is_walked_anew_hides_messages_of_the_next() {
    let place = tempfile::tempdir().expect("a directory");
    let stream = store(place.path(), &[&[1, 2, 3], &[4, 5, 6, 7]]);
    assert!(look(&stream, &options()).unreadable.is_empty());
    let path = stream.dir.join("msgs/1.blk");
    let mut bytes = fs::read(&path).expect("a block");
    let erased = NewRecord::Erased {
        sequence: 6,
        noise: b"",
    };
    bytes.extend(encoded(1, &erased));
    fs::write(&path, bytes).expect("a longer block");
    assert_eq!(look(&stream, &options()).unreadable, [4, 5, 6]);
    assert_eq!(stretches(&account_of(&stream).endangered), [(4, 6)]);
}

/// The index is of message 1, and three were stored since; where the first and the last of them change places, the last record
/// on disk is that of the index.
#[test]
fn an_index_with_records_above_it_before_its_own_is_not_fresh() {
    let place = tempfile::tempdir().expect("a directory");
    let stream = store(place.path(), &[&[1]]);
    let bytes: Vec<u8> = [4, 2, 3, 1]
        .iter()
        .flat_map(|seq| message(1, *seq))
        .collect();
    fs::write(stream.dir.join("msgs/1.blk"), bytes).expect("a block");
    let ledger = account_of(&stream);
    assert_eq!(stretches(&ledger.live), [(1, 4)]);
    assert_eq!(stretches(&ledger.endangered), [(1, 4)]);
}
