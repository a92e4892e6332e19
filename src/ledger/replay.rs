//! The log of a stream played again in file order: what its limits took, which leave no tombstone.
//!
//! A block is written in the order of events, and blocks in the order of their numbers. So the same stores, tombstones and
//! limits, taken in that order, remove the same messages. What was compacted away since is not seen again, and removes
//! nothing; the replay then says too little, never too much, as long as the limits are those under which the log was written.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};

use rustc_hash::FxHashMap;

use crate::format::headers;
use crate::format::meta::{Discard, StreamMeta};
use crate::format::seqset::SeqSet;
use crate::report::Removal;

/// A replay that would have to remember more messages than this gives up and removes nothing: some 40 bytes each.
const REMEMBERED_MAX: usize = 8 << 20;

/// The limits that remove messages without a tombstone while a server runs; 0 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Messages of the stream.
    pub messages: u64,
    /// Bytes of the stream.
    pub bytes: u64,
    /// Messages per subject.
    pub per_subject: u64,
    /// Whether a message may ask for a rollup.
    pub rollup: bool,
}

impl Limits {
    /// Those of a configuration.
    #[must_use]
    pub fn of(meta: &StreamMeta) -> Self {
        let limit = |value: i64| u64::try_from(value).unwrap_or(0);
        let old = |value: i64| match meta.discard {
            Discard::Old => limit(value),
            _ => 0,
        };
        let refuses = meta.discard != Discard::Old && meta.discard_new_per_subject;
        Limits {
            messages: old(meta.max_messages),
            bytes: old(meta.max_bytes),
            per_subject: match refuses {
                true => 0,
                false => limit(meta.max_messages_per_subject),
            },
            rollup: meta.allow_rollup,
        }
    }

    /// Whether there is any.
    #[must_use]
    pub fn any(&self) -> bool {
        self.messages > 0 || self.bytes > 0 || self.per_subject > 0 || self.rollup
    }

    fn by_subject(&self) -> bool {
        self.per_subject > 0 || self.rollup
    }
}

/// What a message asks to be removed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollup {
    /// Everything older of its subject.
    Subject,
    /// Everything older.
    All,
}

impl Rollup {
    /// What the headers of a message ask for.
    #[must_use]
    pub fn of(block: &[u8]) -> Option<Self> {
        match headers::find(block, b"Nats-Rollup")?.trim_ascii() {
            b"sub" => Some(Rollup::Subject),
            b"all" => Some(Rollup::All),
            _ => None,
        }
    }
}

/// A subject, as far as the replay tells them apart.
#[must_use]
pub fn subject_id(subject: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(subject);
    hasher.finish()
}

/// A message of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Sequence.
    pub seq: u64,
    /// [`subject_id`] of its subject.
    pub subject: u64,
    /// Length of its record.
    pub bytes: u64,
    /// What it asks for.
    pub rollup: Option<Rollup>,
}

/// What `index.db` knew when it was written: the replay begins there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// What was live.
    pub counted: SeqSet,
    /// The last sequence.
    pub last: u64,
    /// Bytes of what was live.
    pub bytes: u64,
    /// Of what was live, what has no record any more.
    pub gone: SeqSet,
}

/// What a replay came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Removed, and by what.
    pub removed: BTreeMap<Removal, SeqSet>,
    /// Messages stored behind the checkpoint, by [`subject_id`]; empty unless the stream limits messages per subject.
    pub later: FxHashMap<u64, u64>,
}

/// The messages of one subject.
#[derive(Debug, Default)]
struct OfSubject {
    /// Ascending, with some that are gone.
    seqs: VecDeque<u64>,
    live: u64,
}

/// A replay under way.
#[derive(Debug)]
pub struct Replay {
    limits: Limits,
    checkpoint: Checkpoint,
    /// Bytes of a message without a record, on the average.
    gone_bytes: u64,
    live: SeqSet,
    bytes: u64,
    sizes: FxHashMap<u64, u64>,
    subjects: FxHashMap<u64, OfSubject>,
    owners: FxHashMap<u64, u64>,
    gave_up: bool,
    replayed: Replayed,
}

