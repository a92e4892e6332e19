//! `jetsam rebuild-index`: fresh side files from the blocks.

use std::io;

use jetsam::report::ServerVersion;

use crate::resolve::Command;
use crate::session::{self, Session};
use crate::verdict::Run;

/// What only this verb is asked.
#[derive(Debug, Default)]
pub struct Query {
    /// The server that is to read them.
    pub server: ServerVersion,
}

/// Does it; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command, query: &Query) -> io::Result<u8> {
    let idle = match session::idle_streams(session, command)? {
        Ok(idle) => idle,
        Err(exit) => return Ok(exit),
    };
    session::report(
        session,
        command,
        Run::Recover,
        &|engine, stream, on_progress| {
            engine.rebuild_index(stream, &command.options, query.server, &idle, on_progress)
        },
    )
}
