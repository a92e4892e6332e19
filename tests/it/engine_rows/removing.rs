//! Removing single messages, and the tombstones that prove it.

use jetsam::format::record::RecordKind;
use jetsam::store::{ReadError, RemoveError};

use super::bed::{Bed, Shape, bounds, every_shape, plain};

#[test]
fn e_041_what_is_removed_inside_is_listed_and_what_the_head_passes_is_not() {
    every_shape("", 400, |bed| {
        bed.puts("foo", 100);
        let evens: Vec<u64> = (2..=100).step_by(2).collect();
        bed.remove(evens.iter().copied());
        assert_eq!(bed.deleted(), evens);
        assert_eq!(bed.reader().summary().deleted_count, 50);
        bed.remove([1]);
        assert_eq!(
            (bed.bounds(), bed.deleted()),
            ((3, 100, 49), evens[1..].to_vec())
        );
        bed.compact(50);
        assert_eq!(bed.bounds().0, 51);
        assert_eq!(bed.deleted(), (52..=100).step_by(2).collect::<Vec<_>>());
        bed.purge("", 0, 0);
        assert_eq!((bed.bounds(), bed.deleted()), ((101, 100, 0), vec![]));
    });
}

#[test]
fn e_042_deletes_collapse_as_the_head_moves_on() {
    every_shape("", 4 * 44, |bed| {
        bed.puts("foo", 10);
        bed.remove([2, 5]);
        assert_eq!(bed.deleted(), [2, 5]);
        bed.remove([1]);
        assert_eq!((bed.bounds().0, bed.deleted()), (3, vec![5]));
        bed.remove([6, 3, 7]);
        assert_eq!((bed.bounds().0, bed.deleted()), (4, vec![5, 6, 7]));
        bed.remove([4]);
        assert_eq!((bed.bounds().0, bed.deleted()), (8, vec![]));
    });
}

#[test]
fn e_043_the_first_jumps_over_blocks_that_went_before() {
    every_shape("", 2 * 44, |bed| {
        bed.puts("foo", 10);
        bed.remove(2..=7);
        assert_eq!(
            (bed.bounds(), bed.deleted()),
            ((1, 10, 4), (2..=7).collect())
        );
        bed.remove([1]);
        assert_eq!((bed.bounds(), bed.deleted()), ((8, 10, 3), vec![]));
    });
}

#[test]
fn e_044_e_045_half_of_the_messages_stay_removed_over_restarts() {
    every_shape("", 1000, |bed| {
        bed.puts("foo", 100);
        bed.remove(1..=25);
        bed.remove((26..=100).step_by(2));
        let seqs: Vec<u64> = (27..=100).step_by(2).collect();
        for restart in 0..4 {
            assert_eq!(bed.seqs(), seqs);
            assert_eq!(bed.miss(26), ReadError::NotFound);
            assert_eq!(bed.miss(28), ReadError::Deleted { seq: 28 });
            match restart % 2 {
                0 => bed.kill(),
                _ => bed.reopen(),
            }
        }
    });
}

#[test]
fn e_046_the_deleted_head_of_a_block_inside_counts_as_deleted() {
    every_shape("", 10 * 44, |bed| {
        bed.puts("foo", 50);
        bed.remove(11..=20);
        assert_eq!(bed.reader().summary().deleted_count, 10);
        assert_eq!(bed.deleted(), (11..=20).collect::<Vec<_>>());
        bed.remove([21, 22]);
        assert_eq!(bed.reader().summary().deleted_count, 12);
        assert_eq!(bed.deleted(), (11..=22).collect::<Vec<_>>());
    });
}

#[test]
fn e_047_the_only_message_leaves_one_tombstone_and_one_block() {
    // The reference rolls and takes the old block away; here the last block stays, with the record and one tombstone, until it is
    // not the last any more. Either way the sequence is proven once.
    plain(r#","max_msgs_per_subject":1"#, 8192, |bed| {
        bed.put("A", "hello");
        bed.remove([1]);
        assert_eq!(bed.bounds(), (2, 1, 0));
        assert_eq!((bed.blocks().len(), bed.tombstones()), (1, vec![1]));
        assert_eq!(
            bed.writer().remove(1),
            Err(RemoveError::NotFound { seq: 1 })
        );
        assert_eq!(bed.tombstones(), [1]);
    });
}

#[test]
fn e_048_tombstones_are_in_the_file_and_not_in_the_bytes() {
    every_shape("", 1024, |bed| {
        bed.puts("foo", 20);
        let (bytes, raw) = (bed.bytes(), bed.blocks()[0].raw_bytes);
        assert_eq!((bytes, raw), (20 * 44, 20 * 44));
        bed.remove([3]);
        assert_eq!(
            (bed.bytes(), bed.blocks()[0].raw_bytes),
            (19 * 44, 20 * 44 + 30)
        );
        bed.reopen();
        bed.puts("foo", 1);
        assert_eq!(bed.blocks()[0].raw_bytes, 21 * 44 + 30);
    });
}

