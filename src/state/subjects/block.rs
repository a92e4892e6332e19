//! The subjects of one block that is at hand as a whole.

use hashbrown::HashTable;

use super::shard::{hash_of, is_listed};
use crate::format::record::RecordRef;

/// Recently counted subjects are found again by a few of their bytes. A power of two.
const RECENT_COUNT: usize = 512;

/// The subjects of one block while it is scanned. Subjects stay in the block's content.
#[derive(Debug)]
pub struct BlockSubjects {
    table: HashTable<u32>,
    pub(super) entries: Vec<LocalEntry>,
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
pub(super) struct LocalEntry {
    pub hash: u64,
    start: u32,
    length: u16,
    pub count: u32,
}

impl LocalEntry {
    pub fn subject<'a>(&self, content: &'a [u8]) -> &'a [u8] {
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
        if !is_listed(subject) {
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
