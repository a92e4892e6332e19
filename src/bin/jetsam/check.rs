//! `jetsam check`, and `recover --dry-run`: look, never write.

use std::io;

use crate::resolve::Command;
use crate::session::{self, Session};
use crate::verdict::Run;

/// Examines every stream; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command) -> io::Result<u8> {
    session::note_living(session, &command.path);
    session::report(
        session,
        command,
        Run::Look,
        &|engine, stream, on_progress| {
            let before = engine.pulse(stream);
            let mut report = engine.examine(stream, &command.options, on_progress);
            let stirred = session::stirred(engine, stream, before.as_ref());
            report.events.extend(stirred);
            report
        },
    )
}
