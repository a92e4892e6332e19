//! The live comparison: nats-server's own file store, through the oracle, against this library.
//!
//! A seed stands for a random store and up to three mutations of it. Both sides open their own copy; what they say
//! of it and what they leave on disk is compared field by field. A disagreement is asked twice, then made smaller
//! and printed with its seed.
//!
//! ```text
//! testdata/oracle/build.sh
//! cargo run --release --example differential -- --seeds 0..2000 [--threads 2] [--only SEED] [--keep DIR]
//!     [--replay DIR] [--fixtures] [--show N] [--no-shrink] [--oracle PROGRAM] [--scratch DIR]
//! ```
//!
//! `--keep` writes each disagreement to a directory of its own, which `--replay` judges again.
//! `--fixtures` takes the stores of `testdata/golden` in place of random ones: seeds below their number stand for
//! each of them undamaged, higher ones damage them. `--show` is how many disagreements of one kind are printed whole.

#![allow(
    clippy::disallowed_methods,
    reason = "this program stands outside the library"
)]

mod compare;
mod disk;
mod edit;
mod exempt;
mod make;
mod mutate;
mod oracle;
mod ours;
mod random;
mod run;
mod shrink;
mod tree;
mod vault;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use make::Base;
use oracle::Oracle;
use run::{Bench, Case, Depth, Disagreement, Judged, Verdict};
use shrink::Shrinker;

/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

thread_local! {
    static PANIC_PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Where this thread last panicked.
fn last_panic_place() -> String {
    PANIC_PLACE.with_borrow(String::clone)
}

/// The system clock.
fn now_ns() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

struct Args {
    from: u64,
    to: u64,
    threads: usize,
    keep: Option<PathBuf>,
    fixtures: bool,
    show: usize,
    shrink: bool,
    oracle: PathBuf,
    scratch: PathBuf,
    replay: Option<PathBuf>,
}

fn parse_args() -> Result<Args, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let memory = Path::new("/dev/shm");
    let mut args = Args {
        from: 0,
        to: 500,
        threads: 2,
        keep: None,
        replay: None,
        fixtures: false,
        show: 2,
        shrink: true,
        oracle: target.join("oracle/oracle"),
        scratch: if memory.is_dir() {
            memory.into()
        } else {
            std::env::temp_dir()
        },
    };
    let mut list = std::env::args().skip(1);
    while let Some(arg) = list.next() {
        let mut value = || list.next().ok_or(format!("{arg} needs a value"));
        let number = |text: String| {
            text.parse::<u64>()
                .map_err(|error| format!("{text}: {error}"))
        };
        match arg.as_str() {
            "--seeds" => {
                let text = value()?;
                let (from, to) = text.split_once("..").ok_or("--seeds takes A..B")?;
                (args.from, args.to) = (number(from.into())?, number(to.into())?);
            }
            "--only" => {
                args.from = number(value()?)?;
                args.to = args.from + 1;
                args.threads = 1;
            }
            "--threads" => args.threads = number(value()?)?.max(1) as usize,
            "--show" => args.show = number(value()?)? as usize,
            "--keep" => args.keep = Some(value()?.into()),
            "--replay" => args.replay = Some(value()?.into()),
            "--fixtures" => args.fixtures = true,
            "--no-shrink" => args.shrink = false,
            "--oracle" => args.oracle = value()?.into(),
            "--scratch" => args.scratch = value()?.into(),
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    Ok(args)
}

#[derive(Default)]
struct Tally {
    cases: u64,
    equal: u64,
    refused: u64,
    set_aside: BTreeMap<String, u64>,
    outcomes: BTreeMap<String, u64>,
    exempted: BTreeMap<&'static str, u64>,
    classes: BTreeMap<String, Vec<u64>>,
}

struct Work<'a> {
    args: &'a Args,
    fixtures: Vec<PathBuf>,
    next: AtomicU64,
    tally: Mutex<Tally>,
    began: Mutex<BTreeMap<usize, (u64, Instant)>>,
}

fn main() -> ExitCode {
    let args = match parse_args() {
        Ok(args) => args,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(16);
        }
    };
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PANIC_PLACE.with_borrow_mut(|last| *last = place);
    }));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden");
    let work = Work {
        fixtures: if args.fixtures {
            make::fixtures(&golden).unwrap_or_default()
        } else {
            vec![]
        },
        next: AtomicU64::new(args.from),
        tally: Mutex::default(),
        began: Mutex::default(),
        args: &args,
    };
    if let Some(dir) = &args.replay {
        return work.replay(dir).unwrap_or_else(|error| {
            eprintln!("{}: {error}", dir.display());
            ExitCode::from(2)
        });
    }
    let started = Instant::now();
    let failed = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..args.threads)
            .map(|worker| {
                let work = &work;
                scope.spawn(move || work.run(worker))
            })
            .collect();
        while handles.iter().any(|handle| !handle.is_finished()) {
            std::thread::sleep(Duration::from_millis(100));
            work.watch();
        }
        handles
            .into_iter()
            .filter_map(|handle| handle.join().ok()?.err())
            .next()
    });
    if let Some(error) = failed {
        eprintln!("differential: {error}");
        return ExitCode::from(2);
    }
    let disagree = work.summary(started.elapsed());
    ExitCode::from(u8::from(disagree > 0))
}

