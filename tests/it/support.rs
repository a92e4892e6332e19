//! What the tests share: scratch copies of committed stores, examining them, and holding a report
//! against the verdict of the Go server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use jetsam::crypto::{Cipher, ServerKey};
use jetsam::env::OsFileSystem;
use jetsam::format::duration::format_rfc3339;
use jetsam::recovery::examine;
use jetsam::report::Watch;
use jetsam::report::events::{Event, EventCode};
use jetsam::report::stream::{ConsumerReport, Refusal, Source, StreamReport};
use jetsam::stream::StreamDir;
use jetsam::stream::options::{Collect, Options};
use serde_json::{Map, Value, json};

/// The key of every encrypted store in `testdata`.
pub const KEY: &[u8] = b"sekret-fixture-key";

/// `testdata/…`.
pub fn testdata(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(below)
}

/// A committed stream store and what the Go server said of it.
pub struct Fixture {
    /// The stream directory in the repository.
    pub dir: PathBuf,
    /// Account directory name.
    pub account: String,
    /// Stream directory name.
    pub name: String,
    /// The verdict.
    pub verdict: Value,
    /// The request the verdict answers: keys and the like, where they are not the usual ones.
    pub encrypted: bool,
}

impl Fixture {
    /// The name of a damaged store: its section or row, then a few words.
    pub fn case(&self) -> String {
        self.dir.ancestors().nth(3).map(name_of).unwrap_or_default()
    }

    /// The stream in place; only for reading.
    pub fn stream(&self) -> StreamDir {
        StreamDir {
            account: Some(self.account.clone()),
            name: self.name.clone(),
            dir: self.dir.clone(),
        }
    }

    /// The clock of the verdict.
    pub fn opened_at(&self) -> i64 {
        self.verdict
            .get("opened_at")
            .and_then(Value::as_i64)
            .unwrap_or_default()
    }

    /// Options that ask for everything at the clock of the verdict.
    pub fn options(&self) -> Options {
        let mut options = everything(self.opened_at());
        if self.encrypted {
            options.keys.current = Some(ServerKey::new(KEY.to_vec()));
        }
        let asked = |name: &str| self.verdict["request"][name].as_str();
        let key = |name: &str| asked(name).map(|key| ServerKey::new(key.as_bytes().to_vec()));
        if let Some(current) = key("key") {
            options.keys.current = Some(current);
            options.keys.previous = key("prev_key");
            options.keys.cipher = asked("cipher").and_then(Cipher::from_name);
        }
        options
    }

    /// A scratch copy, with the directories git does not keep.
    pub fn scratch(&self) -> (tempfile::TempDir, StreamDir) {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let dir = temp
            .path()
            .join(&self.account)
            .join("streams")
            .join(&self.name);
        copy_tree(&self.dir, &dir);
        for below in ["msgs", "obs"] {
            fs::create_dir_all(dir.join(below)).expect("a scratch directory");
        }
        let stream = StreamDir {
            account: Some(self.account.clone()),
            name: self.name.clone(),
            dir,
        };
        (temp, stream)
    }
}

/// Options with every optional part of the report.
pub fn everything(now_ns: i64) -> Options {
    let mut options = Options::new(now_ns);
    options.collect = Collect {
        deleted: true,
        subjects: true,
        digest: true,
        entries: true,
    };
    options
}

/// Examines without being watched.
pub fn look(stream: &StreamDir, options: &Options) -> StreamReport {
    let cancel = AtomicBool::new(false);
    examine(
        &OsFileSystem,
        stream,
        options,
        &Watch {
            progress: &|_| {},
            cancel: &cancel,
        },
    )
}

