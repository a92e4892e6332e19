//! What the verbs share: finding the streams, going through them, telling the outcome.

use std::io;
use std::path::Path;
use std::time::Instant;

use jetsam::living::{Idle, Living, Pulse};
use jetsam::parallel::Crew;
use jetsam::preflight::{Forecast, PreflightOptions};
use jetsam::report::Ledger;
use jetsam::report::events::{Event, EventCode};
use jetsam::report::stream::StreamReport;
use jetsam::salvage::MergeSource;
use jetsam::salvage::hit::Hit;
use jetsam::stream::options::{Options, Policy};

use crate::console::Console;
use crate::details::{Details, Tense};
use crate::engine::{Engine, EngineError, Found, OnProgress, Phase, Progress, StreamDir};
use crate::json::{Document, Stream};
use crate::page::Page;
use crate::progress::{Meter, Mode};
use crate::resolve::Command;
use crate::signals::{Gate, INTERRUPTED};
use crate::verdict::{self, Run};
use crate::{next, table, units};

/// A run of the command.
pub struct Session<'w, 'c> {
    /// The library and what watches over it.
    pub worker: Worker<'w>,
    /// Where text goes.
    pub console: Console<'c>,
}

/// Does the work on one stream after the other.
#[derive(Clone, Copy)]
pub struct Worker<'a> {
    /// The library.
    pub engine: &'a dyn Engine,
    /// Guards against interruption.
    pub gate: &'a Gate,
    /// How progress is shown.
    pub progress: Mode,
}

/// What a verb asks of the library for one stream.
pub type Work<'a> = &'a (dyn Fn(&dyn Engine, &StreamDir, OnProgress<'_>) -> StreamReport + Sync);

/// Bytes of a stream that is looked at beside others; of a larger one the blocks are read side by side instead.
const BESIDE_OTHERS_MAX: u64 = 16 << 20;

impl Worker<'_> {
    /// Works on one stream, with progress, and a gate before the first change.
    fn one(self, stream: &StreamDir, work: Work<'_>) -> StreamReport {
        let meter = Meter::new(self.progress, &stream.name);
        let on_progress = |progress: Progress| {
            if progress.phase == Phase::Apply {
                self.gate.begin_writing();
            }
            meter.update(progress);
        };
        let report = work(self.engine, stream, &on_progress);
        self.gate.end_writing();
        report
    }

    /// Works on the streams and hands over the reports in their order, until the user interrupts; whether he did. Small streams
    /// that are only looked at are worked on side by side.
    fn all(
        self,
        (command, run): (&Command, Run),
        streams: &[StreamDir],
        work: Work<'_>,
        take: &mut dyn FnMut(StreamReport, Vec<Hit>) -> io::Result<()>,
    ) -> io::Result<bool> {
        let may_stand_beside = run == Run::Look && streams.len() > 1;
        let is_small = |stream: &&StreamDir| {
            may_stand_beside
                && self
                    .engine
                    .pulse(stream)
                    .is_some_and(|pulse| pulse.byte_count() <= BESIDE_OTHERS_MAX)
        };
        let one = |stream: &StreamDir| {
            let report = self.one(stream, work);
            let hits = self.hits(command, stream, report.ledger.as_ref());
            (report, hits)
        };
        let mut rest = streams;
        while !rest.is_empty() {
            let small = rest.iter().take_while(is_small).count();
            let (beside, others) = rest.split_at(small.max(1));
            let mut taken = Ok(());
            Crew::of(command.options.threads).in_order(beside, one, |_, (report, hits)| {
                taken = take(report, hits);
                taken.is_ok() && !self.gate.interrupted()
            });
            taken?;
            if self.gate.interrupted() {
                return Ok(true);
            }
            rest = others;
        }
        Ok(false)
    }
}

impl Worker<'_> {
    /// Names what was hit, where a ledger holds a loss. The verdict alone names nothing.
    pub fn hits(self, command: &Command, stream: &StreamDir, ledger: Option<&Ledger>) -> Vec<Hit> {
        match ledger.filter(|ledger| names_hits(command, ledger)) {
            Some(ledger) => self.engine.hits(stream, &command.options, ledger),
            None => Vec::new(),
        }
    }

    /// The same for what was merged from copies.
    pub fn hits_of_copies(
        self,
        command: &Command,
        copies: &[MergeSource],
        made: &StreamDir,
        ledger: Option<&Ledger>,
    ) -> Vec<Hit> {
        match ledger.filter(|ledger| names_hits(command, ledger)) {
            Some(ledger) => self
                .engine
                .hits_of_copies(copies, made, &command.options, ledger),
            None => Vec::new(),
        }
    }

    /// Foretells one stream's start, with progress.
    pub fn forecast(
        self,
        stream: &StreamDir,
        options: &Options,
        preflight: PreflightOptions,
    ) -> Forecast {
        let meter = Meter::new(self.progress, &stream.name);
        let on_progress = |progress: Progress| meter.update(progress);
        let before = self.engine.pulse(stream);
        let mut forecast = self
            .engine
            .forecast(stream, options, preflight, &on_progress);
        let stirred = stirred(self.engine, stream, before.as_ref());
        forecast.events.extend(stirred);
        forecast
    }
}

