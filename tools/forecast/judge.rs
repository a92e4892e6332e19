//! One case: foretold, then done by the server's file store, then compared.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::living::Idle;
use jetsam::preflight::{Forecast, PreflightOptions, Reading, forecast};
use jetsam::recovery::rebuild_index;
use jetsam::report::ServerVersion;
use jetsam::report::Watch;
use jetsam::report::events::EventCode;
use jetsam::report::stream::Outcome;

use crate::compare::{Difference, Differences};
use crate::evidence;
use crate::harness::Known;
use crate::make::Base;
use crate::oracle::{Answer, Ask};
use crate::ours::{self, How};
use crate::run::{Bench, Case};

/// A case and how it came out.
#[derive(Default)]
pub struct Judged {
    pub origin: String,
    pub mutations: Vec<String>,
    pub start: &'static str,
    /// Whether reading is foretold to bring the server down.
    pub reading_down: bool,
    pub lost: u64,
    /// Messages there before and not readable after, where the damage is known and the server stayed up.
    pub really_lost: u64,
    pub set_aside: Option<String>,
    pub differences: Vec<Difference>,
    /// Whether a whole server was asked.
    pub whole: bool,
    /// Whether side files were rebuilt.
    pub rebuilt: bool,
}

fn how(answer: &Answer) -> How {
    how_at(match answer.opened_at {
        0 => crate::now_ns(),
        opened_at => opened_at,
    })
}

/// How our side looks at a store at that time.
pub fn how_at(now_ns: i64) -> How {
    How {
        now_ns,
        threads: 2,
        quick: false,
        deleted: false,
        careful: false,
    }
}

/// Foretells the start on `dir`.
pub fn foretell(dir: &Path, ask: &Ask, how: How, server: ServerVersion) -> Forecast {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let stream = ours::stream(dir, ask);
    let options = ours::options(ask, how);
    forecast(
        &OsFileSystem,
        &stream,
        &options,
        &PreflightOptions {
            server,
            ..PreflightOptions::default()
        },
        &watch,
    )
}

/// What the server did, in the words of a forecast.
fn start_of(answer: &Answer) -> &'static str {
    match answer.outcome.as_str() {
        "opened" => "ok",
        "skipped" | "error" => "stream-skipped",
        _ => "server-down",
    }
}

/// Sequences the server counts as live and can read.
fn readable(answer: &Answer) -> BTreeSet<u64> {
    let Some(state) = &answer.state else {
        return BTreeSet::new();
    };
    if state.messages == 0 || state.last_seq < state.first_seq {
        return BTreeSet::new();
    }
    let mut live: BTreeSet<u64> = (state.first_seq..=state.last_seq).collect();
    for seq in state
        .deleted
        .iter()
        .chain(answer.unreadable.iter().flatten())
    {
        live.remove(seq);
    }
    live
}

/// Sequences that cannot be listed one by one are no random store's own.
const LISTED_MAX: u64 = 1 << 22;

fn is_listable(answer: &Answer) -> bool {
    answer.state.as_ref().is_none_or(|state| {
        !state.deleted_omitted && state.last_seq.saturating_sub(state.first_seq) < LISTED_MAX
    })
}

/// What the server makes of a store without damage.
pub fn before(bench: &mut Bench, base: &Base) -> io::Result<Answer> {
    let dir = bench.lay_out("before", &base.tree, &base.ask)?;
    bench.oracle.open(&dir, &base.ask, true)
}

