//! The rebuilding walk over one block's records: what a block holds, judged record by record.
//!
//! Answers for the reference's rebuild of a block from its bytes, without its side effects: where
//! the reference cuts the file, the walk reports a fault and the offset.

use crate::format::checksum::HashKey;
use crate::format::record::{RecordFault, RecordRef, Run, Runs};
use crate::format::seqset::SeqSet;

/// In what older servers' walks differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkRules {
    /// Records whose sequence does not rise are passed over. Before, they counted, and moved the last sequence back.
    pub rising: bool,
    /// A block with nothing but tombstones stands for the highest of them. Before, for the lowest.
    pub highest_tombstone: bool,
    /// Tombstones and erased records tell where a block without a message stood. Before, they told nothing.
    pub empty_blocks_tell: bool,
}

impl Default for WalkRules {
    fn default() -> Self {
        WalkRules {
            rising: true,
            highest_tombstone: true,
            empty_blocks_tell: true,
        }
    }
}

/// What is known of a block before the walk: nothing, or what a legacy `.idx` said of it.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// First sequence, 0 where unknown.
    pub first_seq: u64,
    /// Its time.
    pub first_ts: i64,
    /// Last sequence, 0 where unknown.
    pub last_seq: u64,
    /// Sequences known to be deleted.
    pub deleted: SeqSet,
    /// The rules of the walk.
    pub rules: WalkRules,
}

/// The state of a block as its records tell it.
#[derive(Debug, Clone, Default)]
pub struct Walked {
    /// First sequence; 0 where nothing sets one.
    pub first_seq: u64,
    /// Its time, nanoseconds; 0 where there is none.
    pub first_ts: i64,
    /// Last sequence.
    pub last_seq: u64,
    /// Its time, nanoseconds.
    pub last_ts: i64,
    /// Live messages.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Deleted sequences inside the block's range (and, after skip records, sometimes below it).
    pub deleted: SeqSet,
    /// Tombstones in file order: sequence, with whatever flag bits are left in it.
    pub tombstones: Vec<u64>,
    /// The highest tombstone that lies before every message or is about one before them all: while the stream reaches down
    /// to it the block has to stay.
    pub highest_prior: Option<u64>,
    /// Hash of the last good record, if there was one.
    pub checksum: Option<[u8; 8]>,
    /// The first bad record, where the walk ended early.
    pub fault: Option<RecordFault>,
    /// Where the walk ended: the fault's offset, or the length of the content.
    pub end: u64,
    /// Sequences that went missing with the tail, where something knew of them.
    pub lost: Option<(u64, u64)>,
    /// Whether the records were the plain case: sequences strictly rising, nothing erased and
    /// nothing known beforehand, so that indexing the block can only confirm the walk.
    pub plain: bool,
    /// Records whose sequence did not rise.
    pub backward_count: u64,
    /// Erased or skipped records seen.
    pub erased_count: u64,
    /// Sequences filled into the deleted set because no record stands for them.
    pub gap_count: u64,
}

impl Walked {
    /// Whether the block is plainly sound: every record verifies, sequences rise, nothing was erased, and nothing was known
    /// of it beforehand. Unlike a plain one it may be without a message.
    #[must_use]
    pub fn is_plainly_sound(&self) -> bool {
        self.fault.is_none()
            && (self.plain
                || self.messages == 0 && self.erased_count == 0 && self.backward_count == 0)
    }
}

/// Receives the records of a walk as they are judged.
pub trait Sink {
    /// A live message that counts. `content` is the block's decoded content.
    fn message(&mut self, record: &RecordRef, content: &[u8]);
}

/// A sink that wants nothing.
impl Sink for () {
    fn message(&mut self, _record: &RecordRef, _content: &[u8]) {}
}

/// Walks `content` from its start to its end or its first bad record.
pub fn walk<S: Sink>(
    content: &[u8],
    hash_key: &HashKey,
    known: Known,
    run: &mut Run,
    sink: &mut S,
) -> Walked {
    walk_runs(Runs::new(content, hash_key), content, known, run, sink)
}

/// The same over content every record of which has just been verified: no hash is computed.
pub fn walk_verified<S: Sink>(content: &[u8], known: Known, run: &mut Run, sink: &mut S) -> Walked {
    walk_runs(Runs::unverified(content), content, known, run, sink)
}

fn walk_runs<S: Sink>(
    mut runs: Runs<'_>,
    content: &[u8],
    known: Known,
    run: &mut Run,
    sink: &mut S,
) -> Walked {
    let mut walker = Walker::new(known);
    while runs.next_run(run) {
        walker.run(run, content, sink);
        if let Some(fault) = &run.fault {
            walker.out.fault = Some(fault.clone());
            break;
        }
    }
    let end = walker
        .out
        .fault
        .as_ref()
        .map_or(content.len(), RecordFault::offset) as u64;
    walker.finish(end)
}

