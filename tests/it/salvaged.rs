//! Salvage of stores made and damaged for the purpose, from the library and from the command.

use std::fs;
use std::sync::atomic::AtomicBool;

use jetsam::crypto::Cipher;
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::report::Watch;
use jetsam::report::events::EventCode;
use jetsam::report::stream::Outcome;
use jetsam::salvage::{self, SalvageError, SalvageOptions, Uncertain};

use crate::made::{
    KEY, MESSAGES, Made, PLAIN, block, has, jetsam, make, options, time, totals, zero,
};
use crate::recover::snapshot;
use crate::salvage::{into, live, save};

#[test]
fn lost_tombstones_do_not_bring_messages_back_in_silence() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let made = Made {
        tombstones: &[17, 500, 501, 502],
        ..PLAIN
    };
    let stream = make(&temp.path().join("S"), made);
    // The tombstone of 500 is gone, the others are there.
    let last = block(&stream, 10);
    let length = fs::read(&last).expect("a block").len();
    zero(&last, length - 90, 30);
    // With the index nothing is in doubt.
    let with =
        save(&stream, &options(None), &into(&temp.path().join("with"))).expect("a new store");
    assert_eq!(totals(&with).0, 996);
    assert_eq!(with.stream.salvage.as_ref().expect("totals").uncertain, 0);
    fs::remove_file(stream.dir.join("msgs/index.db")).expect("an index");
    let without =
        save(&stream, &options(None), &into(&temp.path().join("without"))).expect("a new store");
    let found = without.stream.salvage.as_ref().expect("totals");
    assert_eq!((found.recovered, found.uncertain, found.lost), (997, 0, 0));
    // One of 997 was deleted, and nothing tells which: it is said, and none of the sound ones is thrown away for it.
    assert!(has(&without.stream, EventCode::DeletesUncertain));
    assert_eq!(without.stream.outcome, Outcome::Recovered);
    let wish = SalvageOptions {
        uncertain: Uncertain::Drop,
        ..into(&temp.path().join("dropped"))
    };
    let dropped = save(&stream, &options(None), &wish).expect("a new store");
    assert_eq!(totals(&dropped).0, 997);
    assert_eq!(dropped.stream.state.expect("a state").last_seq, 1000);
}

#[test]
fn damage_in_the_middle_costs_what_it_touched() {
    for sealed in [None, Some(Cipher::Aes)] {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let stream = make(&temp.path().join("S"), Made { sealed, ..PLAIN });
        zero(&block(&stream, 5), 1000, 500);
        let options = options(sealed.map(|_| KEY));
        for index in [true, false] {
            if !index {
                fs::remove_file(stream.dir.join("msgs/index.db")).expect("an index");
            }
            let out = temp.path().join(format!("out{index}"));
            let report = save(&stream, &options, &into(&out)).expect("a new store");
            let (kept, lost, ranges) = totals(&report);
            assert_eq!(
                (kept + lost, ranges.len()),
                (MESSAGES, 1),
                "{:?}",
                report.stream.events
            );
            assert!((4..12).contains(&lost), "{lost} lost");
            assert_eq!(report.stream.exit_code(), 4);
            let quiet = Watch {
                progress: &|_| {},
                cancel: &AtomicBool::new(false),
            };
            let seen = salvage::check(&OsFileSystem, &stream, &options, &quiet).expect("a view");
            assert_eq!(seen.stream.digest, report.stream.digest);
            assert_eq!(seen.stream.state, report.stream.state);
            assert_eq!(live(&seen.stream), live(&report.stream));
        }
    }
}

#[test]
fn the_tail_is_not_used_again() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let stream = make(&temp.path().join("S"), PLAIN);
    fs::remove_file(block(&stream, 10)).expect("a block");
    fs::remove_file(block(&stream, 9)).expect("a block");
    let out = temp.path().join("out");
    let report = save(&stream, &options(None), &into(&out)).expect("a new store");
    assert_eq!(totals(&report), (800, 200, vec![(801, 1000)]));
    let state = report.stream.state.expect("a state");
    assert_eq!(
        (state.last_seq, state.last_time_ns),
        (1000, Some(time(1000)))
    );
}

