//! What the proven records of a block add up to, and which of them count.
//!
//! In a sound block the sequences of messages and erased records rise. Where they do not, a part of the block has been
//! written to the wrong place or is an old copy, and each of its records verifies all the same. The server passes over
//! what does not rise above the highest sequence so far, and loses all records behind a stray one with a high sequence.
//! Here the longest rising chain stands, and what verifies besides it is kept as well ([`super::strays`]); it is the same
//! unless a record fails to rise.

use std::ops::RangeInclusive;

use super::super::findings::{BlockFindings, Gap};
use super::out_of_order::{Standing, Standings, arrange};
use super::replay::each_record;
use crate::format::record::{RecordKind, RecordRef};
use crate::format::seqset::SeqSet;
use crate::state::SeqTime;

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
    /// Highest sequence of the chain so far.
    chain_end: u64,
    messages: Gathered,
    message_bytes: u64,
    erased: Gathered,
    tombstones: Vec<SeqTime>,
    first: Option<SeqTime>,
    last: Option<SeqTime>,
    backward_count: u64,
    strays: Vec<SeqTime>,
    outdated: SeqSet,
    rivals: SeqSet,
}

impl Tally {
    /// The last sequence of a message or erased record that counts, if there was one.
    pub fn last_seq(&self) -> Option<u64> {
        Some(self.chain_end).filter(|seq| *seq != 0)
    }

    /// Whether a record failed to rise.
    pub fn is_out_of_order(&self) -> bool {
        self.backward_count > 0
    }

    /// Takes in one record. Returns its sequence where it is a message or erased record of the chain.
    #[inline]
    pub fn record(&mut self, record: &RecordRef) -> Option<u64> {
        let edge = SeqTime {
            seq: record.sequence(),
            timestamp_ns: record.timestamp_ns(),
        };
        let rises = edge.seq > self.chain_end;
        match record.kind() {
            RecordKind::Tombstone => {
                self.tombstones.push(edge);
                return None;
            }
            // It says of a sequence that it holds nothing, wherever it stands. Sequence 0 is none.
            RecordKind::Erased if edge.seq == 0 => return None,
            RecordKind::Erased => {
                self.erased.insert(edge.seq);
                self.backward_count += u64::from(!rises);
            }
            RecordKind::Message if rises => {
                self.messages.insert(edge.seq);
                self.message_bytes += record.length() as u64;
            }
            RecordKind::Message => self.backward_count += 1,
        }
        if !rises {
            return None;
        }
        self.chain_end = edge.seq;
        self.first.get_or_insert(edge);
        self.last = Some(edge);
        Some(edge.seq)
    }

    /// Takes in one record that is known not to be of the chain.
    fn stray(&mut self, record: &RecordRef) {
        self.backward_count += 1;
        if record.kind() == RecordKind::Erased {
            self.erased.insert(record.sequence());
            return;
        }
        self.messages.insert(record.sequence());
        self.message_bytes += record.length() as u64;
        self.strays.push(SeqTime {
            seq: record.sequence(),
            timestamp_ns: record.timestamp_ns(),
        });
    }

    /// Puts the sums in `find`.
    pub fn finish(self, find: &mut BlockFindings) {
        find.messages = self.messages.finish();
        find.message_bytes = self.message_bytes;
        find.erased = self.erased.finish();
        find.tombstones = self.tombstones;
        find.first = self.first;
        find.last = self.last;
        find.backward_count = self.backward_count;
        find.strays = self.strays;
        find.outdated = self.outdated;
        find.rivals = self.rivals;
    }
}

/// Adds up a content out of order once more, by its chain and its strays, and sets the neighbours of its gaps anew.
pub(super) fn by_chain(content: &[u8], gaps: &mut [Gap]) -> Tally {
    let arrangement = arrange(content, gaps);
    let mut standings = Standings::of(&arrangement);
    let mut tally = Tally::default();
    let mut seen = 0;
    let mut neighbours: Vec<(Option<u64>, Option<u64>)> = Vec::with_capacity(gaps.len());
    each_record(content, gaps, |record| {
        while gaps
            .get(neighbours.len())
            .is_some_and(|gap| gap.offset <= record.offset() as u64)
        {
            neighbours.push((tally.last_seq(), None));
        }
        match standings.next(record) {
            Standing::Copy => tally.backward_count += 1,
            Standing::Taken => tally.stray(record),
            Standing::InPlace => {
                if let Some(seq) = tally.record(record) {
                    for (_, after) in neighbours.iter_mut().skip(seen) {
                        *after = Some(seq);
                    }
                    seen = neighbours.len();
                }
            }
        }
    });
    neighbours.resize(gaps.len(), (tally.last_seq(), None));
    for (gap, (before, after)) in gaps.iter_mut().zip(neighbours) {
        (gap.before, gap.after) = (before, after);
    }
    tally.strays.sort_unstable_by_key(|edge| edge.seq);
    tally.outdated = arrangement.outdated;
    tally.rivals = arrangement.rivals;
    tally
}
