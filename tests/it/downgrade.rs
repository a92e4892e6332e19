//! What older servers make of a store that 2.15 wrote: what they pass over, and what they bring back. The figures are what
//! released servers did on the same store.

use std::sync::atomic::AtomicBool;

use jetsam::env::OsFileSystem;
use jetsam::preflight::{Forecast, PreflightOptions, Start, forecast};
use jetsam::report::Watch;
use jetsam::report::events::EventCode;

use crate::cases::{Case, case_options};

fn foretold(case: &Case, stream: &str, server: &str) -> Forecast {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let preflight = PreflightOptions {
        server: server.parse().expect("a server"),
        ..PreflightOptions::default()
    };
    let stream = case.stream(stream);
    forecast(&OsFileSystem, &stream, &case_options(), &preflight, &watch)
}

/// Messages, first and last sequence, deleted ones between.
type Counts = (u64, u64, u64, u64);

fn counts(told: &Forecast) -> Counts {
    let state = told.state.clone().unwrap_or_default();
    (
        state.messages,
        state.first_seq,
        state.last_seq,
        state.deleted_count,
    )
}

fn events(told: &Forecast, code: EventCode) -> Vec<(&str, &str)> {
    let found = told.events.iter().filter(|event| event.code == code);
    found
        .map(|event| {
            (
                event.file.as_deref().unwrap_or_default(),
                event.detail.as_str(),
            )
        })
        .collect()
}

#[test]
fn the_state_is_that_of_each_server() {
    let case = Case::unpack("13-downgrade");
    let same: [(&str, Counts); 11] = [
        ("ASY", (100, 1, 100, 0)),
        ("ATM", (100, 1, 100, 0)),
        ("CNT", (30, 1, 30, 0)),
        ("CON", (100, 1, 100, 0)),
        ("FIRST", (100, 1000, 1099, 0)),
        ("MIR", (300, 1, 300, 0)),
        ("SCH", (30, 1, 30, 0)),
        ("SRC", (657, 1, 657, 0)),
        ("TTL", (100, 1, 100, 0)),
        ("XF", (100, 1, 100, 0)),
        ("BAT", (100, 1, 100, 0)),
    ];
    let with_deletes: [(&str, Counts, Counts); 3] = [
        ("PLAIN", (257, 1, 300, 43), (300, 1, 300, 0)),
        ("WQ", (150, 151, 300, 0), (300, 1, 300, 0)),
        ("S2", (357, 1, 400, 43), (400, 1, 400, 0)),
    ];
    for server in ["2.15", "2.14", "2.12", "2.10", "2.9"] {
        for (stream, expected) in same {
            let told = foretold(&case, stream, server);
            if stream == "BAT" && server == "2.12" {
                assert_eq!(told.start, Start::StreamSkipped, "{server} {stream}");
                continue;
            }
            assert_eq!(
                (told.start, counts(&told)),
                (Start::Ok, expected),
                "{server} {stream}"
            );
        }
        for (stream, known, unknown) in with_deletes {
            let told = foretold(&case, stream, server);
            let expected = if server == "2.9" { unknown } else { known };
            assert_eq!(
                (told.start, counts(&told)),
                (Start::Ok, expected),
                "{server} {stream}"
            );
            assert_eq!(told.lost, 0, "{server} {stream}");
            let returning = events(&told, EventCode::TombstonesIgnored);
            assert_eq!(
                returning.len(),
                usize::from(server == "2.9"),
                "{server} {stream}"
            );
        }
        // Delete markers keep age from being applied at the start; before they were known nothing did.
        let told = foretold(&case, "SDM", server);
        let kept = !matches!(server, "2.10" | "2.9");
        assert_eq!(told.messages, if kept { 100 } else { 0 }, "{server}");
    }
}

#[test]
fn what_comes_back_is_counted() {
    let case = Case::unpack("13-downgrade");
    for (stream, count) in [("PLAIN", 43), ("WQ", 150), ("S2", 43)] {
        let told = foretold(&case, stream, "2.9.25");
        let returning = events(&told, EventCode::TombstonesIgnored);
        let [(_, detail)] = returning.as_slice() else {
            panic!("{stream}: {returning:?}");
        };
        assert!(
            detail.starts_with(&format!("{count} messages")),
            "{stream}: {detail}"
        );
        assert_eq!(told.exit_code(), 1, "{stream}");
    }
}

#[test]
fn what_is_passed_over_is_told() {
    let case = Case::unpack("13-downgrade");
    // Stream, what is told, and the oldest line that knows it.
    for (stream, word, since) in [
        ("TTL", "with a TTL", "2.11"),
        ("SDM", "delete markers", "2.11"),
        ("SCH", "scheduled", "2.12"),
        ("CNT", "counters", "2.12"),
        ("ATM", "atomic", "2.12"),
        ("ASY", "asynchronous", "2.12"),
        ("BAT", "of a batch", "2.14"),
        ("FIRST", "first sequence", "2.10"),
        ("S2", "compressed", "2.10"),
        ("XF", "transformed", "2.10"),
        ("CON", "paused", "2.11"),
        ("CON", "priority groups", "2.11"),
    ] {
        let minor = |server: &str| server[2..].parse::<u16>().expect("a line");
        for server in ["2.9", "2.10", "2.11", "2.12", "2.14", "2.15"] {
            let told = foretold(&case, stream, server);
            if told.start != Start::Ok {
                assert_eq!(told.start, Start::StreamSkipped, "{server} {stream}");
                continue;
            }
            let found = events(&told, EventCode::FeatureIgnored);
            let says = found.iter().any(|(_, detail)| detail.contains(word));
            assert_eq!(
                says,
                minor(server) < minor(since),
                "{server} {stream}: {found:?}"
            );
        }
    }
    let told = foretold(&case, "CON", "2.10.29");
    let paused = events(&told, EventCode::FeatureIgnored);
    assert!(
        paused
            .iter()
            .any(|(file, _)| *file == "obs/PAUSED/meta.inf"),
        "{paused:?}"
    );
    assert!(
        told.consumers
            .iter()
            .all(|consumer| consumer.outcome == "ok")
    );
}

#[test]
fn a_batch_that_was_not_committed_is_told() {
    let case = Case::unpack("20-atomic-batch-uncommitted");
    let told = foretold(&case, "ATM", "2.15.3");
    let pending = events(&told, EventCode::BatchPending);
    let [(file, detail)] = pending.as_slice() else {
        panic!("{pending:?}");
    };
    assert_eq!(*file, "batches/v2Q3j7p1");
    assert!(detail.contains("drops them"), "{detail}");
    assert_eq!((told.start, told.messages, told.lost), (Start::Ok, 55, 0));
    // A server that knows no batches leaves it where it is.
    let told = foretold(&case, "ATM", "2.10.29");
    let pending = events(&told, EventCode::BatchPending);
    assert!(pending[0].1.contains("leaves them"), "{pending:?}");
    assert_eq!(
        foretold(&case, "CNT", "2.15.3")
            .events
            .iter()
            .filter(|event| event.code == EventCode::BatchPending)
            .count(),
        0
    );
}
