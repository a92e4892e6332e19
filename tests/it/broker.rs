//! The broker of `examples/broker` as a stock client and a rude one see it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::scenario::{Ended, Truth, play};

/// A running broker, killed when dropped.
struct Broker {
    child: Child,
    port: u16,
}

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

impl Broker {
    fn start(program: &Path, dir: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(program);
        command
            .args(["--listen", "127.0.0.1:0", "--store-is-idle", "--dir"])
            .arg(dir)
            .args(more);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let port = line
            .trim()
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        Broker {
            child,
            port: port.unwrap_or_else(|| panic!("no port in {line:?}")),
        }
    }

    fn stop(mut self) {
        let asked = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        assert!(asked.expect("kill runs").success());
        assert!(
            self.child.wait().expect("it ends").success(),
            "it closes its streams"
        );
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
    let broker = Broker::start(&program, dir.path(), &[]);
    part(&broker, Ended::Never, &mut truth);
    broker.stop();
    let broker = Broker::start(&program, dir.path(), &[]);
    part(&broker, Ended::Safely, &mut truth);
    // No more than that: everything that was acknowledged is synced.
    drop(broker);
    let broker = Broker::start(&program, dir.path(), &["--level", "written"]);
    part(&broker, Ended::Safely, &mut truth);
    drop(broker);
    let broker = Broker::start(&program, dir.path(), &[]);
    part(&broker, Ended::Safely, &mut truth);
    assert!(truth.check_count > 1000);
}
