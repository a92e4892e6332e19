//! Archives of messages.

use super::*;
use crate::format::archive::{EntryHead, MAGIC};
use crate::store::archive::entries::put;

/// Sequence, time, name, headers, body.
type Told<'a> = (u64, i64, &'a str, &'a [u8], &'a [u8]);

/// An archive of these entries.
fn of_entries(entries: &[Told<'_>]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut framed = FramedWriter::new(&mut archive);
    framed.write_all(MAGIC).unwrap();
    for (seq, time, name, headers, body) in entries {
        put(&mut framed, *seq, *time, [name.as_bytes(), headers, body]).unwrap();
    }
    framed.finish().unwrap();
    archive
}

type IsExpected = fn(&ArchiveFault) -> bool;

const END: Told<'_> = (0, 0, "", b"", b"");

fn state(messages: u64, first: u64, last: u64, consumers: u64) -> String {
    format!(
        r#"{{"messages":{messages},"bytes":1,"first_seq":{first},"last_seq":{last},"consumer_count":{consumers}}}"#
    )
}

/// Another name, other subjects, and a cipher of its own.
fn renamed(cipher: Option<Cipher>) -> StoreOptions {
    let json = r#"{"name":"COPY","subjects":["o.>","p"],"storage":"file","compression":"s2"}"#;
    options(json, cipher)
}

#[test]
fn messages_and_consumers_come_back_under_another_name() {
    for (cipher, other) in [
        (None, Some(Cipher::ChaCha)),
        (Some(Cipher::Aes), None),
        (Some(Cipher::ChaCha), Some(Cipher::Aes)),
    ] {
        let fs = MemoryFileSystem::new();
        let from = orders(cipher);
        let (store, mut writer) = open(&fs, &from);
        fill(&mut writer);
        let message = NewMessage {
            subject: b"o.h",
            headers: b"NATS/1.0\r\nA: b\r\n\r\n",
            body: b"",
        };
        assert_eq!(writer.append(&message, NOW_NS + 99).unwrap().seq, 61);
        writer.skip_many(None, 1000, NOW_NS + 99).unwrap();
        let config = ConsumerMeta::parse(CONSUMER).unwrap();
        let mut consumer =
            Consumer::open(&place(&fs, DIR, &from), "c", Some(&config), NOW_NS).unwrap();
        for (consumer_seq, stream, count) in [(1, 3, 1), (2, 4, 1), (3, 3, 2)] {
            let pair = SequencePair {
                consumer: consumer_seq,
                stream,
            };
            consumer.deliver(pair, count, NOW_NS).unwrap();
        }
        consumer.flush(Level::Written, NOW_NS).unwrap();
        let begun = writer.begin_snapshot(true, NOW_NS).unwrap();
        assert_eq!(begun.request()["config"]["name"], "ORDERS");
        assert_eq!(begun.request()["state"]["last_seq"], 1061);
        let before = messages(&store.reader());
        // What comes later is not in it.
        assert!(writer.remove(5).unwrap());
        let mut archive = Vec::new();
        begun.write_messages(&mut archive).unwrap();

        let elsewhere = MemoryFileSystem::new();
        let to = renamed(other);
        let restored = restore(&elsewhere, &archive, &to).unwrap();
        assert_eq!(messages(&restored.reader()), before);
        assert_eq!(restored.reader().summary().last.seq, 1061);
        assert_eq!(restored.config().name, "COPY");
        let found = restored.reader().get(61).unwrap();
        assert_eq!(found.headers(), message.headers);
        let place = ConsumerPlace {
            stream_name: b"COPY",
            ..place(&elsewhere, RESTORED, &to)
        };
        let again = Consumer::open(&place, "c", None, NOW_NS).unwrap();
        assert_eq!(again.state(), consumer.state());
        assert_eq!(again.state().redelivered.get(&3), Some(&1));
    }
}

#[test]
fn the_configuration_that_is_asked_for_holds_for_what_comes() {
    let state = state(4, 7, 12, 0);
    let archive = of_entries(&[
        (0, 0, "state.json", b"", state.as_bytes()),
        (8, NOW_NS - 5, "o.a", b"", b"eight"),
        (9, NOW_NS - 4, "o.b", b"", b"nine"),
        (10, NOW_NS - 3, "o.a", b"", b"ten"),
        (11, NOW_NS - 2, "o.a", b"", b"eleven"),
        END,
    ]);
    let limited = options(
        r#"{"name":"ORDERS","subjects":["o.>"],"storage":"file","max_msgs_per_subject":2}"#,
        None,
    );
    let restored = restore(&MemoryFileSystem::new(), &archive, &limited).unwrap();
    let found = messages(&restored.reader());
    let seqs: Vec<u64> = found.iter().map(|message| message.0).collect();
    assert_eq!(seqs, [9, 10, 11]);
    assert_eq!(restored.reader().summary().last.seq, 12);
    assert_eq!(restored.config().max_messages_per_subject, 2);

    // An emptied stream keeps its place.
    let state = self::state(0, 6, 5, 0);
    let archive = of_entries(&[(0, 0, "state.json", b"", state.as_bytes()), END]);
    let restored = restore(&MemoryFileSystem::new(), &archive, &orders(None)).unwrap();
    let summary = restored.reader().summary();
    let found = (summary.message_count, summary.first.seq, summary.last.seq);
    assert_eq!(found, (0, 6, 5));
}

#[test]
fn what_lacks_messages_wants_consent() {
    let state = state(3, 1, 3, 0);
    let archive = of_entries(&[
        (0, 0, "state.json", b"", state.as_bytes()),
        (1, NOW_NS, "o.a", b"", b"one"),
        (3, NOW_NS, "o.a", b"", b"three"),
        END,
    ]);
    assert_eq!(
        fault_of(&archive),
        ArchiveFault::Short { told: 3, found: 2 }
    );
    let mut accepting = orders(None);
    accepting.accept_loss = true;
    let restored = restore(&MemoryFileSystem::new(), &archive, &accepting).unwrap();
    assert_eq!(restored.reader().summary().message_count, 2);
}

#[test]
fn an_archive_of_messages_that_is_cut_anywhere_restores_nothing() {
    let state = state(2, 1, 2, 0);
    let whole = [
        (0, 0, "state.json", b"".as_slice(), state.as_bytes()),
        (1, NOW_NS, "o.a", b"", b"one"),
        (2, NOW_NS, "o.a", b"", b"two"),
        END,
    ];
    for end in 0..whole.len() {
        let fault = fault_of(&of_entries(&whole[..end]));
        // Without a single entry it does not say what it is.
        assert!(fault == ArchiveFault::Cut, "{end}: {fault}");
    }
    let archive = of_entries(&whole);
    for end in 0..archive.len() {
        let fault = fault_of(&archive[..end]);
        assert!(
            matches!(fault, ArchiveFault::Cut | ArchiveFault::Chunk { .. }),
            "{end}: {fault}"
        );
    }
    assert!(restore(&MemoryFileSystem::new(), &archive, &orders(None)).is_ok());
}

#[test]
fn entries_that_make_no_sense_are_refused() {
    let two = state(2, 1, 2, 0);
    let one_consumer = state(0, 1, 0, 1);
    let twice = state(0, 1, 0, 2);
    let state_entry = |json: &'static str| (0, 0, "state.json", b"".as_slice(), json.as_bytes());
    let two = (0, 0, "state.json", b"".as_slice(), two.as_bytes());
    let one_consumer = (0, 0, "state.json", b"".as_slice(), one_consumer.as_bytes());
    let twice = (0, 0, "state.json", b"".as_slice(), twice.as_bytes());
    let message = |seq: u64| (seq, NOW_NS, "o.a", b"".as_slice(), b"x".as_slice());
    let consumer = (
        0,
        0,
        "consumers/c",
        b"".as_slice(),
        br#"{"config":{"ack_policy":"explicit"},"state":{}}"#.as_slice(),
    );
    let meta = |fault: &ArchiveFault| matches!(fault, ArchiveFault::Meta { .. });
    let entry = |fault: &ArchiveFault| matches!(fault, ArchiveFault::Entry { .. });
    let order = |fault: &ArchiveFault| matches!(fault, ArchiveFault::Order { .. });
    let cases: Vec<(Vec<Told<'_>>, IsExpected)> = vec![
        (vec![END], meta),
        (vec![message(1), END], meta),
        (vec![state_entry("{"), END], meta),
        (vec![state_entry(r#"{"messages":-1}"#), END], meta),
        (
            vec![
                state_entry(r#"{"messages":3,"first_seq":1,"last_seq":2}"#),
                END,
            ],
            meta,
        ),
        (
            vec![
                state_entry(r#"{"messages":0,"first_seq":9,"last_seq":2}"#),
                END,
            ],
            meta,
        ),
        (vec![two, message(2), message(2), END], entry),
        (vec![two, message(2), message(1), END], entry),
        (vec![two, message(1), message(3), END], entry),
        (vec![two, consumer, END], entry),
        (vec![one_consumer, message(1), END], order),
        (vec![twice, consumer, consumer, END], order),
        (
            vec![one_consumer, (0, 0, "consumers/c", b"", b"{}"), END],
            meta,
        ),
    ];
    for (entries, is_expected) in cases {
        let fault = fault_of(&of_entries(&entries));
        assert!(is_expected(&fault), "{fault}");
    }
    let other = (0, 0, "consumers/../c", b"".as_slice(), consumer.4);
    let archive = of_entries(&[one_consumer, other, END]);
    let error = restore(&MemoryFileSystem::new(), &archive, &orders(None)).unwrap_err();
    assert!(matches!(error, RestoreError::Consumer(_)), "{error}");
    let timeless = (1, 0, "o.a", b"".as_slice(), b"x".as_slice());
    let archive = of_entries(&[two, timeless, END]);
    let error = restore(&MemoryFileSystem::new(), &archive, &orders(None)).unwrap_err();
    assert!(
        matches!(error, RestoreError::Message { seq: 1, .. }),
        "{error}"
    );
}

#[test]
fn an_entry_that_announces_more_than_there_may_be_takes_no_memory() {
    let announce = |head: EntryHead| {
        let mut archive = Vec::new();
        let mut framed = FramedWriter::new(&mut archive);
        framed.write_all(MAGIC).unwrap();
        let mut bytes = Vec::new();
        head.put(&mut bytes);
        framed.write_all(&bytes).unwrap();
        framed.finish().unwrap();
        archive
    };
    let long = EntryHead {
        seq: 1,
        ..EntryHead::default()
    };
    for head in [
        EntryHead {
            name_length: 1 << 60,
            ..long
        },
        EntryHead {
            body_length: 1 << 60,
            ..long
        },
        EntryHead {
            headers_length: u64::MAX,
            body_length: u64::MAX,
            ..long
        },
    ] {
        let fault = fault_of(&announce(head));
        assert!(matches!(fault, ArchiveFault::TooLong { .. }), "{fault}");
    }
    let name_length = 1000;
    assert_eq!(
        fault_of(&announce(EntryHead {
            name_length,
            ..long
        })),
        ArchiveFault::Cut
    );
    let mut archive = Vec::new();
    let mut framed = FramedWriter::new(&mut archive);
    framed.write_all(MAGIC).unwrap();
    framed.write_all(&[0xff; 60]).unwrap();
    framed.finish().unwrap();
    let fault = fault_of(&archive);
    assert!(
        matches!(fault, ArchiveFault::Entry { offset: 8, .. }),
        "{fault}"
    );
    let whole = of_entries(&[(0, 0, "state.json", b"", b"{}"), END]);
    let error = restore_up_to(&MemoryFileSystem::new(), &whole, 20, &orders(None));
    let fault = ArchiveFault::TooMuch { most: 20 };
    assert!(matches!(error, Err(RestoreError::Archive(found)) if found == fault));
}

#[test]
fn a_disk_that_fails_under_messages_leaves_nothing_under_the_name() {
    let fs = MemoryFileSystem::new();
    let (_store, mut writer) = open(&fs, &orders(None));
    fill(&mut writer);
    let begun = writer.begin_snapshot(false, NOW_NS).unwrap();
    let mut archive = Vec::new();
    begun.write_messages(&mut archive).unwrap();
    let failed = failures_told(&archive, 200);
    assert!(failed > 20, "only {failed} failures told");
}

/// Nothing but the frame around an archive has checksums: what is inside may be anything.
#[test]
fn whatever_is_inside_the_frame_is_restored_or_refused_and_leaves_nothing() {
    let fs = MemoryFileSystem::new();
    let from = orders(None);
    let (_store, mut writer) = open(&fs, &from);
    fill(&mut writer);
    let config = ConsumerMeta::parse(CONSUMER).unwrap();
    drop(Consumer::open(&place(&fs, DIR, &from), "c", Some(&config), NOW_NS).unwrap());
    let mut random = crate::testing::Random::new(12);
    let (mut restored, mut refused) = (0, 0);
    for version in 0..2 {
        let begun = writer.begin_snapshot(true, NOW_NS).unwrap();
        let mut archive = Vec::new();
        match version {
            0 => begun.write(&mut archive).unwrap(),
            _ => begun.write_messages(&mut archive).unwrap(),
        }
        let mut inside = Vec::new();
        let mut archive = archive.as_slice();
        let mut framed = FramedReader::new(&mut archive);
        std::io::Read::read_to_end(&mut framed, &mut inside).unwrap();
        for _ in 0..300 {
            let mut bytes = inside.clone();
            // Half of the changes where the documents and the first entries are.
            let most = if random.chance(50) {
                2000
            } else {
                bytes.len() as u64
            };
            let at = random.below(most.min(bytes.len() as u64)) as usize;
            match random.below(3) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = random.below(256) as u8,
                _ => drop(bytes.drain(at..bytes.len().min(at + 1 + random.below(9) as usize))),
            }
            let mut archive = Vec::new();
            let mut framed = FramedWriter::new(&mut archive);
            framed.write_all(&bytes).unwrap();
            framed.finish().unwrap();
            let elsewhere = MemoryFileSystem::new();
            match restore(&elsewhere, &archive, &from) {
                Ok(store) => {
                    restored += 1;
                    assert!(store.reader().summary().message_count <= 60);
                }
                Err(_) => {
                    refused += 1;
                    assert!(elsewhere.metadata(Path::new(RESTORED)).is_err());
                }
            }
        }
    }
    assert!(restored > 50 && refused > 100, "{restored} and {refused}");
}
