//! `jetsam merge`: one store from several copies of one stream.

use std::io;

use crate::args::{RawArgs, Usage};
use crate::resolve::Command;
use crate::session::Session;

/// What only this verb is asked.
#[derive(Debug, Default)]
pub struct Query {}

/// Reads it.
pub fn query(raw: &RawArgs) -> Result<Query, Usage> {
    let _ = raw;
    Ok(Query::default())
}

/// Does it; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command, query: &Query) -> io::Result<u8> {
    let _ = (&command.paths, query);
    session.console.remark("not there yet");
    Ok(16)
}
