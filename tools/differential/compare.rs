//! What both sides say of one case, side by side.

use std::collections::BTreeMap;
use std::fmt;

use jetsam::report::events::{Event, EventCode};
use jetsam::report::stream::{Refusal, Source, StreamReport};

use crate::oracle::{Answer, GoState, Lost};

/// One field on which the two sides differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub field: String,
    pub go: String,
    pub ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    {}", self.field)?;
        writeln!(f, "      go:   {}", self.go)?;
        write!(f, "      ours: {}", self.ours)
    }
}

/// Collects differences.
#[derive(Debug, Default)]
pub struct Differences(pub Vec<Difference>);

impl Differences {
    pub fn add(&mut self, field: impl Into<String>, go: impl fmt::Debug, ours: impl fmt::Debug) {
        self.0.push(Difference {
            field: field.into(),
            go: clip(format!("{go:?}")),
            ours: clip(format!("{ours:?}")),
        });
    }

    pub fn check<T: PartialEq + fmt::Debug>(&mut self, field: &str, go: T, ours: T) {
        if go != ours {
            self.add(field, go, ours);
        }
    }
}

fn clip(text: String) -> String {
    if text.len() <= 400 {
        return text;
    }
    let end = (0..=400)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or_default();
    format!(
        "{}… ({} characters)",
        text.get(..end).unwrap_or_default(),
        text.len()
    )
}

/// Whether a server standing alone leaves the stream out, which is looked at, and mended, here all the same.
pub fn wants_a_cluster(report: &StreamReport) -> bool {
    let wants = |event: &Event| event.code == EventCode::ReplicasUnsupported;
    report.events.iter().any(wants)
}

/// How the open call came out, in one word for both sides.
fn our_outcome(report: &StreamReport) -> &'static str {
    // The server is done with it before it looks at a block; we look, and may find that a cluster's server fails too.
    if wants_a_cluster(report) {
        return "skipped";
    }
    match report.refusal {
        None => "opened",
        Some(Refusal::OpenFails) => "error",
        Some(Refusal::ServerDown) => "panic",
        Some(Refusal::Skipped) => "skipped",
        Some(Refusal::NeedsKey) => "needs-key",
        Some(Refusal::Io) => "io",
        Some(Refusal::Busy) => "busy",
        Some(Refusal::Refrained) => "refrained",
    }
}

/// Whether two outcomes stand for the same thing.
pub fn outcomes_agree(go: &str, ours: &str) -> bool {
    go == ours
        || matches!(
            (go, ours),
            ("skipped", "needs-key" | "io") | ("error", "io")
        )
}

/// Whether we foresee that reading brings the server down.
pub fn foresees_crash(report: &StreamReport) -> bool {
    report
        .events
        .iter()
        .any(|event| event.code == EventCode::ReadWouldCrash)
}

/// Compares an answer with our examination.
pub fn reports(answer: &Answer, report: &StreamReport) -> Differences {
    let mut found = Differences::default();
    let ours = our_outcome(report);
    if !outcomes_agree(&answer.outcome, ours) {
        let events = last_events(report);
        found.add(
            format!("outcome {} / {ours}", answer.outcome),
            &answer.error,
            events,
        );
        return found;
    }
    if answer.outcome != "opened" {
        return found;
    }
    let (Some(go), Some(state)) = (&answer.state, &report.state) else {
        found.add("state", answer.state.is_some(), report.state.is_some());
        return found;
    };
    if let Some(fast) = answer.fast_path {
        found.check("source", fast, report.source == Some(Source::Index));
    }
    states(&mut found, go, state);
    subjects(&mut found, answer, report);
    timers(&mut found, answer, report);
    reading(&mut found, answer, report);
    found
}

fn last_events(report: &StreamReport) -> String {
    let texts = report.events.iter().rev().take(3);
    texts
        .map(|event| {
            format!(
                "{} {} {}",
                event.code,
                event.file.as_deref().unwrap_or(""),
                event.detail
            )
        })
        .collect::<Vec<_>>()
        .join(" | ")
}

