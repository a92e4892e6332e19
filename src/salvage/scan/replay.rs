//! Walking again what a scan has proven.

use std::ops::Range;

use super::super::findings::Gap;
use super::RecordSink;
use super::out_of_order::{Arrangement, Standing, Standings};
use crate::format::checksum::HashKey;
use crate::format::record::{RecordKind, RecordRef, Run, Runs};

/// The stretches of content between gaps.
pub(super) fn between(gaps: &[Gap], length: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let place = move |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(length);
    let starts = std::iter::once(0).chain(
        gaps.iter()
            .map(move |gap| place(gap.offset.saturating_add(gap.length))),
    );
    let ends = gaps
        .iter()
        .map(move |gap| place(gap.offset))
        .chain(std::iter::once(length));
    starts
        .zip(ends)
        .map(|(start, end)| start..end)
        .filter(|stretch| !stretch.is_empty())
}

/// Every record of `content` between `gaps`, in file order, without verifying it.
pub(super) fn each_record(content: &[u8], gaps: &[Gap], mut take: impl FnMut(&RecordRef)) {
    let mut run = Run::new();
    for stretch in between(gaps, content.len()) {
        // A record that ends in a gap is none.
        let mut runs = Runs::unverified(content.get(..stretch.end).unwrap_or_default());
        runs.seek(stretch.start);
        while runs.next_run(&mut run) {
            run.records.iter().for_each(&mut take);
        }
    }
}

/// Feeds `sink` the records that count of `content` between `gaps`, each verified again where there is a `hash_key`. A
/// stretch that does not verify to its end, because the file has changed since it was scanned, is left at its first bad
/// record.
pub(super) fn walk<S: RecordSink>(
    content: &[u8],
    hash_key: Option<&HashKey>,
    gaps: &[Gap],
    sink: &mut S,
) {
    each_proven(content, hash_key, gaps, |record| {
        if counts(record) {
            sink.record(record, content);
        }
    });
}

/// The same for a content out of order: in the order of sequences, without copies.
pub(super) fn walk_arranged<S: RecordSink>(
    content: &[u8],
    hash_key: Option<&HashKey>,
    gaps: &[Gap],
    arrangement: &Arrangement,
    sink: &mut S,
) {
    let mut standings = Standings::of(arrangement);
    let mut records: Vec<(u64, RecordRef)> = Vec::new();
    let mut chain_end = 0;
    each_proven(content, hash_key, gaps, |record| {
        let place = match standings.next(record) {
            Standing::Copy => return,
            Standing::Taken => record.sequence(),
            Standing::InPlace => {
                if record.kind() != RecordKind::Tombstone {
                    chain_end = record.sequence().max(chain_end);
                }
                chain_end
            }
        };
        if counts(record) {
            records.push((place, *record));
        }
    });
    records.sort_by_key(|(place, _)| *place);
    for (_, record) in &records {
        sink.record(record, content);
    }
}

fn counts(record: &RecordRef) -> bool {
    record.kind() != RecordKind::Erased || record.sequence() != 0
}

fn each_proven(
    content: &[u8],
    hash_key: Option<&HashKey>,
    gaps: &[Gap],
    mut take: impl FnMut(&RecordRef),
) {
    let mut run = Run::new();
    for stretch in between(gaps, content.len()) {
        let content_to_end = content.get(..stretch.end).unwrap_or_default();
        let mut runs = match hash_key {
            Some(hash_key) => Runs::new(content_to_end, hash_key),
            None => Runs::unverified(content_to_end),
        };
        runs.seek(stretch.start);
        while runs.next_run(&mut run) {
            run.records.iter().for_each(&mut take);
        }
    }
}
