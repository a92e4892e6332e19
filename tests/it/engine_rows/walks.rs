//! Walking upwards and downwards, and finding by subject and time.

use std::path::Path;

use jetsam::env::memory::Fault;
use jetsam::store::ReadError;
use jetsam::testing::Random;

use super::bed::{Bed, DIR, Shape, downwards, every_shape, upwards};

#[test]
fn e_183_the_next_of_one_subject_is_none_of_another() {
    every_shape("", 8192, |bed| {
        for subject in ["foo.foo", "foo.bar", "foo.foo", "foo.bar", "foo.bar"] {
            bed.puts(subject, 1);
        }
        assert_eq!(bed.reader().next(&[b"foo.foo"], 3).unwrap().seq, 3);
        assert_eq!(
            bed.reader().next(&[b"foo.foo"], 4).unwrap_err(),
            ReadError::Beyond { last_seq: 5 }
        );
        assert_eq!(bed.reader().previous(&[b"foo.foo"], 2).unwrap().seq, 1);
    });
}

#[test]
fn e_195_the_last_that_matches_is_found_without_reading_on_below() {
    every_shape("", 4 * 46, |bed| {
        bed.puts("foo.1", 1);
        bed.puts("foo.2", 50);
        bed.puts("foo.3", 1);
        bed.remove([52]);
        bed.reopen();
        assert_eq!(bed.reader().last(b"foo.*").unwrap().seq, 51);
        assert_eq!(bed.reader().last(b"foo.1").unwrap().seq, 1);
        // Of everything: the last that lives. The reference says "not found" where the very last is gone.
        assert_eq!(bed.reader().last(b">").unwrap().seq, 51);
        assert_eq!(
            bed.reader().last(b"foo.3").unwrap_err(),
            ReadError::NotFound
        );
    });
}

/// Blocks that no question needs are not read: they could not be.
#[test]
fn e_196_blocks_without_the_subject_are_left_alone() {
    let mut bed = Bed::new(Shape::PLAIN, "", 2 * 44);
    bed.puts("foo", 2);
    bed.puts("bar", 20);
    bed.puts("foo", 2);
    bed.puts("bar", 20);
    bed.reopen();
    let numbers: Vec<u32> = bed.blocks().iter().map(|block| block.number).collect();
    for (nth, number) in numbers.iter().enumerate() {
        if nth != 0 && nth != 11 {
            for after_reads in 0..200 {
                bed.fs.inject(Fault::FailRead {
                    path: Path::new(DIR).join(format!("msgs/{number}.blk")),
                    after_reads,
                    kind: std::io::ErrorKind::Other,
                });
            }
        }
    }
    let reader = bed.reader();
    assert_eq!(reader.next(&[b"foo"], 0).unwrap().seq, 1);
    assert_eq!(reader.last(b"foo").unwrap().seq, 24);
    assert_eq!(reader.previous(&[b"foo"], 100).unwrap().seq, 24);
    // Behind the last of it nothing is read either.
    assert_eq!(
        reader.next(&[b"foo"], 25).unwrap_err(),
        ReadError::Beyond { last_seq: 44 }
    );
    assert_eq!(
        reader.next(&[b"baz"], 0).unwrap_err(),
        ReadError::Beyond { last_seq: 44 }
    );
    assert_eq!(reader.subject_totals(b">").len(), 2);
    assert_eq!(reader.count(&[b"foo"], 0).unwrap(), 4);
}

#[test]
fn e_197_e_226_walks_in_both_directions_visit_every_match_once() {
    every_shape("", 300, |bed| {
        let mut random = Random::derived(226, &[]);
        let subjects = ["foo.a", "foo.b", "foo.c.d", "bar.a", "baz", "foo.c.e"];
        let mut stored = Vec::new();
        for _ in 0..200 {
            let subject = *random.pick(&subjects).unwrap();
            stored.push((bed.put(subject, "x"), subject));
        }
        for _ in 0..60 {
            let at = random.index(stored.len());
            let (seq, _) = stored.remove(at);
            bed.remove([seq]);
        }
        type Filters<'a> = (&'a [&'a [u8]], &'a dyn Fn(&str) -> bool);
        let sets: [Filters<'_>; 8] = [
            (&[], &|_| true),
            (&[b">"], &|_| true),
            (&[b"foo.a"], &|subject| subject == "foo.a"),
            (&[b"foo.*"], &|subject| {
                subject == "foo.a" || subject == "foo.b"
            }),
            (&[b"foo.a", b"baz"], &|subject| {
                subject == "foo.a" || subject == "baz"
            }),
            // A message that two filters match comes once.
            (&[b"foo.>", b"foo.c.*"], &|subject| {
                subject.starts_with("foo.")
            }),
            (&[b"*"], &|subject| subject == "baz"),
            (&[b"foo.never", b"bar.*"], &|subject| subject == "bar.a"),
        ];
        for (filters, matches) in sets {
            let expected: Vec<u64> = stored
                .iter()
                .filter(|(_, subject)| matches(subject))
                .map(|(seq, _)| *seq)
                .collect();
            assert_eq!(upwards(&bed.reader(), filters, 0), expected, "{filters:?}");
            let mut found = downwards(&bed.reader(), filters, u64::MAX);
            found.reverse();
            assert_eq!(found, expected, "{filters:?}");
            for from in [1, 50, 100, 199, 200, 201] {
                let above: Vec<u64> = expected
                    .iter()
                    .copied()
                    .filter(|seq| *seq >= from)
                    .collect();
                assert_eq!(upwards(&bed.reader(), filters, from), above);
                let below = expected.iter().filter(|seq| **seq <= from).count();
                assert_eq!(downwards(&bed.reader(), filters, from).len(), below);
                assert_eq!(
                    bed.reader().count(filters, from).unwrap(),
                    above.len() as u64
                );
            }
        }
        // A wildcard that begins before its first match.
        assert!(upwards(&bed.reader(), &[b"bar.*"], 0).len() > 3);
    });
}

#[test]
fn e_234_a_time_finds_the_next_that_lives_also_behind_what_is_gone() {
    every_shape("", 2 * 44, |bed| {
        let start_ns = bed.now_ns;
        let at = |seq: i64| start_ns + seq * 1_000_000;
        for seq in 1..=10 {
            bed.put_at("foo", at(seq));
        }
        bed.remove([3, 4, 5, 6, 9, 10]);
        let found = |bed: &Bed, seq: i64| bed.reader().seq_at(at(seq)).unwrap();
        assert_eq!(
            (found(bed, 0), found(bed, 2), found(bed, 3), found(bed, 6)),
            (1, 2, 7, 7)
        );
        // Behind the last that lives: behind the last there was.
        assert_eq!((found(bed, 8), found(bed, 9), found(bed, 11)), (8, 11, 11));
        bed.now_ns = at(20);
    });
    // Times that fall are found, too (L27, G9): the first message at or after the time, by sequence.
    every_shape("", 2 * 44, |bed| {
        let start_ns = bed.now_ns;
        for seconds in [1, 11, 21, 6, 31] {
            bed.put_at("foo", start_ns + seconds);
        }
        let found: Vec<u64> = [6, 16, 22, 32]
            .map(|time| bed.reader().seq_at(start_ns + time).unwrap())
            .into();
        assert_eq!(found, [2, 3, 5, 6]);
    });
}
