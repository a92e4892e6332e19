//! What salvage found and did, as values: the totals, the events, and a line per block.

use super::audit::past_untold;
use super::findings::{BlockFindings, GapCause, Site};
use super::finish::Finished;
use super::quarantine::reason;
use super::read::Misplaced;
use super::sets::{difference, intersection, ranges, within};
use super::survey::Survey;
use crate::block::key::BlockKey;
use crate::format::bit_repair::Patch;
use crate::format::names::BlockFile;
use crate::format::seqset::SeqSet;
use crate::report::events::{Event, EventCode, Severity};
use crate::report::stream::{Outcome, Refusal, SalvageTotals, StreamReport};

/// Stretches of lost sequences that get an event each.
const EVENTS_MAX: usize = 1000;

/// What became of one block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockSummary {
    /// Block number.
    pub number: u32,
    /// Messages kept.
    pub recovered: u64,
    /// Records mended.
    pub repaired: u64,
    /// Messages kept with a doubt.
    pub uncertain: u64,
    /// Stretches of bytes put aside.
    pub quarantined: u64,
    /// Their bytes.
    pub quarantined_bytes: u64,
    /// Sequences lost.
    pub lost: u64,
    /// Where.
    pub lost_ranges: Vec<(u64, u64)>,
}

/// The outcome of a salvage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SalvageReport {
    /// The stream; state and digest are those of the new store, or of the one there would be.
    pub stream: StreamReport,
    /// The blocks of the source.
    pub blocks: Vec<BlockSummary>,
}

/// The report of a survey, without a state so far.
#[must_use]
pub fn of(found: &Survey, quarantined: u64) -> SalvageReport {
    let evidence = &found.gathered.evidence;
    let blocks = summaries(found);
    let totals = totals(found, quarantined);
    let mut events = found.gathered.events.clone();
    note_blocks(found, &mut events);
    note_trust(found, &mut events);
    events.extend(found.old_values.events());
    let stream = StreamReport {
        name: evidence.name.clone(),
        outcome: Outcome::Clean,
        events,
        loses_messages: totals.lost > 0,
        ledger: Some(found.ledger.clone()),
        salvage: Some(totals),
        ..found.stream.blank_report()
    };
    SalvageReport { stream, blocks }
}

/// Counts messages that had to be left out in the end as lost; their records are in the quarantine.
pub fn leave_out(report: &mut SalvageReport, left_out: &SeqSet) {
    let totals = report.stream.salvage.as_mut();
    let Some(totals) = totals.filter(|_| !left_out.is_empty()) else {
        return;
    };
    totals.recovered = totals.recovered.saturating_sub(left_out.len());
    totals.lost = totals.lost.saturating_add(left_out.len());
    totals.lost_ranges.extend(ranges(left_out));
    totals.lost_ranges.sort_unstable();
    report.stream.loses_messages = true;
    for seq in left_out.iter().take(EVENTS_MAX) {
        let detail = "the header length makes no sense, and a server that reads the message may go down over it";
        let event = Event::new(EventCode::MessagesLost, detail);
        report.stream.events.push(event.seq(seq));
    }
}

/// Sets the outcome by what the report holds by now.
pub fn conclude(report: &mut SalvageReport) {
    let stream = &mut report.stream;
    let worst = stream.events.iter().map(|event| event.severity).max();
    let mended = worst.is_some_and(|worst| worst >= Severity::Warn)
        || stream
            .salvage
            .as_ref()
            .is_some_and(|totals| totals.repaired + totals.uncertain + totals.quarantined > 0);
    stream.outcome = match (stream.loses_messages, mended) {
        (true, _) => Outcome::Damaged,
        (false, true) => Outcome::Recovered,
        (false, false) => Outcome::Clean,
    };
}

/// Takes over what a new store was found to be.
pub fn take_state(report: &mut SalvageReport, settled: Finished) {
    let stream = &mut report.stream;
    stream.source = settled.source;
    stream.state = settled.state;
    stream.subjects = settled.subjects;
    stream.digest = settled.digest;
    stream.unreadable = settled.unreadable;
    stream.ttl = settled.ttl;
    stream.schedules = settled.schedules;
    stream.sources = settled.sources;
    stream.consumers = settled.consumers;
    conclude(report);
}

/// A stream nothing can be made of.
#[must_use]
pub fn refused(
    stream: &crate::stream::StreamDir,
    error: &super::error::SalvageError,
) -> StreamReport {
    use super::error::SalvageError;
    let (refusal, code) = match error {
        SalvageError::NeedsKey(_) => (Refusal::NeedsKey, EventCode::KeyMissing),
        _ => (Refusal::Io, EventCode::IoError),
    };
    StreamReport {
        refusal: Some(refusal),
        events: vec![Event::new(code, error.to_string())],
        ..stream.blank_report()
    }
}

