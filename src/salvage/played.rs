//! The records of a stream read once more in file order, and what limits took of them, with what its holes leave open.

use super::account::each_record;
use super::findings::{BlockFindings, Gap};
use super::liveness::{MESSAGE_MIN_LENGTH, Trust};
use super::read::Blocks;
use super::scan::RecordSink;
use super::sets::{difference, intersection, within};
use crate::format::limits::RECORD_MIN_LENGTH;
use crate::format::record::{RecordKind, RecordRef};
use crate::format::seqset::SeqSet;
use crate::ledger::{
    Checkpoint, FileSaid, Hole, Indexed, Limits, ListedBlock, Replay, Replayed, Rollup, Stored,
    subject_id,
};

/// What is played.
#[derive(Clone, Copy)]
pub(super) struct Log<'a> {
    pub blocks: Blocks<'a>,
    pub finds: &'a [BlockFindings],
    pub found: &'a SeqSet,
    pub trust: &'a Trust,
    pub index: Option<Indexed<'a>>,
    pub files: &'a [FileSaid<'a>],
    pub limits: Limits,
    /// Whether messages may be deleted by hand, or purged.
    pub deletable: bool,
}

/// Plays it.
pub(super) fn play(log: &Log<'_>) -> Replayed {
    let checkpoint = log
        .index
        .map_or_else(Checkpoint::default, |index| from(log, index));
    let holes = &log.trust.holes;
    let mut missing = holes.lost.clone();
    missing.union_with(&holes.unknown);
    let mut player = Player {
        replay: Replay::new(log.limits, &checkpoint),
        found: log.found,
        told: &log.trust.tombstones,
        rollup: log.limits.rollup,
        missing,
        deletes: log.deletable,
        horizon: checkpoint.last,
        last_block: log.index.map_or(0, |index| index.state.last_block),
        reached: 0,
        gaps: Vec::new(),
    };
    let mut before = None;
    for (at, find) in log.finds.iter().enumerate() {
        if before.replace(find.number) == Some(find.number) {
            continue;
        }
        player.begin(find);
        let one = log.finds.get(at..=at).unwrap_or_default();
        each_record(log.blocks, one, &mut player, |_| false);
        player.end();
    }
    player.finish(log.finds)
}

/// Where the index ends.
fn from(log: &Log<'_>, index: Indexed<'_>) -> Checkpoint {
    let state = index.state;
    let gone = difference(index.counted, log.found);
    let mut left_out = SeqSet::new();
    // The oldest go first by a limit: what went behind something that is there went for another reason, or is lost.
    let mut is_behind = false;
    for entry in &state.blocks {
        if entry.first_sequence > entry.last_sequence {
            continue;
        }
        let span = entry.first_sequence..=entry.last_sequence;
        let missing = within(&gone, span.clone());
        let file = log.files.iter().find(|file| file.number == entry.number);
        match file {
            Some(file) => left_out.union_with(&file.left_out(&missing)),
            None if is_behind => left_out.union_with(&missing),
            None => {}
        }
        let there = within(index.counted, span);
        is_behind |= !intersection(&there, &log.trust.live).is_empty();
    }
    let subjects = state.subjects.iter().map(|entry| entry.subject.len());
    let subject = subjects.min().unwrap_or(0) as u64;
    Checkpoint {
        counted: index.counted.clone(),
        last: state.last_sequence,
        blocks: state
            .blocks
            .iter()
            .map(|entry| ListedBlock {
                first: entry.first_sequence,
                last: entry.last_sequence,
                bytes: entry.bytes,
            })
            .collect(),
        gone,
        left_out,
        shortest: MESSAGE_MIN_LENGTH.max(RECORD_MIN_LENGTH as u64 + subject),
    }
}

struct Player<'a> {
    replay: Replay,
    found: &'a SeqSet,
    /// What tombstones name.
    told: &'a SeqSet,
    rollup: bool,
    /// What may have been stored in the holes.
    missing: SeqSet,
    deletes: bool,
    horizon: u64,
    last_block: u32,
    /// The highest sequence of a message so far.
    reached: u64,
    /// Gaps of the block that are still to come, by the record behind them.
    gaps: Vec<(Option<u64>, u64)>,
}

impl Player<'_> {
    /// Of what stood in a block before the index was written the index speaks.
    fn begin(&mut self, find: &BlockFindings) {
        let is_since = |gap: &&Gap| {
            find.number > self.last_block
                || find.number == self.last_block
                    && gap.after.is_none_or(|after| after > self.horizon)
        };
        let gaps = find.gaps.iter().filter(is_since);
        self.gaps = gaps.map(|gap| (gap.after, gap.length)).collect();
    }

    fn end(&mut self) {
        for (_, bytes) in std::mem::take(&mut self.gaps) {
            self.hole(&SeqSet::new(), Some(bytes));
        }
    }

    fn hole(&mut self, missing: &SeqSet, bytes: Option<u64>) {
        self.replay.hole(&Hole {
            missing,
            bytes,
            deletes: self.deletes,
        });
    }

    /// What is missing before the message or erased record `seq`.
    fn reach(&mut self, seq: u64) {
        let missing = match self.reached.checked_add(1) {
            Some(from) if from < seq => within(&self.missing, from..=seq - 1),
            _ => SeqSet::new(),
        };
        let mut bytes = None;
        self.gaps.retain(|(after, length)| {
            let here = *after == Some(seq);
            if here {
                bytes = Some(bytes.unwrap_or(0) + *length);
            }
            !here
        });
        if bytes.is_some() || !missing.is_empty() {
            self.hole(&missing, bytes);
        }
        self.reached = self.reached.max(seq);
    }

    fn finish(mut self, finds: &[BlockFindings]) -> Replayed {
        let behind = match self.reached.checked_add(1) {
            Some(from) => within(&self.missing, from..=u64::MAX),
            None => SeqSet::new(),
        };
        if !behind.is_empty() || self.reached < self.horizon {
            self.hole(&behind, None);
        }
        // A file cut between two records shows nothing of it: what was cut off is less than a block.
        let lengths = finds
            .iter()
            .map(|find| find.file_length.max(find.content_length));
        self.replay.cut_off(lengths.max().unwrap_or(0));
        self.replay.finish()
    }
}

impl RecordSink for Player<'_> {
    fn record(&mut self, record: &RecordRef, content: &[u8]) {
        let seq = record.sequence();
        match record.kind() {
            RecordKind::Tombstone => self.replay.gone(seq),
            RecordKind::Erased => {
                self.reach(seq);
                let told = self.told.contains(seq);
                self.replay.wiped(seq, record.length() as u64, told);
            }
            RecordKind::Message => {
                self.reach(seq);
                if !self.found.contains(seq) {
                    return;
                }
                let rollup = match self.rollup && record.has_headers() {
                    true => record.headers_and_body(content).ok(),
                    false => None,
                };
                self.replay.store(&Stored {
                    seq,
                    subject: subject_id(record.subject(content)),
                    bytes: record.length() as u64,
                    rollup: rollup.and_then(|(headers, _)| Rollup::of(headers)),
                });
            }
        }
    }
}
