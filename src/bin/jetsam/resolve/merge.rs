//! What `merge` is asked.

use std::path::PathBuf;

use jetsam::crypto::ServerKey;

use super::{Surroundings, key_in_file, key_in_variable, out, preflight, usage};
use crate::args::{RawArgs, Usage};
use crate::merge::Query;

/// Reads it.
pub fn query(raw: &RawArgs, surroundings: &Surroundings<'_>) -> Result<Query, Usage> {
    Ok(Query {
        out: out::directory(raw)?,
        plaintext: raw.has("plaintext"),
        uncertain: out::uncertain(raw)?,
        force: raw.has("force"),
        replicas: out::replicas(raw)?,
        resume: raw.has("resume"),
        server: preflight::server(raw)?,
        source_keys: source_keys(raw, surroundings)?,
        also_from: raw
            .all(&["also-from"])
            .map(|(_, path)| PathBuf::from(path))
            .collect(),
        copies: raw.operands.len(),
        relatives: Vec::new(),
    })
}

/// `--source-key-env` and `--source-key-file`: one for each PATH, with those of `--also-from` behind the others or without them, or
/// none at all. Which key is whose goes by place, so a
/// count that differs is refused rather than guessed at.
fn source_keys(
    raw: &RawArgs,
    surroundings: &Surroundings<'_>,
) -> Result<Vec<Option<ServerKey>>, Usage> {
    let mut keys = Vec::new();
    for (flag, value) in raw.all(&["source-key-env", "source-key-file"]) {
        keys.push(match flag {
            _ if value == "-" => None,
            "source-key-env" => Some(key_in_variable(flag, value, surroundings)?),
            _ => Some(key_in_file(flag, value)?),
        });
    }
    let (given, wanted) = (keys.len(), raw.operands.len());
    let also = raw.all(&["also-from"]).count();
    if given == 0 || given == wanted || given == wanted + also {
        return Ok(keys);
    }
    usage(format!(
        "{wanted} copies and {given} keys: give --source-key-env or --source-key-file once for each PATH, in their order, \
         with - for a copy that has no key of its own"
    ))
}
