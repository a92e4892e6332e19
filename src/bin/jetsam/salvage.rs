//! `jetsam salvage`: copy everything that verifies into a new store.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use jetsam::format::seqset::SeqSet;
use jetsam::report::Ledger;
use jetsam::report::ServerVersion;
use jetsam::report::stream::{Outcome, StreamReport};
use jetsam::salvage::hit::Hit;
use jetsam::salvage::{SalvageReport, Sorted, Uncertain};
use jetsam::stream::options::Policy;

use crate::details::{Details, Tense};
use crate::engine::{EngineError, Salvaged, Shape, StreamDir};
use crate::json::{Document, Stream};
use crate::progress::Meter;
use crate::resolve::Command;
use crate::session::{self, Session, Told};
use crate::signals::INTERRUPTED;
use crate::verdict::{self, Run};
use crate::{next, out, table, units};

/// What only this verb is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// Where the new store goes.
    pub out: PathBuf,
    /// Do not encrypt it.
    pub plaintext: bool,
    /// What becomes of messages that may have been deleted.
    pub uncertain: Uncertain,
    /// Share undamaged blocks.
    pub link: bool,
    /// A quarantine file to be taken up again.
    pub from_quarantine: Option<PathBuf>,
    /// Replicas in the new configuration.
    pub replicas: i64,
    /// Go on where a run was interrupted.
    pub resume: bool,
    /// The server that is to start on the new store.
    pub server: ServerVersion,
}

/// Does it; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command, query: &Query) -> io::Result<u8> {
    let found = match session.worker.engine.find_streams(&command.path) {
        Ok(found) => found,
        Err(error) => return session::failed(session, command, None, &error),
    };
    let sources = std::slice::from_ref(&command.path);
    if let Some(exit) = session::used(session, command, &query.out)? {
        return Ok(exit);
    }
    let checked = session
        .worker
        .engine
        .check_out(sources, &query.out, query.resume);
    if let Err(message) = checked {
        return session::failed(session, command, None, &EngineError::NotAStore(message));
    }
    session::note_living(session, &command.path);
    let shape = found.shape;
    let streams = session::note_passed_over(&mut session.console, found);
    if query.from_quarantine.is_some() && streams.len() != 1 {
        let message = "--from-quarantine takes the PATH of one stream".to_owned();
        return session::failed(session, command, None, &EngineError::NotAStore(message));
    }
    let started = Instant::now();
    let sorted = session.worker.engine.sort_out(&streams, &command.options);
    let mut done = Vec::with_capacity(sorted.len());
    let mut hits = Vec::with_capacity(sorted.len());
    for stream in &sorted {
        let report = one(session, command, query, shape, stream);
        // What a start of the source would lose is in the new store.
        let ledger = report.stream.ledger.clone().map(|ledger| Ledger {
            endangered: SeqSet::new(),
            ..ledger
        });
        let worker = session.worker;
        hits.push(worker.hits(command, &stream.stream, ledger.as_ref()));
        done.push(report);
        if session.worker.gate.interrupted() {
            break;
        }
    }
    let exit = {
        let made = Made {
            verb: "Salvaged",
            shape,
            out: &query.out,
            started,
            hits: &hits,
        };
        finish(session, command, &made, &done)?
    };
    Ok(match session.worker.gate.interrupted() {
        true => INTERRUPTED,
        false => exit,
    })
}

fn one(
    session: &Session<'_, '_>,
    command: &Command,
    query: &Query,
    shape: Shape,
    stream: &Sorted,
) -> SalvageReport {
    let meter = Meter::new(session.worker.progress, &stream.name);
    let place = Query {
        out: place_of(
            &query.out,
            shape,
            stream.stream.account.as_deref(),
            &stream.place,
        ),
        ..query.clone()
    };
    let engine = session.worker.engine;
    engine.salvage(stream, &command.options, &place, &|progress| {
        meter.update(progress);
    })
}

/// Where a stream goes, so that the new directory has the shape of the old.
pub fn place_of(out: &Path, shape: Shape, account: Option<&str>, name: &str) -> PathBuf {
    let account = account.unwrap_or_default();
    match shape {
        Shape::Stream => out.to_owned(),
        Shape::Account => out.join("streams").join(name),
        Shape::Jetstream => out.join(account).join("streams").join(name),
        Shape::StoreDir => out
            .join("jetstream")
            .join(account)
            .join("streams")
            .join(name),
    }
}

