//! What is told about one stream below the summary: events, actions, and what was asked for.

use std::fmt::Write as _;

use jetsam::recovery::actions::Action;
use jetsam::recovery::events::{Event, EventCode, Severity};
use jetsam::recovery::report::StreamReport;

use crate::console::Style;
use crate::units;

/// More of one kind than this are counted, not listed.
const LISTED_MAX: usize = 20;

/// Whether the actions were done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tense {
    /// They were.
    Done,
    /// They would be.
    Planned,
}

/// Everything about one stream that does not fit the table; empty where there is nothing.
pub fn stream(report: &StreamReport, tense: Tense, style: Style) -> String {
    let mut text = String::new();
    events(&mut text, &report.events, style);
    actions(&mut text, &report.actions, tense);
    extras(&mut text, report);
    if text.is_empty() {
        return text;
    }
    let account = match &report.account {
        Some(account) => format!(" in account {}", units::printable(account)),
        None => String::new(),
    };
    format!(
        "\nStream {}{account}, {}\n{text}",
        units::printable(&report.name),
        units::printable(&report.dir)
    )
}

/// What was seen and what would be done; empty where there is neither.
pub fn told(seen: &[Event], planned: &[Action], tense: Tense, style: Style) -> String {
    let mut text = String::new();
    events(&mut text, seen, style);
    actions(&mut text, planned, tense);
    text
}

/// Stretches of sequences, some of them.
pub fn spans(spans: &[(u64, u64)]) -> String {
    let shown: Vec<_> = spans
        .iter()
        .take(LISTED_MAX)
        .map(|&(from, to)| match from == to {
            true => units::count(from),
            false => format!("{}-{}", units::count(from), units::count(to)),
        })
        .collect();
    let rest = spans.len().saturating_sub(LISTED_MAX);
    match rest {
        0 => shown.join(", "),
        rest => format!(
            "{} and {} more stretches",
            shown.join(", "),
            units::count(rest as u64)
        ),
    }
}

/// Groups by code in the order of first appearance.
fn events(text: &mut String, events: &[Event], style: Style) {
    let mut groups: Vec<(EventCode, Vec<&Event>)> = Vec::new();
    for event in events {
        match groups.iter_mut().find(|(code, _)| *code == event.code) {
            Some((_, group)) => group.push(event),
            None => groups.push((event.code, vec![event])),
        }
    }
    for (code, group) in groups {
        let worst = group
            .iter()
            .map(|event| event.severity)
            .max()
            .unwrap_or(Severity::Info);
        let times = match group.len() {
            1 => String::new(),
            n => format!(", {} times", units::count(n as u64)),
        };
        let _ = writeln!(text, "\n  {} {code}{times}", severity(worst, style));
        paragraph(text, code.meaning());
        if !code.advice().is_empty() {
            paragraph(text, &format!("What to do: {}", code.advice()));
        }
        for event in group.iter().take(LISTED_MAX) {
            let _ = writeln!(text, "      {}", place_and_detail(event));
        }
        more(text, group.len());
    }
}

fn severity(severity: Severity, style: Style) -> String {
    let color = match severity {
        Severity::Info => 36,
        Severity::Warn => 33,
        Severity::Error => 31,
    };
    style.paint(color, severity.as_str())
}

fn place_and_detail(event: &Event) -> String {
    let mut places = Vec::new();
    if let Some(file) = &event.file {
        places.push(units::printable(file));
    }
    if let Some(offset) = event.offset {
        places.push(format!("offset {}", units::count(offset)));
    }
    if let Some(seq) = event.seq {
        places.push(format!("sequence {}", units::count(seq)));
    }
    match (places.is_empty(), event.detail.is_empty()) {
        (true, _) => units::printable(&event.detail),
        (false, true) => places.join(", "),
        (false, false) => format!("{}: {}", places.join(", "), units::printable(&event.detail)),
    }
}

fn actions(text: &mut String, actions: &[Action], tense: Tense) {
    if actions.is_empty() {
        return;
    }
    text.push_str(match tense {
        Tense::Done => "\n  Done:\n",
        Tense::Planned => "\n  Planned, not done:\n",
    });
    for action in actions.iter().take(LISTED_MAX) {
        let offset = match action.offset {
            Some(offset) => format!(" at offset {}", units::count(offset)),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "      {} {}{offset}: {}",
            action.kind.as_str(),
            units::printable(&action.file),
            units::printable(&action.detail)
        );
    }
    more(text, actions.len());
}

fn more(text: &mut String, count: usize) {
    if count > LISTED_MAX {
        let rest = units::count((count - LISTED_MAX) as u64);
        let _ = writeln!(text, "      and {rest} more; --json lists them all");
    }
}

/// The parts that come only when asked for, and what is lost.
fn extras(text: &mut String, report: &StreamReport) {
    if let Some(lost) = report.state.as_ref().and_then(|state| state.lost.as_ref()) {
        let _ = write!(text, "\n  Lost: {}", units::bytes(lost.bytes));
        if !lost.seqs.is_empty() {
            let _ = write!(text, ", sequences {}", ranges(&lost.seqs));
        }
        text.push('\n');
    }
    if !report.unreadable.is_empty() {
        let _ = writeln!(
            text,
            "\n  Unreadable: sequences {}",
            ranges(&report.unreadable)
        );
    }
    if let Some(deleted) = report
        .state
        .as_ref()
        .and_then(|state| state.deleted.as_ref())
    {
        let _ = writeln!(text, "\n  Deleted: {}", ranges(deleted));
    }
    if let Some(digest) = &report.digest {
        let _ = writeln!(text, "\n  Digest: sha256:{}", units::hex(digest));
    }
    if let Some(subjects) = &report.subjects {
        let _ = writeln!(text, "\n  Subjects:");
        for (subject, count) in subjects.iter().take(LISTED_MAX) {
            let subject = units::printable(&units::text(subject));
            let _ = writeln!(text, "      {subject}: {}", units::count(*count));
        }
        more(text, subjects.len());
    }
    if let Some(entries) = report.ttl.as_ref().and_then(|ttl| ttl.entries.as_ref()) {
        let _ = writeln!(text, "\n  Message TTLs:");
        for (seq, expires_ns) in entries.iter().take(LISTED_MAX) {
            let expires = units::local_time(*expires_ns);
            let _ = writeln!(
                text,
                "      sequence {} expires {expires}",
                units::count(*seq)
            );
        }
        more(text, entries.len());
    }
    schedules_and_sources(text, report);
}

