//! What stands around a store: cases from life, by the library and by the command.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use jetsam::env::OsFileSystem;
use jetsam::preflight::surroundings::Facts;
use jetsam::preflight::{Forecast, PreflightOptions, Start, Surroundings, forecast};
use jetsam::recovery::{Flow, Item, examine, messages};
use jetsam::report::Watch;
use jetsam::report::stream::Outcome;
use jetsam::server_config::{parse, settings, through};
use jetsam::stream::options::{Options, Standing};
use jetsam::stream::{accounts_dir, standing};
use serde_json::Value;

use crate::cases::{Case, case_options};

fn foretold(case: &Case, stream: &str, preflight: &PreflightOptions) -> Forecast {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let options = case_options();
    forecast(
        &OsFileSystem,
        &case.stream(stream),
        &options,
        preflight,
        &watch,
    )
}

/// What the case's configuration makes of it, for a server.
fn configured(case: &Case, server: &str) -> PreflightOptions {
    let file = case.server_conf();
    let none = |_: &std::ffi::OsStr| None;
    let document = parse(&file, &through(&OsFileSystem), &none).expect("a configuration");
    let facts = Facts {
        server: server.parse().expect("a version"),
        store_dir: settings(&document).expect("settings").store_dir,
        accounts_dir: accounts_dir(&case.stream("S")),
        ..Facts::default()
    };
    let around = Surroundings::of(&OsFileSystem, &document, &file, &case_options(), &facts);
    assert!(around.starts());
    PreflightOptions {
        server: facts.server,
        surroundings: Some(Arc::new(around)),
        ..PreflightOptions::default()
    }
}

/// Code and place of the first event.
fn cause(forecast: &Forecast) -> (&'static str, &str) {
    let event = forecast.events.first().expect("an event");
    let file = event.file.as_deref().unwrap_or_default();
    let name = Path::new(file).file_name().and_then(|name| name.to_str());
    (event.code.as_str(), name.unwrap_or_default())
}

#[test]
fn a_sum_of_limits_leaves_a_stream_out_of_older_servers_only() {
    let case = Case::unpack("05-insufficient-storage");
    for (server, start) in [
        ("2.9", Start::StreamSkipped),
        ("2.10", Start::StreamSkipped),
        ("2.12.1", Start::StreamSkipped),
        ("2.12.15", Start::Ok),
        ("2.14.9", Start::Ok),
        ("2.15", Start::Ok),
    ] {
        let around = configured(&case, server);
        let big = foretold(&case, "BIG", &around);
        assert_eq!((big.start, big.lost), (start, 0), "{server}");
        if start == Start::StreamSkipped {
            let (code, place) = cause(&big);
            assert_eq!(code, "limit-leaves-stream-out");
            assert!(place.starts_with("server.conf:2:"), "{place}");
        }
        let mid = foretold(&case, "MID", &around);
        assert_eq!((mid.start, mid.messages), (Start::Ok, 300), "{server}");
    }
}

#[test]
fn an_interest_stream_loses_what_a_lost_consumer_had_still_to_see() {
    let case = Case::unpack("33-interest-consumer-lost");
    let told = foretold(&case, "I", &PreflightOptions::default());
    assert_eq!(
        (told.start, told.messages, told.lost),
        (Start::Ok, 600, 300)
    );
    assert_eq!(told.lost_seqs, [(101, 400)]);
    assert_eq!(told.lost_with_consumers.len(), 300);
    assert_eq!((told.released, told.lost_proven), (0, 300));
    assert_eq!(told.consumers_disabled, ["B"]);
    assert_eq!(told.exit_code(), 4);
    // With its consumer back nothing goes.
    let obs = case.stream("I").dir.join("obs");
    std::fs::copy(obs.join("A/meta.inf"), obs.join("B/meta.inf")).expect("a copy");
    let told = foretold(&case, "I", &PreflightOptions::default());
    assert_eq!((told.messages, told.lost), (900, 0));
}

