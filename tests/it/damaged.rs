//! Parity on damage: a small store for every row and section of the recovery reference, each with
//! the Go server's verdict beside it.

use std::collections::BTreeSet;
use std::fs;

use jetsam::env::OsFileSystem;
use jetsam::living::Idle;
use jetsam::recovery::{RecoverOptions, undo};
use jetsam::report::events::{Event, EventCode};
use jetsam::report::stream::{Outcome, Refusal};

use crate::recover::{compare_files, mend, snapshot};
use crate::support::{Fixture, damaged, differences, look};

/// The rows and sections that want at least one store each; what stands before the first `-` in
/// the name of a store.
const WANTED: &[&str] = &[
    "D0", "D1", "D2", "D3", "D4", "D5", "D6", "D6a", "D7", "D8", "D8a", "D9", "D10", "D11", "D12",
    "D13", "D14", "D15", "D16", "D17", "D18", "2.3", "3.1", "3.2", "3.3", "3.4", "3.5.W1",
    "3.5.W2", "3.5.W3", "3.5.C1", "3.5.C2", "3.5.C3", "3.5.N1", "3.5.N2", "3.5.N3", "3.5.N4",
    "3.5.N5", "3.5.N6", "3.5.N7", "3.6", "3.7", "4.1.1", "4.1.2", "4.1.3", "4.1.4", "4.1.5",
    "4.1.6", "4.2", "4.3", "4.4", "5.2", "5.3", "5.4", "5.5", "5.6", "5.7", "5.8", "5.9", "6",
    "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "8", "9", "10", "11.2", "11.5", "H15", "H16", "H19",
    "H24", "H33", "H37",
];

/// Where we say something else than the server, and mean to.
const DELIBERATE: &[(&str, Option<Refusal>, &str)] = &[
    (
        "3.1-text-between",
        OPEN_FAILS,
        "H17: two names for one block",
    ),
    (
        "3.1-leading-zero",
        OPEN_FAILS,
        "H17: two names for one block",
    ),
    ("3.1-plus-sign", OPEN_FAILS, "H17: two names for one block"),
    (
        "3.1-beyond-32-bits",
        OPEN_FAILS,
        "H17: two names for one block",
    ),
    (
        "3.4-block-is-a-directory",
        IO,
        "a device error is for the caller to mend",
    ),
    (
        "D0-staging-unreadable",
        IO,
        "a device error is for the caller to mend",
    ),
];

const OPEN_FAILS: Option<Refusal> = Some(Refusal::OpenFails);
const IO: Option<Refusal> = Some(Refusal::Io);

