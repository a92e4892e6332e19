//! `jetsam merge`: one store from several copies of one stream.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use jetsam::crypto::ServerKey;
use jetsam::salvage::{MergeSource, Uncertain};

use crate::args::{RawArgs, Usage};
use crate::engine::{EngineError, Shape};
use crate::out;
use crate::progress::Meter;
use crate::resolve::{self, Command, Surroundings};
use crate::salvage;
use crate::session::{self, Session};

/// What only this verb is asked.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Where the new store goes.
    pub out: PathBuf,
    /// Do not encrypt it.
    pub plaintext: bool,
    /// What becomes of messages that may have been deleted.
    pub uncertain: Uncertain,
    /// Merge what does not look like copies of one stream.
    pub force: bool,
    /// The copies' own keys, one for each PATH; empty where none has one.
    pub source_keys: Vec<Option<ServerKey>>,
}

/// Reads it.
pub fn query(raw: &RawArgs, surroundings: &Surroundings<'_>) -> Result<Query, Usage> {
    Ok(Query {
        out: out::directory(raw)?,
        plaintext: raw.has("plaintext"),
        uncertain: out::uncertain(raw)?,
        force: raw.has("force"),
        source_keys: source_keys(raw, surroundings)?,
    })
}

/// `--source-key-env` and `--source-key-file`: one for each PATH, or none at all. Which key is whose goes by place, so a
/// count that differs is refused rather than guessed at.
fn source_keys(
    raw: &RawArgs,
    surroundings: &Surroundings<'_>,
) -> Result<Vec<Option<ServerKey>>, Usage> {
    let mut keys = Vec::new();
    for (flag, value) in raw.all(&["source-key-env", "source-key-file"]) {
        keys.push(match flag {
            _ if value == "-" => None,
            "source-key-env" => Some(resolve::key_in_variable(flag, value, surroundings)?),
            _ => Some(resolve::key_in_file(flag, value)?),
        });
    }
    let (given, wanted) = (keys.len(), raw.operands.len());
    if given == 0 || given == wanted {
        return Ok(keys);
    }
    resolve::usage(format!(
        "{wanted} copies and {given} keys: give --source-key-env or --source-key-file once for each PATH, in their order, \
         with - for a copy that has no key of its own"
    ))
}

/// Does it; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command, query: &Query) -> io::Result<u8> {
    let engine = session.worker.engine;
    let mut copies: Vec<MergeSource> = Vec::with_capacity(command.paths.len());
    for (at, path) in command.paths.iter().enumerate() {
        let found = match engine.find_streams(path) {
            Ok(found) => found,
            Err(error) => return session::failed(session, command, None, &error),
        };
        match (found.shape, found.streams.first()) {
            (Shape::Stream, Some(stream)) => copies.push(MergeSource {
                stream: stream.clone(),
                key: query.source_keys.get(at).cloned().flatten(),
            }),
            _ => {
                let message = format!(
                    "{}: `jetsam merge` takes stream directories",
                    path.display()
                );
                return session::failed(session, command, None, &EngineError::NotAStore(message));
            }
        }
    }
    if let Some(exit) = session::used(session, command, &query.out)? {
        return Ok(exit);
    }
    if let Err(message) = engine.check_out(&command.paths, &query.out) {
        return session::failed(session, command, None, &EngineError::NotAStore(message));
    }
    for path in &command.paths {
        session::note_living(session, path);
    }
    let started = Instant::now();
    let name = copies
        .first()
        .map(|copy| copy.stream.name.clone())
        .unwrap_or_default();
    let meter = Meter::new(session.worker.progress, &name);
    let done = engine.merge(&copies, &command.options, query, &|progress| {
        meter.update(progress);
    });
    drop(meter);
    match done {
        Ok(report) => salvage::finish(session, command, &query.out, "Merged", started, &[report]),
        Err(error) => session::failed(session, command, None, &error),
    }
}
