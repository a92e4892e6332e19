//! From hand to hand: our broker and a real nats-server take turns on one directory, and a stock client finds with each what the one
//! before acknowledged, and goes on.
//!
//! ```text
//! testdata/oracle/build.sh
//! cargo build --example broker
//! cargo run --example hand_to_hand [-- --only TEXT] [--server 2.14.10=./nats-server-v2.14.10]
//! ```
//!
//! Every way is gone with plain, compressed and encrypted streams of both ciphers, and with each of the two stopped or killed. After
//! every turn `jetsam` judges each stream as well: what stopped is clean, and of what was killed no message is lost.
//!
//! A server that is killed may not have written what its consumers acknowledged last. There the check is that no message is missed.
//! Not provoked is that a message comes back which a server's limit removed, when the server itself is killed: it leaves no evidence of
//! that. So no purge here leaves a key with less than a limit kept before.

#![allow(
    clippy::disallowed_methods,
    reason = "this program stands outside the library"
)]

mod broker;
#[path = "../surroundings/nats.rs"]
#[allow(
    dead_code,
    reason = "shared with another program, which asks more of a server"
)]
mod nats;
mod scenario;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use broker::Broker;
use jetsam::crypto::ServerKey;
use jetsam::env::{Clock, OsClock, OsFileSystem};
use jetsam::recovery::examine;
use jetsam::report::Watch;
use jetsam::report::stream::{Outcome as Judged, Source};
use jetsam::stream::find_streams;
use jetsam::stream::options::Options;
use nats::Server;
use scenario::{Ended, Outcome, Truth, play};

const KEY: &str = "a key of two brokers";
/// Turns of one directory: ours first, then a server, and so on.
const TURNS: u32 = 5;

/// How a store is kept.
struct Kind {
    name: &'static str,
    compresses: bool,
    cipher: Option<&'static str>,
}

const KINDS: [Kind; 5] = [
    Kind {
        name: "plain",
        compresses: false,
        cipher: None,
    },
    Kind {
        name: "compressed",
        compresses: true,
        cipher: None,
    },
    Kind {
        name: "chacha",
        compresses: false,
        cipher: Some("chacha"),
    },
    Kind {
        name: "aes",
        compresses: false,
        cipher: Some("aes"),
    },
    Kind {
        name: "aes, compressed",
        compresses: true,
        cipher: Some("aes"),
    },
];

struct Programs {
    server: PathBuf,
    /// The server's version, where another than the reference was asked for.
    version: String,
    broker: PathBuf,
    only: String,
}

