//! Recovery's judgement of a stream together with the account of its messages.
//!
//! Recovery says what a server makes of a store, this room what the files prove. Here the two are put side by side: every verb
//! that judges takes its report from here, so that all of them have the same [`Ledger`] of the same files.
//!
//! Where a server would open the store by its index, and every record that the index counts verifies, the index proves all
//! there is to prove, and the blocks are not read once more.

use super::account::{judge, went_on};
use super::findings::BlockFindings;
use super::sets::{difference, intersection, remove_all, within};
use super::survey::{Survey, survey};
use super::unrenamed;
use crate::env::{Entropy, FileSystem, ReadFiles};
use crate::format::meta::Retention;
use crate::format::seqset::SeqSet;
use crate::ledger::{acknowledged, all_is_well};
use crate::living::Idle;
use crate::recovery::server::{Quirk, ServerBehavior};
use crate::recovery::walked::WalkedBlocks;
use crate::recovery::{RecoverOptions, Recovery, examine_readable};
use crate::report::Ledger;
use crate::report::Watch;
use crate::report::events::{Event, EventCode, Severity};
use crate::report::ledger::stretches;
use crate::report::stream::{Outcome, Refusal, Source, StreamReport};
use crate::stream::StreamDir;
use crate::stream::options::{Collect, Options};

/// Stretches of sequences that an event names one by one.
const STRETCHES_TOLD_MAX: usize = 20;

/// Scans and judges one stream, and draws up the account of its messages. Nothing on disk changes.
pub fn check(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    watch: &Watch<'_>,
) -> StreamReport {
    let (mut report, readable) = examine_readable(fs, stream, options, watch);
    report.ledger = ledger_of(fs, stream, options, &report, &readable, watch);
    conclude(&mut report);
    report
}

/// Does to one stream directory what opening the store does ([`crate::recovery::recover`]), unless the account of its messages
/// holds a loss, or it would remove messages by their age and no message stays, and that was not agreed to. Then nothing is
/// changed, `index.db` and the blocks that prove the loss stay, and the report says so. What only a message's own time to
/// live takes, a server takes once it runs: that is told, and not asked, for a recovery leaves it where it is.
pub fn recover(
    fs: &dyn FileSystem,
    idle: &Idle,
    stream: &StreamDir,
    options: &Options,
    recover: &RecoverOptions,
    entropy: &dyn Entropy,
    watch: &Watch<'_>,
) -> StreamReport {
    let mut ask = |report: &mut StreamReport, readable: &SeqSet| {
        report.ledger = ledger_of(fs, stream, options, report, readable, watch);
        conclude(report);
        consent(report, recover)
    };
    let recovery = Recovery {
        fs,
        idle,
        stream,
        options,
        keep_undo: recover.undo,
        spares_blocks: false,
        entropy,
        watch,
    };
    let mut report = recovery.run(WalkedBlocks::default(), &mut ask).report;
    if report.ledger.is_none() && report.refusal != Some(Refusal::Busy) {
        report.ledger = ledger_of(fs, stream, options, &report, &SeqSet::new(), watch);
        conclude(&mut report);
    }
    report
}

/// What has to be agreed to before the judgement is applied.
fn consent(report: &StreamReport, recover: &RecoverOptions) -> Option<Event> {
    let (loses, lost) = match &report.ledger {
        Some(ledger) => (
            ledger.holds_loss(),
            ledger.lost.len().saturating_add(ledger.endangered.len()),
        ),
        None => (report.loses_messages, 0),
    };
    if loses && !recover.accept_loss {
        let detail = format!(
            "{} lost: nothing was changed, and what proves it was kept. `jetsam salvage` copies everything that verifies; \
             --accept-loss goes on regardless",
            match lost {
                0 => "messages would be".to_owned(),
                1 => "1 message is, or would be,".to_owned(),
                more => format!("{more} messages are, or would be,"),
            }
        );
        return Some(Event::new(EventCode::LossNeedsConsent, detail));
    }
    let ledger = report.ledger.as_ref()?;
    let removes = ledger.expired.len() > ledger.timed_out.len();
    if removes && ledger.all_expires() && !(recover.accept_expiry || recover.accept_loss) {
        return Some(Event::new(EventCode::ExpiryNeedsConsent, asked_of(ledger)));
    }
    None
}

