//! A stream: its blocks, and what is kept over all of them.

use super::{BlockState, SeqTime, SubjectIndex, Timers};
use crate::format::limits::ZERO_TIME_NS;
use crate::report::stream::Lost;

/// Totals of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Live messages.
    pub messages: u64,
    /// Bytes of live records.
    pub bytes: u64,
    /// First live sequence and its time; one behind the last where no message is live.
    pub first: SeqTime,
    /// Last sequence ever stored and its time.
    pub last: SeqTime,
}

/// What a stream is. Made by recovery, owned by whoever serves from it.
#[derive(Debug, Default)]
pub struct StreamState {
    /// Blocks by rising number; the last takes appends.
    pub blocks: Vec<BlockState>,
    /// The number that the next block follows: that of the last block there was, even where it is gone.
    pub last_block_number: u32,
    /// Totals over all blocks.
    pub totals: Totals,
    /// Live messages per subject.
    pub subjects: SubjectIndex,
    /// Whether subjects are kept: a stream without any does not.
    pub tracks_subjects: bool,
    /// Times to live, schedules, positions in sources.
    pub timers: Timers,
    /// What was lost and never accepted to be.
    pub lost: Option<Lost>,
}

impl StreamState {
    /// The block whose range holds `seq`, which may be deleted in it.
    #[must_use]
    pub fn block_of(&self, seq: u64) -> Option<&BlockState> {
        let at = self.blocks.partition_point(|block| block.last.seq < seq);
        self.blocks.get(at).filter(|block| block.first.seq <= seq)
    }

    /// Whether `seq` is live.
    #[must_use]
    pub fn holds(&self, seq: u64) -> bool {
        self.block_of(seq).is_some_and(|block| block.holds(seq))
    }

    /// The first thing in which two states differ, in words; `None` where they are the same stream.
    ///
    /// What one of them does not know is not compared: the hash of a last record, how long a file is, whether it is compressed, and
    /// how many of a block's records carry a TTL or a schedule, for those that are gone count or not, as it happened.
    /// Neither are the blocks between which a subject's messages lie: these are bounds, and a state that was worked on has
    /// wider ones.
    #[must_use]
    pub fn difference(&self, other: &StreamState) -> Option<String> {
        if self.lost != other.lost {
            return Some(format!("lost {:?} and {:?}", self.lost, other.lost));
        }
        self.difference_but_losses(other)
    }

    /// As [`StreamState::difference`], whatever either has lost: no file keeps that.
    #[must_use]
    pub fn difference_but_losses(&self, other: &StreamState) -> Option<String> {
        if self.totals.timed() != other.totals.timed() {
            return Some(format!("totals {:?} and {:?}", self.totals, other.totals));
        }
        let live = |state: &StreamState| -> Vec<BlockState> {
            let live = state.blocks.iter().filter(|block| block.message_count > 0);
            live.cloned().collect()
        };
        let (ours, theirs) = (live(self), live(other));
        if ours.len() != theirs.len() {
            return Some(format!(
                "{} blocks with messages and {}",
                ours.len(),
                theirs.len()
            ));
        }
        let blocks = ours.iter().zip(&theirs);
        let differing = blocks.clone().find(|(ours, theirs)| !is_same(ours, theirs));
        if let Some((ours, theirs)) = differing {
            return Some(format!("block {ours:?} and {theirs:?}"));
        }
        if let Some(subject) = self.subjects.difference(&other.subjects) {
            return Some(format!("subject {}", String::from_utf8_lossy(&subject)));
        }
        self.timers.difference(&other.timers)
    }
}

impl SeqTime {
    /// A record has no 0 for "no time", and what was read from one differs from what never was.
    fn timed(self) -> Self {
        SeqTime {
            timestamp_ns: match self.timestamp_ns {
                ZERO_TIME_NS => 0,
                timestamp_ns => timestamp_ns,
            },
            ..self
        }
    }
}

impl Totals {
    fn timed(self) -> Self {
        Totals {
            first: self.first.timed(),
            last: self.last.timed(),
            ..self
        }
    }
}

fn is_same(one: &BlockState, other: &BlockState) -> bool {
    let hash = one.last_record_hash.or(other.last_record_hash);
    let with = |block: &BlockState| BlockState {
        first: block.first.timed(),
        last: block.last.timed(),
        last_record_hash: block.last_record_hash.or(hash),
        ttl_count: 0,
        schedule_count: 0,
        raw_bytes: 0,
        live_bytes_at_rewrite: 0,
        compressed: false,
        ..block.clone()
    };
    with(one) == with(other)
}
