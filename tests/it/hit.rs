//! Which subjects, keys and files the lost messages of a stream were.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use jetsam::block::builder::BlockBuilder;
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::record::NewRecord;
use jetsam::recovery::RecoverOptions;
use jetsam::report::{Ledger, Watch};
use jetsam::salvage::hit::{Hit, Struck, hits};
use jetsam::stream::StreamDir;
use jetsam::stream::writer::{Sealing, StoreWriter};

use crate::made;
use crate::recover::mend;

/// A stream of one block with an index of its own.
fn store(dir: &Path, name: &str, messages: &[(&str, Vec<u8>)]) -> StreamDir {
    let (label, account) = (name.as_bytes(), b"A");
    let writer = StoreWriter::create(
        &OsFileSystem,
        dir,
        label,
        account,
        Sealing::Plain,
        &OsEntropy,
    )
    .expect("a store");
    let json = format!(
        "{{\"name\":\"{name}\",\"subjects\":[\"$O.b.C.>\",\"$O.b.M.>\",\"$KV.b.>\"],\"retention\":\"limits\",\
         \"max_consumers\":-1,\"max_msgs\":-1,\"max_bytes\":-1,\"discard\":\"old\",\"max_age\":0,\
         \"max_msgs_per_subject\":-1,\"storage\":\"file\",\"num_replicas\":1,\"Created\":\"2026-01-02T03:04:05.678Z\"}}"
    );
    writer.meta(json.as_bytes()).expect("metadata");
    let mut block = BlockBuilder::new(label, 1);
    for (at, (subject, body)) in messages.iter().enumerate() {
        let sequence = at as u64 + 1;
        let record = NewRecord::Message {
            sequence,
            timestamp_ns: made::time(sequence),
            subject: subject.as_bytes(),
            headers: b"",
            body,
        };
        block.push(&record).expect("a record");
    }
    writer.block(1, &mut block.into_content()).expect("a block");
    writer.finish().expect("a durable store");
    let stream = StreamDir {
        account: Some("A".into()),
        name: name.into(),
        dir: dir.to_owned(),
    };
    let what = RecoverOptions {
        undo: false,
        ..RecoverOptions::default()
    };
    mend(&stream, &made::options(None), &what);
    stream
}

fn told(stream: &StreamDir) -> Vec<Hit> {
    let ledger = Ledger {
        lost: [1].into_iter().collect(),
        ..Ledger::default()
    };
    let watch = Watch {
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    hits(&OsFileSystem, stream, &made::options(None), &ledger, &watch)
}

/// A file of 40 chunks, and another of one.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut messages = vec![("$O.b.C.N1", vec![7; 100]); 40];
    let description = br#"{"name":"big.bin","bucket":"b","nuid":"N1","size":4000,"chunks":40}"#;
    // The names of files are in base64 in the subjects of their descriptions.
    messages.push(("$O.b.M.YmlnLmJpbg==", description.to_vec()));
    messages.push(("$O.b.C.N2", vec![8; 100]));
    let description = br#"{"name":"small.txt","bucket":"b","nuid":"N2","size":100,"chunks":1}"#;
    messages.push(("$O.b.M.c21hbGwudHh0", description.to_vec()));
    messages
}

/// Bytes of one chunk's record.
const CHUNK_RECORD: usize = 22 + "$O.b.C.N1".len() + 100 + 8;

#[test]
fn a_file_is_told_by_its_name_and_its_chunks() {
    let temp = tempfile::tempdir().expect("a directory");
    let stream = store(&temp.path().join("OBJ_b"), "OBJ_b", &files());
    assert_eq!(told(&stream), [], "nothing is missing yet");
    made::zero(
        &made::block(&stream, 1),
        CHUNK_RECORD * 10,
        CHUNK_RECORD * 3,
    );
    let want = Hit {
        struck: Struck::Object("big.bin".into()),
        lost: 3,
        of: 40,
    };
    assert_eq!(told(&stream), std::slice::from_ref(&want));
    // It needs no index for that.
    std::fs::remove_file(stream.dir.join("msgs/index.db")).expect("an index");
    assert_eq!(told(&stream), [want]);
}

