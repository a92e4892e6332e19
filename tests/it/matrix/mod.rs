//! Parity with what the server's own tests demand of recovery, row by row.
//!
//! `testdata/matrix` has stores that nats-server v2.15.2 and v2.15.3 wrote in the way each row describes, with its verdict
//! beside them. A test holds every dressing of a store (plain, compressed, encrypted) against the verdict and then
//! says in numbers what the row demands.

mod age;
mod blk;
mod clus;
mod cmp;
mod codec;
mod cons;
mod enc;
mod fault;
mod ids;
mod idx;
mod lim;
mod meta;
mod not_here;
mod open;
mod prg;
mod since;
mod src;
mod subj;
mod tomb;
mod ttl;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jetsam::crypto::{Cipher, ServerKey};
use jetsam::env::OsFileSystem;
use jetsam::recovery::{Flow, Item, RecoverOptions, messages};
use jetsam::report::Watch;
use jetsam::report::stream::{Source, State, StreamReport};
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;
use serde_json::Value;

use crate::recover::mend;
use crate::support::{copy_tree, differences, dirs, everything, look, name_of, testdata};

/// Goes on whatever is lost, without a way back.
pub const KEEP_NOTHING: RecoverOptions = RecoverOptions {
    accept_loss: true,
    accept_expiry: true,
    undo: false,
};

/// The dressings of a store.
const COATS: [&str; 6] = ["plain", "s2", "aes", "chacha", "s2-aes", "s2-chacha"];

/// One store of the matrix.
pub struct Case {
    /// Its directory below `testdata/matrix`.
    pub name: String,
    /// How it is dressed.
    pub coat: &'static str,
    dir: PathBuf,
    verdict: Value,
}

impl Case {
    fn of(name: String, coat: &'static str, dir: PathBuf) -> Self {
        let verdict = fs::read(dir.join("verdict.json")).expect("a verdict");
        let mut verdict: Value = serde_json::from_slice(&verdict).expect("a verdict is JSON");
        // No list and an empty one are the same.
        if let Some(lost) = verdict.pointer_mut("/state/lost/msgs")
            && lost.is_null()
        {
            *lost = Value::Array(Vec::new());
        }
        Case {
            name,
            coat,
            dir,
            verdict,
        }
    }

    /// The stream, in place; only for reading.
    pub fn stream(&self) -> StreamDir {
        StreamDir {
            account: Some("M".into()),
            name: "S".into(),
            dir: self.dir.join("M/streams/S"),
        }
    }

    /// A copy to be changed.
    pub fn scratch(&self) -> (tempfile::TempDir, StreamDir) {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let dir = temp.path().join("M/streams/S");
        copy_tree(&self.stream().dir, &dir);
        let stream = StreamDir {
            dir,
            ..self.stream()
        };
        (temp, stream)
    }

    /// A file of the stream directory.
    pub fn read(&self, file: &str) -> Vec<u8> {
        let path = self.dir.join("M/streams/S").join(file);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Names in a directory of the stream.
    pub fn list(&self, below: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.join("M/streams/S").join(below))
            .map(|entries| {
                entries
                    .flatten()
                    .map(|entry| name_of(&entry.path()))
                    .collect()
            })
            .unwrap_or_default();
        names.sort();
        names
    }

    /// The keys and the clock of the verdict, and every part of a report.
    pub fn options(&self) -> Options {
        let mut options = everything(self.verdict["opened_at"].as_i64().unwrap_or_default());
        let request = &self.verdict["request"];
        let key = |name: &str| {
            request[name]
                .as_str()
                .map(|text| ServerKey::new(text.as_bytes().to_vec()))
        };
        options.keys.current = key("key");
        options.keys.previous = key("prev_key");
        options.keys.cipher = request["cipher"].as_str().and_then(Cipher::from_name);
        options
    }

    /// The report, which has to agree with the verdict.
    pub fn look(&self) -> StreamReport {
        let report = look(&self.stream(), &self.options());
        let mut found = differences(&report, &self.verdict);
        if let Some(consumers) = self.verdict["consumers"].as_array() {
            found.extend(consumer_differences(&report, consumers));
        }
        assert!(found.is_empty(), "{}\n  {}", self.name, found.join("\n  "));
        report
    }

    /// Message blocks the server holds right after its open call.
    pub fn server_blocks(&self) -> usize {
        self.verdict["blocks"].as_array().map_or(0, Vec::len)
    }

    /// A counter of the server's blocks, added up.
    pub fn server_sum(&self, counter: &str) -> u64 {
        let blocks = self.verdict["blocks"].as_array();
        blocks
            .into_iter()
            .flatten()
            .filter_map(|block| block[counter].as_u64())
            .sum()
    }

