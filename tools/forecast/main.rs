//! Forecasts held against what the real nats-server v2.15.3 then does: random stores, random damage, `preflight` first, then the
//! server on a copy. Some cases go to a whole server, all of them to its file store alone (`testdata/oracle`).
//!
//! ```text
//! testdata/oracle/build.sh
//! cargo run --release --example forecast -- --seeds 0..500 [--threads 2] [--whole PERCENT] [--only SEED]
//!     [--keep DIR]
//! cargo run --release --example forecast -- --harness 8 [--kinds s2,aes] [--damages flip-key,stale-block]
//!     [--messages 20000] [--block-bytes 250000]
//! cargo run --release --example forecast -- --damaged
//! cargo run --release --example forecast -- --seeds 0..100 --release 2.11.17=./nats-server-v2.11.17
//! ```
//!
//! With `--release VERSION=PATH` the server asked is a released nats-server, run as a process: how the start comes out, and how
//! many messages it counts. Stores are written by v2.15.3 all the same: an older server meets them as after a downgrade.
//!
//! With `--damaged` the cases are the stores below `testdata/damaged`: one for every row and hazard of the recovery reference.
//!
//! With `--harness` the cases come from the fault harness: a store of every kind, damaged so many times in every way. What
//! the damage touched is known then, and every message gone beyond that has to be foretold.
//!
//! `--keep` writes each store before and after its damage to a directory of its own.
//!
//! What is compared: how the start comes out, whether reading brings the server down, the fast path, the number of messages,
//! and the losses, from three sides: no message foretold as lost may be readable afterwards; every message that the store had
//! before the damage and whose record still verifies must be readable, lost or expired; and nothing may be foretold as lost
//! that was never there. Then, where the store of a seed is undamaged, `rebuild-index` for it: the server must open what it
//! left on the fast path, with the same state and without a scan.

#![allow(
    clippy::disallowed_methods,
    reason = "this program stands outside the library"
)]

#[path = "../differential/compare.rs"]
#[allow(dead_code, reason = "shared with the differential")]
mod compare;
#[path = "../differential/disk.rs"]
#[allow(dead_code, reason = "shared with the differential")]
mod disk;
#[path = "../differential/edit.rs"]
#[allow(dead_code, reason = "shared with the differential")]
mod edit;
#[path = "../differential/exempt.rs"]
#[allow(dead_code, reason = "shared with the differential")]
mod exempt;
#[path = "../differential/make.rs"]
#[allow(dead_code, reason = "shared with the differential")]
mod make;
#[path = "../differential/mutate.rs"]
#[allow(dead_code, reason = "shared with the differential")]
mod mutate;
#[path = "../differential/oracle.rs"]
#[allow(dead_code, reason = "shared with the differential")]
mod oracle;
#[path = "../differential/ours.rs"]
#[allow(dead_code, reason = "shared with the differential")]
mod ours;
#[path = "../differential/random.rs"]
#[allow(dead_code, reason = "shared with the differential")]
mod random;
#[path = "../differential/run.rs"]
#[allow(dead_code, reason = "shared with the differential")]
mod run;
#[path = "../differential/tree.rs"]
#[allow(dead_code, reason = "shared with the differential")]
mod tree;
#[path = "../differential/vault.rs"]
#[allow(dead_code, reason = "shared with the differential")]
mod vault;

mod damaged;
mod evidence;
mod harness;
mod judge;
mod release;
mod whole;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use harness::{Grounds, Size};
use jetsam::testing::{DamageKind, StoreKind};
use judge::Judged;
use make::Base;
use oracle::{Answer, Oracle};
use release::Release;
use run::Bench;

/// How long the server may take over one store: reading through a damaged compressed block takes it seconds.
const PATIENCE_S: u64 = 40;

fn last_panic_place() -> String {
    String::new()
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
    only: Option<u64>,
    threads: usize,
    whole: u64,
    keep: Option<PathBuf>,
    oracle: PathBuf,
    scratch: PathBuf,
    /// How often each damage of the harness is done; 0 for random stores.
    harness: u64,
    kinds: Vec<StoreKind>,
    damages: Vec<DamageKind>,
    size: Size,
    /// The committed damaged stores.
    damaged: bool,
    /// Ask this server instead.
    release: Option<Release>,
}

/// The names of a list with commas.
fn named<T>(text: &str, from_name: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    text.split(',')
        .map(|name| from_name(name).ok_or_else(|| format!("there is no {name}")))
        .collect()
}

