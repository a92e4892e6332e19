//! The salvage's view of a stream without a new store: what would be kept.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use super::audit;
use super::copy::Uncertain;
use super::digest::ContentDigest;
use super::error::SalvageError;
use super::findings::BlockFindings;
use super::finish::Promise;
use super::message_cursor::Cursor;
use super::old_values;
use super::report::{self, SalvageReport};
use super::sets::{missing_in, within};
use super::survey::{Survey, survey, survey_walking};
use super::totals::{Sums, sum_up};
use super::walks::{WalkFor, WalkTotals};
use crate::env::ReadFiles;
use crate::recovery::{Flow, Item, Message};
use crate::report::Watch;
use crate::report::stream::{Source, State};
use crate::stream::StreamDir;
use crate::stream::options::Options;

/// Lost sequences told one by one when messages are read.
const LOST_TOLD_MAX: usize = 10_000;

/// What salvage would keep of a stream; nothing is written. Timers are not part of it: they are made with the new store.
///
/// # Errors
///
/// [`SalvageError`].
pub fn check(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    watch: &Watch<'_>,
) -> Result<SalvageReport, SalvageError> {
    let walk_for = match options.collect {
        collect if collect.digest => WalkFor::Nothing,
        collect if collect.subjects => WalkFor::Everything,
        _ => WalkFor::MessagesOf,
    };
    let mut found = survey_walking(fs, stream, options, walk_for, watch)?;
    old_values::keep(fs, &mut found, options, Uncertain::Keep, watch)?;
    let gaps: usize = found.finds.iter().map(|find| find.gaps.len()).sum();
    let mut made = report::of(&found, gaps as u64);
    let (meta, live) = (&found.gathered.evidence.meta, &found.trust.live);
    let for_consumers = super::consumers::Stream::of(&found, meta, live, found.trust.last.seq);
    for consumer in &found.consumers {
        let planned = super::consumers::plan(consumer, &for_consumers);
        made.stream.events.extend(planned.events);
        made.stream.consumers.push(planned.report);
    }
    fill(fs, &found, options, watch, &mut made)?;
    made.stream.ledger = Some(audit::confronted(fs, &found, options, watch));
    report::conclude(&mut made);
    Ok(made)
}

fn fill(
    fs: &dyn ReadFiles,
    found: &Survey,
    options: &Options,
    watch: &Watch<'_>,
    made: &mut SalvageReport,
) -> Result<(), SalvageError> {
    let promise = Promise::of(found);
    let trust = &found.trust;
    let mut state = State {
        messages: promise.messages,
        first_seq: promise.first_seq,
        last_seq: promise.last_seq,
        last_time_ns: (trust.last.timestamp_ns != 0).then_some(trust.last.timestamp_ns),
        ..State::default()
    };
    if state.last_seq >= state.first_seq && state.first_seq > 0 {
        let missing = missing_in(state.first_seq..=state.last_seq, &trust.live);
        state.deleted_count = missing.len();
        state.deleted = options.collect.deleted.then(|| missing.iter().collect());
    } else {
        state.deleted = options.collect.deleted.then(Vec::new);
    }
    if !options.collect.digest
        && !options.collect.subjects
        && told_by_index(fs, found, options, &mut state)?
    {
        made.stream.source = Some(Source::Blocks);
        made.stream.state = Some(state);
        return Ok(());
    }
    if !options.collect.digest {
        let sums = match found.walks.as_ref().and_then(|walks| walks.totals(found)) {
            Some(totals) => sums_of(&totals, options.collect.subjects),
            None => sum_up(fs, found, options, watch)?,
        };
        state.bytes = sums.bytes;
        state.first_time_ns = sums.first.map(|(_, timestamp_ns)| timestamp_ns);
        state.last_time_ns = state.last_time_ns.or(state.first_time_ns);
        state.subject_count = sums.subject_count;
        made.stream.unreadable.extend(sums.unreadable);
        made.stream.source = Some(Source::Blocks);
        made.stream.state = Some(state);
        let listed = options.collect.subjects;
        made.stream.subjects = listed.then(|| sums.subjects.into_iter().collect());
        return Ok(());
    }
    read_through(fs, found, options, watch, made, state)
}