    /// Live messages: sequence, subject, headers, body.
    pub fn messages(&self) -> Vec<(u64, String, String, Vec<u8>)> {
        let cancel = std::sync::atomic::AtomicBool::new(false);
        let watch = Watch {
            progress: &|_| {},
            cancel: &cancel,
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut found = Vec::new();
        let mut visit = |item: Item<'_>| {
            if let Item::Message(message) = item {
                found.push((
                    message.seq,
                    text(message.subject),
                    text(message.headers),
                    message.body.to_vec(),
                ));
            }
            Flow::Continue
        };
        messages(
            &OsFileSystem,
            &self.stream(),
            &self.options(),
            0..=u64::MAX,
            &mut visit,
            &watch,
        )
        .unwrap_or_else(|(_, reason)| panic!("{}: {reason}", self.name));
        found
    }
}

fn consumer_differences(report: &StreamReport, theirs: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for theirs in theirs {
        let name = theirs["name"].as_str().unwrap_or_default();
        let Some(ours) = report.consumers.iter().find(|ours| ours.name == name) else {
            found.push(format!("consumer {name} is missing"));
            continue;
        };
        let opened = theirs["outcome"] == "opened" && theirs["error"].is_null();
        if opened != (ours.outcome == "ok") {
            found.push(format!(
                "consumer {name}: ours {}, theirs {}",
                ours.outcome, theirs["outcome"]
            ));
        }
    }
    found
}

/// The stores of a row with this label, one for each dressing.
pub fn cases(id: &str, label: &str) -> Vec<Case> {
    let found: Vec<Case> = COATS
        .into_iter()
        .filter_map(|coat| {
            let name = match label {
                "" => format!("{id}-{coat}"),
                label => format!("{id}-{coat}-{label}"),
            };
            let dir = testdata("matrix").join(&name);
            dir.is_dir().then(|| Case::of(name, coat, dir))
        })
        .collect();
    assert!(!found.is_empty(), "no store {id} {label:?}");
    found
}

/// Checks the stores of a row with this label: agreement with the verdict, then what the row says.
pub fn each(id: &str, label: &str, check: impl Fn(&Case, &StreamReport)) {
    for case in cases(id, label) {
        // Seen where the check fails.
        println!("{}", case.name);
        let report = case.look();
        check(&case, &report);
    }
}

/// The state, which has to be there.
pub fn state(report: &StreamReport) -> &State {
    report.state.as_ref().expect("a state")
}

/// Messages, first and last sequence, as a row gives them.
pub fn bounds(report: &StreamReport) -> (u64, u64, u64) {
    let state = state(report);
    (state.messages, state.first_seq, state.last_seq)
}

/// The deleted sequences.
pub fn deleted(report: &StreamReport) -> Vec<u64> {
    state(report).deleted.clone().expect("collected")
}

/// The lost sequences; empty where nothing is lost.
pub fn lost(report: &StreamReport) -> Vec<u64> {
    state(report)
        .lost
        .as_ref()
        .map(|lost| lost.seqs.clone())
        .unwrap_or_default()
}

/// Whether `index.db` was taken.
pub fn from_index(report: &StreamReport) -> bool {
    report.source == Some(Source::Index)
}

/// Whether an event of this kind was seen.
pub fn saw(report: &StreamReport, code: &str) -> bool {
    report
        .events
        .iter()
        .any(|event| event.code.as_str() == code)
}

/// The files of actions of this kind.
pub fn acted(report: &StreamReport, kind: &str) -> Vec<String> {
    report
        .actions
        .iter()
        .filter(|action| action.kind.as_str() == kind)
        .map(|action| action.file.clone())
        .collect()
}

/// Checks a row that a clean reopening and one without `index.db` must answer alike: messages, first, last.
pub fn both(id: &str, prefix: &str, want: (u64, u64, u64), check: impl Fn(&Case, &StreamReport)) {
    let mut seen: BTreeMap<&str, State> = BTreeMap::new();
    each(id, &format!("{prefix}clean"), |_, report| {
        assert!(from_index(report));
    });
    for case in cases(id, &format!("{prefix}clean")) {
        let report = case.look();
        seen.insert(case.coat, state(&report).clone());
        assert_eq!(bounds(&report), want);
        check(&case, &report);
    }
    each(id, &format!("{prefix}noidx"), |case, report| {
        assert!(!from_index(report));
        assert_eq!(bounds(report), want);
        assert_eq!(Some(state(report)), seen.get(case.coat), "{}", case.name);
        check(case, report);
    });
}

