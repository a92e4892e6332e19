//! What the proven records of a block add up to.

use std::ops::RangeInclusive;

use super::super::find::{BlockFind, Edge};
use crate::format::record::{RecordKind, RecordRef};
use crate::format::seqset::SeqSet;

/// The one rule of order, the server's: the sequences of messages only rise, and erased records count among them.
#[derive(Debug, Default)]
pub(super) struct Order {
    last: u64,
}

impl Order {
    /// The highest sequence of a message or erased record so far.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Whether the record counts: a message only where its sequence rises; an erased record and a tombstone always,
    /// since they speak of a sequence and do not use it. An erased record of sequence 0 speaks of none.
    #[inline]
    pub fn admits(&mut self, record: &RecordRef) -> bool {
        let seq = record.sequence();
        match record.kind() {
            RecordKind::Tombstone => true,
            RecordKind::Erased => {
                self.last = self.last.max(seq);
                seq != 0
            }
            RecordKind::Message => {
                let rises = seq > self.last;
                self.last = self.last.max(seq);
                rises
            }
        }
    }
}

/// A set that is filled mostly in order: neighbours are gathered and put in together.
#[derive(Debug, Default)]
struct Gathered {
    set: SeqSet,
    open: Option<(u64, u64)>,
}

impl Gathered {
    #[inline]
    fn insert(&mut self, seq: u64) {
        match &mut self.open {
            Some((_, end)) if *end + 1 == seq => *end = seq,
            open => {
                if let Some((start, end)) = open.replace((seq, seq)) {
                    self.set.insert_range(RangeInclusive::new(start, end));
                }
            }
        }
    }

    fn finish(mut self) -> SeqSet {
        if let Some((start, end)) = self.open {
            self.set.insert_range(start..=end);
        }
        self.set
    }
}

/// Adds up records in file order.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub order: Order,
    messages: Gathered,
    message_bytes: u64,
    erased: Gathered,
    tombstones: Vec<Edge>,
    first: Option<Edge>,
    last: Option<Edge>,
    backward_count: u64,
}

impl Tally {
    /// Takes in one record. Returns its sequence where it is a message or erased record that counts.
    #[inline]
    pub fn record(&mut self, record: &RecordRef) -> Option<u64> {
        let kind = record.kind();
        if !self.order.admits(record) {
            self.backward_count += u64::from(kind == RecordKind::Message);
            return None;
        }
        let edge = Edge {
            seq: record.sequence(),
            timestamp_ns: record.timestamp_ns(),
        };
        match kind {
            RecordKind::Tombstone => {
                self.tombstones.push(edge);
                return None;
            }
            RecordKind::Erased => self.erased.insert(edge.seq),
            RecordKind::Message => {
                self.messages.insert(edge.seq);
                self.message_bytes += record.length() as u64;
            }
        }
        if self.first.is_none() {
            self.first = Some(edge);
        }
        if self.last.is_none_or(|last| edge.seq >= last.seq) {
            self.last = Some(edge);
        }
        Some(edge.seq)
    }

    /// Puts the sums in `find`.
    pub fn finish(self, find: &mut BlockFind) {
        find.messages = self.messages.finish();
        find.message_bytes = self.message_bytes;
        find.erased = self.erased.finish();
        find.tombstones = self.tombstones;
        find.first = self.first;
        find.last = self.last;
        find.backward_count = self.backward_count;
    }
}
