//! Archives of a stream that goes on meanwhile.

use super::*;
use crate::store::{PurgeRequest, TidyBudget, WriterFault};

type Messages = Vec<(u64, i64, Vec<u8>, Vec<u8>)>;

/// What an archive holds, and by what its state was found.
fn unpacked(archive: &[u8]) -> (Messages, u64, Option<Source>) {
    let restored = restore(&MemoryFileSystem::new(), archive, &orders(None)).unwrap();
    let reader = restored.reader();
    let last_seq = reader.summary().last.seq;
    (messages(&reader), last_seq, restored.report().source)
}

type Change = fn(&mut Writer);

/// Ways in which files change under an archive.
const CHANGES: [(&str, Change); 10] = [
    ("appends", |writer| {
        fill_more(writer, 40);
    }),
    ("a removal", |writer| {
        assert!(writer.remove(3).unwrap());
    }),
    ("blocks without a message", |writer| {
        for seq in 10..=29 {
            writer.remove(seq).unwrap();
        }
    }),
    ("erasing", |writer| {
        for seq in [4, 33, 59] {
            assert!(writer.erase(seq).unwrap());
        }
    }),
    ("erasing in the last block, and appends", |writer| {
        fill_more(writer, 1);
        assert!(writer.erase(61).unwrap());
        fill_more(writer, 30);
    }),
    ("a purge of all, and appends", |writer| {
        assert_eq!(writer.purge(&PurgeRequest::default()).unwrap(), 53);
        fill_more(writer, 30);
    }),
    ("a purge of a subject", |writer| {
        let request = PurgeRequest {
            filter: b"o.3",
            ..PurgeRequest::default()
        };
        assert!(writer.purge(&request).unwrap() > 0);
    }),
    ("a compaction", |writer| {
        assert!(writer.compact(40).unwrap() > 0);
    }),
    (
        "a cut, and other messages under the same numbers",
        |writer| {
            assert!(writer.truncate(22).unwrap() > 0);
            fill_more(writer, 40);
        },
    ),
    ("tidying", |writer| {
        for seq in (5..50).filter(|seq| seq % 4 != 0) {
            writer.remove(seq).unwrap();
        }
        while writer.tidy(TidyBudget { block_count: 1 }).unwrap() {}
    }),
];

fn fill_more(writer: &mut Writer, count: usize) {
    for _ in 0..count {
        let message = NewMessage {
            subject: b"o.later",
            headers: b"",
            body: b"what came when the archive had been begun",
        };
        writer.append(&message, NOW_NS + 1000).unwrap();
    }
}

#[test]
fn an_archive_is_of_the_moment_in_which_it_was_begun() {
    for cipher in [None, Some(Cipher::ChaCha), Some(Cipher::Aes)] {
        for (name, change) in CHANGES {
            let fs = MemoryFileSystem::new();
            let (store, mut writer) = open(&fs, &orders(cipher));
            fill(&mut writer);
            let before = messages(&store.reader());
            let begun = writer.begin_snapshot(false, NOW_NS).unwrap();
            change(&mut writer);
            writer.sync().unwrap();
            let between = messages(&store.reader());
            assert_ne!(between, before, "{name}");
            let last_seq = store.reader().summary().last.seq;
            let second = writer.begin_snapshot(false, NOW_NS).unwrap();
            let rest = PurgeRequest::default();
            writer.purge(&rest).unwrap();

            let (mut first_archive, mut second_archive) = (Vec::new(), Vec::new());
            second.write(&mut second_archive).unwrap();
            begun.write(&mut first_archive).unwrap();
            let expected = (before, 60, Some(Source::Index));
            assert_eq!(unpacked(&first_archive), expected, "{name}, {cipher:?}");
            let expected = (between, last_seq, Some(Source::Index));
            assert_eq!(unpacked(&second_archive), expected, "{name}, {cipher:?}");
        }
    }
}

#[test]
fn an_archive_is_written_by_another_thread_while_the_stream_goes_on() {
    let fs = MemoryFileSystem::new();
    let (store, mut writer) = open(&fs, &orders(None));
    fill(&mut writer);
    let before = messages(&store.reader());
    let begun = writer.begin_snapshot(false, NOW_NS).unwrap();
    let archive = std::thread::scope(|scope| {
        let archiving = scope.spawn(move || {
            let mut archive = Vec::new();
            begun.write(&mut archive).map(|()| archive)
        });
        for (_, change) in &CHANGES[..4] {
            change(&mut writer);
        }
        archiving.join().unwrap().unwrap()
    });
    assert_eq!(unpacked(&archive).0, before);
    assert_ne!(messages(&store.reader()), before);
}

#[test]
fn an_archive_that_falls_too_far_behind_says_so_and_lets_go() {
    let fs = MemoryFileSystem::new();
    let mut options = orders(None);
    options.block_size = Some(100);
    let (store, mut writer) = open(&fs, &options);
    fill_more(&mut writer, 300);
    let mut archive = Vec::new();
    let begun = writer.begin_snapshot(false, NOW_NS).unwrap();
    let other = writer.begin_snapshot(false, NOW_NS).unwrap();
    drop(other);
    assert_eq!(writer.purge(&PurgeRequest::default()).unwrap(), 300);
    let error = begun.write(&mut archive).unwrap_err();
    assert!(
        matches!(error, SnapshotError::Overtaken { block: 257, .. }),
        "{error}"
    );
    assert_eq!(archive.len(), 0, "what failed may pass for an archive");
    assert!(!writer.is_archived());
    // The stream itself is none the worse for it.
    fill_more(&mut writer, 1);
    assert_eq!(store.reader().summary().last.seq, 301);
}

#[test]
fn an_archive_of_a_store_that_was_closed_is_none() {
    let fs = MemoryFileSystem::new();
    let (store, mut writer) = open(&fs, &orders(None));
    fill(&mut writer);
    let begun = writer.begin_snapshot(false, NOW_NS).unwrap();
    store.close(writer).unwrap();
    let mut archive = Vec::new();
    let error = begun.write(&mut archive).unwrap_err();
    assert_eq!(error, SnapshotError::Writer(WriterFault::Closed));
    assert_eq!(archive.len(), 0, "what failed may pass for an archive");
}
