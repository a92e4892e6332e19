//! Encrypted streams whose directories were renamed: the name is guessed, and proven by a checksum or a key.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{KEY, copy_tree, testdata};

fn jetsam(line: &str, path: &Path, more: &[&Path]) -> (i32, Value) {
    let mut words = line.split_whitespace();
    let ran = Command::new(env!("CARGO_BIN_EXE_jetsam"))
        .arg(words.next().expect("a verb"))
        .arg(path)
        .args(words)
        .args(more)
        .arg("--json")
        .env("JS_KEY", std::str::from_utf8(KEY).expect("text"))
        .output()
        .expect("the command starts");
    let document = serde_json::from_slice(&ran.stdout).unwrap_or(Value::Null);
    (ran.status.code().expect("an exit code"), document)
}

/// A store_dir in which the stream KV_settings lies in a directory of another name.
struct Renamed {
    temp: tempfile::TempDir,
    dir: PathBuf,
    /// What the stream holds, by its digest.
    digest: Value,
}

impl Renamed {
    fn to(golden: &str, name: &str) -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        let from = testdata("golden/v2.15.2").join(golden).join("jetstream");
        copy_tree(&from, &temp.path().join("jetstream"));
        let streams = temp.path().join("jetstream/$G/streams");
        let before = streams.join("KV_settings");
        let (_, told) = jetsam("check --key-env JS_KEY --digest --no-expire", &before, &[]);
        let digest = told["streams"][0]["digest"].clone();
        assert!(digest.is_string(), "{told}");
        let dir = streams.join(name);
        fs::rename(before, &dir).expect("renamed");
        Renamed { temp, dir, digest }
    }

    /// Salvages the whole store; what came of the stream, and where it lies.
    fn saved(&self, flags: &str) -> (Value, PathBuf) {
        let out = self.temp.path().join("new");
        let line = format!("salvage --key-env JS_KEY --digest --no-expire {flags} --out");
        let (_, told) = jetsam(&line, &self.temp.path().join("jetstream"), &[&out]);
        let streams = told["streams"].as_array().expect("streams");
        let of = |stream: &&Value| stream["name"] == "KV_settings";
        let stream = streams.iter().find(of).cloned().unwrap_or(Value::Null);
        (stream, out.join("$G/streams"))
    }
}

/// What the event says, that the checksum is another name's.
fn name_told(stream: &Value) -> &str {
    let events = stream["events"].as_array().expect("events");
    let event = events
        .iter()
        .find(|event| event["code"] == "stream-sum-mismatch");
    event.map_or("", |event| event["detail"].as_str().expect("text"))
}

#[test]
fn a_renamed_encrypted_stream_gets_its_name_back() {
    for (golden, name) in [
        ("s2-chacha", "KV_settings_old"),
        ("plain-aes", "KV_settings.bak"),
        ("s2-aes", "backup-of_KV_settings-2026"),
        ("plain-chacha", "kv_settings copy"),
    ] {
        let renamed = Renamed::to(golden, name);
        let (stream, streams) = renamed.saved("");
        if golden == "plain-chacha" {
            // Nothing leads from here to that name: it stays what it is, and closed.
            assert!(stream.is_null(), "{stream}");
            continue;
        }
        assert_eq!(stream["digest"], renamed.digest, "{name}");
        assert!(name_told(&stream).contains("belongs to the stream KV_settings"));
        let made = streams.join("KV_settings");
        let (code, told) = jetsam("preflight --key-env JS_KEY", &made, &[]);
        assert_eq!(
            (code, &told["streams"][0]["forecast"]["start"]),
            (0, &"ok".into())
        );
    }
}

#[test]
fn check_and_preflight_tell_the_name_without_any_key() {
    let renamed = Renamed::to("s2-chacha", "KV_settings (1)");
    for line in [
        "check",
        "check --key-env JS_KEY",
        "preflight",
        "recover --dry-run",
    ] {
        let (code, told) = jetsam(line, &renamed.dir, &[]);
        let stream = &told["streams"][0];
        assert_eq!(
            name_told(stream),
            "the directory is called KV_settings (1); the metadata is sound for the stream KV_settings",
            "{line}"
        );
        assert!(code >= 4, "{line}: {code}");
    }
}

#[test]
fn a_key_proves_the_name_where_the_checksum_is_gone() {
    let renamed = Renamed::to("s2-chacha", "KV_settings_1");
    fs::remove_file(renamed.dir.join("meta.sum")).expect("a checksum");
    let (stream, streams) = renamed.saved("");
    assert_eq!(stream["digest"], renamed.digest);
    assert!(streams.join("KV_settings/meta.inf").exists());
}

#[test]
fn a_block_s_key_proves_it_where_that_of_the_metadata_is_gone_too() {
    let renamed = Renamed::to("s2-chacha", "KV_settings_1");
    for file in ["meta.sum", "meta.key"] {
        fs::remove_file(renamed.dir.join(file)).expect("a file of the metadata");
    }
    // How many values a key keeps went with the metadata: the older ones are there again.
    let (stream, _) = renamed.saved("");
    let there = stream["salvage"]["recovered"].as_u64();
    assert!(there > Some(0), "{stream}");
}

#[test]
fn the_configuration_that_is_given_names_it() {
    let renamed = Renamed::to("s2-chacha", "what-was-this");
    let (stream, _) = renamed.saved("");
    assert!(stream.is_null(), "{stream}");
    fs::remove_dir_all(renamed.temp.path().join("new")).expect("the first attempt");
    let info = renamed.temp.path().join("info.json");
    let json = r#"{"config":{"name":"KV_settings","subjects":["$KV.settings.>"],"retention":"limits","max_consumers":-1,
        "max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msgs_per_subject":5,"discard":"new","storage":"file","num_replicas":1},
        "created":"2026-01-02T03:04:05Z"}"#;
    fs::write(&info, json).expect("written");
    let (stream, _) = renamed.saved(&format!("--stream-info {}", info.display()));
    assert_eq!(stream["digest"], renamed.digest);
}