impl Replay {
    /// A replay from `checkpoint` on; from an empty stream where there is none.
    #[must_use]
    pub fn new(limits: Limits, checkpoint: Checkpoint) -> Self {
        let count = checkpoint.counted.len().max(1);
        Replay {
            limits,
            gone_bytes: checkpoint.bytes / count,
            live: checkpoint.counted.clone(),
            bytes: checkpoint.bytes,
            checkpoint,
            sizes: FxHashMap::default(),
            subjects: FxHashMap::default(),
            owners: FxHashMap::default(),
            gave_up: false,
            replayed: Replayed::default(),
        }
    }

    /// The next record of the log is a message.
    pub fn store(&mut self, stored: &Stored) {
        if self.gave_up {
            return;
        }
        let known = stored.seq <= self.checkpoint.last;
        if known && !self.live.contains(stored.seq) {
            return;
        }
        self.remember(stored);
        if known {
            return;
        }
        if !self.live.insert(stored.seq) {
            return;
        }
        self.bytes = self.bytes.saturating_add(stored.bytes);
        if self.limits.per_subject > 0 {
            *self.replayed.later.entry(stored.subject).or_default() += 1;
            self.trim_subject(
                stored.subject,
                self.limits.per_subject,
                Removal::SubjectLimit,
            );
        }
        self.trim_stream();
        match stored.rollup.filter(|_| self.limits.rollup) {
            Some(Rollup::Subject) => self.trim_subject(stored.subject, 1, Removal::Rollup),
            Some(Rollup::All) => {
                while self.live.first().is_some_and(|first| first < stored.seq) {
                    self.remove_first(Removal::Rollup);
                }
            }
            None => {}
        }
    }

    /// The next record of the log says that `seq` is gone.
    pub fn gone(&mut self, seq: u64) {
        if self.live.remove(seq) {
            self.forget(seq);
        }
    }

    /// What it came to.
    #[must_use]
    pub fn finish(self) -> Replayed {
        if self.gave_up {
            return Replayed::default();
        }
        self.replayed
    }

    fn remember(&mut self, stored: &Stored) {
        if self.limits.bytes > 0 {
            self.sizes.insert(stored.seq, stored.bytes);
        }
        if self.limits.by_subject() {
            let of_subject = self.subjects.entry(stored.subject).or_default();
            if of_subject.seqs.back().is_none_or(|last| *last < stored.seq) {
                of_subject.seqs.push_back(stored.seq);
                of_subject.live += 1;
                self.owners.insert(stored.seq, stored.subject);
            }
        }
        if self.sizes.len().max(self.owners.len()) > REMEMBERED_MAX {
            self.gave_up = true;
            self.sizes = FxHashMap::default();
            self.subjects = FxHashMap::default();
            self.owners = FxHashMap::default();
        }
    }

    fn trim_subject(&mut self, subject: u64, most: u64, removal: Removal) {
        loop {
            let Some(of_subject) = self.subjects.get_mut(&subject) else {
                return;
            };
            if of_subject.live <= most {
                return;
            }
            let Some(oldest) = of_subject.seqs.pop_front() else {
                return;
            };
            self.remove(oldest, removal);
        }
    }

    fn trim_stream(&mut self) {
        let Limits {
            messages, bytes, ..
        } = self.limits;
        while messages > 0 && self.live.len() > messages {
            self.remove_first(Removal::Limit);
        }
        while bytes > 0 && self.bytes > bytes && !self.live.is_empty() {
            self.remove_first(Removal::Limit);
        }
    }

    fn remove_first(&mut self, removal: Removal) {
        if let Some(first) = self.live.first() {
            self.remove(first, removal);
        }
    }

    fn remove(&mut self, seq: u64, removal: Removal) {
        if self.live.remove(seq) {
            self.forget(seq);
            let removed = self.replayed.removed.entry(removal).or_default();
            removed.insert(seq);
        }
    }

    /// Takes off what a message without a record had, on the average; with the last of them the guessing ends, for the size of
    /// every other is known.
    fn forget_gone(&mut self, seq: u64) {
        self.bytes = self.bytes.saturating_sub(self.gone_bytes);
        if self.checkpoint.gone.remove(seq) && self.checkpoint.gone.is_empty() {
            self.bytes = self.sizes.values().sum();
        }
    }

