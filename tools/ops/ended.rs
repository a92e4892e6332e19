//! Lives of the engine ended at calls to the disk, and what is left opened by both sides: a server may be the first to open it.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use jetsam::testing::engine::{LeftBehind, left_behind};

use crate::compare::agree;
use crate::driver::Driver;
use crate::options::Options;

/// Steps of a life.
const STEPS: usize = 50;
/// Of so many calls one ends a life.
const STRIDE: usize = 7;

/// Lays what was left behind out in a directory.
fn lay_out(left: &LeftBehind, dir: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let _ = fs::remove_dir_all(dir);
    for made in left.dirs() {
        fs::create_dir_all(dir.join(made)).map_err(failed)?;
    }
    for (path, bytes) in left.files() {
        fs::write(dir.join(path), bytes).map_err(failed)?;
    }
    Ok(())
}

/// What a side finds in a directory.
fn found(side: &mut Driver, left: &LeftBehind, dir: &Path) -> Vec<Value> {
    let mut open = json!({
        "op": "open", "dir": dir, "stream": left.stream(), "block_size": left.block_size(), "sync": "none", "flush": "each",
        "account": left.account(), "now": left.now_ns(), "cipher": "none",
    });
    if let Some((cipher, key)) = left.key() {
        open["cipher"] = json!(cipher);
        open["key"] = json!(key);
    }
    let requests = [
        json!({"op": "reset"}),
        open,
        json!({"op": "digest"}),
        json!({"op": "dump", "seq": 0, "n": 1_000_000}),
        json!({"op": "close"}),
    ];
    requests.iter().map(|request| side.ask(request)).collect()
}

/// Runs the seeds; how many disks were not the same to both.
pub fn run(options: &Options) -> Result<usize, String> {
    let started = Instant::now();
    let (mut left_side, mut right_side) = (options.left.start()?, options.right.start()?);
    let (ours, theirs) = (options.scratch.join("ours"), options.scratch.join("theirs"));
    let (mut lives, mut disks, mut differing) = (0, 0, 0);
    for seed in options.seeds.clone() {
        if options.time.is_some_and(|time| started.elapsed() > time) {
            break;
        }
        lives += 1;
        for left in left_behind(seed, STEPS, STRIDE) {
            lay_out(&left, &ours)?;
            lay_out(&left, &theirs)?;
            disks += 1;
            let our_answers = found(&mut left_side, &left, &ours);
            let their_answers = found(&mut right_side, &left, &theirs);
            // What one made of it the other has to take as it is.
            let exchanged = found(&mut right_side, &left, &ours);
            let alone = our_answers.iter().zip(&their_answers);
            let alone = alone.filter(|_| !left.has_crossed_limits());
            let pairs = alone.chain(our_answers.iter().zip(&exchanged));
            // A side that cannot open it agrees with nobody.
            let opened =
                |answers: &[Value]| answers.iter().all(|answer| answer.get("ok").is_some());
            let all_opened = opened(&our_answers) && opened(&their_answers) && opened(&exchanged);
            let mut pairs = pairs.into_iter();
            let Some((our, their)) = pairs.find(|(our, their)| !all_opened || !agree(our, their))
            else {
                continue;
            };
            differing += 1;
            let kept = options.keep.join(format!("ended-{seed}-{}", left.call()));
            lay_out(&left, &kept)?;
            println!(
                "seed {seed}, ended at call {}: kept in {}\n  {our:.500}\n  {their:.500}",
                left.call(),
                kept.display()
            );
            if differing >= options.show {
                println!("{lives} lives, {disks} disks, {differing} not the same to both");
                return Ok(differing);
            }
        }
    }
    println!(
        "{lives} lives, {disks} disks, {differing} not the same to both, in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    Ok(differing)
}
