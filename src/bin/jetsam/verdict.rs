//! The last line: what it comes to.

use jetsam::report::Ledger;
use jetsam::report::events::{EventCode, Severity};
use jetsam::report::stream::{Outcome, Refusal, SalvageTotals, StreamReport};

use crate::ledger::{self, Counts};
use crate::units;

/// What was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Nothing was to be written.
    Look,
    /// Changes were to be made.
    Recover,
    /// A new store was to be written.
    Salvage,
}

/// Whether the actions of a report were carried out.
pub fn was_applied(report: &StreamReport, run: Run) -> bool {
    run == Run::Recover && report.outcome != Outcome::Refused && !awaits_consent(report)
}

/// Whether it waits for the word that messages may go.
pub fn awaits_consent(report: &StreamReport) -> bool {
    const ASKS: [EventCode; 2] = [EventCode::LossNeedsConsent, EventCode::ExpiryNeedsConsent];
    report.events.iter().any(|event| ASKS.contains(&event.code))
}

/// The verdict over all streams, one line without its end.
pub fn line(reports: &[StreamReport], run: Run) -> String {
    match reports {
        [] => "no streams here".into(),
        [report] => of_one(report, run),
        _ => of_many(reports, run),
    }
}

fn of_one(report: &StreamReport, run: Run) -> String {
    if awaits_consent(report) {
        return consent(report);
    }
    if report.outcome == Outcome::Refused {
        return format!("refused: {}", reason(report));
    }
    if let Some(totals) = &report.salvage {
        let unfit = report
            .events
            .iter()
            .find(|event| event.code == EventCode::NewStoreUnfit);
        let kept = salvaged(totals, report.ledger.as_ref(), run);
        return match unfit {
            Some(event) => format!(
                "{kept}; do not start a server on it yet: {}",
                units::printable(&event.detail)
            ),
            None => kept,
        };
    }
    let outcome = match &report.ledger {
        Some(ledger) => Counts::of(ledger).outcome(),
        None if report.exit_code() < 4 => "no loss seen".into(),
        None => losses(report, "lost or unreadable"),
    };
    match (report.exit_code(), run) {
        (0, _) if !stopped_cleanly(report) => {
            format!("clean: {outcome}; it was not stopped cleanly")
        }
        (0, Run::Recover) => format!("clean: {outcome}"),
        (0, _) => format!("clean: nothing wrong, {outcome}"),
        (1, Run::Look) => format!("damage found, {outcome}"),
        (1, Run::Recover | Run::Salvage) => format!("recovered, {outcome}"),
        _ => outcome,
    }
}

/// What has to be accepted before anything is changed.
fn consent(report: &StreamReport) -> String {
    match &report.ledger {
        Some(ledger) if !ledger.holds_loss() && !ledger.expired.is_empty() => {
            let (expired, live) = (ledger.expired.len(), ledger.live.len());
            let all = ledger::messages(expired.saturating_add(live));
            let expired = units::count(expired);
            let fate = match ledger.timed_out.is_empty() {
                true => "would be removed by age",
                false => "have expired",
            };
            format!(
                "{expired} of {all} {fate}, so nothing was changed: --no-expire keeps them, --accept-expiry lets them go"
            )
        }
        Some(ledger) if ledger.holds_loss() => format!(
            "{} would be lost, so nothing was changed: run `jetsam salvage` first, or repeat with --accept-loss",
            ledger::messages(ledger::lost(ledger))
        ),
        _ => format!(
            "{}, so nothing was changed: run `jetsam salvage` first, or repeat with --accept-loss",
            losses(report, "would be lost")
        ),
    }
}

/// Whether `index.db` was up to date: a server that is stopped leaves it so, one that is killed does not.
fn stopped_cleanly(report: &StreamReport) -> bool {
    use EventCode::{IndexAbsent, IndexStaleExtraBlocks, IndexStaleLastRecord};
    let stale = [IndexAbsent, IndexStaleExtraBlocks, IndexStaleLastRecord];
    !report
        .events
        .iter()
        .any(|event| stale.contains(&event.code))
}

/// How many messages of a stream are lost, as far as that was told.
pub fn lost(report: &StreamReport) -> Option<u64> {
    if let Some(ledger) = &report.ledger {
        return Some(ledger::lost(ledger));
    }
    let state = report.state.as_ref()?;
    let lost = state.lost.as_ref().map_or(0, |lost| lost.seqs.len());
    Some((lost + report.unreadable.len()) as u64)
}

/// How bad a stream's end is: what is lost weighs more than what was refused, that more than damage, that more than doubts.
/// Of two that are alike the one with more of it is worse.
pub fn harm(report: &StreamReport) -> (u8, u64) {
    let lost = lost(report).unwrap_or(0);
    let doubts = report.ledger.as_ref().map_or(0, |ledger| {
        ledger.unknown.len().saturating_add(ledger.returning.len())
    });
    match (report.outcome, report.exit_code()) {
        (Outcome::Refused, 4) => (4, lost),
        (Outcome::Refused, _) => (3, lost),
        (_, 4..) => (5, lost),
        (_, 1..) => (2, doubts),
        _ if doubts > 0 => (1, doubts),
        _ => (0, 0),
    }
}

