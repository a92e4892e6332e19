//! Writing records.

use std::fmt;

use super::super::checksum::HashKey;
use super::super::limits::{
    CHECKSUM_LENGTH, HEADER_LENGTH_FIELD, RECORD_MAX_LENGTH, RECORD_MIN_LENGTH, SEQUENCE_MAX,
};
use super::{ERASED_BIT, HEADERS_BIT, RecordRef, TOMBSTONE_BIT};

/// A record to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewRecord<'a> {
    /// A message.
    Message {
        /// Its sequence.
        sequence: u64,
        /// Its store time in nanoseconds since the Unix epoch.
        timestamp_ns: i64,
        /// Its subject.
        subject: &'a [u8],
        /// Its header block as sent, empty if there is none.
        headers: &'a [u8],
        /// Its body.
        body: &'a [u8],
    },
    /// A sequence used up without a message.
    Skip {
        /// The sequence.
        sequence: u64,
        /// The stream's last time, in nanoseconds since the Unix epoch.
        timestamp_ns: i64,
    },
    /// A message wiped in place; the record keeps the length it had.
    Erased {
        /// The sequence.
        sequence: u64,
        /// Random bytes: as many as the record had between its header and its checksum.
        noise: &'a [u8],
    },
    /// A marker that a sequence is gone.
    Tombstone {
        /// The sequence that is gone.
        sequence: u64,
        /// The time of the message that is gone, in nanoseconds since the Unix epoch.
        timestamp_ns: i64,
    },
    /// A marker as the server writes it for whatever sequence an index claims: one that does not fit beside the flags runs into them.
    ClaimedTombstone {
        /// The sequence that is claimed.
        sequence: u64,
        /// The time that goes with it, in nanoseconds since the Unix epoch.
        timestamp_ns: i64,
    },
}

/// Why a record cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncodeFault {
    /// The subject's length does not fit in its field.
    SubjectTooLong {
        /// Bytes of the subject.
        length: usize,
    },
    /// The record would be longer than readers accept.
    RecordTooLong {
        /// Bytes of the record.
        length: usize,
    },
    /// The sequence does not fit beside its flags.
    SequenceTooLarge {
        /// The sequence.
        sequence: u64,
    },
    /// There are more than 4 GiB before it.
    BlockTooLong,
}

impl fmt::Display for EncodeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SubjectTooLong { length } => {
                write!(f, "subject of {length} bytes, the most is {}", u16::MAX)
            }
            Self::RecordTooLong { length } => {
                write!(
                    f,
                    "record of {length} bytes, the most is {RECORD_MAX_LENGTH}"
                )
            }
            Self::SequenceTooLarge { sequence } => {
                write!(f, "sequence {sequence}, the most is {SEQUENCE_MAX}")
            }
            Self::BlockTooLong => f.write_str("the block holds 4 GiB already"),
        }
    }
}

impl std::error::Error for EncodeFault {}

/// Bytes of a record with these parts: what a stream's byte count adds up.
///
/// A header block of no bytes is not written, and neither is its length.
#[must_use]
pub fn record_length(subject_length: usize, headers_length: usize, body_length: usize) -> usize {
    let field = if headers_length > 0 {
        HEADER_LENGTH_FIELD
    } else {
        0
    };
    [subject_length, field, headers_length, body_length]
        .into_iter()
        .fold(RECORD_MIN_LENGTH, usize::saturating_add)
}

/// Appends a record to `out` and returns its length.
///
/// # Errors
/// Any [`EncodeFault`]; `out` is then left as it was.
pub fn encode_record(
    out: &mut Vec<u8>,
    key: &HashKey,
    record: &NewRecord<'_>,
) -> Result<usize, EncodeFault> {
    let encoded = encode_unsealed(out, record)?;
    let hash = key.hash_record(out, &encoded);
    encoded.seal(out, hash);
    Ok(encoded.length())
}

/// Appends a record to `out` but for its checksum, in whose place are zeros: many records are hashed at less cost than one at a time.
///
/// # Errors
/// Any [`EncodeFault`]; `out` is then left as it was.
pub(crate) fn encode_unsealed(
    out: &mut Vec<u8>,
    record: &NewRecord<'_>,
) -> Result<RecordRef, EncodeFault> {
    const NONE: &[u8] = &[];
    let (sequence, flags, timestamp_ns, subject, headers, body) = match *record {
        NewRecord::Message {
            sequence,
            timestamp_ns,
            subject,
            headers,
            body,
        } => (sequence, 0, timestamp_ns, subject, headers, body),
        NewRecord::Skip {
            sequence,
            timestamp_ns,
        } => (sequence, ERASED_BIT, timestamp_ns, NONE, NONE, NONE),
        NewRecord::Erased { sequence, noise } => (sequence, ERASED_BIT, 0, NONE, NONE, noise),
        NewRecord::Tombstone {
            sequence,
            timestamp_ns,
        } => (sequence, TOMBSTONE_BIT, timestamp_ns, NONE, NONE, NONE),
        NewRecord::ClaimedTombstone {
            sequence,
            timestamp_ns,
        } => {
            let flags = TOMBSTONE_BIT | (sequence & !SEQUENCE_MAX);
            (
                sequence & SEQUENCE_MAX,
                flags,
                timestamp_ns,
                NONE,
                NONE,
                NONE,
            )
        }
    };
    if sequence > SEQUENCE_MAX {
        return Err(EncodeFault::SequenceTooLarge { sequence });
    }
    let subject_length = u16::try_from(subject.len()).map_err(|_| EncodeFault::SubjectTooLong {
        length: subject.len(),
    })?;
    let length = record_length(subject.len(), headers.len(), body.len());
    if length > RECORD_MAX_LENGTH {
        return Err(EncodeFault::RecordTooLong { length });
    }
    // Both lengths are at most 32 MiB by now.
    let length_bits = length as u32 | if headers.is_empty() { 0 } else { HEADERS_BIT };
    let sequence_bits = sequence | flags;

    let offset = u32::try_from(out.len()).map_err(|_| EncodeFault::BlockTooLong)?;
    out.reserve(length);
    out.extend_from_slice(&length_bits.to_le_bytes());
    out.extend_from_slice(&sequence_bits.to_le_bytes());
    out.extend_from_slice(&timestamp_ns.to_le_bytes());
    out.extend_from_slice(&subject_length.to_le_bytes());
    out.extend_from_slice(subject);
    if !headers.is_empty() {
        out.extend_from_slice(&(headers.len() as u32).to_le_bytes());
        out.extend_from_slice(headers);
    }
    out.extend_from_slice(body);
    out.extend_from_slice(&[0; CHECKSUM_LENGTH]);
    Ok(RecordRef {
        sequence_bits,
        timestamp_ns,
        offset,
        length: length as u32,
        subject_length,
        has_headers: !headers.is_empty(),
    })
}

impl RecordRef {
    /// Puts the checksum of a record into the buffer it lies in.
    pub(crate) fn seal(&self, buffer: &mut [u8], hash: u64) {
        let place = buffer.get_mut(self.checksum_offset()..);
        if let Some(place) = place.and_then(<[u8]>::first_chunk_mut) {
            *place = hash.to_le_bytes();
        }
    }
}
