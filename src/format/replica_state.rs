//! The state of a stream as replicas send it to each other: totals, and which sequences between first and last are gone.
//!
//! Source: engine reference, section 9.4. A mark and a version, the totals as variable-length integers, in version 2 the positions in
//! sources, then the deleted sequences: runs of them, and encoded sets, to the end of the bytes.

use std::fmt;

use super::seqset::{DecodeError, EncodeError, SeqSet};
use super::varint::{ReadFault, Reader, put_uvarint};

const MAGIC: u8 = 0x2a;
const VERSION: u8 = 1;
const VERSION_WITH_SOURCES: u8 = 2;
const RUN: u8 = 0x21;
const SET: u8 = 0x16;
/// Sets that take more are written as runs: a page of a set is never cheap, a run always is.
const SET_MOST_BYTES: u64 = 64 * 1024;

/// What there is of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplicaTotals {
    /// Live messages.
    pub message_count: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// First sequence.
    pub first_seq: u64,
    /// Last sequence.
    pub last_seq: u64,
    /// Proposals that the leader refused so far.
    pub failed_count: u64,
    /// Sequences between first and last that hold no message.
    pub deleted_count: u64,
}

/// How far a stream has read one of its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSource {
    /// The source's key.
    pub key: Vec<u8>,
    /// Sequence in the source.
    pub seq: u64,
    /// What tells the source from one of the same name; may be empty.
    pub identity: Vec<u8>,
}

/// A decoded state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplicaState {
    /// The totals. The number of deleted sequences is the sender's account.
    pub totals: ReplicaTotals,
    /// Positions in sources; none in version 1.
    pub sources: Vec<ReplicaSource>,
    /// The deleted sequences.
    pub deleted: SeqSet,
}

/// Why bytes are no such state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaFault {
    /// They end too early, or a number exceeds 64 bits.
    Read(ReadFault),
    /// The first byte is another.
    BadMagic {
        /// The byte found.
        found: u8,
    },
    /// The version is neither 1 nor 2.
    BadVersion {
        /// The byte found.
        found: u8,
    },
    /// Neither a run nor a set begins here.
    BadTag {
        /// Where, from the start.
        offset: usize,
        /// The byte found.
        found: u8,
    },
    /// A run that is empty or leads beyond the last sequence there can be.
    BadRun {
        /// Its first sequence.
        first: u64,
        /// Its length.
        count: u64,
    },
    /// A set cannot be read.
    Set {
        /// Where it begins.
        offset: usize,
        /// Why.
        fault: DecodeError,
    },
}

impl fmt::Display for ReplicaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(fault) => fault.fmt(f),
            Self::BadMagic { found } => {
                write!(f, "stream state starts with byte {found}, expected {MAGIC}")
            }
            Self::BadVersion { found } => {
                write!(f, "stream state has version {found}, known are 1 and 2")
            }
            Self::BadTag { offset, found } => write!(
                f,
                "byte {found} at offset {offset} begins neither a run of deleted sequences nor a set"
            ),
            Self::BadRun { first, count } => {
                write!(f, "run of {count} deleted sequences from {first}")
            }
            Self::Set { offset, fault } => write!(f, "deleted set at offset {offset}: {fault}"),
        }
    }
}

impl std::error::Error for ReplicaFault {}

impl From<ReadFault> for ReplicaFault {
    fn from(fault: ReadFault) -> Self {
        Self::Read(fault)
    }
}

/// Writes a state. The deleted sequences follow the totals as they lie in the stream, block by block.
#[derive(Debug)]
pub struct ReplicaStateEncoder {
    bytes: Vec<u8>,
    has_deleted: bool,
}

impl ReplicaStateEncoder {
    /// Begins with the totals. Where they count no deleted sequences, none is written.
    #[must_use]
    pub fn new(totals: &ReplicaTotals) -> Self {
        let mut bytes = vec![MAGIC, VERSION];
        let deleted_count = match totals.last_seq > totals.first_seq {
            true => totals.deleted_count,
            false => 0,
        };
        for number in [
            totals.message_count,
            totals.bytes,
            totals.first_seq,
            totals.last_seq,
            totals.failed_count,
            deleted_count,
        ] {
            put_uvarint(&mut bytes, number);
        }
        ReplicaStateEncoder {
            bytes,
            has_deleted: deleted_count > 0,
        }
    }