/// Every stream below `testdata/golden` that has a verdict.
pub fn golden() -> Vec<Fixture> {
    let mut found = Vec::new();
    for version in dirs(&testdata("golden")) {
        for case in dirs(&version) {
            let encrypted = case.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.contains("chacha") || name.contains("aes")
            });
            for account in dirs(&case.join("jetstream")) {
                for dir in dirs(&account.join("streams")) {
                    let (account, name) = (name_of(&account), name_of(&dir));
                    let verdict = case
                        .join("verdict")
                        .join(&account)
                        .join(format!("{name}.json"));
                    let verdict = fs::read(&verdict)
                        .unwrap_or_else(|error| panic!("{}: {error}", verdict.display()));
                    let verdict = serde_json::from_slice(&verdict).expect("a verdict is JSON");
                    found.push(Fixture {
                        dir,
                        account,
                        name,
                        verdict,
                        encrypted,
                    });
                }
            }
        }
    }
    assert!(!found.is_empty(), "no stores below testdata/golden");
    found
}

/// Every store below `testdata/damaged`.
pub fn damaged() -> Vec<Fixture> {
    let mut found = Vec::new();
    for case in dirs(&testdata("damaged")) {
        let dir = case.join("A/streams/S");
        let verdict = fs::read(case.join("verdict.json"))
            .unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        found.push(Fixture {
            dir,
            account: "A".to_owned(),
            name: "S".to_owned(),
            verdict: serde_json::from_slice(&verdict).expect("a verdict is JSON"),
            encrypted: false,
        });
    }
    assert!(!found.is_empty(), "no stores below testdata/damaged");
    found
}

/// The store `testdata/damaged/<case>`.
pub fn damaged_case(case: &str) -> Fixture {
    damaged()
        .into_iter()
        .find(|fixture| fixture.case() == case)
        .unwrap_or_else(|| panic!("no store testdata/damaged/{case}"))
}

/// Directories below `dir`, by name; none where there is no such directory.
pub fn dirs(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut dirs: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    dirs.sort();
    dirs
}

/// The last part of a path, as text.
pub fn name_of(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Copies a directory with everything in it.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a scratch directory");
    for entry in fs::read_dir(from).expect("a readable directory").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}

