//! One block of a stream.

use crate::format::seqset::SeqSet;

/// A sequence and the time of its message, 0 where there is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeqTime {
    /// Sequence.
    pub seq: u64,
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
}

/// One block of a stream: what it holds, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockState {
    /// Number in the file name.
    pub number: u32,
    /// First live sequence and its time. One behind the last where no message is live.
    pub first: SeqTime,
    /// Last sequence, live or not, and its time.
    pub last: SeqTime,
    /// Live messages.
    pub message_count: u64,
    /// Bytes of the live records.
    pub live_bytes: u64,
    /// Sequences between first and last that hold no message.
    pub deleted: SeqSet,
    /// Records with a TTL header.
    pub ttl_count: u64,
    /// Records with a schedule header.
    pub schedule_count: u64,
    /// Hash of the last record. Where the state comes from `index.db` it is known of the last block only.
    pub last_record_hash: Option<[u8; 8]>,
    /// What the file is taken to hold, in bytes: its length, or that of its content where it was walked.
    pub raw_bytes: u64,
    /// Live bytes at the last rewrite, 0 before the first.
    pub live_bytes_at_rewrite: u64,
    /// Whether the file lies compressed, as far as it was looked at.
    pub compressed: bool,
}

impl BlockState {
    /// Whether its range holds a sequence that is not deleted.
    #[must_use]
    pub fn has_undeleted(&self) -> bool {
        self.first.seq <= self.last.seq
            && self.deleted.count_in(self.first.seq..=self.last.seq)
                <= self.last.seq - self.first.seq
    }

    /// Whether `seq` is live in it.
    #[must_use]
    pub fn holds(&self, seq: u64) -> bool {
        let is_between = seq >= self.first.seq && seq <= self.last.seq;
        is_between && (self.deleted.is_empty() || !self.deleted.contains(seq))
    }
}