#[test]
fn every_damaged_store_has_the_state_the_server_gives_it() {
    let fixtures = damaged();
    let mut wrong = Vec::new();
    for fixture in &fixtures {
        let case = fixture.case();
        let (_temp, stream) = fixture.scratch();
        let before = snapshot(&stream.dir);
        let report = look(&stream, &fixture.options());
        if snapshot(&stream.dir) != before {
            wrong.push(format!("{case}\n  the directory was changed"));
        }
        let found = differences(&report, &fixture.verdict);
        let deliberate = DELIBERATE.iter().find(|(name, ..)| *name == case);
        match deliberate {
            Some((_, refusal, why)) if report.refusal != *refusal || found.is_empty() => {
                wrong.push(format!(
                    "{case}\n  no longer {refusal:?} ({why}): {:?}",
                    report.refusal
                ));
            }
            Some(_) => {}
            None if found.is_empty() => {}
            None => wrong.push(format!("{case}\n  {}", found.join("\n  "))),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        fixtures.len(),
        wrong.join("\n")
    );
}

/// Recovers one store and undoes it; what came out wrong.
fn recover_and_undo(fixture: &Fixture) -> Vec<String> {
    let mut wrong = Vec::new();
    let how = RecoverOptions {
        accept_loss: true,
        accept_expiry: true,
        undo: true,
    };
    let case = fixture.case();
    let (_temp, stream) = fixture.scratch();
    let before = snapshot(&stream.dir);
    let report = mend(&stream, &fixture.options(), &how);
    if report.outcome == Outcome::Refused {
        if snapshot(&stream.dir) != before {
            wrong.push(format!("{case}: refused and changed"));
        }
        return wrong;
    }
    // A stream that the server left alone is mended all the same.
    let alone = |event: &Event| event.code == EventCode::ReplicasUnsupported;
    if !report.events.iter().any(alone) {
        compare_files(fixture, &stream.dir, &mut wrong);
    }
    if snapshot(&stream.dir) != before {
        undo(&OsFileSystem, &Idle::declared(), &stream)
            .unwrap_or_else(|error| panic!("{case}: {error:?}"));
    }
    if snapshot(&stream.dir) != before {
        wrong.push(format!("{case}: undo does not bring everything back"));
    }
    wrong
}

/// A purge is finished without a question, unless a server that knows nothing of it stored messages since.
#[test]
fn an_overtaken_purge_is_not_finished_without_consent() {
    let how = RecoverOptions::default();
    let mut seen = 0;
    for fixture in damaged() {
        let asks = match fixture.case().as_str() {
            "10-overtaken" | "10-begun-anew" => true,
            "10-marker-staged" | "10-marker-staged-old-there" | "10-between-renames" => false,
            _ => continue,
        };
        seen += 1;
        let (_temp, stream) = fixture.scratch();
        let before = snapshot(&stream.dir);
        let report = mend(&stream, &fixture.options(), &how);
        let asked = |event: &Event| event.code == EventCode::LossNeedsConsent;
        assert_eq!(report.events.iter().any(asked), asks, "{}", fixture.case());
        assert_eq!(snapshot(&stream.dir) == before, asks, "{}", fixture.case());
    }
    assert_eq!(seen, 5);
}

#[test]
fn recover_leaves_what_the_server_leaves_and_undo_takes_it_back() {
    let fixtures = damaged();
    // Most of the time goes into waiting for the disk.
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = fixtures
            .chunks(fixtures.len().div_ceil(16))
            .map(|chunk| {
                scope.spawn(move || chunk.iter().flat_map(recover_and_undo).collect::<Vec<_>>())
            })
            .collect();
        let results = workers
            .into_iter()
            .map(|worker| worker.join().expect("no panic"));
        results.flatten().collect()
    });
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_row_and_section_has_a_store() {
    let fixtures = damaged();
    let names: Vec<String> = fixtures.iter().map(|fixture| fixture.case()).collect();
    let found: BTreeSet<&str> = names
        .iter()
        .filter_map(|name| name.split('-').next())
        .collect();
    let wanted: BTreeSet<&str> = WANTED.iter().copied().collect();
    assert_eq!(wanted.len(), WANTED.len(), "a section is listed twice");
    assert_eq!(found, wanted);
    for (name, ..) in DELIBERATE {
        assert!(names.iter().any(|found| found == name), "no store {name}");
    }
}

#[test]
fn every_store_is_small_and_says_what_it_is() {
    for fixture in damaged() {
        let case = fixture.dir.ancestors().nth(3).expect("a case").to_owned();
        let note = fs::read_to_string(case.join("note.txt")).expect("a note");
        assert!(
            note.len() > 5 && note.trim_end().lines().count() == 1,
            "{note:?}"
        );
        let bytes: usize = snapshot(&fixture.dir)
            .values()
            .map(|(bytes, _)| bytes.len())
            .sum();
        assert!(bytes < 8_192, "{}: {bytes} bytes", case.display());
    }
}

/// A store that opens is never called clean where the server lost or skipped something in it.
#[test]
fn losses_are_never_called_clean() {
    for fixture in damaged() {
        let (_temp, stream) = fixture.scratch();
        let report = look(&stream, &fixture.options());
        let lost = fixture.verdict["state"]["lost"].is_object();
        let unreadable = fixture.verdict["unreadable"].is_array();
        if (lost || unreadable) && report.refusal.is_none() {
            assert_eq!(report.outcome, Outcome::Damaged, "{}", fixture.case());
            assert_eq!(report.exit_code(), 4, "{}", fixture.case());
        }
        if fixture.verdict["outcome"] != "opened" || lost || unreadable {
            assert_ne!(report.exit_code(), 0, "{}", fixture.case());
        }
    }
}