fn parse_args() -> Result<Args, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let memory = Path::new("/dev/shm");
    let mut args = Args {
        from: 0,
        to: 500,
        only: None,
        threads: 2,
        whole: 10,
        keep: None,
        oracle: target.join("oracle/oracle"),
        scratch: if memory.is_dir() {
            memory.into()
        } else {
            std::env::temp_dir()
        },
        harness: 0,
        kinds: StoreKind::ALL.to_vec(),
        damages: DamageKind::ALL.to_vec(),
        size: Size {
            messages: 20_000,
            block_bytes: 250_000,
        },
        damaged: false,
        release: None,
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
                args.only = Some(args.from);
                args.threads = 1;
            }
            "--threads" => args.threads = number(value()?)?.max(1) as usize,
            "--whole" => args.whole = number(value()?)?.min(100),
            "--keep" => args.keep = Some(value()?.into()),
            "--oracle" => args.oracle = value()?.into(),
            "--harness" => args.harness = number(value()?)?.max(1),
            "--kinds" => args.kinds = named(&value()?, StoreKind::from_name)?,
            "--damages" => args.damages = named(&value()?, DamageKind::from_name)?,
            "--messages" => args.size.messages = number(value()?)?,
            "--block-bytes" => args.size.block_bytes = number(value()?)?,
            "--damaged" => args.damaged = true,
            "--release" => args.release = Some(Release::parse(&value()?)?),
            "--scratch" => args.scratch = value()?.into(),
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    Ok(args)
}

#[derive(Default)]
struct Tally {
    cases: u64,
    /// Seeds whose history the server itself breaks off.
    no_store: u64,
    agree: u64,
    whole_servers: u64,
    lost_messages: u64,
    really_lost: u64,
    losing: u64,
    rebuilt: u64,
    starts: BTreeMap<&'static str, u64>,
    reading_down: u64,
    set_aside: BTreeMap<String, Vec<u64>>,
    disagree: Vec<u64>,
}

/// By the kind of the store; random stores are one kind.
type Tallies = BTreeMap<&'static str, Tally>;

/// Where cases come from.
enum Origin {
    Seeds,
    Harness(Grounds),
    Damaged(Vec<damaged::Store>),
}

fn main() -> ExitCode {
    let args = match parse_args() {
        Ok(args) => args,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(16);
        }
    };
    match run_all(&args) {
        Ok(tallies) => {
            let wrong = tallies.values().any(|tally| !tally.disagree.is_empty());
            ExitCode::from(u8::from(wrong || tallies.is_empty()))
        }
        Err(error) => {
            eprintln!("forecast: {error}");
            ExitCode::from(2)
        }
    }
}

fn run_all(args: &Args) -> io::Result<Tallies> {
    let (origin, range) = match args.harness {
        0 if args.damaged => {
            let stores = damaged::all()?;
            let all = stores.len() as u64;
            (Origin::Damaged(stores), 0..all)
        }
        0 => (Origin::Seeds, args.from..args.to),
        count => {
            let grounds = Grounds::make(&args.kinds, &args.damages, count, args.size)?;
            let all = grounds.len();
            let chosen = args.only.map_or(0..all, |only| only..(only + 1).min(all));
            (Origin::Harness(grounds), chosen)
        }
    };
    let next = AtomicU64::new(range.start);
    let tallies = Mutex::new(Tallies::new());
    let began = Instant::now();
    let failed = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..args.threads)
            .map(|_| scope.spawn(|| work(args, &origin, (&next, range.end), &tallies)))
            .collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().ok()?.err())
            .next()
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let tallies = tallies.into_inner().unwrap_or_default();
    for (kind, tally) in &tallies {
        summary(kind, tally, began);
    }
    Ok(tallies)
}

fn work(
    args: &Args,
    origin: &Origin,
    (next, end): (&AtomicU64, u64),
    tallies: &Mutex<Tallies>,
) -> io::Result<()> {
    let scratch = tempfile::Builder::new()
        .prefix("forecast-")
        .tempdir_in(&args.scratch)?;
    let oracle_scratch = scratch.path().join("oracle");
    std::fs::create_dir_all(&oracle_scratch)?;
    let oracle = Oracle::start_patient(&args.oracle, &oracle_scratch, PATIENCE_S)
        .map_err(|error| io::Error::other(format!("{}: {error}", args.oracle.display())))?;
    let mut bench = Bench {
        oracle,
        scratch: scratch.path().into(),
    };
    let mut known = BTreeMap::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= end {
            return Ok(());
        }
        let (kind, judged) = match origin {
            Origin::Damaged(stores) => {
                let store = &stores[number as usize];
                let judged = twice(|| damaged::judge(&mut bench, &args.oracle, store))?;
                ("damaged", Some(judged))
            }
            Origin::Seeds => ("random", one(args, &mut bench, number)?),
            Origin::Harness(grounds) => {
                match harness_case(args, &mut bench, grounds, number, &mut known)? {
                    Some((kind, judged)) => (kind, Some(judged)),
                    None => continue,
                }
            }
        };
        if let Ok(mut tallies) = tallies.lock() {
            count(tallies.entry(kind).or_default(), number, judged);
        }
    }
}

