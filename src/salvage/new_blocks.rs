//! Messages in sequence order into new blocks.

use super::error::SalvageError;
use super::message_cursor::KeptMessage;
use crate::block::builder::BlockBuilder;
use crate::block::rules::Fill;
use crate::format::record::NewRecord;
use crate::state::SeqTime;
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
pub struct NewBlocks<'a, 'w> {
    writer: &'w StoreWriter<'a>,
    name: &'w [u8],
    rules: BlockRules,
    block: BlockBuilder,
    last: SeqTime,
    count: u64,
}

impl<'a, 'w> NewBlocks<'a, 'w> {
    /// Begins; `name` is the stream's.
    #[must_use]
    pub fn new(writer: &'w StoreWriter<'a>, name: &'w [u8], rules: BlockRules) -> Self {
        NewBlocks {
            writer,
            name,
            rules,
            block: BlockBuilder::new(name, 1),
            last: SeqTime::default(),
            count: 0,
        }
    }

    /// Adds a message above all before.
    ///
    /// # Errors
    ///
    /// Those of writing a block.
    pub fn push(&mut self, message: &KeptMessage<'_>) -> Result<(), SalvageError> {
        let fill = Fill {
            raw_bytes: self.block.len(),
            ..Fill::default()
        };
        if fill.is_full(message.record.len() as u64, self.rules.size) {
            self.flush(self.rules.compressed)?;
        }
        self.block.copy(message.record);
        self.last = SeqTime {
            seq: message.seq,
            timestamp_ns: message.timestamp_ns,
        };
        self.count += 1;
        Ok(())
    }

    /// Writes the block at hand and begins the next.
    fn flush(&mut self, compressed: bool) -> Result<(), SalvageError> {
        let number = self.block.number();
        match compressed.then(|| self.block.file(true, None)) {
            Some(Ok(mut file)) => self.writer.block(number, &mut file)?,
            // As it is; a block too short to be compressed too.
            _ => self.writer.block(number, self.block.content_mut())?,
        }
        self.block.begin(self.name, number.saturating_add(1));
        Ok(())
    }

    /// Writes what is left, and where the stream's last sequence is above the last message a tombstone for it, which alone
    /// keeps it from being used again. Returns how many messages there are.
    ///
    /// # Errors
    ///
    /// Those of writing a block.
    pub fn finish(mut self, last: SeqTime) -> Result<u64, SalvageError> {
        let behind = last.seq > self.last.seq;
        if !self.block.is_empty() {
            self.flush(behind && self.rules.compressed)?;
        }
        if behind {
            write_last(self.writer, self.name, self.block.number(), last)?;
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
    last: SeqTime,
) -> Result<(), SalvageError> {
    let record = NewRecord::Tombstone {
        sequence: last.seq,
        timestamp_ns: last.timestamp_ns,
    };
    let mut block = BlockBuilder::new(name, number);
    block
        .push(&record)
        .map_err(|fault| SalvageError::Mismatch {
            dir: writer.dir().to_owned(),
            detail: fault.to_string(),
        })?;
    Ok(writer.block(number, &mut block.into_content())?)
}
