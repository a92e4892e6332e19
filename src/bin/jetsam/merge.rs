//! `jetsam merge`: one store from several copies of one stream, or of whole stores.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use jetsam::crypto::ServerKey;
use jetsam::recovery::server::ServerVersion;
use jetsam::salvage::{MergeSource, SalvageError, Uncertain};

use crate::args::{RawArgs, Usage};
use crate::engine::{EngineError, Salvaged, Shape};
use crate::out;
use crate::progress::Meter;
use crate::resolve::{self, Command, Surroundings};
use crate::salvage;
use crate::session::{self, Session};
use crate::signals::INTERRUPTED;

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
    /// Replicas in the new configuration.
    pub replicas: i64,
    /// Go on where a run was interrupted.
    pub resume: bool,
    /// The server that is to start on the new store.
    pub server: ServerVersion,
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
        replicas: out::replicas(raw)?,
        resume: raw.has("resume"),
        server: crate::preflight::server(raw)?,
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

/// Copies of one stream, and where their merge goes.
struct Group {
    copies: Vec<MergeSource>,
    out: PathBuf,
}

/// Does it; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command, query: &Query) -> io::Result<u8> {
    let (shape, groups) = match groups(session, command, query) {
        Ok(found) => found,
        Err(error) => return session::failed(session, command, None, &error),
    };
    if let Some(exit) = session::used(session, command, &query.out)? {
        return Ok(exit);
    }
    let checked = session
        .worker
        .engine
        .check_out(&command.paths, &query.out, query.resume);
    if let Err(message) = checked {
        return session::failed(session, command, None, &EngineError::NotAStore(message));
    }
    for path in &command.paths {
        session::note_living(session, path);
    }
    let started = Instant::now();
    let mut done = Vec::with_capacity(groups.len());
    let mut hits = Vec::with_capacity(groups.len());
    let alone = groups.len() == 1;
    for group in &groups {
        match (one(session, command, query, group), group.copies.first()) {
            (Err(error), _) if alone => {
                let error = match error {
                    SalvageError::NotOneStream(..) => EngineError::NotAStore(error.to_string()),
                    _ => EngineError::Unreadable(error.to_string()),
                };
                return session::failed(session, command, None, &error);
            }
            (result, Some(first)) => {
                let report = salvage::or_refused(&first.stream, result);
                let ledger = report.stream.ledger.as_ref();
                let worker = session.worker;
                hits.push(worker.hits_of_copies(command, &group.copies, ledger));
                done.push(report);
            }
            (_, None) => {}
        }
        if session.worker.gate.interrupted() {
            break;
        }
    }
    let made = salvage::Made {
        verb: "Merged",
        shape,
        out: &query.out,
        started,
        hits: &hits,
    };
    let exit = salvage::finish(session, command, &made, &done)?;
    Ok(match session.worker.gate.interrupted() {
        true => INTERRUPTED,
        false => exit,
    })
}

fn one(session: &Session<'_, '_>, command: &Command, query: &Query, group: &Group) -> Salvaged {
    let first = group.copies.first();
    let name = first.map_or("", |copy| copy.stream.name.as_str());
    let meter = Meter::new(session.worker.progress, name);
    let place = Query {
        out: group.out.clone(),
        ..query.clone()
    };
    let engine = session.worker.engine;
    engine.merge(&group.copies, &command.options, &place, &|progress| {
        meter.update(progress);
    })
}

/// The streams to be merged: the copies that were named, or those of whole stores, by account and name.
fn groups(
    session: &mut Session<'_, '_>,
    command: &Command,
    query: &Query,
) -> Result<(Shape, Vec<Group>), EngineError> {
    let engine = session.worker.engine;
    let mut shape = None;
    let mut by_name: BTreeMap<(Option<String>, String), Vec<MergeSource>> = BTreeMap::new();
    for (at, path) in command.paths.iter().enumerate() {
        let found = engine.find_streams(path)?;
        let first = *shape.get_or_insert(found.shape);
        if (first == Shape::Stream) != (found.shape == Shape::Stream) {
            return Err(EngineError::NotAStore(format!(
                "{}: `jetsam merge` takes stream directories, or stores, not both",
                path.display()
            )));
        }
        let key = query.source_keys.get(at).cloned().flatten();
        let streams = session::note_passed_over(&mut session.console, found);
        for sorted in engine.sort_out(&streams, &command.options) {
            let name = match first {
                Shape::Stream => (None, String::new()),
                _ => (sorted.stream.account.clone(), sorted.name),
            };
            by_name.entry(name).or_default().push(MergeSource {
                stream: sorted.stream,
                key: key.clone(),
            });
        }
    }
    let shape = shape.unwrap_or(Shape::Stream);
    let groups = by_name.into_iter().map(|((account, name), copies)| Group {
        copies,
        out: salvage::place_of(&query.out, shape, account.as_deref(), &name),
    });
    Ok((shape, groups.collect()))
}