fn totals(found: &Survey, quarantined: u64) -> SalvageTotals {
    let trust = &found.trust;
    let records: u64 = found
        .finds
        .iter()
        .map(|find| find.repairs.len() as u64)
        .sum();
    let keys = found
        .blocks
        .iter()
        .filter(|block| block.key_repair.is_some());
    let consumers = found
        .consumers
        .iter()
        .map(|consumer| consumer.repairs.len());
    let files = found.gathered.evidence.repairs.len() + keys.count() + consumers.sum::<usize>();
    SalvageTotals {
        recovered: trust.live.len(),
        repaired: records + files as u64,
        uncertain: uncertain(found).len(),
        quarantined,
        old_values: found.old_values.seqs.len(),
        lost: trust.lost.len(),
        lost_ranges: ranges(&trust.lost),
    }
}

fn uncertain(found: &Survey) -> SeqSet {
    let mut uncertain = found.trust.uncertain.clone();
    for find in &found.finds {
        let borders = find.uncertain.iter().map(|border| border.seq);
        uncertain.extend(borders.filter(|seq| found.trust.live.contains(*seq)));
    }
    uncertain
}

/// Lost sequences are put to the block whose stretch they fall into.
fn summaries(found: &Survey) -> Vec<BlockSummary> {
    let uncertain = uncertain(found);
    let mut from = 0;
    let mut summaries = Vec::with_capacity(found.finds.len());
    for (at, find) in found.finds.iter().enumerate() {
        let kept = found.trust.blocks.get(at).map(|verdict| &verdict.kept);
        let to = match found.finds.get(at + 1) {
            Some(next) => end_of(found, find, next),
            None => u64::MAX,
        };
        let lost = within(&found.trust.lost, from..=to);
        from = from.max(to.saturating_add(1));
        summaries.push(BlockSummary {
            number: find.number,
            recovered: kept.map_or(0, SeqSet::len),
            repaired: find.repairs.len() as u64,
            uncertain: kept.map_or(0, |kept| intersection(kept, &uncertain).len()),
            quarantined: find.gaps.len() as u64,
            quarantined_bytes: find.gaps.iter().map(|gap| gap.file_length).sum(),
            lost: lost.len(),
            lost_ranges: ranges(&lost),
        });
    }
    summaries
}

/// The last sequence that belongs to a block: by the index, else by what it and the next one hold.
fn end_of(found: &Survey, find: &BlockFindings, next: &BlockFindings) -> u64 {
    let own = find.last.map_or(0, |edge| edge.seq);
    if let Some(index) = &found.gathered.evidence.index {
        let entries = &index.state.blocks;
        let at = entries.partition_point(|entry| entry.number < find.number);
        if let Some(entry) = entries.get(at).filter(|entry| entry.number == find.number) {
            return own.max(entry.last_sequence);
        }
    }
    let opens_badly = next.gaps.first().is_some_and(|gap| gap.before.is_none());
    match next.first {
        Some(first) if !opens_badly => own.max(first.seq.saturating_sub(1)),
        _ => own,
    }
}

fn path(found: &Survey, number: u32) -> String {
    BlockFile::Block.path_in(&found.gathered.messages_dir, number)
}

fn note_blocks(found: &Survey, events: &mut Vec<Event>) {
    for (find, block) in found.finds.iter().zip(&found.blocks) {
        let file = path(found, find.file);
        if let Some(place) = found.misplaced.get(&find.file) {
            events.push(misplaced(find, place).file(&file));
        }
        if let Some(repair) = &block.key_repair {
            let detail = match repair.patches.as_slice() {
                [] => "the block's key was found in this file".to_owned(),
                patches => bits(patches, "the file"),
            };
            events.push(Event::new(EventCode::FileRepaired, detail).file(&repair.path));
        }
        if let BlockKey::Closed(reason) = &block.key
            && find
                .gaps
                .iter()
                .any(|gap| matches!(gap.cause, GapCause::NoKey(_)))
        {
            events.push(Event::new(EventCode::KeyBad, reason.clone()).file(&file));
        }
        for repair in &find.repairs {
            let mut event = Event::new(
                EventCode::RecordRepaired,
                bits(&repair.patches, site(repair.site)),
            )
            .file(&file);
            event.offset = repair.patches.first().map(|patch| patch.offset);
            event.seq = repair.seq;
            events.push(event);
        }
        for gap in &find.gaps {
            let detail = format!(
                "{} bytes{}: {}",
                gap.length,
                neighbours(gap.before, gap.after),
                reason(&gap.cause)
            );
            events.push(
                Event::new(EventCode::BytesQuarantined, detail)
                    .file(&file)
                    .offset(gap.offset),
            );
        }
        for border in &find.uncertain {
            events.push(
                Event::new(EventCode::RecordBorderUncertain, border.detail.clone())
                    .file(&file)
                    .offset(border.offset)
                    .seq(border.seq),
            );
        }
        if find.backward_count > 0 {
            events.push(out_of_order(find).file(&file));
        }
    }
}

