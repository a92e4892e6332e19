//! Lives of the engine's store, by seeds, in memory: held against a model and against recovery after every step, or with `--crash` ended
//! at calls to the disk and opened again, or with `--fail` with calls to the disk that fail once.
//!
//! ```sh
//! cargo run --release --example engine_lives -- --seeds 0..10000 --steps 100
//! cargo run --release --example engine_lives -- --seeds 0..500 --steps 60 --crash 1
//! cargo run --release --example engine_lives -- --seeds 0..500 --steps 60 --fail 1
//! ```

use std::process::ExitCode;

use jetsam::testing::engine::{crash_everywhere, fail_everywhere, live};

fn main() -> ExitCode {
    let mut seeds = 0..1000_u64;
    let mut step_count = 80;
    let (mut stride, mut fails) = (None, false);
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().unwrap_or_default();
        let number = || {
            value
                .parse::<usize>()
                .unwrap_or_else(|_| panic!("{value:?} is no number"))
        };
        match name.as_str() {
            "--seeds" => {
                let (from, to) = value.split_once("..").unwrap_or((&value, &value));
                let bound = |text: &str| {
                    text.parse()
                        .unwrap_or_else(|_| panic!("{text:?} is no seed"))
                };
                seeds = bound(from)..bound(to).max(bound(from) + 1);
            }
            "--steps" => step_count = number(),
            "--crash" => stride = Some(number()),
            "--fail" => (stride, fails) = (Some(number()), true),
            _ => panic!("{name} is not known; see the head of this file"),
        }
    }
    let (mut wrong, mut calls, mut images, mut opened, mut outlived) = (0, 0, 0, 0, 0);
    for seed in seeds.clone() {
        match stride {
            None => {
                if let Err(what) = live(seed, step_count) {
                    wrong += 1;
                    println!("{what}");
                }
            }
            Some(stride) => {
                let tally = match fails {
                    true => fail_everywhere(seed, step_count, stride),
                    false => crash_everywhere(seed, step_count, stride),
                };
                calls += tally.call_count;
                outlived += tally.outlived_count;
                images += tally.image_count;
                opened += tally.opened_count;
                wrong += tally.violations.len();
                for what in tally.violations.iter().take(3) {
                    println!("{what}");
                }
            }
        }
    }
    let lives = seeds.end - seeds.start;
    println!(
        "{lives} lives of {step_count} steps, {calls} ends ({outlived} outlived), {images} disks, {opened} of them to be opened, the others the same: {wrong} wrong"
    );
    match wrong {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
