//! The log of a stream played again in file order: what its limits took, which leave no tombstone.
//!
//! A block is written in the order of events, and blocks in the order of their numbers. So the same stores, tombstones and
//! limits, taken in that order, remove the same messages, as long as the limits are those under which the log was written.
//!
//! Where the log has holes several pasts are possible, and the log is played twice. In the one that removes *least* a hole held
//! as many tombstones as fit, what was left out of a rewritten block had gone at once, and of a message without a record no more
//! is known than the sum of its block leaves: what this past removes was removed in every one. In the one that removes *most*
//! everything that can have been stored was, and weighed as much as it can. Between the two nothing tells.

#[cfg(test)]
mod tests;
mod weights;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};

use rustc_hash::FxHashMap;

use crate::format::headers;
use crate::format::limits::RECORD_MIN_LENGTH;
use crate::format::meta::{Discard, StreamMeta};
use crate::format::seqset::SeqSet;
use crate::format::sets::remove_all;
use crate::report::Removal;
pub use weights::ListedBlock;
use weights::Weights;

/// A replay that would have to remember more messages than this gives up and removes nothing: some 40 bytes each.
const REMEMBERED_MAX: usize = 8 << 20;

/// Length of a tombstone.
const TOMBSTONE_BYTES: u64 = RECORD_MIN_LENGTH as u64;

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
    /// The blocks it lists, ascending.
    pub blocks: Vec<ListedBlock>,
    /// Of what was live, what has no record any more.
    pub gone: SeqSet,
    /// Of what is gone, what was left out when its block was rewritten: it was removed, nobody knows when.
    pub left_out: SeqSet,
    /// Length of the shortest record there can be.
    pub shortest: u64,
}

/// What a replay came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Removed, and by what.
    pub removed: BTreeMap<Removal, SeqSet>,
    /// What may have been removed, and in some possible past was not.
    pub perhaps: SeqSet,
    /// Everything below was removed by then at the latest: the stream was so full that no further message had room before it.
    pub full_from: u64,
    /// Messages stored behind the checkpoint, by [`subject_id`]; empty unless the stream limits messages per subject.
    pub later: FxHashMap<u64, u64>,
    /// By [`subject_id`] the sequence before which nothing of the subject is left: so many newer messages of it are there as the
    /// stream keeps, or one asked for a rollup.
    pub fences: FxHashMap<u64, u64>,
    /// How many messages that the checkpoint counts have their record, by [`subject_id`].
    pub known: FxHashMap<u64, u64>,
}

/// A place in the log that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole<'a> {
    /// Sequences that may have been stored there.
    pub missing: &'a SeqSet,
    /// Its bytes; `None` where they are gone with their file.
    pub bytes: Option<u64>,
    /// Whether messages of this stream are deleted by hand, or purged: then it may have held tombstones.
    pub deletes: bool,
}

/// Which of the possible pasts is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    RemovesLeast,
    RemovesMost,
}

/// The messages of one subject.
#[derive(Debug, Default)]
struct OfSubject {
    /// Ascending, with some that are gone.
    seqs: VecDeque<u64>,
    live: u64,
}

/// The log played again, in both pasts.
#[derive(Debug)]
pub struct Replay {
    least: Run,
    most: Run,
}

impl Replay {
    /// A replay from `checkpoint` on; from an empty stream where there is none.
    #[must_use]
    pub fn new(limits: Limits, checkpoint: &Checkpoint) -> Self {
        Replay {
            least: Run::new(limits, checkpoint, Past::RemovesLeast),
            most: Run::new(limits, checkpoint, Past::RemovesMost),
        }
    }

    /// The next record of the log is a message.
    pub fn store(&mut self, stored: &Stored) {
        self.least.store(stored);
        self.most.store(stored);
    }

    /// The next record of the log was a message that is wiped now; `told` is whether a tombstone tells when.
    pub fn wiped(&mut self, seq: u64, bytes: u64, told: bool) {
        match told {
            true => self.least.wiped(seq, bytes),
            false => self.least.gone(seq),
        }
        self.most.wiped(seq, bytes);
    }

    /// The next record of the log says that `seq` is gone.
    pub fn gone(&mut self, seq: u64) {
        self.least.gone(seq);
        self.most.gone(seq);
    }

    /// The next part of the log cannot be read.
    pub fn hole(&mut self, hole: &Hole<'_>) {
        self.least.tombstones_may_be_in(hole);
        self.most.messages_may_be_in(hole);
    }

