use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::format::state::SubjectEntry;

fn listed(table: &SubjectIndex) -> BTreeMap<Vec<u8>, SubjectTotals> {
    let mut listed = BTreeMap::new();
    table.for_each(|subject, totals| {
        let before = listed.insert(subject.to_vec(), totals);
        assert!(before.is_none(), "{subject:?} is there twice");
    });
    assert_eq!(table.len(), listed.len() as u64);
    listed
}

/// Subjects of every length around those that are stored in other ways, few enough to meet again.
fn subject() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![0..40_usize, Just(200)];
    (length, 0..3_u8, 0..3_u8, 0..3_u8).prop_map(|(length, head, middle, tail)| {
        let mut subject = vec![b'a'; length];
        if let Some(last) = length.checked_sub(1) {
            subject[last] = b'a' + tail;
            subject[length / 2] = b'p' + middle;
            subject[0] = b'a' + head;
        }
        subject
    })
}

/// Blocks with their subjects, by falling number, and whether they are taken back.
fn blocks() -> impl Strategy<Value = Vec<(Vec<Vec<u8>>, bool)>> {
    let block = (
        proptest::collection::vec(subject(), 0..80),
        prop::bool::weighted(0.2),
    );
    proptest::collection::vec(block, 0..8)
}

fn count_one_by_one(blocks: &[(Vec<Vec<u8>>, bool)]) -> BTreeMap<Vec<u8>, SubjectTotals> {
    let mut expected: BTreeMap<Vec<u8>, SubjectTotals> = BTreeMap::new();
    for (block, (subjects, goes)) in blocks.iter().rev().enumerate() {
        let block = block as u32;
        for subject in subjects
            .iter()
            .filter(|subject| !goes && !subject.is_empty())
        {
            let known = expected.entry(subject.clone()).or_insert(SubjectTotals {
                total: 0,
                first_block: block,
                last_block: block,
            });
            known.total += 1;
            known.last_block = block;
        }
    }
    expected
}

