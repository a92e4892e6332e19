//! One stream: from the judgement to the forecast.

use std::collections::BTreeSet;

use super::around::{coming_back, kept_away, left_out};
use super::interest::Released;
use super::start_time::{self, Scans};
use super::surroundings::Surroundings;
use super::{Forecast, PreflightOptions, Reading, Start};
use crate::env::ReadFiles;
use crate::format::meta::StreamMeta;
use crate::format::names::{CONSUMERS, META};
use crate::format::seqset::SeqSet;
use crate::format::sets::difference;
use crate::recovery::server::{Quirk, ServerBehavior};
use crate::recovery::{Judgement, judge_for_forecast};
use crate::report::actions::{Action, ActionKind};
use crate::report::events::{Event, EventCode};
use crate::report::stream::{Refusal, Source, State, StreamReport};
use crate::report::{Ledger, Watch};
use crate::salvage::audit;
use crate::stream::StreamDir;
use crate::stream::files::StreamFiles;
use crate::stream::options::{Options, Standing};

/// Foretells what becomes of one stream when [`PreflightOptions::server`] starts on it. Nothing on disk changes.
///
/// Every block is read at least once, those of a damaged stream twice.
pub fn forecast(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    preflight: &PreflightOptions,
    watch: &Watch<'_>,
) -> Forecast {
    let unknown = Surroundings::unknown(options.standing);
    let around = preflight.surroundings.as_deref().unwrap_or(&unknown);
    let options = &as_by(options, preflight, around);
    if let Some(cause) = kept_away(fs, stream, options, around) {
        // What its files hold is told all the same.
        let mut judged = judge_for_forecast(fs, stream, options, watch);
        let ledger = account(
            fs,
            stream,
            options,
            &mut judged,
            Start::StreamSkipped,
            watch,
        );
        return Forecast {
            ledger,
            ..left_out(stream, preflight, cause)
        };
    }
    opened(fs, stream, options, preflight, around, watch)
}

/// The forecast of a stream that the server goes on to open.
fn opened(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    preflight: &PreflightOptions,
    around: &Surroundings,
    watch: &Watch<'_>,
) -> Forecast {
    let mut judged = judge_for_forecast(fs, stream, options, watch);
    let server = ServerBehavior::of(preflight.server);
    let plain_meta = has_plain_meta(fs, stream);
    let opened = start_of(&judged, plain_meta, server, options.standing);
    let deleted = around.after_its_start(stream);
    let deleted = deleted.filter(|_| opened == Start::Ok);
    let start = deleted.as_ref().map_or(opened, |_| Start::StreamDeleted);
    let mut ledger = account(fs, stream, options, &mut judged, start, watch);
    let mut lost = lost(ledger.as_ref(), start);
    let mut proven = ledger.as_ref().map_or(0, |ledger| ledger.endangered.len());
    let expired = expired(ledger.as_ref(), &judged.readable, opened);
    let recreates = judged.recreates_meta(options);
    let raft_group = judged.is_raft_group();
    let report = &mut judged.report;
    let mut events: Vec<Event> = around.remarks(stream).into_iter().chain(deleted).collect();
    events.append(&mut report.events);
    let mut actions = std::mem::take(&mut report.actions);
    actions.append(&mut judged.cut_short);
    let (consumers_lost, mut consumers_disabled) = consumers(report, start, server);
    note_deletions(stream, start, opened, &consumers_lost, &mut actions);
    let mut released = Released::default();
    if start == Start::Ok {
        let mut up = names(report, &["ok"]);
        up.retain(|name| !consumers_lost.contains(name) && !consumers_disabled.contains(name));
        let back = coming_back(fs, stream, options, around, &judged.readable, up, watch);
        consumers_disabled.extend(back.limited);
        events.extend(back.events);
        proven += difference(&back.released.owed, &lost).len();
        lost.union_with(&back.released.owed);
        endanger(ledger.as_mut(), &back.released.owed);
        released = back.released;
    }
    aftermath(report, start, recreates, raft_group, &mut events);
    let read = reading(&events, start, server);
    let fast_path = report.source == Some(Source::Index);
    let state = report.state.take().filter(|_| start == Start::Ok);
    let scans = scans(report, state.as_ref(), &events, start);
    let (start_seconds, range, fits_probe) =
        duration(preflight, scans, state.as_ref(), &mut events);
    Forecast {
        account: report.account.clone(),
        name: report.name.clone(),
        dir: report.dir.clone(),
        server: preflight.server,
        start,
        read,
        fast_path: fast_path && start == Start::Ok,
        messages: state
            .as_ref()
            .map_or(0, |state| state.messages.saturating_sub(released.all.len())),
        lost: lost.len(),
        lost_seqs: spans(&lost),
        lost_proven: proven,
        released: released.all.len() - released.owed.len(),
        lost_with_consumers: released.owed,
        expired,
        unreadable: report.unreadable.len() as u64,
        state,
        ledger,
        start_seconds,
        start_seconds_range: range,
        fits_probe,
        consumers: std::mem::take(&mut report.consumers),
        consumers_lost,
        consumers_disabled,
        events,
        actions,
        needs_help: matches!(report.refusal, Some(Refusal::NeedsKey | Refusal::Io)),
    }
}

