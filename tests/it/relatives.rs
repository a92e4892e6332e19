//! Mirrors of a stream and streams that source it, as sources of a merge. The stores are a real server's
//! (`testdata/relatives/make.py`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{copy_tree, testdata};

fn jetsam(words: &[&str], paths: &[&Path]) -> (i32, Value, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_jetsam"))
        .args(words)
        .args(paths)
        .arg("--json")
        .output()
        .expect("the command starts");
    let document = serde_json::from_slice(&ran.stdout).unwrap_or(Value::Null);
    let code = ran.status.code().expect("an exit code");
    (code, document, String::from_utf8_lossy(&ran.stderr).into())
}

fn fixture(below: &str) -> PathBuf {
    testdata("relatives").join(below)
}

/// A copy of the stream ORDERS, to be damaged.
struct Orders {
    temp: tempfile::TempDir,
    dir: PathBuf,
}

impl Orders {
    fn of(below: &str) -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = temp.path().join("ORDERS");
        copy_tree(&fixture(below), &dir);
        Orders { temp, dir }
    }

    /// Ten messages and more of the middle are gone.
    fn with_a_hole() -> Self {
        let orders = Self::of("first/ORDERS");
        let block = orders.dir.join("msgs/1.blk");
        let mut bytes = fs::read(&block).expect("a block");
        let third = bytes.len() / 3;
        bytes[third..third + 800].fill(0);
        fs::write(&block, bytes).expect("written");
        orders
    }

    fn out(&self) -> PathBuf {
        self.temp.path().join("out/ORDERS")
    }

    fn merged(&self, relatives: &[&str], more: &[&str]) -> (i32, Value, String) {
        let _ = fs::remove_dir_all(self.out());
        let mut words = vec!["merge", "--digest"];
        words.extend(more);
        let out = self.out();
        let from: Vec<PathBuf> = relatives.iter().map(|name| fixture(name)).collect();
        let mut paths: Vec<&Path> = vec![&self.dir];
        for path in &from {
            paths.push(Path::new("--also-from"));
            paths.push(path);
        }
        paths.push(Path::new("--out"));
        paths.push(&out);
        let (code, mut document, err) = jetsam(&words, &paths);
        (code, first(&mut document), err)
    }
}

fn checked(dir: &Path) -> Value {
    let (_, mut document, _) = jetsam(&["check", "--digest"], &[dir]);
    first(&mut document)
}

/// The first stream of a document, where there is one.
fn first(document: &mut Value) -> Value {
    let stream = document["streams"].get_mut(0);
    stream.map_or(Value::Null, Value::take)
}

/// Messages by sequence: subject, headers and body, and the time by itself.
fn messages(dir: &Path) -> Vec<(u64, [String; 3], String)> {
    let ran = Command::new(env!("CARGO_BIN_EXE_jetsam"))
        .args(["cat", "--format", "json"])
        .arg(dir)
        .output()
        .expect("the command starts");
    let text = String::from_utf8(ran.stdout).expect("text");
    let lines = text.lines().map(|line| {
        let message: Value = serde_json::from_str(line).expect("a message");
        let part = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        let parts = [part("subject"), part("hdrs"), part("data")];
        (
            message["seq"].as_u64().expect("a sequence"),
            parts,
            part("time"),
        )
    });
    lines.collect()
}

fn detail<'s>(stream: &'s Value, code: &str) -> &'s str {
    let events = stream["events"].as_array().expect("events");
    let event = events.iter().find(|event| event["code"] == code);
    event.map_or("", |event| event["detail"].as_str().expect("text"))
}

fn lost(stream: &Value) -> u64 {
    stream["salvage"]["lost"].as_u64().expect("a number")
}