/// The sums that the walks behind the scans give.
fn sums_of(totals: &WalkTotals<'_>, list_subjects: bool) -> Sums {
    let mut sums = Sums {
        bytes: totals.bytes,
        first: totals.first,
        subject_count: totals.subjects.len(),
        subjects: HashMap::new(),
        unreadable: totals.unreadable.clone(),
    };
    if list_subjects {
        totals.subjects.for_each(|subject, counted| {
            sums.subjects.insert(subject.to_vec(), counted.total);
        });
    }
    sums
}

/// Reads the messages in sequence order, as the digest is over them.
fn read_through(
    fs: &dyn ReadFiles,
    found: &Survey,
    options: &Options,
    watch: &Watch<'_>,
    made: &mut SalvageReport,
    mut state: State,
) -> Result<(), SalvageError> {
    let mut digest = ContentDigest::default();
    let mut subjects: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let mut cursor = Cursor::new(fs, found, &options.keys, 0..=u64::MAX)?;
    while cursor.advance()? {
        if watch.cancel.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(SalvageError::Interrupted(found.stream.dir.clone()));
        }
        let Some(message) = cursor.message() else {
            continue;
        };
        state.bytes += message.record.len() as u64;
        state.first_time_ns.get_or_insert(message.timestamp_ns);
        state.last_time_ns.get_or_insert(message.timestamp_ns);
        match subjects.get_mut(message.subject) {
            Some(count) => *count += 1,
            None => {
                subjects.insert(message.subject.to_vec(), 1);
            }
        }
        if message.is_header_broken {
            made.stream.unreadable.push(message.seq);
        } else {
            digest.message(&message);
        }
    }
    state.subject_count = subjects.len() as u64;
    made.stream.source = Some(Source::Blocks);
    made.stream.state = Some(state);
    made.stream.digest = Some(digest.finish());
    made.stream.subjects = options.collect.subjects.then_some(subjects);
    Ok(())
}

/// Fills in bytes, subjects and the first time without reading the messages again, where a fresh index has nothing that was
/// not found. Returns whether it did.
fn told_by_index(
    fs: &dyn ReadFiles,
    found: &Survey,
    options: &Options,
    state: &mut State,
) -> Result<bool, SalvageError> {
    let trust = &found.trust;
    let Some(index) = found.gathered.evidence.index.as_ref() else {
        return Ok(false);
    };
    let is_undoubted = |find: &BlockFindings| find.uncertain.is_empty() && find.strays.is_empty();
    let undoubted = found.finds.iter().all(is_undoubted)
        && trust.blocks.iter().all(|block| block.elsewhere.is_empty());
    if !index.fresh || !trust.lost.is_empty() || !trust.deleted.is_empty() || !undoubted {
        return Ok(false);
    }
    state.bytes = found.finds.iter().map(|find| find.message_bytes).sum();
    state.subject_count = index.state.subjects.len() as u64;
    let mut cursor = Cursor::new(fs, found, &options.keys, 0..=u64::MAX)?;
    if cursor.advance()? {
        state.first_time_ns = cursor.message().map(|message| message.timestamp_ns);
    }
    Ok(true)
}

/// Visits what salvage would keep, in sequence order; lost sequences are told as unreadable, the first ten thousand of them.
///
/// # Errors
///
/// [`SalvageError`].
pub fn messages(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    range: RangeInclusive<u64>,
    visit: &mut dyn FnMut(Item<'_>) -> Flow,
    watch: &Watch<'_>,
) -> Result<(), SalvageError> {
    let mut found = survey(fs, stream, options, watch)?;
    old_values::keep(fs, &mut found, options, Uncertain::Keep, watch)?;
    let lost = within(&found.trust.lost, range.clone());
    let mut lost = lost.iter().take(LOST_TOLD_MAX).peekable();
    let mut cursor = Cursor::new(fs, &found, &options.keys, range)?;
    while cursor.advance()? {
        let Some(message) = cursor.message() else {
            continue;
        };
        while let Some(seq) = lost.next_if(|seq| *seq < message.seq) {
            if visit(Item::Unreadable(seq)) == Flow::Stop {
                return Ok(());
            }
        }
        let item = Item::Message(Message {
            seq: message.seq,
            timestamp_ns: message.timestamp_ns,
            subject: message.subject,
            headers: message.headers,
            body: message.body,
        });
        if visit(item) == Flow::Stop {
            return Ok(());
        }
    }
    for seq in lost {
        if visit(Item::Unreadable(seq)) == Flow::Stop {
            return Ok(());
        }
    }
    Ok(())
}
