//! The content of one block in memory, with what finds messages in it.

use std::hash::Hasher;
use std::sync::{Arc, OnceLock};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::error::ReadError;
use super::outline::Outline;
use crate::block::content::verifies;
use crate::crypto::BlockCipher;
use crate::format::checksum::HashKey;
use crate::format::record::{RecordFault, RecordKind, RecordRef, Run, Runs, parse_at};
use crate::state::SeqTime;

/// No slot.
const NONE: u32 = u32::MAX;

/// Bytes that are counted for one message beside its record: its slot and its place in the chains.
const SLOT_BYTES: usize = 8 + 4 + 8;

/// A block's decoded content and where in it each message lies. Messages that are gone from the stream lie in it too.
#[derive(Debug, Default)]
pub(super) struct Resident {
    bytes: Vec<u8>,
    /// Sequences of the messages, rising.
    seqs: Vec<u64>,
    /// Where each one's record begins.
    offsets: Vec<u32>,
    chains: OnceLock<Chains>,
    tombstones: Vec<SeqTime>,
    latest_ns: i64,
    is_compressed: bool,
    /// What the file is encrypted with, where it was read from one.
    cipher: Option<Arc<BlockCipher>>,
    /// Whether that is known.
    is_cipher_known: bool,
    damage: Option<RecordFault>,
    /// Why it ends before the file does.
    cut: Option<String>,
}