/// Nanoseconds of a time in the oracle's notation, none for the zero time.
fn nanoseconds(text: &str) -> Option<i64> {
    if text == "0001-01-01T00:00:00Z" {
        return None;
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

fn states(found: &mut Differences, go: &GoState, ours: &jetsam::report::stream::State) {
    found.check("messages", go.messages, ours.messages);
    found.check("bytes", go.bytes, ours.bytes);
    found.check("first_seq", go.first_seq, ours.first_seq);
    found.check("first_ts", nanoseconds(&go.first_ts), ours.first_time_ns);
    found.check("last_seq", go.last_seq, ours.last_seq);
    found.check("last_ts", nanoseconds(&go.last_ts), ours.last_time_ns);
    found.check("num_subjects", go.num_subjects, ours.subject_count);
    if !go.deleted_omitted {
        found.check(
            "num_deleted",
            i128::from(go.num_deleted),
            i128::from(ours.deleted_count),
        );
        if let Some(deleted) = &ours.deleted
            && go.deleted != *deleted
        {
            let missing = go
                .deleted
                .iter()
                .filter(|seq| deleted.binary_search(seq).is_err());
            let surplus = deleted.iter().filter(|seq| !go.deleted.contains(seq));
            let missing: Vec<_> = missing.collect();
            let surplus: Vec<_> = surplus.collect();
            if missing.is_empty() && surplus.is_empty() {
                found.add("deleted (order or repeats)", &go.deleted, deleted);
            } else {
                found.add(
                    "deleted",
                    format!("also {missing:?}"),
                    format!("also {surplus:?}"),
                );
            }
        }
    }
    let lost = |lost: &Lost| (lost.msgs.clone().unwrap_or_default(), lost.bytes);
    let go_lost = go.lost.as_ref().map(lost);
    let our_lost = ours
        .lost
        .as_ref()
        .map(|lost| (lost.seqs.clone(), lost.bytes));
    found.check("lost", go_lost, our_lost);
}

/// A subject as JSON shows it: one replacement character for each byte that is not UTF-8.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '\u{FFFD}'));
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn subjects(found: &mut Differences, answer: &Answer, report: &StreamReport) {
    let Some(ours) = &report.subjects else {
        return;
    };
    let (go, ours): (_, BTreeMap<String, u64>) = match &answer.subjects_hex {
        Some(go) => (
            go.clone(),
            ours.iter()
                .map(|(name, count)| (hex(name), *count))
                .collect(),
        ),
        None => (
            answer.subjects.clone().unwrap_or_default(),
            ours.iter()
                .map(|(name, count)| (shown(name), *count))
                .collect(),
        ),
    };
    if go != ours {
        let differing = |a: &BTreeMap<String, u64>, b: &BTreeMap<String, u64>| {
            let list = a.iter().filter(|(name, count)| b.get(*name) != Some(count));
            list.map(|(name, count)| (name.clone(), *count))
                .collect::<BTreeMap<_, _>>()
        };
        found.add("subjects", differing(&go, &ours), differing(&ours, &go));
    }
}

fn timers(found: &mut Differences, answer: &Answer, report: &StreamReport) {
    let go = answer.ttl.as_ref().map(|ttl| {
        let mut entries = ttl.entries.clone();
        entries.sort_unstable();
        (ttl.count, entries)
    });
    let ours = report.ttl.as_ref().map(|ttl| {
        let mut entries = ttl.entries.clone().unwrap_or_default();
        entries.sort_unstable();
        (ttl.count, entries)
    });
    found.check("ttl", go, ours);
    let go = answer.schedules.as_ref().map(|schedules| {
        let mut entries = schedules.entries.clone();
        entries.sort();
        (schedules.count, entries)
    });
    let ours = report.schedules.as_ref().map(|schedules| {
        let entries = schedules.entries.iter().flatten();
        let mut entries: Vec<_> = entries
            .map(|(subject, seq, ns)| (shown(subject), *seq, *ns))
            .collect();
        entries.sort();
        (schedules.count, entries)
    });
    found.check("schedules", go, ours);
    let go = answer.sources.as_ref().map(|sources| {
        let list = sources
            .iter()
            .map(|(key, at)| (key.clone(), (at.seq, at.ident.clone())));
        list.collect::<BTreeMap<_, _>>()
    });
    let ours = report.sources.as_ref().map(|sources| {
        let list = sources
            .iter()
            .map(|(key, at)| (shown(key), (at.seq, shown(&at.identity))));
        list.collect::<BTreeMap<_, _>>()
    });
    found.check("sources", go, ours);
}

fn reading(found: &mut Differences, answer: &Answer, report: &StreamReport) {
    let foreseen = foresees_crash(report);
    match answer.read_outcome.as_str() {
        "ok" => {
            if foreseen {
                found.add("reading", "ok", "read-would-crash");
            }
            let digest = report
                .digest
                .map(|digest| format!("sha256:{}", hex(&digest)));
            found.check("digest", Some(answer.digest.clone()), digest);
            let go = answer.unreadable.clone().unwrap_or_default();
            // Where the oracle lists no deleted sequences it passes over those it does not find.
            let state = answer.state.as_ref();
            let omitted = state.is_some_and(|state| state.deleted_omitted);
            // Nor is one listed where the first sequence lies beyond the last: then it asks for those that were deleted, too.
            let inverted =
                state.is_some_and(|state| state.messages > 0 && state.first_seq > state.last_seq);
            let alike = if omitted {
                go.iter().all(|seq| report.unreadable.contains(seq))
            } else if inverted {
                go.is_empty() == report.unreadable.is_empty()
                    && report.unreadable.iter().all(|seq| go.contains(seq))
            } else {
                go == report.unreadable
            };
            if !alike {
                let why = answer.load_errors.clone().unwrap_or_default();
                found.add("unreadable", (go, why), &report.unreadable);
            }
        }
        // How much memory is too much, and how long too long, is for the machine to say.
        "panic" if !foreseen => {
            found.add(
                "reading",
                format!("{}: {}", answer.read_outcome, answer.read_error),
                "no read-would-crash",
            );
        }
        _ => {}
    }
}
