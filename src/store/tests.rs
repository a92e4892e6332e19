//! What the reference's store loses, revives or miscounts (numbers of the engine reference, section 7.3), and ours does not.

use std::path::Path;
use std::sync::Arc;

use super::{
    AppendError, Level, NewMessage, OpenError, PurgeRequest, ReadError, RemoveError, Store,
    StoreOptions, Writer,
};
use crate::env::memory::{Fault, MemoryFileSystem, SeededEntropy};
use crate::env::{FileSystem, ReadFiles};
use crate::format::limits::{RECORD_MAX_LENGTH, SEQUENCE_MAX};
use crate::format::meta::StreamMeta;
use crate::format::sources::SourcesFile;
use crate::format::timers::{ExpiryFile, ScheduleFile};
use crate::living::Idle;

pub(super) const NOW_NS: i64 = 1_767_225_600_000_000_000;
pub(super) const DIR: &str = "/d/S";

pub(super) fn options(more: &str, block_size: u64) -> StoreOptions {
    let config = format!(r#"{{"name":"S","subjects":["s.>"],"storage":"file"{more}}}"#);
    let config = StreamMeta::parse(config.as_bytes()).unwrap();
    StoreOptions {
        block_size: Some(block_size),
        threads: 1,
        ..StoreOptions::new(config, NOW_NS)
    }
}

pub(super) fn open(fs: &MemoryFileSystem, options: &StoreOptions) -> (Store, Writer) {
    let store = Store::open(
        Arc::new(fs.clone()),
        Arc::new(SeededEntropy::new(1)),
        &Idle::declared(),
        Path::new(DIR),
        options,
    )
    .unwrap();
    let writer = store.writer().unwrap();
    (store, writer)
}

/// What a killed process leaves, without the index.
pub(super) fn killed(fs: &MemoryFileSystem) -> MemoryFileSystem {
    let left = fs.fork();
    let lock = Path::new(DIR).join(crate::env::LOCK_FILE_NAME);
    let _ = left.remove_file(&lock);
    let _ = left.remove_file(&Path::new(DIR).join("msgs/index.db"));
    left
}

pub(super) fn message(subject: &str) -> NewMessage<'_> {
    NewMessage {
        subject: subject.as_bytes(),
        headers: b"",
        body: b"0123",
    }
}

pub(super) fn append(writer: &mut Writer, count: u64) {
    for nth in 0..count {
        writer.append(&message("s.a"), NOW_NS + nth as i64).unwrap();
    }
}

/// First, last, and how many.
pub(super) fn bounds(store: &Store) -> (u64, u64, u64) {
    let summary = store.reader().summary();
    (summary.first.seq, summary.last.seq, summary.message_count)
}

#[test]
fn l8_no_sequence_is_handed_out_twice() {
    let (fs, options) = (MemoryFileSystem::new(), options("", 64));
    let (store, mut writer) = open(&fs, &options);
    append(&mut writer, 10);
    for seq in (1..=10).rev() {
        assert!(writer.remove(seq).unwrap());
    }
    assert_eq!(bounds(&store), (11, 10, 0));
    let (store, mut writer) = open(&killed(&fs), &options);
    assert_eq!(bounds(&store), (11, 10, 0));
    assert_eq!(writer.append(&message("s.a"), NOW_NS).unwrap().seq, 11);
}

