//! Messages in sequence order into new blocks.

use super::error::SalvageError;
use super::find::Edge;
use super::kept::KeptMessage;
use crate::format::checksum::HashKey;
use crate::format::compression;
use crate::format::limits::{CHECKSUM_LENGTH, RECORD_MIN_LENGTH};
use crate::format::record::{EncodeFault, NewRecord, RecordRef, encode_record, parse_at};
use crate::stream::writer::StoreWriter;

/// How new blocks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRules {
    /// Bytes a block may grow to; a longer record has one of its own.
    pub size: u64,
    /// Whether all but the last are compressed.
    pub compressed: bool,
}

/// Fills blocks one after the other, from number 1. Memory: one block.
pub struct BlockBuilder<'a, 'w> {
    writer: &'w StoreWriter<'a>,
    name: &'w [u8],
    rules: BlockRules,
    number: u32,
    hash_key: HashKey,
    content: Vec<u8>,
    hashes: Vec<u64>,
    last: Edge,
    count: u64,
}

impl<'a, 'w> BlockBuilder<'a, 'w> {
    /// Begins; `name` is the stream's.
    #[must_use]
    pub fn new(writer: &'w StoreWriter<'a>, name: &'w [u8], rules: BlockRules) -> Self {
        BlockBuilder {
            writer,
            name,
            rules,
            number: 1,
            hash_key: HashKey::for_block(name, 1),
            content: Vec::new(),
            hashes: Vec::new(),
            last: Edge::default(),
            count: 0,
        }
    }

    /// Adds a message above all before.
    ///
    /// # Errors
    ///
    /// Those of writing a block.
    pub fn push(&mut self, message: &KeptMessage<'_>) -> Result<(), SalvageError> {
        self.make_room(message.record.len())?;
        let start = self.content.len();
        self.content.extend_from_slice(message.record);
        if let Ok(record) = parse_at(&self.content, start) {
            self.hash_anew(record);
        }
        self.last = Edge {
            seq: message.seq,
            timestamp_ns: message.timestamp_ns,
        };
        self.count += 1;
        Ok(())
    }

    /// The hash of a record is keyed by its block.
    fn hash_anew(&mut self, record: RecordRef) {
        let records = std::slice::from_ref(&record);
        self.hash_key
            .hash_run(&self.content, records, &mut self.hashes);
        let place = record.checksum_offset()..record.checksum_offset() + CHECKSUM_LENGTH;
        if let (Some(hash), Some(place)) = (self.hashes.first(), self.content.get_mut(place)) {
            place.copy_from_slice(&hash.to_le_bytes());
        }
    }

    fn make_room(&mut self, length: usize) -> Result<(), SalvageError> {
        let grown = (self.content.len() + length) as u64;
        if !self.content.is_empty() && grown > self.rules.size {
            self.flush(self.rules.compressed)?;
            self.number = self.number.saturating_add(1);
            self.hash_key = HashKey::for_block(self.name, self.number);
        }
        Ok(())
    }

    fn flush(&mut self, compressed: bool) -> Result<(), SalvageError> {
        let mut packed = Vec::new();
        let bytes = if compressed && compression::compress(&self.content, &mut packed).is_ok() {
            &mut packed
        } else {
            &mut self.content
        };
        self.writer.block(self.number, bytes)?;
        self.content.clear();
        Ok(())
    }

    /// Writes what is left, and where the stream's last sequence is above the last message a tombstone for it, which alone
    /// keeps it from being used again. Returns how many messages there are.
    ///
    /// # Errors
    ///
    /// Those of writing a block.
    pub fn finish(mut self, last: Edge) -> Result<u64, SalvageError> {
        let behind = last.seq > self.last.seq;
        if !self.content.is_empty() {
            self.flush(behind && self.rules.compressed)?;
            self.number = self.number.saturating_add(1);
        }
        if behind {
            write_last(self.writer, self.name, self.number, last)?;
        }
        Ok(self.count)
    }
}

/// Writes a block that holds nothing but the tombstone of the stream's last sequence. In a block with messages a tombstone
/// does not speak for the last sequence.
pub(super) fn write_last(
    writer: &StoreWriter<'_>,
    name: &[u8],
    number: u32,
    last: Edge,
) -> Result<(), SalvageError> {
    let mut content = Vec::with_capacity(RECORD_MIN_LENGTH);
    let record = NewRecord::Tombstone {
        sequence: last.seq,
        timestamp_ns: last.timestamp_ns,
    };
    let hash_key = HashKey::for_block(name, number);
    encode_record(&mut content, &hash_key, &record).map_err(|fault: EncodeFault| {
        SalvageError::Mismatch {
            dir: writer.dir().to_owned(),
            detail: fault.to_string(),
        }
    })?;
    writer.block(number, &mut content)
}
