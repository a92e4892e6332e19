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
        ("salvage A --out B", "not built yet"),
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
        text(&run("events").stdout) == page,
        "run: cargo run -- events > docs/EVENTS.md"
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