/// What is left behind that matters after the start.
fn aftermath(
    report: &StreamReport,
    start: Start,
    recreates: bool,
    raft_group: bool,
    events: &mut Vec<Event>,
) {
    if recreates && start == Start::Ok {
        let detail = "its metadata is written anew, with the time of this start as its creation; streams that source from it take \
                      it for another stream and store its messages again";
        events.push(Event::new(EventCode::StreamCreatedChanged, detail).file(META));
    }
    if keeps_name(report, events, start, raft_group) {
        events.push(name_taken());
    }
}

/// How long the open call takes: seconds, their range, and whether the probe waits as long.
fn duration(
    preflight: &PreflightOptions,
    scans: Scans,
    state: Option<&State>,
    events: &mut Vec<Event>,
) -> (f64, (f64, f64), Option<bool>) {
    let subjects = state.map_or(0, |state| state.subject_count);
    let start_seconds = preflight
        .speed
        .map_or(0.0, |speed| speed.start_seconds(scans, subjects));
    let (least, most) = start_time::range(start_seconds);
    let fits_probe = preflight.probe.map(|probe| most <= probe.as_secs_f64());
    if fits_probe == Some(false) {
        let detail =
            format!("the open call is expected to take between {least:.1} and {most:.1} seconds");
        events.push(Event::new(EventCode::StartBeyondProbe, detail));
    }
    (start_seconds, (least, most), fits_probe)
}

/// The options of an examination as the server to come would make it.
fn as_by(options: &Options, preflight: &PreflightOptions, around: &Surroundings) -> Options {
    let mut options = Options {
        server: preflight.server,
        standing: around.standing(),
        quick: preflight.quick,
        ..options.clone()
    };
    if !ServerBehavior::of(preflight.server).has(Quirk::FormerKey) {
        options.keys.previous = None;
    }
    options
}

/// What reading every message does to the server; of a stream that is not there nothing can be read.
fn reading(events: &[Event], start: Start, server: ServerBehavior) -> Reading {
    let unbounded = !server.has(Quirk::HeaderBoundsChecked);
    let crashes = events.iter().any(|event| {
        event.code == EventCode::ReadWouldCrash
            || unbounded && event.code == EventCode::HeaderLengthBad
    });
    if crashes && start == Start::Ok {
        Reading::ServerDown
    } else {
        Reading::Ok
    }
}

fn spans(set: &SeqSet) -> Vec<(u64, u64)> {
    set.spans()
        .map(|span| (*span.start(), *span.end()))
        .collect()
}

