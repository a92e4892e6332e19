use std::sync::atomic::AtomicBool;

use super::*;
use crate::env::Operation;
use crate::env::memory::{Fault, MemoryFileSystem, SeededEntropy};
use crate::format::consumer::{ConsumerState, ConsumerVersion, SequencePair};
use crate::format::record::{NewRecord, encode_record};
use crate::recovery::examine;
use crate::report::Watch;
use crate::report::stream::{Outcome, StreamReport};
use crate::stream::StreamDir;
use crate::stream::options::Options;

const JSON: &[u8] = br#"{"Created":"2026-01-02T03:04:05.123456789Z","name":"S","subjects":["s.>"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msgs_per_subject":-1,"discard":"old","storage":"file","num_replicas":1}"#;

const CONSUMER: &[u8] = br#"{"Created":"2026-01-02T03:04:05Z","Name":"C","durable_name":"C","ack_policy":"explicit","deliver_policy":"all","replay_policy":"instant"}"#;

fn block(number: u32, sequences: std::ops::RangeInclusive<u64>) -> Vec<u8> {
    let key = HashKey::for_block(b"S", number);
    let mut bytes = Vec::new();
    for sequence in sequences {
        let record = NewRecord::Message {
            sequence,
            timestamp_ns: 1_700_000_000_000_000_000,
            subject: b"s.1",
            headers: b"",
            body: b"body",
        };
        encode_record(&mut bytes, &key, &record).unwrap();
    }
    bytes
}

fn state() -> Vec<u8> {
    let at = |consumer, stream| SequencePair { consumer, stream };
    let state = ConsumerState {
        ack_floor: at(2, 2),
        delivered: at(3, 3),
        ..ConsumerState::default()
    };
    state.encode(ConsumerVersion::V2, 1_700_000_000)
}

fn write(fs: &MemoryFileSystem, sealing: Sealing<'_>) -> Result<(), WriteError> {
    let entropy = SeededEntropy::new(3);
    let dir = Path::new("/out/A/streams/S");
    let writer = StoreWriter::create(fs, dir, b"S", b"A", sealing, &entropy)?;
    writer.meta(JSON)?;
    writer.block(1, &mut block(1, 1..=3))?;
    writer.block(4, &mut block(4, 4..=9))?;
    writer.consumer("C", CONSUMER, Some(&state()))?;
    writer.consumer("D", CONSUMER, Some(b""))?;
    writer.consumer("E", CONSUMER, None)?;
    writer.file("batches/x/note", b"kept")?;
    writer.finish()
}

