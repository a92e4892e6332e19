//! Reading a state file.

use std::fmt;

use super::{
    BlockEntry, HASH_LENGTH, STATE_MAGIC, STATE_VERSION, StateFile, SubjectEntry, SubjectTable,
};
use crate::format::seqset::{DecodeError, SeqSet};
use crate::format::subject;
use crate::format::varint::{ReadFault, Reader};

/// Fewest bytes a block entry takes: the seven numbers of version 1.
const BLOCK_MINIMUM_LENGTH: usize = 7;
/// From this plaintext length on the server crashes where the last block number cannot be decoded.
const CRASH_LENGTH: usize = 7;

/// Why a plaintext is not a state file, in the order of the server's checks. Each is one row of its decision table,
/// and with each the server deletes the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateError {
    /// D6: the magic is not 11, the version not 1 to 4, or there are not even these two bytes.
    BadVersion {
        /// First byte, if there is one.
        magic: Option<u8>,
        /// Second byte, if there is one.
        version: Option<u8>,
    },
    /// D6a: the subject count or a number before it cannot be decoded, or the count exceeds the bytes left.
    SubjectCount {
        /// Where reading stopped.
        offset: usize,
        /// The count, if it could be decoded.
        count: Option<u64>,
        /// Bytes left there.
        remaining: usize,
    },
    /// D7: a subject length or a number of an earlier entry cannot be decoded, or the length exceeds the bytes left.
    SubjectOverrun {
        /// Where reading stopped.
        offset: usize,
        /// Which entry's length was wanted, from 0.
        entry: u64,
        /// The length, if it could be decoded.
        length: Option<u64>,
        /// Bytes left there.
        remaining: usize,
    },
    /// D8: a subject is not valid.
    SubjectInvalid {
        /// Where the subject begins.
        offset: usize,
        /// Which entry it is of, from 0.
        entry: u64,
        /// Its length in bytes.
        length: usize,
    },
    /// D8a: the block count or a number of the last subject entry cannot be decoded, or the count exceeds the bytes
    /// left.
    BlockCount {
        /// Where reading stopped.
        offset: usize,
        /// The count, if it could be decoded.
        count: Option<u64>,
        /// Bytes left there.
        remaining: usize,
    },
    /// D9: a number in the block list cannot be decoded. The server says nothing of this one.
    BlockListTruncated {
        /// Where reading stopped.
        offset: usize,
        /// Which entry of the list, from 0.
        entry: u64,
        /// The last block that the server took up before, which numbers the next new one although the file is given up.
        taken_up: Option<u32>,
    },
    /// D10: the deleted set of a block cannot be decoded.
    DeletedSetInvalid {
        /// Where the set begins.
        offset: usize,
        /// Number of the block.
        block: u32,
        /// What is wrong with it.
        fault: DecodeError,
        /// The last block that the server took up before, which numbers the next new one although the file is given up.
        taken_up: Option<u32>,
    },
    /// D11: the last block number cannot be decoded, or fewer than 8 bytes follow it.
    TailMissing {
        /// Where reading stopped.
        offset: usize,
        /// Bytes left there.
        remaining: usize,
        /// Whether the server would crash here instead of deleting the file.
        would_panic: bool,
        /// The last block that the server took up before, which numbers the next new one although the file is given up.
        taken_up: Option<u32>,
    },
}

impl StateError {
    /// Whether the server would crash on these bytes.
    #[must_use]
    pub fn would_panic(&self) -> bool {
        match self {
            // Only an encrypted file can be this short inside.
            Self::BadVersion { version, .. } => version.is_none(),
            Self::TailMissing { would_panic, .. } => *would_panic,
            _ => false,
        }
    }

    /// The last block of the list that the server took up before it gave the file up.
    #[must_use]
    pub fn taken_up(&self) -> Option<u32> {
        match self {
            Self::BlockListTruncated { taken_up, .. }
            | Self::DeletedSetInvalid { taken_up, .. }
            | Self::TailMissing { taken_up, .. } => *taken_up,
            _ => None,
        }
    }
}

