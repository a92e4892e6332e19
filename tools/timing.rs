//! Times the rebuild of one stream's state from its blocks, `index.db` ignored unless `--index` is given: our side of the
//! comparison in `benches/compare/run.sh`.
//!
//! ```text
//! cargo run --release --example timing -- STREAM_DIR [--key KEY] [--account NAME] [--threads N] [--rounds N] [--mmap]
//!     [--foretell] [--index]
//! ```
//!
//! With `--foretell` it prints instead what `preflight` says of the time a server takes, in seconds: what the model comes to,
//! and between which bounds it expects it. Compared with real servers in `benches/starts/run.sh`.
//!
//! Every round runs in a process of its own, so that peak memory is that of one rebuild, and prints
//! one JSON line. Only the examination is timed, not the start of the process.

#![expect(
    clippy::disallowed_methods,
    reason = "the fence is around the library; this measures it from outside"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use jetsam::crypto::ServerKey;
use jetsam::env::{Clock, OsClock, OsFileSystem};
use jetsam::preflight::{PreflightOptions, forecast, measure};
use jetsam::recovery::examine;
use jetsam::report::Watch;
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;

const USAGE: &str = "usage: timing STREAM_DIR [--key KEY] [--account NAME] [--threads N] [--rounds N] [--mmap] [--foretell] [--index]";

struct Settings {
    dir: PathBuf,
    key: Option<String>,
    account: Option<String>,
    threads: Option<usize>,
    rounds: usize,
    mmap: bool,
    foretell: bool,
    index: bool,
}

fn main() -> ExitCode {
    let Some(settings) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let result = if settings.rounds > 1 {
        in_fresh_processes(settings.rounds)
    } else {
        time_once(settings)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("timing: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Settings> {
    let mut settings = Settings {
        dir: PathBuf::new(),
        key: None,
        account: None,
        threads: None,
        rounds: 1,
        mmap: false,
        foretell: false,
        index: false,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--key" => settings.key = Some(arguments.next()?),
            "--account" => settings.account = Some(arguments.next()?),
            "--threads" => settings.threads = Some(arguments.next()?.parse().ok()?),
            "--rounds" => settings.rounds = arguments.next()?.parse().ok()?,
            "--mmap" => settings.mmap = true,
            "--foretell" => settings.foretell = true,
            "--index" => settings.index = true,
            flag if flag.starts_with("--") => return None,
            dir => settings.dir = PathBuf::from(dir),
        }
    }
    (!settings.dir.as_os_str().is_empty() && settings.rounds > 0).then_some(settings)
}

/// Starts this program anew for every round. A later `--rounds` takes the place of an earlier one.
fn in_fresh_processes(rounds: usize) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    for _ in 0..rounds {
        let status = Command::new(&program)
            .args(std::env::args_os().skip(1))
            .args(["--rounds", "1"])
            .status()
            .map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("a round ended with {status}"));
        }
    }
    Ok(())
}

fn time_once(settings: Settings) -> Result<(), String> {
    let mut options = Options::new(OsClock.now_ns());
    options.no_index = !settings.index;
    // Where the index stands a server reads no message, and neither is one read here.
    options.quick = settings.index && !settings.foretell;
    options.map_files = settings.mmap;
    options.keys.current = settings.key.map(|key| ServerKey::new(key.into_bytes()));
    if let Some(threads) = settings.threads {
        options.threads = threads;
    }
    let stream = StreamDir {
        account: settings.account.or_else(|| account_of(&settings.dir)),
        name: name_of(&settings.dir),
        dir: settings.dir,
    };
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    if settings.foretell {
        return foretell(&stream, &options, &watch);
    }
    let begin = Instant::now();
    let report = examine(&OsFileSystem, &stream, &options, &watch);
    let seconds = begin.elapsed().as_secs_f64();
    let Some(state) = report.state else {
        let why = report.events.last().map(|event| event.detail.clone());
        return Err(why.unwrap_or_else(|| "the stream does not open".into()));
    };
    println!(
        r#"{{"seconds":{seconds:.4},"peak_rss_kb":{},"messages":{},"bytes":{}}}"#,
        peak_rss_kb(),
        state.messages,
        state.bytes
    );
    Ok(())
}

/// The processor time of this thread: what else the machine does is not in it.
struct ProcessorClock;

impl Clock for ProcessorClock {
    fn now_ns(&self) -> i64 {
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        spent.tv_sec * 1_000_000_000 + spent.tv_nsec
    }
}

/// What a forecast says, by the better of three samples.
fn foretell(stream: &StreamDir, options: &Options, watch: &Watch<'_>) -> Result<(), String> {
    let samples = (0..3).map(|_| measure(&OsFileSystem, stream, options, &ProcessorClock));
    let speed = samples.min_by(|one, other| one.slowness.total_cmp(&other.slowness));
    let wish = PreflightOptions {
        speed,
        ..PreflightOptions::default()
    };
    let told = forecast(&OsFileSystem, stream, options, &wish, watch);
    let (least, most) = told.start_seconds_range;
    println!(
        r#"{{"start_seconds":{:.4},"least":{least:.4},"most":{most:.4},"fast_path":{},"messages":{},"slowness":{:.3}}}"#,
        told.start_seconds,
        told.fast_path,
        told.messages,
        speed.map_or(1.0, |speed| speed.slowness),
    );
    Ok(())
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

/// The largest resident size of this process so far, in KiB; 0 where the system does not tell.
fn peak_rss_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
