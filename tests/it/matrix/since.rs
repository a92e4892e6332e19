//! The rows that came with v2.15.3.

use std::collections::BTreeMap;

use jetsam::format::headers::{SCHEDULE, TTL, has_line};
use jetsam::report::stream::{Refusal, StreamReport};

use super::{Case, KEEP_NOTHING, bounds, cases, each, from_index, saw};
use crate::recover::{mend, snapshot};
use crate::support::{damaged_case, look};

/// Sequences by source key.
fn positions(report: &StreamReport) -> BTreeMap<String, u64> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found = report.sources.iter().flatten();
    found.map(|(key, at)| (text(key), at.seq)).collect()
}

/// A failed open leaves every byte as it was.
fn stays(case: &Case) {
    let (_temp, stream) = case.scratch();
    let before = snapshot(&stream.dir);
    let report = mend(&stream, &case.options(), &KEEP_NOTHING);
    assert_eq!(report.refusal, Some(Refusal::OpenFails), "{}", case.name);
    assert_eq!(snapshot(&stream.dir), before, "{}", case.name);
}

#[test]
fn r347_timers_are_counted_by_their_lines() {
    // Written by the rule for values, counted anew by the one for lines.
    each("R347", "noidx", |case, report| {
        assert!(!from_index(report));
        assert_eq!(
            (case.server_sum("ttls"), case.server_sum("schedules")),
            (3, 2)
        );
        assert_eq!(bounds(report), (6, 1, 6));
    });
    // What the index says is believed until a block is loaded.
    each("R347", "clean", |_, report| assert!(from_index(report)));
}

#[test]
fn r348_a_scan_is_written_down() {
    for (label, file, code) in [
        ("ttl", "msgs/thw.db", "ttl-outdated"),
        ("schedules", "msgs/sched.db", "sched-outdated"),
        ("source", "sources.db", "sources-outdated"),
    ] {
        for case in cases("R348", label) {
            let report = case.look();
            assert!(saw(&report, code) && from_index(&report), "{label}");
            let (_temp, stream) = case.scratch();
            assert!(!stream.dir.join(file).exists());
            mend(&stream, &case.options(), &KEEP_NOTHING);
            assert!(stream.dir.join(file).exists(), "{label}");
            let again = look(&stream, &case.options());
            assert!(!saw(&again, code), "{label}: {:?}", again.events);
            assert!(again.actions.is_empty(), "{label}: {:?}", again.actions);
        }
    }
}

#[test]
fn r349_blocks_without_a_subject_of_the_source_are_passed_over() {
    let found =
        |second: &str| BTreeMap::from([("ORIGIN1 > >".to_owned(), 100), (second.to_owned(), 0)]);
    for (label, second) in [
        ("foo-a", "ORIGIN2 foo.a.> >"),
        ("foo-b", "ORIGIN2 foo.b.> >"),
    ] {
        each("R349", label, |case, report| {
            assert!(case.list("msgs").len() > 10);
            assert_eq!(positions(report), found(second));
        });
    }
    // A block that does not decode is met only by the source whose subjects it holds.
    each("R349", "foo-b-spoilt", |_, report| {
        assert_eq!(positions(report), found("ORIGIN2 foo.b.> >"));
    });
    each("R349", "foo-a-spoilt", |_, report| {
        assert_eq!(report.refusal, Some(Refusal::OpenFails));
    });
}

#[test]
fn r350_a_failed_open_keeps_the_blocks() {
    each("R350", "age", |case, report| {
        assert_eq!(report.refusal, Some(Refusal::OpenFails));
        assert!(saw(report, "server-would-skip-stream"));
        stays(case);
    });
}

