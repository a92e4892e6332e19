//! Writes the damaged stores below `testdata/damaged` and asks the oracle what the Go server makes of them.
//!
//! ```sh
//! bash testdata/oracle/build.sh
//! cargo run --example damage                    # all of them
//! cargo run --example damage -- D7 3.5          # those whose name begins so
//! ```
//!
//! The oracle is `target/oracle/oracle`, or what the variable `ORACLE` names. Every store is put
//! together from nothing, with fixed times, keys and nonces, so that its bytes come out the same
//! each time. Each is asked about twice; a verdict that changes is an error.

#![allow(
    clippy::disallowed_methods,
    reason = "a tool for the repository, it makes files itself"
)]

mod cases;
mod oracle;
mod record;
mod store;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use cases::Case;
use oracle::Oracle;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let damaged = root.join("testdata/damaged");
    let program =
        std::env::var_os("ORACLE").map_or_else(|| root.join("target/oracle/oracle"), PathBuf::from);
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let cases = cases::all();
    let mut names = BTreeSet::new();
    for case in &cases {
        if !names.insert(case.dir_name()) {
            return Err(format!("{} twice", case.dir_name()).into());
        }
    }
    if wanted.is_empty() {
        let _ = fs::remove_dir_all(&damaged);
    }
    let mut oracle = Oracle::start(&program)?;
    let mut failed = 0;
    for case in cases {
        let name = case.dir_name();
        if !wanted.is_empty() && !wanted.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        if let Err(error) = write(&damaged.join(&name), case, &mut oracle) {
            eprintln!("{name}: {error}");
            fs::remove_dir_all(damaged.join(&name))?;
            failed += 1;
        }
    }
    oracle.end()?;
    if failed > 0 {
        return Err(format!("{failed} cases without a verdict").into());
    }
    Ok(())
}

/// Writes one case and its verdict, and a line about it.
fn write(dir: &Path, case: Case, oracle: &mut Oracle) -> Result<(), Box<dyn Error>> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir)?;
    let (request, note, name) = (case.request(), case.note, case.dir_name());
    let stream = dir.join(store::ACCOUNT).join("streams").join(store::STREAM);
    for (path, bytes) in case.store.finish() {
        let path = stream.join(path);
        fs::create_dir_all(path.parent().ok_or("a file without a directory")?)?;
        fs::write(path, bytes)?;
    }
    let verdict = oracle.verdict(&stream, &request)?;
    println!("{name}: {}", oracle::in_short(&verdict));
    fs::write(dir.join("note.txt"), format!("{note}\n"))?;
    fs::write(
        dir.join("verdict.json"),
        format!("{}\n", serde_json::to_string(&verdict)?),
    )?;
    Ok(())
}
