//! The left side killed in the middle of writing.
//!
//! The left side works in bursts and is killed at some moment of one. Then it opens what it left, and the reference a copy of that: both
//! must see the same. Every acknowledged append is there, unless something that was asked for removed it; nothing removed before an
//! acknowledged `sync` is back; nothing is there that nobody wrote. The left side then goes on writing, closes, and the reference opens
//! the result.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::compare::agree;
use crate::driver::{Driver, is_silent};
use crate::exempt::kill_exemption;
use crate::options::Options;
use crate::random::Random;
use crate::script;

const NOW_NS: u64 = 1_767_225_600_000_000_000;

/// What a script means for the messages: which request wrote each and which are known to remove it.
#[derive(Default)]
struct Model {
    live: BTreeMap<u64, String>,
    last: u64,
    /// Sequence: subject, body, number of the request.
    appended: BTreeMap<u64, (String, String, usize)>,
    /// Sequence: number of the request that removed it.
    removed: BTreeMap<u64, usize>,
    syncs: Vec<usize>,
}

impl Model {
    fn take(&mut self, seqs: Vec<u64>, request: usize) {
        for seq in seqs {
            self.live.remove(&seq);
            self.removed.insert(seq, request);
        }
    }
}

/// One killed store and what may be in it.
struct Script {
    open: Value,
    requests: Vec<Value>,
    model: Model,
    limited: bool,
}

fn open_request(seed: u64, random: &mut Random) -> (Value, bool) {
    let cipher = ["none", "chacha", "aes"][usize::try_from(seed % 3).unwrap_or(0)];
    let compression = ["none", "s2"][usize::try_from(seed / 3 % 2).unwrap_or(0)];
    let mut stream = json!({
        "name": "S", "subjects": ["k.>"], "storage": "file", "retention": "limits", "num_replicas": 1, "compression": compression,
    });
    let limited = random.chance(25);
    if limited {
        let limit = *random.pick(&["max_msgs", "max_msgs_per_subject"]);
        stream[limit] = json!(random.between(2, 40));
    }
    let block_sizes = [200, 300, 500, 1000, 4000, 0];
    let mut open = json!({
        "op": "open", "stream": stream, "cipher": cipher, "block_size": random.pick(&block_sizes),
        "sync": if random.chance(70) { "always" } else { "none" }, "flush": "each", "now": NOW_NS,
    });
    if cipher != "none" {
        open["key"] = json!(format!("key {seed}"));
    }
    (open, limited)
}

fn draw(seed: u64) -> Script {
    let mut random = Random::new(seed ^ 0x6b69_6c6c);
    let (open, limited) = open_request(seed, &mut random);
    let mut model = Model::default();
    let mut requests = Vec::new();
    for number in 0..usize::try_from(random.between(20, 300)).unwrap_or(20) {
        let now = NOW_NS + 1_000_000 * (number as u64 + 1);
        let mut request = match random.weighted(&[600, 150, 40, 40, 10, 3, 25, 15]) {
            1 | 2 if !model.live.is_empty() => remove(&mut random, &mut model, number),
            3 => purge_subject(&mut random, &mut model, number),
            4 if !model.live.is_empty() => compact(&mut random, &mut model, number),
            5 => {
                let all = model.live.keys().copied().collect();
                model.take(all, number);
                json!({"op": "purge"})
            }
            6 => {
                model.syncs.push(number);
                json!({"op": "sync"})
            }
            7 => {
                model.last += 1;
                json!({"op": "skip", "seq": model.last})
            }
            _ => append(&mut random, &mut model, number),
        };
        request["now"] = json!(now);
        requests.push(request);
    }
    Script {
        open,
        requests,
        model,
        limited,
    }
}