/// What a file holds that is named after another block, or whose key is.
fn misplaced(find: &BlockFindings, place: &Misplaced) -> Event {
    let key = place.key_file.as_ref();
    let key = key.map_or_else(String::new, |path| format!(", its key is in {path}"));
    let detail = format!("the file holds block {}{key}", place.number);
    let event = Event::new(EventCode::BlockMisplaced, detail);
    match find.messages.first() {
        Some(seq) => event.seq(seq),
        None => event,
    }
}

fn out_of_order(find: &BlockFindings) -> Event {
    let strays = find.strays.len() as u64;
    let mut detail = format!(
        "{} records whose sequence does not rise: {strays} that nothing else holds, {} copies",
        find.backward_count,
        find.backward_count.saturating_sub(strays)
    );
    if let Some(first) = find.rivals.first() {
        let more = format!(
            "; {} of the copies differ from what is taken, the first in sequence {first}",
            find.rivals.len()
        );
        detail.push_str(&more);
    }
    if !find.outdated.is_empty() {
        let more = format!(
            "; {} messages are in an old copy alone",
            find.outdated.len()
        );
        detail.push_str(&more);
    }
    Event::new(EventCode::BlockSeqBackwards, detail)
}

fn neighbours(before: Option<u64>, after: Option<u64>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => format!(" between sequences {before} and {after}"),
        (Some(before), None) => format!(" behind sequence {before}"),
        (None, Some(after)) => format!(" before sequence {after}"),
        (None, None) => String::new(),
    }
}

fn bits(patches: &[Patch], site: &str) -> String {
    match patches {
        [patch] if patch.mask.is_power_of_two() => format!(
            "bit {} of the byte at {} was flipped, in {site}",
            patch.mask.trailing_zeros(),
            patch.offset
        ),
        [patch] => format!(
            "bits {:#04x} of the byte at {} were flipped, in {site}",
            patch.mask, patch.offset
        ),
        patches => format!("{} bytes were wrong, in {site}", patches.len()),
    }
}

fn site(site: Site) -> &'static str {
    match site {
        Site::Length => "a record's length",
        Site::Sequence => "a record's sequence",
        Site::Time => "a record's time",
        Site::SubjectLength => "a subject's length",
        Site::Subject => "a subject",
        Site::HeaderLength => "the length of headers",
        Site::Headers => "headers",
        Site::Body => "a body",
        Site::Hash => "a record's hash",
        Site::Wrapper => "the mark of a compressed block",
        Site::ChunkHeader => "the head of a compressed chunk",
        Site::ChunkData => "compressed bytes",
    }
}

fn note_trust(found: &Survey, events: &mut Vec<Event>) {
    let trust = &found.trust;
    for (first, last) in ranges(&trust.lost).into_iter().take(EVENTS_MAX) {
        let detail = match last - first {
            0 => format!("sequence {first}"),
            more => format!("sequences {first} to {last}, {} messages", more + 1),
        };
        events.push(Event::new(EventCode::MessagesLost, detail).seq(first));
    }
    for (first, last) in ranges(&found.ledger.unknown).into_iter().take(EVENTS_MAX) {
        let detail = format!("sequences {first} to {last}");
        events.push(Event::new(EventCode::FateUnknown, detail).seq(first));
    }
    events.extend(found.ledger.untold_below.map(past_untold));
    if trust.uncertain_deletes_most > 0 {
        let detail = match (trust.uncertain.first(), trust.uncertain.last()) {
            (Some(first), Some(last)) => format!(
                "at most {} of {} messages from {first} to {last}",
                trust.uncertain_deletes_most,
                trust.uncertain.len()
            ),
            _ => format!("at most {}, of many more", trust.uncertain_deletes_most),
        };
        events.push(Event::new(EventCode::DeletesUncertain, detail));
    }
    for (verdict, find) in trust.blocks.iter().zip(&found.finds) {
        let again = difference(&verdict.elsewhere, &trust.deleted);
        if let Some(first) = again.first() {
            let detail = format!(
                "{} messages that another block holds too; its copies are left out",
                again.len()
            );
            events.push(
                Event::new(EventCode::BlockOverlap, detail)
                    .file(path(found, find.file))
                    .seq(first),
            );
        }
    }
    for claim in &trust.doubted {
        let detail = format!(
            "it speaks of sequence {}, the stream ends at {}",
            claim.seq, trust.last.seq
        );
        let code = if claim.path.starts_with("obs/") {
            EventCode::ConsumerAheadOfStream
        } else if claim.path.ends_with(".blk") {
            EventCode::BlockSeqBackwards
        } else {
            EventCode::TtlAhead
        };
        events.push(Event::new(code, detail).file(&claim.path));
    }
}