impl Work<'_> {
    fn bench(&self) -> io::Result<(tempfile::TempDir, Bench)> {
        let scratch = tempfile::Builder::new()
            .prefix("differential-")
            .tempdir_in(&self.args.scratch)?;
        let oracle_scratch = scratch.path().join("oracle");
        fs::create_dir_all(&oracle_scratch)?;
        let oracle = Oracle::start(&self.args.oracle, &oracle_scratch).map_err(|error| {
            io::Error::other(format!("{}: {error}", self.args.oracle.display()))
        })?;
        let bench = Bench {
            oracle,
            scratch: scratch.path().into(),
        };
        Ok((scratch, bench))
    }

    /// Judges a kept case again.
    fn replay(&self, dir: &Path) -> io::Result<ExitCode> {
        let (_scratch, mut bench) = self.bench()?;
        let ask: oracle::Ask = serde_json::from_slice(&fs::read(dir.join("ask.json"))?)?;
        let tree = tree::Tree::load(&dir.join(&ask.account).join("streams").join(&ask.stream))?;
        let case = Case {
            seed: 0,
            origin: dir.display().to_string(),
            tree,
            ask,
            mutations: vec![],
        };
        let judged = bench.judge(&case, Depth { thorough: true })?;
        let Verdict::Disagree(found) = judged.verdict else {
            println!("{:?}, oracle {}", judged.verdict, judged.outcome);
            return Ok(ExitCode::SUCCESS);
        };
        print!("{}", describe(&case, &found));
        if let Some(keep) = &self.args.keep {
            store(keep, &case, &found)?;
        }
        Ok(ExitCode::FAILURE)
    }

    fn run(&self, worker: usize) -> io::Result<()> {
        let (_scratch, mut bench) = self.bench()?;
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.args.to {
                self.mark(worker, None);
                return Ok(());
            }
            self.mark(worker, Some(seed));
            self.one(&mut bench, seed)?;
        }
    }

    fn mark(&self, worker: usize, seed: Option<u64>) {
        let Ok(mut began) = self.began.lock() else {
            return;
        };
        match seed {
            Some(seed) => began.insert(worker, (seed, Instant::now())),
            None => began.remove(&worker),
        };
    }

    /// Gives up where a case hangs.
    fn watch(&self) {
        let Ok(began) = self.began.lock() else {
            return;
        };
        for (seed, since) in began.values() {
            if since.elapsed() > PATIENCE {
                println!("seed {seed} hangs");
                std::process::exit(2);
            }
        }
    }

    fn base(&self, bench: &mut Bench, seed: u64, block_size: u64) -> io::Result<Option<Base>> {
        let count = self.fixtures.len() as u64;
        match self.fixtures.get((seed % count.max(1)) as usize) {
            Some(dir) => Base::fixture(dir, seed).map(Some),
            None => Base::random(bench, seed, block_size),
        }
    }

    fn one(&self, bench: &mut Bench, seed: u64) -> io::Result<()> {
        let (mut plan, block_size) = make::plan(seed);
        if self.args.fixtures && seed < self.fixtures.len() as u64 {
            plan.clear();
        }
        let Some(base) = self.base(bench, seed, block_size)? else {
            self.count(seed, |tally| {
                *tally.set_aside.entry("no store".into()).or_default() += 1;
            });
            return Ok(());
        };
        let case = base.case(bench, &plan)?;
        let depth = Depth {
            thorough: seed.is_multiple_of(10),
        };
        let Judged {
            verdict,
            exempted,
            outcome,
        } = bench.judge(&case, depth)?;
        self.count(seed, |tally| {
            *tally.outcomes.entry(outcome).or_default() += 1;
            for name in exempted {
                *tally.exempted.entry(name).or_default() += 1;
            }
            match &verdict {
                Verdict::Equal => tally.equal += 1,
                Verdict::RefusedAlike => tally.refused += 1,
                Verdict::SetAside(reason) => {
                    *tally.set_aside.entry(reason.clone()).or_default() += 1
                }
                Verdict::Disagree(found) => {
                    tally.classes.entry(found.class()).or_default().push(seed)
                }
            }
        });
        if let Verdict::SetAside(reason) = &verdict
            && reason.starts_with("the second")
        {
            println!("seed {seed}: {reason}");
        }
        let Verdict::Disagree(found) = verdict else {
            return Ok(());
        };
        self.disagreement(bench, &base, &plan, case, found, depth)
    }

    fn count(&self, _seed: u64, change: impl FnOnce(&mut Tally)) {
        if let Ok(mut tally) = self.tally.lock() {
            tally.cases += 1;
            change(&mut tally);
        }
    }

    fn disagreement(
        &self,
        bench: &mut Bench,
        base: &Base,
        plan: &[u64],
        case: Case,
        found: Disagreement,
        depth: Depth,
    ) -> io::Result<()> {
        let seen = self.tally.lock().map_or(0, |tally| {
            tally.classes.get(&found.class()).map_or(0, Vec::len)
        });
        if seen > self.args.show {
            println!("seed {} DISAGREES again: {}", case.seed, found.class());
            return Ok(());
        }
        if let Some(keep) = &self.args.keep {
            store(&keep.join(case.seed.to_string()), &case, &found)?;
        }
        let (case, found) = if self.args.shrink {
            let mut shrinker = Shrinker::new(bench, depth, &found);
            let (case, found) = shrinker.mutations(base, plan)?.unwrap_or((case, found));
            shrinker.directory(case, found)?
        } else {
            (case, found)
        };
        if let Some(keep) = &self.args.keep {
            store(&keep.join(format!("{}-small", case.seed)), &case, &found)?;
        }
        print!("{}", describe(&case, &found));
        Ok(())
    }

    fn summary(&self, took: Duration) -> usize {
        let Ok(tally) = self.tally.lock() else {
            return 1;
        };
        println!(
            "\n{:.1} s, oracle outcomes {:?}",
            took.as_secs_f64(),
            tally.outcomes
        );
        for (name, count) in &tally.exempted {
            println!("exempted {count} times: {name}");
        }
        let mut classes: Vec<_> = tally.classes.iter().collect();
        classes.sort_by_key(|(_, seeds)| std::cmp::Reverse(seeds.len()));
        for (class, seeds) in &classes {
            let first: Vec<_> = seeds.iter().take(12).map(u64::to_string).collect();
            println!("{:5} × {class}: seeds {}", seeds.len(), first.join(" "));
        }
        let disagree: usize = tally.classes.values().map(Vec::len).sum();
        let aside: u64 = tally.set_aside.values().sum();
        let reasons: Vec<_> = tally
            .set_aside
            .iter()
            .map(|(why, count)| format!("{why}: {count}"))
            .collect();
        println!(
            "{} cases: {} equal, {} refused alike, {aside} set aside ({}), {disagree} DISAGREE",
            tally.cases,
            tally.equal,
            tally.refused,
            reasons.join(", ")
        );
        disagree
    }
}

fn describe(case: &Case, found: &Disagreement) -> String {
    let mut text = format!(
        "\nseed {} DISAGREES: {}\n  {}\n",
        case.seed,
        found.class(),
        case.origin
    );
    let ask = &case.ask;
    text.push_str(&format!(
        "  key {:?} previous {:?} cipher {:?} block size {}\n",
        ask.key, ask.prev_key, ask.cipher, ask.block_size
    ));
    for mutation in &case.mutations {
        text.push_str(&format!("  - {mutation}\n"));
    }
    for difference in &found.differences {
        text.push_str(&format!("{difference}\n"));
    }
    text
}

/// Keeps a case: the directory, and both answers.
fn store(dir: &Path, case: &Case, found: &Disagreement) -> io::Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    case.tree.store(
        &dir.join(&case.ask.account)
            .join("streams")
            .join(&case.ask.stream),
    )?;
    let ask = serde_json::to_vec(&case.ask).map_err(io::Error::other)?;
    fs::write(dir.join("ask.json"), ask)?;
    fs::write(dir.join("case.txt"), describe(case, found))?;
    fs::write(dir.join("go.json"), &found.answer)?;
    fs::write(dir.join("ours.txt"), &found.report)
}
