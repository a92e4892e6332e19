//! One stream as a caller sees it: examine it, recover it.

use super::batches;
use super::consumers;
use super::hand_over::{Plan, Unapplied};
use super::ignored;
use super::metadata::{self, MetaFiles, StreamContext, StreamRefused, StreamSetup};
use super::open::{self, Opened, Refused, StoreSetup};
use super::server::ServerBehavior;
use super::simulate::Simulation;
use super::stuck;
use super::verify::unreachable;
use super::walked::WalkedBlocks;
use crate::env::ReadFiles;
use crate::format::seqset::SeqSet;
use crate::format::sets::intersection;
use crate::report::Watch;
use crate::report::actions::Action;
use crate::report::events::{Event, EventCode, Severity};
use crate::report::stream::{
    Lost, Outcome, Refusal, ScheduleReport, State, StreamReport, TtlReport,
};
use crate::state::Totals;
use crate::stream::StreamDir;
use crate::stream::files::StreamFiles;
use crate::stream::options::{Collect, Options};

/// A judged stream.
#[derive(Debug)]
pub struct Judgement {
    /// What is said of the stream.
    pub report: StreamReport,
    /// What has to change on disk for it to be what the report says.
    pub plan: Plan,
    /// What the stream is once the plan is carried out; `None` where it does not open.
    pub state: Option<Unapplied>,
    pub(crate) setup: Option<StreamSetup>,
    /// What the server would have done before it gave up, where it does.
    pub(crate) cut_short: Vec<Action>,
    /// Sequences the server would have and could read, where the store opens and that was asked for.
    pub(crate) readable: SeqSet,
}

impl Judgement {
    /// Whether this is the log of a raft group.
    pub(crate) fn is_raft_group(&self) -> bool {
        self.setup.as_ref().is_some_and(|setup| setup.raft_group)
    }

    /// Whether the server writes the stream's metadata anew, and with it the time of creation.
    pub(crate) fn recreates_meta(&self, options: &Options) -> bool {
        let setup = self.setup.as_ref();
        setup.is_some_and(|setup| setup.needs_meta && options.keys.current.is_some())
    }

    fn refused(mut report: StreamReport, refusal: Refusal, events: Vec<Event>) -> Self {
        report.refusal = Some(refusal);
        report.events.extend(events);
        Judgement {
            report,
            plan: Plan::default(),
            state: None,
            setup: None,
            cut_short: Vec::new(),
            readable: SeqSet::new(),
        }
    }
}

/// Scans and judges one stream: what is said of it, what would have to change, and what it then is. Nothing on disk changes.
///
/// To have it carried out is for [`super::recover`] and [`super::hand_over`], which judge once more under the directory's lock.
pub fn judge(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    watch: &Watch<'_>,
) -> Judgement {
    let how = JudgeOptions {
        wants_changes: true,
        ..JudgeOptions::default()
    };
    judge_as(fs, stream, options, watch, how)
}

/// The report of [`judge`], without putting a plan together.
pub fn examine(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    watch: &Watch<'_>,
) -> StreamReport {
    judge_as(fs, stream, options, watch, JudgeOptions::default()).report
}

/// Judges a stream for a forecast, which may go where a recovery had better not, with the sequences that the server would have and
/// could read.
pub(crate) fn judge_for_forecast(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    watch: &Watch<'_>,
) -> Judgement {
    let how = JudgeOptions {
        is_forecast: true,
        wants_readable: true,
        ..JudgeOptions::default()
    };
    judge_as(fs, stream, options, watch, how)
}

/// As [`examine`], with the sequences that the server would have and could read.
pub(crate) fn examine_readable(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    watch: &Watch<'_>,
) -> (StreamReport, SeqSet) {
    let how = JudgeOptions {
        wants_readable: true,
        ..JudgeOptions::default()
    };
    let judged = judge_as(fs, stream, options, watch, how);
    (judged.report, judged.readable)
}

/// What the metadata says the server would do with a stream.
pub(crate) fn setup_of(
    files: StreamFiles<'_>,
    stream: &StreamDir,
    options: &Options,
) -> Result<StreamSetup, StreamRefused> {
    let found = MetaFiles::read(files, "");
    let beside = match found.fits(&stream.name) {
        true => Vec::new(),
        false => files.beside(),
    };
    let context = StreamContext {
        beside: &beside,
        ..StreamContext::new(
            &stream.dir,
            &stream.name,
            stream.account.as_deref(),
            options,
        )
    };
    metadata::judge(found, context)
}

