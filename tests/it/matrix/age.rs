//! Age expiry while the store is opened. The age is thirty years and old messages are from 1980, so that the day of
//! the test does not matter.

use super::{acted, both, bounds, cases, each, from_index, saw, state};
use crate::support::look;

#[test]
fn r124_everything_too_old() {
    both("R124", "", (0, 101, 100), |_, report| {
        assert_eq!(state(report).bytes, 0)
    });
}

#[test]
fn r125_five_hundred_expired() {
    each("R125", "", |case, report| {
        assert_eq!(bounds(report), (0, 501, 500));
        assert_eq!(case.server_blocks(), 1);
        assert!(saw(report, "age-expired-blocks") || saw(report, "age-expired-msgs"));
    });
}

#[test]
fn r126_half_of_one_block() {
    both("R126", "", (10, 11, 20), |case, report| {
        assert_eq!(case.server_blocks(), 1);
        let subjects = report.subjects.as_ref().expect("collected");
        assert_eq!(subjects.values().sum::<u64>(), 10);
        let fifth: Vec<u64> = case
            .messages()
            .iter()
            .filter(|message| message.1 == "foo.5")
            .map(|message| message.0)
            .collect();
        assert_eq!(fifth, [15]);
    });
}

#[test]
fn r128_expiring_block_ends_in_deletes() {
    each("R128", "", |case, report| {
        assert_eq!(bounds(report), (100, 151, 250));
        assert_eq!(
            case.list("msgs")
                .iter()
                .filter(|name| name.ends_with(".blk"))
                .count(),
            5
        );
        assert_eq!(case.server_blocks(), 3);
    });
}

#[test]
fn r131_expired_while_running() {
    both("R131", "", (0, 101, 100), |_, _| {});
}

#[test]
fn r132_no_subject_is_left() {
    each("R132", "", |_, report| {
        assert_eq!(
            (bounds(report), state(report).subject_count),
            ((0, 2, 1), 0)
        );
    });
}

#[test]
fn r135_only_block_gone_under_an_index() {
    each("R135", "", |case, report| {
        assert!(case.list("msgs").iter().all(|name| !name.ends_with(".blk")));
        assert!(!from_index(report));
        assert_eq!(bounds(report), (0, 501, 500));
    });
    assert_eq!(cases("R135", "").len(), 4);
}

#[test]
fn r136_expired_while_down() {
    each("R136", "", |_, report| {
        assert_eq!(bounds(report), (0, 201, 200))
    });
}

#[test]
fn r137_age_counts_from_the_message() {
    each("R137", "", |case, report| {
        assert_eq!(bounds(report), (0, 2, 1));
        let stored_ns = state(report).last_time_ns.expect("a time");
        for (after_s, want) in [(1, (1, 1, 1)), (3, (0, 2, 1))] {
            let mut options = case.options();
            options.now_ns = stored_ns + after_s * 1_000_000_000;
            assert_eq!(
                bounds(&look(&case.stream(), &options)),
                want,
                "{after_s} s later"
            );
        }
    });
}

#[test]
fn r138_many_subjects_expired() {
    each("R138", "", |_, report| {
        assert_eq!(
            (bounds(report), state(report).subject_count),
            ((0, 501, 500), 0)
        );
    });
}

#[test]
fn r139_delete_markers_put_expiry_off() {
    each("R139", "", |_, report| {
        assert_eq!(bounds(report), (3, 1, 3));
        assert!(acted(report, "remove-block").is_empty());
    });
}

#[test]
fn r141_reused_block_reads_back() {
    both("R141", "", (5, 6, 10), |case, _| {
        let last = case.messages().pop().expect("a message");
        assert_eq!((last.0, last.3.as_slice()), (10, b"Hello World".as_slice()));
    });
}