fn look(fs: &MemoryFileSystem, dir: &str, options: &Options) -> StreamReport {
    let stream = StreamDir {
        account: Some("A".into()),
        name: "S".into(),
        dir: dir.into(),
    };
    let watch = Watch {
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    examine(fs, &stream, options, &watch)
}

fn options(key: Option<&ServerKey>, cipher: Option<Cipher>) -> Options {
    let mut options = Options::new(1_700_000_000_000_000_001);
    options.keys.current = key.cloned();
    options.keys.cipher = cipher;
    options
}

#[test]
fn what_is_written_opens_in_every_sealing() {
    let server = ServerKey::new(b"sekret".to_vec());
    for cipher in [None, Some(Cipher::ChaCha), Some(Cipher::Aes)] {
        let fs = MemoryFileSystem::new();
        let server = &server;
        let sealing = cipher.map_or(Sealing::Plain, |cipher| Sealing::Key { server, cipher });
        write(&fs, sealing).unwrap();
        let options = options(cipher.map(|_| server), cipher);
        let report = look(&fs, "/out/A/streams/S", &options);
        let found = report.state.as_ref().unwrap();
        assert_eq!((found.messages, found.first_seq, found.last_seq), (9, 1, 9));
        assert!(report.outcome <= Outcome::Recovered && !report.loses_messages);
        let consumers: Vec<_> = report
            .consumers
            .iter()
            .map(|one| (one.name.as_str(), one.outcome, one.delivered))
            .collect();
        assert_eq!(
            consumers,
            [
                ("C", "ok", (3, 3)),
                ("D", "ok", (0, 0)),
                ("E", "ok", (0, 0))
            ],
            "{cipher:?}"
        );
        let plain = fs.files().values().any(|bytes| bytes.starts_with(b"{\"Cr"));
        assert_eq!(plain, cipher.is_none());
    }
}

#[test]
fn no_two_assets_share_a_key_or_a_nonce() {
    let server = ServerKey::new(b"sekret".to_vec());
    let fs = MemoryFileSystem::new();
    let sealing = Sealing::Key {
        server: &server,
        cipher: Cipher::Aes,
    };
    write(&fs, sealing).unwrap();
    let nonces: BTreeSet<Vec<u8>> = fs
        .files()
        .into_iter()
        .filter(|(path, bytes)| {
            let name = path.file_name().unwrap();
            bytes.len() > 16
                && name != "meta.sum"
                && name != "note"
                && path.extension().is_none_or(|extension| extension != "blk")
        })
        .map(|(_, bytes)| bytes[..16].to_vec())
        .collect();
    // The stream, two blocks, three consumers: a key file each; four sealed metadata files and one state.
    assert_eq!(nonces.len(), 6 + 4 + 1);
}

#[test]
fn blocks_and_consumers_are_taken_over_byte_for_byte() {
    let server = ServerKey::new(b"sekret".to_vec());
    let sealing = Sealing::Key {
        server: &server,
        cipher: Cipher::ChaCha,
    };
    let fs = MemoryFileSystem::new();
    write(&fs, sealing).unwrap();
    let from = Path::new("/out/A/streams/S");
    let entropy = SeededEntropy::new(4);
    for (link, to) in [(false, "/copy"), (true, "/link")] {
        let to = Path::new(to);
        let writer = StoreWriter::create(&fs, to, b"S", b"A", sealing, &entropy).unwrap();
        writer.meta(JSON).unwrap();
        writer.copy_block(&from.join("msgs"), 1, link).unwrap();
        writer.copy_block(&from.join("msgs"), 4, link).unwrap();
        writer.consumer_verbatim(&from.join("obs/C"), "C").unwrap();
        writer.finish().unwrap();
        let files = fs.files();
        for file in ["msgs/1.blk", "msgs/1.key", "msgs/4.blk", "obs/C/o.dat"] {
            assert_eq!(files[&to.join(file)], files[&from.join(file)], "{file}");
        }
        let keys = options(Some(&server), Some(Cipher::ChaCha));
        let report = look(&fs, to.to_str().unwrap(), &keys);
        assert_eq!(report.state.unwrap().messages, 9);
    }
}

#[test]
fn everything_written_is_synced_before_finish_returns() {
    let fs = MemoryFileSystem::new();
    write(&fs, Sealing::Plain).unwrap();
    let calls = fs.calls();
    let of = |operation| {
        let paths = calls.iter().filter(move |call| call.operation == operation);
        paths.map(|call| call.path.clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(of(Operation::WriteInPlace), of(Operation::SyncFile));
    let synced = of(Operation::SyncDir);
    for dir in fs.dirs() {
        assert!(synced.contains(&dir), "{}", dir.display());
    }
    assert!(synced.contains(Path::new("/")));
}

#[test]
fn a_failure_anywhere_is_told_with_its_path() {
    let whole = MemoryFileSystem::new();
    write(&whole, Sealing::Plain).unwrap();
    for (number, call) in whole.calls().iter().enumerate() {
        let fs = MemoryFileSystem::new();
        fs.inject(Fault::FailCall {
            number,
            kind: std::io::ErrorKind::StorageFull,
            written: Some(1),
        });
        let error = write(&fs, Sealing::Plain).unwrap_err();
        assert_eq!(error.path(), call.path);
        assert!(matches!(error, WriteError::Io(_)));
    }
}

#[test]
fn nothing_is_written_outside_or_over_anything() {
    let fs = MemoryFileSystem::with_files([("/full/x", b"x")]);
    let entropy = SeededEntropy::new(1);
    let create =
        |dir: &str| StoreWriter::create(&fs, Path::new(dir), b"S", b"A", Sealing::Plain, &entropy);
    assert_eq!(
        create("/full").unwrap_err(),
        WriteError::NotEmpty("/full".into())
    );
    let writer = create("/new").unwrap();
    for name in ["", "../x", "/x", "a/../../x", "."] {
        let error = writer.file(name, b"").unwrap_err();
        assert!(matches!(error, WriteError::BadName { .. }), "{name:?}");
    }
    for name in ["", "..", "a/b", "a.b"] {
        let error = writer.consumer(name, b"{}", None).unwrap_err();
        assert!(matches!(error, WriteError::BadName { .. }), "{name:?}");
    }
    let server = ServerKey::new(b"k".to_vec());
    let sealing = Sealing::Key {
        server: &server,
        cipher: Cipher::ChaCha,
    };
    let sealed = StoreWriter::create(&fs, Path::new("/s"), b"S", b"A", sealing, &entropy).unwrap();
    assert!(matches!(
        sealed.index(b"state").unwrap_err(),
        WriteError::NoStreamKey(_)
    ));
}
