//! The block that takes records: what of it waits, and how it is handed over.

use std::ops::Range;

use super::core::Live;
use super::error::WriterFault;
use super::writer::Writer;
use crate::block::torn;
use crate::crypto::BlockCipher;
use crate::env::{AppendFile, IoError};
use crate::format::checksum::HashKey;
use crate::format::limits::CHECKSUM_LENGTH;
use crate::format::record::{NewRecord, encode_record, record_length};

/// The block that takes records.
pub(super) struct OpenTail {
    pub number: u32,
    file: Box<dyn AppendFile>,
    hash_key: HashKey,
    cipher: Option<BlockCipher>,
    /// Bytes of the block, those that wait included.
    pub length: u64,
    /// Bytes for the file that were not handed over yet.
    pending: Vec<u8>,
    /// Where among them the checksum lies that commits the first batch and with it all that is behind it.
    withheld: Option<usize>,
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
            pending: Vec::new(),
            withheld: None,
            is_unsynced: false,
        }
    }

    /// Bytes that wait to be handed over.
    pub fn waiting_bytes(&self) -> usize {
        self.pending.len()
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

    /// Puts a record with what waits to be handed over; where among that it lies.
    pub fn put(&mut self, record: &NewRecord<'_>) -> Result<Range<usize>, WriterFault> {
        let start = self.pending.len();
        let encoded = encode_record(&mut self.pending, &self.hash_key, record);
        let length = encoded.map_err(|fault| WriterFault::Block {
            block: self.number,
            reason: fault.to_string(),
        })?;
        self.length += length as u64;
        Ok(start..start + length)
    }

    /// Takes back what was put from `start` on.
    pub fn take_back(&mut self, start: usize) {
        let taken = self.pending.len().saturating_sub(start);
        self.pending.truncate(start);
        self.length -= taken as u64;
    }

    /// Sees to it that whoever reads the disk finds the records behind this one only with it, and it only with them.
    pub fn commit_with(&mut self, first: &Range<usize>) {
        if self.withheld.is_none() {
            self.withheld = Some(first.end - CHECKSUM_LENGTH);
        }
    }

    /// Lets readers find a record that was put with the others. Who takes it into account does so under the same lock.
    pub fn show(&self, put: &Range<usize>, live: &mut Live) {
        let encoded = self.pending.get(put.clone()).unwrap_or_default();
        if let Some(resident) = &mut live.tail {
            resident.push(encoded);
        }
        if let Some(state) = live.state.blocks.last_mut() {
            state.raw_bytes = self.length;
            state.last_record_hash = encoded.last_chunk::<CHECKSUM_LENGTH>().copied();
        }
    }

    /// Hands over what waits. Where a batch is among it, that is durable before it counts.
    pub fn hand_over(&mut self) -> Result<(), IoError> {
        let before = self.file.length();
        if let Some(cipher) = &self.cipher {
            let sealed = cipher.apply(&mut self.pending, before);
            debug_assert!(sealed.is_ok(), "a block is shorter than any keystream");
        }
        let withheld = self.withheld.take();
        let checksum = withheld.and_then(|at| self.pending.get_mut(at..)?.first_chunk_mut());
        let committed = checksum.map(|checksum: &mut [u8; CHECKSUM_LENGTH]| {
            // A keystream has no part in it: the complement of what is encrypted is decrypted to the complement.
            std::mem::replace(checksum, torn::withheld(*checksum))
        });
        self.is_unsynced = true;
        let written = self.file.append(&[&self.pending]);
        self.pending.clear();
        if written.is_err() {
            // A torn record is cut off by the next start; that much less is there to be cut.
            let _ = self.file.set_length(before);
            return written;
        }
        let (Some(at), Some(committed)) = (withheld, committed) else {
            return Ok(());
        };
        self.file.sync()?;
        self.file.write_at(before + at as u64, &committed)
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
        let length = record_length(0, 0, 0) as u64;
        self.write_record(&tombstone, |_, _, _| {}, length)
    }
}
