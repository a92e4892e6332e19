//! The command as a program: what it prints where, and with which exit code it ends.

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn command(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jetsam"));
    command
        .args(line.split_whitespace())
        .env_remove("JS_KEY")
        .stdin(Stdio::null());
    command
}

fn run(line: &str) -> Output {
    command(line).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn wrong_usage_is_told_on_stderr_with_a_hint() {
    let cases = [
        ("", "a verb is missing"),
        ("chekc DIR", "did you mean check?"),
        ("check", "PATH is missing"),
        ("check A B", "takes one PATH"),
        (
            "check A --jsno",
            "unknown flag --jsno; did you mean --json?",
        ),
        ("check A --accept-loss", "belongs to `jetsam recover`"),
        (
            "recover A --policy salvage",
            "`jetsam salvage PATH --out DIR`",
        ),
        ("check A --key-env JS_KEY", "JS_KEY is not set"),
        ("salvage A", "needs --out DIR"),
        ("salvage A --out B --uncertain perhaps", "keep or drop"),
        ("merge A --out B", "two or more copies"),
        ("cat A --format xml", "text, json or raw"),
    ];
    for (line, want) in cases {
        let output = run(line);
        assert_eq!(output.status.code(), Some(16), "{line:?}");
        assert_eq!(text(&output.stdout), "", "{line:?}");
        let message = text(&output.stderr);
        assert!(
            message.starts_with("jetsam: ") && message.contains(want),
            "{line:?}: {message}"
        );
    }
}

#[test]
fn a_key_on_the_command_line_is_refused_and_not_repeated() {
    for line in [
        "check A --key s3cret",
        "check A --key=s3cret",
        "check A --prev-key=s3cret",
    ] {
        let output = run(line);
        assert_eq!(output.status.code(), Some(16));
        assert!(text(&output.stderr).contains("--key-env"));
        assert!(!text(&output.stderr).contains("s3cret"));
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    for line in [
        "--help",
        "-h",
        "help",
        "check --help",
        "help recover",
        "cat -h",
    ] {
        let output = run(line);
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), ""),
            "{line}"
        );
        assert!(text(&output.stdout).contains("Exit codes:"), "{line}");
    }
    let version = format!("jetsam {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&run("--version").stdout), version);
}

#[test]
fn the_page_of_events_is_what_the_command_prints() {
    let page = include_str!("../../docs/EVENTS.md");
    assert!(
        text(&run("events --markdown").stdout) == page,
        "run: cargo run -- events --markdown > docs/EVENTS.md"
    );
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut child = command("events")
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdin.take());
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn a_full_disk_is_an_error() {
    // The device that is always full exists on Linux only.
    let Ok(mut full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        return;
    };
    assert!(full.write_all(b"x").is_err());
    let output = command("events")
        .stdout(full)
        .output()
        .expect("the command starts");
    assert_eq!(output.status.code(), Some(8));
    assert!(text(&output.stderr).contains("could not be written"));
}

mod on_real_stores {
    use std::fs;

    use serde_json::Value;

    use super::{command, run, text};
    use crate::recover::snapshot;
    use crate::support::{copy_tree, testdata};

    /// A scratch copy of a store_dir that a server was killed over.
    fn killed() -> tempfile::TempDir {
        let temp = tempfile::tempdir().expect("a temporary directory");
        copy_tree(
            &testdata("golden/v2.14.9/plain-none-killed/jetstream"),
            &temp.path().join("jetstream"),
        );
        temp
    }

    fn json(line: &str) -> (Value, i32) {
        let output = run(line);
        let document = serde_json::from_slice(&output.stdout).expect("one JSON document");
        (document, output.status.code().expect("an exit code"))
    }

    #[test]
    fn check_prints_one_document_and_changes_nothing() {
        let store = killed();
        let before = snapshot(store.path());
        let path = store.path().display().to_string();
        let (document, exit) = json(&format!(
            "check {path} --json --digest --deleted --subjects --entries"
        ));
        assert_eq!((&document["exit"], exit), (&Value::from(0), 0));
        assert_eq!(document["policy"], "server");
        let streams = document["streams"].as_array().expect("streams");
        assert_eq!(streams.len(), 23);
        let orders = streams
            .iter()
            .find(|stream| stream["name"] == "ORDERS")
            .expect("ORDERS");
        assert_eq!(orders["account"], "$G");
        assert_eq!(orders["source"], "blocks");
        assert_eq!(orders["state"]["messages"], 167);
        assert_eq!(
            orders["state"]["deleted"].as_array().map(Vec::len),
            Some(38)
        );
        assert_eq!(
            orders["subjects"].as_object().map(serde_json::Map::len),
            Some(16)
        );
        assert!(
            orders["digest"]
                .as_str()
                .is_some_and(|digest| digest.starts_with("sha256:"))
        );
        assert_eq!(snapshot(store.path()), before);
    }