/// The sources of the tests, in which rows are found by the names of the functions.
const TESTS: &[&str] = &[
    include_str!("age.rs"),
    include_str!("blk.rs"),
    include_str!("clus.rs"),
    include_str!("cmp.rs"),
    include_str!("codec.rs"),
    include_str!("cons.rs"),
    include_str!("enc.rs"),
    include_str!("fault.rs"),
    include_str!("idx.rs"),
    include_str!("lim.rs"),
    include_str!("meta.rs"),
    include_str!("open.rs"),
    include_str!("prg.rs"),
    include_str!("since.rs"),
    include_str!("src.rs"),
    include_str!("subj.rs"),
    include_str!("tomb.rs"),
    include_str!("ttl.rs"),
];

fn written() -> BTreeSet<String> {
    TESTS
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.strip_prefix("fn r"))
        .filter_map(|rest| rest.split_once('_'))
        .filter(|(digits, _)| digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()))
        .map(|(digits, _)| format!("R{digits}"))
        .collect()
}

#[test]
fn no_row_is_forgotten() {
    let all: BTreeSet<String> = ids::IDS.iter().map(|id| (*id).to_owned()).collect();
    assert_eq!(all.len(), ids::IDS.len());
    let written = written();
    let left_out: BTreeSet<String> = not_here::NOT_HERE
        .iter()
        .map(|(id, reason)| {
            assert!(reason.len() > 10, "{id} needs a reason");
            (*id).to_owned()
        })
        .collect();
    assert_eq!(
        left_out.len(),
        not_here::NOT_HERE.len(),
        "an id comes twice"
    );
    let both: Vec<&String> = written.intersection(&left_out).collect();
    assert!(both.is_empty(), "tested and left out: {both:?}");
    let named: BTreeSet<String> = written.union(&left_out).cloned().collect();
    let missing: Vec<&String> = all.difference(&named).collect();
    let unknown: Vec<&String> = named.difference(&all).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "missing {missing:?}, unknown {unknown:?}"
    );
}

#[test]
fn every_store_is_looked_at() {
    // A store that no test names would go unnoticed; at the least it has to agree with its verdict.
    let mut wrong = Vec::new();
    let mut count = 0;
    for dir in dirs(&testdata("matrix")) {
        let name = name_of(&dir);
        let case = Case::of(name.clone(), "plain", dir);
        let found = differences(&look(&case.stream(), &case.options()), &case.verdict);
        if !found.is_empty() {
            wrong.push(format!("{name}\n  {}", found.join("\n  ")));
        }
        count += 1;
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count >= 600, "only {count} stores");
}

/// Files below a directory with their lengths.
fn files(root: &Path, dir: &Path, found: &mut BTreeMap<String, u64>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(root, &path, found);
        } else {
            let name = path.strip_prefix(root).expect("below the root");
            let length = entry.metadata().expect("a length").len();
            found.insert(name.to_string_lossy().into_owned(), length);
        }
    }
}

#[test]
fn every_store_recovers_to_the_files_of_the_server() {
    let mut wrong = Vec::new();
    for dir in dirs(&testdata("matrix")) {
        let name = name_of(&dir);
        let case = Case::of(name.clone(), "plain", dir);
        let Some(theirs) = case.verdict["files_after"].as_object() else {
            continue;
        };
        if case.verdict["outcome"] != "opened" {
            continue;
        }
        let (_temp, stream) = case.scratch();
        mend(&stream, &case.options(), &KEEP_NOTHING);
        let mut ours = BTreeMap::new();
        files(&stream.dir, &stream.dir, &mut ours);
        // Lengths of what is not a block depend on who wrote it. A compressed block that changes its key stays
        // compressed with the server and is written plain here.
        let repacked = name.starts_with("R162-s2-") && name.contains("-to-");
        let weigh = |name: &str, length: u64| {
            if name.ends_with(".blk") && !repacked {
                length
            } else {
                0
            }
        };
        let ours: BTreeMap<&str, u64> = ours
            .iter()
            .map(|(name, length)| (name.as_str(), weigh(name, *length)))
            .collect();
        let theirs: BTreeMap<&str, u64> = theirs
            .iter()
            .map(|(name, file)| {
                (
                    name.as_str(),
                    weigh(name, file["size"].as_u64().unwrap_or_default()),
                )
            })
            .collect();
        let only = |one: &BTreeMap<&str, u64>, other: &BTreeMap<&str, u64>| {
            let names: Vec<String> = one
                .iter()
                .filter(|(name, length)| other.get(*name) != Some(length))
                .map(|(name, length)| format!("{name}({length})"))
                .collect();
            names.join(" ")
        };
        if ours != theirs {
            wrong.push(format!(
                "{name}: ours {}; theirs {}",
                only(&ours, &theirs),
                only(&theirs, &ours)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
