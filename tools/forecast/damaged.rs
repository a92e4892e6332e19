//! The committed damaged stores, one for every row and hazard of the recovery reference, under a server that runs now: those
//! that bring it down at the start (H24, H33) or at the first read (H37) among them.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use crate::judge::{self, Judged};
use crate::make::Base;
use crate::run::{Bench, Case};
use crate::whole;

/// Stores with two names for one block: which of them is met where is not followed.
const TWINS: &str = "3.1-";

/// One of them.
pub struct Store {
    base: Base,
    /// Whether it is about consumers, of which only a whole server takes notice.
    consumers: bool,
}

/// All of them, by name.
pub fn all() -> io::Result<Vec<Store>> {
    let damaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/damaged");
    let mut names = Vec::new();
    for entry in fs::read_dir(&damaged)? {
        let entry = entry?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    let stores = names.into_iter().map(|name| {
        let mut base = Base::fixture(&damaged.join(&name).join("A/streams/S"), 0)?;
        let verdict = fs::read(damaged.join(&name).join("verdict.json"))?;
        let verdict: Value = serde_json::from_slice(&verdict)?;
        let asked = |key: &str| {
            let value = verdict["request"][key].as_str();
            value.unwrap_or_default().to_owned()
        };
        base.ask.key = asked("key");
        base.ask.prev_key = asked("prev_key");
        base.ask.cipher = asked("cipher");
        base.origin = name;
        let consumers = verdict["request"]["consumers"] == Value::Bool(true);
        Ok(Store { base, consumers })
    });
    stores.collect()
}

/// Asks the file store, and a whole server where it can be told all it needs.
pub fn judge(bench: &mut Bench, oracle: &Path, store: &Store) -> io::Result<Judged> {
    let base = &store.base;
    let case = Case {
        seed: 0,
        origin: base.origin.clone(),
        tree: base.tree.clone(),
        ask: base.ask.clone(),
        mutations: vec![base.origin.clone()],
    };
    let mut judged = judge::standing(bench, &case)?;
    if store.consumers {
        judged.differences.clear();
    }
    if judged.set_aside.is_none() && judged.differences.is_empty() && case.ask.prev_key.is_empty() {
        judged.whole = true;
        whole::compare(oracle, &bench.scratch, &case, &mut judged)?;
    }
    if !judged.differences.is_empty() && base.origin.starts_with(TWINS) {
        judged.set_aside = Some("names of blocks".into());
    }
    Ok(judged)
}
