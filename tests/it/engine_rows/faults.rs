//! What the reference's store loses, revives, miscounts or never ends (the numbers of the engine reference, 7.3), and the engine does not.
//! Those not here stand in `src/store/tests.rs`.

use std::path::Path;
use std::sync::Arc;

use jetsam::crypto::{Cipher, KeyRing};
use jetsam::env::memory::{Fault, MemoryFileSystem, SeededEntropy, Unsynced};
use jetsam::format::consumer::{ConsumerState, SequencePair};
use jetsam::format::meta::ConsumerMeta;
use jetsam::living::Idle;
use jetsam::store::consumers::{Consumer, ConsumerPlace};
use jetsam::store::{Level, NewMessage, ReadError, RemoveError, Store, StoreOptions, Writer};

use super::bed::{Bed, DIR, SECOND_NS, Shape, bounds, config_of, downwards, every_shape, upwards};

/// Has a life end at every call of `change`, and looks at what a power cut leaves each time: everything, nothing of what was not
/// synced, and mixtures. `look` is told whether the change had been acknowledged.
fn at_every_end(
    shape: Shape,
    more: &str,
    level: Level,
    make: impl Fn(&mut Bed),
    change: impl Fn(&mut Writer) -> bool,
    look: impl Fn(&Store, bool),
) {
    for number in 0.. {
        let mut bed = Bed::new(shape, more, 4 * 44);
        bed.writer().set_level(level);
        make(&mut bed);
        let first = bed.fs.calls().len();
        bed.fs.inject(Fault::Crash {
            number: first + number,
            written: None,
        });
        let is_done = change(bed.writer());
        let mixtures = (0..6).map(|seed| Unsynced::Torn {
            seed: seed + number as u64 * 6,
        });
        for unsynced in [Unsynced::Kept, Unsynced::Dropped]
            .into_iter()
            .chain(mixtures)
        {
            let image = bed.fs.crash_image(unsynced);
            let options = StoreOptions {
                // Of what was not to survive a power cut, that may leave holes.
                accept_loss: level < Level::Synced,
                ..bed.options()
            };
            let store = bed
                .try_open_with(&image, &options)
                .unwrap_or_else(|error| panic!("call {number}, {unsynced:?}: {error}"));
            look(&store, is_done);
        }
        if is_done {
            assert!(number > 1, "only {number} calls");
            return;
        }
    }
}

#[test]
fn l2_what_was_closed_is_there_after_a_power_cut() {
    for shape in Shape::all() {
        for level in [Level::Buffered, Level::Written] {
            let mut bed = Bed::new(shape, "", 4 * 44);
            bed.writer().set_level(level);
            bed.puts("foo", 10);
            bed.remove([2, 10]);
            bed.reopen();
            for seed in 0..20 {
                let image = bed.fs.crash_image(Unsynced::Torn { seed });
                let store = bed.try_open(&image).unwrap();
                assert_eq!(upwards(&store.reader(), &[], 0), [1, 3, 4, 5, 6, 7, 8, 9]);
                assert_eq!(bounds(&store.reader()).1, 10);
            }
        }
    }
}

#[test]
fn l3_at_the_highest_level_the_name_of_a_block_is_durable_too() {
    for shape in Shape::all() {
        let mut bed = Bed::new(shape, "", 2 * 44);
        bed.writer().set_level(Level::Synced);
        for count in 1..=9 {
            bed.puts("foo", 1);
            let image = bed.fs.crash_image(Unsynced::Dropped);
            assert_eq!(
                bounds(&bed.try_open(&image).unwrap().reader()),
                (1, count, count)
            );
        }
    }
}

#[test]
fn l5_a_purge_is_whole_or_did_not_happen_and_what_was_answered_stays() {
    for shape in Shape::all() {
        at_every_end(
            shape,
            "",
            Level::Synced,
            |bed| bed.puts("foo", 10),
            |writer| writer.purge(&Default::default()).is_ok(),
            |store, is_done| {
                let found = bounds(&store.reader());
                assert!(
                    found == (11, 10, 0) || !is_done && found == (1, 10, 10),
                    "{found:?}"
                );
            },
        );
    }
}

