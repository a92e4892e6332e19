//! The subject index of a stream: per subject how many live messages, and between which blocks.
//!
//! Scan threads count into tables of their own ([`ThreadSubjects`]), which are then put together side by side. Millions of
//! subjects are ordinary: one of up to 32 bytes costs 72 bytes, a longer one its own bytes more.

mod block;
mod shard;
mod thread;

use std::convert::Infallible;

use parking_lot::Mutex;

use crate::format::state::SubjectTable as IndexedSubjects;
use crate::format::subject;
use crate::parallel::Crew;
pub use block::BlockSubjects;
use shard::{SHARD_COUNT, Shard, hash_of, is_listed, shard_of};
pub use thread::{NO_SUBJECT, ThreadSubjects};

/// Fewer subjects than this are not worth a second thread.
const SHARED_MIN: usize = 1 << 14;

/// Totals of one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubjectTotals {
    /// Live messages.
    pub total: u64,
    /// Lowest block that may hold one.
    pub first_block: u32,
    /// Highest block that may hold one.
    pub last_block: u32,
}

/// The subject index.
#[derive(Debug)]
pub struct SubjectIndex {
    shards: Vec<Mutex<Shard>>,
}

impl Default for SubjectIndex {
    fn default() -> Self {
        SubjectIndex {
            shards: (0..SHARD_COUNT).map(|_| Mutex::default()).collect(),
        }
    }
}

