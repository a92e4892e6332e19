//! A part of a subject table: subjects whose hashes fall together.
//!
//! A slot holds half a hash and the place of an entry; an entry holds its subject where that is short, so that a look-up
//! touches two places in memory and compares words.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use super::SubjectTotals;

/// Shards let threads put their tables together without waiting for each other. A power of two.
pub(super) const SHARD_COUNT: usize = 64;

/// Subjects up to this length lie in their entry.
const INLINE_MAX: usize = 32;

/// The reference's subject tree uses this byte as its own mark and never holds a subject with it.
const UNINDEXED_BYTE: u8 = 0x7F;

/// Whether the reference's index can hold a subject.
pub(super) fn is_listed(subject: &[u8]) -> bool {
    !subject.contains(&UNINDEXED_BYTE)
}

/// A subject in four words. One of up to [`INLINE_MAX`] bytes is all there, as its two ends, which may overlap; of a longer
/// one this is where its bytes begin, and its hash.
pub(super) type Words = [u64; 4];

/// The words of a short subject; of a longer one, those of its ends.
#[inline]
pub(super) fn words_of(subject: &[u8]) -> Words {
    if subject.len() > 16
        && let (Some(head), Some(tail)) = (subject.first_chunk::<16>(), subject.last_chunk::<16>())
    {
        let (head, tail) = (u128::from_le_bytes(*head), u128::from_le_bytes(*tail));
        return [
            head as u64,
            (head >> 64) as u64,
            tail as u64,
            (tail >> 64) as u64,
        ];
    }
    match (subject.first_chunk::<8>(), subject.last_chunk::<8>()) {
        (Some(head), Some(tail)) => [u64::from_le_bytes(*head), u64::from_le_bytes(*tail), 0, 0],
        _ => {
            let word = subject
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
            [word, 0, 0, 0]
        }
    }
}

/// The bytes of a short subject of this length.
fn bytes_of(words: &Words, length: usize) -> [u8; INLINE_MAX] {
    let mut bytes = [0; INLINE_MAX];
    let [a, b, c, d] = *words;
    let mut put = |at: usize, word: u64| {
        if let Some(place) = bytes.get_mut(at..at + 8) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    };
    match length {
        0..8 => put(0, a),
        8..=16 => {
            put(0, a);
            put(length - 8, b);
        }
        _ => {
            put(0, a);
            put(8, b);
            put(length - 16, c);
            put(length - 8, d);
        }
    }
    bytes
}