#[test]
fn r354_a_value_that_is_not_known_takes_the_stream_offline() {
    for (name, told) in [
        ("11.2-unknown-word", "retention: \"novel\""),
        ("11.2-unknown-storage", "storage: \"tape\""),
        ("11.2-wrong-type", "max_msgs: \"many\""),
        ("11.2-nameless", "name: 7"),
    ] {
        let fixture = damaged_case(name);
        let (_temp, stream) = fixture.scratch();
        let report = look(&stream, &fixture.options());
        assert_eq!(report.refusal, Some(Refusal::Skipped), "{name}");
        let event = report.events.last().expect("a cause");
        assert_eq!(event.code.as_str(), "stream-strict-json", "{name}");
        assert!(event.detail.contains(told), "{name}: {}", event.detail);
    }
}

/// The only consumer of a damaged store: its outcome and the codes of its events.
fn consumer(name: &str) -> (&'static str, StreamReport) {
    let fixture = damaged_case(name);
    let (_temp, stream) = fixture.scratch();
    let report = look(&stream, &fixture.options());
    (report.consumers[0].outcome, report)
}

#[test]
fn r356_an_ack_floor_above_what_is_pending_loads() {
    let (outcome, report) = consumer("11.5-floor-above-pending");
    let found = &report.consumers[0];
    assert_eq!((outcome, found.ack_floor), ("ok", (4, 1)));
    assert_eq!((found.delivered, found.pending_count), ((4, 3), 2));
}

#[test]
fn r357_an_ack_policy_that_is_not_known_stops_the_stream() {
    let (outcome, report) = consumer("11.5-unknown-word");
    assert_eq!(outcome, "skipped");
    assert!(saw(&report, "consumer-stream-stopped"));
    let told =
        |event: &jetsam::report::events::Event| event.detail.contains("ack_policy: \"novel\"");
    assert!(report.events.iter().any(told), "{:?}", report.events);
}

#[test]
fn r358_a_reserved_deliver_subject_costs_the_directory() {
    for name in ["11.5-deliver-reserved", "11.5-deliver-invalid"] {
        let (outcome, report) = consumer(name);
        assert_eq!(outcome, "deleted", "{name}");
        assert!(saw(&report, "consumer-would-be-deleted"), "{name}");
    }
    for name in ["11.5-deliver-wildcard", "11.5-deliver-cycle"] {
        let (outcome, report) = consumer(name);
        assert_eq!(outcome, "skipped", "{name}");
        assert!(saw(&report, "consumer-add-failed"), "{name}");
    }
    assert_eq!(consumer("11.5-deliver-sound").0, "ok");
}

#[test]
fn r361_a_line_counts_by_its_name() {
    let found = |block: &[u8]| (has_line(block, TTL), has_line(block, SCHEDULE));
    assert_eq!(found(b"NATS/1.0\r\nNats-TTL:\r\n\r\n"), (true, false));
    assert_eq!(
        found(b"NATS/1.0\r\nNats-Schedule: x\r\nNats-TTL: 1\r\n\r\n"),
        (true, true)
    );
    assert_eq!(
        found(b"NATS/1.0\r\nNats-TTL-X: 1\r\nX: Nats-TTL: 1\r\n\r\n"),
        (false, false)
    );
    assert_eq!(
        found(b"NATS/1.0\nNats-TTL: 1\r\nnats-ttl: 1\r\n\r\n"),
        (false, false)
    );
}

#[test]
fn r362_an_error_behind_the_blocks_is_a_plain_one() {
    for (label, left) in [("messages", 1), ("bytes", 0), ("subject", 1), ("source", 2)] {
        each("R362", label, |_, report| {
            assert_eq!(report.refusal, Some(Refusal::OpenFails), "{label}");
        });
        each("R362", &format!("{label}-sound"), |_, report| {
            assert_eq!(bounds(report).0, left, "{label}");
        });
    }
    each("R350", "age-sound", |_, report| {
        assert_eq!(bounds(report).0, 0)
    });
}

#[test]
fn r363_a_failed_open_changes_nothing() {
    for label in ["messages", "bytes", "subject", "source"] {
        cases("R362", label).iter().for_each(stays);
    }
}