/// What is to be agreed to where nothing stays, and who takes what.
fn asked_of(ledger: &Ledger) -> String {
    let (all, timed_out) = (ledger.expired.len(), ledger.timed_out.len());
    let who = match (all - timed_out, timed_out) {
        (_, 0) => "are older than the stream keeps them, and would be removed".to_owned(),
        (aged, _) => format!(
            "have expired: {aged} are older than the stream keeps them, and would be removed, {timed_out} are past their own time \
             to live and go right after a server's start"
        ),
    };
    format!("all {all} messages {who}: nothing was changed. --accept-expiry goes on")
}

/// The account of a stream that was surveyed, with what a server's start would change of it. That asks for its judgement, unless
/// the index knows everything.
pub(crate) fn confronted(
    fs: &dyn ReadFiles,
    found: &Survey,
    options: &Options,
    watch: &Watch<'_>,
) -> Ledger {
    let mut ledger = found.ledger.clone();
    let index = found.gathered.evidence.index.as_ref();
    let is_whole = |find: &BlockFindings| find.is_whole() && find.uncertain.is_empty();
    let nothing_to_change = index.is_some_and(|index| index.fresh)
        && found.finds.iter().all(is_whole)
        && found.misplaced.is_empty()
        && ledger.expired.is_empty()
        && went_on(index, &found.trust).is_none()
        && !ledger.holds_loss()
        && !found.gathered.events.iter().any(is_about_staging)
        && found.gathered.evidence.meta.retention != Retention::Interest
        // Its wheel may have entries of other messages.
        && !found.gathered.evidence.meta.allow_msg_ttl;
    if nothing_to_change {
        return ledger;
    }
    let quick = Options {
        quick: false,
        collect: Collect::default(),
        ..options.clone()
    };
    let (report, readable) = examine_readable(fs, &found.stream, &quick, watch);
    confront(&mut ledger, found, &report, &readable, options);
    ledger
}

/// Whether a purge was under way, of which the server may make something else.
fn is_about_staging(event: &Event) -> bool {
    let codes = [EventCode::PurgeCompleted, EventCode::PurgeRolledBack];
    codes.contains(&event.code)
}

/// The account of a stream that was judged like this. `None` where its files cannot be read.
pub(crate) fn ledger_of(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    report: &StreamReport,
    readable: &SeqSet,
    watch: &Watch<'_>,
) -> Option<Ledger> {
    if let Some(ledger) = of_sound(report, readable, options)
        && !unrenamed::any(fs, stream)
    {
        return Some(ledger);
    }
    let found = survey(fs, stream, options, watch).ok()?;
    let mut ledger = found.ledger.clone();
    confront(&mut ledger, &found, report, readable, options);
    Some(ledger)
}

/// The account where the index knows everything and every record it counts verifies.
fn of_sound(report: &StreamReport, readable: &SeqSet, options: &Options) -> Option<Ledger> {
    let state = report.state.as_ref()?;
    let changes_messages = |event: &Event| {
        matches!(
            event.code,
            EventCode::AgeExpiredBlocks
                | EventCode::AgeExpiredMsgs
                | EventCode::LimitTrimmed
                | EventCode::PurgeCompleted
        ) || event.severity >= Severity::Warn
    };
    // Age that the start leaves to its timers.
    let ages = report.max_age_ns > 0
        && options.expire
        && state
            .first_time_ns
            .is_some_and(|first| first.saturating_add(report.max_age_ns) <= options.now_ns);
    let times_out = report.outlived || !report.overdue.is_empty();
    let is_sound = !ages
        && !times_out
        && report.source == Some(Source::Index)
        && report.refusal.is_none()
        && !report.loses_messages
        && report.unreadable.is_empty()
        && report
            .consumers
            .iter()
            .all(|consumer| consumer.outcome == "ok")
        && !options.no_index
        && !report.events.iter().any(changes_messages);
    is_sound.then(|| all_is_well(readable.clone(), state.first_seq, state.last_seq))
}

