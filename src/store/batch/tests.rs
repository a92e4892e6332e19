use std::path::Path;
use std::sync::Arc;

use crate::crypto::{Cipher, ServerKey};
use crate::env::memory::{Fault, MemoryFileSystem, SeededEntropy, Unsynced};
use crate::format::meta::StreamMeta;
use crate::living::Idle;
use crate::store::{
    AppendError, Expected, Level, LimitKind, NewMessage, OpenError, RemoveError, Rollup, Store,
    StoreOptions, Writer, WriterFault,
};
use crate::stream::options::Keys;

const NOW_NS: i64 = 1_767_225_600_000_000_000;
const DIR: &str = "/d/S";

fn options(more: &str, cipher: Option<Cipher>) -> StoreOptions {
    let config = format!(r#"{{"name":"S","subjects":["s.>"],"storage":"file"{more}}}"#);
    StoreOptions {
        keys: Keys {
            current: cipher.map(|_| ServerKey::new(b"a key".to_vec())),
            previous: None,
            cipher,
        },
        threads: 1,
        ..StoreOptions::new(StreamMeta::parse(config.as_bytes()).unwrap(), NOW_NS)
    }
}

fn try_open(fs: &MemoryFileSystem, options: &StoreOptions) -> Result<(Store, Writer), OpenError> {
    let (fs, entropy) = (Arc::new(fs.clone()), Arc::new(SeededEntropy::new(1)));
    let store = Store::open(fs, entropy, &Idle::declared(), Path::new(DIR), options)?;
    let writer = store.writer().unwrap();
    Ok((store, writer))
}

/// What a power cut makes of a block need not look like the end of a write.
fn open_whatever(fs: &MemoryFileSystem, options: &StoreOptions) -> (Store, Writer) {
    let accept_loss = StoreOptions {
        accept_loss: true,
        ..options.clone()
    };
    try_open(fs, &accept_loss).unwrap()
}

fn message<'a>(subject: &'a [u8], body: &'a [u8]) -> NewMessage<'a> {
    NewMessage {
        subject,
        headers: b"",
        body,
    }
}

fn live(store: &Store) -> Vec<u64> {
    let reader = store.reader();
    let mut from = 0;
    std::iter::from_fn(|| {
        let found = reader.next(&[], from).ok()?;
        from = found.seq + 1;
        Some(found.seq)
    })
    .collect()
}

/// Two messages, synced; then a batch that takes the first and adds three.
fn lived(fs: &MemoryFileSystem, options: &StoreOptions, level: Level) -> Result<(), AppendError> {
    let Ok((_store, mut writer)) = try_open(fs, options) else {
        return Ok(());
    };
    writer.append(&message(b"s.a", b"first"), NOW_NS)?;
    writer.append(&message(b"s.b", b"second"), NOW_NS)?;
    writer.sync()?;
    writer.set_level(level);
    let mut batch = writer.batch(NOW_NS + 1)?;
    batch.remove(1).map_err(|error| match error {
        RemoveError::Fault(fault) => AppendError::Fault(fault),
        other => panic!("{other}"),
    })?;
    for body in [&[7; 300][..], b"", &[8; 40]] {
        batch.append(&message(b"s.c", body), Expected::default())?;
    }
    batch.commit()?;
    writer.sync()?;
    Ok(())
}

#[test]
fn a_batch_is_there_whole_or_not_at_all_however_the_end_comes() {
    for cipher in [None, Some(Cipher::ChaCha), Some(Cipher::Aes)] {
        for level in [Level::Buffered, Level::Synced] {
            let options = options("", cipher);
            let fs = MemoryFileSystem::new();
            lived(&fs, &options, level).unwrap();
            let call_count = fs.calls().len();
            let (mut without, mut with) = (0, 0);
            for number in 0..call_count {
                for written in [None, Some(340)] {
                    let fs = MemoryFileSystem::new();
                    fs.inject(Fault::Crash { number, written });
                    let ended = lived(&fs, &options, level);
                    assert!(matches!(
                        ended,
                        Ok(()) | Err(AppendError::Fault(WriterFault::Latched(_)))
                    ));
                    let torn = (0..4).map(|seed| Unsynced::Torn { seed });
                    for unsynced in [Unsynced::Kept, Unsynced::Dropped].into_iter().chain(torn) {
                        let image = fs.crash_image(unsynced);
                        let opened = match unsynced {
                            // Of what a kill leaves nobody was told that it is stored: nobody has to consent.
                            Unsynced::Kept => try_open(&image, &options).unwrap(),
                            _ => open_whatever(&image, &options),
                        };
                        let (store, _writer) = opened;
                        match live(&store).as_slice() {
                            [2, 3, 4, 5] => with += 1,
                            [] | [1] | [1, 2] => without += 1,
                            other => panic!("{level:?}, call {number}, {unsynced:?}: {other:?}"),
                        }
                    }
                }
            }
            assert!(with > 0 && without > 0, "{with} with, {without} without");
        }
    }
}

#[test]
fn what_is_ahead_counts_for_expectations_and_limits() {
    let fs = MemoryFileSystem::new();
    let options = options(r#","discard":"new","max_msgs":3"#, None);
    let (store, mut writer) = try_open(&fs, &options).unwrap();
    for subject in [b"s.a", b"s.b", b"s.a"] {
        writer.append(&message(subject, b""), NOW_NS).unwrap();
    }
    let mut batch = writer.batch(NOW_NS).unwrap();
    let full = batch.append(&message(b"s.c", b""), Expected::default());
    let limit = AppendError::Limit {
        kind: LimitKind::Messages,
        limit: 3,
        would_be: 4,
    };
    assert_eq!(full, Err(limit.clone()));
    assert!(batch.remove(3).unwrap());
    assert!(!batch.remove(3).unwrap(), "it goes already");
    let of_subject = |seq| Expected {
        last_subject_seq: Some(seq),
        ..Expected::default()
    };
    let stale = batch.append(&message(b"s.a", b""), of_subject(3));
    let differs = AppendError::LastSequence {
        expected: 3,
        found: 1,
    };
    assert_eq!(stale, Err(differs));
    assert_eq!(
        batch.append(&message(b"s.a", b""), of_subject(1)).unwrap(),
        4
    );
    assert_eq!(
        batch.append(&message(b"s.d", b""), Expected::default()),
        Err(limit)
    );
    assert!(batch.remove(2).unwrap());
    assert_eq!(
        batch.append(&message(b"s.a", b""), of_subject(4)).unwrap(),
        5
    );
    let own = batch.remove(4);
    assert!(
        matches!(
            own,
            Err(RemoveError::Beyond {
                seq: 4,
                last_seq: 3
            })
        ),
        "{own:?}"
    );
    assert_eq!(live(&store), [1, 2, 3], "nothing happened yet");
    let committed = batch.commit().unwrap();
    assert_eq!((committed.last_seq, committed.evicted_count), (5, 0));
    assert_eq!(live(&store), [1, 4, 5]);
    assert_eq!(store.reader().last(b"s.a").unwrap().seq, 5);
}

#[test]
fn a_batch_that_is_dropped_leaves_no_trace_and_one_too_large_is_refused_where_it_grows() {
    let fs = MemoryFileSystem::new();
    let (store, mut writer) = try_open(&fs, &options("", None)).unwrap();
    writer.append(&message(b"s.a", b""), NOW_NS).unwrap();
    let calls = fs.calls().len();
    let mut batch = writer.batch(NOW_NS).unwrap();
    let body = vec![1; 20 << 20];
    batch
        .append(&message(b"s.b", &body), Expected::default())
        .unwrap();
    let refused = batch.append(&message(b"s.b", &body), Expected::default());
    assert!(
        matches!(refused, Err(AppendError::TooLarge { .. })),
        "{refused:?}"
    );
    drop(batch);
    assert_eq!((live(&store), fs.calls().len()), (vec![1], calls));
    let nothing = writer.batch(NOW_NS).unwrap().commit().unwrap();
    assert_eq!((nothing.last_seq, fs.calls().len()), (1, calls));
}

#[test]
fn a_roll_up_takes_the_place_of_what_was_there_in_one_step() {
    for rollup in [Rollup::Subject, Rollup::All] {
        let options = options("", Some(Cipher::ChaCha));
        let rolled = |fs: &MemoryFileSystem| -> Result<(), AppendError> {
            let Ok((_store, mut writer)) = try_open(fs, &options) else {
                return Ok(());
            };
            let mut batch = writer.batch(NOW_NS)?;
            for _ in 0..4 {
                batch.append(&message(b"s.a", b"old"), Expected::default())?;
            }
            batch.append(&message(b"s.b", b"other"), Expected::default())?;
            batch.commit()?;
            writer.sync()?;
            let newest = message(b"s.a", b"new");
            let committed =
                writer.append_rolling_up(&newest, rollup, NOW_NS, Expected::default())?;
            assert_eq!(committed.last_seq, 6);
            writer.sync()?;
            Ok(())
        };
        let fs = MemoryFileSystem::new();
        rolled(&fs).unwrap();
        let after: &[u64] = match rollup {
            Rollup::Subject => &[5, 6],
            Rollup::All => &[6],
        };
        let mut seen = Vec::new();
        for number in 0..fs.calls().len() {
            let fs = MemoryFileSystem::new();
            fs.inject(Fault::Crash {
                number,
                written: Some(40),
            });
            let _ = rolled(&fs);
            for seed in 0..12 {
                let image = fs.crash_image(Unsynced::Torn { seed });
                let (store, _writer) = open_whatever(&image, &options);
                let found = live(&store);
                let known = [&[][..], &[1, 2, 3, 4, 5], after].contains(&found.as_slice());
                assert!(known, "{rollup:?}, call {number}: {found:?}");
                seen.push(found);
            }
        }
        assert!(seen.iter().any(|found| found == after));
        assert!(seen.iter().any(|found| found.len() == 5));
    }
}

#[test]
fn a_message_that_takes_the_place_of_all_is_held_against_limits_like_any_other() {
    let fs = MemoryFileSystem::new();
    let (store, mut writer) = try_open(&fs, &options(r#","max_bytes":100"#, None)).unwrap();
    writer.append(&message(b"s.a", b"small"), NOW_NS).unwrap();
    let large = message(b"s.a", &[7; 200]);
    for rollup in [Rollup::All, Rollup::Subject] {
        let rolled = writer.append_rolling_up(&large, rollup, NOW_NS, Expected::default());
        // It drives itself out, as the server has it.
        assert_eq!(rolled.unwrap().evicted_count, 1, "{rollup:?}");
        assert!(live(&store).is_empty());
    }
    assert_eq!(store.reader().summary().last.seq, 3);
}
