//! The block that takes records: what of it waits, and how it is handed over.

use super::core::Live;
use super::error::WriterFault;
use super::resident::Resident;
use super::writer::Writer;
use crate::block::torn;
use crate::crypto::BlockCipher;
use crate::env::sync::RwLock;
use crate::env::{AppendFile, IoError};
use crate::format::checksum::HashKey;
use crate::format::limits::{BLOCK_DELETES_MAX, CHECKSUM_LENGTH};
use crate::format::record::{NewRecord, RecordRef};

/// As soon as so many records wait for their checksums, these are put: that many are hashed side by side, and still in the
/// processor's cache.
const SEALED_TOGETHER: usize = 64;

/// The block that takes records. Its content is that of [`Live::tail`], which is there as long as this is.
pub(super) struct OpenTail {
    pub number: u32,
    file: Box<dyn AppendFile>,
    hash_key: HashKey,
    cipher: Option<BlockCipher>,
    /// Bytes of the block, those that were not handed over yet included.
    pub length: u64,
    /// Records that wait for their checksums, behind all others.
    unsealed: Vec<RecordRef>,
    /// Where the checksum lies that commits the first batch of those that wait, and with it all that is behind it.
    withheld: Option<usize>,
    /// What was encrypted last, for its memory.
    encrypted: Vec<u8>,
    /// It has lost so many messages that it takes no more.
    pub is_worn: bool,
    pub is_unsynced: bool,
}

impl OpenTail {
    /// A block whose file is as long as what is in it.
    pub fn new(
        number: u32,
        file: Box<dyn AppendFile>,
        hash_key: HashKey,
        cipher: Option<BlockCipher>,
    ) -> Self {
        OpenTail {
            number,
            length: file.length(),
            file,
            hash_key,
            cipher,
            unsealed: Vec::new(),
            withheld: None,
            encrypted: Vec::new(),
            is_worn: false,
            is_unsynced: false,
        }
    }

    /// Bytes that wait to be handed over.
    pub fn waiting_bytes(&self) -> usize {
        usize::try_from(self.length.saturating_sub(self.file.length())).unwrap_or(usize::MAX)
    }

    /// Whether a batch is among what waits.
    pub fn holds_a_batch(&self) -> bool {
        self.withheld.is_some()
    }

    /// Makes what was handed over durable.
    pub fn sync(&mut self) -> Result<(), IoError> {
        let synced = self.file.sync();
        self.is_unsynced = synced.is_err();
        synced
    }

    /// How many records wait for their checksums: the place of the next one among them.
    pub fn unsealed_count(&self) -> usize {
        self.unsealed.len()
    }

    /// Puts a record behind the others, where readers do not find it yet; its length.
    pub fn put(
        &mut self,
        record: &NewRecord<'_>,
        content: &mut Resident,
    ) -> Result<u64, WriterFault> {
        debug_assert_eq!(content.bytes().len() as u64, self.length);
        let put = content.put(record).map_err(|fault| WriterFault::Block {
            block: self.number,
            reason: fault.to_string(),
        })?;
        let length = put.length() as u64;
        self.length += length;
        self.unsealed.push(put);
        Ok(length)
    }

    /// Takes back the records from this place on, which were put and not shown.
    pub fn take_back(&mut self, from: usize, content: &mut Resident) {
        if let Some(first) = self.unsealed.get(from) {
            content.take_back(first.offset());
            self.length = first.offset() as u64;
            self.unsealed.truncate(from);
        }
    }

    /// Sees to it that whoever reads the disk finds the records from this place on all together.
    pub fn commit_with(&mut self, from: usize) {
        if self.withheld.is_none() {
            let first = self.unsealed.get(from);
            self.withheld = first.map(RecordRef::checksum_offset);
        }
    }

    /// Lets readers find the records from this place on. Who takes them into account does so under the same lock.
    pub fn show(&mut self, from: usize, content: &mut Resident) {
        for record in self.unsealed.iter().skip(from) {
            content.show(record);
        }
        if self.unsealed.len() >= SEALED_TOGETHER {
            self.seal(content);
        }
    }

    /// Takes note of what became of the block: how long it is, and whether it takes more.
    pub fn take_note(&mut self, live: &mut Live) {
        if let Some(block) = live.state.blocks.last_mut() {
            block.raw_bytes = self.length;
            self.is_worn = block.deleted.len() > BLOCK_DELETES_MAX;
        }
    }

    fn seal(&mut self, content: &mut Resident) {
        content.seal(&self.unsealed, &self.hash_key);
        self.unsealed.clear();
    }

    /// Hands over what waits. Where a batch is among it, that is durable before it counts.
    pub fn hand_over(&mut self, shared: &RwLock<Live>) -> Result<(), IoError> {
        {
            let mut live = shared.write();
            let live = &mut *live;
            let Some(content) = &mut live.tail else {
                debug_assert!(false, "the content of the last block goes with the block");
                return Ok(());
            };
            self.seal(content);
            if let Some(block) = live.state.blocks.last_mut() {
                block.last_record_hash = content.bytes().last_chunk().copied();
            }
        }
        let before = self.file.length();
        // Nobody but the writer, which this is, waits for the lock meanwhile.
        let live = shared.read();
        let content = live.tail.as_ref().map_or(&[][..], Resident::bytes);
        let waiting = content.get(before as usize..).unwrap_or_default();
        let waiting = match &self.cipher {
            None => waiting,
            Some(cipher) => {
                self.encrypted.clear();
                self.encrypted.extend_from_slice(waiting);
                let sealed = cipher.apply(&mut self.encrypted, before);
                debug_assert!(sealed.is_ok(), "a block is shorter than any keystream");
                &self.encrypted
            }
        };
        self.is_unsynced = true;
        let withheld = self.withheld.take().map(|at| at - before as usize);
        let committed = withheld.and_then(|at| {
            let (front, behind) = waiting.split_at_checked(at)?;
            let (checksum, behind) = behind.split_first_chunk::<CHECKSUM_LENGTH>()?;
            Some((front, checksum, behind))
        });
        let written = match committed {
            None => self.file.append(&[waiting]),
            // A keystream has no part in it: it is withheld by the same bits, encrypted or not.
            Some((front, checksum, behind)) => {
                self.file
                    .append(&[front, &torn::withheld(*checksum), behind])
            }
        };
        if written.is_err() {
            // A torn record is cut off by the next start; that much less is there to be cut.
            let _ = self.file.set_length(before);
            return written;
        }
        let Some((front, checksum, _)) = committed else {
            return Ok(());
        };
        self.file.sync()?;
        self.file.write_at(before + front.len() as u64, checksum)
    }
}

impl Writer {
    /// Proves the last sequence in a new block, where neither a live message does nor what comes next. The server looks for it in the
    /// last block, and takes blocks without a message away before it has taken note of what they tell.
    pub(super) fn prove_last_again(&mut self, next_seq: u64) -> Result<(), WriterFault> {
        let last = {
            let live = self.shared.live.read();
            let last = live.state.totals.last;
            if last.seq == 0 || last.seq == next_seq || live.state.holds(last.seq) {
                return Ok(());
            }
            last
        };
        let tombstone = NewRecord::Tombstone {
            sequence: last.seq,
            timestamp_ns: last.timestamp_ns,
        };
        self.write_record(&tombstone, |_, _, _| {})
    }
}
