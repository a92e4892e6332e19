//! Sequences that are used up without a message.

use jetsam::store::AppendError;

use super::bed::{Bed, Shape, every_shape};

#[test]
fn e_078_skips_move_the_last_sequence_and_hold_nothing() {
    every_shape("", 8192, |bed| {
        for _ in 0..10 {
            bed.skip(1);
        }
        assert_eq!((bed.bounds(), bed.bytes()), ((11, 10, 0), 0));
        bed.puts("foo", 10);
        for _ in 0..10 {
            bed.skip(1);
        }
        bed.puts("foo", 1);
        assert_eq!(bed.bounds(), (11, 31, 11));
        bed.kill();
        assert_eq!(
            (bed.bounds(), bed.deleted()),
            ((11, 31, 11), (21..=30).collect())
        );
        assert_eq!(bed.reader().get(31).unwrap().body(), b"Hello World");
    });
}

#[test]
fn e_079_many_are_skipped_from_the_next_on_and_from_nowhere_else() {
    every_shape("", 8192, |bed| {
        let now_ns = bed.now_ns;
        assert_eq!(
            bed.writer().skip_many(Some(10), 100, now_ns),
            Err(AppendError::Sequence {
                expected: 1,
                given: 10
            })
        );
        assert_eq!(
            bed.writer().skip_many(None, 0, now_ns),
            Err(AppendError::Exhausted)
        );
        assert_eq!(bed.writer().skip_many(Some(1), 100, now_ns), Ok(100));
        assert_eq!(
            bed.writer().skip_many(Some(101), 100_000, now_ns),
            Ok(100_100)
        );
        assert_eq!(
            (bed.bounds(), bed.blocks().len()),
            ((100_101, 100_100, 0), 1)
        );
    });
    every_shape("", 8192, |bed| {
        bed.puts("foo", 1);
        bed.skip(10);
        assert_eq!((bed.bounds(), bed.deleted().len()), ((1, 11, 1), 10));
    });
}

#[test]
fn e_080_e_081_skipping_many_behind_a_message_keeps_blocks_and_deletes_in_bounds() {
    // The reference begins a block before it lists more than 65,536 deletes in one; here it does at the next record behind.
    every_shape("", 128, |bed| {
        bed.put("foo", vec![b'x'; 100]);
        bed.skip(10_000);
        bed.put("foo", "x");
        assert_eq!(bed.bounds(), (1, 10_002, 2));
        assert_eq!(bed.deleted().len(), 10_000);
        for (number, file) in bed.block_files() {
            assert!(file.len() <= 133, "{number}: {}", file.len());
        }
    });
    every_shape("", 8192, |bed| {
        bed.puts("foo", 1);
        bed.skip(100_000);
        bed.puts("foo", 1);
        assert_eq!((bed.bounds(), bed.blocks().len()), ((1, 100_002, 2), 2));
        // Everything was handed over.
        let judged = bed.judged(&bed.left());
        assert_eq!(judged.totals.last.seq, 100_002);
    });
}

#[test]
fn e_082_e_083_what_was_skipped_is_told_by_the_blocks_alone() {
    every_shape("", 8192, |bed| {
        bed.puts("foo", 1);
        bed.skip(3);
        bed.kill();
        assert_eq!((bed.bounds(), bed.deleted()), ((1, 4, 1), vec![2, 3, 4]));
    });
    every_shape("", 8192, |bed| {
        bed.skip(4);
        bed.kill();
        assert_eq!((bed.bounds(), bed.deleted()), ((5, 4, 0), vec![]));
    });
}

#[test]
fn e_084_a_skip_behind_a_compaction_is_appended_behind_what_is_there() {
    every_shape("", 8192, |bed| {
        bed.skip(1);
        bed.puts("foo", 4);
        assert_eq!(bed.compact(4), 2);
        bed.skip(1);
        bed.puts("foo", 1);
        bed.kill();
        assert_eq!(bed.seqs(), [4, 5, 7]);
        assert_eq!(bed.bounds(), (4, 7, 3));
    });
}

#[test]
fn e_085_e_086_the_last_sequence_of_nothing_but_skips_is_kept_over_five_restarts() {
    for bulk in [false, true] {
        every_shape("", 8192, |bed| {
            match bulk {
                true => bed.skip(22),
                false => (0..22).for_each(|_| bed.skip(1)),
            }
            for restart in 0..5 {
                assert_eq!(bed.bounds(), (23, 22, 0));
                match restart % 2 {
                    0 => bed.reopen(),
                    _ => bed.kill(),
                }
            }
        });
    }
}

#[test]
fn e_235_the_last_time_is_carried_on_over_skips() {
    every_shape("", 8192, |bed| {
        // From nothing: the time of the skip.
        bed.skip(3);
        let first_ns = bed.now_ns;
        assert_eq!(bed.reader().summary().last.timestamp_ns, first_ns);
        bed.puts("foo", 1);
        let stored_ns = bed.now_ns;
        bed.now_ns += 1_000_000;
        bed.skip(5);
        bed.skip(1);
        assert_eq!(bed.reader().summary().last.timestamp_ns, stored_ns);
        bed.kill();
        assert_eq!(bed.reader().summary().last.timestamp_ns, stored_ns);
    });
}

/// What no store can have: the last sequence there is.
#[test]
fn e_079_sequences_end_where_the_format_ends_them() {
    let mut bed = Bed::new(Shape::PLAIN, "", 8192);
    let most = jetsam::format::limits::SEQUENCE_MAX;
    let now_ns = bed.now_ns;
    assert_eq!(
        bed.writer().skip_many(None, most + 1, now_ns),
        Err(AppendError::Exhausted)
    );
    assert_eq!(bed.writer().skip_many(None, most - 1, now_ns), Ok(most - 1));
    assert_eq!(bed.put("foo", "the last"), most);
    assert!(matches!(
        bed.try_put("foo", "", b""),
        Err(AppendError::Exhausted)
    ));
    assert_eq!(bed.bounds(), (most, most, 1));
    bed.finish();
}
