mod moving;
mod second;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use tar::{Builder, EntryType, Header};

use super::framing::{FramedReader, FramedWriter};
use super::*;
use crate::crypto::{Cipher, ServerKey};
use crate::env::memory::{Fault, MemoryFileSystem, SeededEntropy};
use crate::env::{FileSystem as _, ReadFiles as _};
use crate::format::consumer::SequencePair;
use crate::format::meta::{ConsumerMeta, StreamMeta};
use crate::format::names::META;
use crate::living::Idle;
use crate::report::stream::Source;
use crate::store::consumers::{Consumer, ConsumerPlace};
use crate::store::{Level, NewMessage, Reader, Store, StoreOptions, Writer};
use crate::stream::options::Keys;

const NOW_NS: i64 = 1_767_225_600_000_000_000;
const DIR: &str = "/data/ORDERS";
const RESTORED: &str = "/other/ORDERS";

fn options(json: &str, keys: Option<Cipher>) -> StoreOptions {
    let config = StreamMeta::parse(json.as_bytes()).unwrap();
    let mut options = StoreOptions::new(config, NOW_NS);
    options.account = Some(b"A".to_vec());
    options.block_size = Some(600);
    options.keys = Keys {
        current: keys.map(|_| ServerKey::new(b"server key".to_vec())),
        cipher: keys,
        ..Keys::default()
    };
    options
}

fn orders(keys: Option<Cipher>) -> StoreOptions {
    let json = r#"{"name":"ORDERS","subjects":["o.>"],"storage":"file","compression":"s2"}"#;
    options(json, keys)
}

fn open(fs: &MemoryFileSystem, options: &StoreOptions) -> (Store, Writer) {
    let (fs, entropy) = (Arc::new(fs.clone()), Arc::new(SeededEntropy::new(1)));
    let dir = Path::new(DIR);
    let store = Store::open(fs, entropy, &Idle::declared(), dir, options).unwrap();
    let writer = store.writer().unwrap();
    (store, writer)
}

fn fill(writer: &mut Writer) {
    for number in 0..60_i64 {
        let subject = format!("o.{}", number % 7);
        let body = format!("{number:0>40}");
        let message = NewMessage {
            subject: subject.as_bytes(),
            headers: b"",
            body: body.as_bytes(),
        };
        writer.append(&message, NOW_NS + number).unwrap();
    }
    for seq in [1, 2, 9, 30, 31, 32, 60] {
        assert!(writer.remove(seq).unwrap());
    }
}

fn place<'a>(fs: &MemoryFileSystem, dir: &'a str, options: &'a StoreOptions) -> ConsumerPlace<'a> {
    ConsumerPlace {
        fs: Arc::new(fs.clone()),
        entropy: Arc::new(SeededEntropy::new(2)),
        stream_dir: Path::new(dir),
        stream_name: b"ORDERS",
        keys: options.keys.ring(b"A"),
    }
}

fn archived(writer: &mut Writer, with_consumers: bool) -> Vec<u8> {
    let mut archive = Vec::new();
    writer
        .snapshot(&mut archive, with_consumers, NOW_NS)
        .unwrap();
    archive
}

fn restore(
    fs: &MemoryFileSystem,
    archive: &[u8],
    options: &StoreOptions,
) -> Result<Store, RestoreError> {
    restore_up_to(fs, archive, u64::MAX, options)
}

fn restore_up_to(
    fs: &MemoryFileSystem,
    mut archive: &[u8],
    most_bytes: u64,
    options: &StoreOptions,
) -> Result<Store, RestoreError> {
    let (fs, entropy) = (Arc::new(fs.clone()), Arc::new(SeededEntropy::new(3)));
    Store::restore(
        fs,
        entropy,
        &Idle::declared(),
        Path::new(RESTORED),
        &mut archive,
        most_bytes,
        options,
    )
}

fn fault_of(archive: &[u8]) -> ArchiveFault {
    let fs = MemoryFileSystem::new();
    let error = restore(&fs, archive, &orders(None)).unwrap_err();
    assert_eq!(fs.files().len(), 0, "something is left behind {error}");
    match error {
        RestoreError::Archive(fault) => fault,
        other => panic!("{other}"),
    }
}

