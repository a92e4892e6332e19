//! The content of one block in memory, with what finds messages in it.

use std::hash::Hasher;
use std::sync::{Arc, OnceLock};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::error::ReadError;
use super::outline::Outline;
use super::places::Places;
use crate::block::content::verifies;
use crate::crypto::BlockCipher;
use crate::format::checksum::HashKey;
use crate::format::record::{
    EncodeFault, NewRecord, RecordFault, RecordKind, RecordRef, Run, Runs, encode_unsealed,
    parse_at,
};
use crate::state::SeqTime;

/// No slot.
const NONE: u32 = u32::MAX;

/// Bytes that are counted for one message beside its record and its slot: its place in the chains.
const CHAIN_BYTES: usize = 12;

/// A block's decoded content and where in it each message lies. Messages that are gone from the stream lie in it too.
#[derive(Debug, Default)]
pub(super) struct Resident {
    bytes: Vec<u8>,
    places: Places,
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
    /// Half the hash of each one's subject.
    hashes: Vec<u32>,
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

/// What an outline keeps of a subject's hash.
fn short_hash(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// What an outline knows a subject by.
pub(super) fn short_hash_of(subject: &[u8]) -> u32 {
    short_hash(hash_of(subject))
}

impl Resident {
    /// An empty block in this memory.
    pub fn empty_in(mut room: Vec<u8>) -> Self {
        room.clear();
        Resident {
            bytes: room,
            ..Resident::default()
        }
    }

    /// The memory of a block that nobody needs any more.
    pub fn into_room(self) -> Vec<u8> {
        self.bytes
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
            RecordKind::Message if self.places.takes(seq) => {
                self.latest_ns = match self.places.len() {
                    0 => record.timestamp_ns(),
                    _ => self.latest_ns.max(record.timestamp_ns()),
                };
                let offset = u32::try_from(record.offset()).unwrap_or(u32::MAX);
                self.places.push(seq, offset);
            }
            RecordKind::Message | RecordKind::Erased => {}
        }
    }

    /// Puts a record at the end, without its checksum. Nobody finds it before [`Resident::show`].
    ///
    /// # Errors
    ///
    /// As [`encode_unsealed`] has it; nothing is put then.
    pub fn put(&mut self, record: &NewRecord<'_>) -> Result<RecordRef, EncodeFault> {
        encode_unsealed(&mut self.bytes, record)
    }

    /// Takes back what was put from the offset `end` on and not shown.
    pub fn take_back(&mut self, end: usize) {
        self.bytes.truncate(end);
    }

    /// Lets a record be found that was put.
    pub fn show(&mut self, record: &RecordRef) {
        let before = self.places.len();
        self.take(record);
        if self.places.len() == before {
            return;
        }
        if let Some(mut chains) = self.chains.take() {
            chains.add(self, before as u32);
            let _ = self.chains.set(chains);
        }
    }

    /// Puts the checksums of records that were put in their places.
    pub fn seal(&mut self, records: &[RecordRef], hash_key: &HashKey) {
        match records {
            [record] => {
                let hash = hash_key.hash_record(&self.bytes, record);
                record.seal(&mut self.bytes, hash);
            }
            _ => {
                let mut hashes = Vec::with_capacity(records.len());
                hash_key.hash_run(&self.bytes, records, &mut hashes);
                for (record, hash) in records.iter().zip(hashes) {
                    record.seal(&mut self.bytes, hash);
                }
            }
        }
    }

    /// Bytes it takes in memory, about.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.places.memory_bytes() + self.places.len() * CHAIN_BYTES
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
        let hashes = self.chains.get().map(|chains| chains.hashes.as_slice());
        Outline::new(&self.places, hashes, self.bytes.len(), self.cipher.clone())
    }

    /// The slots, all of them.
    pub fn slot_count(&self) -> usize {
        self.places.len()
    }

    /// The first slot whose sequence is `seq` or above.
    pub fn slot_from(&self, seq: u64) -> usize {
        self.places.slot_from(seq)
    }

    /// The slot of `seq`.
    pub fn slot_of(&self, seq: u64) -> Option<usize> {
        self.places.slot_of(seq)
    }

    /// Sequence in a slot.
    pub fn seq(&self, slot: usize) -> Option<u64> {
        self.places.seq(slot)
    }

    /// The record in a slot.
    pub fn record(&self, slot: usize) -> Option<RecordRef> {
        let offset = self.places.offset(slot)?;
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
            for slot in 0..self.places.len() as u32 {
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
            // Whoever asks for a subject mostly wants its last message, so that is the one to compare with.
            ends.hash == hash && block.subject(ends.last as usize) == subject
        })
    }

    fn add(&mut self, block: &Resident, slot: u32) {
        let subject = block.subject(slot as usize);
        let hash = hash_of(subject);
        self.hashes.push(short_hash(hash));
        self.next.push(NONE);
        let found = self.ends.find_mut(hash, |ends| {
            ends.hash == hash && block.subject(ends.last as usize) == subject
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
    fn tombstones_and_the_latest_time_are_known() {
        let block = sample();
        let resident = Resident::index(block.content().to_vec(), block.hash_key());
        let slots: Vec<usize> = (1..=11).map(|seq| resident.slot_from(seq)).collect();
        assert_eq!(slots, [0, 0, 0, 1, 2, 2, 2, 3, 4, 5, 5]);
        assert_eq!(resident.tombstones().len(), 1);
        assert_eq!(resident.latest_ns(), 90);
    }

    #[test]
    fn what_is_sealed_verifies_and_what_is_taken_back_was_never_there() {
        for count in [1, 2, 9, 70] {
            let key = HashKey::for_block(b"S", 1);
            let mut resident = Resident::default();
            let put: Vec<RecordRef> = (1..=count)
                .map(|seq| resident.put(&message(seq, b"a.b")).unwrap())
                .collect();
            let end = resident.bytes().len();
            resident.put(&message(count + 1, b"a.b")).unwrap();
            resident.take_back(end);
            assert_eq!(resident.slot_count(), 0);
            resident.seal(&put, &key);
            for record in &put {
                resident.show(record);
                assert!(verifies(record, resident.bytes(), &key));
            }
            let read = Resident::index(resident.bytes().to_vec(), &key);
            assert_eq!(read.slot_count() as u64, count);
            assert!(read.damage().is_none());
        }
    }

    #[test]
    fn a_subject_leads_from_one_message_to_the_next_also_behind_what_is_pushed() {
        let block = sample();
        let mut resident = Resident::index(block.content().to_vec(), block.hash_key());
        assert_eq!(resident.last_of(b"a"), Some(4));
        let put = resident.put(&message(10, b"a")).unwrap();
        assert_eq!(resident.last_of(b"a"), Some(4));
        resident.show(&put);
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
