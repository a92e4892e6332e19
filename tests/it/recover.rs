//! What `recover` leaves behind, and that `undo` takes every byte of it back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::living::{self, Idle, Living, Sighting};
use jetsam::recovery::{RecoverOptions, recover, undo};
use jetsam::report::events::EventCode;
use jetsam::report::stream::{Outcome, Refusal, Source, StreamReport};
use jetsam::report::{Progress, Watch};
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::{Fixture, golden, look};

/// Path below a directory to content and time of modification.
pub type Snapshot = BTreeMap<String, (Vec<u8>, Option<SystemTime>)>;

/// Everything below `dir`, directories included.
pub fn snapshot(dir: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    walk(dir, dir, &mut found);
    found
}

fn walk(root: &Path, dir: &Path, found: &mut Snapshot) {
    for entry in fs::read_dir(dir).expect("a readable directory").flatten() {
        let path = entry.path();
        let name = path
            .strip_prefix(root)
            .expect("below the root")
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            found.insert(name, (Vec::new(), None));
            walk(root, &path, found);
        } else {
            let modified = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok();
            found.insert(name, (fs::read(&path).expect("a readable file"), modified));
        }
    }
}

/// Recovers with this leave, while something else may be going on.
fn mend_with(
    idle: &Idle,
    stream: &StreamDir,
    options: &Options,
    meanwhile: &(dyn Fn(Progress) + Sync),
) -> StreamReport {
    let watch = Watch {
        progress: meanwhile,
        cancel: &AtomicBool::new(false),
    };
    recover(
        &OsFileSystem,
        idle,
        stream,
        options,
        &KEEP_UNDO,
        &OsEntropy,
        &watch,
    )
}

/// Recovers without being watched.
pub fn mend(
    stream: &StreamDir,
    options: &Options,
    recover_options: &RecoverOptions,
) -> StreamReport {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    recover(
        &OsFileSystem,
        &Idle::declared(),
        stream,
        options,
        recover_options,
        &OsEntropy,
        &watch,
    )
}

const KEEP_UNDO: RecoverOptions = RecoverOptions {
    accept_loss: true,
    accept_expiry: true,
    undo: true,
};

/// Files that hold randomness, or whose order is the writer's own.
fn is_fixed(name: &str) -> bool {
    name.ends_with(".blk") || name.starts_with("meta.")
}

/// Holds the files of a recovered store against those the server leaves.
pub fn compare_files(fixture: &Fixture, dir: &Path, wrong: &mut Vec<String>) {
    let Some(theirs) = fixture
        .verdict
        .get("files_after")
        .and_then(Value::as_object)
    else {
        return;
    };
    let ours = snapshot(dir);
    let below_us = |name: &&String| !name.starts_with(".jetsam-undo") && !dir.join(name).is_dir();
    let names: Vec<&String> = ours
        .keys()
        .filter(below_us)
        .filter(|name| !name.starts_with("obs/"))
        .collect();
    for name in &names {
        if !theirs.contains_key(*name) {
            wrong.push(format!("{}: {name} should be gone", fixture.dir.display()));
        }
    }
    for (name, file) in theirs.iter().filter(|(name, _)| !name.starts_with("obs/")) {
        let Some((bytes, _)) = ours.get(name) else {
            wrong.push(format!("{}: {name} should be there", fixture.dir.display()));
            continue;
        };
        let Some(hash) = file.get("sha256").and_then(Value::as_str) else {
            continue;
        };
        let found: String = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if is_fixed(name) && found != hash {
            wrong.push(format!(
                "{}: {name} differs from what the server leaves",
                fixture.dir.display()
            ));
        }
    }
}