fn append(random: &mut Random, model: &mut Model, number: usize) -> Value {
    model.last += 1;
    let subject = format!("k.{}", random.below(6));
    let size = usize::try_from(random.below(90)).unwrap_or(0);
    let body = format!("{number}-{}", "wake ".repeat(size / 5));
    model.live.insert(model.last, subject.clone());
    model
        .appended
        .insert(model.last, (subject.clone(), body.clone(), number));
    json!({"op": "append", "subject": subject, "msg": STANDARD.encode(body)})
}

fn nth(model: &Model, random: &mut Random, among: usize) -> u64 {
    let skip = usize::try_from(random.below(among.max(1) as u64)).unwrap_or(0);
    model.live.keys().nth(skip).copied().unwrap_or(0)
}

fn remove(random: &mut Random, model: &mut Model, number: usize) -> Value {
    let seq = nth(model, random, model.live.len());
    model.take(vec![seq], number);
    let op = *random.pick(&["remove", "remove", "remove", "erase"]);
    json!({"op": op, "seq": seq})
}

fn purge_subject(random: &mut Random, model: &mut Model, number: usize) -> Value {
    let subject = format!("k.{}", random.below(6));
    let keep = usize::try_from(random.below(3)).unwrap_or(0);
    let of: Vec<u64> = model
        .live
        .iter()
        .filter(|(_, of)| **of == subject)
        .map(|(seq, _)| *seq)
        .collect();
    let gone = of[..of.len().saturating_sub(keep)].to_vec();
    model.take(gone, number);
    json!({"op": "purge_ex", "filter": subject, "keep": keep})
}

fn compact(random: &mut Random, model: &mut Model, number: usize) -> Value {
    let seq = nth(model, random, model.live.len().div_ceil(4));
    let gone = model.live.range(..seq).map(|(seq, _)| *seq).collect();
    model.take(gone, number);
    json!({"op": "compact", "seq": seq})
}

/// How far the left side came.
struct Progress {
    sent: usize,
    acknowledged: usize,
}

/// Sends in bursts until a drawn moment, then kills.
fn work_and_kill(
    driver: &mut Driver,
    script: &Script,
    random: &mut Random,
) -> Result<Progress, String> {
    let end = usize::try_from(random.below(script.requests.len() as u64 + 1)).unwrap_or(0);
    let mut progress = Progress {
        sent: 0,
        acknowledged: 0,
    };
    while progress.sent < end {
        let burst = usize::try_from(random.between(1, 12)).unwrap_or(1);
        let to = (progress.sent + burst).min(script.requests.len());
        for request in &script.requests[progress.sent..to] {
            driver.send(request);
        }
        progress.sent = to;
        if to >= end {
            // Killed at some moment of the last burst.
            std::thread::sleep(Duration::from_micros(random.below(3000)));
            break;
        }
        while progress.acknowledged < progress.sent {
            let answer = driver.receive();
            acknowledge(&answer, &script.requests[progress.acknowledged])?;
            progress.acknowledged += 1;
        }
    }
    driver.kill();
    // Answers that were on their way count: somebody could have read them.
    loop {
        let answer = driver.receive_within(Duration::from_secs(2));
        if is_silent(&answer) {
            return Ok(progress);
        }
        acknowledge(&answer, &script.requests[progress.acknowledged])?;
        progress.acknowledged += 1;
    }
}

fn acknowledge(answer: &Value, request: &Value) -> Result<(), String> {
    if answer.get("ok").is_none() && request["op"] != "remove" && request["op"] != "erase" {
        return Err(format!("left answers {answer} to {request}"));
    }
    Ok(())
}

/// What a side sees of a store.
struct Seen {
    answers: Vec<Value>,
    messages: BTreeMap<u64, (String, String)>,
    last: u64,
}

