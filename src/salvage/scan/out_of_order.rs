//! Records out of order: which stand in their place, which are copies, and what the rest of a block says of them.
//!
//! Every record here verifies, so each was written to this block once. Sectors that were written to the wrong place, or that
//! still have the bytes of an earlier moment, put records where they do not belong. The longest rising chain stands in its
//! place. Of the others those whose sequence the chain has are copies; those whose sequence nothing else has are *strays*,
//! and kept: their place was overwritten, or the copies outnumber what lies between them.
//!
//! A message may also be in an old copy alone: it was deleted since, and its record left the block when that was rewritten.
//! Two records that follow each other without a gap tell: whenever they were written so, nothing stood between them any
//! more. Where a sector begins, two records may follow each other by chance, and say nothing.
//!
//! Memory: some 60 bytes for each record of a block that has any out of order. Time `n log n`.

use std::cmp::Reverse;

use super::super::findings::Gap;
use super::super::sets::intersection;
use super::replay::{between, each_record};
use crate::format::record::{RecordKind, RecordRef, parse_at};
use crate::format::seqset::SeqSet;

/// The least that is written at once.
const SECTOR: usize = 512;

/// A message or erased record.
#[derive(Debug, Clone, Copy)]
struct StrayRecord {
    offset: usize,
    seq: u64,
    is_erased: bool,
}

/// How the records of a content out of order are to be taken.
#[derive(Debug, Default)]
pub(super) struct Arrangement {
    /// Where the records out of the chain begin that are taken all the same, ascending: strays, and every erased record.
    pub taken: Vec<usize>,
    /// Where messages begin that are passed over, ascending.
    pub copies: Vec<usize>,
    /// Messages that were gone when a part of the block was written.
    pub outdated: SeqSet,
    /// Sequences of which a copy says something else than what is taken.
    pub rivals: SeqSet,
}

/// Arranges the records of `content` between `gaps`.
pub(super) fn arrange(content: &[u8], gaps: &[Gap]) -> Arrangement {
    let mut items: Vec<StrayRecord> = Vec::new();
    each_record(content, gaps, |record| {
        if record.kind() != RecordKind::Tombstone && record.sequence() != 0 {
            items.push(StrayRecord {
                offset: record.offset(),
                seq: record.sequence(),
                is_erased: record.kind() == RecordKind::Erased,
            });
        }
    });
    let on_chain = longest_chain(&items);
    // For each sequence the one that stands for it comes first: that of the chain; else one that says it is erased.
    let mut by_seq: Vec<(StrayRecord, bool)> = items.iter().copied().zip(on_chain).collect();
    by_seq.sort_by_key(|(item, is_chain)| {
        (item.seq, Reverse((*is_chain, item.is_erased)), item.offset)
    });
    let mut made = Arrangement::default();
    let mut messages = SeqSet::new();
    for group in by_seq.chunk_by(|(a, _), (b, _)| a.seq == b.seq) {
        let Some(((first, is_chain), others)) = group.split_first() else {
            continue;
        };
        if !is_chain {
            made.taken.push(first.offset);
        }
        if !first.is_erased {
            messages.insert(first.seq);
        }
        for (other, _) in others {
            if other.is_erased {
                made.taken.push(other.offset);
                continue;
            }
            made.copies.push(other.offset);
            if !first.is_erased && bytes_at(content, first) != bytes_at(content, other) {
                made.rivals.insert(first.seq);
            }
        }
    }
    made.taken.sort_unstable();
    made.copies.sort_unstable();
    made.outdated = intersection(&messages, &passed_over(content, gaps));
    made
}

fn bytes_at<'c>(content: &'c [u8], item: &StrayRecord) -> Option<&'c [u8]> {
    parse_at(content, item.offset).ok()?.bytes(content)
}

/// Which of the items are of the longest rising chain. Of chains of equal length it is the one whose records end lowest.
fn longest_chain(items: &[StrayRecord]) -> Vec<bool> {
    // `ends` has, for each length, the item that ends a chain of that length lowest; `before` its predecessor.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(items.len());
    let seq_of = |at: usize| items.get(at).map_or(0, |item| item.seq);
    for (at, item) in items.iter().enumerate() {
        let length = ends.partition_point(|&end| seq_of(end) < item.seq);
        before.push(length.checked_sub(1).and_then(|l| ends.get(l).copied()));
        match ends.get_mut(length) {
            // Where the same record comes again, the first stands.
            Some(end) if seq_of(*end) != item.seq => *end = at,
            Some(_) => {}
            None => ends.push(at),
        }
    }
    let mut on_chain = vec![false; items.len()];
    let mut at = ends.last().copied();
    while let Some(here) = at {
        if let Some(mark) = on_chain.get_mut(here) {
            *mark = true;
        }
        at = before.get(here).copied().flatten();
    }
    on_chain
}

/// The sequences between records that follow each other.
fn passed_over(content: &[u8], gaps: &[Gap]) -> SeqSet {
    let mut gone = SeqSet::new();
    let mut stretches = between(gaps, content.len());
    let mut stretch_end = 0;
    let mut before = 0;
    each_record(content, gaps, |record| {
        while record.offset() >= stretch_end {
            let Some(stretch) = stretches.next() else {
                break;
            };
            (stretch_end, before) = (stretch.end, 0);
        }
        let seq = record.sequence();
        if record.kind() == RecordKind::Tombstone || seq == 0 {
            return;
        }
        let may_be_chance = record.offset().is_multiple_of(SECTOR);
        if before > 0 && before + 1 < seq && !may_be_chance {
            gone.insert_range(before + 1..=seq - 1);
        }
        before = seq;
    });
    gone
}

/// Where a record of a content out of order belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// In its place: of the chain, or a tombstone.
    InPlace,
    /// Elsewhere, and it is taken.
    Taken,
    /// Nowhere.
    Copy,
}

/// Tells the standing of records that come in file order.
#[derive(Debug)]
pub(super) struct Standings<'a> {
    taken: &'a [usize],
    copies: &'a [usize],
}

impl<'a> Standings<'a> {
    /// From the beginning.
    pub fn of(arrangement: &'a Arrangement) -> Self {
        Self {
            taken: &arrangement.taken,
            copies: &arrangement.copies,
        }
    }

    /// That of the next record.
    pub fn next(&mut self, record: &RecordRef) -> Standing {
        if is_next(&mut self.copies, record.offset()) {
            Standing::Copy
        } else if is_next(&mut self.taken, record.offset()) {
            Standing::Taken
        } else {
            Standing::InPlace
        }
    }
}

/// Whether `offset` is among the ascending `offsets`, of which those before it are dropped.
fn is_next(offsets: &mut &[usize], offset: usize) -> bool {
    while let Some((first, rest)) = offsets.split_first() {
        if *first >= offset {
            return *first == offset;
        }
        *offsets = rest;
    }
    false
}