#[test]
fn l6_a_block_written_anew_is_as_durable_as_the_one_before() {
    for shape in Shape::all() {
        at_every_end(
            shape,
            "",
            Level::Written,
            |bed| {
                bed.puts("foo", 10);
                bed.writer().sync().unwrap();
                bed.remove([1, 2, 4, 6, 7]);
            },
            |writer| writer.tidy(Default::default()).is_ok(),
            |store, is_done| {
                let seqs = upwards(&store.reader(), &[], 0);
                for seq in [3, 5, 8, 9, 10] {
                    assert!(seqs.contains(&seq), "{seq} is gone: {seqs:?}");
                }
                assert!(!is_done || seqs.len() == 5, "{seqs:?}");
            },
        );
    }
}

#[test]
fn l7_an_exchange_of_configurations_opens_wherever_it_ends() {
    let (old, new) = (r#","max_msgs":20"#, r#","max_msgs":5"#);
    for shape in Shape::all() {
        at_every_end(
            shape,
            old,
            Level::Synced,
            |bed| bed.puts("foo", 10),
            |writer| writer.update_config(&config_of(shape, new)).is_ok(),
            |store, is_done| {
                let (most, found) = (store.config().max_messages, bounds(&store.reader()));
                match most {
                    5 => assert_eq!(found, (6, 10, 5)),
                    20 => assert!(!is_done && found == (1, 10, 10), "{found:?}"),
                    other => panic!("{other}"),
                }
            },
        );
    }
}

fn consumer_place<'a>(fs: &MemoryFileSystem) -> ConsumerPlace<'a> {
    ConsumerPlace {
        fs: Arc::new(fs.clone()),
        entropy: Arc::new(SeededEntropy::new(1)),
        stream_dir: Path::new("/s"),
        stream_name: b"S",
        keys: KeyRing {
            current: None,
            previous: None,
            cipher: None,
            account: b"A",
        },
    }
}

/// In the reference a forced write that meets another one is dropped and not asked for again. One writer cannot meet another: what is
/// left is a write that fails at whatever call, and the next one makes up for it.
#[test]
fn l11_a_consumer_that_was_set_anew_is_what_the_next_write_says() {
    let config =
        ConsumerMeta::parse(br#"{"name":"c","durable_name":"c","ack_policy":"explicit"}"#).unwrap();
    let to = SequencePair {
        consumer: 500,
        stream: 500,
    };
    let forced = ConsumerState {
        delivered: to,
        ack_floor: to,
        ..ConsumerState::default()
    };
    let changes: [fn(&mut Consumer, &ConsumerState); 3] = [
        |consumer, _| consumer.set_starting(500).unwrap(),
        |consumer, _| consumer.reset(500).unwrap(),
        |consumer, forced| consumer.force_update(forced.clone()).unwrap(),
    ];
    for change in changes {
        for number in 0.. {
            let fs = MemoryFileSystem::new();
            fs.seed_dir("/s");
            let mut consumer = Consumer::open(&consumer_place(&fs), "c", Some(&config), 0).unwrap();
            for seq in 1..=208 {
                let at = SequencePair {
                    consumer: seq,
                    stream: seq,
                };
                consumer.deliver(at, 1, seq as i64 * SECOND_NS).unwrap();
            }
            let first = fs.calls().len();
            fs.inject(Fault::FailCall {
                number: first + number,
                kind: std::io::ErrorKind::Other,
                written: Some(3),
            });
            // A write under way, and the change in the midst of it.
            let begun = consumer.flush(Level::Synced, 0);
            change(&mut consumer, &forced);
            let expected = consumer.state().clone();
            assert_eq!(expected.delivered.stream, 500);
            let _ = consumer.flush(Level::Synced, 0);
            consumer.close(Level::Synced, 0).unwrap();
            let image = fs.crash_image(Unsynced::Dropped);
            let found = Consumer::open(&consumer_place(&image), "c", None, 0).unwrap();
            assert_eq!(found.state(), &expected, "call {number}");
            if begun.is_ok() && fs.calls().len() <= first + number {
                break;
            }
        }
    }
}

#[test]
fn l19_an_archive_is_of_one_moment_though_it_is_read_on_meanwhile() {
    struct Watched<'a> {
        bytes: Vec<u8>,
        reader: &'a jetsam::store::Reader,
        seen: Vec<(u64, u64, u64)>,
    }
    impl std::io::Write for Watched<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.seen.push(bounds(self.reader));
            self.bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for shape in Shape::all() {
        let mut bed = Bed::new(shape, "", 2000);
        for nth in 0..800 {
            bed.put("foo", format!("body {nth}"));
        }
        bed.remove((1..=800).step_by(9));
        let (reader, now_ns, promised) = (bed.reader(), bed.now_ns, bed.bounds());
        let mut out = Watched {
            bytes: Vec::new(),
            reader: &reader,
            seen: Vec::new(),
        };
        bed.writer().snapshot(&mut out, false, now_ns).unwrap();
        let (bytes, seen) = (out.bytes, out.seen);
        assert!(!seen.is_empty() && seen.iter().all(|seen| *seen == promised));
        let book = bed.book();
        bed.remove([2, 3]);
        bed.puts("foo", 600);
        let fs = MemoryFileSystem::new();
        let store = restore(&bed, &fs, &bytes);
        drop(store);
        let again = Bed::on(fs, shape, "", 2000);
        assert_eq!(again.book(), book);
        again.finish();
    }
}

fn restore(bed: &Bed, fs: &MemoryFileSystem, mut bytes: &[u8]) -> Store {
    fs.seed_dir("/data");
    Store::restore(
        Arc::new(fs.clone()),
        Arc::new(SeededEntropy::new(9)),
        &Idle::declared(),
        Path::new(DIR),
        &mut bytes,
        1 << 24,
        &bed.options(),
    )
    .unwrap()
}

#[test]
fn l30_a_compaction_behind_deletes_moves_the_first_and_what_is_below_is_found_no_more() {
    every_shape("", 8192, |bed| {
        bed.puts("foo", 5);
        bed.skip(1);
        bed.skip(1);
        assert_eq!(bed.compact(7), 5);
        assert_eq!(bed.bounds(), (8, 7, 0));
        bed.puts("foo", 1);
        let two: [&[u8]; 2] = [b"foo", b"bar"];
        assert_eq!(downwards(&bed.reader(), &two, 8), [8]);
        assert_eq!(
            bed.reader().previous(&two, 7).unwrap_err(),
            ReadError::Beyond { last_seq: 8 }
        );
    });
    every_shape("", 8192, |bed| {
        bed.puts("foo", 4);
        bed.remove([2, 4]);
        bed.compact(3);
        bed.compact(4);
        assert_eq!(bed.bounds(), (5, 4, 0));
        bed.reopen();
        assert!(bed.file("msgs/index.db").is_some());
        assert_eq!(bed.bounds(), (5, 4, 0));
    });
}

#[test]
fn l31_reading_brings_nothing_back() {
    every_shape("", 8192, |bed| {
        bed.puts("foo", 5);
        bed.remove([2]);
        bed.skip(1);
        bed.skip(1);
        bed.compact(7);
        bed.puts("foo", 1);
        assert_eq!(bed.bounds(), (8, 8, 1));
        // From the file, not from memory.
        for _ in 0..2 {
            bed.reopen();
            assert_eq!(bed.reader().get(8).unwrap().seq, 8);
            assert_eq!(bed.bounds(), (8, 8, 1));
            assert!(bed.reader().get(4).is_err());
        }
    });
}

#[test]
fn g1_tidying_keeps_the_evidence_of_a_blocks_removed_head() {
    every_shape("", 3 * 44, |bed| {
        bed.puts("foo", 9);
        // The heads of the first and of the second block, whose records stay.
        bed.remove([4, 1]);
        for _ in 0..3 {
            bed.tidy();
            bed.kill();
            assert_eq!((bed.seqs(), bed.bounds().0), (vec![2, 3, 5, 6, 7, 8, 9], 2));
        }
    });
}

#[test]
fn g2_an_archive_of_an_encrypted_stream_of_which_nothing_was_read_holds_its_messages() {
    for cipher in [Cipher::ChaCha, Cipher::Aes] {
        for compresses in [false, true] {
            let shape = Shape {
                cipher: Some(cipher),
                compresses,
            };
            let mut bed = Bed::new(shape, "", 4 * 44);
            bed.puts("foo", 30);
            bed.tidy();
            let book = bed.book();
            bed.reopen();
            let (mut bytes, now_ns) = (Vec::new(), bed.now_ns);
            bed.writer().snapshot(&mut bytes, false, now_ns).unwrap();
            let fs = MemoryFileSystem::new();
            drop(restore(&bed, &fs, &bytes));
            let again = Bed::on(fs, shape, "", 4 * 44);
            assert_eq!(again.book(), book);
        }
    }
}

#[test]
fn g3_a_message_in_the_way_of_a_limit_ends_the_call_and_not_the_store() {
    for more in [
        r#","max_msgs_per_subject":2"#,
        r#","max_msgs":2"#,
        r#","max_bytes":88"#,
    ] {
        let mut bed = Bed::new(Shape::PLAIN, more, 44);
        bed.puts("foo", 2);
        bed.reopen();
        // The oldest is damaged: what the limit wants gone cannot be read.
        let mut block = bed.block_files().remove(&1).unwrap();
        block[30] ^= 1;
        bed.fs.seed_file(format!("{DIR}/msgs/1.blk"), block);
        // The new one is stored, and the answer says so: who sent it must not send it again.
        let message = NewMessage {
            subject: b"foo",
            headers: b"",
            body: b"Hello World",
        };
        let now_ns = bed.now_ns;
        let appended = bed.writer().append_at(&message, None, now_ns).unwrap();
        assert_eq!(appended.seq, 3);
        match appended.not_evicted {
            // By subject the oldest that can be read goes.
            None => assert_eq!(
                (appended.evicted_count, more.contains("per_subject")),
                (1, true)
            ),
            Some(kept) => {
                assert!(matches!(kept, ReadError::Corrupt { seq: 1, .. }), "{kept}");
                assert_eq!(appended.evicted_count, 0);
            }
        }
        assert!(bed.writer().latched().is_none());
        let last = bed.bounds().1;
        assert_eq!(bed.reader().get(last).unwrap().body(), b"Hello World");
        // It can be cut away with everything else.
        assert!(bed.writer().purge(&Default::default()).is_ok());
        assert_eq!(bed.put("foo", "Hello World"), last + 1);
        bed.finish();
    }
}

#[test]
fn g4_nothing_plain_lies_behind_compressed_bytes_after_a_cut() {
    let shape = Shape {
        cipher: None,
        compresses: true,
    };
    for tidies in [false, true] {
        let mut bed = Bed::new(shape, "", 10 * 44);
        bed.puts("foo", 45);
        if tidies {
            bed.tidy();
        }
        bed.truncate(15);
        bed.tidy();
        bed.puts("foo", 3);
        bed.tidy();
        bed.kill();
        assert_eq!(bed.seqs(), (1..=18).collect::<Vec<_>>());
        bed.finish();
    }
}

#[test]
fn g5_what_was_removed_before_a_cut_stays_removed() {
    every_shape("", 3 * 44, |bed| {
        bed.puts("foo", 12);
        bed.remove([2, 4, 6]);
        bed.truncate(7);
        for _ in 0..2 {
            assert_eq!(bed.seqs(), [1, 3, 5, 7]);
            bed.kill();
        }
    });
}

#[test]
fn g6_the_time_to_live_of_a_message_that_was_cut_does_not_take_the_next_of_its_number() {
    every_shape(r#","allow_msg_ttl":true"#, 3 * 44, |bed| {
        bed.puts("foo", 3);
        bed.put_with("foo", "Nats-TTL: 5\r\n", "x");
        bed.puts("foo", 3);
        bed.truncate(3);
        bed.puts("foo", 1);
        bed.now_ns += 100 * SECOND_NS;
        let now_ns = bed.now_ns;
        assert_eq!(bed.writer().maintain(now_ns).unwrap().expired_count, 0);
        bed.reopen();
        assert_eq!(bed.writer().maintain(now_ns).unwrap().expired_count, 0);
        assert_eq!(bed.seqs(), [1, 2, 3, 4]);
    });
}

