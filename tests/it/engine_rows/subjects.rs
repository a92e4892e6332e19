//! Counting messages and subjects, and the last of each.

use std::collections::BTreeMap;

use jetsam::store::ReadError;
use jetsam::testing::Random;

use super::bed::{Bed, Shape, every_shape};

/// Live messages with their subjects.
fn live(bed: &Bed) -> Vec<(u64, Vec<u8>)> {
    let seqs = bed.seqs().into_iter();
    seqs.map(|seq| (seq, bed.reader().get(seq).unwrap().subject().to_vec()))
        .collect()
}

/// First, last and count of each subject, by looking at every message.
fn by_looking(bed: &Bed) -> BTreeMap<Vec<u8>, (u64, u64, u64)> {
    let mut found = BTreeMap::new();
    for (seq, subject) in live(bed) {
        let entry = found.entry(subject).or_insert((seq, seq, 0));
        (entry.1, entry.2) = (seq, entry.2 + 1);
    }
    found
}

fn compare_subjects(bed: &Bed) {
    let known = by_looking(bed);
    let found = bed.reader().subjects(b">").unwrap().into_iter();
    let found: BTreeMap<Vec<u8>, (u64, u64, u64)> = found
        .map(|(subject, found)| {
            (
                subject,
                (found.first_seq, found.last_seq, found.message_count),
            )
        })
        .collect();
    assert_eq!(found, known);
    let totals = bed.reader().subject_totals(b">");
    assert_eq!(
        totals,
        known
            .iter()
            .map(|(subject, found)| (subject.clone(), found.2))
            .collect()
    );
    let mut last: Vec<u64> = known.values().map(|found| found.1).collect();
    last.sort_unstable();
    assert_eq!(
        bed.reader().last_of_each(&[b">"], u64::MAX, None).unwrap(),
        last
    );
    for (subject, (first, last, count)) in &known {
        let reader = bed.reader();
        let filter = [subject.as_slice()];
        assert_eq!(reader.next(&filter, 0).unwrap().seq, *first);
        assert_eq!(reader.last(subject).unwrap().seq, *last);
        assert_eq!(reader.count(&filter, 0).unwrap(), *count);
    }
    let last_seq = bed.bounds().1;
    for from in [0, 1, last_seq / 2, last_seq, last_seq + 1] {
        let above = known.values().filter(|found| found.1 >= from).count() as u64;
        assert_eq!(
            bed.reader().count_subjects(&[b">"], from).unwrap(),
            above,
            "from {from}"
        );
    }
}

#[test]
fn e_181_e_182_e_184_what_matches_is_counted_exactly_from_any_start() {
    every_shape("", 4 * 46, |bed| {
        for nth in 0..30 {
            bed.puts(["foo.1", "foo.2", "bar.3"][nth % 3], 1);
        }
        let found = |bed: &Bed, from, filter: &'static [u8]| {
            let found = bed.reader().matching(&[filter], from).unwrap();
            (found.message_count, found.first_seq, found.last_seq)
        };
        assert_eq!(found(bed, 0, b"foo.1"), (10, 1, 28));
        assert_eq!(found(bed, 2, b"foo.1"), (9, 4, 28));
        assert_eq!(found(bed, 29, b"foo.1"), (0, 0, 0));
        assert_eq!(found(bed, 0, b"foo.*"), (20, 1, 29));
        bed.remove([1, 4, 28]);
        assert_eq!(found(bed, 0, b"foo.1"), (7, 7, 25));
        bed.purge("foo.1", 20, 0);
        assert_eq!(found(bed, 0, b"foo.1"), (2, 22, 25));
        bed.purge("foo.2", 0, 0);
        assert_eq!(found(bed, 0, b"foo.2"), (0, 0, 0));
        // All, with the last removed: first and last are of messages that live, where the reference names the last sequence.
        bed.remove([30]);
        assert_eq!(found(bed, 5, b">").2, 27);
        bed.kill();
        compare_subjects(bed);
    });
}

#[test]
fn e_185_e_186_e_187_e_189_pending_counts_fall_by_one_with_each_removal() {
    for shape in [
        Shape::PLAIN,
        Shape {
            cipher: None,
            compresses: true,
        },
    ] {
        let mut bed = Bed::new(shape, "", 2000);
        for nth in 0..6000 {
            bed.put(if nth % 3 == 2 { "bar.kk" } else { "foo.zz" }, "hello");
        }
        let counts = |bed: &Bed| {
            let reader = bed.reader();
            (
                reader.count(&[b">"], 1000).unwrap(),
                reader.count(&[b"foo.*"], 1000).unwrap(),
            )
        };
        assert_eq!(counts(&bed), (5001, 3334));
        bed.remove([1000]);
        assert_eq!(counts(&bed), (5000, 3333));
        bed.remove([5999]);
        assert_eq!(counts(&bed), (4999, 3332));
        assert_eq!(bed.reader().count_subjects(&[b">"], 1000).unwrap(), 2);
        bed.finish();
    }
}

