//! The engine behind a line protocol: one JSON request a line on standard input, one JSON answer a line on standard output, in order.
//!
//! It shows every call of `jetsam::store` at work, and lets a script run on the engine and on nats-server's own store side by side
//! (`oracle ops`, compared by `tools/ops`).
//!
//! ```sh
//! cargo run --release --example ops
//! {"op":"open","dir":"/tmp/S","stream":{"name":"S","subjects":["s.>"]},"now":1767225600000000000}
//! {"op":"append","subject":"s.1","msg":"aGVsbG8="}
//! {"op":"load","seq":1}
//! ```
//!
//! Arguments are defaults for `open`: `--dir DIR`, `--cipher none|chacha|aes`, `--key-env VARIABLE`.

#![allow(
    clippy::disallowed_methods,
    reason = "this program stands outside the library"
)]

mod answer;
mod bench;
mod consumers;
mod read;
mod request;
mod serve;
mod store;
mod write;

use std::env;
use std::io::{stdin, stdout};
use std::process::ExitCode;

use request::Opening;

fn defaults(args: impl Iterator<Item = String>) -> Result<Opening, String> {
    let mut args = args;
    let mut defaults = Opening::default();
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--dir" => defaults.dir = value,
            "--cipher" => defaults.cipher = value,
            "--key-env" => {
                defaults.key = env::var(&value).map_err(|error| format!("{value}: {error}"))?;
            }
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    Ok(defaults)
}

fn main() -> ExitCode {
    let defaults = match defaults(env::args().skip(1)) {
        Ok(defaults) => defaults,
        Err(error) => {
            eprintln!("ops: {error}");
            return ExitCode::from(16);
        }
    };
    let mut engine = store::Engine::new(defaults);
    match serve::serve(&mut engine, stdin(), stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ops: {error}");
            ExitCode::from(8)
        }
    }
}
