//! Checks a store again and again, with several numbers of threads, by reading and by mapping, and wants one answer every time.
//!
//! ```text
//! cargo run --release --example soak -- STREAM_DIR... [--checks N] [--key KEY] [--account NAME] [--index]
//! ```
//!
//! `--checks` is how often each store is checked in all, 3,000 where nothing is said: a check with 1, 2, 4 and 8 threads in turn,
//! one half of them with blocks mapped. `index.db` is passed over unless `--index` is given, so that every block is read. What
//! is compared is everything a report says. An answer that differs is printed beside the first and ends the run with 1.

#![expect(
    clippy::disallowed_methods,
    reason = "the fence is around the library; this watches it from outside"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use jetsam::crypto::ServerKey;
use jetsam::env::{Clock, OsClock, OsFileSystem};
use jetsam::recovery::examine;
use jetsam::report::Watch;
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;

const USAGE: &str = "usage: soak STREAM_DIR... [--checks N] [--key KEY] [--account NAME] [--index]";
const THREADS: [usize; 4] = [1, 2, 4, 8];

struct Settings {
    dirs: Vec<PathBuf>,
    checks: usize,
    key: Option<ServerKey>,
    account: Option<String>,
    index: bool,
}

fn main() -> ExitCode {
    let Some(settings) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // One time for all: what a message's age makes of it must not change between two checks.
    let now_ns = OsClock.now_ns();
    let mut agree = true;
    for dir in &settings.dirs {
        agree &= soak(&settings, dir, now_ns);
    }
    match agree {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Settings> {
    let mut settings = Settings {
        dirs: Vec::new(),
        checks: 3_000,
        key: None,
        account: None,
        index: false,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--checks" => settings.checks = arguments.next()?.parse().ok()?,
            "--key" => settings.key = Some(ServerKey::new(arguments.next()?.into_bytes())),
            "--account" => settings.account = Some(arguments.next()?),
            "--index" => settings.index = true,
            flag if flag.starts_with("--") => return None,
            dir => settings.dirs.push(PathBuf::from(dir)),
        }
    }
    (!settings.dirs.is_empty() && settings.checks > 0).then_some(settings)
}

/// Whether every check of a store gave the same answer.
fn soak(settings: &Settings, dir: &Path, now_ns: i64) -> bool {
    let begin = Instant::now();
    // The account is in the path.
    let Ok(dir) = std::fs::canonicalize(dir) else {
        println!("{}: it cannot be found", dir.display());
        return false;
    };
    let mut first: Option<String> = None;
    for round in 0..settings.checks {
        let threads = THREADS[round % THREADS.len()];
        let map_files = round / THREADS.len() % 2 == 1;
        let Some(told) = told(settings, &dir, now_ns, threads, map_files) else {
            println!("{}: it does not open", dir.display());
            return false;
        };
        if (round + 1) % 100 == 0 {
            eprintln!("{}: {} checks", dir.display(), round + 1);
        }
        match &first {
            None => first = Some(told),
            Some(first) if *first == told => {}
            Some(first) => {
                println!(
                    "{}: check {round} ({threads} threads, {}) gave another answer than the first\nfirst: {first}\nnow:   {told}",
                    dir.display(),
                    if map_files { "mapped" } else { "read" },
                );
                return false;
            }
        }
    }
    println!(
        "{}: {} checks, one answer, {:.0} s",
        dir.display(),
        settings.checks,
        begin.elapsed().as_secs_f64()
    );
    true
}

/// Everything a check says.
fn told(
    settings: &Settings,
    dir: &Path,
    now_ns: i64,
    threads: usize,
    map_files: bool,
) -> Option<String> {
    let mut options = Options::new(now_ns);
    options.no_index = !settings.index;
    options.map_files = map_files;
    options.threads = threads;
    options.keys.current.clone_from(&settings.key);
    let stream = StreamDir {
        account: settings.account.clone().or_else(|| account_of(dir)),
        name: name_of(dir),
        dir: dir.to_owned(),
    };
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let report = examine(&OsFileSystem, &stream, &options, &watch);
    report.state.is_some().then(|| format!("{report:?}"))
}

fn name_of(dir: &Path) -> String {
    dir.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The account of `ACCOUNT/streams/NAME`.
fn account_of(dir: &Path) -> Option<String> {
    dir.parent()?.parent().map(name_of)
}
