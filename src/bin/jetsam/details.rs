//! What is told about one stream below the summary: events, actions, and what was asked for.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jetsam::report::actions::Action;
use jetsam::report::events::{Event, EventCode, Severity};
use jetsam::report::stream::StreamReport;
use jetsam::salvage::hit::Hit;

use crate::console::Style;
use crate::page::Page;
use crate::{hit, ledger, units};

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

/// Whether a stream needs no words: nothing is wrong with it, and nothing else is worth telling.
pub fn is_silent(report: &StreamReport) -> bool {
    let ledger = report.ledger.as_ref();
    report.exit_code() == 0
        && !ledger.is_some_and(ledger::says_something)
        && !report.events.iter().any(is_worth_telling)
}

/// Whether people want to know it though it harms nothing.
pub fn is_worth_telling(event: &Event) -> bool {
    event.code == EventCode::AgeBlockedByFuture
}

/// What is told of the streams below the table. What a code means is said where it comes first.
pub struct Details {
    page: Page,
    explained: BTreeSet<EventCode>,
}

/// A stream's names, for the line above its details.
pub struct Heading<'a> {
    /// Account, where one is known.
    pub account: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
    /// Its directory.
    pub dir: &'a str,
}

impl Heading<'_> {
    /// The line, with an empty one above it.
    pub fn line(&self, page: &Page) -> String {
        let account = match self.account {
            Some(account) => format!(" in account {}", units::printable(account)),
            None => String::new(),
        };
        let line = format!(
            "Stream {}{account}, {}",
            units::printable(self.name),
            units::printable(self.dir)
        );
        let mut text = "\n".to_owned();
        page.hanging(&mut text, 0, 4, &line);
        text
    }
}

impl Details {
    /// Nothing was told yet.
    pub fn new(page: &Page) -> Self {
        Details {
            page: *page,
            explained: BTreeSet::new(),
        }
    }

    /// Everything about one stream that does not fit the table; empty where there is nothing.
    pub fn stream(&mut self, report: &StreamReport, tense: Tense, hits: &[Hit]) -> String {
        let page = self.page;
        let mut text = String::new();
        if page.show.verbose || !is_silent(report) {
            match &report.ledger {
                Some(ledger) => ledger::tell(&mut text, ledger, &page),
                None => lost(&mut text, report, &page),
            }
            hit::tell(&mut text, hits, &page);
            text.push_str(&self.told(&report.events, &report.actions, tense));
        }
        extras(&mut text, report, &page);
        if text.is_empty() {
            return text;
        }
        let heading = Heading {
            account: report.account.as_deref(),
            name: &report.name,
            dir: &report.dir,
        };
        heading.line(&page) + &text
    }

    /// What was seen and what would be done; empty where there is neither.
    pub fn told(&mut self, seen: &[Event], planned: &[Action], tense: Tense) -> String {
        let mut text = String::new();
        self.events(&mut text, seen);
        actions(&mut text, planned, tense, &self.page);
        text
    }

    /// Groups by code in the order of first appearance.
    fn events(&mut self, text: &mut String, events: &[Event]) {
        let page = self.page;
        let least = match page.show.verbose {
            true => Severity::Info,
            false => Severity::Warn,
        };
        let mut groups: Vec<(EventCode, Vec<&Event>)> = Vec::new();
        let told = |event: &&Event| event.severity >= least || is_worth_telling(event);
        for event in events.iter().filter(told) {
            match groups.iter_mut().find(|(code, _)| *code == event.code) {
                Some((_, group)) => group.push(event),
                None => groups.push((event.code, vec![event])),
            }
        }
        for (code, group) in groups {
            let worst = group.iter().map(|event| event.severity).max();
            let worst = severity(worst.unwrap_or(Severity::Info), page.style);
            let times = match group.len() {
                1 => String::new(),
                n => format!(", {} times", units::count(n as u64)),
            };
            let _ = writeln!(text, "  {worst} {code}{times}");
            if self.explained.insert(code) {
                page.paragraph(text, 4, code.meaning());
                if !code.advice().is_empty() {
                    page.paragraph(text, 4, &format!("What to do: {}", code.advice()));
                }
            }
            let places = places(&group);
            for place in places.iter().take(LISTED_MAX) {
                page.hanging(text, 6, 8, place);
            }
            more(text, places.len());
        }
    }
}