/// What was kept, or would be.
fn salvaged(totals: &SalvageTotals, ledger: Option<&Ledger>, run: Run) -> String {
    let fate = if run == Run::Salvage {
        "kept"
    } else {
        "can be kept"
    };
    let mut text = format!("{} {fate}", ledger::messages(totals.recovered));
    for (count, what) in [
        (totals.repaired, "repaired"),
        (totals.uncertain, "uncertain"),
        (totals.old_values, "old values of keys"),
        (totals.quarantined, "put into quarantine"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {} {what}", units::count(count)));
        }
    }
    // What the ledger calls lost is the same in every verb.
    match ledger.map_or(totals.lost, |ledger| ledger.lost.len()) {
        0 => text.push_str(", nothing lost"),
        lost => text.push_str(&format!(", {} lost", units::count(lost))),
    }
    match ledger.map_or(0, |ledger| ledger.expired.len()) {
        0 => text,
        expired => format!("{text}, {} of them expired", units::count(expired)),
    }
}

/// How much, as far as it is known.
fn losses(report: &StreamReport, fate: &str) -> String {
    let lost = report.state.as_ref().and_then(|state| state.lost.as_ref());
    let known = lost.map_or(0, |lost| lost.seqs.len()) + report.unreadable.len();
    match (known, lost.map_or(0, |lost| lost.bytes)) {
        (0, 0) => format!("messages {fate}"),
        (0, bytes) => format!("messages {fate} ({})", units::bytes(bytes)),
        (1, _) => format!("1 message {fate}"),
        (n, _) => format!("{} messages {fate}", units::count(n as u64)),
    }
}

fn reason(report: &StreamReport) -> String {
    let errors = || {
        report
            .events
            .iter()
            .filter(|event| event.severity == Severity::Error)
    };
    let cause = errors()
        .find(|event| event.code != EventCode::StreamRefused)
        .or(errors().next());
    let fate = match report.refusal {
        Some(Refusal::OpenFails) => {
            "the server would fail to open it and leave it out, and releases before 2.14.10 and 2.15.3 delete it"
        }
        Some(Refusal::ServerDown) => "the server would go down at every start",
        Some(Refusal::Skipped) => "the server would start without it",
        Some(Refusal::NeedsKey) => "a key is missing or does not fit",
        Some(Refusal::Io) => "a file could not be read or written",
        Some(Refusal::Busy) => "another process holds the store",
        Some(Refusal::Refrained) => "nothing was written",
        None => "the events say why",
    };
    match cause {
        Some(event) => {
            let place = event
                .file
                .as_deref()
                .map(|file| format!("{file}: "))
                .unwrap_or_default();
            let cause = format!("{place}{} ({})", event.detail, event.code);
            format!("{fate}: {}", units::printable(&cause))
        }
        None => fate.into(),
    }
}

fn of_many(reports: &[StreamReport], run: Run) -> String {
    let count = |wanted: &dyn Fn(&StreamReport) -> bool| {
        reports.iter().filter(|report| wanted(report)).count() as u64
    };
    let all = units::count(reports.len() as u64);
    let worst = reports.iter().rev().max_by_key(|report| harm(report));
    let clean = count(&|report| report.outcome == Outcome::Clean);
    if clean as usize == reports.len() {
        let mut text = format!("{all} streams, all clean: {}", together(reports));
        match count(&|report| !stopped_cleanly(report)) {
            0 => {}
            n if n as usize == reports.len() => text.push_str("; they were not stopped cleanly"),
            1 => text.push_str("; 1 was not stopped cleanly"),
            n => text.push_str(&format!("; {} were not stopped cleanly", units::count(n))),
        }
        return text;
    }
    let mut parts = Vec::new();
    for outcome in [
        Outcome::Clean,
        Outcome::Recovered,
        Outcome::Damaged,
        Outcome::Refused,
    ] {
        let n = count(&|report| report.outcome == outcome);
        if n > 0 {
            parts.push(format!("{} {}", units::count(n), outcome.as_str()));
        }
    }
    let head = format!("{all} streams: {}", parts.join(", "));
    match worst {
        Some(worst) => format!(
            "{head}; worst is {}: {}",
            units::printable(&worst.name),
            of_one(worst, run)
        ),
        None => head,
    }
}

