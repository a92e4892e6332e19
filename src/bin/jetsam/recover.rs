//! `jetsam recover`: what opening the store does.

use std::io;

use crate::engine::RecoverOptions;
use crate::resolve::Command;
use crate::session::{self, Session};
use crate::verdict::Run;

/// Recovers every stream; returns the exit code.
pub fn run(
    session: &mut Session<'_, '_>,
    command: &Command,
    recover: RecoverOptions,
) -> io::Result<u8> {
    let idle = match session::idle_streams(session, command)? {
        Ok(idle) => idle,
        Err(exit) => return Ok(exit),
    };
    session::report(
        session,
        command,
        Run::Recover,
        &|engine, stream, on_progress| {
            engine.recover(stream, &command.options, recover, &idle, on_progress)
        },
    )
}
