//! What a message's own time to live takes: the stores of `testdata/expiry`, and what a running server kept of each.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::duration::parse_rfc3339;
use jetsam::format::seqset::SeqSet;
use jetsam::living::Idle;
use jetsam::preflight::{PreflightOptions, forecast};
use jetsam::recovery::RecoverOptions;
use jetsam::report::Ledger;
use jetsam::report::Watch;
use jetsam::report::events::EventCode;
use jetsam::report::ledger::stretches;
use jetsam::report::stream::StreamReport;
use jetsam::salvage::{MergeOptions, MergeSource, SalvageOptions, audit, merge, salvage};
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;

use crate::support::{copy_tree, testdata};

fn quiet<T>(work: impl FnOnce(&Watch<'_>) -> T) -> T {
    let cancel = AtomicBool::new(false);
    work(&Watch {
        progress: &|_| {},
        cancel: &cancel,
    })
}

/// A store and what a server made of it.
struct Told {
    temp: tempfile::TempDir,
    name: String,
    started_ns: i64,
    /// How many messages were stored before.
    stored: u64,
    /// Its messages right after the open.
    at_first: SeqSet,
    /// And once the timers were through.
    at_last: SeqSet,
}

fn seqs(value: &serde_json::Value) -> SeqSet {
    let list = value.as_array().expect("a list of sequences");
    list.iter().filter_map(serde_json::Value::as_u64).collect()
}

impl Told {
    fn all() -> Vec<Told> {
        let mut all = Vec::new();
        for entry in fs::read_dir(testdata("expiry")).expect("stores").flatten() {
            if !entry.path().is_dir() {
                continue;
            }
            let told = fs::read(entry.path().join("told.json")).expect("what the server told");
            let told: serde_json::Value = serde_json::from_slice(&told).expect("JSON");
            let temp = tempfile::tempdir().expect("a temporary directory");
            copy_tree(&entry.path().join("S"), &temp.path().join("S"));
            for needed in ["msgs", "obs"] {
                fs::create_dir_all(temp.path().join("S").join(needed))
                    .expect("a scratch directory");
            }
            let after = told["after"].as_array().expect("what came after");
            let stored = told["stored"].as_u64().expect("a number");
            all.push(Told {
                temp,
                stored,
                name: entry.file_name().to_string_lossy().into_owned(),
                started_ns: parse_rfc3339(told["started_at"].as_str().expect("a time"))
                    .expect("a time"),
                at_first: seqs(&told["at_first"]),
                at_last: seqs(&after.last().expect("a last look")["live"]),
            });
        }
        assert_eq!(all.len(), 9);
        all
    }

    fn named(name: &str) -> Told {
        let mut all = Told::all().into_iter();
        all.find(|told| told.name == name)
            .expect("a store of this name")
    }

    fn stream(&self) -> StreamDir {
        StreamDir {
            account: None,
            name: "S".to_owned(),
            dir: self.temp.path().join("S"),
        }
    }

    /// The clock a moment after the start, before anything else times out.
    fn options(&self) -> Options {
        Options::new(self.started_ns + 300_000_000)
    }

    fn check(&self, options: &Options) -> Ledger {
        let report = quiet(|watch| audit::check(&OsFileSystem, &self.stream(), options, watch));
        report.ledger.expect("an account")
    }

    fn recover(&self, accept_expiry: bool) -> StreamReport {
        let what = RecoverOptions {
            accept_expiry,
            ..RecoverOptions::default()
        };
        quiet(|watch| {
            audit::recover(
                &OsFileSystem,
                &Idle::declared(),
                &self.stream(),
                &self.options(),
                &what,
                &OsEntropy,
                watch,
            )
        })
    }

    fn foretold(&self, server: &str) -> Ledger {
        let preflight = PreflightOptions {
            server: server.parse().expect("a version"),
            ..PreflightOptions::default()
        };
        let told = quiet(|watch| {
            forecast(
                &OsFileSystem,
                &self.stream(),
                &self.options(),
                &preflight,
                watch,
            )
        });
        told.ledger.expect("an account")
    }

    fn salvaged(&self, out: PathBuf) -> Ledger {
        let (stream, options) = (self.stream(), self.options());
        let wish = SalvageOptions {
            out,
            ..SalvageOptions::default()
        };
        let report =
            quiet(|watch| salvage(&OsFileSystem, &stream, &options, &wish, &OsEntropy, watch));
        let report = report.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        report.stream.ledger.expect("an account")
    }

    fn merged_with_itself(&self, out: PathBuf) -> Ledger {
        let copies: [MergeSource; 2] = [self.stream().into(), self.stream().into()];
        let wish = MergeOptions {
            out,
            ..MergeOptions::default()
        };
        let options = self.options();
        let report =
            quiet(|watch| merge(&OsFileSystem, &copies, &options, &wish, &OsEntropy, watch));
        let report = report.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        report.stream.ledger.expect("an account")
    }
}

fn codes(report: &StreamReport) -> Vec<EventCode> {
    report.events.iter().map(|event| event.code).collect()
}

/// What is live stays, what is expired goes, and nobody calls it lost, unless the server takes what it should not.
#[test]
fn the_account_has_what_a_server_keeps_once_its_timers_are_through() {
    for told in Told::all() {
        let ledger = told.check(&told.options());
        // Of what age removes at the open the server shows nothing any more.
        let mut gone = told.at_first.clone();
        gone.insert_range(1..=told.stored);
        for seq in told.at_last.iter() {
            gone.remove(seq);
        }
        let mut stays = ledger.live.clone();
        for seq in ledger.endangered.iter() {
            stays.remove(seq);
        }
        let mut goes = ledger.expired.clone();
        goes.union_with(&ledger.endangered);
        assert_eq!(stretches(&goes), stretches(&gone), "{} goes", told.name);
        // Behind them stand the markers that the server wrote meanwhile, and removed again.
        assert_eq!(
            stretches(&stays),
            stretches(&told.at_last),
            "{} stays",
            told.name
        );
        assert!(
            ledger.lost.is_empty() && ledger.unknown.is_empty(),
            "{}",
            told.name
        );
        let in_danger = ["age-never", "wheel-of-others"].contains(&told.name.as_str());
        assert_eq!(!ledger.endangered.is_empty(), in_danger, "{}", told.name);
    }
}

#[test]
fn every_verb_has_the_same_account_of_what_has_expired() {
    for told in Told::all() {
        let checked = told.check(&told.options());
        assert_eq!(told.foretold("2.15.3"), checked, "{}", told.name);
        let temp = tempfile::tempdir().expect("a temporary directory");
        let salvaged = told.salvaged(temp.path().join("S"));
        assert_eq!(salvaged, checked, "{}: salvage", told.name);
        let merged = told.merged_with_itself(temp.path().join("M"));
        // What merge writes has a wheel made from the messages, whatever the one of the copies lacked.
        if told.name != "wheel-empty" {
            assert_eq!(merged.expired, checked.expired, "{}: merge", told.name);
            assert_eq!(merged.timed_out, checked.timed_out, "{}: merge", told.name);
        }
        let recovered = told.recover(false).ledger.expect("an account");
        assert_eq!(recovered, checked, "{}: recover", told.name);
    }
}

#[test]
fn without_expiry_or_under_a_server_that_knows_no_ttl_nothing_times_out() {
    let told = Told::named("ttl-stopped");
    let checked = told.check(&told.options());
    assert_eq!(stretches(&checked.timed_out), [(1, 1), (5, 5), (7, 8)]);
    let spared = Options {
        expire: false,
        ..told.options()
    };
    assert!(told.check(&spared).expired.is_empty());
    assert!(told.foretold("2.10.29").expired.is_empty());
    assert_eq!(told.foretold("2.11.17").expired, checked.expired);
    let before = Options::new(told.started_ns - 30_000_000_000);
    assert!(told.check(&before).expired.is_empty());
}

/// The messages are still there afterwards: it is the server that takes them.
#[test]
fn a_recovery_does_not_ask_for_what_only_a_server_takes() {
    for (name, messages, live) in [("ttl-killed", 8, true), ("all-over", 5, false)] {
        let told = Told::named(name);
        let report = told.recover(false);
        assert!(!codes(&report).contains(&EventCode::ExpiryNeedsConsent));
        assert_eq!(report.exit_code(), 0, "{name}");
        assert_eq!(report.state.expect("a state").messages, messages);
        let ledger = report.ledger.expect("an account");
        assert_eq!(!ledger.live.is_empty(), live, "{name}");
        assert_eq!(ledger.all_expires(), !live, "{name}");
    }
}
