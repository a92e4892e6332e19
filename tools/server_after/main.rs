//! Starts a real nats-server v2.15.3 on every committed store after `recover`, and demands the same
//! state and the fast path. Needs the Go oracle (`testdata/oracle/build.sh`).
//!
//! `cargo run --release --example server_after`
//!
//! With `--rebuild` the side files are removed first and written anew by `rebuild-index`, once for every line of servers: each
//! version of `index.db` has to be taken, with the same state. With `--rebuild stale` an older index is left in their place.
//!
//! With `--salvage` the server gets what `salvage` made of each store instead, recovered on its fast path; and of the cases whose
//! stores need salvage to start at all, with the messages that are live in truth.

#![allow(
    clippy::disallowed_methods,
    reason = "an example works on scratch files"
)]

#[path = "../../tests/it/support.rs"]
#[allow(dead_code, reason = "shared with the integration tests")]
mod support;

#[path = "../../tests/it/cases.rs"]
#[allow(dead_code, reason = "shared with the integration tests")]
mod cases;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::AtomicBool;

use jetsam::crypto::ServerKey;
use jetsam::env::{Clock, OsClock, OsEntropy, OsFileSystem};
use jetsam::living::Idle;
use jetsam::recovery::{RecoverOptions, rebuild_index, recover};
use jetsam::report::ServerVersion;
use jetsam::report::Watch;
use jetsam::report::stream::{Outcome, Source, StreamReport};
use jetsam::salvage::{SalvageOptions, salvage, sort_out};
use jetsam::stream::{StreamDir, find_streams};
use serde_json::{Value, json};
use support::{KEY, copy_tree, differences, dirs, everything, name_of, testdata};

/// Of an interest stream a whole server goes on to remove what every consumer has acknowledged, after
/// the store's open call; only the fast path can be compared.
const INTEREST_STREAM: &str = "EVENTS";

/// Cases that salvage makes start, and what a server then has: streams with their messages. In the interest stream that is so
/// only while the consumer holds them back whose configuration was lost.
const CASES: [(&str, &[(&str, u64)]); 5] = [
    ("02-consumer-state-damaged", &[("T", 900)]),
    ("07-stray-files", &[("T", 2770), ("U", 500)]),
    ("27-renamed-and-copied-dirs", &[("T", 2770), ("U", 500)]),
    ("33-interest-consumer-lost", &[("I", 900)]),
    ("35-replicas-updated-standalone", &[("T", 100)]),
];

fn main() -> ExitCode {
    let oracle = oracle();
    let how = How::from_arguments();
    let (mut streams, mut wrong) = (0, Vec::new());
    for version in dirs(&testdata("golden")) {
        for case in dirs(&version) {
            for server in how.servers() {
                if how.passes_over(&case) {
                    continue;
                }
                let (checked, found) = check_case(&oracle, &case, how, server);
                streams += checked;
                wrong.extend(found);
            }
        }
    }
    if how == How::Salvaged {
        for (case, expected) in CASES {
            streams += expected.len();
            wrong.extend(check_promised(&oracle, case, expected));
        }
    }
    for line in &wrong {
        println!("DISAGREE {line}");
    }
    println!(
        "{streams} streams {} and opened by a real server: {} disagree",
        how.in_words(),
        wrong.len()
    );
    if wrong.is_empty() && streams > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn oracle() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    std::env::var_os("ORACLE").map_or_else(|| target.join("oracle/oracle"), PathBuf::from)
}

/// What is done to a store before the server gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Recovered,
    Salvaged,
    /// Rebuilt side files, where there were none.
    Rebuilt,
    /// The same over an index that no longer fits.
    RebuiltOverStale,
}

impl How {
    fn in_words(self) -> &'static str {
        match self {
            How::Recovered => "recovered",
            How::Salvaged => "salvaged",
            How::Rebuilt => "indexed anew",
            How::RebuiltOverStale => "indexed anew over a stale index",
        }
    }

    fn from_arguments() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => How::Recovered,
            ["--salvage"] => How::Salvaged,
            ["--rebuild"] => How::Rebuilt,
            ["--rebuild", "stale"] => How::RebuiltOverStale,
            _ => panic!("usage: server_after [--salvage | --rebuild [stale]]"),
        }
    }

    /// With `ONLY` in the environment: whether that is not in the path of the case.
    fn passes_over(self, case: &Path) -> bool {
        let only = std::env::var("ONLY").unwrap_or_default();
        !case.to_string_lossy().contains(&only)
    }

    /// The servers whose versions of `index.db` are tried.
    fn servers(self) -> &'static [&'static str] {
        match self {
            How::Recovered | How::Salvaged => &["2.15"],
            How::Rebuilt | How::RebuiltOverStale => &["2.10", "2.11", "2.12", "2.14", "2.15"],
        }
    }
}