    fn forget(&mut self, seq: u64) {
        match self.sizes.remove(&seq) {
            Some(bytes) => self.bytes = self.bytes.saturating_sub(bytes),
            None => self.forget_gone(seq),
        }
        let owner = self.owners.remove(&seq);
        if let Some(of_subject) = owner.and_then(|subject| self.subjects.get_mut(&subject)) {
            of_subject.live = of_subject.live.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::sets::ranges;

    fn stored(seq: u64, subject: &[u8]) -> Stored {
        Stored {
            seq,
            subject: subject_id(subject),
            bytes: 100,
            rollup: None,
        }
    }

    fn removed(replayed: &Replayed, removal: Removal) -> Vec<(u64, u64)> {
        replayed
            .removed
            .get(&removal)
            .map(ranges)
            .unwrap_or_default()
    }

    #[test]
    fn a_newer_message_takes_the_older_of_its_subject_even_where_it_went_itself() {
        let limits = Limits {
            per_subject: 1,
            ..Limits::default()
        };
        let mut replay = Replay::new(limits, Checkpoint::default());
        replay.store(&stored(4, b"keya"));
        replay.store(&stored(8, b"keyb"));
        replay.store(&stored(10, b"keya"));
        replay.gone(10);
        let replayed = replay.finish();
        assert_eq!(removed(&replayed, Removal::SubjectLimit), [(4, 4)]);
        assert_eq!(replayed.removed.len(), 1);
    }

    #[test]
    fn limits_take_the_oldest_from_the_checkpoint_on() {
        let limits = Limits {
            messages: 10,
            ..Limits::default()
        };
        let checkpoint = Checkpoint {
            counted: (1..=10).collect(),
            last: 10,
            bytes: 1000,
            gone: (1..=4).collect(),
        };
        let mut replay = Replay::new(limits, checkpoint);
        for seq in 5..=13 {
            replay.store(&stored(seq, b"a"));
        }
        // A deletion makes room for one more.
        replay.gone(7);
        replay.store(&stored(14, b"a"));
        replay.store(&stored(15, b"a"));
        assert_eq!(removed(&replay.finish(), Removal::Limit), [(1, 4)]);
    }

    #[test]
    fn bytes_are_those_the_index_counts_and_those_stored_since() {
        let limits = Limits {
            bytes: 1000,
            ..Limits::default()
        };
        let checkpoint = Checkpoint {
            counted: (1..=10).collect(),
            last: 10,
            bytes: 1000,
            gone: SeqSet::new(),
        };
        let mut replay = Replay::new(limits, checkpoint);
        for seq in 1..=12 {
            replay.store(&stored(seq, b"a"));
        }
        assert_eq!(removed(&replay.finish(), Removal::Limit), [(1, 2)]);
    }

    #[test]
    fn once_all_without_a_record_are_gone_bytes_are_exact() {
        let limits = Limits {
            bytes: 1000,
            ..Limits::default()
        };
        // The first five had 10 bytes each, not the average of 100, and no record tells.
        let checkpoint = Checkpoint {
            counted: (1..=10).collect(),
            last: 10,
            bytes: 1000,
            gone: (1..=5).collect(),
        };
        let mut replay = Replay::new(limits, checkpoint);
        for seq in 6..=13 {
            replay.store(&Stored {
                bytes: 190,
                ..stored(seq, b"a")
            });
        }
        assert_eq!(removed(&replay.finish(), Removal::Limit), [(1, 8)]);
    }

    #[test]
    fn a_rollup_takes_what_it_asks_for() {
        let limits = Limits {
            rollup: true,
            ..Limits::default()
        };
        let mut replay = Replay::new(limits, Checkpoint::default());
        for (seq, subject) in [(1, b"a"), (2, b"b"), (3, b"a")] {
            replay.store(&stored(seq, subject));
        }
        replay.store(&Stored {
            rollup: Some(Rollup::Subject),
            ..stored(4, b"a")
        });
        let mut all = Replay::new(limits, Checkpoint::default());
        all.store(&stored(1, b"b"));
        all.store(&Stored {
            rollup: Some(Rollup::All),
            ..stored(2, b"a")
        });
        assert_eq!(removed(&replay.finish(), Removal::Rollup), [(1, 1), (3, 3)]);
        assert_eq!(removed(&all.finish(), Removal::Rollup), [(1, 1)]);
        assert_eq!(
            Rollup::of(b"NATS/1.0\r\nNats-Rollup: all\r\n\r\n"),
            Some(Rollup::All)
        );
    }
}