fn programs() -> Result<Programs, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target"),
        PathBuf::from,
    );
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut found = Programs {
        server: target.join("oracle/nats-server"),
        version: String::new(),
        broker: own.with_file_name("broker"),
        only: String::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or(format!("{arg} wants a value"))?;
        match arg.as_str() {
            "--only" => found.only = value,
            "--server" => {
                let (version, path) = value.split_once('=').ok_or("--server takes VERSION=PATH")?;
                (found.version, found.server) = (version.to_owned(), PathBuf::from(path));
            }
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    for program in [&found.server, &found.broker] {
        if !program.exists() {
            return Err(format!("{} is not built", program.display()));
        }
    }
    found.server = std::fs::canonicalize(&found.server).map_err(|error| error.to_string())?;
    Ok(found)
}

fn main() -> ExitCode {
    let programs = match programs() {
        Ok(programs) => programs,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(16);
        }
    };
    // Most of the time is spent waiting: every kind of store has a thread of its own.
    let tallies = std::thread::scope(|scope| {
        let kinds: Vec<_> = KINDS
            .iter()
            .map(|kind| scope.spawn(|| go_all_ways(&programs, kind)))
            .collect();
        kinds
            .into_iter()
            .map(|kind| kind.join().unwrap_or([0, 0, 1]))
            .collect::<Vec<_>>()
    });
    let [ways, checks, wrong] =
        [0, 1, 2].map(|place: usize| tallies.iter().map(|tally| tally[place]).sum::<u64>());
    println!("{ways} ways from hand to hand, {checks} checks: {wrong} wrong");
    if wrong == 0 && ways > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// How many ways were gone, how much was checked, and how many ways were wrong.
fn go_all_ways(programs: &Programs, kind: &Kind) -> [u64; 3] {
    let (mut ways, mut checks, mut wrong) = (0, 0, 0);
    for (ours_dies, theirs_dies) in [(false, false), (true, false), (false, true), (true, true)] {
        let how = |dies: bool| if dies { "killed" } else { "stopped" };
        let name = format!(
            "{}, ours {}, theirs {}",
            kind.name,
            how(ours_dies),
            how(theirs_dies)
        );
        if !name.contains(&programs.only) {
            continue;
        }
        if programs.version.starts_with("2.10.")
            && kind.cipher.is_some()
            && ours_dies
            && !theirs_dies
        {
            println!(
                "LEFT OUT {name}: where it finds no index this server replaces the stream's key when it stops, and nobody opens it again"
            );
            continue;
        }
        ways += 1;
        let mut truth = Truth::default();
        if let Err(error) = take_turns(programs, kind, [ours_dies, theirs_dies], &mut truth) {
            wrong += 1;
            println!("WRONG {name}: {error}");
        }
        checks += truth.check_count;
    }
    [ways, checks, wrong]
}

/// Who serves, and how that ends.
enum Turn {
    Ours(Broker),
    Theirs(Server),
}

fn take_turns(programs: &Programs, kind: &Kind, dies: [bool; 2], truth: &mut Truth) -> Outcome<()> {
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("data");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut before = Ended::Never;
    for turn in 0..TURNS {
        let is_ours = turn % 2 == 0;
        let server = start(programs, kind, is_ours, scratch.path(), &dir)?;
        let port = match &server {
            Turn::Ours(broker) => broker.port,
            Turn::Theirs(server) => server.client_port,
        };
        let part = async {
            tokio::time::timeout(
                Duration::from_secs(120),
                play(port, before, kind.compresses, truth),
            )
            .await
        };
        let who = if is_ours { "ours" } else { "theirs" };
        runtime
            .block_on(part)?
            .map_err(|error| format!("turn {turn}, {who}: {error}"))?;
        let is_killed = dies[(turn % 2) as usize];
        match (is_killed, server) {
            (true, server) => drop(server),
            (false, Turn::Ours(broker)) => broker.stop()?,
            (false, Turn::Theirs(server)) => server.stop()?,
        }
        judge(kind, &dir, is_killed, truth)
            .map_err(|error| format!("after turn {turn}, {who}: {error}"))?;
        before = if !is_ours && dies[1] {
            Ended::Killed
        } else {
            Ended::Safely
        };
    }
    Ok(())
}

fn start(
    programs: &Programs,
    kind: &Kind,
    is_ours: bool,
    scratch: &Path,
    dir: &Path,
) -> Outcome<Turn> {
    if is_ours {
        let more: &[&str] = match kind.cipher {
            Some("aes") => &["aes"],
            _ => &[],
        };
        return Ok(Turn::Ours(Broker::start(
            &programs.broker,
            dir,
            more,
            kind.cipher.map(|_| KEY),
        )?));
    }
    let key = kind.cipher.map_or(String::new(), |cipher| {
        format!("key: \"{KEY}\"\ncipher: {cipher}\n")
    });
    let config = format!("jetstream {{\nstore_dir: \"{}\"\n{key}}}\n", dir.display());
    let server = Server::start(&programs.server, scratch, &config)?;
    Ok(Turn::Theirs(server.ok_or("the server does not start")?))
}

/// What was stopped is clean and needs no scan; of what was killed nothing is lost.
fn judge(kind: &Kind, dir: &Path, is_killed: bool, truth: &mut Truth) -> Outcome<()> {
    let mut options = Options::new(OsClock.now_ns());
    options.keys.current = kind.cipher.map(|_| ServerKey::new(KEY.into()));
    let found = find_streams(&OsFileSystem, dir).map_err(|error| error.to_string())?;
    for stream in &found.streams {
        let report = examine(&OsFileSystem, stream, &options, &Watch::none());
        let is_right = match is_killed {
            true => matches!(report.outcome, Judged::Clean | Judged::Recovered),
            false => report.outcome == Judged::Clean && report.source == Some(Source::Index),
        };
        let events: Vec<&str> = report
            .events
            .iter()
            .map(|event| event.detail.as_str())
            .collect();
        let told = format!(
            "{} is {}: {}",
            stream.name,
            report.outcome.as_str(),
            events.join("; ")
        );
        truth.same("judged", (is_right, told.clone()), (true, told))?;
    }
    truth.same("streams", found.streams.len(), 3)
}
