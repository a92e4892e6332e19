//! Walking again what a scan has proven.

use std::ops::Range;

use super::super::find::Gap;
use super::RecordSink;
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
    strays: &[usize],
    sink: &mut S,
) {
    let mut strays = strays.iter().copied().peekable();
    let mut run = Run::new();
    for stretch in between(gaps, content.len()) {
        let content_to_end = content.get(..stretch.end).unwrap_or_default();
        let mut runs = match hash_key {
            Some(hash_key) => Runs::new(content_to_end, hash_key),
            None => Runs::unverified(content_to_end),
        };
        runs.seek(stretch.start);
        while runs.next_run(&mut run) {
            for record in &run.records {
                while strays.next_if(|stray| *stray < record.offset()).is_some() {}
                let is_stray = strays.next_if_eq(&record.offset()).is_some();
                let counts = match record.kind() {
                    RecordKind::Tombstone => true,
                    RecordKind::Erased => record.sequence() != 0,
                    RecordKind::Message => !is_stray,
                };
                if counts {
                    sink.record(record, content);
                }
            }
        }
    }
}
