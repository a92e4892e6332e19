//! The subjects that one scan thread counts, over all of its blocks.

use super::SubjectTotals;
use super::shard::{BY_NONE, SHARD_COUNT, Shard, hash_with, is_listed, shard_of, words_of};
use crate::block::scan::SubjectCounts;

/// Where a subject without a place in the index is.
pub const NO_SUBJECT: u32 = u32::MAX;

const SHARD_BITS: u32 = SHARD_COUNT.trailing_zeros();

/// The subjects that one scan thread counts. What the block at hand changed can be taken back.
#[derive(Debug)]
pub struct ThreadSubjects {
    shards: [Shard; SHARD_COUNT],
    /// Subjects that the block at hand counted, with their totals before.
    touched: Vec<(u32, SubjectTotals)>,
}

impl Default for ThreadSubjects {
    fn default() -> Self {
        ThreadSubjects {
            shards: std::array::from_fn(|_| Shard::default()),
            touched: Vec::new(),
        }
    }
}

impl ThreadSubjects {
    /// A block begins.
    pub fn begin(&mut self) {
        self.touched.clear();
    }

    /// Subjects here.
    pub fn entry_count(&self) -> usize {
        self.shards.iter().map(Shard::entry_count).sum()
    }

    /// What the block at hand counted does not count after all.
    pub fn take_back(&mut self) {
        for (place, before) in std::mem::take(&mut self.touched) {
            let Some(shard) = self.shards.get_mut(place as usize % SHARD_COUNT) else {
                continue;
            };
            let Some(entry) = shard.entry_mut(place >> SHARD_BITS) else {
                continue;
            };
            let went = entry.totals.total > 0 && before.total == 0;
            entry.totals = before;
            entry.counted_by = BY_NONE;
            *shard.live_count_mut() -= u64::from(went);
        }
    }

    /// Counts a message of the block at hand and says where its subject is.
    #[inline]
    pub fn count(&mut self, subject: &[u8], block: u32) -> u32 {
        if subject.is_empty() {
            return NO_SUBJECT;
        }
        let words = words_of(subject);
        let hash = hash_with(&words, subject);
        let shard_at = shard_of(hash);
        let Some(shard) = self.shards.get_mut(shard_at) else {
            return NO_SUBJECT;
        };
        let found = shard.find(hash, &words, subject);
        let Some(at) = found.or_else(|| match is_listed(subject) {
            true => shard.push(hash, &words, subject),
            false => None,
        }) else {
            return NO_SUBJECT;
        };
        let Some(entry) = shard.entry_mut(at) else {
            return NO_SUBJECT;
        };
        let place = at << SHARD_BITS | shard_at as u32;
        if entry.counted_by == block && entry.totals.total > 0 {
            entry.totals.total += 1;
            return place;
        }
        entry.counted_by = block;
        let before = entry.totals;
        if before.total == 0 {
            entry.totals = SubjectTotals {
                total: 1,
                first_block: block,
                last_block: block,
            };
            *shard.live_count_mut() += 1;
        } else {
            entry.totals = SubjectTotals {
                total: before.total + 1,
                first_block: before.first_block.min(block),
                last_block: before.last_block.max(block),
            };
        }
        self.touched.push((place, before));
        place
    }

    /// How often each subject is among these places.
    pub fn counts(&self, places: &mut [u32]) -> SubjectCounts {
        places.sort_unstable();
        let mut counts = SubjectCounts::default();
        for same in places.chunk_by(|one, other| one == other) {
            let Some(place) = same.first().filter(|place| **place != NO_SUBJECT) else {
                continue;
            };
            if let Some(shard) = self.shards.get(*place as usize % SHARD_COUNT) {
                let at = place >> SHARD_BITS;
                shard.with_subject(at, |subject| counts.push(subject, same.len() as u32));
            }
        }
        counts
    }

    /// How often each subject was counted.
    pub fn all_counts(&self) -> SubjectCounts {
        let mut counts = SubjectCounts::default();
        for shard in &self.shards {
            shard.for_each(&mut |subject, totals| {
                counts.push(subject, u32::try_from(totals.total).unwrap_or(u32::MAX));
            });
        }
        counts
    }

    /// Hands over everything; nothing is left.
    pub(super) fn take_shards(&mut self) -> impl Iterator<Item = Shard> + use<> {
        self.touched.clear();
        std::mem::replace(&mut self.shards, std::array::from_fn(|_| Shard::default())).into_iter()
    }
}
