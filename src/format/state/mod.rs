//! The state file, `index.db`: a summary of the whole store that spares a scan at open.
//!
//! Source: file format reference, section 7. The file is the plaintext that [`StateFile::decode`] reads, possibly
//! encrypted, with an 8-byte hash of what precedes it at the end. The caller splits the hash off with
//! [`split_trailing_hash`], compares it, decrypts and hands the plaintext over.

mod decode;
mod encode;
mod subjects;

pub use decode::StateError;
pub use encode::StateEncodeError;
pub use subjects::{SubjectEntry, SubjectTable, is_valid_index_subject};

use super::seqset::SeqSet;

/// First byte of the plaintext.
pub const STATE_MAGIC: u8 = 11;
/// The newest version known, and the one the reference writes.
pub const STATE_VERSION: u8 = 4;
/// A shorter file is refused before its hash is looked at.
pub const STATE_MINIMUM_LENGTH: usize = 32;

/// Length of the hash over the file and of the hash of a record.
const HASH_LENGTH: usize = 8;

/// What a state file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFile {
    /// Version of the layout, 1 to 4.
    pub version: u8,
    /// Live messages of the store.
    pub messages: u64,
    /// Bytes of the live messages of the store.
    pub bytes: u64,
    /// First sequence of the store.
    pub first_sequence: u64,
    /// Time of the first message in nanoseconds, 0 for none. The times of the blocks are stored relative to it.
    pub first_time_ns: i64,
    /// Last sequence of the store.
    pub last_sequence: u64,
    /// Time of the last message in nanoseconds, 0 for none.
    pub last_time_ns: i64,
    /// Messages per subject. A subject may come twice; the server keeps the later entry.
    pub subjects: SubjectTable,
    /// The blocks in file order, normally ascending by number.
    pub blocks: Vec<BlockEntry>,
    /// Number of the block whose last record `last_record_hash` is of.
    pub last_block: u32,
    /// Last 8 bytes of that block's decrypted file, zeros when it was shorter.
    pub last_record_hash: [u8; HASH_LENGTH],
}

/// What a state file says of one block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockEntry {
    /// Block number; higher bits of the stored number are dropped, as the server does.
    pub number: u32,
    /// Bytes of its live messages.
    pub bytes: u64,
    /// First sequence. An empty block has it one above the last.
    pub first_sequence: u64,
    /// Absolute time of the first message in nanoseconds, not normalised.
    pub first_time_ns: i64,
    /// Last sequence.
    pub last_sequence: u64,
    /// Absolute time of the last message in nanoseconds, not normalised.
    pub last_time_ns: i64,
    /// The stored number of deleted sequences; the message count follows from it, not from `deleted`.
    pub deleted_count: u64,
    /// Messages with a TTL header; 0 in version 1.
    pub ttl_count: u64,
    /// Messages with a schedule header; 0 below version 3.
    pub schedule_count: u64,
    /// Deleted sequences between first and last.
    pub deleted: SeqSet,
    /// The element count that the stored set claims. The server takes it as the set's size. Not written back.
    pub deleted_declared_count: u32,
}

impl BlockEntry {
    /// Live messages as the server derives them: the range less the stored number of deleted, never below 0.
    #[must_use]
    pub fn message_count(&self) -> u64 {
        self.last_sequence
            .wrapping_sub(self.first_sequence)
            .wrapping_add(1)
            .saturating_sub(self.deleted_count)
    }
}

/// Splits a state file into what its hash covers and the hash. Nothing for a file below 32 bytes, which is corrupt.
#[must_use]
pub fn split_trailing_hash(file: &[u8]) -> Option<(&[u8], [u8; HASH_LENGTH])> {
    if file.len() < STATE_MINIMUM_LENGTH {
        return None;
    }
    file.split_last_chunk()
        .map(|(payload, hash)| (payload, *hash))
}

#[cfg(test)]
mod tests;