#[test]
fn e_049_tombstones_never_exceed_a_block_and_go_once_nothing_needs_them() {
    every_shape("", 256, |bed| {
        let first = 1_000_000_000;
        assert_eq!(bed.purge("", first, 0), 0);
        bed.puts("foo", 1000);
        bed.remove(first + 1..=first + 100);
        for (number, file) in bed.block_files() {
            assert!(file.len() <= 256, "{number}: {}", file.len());
        }
        assert_eq!(bed.bounds(), (first, first + 999, 900));
        bed.remove([first]);
        bed.tidy();
        let empty = bed
            .blocks()
            .iter()
            .filter(|block| block.message_count == 0)
            .count();
        assert!(empty <= 1, "{empty} blocks without a message");
        assert_eq!(bed.bounds(), (first + 101, first + 999, 899));
    });
}

#[test]
fn e_050_a_subject_goes_with_its_only_message() {
    every_shape("", 4 * 44, |bed| {
        bed.puts("foo.bar.baz", 1);
        bed.puts("foo", 9);
        bed.kill();
        bed.remove([1]);
        assert_eq!(
            bed.reader().subject_totals(b">"),
            [(b"foo".to_vec(), 9)].into()
        );
        assert_eq!(
            bed.reader().last(b"foo.bar.baz").unwrap_err(),
            ReadError::NotFound
        );
    });
}

#[test]
fn e_051_the_first_of_a_subject_is_found_after_its_last_was_removed() {
    every_shape("", 33 * 2, |bed| {
        for subject in [
            "foo.bar", "foo.baz", "foo.baz", "foo.bar", "foo.bar", "foo.bar",
        ] {
            bed.put(subject, "");
        }
        bed.remove([6]);
        bed.remove([4]);
        let found = bed.reader().subjects(b"foo.bar").unwrap();
        let found = found[&b"foo.bar"[..]];
        assert_eq!(
            (found.message_count, found.first_seq, found.last_seq),
            (2, 1, 5)
        );
        bed.remove([1]);
        assert_eq!(bed.reader().next(&[b"foo.bar"], 0).unwrap().seq, 5);
    });
}

#[test]
fn e_053_wherever_removing_the_only_message_ends_no_sequence_is_handed_out_twice() {
    use jetsam::env::memory::Fault;
    for shape in Shape::all() {
        for number in 0.. {
            let mut bed = Bed::new(shape, "", 40);
            bed.puts("foo", 1);
            bed.fs.inject(Fault::Crash {
                number: bed.fs.calls().len() + number,
                written: None,
            });
            let removed = bed
                .writer()
                .remove(1)
                .and_then(|_| Ok(bed.writer().tidy(Default::default())?));
            let store = bed.try_open(&bed.left()).unwrap();
            let found = bounds(&store.reader());
            assert!([(1, 1, 1), (2, 1, 0)].contains(&found), "{found:?}");
            if removed.is_ok() {
                assert_eq!(found, (2, 1, 0));
                break;
            }
        }
    }
}

#[test]
fn e_056_e_066_a_block_that_is_empty_but_for_needed_tombstones_proves_them_on() {
    // Two blocks: the tombstone of a message in the first lies in the second, whose own message then goes.
    every_shape("", 33 * 2, |bed| {
        bed.put("foo", "");
        bed.put("foo", "");
        bed.put("foo", "");
        bed.remove([2, 3]);
        assert_eq!((bed.bounds(), bed.deleted()), ((1, 3, 1), vec![2, 3]));
        bed.kill();
        assert_eq!((bed.bounds(), bed.deleted()), ((1, 3, 1), vec![2, 3]));
        // Within the stream both are deleted; the reference says of 3 that it was never there.
        assert_eq!(bed.miss(2), ReadError::Deleted { seq: 2 });
        assert_eq!(bed.miss(3), ReadError::Deleted { seq: 3 });
    });
}

#[test]
fn e_057_e_058_when_all_is_removed_the_first_is_behind_the_last_and_stays_there() {
    every_shape("", 10 * 33, |bed| {
        for _ in 0..20 {
            bed.put("foo", "");
        }
        bed.remove(1..=20);
        assert_eq!(bed.bounds(), (21, 20, 0));
        bed.tidy();
        assert_eq!(bed.blocks().len(), 1);
        bed.kill();
        assert_eq!(bed.bounds(), (21, 20, 0));
    });
    every_shape("", 10 * 33, |bed| {
        for _ in 0..50 {
            bed.put("foo", "");
        }
        bed.remove(2..=49);
        for _ in 0..50 {
            bed.put("foo", "");
        }
        bed.remove(50..=100);
        assert_eq!(bed.bounds(), (1, 100, 1));
        bed.remove([1]);
        assert_eq!(bed.bounds(), (101, 100, 0));
        bed.kill();
        assert_eq!(bed.put("foo", ""), 101);
    });
}

