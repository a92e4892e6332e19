//! `jetsam rekey`: put a store under another key.

use std::io;

use crate::args::{RawArgs, Usage};
use crate::resolve::{Command, Surroundings};
use crate::session::Session;

/// What only this verb is asked.
#[derive(Debug, Default)]
pub struct Query {}

/// Reads it.
pub fn query(raw: &RawArgs, surroundings: &Surroundings<'_>) -> Result<Query, Usage> {
    let _ = (raw, surroundings);
    Ok(Query::default())
}

/// Does it; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command, query: &Query) -> io::Result<u8> {
    let _ = (command, query);
    session.console.remark("not there yet");
    Ok(16)
}
