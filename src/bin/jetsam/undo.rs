//! `jetsam undo`: bring back what the last recovery put aside.

use std::io;

use crate::engine::{EngineError, StreamDir, UndoReport};
use crate::json::path_text;
use crate::per_stream;
use crate::resolve::Command;
use crate::session::{self, Session};
use crate::units;

/// One stream of the JSON document.
#[derive(serde::Serialize)]
struct UndoJson<'a> {
    account: Option<&'a str>,
    name: &'a str,
    dir: String,
    /// `undone`, `nothing` or `failed`.
    outcome: &'static str,
    restored: &'a [String],
    removed: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Undoes every stream; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command) -> io::Result<u8> {
    let worker = session.worker;
    let streams = match worker.engine.find_streams(&command.path) {
        Ok(found) => session::note_passed_over(&mut session.console, found),
        Err(error) => return session::failed(session, command, None, &error),
    };
    let idle = match session::idle(session, command, &command.path)? {
        Ok(idle) => idle,
        Err(exit) => return Ok(exit),
    };
    let (results, exit) = per_stream::stream(worker.gate, &streams, |stream| {
        worker.gate.begin_writing();
        let result = worker.engine.undo(stream, &idle);
        worker.gate.end_writing();
        let exit = result.as_ref().err().map_or(0, session::exit_code);
        ((stream, result), exit)
    });
    if command.json {
        as_json(session, command, &results, exit)?;
    } else {
        as_text(session, command, &results)?;
    }
    Ok(exit)
}

type Results<'a> = [(&'a StreamDir, Result<Option<UndoReport>, EngineError>)];

fn outcome(result: &Result<Option<UndoReport>, EngineError>) -> &'static str {
    match result {
        Ok(Some(_)) => "undone",
        Ok(_) => "nothing",
        Err(_) => "failed",
    }
}

fn as_json(
    session: &mut Session<'_, '_>,
    command: &Command,
    results: &Results<'_>,
    exit: u8,
) -> io::Result<()> {
    per_stream::document(session, command, results, exit, |(stream, result)| {
        let report = result.as_ref().ok().and_then(Option::as_ref);
        let error = result.as_ref().err().map(EngineError::message);
        let told = UndoJson {
            account: stream.account.as_deref(),
            name: &stream.name,
            dir: path_text(&stream.dir),
            outcome: outcome(result),
            restored: report.map_or(&[], |report| &report.restored),
            removed: report.map_or(&[], |report| &report.removed),
            error,
        };
        (told, &stream.name, error.map(str::to_owned))
    })
}

fn as_text(
    session: &mut Session<'_, '_>,
    command: &Command,
    results: &Results<'_>,
) -> io::Result<()> {
    let quiet = command.show.quiet;
    let mut undone = 0;
    for (stream, result) in results {
        let name = units::printable(&stream.name);
        match result {
            Ok(Some(report)) => {
                undone += 1;
                if quiet {
                    continue;
                }
                writeln!(
                    session.console.out,
                    "{name}: {} brought back, {} removed",
                    files(report.restored.len()),
                    files(report.removed.len())
                )?;
            }
            Ok(_) if quiet => {}
            Ok(_) => writeln!(session.console.out, "{name}: nothing was put aside")?,
            Err(error) => session
                .console
                .remark(&format!("{name}: {}", units::printable(error.message()))),
        }
    }
    let verdict = match (undone, results.len()) {
        (_, 0) => "no streams here".to_owned(),
        (0, _) => "nothing to undo".to_owned(),
        (1, _) => "undone: 1 stream is as it was before the last recover".to_owned(),
        (n, _) => format!("undone: {n} streams are as they were before the last recover"),
    };
    writeln!(session.console.out, "{verdict}")?;
    session.console.out.flush()
}

fn files(count: usize) -> String {
    match count {
        1 => "1 file".into(),
        n => format!("{} files", units::count(n as u64)),
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::UndoReport;
    use crate::test_support::Fake;
    use crate::testing::run;

    #[test]
    fn undo_tells_what_it_brought_back() {
        let undo = UndoReport {
            restored: vec!["msgs/1.blk".into()],
            removed: vec!["msgs/2.blk".into(), "msgs/2.key".into()],
        };
        let fake = Fake {
            undo: Some(undo),
            ..Fake::default()
        };
        let ran = run("undo D", &fake);
        assert_eq!(ran.exit, 0);
        assert_eq!(
            ran.out,
            "S: 1 file brought back, 2 files removed\n\
             undone: 1 stream is as it was before the last recover\n"
        );
        let document: serde_json::Value =
            serde_json::from_str(&run("undo -j D", &fake).out).unwrap();
        assert_eq!(
            document["streams"][0],
            serde_json::json!({
                "account": null, "name": "S", "dir": "D", "outcome": "undone",
                "restored": ["msgs/1.blk"], "removed": ["msgs/2.blk", "msgs/2.key"],
            })
        );
    }

    #[test]
    fn nothing_to_undo_is_no_error() {
        let ran = run("undo D", &Fake::default());
        assert_eq!(
            (ran.exit, ran.out.as_str()),
            (0, "S: nothing was put aside\nnothing to undo\n")
        );
    }
}
