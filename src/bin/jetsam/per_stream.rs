//! Verbs with a result of their own for each stream: going through the streams, and the document of the results.

use std::io;

use serde::Serialize;

use crate::engine::StreamDir;
use crate::json::Document;
use crate::resolve::Command;
use crate::session::Session;
use crate::signals::{Gate, INTERRUPTED};
use crate::units;

/// Works on one stream after the other, until the user interrupts. `one` gives the result and its exit code; returned are
/// all of them and the highest.
pub fn stream<'s, R>(
    gate: &Gate,
    streams: &'s [StreamDir],
    mut one: impl FnMut(&'s StreamDir) -> (R, u8),
) -> (Vec<R>, u8) {
    let mut results = Vec::with_capacity(streams.len());
    let mut exit = 0;
    for stream in streams {
        let (result, own) = one(stream);
        results.push(result);
        exit = exit.max(own);
        if gate.interrupted() {
            exit = INTERRUPTED;
            break;
        }
    }
    (results, exit)
}

/// Writes the JSON document of the results: `tell` gives what stands in it for one, the stream's name, and what went wrong,
/// which goes to stderr as well.
pub fn document<'r, R, T: Serialize>(
    session: &mut Session<'_, '_>,
    command: &Command,
    results: &'r [R],
    exit: u8,
    tell: impl Fn(&'r R) -> (T, &'r str, Option<String>),
) -> io::Result<()> {
    let mut document = Document::begin(session.console.out, &command.path, None)?;
    for result in results {
        let (told, name, error) = tell(result);
        document.stream(&told)?;
        if let Some(error) = error {
            let text = units::printable(&format!("{name}: {error}"));
            let _ = writeln!(session.console.err, "jetsam: {text}");
        }
    }
    document.end(exit, None)
}