/// The hash of a subject whose words are at hand.
#[inline]
pub(super) fn hash_with(words: &Words, subject: &[u8]) -> u64 {
    if subject.len() <= INLINE_MAX {
        return hash_of_words(words, subject.len());
    }
    let mut hasher = FxHasher::default();
    hasher.write(subject);
    // The slot comes from the low half, the shard from the top bits.
    hasher.finish().wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[inline]
fn hash_of_words(words: &Words, length: usize) -> u64 {
    const ONE: u64 = 0x9E37_79B9_7F4A_7C15;
    const OTHER: u64 = 0xD6E8_FEB8_6659_FD93;
    let [a, b, c, d] = *words;
    let one = a ^ c.rotate_left(23).wrapping_mul(OTHER) ^ length as u64 ^ ONE;
    let other = b ^ d.rotate_left(41).wrapping_mul(ONE) ^ OTHER;
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

/// The hash of a subject.
pub(super) fn hash_of(subject: &[u8]) -> u64 {
    hash_with(&words_of(subject), subject)
}

/// The shard a hash falls into.
#[inline]
pub(super) fn shard_of(hash: u64) -> usize {
    (hash >> 48) as usize % SHARD_COUNT
}

/// A subject and its totals.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShardEntry {
    words: Words,
    pub totals: SubjectTotals,
    /// The block that counted it last.
    pub counted_by: u32,
    length: u16,
}

/// No block counted this subject.
pub(super) const BY_NONE: u32 = u32::MAX;

/// Subjects and their totals. A slot is half a hash, then one more than the place of an entry; 0 is free.
#[derive(Debug, Default)]
pub(super) struct Shard {
    slots: Vec<u64>,
    entries: Vec<ShardEntry>,
    bytes: Vec<u8>,
    /// Bytes of long subjects that are gone.
    free_bytes: usize,
    live_count: u64,
}

impl Shard {
    pub fn live_count(&self) -> u64 {
        self.live_count
    }

    pub fn live_count_mut(&mut self) -> &mut u64 {
        &mut self.live_count
    }

    pub fn entry_mut(&mut self, at: u32) -> Option<&mut ShardEntry> {
        self.entries.get_mut(at as usize)
    }

    /// Entries there is room for.
    pub fn room(&self) -> usize {
        self.slots.len()
    }

    /// Whether putting it together with another is not worth a thread.
    pub fn is_small(&self) -> bool {
        self.entries.len() < 64
    }

    /// Bytes that long subjects take.
    #[cfg(test)]
    pub fn bytes_held(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
            + self.entries.capacity() * size_of::<ShardEntry>()
            + self.bytes.capacity()
    }

    /// Subjects that are here, with messages or without.
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    /// The place of a subject.
    #[inline]
    pub fn find(&self, hash: u64, words: &Words, subject: &[u8]) -> Option<u32> {
        self.probe(hash, |entry| {
            usize::from(entry.length) == subject.len()
                && match subject.len() <= INLINE_MAX {
                    true => entry.words == *words,
                    false => self.long_text(entry) == subject,
                }
        })
    }

    #[inline]
    fn probe(&self, hash: u64, is_it: impl Fn(&ShardEntry) -> bool) -> Option<u32> {
        let tag = hash as u32;
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = tag as usize & mask;
        loop {
            let slot = *self.slots.get(at)?;
            if slot == 0 {
                return None;
            }
            if (slot >> 32) as u32 == tag {
                let place = (slot as u32).wrapping_sub(1);
                if self.entries.get(place as usize).is_some_and(&is_it) {
                    return Some(place);
                }
            }
            at = (at + 1) & mask;
        }
    }

    fn long_text(&self, entry: &ShardEntry) -> &[u8] {
        let [start, ..] = entry.words;
        let start = start as usize;
        let text = self.bytes.get(start..start + usize::from(entry.length));
        text.unwrap_or_default()
    }

    /// An entry for a subject, without messages; a long one's bytes are kept.
    fn entry_of(&mut self, hash: u64, words: &Words, subject: &[u8]) -> Option<ShardEntry> {
        let length = u16::try_from(subject.len()).ok()?;
        let words = match subject.len() <= INLINE_MAX {
            true => *words,
            false => {
                let start = self.bytes.len() as u64;
                self.bytes.extend_from_slice(subject);
                [start, hash, 0, 0]
            }
        };
        Some(ShardEntry {
            words,
            totals: SubjectTotals::default(),
            counted_by: BY_NONE,
            length,
        })
    }

    /// The place of the next entry, with a slot for it.
    fn next_place(&mut self) -> Option<u32> {
        let at = u32::try_from(self.entries.len()).ok()?;
        if (self.entries.len() + 1) * 2 > self.slots.len() {
            self.grow((self.slots.len() * 2).max(16));
        }
        Some(at)
    }

    /// Adds a subject that is not here.
    pub fn push(&mut self, hash: u64, words: &Words, subject: &[u8]) -> Option<u32> {
        let at = self.next_place()?;
        let entry = self.entry_of(hash, words, subject)?;
        self.entries.push(entry);
        settle(&mut self.slots, hash, at);
        Some(at)
    }

    /// Makes room for so many subjects more that are to be appended.
    pub fn reserve_entries(&mut self, count: usize) {
        self.entries.reserve(count);
    }

    /// Puts a subject behind all others, to be found once [`Shard::settle_appended`] was called.
    pub fn append(&mut self, hash: u64, subject: &[u8], totals: SubjectTotals) {
        let words = words_of(subject);
        if let Some(entry) = self.entry_of(hash, &words, subject) {
            self.entries.push(ShardEntry { totals, ..entry });
        }
    }

    /// Makes appended subjects known. Of one that is here more than once the last totals stand.
    pub fn settle_appended(&mut self) {
        let room = (self.entries.len() * 2).next_power_of_two().max(16);
        self.slots = std::iter::repeat_n(0, room).collect();
        let mut kept = 0;
        for at in 0..self.entries.len() {
            let Some(entry) = self.entries.get(at).copied() else {
                break;
            };
            let hash = entry_hash(&entry);
            let found = self.probe(hash, |known| self.is_same(known, &entry));
            if let Some(known) = found.and_then(|at| self.entry_mut(at)) {
                known.totals = entry.totals;
            } else if let Some(place) = self.entries.get_mut(kept) {
                *place = entry;
                settle(&mut self.slots, hash, kept as u32);
                kept += 1;
            }
        }
        self.entries.truncate(kept);
        self.live_count = kept as u64;
    }

    fn is_same(&self, one: &ShardEntry, other: &ShardEntry) -> bool {
        one.length == other.length
            && match usize::from(one.length) <= INLINE_MAX {
                true => one.words == other.words,
                false => self.long_text(one) == self.long_text(other),
            }
    }

    fn grow(&mut self, room: usize) {
        // Written at once: a page that is read while it is still the system's zero page costs the first write to it a fault
        // that stops every thread.
        let mut slots: Vec<u64> = std::iter::repeat_n(0, room).collect();
        for (at, entry) in self.entries.iter().enumerate() {
            settle(&mut slots, entry_hash(entry), at as u32);
        }
        self.slots = slots;
    }

    fn find_or_push(&mut self, hash: u64, subject: &[u8]) -> Option<(bool, &mut ShardEntry)> {
        let words = words_of(subject);
        let found = self.find(hash, &words, subject);
        let at = match found {
            Some(at) => at,
            None => self.push(hash, &words, subject)?,
        };
        let entry = self.entries.get_mut(at as usize)?;
        Some((found.is_none(), entry))
    }

    /// Adds totals to those of a subject.
    pub fn add(&mut self, hash: u64, subject: &[u8], added: SubjectTotals) {
        let Some((is_new, entry)) = self.find_or_push(hash, subject) else {
            return;
        };
        let known = &mut entry.totals;
        if is_new || known.total == 0 {
            *known = added;
            self.live_count += 1;
            return;
        }
        known.total = known.total.wrapping_add(added.total);
        known.first_block = known.first_block.min(added.first_block);
        known.last_block = known.last_block.max(added.last_block);
    }

    /// Takes messages of a subject away, as far as there are.
    pub fn remove(&mut self, hash: u64, subject: &[u8], count: u64) {
        let Some(at) = self.find(hash, &words_of(subject), subject) else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(at as usize)
            && entry.totals.total > 0
        {
            entry.totals.total = entry.totals.total.saturating_sub(count);
            if entry.totals.total == 0 {
                self.live_count -= 1;
                self.free(at);
            }
        }
    }

    /// Takes note that no block before this one holds a message of the subject.
    pub fn begins_in(&mut self, hash: u64, subject: &[u8], block: u32) {
        let found = self.find(hash, &words_of(subject), subject);
        if let Some(entry) = found.and_then(|at| self.entries.get_mut(at as usize)) {
            let totals = &mut entry.totals;
            totals.first_block = totals.first_block.max(block.min(totals.last_block));
        }
    }

    /// Totals of a subject that has messages.
    pub fn get(&self, hash: u64, subject: &[u8]) -> Option<SubjectTotals> {
        let at = self.find(hash, &words_of(subject), subject)?;
        let totals = self.entries.get(at as usize)?.totals;
        (totals.total > 0).then_some(totals)
    }

    /// Gives up the place of an entry: the last one moves there.
    fn free(&mut self, at: u32) {
        let Some(entry) = self.entries.get(at as usize).copied() else {
            return;
        };
        if let Some(slot) = self.slot_of(&entry, at) {
            self.close_gap(slot);
        }
        self.entries.swap_remove(at as usize);
        let moved_from = self.entries.len() as u32;
        if let Some(moved) = self.entries.get(at as usize).copied()
            && let Some(slot) = self.slot_of(&moved, moved_from)
            && let Some(slot) = self.slots.get_mut(slot)
        {
            *slot = *slot >> 32 << 32 | u64::from(at.wrapping_add(1));
        }
        if usize::from(entry.length) > INLINE_MAX {
            self.free_bytes += usize::from(entry.length);
            if self.free_bytes * 2 > self.bytes.len() {
                self.pack_bytes();
            }
        }
    }

    /// Where the slot is that leads to the entry at `place`.
    fn slot_of(&self, entry: &ShardEntry, place: u32) -> Option<usize> {
        let tag = entry_hash(entry) as u32;
        let wanted = u64::from(tag) << 32 | u64::from(place.wrapping_add(1));
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = tag as usize & mask;
        loop {
            match *self.slots.get(at)? {
                slot if slot == wanted => return Some(at),
                0 => return None,
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Frees a slot and moves those behind it up that could not be found across the gap.
    fn close_gap(&mut self, gap: usize) {
        let mask = self.slots.len().wrapping_sub(1);
        let (mut gap, mut at) = (gap, gap);
        loop {
            at = (at + 1) & mask;
            let slot = self.slots.get(at).copied().unwrap_or(0);
            if slot == 0 {
                break;
            }
            let home = (slot >> 32) as usize & mask;
            let from_home = at.wrapping_sub(home) & mask;
            let from_gap = at.wrapping_sub(gap) & mask;
            if from_home >= from_gap {
                if let Some(free) = self.slots.get_mut(gap) {
                    *free = slot;
                }
                gap = at;
            }
        }
        if let Some(free) = self.slots.get_mut(gap) {
            *free = 0;
        }
    }

    /// Leaves out the bytes of long subjects that are gone.
    fn pack_bytes(&mut self) {
        let mut packed = Vec::with_capacity(self.bytes.len() - self.free_bytes);
        for entry in &mut self.entries {
            let length = usize::from(entry.length);
            let [start, hash, ..] = entry.words;
            if length <= INLINE_MAX {
                continue;
            }
            let text = self.bytes.get(start as usize..start as usize + length);
            entry.words = [packed.len() as u64, hash, 0, 0];
            packed.extend_from_slice(text.unwrap_or_default());
        }
        self.bytes = packed;
        self.free_bytes = 0;
    }

    /// Adds everything of another shard, which may become this one.
    pub fn take_over(&mut self, more: Shard) {
        if self.entries.is_empty() {
            *self = more;
            return;
        }
        for entry in more.entries.iter().filter(|entry| entry.totals.total > 0) {
            more.with_text(entry, |subject| {
                self.add(entry_hash(entry), subject, entry.totals);
            });
        }
    }

    fn with_text<T>(&self, entry: &ShardEntry, visit: impl FnOnce(&[u8]) -> T) -> T {
        let length = usize::from(entry.length);
        if length > INLINE_MAX {
            return visit(self.long_text(entry));
        }
        let bytes = bytes_of(&entry.words, length);
        visit(bytes.get(..length).unwrap_or_default())
    }

    /// Visits the subject at a place.
    pub fn with_subject<T>(&self, at: u32, visit: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let entry = self.entries.get(at as usize)?;
        Some(self.with_text(entry, visit))
    }

    /// Visits every subject with messages.
    pub fn for_each(&self, visit: &mut impl FnMut(&[u8], SubjectTotals)) {
        for entry in self.entries.iter().filter(|entry| entry.totals.total > 0) {
            self.with_text(entry, |subject| visit(subject, entry.totals));
        }
    }
}

fn entry_hash(entry: &ShardEntry) -> u64 {
    let length = usize::from(entry.length);
    let [_, hash, ..] = entry.words;
    match length <= INLINE_MAX {
        true => hash_of_words(&entry.words, length),
        false => hash,
    }
}

fn settle(slots: &mut [u64], hash: u64, place: u32) {
    let tag = hash as u32;
    let mask = slots.len().wrapping_sub(1);
    let mut at = tag as usize & mask;
    while let Some(slot) = slots.get_mut(at) {
        if *slot == 0 {
            *slot = u64::from(tag) << 32 | u64::from(place.wrapping_add(1));
            return;
        }
        at = (at + 1) & mask;
    }
}