/// What is told of a new store besides its streams.
pub struct Made<'a> {
    /// What was done.
    pub verb: &'static str,
    /// What the source was.
    pub shape: Shape,
    /// Where it is.
    pub out: &'a Path,
    /// When the work began.
    pub started: Instant,
    /// What was hit, stream by stream.
    pub hits: &'a [Vec<Hit>],
}

/// Tells what was done, on the console and in `summary.json`; returns the exit code.
pub fn finish(
    session: &mut Session<'_, '_>,
    command: &Command,
    made: &Made<'_>,
    done: &[SalvageReport],
) -> io::Result<u8> {
    let reports: Vec<StreamReport> = done.iter().map(|report| report.stream.clone()).collect();
    let exit = reports
        .iter()
        .map(StreamReport::exit_code)
        .max()
        .unwrap_or(0);
    let is_written = |report: &StreamReport| report.outcome != Outcome::Refused;
    let written = reports.iter().any(is_written);
    if written || reports.is_empty() {
        let summary = out::summary(&command.path, exit, done);
        if let Err(message) = session.worker.engine.write_summary(made.out, &summary) {
            session.console.remark(&units::printable(&message));
        }
    }
    if command.json {
        as_json(session, command, &reports, made.hits, exit)?;
        return Ok(exit);
    }
    let page = session.console.page(command.show);
    let mut told = Told {
        heading: format!(
            "{} {} under {} into {} in {}",
            made.verb,
            units::streams(reports.len()),
            units::printable(&command.path.to_string_lossy()),
            units::printable(&made.out.to_string_lossy()),
            units::duration(made.started.elapsed())
        ),
        verdict: verdict::line(&reports, Run::Salvage),
        exit,
        ..Told::default()
    };
    if !page.show.quiet {
        told.table = table::salvage(&reports, &page);
        told.table.push_str(&name_wanted(made.out, &reports));
        let mut details = Details::new(&page);
        for (report, hits) in reports.iter().zip(made.hits) {
            told.details
                .push_str(&details.stream(report, Tense::Done, hits));
        }
        if written {
            let name = match reports.as_slice() {
                [report] => report.name.as_str(),
                _ => "",
            };
            let change = next::Move::of(made.shape, &command.path, made.out, name);
            told.next = next::after_salvage(&change, &command.again, &page);
        }
    }
    session.console.out.write_all(told.text(&page).as_bytes())?;
    session.console.out.flush()?;
    Ok(exit)
}

fn as_json(
    session: &mut Session<'_, '_>,
    command: &Command,
    reports: &[StreamReport],
    hits: &[Vec<Hit>],
    exit: u8,
) -> io::Result<()> {
    let collect = command.options.collect;
    let policy = Some(Policy::Evidence);
    let mut document = Document::begin(session.console.out, &command.path, policy)?;
    for (report, hits) in reports.iter().zip(hits) {
        document.stream(&Stream {
            report,
            hits,
            collect,
        })?;
        if report.exit_code() > 0 {
            let line = verdict::line(std::slice::from_ref(report), Run::Salvage);
            let name = units::printable(&report.name);
            let _ = writeln!(session.console.err, "jetsam: {name}: {line}");
        }
    }
    document.end(exit, None)
}

/// A stream directory must be called as the stream is, or the server leaves it out.
fn name_wanted(out: &Path, reports: &[StreamReport]) -> String {
    match reports {
        [report]
            if out.join("msgs").exists()
                && out.file_name() != Some(OsStr::new(report.name.as_str())) =>
        {
            let name = units::printable(&report.name);
            format!(
                "\n  A server finds this stream only in a directory of its name: put it at streams/{name}\n"
            )
        }
        _ => String::new(),
    }
}

/// What the library gives, or the refusal in its place.
pub fn or_refused(stream: &StreamDir, result: Salvaged) -> SalvageReport {
    result.unwrap_or_else(|error| SalvageReport {
        stream: jetsam::salvage::report::refused(stream, &error),
        blocks: Vec::new(),
    })
}
