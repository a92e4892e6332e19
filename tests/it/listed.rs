//! A flipped subject length that turns one listed subject into another: no hash covers it, only the totals tell.

use std::fs;

use jetsam::block::builder::BlockBuilder;
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::record::{NewRecord, parse_at};
use jetsam::recovery::RecoverOptions;
use jetsam::stream::StreamDir;
use jetsam::stream::writer::{Sealing, StoreWriter};

use crate::recover::mend;
use crate::salvage::{into, save};
use crate::support::{everything, look};

const MESSAGES: u64 = 300;
const CONFIG: &[u8] =
    b"{\"name\":\"S\",\"subjects\":[\"s.>\"],\"retention\":\"limits\",\"max_consumers\":-1,\
    \"max_msgs\":-1,\"max_bytes\":-1,\"discard\":\"old\",\"max_age\":0,\"max_msgs_per_subject\":-1,\
    \"storage\":\"file\",\"num_replicas\":1,\"Created\":\"2026-01-02T03:04:05.678Z\"}";

/// Bodies begin with any digit but the one that ends a subject: they say nothing of where a subject ends, and no message
/// but a damaged one could be of the other subject.
fn content() -> Vec<u8> {
    let mut block = BlockBuilder::new(b"S", 1);
    for sequence in 1..=MESSAGES {
        let subject: &[u8] = if sequence % 2 == 0 { b"s.12" } else { b"s.123" };
        let body = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string();
        let body = body.replace('3', "7");
        let record = NewRecord::Message {
            sequence,
            timestamp_ns: 1_767_323_045_000_000_000 + sequence as i64,
            subject,
            headers: b"",
            body: body.as_bytes(),
        };
        block.push(&record).expect("a record");
    }
    block.into_content()
}

#[test]
fn a_length_between_two_listed_subjects_is_set_right_by_their_totals() {
    let place = tempfile::tempdir().expect("a directory");
    let dir = place.path().join("S");
    let writer = StoreWriter::create(&OsFileSystem, &dir, b"S", b"A", Sealing::Plain, &OsEntropy)
        .expect("a store");
    writer.meta(CONFIG).expect("metadata");
    writer.block(1, &mut content()).expect("a block");
    writer.finish().expect("a durable store");
    let stream = StreamDir {
        account: Some("A".into()),
        name: "S".into(),
        dir: dir.clone(),
    };
    let mut options = everything(0);
    options.expire = false;
    let what = RecoverOptions {
        accept_loss: false,
        accept_expiry: true,
        undo: false,
    };
    mend(&stream, &options, &what);
    let whole = look(&stream, &options);
    assert!(whole.digest.is_some());

    let path = dir.join("msgs/1.blk");
    let undamaged = fs::read(&path).expect("a block");
    let (mut offset, mut flips) = (0, 0);
    while let Ok(record) = parse_at(&undamaged, offset) {
        if record.subject_length() == 5 && record.sequence() % 30 == 1 {
            let mut damaged = undamaged.clone();
            damaged[offset + 20] ^= 1;
            fs::write(&path, &damaged).expect("a damaged block");
            let out = place.path().join(format!("out-{offset}"));
            let saved = save(&stream, &options, &into(&out)).expect("salvage");
            let totals = saved.stream.salvage.as_ref().expect("totals");
            assert_eq!((totals.recovered, totals.repaired), (MESSAGES, 1));
            assert_eq!(saved.stream.digest, whole.digest, "record at {offset}");
            flips += 1;
        }
        offset = record.end_offset();
    }
    assert_eq!(flips, 10);
}

/// Found by a store with thousands of subjects: a few lengths flipped alike made a short subject that looked usual, and
/// every sound message with a subject of its own was "mended" to it.
#[test]
fn a_subject_that_flips_made_draws_no_others_to_itself() {
    const FLIPPED: [u64; 6] = [20, 60, 100, 140, 180, 220];
    let config = String::from_utf8_lossy(CONFIG).replace("s.>", ">");
    let place = tempfile::tempdir().expect("a directory");
    let dir = place.path().join("S");
    let writer = StoreWriter::create(&OsFileSystem, &dir, b"S", b"A", Sealing::Plain, &OsEntropy)
        .expect("a store");
    writer.meta(config.as_bytes()).expect("metadata");
    let mut block = BlockBuilder::new(b"S", 1);
    let mut flipped = Vec::new();
    for sequence in 1..=MESSAGES {
        let subject = format!("s.key{:04}", sequence * 7);
        let record = NewRecord::Message {
            sequence,
            timestamp_ns: 1_767_323_045_000_000_000 + sequence as i64,
            subject: subject.as_bytes(),
            headers: b"",
            body: b"{\"a\":1}",
        };
        let start = block.content().len();
        block.push(&record).expect("a record");
        if FLIPPED.contains(&sequence) {
            flipped.push(start + 20);
        }
    }
    let mut content = block.into_content();
    // From nine bytes to one: `s`.
    flipped.into_iter().for_each(|at| content[at] ^= 8);
    writer.block(1, &mut content).expect("a block");
    writer.finish().expect("a durable store");
    let stream = StreamDir {
        account: Some("A".into()),
        name: "S".into(),
        dir,
    };
    let mut options = everything(0);
    options.expire = false;
    let saved = save(&stream, &options, &into(&place.path().join("out"))).expect("salvage");
    let totals = saved.stream.salvage.as_ref().expect("totals");
    assert_eq!(totals.recovered, MESSAGES);
    let subjects = saved.stream.subjects.as_ref().expect("asked for");
    for sequence in (1..=MESSAGES).filter(|sequence| !FLIPPED.contains(sequence)) {
        let subject = format!("s.key{:04}", sequence * 7);
        assert_eq!(subjects.get(subject.as_bytes()), Some(&1), "{subject}");
    }
}