/// The messages of each subject, one leading to the next.
#[derive(Debug, Default)]
struct Chains {
    ends: HashTable<ChainEnds>,
    next: Vec<u32>,
    previous: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct ChainEnds {
    hash: u64,
    first: u32,
    last: u32,
}

fn hash_of(subject: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(subject);
    // The table takes its tag from the top bits, which this hash leaves weak.
    hasher.finish().wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Resident {
    /// An empty block with memory for so many bytes.
    pub fn with_room(bytes: usize) -> Self {
        Resident {
            bytes: Vec::with_capacity(bytes),
            ..Resident::default()
        }
    }

    /// Indexes the content of a block. Records that do not verify are left out; behind one whose length cannot be believed nothing
    /// is found.
    pub fn index(bytes: Vec<u8>, hash_key: &HashKey) -> Self {
        let mut resident = Resident {
            bytes,
            ..Resident::default()
        };
        let content = std::mem::take(&mut resident.bytes);
        let mut runs = Runs::new(&content, hash_key);
        let mut run = Run::new();
        while runs.next_run(&mut run) {
            for record in &run.records {
                resident.take(record);
            }
            let Some(fault) = &run.fault else { continue };
            resident.damage.get_or_insert_with(|| fault.clone());
            match parse_at(&content, fault.offset()) {
                Ok(record) if !verifies(&record, &content, hash_key) => {
                    runs.seek(record.end_offset());
                }
                _ => break,
            }
        }
        resident.bytes = content;
        resident
    }

    fn take(&mut self, record: &RecordRef) {
        let seq = record.sequence();
        match record.kind() {
            RecordKind::Tombstone => self.tombstones.push(SeqTime {
                seq,
                timestamp_ns: record.timestamp_ns(),
            }),
            RecordKind::Message if self.seqs.last().is_none_or(|last| *last < seq) => {
                self.latest_ns = match self.seqs.is_empty() {
                    true => record.timestamp_ns(),
                    false => self.latest_ns.max(record.timestamp_ns()),
                };
                self.seqs.push(seq);
                self.offsets
                    .push(u32::try_from(record.offset()).unwrap_or(u32::MAX));
            }
            RecordKind::Message | RecordKind::Erased => {}
        }
    }

    /// Adds one encoded record at the end.
    pub fn push(&mut self, encoded: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(encoded);
        let Ok(record) = parse_at(&self.bytes, start) else {
            debug_assert!(false, "a record was encoded that does not parse");
            return;
        };
        let before = self.seqs.len();
        self.take(&record);
        if self.seqs.len() == before {
            return;
        }
        if let Some(mut chains) = self.chains.take() {
            chains.add(self, before as u32);
            let _ = self.chains.set(chains);
        }
    }

    /// Bytes it takes in memory, about.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.seqs.len() * SLOT_BYTES
    }

    /// The decoded content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The tombstones in it, in file order.
    pub fn tombstones(&self) -> &[SeqTime] {
        &self.tombstones
    }

    /// Content that ends where the device gave no more, for this reason.
    pub fn cut_by(self, cut: Option<String>) -> Self {
        Resident { cut, ..self }
    }

    /// Whether all of the block's file could be read.
    ///
    /// # Errors
    ///
    /// [`ReadError::Block`] where not.
    pub fn check_whole(&self, block: u32) -> Result<(), ReadError> {
        match &self.cut {
            None => Ok(()),
            Some(reason) => Err(ReadError::Block {
                block,
                reason: reason.clone(),
            }),
        }
    }

    /// The first record that does not verify.
    pub fn damage(&self) -> Option<&RecordFault> {
        self.damage.as_ref()
    }

    /// Latest time of a message in it, live or not.
    pub fn latest_ns(&self) -> i64 {
        self.latest_ns
    }

    /// Whether the file it was read from is compressed.
    pub fn is_compressed(&self) -> bool {
        self.is_compressed
    }

    /// The same, read from a file that is compressed or not.
    pub fn read_from(self, is_compressed: bool) -> Self {
        Resident {
            is_compressed,
            ..self
        }
    }

    /// The same, read from a file that is encrypted so.
    pub fn under(self, cipher: Option<BlockCipher>) -> Self {
        Resident {
            cipher: cipher.map(Arc::new),
            is_cipher_known: true,
            ..self
        }
    }

    /// Where its messages lie in its file, if one can be read from there alone.
    pub fn outline(&self, is_sealed: bool) -> Option<Outline> {
        if self.is_compressed || is_sealed && !self.is_cipher_known {
            return None;
        }
        Outline::new(
            &self.seqs,
            &self.offsets,
            self.bytes.len(),
            self.cipher.clone(),
        )
    }

    /// The slots, all of them.
    pub fn slot_count(&self) -> usize {
        self.seqs.len()
    }

    /// The first slot whose sequence is `seq` or above.
    pub fn slot_from(&self, seq: u64) -> usize {
        let Some(first) = self.seqs.first() else {
            return 0;
        };
        let Some(guess) = seq.checked_sub(*first) else {
            return 0;
        };
        // Sequences mostly follow each other; where some are missing the one looked for lies before its guess.
        let guess = usize::try_from(guess).unwrap_or(usize::MAX);
        if self.seqs.get(guess) == Some(&seq) {
            return guess;
        }
        let end = guess.min(self.seqs.len());
        self.seqs
            .get(..end)
            .map_or(0, |seqs| seqs.partition_point(|found| *found < seq))
    }

    /// The slot of `seq`.
    pub fn slot_of(&self, seq: u64) -> Option<usize> {
        let slot = self.slot_from(seq);
        (self.seqs.get(slot) == Some(&seq)).then_some(slot)
    }

    /// Sequence in a slot.
    pub fn seq(&self, slot: usize) -> Option<u64> {
        self.seqs.get(slot).copied()
    }

    /// The record in a slot.
    pub fn record(&self, slot: usize) -> Option<RecordRef> {
        let offset = *self.offsets.get(slot)?;
        parse_at(&self.bytes, offset as usize).ok()
    }

    /// The subject of the message in a slot.
    pub fn subject(&self, slot: usize) -> &[u8] {
        let record = self.record(slot);
        record.map_or(&[], |record| record.subject(&self.bytes))
    }

    fn chains(&self) -> &Chains {
        self.chains.get_or_init(|| {
            let mut chains = Chains::default();
            for slot in 0..self.seqs.len() as u32 {
                chains.add(self, slot);
            }
            chains
        })
    }

    fn ends_of(&self, subject: &[u8]) -> Option<&ChainEnds> {
        self.chains().ends_of(self, hash_of(subject), subject)
    }

    /// First slot of a subject.
    pub fn first_of(&self, subject: &[u8]) -> Option<usize> {
        self.ends_of(subject).map(|ends| ends.first as usize)
    }

    /// Last slot of a subject.
    pub fn last_of(&self, subject: &[u8]) -> Option<usize> {
        self.ends_of(subject).map(|ends| ends.last as usize)
    }

    /// The next slot of the same subject.
    pub fn next_of(&self, slot: usize) -> Option<usize> {
        let next = *self.chains().next.get(slot)?;
        (next != NONE).then_some(next as usize)
    }

    /// The slot before of the same subject.
    pub fn previous_of(&self, slot: usize) -> Option<usize> {
        let previous = *self.chains().previous.get(slot)?;
        (previous != NONE).then_some(previous as usize)
    }

    /// Visits every subject with its first and its last slot, in no particular order.
    pub fn for_each_subject(&self, mut visit: impl FnMut(&[u8], usize, usize)) {
        for ends in &self.chains().ends {
            let (first, last) = (ends.first as usize, ends.last as usize);
            visit(self.subject(first), first, last);
        }
    }
}

impl Chains {
    fn ends_of(&self, block: &Resident, hash: u64, subject: &[u8]) -> Option<&ChainEnds> {
        self.ends.find(hash, |ends| {
            ends.hash == hash && block.subject(ends.first as usize) == subject
        })
    }