/// Where events of one code were seen: those of one file that only differ in the sequence share a line.
fn places(group: &[&Event]) -> Vec<String> {
    let mut places: Vec<(&Event, Vec<u64>)> = Vec::new();
    for event in group {
        let same = |other: &Event| {
            (&other.file, &other.detail) == (&event.file, &event.detail) && other.seq.is_some()
        };
        match (places.last_mut(), event.seq) {
            (Some((first, seqs)), Some(seq)) if same(first) => seqs.push(seq),
            _ => places.push((event, event.seq.into_iter().collect())),
        }
    }
    let text = |(event, seqs): (&Event, Vec<u64>)| place_and_detail(event, &seqs);
    let places = places.into_iter().map(text);
    places.filter(|place| !place.is_empty()).collect()
}

fn severity(severity: Severity, style: Style) -> String {
    let color = match severity {
        Severity::Info => 36,
        Severity::Warn => 33,
        Severity::Error => 31,
    };
    style.paint(color, severity.as_str())
}

fn place_and_detail(event: &Event, seqs: &[u64]) -> String {
    let mut places = Vec::new();
    if let Some(file) = &event.file {
        places.push(units::printable(file));
    }
    if let Some(offset) = event.offset {
        let from = if seqs.len() > 1 {
            "from offset"
        } else {
            "offset"
        };
        places.push(format!("{from} {}", units::count(offset)));
    }
    match seqs {
        [] => {}
        [seq] => places.push(format!("sequence {}", units::count(*seq))),
        seqs => {
            let (count, seqs) = (units::count(seqs.len() as u64), ranges(seqs));
            places.push(format!("{count} sequences, {seqs}"));
        }
    }
    match (places.is_empty(), event.detail.is_empty()) {
        (true, _) => units::printable(&event.detail),
        (false, true) => places.join(", "),
        (false, false) => format!("{}: {}", places.join(", "), units::printable(&event.detail)),
    }
}

fn actions(text: &mut String, actions: &[Action], tense: Tense, page: &Page) {
    let told: Vec<&Action> = actions
        .iter()
        .filter(|action| page.show.verbose || !action.kind.is_side_file())
        .collect();
    if told.is_empty() {
        return;
    }
    text.push_str(match tense {
        Tense::Done => "  Done:\n",
        Tense::Planned => "  A start would do this (nothing was done):\n",
    });
    for action in told.iter().take(LISTED_MAX) {
        let offset = match action.offset {
            Some(offset) => format!(" at offset {}", units::count(offset)),
            None => String::new(),
        };
        let line = format!(
            "{} {}{offset}: {}",
            action.kind.as_str(),
            units::printable(&action.file),
            units::printable(&action.detail)
        );
        page.hanging(text, 6, 8, &line);
    }
    more(text, told.len());
}

fn more(text: &mut String, count: usize) {
    if count > LISTED_MAX {
        let rest = units::count((count - LISTED_MAX) as u64);
        let _ = writeln!(text, "      and {rest} more; --json lists them all");
    }
}

/// What the server's own state calls lost, where no ledger was drawn up.
fn lost(text: &mut String, report: &StreamReport, page: &Page) {
    if let Some(lost) = report.state.as_ref().and_then(|state| state.lost.as_ref()) {
        let mut line = format!("lost: {}", units::bytes(lost.bytes));
        if !lost.seqs.is_empty() {
            let _ = write!(line, ", sequences {}", ranges(&lost.seqs));
        }
        page.hanging(text, 2, 4, &line);
    }
    if !report.unreadable.is_empty() {
        let line = format!("unreadable: sequences {}", ranges(&report.unreadable));
        page.hanging(text, 2, 4, &line);
    }
}

