//! Limits of messages, bytes, ages and subjects.

use jetsam::store::{AppendError, LimitKind};

use super::bed::{Bed, SECOND_NS, Shape, every_shape};

const AGE: &str = r#","max_age":1000000000"#;

fn refused(bed: &mut Bed, subject: &str, body: &[u8]) -> Option<LimitKind> {
    match bed.try_put(subject, "", body) {
        Ok(_) => None,
        Err(AppendError::Limit { kind, .. }) => Some(kind),
        Err(error) => panic!("{error}"),
    }
}

fn maintain(bed: &mut Bed) -> jetsam::store::Maintained {
    let now_ns = bed.now_ns;
    bed.writer().maintain(now_ns).unwrap()
}

#[test]
fn e_143_e_144_one_too_many_drops_the_oldest() {
    every_shape(r#","max_msgs":10"#, 300, |bed| {
        bed.puts("foo", 10);
        bed.puts("foo", 1);
        assert_eq!((bed.bounds(), bed.bytes()), ((2, 11, 10), 440));
        assert!(bed.reader().get(1).is_err());
    });
    every_shape(r#","max_msgs":1"#, 300, |bed| {
        for _ in 0..3 {
            bed.puts("foo", 1);
            bed.reopen();
        }
        assert_eq!(bed.bounds(), (3, 3, 1));
    });
}

#[test]
fn e_145_bytes_stay_at_their_limit() {
    every_shape(r#","max_bytes":440"#, 300, |bed| {
        bed.puts("foo", 10);
        assert_eq!((bed.bounds(), bed.bytes()), ((1, 10, 10), 440));
        bed.puts("foo", 5);
        assert_eq!((bed.bounds(), bed.bytes()), ((6, 15, 10), 440));
    });
    // One that has no room alone is stored, and gone at once, as there.
    every_shape(r#","max_bytes":440"#, 300, |bed| {
        bed.puts("foo", 3);
        bed.put("foo", vec![b'x'; 1000]);
        assert_eq!(bed.bounds(), (5, 4, 0));
    });
}

#[test]
fn e_146_e_233_where_new_ones_are_refused_the_old_ones_stay() {
    every_shape(r#","max_bytes":440,"discard":"new""#, 300, |bed| {
        bed.puts("foo", 10);
        let book = bed.book();
        assert_eq!(refused(bed, "foo", b"Hello World"), Some(LimitKind::Bytes));
        assert_eq!(bed.book(), book);
        bed.remove([4]);
        assert_eq!(refused(bed, "foo", b"Hello World"), None);
    });
    // A message may take the place of its subject's oldest, if that is as large.
    let more = r#","max_bytes":220,"max_msgs_per_subject":1,"discard":"new""#;
    every_shape(more, 300, |bed| {
        for nth in 0..4 {
            bed.put(&format!("foo.{nth}"), "Hello World");
        }
        assert_eq!(
            refused(bed, "foo.4", b"Hello World"),
            Some(LimitKind::Bytes)
        );
        assert_eq!(refused(bed, "foo.0", b"Hello World"), None);
        assert_eq!(refused(bed, "foo.0", &[b'x'; 100]), Some(LimitKind::Bytes));
        assert_eq!(bed.seqs(), [2, 3, 4, 5]);
    });
}

#[test]
fn e_147_e_148_e_160_what_is_too_old_goes_when_asked_and_at_the_start() {
    every_shape(AGE, 500, |bed| {
        for round in 1..=2 {
            bed.puts("foo", 100);
            // What is gone inside is passed over.
            bed.remove([(round - 1) * 100 + 7, (round - 1) * 100 + 50]);
            bed.now_ns += SECOND_NS;
            assert_eq!(maintain(bed).expired_count, 98);
            assert_eq!(bed.bounds(), (round * 100 + 1, round * 100, 0));
        }
        bed.kill();
        assert_eq!(bed.bounds(), (201, 200, 0));
    });
    every_shape(AGE, 500, |bed| {
        bed.puts("foo.old", 30);
        bed.now_ns += SECOND_NS / 2;
        bed.puts("foo.new", 30);
        bed.now_ns += SECOND_NS / 2 - 45_000;
        bed.kill();
        let (first, last, count) = bed.bounds();
        assert_eq!((last, count), (60, 60 - (first - 1)));
        assert!((10..=30).contains(&first), "{first}");
        let totals = bed.reader().subject_totals(b">");
        assert_eq!(totals[&b"foo.old"[..]], 31 - first);
        let matching = bed.reader().matching(&[b"foo.old"], 0).unwrap();
        assert_eq!((matching.first_seq, matching.last_seq), (first, 30));
        // And on from there.
        bed.now_ns += SECOND_NS / 4;
        assert_eq!(maintain(bed).expired_count, 31 - first);
        assert_eq!(
            maintain(bed).next_ns,
            Some(bed.reader().summary().first.timestamp_ns + SECOND_NS)
        );
        assert_eq!(bed.bounds(), (31, 60, 30));
    });
}

