//! The engine against the reference's store, answer by answer.
//!
//! Two programs speak the operations' protocol (`ops`): one has this library's engine behind it, the other nats-server's own file
//! store (`oracle ops`). A seed stands for a script of several parts; after each the two change directories, so each goes on with what
//! the other wrote. The first answer that differs is reported, with the script up to it as a file for `--replay`, made smaller.
//!
//! ```text
//! testdata/oracle/build.sh
//! cargo build --release --example ops
//! cargo run --release --example ops_compare -- --seeds 0..2000
//! cargo run --release --example ops_compare -- --kill --seeds 0..200
//! cargo run --release --example ops_compare -- --ended --seeds 0..100
//! cargo run --release --example ops_compare -- --servers 2.10.29=/path/to/nats-server --seeds 0..2000
//! ```
//!
//! What is left out because the reference errs there is said where scripts are drawn (`steps.rs`, `make.rs`); what it gets wrong all
//! the same has a row in `exempt.rs` and is counted. With `--left` set to the reference as well, the two must agree in everything; and
//! with `OPS_MUTATE=OP.FIELD[.N]` in its environment its N-th answer to OP is wrong, which must be found.

#![allow(
    clippy::disallowed_methods,
    reason = "this program stands outside the library"
)]

mod compare;
mod consume;
mod driver;
mod ended;
mod exempt;
mod kill;
mod make;
#[path = "../surroundings/nats.rs"]
#[allow(
    dead_code,
    reason = "shared with another program, which asks more of a server"
)]
mod nats;
mod options;
mod random;
mod run;
mod script;
mod served;
mod shrink;
mod steps;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use make::Maker;
use options::{Options, USAGE};
use run::{Bench, Disagreement};

/// Characters of a request or an answer that are printed.
const SHOWN: usize = 700;
/// Time that making one disagreement smaller may take.
const SHRINKING: Duration = Duration::from_secs(90);

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(16);
        }
    };
    let result = if options.kill {
        kill::run(&options)
    } else if options.ended {
        ended::run(&options)
    } else if !options.servers.is_empty() {
        served::run(&options)
    } else if let Some(file) = &options.replay {
        replay(&options, file)
    } else {
        compare_seeds(&options)
    };
    let _ = fs::remove_dir_all(&options.scratch);
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(8)
        }
    }
}

/// Cut for reading.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    let head: String = text.chars().take(SHOWN).collect();
    format!("{head}… ({} bytes)", text.len())
}

fn tell(disagreement: &Disagreement) {
    println!("  request {}", shortened(&disagreement.step));
    println!("  left    {}", shortened(&disagreement.left));
    println!("  right   {}", shortened(&disagreement.right));
}

fn replay(options: &Options, file: &Path) -> Result<usize, String> {
    let steps = script::read(file)?;
    let mut bench = Bench::new(&options.left, &options.right, &options.scratch)?;
    bench.reset()?;
    for (at, step) in steps.iter().enumerate() {
        println!("{at:5} {}", shortened(step));
        match bench.step(step) {
            Ok(answer) => println!("      {}", shortened(&answer)),
            Err(disagreement) => {
                tell(&disagreement);
                if let Some(row) = disagreement.exempt {
                    println!("  exempt: {} ({})", row.fault, row.about);
                    return Ok(0);
                }
                return Ok(1);
            }
        }
    }
    println!("the sides agree");
    Ok(0)
}

/// What became of all seeds.
#[derive(Default)]
struct Summary {
    seeds: u64,
    disagreements: usize,
    exempted: BTreeMap<(&'static str, &'static str), u64>,
}

fn compare_seeds(options: &Options) -> Result<usize, String> {
    let started = Instant::now();
    let mut bench = Bench::new(&options.left, &options.right, &options.scratch)?;
    let mut summary = Summary::default();
    for seed in options.seeds.clone() {
        if options.time.is_some_and(|time| started.elapsed() > time) {
            break;
        }
        summary.seeds += 1;
        one_seed(options, &mut bench, seed, &mut summary)?;
        if summary.seeds.is_multiple_of(200) {
            eprintln!(
                "{} seeds, {} requests, {} disagreements, {:.0} s",
                summary.seeds,
                bench.requests,
                summary.disagreements,
                started.elapsed().as_secs_f64()
            );
        }
        if summary.disagreements >= options.show {
            break;
        }
    }
    println!(
        "{} seeds, {} requests, {} disagreements in {:.1} s",
        summary.seeds,
        bench.requests,
        summary.disagreements,
        started.elapsed().as_secs_f64()
    );
    for ((fault, about), count) in &summary.exempted {
        println!("  {count} seeds ended early at a fault of the reference: {fault}, {about}");
    }
    Ok(summary.disagreements)
}

fn one_seed(
    options: &Options,
    bench: &mut Bench,
    seed: u64,
    summary: &mut Summary,
) -> Result<(), String> {
    bench.reset()?;
    let mut maker = Maker::new(seed, options);
    let mut steps = Vec::new();
    while let Some(step) = maker.next() {
        if options.only.is_some() {
            println!("{:5} {}", steps.len(), shortened(&step));
        }
        steps.push(step.clone());
        match bench.step(&step) {
            Ok(answer) => {
                if options.only.is_some() {
                    println!("      {}", shortened(&answer));
                }
                maker.observe(&step, &answer);
                if let Some(before) = maker.changed(&step, &answer) {
                    let disagreement = Disagreement {
                        step: json!({"check": "digest before (left) and after (right) the change of directories"}),
                        left: before,
                        right: answer,
                        exempt: None,
                    };
                    return report(options, bench, seed, &steps, &disagreement, summary);
                }
            }
            Err(disagreement) => {
                return report(options, bench, seed, &steps, &disagreement, summary);
            }
        }
    }
    Ok(())
}

fn report(
    options: &Options,
    bench: &mut Bench,
    seed: u64,
    steps: &[Value],
    disagreement: &Disagreement,
    summary: &mut Summary,
) -> Result<(), String> {
    if let Some(row) = disagreement.exempt {
        *summary.exempted.entry((row.fault, row.about)).or_default() += 1;
        return Ok(());
    }
    summary.disagreements += 1;
    let kind = disagreement.kind();
    println!("seed {seed}: after {} steps: {kind}", steps.len());
    tell(disagreement);
    fs::create_dir_all(&options.keep).map_err(|error| error.to_string())?;
    let whole = options.keep.join(format!("seed-{seed}.jsonl"));
    script::write(&whole, steps)?;
    println!("  script  {}", whole.display());
    // A check names what the script did: without some of it, it would be wrong by itself.
    if !options.shrink || disagreement.step.get("check").is_some() {
        return Ok(());
    }
    // Asked again from the start: what does not come back is not there always.
    match shrink::replay(bench, steps)? {
        Some((_, again)) if again.kind() == kind => {}
        _ => {
            println!("  not seen again when the same script was run again");
            return Ok(());
        }
    }
    let small = shrink::shrink(bench, steps, &kind, SHRINKING)?;
    let file = options.keep.join(format!("seed-{seed}-small.jsonl"));
    script::write(&file, &small)?;
    println!("  smaller {} ({} steps)", file.display(), small.len());
    if let Some((_, again)) = shrink::replay(bench, &small)? {
        tell(&again);
    }
    Ok(())
}
