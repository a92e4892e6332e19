//! The account of a stream's messages, in the words that every verb uses.

use std::fmt::Write as _;

use jetsam::format::seqset::SeqSet;
use jetsam::report::ledger::stretches;
use jetsam::report::{Ledger, Removal};

use crate::details;
use crate::page::Page;
use crate::units;

/// Whether there is more to say than how many messages are there. That some of them have aged is ordinary; that all have
/// is not.
pub fn says_something(ledger: &Ledger) -> bool {
    ledger.holds_loss()
        || !ledger.unknown.is_empty()
        || !ledger.returning.is_empty()
        || ledger.all_expires()
}

/// The counts on one line, then where those messages are that somebody may want to look for.
pub fn tell(text: &mut String, ledger: &Ledger, page: &Page) {
    page.hanging(text, 2, 4, &format!("messages: {}", counts(ledger)));
    for (what, seqs) in [
        ("lost", &ledger.lost),
        ("endangered", &ledger.endangered),
        ("cannot tell", &ledger.unknown),
        ("coming back", &ledger.returning),
        ("expired", &ledger.expired),
    ] {
        if !seqs.is_empty() {
            let places = details::spans(&stretches(seqs));
            page.hanging(text, 4, 6, &format!("{what}: {places}"));
        }
    }
}

/// All counts but those that are nothing.
pub fn counts(ledger: &Ledger) -> String {
    let mut text = format!("{} live", units::count(ledger.live.len()));
    let mut add = |seqs: &SeqSet, what: &str| {
        if !seqs.is_empty() {
            let _ = write!(text, ", {} {what}", units::count(seqs.len()));
        }
    };
    add(&ledger.endangered, "of them endangered by a server's start");
    add(&ledger.lost, "lost");
    add(
        &ledger.unknown,
        "of which nothing tells whether they were deleted or lost",
    );
    add(&ledger.expired, "expired");
    if !ledger.timed_out.is_empty() {
        let _ = write!(text, " ({})", of_expired(ledger));
    }
    let removed = ledger.removed_count();
    if removed > 0 {
        let _ = write!(
            text,
            ", {} removed on purpose ({})",
            units::count(removed),
            ways(ledger)
        );
        if !ledger.returning.is_empty() {
            let count = units::count(ledger.returning.len());
            let _ = write!(text, ", {count} of them coming back at a server's start");
        }
    }
    text
}

/// How many of the expired age removes, and how many their own time to live.
fn of_expired(ledger: &Ledger) -> String {
    let timed_out = ledger.timed_out.len();
    match ledger.expired.len() - timed_out {
        0 => "by TTL, right after a server's start".to_owned(),
        aged => format!(
            "{} by age, {} by TTL, right after a server's start",
            units::count(aged),
            units::count(timed_out)
        ),
    }
}

fn ways(ledger: &Ledger) -> String {
    let one = |removal| {
        let seqs = ledger.removed.get(&removal)?;
        Some(format!("{} {}", units::count(seqs.len()), way(removal)))
    };
    let ways: Vec<String> = Removal::ALL.into_iter().filter_map(one).collect();
    ways.join(", ")
}

fn way(removal: Removal) -> &'static str {
    match removal {
        Removal::Tombstone => "deleted",
        Removal::Limit => "by limits",
        Removal::Age => "by age",
        Removal::SubjectLimit => "by the limit per subject",
        Removal::Ack => "acknowledged",
        Removal::Purge => "purged",
        Removal::Index => "by the index's word",
        Removal::Rollup => "rolled up",
    }
}

/// `1 message`, `5 messages`.
pub fn messages(count: u64) -> String {
    match count {
        1 => "1 message".into(),
        n => format!("{} messages", units::count(n)),
    }
}

/// What of a ledger, or of several, a verdict tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    lost: u64,
    endangered: u64,
    unknown: u64,
    returning: u64,
    aged: u64,
    timed_out: u64,
    streams: u64,
    /// Streams of which nothing stays.
    emptied: u64,
}

impl Counts {
    /// Those of one ledger.
    pub fn of(ledger: &Ledger) -> Counts {
        Counts {
            lost: ledger.lost.len(),
            endangered: ledger.endangered.len(),
            unknown: ledger.unknown.len(),
            returning: ledger.returning.len(),
            aged: ledger.expired.len() - ledger.timed_out.len(),
            timed_out: ledger.timed_out.len(),
            streams: 1,
            emptied: u64::from(ledger.all_expires()),
        }
    }

    /// Messages that are lost now.
    pub fn lost(self) -> u64 {
        self.lost
    }