fn look(driver: &mut Driver, script: &Script, dir: &Path) -> Result<Seen, String> {
    let mut open = script.open.clone();
    open["dir"] = json!(dir);
    open["sync"] = json!("none");
    let last = NOW_NS + 1_000_000 * (script.requests.len() as u64 + 10);
    open["now"] = json!(last);
    let mut answers = vec![driver.ask(&open)];
    for op in ["state", "digest", "subjects_totals", "all_last"] {
        answers.push(driver.ask(&json!({ "op": op })));
    }
    let dump = driver.ask(&json!({"op": "dump", "seq": 0, "n": 1_000_000}));
    let mut messages = BTreeMap::new();
    for message in dump["ok"]["msgs"].as_array().into_iter().flatten() {
        let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
        let body = STANDARD.decode(text("msg")).unwrap_or_default();
        let body = String::from_utf8_lossy(&body).into_owned();
        messages.insert(
            message["seq"].as_u64().unwrap_or(0),
            (text("subject"), body),
        );
    }
    answers.push(dump);
    let last = answers[1]["ok"]["last_seq"].as_u64().unwrap_or(0);
    if answers.iter().any(|answer| answer.get("ok").is_none()) {
        return Err(format!("cannot read: {}", answers[0]));
    }
    Ok(Seen {
        answers,
        messages,
        last,
    })
}

fn unreadable(when: &str, left: Result<Seen, String>, right: Result<Seen, String>) -> String {
    let told = |seen: Result<Seen, String>| seen.err().unwrap_or_else(|| "reads".to_owned());
    format!("{when}: left {}; right {}", told(left), told(right))
}

fn same(left: &Seen, right: &Seen, when: &str) -> Vec<String> {
    left.answers
        .iter()
        .zip(&right.answers)
        .filter(|(left, right)| !agree(left, right))
        .map(|(left, right)| format!("{when}: left {left:.600} right {right:.600}"))
        .collect()
}

/// What is wrong with what a kill left.
fn faults(script: &Script, progress: &Progress, seen: &Seen) -> Vec<String> {
    let model = &script.model;
    let mut faults = Vec::new();
    let synced = model
        .syncs
        .iter()
        .rev()
        .find(|number| **number < progress.acknowledged)
        .copied()
        .unwrap_or(0);
    for (seq, (subject, body, number)) in &model.appended {
        let there = seen.messages.get(seq);
        let gone_by = model
            .removed
            .get(seq)
            .copied()
            .filter(|by| *by < progress.sent);
        match there {
            Some((s, b)) if s != subject || b != body => {
                faults.push(format!("message {seq} holds something else"));
            }
            Some(_) if *number >= progress.sent => {
                faults.push(format!("message {seq} was never asked for"));
            }
            Some(_) if gone_by.is_some_and(|by| by < synced) => {
                faults.push(format!("message {seq}, removed before a sync, is back"));
            }
            None if *number < progress.acknowledged && gone_by.is_none() && !script.limited => {
                faults.push(format!("message {seq} was acknowledged and is not there"));
            }
            _ => {}
        }
    }
    let known: BTreeSet<&u64> = model.appended.keys().collect();
    for seq in seen.messages.keys().filter(|seq| !known.contains(seq)) {
        faults.push(format!("message {seq} was never written"));
    }
    let reached = model
        .appended
        .iter()
        .filter(|(_, (_, _, number))| *number < progress.acknowledged)
        .map(|(seq, _)| *seq)
        .max()
        .unwrap_or(0);
    if seen.last < reached {
        faults.push(format!(
            "sequence {reached} was acknowledged, the last is {}",
            seen.last
        ));
    }
    faults
}

pub fn copy_tree(from: &Path, to: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", from.display());
    fs::create_dir_all(to).map_err(told)?;
    for entry in fs::read_dir(from).map_err(told)? {
        let entry = entry.map_err(told)?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).map_err(told)?;
        }
    }
    Ok(())
}