/// Foretells, asks, compares.
pub fn case(
    bench: &mut Bench,
    (base, before): (&Base, &Answer),
    case: &Case,
    known: Option<&Known>,
) -> io::Result<Judged> {
    let mut judged = Judged {
        origin: case.origin.clone(),
        mutations: case.mutations.clone(),
        ..Judged::default()
    };
    let go_dir = bench.lay_out("go", &case.tree, &case.ask)?;
    let answer = bench.oracle.open(&go_dir, &case.ask, true)?;
    let dir = bench.lay_out("check", &case.tree, &case.ask)?;
    let foretold = foretell(&dir, &case.ask, how(&answer), ServerVersion::default());
    judged.start = foretold.start.as_str();
    judged.reading_down = foretold.read == Reading::ServerDown;
    judged.lost = foretold.lost;
    judged.set_aside = set_aside(&answer, &foretold);
    if judged.set_aside.is_some() {
        return Ok(judged);
    }
    let mut found = Differences::default();
    found.check("start", start_of(&answer), judged.start);
    if found.0.is_empty() {
        state(&mut found, &answer, &foretold);
        losses(&mut found, case, (base, before), &answer, &foretold);
        if let Some(known) = known {
            judged.really_lost = exact(&mut found, before, &answer, &foretold, known);
        }
    }
    if !found.0.is_empty() && has_twins(case) {
        // Its two objects share a file, keys and a place in the server's table; which of them is met where is not followed.
        judged.set_aside = Some("two names for one block".into());
    }
    if found
        .0
        .iter()
        .all(|difference| difference.field == "messages")
        && corrects_itself(&foretold)
    {
        judged.set_aside = (!found.0.is_empty())
            .then(|| "the server was correcting its totals on the side".to_owned());
    }
    judged.differences = found.0;
    Ok(judged)
}

/// The same where nothing is known of the store before its damage: how it starts, reads, and what it counts.
pub fn standing(bench: &mut Bench, case: &Case) -> io::Result<Judged> {
    let go_dir = bench.lay_out("go", &case.tree, &case.ask)?;
    let answer = bench.oracle.open(&go_dir, &case.ask, true)?;
    let dir = bench.lay_out("check", &case.tree, &case.ask)?;
    let server = ServerVersion::default();
    let foretold = foretell(&dir, &case.ask, how(&answer), server);
    let mut judged = Judged {
        origin: case.origin.clone(),
        start: foretold.start.as_str(),
        reading_down: foretold.read == Reading::ServerDown,
        lost: foretold.lost,
        set_aside: set_aside(&answer, &foretold),
        ..Judged::default()
    };
    let mut found = Differences::default();
    found.check("start", start_of(&answer), judged.start);
    if found.0.is_empty() {
        state(&mut found, &answer, &foretold);
    }
    judged.differences = found.0;
    Ok(judged)
}

fn set_aside(answer: &Answer, foretold: &Forecast) -> Option<String> {
    let gave_up = |outcome: &str| matches!(outcome, "oom" | "timeout");
    if answer.outcome == "no answer" {
        return Some("no answer".into());
    }
    if gave_up(&answer.outcome) && foretold.start.as_str() != "server-down" {
        // How much is too much is for the machine to say.
        return Some(format!("the server's open: {}", answer.outcome));
    }
    if foretold.start.as_str() == "ok"
        && gave_up(&answer.read_outcome)
        && foretold.read.as_str() == "ok"
    {
        return Some(format!("the server's reading: {}", answer.read_outcome));
    }
    // Two names for one block, and a full or closed disk, are for the caller to mend.
    (foretold.needs_help && foretold.start.as_str() != start_of(answer))
        .then(|| "a file could not be read".to_owned())
}

fn state(found: &mut Differences, answer: &Answer, foretold: &Forecast) {
    if answer.outcome != "opened" {
        found.check("messages", 0, foretold.messages);
        return;
    }
    let messages = answer.state.as_ref().map(|state| state.messages);
    found.check("messages", messages, Some(foretold.messages));
    if let Some(fast_path) = answer.fast_path {
        found.check("fast path", fast_path, foretold.fast_path);
    }
    let read = match answer.read_outcome.as_str() {
        "panic" | "oom" | "timeout" => "server-down",
        "ok" => "ok",
        _ => foretold.read.as_str(),
    };
    found.check("read", read, foretold.read.as_str());
}