#[test]
fn a_file_whose_description_is_lost_is_told_by_the_index() {
    let temp = tempfile::tempdir().expect("a directory");
    let stream = store(&temp.path().join("OBJ_b"), "OBJ_b", &files());
    made::zero(&made::block(&stream, 1), CHUNK_RECORD * 40, 30);
    let names: Vec<Struck> = told(&stream).into_iter().map(|hit| hit.struck).collect();
    assert_eq!(names, [Struck::Object("big.bin".into())]);
}

#[test]
fn keys_of_a_bucket_are_told_by_the_index() {
    let temp = tempfile::tempdir().expect("a directory");
    let values: Vec<(&str, Vec<u8>)> = ["red", "green", "red", "blue"]
        .iter()
        .map(|value| value.as_bytes().to_vec())
        .zip(["$KV.b.color", "$KV.b.shade", "$KV.b.color", "$KV.b.tint"])
        .map(|(value, subject)| (subject, value))
        .collect();
    let stream = store(&temp.path().join("KV_b"), "KV_b", &values);
    // The head of the first record, where no single flip helps.
    made::zero(&made::block(&stream, 1), 0, 22);
    let want = Hit {
        struck: Struck::Key(b"color".to_vec()),
        lost: 1,
        of: 2,
    };
    assert_eq!(told(&stream), [want]);
    std::fs::remove_file(stream.dir.join("msgs/index.db")).expect("an index");
    assert_eq!(told(&stream), [], "nothing tells then");
}

/// What a verb says was hit, in its document and in its text.
fn said(verb: &str, paths: &[&Path]) -> (serde_json::Value, String) {
    let ran = |more: &str| {
        let out = tempfile::tempdir().expect("a directory");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_jetsam"));
        command.arg(verb).args(paths).arg(more);
        if verb != "preflight" && verb != "check" {
            command.arg("--out").arg(out.path().join("new"));
        }
        let ran = command.output().expect("the command starts");
        String::from_utf8(ran.stdout).expect("text")
    };
    let document: serde_json::Value = serde_json::from_str(&ran("--json")).expect("a document");
    (document["streams"][0]["hit"].clone(), ran("--all"))
}

#[test]
fn every_verb_that_judges_tells_it_in_the_same_words() {
    let temp = tempfile::tempdir().expect("a directory");
    let stream = store(&temp.path().join("a/OBJ_b"), "OBJ_b", &files());
    let whole = temp.path().join("whole/OBJ_b");
    crate::support::copy_tree(&stream.dir, &whole);
    let zeroed = |dir: &Path, from: usize, count: usize| {
        let block = made::block(
            &StreamDir {
                dir: dir.to_owned(),
                ..stream.clone()
            },
            1,
        );
        made::zero(&block, CHUNK_RECORD * from, CHUNK_RECORD * count);
    };
    zeroed(&stream.dir, 10, 3);
    let want = serde_json::json!([{ "kind": "object", "name": "big.bin", "lost": 3, "of": 40 }]);
    let line = "      big.bin: 3 of 40 chunks\n";
    let (hits, text) = said("salvage", &[&stream.dir]);
    assert_eq!(hits, want);
    assert!(text.contains(line), "{text}");
    // A server loses what comes behind the damage too.
    let (hits, text) = said("check", &[&stream.dir]);
    assert_eq!(hits[0]["lost"], 30, "{hits}");
    assert!(text.contains("30 of 40 chunks"), "{text}");
    let (foretold, text) = said("preflight", &[&stream.dir]);
    assert_eq!(foretold, hits);
    assert!(text.contains("30 of 40 chunks"), "{text}");
    // A second copy has other gaps: lost is what is in neither.
    let other = temp.path().join("b/OBJ_b");
    crate::support::copy_tree(&whole, &other);
    zeroed(&other, 12, 5);
    let want = serde_json::json!([{ "kind": "object", "name": "big.bin", "lost": 1, "of": 40 }]);
    let (hits, text) = said("merge", &[&stream.dir, &other]);
    assert_eq!(hits, want);
    assert!(text.contains("      big.bin: 1 of 40 chunks\n"), "{text}");
    let (hits, _) = said("merge", &[&stream.dir, &whole]);
    assert!(hits.is_null(), "{hits}");
}
