//! What the engine leaves, opened by servers of older lines.
//!
//! The script of each seed is played on the left side alone, which stays through all its parts. Two of three directories are left closed,
//! the others by a kill in the later half of the work (the moment is not the same every time; what disagrees is kept with its files). The
//! engine says what is in a copy. Then a real server opens the directory, as one of many in its store, and has to say the same: numbers,
//! deleted sequences, subjects, every message, every consumer. When the server has stopped, the engine opens what it left, has to find
//! the same again, and an append must go as in the copy.
//!
//! Nothing is set aside for the sake of time: scripts of this mode lie in the future (2100), where by a server's clock no message is too
//! old, no time to live is over and no schedule is due. So what servers remove by their own clock is not looked at here. Every script has
//! an account of its own, because names and subjects are the same in all; servers of one cipher have one key. Features that an old server
//! does not know (times to live, markers, schedules) stay in the configuration: it passes them over.
//!
//! What a server gets wrong itself has a row in `exempt.rs`, as narrow as it can be; where a scan of its own finds less, it has to find
//! what `preflight` foretells of its version. Scripts that a row explains are counted under it, and everything else of them is compared
//! all the same.

mod asked;
mod consumer;
mod foretold;
mod left;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use crate::compare::agree;
use crate::driver::Driver;
use crate::exempt::{ServedExemption, Unlike, served_exemption};
use crate::kill::copy_tree;
use crate::nats::{Login, Server};
use crate::options::{Options, Program};
use crate::script;

use asked::{Compared, Comparison, Odd};
use consumer::Allowed;
use foretold::{Foretold, foretell};
use left::{KEY, Left, Seen, look, play};

/// Scripts that are played before servers open them, a third of them for each cipher.
const AT_ONCE: usize = 120;

/// What became of the scripts that one version opened.
#[derive(Default)]
struct Tally {
    scripts: u64,
    killed: u64,
    compared: Compared,
    explained: BTreeMap<(&'static str, &'static str), u64>,
    disagreements: usize,
}

/// One script, played.
struct Played {
    left: Left,
    seen: Seen,
}

/// Runs the seeds; how many disagreements there were.
pub fn run(options: &Options) -> Result<usize, String> {
    let started = Instant::now();
    let mut driver = options.left.start()?;
    let mut tallies: Vec<Tally> = options.servers.iter().map(|_| Tally::default()).collect();
    let mut seeds = options.seeds.clone();
    loop {
        if options.time.is_some_and(|time| started.elapsed() > time) {
            break;
        }
        let _ = fs::remove_dir_all(options.scratch.join("played"));
        let mut played = Vec::new();
        for seed in seeds.by_ref().take(AT_ONCE) {
            played.push(play_one(options, &mut driver, seed)?);
        }
        if played.is_empty() {
            break;
        }
        for (program, tally) in options.servers.iter().zip(&mut tallies) {
            for cipher in ["none", "chacha", "aes"] {
                let of_cipher = played.iter().filter(|one| one.left.cipher() == cipher);
                let group: Vec<&Played> = of_cipher.collect();
                if !group.is_empty() {
                    serve(options, &mut driver, program, &group, tally)?;
                }
            }
        }
        let wrong: usize = tallies.iter().map(|tally| tally.disagreements).sum();
        let scripts = tallies.first().map_or(0, |tally| tally.scripts);
        let seconds = started.elapsed().as_secs_f64();
        eprintln!("{scripts} scripts, {wrong} disagreements, {seconds:.0} s");
        if wrong >= options.show {
            break;
        }
    }
    for (program, tally) in options.servers.iter().zip(&tallies) {
        tell(program, tally);
    }
    println!("in {:.1} s", started.elapsed().as_secs_f64());
    Ok(tallies.iter().map(|tally| tally.disagreements).sum())
}

fn tell(program: &Program, tally: &Tally) {
    println!(
        "{}: {} scripts, {} of them killed, {} messages, {} consumers; {} disagreements",
        program.version,
        tally.scripts,
        tally.killed,
        tally.compared.messages,
        tally.compared.consumers,
        tally.disagreements
    );
    for ((fault, about), count) in &tally.explained {
        println!("  {count} scripts set aside in part for {fault}: {about}");
    }
}

