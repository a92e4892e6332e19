//! Limits and the first sequence, applied while the store is opened.

use super::{both, bounds, each, saw, state};

#[test]
fn r170_one_message() {
    each("R170", "", |_, report| {
        assert_eq!(bounds(report), (1, 2, 2))
    });
}

#[test]
fn r172_tighter_limits() {
    for label in ["clean", "noidx"] {
        each("R172", label, |case, report| {
            assert_eq!(bounds(report), (4, 17, 20));
            let subjects: Vec<String> = case
                .messages()
                .into_iter()
                .map(|message| message.1)
                .collect();
            assert_eq!(subjects, ["A", "B", "A", "B"]);
            assert!(saw(report, "limit-trimmed"));
        });
    }
}

#[test]
fn r173_first_sequence() {
    each("R173", "fresh", |_, report| {
        assert_eq!(bounds(report), (0, 1000, 999))
    });
    both("R173", "", (2, 1000, 1001), |_, _| {});
}

#[test]
fn r175_newest_of_each_subject() {
    // 100 subjects, 500 overwrites in place of 100 000 and five million.
    for label in ["clean", "noidx"] {
        each("R175", label, |_, report| {
            assert_eq!(
                (state(report).messages, state(report).subject_count),
                (100, 100)
            );
            let subjects = report.subjects.as_ref().expect("collected");
            assert!(subjects.values().all(|count| *count == 1));
        });
    }
}
