//! The index file of one block, `N.idx`.
//!
//! Source: file format reference, section 10.1. The plaintext is read here; the caller decrypts.

use std::fmt;

use crate::format::seqset::{DecodeError, EncodeError, SeqSet};
use crate::format::sticky::StickyReader;
use crate::format::varint::{ReadFault, Reader, put_uvarint, put_varint};

const MAGIC: u8 = 22;
const HASH_LENGTH: usize = 8;
/// Marks an erased record elsewhere; dropped from every unsigned number of this file.
const TOP_BIT: u64 = 1 << 63;

/// Layout of the deletes in an `.idx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdxVersion {
    /// A list of distances from the first sequence.
    V1,
    /// An encoded set; only development builds wrote it.
    V2,
}

/// What an `.idx` says of its block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdxFields {
    /// Live messages.
    pub messages: u64,
    /// Bytes of the live messages.
    pub bytes: u64,
    /// First sequence.
    pub first_sequence: u64,
    /// Time of the first message in nanoseconds.
    pub first_time_ns: i64,
    /// Last sequence.
    pub last_sequence: u64,
    /// Time of the last message in nanoseconds.
    pub last_time_ns: i64,
    /// The stored number of deleted sequences. `deleted` may hold fewer.
    pub deleted_count: u64,
    /// Hash of the last record of the block; nothing if reading stopped before it.
    pub last_record_hash: Option<[u8; HASH_LENGTH]>,
    /// Deleted sequences.
    pub deleted: SeqSet,
}

/// What comes of reading an `.idx`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdxOutcome {
    /// Sound in itself. It replaces a scan of the block if the block's file is empty and `messages` is 0, or if
    /// `last_record_hash` equals the last 8 bytes of the decrypted block. Otherwise the block is scanned, and the
    /// values steer the scan: older sequences than the first and the deleted ones stay gone.
    Candidate(IdxFields),
    /// Not used in place of a scan.
    Rejected {
        /// Why.
        reason: IdxFault,
        /// What was read before the fault. It stays with the block and steers the scan all the same.
        partial: IdxFields,
    },
}

/// Why an `.idx` is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdxFault {
    /// Fewer than two bytes, a magic other than 22 or a version other than 1 and 2.
    BadHeader {
        /// First byte, if there is one.
        magic: Option<u8>,
        /// Second byte, if there is one.
        version: Option<u8>,
    },
    /// A number cannot be decoded.
    NumberInvalid(ReadFault),
    /// Fewer than 8 bytes are left for the hash of the last record.
    HashMissing {
        /// Where the hash should begin.
        offset: usize,
        /// Bytes left there.
        remaining: usize,
    },
    /// The number of messages is not what the sequences and the number of deleted give.
    CountMismatch {
        /// The stored number.
        messages: u64,
        /// The number that follows.
        expected: u64,
    },
    /// Version 2 only: the deleted set cannot be decoded.
    DeletedSetInvalid(DecodeError),
}

impl IdxFault {
    /// Whether the server deletes the file over it.
    #[must_use]
    pub fn deletes_file(&self) -> bool {
        !matches!(self, Self::DeletedSetInvalid(_))
    }
}

impl fmt::Display for IdxFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHeader {
                magic: Some(magic),
                version: Some(version),
            } => write!(
                f,
                "block index has magic {magic} and version {version}, expected {MAGIC} and 1 or 2"
            ),
            Self::BadHeader { .. } => write!(f, "block index ends before its version"),
            Self::NumberInvalid(fault) => write!(f, "block index: {fault}"),
            Self::HashMissing { offset, remaining } => write!(
                f,
                "block index has {remaining} bytes at offset {offset}, its record hash needs {HASH_LENGTH}"
            ),
            Self::CountMismatch { messages, expected } => {
                write!(
                    f,
                    "block index says {messages} messages, its sequences give {expected}"
                )
            }
            Self::DeletedSetInvalid(fault) => write!(f, "block index: {fault}"),
        }
    }
}

impl std::error::Error for IdxFault {}

/// Reads the plaintext of an `.idx`. Bytes after the deletes are ignored.
#[must_use]
pub fn decode(bytes: &[u8]) -> IdxOutcome {
    let mut fields = IdxFields::default();
    match read(bytes, &mut fields) {
        Ok(()) => IdxOutcome::Candidate(fields),
        Err(reason) => IdxOutcome::Rejected {
            reason,
            partial: fields,
        },
    }
}

