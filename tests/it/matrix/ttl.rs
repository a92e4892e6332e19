//! Message TTLs, schedules and their files.

use super::{both, bounds, cases, each, from_index, state};

/// Sequences with a TTL, and that each expires a second after its message.
fn timed(case: &super::Case, report: &jetsam::report::stream::StreamReport) -> Vec<u64> {
    let ttl = report.ttl.as_ref().expect("a wheel");
    let entries = ttl.entries.as_ref().expect("collected");
    assert_eq!(ttl.count, entries.len() as u64, "{}", case.name);
    entries.iter().map(|entry| entry.0).collect()
}

#[test]
fn r142_ttl_over_a_restart() {
    each("R142", "", |case, report| {
        assert_eq!(bounds(report), (10, 1, 10));
        assert_eq!(timed(case, report), (1..=10).collect::<Vec<u64>>());
    });
}

#[test]
fn r143_wheel_rebuilt_past_a_message_without_ttl() {
    each("R143", "", |case, report| {
        assert!(from_index(report));
        assert_eq!(bounds(report), (10, 1, 10));
        assert_eq!(timed(case, report), (2..=10).collect::<Vec<u64>>());
        assert_eq!((case.server_blocks(), case.server_sum("ttls")), (1, 9));
    });
}

#[test]
fn r147_corrupt_blocks_do_not_loop() {
    each("R147", "", |case, report| {
        assert_eq!(bounds(report), (2, 1, 1));
        assert_eq!(timed(case, report), [1]);
    });
    each("R147", "repeated", |case, report| {
        assert_eq!(bounds(report), (3, 1, 2));
        assert_eq!(timed(case, report), [1, 2]);
    });
    assert_eq!(cases("R147", "").len(), 4);
}

#[test]
#[allow(non_snake_case, reason = "the name of the server's test")]
fn test_545_TestFileStoreNoPanicOnRecoverTTLWithCorruptBlocks() {
    for label in ["", "repeated"] {
        each("R147", label, |case, report| {
            // The second block is gone, or the third claims the range of the first: nothing fails, nothing loops.
            assert!(report.state.is_some());
            assert!(!timed(case, report).is_empty());
        });
    }
}

#[test]
fn r148_counters_come_from_the_records() {
    both("R148", "", (1, 1, 1), |case, report| {
        assert_eq!(timed(case, report), [1]);
        let schedules = report.schedules.as_ref().expect("schedules");
        assert_eq!(schedules.count, 1);
        assert_eq!(
            (case.server_sum("ttls"), case.server_sum("schedules")),
            (1, 1)
        );
    });
    assert_eq!(cases("R148", "noidx").len(), 4);
}

#[test]
fn r149_ttl_with_its_file() {
    each("R149", "", |case, report| {
        assert!(case.list("msgs").contains(&"thw.db".to_owned()));
        assert_eq!(
            (bounds(report), timed(case, report).len()),
            ((10, 1, 10), 10)
        );
    });
}

#[test]
fn r150_ttl_without_its_file() {
    each("R150", "", |case, report| {
        assert!(!case.list("msgs").contains(&"thw.db".to_owned()));
        assert_eq!(
            (bounds(report), timed(case, report).len()),
            ((10, 1, 10), 10)
        );
    });
}

#[test]
fn r284_wheel_names_purged_messages() {
    // The entries are dropped when they fall due, not when the store is opened.
    each("R284", "", |case, report| {
        assert_eq!(
            (bounds(report), timed(case, report).len()),
            ((0, 11, 10), 10)
        );
    });
}

#[test]
fn r285_wheel_points_past_the_end() {
    each("R285", "", |case, report| {
        assert_eq!((bounds(report), timed(case, report).len()), ((5, 1, 5), 10));
    });
}

#[test]
fn r151_schedules_rebuilt() {
    each("R151", "", |case, report| {
        assert_eq!(bounds(report), (1, 1, 1));
        let schedules = report.schedules.as_ref().expect("schedules");
        assert_eq!(schedules.count, 1);
        let entries = schedules.entries.as_ref().expect("collected");
        // 2091-03-04T05:06:07Z
        assert_eq!(entries[0], (b"foo".to_vec(), 1, 3_823_823_167_000_000_000));
        assert_eq!(case.server_sum("schedules"), 1);
        assert!(state(report).lost.is_none());
    });
}