#[test]
fn l9_what_a_limit_took_stays_away_whatever_the_limit_is_then() {
    let fs = MemoryFileSystem::new();
    let (_store, mut writer) = open(&fs, &options(r#","max_msgs":3"#, 10_000));
    append(&mut writer, 5);
    writer.remove(4).unwrap();
    writer.update_config(&options("", 10_000).config).unwrap();
    let (store, _) = open(&killed(&fs), &options("", 10_000));
    assert_eq!(bounds(&store), (3, 5, 2));
}

#[test]
fn l13_to_l16_what_cannot_be_stored_is_refused_and_nothing_is_changed() {
    let fs = MemoryFileSystem::new();
    let (store, mut writer) = open(&fs, &options("", 10_000));
    append(&mut writer, 1);
    let body = vec![0; RECORD_MAX_LENGTH];
    let huge = NewMessage {
        body: &body,
        ..message("s.a")
    };
    let refused = writer.append(&huge, NOW_NS);
    assert!(matches!(refused, Err(AppendError::TooLarge { .. })));
    let refused = writer.append_at(&message("s.a"), None, 0);
    assert_eq!(refused, Err(AppendError::Time));
    let long = format!("s.{}", "x".repeat(70_000));
    for subject in [&long, "", "s..b", "s.*", "s.a b", ">"] {
        let refused = writer.append(&message(subject), NOW_NS);
        assert!(
            matches!(refused, Err(AppendError::Subject { .. })),
            "{subject:.9}"
        );
    }
    let refused = writer.skip_many(None, SEQUENCE_MAX, NOW_NS);
    assert_eq!(refused, Err(AppendError::Exhausted));
    assert_eq!(bounds(&store), (1, 1, 1));
    append(&mut writer, 1);
    assert_eq!(bounds(&store), (1, 2, 2));
}

#[test]
fn l17_an_erased_message_is_gone_from_the_file_or_still_there() {
    let options = options("", 10_000);
    let secret = NewMessage {
        body: b"the secret",
        ..message("s.a")
    };
    let holds_secret = |fs: &MemoryFileSystem| {
        let block = fs
            .read(&Path::new(DIR).join("msgs/1.blk"), 1 << 20)
            .unwrap();
        block.windows(10).any(|bytes| bytes == b"the secret")
    };
    for number in 0.. {
        let fs = MemoryFileSystem::new();
        let (store, mut writer) = open(&fs, &options);
        append(&mut writer, 2);
        writer.append(&secret, NOW_NS).unwrap();
        let done = fs.calls().len();
        fs.inject(Fault::Crash {
            number: done + number,
            written: None,
        });
        let erased = writer.erase(3);
        drop((store, writer));
        let (store, _) = open(&killed(&fs), &options);
        let is_there = store.reader().get(3).is_ok();
        assert_eq!(is_there, holds_secret(&fs), "call {number}");
        if erased.is_ok() {
            assert!(!is_there && number > 0);
            return;
        }
    }
}

#[test]
fn l18_nothing_is_cut_outside_the_stream() {
    let fs = MemoryFileSystem::new();
    let (store, mut writer) = open(&fs, &options("", 64));
    append(&mut writer, 10);
    writer.compact(5).unwrap();
    for seq in [0, 3, 4, 11] {
        let refused = writer.truncate(seq);
        assert!(matches!(refused, Err(RemoveError::Range { .. })), "{seq}");
    }
    assert_eq!(writer.truncate(7), Ok(3));
    assert_eq!(bounds(&store), (5, 7, 3));
    assert_eq!(writer.append(&message("s.a"), NOW_NS).unwrap().seq, 8);
    let (store, _) = open(&killed(&fs), &options("", 64));
    assert_eq!(bounds(&store), (5, 8, 4));
}

#[test]
fn l20_a_second_owner_is_kept_out_as_long_as_the_first_can_write() {
    let (fs, options) = (MemoryFileSystem::new(), options("", 64));
    let again = |fs: &MemoryFileSystem| {
        Store::open(
            Arc::new(fs.clone()),
            Arc::new(SeededEntropy::new(1)),
            &Idle::declared(),
            Path::new(DIR),
            &options,
        )
    };
    let (store, writer) = open(&fs, &options);
    assert!(matches!(again(&fs), Err(OpenError::Refused(_))));
    drop(store);
    assert!(matches!(again(&fs), Err(OpenError::Refused(_))));
    drop(writer);
    assert!(again(&fs).is_ok());
}

#[test]
fn l22_and_l24_a_failed_write_is_the_last_and_readers_go_on() {
    let (fs, options) = (MemoryFileSystem::new(), options("", 10_000));
    let (store, mut writer) = open(&fs, &options);
    writer.set_level(Level::Synced);
    append(&mut writer, 3);
    let watermark = writer.watermark();
    assert_eq!(watermark.synced_seq, 3);
    fs.inject(Fault::FailCall {
        number: fs.calls().len(),
        kind: std::io::ErrorKind::StorageFull,
        written: Some(7),
    });
    let failed = writer.append(&message("s.a"), NOW_NS);
    assert!(matches!(failed, Err(AppendError::Fault(_))), "{failed:?}");
    let first = writer.latched().cloned().unwrap();
    assert!(writer.remove(1).is_err() && writer.sync().is_err());
    assert_eq!(writer.latched(), Some(&first));
    assert_eq!(writer.watermark(), watermark);
    assert!(store.reader().get(3).is_ok());
    let (store, _) = open(&killed(&fs), &options);
    assert_eq!(bounds(&store), (1, 3, 3), "what was torn is not there");
}

#[test]
fn l29_a_removal_that_empties_a_block_of_tombstones_is_not_undone() {
    let fs = MemoryFileSystem::new();
    let options = options("", 110);
    let (store, mut writer) = open(&fs, &options);
    append(&mut writer, 3);
    writer.remove(2).unwrap();
    append(&mut writer, 2);
    writer.remove(3).unwrap();
    assert!(matches!(
        store.reader().get(3),
        Err(ReadError::Deleted { .. })
    ));
    let (store, _) = open(&killed(&fs), &options);
    assert_eq!(bounds(&store), (1, 5, 3));
    assert!(store.reader().get(2).is_err() && store.reader().get(3).is_err());
}

#[test]
fn l32_a_subject_whose_last_message_went_counts_by_the_one_before() {
    let fs = MemoryFileSystem::new();
    let (store, mut writer) = open(&fs, &options("", 100));
    for subject in ["s.a", "s.b", "s.b", "s.b", "s.a", "s.b"] {
        writer.append(&message(subject), NOW_NS).unwrap();
    }
    writer.remove(5).unwrap();
    let reader = store.reader();
    assert_eq!(reader.count_subjects(&[b"s.*"], 3).unwrap(), 1);
    assert_eq!(
        reader.last_of_each(&[b"s.*"], u64::MAX, None).unwrap(),
        [1, 6]
    );
}

fn append_with(writer: &mut Writer, headers: &[u8]) {
    let message = NewMessage {
        headers,
        ..message("s.a")
    };
    writer.append(&message, NOW_NS).unwrap();
}

fn read(fs: &MemoryFileSystem, name: &str) -> Vec<u8> {
    fs.read(&Path::new(DIR).join(name), 1 << 20).unwrap()
}

#[test]
fn the_files_of_timers_are_what_their_format_says_to_the_byte() {
    let fs = MemoryFileSystem::new();
    let more = r#","allow_msg_ttl":true,"allow_msg_schedules":true"#;
    let (store, mut writer) = open(&fs, &options(more, 10_000));
    append_with(&mut writer, b"NATS/1.0\r\nNats-TTL: 60\r\n\r\n");
    append_with(
        &mut writer,
        b"NATS/1.0\r\nNats-Schedule: @every 5s\r\nNats-Schedule-Target: s.t\r\n\r\n",
    );
    store.close(writer).unwrap();
    let expiries = read(&fs, "msgs/thw.db");
    let decoded = ExpiryFile::decode(&expiries).unwrap();
    assert_eq!((decoded.stamp, decoded.entries.len()), (3, 1));
    assert_eq!(decoded.encode(), expiries);
    let schedules = read(&fs, "msgs/sched.db");
    let decoded = ScheduleFile::decode(&schedules).unwrap();
    assert_eq!((decoded.stamp, decoded.entries.len()), (3, 1));
    assert_eq!(decoded.encode(), schedules);
}

#[test]
fn a_purge_keeps_how_far_sources_were_read_though_no_message_tells_it() {
    let fs = MemoryFileSystem::new();
    let options = options(r#","sources":[{"name":"O"}]"#, 10_000);
    let (_store, mut writer) = open(&fs, &options);
    append_with(
        &mut writer,
        b"NATS/1.0\r\nNats-Stream-Source: O 7 > >\r\n\r\n",
    );
    writer.purge(&PurgeRequest::default()).unwrap();
    let sources = read(&fs, "sources.db");
    let decoded = SourcesFile::decode(&sources).unwrap();
    assert_eq!(decoded.encode(), sources);
    let told: Vec<u64> = decoded
        .entries
        .values()
        .map(|entry| entry.sequence)
        .collect();
    assert_eq!((decoded.stamp, told), (2, vec![7]));
    let (store, _) = open(&killed(&fs), &options);
    let position = store.with_state(|state| {
        let sources = state.timers.sources().unwrap();
        sources
            .values()
            .map(|position| position.seq)
            .collect::<Vec<_>>()
    });
    assert_eq!(position, [7]);
}

/// Has every call of `change` to the disk fail in turn, and looks at the store that is left each time.
fn at_every_failure(
    make: impl Fn(&mut Writer),
    change: impl Fn(&mut Writer) -> bool,
    look: impl Fn(&Store),
) {
    let options = options("", 100);
    for number in 0.. {
        let fs = MemoryFileSystem::new();
        let (store, mut writer) = open(&fs, &options);
        make(&mut writer);
        fs.inject(Fault::FailCall {
            number: fs.calls().len() + number,
            kind: std::io::ErrorKind::StorageFull,
            written: None,
        });
        let is_done = change(&mut writer);
        assert_ne!(is_done, writer.latched().is_some(), "call {number}");
        look(&store);
        if is_done {
            assert!(number > 3, "only {number} calls");
            return;
        }
    }
}

/// How many messages there are, by counting and by reading.
fn counts(store: &Store) -> (u64, u64) {
    let reader = store.reader();
    let (mut read, mut from) = (0, 0);
    while let Ok(message) = reader.next(&[], from) {
        (read, from) = (read + 1, message.seq + 1);
    }
    assert_eq!(
        reader.next(&[], from).unwrap_err(),
        ReadError::Beyond {
            last_seq: reader.summary().last.seq
        }
    );
    (reader.summary().message_count, read)
}

#[test]
fn a_purge_that_fails_at_any_call_leaves_readers_at_work() {
    at_every_failure(
        |writer| append(writer, 10),
        |writer| writer.purge(&PurgeRequest::default()).is_ok(),
        |store| assert!([(10, 10), (0, 0)].contains(&counts(store))),
    );
}

#[test]
fn a_cut_that_fails_at_any_call_leaves_readers_at_work() {
    at_every_failure(
        |writer| append(writer, 10),
        |writer| writer.truncate(4).is_ok(),
        |store| {
            let (counted, read) = counts(store);
            assert_eq!(counted, read);
            assert_eq!(store.reader().subject_totals(b"s.a")[&b"s.a"[..]], read);
            assert!((4..=10).contains(&read));
        },
    );
}

#[test]
fn a_store_that_could_not_be_made_is_made_by_the_next_try() {
    let options = options("", 100);
    let try_open = |fs: &MemoryFileSystem| {
        Store::open(
            Arc::new(fs.clone()),
            Arc::new(SeededEntropy::new(1)),
            &Idle::declared(),
            Path::new(DIR),
            &options,
        )
    };
    for number in 0.. {
        let fs = MemoryFileSystem::new();
        fs.inject(Fault::FailCall {
            number,
            kind: std::io::ErrorKind::StorageFull,
            written: Some(3),
        });
        if try_open(&fs).is_ok() {
            assert!(number > 5, "only {number} calls");
            return;
        }
        assert!(try_open(&fs).is_ok(), "call {number}");
        // And where the power went in the same moment.
        for image in fs.crash_images(number as u64, 8) {
            assert!(try_open(&image).is_ok(), "call {number}");
        }
    }
}

/// An encrypted stream with blocks of two messages wrote tombstones from one block to the next without end.
#[test]
fn removing_comes_to_an_end_in_the_smallest_blocks() {
    for block_size in (31..=130).step_by(3) {
        for order in 0..24_u64 {
            let (mut left, mut draw) = (vec![1, 2, 3, 4], order);
            let fs = MemoryFileSystem::new();
            let options = options("", block_size);
            let (store, mut writer) = open(&fs, &options);
            append(&mut writer, 4);
            while !left.is_empty() {
                let count = left.len() as u64;
                let seq = left.remove((draw % count) as usize);
                draw /= count;
                assert!(writer.remove(seq).unwrap());
                assert_eq!(bounds(&store).2, left.len() as u64);
                let again = Store::open(
                    Arc::new(killed(&fs)),
                    Arc::new(SeededEntropy::new(1)),
                    &Idle::declared(),
                    Path::new(DIR),
                    &options,
                );
                assert_eq!(
                    bounds(&again.unwrap()),
                    bounds(&store),
                    "{block_size}, {order}"
                );
            }
            assert!(fs.files().len() < 12, "{:?}", fs.files().keys());
        }
    }
}

#[test]
fn a_disk_that_fills_up_still_takes_removals() {
    let (fs, options) = (MemoryFileSystem::new(), options("", 1 << 20));
    let options = StoreOptions {
        disk_margin_bytes: 64 * 1024,
        ..options
    };
    let (store, mut writer) = open(&fs, &options);
    fs.set_capacity(Some(3 << 20));
    let body = vec![7; 32 * 1024];
    let large = NewMessage {
        body: &body,
        ..message("s.a")
    };
    let refused = loop {
        match writer.append(&large, NOW_NS) {
            Ok(_) => {}
            Err(refused) => break refused,
        }
    };
    assert!(
        matches!(refused, AppendError::DiskFull { available_bytes, margin_bytes: 65_536 }
            if available_bytes < 65_536 + 33 * 1024),
        "{refused:?}"
    );
    let (_, last, count) = bounds(&store);
    assert!(count > 80, "{count}");
    let mut batch = writer.batch(NOW_NS).unwrap();
    let refused = batch.append(&large, super::Expected::default());
    assert!(
        matches!(refused, Err(AppendError::DiskFull { .. })),
        "{refused:?}"
    );
    drop(batch);
    for seq in 1..=last - 2 {
        assert!(writer.remove(seq).unwrap());
    }
    assert_eq!(
        writer.append(&large, NOW_NS).unwrap().seq,
        last + 1,
        "there is room again"
    );
}