fn check_case(oracle: &Path, case: &Path, how: How, server: &str) -> (usize, Vec<String>) {
    let temp = tempfile::tempdir().expect("a temporary directory");
    copy_tree(&case.join("jetstream"), &temp.path().join("jetstream"));
    let name = name_of(case);
    let cipher = ["chacha", "aes"]
        .into_iter()
        .find(|cipher| name.contains(cipher));
    let store = match how {
        How::Salvaged => salvage_all(temp.path(), cipher.is_some()),
        _ => temp.path().to_owned(),
    };
    let temp_path = store.as_path();
    let reports = match how {
        How::Recovered | How::Salvaged => recover_all(temp_path, cipher.is_some()),
        _ => rebuild_all(temp_path, cipher.is_some(), how, server),
    };
    let answer = ask_server(oracle, temp_path, cipher);
    let mut wrong = Vec::new();
    for report in &reports {
        let account = report.account.as_deref().unwrap_or_default();
        let at = format!("{} {account}/{} for {server}", case.display(), report.name);
        let theirs = &answer["accounts"][account][&report.name];
        if report.outcome == Outcome::Refused || theirs.is_null() {
            wrong.push(format!(
                "{at}: refused here or absent there: {:?}",
                report.events.last()
            ));
            continue;
        }
        if report.name == INTEREST_STREAM {
            if theirs["fast_path"] != json!(true) {
                wrong.push(format!("{at}: no fast path"));
            }
            continue;
        }
        let mut verdict = theirs.clone();
        verdict["outcome"] = json!("opened");
        verdict["read_outcome"] = json!("omitted");
        // What was lost is told once, by the recovery.
        let mut report = report.clone();
        if let Some(state) = &mut report.state {
            state.lost = None;
        }
        if how != How::Recovered && theirs["fast_path"] != json!(true) {
            wrong.push(format!("{at}: no fast path"));
        }
        if matches!(how, How::Rebuilt | How::RebuiltOverStale)
            && report.source != Some(Source::Index)
        {
            wrong.push(format!("{at}: no fast path by our own account"));
        }
        report.source = Some(jetsam::report::stream::Source::Index);
        wrong.extend(
            differences(&report, &verdict)
                .into_iter()
                .map(|found| format!("{at}: {found}")),
        );
    }
    (reports.len(), wrong)
}

/// A server started on the salvaged store of a case has what was promised, and nothing else.
fn check_promised(oracle: &Path, case: &str, expected: &[(&str, u64)]) -> Vec<String> {
    let unpacked = cases::Case::unpack(case);
    let store = salvage_all(unpacked.store_dir(), false);
    let answer = ask_server(oracle, &store, None);
    let none = serde_json::Map::new();
    let streams = answer["accounts"]["$G"].as_object().unwrap_or(&none);
    let found: Vec<(&str, u64)> = streams
        .iter()
        .map(|(name, stream)| {
            let messages = stream["state"]["messages"].as_u64();
            (name.as_str(), messages.unwrap_or_default())
        })
        .collect();
    match found == expected {
        true => Vec::new(),
        false => vec![format!(
            "{case}: {expected:?} promised, the server has {found:?}"
        )],
    }
}

