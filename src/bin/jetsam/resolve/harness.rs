//! What `harness` is asked.

use std::path::PathBuf;

use jetsam::testing::history::HistoryKind;
use jetsam::testing::{DamageKind, StoreKind};

use super::usage;
use crate::args::{RawArgs, Usage};
use crate::harness::histories::Asked;
use crate::harness::{End, Query};

/// What only the damages to one store take.
const NOT_TAKEN: [&str; 4] = ["messages", "ends", "server-command", "expect-no-loss"];

/// Reads it.
pub fn query(raw: &RawArgs) -> Result<Query, Usage> {
    let case = number(raw, "case", 0, 0)?;
    let has_case = raw.has("case");
    if has_case && raw.has("count") {
        return usage("--case runs one case of each kind; --count runs many");
    }
    let out = raw.get("out").map(PathBuf::from);
    if out.as_ref().is_some_and(|dir| dir.as_os_str().is_empty()) {
        return usage("--out is empty");
    }
    let server_command = match raw.get("server-command").map(|value| value.to_str()) {
        None => None,
        Some(Some(text)) if !text.trim().is_empty() => Some(text.to_owned()),
        Some(_) => return usage("--server-command is a program and its arguments"),
    };
    Ok(Query {
        seed: number(raw, "seed", 1, 0)?,
        count: if has_case {
            1
        } else {
            number(raw, "count", 100, 1)?
        },
        first: case,
        messages: number(raw, "messages", 10_000, 1)?,
        stores: list(
            raw,
            "stores",
            &StoreKind::ALL,
            StoreKind::from_name,
            StoreKind::name,
        )?,
        ends: list(raw, "ends", &End::ALL, End::from_name, End::name)?,
        damages: list(
            raw,
            "damage",
            &DamageKind::ALL,
            DamageKind::from_name,
            DamageKind::name,
        )?,
        out,
        server_command,
        expect_no_loss: raw.has("expect-no-loss"),
        histories: histories(raw)?,
    })
}

fn number(raw: &RawArgs, flag: &str, default: u64, least: u64) -> Result<u64, Usage> {
    /// Beyond this a run does not end, or a store does not fit into memory.
    const MOST: u64 = 100_000_000;
    match raw.get(flag).map(|value| value.to_str().map(str::parse)) {
        None => Ok(default),
        Some(Some(Ok(number))) if number >= least && (flag == "seed" || number <= MOST) => {
            Ok(number)
        }
        Some(_) => usage(format!("--{flag} is a number from {least}")),
    }
}

fn list<T: Copy + PartialEq>(
    raw: &RawArgs,
    flag: &str,
    all: &[T],
    from_name: fn(&str) -> Option<T>,
    name: fn(T) -> &'static str,
) -> Result<Vec<T>, Usage> {
    let Some(text) = raw.get(flag) else {
        return Ok(all.to_vec());
    };
    let text = text.to_string_lossy();
    let mut chosen = Vec::new();
    for word in text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        match from_name(word) {
            Some(one) if chosen.contains(&one) => {}
            Some(one) => chosen.push(one),
            None => {
                let known: Vec<&str> = all.iter().map(|one| name(*one)).collect();
                let known = known.join(", ");
                return usage(format!("--{flag} takes {known}, not {word:?}"));
            }
        }
    }
    if chosen.is_empty() {
        return usage(format!("--{flag} is empty"));
    }
    Ok(chosen)
}

/// Reads it; `None` where histories are not asked for.
fn histories(raw: &RawArgs) -> Result<Option<Asked>, Usage> {
    if !raw.has("histories") {
        for flag in ["kinds", "expect-no-invention"] {
            if raw.has(flag) {
                return usage(format!("--{flag} goes with --histories"));
            }
        }
        return Ok(None);
    }
    for flag in NOT_TAKEN {
        if raw.has(flag) {
            return usage(format!("--histories takes no --{flag}"));
        }
    }
    Ok(Some(Asked {
        kinds: list(
            raw,
            "kinds",
            &HistoryKind::ALL,
            HistoryKind::from_name,
            HistoryKind::name,
        )?,
        expect_no_invention: raw.has("expect-no-invention"),
    }))
}