/// What the server's start would change of the account.
fn confront(
    ledger: &mut Ledger,
    found: &Survey,
    report: &StreamReport,
    readable: &SeqSet,
    options: &Options,
) {
    let removed = ledger.removed.values();
    for seqs in removed {
        ledger.returning.union_with(&intersection(seqs, readable));
    }
    if report.refusal.is_none() {
        stay(ledger, &difference(readable, &report.overdue));
        hand_out(ledger, readable);
    }
    let behaviour = ServerBehavior::of(options.server);
    ledger.endangered = match report.refusal {
        None => difference(&ledger.live, readable),
        Some(Refusal::OpenFails) if behaviour.has(Quirk::FailedOpenDeletes) => ledger.live.clone(),
        Some(_) => SeqSet::new(),
    };
    if report.refusal.is_none() {
        // The wheel lets go what it has an entry for, whatever the message itself says.
        let mistaken = intersection(&report.overdue, &ledger.live);
        ledger.endangered.union_with(&mistaken);
        let owed = intersection(&owed(found, report), &ledger.live);
        ledger.endangered.union_with(&owed);
    }
    let trims = report
        .events
        .iter()
        .any(|event| event.code == EventCode::LimitTrimmed);
    // What comes back may be what makes the stream too full; otherwise its limit was lowered since.
    if trims
        && ledger.returning.is_empty()
        && let Some(below) = readable.first().and_then(|first| first.checked_sub(1))
    {
        let mut trimmed = within(&ledger.endangered, 0..=below);
        remove_all(&mut trimmed, &closed_to_a_server(found));
        for span in trimmed.spans() {
            ledger.endangered.remove_range(span.clone());
            ledger.live.remove_range(span);
        }
        ledger.remove(crate::report::Removal::Limit, &trimmed);
    }
}

/// A server's timers know what the TTL wheel has an entry for, and nothing of the other messages: those stay, however old.
fn stay(ledger: &mut Ledger, unknown_to_wheel: &SeqSet) {
    let stay = intersection(&ledger.timed_out, unknown_to_wheel);
    remove_all(&mut ledger.timed_out, &stay);
    remove_all(&mut ledger.expired, &stay);
    ledger.live.union_with(&stay);
}

/// What a start hands out is not lost. It stands in a file that is passed over here, as that of a purge which was not taken for
/// one: of that nothing tells whether it is still wanted.
fn hand_out(ledger: &mut Ledger, readable: &SeqSet) {
    let there = intersection(&ledger.lost, readable);
    remove_all(&mut ledger.lost, &there);
    ledger.unknown.union_with(&there);
}

/// Messages of blocks that a server does not read as they are, or not whole: what it misses of them no limit took.
fn closed_to_a_server(found: &Survey) -> SeqSet {
    let mut closed = SeqSet::new();
    for (block, find) in found.blocks.iter().zip(&found.finds) {
        let opens = block.key_repair.is_none() && !found.misplaced.contains_key(&find.file);
        if !opens || !find.is_whole() {
            closed.union_with(&find.messages);
        }
    }
    closed
}

/// What a stream with interest retention lets go at the start because a consumer that still waits for it does not come up.
fn owed(found: &Survey, report: &StreamReport) -> SeqSet {
    let comes_up = |name: &str| {
        let mut consumers = report.consumers.iter();
        consumers.any(|consumer| consumer.name == name && consumer.outcome == "ok")
    };
    let consumers = &found.consumers;
    let is_interest = found.gathered.evidence.meta.retention == Retention::Interest;
    if !is_interest || consumers.iter().all(|consumer| comes_up(&consumer.name)) {
        return SeqSet::new();
    }
    let last = found.trust.last.seq;
    let up = consumers.iter().filter(|consumer| comes_up(&consumer.name));
    let done = acknowledged(&up.map(judge).collect::<Vec<_>>(), last);
    let by_all = acknowledged(&consumers.iter().map(judge).collect::<Vec<_>>(), last);
    difference(&done, &by_all)
}