fn names_hits(command: &Command, ledger: &Ledger) -> bool {
    ledger.holds_loss() && (command.json || !command.show.quiet)
}

/// Says what was passed over on the way to the streams, and hands these on.
pub fn note_passed_over(console: &mut Console<'_>, found: Found) -> Vec<StreamDir> {
    for event in &found.events {
        let file = event.file.as_deref().unwrap_or_default();
        console.remark(&units::printable(&format!("{file}: {}", event.detail)));
    }
    found.streams
}

/// The exit code for an error of the library.
pub fn exit_code(error: &EngineError) -> u8 {
    match error {
        EngineError::NotAStore(_) => 16,
        EngineError::Unreadable(_) => 8,
    }
}

/// As [`idle`], for the streams that will be found below the command's path.
pub fn idle_streams(
    session: &mut Session<'_, '_>,
    command: &Command,
) -> io::Result<Result<Idle, u8>> {
    // Where there is no store nobody needs leave; the path itself is what is wrong.
    if let Err(error) = session.worker.engine.find_streams(&command.path) {
        return failed(session, command, Some(command.options.policy), &error).map(Err);
    }
    idle(session, command, &command.path)
}

/// Leave to write to the store at `path`, or the exit code where there is none. Decided once, before the first stream.
pub fn idle(
    session: &mut Session<'_, '_>,
    command: &Command,
    path: &Path,
) -> io::Result<Result<Idle, u8>> {
    let sighting = session.worker.engine.look(path);
    if let Some(remark) = sighting.unseen() {
        session.console.remark(&remark);
    }
    if command.store_is_idle {
        if let Some(user) = sighting.users.first() {
            let remark = format!(
                "{user} is using the store; going on, since --store-is-idle says otherwise"
            );
            session.console.remark(&remark);
        }
        return Ok(Ok(Idle::declared()));
    }
    match sighting.idle() {
        Ok(idle) => Ok(Ok(idle)),
        Err(living) => {
            let error = EngineError::Unreadable(living.to_string());
            failed(session, command, None, &error).map(Err)
        }
    }
}

/// The exit code where `out`, which is yet to be made, lies in a store that a server is using.
pub fn used(
    session: &mut Session<'_, '_>,
    command: &Command,
    out: &Path,
) -> io::Result<Option<u8>> {
    let users = session.worker.engine.look(out).users;
    if users.is_empty() || command.store_is_idle {
        return Ok(None);
    }
    let error = EngineError::Unreadable(format!("--out: {}", Living::Used(users)));
    failed(session, command, None, &error).map(Some)
}

