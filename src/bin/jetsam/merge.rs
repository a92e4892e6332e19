//! `jetsam merge`: one store from several copies of one stream.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use jetsam::salvage::Uncertain;

use crate::args::{RawArgs, Usage};
use crate::engine::{EngineError, Shape, StreamDir};
use crate::out;
use crate::progress::Meter;
use crate::resolve::Command;
use crate::salvage;
use crate::session::{self, Session};

/// What only this verb is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// Where the new store goes.
    pub out: PathBuf,
    /// Do not encrypt it.
    pub plaintext: bool,
    /// What becomes of messages that may have been deleted.
    pub uncertain: Uncertain,
    /// Merge what does not look like copies of one stream.
    pub force: bool,
}

/// Reads it.
pub fn query(raw: &RawArgs) -> Result<Query, Usage> {
    Ok(Query {
        out: out::directory(raw)?,
        plaintext: raw.has("plaintext"),
        uncertain: out::uncertain(raw)?,
        force: raw.has("force"),
    })
}

/// Does it; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command, query: &Query) -> io::Result<u8> {
    let engine = session.worker.engine;
    let mut copies: Vec<StreamDir> = Vec::with_capacity(command.paths.len());
    for path in &command.paths {
        let found = match engine.find_streams(path) {
            Ok(found) => found,
            Err(error) => return session::failed(session, command, None, &error),
        };
        match (found.shape, found.streams.first()) {
            (Shape::Stream, Some(stream)) => copies.push(stream.clone()),
            _ => {
                let message = format!(
                    "{}: `jetsam merge` takes stream directories",
                    path.display()
                );
                return session::failed(session, command, None, &EngineError::NotAStore(message));
            }
        }
    }
    if let Err(message) = engine.check_out(&command.paths, &query.out) {
        return session::failed(session, command, None, &EngineError::NotAStore(message));
    }
    let started = Instant::now();
    let name = copies
        .first()
        .map(|copy| copy.name.clone())
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