impl fmt::Display for StateError {
    #[expect(clippy::too_many_lines, reason = "one arm for each variant")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadVersion {
                magic: Some(magic),
                version: Some(version),
            } => write!(
                f,
                "state file has magic {magic} and version {version}, \
                 expected {STATE_MAGIC} and 1 to {STATE_VERSION}"
            ),
            Self::BadVersion { .. } => write!(f, "state file ends before its version"),
            Self::SubjectCount {
                offset,
                count: Some(count),
                remaining,
            } => write!(
                f,
                "state file announces {count} subjects at offset {offset}, {remaining} bytes remain"
            ),
            Self::SubjectCount { offset, .. } => {
                write!(f, "state file header cannot be decoded at offset {offset}")
            }
            Self::SubjectOverrun {
                offset,
                entry,
                length: Some(length),
                remaining,
            } => write!(
                f,
                "subject {entry} at offset {offset} has {length} bytes, {remaining} remain"
            ),
            Self::SubjectOverrun { offset, entry, .. } => {
                write!(
                    f,
                    "subject list cannot be decoded at offset {offset}, before subject {entry}"
                )
            }
            Self::SubjectInvalid {
                offset,
                entry,
                length,
            } => {
                write!(
                    f,
                    "subject {entry} of {length} bytes at offset {offset} is not valid"
                )
            }
            Self::BlockCount {
                offset,
                count: Some(count),
                remaining,
            } => write!(
                f,
                "state file announces {count} blocks at offset {offset}, {remaining} bytes remain"
            ),
            Self::BlockCount { offset, .. } => {
                write!(
                    f,
                    "state file cannot be decoded at offset {offset}, before its block list"
                )
            }
            Self::BlockListTruncated { offset, entry, .. } => {
                write!(
                    f,
                    "block list cannot be decoded at offset {offset}, in entry {entry}"
                )
            }
            Self::DeletedSetInvalid {
                offset,
                block,
                fault,
                ..
            } => {
                write!(
                    f,
                    "deleted set of block {block} at offset {offset}: {fault}"
                )
            }
            Self::TailMissing {
                offset, remaining, ..
            } => write!(
                f,
                "last block number and record hash missing at offset {offset}, {remaining} bytes remain"
            ),
        }
    }
}

impl std::error::Error for StateError {}

impl StateFile {
    /// Reads the plaintext of a state file: decrypted and without the hash at its end.
    ///
    /// Bytes after the record hash are ignored.
    ///
    /// # Errors
    /// [`StateError`]; the variant is the row of the decision table that the server would take.
    pub fn decode(payload: &[u8]) -> Result<Self, StateError> {
        Self::decode_with(payload, subject::is_valid)
    }

    /// The same with subjects taken as they are: whether they are valid is left to the caller, who may look at many side by
    /// side.
    ///
    /// # Errors
    /// [`StateError`], not always that of [`StateFile::decode`]: one subject before the place may be invalid.
    pub fn decode_with_any_subjects(payload: &[u8]) -> Result<Self, StateError> {
        Self::decode_with(payload, |_| true)
    }

    fn decode_with(payload: &[u8], is_valid: impl Fn(&[u8]) -> bool) -> Result<Self, StateError> {
        let version = match payload {
            [STATE_MAGIC, version @ 1..=STATE_VERSION, ..] => *version,
            _ => {
                return Err(StateError::BadVersion {
                    magic: payload.first().copied(),
                    version: payload.get(1).copied(),
                });
            }
        };
        let mut reader = Reader::new(payload);
        let (mut state, subject_count) = read_header(&mut reader, version)
            .map_err(|fault| subject_count_error(&reader, Some(fault), None))?;
        if !fits(subject_count, &reader) {
            return Err(subject_count_error(&reader, None, Some(subject_count)));
        }
        let subjects = &mut state.subjects;
        let incomplete = read_subjects(&mut reader, version, subject_count, subjects, is_valid)?;
        let block_count = match incomplete {
            Some(fault) => Err(fault),
            None => reader.uvarint(),
        }
        .map_err(|fault| block_count_error(&reader, Some(fault), None))?;
        if !fits(block_count, &reader) {
            return Err(block_count_error(&reader, None, Some(block_count)));
        }
        read_blocks(&mut reader, block_count, &mut state)?;
        read_tail(&mut reader, payload.len(), &mut state)?;
        Ok(state)
    }
}

/// Whether `count` items of at least one byte can be left.
fn fits(count: u64, reader: &Reader<'_>) -> bool {
    usize::try_from(count).is_ok_and(|count| count <= reader.remaining())
}

fn subject_count_error(
    reader: &Reader<'_>,
    fault: Option<ReadFault>,
    count: Option<u64>,
) -> StateError {
    StateError::SubjectCount {
        offset: fault.map_or(reader.offset(), |fault| fault.offset()),
        count,
        remaining: reader.remaining(),
    }
}

fn block_count_error(
    reader: &Reader<'_>,
    fault: Option<ReadFault>,
    count: Option<u64>,
) -> StateError {
    StateError::BlockCount {
        offset: fault.map_or(reader.offset(), |fault| fault.offset()),
        count,
        remaining: reader.remaining(),
    }
}

/// Reads up to and with the subject count.
fn read_header(reader: &mut Reader<'_>, version: u8) -> Result<(StateFile, u64), ReadFault> {
    reader.bytes(2)?;
    let state = StateFile {
        version,
        messages: reader.uvarint()?,
        bytes: reader.uvarint()?,
        first_sequence: reader.uvarint()?,
        first_time_ns: reader.varint()?,
        last_sequence: reader.uvarint()?,
        last_time_ns: reader.varint()?,
        subjects: SubjectTable::new(),
        blocks: Vec::new(),
        last_block: 0,
        last_record_hash: [0; HASH_LENGTH],
    };
    Ok((state, reader.uvarint()?))
}