#[test]
fn e_149_a_small_stream_goes_on_to_new_blocks() {
    every_shape(r#","max_bytes":300"#, 512, |bed| {
        for _ in 0..500 {
            bed.put("foo", vec![b'Z'; 100]);
        }
        assert_eq!(bed.bounds(), (499, 500, 2));
        let files = bed.block_files();
        assert!(
            files.len() <= 3 && *files.last_key_value().unwrap().0 > 60,
            "{:?}",
            files.keys()
        );
    });
}

#[test]
fn e_150_one_message_per_subject_leaves_the_newest_of_each() {
    every_shape(r#","max_msgs_per_subject":1"#, 128, |bed| {
        for _ in 0..2 {
            for nth in 1..=100 {
                bed.put(&format!("kv.{nth}"), "value");
            }
        }
        assert_eq!((bed.bounds(), bed.deleted()), ((101, 200, 100), vec![]));
        // Evidence of each removal costs room in the blocks: the reference has 34 here.
        bed.tidy();
        let held = bed
            .blocks()
            .iter()
            .filter(|block| block.message_count > 0)
            .count();
        assert!((34..=100).contains(&held), "{held}");
    });
}

#[test]
fn e_151_a_full_stream_refuses_subjects_new_and_old() {
    let more = r#","max_msgs":100,"max_msgs_per_subject":1,"discard":"new","discard_new_per_subject":true"#;
    every_shape(more, 1000, |bed| {
        for nth in 1..=100 {
            bed.put(&format!("kv.{nth}"), "value");
        }
        assert_eq!(refused(bed, "kv.101", b"value"), Some(LimitKind::Messages));
        for nth in [1, 50, 100] {
            assert_eq!(
                refused(bed, &format!("kv.{nth}"), b"v"),
                Some(LimitKind::MessagesPerSubject)
            );
        }
        assert_eq!(bed.bounds(), (1, 100, 100));
    });
}

