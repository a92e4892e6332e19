//! A script played on the engine alone, the directory it leaves, and what the engine finds in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::consumer::Ends;
use crate::driver::{Driver, is_silent};
use crate::make::Maker;
use crate::options::Options;
use crate::random::Random;

/// The key of every encrypted store: a server has one.
pub const KEY: &str = "the key of all scripts";
/// 2026-01-01: the engine reads before all times of scripts, as the servers do, so that nothing is due for either.
pub const BEFORE_NS: u64 = 1_767_225_600_000_000_000;
/// Of a hundred stores so many are left by a kill.
const KILLED_PERCENT: u64 = 33;

/// A stream's directory as the engine left it.
pub struct Left {
    pub seed: u64,
    pub dir: PathBuf,
    /// The engine was killed while it had the store open.
    pub is_killed: bool,
    /// The requests, in order.
    pub script: Vec<Value>,
    opening: Value,
    /// The configuration of each consumer that was ever opened.
    consumers: BTreeMap<String, Value>,
    last_ns: u64,
}

impl Left {
    /// Its account: a server keeps the stores of many scripts, whose streams all have the same name and subjects.
    pub fn account(&self) -> String {
        account(self.seed)
    }

    pub fn cipher(&self) -> &str {
        self.opening["cipher"].as_str().unwrap_or("none")
    }

    pub fn stream(&self) -> &Value {
        &self.opening["stream"]
    }

    /// Whether the message of this sequence was asked to be erased.
    pub fn was_erased(&self, seq: u64) -> bool {
        let mut requests = self.script.iter();
        requests.any(|request| request["op"] == "erase" && request["seq"] == seq)
    }

    /// The consumers whose directories are there, with their configurations.
    pub fn consumers(&self) -> Vec<(&str, &Value)> {
        let is_there = |name: &str| self.dir.join("obs").join(name).is_dir();
        self.consumers
            .iter()
            .filter(|(name, _)| is_there(name))
            .map(|(name, config)| (name.as_str(), config))
            .collect()
    }
}

fn account(seed: u64) -> String {
    format!("A{seed}")
}

/// A step with one place for both directories of scripts, and the account and the key of its store.
fn placed(step: &Value, base: &Path, seed: u64) -> Value {
    let mut step = step.clone();
    for field in ["dir", "file"] {
        let path = step[field].as_str().unwrap_or_default();
        let inside = path.strip_prefix("@0/").or(path.strip_prefix("@1/"));
        if let Some(inside) = inside {
            step[field] = json!(base.join(inside));
        }
    }
    if step.get("account").is_some() {
        step["account"] = json!(account(seed));
        if step["cipher"] != "none" {
            step["key"] = json!(KEY);
        }
    }
    step
}

/// A request and whether it was done.
struct Done {
    request: Value,
    is_ok: bool,
}

/// Plays the script of a seed in `base` and leaves the store closed, or killed where the seed says so.
pub fn play(
    options: &Options,
    driver: &mut Driver,
    seed: u64,
    base: &Path,
) -> Result<Left, String> {
    fresh(base)?;
    let done = play_whole(options, driver, seed, base)?;
    let mut random = Random::new(seed ^ 0x7365_7276);
    let end = if random.chance(KILLED_PERCENT) {
        moment_to_die(&done, &mut random)
    } else {
        None
    };
    let Some(end) = end else {
        return Ok(left(seed, base, &done, false));
    };
    fresh(base)?;
    let mut victim = options.left.start()?;
    for done in &done[..end] {
        if is_silent(&victim.ask(&done.request)) {
            return Err(format!("seed {seed}: no answer to {}", done.request));
        }
    }
    // Killed at some moment of what it was not yet asked for an answer to.
    let burst = random.between(1, 6);
    let mut sent = end;
    while sent < done.len() && is_work(&done[sent].request) && ((sent - end) as u64) < burst {
        victim.send(&done[sent].request);
        sent += 1;
    }
    std::thread::sleep(Duration::from_micros(random.below(1500)));
    victim.kill();
    Ok(left(seed, base, &done[..sent], true))
}

fn fresh(base: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(base);
    fs::create_dir_all(base).map_err(|error| format!("{}: {error}", base.display()))
}

fn play_whole(
    options: &Options,
    driver: &mut Driver,
    seed: u64,
    base: &Path,
) -> Result<Vec<Done>, String> {
    driver.ask(&json!({"op": "reset"}));
    let mut maker = Maker::new(seed, options);
    let mut done = Vec::new();
    while let Some(step) = maker.next() {
        if step.get("op").is_none() {
            continue;
        }
        let request = placed(&step, base, seed);
        let answer = driver.ask(&request);
        if is_silent(&answer) {
            return Err(format!("seed {seed}: {answer} to {request}"));
        }
        maker.observe(&step, &answer);
        if let Some(before) = maker.changed(&step, &answer) {
            return Err(format!(
                "seed {seed}: {before} became {answer} between parts"
            ));
        }
        let is_ok = answer.get("ok").is_some();
        done.push(Done { request, is_ok });
    }
    Ok(done)
}

