//! `jetsam keys` and `jetsam rekey` on committed stores, as programs on a real disk.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{KEY, copy_tree, testdata};

fn jetsam(line: &str, path: &Path) -> (i32, Value, String) {
    let mut words = line.split_whitespace();
    // Whatever else runs on the machine of the tests.
    let idle = line.starts_with("rekey").then_some("--store-is-idle");
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_jetsam"))
        .arg(words.next().expect("a verb"))
        .arg(path)
        .args(words)
        .args(idle)
        .arg("--json")
        .env("OLD", std::str::from_utf8(KEY).expect("text"))
        .env("NEW", "another key")
        .output()
        .expect("the command starts");
    let document = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
    let code = status.code().expect("an exit code");
    (
        code,
        document,
        String::from_utf8_lossy(&stderr).into_owned(),
    )
}

/// A whole store_dir of two accounts, to be changed.
fn scratch(case: &str) -> tempfile::TempDir {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let from = testdata("golden/v2.15.2").join(case).join("jetstream");
    copy_tree(&from, &temp.path().join("jetstream"));
    temp
}

/// State and digest of every stream, and its consumers.
fn told(path: &Path, keys: &str) -> Vec<Value> {
    let (code, document, err) = jetsam(&format!("check --digest --deleted {keys}"), path);
    assert!(code < 4, "{err}");
    let streams = document["streams"].as_array().expect("streams");
    let part = |stream: &Value| {
        [
            "name",
            "source",
            "state",
            "digest",
            "ttl",
            "schedules",
            "consumers",
        ]
        .map(|part| stream[part].clone())
        .into()
    };
    streams.iter().map(part).collect()
}

fn outcomes(document: &Value) -> Vec<&str> {
    let streams = document["streams"].as_array().expect("streams");
    streams
        .iter()
        .map(|stream| stream["outcome"].as_str().unwrap_or_default())
        .collect()
}

#[test]
fn a_whole_store_changes_its_key_and_nothing_else() {
    let temp = scratch("s2-chacha");
    let dir = temp.path();
    let before = told(dir, "--key-env OLD");
    assert!(before.len() > 3);
    let (code, document, err) = jetsam(
        "rekey --key-env OLD --new-key-env NEW --new-cipher aes",
        dir,
    );
    assert_eq!((code, err.as_str()), (0, ""), "{document}");
    assert!(
        outcomes(&document)
            .iter()
            .all(|outcome| *outcome == "rekeyed")
    );
    assert_eq!(told(dir, "--key-env NEW --cipher aes"), before);
    let (code, document, _) = jetsam("keys --key-env NEW --cipher aes", dir);
    assert_eq!(code, 0);
    let keys = document["streams"][0]["keys"].as_array().expect("keys");
    assert!(
        keys.iter()
            .all(|key| key["state"] == "ok" && key["cipher"] == "aes")
    );
    // A second call has nothing to do, and the old key opens nothing any more.
    let again = "rekey --key-env OLD --new-key-env NEW --new-cipher aes";
    let (code, document, _) = jetsam(again, dir);
    assert_eq!(code, 0);
    assert!(
        outcomes(&document)
            .iter()
            .all(|outcome| *outcome == "already")
    );
    let (code, document, _) = jetsam("keys --key-env OLD", dir);
    assert_eq!(code, 8);
    assert_eq!(document["streams"][0]["keys"][0]["state"], "unopenable");

    let (code, _, err) = jetsam("rekey --key-env NEW --plaintext", dir);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(told(dir, ""), before);
    let left = |account: &str| dir.join("jetstream").join(account).join("__jetsam_rekey__");
    assert!(["$G", "ACME"].iter().all(|account| !left(account).exists()));
}

#[test]
fn one_stream_is_named_by_a_crooked_path() {
    let temp = scratch("plain-none");
    let stream = temp.path().join("jetstream/ACME/streams/LEDGER");
    let crooked = stream.join("msgs/..");
    let before = told(&stream, "");
    let (code, document, err) = jetsam("rekey --new-key-env NEW --keep-old", &crooked);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(outcomes(&document), ["rekeyed"]);
    let kept = document["streams"][0]["kept"].as_str().expect("a path");
    assert!(Path::new(kept).join("meta.inf").is_file());
    assert_eq!(told(&stream, "--key-env NEW"), before);
}