/// Whether `meta.inf` reads as plain JSON.
fn has_plain_meta(fs: &dyn ReadFiles, stream: &StreamDir) -> bool {
    let inf = StreamFiles::new(fs, &stream.dir).read(META);
    inf.is_ok_and(|inf| StreamMeta::parse(&inf).is_ok())
}

/// What the server makes of the judgement.
fn start_of(
    judged: &Judgement,
    plain_meta: bool,
    server: ServerBehavior,
    standing: Standing,
) -> Start {
    let report = &judged.report;
    let told = |code: EventCode| report.events.iter().any(|event| event.code == code);
    let failed = if judged.is_raft_group() || !server.has(Quirk::FailedOpenDeletes) {
        Start::StreamSkipped
    } else {
        Start::StreamDeleted
    };
    match report.refusal {
        Some(Refusal::OpenFails) => failed,
        Some(Refusal::ServerDown) => Start::ServerDown,
        Some(Refusal::Skipped | Refusal::NeedsKey | Refusal::Busy | Refusal::Refrained) => {
            Start::StreamSkipped
        }
        // Before the store is opened a file that cannot be read leaves the stream out; a key file only where the
        // metadata is not plain.
        Some(Refusal::Io) if told(EventCode::KeyBad) && plain_meta => failed,
        Some(Refusal::Io)
            if told(EventCode::KeyBad)
                || told(EventCode::StreamMetaUnreadable)
                || told(EventCode::StreamSumUnreadable) =>
        {
            Start::StreamSkipped
        }
        Some(Refusal::Io) => failed,
        // A consumer can bring the server down, or take its stream with it.
        None if told(EventCode::OpenWouldCrash) => Start::ServerDown,
        // In a cluster only the consumer stays away.
        None if told(EventCode::ConsumerStreamStopped) && standing == Standing::Standalone => {
            Start::StreamSkipped
        }
        None => Start::Ok,
    }
}

fn name_taken() -> Event {
    let detail = "creating a stream of this name would open this directory, old messages and all";
    Event::new(EventCode::StreamNameTaken, detail)
}

/// Whether the directory of a stream that is left out stays while no stream runs on it (H38). One that is shown as offline
/// has its name, and is not in the way.
fn keeps_name(report: &StreamReport, events: &[Event], start: Start, raft_group: bool) -> bool {
    let offline = [
        EventCode::StreamUnsupported,
        EventCode::StreamStrictJson,
        EventCode::ConsumerStreamStopped,
    ];
    start == Start::StreamSkipped
        && !raft_group
        && matches!(
            report.refusal,
            Some(Refusal::OpenFails | Refusal::Skipped | Refusal::NeedsKey)
        )
        && !events.iter().any(|event| offline.contains(&event.code))
}

/// The account of its messages, with what this start changes of it; the report is brought in line.
fn account(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    judged: &mut Judgement,
    start: Start,
    watch: &Watch<'_>,
) -> Option<Ledger> {
    let Judgement {
        report, readable, ..
    } = judged;
    let mut ledger = audit::ledger_of(fs, stream, options, report, readable, watch)?;
    match start {
        Start::StreamDeleted => ledger.endangered = ledger.live.clone(),
        Start::Ok => {}
        // Its files stay as they are.
        Start::StreamSkipped | Start::ServerDown => {
            ledger.endangered = SeqSet::new();
            ledger.returning = SeqSet::new();
        }
    }
    report.ledger = Some(ledger);
    audit::conclude(report);
    report.ledger.take()
}

/// Puts live messages down as such that the start loses.
fn endanger(ledger: Option<&mut Ledger>, seqs: &SeqSet) {
    if let Some(ledger) = ledger {
        let others = difference(seqs, &ledger.live);
        ledger.endangered.union_with(&difference(seqs, &others));
    }
}