/// A walk that is handed its records run by run.
#[derive(Debug)]
pub(super) struct Walker {
    out: Walked,
    rules: WalkRules,
    known_last_seq: u64,
    /// Whether this walk has fixed the first sequence.
    first_fixed: bool,
    /// Highest sequence seen in this walk.
    seen: u64,
    has_deleted: bool,
    /// The tombstone that stands for a block with nothing else.
    telling_tombstone: Option<(u64, i64)>,
}

impl Walker {
    pub fn new(known: Known) -> Self {
        let has_deleted = !known.deleted.is_empty();
        let plain = known.first_seq == 0 && !has_deleted;
        Walker {
            rules: known.rules,
            known_last_seq: known.last_seq,
            first_fixed: false,
            seen: 0,
            has_deleted,
            telling_tombstone: None,
            out: Walked {
                first_seq: known.first_seq,
                first_ts: known.first_ts,
                deleted: known.deleted,
                plain,
                ..Walked::default()
            },
        }
    }

    /// Takes in the sound records of a run; `content` is what they were parsed from.
    pub fn run<S: Sink>(&mut self, run: &Run, content: &[u8], sink: &mut S) {
        for record in &run.records {
            self.record(record, content, sink);
        }
        if let Some(record) = run.records.last() {
            self.out.checksum = record.stored_hash(content).map(u64::to_le_bytes);
        }
    }

    /// Whether the records so far were the plain case.
    pub fn is_plain(&self) -> bool {
        self.out.plain
    }

    #[inline]
    fn record<S: Sink>(&mut self, record: &RecordRef, content: &[u8], sink: &mut S) {
        if record.kind() == crate::format::record::RecordKind::Tombstone {
            // Bit 63 stays where both flags are set: the reference keeps it too.
            let seq = record.sequence_bits() & !(1 << 62);
            self.out.tombstones.push(seq);
            if !self.first_fixed || seq < self.out.first_seq {
                self.out.highest_prior = self.out.highest_prior.max(Some(seq));
            }
            let highest = self.rules.highest_tombstone;
            if self
                .telling_tombstone
                .is_none_or(|(told, _)| told == 0 || (seq > told) == highest)
            {
                self.telling_tombstone = Some((seq, record.timestamp_ns()));
            }
            return;
        }
        let bits = record.sequence_bits();
        if bits == 0
            || (record.kind() == crate::format::record::RecordKind::Erased)
            || bits < self.out.first_seq
        {
            self.erased(record.sequence(), record.timestamp_ns());
            return;
        }
        if !self.first_fixed {
            self.first_fixed = true;
            self.out.first_seq = bits;
            self.out.first_ts = record.timestamp_ns();
        }
        if bits <= self.seen && self.rules.rising {
            self.out.backward_count += 1;
            self.out.plain = false;
            return;
        }
        if !self.has_deleted || !self.out.deleted.contains(bits) {
            self.out.messages += 1;
            self.out.bytes += record.length() as u64;
            sink.message(record, content);
        }
        self.advance(bits, record.timestamp_ns());
    }

    fn erased(&mut self, seq: u64, timestamp_ns: i64) {
        self.out.erased_count += 1;
        self.out.plain = false;
        if seq < self.out.first_seq {
            return;
        }
        if self.rules.rising {
            self.advance(seq, timestamp_ns);
        } else {
            self.out.last_seq = seq;
            self.out.last_ts = timestamp_ns;
        }
        if self.out.messages == 0 && self.rules.empty_blocks_tell {
            self.out.first_seq = seq.wrapping_add(1);
            self.out.first_ts = 0;
        } else if seq != 0 {
            self.out.deleted.insert(seq);
            self.has_deleted = true;
        }
    }

    /// Sequences only ever move up; what a step passes over is deleted.
    #[inline]
    fn advance(&mut self, seq: u64, timestamp_ns: i64) {
        if seq <= self.seen && self.rules.rising {
            return;
        }
        if self.seen > 0 && seq > self.seen + 1 && self.out.messages != 0 {
            self.out.deleted.insert_range(self.seen + 1..=seq - 1);
            self.out.gap_count += seq - self.seen - 1;
            self.has_deleted = true;
        }
        self.seen = seq;
        self.out.last_seq = seq;
        self.out.last_ts = timestamp_ns;
    }

    pub fn finish(mut self, end: u64) -> Walked {
        self.out.end = end;
        if self.out.fault.is_some() && self.known_last_seq > self.out.last_seq {
            self.out.lost = Some((self.out.last_seq + 1, self.known_last_seq));
        }
        if self.out.messages == 0 {
            self.out.plain = false;
            self.settle_empty();
        }
        self.out
    }

    /// A block without messages still remembers where the stream stood.
    fn settle_empty(&mut self) {
        let out = &mut self.out;
        if out.first_seq > 0 {
            out.last_seq = out.first_seq - 1;
            return;
        }
        match self.telling_tombstone {
            Some((seq, timestamp_ns)) if seq > 0 && self.rules.empty_blocks_tell => {
                out.first_seq = seq.wrapping_add(1);
                out.first_ts = 0;
                if out.last_seq == 0 {
                    out.last_seq = seq;
                    out.last_ts = timestamp_ns;
                }
            }
            _ => {}
        }
    }
}