#[test]
fn an_interrupted_swap_is_told_by_check_and_finished_by_rekey() {
    let temp = scratch("plain-aes");
    let account = temp.path().join("jetstream/ACME");
    let stream = account.join("streams/LEDGER");
    let before = told(&stream, "--key-env OLD");
    // As a death right behind the first rename leaves it.
    let (code, _, _) = jetsam("rekey --key-env OLD --new-key-env NEW --keep-old", &stream);
    assert_eq!(code, 0);
    let work = account.join("__jetsam_rekey__");
    fs::rename(&stream, work.join("LEDGER")).expect("a rename");
    fs::rename(work.join("LEDGER.old.1"), work.join("LEDGER.old")).expect("a rename");

    let (_, document, err) = jetsam("check --key-env OLD", &account);
    assert_eq!(outcomes(&document), Vec::<&str>::new());
    assert!(err.contains("jetsam rekey"), "{err}");
    for path in [&account, &stream] {
        let (code, document, err) = jetsam("rekey --key-env OLD --new-key-env NEW", path);
        assert_eq!(code, 0, "{err}");
        assert_eq!(document["streams"][0]["name"], "LEDGER");
        assert_eq!(told(&stream, "--key-env NEW"), before);
        if path == &account {
            assert_eq!(document["streams"][0]["resumed"], true);
            assert!(!work.exists());
        }
    }
}

#[test]
fn a_damaged_stream_is_left_as_it_is() {
    let temp = scratch("plain-none");
    let stream = temp.path().join("jetstream/ACME/streams/LEDGER");
    let block = stream.join("msgs/1.blk");
    let mut bytes = fs::read(&block).expect("a block");
    bytes[60] ^= 1;
    fs::write(&block, &bytes).expect("a block");
    let (code, document, err) = jetsam("rekey --new-key-env NEW", &stream);
    assert_eq!(code, 4);
    assert_eq!(outcomes(&document), ["refused"]);
    assert!(err.contains("jetsam salvage"), "{err}");
    assert_eq!(fs::read(&block).expect("a block"), bytes);
    assert!(!stream.join("meta.key").exists());
}

#[test]
fn a_flipped_bit_in_a_key_file_is_named() {
    let temp = scratch("plain-aes");
    let stream = temp.path().join("jetstream/ACME/streams/LEDGER");
    let key = stream.join("msgs/1.key");
    let mut bytes = fs::read(&key).expect("a key file");
    bytes[40] ^= 0x20;
    fs::write(&key, &bytes).expect("a key file");
    let (code, document, _) = jetsam("keys --key-env OLD", &stream);
    assert_eq!(code, 1);
    let entry = &document["streams"][0]["keys"][1];
    assert_eq!(
        (&entry["file"], &entry["state"], &entry["detail"]),
        (
            &Value::from("msgs/1.key"),
            &Value::from("repairable"),
            &Value::from("wrong: bit 5 of byte 40")
        )
    );
}

#[test]
fn what_the_new_key_is_must_be_said() {
    let temp = scratch("plain-none");
    let (code, _, err) = jetsam("rekey", temp.path());
    assert_eq!(code, 16);
    assert!(err.contains("--new-key-env"), "{err}");
    let (code, _, err) = jetsam("rekey --plaintext --new-cipher aes", temp.path());
    assert_eq!(code, 16);
    assert!(err.contains("exclude"), "{err}");
}

#[test]
fn quiet_is_the_verdict_alone() {
    let temp = scratch("s2-chacha");
    let out = |line: &str| {
        let mut words = line.split_whitespace();
        let ran = Command::new(env!("CARGO_BIN_EXE_jetsam"))
            .arg(words.next().expect("a verb"))
            .arg(temp.path())
            .args(words)
            .env("OLD", std::str::from_utf8(KEY).expect("text"))
            .env("NEW", "another key")
            .output()
            .expect("the command starts");
        assert_eq!(String::from_utf8_lossy(&ran.stderr), "", "{line}");
        String::from_utf8(ran.stdout).expect("text")
    };
    let lines = [
        "keys -q --key-env OLD",
        "rekey -q --key-env OLD --new-key-env NEW --store-is-idle",
        "rekey -q --key-env OLD --new-key-env NEW --store-is-idle",
        "keys -q --key-env OLD",
    ];
    let text: String = lines
        .iter()
        .map(|line| format!("$ jetsam {line}\n{}", out(line)))
        .collect();
    expect_test::expect![[r#"
        $ jetsam keys -q --key-env OLD
        every encrypted file can be opened
        $ jetsam rekey -q --key-env OLD --new-key-env NEW --store-is-idle
        rekeyed: 9
        $ jetsam rekey -q --key-env OLD --new-key-env NEW --store-is-idle
        rekeyed: 0
        $ jetsam keys -q --key-env OLD
        24 keys stay closed to the keys given
    "#]]
    .assert_eq(&text);
}