#[test]
fn g7_a_compaction_into_a_range_of_skips_moves_the_first_behind_it() {
    for block_size in [3 * 44, 8192] {
        every_shape("", block_size, |bed| {
            bed.puts("foo", 5);
            bed.skip(10);
            bed.puts("foo", 3);
            assert_eq!(bed.compact(8), 5);
            assert_eq!((bed.bounds(), bed.deleted()), ((16, 18, 3), vec![]));
            assert_eq!(bed.reader().count(&[b"foo"], 0), Ok(3));
            bed.puts("foo", 1);
            assert_eq!(bed.compact(17), 1);
            assert_eq!(bed.bounds(), (17, 19, 3));
        });
    }
}

#[test]
fn g8_ages_at_the_start_keep_count_and_the_last_time() {
    let more = r#","allow_msg_ttl":true,"max_age":1000000000"#;
    every_shape(more, 3 * 44, |bed| {
        bed.puts("foo", 7);
        bed.put_with("foo", "Nats-TTL: never\r\n", "x");
        let last_ns = bed.now_ns;
        // What never ends stays as long as the stream is open.
        bed.now_ns += 2 * SECOND_NS;
        let now_ns = bed.now_ns;
        assert_eq!(bed.writer().maintain(now_ns).unwrap().expired_count, 7);
        assert_eq!(bed.bounds(), (8, 8, 1));
        // A start takes it, as the server's does: here as there ages at a start look at no header. Counts and times are right.
        bed.reopen();
        assert_eq!((bed.bounds(), bed.bytes()), ((9, 8, 0), 0));
        assert_eq!(bed.reader().summary().last.timestamp_ns, last_ns);
        assert!(bed.reader().subject_totals(b">").is_empty());
    });
}

