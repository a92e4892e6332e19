//! `jetsam merge`: one store from several copies of one stream, or of whole stores.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use jetsam::crypto::ServerKey;
use jetsam::report::ServerVersion;
use jetsam::salvage::{MergeSource, SalvageError, Uncertain};

use crate::engine::{EngineError, Salvaged, Shape, StreamDir};
use crate::progress::Meter;
use crate::resolve::Command;
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
    /// How many PATHs there are.
    pub copies: usize,
    /// Where mirrors of the stream and streams that source it lie.
    pub also_from: Vec<PathBuf>,
    /// The same, found.
    pub relatives: Vec<MergeSource>,
}

/// Copies of one stream, and where their merge goes.
struct Group {
    copies: Vec<MergeSource>,
    relatives: Vec<MergeSource>,
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
    let sources = [command.paths.as_slice(), &query.also_from].concat();
    let checked = session
        .worker
        .engine
        .check_out(&sources, &query.out, query.resume);
    if let Err(message) = checked {
        return session::failed(session, command, None, &EngineError::NotAStore(message));
    }
    for path in &sources {
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
                    SalvageError::NotOneStream(..) | SalvageError::NotRelated(..) => {
                        EngineError::NotAStore(error.to_string())
                    }
                    _ => EngineError::Unreadable(error.to_string()),
                };
                return session::failed(session, command, None, &error);
            }
            (result, Some(first)) => {
                let report = salvage::or_refused(&first.stream, result);
                let ledger = report.stream.ledger.as_ref();
                let worker = session.worker;
                let made = StreamDir {
                    account: report.stream.account.clone(),
                    name: report.stream.name.clone(),
                    dir: group.out.clone(),
                };
                hits.push(worker.hits_of_copies(command, &group.copies, &made, ledger));
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
        relatives: group.relatives.clone(),
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
    let relatives = relatives(session, query, shape)?;
    let groups = by_name.into_iter().map(|((account, name), copies)| Group {
        copies,
        relatives: relatives.clone(),
        out: salvage::place_of(&query.out, shape, account.as_deref(), &name),
    });
    Ok((shape, groups.collect()))
}

/// The mirrors and sourcing streams of `--also-from`.
fn relatives(
    session: &mut Session<'_, '_>,
    query: &Query,
    shape: Shape,
) -> Result<Vec<MergeSource>, EngineError> {
    let mut relatives = Vec::with_capacity(query.also_from.len());
    let keys = query.source_keys.iter().rev().take(query.also_from.len());
    let has_keys = query.source_keys.len() > query.copies;
    let mut keys = keys.rev().filter(|_| has_keys);
    for path in &query.also_from {
        let found = session.worker.engine.find_streams(path)?;
        if shape != Shape::Stream || found.shape != Shape::Stream {
            return Err(EngineError::NotAStore(format!(
                "{}: --also-from takes the directory of one stream, beside directories of its copies",
                path.display()
            )));
        }
        let key = keys.next().cloned().flatten();
        let streams = session::note_passed_over(&mut session.console, found);
        relatives.extend(streams.into_iter().map(|stream| MergeSource {
            stream,
            key: key.clone(),
        }));
    }
    Ok(relatives)
}