    /// Both together.
    pub fn plus(self, other: Counts) -> Counts {
        Counts {
            lost: self.lost.saturating_add(other.lost),
            endangered: self.endangered.saturating_add(other.endangered),
            unknown: self.unknown.saturating_add(other.unknown),
            returning: self.returning.saturating_add(other.returning),
            aged: self.aged.saturating_add(other.aged),
            timed_out: self.timed_out.saturating_add(other.timed_out),
            streams: self.streams.saturating_add(other.streams),
            emptied: self.emptied.saturating_add(other.emptied),
        }
    }

    /// Losses, doubts and what comes back, or that nothing is lost.
    pub fn outcome(self) -> String {
        let mut parts = vec![match (self.lost, self.endangered) {
            (0, 0) => "nothing lost".to_owned(),
            (lost, 0) => format!("{} lost", messages(lost)),
            (0, more) => format!("{} would be lost by a server's start", messages(more)),
            (lost, more) => format!(
                "{} lost, {} more would be lost by a server's start",
                messages(lost),
                units::count(more)
            ),
        }];
        for (count, one, many) in [
            (self.unknown, "cannot be told", "cannot be told"),
            (
                self.returning,
                "deleted one comes back",
                "deleted ones come back",
            ),
            (self.aged, "expired by age", "expired by age"),
            (
                self.timed_out,
                "expired by TTL goes right after a server's start",
                "expired by TTL go right after a server's start",
            ),
        ] {
            match count {
                0 => {}
                1 => parts.push(format!("1 {one}")),
                n => parts.push(format!("{} {many}", units::count(n))),
            }
        }
        let text = parts.join(", ");
        match (self.emptied, self.streams) {
            (0, _) => text,
            (all, streams) if all == streams => format!("{text}: NOTHING STAYS"),
            (1, _) => format!("{text}: of 1 stream NOTHING STAYS"),
            (some, _) => format!("{text}: of {} streams NOTHING STAYS", units::count(some)),
        }
    }
}

/// How many messages are lost now, or are by a server's start.
pub fn lost(ledger: &Ledger) -> u64 {
    ledger.lost.len() + ledger.endangered.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::plain;

    fn set(seqs: &[u64]) -> SeqSet {
        seqs.iter().copied().collect()
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger {
            live: (12..=20).collect(),
            expired: set(&[10, 11]),
            timed_out: set(&[11]),
            lost: set(&[7, 8, 12]),
            unknown: set(&[21]),
            returning: set(&[3]),
            endangered: set(&[19, 20]),
            ..Ledger::default()
        };
        ledger.remove(Removal::Tombstone, &set(&[3, 5]));
        ledger.remove(Removal::Limit, &set(&[1, 2]));
        ledger
    }

    #[test]
    fn every_count_has_its_word() {
        assert_eq!(
            counts(&ledger()),
            "9 live, 2 of them endangered by a server's start, 3 lost, 1 of which nothing tells whether they were \
             deleted or lost, 2 expired (1 by age, 1 by TTL, right after a server's start), 4 removed on purpose (2 deleted, 2 by limits), 1 of them coming back at a \
             server's start"
        );
        assert_eq!(counts(&Ledger::default()), "0 live");
    }

    #[test]
    fn nothing_is_lost_only_where_nothing_is() {
        assert_eq!(Counts::default().outcome(), "nothing lost");
        let mut some = ledger();
        assert_eq!(
            Counts::of(&some).outcome(),
            "3 messages lost, 2 more would be lost by a server's start, 1 cannot be told, 1 deleted one comes back, \
             1 expired by age, 1 expired by TTL goes right after a server's start"
        );
        some.lost = SeqSet::new();
        assert!(
            Counts::of(&some)
                .outcome()
                .starts_with("2 messages would be lost by a server's start")
        );
        assert!(!Counts::of(&some).outcome().contains("nothing lost"));
    }

    #[test]
    fn that_nothing_stays_is_said_aloud() {
        let over = Ledger {
            expired: set(&[1, 2]),
            timed_out: set(&[1, 2]),
            ..Ledger::default()
        };
        let gone = "nothing lost, 2 expired by TTL go right after a server's start";
        let over = Counts::of(&over);
        assert_eq!(over.outcome(), format!("{gone}: NOTHING STAYS"));
        let full = Counts::of(&Ledger {
            live: set(&[1]),
            ..Ledger::default()
        });
        assert_eq!(
            over.plus(full).outcome(),
            format!("{gone}: of 1 stream NOTHING STAYS")
        );
    }

    #[test]
    fn ranges_stand_below_the_counts() {
        let mut text = String::new();
        tell(&mut text, &ledger(), &plain(120));
        assert!(text.contains("\n    lost: 7-8, 12\n"), "{text}");
        assert!(text.contains("\n    endangered: 19-20\n"), "{text}");
        assert!(!says_something(&Ledger::default()) && says_something(&ledger()));
    }
}