#[test]
fn a_mirror_gives_back_what_is_lost_and_nothing_that_was_deleted() {
    let whole = checked(&fixture("first/ORDERS"));
    assert_eq!(whole["state"]["messages"], 59);
    let orders = Orders::with_a_hole();
    let (code, merged, err) = orders.merged(&["first/MIRROR"], &[]);
    assert_eq!((code, lost(&merged)), (1, 0), "{err} {merged}");
    assert_eq!(merged["digest"], whole["digest"]);
    assert_eq!(merged["ledger"]["removed"]["index"], 1, "{merged}");
    let told = detail(&merged, "taken-from-mirror");
    assert!(told.contains(": sequences "), "{told}");
    let (code, _, err) = jetsam(&["preflight"], &[&orders.out()]);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_filtered_mirror_gives_what_it_has() {
    let orders = Orders::with_a_hole();
    let (code, merged, _) = orders.merged(&["first/FILTERED"], &[]);

    assert_eq!(code, 4);
    let whole = messages(&fixture("first/ORDERS"));
    let made = messages(&orders.out());
    let missing: Vec<_> = whole.iter().filter(|one| !made.contains(one)).collect();
    assert_eq!(missing.len() as u64, lost(&merged));
    assert!(
        missing.len() > 3
            && missing
                .iter()
                .all(|(_, parts, _)| parts[0].starts_with("orders.b."))
    );
    assert!(made.iter().all(|one| whole.contains(one)));
}

#[test]
fn a_stream_that_was_lost_as_a_whole_comes_back_from_its_mirror() {
    let orders = Orders::of("first/ORDERS");
    for file in ["msgs/1.blk", "msgs/index.db"] {
        fs::remove_file(orders.dir.join(file)).expect("a file");
    }
    let (code, merged, err) = orders.merged(&["first/MIRROR"], &[]);
    assert_eq!(code, 1, "{err}");
    // That one of them had been deleted is lost with the rest.
    assert_eq!(merged["state"]["messages"], 60);
    assert_eq!(messages(&orders.out()), messages(&fixture("first/MIRROR")));
}

#[test]
fn the_end_that_every_copy_lost_comes_back() {
    let orders = Orders::of("first/ORDERS");
    let block = orders.dir.join("msgs/1.blk");
    let bytes = fs::read(&block).expect("a block");
    fs::write(&block, &bytes[..bytes.len() / 2]).expect("cut");
    fs::remove_file(orders.dir.join("msgs/index.db")).expect("an index");
    let (code, merged, err) = orders.merged(&["first/MIRROR"], &[]);
    assert_eq!(
        (code, &merged["state"]["last_seq"]),
        (1, &60.into()),
        "{err}"
    );
    assert_eq!(
        merged["digest"],
        checked(&fixture("first/ORDERS"))["digest"]
    );
}

#[test]
fn a_sourced_message_gets_its_sequence_subject_and_headers_back_but_not_its_time() {
    let whole = messages(&fixture("first/ORDERS"));
    for source in ["first/ALL", "first/MOVED"] {
        let orders = Orders::with_a_hole();
        let (code, merged, err) = orders.merged(&[source], &[]);
        assert_eq!((code, lost(&merged)), (1, 0), "{err} {merged}");
        let made = messages(&orders.out());
        let parts = |all: &[(u64, [String; 3], String)]| -> Vec<(u64, [String; 3])> {
            all.iter()
                .map(|(seq, parts, _)| (*seq, parts.clone()))
                .collect()
        };
        assert_eq!(parts(&made), parts(&whole), "{source}");
        assert!(made.iter().zip(&whole).any(|(a, b)| a.2 != b.2), "{source}");
        let times = made.iter().map(|(_, _, time)| nanoseconds(time));
        assert!(times.is_sorted(), "{source}");
        assert!(detail(&merged, "taken-from-sourcing").contains(": sequences "));
    }
    // What a mirror has comes from there.
    let orders = Orders::with_a_hole();
    let (_, merged, _) = orders.merged(&["first/ALL", "first/MIRROR"], &[]);
    assert_eq!(messages(&orders.out()), whole);
    assert_eq!(detail(&merged, "taken-from-sourcing"), "");
}

/// A time of the fixtures, which are all of one day, to the nanosecond.
fn nanoseconds(time: &str) -> String {
    let (seconds, rest) = time
        .trim_end_matches('Z')
        .split_once('.')
        .unwrap_or((time, ""));
    format!("{seconds}.{rest:0<9}")
}

#[test]
fn a_copy_s_message_stands_and_above_a_difference_nothing_is_taken() {
    let orders = Orders::of("later/ORDERS");
    let own = messages(&orders.dir);
    let last = own.last().expect("messages").0;
    assert!(last < 60);
    for relative in ["first/MIRROR", "first/ALL"] {
        let (code, merged, err) = orders.merged(&[relative], &[]);
        assert_eq!(code, 1, "{err}");
        assert_eq!(messages(&orders.out()), own, "{relative}");
        let want = format!("sequences {} to {last}", last - 4);
        assert_eq!(detail(&merged, "relative-differs"), want);
    }
}

#[test]
fn messages_of_an_earlier_stream_of_the_name_are_passed_over() {
    let orders = Orders::of("anew/ORDERS");
    let own = messages(&orders.dir);
    for relative in ["first/MIRROR", "first/ALL"] {
        let (_, merged, _) = orders.merged(&[relative], &[]);
        assert_eq!(messages(&orders.out()), own, "{relative}");
        let told = detail(&merged, "relative-passed-over");
        assert_eq!(told, "60 of an earlier stream of this name", "{relative}");
    }
}

#[test]
fn what_tells_too_little_is_refused() {
    let orders = Orders::with_a_hole();
    for (relative, why) in [
        ("first/REWRITTEN", "rewrites subjects"),
        ("first/OTHER", "neither mirrors nor sources ORDERS"),
    ] {
        let (code, _, err) = orders.merged(&[relative], &[]);
        assert_eq!(code, 16);
        assert!(err.contains(why), "{err}");
        assert!(!orders.out().exists());
    }
    let (code, _, err) = orders.merged(&[], &[]);
    assert_eq!(code, 16);
    assert!(err.contains("--also-from"), "{err}");
}