/// Brings the report in line with its ledger: what is lost, what the server says in vain, what comes back.
pub(crate) fn conclude(report: &mut StreamReport) {
    let Some(ledger) = &report.ledger else { return };
    let mut told = Vec::new();
    for (code, seqs) in [
        (EventCode::MessagesLost, &ledger.lost),
        (EventCode::FateUnknown, &ledger.unknown),
        (EventCode::StartLosesMessages, &ledger.endangered),
        (EventCode::DeletedReturn, &ledger.returning),
    ] {
        told.extend(told_of(code, seqs));
    }
    told.extend(ledger.untold_below.map(past_untold));
    let lost = report.state.as_ref().and_then(|state| state.lost.as_ref());
    let loses = ledger.holds_loss();
    if let Some(lost) = lost.filter(|lost| !lost.seqs.is_empty()) {
        let false_alarms = lost.seqs.iter().filter(|seq| !ledger.lost.contains(**seq));
        let count = false_alarms.count();
        if count > 0 {
            let detail = format!("{count} of the {} sequences in state.lost", lost.seqs.len());
            told.push(Event::new(EventCode::LossDisproved, detail));
        }
    }
    report.loses_messages = loses;
    if report.refusal.is_some() {
        report.events.extend(told);
        return;
    }
    if !loses {
        for event in &mut report.events {
            if event.code == EventCode::LostData {
                event.severity = Severity::Info;
            }
        }
    }
    report.events.extend(told);
    let worst = report.events.iter().map(|event| event.severity).max();
    report.outcome = match (loses || !report.unreadable.is_empty(), worst) {
        (true, _) => Outcome::Damaged,
        (false, Some(Severity::Warn | Severity::Error)) => {
            Outcome::Recovered.max(capped(report.outcome))
        }
        (false, _) => capped(report.outcome),
    };
}

/// An outcome without a loss.
fn capped(outcome: Outcome) -> Outcome {
    outcome.min(Outcome::Recovered)
}

/// That nothing tells what became of the messages before `first`.
pub(super) fn past_untold(first: u64) -> Event {
    Event::new(EventCode::PastUntold, format!("before sequence {first}")).seq(first)
}

fn told_of(code: EventCode, seqs: &SeqSet) -> Option<Event> {
    let first = seqs.first()?;
    let all = stretches(seqs);
    let mut shown: Vec<String> = all
        .iter()
        .take(STRETCHES_TOLD_MAX)
        .map(|(from, to)| match from == to {
            true => from.to_string(),
            false => format!("{from} to {to}"),
        })
        .collect();
    if all.len() > STRETCHES_TOLD_MAX {
        shown.push("and more".to_owned());
    }
    let detail = format!("{}: sequences {}", seqs.len(), shown.join(", "));
    Some(Event::new(code, detail).seq(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(aged: u64, timed_out: u64, live: u64) -> bool {
        let of = |from: u64, count: u64| (from..from + count).collect::<SeqSet>();
        let mut ledger = Ledger {
            expired: of(1, aged),
            timed_out: of(100, timed_out),
            live: of(200, live),
            ..Ledger::default()
        };
        ledger.expired.union_with(&ledger.timed_out);
        let stream = StreamDir {
            account: None,
            name: "S".to_owned(),
            dir: "S".into(),
        };
        let report = StreamReport {
            ledger: Some(ledger),
            ..stream.blank_report()
        };
        let asked = consent(&report, &RecoverOptions::default());
        assert!(
            asked
                .as_ref()
                .is_none_or(|event| event.code == EventCode::ExpiryNeedsConsent)
        );
        asked.is_some()
    }

    #[test]
    fn consent_is_for_what_a_recovery_itself_removes() {
        assert!(asks(2, 0, 0) && asks(2, 3, 0));
        assert!(!asks(0, 3, 0));
        assert!(!asks(2, 3, 1) && !asks(0, 0, 0));
    }
}