    /// The end of the log is cut off, and so many bytes may have stood there.
    pub fn cut_off(&mut self, bytes: u64) {
        self.most.messages_may_follow(bytes);
    }

    /// What it came to.
    #[must_use]
    pub fn finish(self) -> Replayed {
        if self.least.gave_up || self.most.gave_up {
            return Replayed::default();
        }
        let mut replayed = self.least.replayed;
        for removed in self.most.replayed.removed.values() {
            replayed.perhaps.union_with(removed);
        }
        for removed in replayed.removed.values() {
            remove_all(&mut replayed.perhaps, removed);
        }
        replayed
    }
}

/// One of the two pasts under way.
#[derive(Debug)]
struct Run {
    limits: Limits,
    counted: SeqSet,
    last: u64,
    live: SeqSet,
    /// Messages that the checkpoint counts, as far as they were read.
    seen: SeqSet,
    weights: Weights,
    subjects: FxHashMap<u64, OfSubject>,
    owners: FxHashMap<u64, u64>,
    /// Messages that hidden tombstones may have taken, all of them stored before [`Run::veiled_to`].
    veiled: u64,
    /// Those of them that fit into bytes which are there.
    veiled_here: u64,
    veiled_to: u64,
    /// Messages that may have been stored behind all that is left.
    followed: u64,
    gave_up: bool,
    replayed: Replayed,
}

impl Run {
    fn new(limits: Limits, checkpoint: &Checkpoint, past: Past) -> Self {
        let least = past == Past::RemovesLeast;
        let mut live = checkpoint.counted.clone();
        if least {
            remove_all(&mut live, &checkpoint.left_out);
        }
        Run {
            limits,
            counted: checkpoint.counted.clone(),
            last: checkpoint.last,
            live,
            seen: SeqSet::new(),
            weights: Weights::new(checkpoint, least),
            subjects: FxHashMap::default(),
            owners: FxHashMap::default(),
            veiled: 0,
            veiled_here: 0,
            veiled_to: 0,
            followed: 0,
            gave_up: false,
            replayed: Replayed::default(),
        }
    }

    fn store(&mut self, stored: &Stored) {
        if self.gave_up {
            return;
        }
        let known = stored.seq <= self.last;
        if known && !self.counted.contains(stored.seq) {
            return;
        }
        self.remember(stored, known);
        if known || !self.live.insert(stored.seq) {
            return;
        }
        if self.limits.per_subject > 0 {
            *self.replayed.later.entry(stored.subject).or_default() += 1;
            let most = self.limits.per_subject;
            self.trim_subject(stored.subject, most, Removal::SubjectLimit);
            self.fence(stored.subject, stored.seq);
        }
        self.trim_stream();
        match stored.rollup.filter(|_| self.limits.rollup) {
            Some(Rollup::Subject) => {
                self.trim_subject(stored.subject, 1, Removal::Rollup);
                self.replayed.fences.insert(stored.subject, stored.seq);
            }
            Some(Rollup::All) => {
                while self.live.first().is_some_and(|first| first < stored.seq) {
                    self.remove_first(Removal::Rollup);
                }
            }
            None => {}
        }
    }

    fn wiped(&mut self, seq: u64, bytes: u64) {
        let known = seq <= self.last;
        if known && !self.counted.contains(seq) {
            return;
        }
        self.weights
            .know(seq, bytes, known, self.live.contains(seq));
        if !known && self.live.insert(seq) {
            self.trim_stream();
        }
    }

    fn gone(&mut self, seq: u64) {
        if self.live.remove(seq) {
            self.forget(seq);
        }
    }

    /// Tombstones take what was stored before them.
    fn tombstones_may_be_in(&mut self, hole: &Hole<'_>) {
        if !hole.deletes {
            return;
        }
        let shortest = self.weights.shortest;
        let room = hole.bytes.map_or(u64::MAX, |bytes| {
            bytes.saturating_sub(hole.missing.len().saturating_mul(shortest)) / TOMBSTONE_BYTES
        });
        if room > 0 {
            self.veiled = self.veiled.saturating_add(room);
            if hole.bytes.is_some() {
                self.veiled_here = self.veiled_here.saturating_add(room);
            }
            self.veiled_to = self.live.last().unwrap_or(0).max(self.last);
            self.weights.veil(self.veiled, self.veiled_to);
        }
    }