fn read(bytes: &[u8], fields: &mut IdxFields) -> Result<(), IdxFault> {
    let version = match bytes {
        [MAGIC, 1, ..] => IdxVersion::V1,
        [MAGIC, 2, ..] => IdxVersion::V2,
        _ => {
            return Err(IdxFault::BadHeader {
                magic: bytes.first().copied(),
                version: bytes.get(1).copied(),
            });
        }
    };
    let mut reader = Reader::new(bytes);
    reader.bytes(2).map_err(IdxFault::NumberInvalid)?;
    // Values after a failed number come out as zeros and are kept as such, so nothing stops early here.
    let mut sticky = StickyReader::new(reader);
    fields.messages = sticky.uvarint() & !TOP_BIT;
    fields.bytes = sticky.uvarint() & !TOP_BIT;
    fields.first_sequence = sticky.uvarint() & !TOP_BIT;
    fields.first_time_ns = sticky.varint();
    fields.last_sequence = sticky.uvarint() & !TOP_BIT;
    fields.last_time_ns = sticky.varint();
    fields.deleted_count = sticky.uvarint() & !TOP_BIT;
    let mut reader = sticky.finish().map_err(IdxFault::NumberInvalid)?;

    let missing = IdxFault::HashMissing {
        offset: reader.offset(),
        remaining: reader.remaining(),
    };
    let hash: [u8; HASH_LENGTH] = *reader.rest().first_chunk().ok_or(missing)?;
    let range = fields
        .last_sequence
        .wrapping_sub(fields.first_sequence)
        .wrapping_add(1);
    let expected = range.wrapping_sub(fields.deleted_count);
    if fields.messages != expected {
        return Err(IdxFault::CountMismatch {
            messages: fields.messages,
            expected,
        });
    }
    fields.last_record_hash = Some(hash);
    reader.bytes(HASH_LENGTH).map_err(IdxFault::NumberInvalid)?;
    if fields.deleted_count == 0 {
        return Ok(());
    }
    match version {
        IdxVersion::V1 => read_list(&mut reader, fields),
        IdxVersion::V2 => {
            let decoded = SeqSet::decode(reader.rest()).map_err(IdxFault::DeletedSetInvalid)?;
            fields.deleted = decoded.set;
        }
    }
    Ok(())
}

/// Reads distances from the first sequence until one is 0 or cannot be decoded; neither is a fault.
fn read_list(reader: &mut Reader<'_>, fields: &mut IdxFields) {
    for _ in 0..fields.deleted_count {
        let distance = reader.uvarint().unwrap_or_default() & !TOP_BIT;
        if distance == 0 {
            return;
        }
        fields
            .deleted
            .insert(fields.first_sequence.wrapping_add(distance));
    }
}

