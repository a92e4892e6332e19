//! Decisions about one block that need nothing but its figures: when a record no longer fits, when the block is rewritten,
//! what of it a rewrite keeps, which of its tombstones still matter. Values in, decisions out; whoever writes blocks and
//! whoever foretells what a server writes ask the same functions.

use crate::format::record::RecordKind;
use crate::format::seqset::SeqSet;

/// A block is rewritten on the spot, when a message is removed from it, only above this many bytes.
pub const REWRITE_RAW_MIN: u64 = 2 * 1024 * 1024;

/// How full a block is, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fill {
    /// Bytes of the records of live messages.
    pub live_bytes: u64,
    /// Bytes that count for the block's size: of its records while it is written, of its file once that was rewritten.
    pub raw_bytes: u64,
    /// Bytes of live messages when it was last rewritten; 0 for never.
    pub live_bytes_at_rewrite: u64,
}

impl Fill {
    /// Whether a record of this length wants a new block. An empty block takes any record, and a block may be exactly full.
    #[must_use]
    pub const fn is_full(&self, record_length: u64, block_size: u64) -> bool {
        self.raw_bytes > 0 && self.raw_bytes.saturating_add(record_length) > block_size
    }

    /// Whether more than half of the block is dead records.
    #[must_use]
    pub const fn is_mostly_dead(&self) -> bool {
        self.live_bytes.saturating_mul(2) < self.raw_bytes
    }

    /// Whether a removal has the block rewritten on the spot: it is large and mostly dead, and has lost half of what a
    /// rewrite before has left.
    #[must_use]
    pub const fn is_rewritten_on_removal(&self) -> bool {
        self.raw_bytes > REWRITE_RAW_MIN
            && self.is_mostly_dead()
            && (self.live_bytes_at_rewrite == 0
                || self.live_bytes.saturating_mul(2) < self.live_bytes_at_rewrite)
    }
}

/// Which tombstones a rewrite keeps, of those for messages before the block's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptTombstones<'a> {
    /// All.
    All,
    /// Those that are not below the stream's first sequence and that some block still lists as deleted.
    Listed {
        /// The stream's first sequence.
        stream_first: u64,
        /// What the blocks list.
        listed: &'a SeqSet,
    },
}

/// What survives when a block is rewritten: live messages, and tombstones of messages in blocks before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survivors<'a> {
    /// The block's first live sequence.
    pub first: u64,
    /// Deleted sequences behind that.
    pub deleted: &'a SeqSet,
    /// Which tombstones.
    pub tombstones: KeptTombstones<'a>,
}

impl Survivors<'_> {
    /// Whether a record stays, which is the message `seq` or a tombstone for it. Erased and skipped ones go.
    #[must_use]
    pub fn keep(&self, kind: RecordKind, seq: u64) -> bool {
        match (kind, self.tombstones) {
            (RecordKind::Erased, _) => false,
            (RecordKind::Message, _) => seq >= self.first && !self.deleted.contains(seq),
            (RecordKind::Tombstone, KeptTombstones::All) => seq < self.first,
            (
                RecordKind::Tombstone,
                KeptTombstones::Listed {
                    stream_first,
                    listed,
                },
            ) => seq < self.first && seq >= stream_first && listed.contains(seq),
        }
    }
}

/// Counts, over the records of a block in file order, the tombstones that keep it from being removed once it is empty: those
/// for messages before its own first, and not before the stream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriorTombstones {
    stream_first: u64,
    /// The first message so far; 0 for none.
    first: u64,
    count: u64,
}

impl PriorTombstones {
    /// Before the first record. `stream_first` is the stream's first sequence.
    #[must_use]
    pub const fn new(stream_first: u64) -> Self {
        PriorTombstones {
            stream_first,
            first: 0,
            count: 0,
        }
    }