impl SubjectIndex {
    /// Bytes it takes in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let shards = self.shards.iter().map(|shard| shard.lock().memory_bytes());
        shards.sum::<usize>() + size_of_val(self.shards.as_slice())
    }

    /// Adds totals of a subject; a zero total adds nothing.
    pub fn add(&mut self, subject: &[u8], totals: SubjectTotals) {
        let hash = hash_of(subject);
        if let Some(shard) = self.shards.get_mut(shard_of(hash)) {
            shard.get_mut().add(hash, subject, totals);
        }
    }

    /// Adds what one block holds; called by threads side by side.
    pub fn merge_block(&self, block: u32, local: &BlockSubjects, content: &[u8]) {
        let mut order: Vec<u32> = (0..local.entries.len() as u32).collect();
        let shard_at = |at: &u32| {
            local
                .entries
                .get(*at as usize)
                .map_or(0, |entry| shard_of(entry.hash))
        };
        order.sort_unstable_by_key(shard_at);
        for group in order.chunk_by(|a, b| shard_at(a) == shard_at(b)) {
            let Some(shard) = group.first().and_then(|at| self.shards.get(shard_at(at))) else {
                continue;
            };
            let mut shard = shard.lock();
            for entry in group
                .iter()
                .filter_map(|at| local.entries.get(*at as usize))
            {
                let totals = SubjectTotals {
                    total: u64::from(entry.count),
                    first_block: block,
                    last_block: block,
                };
                shard.add(entry.hash, entry.subject(content), totals);
            }
        }
    }

    /// Takes over what a thread counted, leaving it nothing; called by threads side by side.
    pub fn take_from(&self, counted: &mut ThreadSubjects) {
        for (shard, more) in self.shards.iter().zip(counted.take_shards()) {
            shard.lock().take_over(more);
        }
    }

    /// Takes over what several threads counted, with as many threads.
    pub fn take_all(&self, counted: Vec<ThreadSubjects>) {
        let threads = counted.len();
        let mut by_shard: Vec<Vec<Shard>> = (0..SHARD_COUNT).map(|_| Vec::new()).collect();
        for mut counted in counted {
            for (list, shard) in by_shard.iter_mut().zip(counted.take_shards()) {
                list.push(shard);
            }
        }
        let is_small = by_shard.iter().flatten().all(Shard::is_small);
        let work: Vec<(Mutex<Vec<Shard>>, &Mutex<Shard>)> = by_shard
            .into_iter()
            .map(Mutex::new)
            .zip(&self.shards)
            .collect();
        let crew = Crew::of(if is_small { 1 } else { threads });
        let done: Result<_, Infallible> = crew.map(&work, |(list, shard)| {
            let mut list = std::mem::take(&mut *list.lock());
            let mut shard = shard.lock();
            // The largest is the one the others go into.
            list.sort_by_key(Shard::room);
            while let Some(more) = list.pop() {
                shard.take_over(more);
            }
            Ok(())
        });
        let Ok(_) = done;
    }

    /// Puts the subjects of an index in place of what is known of them, with so many threads: a later entry wins.
    pub fn put_all(&mut self, listed: &IndexedSubjects, threads: usize) {
        let threads = match listed.len() < SHARED_MIN {
            true => 1,
            false => threads.clamp(1, SHARD_COUNT),
        };
        // Every thread goes through the whole list, which costs little, for the entries of shards of its own. Their slots come
        // afterwards, shard by shard: those of one are small enough to stay in cache meanwhile.
        let room = listed.len() / SHARD_COUNT + listed.len() / (SHARD_COUNT * 8);
        let own_count = SHARD_COUNT.div_ceil(threads);
        let own: Vec<(usize, Mutex<&mut [Mutex<Shard>]>)> = self
            .shards
            .chunks_mut(own_count)
            .enumerate()
            .map(|(at, shards)| (at * own_count, Mutex::new(shards)))
            .collect();
        let done: Result<_, Infallible> = Crew::of(threads).map(&own, |(from, shards)| {
            let mut shards = shards.lock();
            for shard in shards.iter_mut() {
                shard.get_mut().reserve_entries(room);
            }
            for entry in listed.iter() {
                let hash = hash_of(entry.subject);
                let at = shard_of(hash).wrapping_sub(*from);
                let Some(shard) = shards.get_mut(at).filter(|_| is_listed(entry.subject)) else {
                    continue;
                };
                let totals = SubjectTotals {
                    total: entry.total,
                    first_block: entry.first_block,
                    last_block: entry.last_block,
                };
                shard.get_mut().append(hash, entry.subject, totals);
            }
            for shard in shards.iter_mut() {
                shard.get_mut().settle_appended();
            }
            Ok(())
        });
        let Ok(_) = done;
    }

    /// Takes one message of a subject away; the subject goes with its last one.
    pub fn remove_one(&mut self, subject: &[u8]) {
        self.remove(subject, 1);
    }

    /// Takes so many messages of a subject away, as far as there are.
    pub fn remove(&mut self, subject: &[u8], count: u64) {
        if subject.is_empty() {
            return;
        }
        let hash = hash_of(subject);
        if let Some(shard) = self.shards.get_mut(shard_of(hash)) {
            shard.get_mut().remove(hash, subject, count);
        }
    }

    /// Takes note that no block before this one holds a message of the subject.
    pub fn begins_in(&mut self, subject: &[u8], block: u32) {
        let hash = hash_of(subject);
        if let Some(shard) = self.shards.get_mut(shard_of(hash)) {
            shard.get_mut().begins_in(hash, subject, block);
        }
    }

    /// Totals of a subject; `None` where it has no message.
    #[must_use]
    pub fn get(&self, subject: &[u8]) -> Option<SubjectTotals> {
        let hash = hash_of(subject);
        let shard = self.shards.get(shard_of(hash))?;
        shard.lock().get(hash, subject)
    }

    /// Visits every subject that a filter matches, `*` and `>` standing for tokens, in no particular order. A filter without
    /// either is a look-up; any other goes through all subjects.
    pub fn for_each_matching(&self, filter: &[u8], mut visit: impl FnMut(&[u8], SubjectTotals)) {
        if subject::is_literal(filter) {
            if let Some(totals) = self.get(filter) {
                visit(filter, totals);
            }
            return;
        }
        self.for_each(|listed, totals| {
            if subject::matches(listed, filter) {
                visit(listed, totals);
            }
        });
    }

    /// A subject with more or fewer messages here than there.
    pub(crate) fn difference(&self, other: &SubjectIndex) -> Option<Vec<u8>> {
        let mut differing = None;
        let mut compare = |one: &SubjectIndex, other: &SubjectIndex| {
            one.for_each(|subject, totals| {
                let known = other.get(subject).map_or(0, |totals| totals.total);
                if differing.is_none() && known != totals.total {
                    differing = Some(subject.to_vec());
                }
            });
        };
        compare(self, other);
        compare(other, self);
        differing
    }

    /// Distinct subjects.
    #[must_use]
    pub fn len(&self) -> u64 {
        let shards = self.shards.iter();
        shards.map(|shard| shard.lock().live_count()).sum()
    }

    /// Whether there is no subject.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visits every subject, in no particular order.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], SubjectTotals)) {
        for shard in &self.shards {
            shard.lock().for_each(&mut visit);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = SubjectIndex::default();
    }
}

#[cfg(test)]
mod tests;