proptest! {
    #[test]
    fn threads_count_what_one_would(blocks in blocks(), threads in 1..4_usize, early in 0..8_usize) {
        let table = SubjectIndex::default();
        let mut counted: Vec<ThreadSubjects> = (0..threads).map(|_| ThreadSubjects::default()).collect();
        for (at, (subjects, goes)) in blocks.iter().enumerate() {
            let block = (blocks.len() - 1 - at) as u32;
            let mine = &mut counted[at % threads];
            mine.begin();
            let mut places: Vec<u32> = subjects.iter().map(|subject| mine.count(subject, block)).collect();
            let counts = mine.counts(&mut places);
            let counts: BTreeMap<Vec<u8>, u32> = counts.iter().map(|(subject, count)| (subject.to_vec(), count)).collect();
            for (subject, count) in &counts {
                prop_assert_eq!(subjects.iter().filter(|known| *known == subject).count(), *count as usize);
            }
            let distinct: std::collections::BTreeSet<_> = subjects.iter().filter(|subject| !subject.is_empty()).collect();
            prop_assert_eq!(distinct.len(), counts.len());
            if *goes {
                mine.take_back();
            }
            if at == early {
                table.take_from(mine);
            }
        }
        table.take_all(counted);
        prop_assert_eq!(listed(&table), count_one_by_one(&blocks));
    }

    #[test]
    fn what_is_put_is_found_and_taken_away(subjects in proptest::collection::vec((subject(), 0..4_u64), 0..200)) {
        let mut table = SubjectIndex::default();
        let mut expected: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        let entry = |(subject, total): &'_ (Vec<u8>, u64)| (subject.clone(), total + 1);
        let entries: Vec<(Vec<u8>, u64)> = subjects.iter().map(entry).collect();
        let listed_there: IndexedSubjects = entries
            .iter()
            .map(|(subject, total)| SubjectEntry { subject, total: *total, first_block: 1, last_block: 2 })
            .collect();
        table.put_all(&listed_there, 3);
        for (subject, total) in entries.into_iter().filter(|(subject, _)| !subject.is_empty()) {
            expected.insert(subject, total);
        }
        for (subject, count) in &subjects {
            table.remove(subject, *count);
            if let Some(total) = expected.get_mut(subject).filter(|_| !subject.is_empty()) {
                *total = total.saturating_sub(*count);
            }
        }
        expected.retain(|_, total| *total > 0);
        let found: BTreeMap<Vec<u8>, u64> = listed(&table).into_iter().map(|(subject, totals)| (subject, totals.total)).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn many_subjects_are_put_the_same_by_any_number_of_threads() {
    // Every seventh comes twice, some are long.
    let names: Vec<String> = (0..2 * super::SHARED_MIN)
        .map(|at| at - at % 7 / 6)
        .map(|at| format!("orders.{at}.{}", "x".repeat(at % 40)))
        .collect();
    let put = |threads| {
        let entries = names.iter().enumerate().map(|(at, name)| SubjectEntry {
            subject: name.as_bytes(),
            total: 1 + at as u64,
            first_block: 1,
            last_block: at as u32,
        });
        let mut table = SubjectIndex::default();
        table.put_all(&IndexedSubjects::from_iter(entries), threads);
        (table.len(), listed(&table))
    };
    let by_one = put(1);
    assert_eq!(by_one.0, by_one.1.len() as u64);
    for threads in [2, 3, 8, 200] {
        assert_eq!(put(threads), by_one, "{threads} threads");
    }
}

#[test]
fn a_subject_with_the_marker_byte_is_not_listed() {
    let mut table = SubjectIndex::default();
    let entry = SubjectEntry {
        subject: b"a\x7Fb",
        total: 1,
        first_block: 1,
        last_block: 1,
    };
    table.put_all(&IndexedSubjects::from_iter([entry]), 1);
    let mut counted = ThreadSubjects::default();
    counted.begin();
    assert_eq!(counted.count(b"a\x7Fb", 1), NO_SUBJECT);
    table.take_all(vec![counted]);
    assert!(table.is_empty());
}

proptest! {
    /// Adding and removing in any order leaves what a map would hold, and nothing for subjects that are gone.
    #[test]
    fn subjects_that_are_gone_leave_their_places(
        steps in proptest::collection::vec((subject(), 1_u64..4, any::<bool>()), 0..400),
    ) {
        let mut index = SubjectIndex::default();
        let mut expected: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for (subject, count, adds) in steps.into_iter().filter(|(subject, ..)| !subject.is_empty()) {
            if adds {
                let totals = SubjectTotals { total: count, first_block: 1, last_block: 1 };
                index.add(&subject, totals);
                *expected.entry(subject).or_default() += count;
            } else {
                index.remove(&subject, count);
                if let Some(left) = expected.get_mut(&subject) {
                    *left = left.saturating_sub(count);
                }
                expected.retain(|_, left| *left > 0);
            }
        }
        let found: BTreeMap<Vec<u8>, u64> =
            listed(&index).into_iter().map(|(subject, totals)| (subject, totals.total)).collect();
        prop_assert_eq!(&found, &expected);
        let kept: usize = index.shards.iter().map(|shard| shard.lock().entry_count()).sum();
        prop_assert_eq!(kept, expected.len(), "entries without messages stay behind");
        for (subject, total) in &expected {
            prop_assert_eq!(index.get(subject).map(|totals| totals.total), Some(*total));
        }
        prop_assert_eq!(index.get(b"never there"), None);
    }
}

#[test]
fn the_bytes_of_long_subjects_that_are_gone_are_given_back() {
    let mut index = SubjectIndex::default();
    let totals = SubjectTotals {
        total: 1,
        first_block: 1,
        last_block: 1,
    };
    let subject = |at: u32| format!("{}.{at}", "long".repeat(20)).into_bytes();
    for at in 0..2_000 {
        index.add(&subject(at), totals);
    }
    for at in 0..1_990 {
        index.remove_one(&subject(at));
    }
    for at in 1_990..2_000 {
        assert_eq!(index.get(&subject(at)), Some(totals), "{at}");
    }
    let held: usize = index
        .shards
        .iter()
        .map(|shard| shard.lock().bytes_held())
        .sum();
    assert!(held <= 10 * 85 * 2, "{held} bytes for ten subjects");
}

#[test]
fn filters_find_what_they_match() {
    let mut index = SubjectIndex::default();
    for (subject, total) in [("a.b.c", 1), ("a.b", 2), ("a.x.c", 3), ("b", 4)] {
        let totals = SubjectTotals {
            total,
            first_block: 1,
            last_block: 1,
        };
        index.add(subject.as_bytes(), totals);
    }
    let matching = |filter: &str| {
        let mut found = Vec::new();
        index.for_each_matching(filter.as_bytes(), |_, totals| found.push(totals.total));
        found.sort_unstable();
        found
    };
    assert_eq!(matching("a.*.c"), [1, 3]);
    assert_eq!(matching("a.>"), [1, 2, 3]);
    assert_eq!(matching(">"), [1, 2, 3, 4]);
    assert_eq!(matching("a.b"), [2]);
    assert_eq!(matching("a"), [0_u64; 0]);
    assert_eq!(matching("*"), [4]);
}
