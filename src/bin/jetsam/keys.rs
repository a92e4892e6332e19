//! `jetsam keys`: which key file opens with which key.

use std::io;

use crate::resolve::Command;
use crate::session::Session;

/// Does it; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command) -> io::Result<u8> {
    let _ = &command.paths;
    session.console.remark("not there yet");
    Ok(16)
}
