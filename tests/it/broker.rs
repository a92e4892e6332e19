//! The broker of `examples/broker` as a stock client and a rude one see it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::broker_process::Broker;
use crate::scenario::{Ended, Truth, play};

fn newest(path: &Path) -> SystemTime {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let own = std::fs::metadata(path).and_then(|found| found.modified());
    entries
        .map(|entry| newest(&entry.path()))
        .chain(own)
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The broker, as `cargo test` builds it; built here where only some tests were asked for.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let profile = own.ancestors().nth(2).expect("a build directory");
    let program = profile.join("examples/broker");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["examples/broker", "src"].map(|dir| newest(&root.join(dir)));
    if sources
        .into_iter()
        .any(|changed| changed > newest(&program))
    {
        let name = profile.file_name().expect("a name").to_string_lossy();
        let name = if name == "debug" { "dev" } else { &name };
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--example", "broker", "--profile", name])
            .current_dir(root);
        assert!(build.status().expect("cargo runs").success());
    }
    program
}

fn part(broker: &Broker, before: Ended, truth: &mut Truth) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let limit = Duration::from_secs(120);
    let played = runtime.block_on(async {
        tokio::time::timeout(limit, play(broker.port, before, true, truth)).await
    });
    played
        .expect("it does not hang")
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_stock_client_finds_everything_after_a_stop_and_after_a_kill() {
    let (program, dir) = (program(), tempfile::tempdir().expect("a directory"));
    let mut truth = Truth::default();
    let broker = Broker::start(&program, dir.path(), &[], None).expect("it starts");
    part(&broker, Ended::Never, &mut truth);
    broker.stop().expect("it closes its streams");
    let broker = Broker::start(&program, dir.path(), &[], None).expect("it starts");
    part(&broker, Ended::Safely, &mut truth);
    // No more than that: everything that was acknowledged is synced.
    drop(broker);
    let broker =
        Broker::start(&program, dir.path(), &["--level", "written"], None).expect("it starts");
    part(&broker, Ended::Safely, &mut truth);
    drop(broker);
    let broker = Broker::start(&program, dir.path(), &[], None).expect("it starts");
    part(&broker, Ended::Safely, &mut truth);
    assert!(truth.check_count > 1000);
}