/// Runs one seed; what was wrong.
fn one_seed(
    options: &Options,
    right: &mut Driver,
    seed: u64,
) -> Result<(Progress, Vec<String>), String> {
    let script = draw(seed);
    let mut random = Random::new(seed ^ 0x006d_6f6d);
    let base = &options.scratch;
    let _ = fs::remove_dir_all(base);
    let (work, copy, after) = (base.join("work"), base.join("copy"), base.join("after"));
    fs::create_dir_all(base).map_err(|error| error.to_string())?;
    let mut left = options.left.start()?;
    let mut open = script.open.clone();
    open["dir"] = json!(work);
    let opened = left.ask(&open);
    if opened.get("ok").is_none() {
        return Err(format!("left cannot open: {opened}"));
    }
    let progress = work_and_kill(&mut left, &script, &mut random)?;
    copy_tree(&work, &copy)?;
    copy_tree(&work, &base.join("left"))?;
    right.ask(&json!({"op": "reset"}));
    let theirs = look(right, &script, &copy);
    let mut left = options.left.start()?;
    let ours = look(&mut left, &script, &work);
    let (ours, theirs) = match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (ours, theirs) => {
            return Ok((progress, vec![unreadable("after the kill", ours, theirs)]));
        }
    };
    let mut wrong = same(&ours, &theirs, "after the kill");
    wrong.extend(faults(&script, &progress, &ours));
    // The survivor goes on.
    for number in 0..5 {
        let request = json!({"op": "append", "subject": format!("k.{number}"), "msg": "bW9yZQ=="});
        left.ask(&request);
        if number == 2 {
            left.ask(&json!({"op": "remove", "seq": ours.last + 1}));
        }
    }
    left.ask(&json!({"op": "close"}));
    copy_tree(&work, &after)?;
    right.ask(&json!({"op": "reset"}));
    match (
        look(&mut left, &script, &work),
        look(right, &script, &after),
    ) {
        (Ok(ours), Ok(theirs)) => wrong.extend(same(&ours, &theirs, "after going on")),
        (ours, theirs) => wrong.push(unreadable("after going on", ours, theirs)),
    }
    Ok((progress, wrong))
}

/// Runs the seeds; how many went wrong.
pub fn run(options: &Options) -> Result<usize, String> {
    let started = Instant::now();
    let mut right = options.right.start()?;
    // The reference itself does not keep what is asked here.
    let reference_left = options.left.command == options.right.command;
    let mut exempted: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let (mut seeds, mut acknowledged, mut unanswered, mut wrong_seeds) = (0, 0, 0, 0);
    for seed in options.seeds.clone() {
        if options.time.is_some_and(|time| started.elapsed() > time) {
            break;
        }
        let (progress, wrong) = one_seed(options, &mut right, seed)?;
        seeds += 1;
        acknowledged += progress.acknowledged;
        unanswered += progress.sent - progress.acknowledged;
        if wrong.is_empty() {
            continue;
        }
        if reference_left && let Some(row) = kill_exemption(&wrong) {
            *exempted.entry((row.fault, row.about)).or_default() += 1;
            continue;
        }
        wrong_seeds += 1;
        println!(
            "seed {seed}: killed after {} requests, {} answered",
            progress.sent, progress.acknowledged
        );
        for line in wrong.iter().take(8) {
            println!("  {line}");
        }
        let script = draw(seed);
        let mut steps = vec![script.open];
        steps.extend_from_slice(&script.requests[..progress.sent]);
        fs::create_dir_all(&options.keep).map_err(|error| error.to_string())?;
        let file = options.keep.join(format!("kill-{seed}.jsonl"));
        script::write(&file, &steps)?;
        let left = options.keep.join(format!("kill-{seed}"));
        let _ = fs::remove_dir_all(&left);
        copy_tree(&options.scratch.join("left"), &left)?;
        println!("  requests {}, store {}", file.display(), left.display());
        if wrong_seeds >= options.show {
            break;
        }
    }
    println!(
        "{seeds} kills, {acknowledged} requests answered before them, {unanswered} not; {wrong_seeds} went wrong, in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    for ((fault, about), count) in &exempted {
        println!("  {count} kills ran into a fault of the reference: {fault}, {about}");
    }
    Ok(wrong_seeds)
}