/// What is wanted of a judgement beyond the usual.
#[derive(Default)]
pub(super) struct JudgeOptions {
    /// The judgement is a forecast, and not acted upon.
    pub is_forecast: bool,
    /// Make the outcome one for which all side files are written anew.
    pub rebuild: bool,
    /// Blocks that need not be read.
    pub walked: WalkedBlocks,
    /// Put the changes together: they will be carried out.
    pub wants_changes: bool,
    /// Say which sequences the server would have and could read.
    pub wants_readable: bool,
}

/// Scans and judges one stream. Nothing on disk changes.
pub(super) fn judge_as(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    watch: &Watch<'_>,
    how: JudgeOptions,
) -> Judgement {
    let files = StreamFiles::new(fs, &stream.dir);
    let mut report = stream.blank_report();
    let setup = match setup_of(files, stream, options) {
        Ok(setup) => setup,
        Err(StreamRefused { refusal, events }) => {
            return Judgement::refused(report, refusal, events);
        }
    };
    report.name.clone_from(&setup.name);
    report.events.clone_from(&setup.events);
    report.max_age_ns = setup.meta.max_age_ns;
    let store = StoreSetup {
        rebuild: how.rebuild,
        // A forecast may go where a recovery had better not.
        duplicate_names: how.is_forecast,
        walked: how.walked,
        wants_changes: how.wants_changes,
        ..setup.store(options)
    };
    let opened = match open::open(files, store, watch) {
        Ok(opened) => opened,
        Err(refused) => {
            let Refused {
                refusal,
                events,
                actions,
                ..
            } = *refused;
            return Judgement {
                cut_short: actions,
                setup: Some(setup),
                ..Judgement::refused(report, refusal, events)
            };
        }
    };
    let last_seq = opened.sim.totals.last.seq;
    let server = ServerBehavior::of(options.server);
    let keys = setup.keys(options);
    let found = consumers::judge(files, &keys, &setup.meta.subjects, last_seq, server);
    let batches = batches::pending(files, &opened.sim, &setup.meta);
    let stops = stuck::stops(&opened.sim);
    let deleted = deleted_of(&opened.sim);
    let mut readable = match how.wants_readable {
        true => live_of(&opened.sim, &deleted.1),
        false => SeqSet::new(),
    };
    let (plan, state) = fill(&mut report, opened, options.collect, deleted);
    for seq in &report.unreadable {
        readable.remove(*seq);
    }
    report.overdue = intersection(&report.overdue, &readable);
    report.consumers = found.reports;
    report
        .events
        .extend(ignored::of_stream(&setup.meta, server));
    report.events.extend(batches);
    report.events.extend(found.events);
    let stuck = stuck::events(&stops, &report.consumers);
    report.events.extend(stuck);
    report.outcome = outcome_of(&report).max(found.outcome.min(Outcome::Damaged));
    Judgement {
        report,
        plan,
        state: Some(state),
        setup: Some(setup),
        cut_short: Vec::new(),
        readable,
    }
}

fn fill(
    report: &mut StreamReport,
    opened: Opened<'_>,
    collect: Collect,
    deleted: (u64, Vec<(u64, u64)>),
) -> (Plan, Unapplied) {
    let Opened {
        mut sim,
        source,
        unreadable,
        digest,
        changes,
    } = opened;
    report.source = Some(source);
    let (deleted_count, spans) = deleted;
    report.state = Some(state_of(&sim, collect, deleted_count, &spans));
    report.digest = digest;
    report.subjects = collect.subjects.then(|| {
        let mut subjects = std::collections::BTreeMap::new();
        sim.subjects.for_each(|subject, totals| {
            subjects.insert(subject.to_vec(), totals.total);
        });
        subjects
    });
    report.ttl = sim.timers.ttl_count().map(|count| TtlReport {
        count,
        entries: collect.entries.then(|| sim.timers.ttl_entries()).flatten(),
    });
    report.outlived = sim.outlived;
    if sim.rules.expire {
        report.overdue = sim.timers.overdue(sim.rules.now_ns);
    }
    report.schedules = sim.timers.schedules().map(|schedules| ScheduleReport {
        count: schedules.len(),
        entries: collect.entries.then(|| {
            schedules
                .iter()
                .map(|(subject, seq, ns)| (subject.to_vec(), seq, ns))
                .collect()
        }),
    });
    report.sources = if collect.entries {
        sim.timers.sources().cloned()
    } else {
        None
    };
    report.loses_messages = sim.lossy || sim.lost.is_some();
    report.ends_torn = ends_torn(&sim);
    if report.loses_messages && sim.lost.is_some() {
        note_loss(&mut sim);
    }
    let unreachable = unreachable(&sim, &spans, deleted_count);
    if let [first, ..] = unreachable.as_slice() {
        let count = unreachable.len();
        let detail = match sim.totals.messages {
            0 => format!(
                "{count} sequences are neither deleted nor found: the server counts no message and so looks for none"
            ),
            _ => format!(
                "{count} messages are counted and not found: no block holds them where the server looks"
            ),
        };
        sim.event(Event::new(EventCode::RecordUnreadable, detail).seq(*first));
    }
    report.events.append(&mut sim.events);
    report.actions.append(&mut sim.actions);
    report.unreadable = unreadable;
    report.unreadable.extend(unreachable);
    report.unreadable.sort_unstable();
    report.unreadable.dedup();
    (Plan::of(changes), Unapplied::of(sim.into_state()))
}

