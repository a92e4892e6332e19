//! Fresh side files for a stream whose blocks are sound: `index.db` in the version a given server reads, `thw.db`,
//! `sched.db` and `sources.db`, so that its next start takes the fast path and runs no scan.
//!
//! The state is taken as the server's open call takes it, without age and limits, and every record is verified. TTLs are
//! read from the messages whatever `thw.db` says. Schedules and source positions come from their files, caught up with the
//! messages behind them, for a schedule that was cancelled, or a position whose message is gone, shows nowhere else; a file
//! that speaks of messages that are no longer there (H34) is not believed, and a schedule without its message is dropped.
//!
//! Nothing else is touched: where a block, a key or the metadata would have to change, nothing is written at all.

use super::apply;
use super::judge::{JudgeOptions, Judgement, judge_as};
use super::recover::{note_interrupted, note_unseen, own, perform, refused, still};
use crate::env::{Entropy, FileSystem};
use crate::format::names::{BlockFile, EXPIRIES_PATH, META, SCHEDULES_PATH, SOURCES, STATE_PATH};
use crate::living::{Idle, Pulse};
use crate::report::actions::Change;
use crate::report::events::{Event, EventCode, Severity};
use crate::report::stream::{Outcome, Refusal, StreamReport};
use crate::report::{ServerVersion, Watch};
use crate::stream::StreamDir;
use crate::stream::options::Options;

/// Writes the side files anew for `server`. What they replace is put aside, for [`super::undo`].
///
/// The report's outcome is [`Outcome::Refused`] where anything but side files would have to change; nothing is written
/// then. The directory is locked meanwhile; that no server uses the store is for `idle` to say.
pub fn rebuild_index(
    fs: &dyn FileSystem,
    idle: &Idle,
    stream: &StreamDir,
    options: &Options,
    server: ServerVersion,
    entropy: &dyn Entropy,
    watch: &Watch<'_>,
) -> StreamReport {
    let options = Options {
        server,
        expire: false,
        limits: false,
        quick: false,
        ..options.clone()
    };
    let _lock = match own(fs, idle, stream) {
        Ok(lock) => lock,
        Err((refusal, event)) => return refused(stream.blank_report(), refusal, event),
    };
    let interrupted = match apply::finish_interrupted(fs, &stream.dir) {
        Ok(interrupted) => interrupted,
        Err(error) => {
            let event = Event::new(EventCode::IoError, error.to_string());
            return refused(stream.blank_report(), Refusal::Io, event);
        }
    };
    let how = JudgeOptions {
        wants_changes: true,
        rebuild: true,
        ..JudgeOptions::default()
    };
    let before = Pulse::take(fs, &stream.dir);
    let Judgement {
        mut report,
        plan,
        setup,
        ..
    } = judge_as(fs, stream, &options, watch, how);
    if let Some(event) = note_interrupted(&interrupted) {
        report.events.insert(0, event);
    }
    note_unseen(&mut report, idle);
    if let Err((refusal, event)) = still(fs, stream, before) {
        report.actions.clear();
        return refused(report, refusal, event);
    }
    let Some(setup) = setup.filter(|_| report.refusal.is_none()) else {
        return report;
    };
    report
        .actions
        .retain(|action| is_side_file(&action.file) || !is_left_alone(&action.file));
    let (side_files, others): (Vec<_>, Vec<_>) = plan
        .changes
        .into_iter()
        .filter(|change| !matches!(change, Change::RemoveFile { path } if is_left_alone(path)))
        .partition(|change| side_file_of(change).is_some());
    if let Some(why) = objection(&report, &side_files, &others) {
        report.actions.clear();
        return refused(
            report,
            Refusal::Refrained,
            Event::new(EventCode::RebuildRefused, why),
        );
    }
    let written = perform(
        fs,
        stream,
        &setup.keys(&options),
        setup.asset_key.clone(),
        &side_files,
        true,
        entropy,
    );
    match written {
        Ok(()) => settled(report),
        Err(event) => refused(report, Refusal::Io, event),
    }
}

/// Why nothing is written, if that is so.
fn objection(report: &StreamReport, side_files: &[Change], others: &[Change]) -> Option<String> {
    if report.loses_messages || !report.unreadable.is_empty() {
        return Some(
            "messages in the blocks cannot be read: nothing was written. `jetsam salvage` copies everything that verifies"
                .into(),
        );
    }
    if let Some(other) = others.first() {
        return Some(format!(
            "more than the side files would have to change ({}): nothing was written. `jetsam recover` does it, `jetsam \
             salvage` copies into a new store",
            what(other)
        ));
    }
    let index = side_files
        .iter()
        .any(|change| matches!(change, Change::WriteSealed { .. }));
    (!index).then(|| {
        "no index can be written: what the blocks hold does not add up. `jetsam salvage` copies everything that verifies"
            .into()
    })
}

fn is_side_file(path: &str) -> bool {
    matches!(path, STATE_PATH | EXPIRIES_PATH | SCHEDULES_PATH | SOURCES)
}

/// Leftovers that the server sweeps in passing, and that hinder nothing.
fn is_left_alone(path: &str) -> bool {
    path.starts_with("msgs/")
        && [".key", ".idx", ".fss"]
            .iter()
            .any(|ending| path.ends_with(ending))
}

fn side_file_of(change: &Change) -> Option<&str> {
    let path = match change {
        Change::Write { path, .. } | Change::WriteSealed { path, .. } => path,
        Change::RemoveFile { path } => path,
        _ => return None,
    };
    is_side_file(path).then_some(path)
}

/// What a change is about, for a sentence.
fn what(change: &Change) -> String {
    match change {
        Change::CreateDir { path }
        | Change::RemoveFile { path }
        | Change::RemoveTree { path }
        | Change::SetLength { path, .. }
        | Change::Write { path, .. }
        | Change::NewKey { path, .. }
        | Change::WriteSealed { path, .. } => path.clone(),
        Change::Rename { from, .. } => from.clone(),
        Change::AppendRecords { number, .. } | Change::WriteBlock { number, .. } => {
            BlockFile::Block.path(*number)
        }
        Change::WriteMeta { .. } => META.into(),
    }
}

/// The outcome of a rebuild says whether anything was wrong with the side files before.
fn settled(mut report: StreamReport) -> StreamReport {
    let warned = report
        .events
        .iter()
        .any(|event| event.severity >= Severity::Warn);
    report.outcome = if warned {
        Outcome::Recovered
    } else {
        Outcome::Clean
    };
    report
}