#[test]
fn e_188_e_190_counts_are_those_of_looking_at_every_message() {
    every_shape("", 1500, |bed| {
        let mut random = Random::derived(188, &[]);
        for _ in 0..600 {
            let subject = format!("foo.{}.{}", random.below(4), random.below(8));
            bed.put(&subject, "x");
        }
        for _ in 0..150 {
            let seq = 1 + random.below(600);
            let _ = bed.writer().remove(seq);
        }
        let messages = live(bed);
        let sets: [&[&[u8]]; 5] = [
            &[b"foo.1.*"],
            &[b"foo.1.*", b"foo.2.>"],
            &[b"foo.*.3"],
            &[b"foo.0.0", b"foo.3.7"],
            &[],
        ];
        for filters in sets {
            for from in [0, 1, 17, 300, 599, 601] {
                let matching = messages.iter().filter(|(seq, subject)| {
                    let is_one = filters.is_empty()
                        || filters
                            .iter()
                            .any(|filter| jetsam::format::subject::matches(subject, filter));
                    *seq >= from && is_one
                });
                assert_eq!(
                    bed.reader().count(filters, from).unwrap(),
                    matching.count() as u64
                );
            }
        }
        assert_eq!(bed.reader().subject_totals(b"foo.1.1").len(), 1);
        assert_eq!(bed.reader().subject_totals(b"foo.1.*").len(), 8);
        assert_eq!(
            bed.reader().subject_totals(b"").len(),
            bed.reader().subject_totals(b">").len()
        );
        compare_subjects(bed);
    });
}

#[test]
fn e_191_e_192_e_193_e_194_e_236_the_last_of_each_subject_up_to_a_sequence() {
    every_shape(r#","subjects":["foo.*","bar.*"]"#, 128, |bed| {
        for _ in 0..33 {
            for subject in ["foo.foo", "foo.bar", "foo.baz"] {
                bed.put(subject, "abc");
            }
        }
        let reader = bed.reader();
        let each = |filters: &[&[u8]], to, most| reader.last_of_each(filters, to, most);
        assert_eq!(each(&[b"foo.*"], 3, None), Ok(vec![1, 2, 3]));
        assert_eq!(each(&[b"foo.*"], u64::MAX, None), Ok(vec![97, 98, 99]));
        assert_eq!(each(&[b"foo.*"], 98, None), Ok(vec![96, 97, 98]));
        let two: [&[u8]; 2] = [b"foo.foo", b"foo.baz"];
        assert_eq!(each(&two, u64::MAX, None), Ok(vec![97, 99]));
        // Each once, however many filters match it, and in whatever order they come.
        let many: [&[u8]; 4] = [b"foo.baz", b"foo.*", b">", b"foo.foo"];
        assert_eq!(each(&many, u64::MAX, None), Ok(vec![97, 98, 99]));
        assert_eq!(many[0], b"foo.baz");
        assert_eq!(
            each(&[b"foo.*"], u64::MAX, Some(2)),
            Err(ReadError::TooMany { allowed: 2 })
        );
        assert_eq!(each(&[b"foo.*"], u64::MAX, Some(3)), Ok(vec![97, 98, 99]));
        assert_eq!(each(&[b"bar.*"], u64::MAX, Some(0)), Ok(vec![]));
        // Up to a sequence counts what is found there. A bound behind the last is no bound; the reference finds nothing.
        assert_eq!(each(&[b"foo.*"], 1, Some(1)), Ok(vec![1]));
        assert_eq!(each(&[b"foo.*"], 5000, None), Ok(vec![97, 98, 99]));
        assert_eq!(bed.store().config().subjects, ["foo.*", "bar.*"]);
        bed.remove([97, 99, 60, 61, 62, 63, 64, 65, 66]);
        assert_eq!(
            bed.reader().last_of_each(&[b"foo.*"], u64::MAX, None),
            Ok(vec![94, 96, 98])
        );
        assert_eq!(
            bed.reader().last_of_each(&[b"foo.*"], 66, None),
            Ok(vec![57, 58, 59])
        );
        assert_eq!(bed.reader().last(b"foo.foo").unwrap().seq, 94);
        // L32: a subject whose last message went counts by the one before.
        assert_eq!(bed.reader().count_subjects(&[b"foo.*"], 95), Ok(2));
        compare_subjects(bed);
    });
}

#[test]
fn e_199_without_subjects_none_are_kept_and_messages_are_found_all_the_same() {
    let mut bed = Bed::new(Shape::PLAIN, r#","subjects":[],"mirror":{"name":"O"}"#, 300);
    bed.puts("foo", 10);
    bed.kill();
    // A mirror has its origin's subjects.
    assert_eq!(bed.reader().summary().subject_count, 1);
    assert_eq!(bed.reader().count(&[b"foo"], 0), Ok(10));
    bed.finish();
}

#[test]
fn e_228_first_last_and_count_of_each_subject_after_every_kind_of_removal() {
    every_shape("", 6 * 46, |bed| {
        let mut random = Random::derived(228, &[]);
        for round in 0..12 {
            for _ in 0..20 {
                let subject = format!("foo.{}", random.below(5));
                bed.put(&subject, "Hello World");
            }
            let (first, last, _) = bed.bounds();
            let seq = first + random.below(last - first);
            match round % 6 {
                0 => _ = bed.writer().remove(seq),
                1 => _ = bed.writer().erase(seq),
                2 => _ = bed.purge("foo.1", 0, 2),
                3 => _ = bed.compact(first + 5),
                4 => _ = bed.truncate(last - 5),
                _ => bed.remove([first, last]),
            }
            compare_subjects(bed);
        }
        bed.kill();
        compare_subjects(bed);
    });
}