/// Salvages every stream into a store beside; what recovery then finds there has to come from the index.
fn salvage_all(store: &Path, encrypted: bool) -> PathBuf {
    let mut options = everything(OsClock.now_ns());
    if encrypted {
        options.keys.current = Some(ServerKey::new(KEY.to_vec()));
    }
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let made = store.join("salvaged");
    let found = find_streams(&OsFileSystem, &store.join("jetstream")).expect("streams");
    for sorted in sort_out(&OsFileSystem, &found.streams, &options, &watch) {
        let stream = &sorted.stream;
        let account = stream.account.as_deref().unwrap_or_default();
        let out = made
            .join("jetstream")
            .join(account)
            .join("streams")
            .join(&sorted.place);
        let wish = SalvageOptions {
            out: out.clone(),
            replicas: Some(1),
            ..SalvageOptions::default()
        };
        salvage(&OsFileSystem, stream, &options, &wish, &OsEntropy, &watch)
            .unwrap_or_else(|error| panic!("{}: {error}", stream.dir.display()));
        let new = StreamDir {
            name: sorted.name,
            dir: out,
            ..stream.clone()
        };
        let source = support::look(&new, &options).source;
        assert_eq!(source, Some(Source::Index), "{}", stream.dir.display());
    }
    made
}

/// Writes the side files of every stream anew; the reports of those where nothing else had to change.
fn rebuild_all(store: &Path, encrypted: bool, how: How, server: &str) -> Vec<StreamReport> {
    let mut options = everything(OsClock.now_ns());
    if encrypted {
        options.keys.current = Some(ServerKey::new(KEY.to_vec()));
    }
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let server: ServerVersion = server.parse().expect("a server");
    let found = find_streams(&OsFileSystem, store).expect("streams in the copy");
    let mut reports = Vec::new();
    for stream in &found.streams {
        let index = stream.dir.join("msgs/index.db");
        let side_files = ["msgs/thw.db", "msgs/sched.db", "sources.db"];
        if how == How::Rebuilt {
            let _ = std::fs::remove_file(&index);
            for name in side_files {
                let _ = std::fs::remove_file(stream.dir.join(name));
            }
        } else {
            leave_stale(&stream.dir, &|| {
                rebuild_index(
                    &OsFileSystem,
                    &Idle::declared(),
                    stream,
                    &options,
                    server,
                    &OsEntropy,
                    &watch,
                );
            });
        }
        let report = rebuild_index(
            &OsFileSystem,
            &Idle::declared(),
            stream,
            &options,
            server,
            &OsEntropy,
            &watch,
        );
        if report.outcome != Outcome::Refused {
            // Age and limits are the server's to apply, which does so as it opens the store.
            reports.push(support::look(stream, &options));
        }
    }
    reports
}

/// Leaves the side files of the moment before the last block was begun; where there is only one block, an index that does
/// not verify.
fn leave_stale(dir: &Path, rebuild: &dyn Fn()) {
    let msgs = dir.join("msgs");
    let numbers = std::fs::read_dir(&msgs).expect("a directory").flatten();
    let numbers = numbers.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".blk")?.parse::<u32>().ok()
    });
    let numbers: Vec<u32> = numbers.collect();
    let last = numbers.iter().max().filter(|_| numbers.len() > 1);
    if let Some(last) = last {
        let (block, aside) = (msgs.join(format!("{last}.blk")), dir.join("aside"));
        std::fs::rename(&block, &aside).expect("a block to put aside");
        rebuild();
        std::fs::rename(&aside, &block).expect("a block put aside");
        return;
    }
    let index = msgs.join("index.db");
    if let Ok(mut bytes) = std::fs::read(&index) {
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        std::fs::write(&index, bytes).expect("an index that does not fit");
    }
}

fn recover_all(store: &Path, encrypted: bool) -> Vec<StreamReport> {
    let mut options = everything(OsClock.now_ns());
    if encrypted {
        options.keys.current = Some(ServerKey::new(KEY.to_vec()));
    }
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let found = find_streams(&OsFileSystem, store).expect("streams in the copy");
    let how = RecoverOptions {
        accept_expiry: true,
        accept_loss: true,
        undo: true,
    };
    found
        .streams
        .iter()
        .map(|stream| {
            recover(
                &OsFileSystem,
                &Idle::declared(),
                stream,
                &options,
                &how,
                &OsEntropy,
                &watch,
            )
        })
        .collect()
}

fn ask_server(oracle: &Path, store: &Path, cipher: Option<&str>) -> Value {
    let mut command = Command::new(oracle);
    command.arg("server").arg(store);
    if let Some(cipher) = cipher {
        command
            .arg("--key")
            .arg(String::from_utf8_lossy(KEY).as_ref())
            .args(["--cipher", cipher]);
    }
    let output = command
        .output()
        .expect("the oracle; build it with testdata/oracle/build.sh");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}
