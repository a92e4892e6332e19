//! A living store is not touched: every verb that writes, against stores that real servers have open, however these were
//! told where the store is. Refused with exit code 8 and not a byte changed; once the server is gone each goes through.
//!
//! `cargo build --bin jetsam && cargo run --example living`
//!
//! Wants Linux, and the server that `testdata/oracle/build.sh` builds; `NATS_SERVER` names another one.

#![allow(
    clippy::disallowed_methods,
    reason = "an example works on scratch files"
)]

mod server;
mod store;
mod ways;

use std::path::Path;
use std::process::{Command, ExitCode};

use server::Server;
use store::{Bench, Tree};

/// A verb that writes to an existing store, with what it takes besides the path.
const VERBS: &[(&str, &[&str])] = &[
    ("recover", &["--accept-loss"]),
    ("undo", &[]),
    ("rebuild-index", &[]),
    ("rekey", &["--new-key-env", "NEW_KEY"]),
    ("salvage", &["--out", "INSIDE"]),
    ("merge", &["--out", "INSIDE"]),
];
/// Those that write beside what they read, and need no leave where a server cannot be told.
const COPYING: [&str; 2] = ["salvage", "merge"];
/// The exit code where a store is in use.
const BUSY: i32 = 8;

fn main() -> ExitCode {
    let bench = Bench::new();
    let mut tally = Tally::default();
    for (name, start) in ways::all() {
        match start(&bench) {
            Some((server, path)) => refused(&bench, &mut tally, name, server, &path),
            None => println!("LEFT OUT: {name}: not permitted here"),
        }
    }
    stopped(&bench, &mut tally);
    unrelated(&bench, &mut tally);
    untold(&bench, &mut tally);
    reading(&bench, &mut tally);
    println!(
        "{} runs beside real servers: {} wrong",
        tally.runs, tally.wrong
    );
    if tally.wrong == 0 && tally.runs > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[derive(Default)]
struct Tally {
    runs: u32,
    wrong: u32,
}

impl Tally {
    fn check(&mut self, is_right: bool, what: impl FnOnce() -> String) {
        self.runs += 1;
        if !is_right {
            self.wrong += 1;
            println!("WRONG {}", what());
        }
    }
}

/// What a run of the command left behind.
#[derive(Debug)]
struct Ran {
    exit: i32,
    err: String,
}

fn jetsam(bench: &Bench, verb: &str, path: &Path, more: &[&str]) -> Ran {
    let inside = path.join("jetstream/$G/streams/NEW");
    let stream = path.join("jetstream/$G/streams/ORDERS");
    let mut command = Command::new(&bench.jetsam);
    command
        .arg(verb)
        .env("NEW_KEY", "a new key")
        .arg("--no-progress");
    match verb {
        "merge" => command.arg(&stream).arg(bench.spare_copy()),
        "salvage" => command.arg(&stream),
        _ => command.arg(path),
    };
    for argument in more {
        match *argument {
            "INSIDE" => command.arg(&inside),
            argument => command.arg(argument),
        };
    }
    let output = command.output().expect("jetsam runs");
    Ran {
        exit: output.status.code().unwrap_or(-1),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Every verb leaves the store alone.
fn refused(bench: &Bench, tally: &mut Tally, name: &str, server: Server, path: &Path) {
    // It holds nothing open, and cannot change anything while it is compared.
    let held = server.blocks_held();
    tally.check(held == 0, || {
        format!("{name}: the server is not idle, {held} blocks are open")
    });
    server.freeze();
    let before = Tree::of(path);
    for place in [
        "",
        "jetstream",
        "jetstream/$G",
        "jetstream/$G/streams/ORDERS",
    ] {
        for (verb, more) in VERBS {
            if COPYING.contains(verb) && !place.is_empty() {
                continue;
            }
            let ran = jetsam(bench, verb, &path.join(place), more);
            let named = ran.err.contains(&format!("process {} ", server.pid()));
            tally.check(ran.exit == BUSY && named, || {
                format!("{name}: {verb} {place}: {ran:?}")
            });
            let changed = before.differs(&Tree::of(path));
            tally.check(changed.is_none(), || {
                format!("{name}: {verb} {place}: {changed:?}")
            });
        }
    }
    drop(server);
}

/// Every verb goes through, each on a store of its own.
fn goes_through(bench: &Bench, tally: &mut Tally, name: &str, more: &[&str]) {
    for (verb, own) in VERBS {
        let store = bench.store();
        if *verb == "undo" {
            let ran = jetsam(bench, "recover", &store, more);
            tally.check(ran.exit <= 1, || {
                format!("{name}: recover before undo: {ran:?}")
            });
        }
        let before = Tree::of(&store);
        let more: Vec<&str> = own.iter().chain(more).copied().collect();
        let ran = jetsam(bench, verb, &store, &more);
        tally.check((0..=1).contains(&ran.exit), || {
            format!("{name}: {verb}: {ran:?}")
        });
        let changed = before.differs(&Tree::of(&store));
        tally.check(changed.is_some(), || format!("{name}: {verb} did nothing"));
    }
}

fn stopped(bench: &Bench, tally: &mut Tally) {
    let store = bench.store();
    drop(bench.serve(&["-js", "-sd"], &[&store], |_| {}));
    goes_through(bench, tally, "no server", &[]);
}

fn unrelated(bench: &Bench, tally: &mut Tally) {
    let others = [bench.store(), bench.store()];
    let text = format!("jetstream {{ store_dir: \"{}\" }}\n", others[1].display());
    let conf = bench.file("nats.conf", &text);
    let _first = bench.serve(&["-js", "-sd"], &[&others[0]], |_| {});
    let _second = bench.serve(&["-c"], &[&conf], |_| {});
    let off = bench.file("off.conf", "port: -1\n");
    let _third = bench.serve(&["-c"], &[&off], |_| {});
    goes_through(bench, tally, "servers elsewhere", &[]);
}

/// A server whose store cannot be told is named, and the caller has to answer for the store.
fn untold(bench: &Bench, tally: &mut Tally) {
    let other = bench.store();
    let text = format!("jetstream {{ store_dir: \"{}\" }}\n", other.display());
    let conf = bench.file("nats.conf", &text);
    let server = bench.serve(&["-c"], &[&conf], |_| {});
    for (what, told) in [
        (Some("jetstream {\n  store_dir: [\n"), ":3:1:"),
        (None, "cannot be read"),
    ] {
        match what {
            Some(text) => std::fs::write(&conf, text).expect("a file"),
            None => std::fs::remove_file(&conf).expect("a removal"),
        }
        let store = bench.store();
        let before = Tree::of(&store);
        for (verb, more) in VERBS.iter().filter(|(verb, _)| !COPYING.contains(verb)) {
            let ran = jetsam(bench, verb, &store, more);
            let named = ran.err.contains(&format!("process {} ", server.pid()));
            let is_right = ran.exit == BUSY && named && ran.err.contains(told);
            tally.check(is_right, || format!("untold: {verb}: {ran:?}"));
            let changed = before.differs(&Tree::of(&store));
            tally.check(changed.is_none(), || format!("untold: {verb}: {changed:?}"));
        }
        goes_through(bench, tally, "untold, declared idle", &["--store-is-idle"]);
    }
}

/// Verbs that only read say that a server is at work, and go on.
fn reading(bench: &Bench, tally: &mut Tally) {
    let store = bench.store();
    let server = bench.serve(&["-js", "-sd"], &[&store], |_| {});
    server.freeze();
    let before = Tree::of(&store);
    for verb in ["check", "preflight", "cat"] {
        let ran = jetsam(bench, verb, &store, &[]);
        let told = ran.err.contains(&format!("process {} ", server.pid()));
        tally.check((0..=1).contains(&ran.exit) && told, || {
            format!("{verb}: {ran:?}")
        });
    }
    let changed = before.differs(&Tree::of(&store));
    tally.check(changed.is_none(), || format!("reading: {changed:?}"));
}