fn schedules_and_sources(text: &mut String, report: &StreamReport) {
    if let Some(entries) = report
        .schedules
        .as_ref()
        .and_then(|found| found.entries.as_ref())
    {
        let _ = writeln!(text, "\n  Schedules:");
        for (subject, seq, fires_ns) in entries.iter().take(LISTED_MAX) {
            let subject = units::printable(&units::text(subject));
            let _ = writeln!(
                text,
                "      {subject}, sequence {}, fires {}",
                units::count(*seq),
                units::local_time(*fires_ns)
            );
        }
        more(text, entries.len());
    }
    if let Some(sources) = report
        .sources
        .as_ref()
        .filter(|sources| !sources.is_empty())
    {
        let _ = writeln!(text, "\n  Sources:");
        for (key, position) in sources.iter().take(LISTED_MAX) {
            let key = units::printable(&units::text(key));
            let _ = writeln!(text, "      {key}: sequence {}", units::count(position.seq));
        }
        more(text, sources.len());
    }
}

/// `1-5, 7, 9-10`, the first of them where there are many.
pub fn ranges(seqs: &[u64]) -> String {
    if seqs.is_empty() {
        return "none".into();
    }
    let mut shown: Vec<(u64, u64)> = Vec::new();
    let mut rest: u64 = 0;
    for &seq in seqs {
        let full = shown.len() == LISTED_MAX;
        match shown.last_mut() {
            Some((_, last)) if rest == 0 && last.checked_add(1) == Some(seq) => *last = seq,
            _ if full => rest += 1,
            _ => shown.push((seq, seq)),
        }
    }
    let mut parts: Vec<String> = Vec::with_capacity(shown.len());
    for (first, last) in shown {
        let first_text = units::count(first);
        parts.push(match last {
            last if last == first => first_text,
            last => format!("{first_text}-{}", units::count(last)),
        });
    }
    let mut text = parts.join(", ");
    if rest > 0 {
        let _ = write!(text, " and {} more", units::count(rest));
    }
    text
}

/// Wraps a sentence at the width of a page.
fn paragraph(text: &mut String, sentence: &str) {
    const WIDTH: usize = 92;
    let mut line = String::new();
    for word in sentence.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "    {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(text, "    {line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_clean_stream_needs_no_words() {
        assert_eq!(stream(&sample::clean(), Tense::Done, Style::PLAIN), "");
    }

    #[test]
    fn an_event_says_what_it_means_and_what_to_do() {
        let mut report = sample::damaged();
        report.subjects = None;
        report.ttl = None;
        report.schedules = None;
        report.events.remove(0);
        let want = "
Stream ORDERS in account A, /data/A/streams/ORDERS

  error block-bad-record
    A record in this block is damaged or cut off. The server reads no further than this and
    drops the rest of the block, good records included.
    What to do: At the very end of the newest block this is the trace of a crash. Anywhere else,
    use `jetsam salvage` first: it reads on behind the damage.
      msgs/3.blk, offset 999,827, sequence 12: hash differs

  Planned, not done:
      truncate-block msgs/3.blk at offset 999,827: first bad record

  Lost: 99 B, sequences 7-8

  Unreadable: sequences 12

  Deleted: 2, 5-6

  Digest: sha256:abababababababababababababababababababababababababababababababab

  Sources:
      S 1: sequence 9
";
        assert_eq!(stream(&report, Tense::Planned, Style::PLAIN), want);
        assert!(stream(&report, Tense::Done, Style::PLAIN).contains("\n  Done:\n"));
    }

    #[test]
    fn long_lists_are_folded() {
        let mut report = sample::clean();
        for seq in 1..=1023 {
            report
                .events
                .push(Event::new(EventCode::RecordUnreadable, "bad").seq(seq));
        }
        report.events.push(Event::new(EventCode::IndexAbsent, ""));
        let text = stream(&report, Tense::Done, Style::PLAIN);
        assert!(text.contains("error record-unreadable, 1,023 times\n"));
        assert!(text.contains("sequence 20: bad") && !text.contains("sequence 21: bad"));
        assert!(text.contains("and 1,003 more"));
        assert_eq!(text.matches("index-absent").count(), 1);
    }

    #[test]
    fn names_from_disk_cannot_steer_the_terminal() {
        let mut report = sample::clean();
        report
            .events
            .push(Event::new(EventCode::LeftOverFile, "x").file("msgs/\x1b[2J"));
        assert!(!stream(&report, Tense::Done, Style::PLAIN).contains('\x1b'));
    }

    #[test]
    fn ranges_join_neighbours_and_end_somewhere() {
        assert_eq!(ranges(&[]), "none");
        assert_eq!(ranges(&[1, 2, 3, 7, 1000, 1001]), "1-3, 7, 1,000-1,001");
        assert_eq!(ranges(&[u64::MAX - 1, u64::MAX]).matches('-').count(), 1);
        let odd: Vec<u64> = (0..100).map(|i| i * 2).collect();
        assert!(ranges(&odd).ends_with("38 and 80 more"));
    }
}