#[test]
fn e_059_a_tombstone_that_was_all_that_was_written_is_applied_by_the_next_start() {
    use jetsam::env::memory::Fault;
    for shape in Shape::all() {
        let mut was_applied = false;
        for number in 0..5 {
            let mut bed = Bed::new(shape, "", 10 * 33);
            for _ in 0..12 {
                bed.put("foo", "");
            }
            bed.remove(2..=12);
            let first = bed.fs.calls().len();
            bed.fs.inject(Fault::Crash {
                number: first + number,
                written: None,
            });
            let removed = bed.writer().remove(1);
            let is_written = bed.fs.calls()[first..]
                .iter()
                .take(number)
                .any(|call| call.operation == jetsam::env::Operation::Append);
            bed.kill_without_flush();
            let expected = match is_written {
                true => (13, 12, 0),
                false => (1, 12, 1),
            };
            assert_eq!(bed.bounds(), expected, "{number} calls, {removed:?}");
            was_applied |= is_written && removed.is_err();
            bed.finish();
        }
        assert!(
            was_applied,
            "no end between the tombstone and what follows it"
        );
    }
}

#[test]
fn e_060_tombstones_of_what_lies_before_the_first_go_with_the_records() {
    plain("", 3 * 33, |bed| {
        for _ in 0..4 {
            bed.put("foo", "");
        }
        bed.remove([3, 2]);
        assert_eq!((bed.bounds(), bed.deleted()), ((1, 4, 2), vec![2, 3]));
        bed.remove([1]);
        for _ in 0..4 {
            bed.put("foo", "");
        }
        bed.tidy();
        assert_eq!(bed.bounds(), (4, 8, 5));
        // That of 1 lies among live messages, and goes with the first rewrite of their block.
        let tombstones = bed.tombstones();
        assert!(!tombstones.contains(&2) && !tombstones.contains(&3));
        assert!(
            bed.records()
                .iter()
                .all(|(kind, seq)| *kind != RecordKind::Message || *seq >= 4)
        );
    });
}

#[test]
fn e_061_after_every_kind_of_removal_the_state_is_read_back() {
    type Kind = (&'static str, fn(&mut Bed), (u64, u64, u64));
    let kinds: [Kind; 10] = [
        ("remove the first", |bed| bed.remove([1]), (2, 10, 9)),
        ("remove inside", |bed| bed.remove([5]), (1, 10, 9)),
        ("remove the last", |bed| bed.remove([10]), (1, 10, 9)),
        ("erase the first", |bed| bed.erase([1]), (2, 10, 9)),
        ("erase the last", |bed| bed.erase([10]), (1, 10, 9)),
        (
            "purge",
            |bed| assert_eq!(bed.purge("", 0, 0), 10),
            (11, 10, 0),
        ),
        (
            "purge the head",
            |bed| assert_eq!(bed.purge("foo.0", 0, 0), 5),
            (2, 10, 5),
        ),
        (
            "purge the tail",
            |bed| assert_eq!(bed.purge("foo.1", 0, 0), 5),
            (1, 10, 5),
        ),
        ("compact", |bed| assert_eq!(bed.compact(5), 4), (5, 10, 6)),
        ("truncate", |bed| assert_eq!(bed.truncate(5), 5), (1, 5, 5)),
    ];
    for (name, take, expected) in kinds {
        for block_size in [8192, 4 * 46] {
            every_shape("", block_size, |bed| {
                for nth in 0..10 {
                    bed.puts(&format!("foo.{}", nth % 2), 1);
                }
                take(bed);
                assert_eq!(bed.bounds(), expected, "{name}");
                bed.kill();
                assert_eq!(bed.bounds(), expected, "{name}");
                bed.puts("foo.0", 1);
            });
        }
    }
}

#[test]
fn e_065_a_lone_skip_is_no_delete() {
    every_shape("", 8192, |bed| {
        bed.skip(1);
        assert_eq!((bed.bounds(), bed.deleted()), ((2, 1, 0), vec![]));
        bed.kill();
        assert_eq!((bed.bounds(), bed.deleted()), ((2, 1, 0), vec![]));
        assert_eq!(bed.reader().summary().deleted_count, 0);
    });
}
