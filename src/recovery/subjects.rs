//! The subject index of a stream: per subject how many live messages, and between which blocks.
//!
//! Filled by all scan threads at once and then owned by the model. Millions of subjects are
//! ordinary, so an entry costs its bytes, 24 bytes and a few bytes of hash table, nothing more.

use std::hash::Hasher;

use hashbrown::HashTable;
use parking_lot::Mutex;
use rustc_hash::FxHasher;

use crate::format::record::RecordRef;

/// Shards let scan threads merge their blocks without waiting for each other. A power of two.
const SHARD_COUNT: usize = 64;

/// Totals of one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubjectTotals {
    /// Live messages.
    pub total: u64,
    /// Lowest block that may hold one.
    pub first_block: u32,
    /// Highest block that may hold one.
    pub last_block: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    length: u16,
    totals: SubjectTotals,
}

#[derive(Debug, Default)]
struct Shard {
    table: HashTable<u32>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    live_count: u64,
}

fn text<'a>(bytes: &'a [u8], entry: &Entry) -> &'a [u8] {
    let start = entry.start as usize;
    bytes
        .get(start..start + usize::from(entry.length))
        .unwrap_or_default()
}

impl Shard {
    fn find(&self, hash: u64, subject: &[u8]) -> Option<u32> {
        let Shard {
            table,
            entries,
            bytes,
            ..
        } = self;
        table
            .find(hash, |at| {
                entries
                    .get(*at as usize)
                    .is_some_and(|entry| text(bytes, entry) == subject)
            })
            .copied()
    }

    fn totals_mut(&mut self, hash: u64, subject: &[u8]) -> Option<&mut SubjectTotals> {
        let at = self.find(hash, subject)?;
        self.entries
            .get_mut(at as usize)
            .map(|entry| &mut entry.totals)
    }

    fn add(&mut self, hash: u64, subject: &[u8], added: SubjectTotals) {
        if let Some(at) = self.find(hash, subject) {
            let Some(entry) = self.entries.get_mut(at as usize) else {
                return;
            };
            let known = &mut entry.totals;
            if known.total == 0 {
                self.live_count += 1;
                *known = added;
                return;
            }
            known.total = known.total.wrapping_add(added.total);
            known.first_block = known.first_block.min(added.first_block);
            known.last_block = known.last_block.max(added.last_block);
            return;
        }
        let (Ok(at), Ok(start), Ok(length)) = (
            u32::try_from(self.entries.len()),
            u32::try_from(self.bytes.len()),
            u16::try_from(subject.len()),
        ) else {
            return;
        };
        self.bytes.extend_from_slice(subject);
        self.entries.push(Entry {
            start,
            length,
            totals: added,
        });
        self.live_count += 1;
        let Shard {
            table,
            entries,
            bytes,
            ..
        } = self;
        table.insert_unique(hash, at, |at| {
            entries
                .get(*at as usize)
                .map_or(0, |entry| hash_of(text(bytes, entry)))
        });
    }
}

/// The reference's subject tree uses this byte as its own mark and never holds a subject with it.
const UNINDEXED_BYTE: u8 = 0x7F;

fn hash_of(subject: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(subject);
    // The table takes its bucket from the low bits and its tag from the top ones, the shard from
    // the middle; one more multiplication spreads short subjects over all of them.
    hasher.finish().wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARD_COUNT
}

/// The subject index.
#[derive(Debug)]
pub struct SubjectTable {
    shards: Vec<Mutex<Shard>>,
}

impl Default for SubjectTable {
    fn default() -> Self {
        SubjectTable {
            shards: (0..SHARD_COUNT).map(|_| Mutex::default()).collect(),
        }
    }
}

impl SubjectTable {
    /// Adds totals of a subject; a zero total adds nothing.
    pub fn add(&mut self, subject: &[u8], totals: SubjectTotals) {
        let hash = hash_of(subject);
        if let Some(shard) = self.shards.get_mut(shard_of(hash)) {
            shard.get_mut().add(hash, subject, totals);
        }
    }

    /// Puts totals as they are, replacing what is there: a later entry of an index wins.
    pub fn put(&mut self, subject: &[u8], totals: SubjectTotals) {
        if subject.contains(&UNINDEXED_BYTE) {
            return;
        }
        let hash = hash_of(subject);
        let Some(shard) = self.shards.get_mut(shard_of(hash)) else {
            return;
        };
        let shard = shard.get_mut();
        match shard.totals_mut(hash, subject) {
            Some(known) => *known = totals,
            None => shard.add(hash, subject, totals),
        }
    }

    /// Adds what one block holds; called by scan threads side by side.
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

    /// Takes one message of a subject away; the subject goes with its last one.
    pub fn remove_one(&mut self, subject: &[u8]) {
        if subject.is_empty() {
            return;
        }
        let hash = hash_of(subject);
        let Some(shard) = self.shards.get_mut(shard_of(hash)) else {
            return;
        };
        let shard = shard.get_mut();
        if let Some(totals) = shard.totals_mut(hash, subject)
            && totals.total > 0
        {
            totals.total -= 1;
            if totals.total == 0 {
                shard.live_count -= 1;
            }
        }
    }