fn time(ns: Option<i64>) -> Value {
    ns.map_or_else(
        || json!("0001-01-01T00:00:00Z"),
        |ns| json!(format_rfc3339(ns)),
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A report in the oracle's shape.
pub fn as_answer(report: &StreamReport) -> Map<String, Value> {
    let mut answer = Map::new();
    if let Some(state) = &report.state {
        answer.insert(
            "state".into(),
            json!({
                "messages": state.messages, "bytes": state.bytes,
                "first_seq": state.first_seq, "first_ts": time(state.first_time_ns),
                "last_seq": state.last_seq, "last_ts": time(state.last_time_ns),
                "num_subjects": state.subject_count, "num_deleted": state.deleted_count,
                "deleted": state.deleted,
                "lost": state.lost.as_ref().map(|lost| json!({ "msgs": lost.seqs, "bytes": lost.bytes })),
            }),
        );
    }
    let digest = report.digest.map(|digest| {
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    });
    answer.insert("digest".into(), json!(digest));
    let subjects: Option<Map<String, Value>> = report.subjects.as_ref().map(|all| {
        all.iter()
            .map(|(key, count)| (text(key), json!(count)))
            .collect()
    });
    answer.insert("subjects".into(), json!(subjects));
    answer.insert("unreadable".into(), json!(report.unreadable));
    answer.insert(
        "fast_path".into(),
        json!(report.source == Some(Source::Index)),
    );
    answer.insert(
        "ttl".into(),
        json!(
            report
                .ttl
                .as_ref()
                .map(|ttl| json!({ "count": ttl.count, "entries": ttl.entries }))
        ),
    );
    let schedules = report.schedules.as_ref().map(|schedules| {
        let entries: Vec<Value> = schedules
            .entries
            .iter()
            .flatten()
            .map(|(subject, seq, ns)| json!([text(subject), seq, ns]))
            .collect();
        json!({ "count": schedules.count, "entries": entries })
    });
    answer.insert("schedules".into(), json!(schedules));
    let sources: Option<Map<String, Value>> = report.sources.as_ref().map(|all| {
        all.iter()
            .map(|(key, at)| {
                (
                    text(key),
                    json!({ "seq": at.seq, "ident": text(&at.identity) }),
                )
            })
            .collect()
    });
    answer.insert("sources".into(), json!(sources));
    answer
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Where a report and a verdict differ, in words; empty where they agree. Null, `[]` and `{}` are one.
pub fn differences(report: &StreamReport, verdict: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let outcome = verdict["outcome"].as_str().unwrap_or_default();
    // What a server standing alone leaves out for its replicas is looked at all the same.
    let alone = |event: &Event| event.code == EventCode::ReplicasUnsupported;
    if outcome == "skipped" && report.refusal.is_none() && report.events.iter().any(alone) {
        return found;
    }
    let expected: &[Option<Refusal>] = match outcome {
        "opened" => &[None],
        "error" => &[Some(Refusal::OpenFails)],
        "skipped" => &[Some(Refusal::Skipped), Some(Refusal::NeedsKey)],
        _ => &[Some(Refusal::ServerDown)],
    };
    if !expected.contains(&report.refusal) || report.refusal.is_some() != report.state.is_none() {
        let events: Vec<&str> = report
            .events
            .iter()
            .map(|event| event.detail.as_str())
            .collect();
        found.push(format!(
            "the server says {outcome} ({}), we say {:?}, {:?}: {}",
            verdict["error"],
            report.outcome,
            report.refusal,
            events.join("; ")
        ));
        return found;
    }
    if outcome != "opened" {
        return found;
    }
    if let Some(consumers) = verdict["consumers"].as_array() {
        let ours = report.consumers.iter().map(consumer_answer).collect();
        let theirs = consumers.iter().map(consumer_in_short).collect();
        compare(
            "consumers",
            &Value::Array(ours),
            &Value::Array(theirs),
            &mut found,
        );
    }
    let read = verdict.get("read_outcome").is_none_or(|read| read == "ok");
    for (key, ours) in as_answer(report) {
        if !read && (key == "digest" || key == "unreadable") {
            continue;
        }
        let theirs = verdict.get(&key).unwrap_or(&Value::Null);
        compare(&key, &ours, theirs, &mut found);
    }
    found
}

/// A consumer in few words, as a report has it.
fn consumer_answer(consumer: &ConsumerReport) -> Value {
    let ok = consumer.outcome == "ok";
    json!([
        consumer.name,
        consumer.outcome,
        ok.then_some([
            consumer.delivered.0,
            consumer.delivered.1,
            consumer.ack_floor.0,
            consumer.ack_floor.1
        ]),
        ok.then_some([consumer.pending_count, consumer.redelivered_count]),
    ])
}

/// The same, as the oracle has it.
fn consumer_in_short(consumer: &Value) -> Value {
    let outcome = match consumer["outcome"].as_str() {
        Some("opened") => "ok",
        Some("skipped") => "skipped",
        Some("deleted") => "deleted",
        _ => "failed",
    };
    let state = &consumer["state"];
    let number = |pair: &str, field: &str| state[pair][field].as_u64().unwrap_or_default();
    let count = |field: &str| {
        state[field]
            .as_object()
            .map_or(0, |entries| entries.len() as u64)
    };
    let ok = outcome == "ok";
    json!([
        consumer["name"],
        outcome,
        ok.then(|| [
            number("delivered", "consumer_seq"),
            number("delivered", "stream_seq"),
            number("ack_floor", "consumer_seq"),
            number("ack_floor", "stream_seq"),
        ]),
        ok.then(|| [count("pending"), count("redelivered")]),
    ])
}

fn compare(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    if path.starts_with("state")
        && let (Some(ours), Some(theirs)) = (ours.as_object(), theirs.as_object())
    {
        for (key, value) in ours {
            compare(
                &format!("state.{key}"),
                value,
                theirs.get(key).unwrap_or(&Value::Null),
                found,
            );
        }
        return;
    }
    if ours != theirs && !(is_empty(ours) && is_empty(theirs)) {
        found.push(format!("{path}: ours {ours}, theirs {theirs}"));
    }
}