#[test]
fn g9_times_are_found_over_blocks_of_tombstones() {
    every_shape("", 2 * 44, |bed| {
        for _ in 0..12 {
            bed.puts("foo", 1);
        }
        let times: Vec<i64> = (1..=12)
            .map(|seq| bed.reader().get(seq).unwrap().timestamp_ns)
            .collect();
        bed.remove(3..=10);
        for (seq, time_ns) in (1..).zip(times) {
            let expected = if (3..=10).contains(&seq) { 11 } else { seq };
            assert_eq!(bed.reader().seq_at(time_ns), Ok(expected));
        }
    });
}

#[test]
fn g10_answers_are_of_what_lives() {
    every_shape("", 4 * 46, |bed| {
        for nth in 0..20 {
            bed.puts(["foo.a", "foo.b", "foo.c"][nth % 3], 1);
        }
        bed.remove([1, 4, 19, 20]);
        let found = bed.reader().subjects(b"foo.a").unwrap()[&b"foo.a"[..]];
        assert_eq!(
            (found.message_count, found.first_seq, found.last_seq),
            (4, 7, 16)
        );
        assert_eq!(bed.reader().count_subjects(&[b"foo.*"], 17), Ok(2));
        // The first time is that of the first message, after a compaction, too.
        bed.compact(8);
        let first = bed.reader().summary().first;
        assert_eq!(
            (first.seq, first.timestamp_ns),
            (8, bed.reader().get(8).unwrap().timestamp_ns)
        );
        // What went is counted once.
        assert_eq!(bed.compact(8), 0);
        assert_eq!(bed.purge("foo.b", 0, 1), 3);
        assert_eq!(bed.compact(30), 8);
        assert_eq!(bed.purge("", 0, 0), 0);
        assert_eq!(
            bed.reader().last_of_each(&[b"foo.*"], 1000, None),
            Ok(vec![])
        );
        bed.puts("foo.a", 1);
        assert_eq!(
            bed.reader().last_of_each(&[b"foo.*"], 1000, None),
            Ok(vec![30])
        );
        assert_eq!(
            bed.writer().remove(29),
            Err(RemoveError::NotFound { seq: 29 })
        );
    });
}
