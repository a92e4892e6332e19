use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::format::state::SubjectEntry;

fn listed(table: &SubjectTable) -> BTreeMap<Vec<u8>, SubjectTotals> {
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
        let table = SubjectTable::default();
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
        let mut table = SubjectTable::default();
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
fn a_subject_with_the_marker_byte_is_not_listed() {
    let mut table = SubjectTable::default();
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