    /// Takes the next record, which is the message `seq` or a tombstone for it.
    pub fn take(&mut self, kind: RecordKind, seq: u64) {
        match kind {
            RecordKind::Tombstone => {
                let is_prior = self.first == 0 || seq < self.first;
                self.count += u64::from(seq >= self.stream_first && is_prior);
            }
            RecordKind::Message if self.first == 0 => self.first = seq,
            RecordKind::Message | RecordKind::Erased => {}
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }
}

/// The first sequence behind `first`, which goes, that is not deleted; `last + 1` where none is left up to `last`. Deleted
/// sequences that are passed are taken out of `deleted`, which lists those behind a block's first.
pub fn next_first(first: u64, last: u64, deleted: &mut SeqSet) -> u64 {
    let next = first.wrapping_add(1);
    if next > last || !deleted.contains(next) {
        return next;
    }
    let end = deleted.span_end(next).unwrap_or(next).min(last);
    deleted.remove_range(next..=end);
    end.wrapping_add(1)
}

/// Whether a tombstone for `seq` moves the bounds of the block it is written to: without a message the block ends where its
/// highest tombstone says.
#[must_use]
pub const fn tombstone_moves_bounds(messages: u64, last: u64, seq: u64) -> bool {
    messages == 0 && seq > last
}

/// Whether a limit takes the stream's first block as a whole: where it would still be exceeded without that block.
#[must_use]
pub const fn goes_whole(held: u64, held_by_block: u64, limit: u64) -> bool {
    held.wrapping_sub(held_by_block) > limit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(live_bytes: u64, raw_bytes: u64, live_bytes_at_rewrite: u64) -> Fill {
        Fill {
            live_bytes,
            raw_bytes,
            live_bytes_at_rewrite,
        }
    }

    #[test]
    fn a_block_may_be_exactly_full_and_an_empty_one_takes_anything() {
        assert!(!fill(0, 70, 0).is_full(30, 100));
        assert!(fill(0, 71, 0).is_full(30, 100));
        assert!(!fill(0, 0, 0).is_full(1000, 100));
        assert!(fill(0, 1, 0).is_full(u64::MAX, u64::MAX - 1));
    }

    #[test]
    fn a_block_is_rewritten_on_removal_when_it_is_large_and_lost_more_than_half() {
        let raw = REWRITE_RAW_MIN + 2;
        assert!(fill(raw / 2 - 1, raw, 0).is_rewritten_on_removal());
        assert!(!fill(raw / 2, raw, 0).is_rewritten_on_removal());
        assert!(!fill(0, REWRITE_RAW_MIN, 0).is_rewritten_on_removal());
        assert!(fill(0, REWRITE_RAW_MIN, 0).is_mostly_dead());
        // Once rewritten it has to lose half of what that left.
        assert!(!fill(100, raw, 200).is_rewritten_on_removal());
        assert!(fill(99, raw, 200).is_rewritten_on_removal());
    }

    #[test]
    fn live_messages_and_tombstones_of_blocks_before_survive() {
        let deleted: SeqSet = [12].into_iter().collect();
        let all = Survivors {
            first: 10,
            deleted: &deleted,
            tombstones: KeptTombstones::All,
        };
        for (kind, seq, kept) in [
            (RecordKind::Message, 9, false),
            (RecordKind::Message, 10, true),
            (RecordKind::Message, 12, false),
            (RecordKind::Erased, 11, false),
            (RecordKind::Tombstone, 9, true),
            (RecordKind::Tombstone, 10, false),
        ] {
            assert_eq!(all.keep(kind, seq), kept, "{kind:?} {seq}");
        }
        let listed: SeqSet = [3, 5, 12].into_iter().collect();
        let some = Survivors {
            tombstones: KeptTombstones::Listed {
                stream_first: 4,
                listed: &listed,
            },
            ..all
        };
        let kept: Vec<u64> = (0..20)
            .filter(|seq| some.keep(RecordKind::Tombstone, *seq))
            .collect();
        assert_eq!(kept, [5], "3 is before the stream, 12 in this block");
    }

    #[test]
    fn the_first_moves_over_what_is_deleted_and_forgets_it() {
        let mut deleted: SeqSet = [11, 12, 14].into_iter().collect();
        assert_eq!(next_first(10, 20, &mut deleted), 13);
        assert_eq!(next_first(13, 20, &mut deleted), 15);
        assert!(deleted.is_empty());
        assert_eq!(next_first(15, 20, &mut deleted), 16);
        assert_eq!(next_first(20, 20, &mut deleted), 21);
        // A span that reaches behind the block's last is passed up to that.
        let mut deleted: SeqSet = (5..=9).collect();
        assert_eq!(next_first(4, 7, &mut deleted), 8);
        assert_eq!(deleted.iter().collect::<Vec<_>>(), [8, 9]);
    }

    #[test]
    fn only_a_block_without_messages_ends_at_its_tombstones() {
        assert!(tombstone_moves_bounds(0, 7, 8));
        assert!(!tombstone_moves_bounds(0, 7, 7));
        assert!(!tombstone_moves_bounds(1, 7, 8));
    }

    #[test]
    fn a_block_goes_whole_where_the_limit_is_exceeded_without_it() {
        assert!(goes_whole(20, 9, 10));
        assert!(!goes_whole(20, 10, 10), "exactly at the limit");
    }

    #[test]
    fn tombstones_for_what_lies_before_keep_a_block() {
        let count = |stream_first, records: &[(RecordKind, u64)]| {
            let mut prior = PriorTombstones::new(stream_first);
            for (kind, seq) in records {
                prior.take(*kind, *seq);
            }
            prior.count()
        };
        let records = [
            (RecordKind::Tombstone, 3),
            (RecordKind::Erased, 9),
            (RecordKind::Tombstone, 30),
            (RecordKind::Message, 10),
            (RecordKind::Tombstone, 4),
            (RecordKind::Tombstone, 10),
            (RecordKind::Tombstone, 11),
        ];
        // Before its first message the block does not know what is its own.
        assert_eq!(count(1, &records), 3);
        assert_eq!(count(4, &records), 2);
        assert_eq!(count(31, &records), 0);
    }
}