/// An event where a stream's files changed since `before`.
pub fn stirred(engine: &dyn Engine, stream: &StreamDir, before: Option<&Pulse>) -> Option<Event> {
    let stir = before?.stirred(&engine.pulse(stream)?)?;
    let detail = format!("{stir} while the stream was being read: somebody is using the store");
    Some(Event::new(EventCode::ReadChangedUnderneath, detail).file(stir.file.to_string_lossy()))
}

/// Tells whoever only reads that a server is at work.
pub fn note_living(session: &mut Session<'_, '_>, path: &Path) {
    if let Some(remark) = session.worker.engine.look(path).remark() {
        session.console.remark(&remark);
    }
}

/// Goes through the streams with `work` and reports on them; returns the exit code.
pub fn report(
    session: &mut Session<'_, '_>,
    command: &Command,
    run: Run,
    work: Work<'_>,
) -> io::Result<u8> {
    let streams = match session.worker.engine.find_streams(&command.path) {
        Ok(found) => note_passed_over(&mut session.console, found),
        Err(error) => {
            return failed(session, command, Some(command.options.policy), &error);
        }
    };
    if command.json {
        as_json(session, command, run, &streams, work)
    } else {
        as_text(session, command, run, &streams, work)
    }
}

/// Tells why there is nothing to work on; returns the exit code.
pub fn failed(
    session: &mut Session<'_, '_>,
    command: &Command,
    policy: Option<Policy>,
    error: &EngineError,
) -> io::Result<u8> {
    let exit = exit_code(error);
    session.console.remark(&units::printable(error.message()));
    if command.json {
        let document = Document::begin(session.console.out, &command.path, policy)?;
        document.end(exit, Some(error.message()))?;
    }
    Ok(exit)
}

fn as_json(
    session: &mut Session<'_, '_>,
    command: &Command,
    run: Run,
    streams: &[StreamDir],
    work: Work<'_>,
) -> io::Result<u8> {
    let collect = command.options.collect;
    let policy = Some(command.options.policy);
    let mut document = Document::begin(session.console.out, &command.path, policy)?;
    let mut exit = 0;
    // The reports are not kept, so that memory is bounded by the largest stream.
    let err = &mut session.console.err;
    let worker = session.worker;
    let interrupted = worker.all((command, run), streams, work, &mut |report, hits| {
        document.stream(&Stream {
            report: &report,
            hits: &hits,
            collect,
        })?;
        if report.exit_code() > 0 {
            let verdict = verdict::line(std::slice::from_ref(&report), run);
            let name = units::printable(&report.name);
            let _ = writeln!(err, "jetsam: {name}: {verdict}");
        }
        exit = exit.max(report.exit_code());
        Ok(())
    })?;
    if interrupted {
        exit = INTERRUPTED;
    }
    document.end(exit, None)?;
    Ok(exit)
}

fn as_text(
    session: &mut Session<'_, '_>,
    command: &Command,
    run: Run,
    streams: &[StreamDir],
    work: Work<'_>,
) -> io::Result<u8> {
    let started = Instant::now();
    let mut reports = Vec::with_capacity(streams.len());
    let mut hits = Vec::with_capacity(streams.len());
    let worker = session.worker;
    let interrupted = worker.all((command, run), streams, work, &mut |report, hit| {
        reports.push(report);
        hits.push(hit);
        Ok(())
    })?;
    let page = session.console.page(command.show);
    let mut told = Told {
        heading: heading(command, run, reports.len(), started),
        verdict: verdict::line(&reports, run),
        exit: exit_of(&reports),
        ..Told::default()
    };
    if !page.show.quiet {
        told.table = table::summary(&reports, &page);
        let mut details = Details::new(&page);
        for (report, hits) in reports.iter().zip(&hits) {
            let tense = match verdict::was_applied(report, run) {
                true => Tense::Done,
                false => Tense::Planned,
            };
            told.details.push_str(&details.stream(report, tense, hits));
        }
        told.next = next::after_looking(&reports, command, run, &page);
    }
    let text = told.text(&page);
    session.console.out.write_all(text.as_bytes())?;
    session.console.out.flush()?;
    if interrupted {
        session
            .console
            .remark("interrupted; the remaining streams were not looked at");
        return Ok(INTERRUPTED);
    }
    Ok(exit_of(&reports))
}

