//! Walking again what a scan has proven.

use std::ops::Range;

use super::super::find::Gap;
use super::RecordSink;
use super::tally::Order;
use crate::format::checksum::HashKey;
use crate::format::record::{Run, Runs};

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

/// Feeds `sink` the records of `content` between `gaps`, each verified again. A stretch that does not verify to its end,
/// because the file has changed since it was scanned, is left at its first bad record.
pub(super) fn walk<S: RecordSink>(content: &[u8], hash_key: &HashKey, gaps: &[Gap], sink: &mut S) {
    let mut order = Order::default();
    let mut run = Run::new();
    for stretch in between(gaps, content.len()) {
        // A record that ends in a gap is none.
        let proven = content.get(..stretch.end).unwrap_or_default();
        let mut runs = Runs::new(proven, hash_key);
        runs.seek(stretch.start);
        while runs.next_run(&mut run) {
            for record in &run.records {
                if order.admits(record) {
                    sink.record(record, content);
                }
            }
        }
    }
}