    /// Distinct subjects.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.lock().live_count)
            .sum()
    }

    /// Whether there is no subject.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visits every subject, in no particular order.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], SubjectTotals)) {
        for shard in &self.shards {
            let shard = shard.lock();
            for entry in shard.entries.iter().filter(|entry| entry.totals.total > 0) {
                visit(text(&shard.bytes, entry), entry.totals);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = SubjectTable::default();
    }
}

/// Recently counted subjects are found again by a few of their bytes. A power of two.
const RECENT_COUNT: usize = 512;

/// The subjects of one block while it is scanned. Subjects stay in the block's content.
#[derive(Debug)]
pub struct BlockSubjects {
    table: HashTable<u32>,
    entries: Vec<LocalEntry>,
    recent: [u32; RECENT_COUNT],
    has_uncounted: bool,
}

impl Default for BlockSubjects {
    fn default() -> Self {
        BlockSubjects {
            table: HashTable::new(),
            entries: Vec::new(),
            recent: [0; RECENT_COUNT],
            has_uncounted: false,
        }
    }
}

/// A cheap slot for a subject: its length, its first and its last bytes.
#[inline]
fn recent_slot(subject: &[u8]) -> usize {
    let word = match (subject.first_chunk::<8>(), subject.last_chunk::<8>()) {
        (Some(head), Some(tail)) => {
            u64::from_le_bytes(*head).rotate_left(32) ^ u64::from_le_bytes(*tail)
        }
        _ => subject
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    let mixed = (word ^ subject.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 48) as usize % RECENT_COUNT
}

/// Whether two byte strings of one length between `N` and `2 * N` are the same: both ends are, which overlap.
#[inline]
fn same_ends<const N: usize>(a: &[u8], b: &[u8]) -> bool {
    a.first_chunk::<N>() == b.first_chunk::<N>() && a.last_chunk::<N>() == b.last_chunk::<N>()
}

/// Equality of two byte strings, without a call where they are as short as subjects mostly are.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && match a.len() {
            0..4 => a.iter().eq(b),
            4..8 => same_ends::<4>(a, b),
            8..=16 => same_ends::<8>(a, b),
            17..=32 => same_ends::<16>(a, b),
            _ => a == b,
        }
}

#[derive(Debug, Clone, Copy)]
struct LocalEntry {
    hash: u64,
    start: u32,
    length: u16,
    count: u32,
}

impl LocalEntry {
    fn subject<'a>(&self, content: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        content
            .get(start..start + usize::from(self.length))
            .unwrap_or_default()
    }
}

impl BlockSubjects {
    /// Forgets everything but keeps the room.
    pub fn clear(&mut self) {
        self.table.clear();
        self.entries.clear();
        self.recent = [0; RECENT_COUNT];
        self.has_uncounted = false;
    }

    /// Whether a message met was not counted, for its subject is one the reference's index does not hold.
    #[must_use]
    pub fn has_uncounted(&self) -> bool {
        self.has_uncounted
    }

    /// Counts a message. Messages without a subject are not counted.
    #[inline]
    pub fn count(&mut self, record: &RecordRef, content: &[u8]) {
        let subject = record.subject(content);
        if subject.is_empty() {
            self.has_uncounted = true;
            return;
        }
        // A few subjects in turn are common; they need no hash.
        let slot = recent_slot(subject);
        if let Some(entry) = self
            .recent
            .get(slot)
            .and_then(|at| self.entries.get_mut(*at as usize))
            && same(entry.subject(content), subject)
        {
            entry.count += 1;
            return;
        }
        self.count_hashed(record, subject, content, slot);
    }

    fn count_hashed(&mut self, record: &RecordRef, subject: &[u8], content: &[u8], slot: usize) {
        let hash = hash_of(subject);
        let entries = &self.entries;
        let found = self.table.find(hash, |at| {
            entries
                .get(*at as usize)
                .is_some_and(|entry| entry.hash == hash && same(entry.subject(content), subject))
        });
        if let Some(at) = found.copied() {
            self.remember(slot, at);
            if let Some(entry) = self.entries.get_mut(at as usize) {
                entry.count += 1;
            }
            return;
        }
        if subject.contains(&UNINDEXED_BYTE) {
            self.has_uncounted = true;
            return;
        }
        let at = self.entries.len() as u32;
        let start = (record.offset() + crate::format::limits::RECORD_HEADER_LENGTH) as u32;
        self.entries.push(LocalEntry {
            hash,
            start,
            length: record.subject_length() as u16,
            count: 1,
        });
        self.remember(slot, at);
        let entries = &self.entries;
        self.table.insert_unique(hash, at, |at| {
            entries.get(*at as usize).map_or(0, |entry| entry.hash)
        });
    }

    fn remember(&mut self, slot: usize, at: u32) {
        if let Some(recent) = self.recent.get_mut(slot) {
            *recent = at;
        }
    }

    /// Visits subject and count.
    pub fn for_each(&self, content: &[u8], mut visit: impl FnMut(&[u8], u64)) {
        for entry in &self.entries {
            visit(entry.subject(content), u64::from(entry.count));
        }
    }
}