    fn messages_may_be_in(&mut self, hole: &Hole<'_>) {
        let mut missing = hole.missing.clone();
        missing.remove_range(0..=self.last);
        remove_all(&mut missing, &self.live);
        if missing.is_empty() {
            return;
        }
        self.weights.suppose(&missing, hole.bytes);
        self.live.union_with(&missing);
        self.trim_stream();
    }

    /// So many bytes may have followed.
    fn messages_may_follow(&mut self, bytes: u64) {
        self.followed = bytes / self.weights.shortest;
        self.weights.add(bytes);
        self.trim_stream();
    }

    fn remember(&mut self, stored: &Stored, known: bool) {
        let is_live = !known || self.live.contains(stored.seq);
        self.weights.know(stored.seq, stored.bytes, known, is_live);
        if known && self.limits.by_subject() && self.seen.insert(stored.seq) {
            *self.replayed.known.entry(stored.subject).or_default() += 1;
        }
        if is_live && self.limits.by_subject() {
            let of_subject = self.subjects.entry(stored.subject).or_default();
            if of_subject.seqs.back().is_none_or(|last| *last < stored.seq) {
                of_subject.seqs.push_back(stored.seq);
                of_subject.live += 1;
                self.owners.insert(stored.seq, stored.subject);
            }
        }
        if self.weights.remembered().max(self.owners.len()) > REMEMBERED_MAX {
            self.gave_up = true;
            self.weights = Weights::default();
            self.subjects = FxHashMap::default();
            self.owners = FxHashMap::default();
        }
    }

    fn trim_subject(&mut self, subject: u64, most: u64, removal: Removal) {
        loop {
            let Some(of_subject) = self.subjects.get_mut(&subject) else {
                return;
            };
            // The oldest, if it is there, and the newest are there. A file goes only when no tombstone in it is needed.
            let sure = of_subject.live.saturating_sub(self.veiled_here).max(2);
            if of_subject.live <= most || sure <= most {
                return;
            }
            let Some(oldest) = of_subject.seqs.pop_front() else {
                return;
            };
            self.remove(oldest, removal);
        }
    }

    /// Whoever has as many messages as the stream keeps has no older ones, also none whose record is gone.
    fn fence(&mut self, subject: u64, newest: u64) {
        let most = self.limits.per_subject;
        let Some(of_subject) = self.subjects.get_mut(&subject) else {
            return;
        };
        let is_gone = |seq: &u64| !self.owners.contains_key(seq);
        while of_subject.seqs.front().is_some_and(is_gone) {
            of_subject.seqs.pop_front();
        }
        let oldest = match most {
            1 => Some(newest),
            _ if self.veiled > 0 || of_subject.live < most => None,
            _ => of_subject.seqs.front().copied(),
        };
        if let Some(oldest) = oldest {
            self.replayed.fences.insert(subject, oldest);
        }
    }

    fn trim_stream(&mut self) {
        let Limits {
            messages, bytes, ..
        } = self.limits;
        loop {
            let Some(first) = self.live.first() else {
                return;
            };
            if first > self.veiled_to {
                (self.veiled, self.veiled_here, self.veiled_to) = (0, 0, 0);
                self.weights.unveil();
            }
            let count = self.count();
            let weight = self.weights.total();
            if messages > 0 && count > messages || bytes > 0 && weight > bytes {
                self.remove_first(Removal::Limit);
                continue;
            }
            let one_more = weight.saturating_add(self.weights.shortest);
            let is_full = messages > 0 && count == messages || bytes > 0 && one_more > bytes;
            if is_full {
                self.replayed.full_from = self.replayed.full_from.max(first);
            }
            return;
        }
    }

    /// Messages that are there in any case.
    fn count(&self) -> u64 {
        match self.veiled {
            0 => self.live.len().saturating_add(self.followed),
            veiled => {
                let since = self
                    .live
                    .count_in(self.veiled_to.saturating_add(1)..=u64::MAX);
                self.live.len().saturating_sub(veiled).max(since)
            }
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

    fn forget(&mut self, seq: u64) {
        self.weights.forget(seq);
        let owner = self.owners.remove(&seq);
        if let Some(of_subject) = owner.and_then(|subject| self.subjects.get_mut(&subject)) {
            of_subject.live = of_subject.live.saturating_sub(1);
        }
    }
}