/// Whether a request changes the store without changing its configuration.
fn is_work(request: &Value) -> bool {
    let op = request["op"].as_str().unwrap_or_default();
    matches!(
        op,
        "append" | "append_at" | "skip" | "skip_many" | "remove" | "erase" | "purge" | "purge_ex"
    ) || matches!(op, "compact" | "truncate" | "maintain" | "sync" | "flush")
        || matches!(
            op,
            "consumer_delivered" | "consumer_ack" | "consumer_update"
        )
}

/// A request of the later half of the work, asked while a store was open.
fn moment_to_die(done: &[Done], random: &mut Random) -> Option<usize> {
    let mut is_open = false;
    let mut moments = Vec::new();
    for (at, Done { request, .. }) in done.iter().enumerate() {
        match request["op"].as_str() {
            Some("open") => is_open = true,
            Some("close") => is_open = false,
            _ if is_open && is_work(request) => moments.push(at),
            _ => {}
        }
    }
    let later = moments.split_off(moments.len() / 2);
    (!later.is_empty()).then(|| *random.pick(&later))
}

fn left(seed: u64, base: &Path, done: &[Done], is_killed: bool) -> Left {
    let mut opening = Value::Null;
    let mut consumers = BTreeMap::new();
    for Done { request, is_ok } in done {
        match request["op"].as_str() {
            Some("open") => opening = request.clone(),
            Some("update_config") if *is_ok => opening["stream"] = request["stream"].clone(),
            Some("consumer_open") => {
                let name = request["name"].as_str().unwrap_or_default();
                consumers.insert(name.to_owned(), request["config"].clone());
            }
            _ => {}
        }
    }
    let last = done.last().and_then(|done| done.request["now"].as_u64());
    Left {
        seed,
        dir: base.join("s"),
        is_killed,
        script: done.iter().map(|done| done.request.clone()).collect(),
        opening,
        consumers,
        last_ns: last.unwrap_or(0),
    }
}

/// What the engine answers about a directory, each answer under its name.
pub struct Seen(Vec<(String, Value)>);

impl Seen {
    /// The answer of this name.
    pub fn of(&self, name: &str) -> &Value {
        let mut answers = self.0.iter();
        answers
            .find(|(of, _)| of == name)
            .map_or(&Value::Null, |(_, answer)| answer)
    }

    /// The ends of the stream.
    pub fn ends(&self) -> Ends {
        let number = |field: &str| self.of("state")["ok"][field].as_u64().unwrap_or(0);
        Ends {
            first: number("first_seq"),
            last: number("last_seq"),
        }
    }

    /// Every answer with its name.
    pub fn answers(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, answer)| (name.as_str(), answer))
    }
}

/// Has the engine open a directory, look at everything, append a message and close it. An error where it does not open.
pub fn look(driver: &mut Driver, left: &Left, dir: &Path) -> Result<Seen, String> {
    driver.ask(&json!({"op": "reset"}));
    let mut open = left.opening.clone();
    open["dir"] = json!(dir);
    open["now"] = json!(BEFORE_NS);
    open["sync"] = json!("none");
    open["flush"] = json!("each");
    let opened = driver.ask(&open);
    if opened.get("ok").is_none() {
        return Err(format!("the engine cannot open it: {opened}"));
    }
    let mut answers = Vec::new();
    let mut ask = |name: &str, request: Value| {
        let answer = driver.ask(&request);
        answers.push((name.to_owned(), answer));
    };
    ask("state", json!({"op": "state"}));
    ask("subjects", json!({"op": "subjects_totals"}));
    ask("messages", json!({"op": "dump", "seq": 0, "n": 1_000_000}));
    for (name, config) in left.consumers() {
        ask(
            &format!("consumer {name}"),
            json!({"op": "consumer_open", "name": name, "config": config}),
        );
    }
    let later_ns = left.last_ns + 1_000_000_000;
    ask(
        "append",
        json!({"op": "append", "subject": "k.1", "msg": "bW9yZQ==", "now": later_ns}),
    );
    ask("state after the append", json!({"op": "state"}));
    ask("digest after the append", json!({"op": "digest"}));
    ask("close", json!({"op": "close"}));
    Ok(Seen(answers))
}
