//! Writing a state file.

use std::fmt;

use super::{STATE_MAGIC, STATE_VERSION, StateFile};
use crate::format::seqset;
use crate::format::varint::{put_uvarint, put_varint};

/// Why a state file cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateEncodeError {
    /// There is no such version.
    BadVersion {
        /// The version asked for.
        version: u8,
    },
    /// A block has deleted sequences but a deleted count of 0, so that the set would be lost.
    DeletedCountZero {
        /// Number of the block.
        block: u32,
    },
    /// A block's deleted set cannot be written.
    DeletedSet {
        /// Number of the block.
        block: u32,
        /// Why.
        fault: seqset::EncodeError,
    },
}

impl fmt::Display for StateEncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadVersion { version } => {
                write!(
                    f,
                    "state file version {version} does not exist, known are 1 to {STATE_VERSION}"
                )
            }
            Self::DeletedCountZero { block } => {
                write!(
                    f,
                    "block {block} has deleted sequences and a deleted count of 0"
                )
            }
            Self::DeletedSet { block, fault } => write!(f, "deleted set of block {block}: {fault}"),
        }
    }
}

impl std::error::Error for StateEncodeError {}

impl StateFile {
    /// The plaintext in the layout of `self.version`; the caller encrypts it and appends the hash.
    ///
    /// Below version 4 the last block of a subject with at most one message, below 3 the schedule counts and in
    /// version 1 the TTL counts have no place in the file. The deleted sets may take `deleted_limit` bytes together.
    ///
    /// # Errors
    /// [`StateEncodeError`] for an unknown version or a deleted set that cannot be written.
    pub fn encode(&self, deleted_limit: u64) -> Result<Vec<u8>, StateEncodeError> {
        if !(1..=STATE_VERSION).contains(&self.version) {
            return Err(StateEncodeError::BadVersion {
                version: self.version,
            });
        }
        let mut out = vec![STATE_MAGIC, self.version];
        put_uvarint(&mut out, self.messages);
        put_uvarint(&mut out, self.bytes);
        put_uvarint(&mut out, self.first_sequence);
        put_varint(&mut out, self.first_time_ns);
        put_uvarint(&mut out, self.last_sequence);
        put_varint(&mut out, self.last_time_ns);
        self.put_subjects(&mut out);
        self.put_blocks(&mut out, deleted_limit)?;
        put_uvarint(&mut out, u64::from(self.last_block));
        out.extend(self.last_record_hash);
        Ok(out)
    }

    fn put_subjects(&self, out: &mut Vec<u8>) {
        put_uvarint(out, self.subjects.len() as u64);
        for entry in self.subjects.iter() {
            put_uvarint(out, entry.subject.len() as u64);
            out.extend_from_slice(entry.subject);
            put_uvarint(out, entry.total);
            put_uvarint(out, u64::from(entry.first_block));
            if self.version >= 4 || entry.total > 1 {
                put_uvarint(out, u64::from(entry.last_block));
            }
        }
    }

    fn put_blocks(&self, out: &mut Vec<u8>, deleted_limit: u64) -> Result<(), StateEncodeError> {
        let base = self.first_time_ns;
        let mut left = deleted_limit;
        put_uvarint(out, self.blocks.len() as u64);
        for block in &self.blocks {
            put_uvarint(out, u64::from(block.number));
            put_uvarint(out, block.bytes);
            put_uvarint(out, block.first_sequence);
            put_varint(out, block.first_time_ns.wrapping_sub(base));
            put_uvarint(out, block.last_sequence);
            put_varint(out, block.last_time_ns.wrapping_sub(base));
            put_uvarint(out, block.deleted_count);
            if self.version >= 2 {
                put_uvarint(out, block.ttl_count);
            }
            if self.version >= 3 {
                put_uvarint(out, block.schedule_count);
            }
            if block.deleted_count > 0 {
                let set = &block.deleted;
                set.encode(out, left)
                    .map_err(|fault| StateEncodeError::DeletedSet {
                        block: block.number,
                        fault,
                    })?;
                left -= set.encoded_length();
            } else if !block.deleted.is_empty() {
                return Err(StateEncodeError::DeletedCountZero {
                    block: block.number,
                });
            }
        }
        Ok(())
    }
}