#[test]
fn e_152_e_154_e_229_limits_that_are_raised_and_lowered_are_kept() {
    every_shape(r#","max_msgs_per_subject":10"#, 500, |bed| {
        bed.puts("foo.1", 30);
        assert_eq!(bed.bounds(), (21, 30, 10));
        bed.configure(r#","max_msgs_per_subject":50"#);
        bed.puts("foo.1", 70);
        assert_eq!(bed.bounds(), (51, 100, 50));
        bed.configure(r#","max_msgs_per_subject":10"#);
        assert_eq!(bed.bounds(), (91, 100, 10));
        // Down to one, when the newest is gone: the newest that is there stays.
        bed.remove([100]);
        bed.configure(r#","max_msgs_per_subject":1"#);
        assert_eq!((bed.bounds(), bed.seqs()), ((99, 100, 1), vec![99]));
        bed.kill();
        assert_eq!(bed.reader().last(b"foo.1").unwrap().seq, 99);
    });
    // Lowered while nobody had it open: by the files of another.
    every_shape("", 500, |bed| {
        bed.puts("foo", 100);
        bed.configure(r#","max_msgs":7"#);
        assert_eq!(bed.bounds(), (94, 100, 7));
        bed.configure(r#","max_bytes":88"#);
        bed.reopen();
        assert_eq!(bed.bounds(), (99, 100, 2));
    });
}

#[test]
fn e_153_e_155_few_per_subject_and_few_in_all() {
    every_shape(r#","max_msgs_per_subject":1"#, 128, |bed| {
        for _ in 0..33 {
            for subject in ["foo.a", "foo.b", "foo.c"] {
                bed.put(subject, "Hello World");
            }
        }
        bed.kill();
        assert_eq!(bed.reader().summary().subject_count, 3);
        assert_eq!(bed.bounds(), (97, 99, 3));
    });
    every_shape(r#","max_msgs":10,"max_msgs_per_subject":1"#, 100, |bed| {
        let body = vec![b'A'; 19];
        for subject in ["foo.A", "foo.B", "foo.A", "foo.B"] {
            bed.put(subject, &body);
        }
        assert_eq!(bed.bounds(), (3, 4, 2));
        bed.reopen();
        for nth in 0..8 {
            bed.put(&format!("foo.more.{nth}"), &body);
        }
        assert_eq!(bed.bounds(), (3, 12, 10));
        bed.kill();
        assert_eq!(bed.bounds(), (3, 12, 10));
        bed.put("foo.last", &body);
        assert_eq!(bed.bounds(), (4, 13, 10));
    });
}

#[test]
fn e_156_the_last_of_a_subject_is_found_after_a_restart() {
    every_shape(r#","max_msgs_per_subject":1"#, 2 * 44, |bed| {
        bed.puts("foo.one", 1);
        bed.puts("foo.other", 6);
        bed.puts("foo.one", 1);
        bed.kill();
        assert_eq!(bed.reader().last(b"foo.one").unwrap().seq, 8);
        assert_eq!(bed.reader().next(&[b"foo.one"], 0).unwrap().seq, 8);
        bed.puts("foo.one", 1);
        assert_eq!(bed.seqs(), [7, 9]);
    });
}

#[test]
fn e_157_the_last_time_outlives_its_message() {
    let ways: [fn(&mut Bed); 5] = [
        |bed| bed.remove([3]),
        |bed| bed.remove([1, 2, 3]),
        |bed| assert_eq!(bed.purge("", 0, 0), 3),
        |bed| assert_eq!(bed.compact(10), 3),
        |bed| {
            bed.now_ns += SECOND_NS;
            assert_eq!(maintain(bed).expired_count, 3);
        },
    ];
    for way in ways {
        for block_size in [44, 8192] {
            every_shape(AGE, block_size, |bed| {
                bed.puts("foo", 3);
                let last_ns = bed.now_ns;
                way(bed);
                assert_eq!(bed.reader().summary().last.timestamp_ns, last_ns);
                // The start takes what is old by then; it keeps the time, too.
                bed.kill();
                assert_eq!(bed.reader().summary().last.timestamp_ns, last_ns);
            });
        }
    }
}

#[test]
fn e_158_subjects_keep_count_of_what_ages_took() {
    every_shape(AGE, 600, |bed| {
        for nth in 0..100 {
            bed.puts(&format!("kv.{nth}"), 1);
        }
        bed.now_ns += SECOND_NS / 2;
        for nth in 0..50 {
            bed.puts(&format!("kv.{nth}"), 1);
        }
        bed.now_ns += SECOND_NS / 2;
        assert_eq!(maintain(bed).expired_count, 100);
        assert_eq!(bed.reader().summary().subject_count, 50);
        let found = bed.reader().subjects(b"kv.*").unwrap();
        assert_eq!(found.len(), 50);
        assert!(
            found
                .values()
                .all(|found| found.message_count == 1 && found.first_seq == found.last_seq)
        );
    });
}

#[test]
fn e_159_a_closed_store_ages_no_more() {
    let mut bed = Bed::new(Shape::PLAIN, AGE, 500);
    bed.puts("foo", 3);
    bed.now_ns += 5 * SECOND_NS;
    let now_ns = bed.now_ns;
    let fs = bed.fs.clone();
    let reader = bed.reader();
    let (store, mut writer) = bed.take();
    writer.sync().unwrap();
    drop(store);
    // Dropped is not closed: the writer still owns the directory.
    assert_eq!(writer.maintain(now_ns).unwrap().expired_count, 3);
    drop(writer);
    let calls = fs.calls().len();
    assert_eq!(reader.summary().message_count, 0);
    assert_eq!(fs.calls().len(), calls);
}