#[test]
fn recover_leaves_what_the_server_leaves_and_a_fast_path() {
    let mut wrong = Vec::new();
    for fixture in golden() {
        let (_temp, stream) = fixture.scratch();
        let options = fixture.options();
        let done = mend(&stream, &options, &KEEP_UNDO);
        if done.outcome == Outcome::Refused {
            wrong.push(format!(
                "{}: refused: {:?}",
                fixture.dir.display(),
                done.events.last()
            ));
            continue;
        }
        compare_files(&fixture, &stream.dir, &mut wrong);
        let again = look(&stream, &options);
        if again.source != Some(Source::Index) {
            wrong.push(format!(
                "{}: no fast path afterwards: {:?}",
                fixture.dir.display(),
                again.events.first()
            ));
        }
        if (again.state != done.state
            && done
                .state
                .as_ref()
                .is_some_and(|state| state.lost.is_none()))
            || again.digest != done.digest
        {
            wrong.push(format!(
                "{}: {:?} became {:?}",
                fixture.dir.display(),
                done.state,
                again.state
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn undo_brings_every_byte_back() {
    for fixture in golden()
        .iter()
        .filter(|fixture| fixture.verdict.get("fast_path") != Some(&Value::Bool(true)))
    {
        let (_temp, stream) = fixture.scratch();
        let before = snapshot(&stream.dir);
        mend(&stream, &fixture.options(), &KEEP_UNDO);
        assert_ne!(
            snapshot(&stream.dir),
            before,
            "{}: recover changed nothing",
            fixture.dir.display()
        );
        undo(&OsFileSystem, &Idle::declared(), &stream)
            .expect("undo")
            .expect("something to undo");
        assert_eq!(snapshot(&stream.dir), before, "{}", fixture.dir.display());
    }
}

#[test]
fn examine_leaves_the_directory_alone() {
    for fixture in golden().iter().filter(|fixture| fixture.name == "ORDERS") {
        let (_temp, stream) = fixture.scratch();
        let before = snapshot(&stream.dir);
        look(&stream, &fixture.options());
        assert_eq!(snapshot(&stream.dir), before, "{}", fixture.dir.display());
    }
}

#[test]
fn a_recovery_without_consent_to_loss_changes_nothing() {
    let fixtures = golden();
    let fixture = fixtures
        .iter()
        .find(|fixture| {
            fixture.name == "ORDERS"
                && fixture
                    .dir
                    .to_string_lossy()
                    .contains("v2.15.2/plain-none/")
        })
        .expect("the fixture");
    let (_temp, stream) = fixture.scratch();
    let block = stream.dir.join("msgs/1.blk");
    let mut bytes = fs::read(&block).expect("a block");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&block, bytes).expect("write");
    fs::remove_file(stream.dir.join("msgs/index.db")).expect("remove");
    let before = snapshot(&stream.dir);
    let refused = RecoverOptions {
        accept_loss: false,
        accept_expiry: true,
        undo: true,
    };
    let report = mend(&stream, &fixture.options(), &refused);
    assert_eq!(report.exit_code(), 4);
    assert!(report.loses_messages);
    assert_eq!(snapshot(&stream.dir), before);
    let report = mend(&stream, &fixture.options(), &KEEP_UNDO);
    assert_eq!(report.outcome, Outcome::Damaged);
    assert_ne!(snapshot(&stream.dir), before);
    undo(&OsFileSystem, &Idle::declared(), &stream).expect("undo");
    assert_eq!(snapshot(&stream.dir), before);
}

fn orders() -> (tempfile::TempDir, StreamDir, Options) {
    let fixtures = golden();
    let fixture = fixtures
        .iter()
        .find(|fixture| fixture.name == "ORDERS")
        .expect("a fixture");
    let (temp, stream) = fixture.scratch();
    (temp, stream, fixture.options())
}

#[test]
#[cfg(target_os = "linux")]
fn a_store_in_use_gives_no_leave() {
    let (temp, stream, _) = orders();
    let held = fs::File::open(stream.dir.join("msgs/1.blk")).expect("a block");
    let mut holder = std::process::Command::new("sleep")
        .arg("60")
        .stdin(held)
        .spawn()
        .expect("a process that holds the block open");
    let in_use = living::look(&OsFileSystem, temp.path());
    holder.kill().expect("kill");
    holder.wait().expect("wait");
    let users: Vec<u32> = in_use.users.iter().map(|user| user.pid).collect();
    assert_eq!(users, [holder.id()]);
    assert!(matches!(in_use.idle(), Err(Living::Used(_))));
    assert_eq!(living::look(&OsFileSystem, temp.path()).users, []);
}

/// Leave for one store is none for another.
#[test]
fn leave_counts_where_it_was_given() {
    let (_temp, stream, options) = orders();
    fs::remove_file(stream.dir.join("msgs/index.db")).expect("remove");
    let quiet = |path: &Path| {
        let sighting = Sighting {
            path: path.to_owned(),
            ..Sighting::default()
        };
        sighting.idle().expect("leave")
    };
    let elsewhere = quiet(&stream.dir.with_file_name("ELSEWHERE"));
    let before = snapshot(&stream.dir);
    let report = mend_with(&elsewhere, &stream, &options, &|_| {});
    assert_eq!(report.refusal, Some(Refusal::Busy), "{:?}", report.events);
    assert_eq!(report.exit_code(), 8);
    assert!(undo(&OsFileSystem, &elsewhere, &stream).is_err());
    assert_eq!(snapshot(&stream.dir), before);
    let report = mend_with(&quiet(&stream.dir), &stream, &options, &|_| {});
    assert_eq!(report.refusal, None, "{:?}", report.events);
    assert_ne!(snapshot(&stream.dir), before);
}

/// A server that nobody here can see shows in the files alone.
#[test]
fn a_store_that_changes_under_us_is_left_alone() {
    let (_temp, stream, options) = orders();
    fs::remove_file(stream.dir.join("msgs/index.db")).expect("remove");
    let block = stream.dir.join("msgs/1.blk");
    let bytes = fs::read(&block).expect("a block");
    for (file, bytes) in [
        (block.clone(), bytes[..bytes.len() - 1].to_vec()),
        (block, bytes),
        (stream.dir.join("msgs/999.blk"), Vec::new()),
        (stream.dir.join("obs/NEW/meta.inf"), Vec::new()),
    ] {
        let written = |_| {
            fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
            fs::write(&file, &bytes).expect("a file");
        };
        let report = mend_with(&Idle::declared(), &stream, &options, &written);
        assert_eq!(report.refusal, Some(Refusal::Busy), "{:?}", report.events);
        assert_eq!(report.exit_code(), 8);
        let event = report.events.last().expect("an event");
        assert_eq!(event.code, EventCode::ReadChangedUnderneath);
        assert!(!stream.dir.join("msgs/index.db").exists());
    }
}

#[test]
fn of_directories_that_bear_the_name_of_a_key_only_empty_ones_go() {
    let (_temp, stream, options) = orders();
    fs::remove_file(stream.dir.join("msgs/index.db")).expect("remove");
    fs::create_dir(stream.dir.join("msgs/77.key")).expect("a directory");
    fs::create_dir_all(stream.dir.join("msgs/78.key/within")).expect("a directory");
    let before = snapshot(&stream.dir);
    let done = mend(&stream, &options, &KEEP_UNDO);
    assert_ne!(done.outcome, Outcome::Refused, "{:?}", done.events);
    assert!(!stream.dir.join("msgs/77.key").exists());
    assert!(stream.dir.join("msgs/78.key/within").exists());
    assert_eq!(look(&stream, &options).source, Some(Source::Index));
    undo(&OsFileSystem, &Idle::declared(), &stream).expect("undo");
    assert_eq!(snapshot(&stream.dir), before);
}