/// What the ledgers of clean streams come to.
fn together(reports: &[StreamReport]) -> String {
    let mut all = Counts::default();
    for report in reports {
        match &report.ledger {
            Some(ledger) => all = all.plus(Counts::of(ledger)),
            None => return "no loss seen".into(),
        }
    }
    format!("nothing wrong, {}", all.outcome())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;
    use jetsam::report::events::Event;

    fn ledger(live: u64, lost: u64) -> Ledger {
        Ledger {
            live: (1..=live).collect(),
            lost: (1_000..1_000 + lost).collect(),
            ..Ledger::default()
        }
    }

    #[test]
    fn what_expires_is_told_however_little_it_is() {
        let mut report = test_support::clean();
        report.ledger = Some(Ledger {
            live: (40_001..=87_996).collect(),
            expired: (1..=40_000).collect(),
            ..Ledger::default()
        });
        assert_eq!(
            line(std::slice::from_ref(&report), Run::Recover),
            "clean: nothing lost, 40,000 expired by age"
        );
        let ledger = report.ledger.as_mut().expect("a ledger");
        ledger.timed_out = (1..=10_000).collect();
        assert_eq!(
            line(std::slice::from_ref(&report), Run::Recover),
            "clean: nothing lost, 30,000 expired by age, 10,000 expired by TTL go right after a server's start"
        );
    }

    #[test]
    fn each_outcome_has_its_sentence() {
        let mut recovered = test_support::clean();
        recovered.outcome = Outcome::Recovered;
        recovered.ledger = Some(ledger(3, 0));
        let killed = StreamReport {
            ledger: Some(ledger(3, 0)),
            events: vec![Event::new(EventCode::IndexAbsent, "there is none")],
            ..test_support::clean()
        };
        let mut told = test_support::damaged();
        told.ledger = Some(ledger(9, 5));
        let mut consent = test_support::damaged();
        let asks = Event::new(EventCode::LossNeedsConsent, "");
        consent.events.push(asks);
        let aged = StreamReport {
            ledger: Some(Ledger {
                expired: (1..=1_234).collect(),
                ..Ledger::default()
            }),
            events: vec![Event::new(EventCode::ExpiryNeedsConsent, "")],
            ..test_support::clean()
        };
        let cases = [
            (
                test_support::clean(),
                Run::Look,
                "clean: nothing wrong, nothing lost",
            ),
            (
                killed,
                Run::Look,
                "clean: nothing lost; it was not stopped cleanly",
            ),
            (recovered.clone(), Run::Look, "damage found, nothing lost"),
            (recovered, Run::Recover, "recovered, nothing lost"),
            (
                test_support::damaged(),
                Run::Look,
                "3 messages lost or unreadable",
            ),
            (told, Run::Look, "5 messages lost"),
            (
                consent,
                Run::Recover,
                "3 messages would be lost, so nothing was changed: run `jetsam salvage` first, or \
                 repeat with --accept-loss",
            ),
            (
                aged,
                Run::Recover,
                "1,234 of 1,234 messages would be removed by age, so nothing was changed: \
                 --no-expire keeps them, --accept-expiry lets them go",
            ),
            (
                test_support::refused(),
                Run::Recover,
                "refused: a key is missing or does not fit: meta.key is present (key-missing)",
            ),
        ];
        for (report, run, want) in cases {
            assert_eq!(line(&[report], run), want);
        }
    }

    #[test]
    fn several_streams_are_counted_and_the_worst_is_named() {
        assert_eq!(line(&[], Run::Look), "no streams here");
        let clean = [test_support::clean(), test_support::clean()];
        assert_eq!(
            line(&clean, Run::Look),
            "2 streams, all clean: nothing wrong, nothing lost"
        );
        let mixed = [test_support::clean(), test_support::damaged()];
        assert_eq!(
            line(&mixed, Run::Look),
            "2 streams: 1 clean, 1 damaged; worst is ORDERS: 3 messages lost or unreadable"
        );
    }

    #[test]
    fn a_loss_is_worse_than_a_refusal_and_a_greater_loss_worse_still() {
        let mut greater = test_support::damaged();
        greater.name = "GREATER".into();
        greater.ledger = Some(ledger(0, 500));
        let mut mended = test_support::clean();
        mended.outcome = Outcome::Recovered;
        let worst = |reports: &[StreamReport]| {
            let text = line(reports, Run::Look);
            let (_, worst) = text.split_once("worst is ").expect("a worst");
            worst.split(':').next().unwrap_or_default().to_owned()
        };
        let all = [
            mended.clone(),
            test_support::refused(),
            test_support::damaged(),
            greater,
        ];
        assert_eq!(worst(&all), "GREATER");
        assert_eq!(worst(&all[..3]), "ORDERS");
        // The exit code of a missing key is the higher number all the same.
        assert_eq!(worst(&all[..2]), "SECRET");
    }

    #[test]
    fn killed_streams_are_clean_and_told() {
        let killed = StreamReport {
            ledger: Some(ledger(3, 0)),
            events: vec![Event::new(EventCode::IndexStaleLastRecord, "")],
            ..test_support::clean()
        };
        let text = line(&[killed.clone(), killed.clone()], Run::Look);
        assert_eq!(
            text,
            "2 streams, all clean: nothing wrong, nothing lost; they were not stopped cleanly"
        );
        let text = line(
            &[killed, test_support::clean(), test_support::clean()],
            Run::Look,
        );
        assert!(text.ends_with("; 1 was not stopped cleanly"), "{text}");
    }

    #[test]
    fn nothing_counts_as_applied_where_consent_is_awaited() {
        let mut report = test_support::damaged();
        assert!(was_applied(&report, Run::Recover) && !was_applied(&report, Run::Look));
        report
            .events
            .push(Event::new(EventCode::LossNeedsConsent, ""));
        assert!(!was_applied(&report, Run::Recover));
        assert!(!was_applied(&test_support::refused(), Run::Recover));
    }
}