fn losses(
    found: &mut Differences,
    case: &Case,
    (base, before): (&Base, &Answer),
    answer: &Answer,
    foretold: &Forecast,
) {
    // Some histories leave a store that the server itself does not open again.
    let comparable = before.outcome == "opened"
        && answer.outcome == "opened"
        && matches!(answer.read_outcome.as_str(), "" | "ok")
        && is_listable(answer)
        && is_listable(before);
    if !comparable {
        return;
    }
    let lost: BTreeSet<u64> = foretold
        .lost_seqs
        .iter()
        .flat_map(|(from, to)| (*from..=*to).take(LISTED_MAX as usize))
        .collect();
    found.check(
        "lost is what lost_seqs lists",
        lost.len() as u64,
        foretold.lost,
    );
    let kept = readable(answer);
    let due = due(answer);
    let both: Vec<_> = lost.intersection(&kept).collect();
    let both: Vec<_> = both.into_iter().filter(|seq| !due.contains(seq)).collect();
    if !both.is_empty() {
        found.add("foretold as lost, and there", &both, "");
    }
    let was_there = readable(before);
    let tree = evidence::with_staged(&case.tree);
    let proven = evidence::proven(&tree, &case.ask);
    // What the undamaged store held, whatever the server's own rules make of it.
    let held = evidence::proven(&base.tree, &base.ask);
    // What a tombstone took that is gone too, the index still lists.
    let listed = evidence::listed(&base.tree, &tree, &case.ask);
    let invented: Vec<_> = lost
        .iter()
        .filter(|seq| {
            ![&was_there, &held, &proven, &listed]
                .iter()
                .any(|there| there.contains(seq))
        })
        .copied()
        .collect();
    let between = evidence::between_damage(&tree, &case.ask, &invented);
    if !between {
        found.add("foretold as lost, and never there", "", &invented);
    }
    let purged = case.tree.0.keys().any(|name| name.starts_with("__"));
    if foretold.expired > 0 || purged {
        return;
    }
    let silent: Vec<_> = proven
        .intersection(&was_there)
        .filter(|seq| !kept.contains(seq) && !lost.contains(seq) && !was_removed(foretold, **seq))
        .collect();
    if !silent.is_empty() && !has_forged_index(case) {
        found.add("gone, and not foretold", &silent, "");
    }
}

/// What the server's own TTL wheel lets go as soon as its timer runs: the file store is asked before that.
fn due(answer: &Answer) -> BTreeSet<u64> {
    let wheel = answer.ttl.iter().flat_map(|ttl| &ttl.entries);
    let due = wheel.filter(|(_, expires_ns)| *expires_ns <= answer.opened_at);
    due.map(|(seq, _)| *seq).collect()
}

/// Whether the account has the message as removed on purpose: one that only came back is no loss when it goes again.
fn was_removed(foretold: &Forecast, seq: u64) -> bool {
    let removed = foretold
        .ledger
        .iter()
        .flat_map(|ledger| ledger.removed.values());
    removed.into_iter().any(|seqs| seqs.contains(seq))
}

/// Everything that was there, is gone, and was not touched, has to be foretold. Returns how many are gone.
fn exact(
    found: &mut Differences,
    before: &Answer,
    answer: &Answer,
    foretold: &Forecast,
    known: &Known,
) -> u64 {
    let comparable = matches!(answer.outcome.as_str(), "opened" | "error")
        && matches!(answer.read_outcome.as_str(), "" | "ok")
        && is_listable(answer);
    if !comparable {
        return 0;
    }
    let kept = readable(answer);
    let told = |seq: &u64| {
        let spans = &foretold.lost_seqs;
        spans.iter().any(|(from, to)| (from..=to).contains(&seq))
    };
    let gone: Vec<_> = readable(before)
        .into_iter()
        .filter(|seq| !kept.contains(seq) && !known.given_up.contains(seq))
        .collect();
    let silent: Vec<_> = gone
        .iter()
        .filter(|seq| !known.touched.contains(seq) && !told(seq) && !was_removed(foretold, **seq))
        .collect();
    if !silent.is_empty() && foretold.expired == 0 {
        found.add("gone, untouched, and not foretold", silent, "");
    }
    gone.len() as u64
}

/// Whether two names stand for one block.
pub fn has_twins(case: &Case) -> bool {
    let name = |path: &str| {
        path.strip_prefix("msgs/")
            .map(|name| name.as_bytes().to_vec())
    };
    case.tree
        .files(|path| path.ends_with(".blk"))
        .iter()
        .any(|path| {
            name(path).is_some_and(|name| {
                jetsam::format::names::block_number(&name).is_none()
                    && jetsam::format::names::lax_block_number(&name).is_some()
            })
        })
}