/// Whether what is lost is but the end of the last block, as an interrupted write leaves it: no index knew of a message in it.
fn ends_torn(sim: &Simulation<'_>) -> bool {
    let knew = sim.lost.as_ref().is_some_and(|lost| !lost.seqs.is_empty());
    sim.ends_torn && !knew
}

fn note_loss(sim: &mut Simulation<'_>) {
    if let Some(Lost { seqs, bytes }) = sim.lost.clone() {
        let detail = format!("{} known sequences and {bytes} bytes in all", seqs.len());
        sim.event(Event::new(EventCode::LostData, detail));
    }
}

fn outcome_of(report: &StreamReport) -> Outcome {
    if report.loses_messages || !report.unreadable.is_empty() {
        return Outcome::Damaged;
    }
    if report
        .events
        .iter()
        .any(|event| event.severity >= Severity::Warn)
    {
        return Outcome::Recovered;
    }
    Outcome::Clean
}

/// The state as the server reports it right after its open call.
fn state_of(
    sim: &Simulation<'_>,
    collect: Collect,
    deleted_count: u64,
    spans: &[(u64, u64)],
) -> State {
    let Totals {
        messages,
        bytes,
        first,
        last,
    } = sim.totals;
    let time = |timestamp_ns: i64| (timestamp_ns != 0).then_some(timestamp_ns);
    State {
        messages,
        bytes,
        first_seq: first.seq,
        first_time_ns: time(first.timestamp_ns),
        last_seq: last.seq,
        last_time_ns: time(last.timestamp_ns),
        subject_count: sim.subjects.len(),
        deleted_count,
        deleted: collect.deleted.then(|| expand(spans)),
        lost: sim.lost.clone(),
    }
}

/// Deleted sequences as spans: gaps before and between blocks, and what the blocks list.
pub(super) fn deleted_of(sim: &Simulation<'_>) -> (u64, Vec<(u64, u64)>) {
    let Totals {
        messages,
        first,
        last,
        ..
    } = sim.totals;
    let missing = last
        .seq
        .wrapping_sub(first.seq)
        .wrapping_add(1)
        .wrapping_sub(messages);
    if missing == 0 || missing > i64::MAX as u64 {
        return (0, Vec::new());
    }
    let mut spans = Vec::new();
    let mut current = first.seq;
    for block in &sim.blocks {
        if block.first.seq > current {
            spans.push((current, block.first.seq - 1));
        }
        if block.last.seq >= current {
            current = block.last.seq.wrapping_add(1);
        }
        spans.extend(
            block
                .deleted
                .spans()
                .map(|span| (*span.start(), *span.end())),
        );
    }
    let count = spans.iter().map(|(from, to)| to - from + 1).sum();
    (count, spans)
}

/// The sequences a state counts as live.
fn live_of(sim: &Simulation<'_>, deleted: &[(u64, u64)]) -> SeqSet {
    let mut live = SeqSet::new();
    let Totals {
        messages,
        first,
        last,
        ..
    } = sim.totals;
    if messages == 0 || first.seq > last.seq {
        return live;
    }
    live.insert_range(first.seq..=last.seq);
    for (from, to) in deleted {
        live.remove_range(*from..=*to);
    }
    live
}

fn expand(spans: &[(u64, u64)]) -> Vec<u64> {
    let mut out: Vec<u64> = spans.iter().flat_map(|(from, to)| *from..=*to).collect();
    out.sort_unstable();
    out
}
