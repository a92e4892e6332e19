//! Why a sequence that was asked for is not there.

use jetsam::format::seqset::SeqSet;
use jetsam::report::Removal;
use jetsam::report::ledger::stretches;
use jetsam::report::stream::{State, StreamReport};

use crate::details;
use crate::engine::StreamDir;
use crate::resolve::{CatQuery, Command};
use crate::session::Session;
use crate::units;

/// Of a longer range the missing are not looked for one by one.
const ASKED_MAX: u64 = 100_000;
/// Exit code where a message was lost.
const LOST: u8 = 4;
/// Exit code where nothing of what was asked for is there, for whatever other reason.
const NOT_THERE: u8 = 1;

/// Says on stderr why sequences that were asked for are missing; returns the exit code. Where some of a range are there, the
/// others may be missing: only losses count then.
pub fn tell(
    session: &mut Session<'_, '_>,
    command: &Command,
    stream: &StreamDir,
    query: &CatQuery,
    seen: &SeqSet,
) -> u8 {
    let (first, last) = (*query.range.start(), *query.range.end());
    let asked = last.saturating_sub(first).saturating_add(1);
    if query.limit.is_some() && !seen.is_empty() || asked == seen.len() {
        return 0;
    }
    if asked > ASKED_MAX {
        if seen.is_empty() {
            let name = units::printable(&stream.name);
            session
                .console
                .remark(&format!("{name}: no message has such a sequence"));
        }
        return if seen.is_empty() { NOT_THERE } else { 0 };
    }
    let mut missing = SeqSet::new();
    missing.insert_range(first..=last);
    for span in seen.spans() {
        missing.remove_range(span);
    }
    let report = session
        .worker
        .engine
        .examine(stream, &command.options, &|_| {});
    let mut exit = if seen.is_empty() { NOT_THERE } else { 0 };
    for (seqs, fate, is_lost) in fates(&report, missing) {
        let name = units::printable(&stream.name);
        let spans = details::spans(&stretches(&seqs));
        session
            .console
            .remark(&format!("{name}: sequence {spans}: {fate}"));
        exit = exit.max(if is_lost { LOST } else { 0 });
    }
    exit
}

/// Splits what is missing by the reason.
fn fates(report: &StreamReport, mut missing: SeqSet) -> Vec<(SeqSet, String, bool)> {
    let mut fates = Vec::new();
    let mut take = |is_it: &dyn Fn(u64) -> bool, fate: &str, is_lost: bool| {
        let taken: SeqSet = missing.iter().filter(|seq| is_it(*seq)).collect();
        if !taken.is_empty() {
            for span in taken.spans() {
                missing.remove_range(span);
            }
            fates.push((taken, fate.to_owned(), is_lost));
        }
    };
    if let Some(ledger) = &report.ledger {
        take(&|seq| ledger.lost.contains(seq), "lost", true);
        take(
            &|seq| ledger.endangered.contains(seq),
            "a server's start would lose it; --policy salvage reads it",
            true,
        );
        take(
            &|seq| ledger.expired.contains(seq),
            "expired; --no-expire shows it",
            false,
        );
        for (removal, seqs) in &ledger.removed {
            take(&|seq| seqs.contains(seq), removed(*removal), false);
        }
        take(
            &|seq| ledger.unknown.contains(seq),
            "deleted or lost, nothing tells which",
            false,
        );
    }
    if let Some(state) = &report.state {
        let unreadable = |seq| report.unreadable.binary_search(&seq).is_ok();
        take(&unreadable, "lost: its record does not verify", true);
        if let Some(lost) = &state.lost {
            take(&|seq| lost.seqs.binary_search(&seq).is_ok(), "lost", true);
        }
        let zero = "never stored: sequences begin with 1";
        take(&|seq| seq == 0, zero, false);
        take(&|seq| seq > state.last_seq, &never_stored(state), false);
        let first = units::count(state.first_seq);
        let below = format!("removed: the stream begins with {first}");
        take(&|seq| seq < state.first_seq, &below, false);
        take(&|_| true, "deleted", false);
    }
    if !missing.is_empty() {
        fates.push((missing, "not there".into(), false));
    }
    fates
}

fn never_stored(state: &State) -> String {
    match state.last_seq {
        0 => "never stored: the stream never held a message".into(),
        last => format!("never stored: the stream ends with {}", units::count(last)),
    }
}

fn removed(removal: Removal) -> &'static str {
    match removal {
        Removal::Tombstone => "deleted",
        Removal::Limit => "removed by the stream's limits",
        Removal::Age => "expired by age before",
        Removal::SubjectLimit => "removed by the limit per subject",
        Removal::Ack => "acknowledged, and so removed",
        Removal::Purge => "purged",
        Removal::Index => "removed: index.db does not count it",
        Removal::Rollup => "rolled up by a later message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{self, Fake};
    use crate::testing::run;
    use jetsam::report::Ledger;

    /// Messages 1, 2 and 5 of a stream that ends with 9.
    fn fake() -> Fake {
        let mut ledger = Ledger {
            live: [1, 2, 5].into_iter().collect(),
            lost: [3].into_iter().collect(),
            expired: [6].into_iter().collect(),
            ..Ledger::default()
        };
        ledger.remove(Removal::Tombstone, &[4].into_iter().collect());
        let mut report = test_support::clean();
        report.ledger = Some(ledger);
        report.state = Some(State {
            messages: 3,
            first_seq: 1,
            last_seq: 9,
            ..State::default()
        });
        Fake {
            reports: vec![report],
            messages: vec![(1, b"a", b"one"), (2, b"a", b"two"), (5, b"a", b"five")],
            ..Fake::default()
        }
    }

    #[test]
    fn a_missing_sequence_says_why() {
        for (line, exit, why) in [
            ("cat D --seq 3", 4, "sequence 3: lost"),
            ("cat D --seq 4", 1, "sequence 4: deleted"),
            ("cat D --seq 6", 1, "sequence 6: expired;"),
            (
                "cat D --seq 12",
                1,
                "sequence 12: never stored: the stream ends with 9",
            ),
            ("cat D --seq 0", 1, "sequence 0: never stored"),
            ("cat D --seq 10-", 1, "no message has such a sequence"),
        ] {
            let ran = run(line, &fake());
            assert_eq!(
                (ran.exit, ran.out.as_str()),
                (exit, ""),
                "{line}: {}",
                ran.err
            );
            assert!(ran.err.contains(why), "{line}: {}", ran.err);
        }
    }

    #[test]
    fn what_is_missing_of_a_range_harms_only_where_it_is_lost() {
        assert_eq!(run("cat D --seq 1-2", &fake()).exit, 0);
        assert_eq!(run("cat D --seq 4-5", &fake()).exit, 0);
        let ran = run("cat D --seq 1-9", &fake());
        assert_eq!(ran.exit, 4);
        assert!(ran.err.contains("sequence 3: lost"), "{}", ran.err);
        assert_eq!(run("cat D --from 4 --to 4", &fake()).exit, 0);
    }
}