/// Whether the open met a block that disagrees with a trusted index: the server walks it anew, and a thread of its own puts
/// the totals right before or after they are asked for.
fn corrects_itself(foretold: &Forecast) -> bool {
    let codes = [
        EventCode::CacheRangeCorrupt,
        EventCode::CacheRecordCorrupt,
        EventCode::BlockLoadFailed,
    ];
    foretold.fast_path
        && foretold
            .events
            .iter()
            .any(|event| codes.contains(&event.code))
}

/// An index that was edited and sealed again says what it likes, and is believed.
fn has_forged_index(case: &Case) -> bool {
    case.mutations
        .iter()
        .any(|mutation| mutation.contains("index"))
}

/// The state but for `unread` of its messages, and the digest.
fn told(answer: &Answer, unread: u64) -> (u64, u64, u64, String) {
    let state = answer.state.clone().unwrap_or_default();
    (
        state.messages.saturating_sub(unread),
        state.first_seq,
        state.last_seq,
        answer.digest.clone(),
    )
}

/// Writes the side files of the undamaged store anew, and has the server open it.
pub fn rebuild(bench: &mut Bench, base: &Base, judged: &mut Judged) -> io::Result<()> {
    let opened = bench.lay_out("before", &base.tree, &base.ask)?;
    let before = bench.oracle.open(&opened, &base.ask, true)?;
    let dir = bench.lay_out("rebuilt", &base.tree, &base.ask)?;
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let stream = ours::stream(&dir, &base.ask);
    let options = ours::options(&base.ask, how(&before));
    let server = ServerVersion::default();
    let report = rebuild_index(
        &OsFileSystem,
        &Idle::declared(),
        &stream,
        &options,
        server,
        &OsEntropy,
        &watch,
    );
    if report.outcome == Outcome::Refused {
        return Ok(());
    }
    judged.rebuilt = true;
    let after = bench.oracle.open(&dir, &base.ask, true)?;
    let mut found = Differences::default();
    found.check("rebuilt: outcome", "opened", after.outcome.as_str());
    found.check("rebuilt: fast path", Some(true), after.fast_path);
    let scans: Vec<_> = after
        .log
        .iter()
        .filter(|line| line.contains("outdated"))
        .collect();
    if !scans.is_empty() {
        found.add("rebuilt: no scan", scans, "");
    }
    // What an index of before a crash counts and no block has, a fresh one does not count.
    let unread = before.unreadable.as_ref().map_or(0, Vec::len) as u64;
    let (mut wanted, rebuilt) = (told(&before, unread), told(&after, 0));
    if wanted != rebuilt {
        // A block without a message is not taken up from an index, not from the server's own either: what it hid of the blocks
        // behind it, the same sequence stored again after it was erased, is found from the second start on.
        let again = bench.oracle.open(&opened, &base.ask, true)?;
        wanted = told(&again, again.unreadable.as_ref().map_or(0, Vec::len) as u64);
    }
    found.check("rebuilt: state and digest", wanted, rebuilt);
    // What the files say of messages that are gone is not written again.
    let there = readable(&before);
    // What its file says beyond the messages either, so the server is asked without it.
    let dir = bench.lay_out("before", &base.tree, &base.ask)?;
    let _ = std::fs::remove_file(dir.join("msgs/thw.db"));
    let before = bench.oracle.open(&dir, &base.ask, false)?;
    if before.outcome != "opened" {
        judged.differences.extend(found.0);
        return Ok(());
    }
    let timers = |answer: &Answer| {
        let mut ttl = answer.ttl.clone().unwrap_or_default().entries;
        ttl.retain(|(seq, _)| there.contains(seq));
        ttl.sort_unstable();
        let mut schedules = answer.schedules.clone().unwrap_or_default().entries;
        schedules.retain(|(_, seq, _)| there.contains(seq));
        schedules.sort();
        (ttl, schedules, answer.sources.clone())
    };
    found.check("rebuilt: timers", timers(&before), timers(&after));
    judged.differences.extend(found.0);
    Ok(())
}