/// What the server will not be able to hand out.
fn lost(ledger: Option<&Ledger>, start: Start) -> SeqSet {
    let Some(ledger) = ledger.filter(|_| matches!(start, Start::Ok | Start::StreamDeleted)) else {
        return SeqSet::new();
    };
    let mut lost = ledger.lost.clone();
    lost.union_with(&ledger.endangered);
    lost
}

/// What age removes at the start, not what it leaves to timers.
fn expired(ledger: Option<&Ledger>, readable: &SeqSet, start: Start) -> u64 {
    let ledger = ledger.filter(|_| start == Start::Ok);
    ledger.map_or(0, |ledger| difference(&ledger.expired, readable).len())
}

/// The consumers with one of these outcomes.
fn names(report: &StreamReport, wanted: &[&str]) -> BTreeSet<String> {
    let consumers = report.consumers.iter();
    let found = consumers.filter(|consumer| wanted.contains(&consumer.outcome));
    found.map(|consumer| consumer.name.clone()).collect()
}

/// Consumers that are deleted, and those that are out of service.
fn consumers(
    report: &StreamReport,
    start: Start,
    server: ServerBehavior,
) -> (Vec<String>, Vec<String>) {
    let names = |wanted: &[&str]| -> Vec<String> { names(report, wanted).into_iter().collect() };
    match start {
        Start::Ok => {
            // A consumer whose metadata cannot be opened is passed over, its directory kept.
            if server.deletes_failed_consumers() {
                return (names(&["failed", "deleted"]), names(&["skipped"]));
            }
            (names(&["deleted"]), names(&["failed", "skipped"]))
        }
        Start::StreamDeleted => (names(&["ok", "failed", "skipped", "deleted"]), Vec::new()),
        Start::StreamSkipped | Start::ServerDown => (Vec::new(), Vec::new()),
    }
}

fn note_deletions(
    stream: &StreamDir,
    start: Start,
    opened: Start,
    consumers_lost: &[String],
    actions: &mut Vec<Action>,
) {
    if start == Start::StreamDeleted {
        actions.push(Action {
            kind: ActionKind::RemoveStream,
            file: stream.dir.display().to_string(),
            offset: None,
            detail: match opened {
                Start::Ok => "the cluster does not assign it to this server".into(),
                _ => "its store does not open, and the server deletes what it cannot open".into(),
            },
        });
        return;
    }
    actions.extend(consumers_lost.iter().map(|name| Action {
        kind: ActionKind::RemoveConsumer,
        file: format!("{CONSUMERS}/{name}"),
        offset: None,
        detail: "this server deletes the directory of a consumer that it cannot bring back".into(),
    }));
}

/// How often every block is read.
fn scans(report: &StreamReport, state: Option<&State>, events: &[Event], start: Start) -> Scans {
    // A stream whose open fails was read up to there.
    if start == Start::StreamSkipped && report.refusal != Some(Refusal::OpenFails) {
        return Scans::default();
    }
    let walked = report.source != Some(Source::Index);
    let ttl = report.ttl.as_ref().map(|ttl| ttl.count);
    let schedules = report.schedules.as_ref().map(|schedules| schedules.count);
    // Blocks without a timer are passed over; sources alone are read from the end, as far as it takes to meet each.
    let reads = |event: &Event| match event.code {
        EventCode::TtlOutdated => ttl.is_some_and(|count| count > 0),
        EventCode::SchedOutdated => schedules.is_some_and(|count| count > 0),
        EventCode::SourcesOutdated => ttl.is_some() || schedules.is_some(),
        _ => false,
    };
    let from = events
        .iter()
        .filter(|event| reads(event))
        .filter_map(|event| event.seq)
        .min();
    let caught_up = match (from, state) {
        (Some(from), Some(state)) if state.last_seq >= state.first_seq => {
            let all = (state.last_seq - state.first_seq) as f64 + 1.0;
            let behind = state.last_seq.saturating_sub(from.max(state.first_seq)) as f64 + 1.0;
            behind / all
        }
        _ => 0.0,
    };
    Scans { walked, caught_up }
}