/// Writes the plaintext of an `.idx`. A missing record hash is written as zeros.
///
/// Like the writers of version 1, deletes at or below the first sequence are left out there. Version 2 holds a set
/// only if `deleted_count` is not 0.
///
/// # Errors
/// [`EncodeError`] when the deletes would take more than `deleted_limit` bytes; in version 1 that is judged by ten
/// bytes for each.
pub fn encode(
    fields: &IdxFields,
    version: IdxVersion,
    deleted_limit: u64,
) -> Result<Vec<u8>, EncodeError> {
    let mut out = vec![MAGIC, if version == IdxVersion::V1 { 1 } else { 2 }];
    put_uvarint(&mut out, fields.messages);
    put_uvarint(&mut out, fields.bytes);
    put_uvarint(&mut out, fields.first_sequence);
    put_varint(&mut out, fields.first_time_ns);
    put_uvarint(&mut out, fields.last_sequence);
    put_varint(&mut out, fields.last_time_ns);
    put_uvarint(&mut out, fields.deleted_count);
    out.extend(fields.last_record_hash.unwrap_or_default());
    match version {
        IdxVersion::V2 if fields.deleted_count == 0 => {}
        IdxVersion::V2 => fields.deleted.encode(&mut out, deleted_limit)?,
        IdxVersion::V1 => {
            let length = fields.deleted.len().saturating_mul(10);
            if length > deleted_limit {
                return Err(EncodeError::TooLong {
                    length,
                    limit: deleted_limit,
                });
            }
            let above = |sequence: u64| sequence.checked_sub(fields.first_sequence);
            for distance in fields
                .deleted
                .iter()
                .filter_map(above)
                .filter(|distance| *distance > 0)
            {
                put_uvarint(&mut out, distance);
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const T: i64 = 1_700_000_000_000_000_000;
    const HASH: [u8; 8] = [0xd5, 0x63, 0x9d, 0x1f, 0x54, 0xf9, 0xf4, 0xee];

    fn vector() -> Vec<u8> {
        let time = [0x80, 0xd0, 0xe2, 0xc6, 0xbf, 0xce, 0x97, 0x2f];
        [
            &[22, 1, 2, 0x44, 1, 0x80][..],
            &time,
            &[3, 0x84],
            &time,
            &[1],
            &HASH,
            &[1],
        ]
        .concat()
    }

    fn vector_fields() -> IdxFields {
        IdxFields {
            messages: 2,
            bytes: 68,
            first_sequence: 1,
            first_time_ns: T,
            last_sequence: 3,
            last_time_ns: T + 2,
            deleted_count: 1,
            last_record_hash: Some(HASH),
            deleted: [2].into_iter().collect(),
        }
    }

    fn rejected(bytes: &[u8]) -> (IdxFault, IdxFields) {
        match decode(bytes) {
            IdxOutcome::Rejected { reason, partial } => (reason, partial),
            IdxOutcome::Candidate(fields) => panic!("accepted: {fields:?}"),
        }
    }

    #[test]
    fn the_published_vector_reads_and_writes() {
        assert_eq!(decode(&vector()), IdxOutcome::Candidate(vector_fields()));
        assert_eq!(encode(&vector_fields(), IdxVersion::V1, 10), Ok(vector()));
    }

    #[test]
    fn version_2_holds_a_set() {
        let bytes = encode(&vector_fields(), IdxVersion::V2, 276).unwrap();
        assert_eq!(decode(&bytes), IdxOutcome::Candidate(vector_fields()));
        let (reason, partial) = rejected(&bytes[..bytes.len() - 1]);
        assert_eq!(
            reason,
            IdxFault::DeletedSetInvalid(DecodeError::NodesMissing {
                node_count: 1,
                available: 0
            })
        );
        assert!(!reason.deletes_file());
        assert_eq!(
            partial,
            IdxFields {
                deleted: SeqSet::new(),
                ..vector_fields()
            }
        );
    }

    #[test]
    fn a_list_that_ends_early_is_accepted() {
        let mut bytes = vector();
        bytes.pop();
        let without = IdxFields {
            deleted: SeqSet::new(),
            ..vector_fields()
        };
        assert_eq!(decode(&bytes), IdxOutcome::Candidate(without.clone()));
        bytes.extend([0, 7, 7]);
        assert_eq!(decode(&bytes), IdxOutcome::Candidate(without));
    }

    #[test]
    fn inconsistent_counts_leave_the_values_read() {
        let mut bytes = vector();
        bytes[2] = 3;
        let (reason, partial) = rejected(&bytes);
        assert_eq!(
            reason,
            IdxFault::CountMismatch {
                messages: 3,
                expected: 2
            }
        );
        assert!(reason.deletes_file());
        assert_eq!((partial.first_sequence, partial.last_sequence), (1, 3));
        assert_eq!((partial.last_record_hash, partial.deleted.len()), (None, 0));
    }

    #[test]
    fn a_cut_number_leaves_what_came_before_it() {
        let (reason, partial) = rejected(&vector()[..9]);
        assert!(matches!(
            reason,
            IdxFault::NumberInvalid(ReadFault::Short { offset: 5, .. })
        ));
        assert!(reason.deletes_file());
        let expected = IdxFields {
            messages: 2,
            bytes: 68,
            first_sequence: 1,
            // The one time whose reading fails is left at -1.
            first_time_ns: -1,
            ..IdxFields::default()
        };
        assert_eq!(partial, expected);
        let (reason, partial) = rejected(&vector()[..32]);
        assert_eq!(
            reason,
            IdxFault::HashMissing {
                offset: 25,
                remaining: 7
            }
        );
        assert_eq!(partial.deleted_count, 1);
    }

    #[test]
    fn bad_headers_leave_nothing() {
        for bytes in [&[][..], &[22], &[11, 1, 1], &[22, 3, 1]] {
            let (reason, partial) = rejected(bytes);
            assert!(matches!(reason, IdxFault::BadHeader { .. }) && reason.deletes_file());
            assert_eq!(partial, IdxFields::default());
        }
    }

    #[test]
    fn the_top_bit_is_dropped_from_unsigned_numbers() {
        let mut fields = vector_fields();
        fields.bytes |= TOP_BIT;
        let bytes = encode(&fields, IdxVersion::V1, 10).unwrap();
        assert_eq!(decode(&bytes), IdxOutcome::Candidate(vector_fields()));
    }

    proptest! {
        #[test]
        fn round_trips(
            first in 0..TOP_BIT - 10_000,
            times: (i64, i64),
            deleted in vec(1_u64..9999, 0..20),
            bytes in 0..TOP_BIT,
            hash: [u8; 8],
        ) {
            let deleted: SeqSet = deleted.into_iter().map(|distance| first + distance).collect();
            let fields = IdxFields {
                messages: 10_000 - deleted.len(),
                bytes,
                first_sequence: first,
                first_time_ns: times.0,
                last_sequence: first + 9999,
                last_time_ns: times.1,
                deleted_count: deleted.len(),
                last_record_hash: Some(hash),
                deleted,
            };
            for version in [IdxVersion::V1, IdxVersion::V2] {
                let encoded = encode(&fields, version, u64::MAX).unwrap();
                prop_assert_eq!(decode(&encoded), IdxOutcome::Candidate(fields.clone()));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(version in 0_u8..4, tail in vec(any::<u8>(), 0..600)) {
            let bytes: Vec<u8> = [22, version].into_iter().chain(tail.iter().copied()).collect();
            for bytes in [&bytes, &tail] {
                let (IdxOutcome::Candidate(fields) | IdxOutcome::Rejected { partial: fields, .. }) = decode(bytes);
                prop_assert!(fields.deleted.len() <= 8 * bytes.len() as u64);
            }
        }
    }
}