    /// Adds `count` deleted sequences from `first` on.
    pub fn run(&mut self, first: u64, count: u64) {
        if !self.has_deleted || count == 0 {
            return;
        }
        self.bytes.push(RUN);
        put_uvarint(&mut self.bytes, first);
        put_uvarint(&mut self.bytes, count);
    }

    /// Adds a set of deleted sequences.
    pub fn set(&mut self, set: &SeqSet) {
        if !self.has_deleted || set.is_empty() {
            return;
        }
        let encoded = set.encode(&mut self.bytes, SET_MOST_BYTES);
        if let Err(EncodeError::TooLong { .. } | EncodeError::TooMany { .. }) = encoded {
            for span in set.spans() {
                let (start, end) = (*span.start(), *span.end());
                match (end - start).checked_add(1) {
                    Some(count) => self.run(start, count),
                    None => {
                        self.run(start, end - start);
                        self.run(end, 1);
                    }
                }
            }
        }
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

impl ReplicaState {
    /// Reads a state. Memory is bounded by the bytes, however wide the gaps are.
    ///
    /// # Errors
    ///
    /// [`ReplicaFault`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ReplicaFault> {
        let mut reader = Reader::new(bytes);
        let magic = reader.u8()?;
        if magic != MAGIC {
            return Err(ReplicaFault::BadMagic { found: magic });
        }
        let version = reader.u8()?;
        if version != VERSION && version != VERSION_WITH_SOURCES {
            return Err(ReplicaFault::BadVersion { found: version });
        }
        let mut state = ReplicaState {
            totals: ReplicaTotals {
                message_count: reader.uvarint()?,
                bytes: reader.uvarint()?,
                first_seq: reader.uvarint()?,
                last_seq: reader.uvarint()?,
                failed_count: reader.uvarint()?,
                deleted_count: 0,
            },
            ..ReplicaState::default()
        };
        if version == VERSION_WITH_SOURCES {
            for _ in 0..reader.uvarint()? {
                let key = text(&mut reader)?;
                let seq = reader.uvarint()?;
                let identity = text(&mut reader)?;
                state.sources.push(ReplicaSource { key, seq, identity });
            }
        }
        state.totals.deleted_count = reader.uvarint()?;
        if state.totals.deleted_count > 0 {
            while reader.remaining() > 0 {
                state.read_deleted(bytes, &mut reader)?;
            }
        }
        Ok(state)
    }

    fn read_deleted(&mut self, bytes: &[u8], reader: &mut Reader<'_>) -> Result<(), ReplicaFault> {
        let offset = reader.offset();
        let rest = bytes.get(offset..).unwrap_or_default();
        match rest.first().copied().unwrap_or_default() {
            RUN => {
                reader.u8()?;
                let (first, count) = (reader.uvarint()?, reader.uvarint()?);
                let bad = ReplicaFault::BadRun { first, count };
                let beyond_first = count.checked_sub(1).ok_or_else(|| bad.clone())?;
                let last = first.checked_add(beyond_first).ok_or(bad)?;
                self.deleted.insert_range(first..=last);
            }
            SET => {
                let decoded =
                    SeqSet::decode(rest).map_err(|fault| ReplicaFault::Set { offset, fault })?;
                reader.bytes(decoded.length)?;
                self.deleted.union_with(&decoded.set);
            }
            found => return Err(ReplicaFault::BadTag { offset, found }),
        }
        Ok(())
    }
}

/// Bytes behind their length.
fn text(reader: &mut Reader<'_>) -> Result<Vec<u8>, ReplicaFault> {
    let length = reader.uvarint()?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    Ok(reader.bytes(length)?.to_vec())
}

/// Decodes `data` and checks that what it came to is read again as the same.
#[doc(hidden)]
pub fn fuzz_one(data: &[u8]) {
    let Ok(state) = ReplicaState::decode(data) else {
        return;
    };
    let mut totals = state.totals;
    if !state.deleted.is_empty() {
        totals.deleted_count = state.deleted.len();
        (totals.first_seq, totals.last_seq) = (1, u64::MAX);
    }
    let mut encoder = ReplicaStateEncoder::new(&totals);
    encoder.set(&state.deleted);
    let again = ReplicaState::decode(&encoder.finish());
    assert!(again.is_ok_and(|again| again.deleted == state.deleted));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals() -> ReplicaTotals {
        ReplicaTotals {
            message_count: 300,
            bytes: 70_000,
            first_seq: 5,
            last_seq: 1 << 40,
            failed_count: 2,
            deleted_count: 77,
        }
    }

    #[test]
    fn a_store_that_nothing_was_done_to_takes_eight_bytes() {
        let totals = ReplicaTotals {
            failed_count: 3,
            ..ReplicaTotals::default()
        };
        let bytes = ReplicaStateEncoder::new(&totals).finish();
        assert_eq!(bytes, [0x2a, 1, 0, 0, 0, 0, 3, 0]);
        assert_eq!(ReplicaState::decode(&bytes).unwrap().totals, totals);
    }

    #[test]
    fn runs_and_sets_come_back_also_where_a_set_is_wide() {
        let mut narrow: SeqSet = (10..20).collect();
        narrow.insert(4000);
        let mut wide = SeqSet::new();
        wide.insert_range(1 << 30..=1 << 39);
        wide.insert((1 << 39) + 7);
        let mut encoder = ReplicaStateEncoder::new(&totals());
        encoder.run(6, 2);
        encoder.run(9, 0);
        encoder.set(&narrow);
        encoder.set(&wide);
        let bytes = encoder.finish();
        assert!(bytes.len() < 1000, "{}", bytes.len());
        let state = ReplicaState::decode(&bytes).unwrap();
        assert_eq!(state.totals, totals());
        let mut deleted = narrow;
        deleted.union_with(&wide);
        deleted.insert_range(6..=7);
        assert_eq!(state.deleted, deleted);
        fuzz_one(&bytes);
    }

    #[test]
    fn where_no_sequence_can_be_missing_none_is_written() {
        let totals = ReplicaTotals {
            last_seq: 5,
            ..totals()
        };
        let mut encoder = ReplicaStateEncoder::new(&totals);
        encoder.run(6, 2);
        let state = ReplicaState::decode(&encoder.finish()).unwrap();
        assert!(state.deleted.is_empty());
        assert_eq!(state.totals.deleted_count, 0);
    }

    #[test]
    fn positions_in_sources_are_read() {
        let bytes = b"\x2a\x02\x01\x1e\x01\x01\x00\x01\x03a b\x07\x02id\x00";
        let state = ReplicaState::decode(bytes).unwrap();
        let source = ReplicaSource {
            key: b"a b".to_vec(),
            seq: 7,
            identity: b"id".to_vec(),
        };
        assert_eq!(state.sources, [source]);
    }

    #[test]
    fn what_is_damaged_is_told() {
        let mut encoder = ReplicaStateEncoder::new(&totals());
        encoder.run(6, 2);
        let bytes = encoder.finish();
        for end in 0..bytes.len() {
            // Whole but for its deleted sequences is whole: nothing says how many follow.
            let cut = ReplicaState::decode(bytes.get(..end).unwrap());
            assert!(cut.is_err() || end == bytes.len() - 3, "{end}");
        }
        let with = |tail: &[u8]| {
            let head = bytes.get(..bytes.len() - 3).unwrap();
            ReplicaState::decode(&[head, tail].concat()).unwrap_err()
        };
        assert!(matches!(with(&[9]), ReplicaFault::BadTag { found: 9, .. }));
        assert!(matches!(with(&[RUN, 6, 0]), ReplicaFault::BadRun { .. }));
        let beyond = [&[RUN, 2][..], &[0xff; 9], &[1]].concat();
        assert!(matches!(with(&beyond), ReplicaFault::BadRun { .. }));
        assert!(matches!(with(&[SET, 2, 1]), ReplicaFault::Set { .. }));
        let many = b"\x2a\x02\x01\x1e\x01\x01\x00\xff\xff\xff\xff\x0f";
        assert!(matches!(
            ReplicaState::decode(many),
            Err(ReplicaFault::Read(_))
        ));
        assert_eq!(
            ReplicaState::decode(&[3]),
            Err(ReplicaFault::BadMagic { found: 3 })
        );
        assert_eq!(
            ReplicaState::decode(&[MAGIC, 3]),
            Err(ReplicaFault::BadVersion { found: 3 })
        );
    }
}