/// The parts that come only when asked for.
fn extras(text: &mut String, report: &StreamReport, page: &Page) {
    if let Some(deleted) = report
        .state
        .as_ref()
        .and_then(|state| state.deleted.as_ref())
    {
        page.hanging(text, 2, 4, &format!("Deleted: {}", ranges(deleted)));
    }
    if let Some(digest) = &report.digest {
        let _ = writeln!(text, "  Digest: sha256:{}", units::hex(digest));
    }
    if let Some(subjects) = &report.subjects {
        let _ = writeln!(text, "  Subjects:");
        for (subject, count) in subjects.iter().take(LISTED_MAX) {
            let subject = units::printable(&units::text(subject));
            let _ = writeln!(text, "      {subject}: {}", units::count(*count));
        }
        more(text, subjects.len());
    }
    if let Some(entries) = report.ttl.as_ref().and_then(|ttl| ttl.entries.as_ref()) {
        let _ = writeln!(text, "  Message TTLs:");
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
        let _ = writeln!(text, "  Schedules:");
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
        let _ = writeln!(text, "  Sources:");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{Show, plain};
    use crate::test_support;
    use jetsam::report::Ledger;

    fn told(report: &StreamReport, page: &Page) -> String {
        Details::new(page).stream(report, Tense::Planned, &[])
    }

    fn verbose(width: usize) -> Page {
        Page {
            show: Show {
                verbose: true,
                ..Show::default()
            },
            ..plain(width)
        }
    }

    #[test]
    fn a_clean_stream_needs_no_words() {
        let mut report = test_support::clean();
        assert_eq!(told(&report, &plain(80)), "");
        report
            .events
            .push(Event::new(EventCode::IndexAbsent, "there is none"));
        assert_eq!(told(&report, &plain(80)), "");
        let text = told(&report, &verbose(80));
        assert!(text.contains("info index-absent") && text.contains("messages: 0 live"));
    }

    #[test]
    fn an_event_says_what_it_means_and_what_to_do() {
        let mut report = test_support::damaged();
        report.subjects = None;
        report.ttl = None;
        report.schedules = None;
        report.events.remove(0);
        let want = "
Stream ORDERS in account A, /data/A/streams/ORDERS
  lost: 99 B, sequences 7-8
  unreadable: sequences 12
  error block-bad-record
    A record in this block is damaged or cut off. The server reads no further than this and
    drops the rest of the block, good records included.
    What to do: At the very end of the newest block this is the trace of a crash. Anywhere else,
    use `jetsam salvage` first: it reads on behind the damage.
      msgs/3.blk, offset 999,827, sequence 12: hash differs
  A start would do this (nothing was done):
      truncate-block msgs/3.blk at offset 999,827: first bad record
  Deleted: 2, 5-6
  Digest: sha256:abababababababababababababababababababababababababababababababab
  Sources:
      S 1: sequence 9
";
        assert_eq!(told(&report, &plain(120)), want);
        let done = Details::new(&plain(120)).stream(&report, Tense::Done, &[]);
        assert!(done.contains("\n  Done:\n"));
    }

    #[test]
    fn a_code_is_explained_once() {
        let report = test_support::damaged();
        let mut details = Details::new(&plain(80));
        let first = details.stream(&report, Tense::Planned, &[]);
        let second = details.stream(&report, Tense::Planned, &[]);
        assert!(first.contains("What to do") && !second.contains("What to do"));
        assert!(second.contains("error block-bad-record"));
    }

    #[test]
    fn with_a_ledger_no_loss_is_told_twice() {
        let mut report = test_support::damaged();
        report.ledger = Some(Ledger {
            live: (20..=30).collect(),
            lost: [7, 8, 12].into_iter().collect(),
            ..Ledger::default()
        });
        let text = told(&report, &plain(80));
        assert!(
            text.contains("messages: 11 live, 3 lost\n    lost: 7-8, 12\n"),
            "{text}"
        );
        assert!(
            !text.contains("unreadable:") && !text.contains("99 B"),
            "{text}"
        );
    }

    #[test]
    fn many_alike_share_a_line() {
        let mut report = test_support::damaged();
        report.events.clear();
        for seq in 1..=1023 {
            let event = Event::new(EventCode::RecordUnreadable, "bad").file("msgs/1.blk");
            report.events.push(event.seq(seq));
        }
        let text = told(&report, &plain(80));
        assert!(text.contains("error record-unreadable, 1,023 times\n"));
        assert!(
            text.contains("msgs/1.blk, 1,023 sequences, 1-1,023: bad\n"),
            "{text}"
        );
    }

    #[test]
    fn long_lists_are_folded() {
        let mut report = test_support::damaged();
        report.events.clear();
        for block in 1..=30 {
            let event = Event::new(EventCode::BlockOrphanFile, "stray");
            report.events.push(event.file(format!("msgs/{block}.x")));
        }
        let text = told(&report, &plain(80));
        assert!(text.contains("msgs/20.x: stray") && !text.contains("msgs/21.x"));
        assert!(text.contains("and 10 more"));
    }

    #[test]
    fn names_from_disk_cannot_steer_the_terminal() {
        let mut report = test_support::damaged();
        report
            .events
            .push(Event::new(EventCode::BlockOrphanFile, "x").file("msgs/\x1b[2J"));
        assert!(!told(&report, &plain(80)).contains('\x1b'));
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