fn play_one(options: &Options, driver: &mut Driver, seed: u64) -> Result<Played, String> {
    let base = options.scratch.join("played").join(seed.to_string());
    let left = play(options, driver, seed, &base)?;
    // Opening changes a directory: the engine reads a copy.
    let copy = options.scratch.join("copy");
    let _ = fs::remove_dir_all(&copy);
    copy_tree(&left.dir, &copy)?;
    let seen = look(driver, &left, &copy).map_err(|error| format!("seed {seed}: {error}"))?;
    Ok(Played { left, seen })
}

/// Where a server keeps a script's stream.
fn stream_dir(store: &Path, left: &Left) -> PathBuf {
    let account = store.join("jetstream").join(left.account());
    account.join("streams").join("S")
}

/// A configuration with an account for each script.
fn config(store: &Path, group: &[&Played]) -> String {
    let cipher = group.first().map_or("none", |one| one.left.cipher());
    let key = match cipher {
        "none" => String::new(),
        cipher => format!("key: {KEY:?}, cipher: {cipher}"),
    };
    let accounts: String = group
        .iter()
        .map(|one| one.left.account())
        .map(|name| {
            format!("{name} {{ jetstream: enabled, users: [ {{ user: {name}, password: p }} ] }}\n")
        })
        .collect();
    format!("jetstream {{ store_dir: {store:?}, {key} }}\naccounts {{\n{accounts}}}\n")
}

/// Has one server open a group, and the engine what it leaves.
fn serve(
    options: &Options,
    driver: &mut Driver,
    program: &Program,
    group: &[&Played],
    tally: &mut Tally,
) -> Result<(), String> {
    let dir = options.scratch.join("server");
    let _ = fs::remove_dir_all(&dir);
    let store = dir.join("store");
    let mut foretold = Vec::new();
    for one in group {
        let stream = stream_dir(&store, &one.left);
        copy_tree(&one.left.dir, &stream)?;
        foretold.push(foretell(&program.version, &one.left, &stream)?);
    }
    let failed = |error: std::io::Error| format!("server {}: {error}", program.version);
    let server = Server::start(&program.path, &dir, &config(&store, group)).map_err(failed)?;
    let log = fs::read_to_string(dir.join("server.log")).unwrap_or_default();
    let server = server.ok_or_else(|| format!("server {} ends: {log}", program.version))?;
    let mut comparisons = Vec::new();
    for one in group {
        let account = one.left.account();
        let mut client = server.client(Login::User(&account)).map_err(failed)?;
        let comparison = asked::compare(&mut client, &one.left, &one.seen).map_err(failed)?;
        comparisons.push(comparison);
    }
    server.stop().map_err(failed)?;
    for ((one, mut comparison), foretold) in group.iter().zip(comparisons).zip(&foretold) {
        continue_after(driver, one, &stream_dir(&store, &one.left), &mut comparison);
        tally.scripts += 1;
        tally.killed += u64::from(one.left.is_killed);
        tally.compared.messages += comparison.compared.messages;
        tally.compared.consumers += comparison.compared.consumers;
        judge(options, program, one, &comparison, foretold, tally)?;
    }
    Ok(())
}

/// The engine opens what the server left, finds what it found before, and goes on in the same way.
fn continue_after(driver: &mut Driver, one: &Played, dir: &Path, comparison: &mut Comparison) {
    let after = match look(driver, &one.left, dir) {
        Ok(after) => after,
        Err(error) => {
            comparison.same("after the server", json!("opens"), json!(error));
            return;
        }
    };
    for (name, ours) in one.seen.answers() {
        let again = after.of(name);
        let is_tidied = name.starts_with("consumer ")
            && Allowed::new(&ours["ok"], one.seen.ends()).admits(&again["ok"]);
        if !agree(ours, again) && !is_tidied {
            let what = format!("after the server: {name}");
            comparison.same(&what, ours.clone(), again.clone());
        }
    }
}