fn count(tally: &mut Tally, number: u64, judged: Option<Judged>) {
    let Some(judged) = judged else {
        tally.no_store += 1;
        return;
    };
    tally.cases += 1;
    tally.whole_servers += u64::from(judged.whole);
    tally.rebuilt += u64::from(judged.rebuilt);
    tally.lost_messages += judged.lost;
    tally.really_lost += judged.really_lost;
    tally.losing += u64::from(judged.lost > 0);
    if let Some(reason) = judged.set_aside {
        tally.set_aside.entry(reason).or_default().push(number);
    } else if judged.differences.is_empty() {
        tally.agree += 1;
        *tally.starts.entry(judged.start).or_default() += 1;
        tally.reading_down += u64::from(judged.reading_down);
    } else {
        tally.disagree.push(number);
        println!("\ncase {number} DISAGREES, {}", judged.origin);
        for mutation in &judged.mutations {
            println!("  - {mutation}");
        }
        for difference in &judged.differences {
            println!("{difference}");
        }
    }
}

/// One case of the harness; `None` where the store has nothing to do such damage to.
fn harness_case(
    args: &Args,
    bench: &mut Bench,
    grounds: &Grounds,
    number: u64,
    known: &mut BTreeMap<StoreKind, Answer>,
) -> io::Result<Option<(&'static str, Judged)>> {
    let Some((ground, hit)) = grounds.case(number)? else {
        return Ok(None);
    };
    if let Some(release) = &args.release {
        let judged = twice(|| release::case(bench, &hit.case, release))?;
        return Ok(Some((ground.kind.name(), judged)));
    }
    let before = match known.entry(ground.kind) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(unknown) => unknown.insert(judge::before(bench, &ground.base)?),
    };
    let judged = twice(|| judge::case(bench, (&ground.base, before), &hit.case, Some(&hit.known)))?;
    Ok(Some((ground.kind.name(), judged)))
}

/// With damage under a valid index the server's own answer can depend on what its cache still holds: a disagreement counts
/// where a second asking gives the same one.
fn twice(mut ask: impl FnMut() -> io::Result<Judged>) -> io::Result<Judged> {
    let mut judged = ask()?;
    if !judged.differences.is_empty() {
        let again = ask()?;
        let first = |judged: &Judged| judged.differences.first().map(|first| first.field.clone());
        if first(&again) != first(&judged) {
            judged.set_aside = Some("a second asking came out otherwise".into());
        }
    }
    Ok(judged)
}

/// One case; `None` where the seed makes no store.
fn one(args: &Args, bench: &mut Bench, seed: u64) -> io::Result<Option<Judged>> {
    let (plan, block_size) = make::plan(seed);
    let Some(base) = Base::random(bench, seed, block_size)? else {
        return Ok(None);
    };
    let case = base.case(bench, &plan)?;
    if let Some(keep) = &args.keep {
        for (tree, state) in [(&base.tree, "before"), (&case.tree, "after")] {
            let store = keep
                .join(seed.to_string())
                .join(state)
                .join(&case.ask.account);
            tree.store(&store.join("streams").join(&case.ask.stream))?;
        }
    }
    if let Some(release) = &args.release {
        return twice(|| release::case(bench, &case, release)).map(Some);
    }
    let before = judge::before(bench, &base)?;
    let mut judged = twice(|| judge::case(bench, (&base, &before), &case, None))?;
    if judged.set_aside.is_none() && judged.differences.is_empty() {
        let wants = judged.start != "ok" || seed % 100 < args.whole;
        if wants && case.ask.prev_key.is_empty() && case.ask.block_size == 0 {
            judged.whole = true;
            whole::compare(&args.oracle, &bench.scratch, &case, &mut judged)?;
        }
        if plan.is_empty() || seed.is_multiple_of(5) {
            judge::rebuild(bench, &base, &mut judged)?;
        }
    }
    Ok(Some(judged))
}

fn summary(kind: &str, tally: &Tally, began: Instant) {
    let starts: Vec<_> = tally
        .starts
        .iter()
        .map(|(start, count)| format!("{start} {count}"))
        .collect();
    let aside: usize = tally.set_aside.values().map(Vec::len).sum();
    let reasons: Vec<_> = tally
        .set_aside
        .iter()
        .map(|(reason, numbers)| format!("{reason}: {numbers:?}"))
        .collect();
    let mut disagree = tally.disagree.clone();
    disagree.sort_unstable();
    println!(
        "{kind}: {} forecasts in {:.0} s ({} seeds make no store): {} agree ({}, down when read {}), {} of them by a whole server; {} lose messages, {} in all (known \
         damage: {} really); {} indexes rebuilt; {aside} set aside ({}); {} DISAGREE {disagree:?}",
        tally.cases,
        began.elapsed().as_secs_f64(),
        tally.no_store,
        tally.agree,
        starts.join(", "),
        tally.reading_down,
        tally.whole_servers,
        tally.losing,
        tally.lost_messages,
        tally.really_lost,
        tally.rebuilt,
        reasons.join("; "),
        disagree.len(),
    );
}