fn messages(reader: &Reader) -> Vec<(u64, i64, Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Ok(one) = reader.next(&[], from) {
        from = one.seq + 1;
        let (subject, body) = (one.subject().to_vec(), one.body().to_vec());
        found.push((one.seq, one.timestamp_ns, subject, body));
    }
    found
}

/// An archive of files of these kinds, names and contents.
fn packed(files: &[(EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut tar = Builder::new(FramedWriter::new(&mut archive));
    for (kind, name, bytes) in files {
        let mut header = Header::new_ustar();
        header.set_entry_type(*kind);
        // Unlike the builder's own way this takes names that lead elsewhere.
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
    archive
}

const FILE: EntryType = EntryType::Regular;
const CONFIG: &[u8] = br#"{"name":"ORDERS","subjects":["o.>"],"storage":"file"}"#;
const CONSUMER: &[u8] = br#"{"name":"c","ack_policy":"explicit"}"#;

#[test]
fn what_is_archived_comes_back_plain_and_under_keys() {
    let ciphers = [None, Some(Cipher::ChaCha), Some(Cipher::Aes)];
    for (cipher, other) in ciphers.into_iter().zip([Some(Cipher::Aes), None, None]) {
        let fs = MemoryFileSystem::new();
        let from = orders(cipher);
        let (store, mut writer) = open(&fs, &from);
        writer.set_level(Level::Buffered);
        fill(&mut writer);
        let config = ConsumerMeta::parse(CONSUMER).unwrap();
        let mut consumer =
            Consumer::open(&place(&fs, DIR, &from), "c", Some(&config), NOW_NS).unwrap();
        let (pair, count) = (
            SequencePair {
                consumer: 1,
                stream: 3,
            },
            1,
        );
        consumer.deliver(pair, count, NOW_NS).unwrap();
        consumer.flush(Level::Written, NOW_NS).unwrap();
        let archive = archived(&mut writer, true);
        let expected = messages(&store.reader());
        assert_eq!(expected.len(), 53);
        let created = store.config().created;
        // What is done later is not in it.
        assert!(writer.remove(5).unwrap());

        let elsewhere = MemoryFileSystem::new();
        let to = orders(other);
        let restored = restore(&elsewhere, &archive, &to).unwrap();
        assert_eq!(restored.report().source, Some(Source::Index));
        assert_eq!(messages(&restored.reader()), expected);
        assert_eq!(restored.config().created, created);
        assert_eq!(restored.reader().summary().last.seq, 60);
        let consumer = Consumer::open(&place(&elsewhere, RESTORED, &to), "c", None, NOW_NS);
        assert_eq!(consumer.unwrap().state().delivered, pair);
        let shows = |file: &[u8]| file.windows(4).any(|part| part == b"0005");
        let shown = elsewhere.files().into_values().any(|file| shows(&file));
        assert_eq!(shown, other.is_none());
    }
}

#[test]
fn the_index_in_it_is_of_these_very_blocks() {
    let fs = MemoryFileSystem::new();
    let (_store, mut writer) = open(&fs, &orders(None));
    fill(&mut writer);
    let archive = archived(&mut writer, false);
    let restored = restore(&MemoryFileSystem::new(), &archive, &orders(None)).unwrap();
    let report = restored.report();
    assert_eq!(report.source, Some(Source::Index));
    assert!(report.events.is_empty(), "{:?}", report.events);
}

#[test]
fn an_empty_store_and_long_names_come_back() {
    let fs = MemoryFileSystem::new();
    let from = orders(None);
    let (_store, mut writer) = open(&fs, &from);
    let long = "x".repeat(240);
    let config = ConsumerMeta::parse(CONSUMER).unwrap();
    Consumer::open(&place(&fs, DIR, &from), &long, Some(&config), NOW_NS).unwrap();
    let archive = archived(&mut writer, true);
    let elsewhere = MemoryFileSystem::new();
    let restored = restore(&elsewhere, &archive, &from).unwrap();
    assert_eq!(restored.reader().summary(), _store.reader().summary());
    let consumer = Consumer::open(&place(&elsewhere, RESTORED, &from), &long, None, NOW_NS);
    assert!(!consumer.unwrap().has_state());
}

#[test]
fn damage_is_told_wherever_it_is() {
    let fs = MemoryFileSystem::new();
    let (store, mut writer) = open(&fs, &orders(None));
    fill(&mut writer);
    let archive = archived(&mut writer, false);
    let expected = messages(&store.reader());
    for end in (0..archive.len()).step_by(37) {
        let fault = fault_of(archive.get(..end).unwrap());
        assert!(
            matches!(fault, ArchiveFault::Cut | ArchiveFault::Meta { .. }),
            "{end}: {fault}"
        );
    }
    let mut refused_count = 0;
    for at in (0..archive.len()).step_by(41) {
        let mut flipped = archive.clone();
        if let Some(byte) = flipped.get_mut(at) {
            *byte ^= 0x10;
        }
        match restore(&MemoryFileSystem::new(), &flipped, &orders(None)) {
            // What is compressed may say the same in another way.
            Ok(store) => assert_eq!(messages(&store.reader()), expected),
            Err(RestoreError::Archive(ArchiveFault::Chunk { .. } | ArchiveFault::Cut)) => {
                refused_count += 1;
            }
            Err(error) => panic!("{at}: {error}"),
        }
    }
    assert!(refused_count > 20, "{refused_count}");
}

#[test]
fn an_archive_cut_between_two_files_is_cut() {
    let whole = packed(&[(FILE, META, CONFIG)]);
    let mut decoded = Vec::new();
    let mut input = whole.as_slice();
    std::io::Read::read_to_end(&mut FramedReader::new(&mut input), &mut decoded).unwrap();
    let without_end = decoded.get(..1024).unwrap();
    let mut cut = Vec::new();
    let mut framed = FramedWriter::new(&mut cut);
    framed.write_all(without_end).unwrap();
    framed.finish().unwrap();
    assert_eq!(fault_of(&cut), ArchiveFault::Cut);
    assert!(restore(&MemoryFileSystem::new(), &whole, &orders(None)).is_ok());
}

#[test]
fn names_that_lead_elsewhere_and_what_is_no_file_are_refused() {
    for name in [
        "../meta.inf",
        "/etc/passwd",
        "msgs/../../1.blk",
        "msgs/01.blk",
        "msgs/1.key",
        "obs/../meta.inf",
        "obs/./meta.inf",
        "obs/c/d/meta.inf",
        "obs/c/other",
        "msgs/thw.db",
        "",
    ] {
        let fault = fault_of(&packed(&[(FILE, META, CONFIG), (FILE, name, b"x")]));
        assert_eq!(
            fault,
            ArchiveFault::Name {
                name: name.to_owned()
            }
        );
    }
    for kind in [EntryType::Symlink, EntryType::Directory, EntryType::Link] {
        let fault = fault_of(&packed(&[(FILE, META, CONFIG), (kind, "msgs/1.blk", b"")]));
        assert!(matches!(fault, ArchiveFault::NotAFile { .. }), "{fault}");
    }
}

#[test]
fn files_out_of_their_order_are_refused() {
    let consumer = (FILE, "obs/c/meta.inf", CONSUMER);
    let cases: [&[(EntryType, &str, &[u8])]; 6] = [
        &[(FILE, META, CONFIG)],
        &[(FILE, "msgs/2.blk", b""), (FILE, "msgs/1.blk", b"")],
        &[(FILE, "msgs/1.blk", b""), (FILE, "msgs/1.blk", b"")],
        &[(FILE, "msgs/index.db", b""), (FILE, "msgs/index.db", b"")],
        &[consumer, (FILE, "obs/d/meta.inf", CONSUMER), consumer],
        &[(FILE, "obs/c/o.dat", b"")],
    ];
    for case in cases {
        let fault = fault_of(&packed(&[&[(FILE, META, CONFIG)], case].concat()));
        assert!(matches!(fault, ArchiveFault::Order { .. }), "{fault}");
    }
    for case in [&[][..], &[(FILE, "msgs/1.blk", b"".as_slice())]] {
        let fault = fault_of(&packed(case));
        assert!(matches!(fault, ArchiveFault::Meta { .. }), "{fault}");
    }
}

#[test]
fn what_announces_more_than_there_may_be_takes_no_memory() {
    let announce = |kind: EntryType, name: &str, length: u64| {
        let mut archive = Vec::new();
        let mut framed = FramedWriter::new(&mut archive);
        let mut header = Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(length);
        header.set_cksum();
        framed.write_all(header.as_bytes()).unwrap();
        framed.finish().unwrap();
        archive
    };
    for kind in [FILE, EntryType::XHeader, EntryType::GNULongName] {
        let fault = fault_of(&announce(kind, META, 1 << 40));
        assert!(matches!(fault, ArchiveFault::TooLong { .. }), "{fault}");
    }
    let fault = fault_of(&announce(FILE, META, u64::MAX));
    assert!(matches!(fault, ArchiveFault::Tar { .. }), "{fault}");
    assert_eq!(fault_of(&announce(FILE, META, 1000)), ArchiveFault::Cut);
    let whole = packed(&[(FILE, META, CONFIG)]);
    let error = restore_up_to(&MemoryFileSystem::new(), &whole, 1023, &orders(None));
    let fault = ArchiveFault::TooMuch { most: 1023 };
    assert!(matches!(error, Err(RestoreError::Archive(found)) if found == fault));
}

#[test]
fn other_archives_are_told_apart() {
    let failed = packed(&[(FILE, META, CONFIG), (FILE, "errors.txt", b"no space\n")]);
    let reason = "no space".to_owned();
    assert_eq!(fault_of(&failed), ArchiveFault::Incomplete { reason });
    let other = packed(&[(FILE, META, br#"{"name":"OTHER","storage":"file"}"#)]);
    let error = restore(&MemoryFileSystem::new(), &other, &orders(None)).unwrap_err();
    assert!(matches!(error, RestoreError::OtherStream { .. }), "{error}");
    let fault = fault_of(b"PK\x03\x04 not one at all, whatever its name");
    assert!(
        matches!(fault, ArchiveFault::Chunk { .. } | ArchiveFault::Cut),
        "{fault}"
    );
}

#[test]
fn a_directory_with_something_in_it_is_left_alone() {
    let fs = MemoryFileSystem::new();
    fs.seed_file(Path::new(RESTORED).join("mine"), b"text".to_vec());
    let whole = packed(&[(FILE, META, CONFIG)]);
    let error = restore(&fs, &whole, &orders(None)).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty(_)), "{error}");
    assert_eq!(fs.files().len(), 1);
}

#[test]
fn damaged_blocks_and_consumers_go_into_no_archive() {
    let fs = MemoryFileSystem::new();
    let (_store, mut writer) = open(&fs, &orders(None));
    fill(&mut writer);
    let block = Path::new(DIR).join("msgs/3.blk");
    let mut bytes = fs.read(&block, 1 << 20).unwrap();
    bytes
        .iter_mut()
        .skip(60)
        .take(1)
        .for_each(|byte| *byte ^= 1);
    fs.write_in_place(&block, &bytes).unwrap();
    let mut archive = Vec::new();
    let error = writer.snapshot(&mut archive, false, NOW_NS).unwrap_err();
    assert!(
        matches!(
            error,
            SnapshotError::Damaged { block: 3, .. } | SnapshotError::Read(_)
        ),
        "{error}"
    );
    assert_eq!(archive.len(), 0, "what failed may pass for an archive");
}

#[test]
fn a_failing_disk_leaves_nothing_under_the_name() {
    let fs = MemoryFileSystem::new();
    let (_store, mut writer) = open(&fs, &orders(None));
    fill(&mut writer);
    let archive = archived(&mut writer, false);
    assert!(failures_told(&archive, 40) > 5);
}

/// Restores an archive of what [`fill`] leaves, each time with another call to the disk that fails; how many failures were told. Nothing is
/// left under the name then.
fn failures_told(archive: &[u8], calls: usize) -> usize {
    let mut told = 0;
    for number in 0..calls {
        let elsewhere = MemoryFileSystem::new();
        elsewhere.inject(Fault::FailCall {
            number,
            kind: std::io::ErrorKind::StorageFull,
            written: None,
        });
        match restore(&elsewhere, archive, &orders(None)) {
            Ok(store) => assert_eq!(store.reader().summary().message_count, 53),
            Err(_) => {
                told += 1;
                assert!(elsewhere.metadata(Path::new(RESTORED)).is_err(), "{number}");
            }
        }
    }
    told
}
