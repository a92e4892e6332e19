//! Readers on threads of their own while the writer changes everything: what they find is always a message as it was stored, in order,
//! and of what belongs together all or nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jetsam::env::OsEntropy;
use jetsam::env::memory::MemoryFileSystem;
use jetsam::format::meta::StreamMeta;
use jetsam::living::Idle;
use jetsam::store::{
    Expected, NewMessage, PurgeRequest, ReadError, Reader, Store, StoreOptions, StoredMessage,
    TidyBudget, Writer,
};
use jetsam::testing::Random;

const NOW_NS: i64 = 1_767_225_600_000_000_000;
const STEPS: u64 = 6_000;

/// What a message of this sequence holds.
fn body_of(seq: u64) -> Vec<u8> {
    seq.to_le_bytes().repeat(1 + seq as usize % 7)
}

fn append(writer: &mut Writer, subject: &str, last_seq: &mut u64) {
    let message = NewMessage {
        subject: subject.as_bytes(),
        headers: b"",
        body: &body_of(*last_seq + 1),
    };
    let appended = writer.append(&message, NOW_NS).unwrap();
    assert_eq!(appended.seq, *last_seq + 1);
    *last_seq += 1;
}

/// Appends two messages that belong together, and takes the two before away in the same step.
fn exchange_pair(writer: &mut Writer, pair: &mut Option<u64>, last_seq: &mut u64) {
    let mut batch = writer.batch(NOW_NS).unwrap();
    if let Some(seq) = *pair {
        assert!(batch.remove(seq).unwrap() && batch.remove(seq + 1).unwrap());
    }
    for (subject, seq) in [(b"pair.a", *last_seq + 1), (b"pair.b", *last_seq + 2)] {
        let message = NewMessage {
            subject,
            headers: b"",
            body: &body_of(seq),
        };
        assert_eq!(batch.append(&message, Expected::default()), Ok(seq));
    }
    batch.commit().unwrap();
    *pair = Some(*last_seq + 1);
    *last_seq += 2;
}

fn write(mut writer: Writer) -> Writer {
    let mut random = Random::new(3);
    let (mut pair, mut last_seq) = (None, 0);
    for _ in 0..STEPS {
        let subject = format!("s.{}", random.below(9));
        match random.below(100) {
            0..60 => append(&mut writer, &subject, &mut last_seq),
            60..75 => exchange_pair(&mut writer, &mut pair, &mut last_seq),
            75..90 => {
                let seq = 1 + random.below(last_seq.max(1));
                let is_of_pair = pair.is_some_and(|pair| seq == pair || seq == pair + 1);
                if !is_of_pair {
                    let _ = writer.remove(seq);
                }
            }
            90..94 => {
                let request = PurgeRequest {
                    filter: subject.as_bytes(),
                    ..PurgeRequest::default()
                };
                writer.purge(&request).unwrap();
            }
            94..97 => {
                writer.tidy(TidyBudget { block_count: 3 }).unwrap();
            }
            97..99 => {
                writer.sync().unwrap();
            }
            _ => {
                let below = last_seq.saturating_sub(100).max(1);
                if pair.is_none_or(|pair| pair >= below) {
                    writer.compact(below).unwrap();
                }
            }
        }
    }
    writer
}

fn is_absence(error: &ReadError) -> bool {
    matches!(
        error,
        ReadError::NotFound | ReadError::Deleted { .. } | ReadError::Beyond { .. }
    )
}

fn check(found: Result<StoredMessage, ReadError>) -> Option<u64> {
    match found {
        Ok(message) => {
            assert_eq!(message.body(), body_of(message.seq), "{message:?}");
            Some(message.seq)
        }
        Err(error) => {
            assert!(is_absence(&error), "{error}");
            None
        }
    }
}

/// Looks at the store in every way until the writer is done; how many messages it read.
fn read(reader: &Reader, seed: u64, is_done: &AtomicBool) -> u64 {
    let mut random = Random::new(seed);
    let mut read = 0;
    while !is_done.load(Ordering::Relaxed) {
        let last_seq = reader.summary().last.seq;
        let seq = random.below(last_seq + 2);
        read += u64::from(check(reader.get(seq)).is_some());
        check(reader.last(b"s.3"));
        let filters: &[&[u8]] = match random.below(3) {
            0 => &[b"s.*"],
            1 => &[b"s.1", b"pair.a"],
            _ => &[b"s.5"],
        };
        let mut from = seq.saturating_sub(50);
        for _ in 0..40 {
            let Some(found) = check(reader.next(filters, from)) else {
                break;
            };
            assert!(found >= from, "{found} behind {from}");
            (read, from) = (read + 1, found + 1);
        }
        if let Some(found) = check(reader.previous(filters, seq)) {
            assert!(found <= seq);
        }
        let totals = reader.subject_totals(b"pair.*");
        let mut counts: Vec<u64> = totals.values().copied().collect();
        counts.dedup();
        assert!(matches!(counts.as_slice(), [] | [1]), "{totals:?}");
        reader.count(filters, 0).unwrap();
    }
    read
}

#[test]
fn readers_find_whole_messages_in_order_whatever_the_writer_does() {
    for compression in ["none", "s2"] {
        let config = format!(
            r#"{{"name":"S","subjects":["s.>","pair.>"],"storage":"file","compression":"{compression}"}}"#
        );
        let options = StoreOptions {
            block_size: Some(2_000),
            // Blocks come and go under the readers.
            cache_bytes: 12_000,
            ..StoreOptions::new(StreamMeta::parse(config.as_bytes()).unwrap(), NOW_NS)
        };
        let fs = Arc::new(MemoryFileSystem::new());
        let dir = Path::new("/d/S");
        let store = Store::open(fs, Arc::new(OsEntropy), &Idle::declared(), dir, &options).unwrap();
        let writer = store.writer().unwrap();
        let (is_done, read_count) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut writer = std::thread::scope(|scope| {
            for seed in 0..3 {
                let (reader, is_done, read_count) = (store.reader(), &is_done, &read_count);
                scope.spawn(move || {
                    read_count.fetch_add(read(&reader, seed, is_done), Ordering::Relaxed);
                });
            }
            let writing = scope.spawn(|| write(writer));
            let written = writing.join();
            is_done.store(true, Ordering::Relaxed);
            written.unwrap()
        });
        assert!(read_count.into_inner() > 1_000);
        let verified = writer.verify(NOW_NS, 2).unwrap();
        assert!(verified.is_sound(), "{:?}", verified.difference);
        store.close(writer).unwrap();
    }
}
