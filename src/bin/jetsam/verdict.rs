//! The last line: what it comes to.

use jetsam::recovery::events::{EventCode, Severity};
use jetsam::recovery::report::{Outcome, Refusal, SalvageTotals, StreamReport};

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

fn awaits_consent(report: &StreamReport) -> bool {
    report
        .events
        .iter()
        .any(|event| event.code == EventCode::LossNeedsConsent)
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
        return format!(
            "{}, so nothing was changed: run `jetsam salvage` first, or repeat with --accept-loss",
            losses(report, "would be lost")
        );
    }
    if report.outcome == Outcome::Refused {
        return format!("refused: {}", reason(report));
    }
    if let Some(totals) = &report.salvage {
        let unfit = report
            .events
            .iter()
            .find(|event| event.code == EventCode::NewStoreUnfit);
        let kept = salvaged(totals, run);
        return match unfit {
            Some(event) => format!(
                "{kept}; do not start a server on it yet: {}",
                units::printable(&event.detail)
            ),
            None => kept,
        };
    }
    match (report.exit_code(), run) {
        (0, _) => "clean: nothing wrong, nothing lost".into(),
        (1, Run::Look) => "damage found, nothing lost".into(),
        (1, Run::Recover | Run::Salvage) => "recovered, nothing lost".into(),
        (_, Run::Look) => format!(
            "{}: run `jetsam salvage`",
            losses(report, "lost or unreadable")
        ),
        (_, Run::Recover | Run::Salvage) => losses(report, "lost or unreadable"),
    }
}

/// What was kept, or would be.
fn salvaged(totals: &SalvageTotals, run: Run) -> String {
    let fate = if run == Run::Salvage {
        "kept"
    } else {
        "can be kept"
    };
    let mut text = format!("{} messages {fate}", units::count(totals.recovered));
    for (count, what) in [
        (totals.repaired, "repaired"),
        (totals.uncertain, "uncertain"),
        (totals.quarantined, "put into quarantine"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {} {what}", units::count(count)));
        }
    }
    match totals.lost {
        0 => text + ", nothing lost",
        lost => format!("{text}, {} lost", units::count(lost)),
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
    let head = format!(
        "{} streams: {}",
        units::count(reports.len() as u64),
        parts.join(", ")
    );
    let worst = reports.iter().max_by_key(|report| report.exit_code());
    match worst {
        Some(worst) if worst.exit_code() > 0 => {
            format!(
                "{head}; worst is {}: {}",
                units::printable(&worst.name),
                of_one(worst, run)
            )
        }
        _ => head,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use jetsam::recovery::events::Event;

    #[test]
    fn each_outcome_has_its_sentence() {
        let mut recovered = sample::clean();
        recovered.outcome = Outcome::Recovered;
        let mut consent = sample::damaged();
        consent
            .events
            .push(Event::new(EventCode::LossNeedsConsent, ""));
        let cases = [
            (
                sample::clean(),
                Run::Look,
                "clean: nothing wrong, nothing lost",
            ),
            (recovered.clone(), Run::Look, "damage found, nothing lost"),
            (recovered, Run::Recover, "recovered, nothing lost"),
            (
                sample::damaged(),
                Run::Look,
                "3 messages lost or unreadable: run `jetsam salvage`",
            ),
            (
                sample::damaged(),
                Run::Recover,
                "3 messages lost or unreadable",
            ),
            (
                consent,
                Run::Recover,
                "3 messages would be lost, so nothing was changed: run `jetsam salvage` first, or \
                 repeat with --accept-loss",
            ),
            (
                sample::refused(),
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
        let clean = [sample::clean(), sample::clean()];
        assert_eq!(line(&clean, Run::Look), "2 streams: 2 clean");
        let mixed = [sample::clean(), sample::damaged()];
        assert_eq!(
            line(&mixed, Run::Look),
            "2 streams: 1 clean, 1 damaged; worst is ORDERS: 3 messages lost or unreadable: run \
             `jetsam salvage`"
        );
    }

    #[test]
    fn nothing_counts_as_applied_where_consent_is_awaited() {
        let mut report = sample::damaged();
        assert!(was_applied(&report, Run::Recover) && !was_applied(&report, Run::Look));
        report
            .events
            .push(Event::new(EventCode::LossNeedsConsent, ""));
        assert!(!was_applied(&report, Run::Recover));
        assert!(!was_applied(&sample::refused(), Run::Recover));
    }
}