/// Reads the subjects. A number that fails in the last entry is handed back: the server finds out with the block
/// count, one that fails earlier with the next length.
fn read_subjects(
    reader: &mut Reader<'_>,
    version: u8,
    count: u64,
    subjects: &mut SubjectTable,
    is_valid: impl Fn(&[u8]) -> bool,
) -> Result<Option<ReadFault>, StateError> {
    let mut failed = None;
    for entry in 0..count {
        let length = match failed {
            Some(fault) => Err(fault),
            None => reader.uvarint(),
        }
        .map_err(|fault| StateError::SubjectOverrun {
            offset: fault.offset(),
            entry,
            length: None,
            remaining: reader.remaining(),
        })?;
        failed = None;
        let overrun = StateError::SubjectOverrun {
            offset: reader.offset(),
            entry,
            length: Some(length),
            remaining: reader.remaining(),
        };
        let length = usize::try_from(length).map_err(|_| overrun.clone())?;
        let offset = reader.offset();
        let name = reader.bytes(length).map_err(|_| overrun)?;
        if length == 0 {
            continue;
        }
        if !is_valid(name) {
            return Err(StateError::SubjectInvalid {
                offset,
                entry,
                length,
            });
        }
        match read_subject_numbers(reader, version, name) {
            Ok(read) => subjects.push(read),
            Err(fault) => failed = Some(fault),
        }
    }
    subjects.shrink();
    Ok(failed)
}

fn read_subject_numbers<'a>(
    reader: &mut Reader<'a>,
    version: u8,
    subject: &'a [u8],
) -> Result<SubjectEntry<'a>, ReadFault> {
    let total = reader.uvarint()?;
    let first_block = low_32(reader.uvarint()?);
    let last_block = if total > 1 || version >= 4 {
        low_32(reader.uvarint()?)
    } else {
        first_block
    };
    Ok(SubjectEntry {
        subject,
        total,
        first_block,
        last_block,
    })
}

fn read_blocks(
    reader: &mut Reader<'_>,
    count: u64,
    state: &mut StateFile,
) -> Result<(), StateError> {
    let most = reader.remaining() / BLOCK_MINIMUM_LENGTH;
    state
        .blocks
        .reserve_exact(usize::try_from(count).unwrap_or(most).min(most));
    for entry in 0..count {
        let mut block =
            read_block_numbers(reader, state).map_err(|fault| StateError::BlockListTruncated {
                offset: fault.offset(),
                entry,
                taken_up: taken_up(&state.blocks, count),
            })?;
        if block.deleted_count > 0 {
            let offset = reader.offset();
            let decoded = SeqSet::decode(reader.rest()).and_then(|decoded| {
                reader.bytes(decoded.length)?;
                Ok(decoded)
            });
            let decoded = decoded.map_err(|fault| StateError::DeletedSetInvalid {
                offset,
                block: block.number,
                fault,
                taken_up: taken_up(&state.blocks, count),
            })?;
            block.deleted = decoded.set;
            block.deleted_declared_count = decoded.declared_count;
        }
        state.blocks.push(block);
    }
    Ok(())
}

/// Of the entries read so far, of so many: one without messages is passed over, but for the last.
fn taken_up(read: &[BlockEntry], count: u64) -> Option<u32> {
    let mut numbered = read.iter().enumerate().rev();
    let found = numbered.find(|(at, block)| block.message_count() > 0 || *at as u64 + 1 == count);
    found.map(|(_, block)| block.number)
}

fn read_block_numbers(reader: &mut Reader<'_>, state: &StateFile) -> Result<BlockEntry, ReadFault> {
    let base = state.first_time_ns;
    Ok(BlockEntry {
        number: low_32(reader.uvarint()?),
        bytes: reader.uvarint()?,
        first_sequence: reader.uvarint()?,
        first_time_ns: reader.varint()?.wrapping_add(base),
        last_sequence: reader.uvarint()?,
        last_time_ns: reader.varint()?.wrapping_add(base),
        deleted_count: reader.uvarint()?,
        ttl_count: if state.version >= 2 {
            reader.uvarint()?
        } else {
            0
        },
        schedule_count: if state.version >= 3 {
            reader.uvarint()?
        } else {
            0
        },
        ..BlockEntry::default()
    })
}

fn read_tail(
    reader: &mut Reader<'_>,
    length: usize,
    state: &mut StateFile,
) -> Result<(), StateError> {
    let taken_up = taken_up(&state.blocks, state.blocks.len() as u64);
    let number = reader.uvarint().map_err(|fault| StateError::TailMissing {
        offset: fault.offset(),
        remaining: reader.remaining(),
        would_panic: length >= CRASH_LENGTH,
        taken_up,
    })?;
    let tail = reader.rest().first_chunk().ok_or(StateError::TailMissing {
        offset: reader.offset(),
        remaining: reader.remaining(),
        would_panic: false,
        taken_up,
    })?;
    state.last_block = low_32(number);
    state.last_record_hash = *tail;
    Ok(())
}

/// Block numbers have 32 bits; the server drops the rest.
fn low_32(number: u64) -> u32 {
    (number & u64::from(u32::MAX)) as u32
}
