//! `jetsam rekey`: put a store under another key.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use jetsam::crypto::{Cipher, ServerKey};
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::keys::rekey::{
    RekeyError, RekeyOptions, RekeyOutcome, RekeyReport, RekeyTarget, interrupted, rekey,
};
use jetsam::living::Idle;
use jetsam::report::Watch;

use crate::engine::{EngineError, Progress, StreamDir};
use crate::json::path_text;
use crate::keys;
use crate::per_stream;
use crate::progress::Meter;
use crate::resolve::Command;
use crate::session::{self, Session};
use crate::units;

/// What only this verb is asked.
#[derive(Debug, Default)]
pub struct Query {
    /// The new key; without one, the current.
    pub new_key: Option<ServerKey>,
    /// The new cipher; without one, the current.
    pub new_cipher: Option<Cipher>,
    /// No key at all.
    pub plaintext: bool,
    /// The store under the old key is put aside.
    pub keep_old: bool,
}

/// One stream of the JSON document.
#[derive(serde::Serialize)]
struct RekeyJson<'a> {
    account: Option<&'a str>,
    name: &'a str,
    dir: String,
    /// `rekeyed`, `already` or `refused`.
    outcome: &'static str,
    resumed: bool,
    blocks: u64,
    consumers: u64,
    messages: Option<u64>,
    digest: Option<String>,
    left_out: &'a [String],
    kept: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Does it; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command, query: &Query) -> io::Result<u8> {
    let new_key = query
        .new_key
        .clone()
        .or_else(|| command.options.keys.current.clone());
    let target = match (query.plaintext, new_key) {
        (true, _) => RekeyTarget::Plain,
        (false, Some(server)) => RekeyTarget::Key {
            server,
            cipher: query.new_cipher,
        },
        (false, None) => {
            session.console.remark(
                "which key is the new one? Give --new-key-env or --new-key-file, or --plaintext",
            );
            return Ok(16);
        }
    };
    let options = RekeyOptions {
        target,
        keep_old: query.keep_old,
    };
    let streams = match find(session, command) {
        Ok(streams) => streams,
        Err(error) => return session::failed(session, command, None, &error),
    };
    let idle = match session::idle(session, command, &absolute(&command.path))? {
        Ok(idle) => idle,
        Err(exit) => return Ok(exit),
    };
    let (reports, exit) = per_stream::stream(session.worker.gate, &streams, |stream| {
        let report = one(session, command, stream, &options, &idle);
        let exit = report.outcome.exit_code();
        (report, exit)
    });
    if command.json {
        as_json(session, command, &reports, exit)?;
    } else {
        as_text(session, command, &reports)?;
    }
    Ok(exit)
}

/// The path without links and dots: renames need real names.
fn absolute(path: &Path) -> PathBuf {
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

/// The streams and logs of raft groups below the path, also those that an interrupted call left without a directory.
fn find(session: &mut Session<'_, '_>, command: &Command) -> Result<Vec<StreamDir>, EngineError> {
    let path = absolute(&command.path);
    let away = interrupted(&OsFileSystem, &path)
        .map_err(|error| EngineError::Unreadable(error.to_string()))?;
    match keys::find(session, &path) {
        Ok(mut streams) => {
            streams.extend(away);
            Ok(streams)
        }
        Err(_) if !away.is_empty() => Ok(away),
        Err(error) => Err(error),
    }
}

fn one(
    session: &Session<'_, '_>,
    command: &Command,
    stream: &StreamDir,
    options: &RekeyOptions,
    idle: &Idle,
) -> RekeyReport {
    let meter = Meter::new(session.worker.progress, &stream.name);
    let on_progress = |progress: Progress| meter.update(progress);
    // An end at any point is fine: the next call goes on.
    let watch = Watch {
        progress: &on_progress,
        cancel: &AtomicBool::new(false),
    };
    rekey(
        &OsFileSystem,
        idle,
        stream,
        &command.options,
        options,
        &OsEntropy,
        &watch,
    )
}

fn error_of(report: &RekeyReport) -> Option<&RekeyError> {
    match &report.outcome {
        RekeyOutcome::Refused(error) => Some(error),
        RekeyOutcome::Rekeyed | RekeyOutcome::Already => None,
    }
}

fn as_json(
    session: &mut Session<'_, '_>,
    command: &Command,
    reports: &[RekeyReport],
    exit: u8,
) -> io::Result<()> {
    per_stream::document(session, command, reports, exit, |report| {
        let error = error_of(report).map(ToString::to_string);
        let told = RekeyJson {
            account: report.account.as_deref(),
            name: &report.name,
            dir: path_text(&report.dir),
            outcome: report.outcome.as_str(),
            resumed: report.resumed,
            blocks: report.block_count,
            consumers: report.consumer_count,
            messages: report.message_count,
            digest: report
                .digest
                .map(|digest| format!("sha256:{}", units::hex(&digest))),
            left_out: &report.left_out,
            kept: report.kept.as_deref().map(path_text),
            error: error.clone(),
        };
        (told, &report.name, error)
    })
}

fn as_text(
    session: &mut Session<'_, '_>,
    command: &Command,
    reports: &[RekeyReport],
) -> io::Result<()> {
    let (mut done, mut refused) = (0_u64, 0_u64);
    for report in reports {
        let name = units::printable(&report.name);
        match &report.outcome {
            RekeyOutcome::Already => {}
            RekeyOutcome::Refused(error) => {
                refused += 1;
                let text = units::printable(&error.to_string());
                session.console.remark(&format!("{name}: {text}"));
                continue;
            }
            RekeyOutcome::Rekeyed => done += 1,
        }
        if !command.show.quiet {
            let text = what_was_done(&name, report);
            session.console.out.write_all(text.as_bytes())?;
        }
    }
    let verdict = match (done, refused) {
        (_, 0) => format!("rekeyed: {}", units::count(done)),
        (_, refused) => format!(
            "rekeyed: {}; left as they were: {}",
            units::count(done),
            units::count(refused)
        ),
    };
    writeln!(session.console.out, "{verdict}")?;
    session.console.out.flush()
}

/// What became of a stream that was not refused.
fn what_was_done(name: &str, report: &RekeyReport) -> String {
    if matches!(report.outcome, RekeyOutcome::Already) {
        return format!("{name}: is as asked already\n");
    }
    let mut text = match report.message_count {
        Some(messages) => format!(
            "{name}: {} blocks, {} messages, {} consumers, read back and equal\n",
            units::count(report.block_count),
            units::count(messages),
            units::count(report.consumer_count)
        ),
        None => format!("{name}: the interrupted call is finished\n"),
    };
    for file in &report.left_out {
        let file = units::printable(file);
        text.push_str(&format!("  left out, since no server reads it: {file}\n"));
    }
    if let Some(kept) = &report.kept {
        let kept = units::printable(&path_text(kept));
        text.push_str(&format!("  the old directory: {kept}\n"));
    }
    text
}
