//! Subjects after recovery.

use super::{both, bounds, each, from_index, state};

#[test]
fn r220_one_message_for_each_subject() {
    both("R220", "", (100, 1, 100), |case, report| {
        assert_eq!(state(report).subject_count, 100);
        let last: Vec<u64> = case
            .messages()
            .iter()
            .filter(|m| m.1 == "foo.22")
            .map(|m| m.0)
            .collect();
        assert_eq!(last, [22]);
    });
}

#[test]
fn r221_no_subjects_at_all() {
    both("R221", "", (100, 1, 100), |_, report| {
        assert_eq!(state(report).subject_count, 0)
    });
}

#[test]
fn r223_lengths_of_live_subjects() {
    both("R223", "", (86, 3, 200), |case, report| {
        let subjects = report.subjects.as_ref().expect("collected");
        let tracked: usize = subjects.keys().map(Vec::len).sum();
        let live: usize = case.messages().iter().map(|message| message.1.len()).sum();
        assert_eq!((subjects.len(), tracked), (86, live));
    });
    each("R223", "purged", |_, report| {
        assert!(
            report
                .subjects
                .as_ref()
                .is_some_and(std::collections::BTreeMap::is_empty)
        );
    });
}

#[test]
fn r225_second_subject_at_the_end() {
    each("R225", "", |case, report| {
        assert!(from_index(report));
        assert_eq!(bounds(report), (510, 1, 510));
        let first = case
            .messages()
            .into_iter()
            .find(|message| message.1 == "foo.B");
        assert_eq!(first.map(|message| message.0), Some(501));
    });
}

#[test]
fn r226_first_block_hint_was_stale() {
    both("R226", "", (7, 2, 8), |case, report| {
        let subjects = report.subjects.as_ref().expect("collected");
        assert_eq!(subjects[b"foo.0".as_slice()], 1);
        let last = case
            .messages()
            .into_iter()
            .rfind(|message| message.1 == "foo.0");
        assert_eq!(last.map(|message| message.0), Some(8));
        assert_eq!(case.server_blocks(), 2);
    });
}

#[test]
fn r228_pending_by_subject() {
    // A thousandth of the original.
    each("R228", "", |case, report| {
        assert_eq!(bounds(report), (498, 2, 501));
        let subjects = report.subjects.as_ref().expect("collected");
        assert_eq!(subjects[b"foo.500".as_slice()], 1);
        let counted = case
            .messages()
            .iter()
            .filter(|message| message.1 == "foo")
            .count();
        assert_eq!((subjects[b"foo".as_slice()], counted), (398, 398));
    });
}

#[test]
fn r229_three_subjects() {
    both("R229", "", (5, 1, 5), |_, report| {
        let subjects = report.subjects.as_ref().expect("collected");
        let counts: Vec<u64> = subjects.values().copied().collect();
        assert_eq!(counts, [2, 2, 1]);
    });
}