#[test]
fn a_cancelled_salvage_says_so() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let stream = make(&temp.path().join("S"), PLAIN);
    let cancel = AtomicBool::new(true);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let wish = into(&temp.path().join("out"));
    let result = salvage::salvage(
        &OsFileSystem,
        &stream,
        &options(None),
        &wish,
        &OsEntropy,
        &watch,
    );
    assert!(matches!(result, Err(SalvageError::Interrupted(_))));
    assert!(!temp.path().join("out").exists());
}

#[test]
fn the_command_tells_what_it_kept_and_lost() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let stream = make(&temp.path().join("store/A/streams/S"), PLAIN);
    zero(&block(&stream, 5), 1000, 500);
    let path = |below: &str| temp.path().join(below).to_string_lossy().into_owned();
    let (store, out) = (path("store"), path("out"));
    let (code, seen, _) = jetsam(&["check", &store, "--policy", "salvage", "--json", "--digest"]);
    let seen: serde_json::Value = serde_json::from_str(&seen).expect("JSON");
    assert_eq!((code, &seen["policy"]), (4, &"salvage".into()));
    let (code, printed, _) = jetsam(&["cat", &store, "--policy", "salvage", "--json"]);
    assert_eq!(code, 4);
    let (code, made, _) = jetsam(&["salvage", &store, "--out", &out, "--json", "--digest"]);
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    let (seen, made) = (&seen["streams"][0], &made["streams"][0]);
    assert_eq!(code, 4);
    assert_eq!(made["salvage"], seen["salvage"]);
    assert_eq!(made["digest"], seen["digest"]);
    assert_eq!(made["salvage"]["recovered"], printed.lines().count());
    assert_eq!(made["source"], "index");
    let summary = fs::read(temp.path().join("out/summary.json")).expect("a summary");
    let summary: serde_json::Value = serde_json::from_slice(&summary).expect("JSON");
    let summary = &summary["streams"][0];
    assert_eq!(summary["total"]["lost_seqs"], made["salvage"]["lost_seqs"]);
    assert_eq!(summary["blocks"][4]["lost"], made["salvage"]["lost"]);
    // The new store has the shape of the old one, and nothing is wrong with it.
    assert_eq!(jetsam(&["check", &out]).0, 0);
    assert!(temp.path().join("out/A/streams/S/msgs/index.db").is_file());
}

#[test]
fn a_place_that_will_not_do_is_refused_and_nothing_touched() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let stream = make(&temp.path().join("S"), PLAIN);
    fs::create_dir(temp.path().join("full")).expect("a directory");
    fs::write(temp.path().join("full/file"), "x").expect("a file");
    std::os::unix::fs::symlink(&stream.dir, temp.path().join("link")).expect("a link");
    let path = |below: &str| temp.path().join(below).to_string_lossy().into_owned();
    let before = snapshot(temp.path());
    for (from, out, want) in [
        ("S", "S/new", "lie one in the other"),
        ("S", "link/new", "lie one in the other"),
        ("S", "", "lie one in the other"),
        ("S", "full", "is not empty"),
        ("S", "full/file", "--out"),
        ("full", "out", "no store here"),
        ("nothing", "out", "no such directory"),
    ] {
        let (code, _, told) = jetsam(&["salvage", &path(from), "--out", &path(out)]);
        assert_eq!(code, 16, "{from} to {out}: {told}");
        assert!(told.contains(want), "{from} to {out}: {told}");
        assert!(
            snapshot(temp.path()) == before,
            "{from} to {out}: something was touched"
        );
    }
}

#[test]
fn staged_batches_come_along_only_under_the_key_they_lie_under() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let made = Made {
        sealed: Some(Cipher::Aes),
        ..PLAIN
    };
    let stream = make(&temp.path().join("S"), made);
    let staged = stream.dir.join("batches/0123456789abcdef/msgs");
    fs::create_dir_all(&staged).expect("a batch");
    fs::write(staged.join("1.blk"), b"sealed").expect("its block");
    let same = options(Some(KEY));
    let mut newer = options(Some(b"the next key"));
    newer.keys.previous.clone_from(&same.keys.current);
    for (name, options, comes) in [("same", same, true), ("newer", newer, false)] {
        let out = temp.path().join(name);
        let saved = save(&stream, &options, &into(&out)).expect("a new store");
        assert_eq!(totals(&saved).0, MESSAGES, "{name}");
        let there = out.join("batches/0123456789abcdef/msgs/1.blk").exists();
        assert_eq!(there, comes, "{name}");
        assert_eq!(has(&saved.stream, EventCode::BatchLeft), !comes, "{name}");
    }
}
