//! What `preflight` foretells of a configuration against what a real nats-server then does: for every row of the list a store,
//! made by a server, a configuration, the forecast, and the server's start.
//!
//! ```text
//! testdata/oracle/build.sh
//! cargo run --example surroundings [-- --cluster] [--only TEXT] [--server 2.10.29=./nats-server-v2.10.29]
//! ```
//!
//! Tokens of operators and accounts come from the oracle. Stores are made by the server beside it (the reference) or by the one
//! given with `--server`, and judged for it. With `--cluster` three servers make a cluster on this machine, which takes two minutes: streams
//! that no metadata names, another system account, another name, replicated streams as they are, and the same store under a
//! server standing alone.
//!
//! Compared are: whether the server starts; which streams come up, with how many messages and which consumers; and of streams
//! that are left out, that no block and no metadata changed. Each row also has to say what it is about.

#![allow(
    clippy::disallowed_methods,
    reason = "this program stands outside the library"
)]

mod cluster;
mod judge;
mod nats;
mod operated;
mod rows;
mod store;
mod tokens;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jetsam::report::ServerVersion;
use store::Kept;

/// The server asked.
pub struct Asked {
    /// Its version.
    pub version: ServerVersion,
    /// Its program.
    pub program: PathBuf,
    /// The oracle, which makes tokens.
    pub oracle: PathBuf,
}

struct Args {
    asked: Asked,
    cluster: bool,
    only: String,
}

fn parse_args() -> Result<Args, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let mut args = Args {
        asked: Asked {
            version: ServerVersion::REFERENCE,
            program: target.join("oracle/nats-server"),
            oracle: target.join("oracle/oracle"),
        },
        cluster: false,
        only: String::new(),
    };
    let mut list = std::env::args().skip(1);
    while let Some(arg) = list.next() {
        let mut value = || list.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--cluster" => args.cluster = true,
            "--only" => args.only = value()?,
            "--server" => {
                let text = value()?;
                let (version, program) =
                    text.split_once('=').ok_or("--server takes VERSION=PATH")?;
                args.asked.version = version.parse().map_err(|error| format!("{error}"))?;
                args.asked.program = program.into();
            }
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    let args = match parse_args() {
        Ok(args) => args,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(16);
        }
    };
    let counted = if args.cluster {
        cluster::run(&args.asked)
    } else {
        run(&args)
    };
    match counted {
        Ok((rows, 0)) if rows > 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("surroundings: {error}");
            ExitCode::from(2)
        }
    }
}

/// Every row; how many there were, and how many came out otherwise than foretold.
fn run(args: &Args) -> io::Result<(usize, usize)> {
    let scratch = tempfile::tempdir()?;
    let mut stores = BTreeMap::new();
    for kept in [Kept::Global, Kept::Accounts, Kept::Operator] {
        let dir = scratch.path().join(format!("{kept:?}"));
        std::fs::create_dir_all(&dir)?;
        store::make(&args.asked, &dir, kept)?;
        stores.insert(kept, dir.join("store"));
    }
    let (mut count, mut wrong, mut untold) = (0, 0, 0);
    let mut rows = rows::all();
    rows.extend(operated::all(&args.asked.oracle)?);
    for row in rows {
        if !row.name.contains(&args.only) {
            continue;
        }
        let dir = scratch.path().join("row");
        let _ = std::fs::remove_dir_all(&dir);
        let found = judge::row(&args.asked, &stores[&row.kept], &dir, &row)?;
        count += 1;
        untold += usize::from(found.by_chance);
        wrong += usize::from(!found.differences.is_empty());
        println!(
            "{} {}: {}",
            if found.differences.is_empty() {
                "ok      "
            } else {
                "DISAGREE"
            },
            row.name,
            found.told
        );
        for difference in &found.differences {
            println!("           {difference}");
        }
    }
    println!(
        "{count} configurations under server {}: {wrong} came out otherwise than foretold, {untold} of them by a chance that was foretold",
        args.asked.version
    );
    Ok((count, wrong))
}
