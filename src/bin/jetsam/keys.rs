//! `jetsam keys`: which key file opens with which key. Nothing of a key is printed.

use std::io;
use std::path::Path;

use jetsam::crypto::KeyChoice;
use jetsam::env::OsFileSystem;
use jetsam::keys::survey::{KeyEntry, KeyReport, survey};
use jetsam::stream::raft_groups;

use crate::engine::{EngineError, StreamDir};
use crate::json::path_text;
use crate::per_stream;
use crate::resolve::Command;
use crate::session::{self, Session};
use crate::{table, units};

/// One stream of the JSON document.
#[derive(serde::Serialize)]
struct StreamJson<'a> {
    account: Option<&'a str>,
    name: &'a str,
    dir: String,
    keys: Vec<KeyJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(serde::Serialize)]
struct KeyJson<'a> {
    file: &'a str,
    state: &'static str,
    key: Option<&'static str>,
    cipher: Option<&'static str>,
    context: Option<String>,
    detail: &'a str,
}

fn key_json(entry: &KeyEntry) -> KeyJson<'_> {
    KeyJson {
        file: &entry.file,
        state: entry.state.as_str(),
        key: entry.key.map(word),
        cipher: entry.cipher.map(|cipher| cipher.name()),
        context: entry.context.clone(),
        detail: &entry.detail,
    }
}

fn word(key: KeyChoice) -> &'static str {
    match key {
        KeyChoice::Current => "current",
        KeyChoice::Previous => "previous",
    }
}

/// The streams below the path, and the logs of raft groups, which are under the same key.
pub fn find(session: &mut Session<'_, '_>, path: &Path) -> Result<Vec<StreamDir>, EngineError> {
    let groups = raft_groups(&OsFileSystem, path)
        .map_err(|error| EngineError::Unreadable(error.to_string()))?;
    let mut found = session.worker.engine.find_streams(path)?;
    let is_group = |file: &str| {
        let named = |group: &StreamDir| group.dir.display().to_string() == file;
        groups.iter().any(named)
    };
    found
        .events
        .retain(|event| !event.file.as_deref().is_some_and(is_group));
    let mut streams = session::note_passed_over(&mut session.console, found);
    streams.extend(groups);
    Ok(streams)
}

/// Looks at every key file; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command) -> io::Result<u8> {
    let streams = match find(session, &command.path) {
        Ok(streams) => streams,
        Err(error) => return session::failed(session, command, None, &error),
    };
    let (results, exit) = per_stream::stream(session.worker.gate, &streams, |stream| {
        let result = survey(&OsFileSystem, stream, &command.options);
        let exit = result.as_ref().map_or(8, KeyReport::exit_code);
        (result.map_err(|error| (stream, error.to_string())), exit)
    });
    if command.json {
        as_json(session, command, &results, exit)?;
    } else {
        as_text(session, command, &results)?;
    }
    Ok(exit)
}

type Results<'a> = [Result<KeyReport, (&'a StreamDir, String)>];

fn as_json(
    session: &mut Session<'_, '_>,
    command: &Command,
    results: &Results<'_>,
    exit: u8,
) -> io::Result<()> {
    per_stream::document(session, command, results, exit, |result| {
        let told = match result {
            Ok(report) => StreamJson {
                account: report.account.as_deref(),
                name: &report.name,
                dir: report.dir.clone(),
                keys: report.keys.iter().map(key_json).collect(),
                error: None,
            },
            Err((stream, error)) => StreamJson {
                account: stream.account.as_deref(),
                name: &stream.name,
                dir: path_text(&stream.dir),
                keys: Vec::new(),
                error: Some(error.clone()),
            },
        };
        let (name, error) = (told.name, told.error.clone());
        (told, name, error)
    })
}

fn as_text(
    session: &mut Session<'_, '_>,
    command: &Command,
    results: &Results<'_>,
) -> io::Result<()> {
    let mut closed = 0;
    for result in results {
        let report = match result {
            Ok(report) => report,
            Err((stream, error)) => {
                let text = format!("{}: {error}", stream.name);
                session.console.remark(&units::printable(&text));
                continue;
            }
        };
        closed += report
            .keys
            .iter()
            .filter(|entry| entry.state.exit_code() == 8)
            .count();
        if !command.show.quiet {
            session.console.out.write_all(keys_of(report).as_bytes())?;
        }
    }
    let verdict = match closed {
        0 => "every encrypted file can be opened".to_owned(),
        1 => "1 key stays closed to the keys given".to_owned(),
        n => format!(
            "{} keys stay closed to the keys given",
            units::count(n as u64)
        ),
    };
    writeln!(session.console.out, "{verdict}")?;
    session.console.out.flush()
}

/// The key files of one stream.
fn keys_of(report: &KeyReport) -> String {
    const HEADER: [&str; 6] = ["File", "State", "Key", "Cipher", "Opens as", "Detail"];
    let name = units::printable(&report.name);
    let title = match &report.account {
        Some(account) => format!("{name} of account {}", units::printable(account)),
        None => name,
    };
    if report.keys.is_empty() {
        return format!("{title}: not encrypted\n");
    }
    let rows = report.keys.iter().map(|entry| {
        let text = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), units::printable);
        [
            units::printable(&entry.file),
            entry.state.as_str().to_owned(),
            text(entry.key.map(word)),
            text(entry.cipher.map(|cipher| cipher.name())),
            text(entry.context.as_deref()),
            units::printable(&entry.detail),
        ]
    });
    table::words(&title, &HEADER, rows)
}