#[test]
fn replicas_stand_in_no_way_of_looking() {
    let case = Case::unpack("35-replicas-updated-standalone");
    let stream = case.stream("T");
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let member = Options {
        standing: Standing::Member,
        ..case_options()
    };
    for (options, outcome) in [
        (case_options(), Outcome::Recovered),
        (member.clone(), Outcome::Clean),
    ] {
        let report = examine(&OsFileSystem, &stream, &options, &watch);
        assert_eq!(report.outcome, outcome);
        assert_eq!(report.state.map(|state| state.messages), Some(100));
        let mut read = 0;
        let mut visit = |item: Item<'_>| {
            read += u64::from(matches!(item, Item::Message(_)));
            Flow::Continue
        };
        messages(
            &OsFileSystem,
            &stream,
            &options,
            0..=u64::MAX,
            &mut visit,
            &watch,
        )
        .expect("messages");
        assert_eq!(read, 100);
    }
    let alone = foretold(&case, "T", &PreflightOptions::default());
    assert_eq!((alone.start, alone.lost), (Start::StreamSkipped, 0));
    assert!(alone.actions.is_empty());
    assert_eq!(cause(&alone), ("replicas-unsupported", "meta.inf"));
    let told = forecast(
        &OsFileSystem,
        &stream,
        &member,
        &PreflightOptions::default(),
        &watch,
    );
    assert_eq!((told.start, told.messages), (Start::Ok, 100));
    // The metadata of a cluster beside it is what makes a store a member's.
    let accounts = accounts_dir(&stream).expect("accounts");
    assert_eq!(standing(&OsFileSystem, &accounts), Standing::Standalone);
    std::fs::create_dir_all(accounts.join("$SYS/_js_/_meta_")).expect("a directory");
    assert_eq!(standing(&OsFileSystem, &accounts), Standing::Member);
}

#[test]
fn a_store_that_stood_alone_is_deleted_in_a_cluster() {
    let case = Case::unpack("36-standalone-into-cluster");
    let around = configured(&case, "2.15");
    for (name, messages) in [("T", 2_770), ("U", 500)] {
        let told = foretold(&case, name, &around);
        assert_eq!((told.start, told.lost), (Start::StreamDeleted, messages));
        assert_eq!(told.lost_proven, messages);
        assert_eq!(cause(&told), ("stream-orphaned", "server.conf:4:1"));
    }
    let alone = foretold(&case, "T", &PreflightOptions::default());
    assert_eq!(
        (alone.start, alone.messages, alone.lost),
        (Start::Ok, 2_770, 0)
    );
}

/// Exit code and document of the command.
fn preflight(args: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_jetsam"))
        .args(["preflight", "--json"])
        .args(args)
        .output()
        .expect("the command");
    let document = serde_json::from_slice(&output.stdout).expect("a document");
    (output.status.code(), document)
}

#[test]
fn the_command_says_what_it_takes_for_granted_and_what_it_was_told() {
    let case = Case::unpack("36-standalone-into-cluster");
    let conf = case.server_conf().display().to_string();
    let (exit, document) = preflight(&["-c", &conf]);
    assert_eq!(exit, Some(4));
    assert_eq!(document["server"]["start"], "ok");
    assert!(document["server"].get("assumed").is_none());
    assert_eq!(
        document["streams"][0]["forecast"]["start"],
        "stream-deleted"
    );
    let (exit, document) = preflight(&[&case.store_dir().display().to_string()]);
    assert_eq!(exit, Some(0));
    let assumed = document["server"]["assumed"].as_str().expect("a line");
    assert!(
        assumed.contains("standing alone") && !assumed.contains('\n'),
        "{assumed}"
    );
    assert_eq!(document["streams"][0]["forecast"]["start"], "ok");
}

#[test]
fn nothing_is_assumed_of_a_configuration_that_does_not_parse() {
    let temp = tempfile::tempdir().expect("a directory");
    let file = temp.path().join("nats.conf");
    std::fs::write(&file, "jetstream {\n  store_dir: [\n}\n").expect("a file");
    let file = file.display().to_string();
    for args in [&["-c", &file][..], &["-c", &file, "/nowhere"]] {
        let (exit, document) = preflight(args);
        assert_eq!(exit, Some(4));
        assert_eq!(document["server"]["start"], "refused");
        let because = document["server"]["because"].as_str().expect("a cause");
        assert!(because.starts_with(&format!("{file}:3:1: ")), "{because}");
        assert_eq!(document["streams"], serde_json::json!([]));
    }
}