    #[test]
    fn recover_then_undo_is_as_if_nothing_had_been() {
        let store = killed();
        let before = snapshot(store.path());
        let path = store.path().display().to_string();
        let (planned, _) = json(&format!("recover {path} --json --dry-run"));
        assert_eq!(snapshot(store.path()), before, "a dry run changes nothing");
        let (done, exit) = json(&format!("recover {path} --json --store-is-idle"));
        assert_eq!(exit, 0);
        for (plan, stream) in planned["streams"]
            .as_array()
            .into_iter()
            .flatten()
            .zip(done["streams"].as_array().into_iter().flatten())
        {
            assert_eq!(
                plan["actions"], stream["actions"],
                "the plan is what is done"
            );
        }
        assert!(
            store
                .path()
                .join("jetstream/$G/streams/ORDERS/msgs/index.db")
                .exists()
        );
        let (checked, _) = json(&format!("check {path} --json"));
        assert!(
            checked["streams"]
                .as_array()
                .expect("streams")
                .iter()
                .all(|stream| stream["source"] == "index")
        );
        let undone = run(&format!("undo {path} --store-is-idle"));
        assert_eq!(
            undone.status.code(),
            Some(0),
            "{}{}",
            text(&undone.stdout),
            text(&undone.stderr)
        );
        assert_eq!(snapshot(store.path()), before);
    }

    #[test]
    fn loss_is_exit_4_until_it_is_accepted() {
        let store = killed();
        let dir = store.path().join("jetstream/$G/streams/ORDERS");
        let block = dir.join("msgs/2.blk");
        let mut bytes = fs::read(&block).expect("a block");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(&block, bytes).expect("write");
        let before = snapshot(&dir);
        let path = dir.display().to_string();
        assert_eq!(run(&format!("check {path}")).status.code(), Some(4));
        let refused = run(&format!("recover {path} --store-is-idle"));
        assert_eq!(refused.status.code(), Some(4));
        assert!(
            text(&refused.stdout).contains("salvage"),
            "it names the way out"
        );
        assert_eq!(snapshot(&dir), before);
        assert_eq!(
            run(&format!(
                "recover {path} --accept-loss --no-undo --store-is-idle"
            ))
            .status
            .code(),
            Some(4)
        );
        assert!(!dir.join(".jetsam-undo").exists());
        assert_eq!(
            run(&format!("check {path}")).status.code(),
            Some(0),
            "what is left is sound"
        );
    }

    #[test]
    fn consumers_that_stick_at_a_compressed_block_are_named() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let from = testdata("golden/v2.15.2/s2-none/jetstream/$G/streams/ORDERS");
        let dir = temp.path().join("ORDERS");
        copy_tree(&from, &dir);
        let sticking = || {
            let (document, exit) = json(&format!("check {} --json", dir.display()));
            let events = document["streams"][0]["events"].as_array().cloned();
            let stuck = events
                .into_iter()
                .flatten()
                .filter(|event| event["code"] == "consumer-would-stick");
            (stuck.collect::<Vec<_>>(), exit)
        };
        assert_eq!(sticking(), (Vec::new(), 0));
        let block = dir.join("msgs/1.blk");
        let mut bytes = fs::read(&block).expect("a block");
        assert!(bytes.starts_with(b"cmp"), "compressed");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(&block, bytes).expect("write");
        let (stuck, exit) = sticking();
        assert_eq!((stuck.len(), exit), (1, 4));
        assert_eq!(stuck[0]["file"], "msgs/1.blk");
    }

    #[test]
    fn an_encrypted_store_wants_its_key() {
        let store = testdata("golden/v2.15.2/s2-aes").display().to_string();
        let (document, exit) = json(&format!("check {store} --json"));
        assert_eq!(exit, 8);
        assert!(
            document["streams"]
                .as_array()
                .expect("streams")
                .iter()
                .all(|stream| stream["outcome"] == "refused")
        );
        let mut with_key = command(&format!("check {store} --json --key-env JS_KEY"));
        let output = with_key
            .env("JS_KEY", "sekret-fixture-key")
            .output()
            .expect("the command");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }

    #[test]
    fn cat_prints_the_messages_asked_for() {
        let stream = testdata("golden/v2.15.2/plain-none/jetstream/$G/streams/ORDERS")
            .display()
            .to_string();
        let output = run(&format!("cat {stream} --from 3 --limit 2 --format json"));
        assert_eq!(output.status.code(), Some(0));
        let lines: Vec<Value> = text(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(
            lines
                .iter()
                .map(|line| line["seq"].as_u64())
                .collect::<Vec<_>>(),
            [Some(3), Some(4)]
        );
        assert!(
            lines[0]["subject"]
                .as_str()
                .is_some_and(|subject| subject.starts_with("orders."))
        );
    }

    #[test]
    #[cfg(unix)]
    fn a_pipe_in_the_place_of_a_block_does_not_hang() {
        let store = killed();
        let dir = store.path().join("jetstream/$G/streams/WORK");
        fs::remove_file(dir.join("msgs/1.blk")).expect("remove");
        let made = std::process::Command::new("mkfifo")
            .arg(dir.join("msgs/1.blk"))
            .status()
            .expect("mkfifo");
        assert!(made.success());
        let output = run(&format!("check {} --json", dir.display()));
        assert_eq!(output.status.code(), Some(8));
    }
}