/// What was foretold in place of what the engine says; null where nothing was.
fn foretold_of(odd: &Odd, foretold: &Foretold) -> Value {
    let seq = odd.what.strip_prefix("message ");
    let is_told = match (seq.and_then(|seq| seq.parse().ok()), odd.what.as_str()) {
        (Some(seq), _) => odd.theirs.is_string() && foretold.is_lost(seq),
        (None, "subjects") => foretold.adds_up(&odd.theirs),
        (None, field) => return foretold.field(field),
    };
    if is_told {
        odd.theirs.clone()
    } else {
        Value::Null
    }
}

/// Counts a script, or reports it where something is not explained.
fn judge(
    options: &Options,
    program: &Program,
    one: &Played,
    comparison: &Comparison,
    foretold: &Foretold,
    tally: &mut Tally,
) -> Result<(), String> {
    let has_index = one.left.dir.join("msgs/index.db").exists();
    let has_staged_purge = one.left.dir.join("__new_msgs__").exists();
    let last_is_erased = one.left.was_erased(one.seen.ends().last);
    let of: Vec<Value> = comparison
        .odd
        .iter()
        .map(|odd| foretold_of(odd, foretold))
        .collect();
    let pairs = || comparison.odd.iter().zip(&of);
    let starts_as_foretold =
        pairs().any(|(odd, foretold)| !foretold.is_null() && odd.theirs == *foretold);
    let row_of = |odd: &Odd, foretold: &Value| {
        served_exemption(&Unlike {
            version: &program.version,
            is_encrypted: one.left.cipher() != "none",
            has_index,
            has_staged_purge,
            last_is_erased,
            starts_as_foretold,
            foretold,
            what: &odd.what,
            ours: &odd.ours,
            theirs: &odd.theirs,
        })
    };
    let mut rows: Vec<&ServedExemption> = Vec::new();
    let mut unexplained = Vec::new();
    for (odd, foretold) in pairs() {
        match row_of(odd, foretold) {
            Some(row) => rows.push(row),
            None => unexplained.push(odd),
        }
    }
    rows.sort_by_key(|row| row.fault);
    rows.dedup_by_key(|row| row.fault);
    for row in rows {
        *tally.explained.entry((row.fault, row.about)).or_default() += 1;
    }
    if unexplained.is_empty() {
        return Ok(());
    }
    tally.disagreements += 1;
    report(options, program, one, &unexplained, foretold)
}

fn report(
    options: &Options,
    program: &Program,
    one: &Played,
    unexplained: &[&Odd],
    foretold: &Foretold,
) -> Result<(), String> {
    let left = &one.left;
    let ended = if left.is_killed { "killed" } else { "closed" };
    println!(
        "seed {}, {ended}, cipher {}, server {}: {} differ",
        left.seed,
        left.cipher(),
        program.version,
        unexplained.len()
    );
    println!("  stream {}", left.stream());
    println!("  state  {:.300}", one.seen.of("state"));
    for odd in unexplained.iter().take(8) {
        println!(
            "  {}\n    ours   {:.400}\n    theirs {:.400}",
            odd.what, odd.ours, odd.theirs
        );
        let instead = foretold_of(odd, foretold);
        if !instead.is_null() && instead != odd.ours {
            println!("    foretold {instead:.400}");
        }
    }
    let log = fs::read_to_string(options.scratch.join("server/server.log")).unwrap_or_default();
    let account = left.account();
    let about = |line: &&str| {
        line.contains(&format!("'{account} ")) || line.contains(&format!("/{account}/"))
    };
    for line in log.lines().filter(about).take(8) {
        println!("  log    {line}");
    }
    let kept = options
        .keep
        .join(format!("served-{}-{}", program.version, left.seed));
    let _ = fs::remove_dir_all(&kept);
    copy_tree(&left.dir, &kept.join("stream"))?;
    let _ = fs::write(kept.join("server.log"), log);
    script::write(&kept.join("script.jsonl"), &left.script)?;
    println!("  kept   {}", kept.display());
    Ok(())
}