    fn add(&mut self, block: &Resident, slot: u32) {
        let subject = block.subject(slot as usize);
        let hash = hash_of(subject);
        self.next.push(NONE);
        let found = self.ends.find_mut(hash, |ends| {
            ends.hash == hash && block.subject(ends.first as usize) == subject
        });
        let Some(ends) = found else {
            self.previous.push(NONE);
            let ends = ChainEnds {
                hash,
                first: slot,
                last: slot,
            };
            self.ends.insert_unique(hash, ends, |ends| ends.hash);
            return;
        };
        self.previous.push(ends.last);
        if let Some(next) = self.next.get_mut(ends.last as usize) {
            *next = slot;
        }
        ends.last = slot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::builder::BlockBuilder;
    use crate::format::record::NewRecord;

    fn message(sequence: u64, subject: &[u8]) -> NewRecord<'_> {
        NewRecord::Message {
            sequence,
            timestamp_ns: sequence as i64 * 10,
            subject,
            headers: b"",
            body: b"body",
        }
    }

    fn sample() -> BlockBuilder {
        let mut block = BlockBuilder::new(b"S", 1);
        for (sequence, subject) in [(3, b"a"), (4, b"b"), (7, b"a"), (8, b"c"), (9, b"a")] {
            block.push(&message(sequence, subject)).unwrap();
        }
        let gone = NewRecord::Tombstone {
            sequence: 2,
            timestamp_ns: 5,
        };
        block.push(&gone).unwrap();
        block
    }

    #[test]
    fn slots_are_found_where_sequences_are_missing() {
        let block = sample();
        let resident = Resident::index(block.content().to_vec(), block.hash_key());
        let slots: Vec<usize> = (1..=11).map(|seq| resident.slot_from(seq)).collect();
        assert_eq!(slots, [0, 0, 0, 1, 2, 2, 2, 3, 4, 5, 5]);
        assert_eq!(resident.slot_of(7), Some(2));
        assert_eq!(resident.slot_of(5), None);
        assert_eq!(resident.slot_from(u64::MAX), 5);
        assert_eq!(resident.tombstones().len(), 1);
        assert_eq!(resident.latest_ns(), 90);
    }

    #[test]
    fn a_subject_leads_from_one_message_to_the_next_also_behind_what_is_pushed() {
        let block = sample();
        let mut resident = Resident::index(block.content().to_vec(), block.hash_key());
        assert_eq!(resident.last_of(b"a"), Some(4));
        let mut more = BlockBuilder::new(b"S", 1);
        more.push(&message(10, b"a")).unwrap();
        resident.push(more.content());
        let mut walked = Vec::new();
        let mut at = resident.first_of(b"a");
        while let Some(slot) = at {
            walked.push(resident.seq(slot).unwrap());
            at = resident.next_of(slot);
        }
        assert_eq!(walked, [3, 7, 9, 10]);
        assert_eq!(resident.previous_of(2), Some(0));
        assert_eq!(resident.last_of(b"d"), None);
    }

    #[test]
    fn behind_a_record_that_does_not_verify_the_others_are_found() {
        let block = sample();
        let mut bytes = block.content().to_vec();
        let second = parse_at(&bytes, 0).unwrap().end_offset();
        if let Some(byte) = bytes.get_mut(second + 12) {
            *byte ^= 1;
        }
        let resident = Resident::index(bytes, block.hash_key());
        assert_eq!(resident.slot_of(4), None);
        assert_eq!(resident.slot_of(7), Some(1));
        assert_eq!(resident.damage().map(RecordFault::offset), Some(second));
    }
}