fn exit_of(reports: &[StreamReport]) -> u8 {
    let codes = reports.iter().map(StreamReport::exit_code);
    codes.max().unwrap_or(0)
}

fn heading(command: &Command, run: Run, count: usize, started: Instant) -> String {
    let verb = match run {
        Run::Look => "Checked",
        Run::Recover => "Recovered",
        Run::Salvage => "Salvaged",
    };
    let policy = match command.options.policy {
        Policy::Server => "",
        Policy::Evidence => ", keeping every record that verifies",
    };
    format!(
        "{verb} {} under {} in {}{policy}",
        units::streams(count),
        units::printable(&command.path.to_string_lossy()),
        units::duration(started.elapsed())
    )
}

/// What a verb tells, in the order in which it is read.
#[derive(Default)]
pub struct Told {
    /// What was done.
    pub heading: String,
    /// The streams.
    pub table: String,
    /// Those that have something to say.
    pub details: String,
    /// What it comes to.
    pub verdict: String,
    /// What to do next.
    pub next: String,
    /// The exit code, for the colour of the verdict.
    pub exit: u8,
}

impl Told {
    /// All of it; the verdict alone where no more is wanted.
    pub fn text(&self, page: &Page) -> String {
        let color = match self.exit {
            0 => 32,
            1 | 2 => 33,
            _ => 31,
        };
        let verdict = page.style.paint(color, &page.verdict(&self.verdict)) + "\n";
        if page.show.quiet {
            return verdict;
        }
        let mut text = String::new();
        for line in self.heading.lines() {
            page.paragraph(&mut text, 0, line);
        }
        text.push('\n');
        text.push_str(&self.table);
        text.push_str(&self.details);
        if !(self.table.is_empty() && self.details.is_empty()) {
            text.push('\n');
        }
        text.push_str(&verdict);
        text.push_str(&self.next);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jetsam::env::OsFileSystem;
    use jetsam::living::{Doubt, ProcessInfo, Sighting, Untold};

    use crate::test_support::{self, Fake};
    use crate::testing::{Ran, run};

    #[test]
    fn the_worst_stream_decides_the_exit_code() {
        let fake = Fake {
            reports: vec![
                test_support::clean(),
                test_support::refused(),
                test_support::damaged(),
            ],
            ..Fake::default()
        };
        let Ran { exit, out, .. } = run("check D", &fake);
        assert_eq!(exit, 8);
        assert!(out.starts_with("Checked 3 streams under D in "), "{out}");
        assert!(
            out.contains("3 streams: 1 clean, 1 damaged, 1 refused; worst is ORDERS"),
            "{out}"
        );
    }

    #[test]
    fn json_leaves_nothing_else_on_stdout() {
        let fake = Fake {
            reports: vec![test_support::clean(), test_support::damaged()],
            ..Fake::default()
        };
        let Ran { exit, out, err } = run("check --json D", &fake);
        let document: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((exit, &document["exit"]), (4, &serde_json::json!(4)));
        assert_eq!(document["streams"].as_array().unwrap().len(), 2);
        assert_eq!(document["path"], "D");
        assert_eq!(err, "jetsam: ORDERS: 3 messages lost or unreadable\n");
    }

    #[test]
    fn what_cannot_be_found_is_told_in_the_document_too() {
        for (error, want) in [
            (EngineError::Unreadable("D: no such directory".into()), 8),
            (EngineError::NotAStore("D holds no streams".into()), 16),
        ] {
            let message = error.message().to_owned();
            let fake = Fake {
                error: Some(error),
                ..Fake::default()
            };
            let ran = run("check --json D", &fake);
            let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
            assert_eq!(
                (ran.exit, &document["error"]),
                (want, &serde_json::json!(message))
            );
            assert_eq!(ran.err, format!("jetsam: {message}\n"));
            let ran = run("recover D", &fake);
            assert_eq!((ran.exit, ran.out.as_str()), (want, ""));
        }
    }

    fn seen(pid: u32) -> ProcessInfo {
        ProcessInfo {
            pid,
            command: "nats-server".into(),
        }
    }

    const WRITING: [&str; 6] = [
        "recover D",
        "undo D",
        "rebuild-index D",
        "recover --json D",
        "salvage D --out O",
        "merge D D --out O",
    ];

    #[test]
    fn a_store_in_use_is_refused_before_the_first_stream() {
        let fake = Fake {
            sighting: Sighting {
                users: vec![seen(77)],
                ..Sighting::default()
            },
            ..Fake::default()
        };
        for line in WRITING {
            let ran = run(line, &fake);
            assert_eq!(ran.exit, 8, "{line}");
            assert!(
                ran.err
                    .contains("process 77 (nats-server) is using the store"),
                "{}",
                ran.err
            );
            assert!(ran.out.is_empty() || line.contains("--json"), "{}", ran.out);
            let ran = run(&format!("{line} --store-is-idle"), &fake);
            assert_eq!(ran.exit, 0, "{line}: {}", ran.err);
        }
        let document: serde_json::Value =
            serde_json::from_str(&run("recover --json D", &fake).out).unwrap();
        assert_eq!(
            (&document["exit"], &document["streams"]),
            (&8.into(), &serde_json::json!([]))
        );
        for line in ["check D", "cat D", "recover --dry-run D"] {
            let ran = run(line, &fake);
            assert_eq!(ran.exit, 0, "{line}");
            assert!(
                ran.err
                    .contains("process 77 (nats-server) is using this store"),
                "{}",
                ran.err
            );
        }
    }

    #[test]
    fn what_cannot_be_told_wants_a_word() {
        let untold = Untold {
            process: seen(78),
            why: Doubt::Title,
        };
        for sighting in [
            Sighting {
                untold: vec![untold],
                ..Sighting::default()
            },
            Sighting {
                is_blind: true,
                ..Sighting::default()
            },
        ] {
            let fake = Fake {
                sighting,
                ..Fake::default()
            };
            for line in &WRITING[..4] {
                let ran = run(line, &fake);
                assert_eq!(ran.exit, 8, "{line}");
                assert!(ran.err.contains("--store-is-idle"), "{}", ran.err);
                assert_eq!(run(&format!("{line} --store-is-idle"), &fake).exit, 0);
            }
            // What writes beside what it reads needs none.
            assert_eq!(run("salvage D --out O", &fake).exit, 0);
            assert_eq!(run("check D", &fake).err, "");
        }
    }

    #[test]
    fn a_store_that_changes_while_it_is_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let pulse = || Pulse::take(&OsFileSystem, dir.path()).unwrap();
        let before = pulse();
        std::fs::write(dir.path().join("1.blk"), b"x").unwrap();
        let fake = Fake {
            pulses: vec![pulse(), before].into(),
            ..Fake::default()
        };
        let document: serde_json::Value =
            serde_json::from_str(&run("check --json D", &fake).out).unwrap();
        let event = &document["streams"][0]["events"][0];
        assert_eq!(event["code"], "read-changed-underneath");
        assert_eq!(event["file"], "1.blk");
    }

    #[test]
    fn recover_tells_done_from_planned() {
        let fake = Fake {
            reports: vec![test_support::damaged()],
            ..Fake::default()
        };
        assert!(run("recover D", &fake).out.contains("\n  Done:\n"));
        assert!(
            run("recover --dry-run D", &fake)
                .out
                .contains("\n  A start would do this (nothing was done):\n")
        );
        assert!(
            run("check D", &fake)
                .out
                .contains("\n  A start would do this (nothing was done):\n")
        );
    }
}
