//! Gives a real nats-server v2.15.3 the steps of random histories, and demands that it leaves what the harness says it leaves:
//! the same live messages, the same records in the same blocks, the same index, the same consumers. So the harness's truth
//! is not our own imagination.
//!
//! `cargo run --example histories -- --server target/oracle/nats-server --seeds 0..3`

#![allow(
    clippy::disallowed_methods,
    reason = "an example works on scratch files"
)]

mod compare;
mod drive;
mod nats;

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use jetsam::testing::StoreKind;
use jetsam::testing::history::{Doings, History, HistoryKind, LastDay};

/// Steps of a history.
const STEPS: u64 = 500;

struct Arguments {
    server: PathBuf,
    seeds: Range<u64>,
    kinds: Vec<HistoryKind>,
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(16);
        }
    };
    let (mut done, mut wrong) = (0, 0);
    for seed in arguments.seeds.clone() {
        for kind in &arguments.kinds {
            for history in of(*kind, seed) {
                done += 1;
                let found =
                    compare::with_server(&history, &arguments.server, arguments.keep.as_deref());
                for line in found.unwrap_or_else(|error| vec![error.to_string()]) {
                    println!("DISAGREE {history:?}: {line}");
                    wrong += 1;
                }
            }
        }
    }
    println!("{done} histories lived through by a real server: {wrong} disagreements");
    if wrong == 0 && done > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The histories of one seed: killed, stopped, and killed behind a pass that rewrites blocks.
fn of(kind: HistoryKind, seed: u64) -> [History; 3] {
    let layout = if seed % 3 == 2 {
        StoreKind::S2
    } else {
        StoreKind::Plain
    };
    let aging = matches!(kind, HistoryKind::Age | HistoryKind::Mixed);
    let with = |last_day, doings| History {
        kind,
        layout,
        last_day,
        steps: STEPS,
        // A restart takes its time, and time is what these go by.
        doings: if aging { Doings::Clients } else { doings },
        seed,
    };
    [
        with(LastDay::Killed, Doings::Clients),
        with(LastDay::Stopped, Doings::Restarts),
        with(LastDay::Killed, Doings::RestartAndPass),
    ]
}

fn arguments() -> Result<Arguments, String> {
    let mut read = Arguments {
        server: PathBuf::from("target/oracle/nats-server"),
        seeds: 0..2,
        kinds: HistoryKind::ALL.to_vec(),
        keep: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        match word.as_str() {
            "--server" => read.server = value.into(),
            "--keep" => read.keep = Some(value.into()),
            "--kind" => {
                read.kinds =
                    vec![HistoryKind::from_name(&value).ok_or(format!("no kind {value}"))?];
            }
            "--seeds" => {
                let (from, to) = value.split_once("..").ok_or("--seeds A..B")?;
                let number = |text: &str| text.parse().map_err(|_| format!("no number: {text}"));
                read.seeds = number(from)?..number(to)?;
            }
            _ => return Err(format!("{word} is unknown")),
        }
    }
    Ok(read)
}
