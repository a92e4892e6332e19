//! The state of a consumer, `o.dat`.
//!
//! Source: file format reference, section 11. The plaintext is read here; the caller decrypts. A file of length zero
//! means that there is no state yet: the caller takes [`ConsumerState::default`] for it and does not come here, since
//! a plaintext of length zero inside an encrypted file is an error. There is no checksum.

use std::collections::BTreeMap;
use std::fmt;

use super::sticky::StickyReader;
use super::varint::{ReadFault, Reader, put_uvarint, put_varint};

const MAGIC: u8 = 22;
const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;
const TOP_BIT: u64 = 1 << 63;

/// Layout of `o.dat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerVersion {
    /// Written before 2.2.0: delivered relative to the ack floor, no consumer sequences of pending messages.
    V1,
    /// Written by every release since.
    V2,
}

/// A message by its number in the consumer's deliveries and by its sequence in the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SequencePair {
    /// Delivery number of the consumer.
    pub consumer: u64,
    /// Sequence in the stream.
    pub stream: u64,
}

/// A delivery that waits for its ack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// Delivery number of the consumer, 0 from a version 1 file.
    pub consumer_sequence: u64,
    /// When it was delivered, in nanoseconds. The file keeps whole seconds.
    pub timestamp_ns: i64,
}

/// The state of a consumer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerState {
    /// Everything up to here is acked.
    pub ack_floor: SequencePair,
    /// The last delivery.
    pub delivered: SequencePair,
    /// Deliveries that wait for an ack, by stream sequence.
    pub pending: BTreeMap<u64, Pending>,
    /// Deliveries beyond the first, by stream sequence.
    pub redelivered: BTreeMap<u64, u64>,
}

/// What `o.dat` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerFile {
    /// The layout found.
    pub version: ConsumerVersion,
    /// The state as the server would restore it.
    pub state: ConsumerState,
    /// Where reading failed without the server noticing: the pending count or the redelivered list. The server takes
    /// the state as it is.
    pub silent_cut: Option<ReadFault>,
    /// Bytes after the last value, which are ignored.
    pub trailing_length: usize,
}

/// Why `o.dat` cannot be read. The consumer then fails to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerDecodeError {
    /// Fewer than two bytes.
    Short {
        /// Bytes that are there.
        length: usize,
    },
    /// The magic is not 22.
    BadMagic {
        /// The byte found.
        found: u8,
    },
    /// The version is neither 1 nor 2.
    BadVersion {
        /// The byte found.
        found: u8,
    },
    /// The ack floor or the delivered pair cannot be decoded.
    HeaderInvalid(ReadFault),
    /// The top bit is set in the stream sequence of the ack floor or of the delivered pair.
    SequenceTooHigh {
        /// Stream sequence of the ack floor.
        ack_floor: u64,
        /// Stream sequence delivered.
        delivered: u64,
    },
    /// A pending entry, or the time that all of them refer to, cannot be decoded.
    PendingInvalid {
        /// Which entry, from 0.
        entry: u64,
        /// Why and where.
        fault: ReadFault,
    },
    /// A pending entry has the stream sequence 0.
    PendingSequenceZero {
        /// Which entry, from 0.
        entry: u64,
    },
}

impl fmt::Display for ConsumerDecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { length } => {
                write!(
                    f,
                    "consumer state has {length} bytes, its magic and version need 2"
                )
            }
            Self::BadMagic { found } => {
                write!(
                    f,
                    "consumer state starts with byte {found}, expected {MAGIC}"
                )
            }
            Self::BadVersion { found } => {
                write!(f, "consumer state has version {found}, known are 1 and 2")
            }
            Self::HeaderInvalid(fault) => write!(f, "consumer state: {fault}"),
            Self::SequenceTooHigh {
                ack_floor,
                delivered,
            } => write!(
                f,
                "consumer state has stream sequences beyond 2^63: ack floor {ack_floor}, delivered {delivered}"
            ),
            Self::PendingInvalid { entry, fault } => {
                write!(f, "consumer state, pending entry {entry}: {fault}")
            }
            Self::PendingSequenceZero { entry } => {
                write!(
                    f,
                    "consumer state, pending entry {entry}: stream sequence 0"
                )
            }
        }
    }
}

impl std::error::Error for ConsumerDecodeError {}

impl ConsumerFile {
    /// Reads the plaintext of `o.dat`. All sums wrap around at 2^64.
    ///
    /// Of a repeated sequence the last entry is kept. Redelivered entries with a distance or a count of 0 are
    /// dropped.
    ///
    /// # Errors
    /// [`ConsumerDecodeError`] in the cases in which the server refuses the state.
    pub fn decode(bytes: &[u8]) -> Result<Self, ConsumerDecodeError> {
        let (magic, version) = match *bytes {
            [magic, version, ..] => (magic, version),
            _ => {
                return Err(ConsumerDecodeError::Short {
                    length: bytes.len(),
                });
            }
        };
        if magic != MAGIC {
            return Err(ConsumerDecodeError::BadMagic { found: magic });
        }
        let version = match version {
            1 => ConsumerVersion::V1,
            2 => ConsumerVersion::V2,
            found => return Err(ConsumerDecodeError::BadVersion { found }),
        };
        let mut reader = Reader::new(bytes);
        reader
            .bytes(2)
            .map_err(ConsumerDecodeError::HeaderInvalid)?;
        let mut state = read_header(&mut reader, version)?;
        let mut sticky = StickyReader::new(reader);
        read_pending(&mut sticky, version, &mut state)?;
        read_redelivered(&mut sticky, &mut state);
        Ok(Self {
            version,
            state,
            silent_cut: sticky.fault().cloned(),
            trailing_length: if sticky.failed() {
                0
            } else {
                sticky.remaining()
            },
        })
    }
}

/// What is left of an `o.dat` that was cut short or damaged behind its first numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRemains {
    /// The layout found.
    pub version: ConsumerVersion,
    /// Ack floor and delivered pair, and those deliveries before the damage that make sense. More may have waited for
    /// an acknowledgement than are listed.
    pub state: ConsumerState,
}

impl ConsumerRemains {
    /// Reads as far as it goes; `None` where not even ack floor and delivered pair can be read, or where they contradict
    /// each other.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let version = match *bytes {
            [MAGIC, 1, ..] => ConsumerVersion::V1,
            [MAGIC, 2, ..] => ConsumerVersion::V2,
            _ => return None,
        };
        let mut reader = Reader::new(bytes);
        reader.bytes(2).ok()?;
        let mut state = read_header(&mut reader, version).ok()?;
        let (floor, delivered) = (state.ack_floor, state.delivered);
        if floor.stream > delivered.stream || floor.consumer > delivered.consumer {
            return None;
        }
        // Entries are put in as they are read; the one that fails ends the list.
        let _ = read_pending(&mut StickyReader::new(reader), version, &mut state);
        let (first, last) = (floor.stream.saturating_add(1), delivered.stream);
        state.pending.retain(|seq, _| (first..=last).contains(seq));
        Some(Self { version, state })
    }
}

fn read_header(
    reader: &mut Reader<'_>,
    version: ConsumerVersion,
) -> Result<ConsumerState, ConsumerDecodeError> {
    let mut pair = || -> Result<SequencePair, ReadFault> {
        Ok(SequencePair {
            consumer: reader.uvarint()?,
            stream: reader.uvarint()?,
        })
    };
    let ack_floor = pair().map_err(ConsumerDecodeError::HeaderInvalid)?;
    let mut delivered = pair().map_err(ConsumerDecodeError::HeaderInvalid)?;
    if version == ConsumerVersion::V1 {
        delivered.consumer = delivered
            .consumer
            .wrapping_add(v1_offset(ack_floor.consumer));
        delivered.stream = delivered.stream.wrapping_add(v1_offset(ack_floor.stream));
    }
    if (ack_floor.stream | delivered.stream) & TOP_BIT != 0 {
        return Err(ConsumerDecodeError::SequenceTooHigh {
            ack_floor: ack_floor.stream,
            delivered: delivered.stream,
        });
    }
    Ok(ConsumerState {
        ack_floor,
        delivered,
        ..ConsumerState::default()
    })
}

/// What version 1 takes off a delivered number, given the ack floor's.
fn v1_offset(floor: u64) -> u64 {
    floor.saturating_sub(1)
}

fn read_pending(
    sticky: &mut StickyReader<'_>,
    version: ConsumerVersion,
    state: &mut ConsumerState,
) -> Result<(), ConsumerDecodeError> {
    // A count that cannot be decoded reads as 0 and passes for "none".
    let count = sticky.uvarint();
    if count == 0 {
        return Ok(());
    }
    let base_s = sticky.varint();
    for entry in 0..signed_count(count) {
        let distance = sticky.uvarint();
        let consumer_distance = match version {
            ConsumerVersion::V1 => None,
            ConsumerVersion::V2 => Some(sticky.uvarint()),
        };
        let time_s = sticky.varint();
        if let Some(fault) = sticky.fault() {
            return Err(ConsumerDecodeError::PendingInvalid {
                entry,
                fault: fault.clone(),
            });
        }
        let sequence = distance.wrapping_add(state.ack_floor.stream);
        if sequence == 0 {
            return Err(ConsumerDecodeError::PendingSequenceZero { entry });
        }
        let timestamp_s = match version {
            ConsumerVersion::V1 => base_s.wrapping_add(time_s),
            ConsumerVersion::V2 => base_s.wrapping_sub(time_s),
        };
        let pending = Pending {
            consumer_sequence: consumer_distance.map_or(0, |distance| {
                distance.wrapping_add(state.ack_floor.consumer)
            }),
            timestamp_ns: timestamp_s.wrapping_mul(NANOSECONDS_PER_SECOND),
        };
        state.pending.insert(sequence, pending);
    }
    Ok(())
}

fn read_redelivered(sticky: &mut StickyReader<'_>, state: &mut ConsumerState) {
    for _ in 0..signed_count(sticky.uvarint()) {
        let (distance, count) = (sticky.uvarint(), sticky.uvarint());
        if sticky.failed() {
            // From here on the server reads zeros, which it drops.
            return;
        }
        if distance > 0 && count > 0 {
            state
                .redelivered
                .insert(distance.wrapping_add(state.ack_floor.stream), count);
        }
    }
}

/// The server counts with a signed number: from 2^63 on there are no entries.
fn signed_count(count: u64) -> u64 {
    if count & TOP_BIT == 0 { count } else { 0 }
}

impl ConsumerState {
    /// The plaintext of `o.dat`, entries by stream sequence.
    ///
    /// `base_s` is the time that pending times refer to, in seconds; writers take the time of writing, rounded to the
    /// second. Parts of a second are lost, in version 1 the consumer sequences of pending entries too.
    #[must_use]
    pub fn encode(&self, version: ConsumerVersion, base_s: i64) -> Vec<u8> {
        let floor = self.ack_floor;
        let mut out = vec![MAGIC, if version == ConsumerVersion::V1 { 1 } else { 2 }];
        let offset = match version {
            ConsumerVersion::V1 => SequencePair {
                consumer: v1_offset(floor.consumer),
                stream: v1_offset(floor.stream),
            },
            ConsumerVersion::V2 => SequencePair::default(),
        };
        put_uvarint(&mut out, floor.consumer);
        put_uvarint(&mut out, floor.stream);
        put_uvarint(
            &mut out,
            self.delivered.consumer.wrapping_sub(offset.consumer),
        );
        put_uvarint(&mut out, self.delivered.stream.wrapping_sub(offset.stream));
        put_uvarint(&mut out, self.pending.len() as u64);
        if !self.pending.is_empty() {
            put_varint(&mut out, base_s);
        }
        for (sequence, pending) in &self.pending {
            let timestamp_s = pending.timestamp_ns / NANOSECONDS_PER_SECOND;
            put_uvarint(&mut out, sequence.wrapping_sub(floor.stream));
            match version {
                ConsumerVersion::V1 => put_varint(&mut out, timestamp_s.wrapping_sub(base_s)),
                ConsumerVersion::V2 => {
                    put_uvarint(
                        &mut out,
                        pending.consumer_sequence.wrapping_sub(floor.consumer),
                    );
                    put_varint(&mut out, base_s.wrapping_sub(timestamp_s));
                }
            }
        }
        put_uvarint(&mut out, self.redelivered.len() as u64);
        for (sequence, count) in &self.redelivered {
            put_uvarint(&mut out, sequence.wrapping_sub(floor.stream));
            put_uvarint(&mut out, *count);
        }
        out
    }
}

/// Reads `data` as `o.dat` and checks that what comes out, written once, stays the same from then on.
#[doc(hidden)]
pub fn fuzz_one(data: &[u8]) {
    if let Ok(file) = ConsumerFile::decode(data) {
        // Times that wrap around are not whole seconds, so only the second generation is exact.
        let bytes = file.state.encode(file.version, 0);
        let again = ConsumerFile::decode(&bytes).map(|file| file.state.encode(file.version, 0));
        assert_eq!(again, Ok(bytes));
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    const V2: [u8; 24] = [
        22, 2, 5, 7, 9, 12, 2, 0x94, 0xc4, 0x9f, 0xd5, 0x0c, 1, 1, 0x14, 5, 4, 1, 1, 1, 2, 0xee,
        0xee, 0xee,
    ];
    const V1: [u8; 15] = [22, 1, 5, 7, 5, 6, 1, 0x80, 0xc4, 0x9f, 0xd5, 0x0c, 1, 6, 0];
    const BASE: i64 = 1_700_000_000;

    fn pending(consumer_sequence: u64, seconds: i64) -> Pending {
        Pending {
            consumer_sequence,
            timestamp_ns: (BASE + seconds) * NANOSECONDS_PER_SECOND,
        }
    }

    fn pair(consumer: u64, stream: u64) -> SequencePair {
        SequencePair { consumer, stream }
    }

    #[test]
    fn the_published_version_2_vector_reads_and_writes() {
        let state = ConsumerState {
            ack_floor: pair(5, 7),
            delivered: pair(9, 12),
            pending: [(8, pending(6, 0)), (12, pending(9, 11))].into(),
            redelivered: [(8, 2)].into(),
        };
        let file = ConsumerFile::decode(&V2).unwrap();
        assert_eq!(file.state, state);
        assert_eq!(
            (file.version, file.silent_cut, file.trailing_length),
            (ConsumerVersion::V2, None, 3)
        );
        assert_eq!(state.encode(ConsumerVersion::V2, BASE + 10), V2[..21]);
    }

    #[test]
    fn the_published_version_1_vector_reads_and_writes() {
        let state = ConsumerState {
            ack_floor: pair(5, 7),
            delivered: pair(9, 12),
            pending: [(8, pending(0, 3))].into(),
            redelivered: BTreeMap::new(),
        };
        let file = ConsumerFile::decode(&V1).unwrap();
        assert_eq!(
            (file.state, file.version),
            (state.clone(), ConsumerVersion::V1)
        );
        assert_eq!(state.encode(ConsumerVersion::V1, BASE), V1);
    }

    #[test]
    fn version_1_adds_no_floor_of_one_or_less() {
        for (floor, offset) in [(0, 0), (1, 0), (2, 1)] {
            let file = ConsumerFile::decode(&[22, 1, floor, floor, 3, 4, 0, 0]).unwrap();
            assert_eq!(file.state.delivered, pair(3 + offset, 4 + offset));
        }
    }

    #[test]
    fn a_cut_redelivered_list_is_accepted_and_a_cut_pending_list_is_not() {
        for end in [18, 19, 20] {
            let file = ConsumerFile::decode(&V2[..end]).unwrap();
            assert_eq!(
                (file.state.pending.len(), file.state.redelivered.len()),
                (2, 0)
            );
            assert_eq!(file.silent_cut.map(|fault| fault.offset()), Some(end));
        }
        for end in 7..18 {
            assert!(matches!(
                ConsumerFile::decode(&V2[..end]),
                Err(ConsumerDecodeError::PendingInvalid { entry: 0 | 1, .. })
            ));
        }
        // Without any pending count there is nothing pending.
        let file = ConsumerFile::decode(&V2[..6]).unwrap();
        assert!(file.state.pending.is_empty() && file.silent_cut.is_some());
        for end in 2..6 {
            assert!(matches!(
                ConsumerFile::decode(&V2[..end]),
                Err(ConsumerDecodeError::HeaderInvalid(_))
            ));
        }
    }

    #[test]
    fn bad_headers_are_told_apart() {
        assert_eq!(
            ConsumerFile::decode(&[]),
            Err(ConsumerDecodeError::Short { length: 0 })
        );
        assert_eq!(
            ConsumerFile::decode(&[22]),
            Err(ConsumerDecodeError::Short { length: 1 })
        );
        assert_eq!(
            ConsumerFile::decode(&[11, 2]),
            Err(ConsumerDecodeError::BadMagic { found: 11 })
        );
        assert_eq!(
            ConsumerFile::decode(&[22, 3]),
            Err(ConsumerDecodeError::BadVersion { found: 3 })
        );
    }

    #[test]
    fn the_top_bit_is_refused_in_stream_sequences_only() {
        let with = |ack_floor, delivered, version| {
            let state = ConsumerState {
                ack_floor,
                delivered,
                ..ConsumerState::default()
            };
            ConsumerFile::decode(&state.encode(version, 0)).map(|file| file.state)
        };
        let consumer = pair(TOP_BIT, 1);
        assert!(with(consumer, consumer, ConsumerVersion::V2).is_ok());
        for version in [ConsumerVersion::V1, ConsumerVersion::V2] {
            assert_eq!(
                with(pair(1, 5), pair(1, TOP_BIT), version),
                Err(ConsumerDecodeError::SequenceTooHigh {
                    ack_floor: 5,
                    delivered: TOP_BIT
                })
            );
            assert!(with(pair(1, TOP_BIT | 1), pair(1, 1), version).is_err());
        }
    }

    #[test]
    fn zero_sequences_and_counts_have_their_rules() {
        assert_eq!(
            ConsumerFile::decode(&[22, 2, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0]),
            Err(ConsumerDecodeError::PendingSequenceZero { entry: 0 })
        );
        // Redelivered: distance 0, count 0, then a good one.
        let file = ConsumerFile::decode(&[22, 2, 3, 3, 9, 9, 0, 3, 0, 5, 1, 0, 2, 7]).unwrap();
        assert_eq!(file.state.redelivered, [(5, 7)].into());
    }

    #[test]
    fn redelivered_below_the_floor_wraps_back() {
        let state = ConsumerState {
            ack_floor: pair(5, 700),
            delivered: pair(9, 800),
            pending: BTreeMap::new(),
            redelivered: [(8, 2)].into(),
        };
        let bytes = state.encode(ConsumerVersion::V2, 0);
        assert_eq!(ConsumerFile::decode(&bytes).unwrap().state, state);
    }

    #[test]
    fn counts_beyond_the_bytes_neither_allocate_nor_hang() {
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        let pending = [&[22, 2, 0, 0, 1, 1][..], &huge, &[0, 1, 1, 0]].concat();
        assert!(matches!(
            ConsumerFile::decode(&pending),
            Err(ConsumerDecodeError::PendingInvalid { entry: 1, .. })
        ));
        let redelivered = [&[22, 2, 0, 0, 1, 1, 0][..], &huge, &[4, 5]].concat();
        let file = ConsumerFile::decode(&redelivered).unwrap();
        assert_eq!(file.state.redelivered, [(4, 5)].into());
        assert!(file.silent_cut.is_some());
        // From 2^63 on the count is negative to the server.
        let negative = [&[22, 2, 0, 0, 1, 1][..], &[0xff; 9], &[1, 8, 1, 3, 4]].concat();
        let file = ConsumerFile::decode(&negative).unwrap();
        assert_eq!(
            (file.state.pending.len(), file.state.redelivered),
            (0, [(3, 4)].into())
        );
    }

    fn state() -> impl Strategy<Value = ConsumerState> {
        let stream = 0..TOP_BIT;
        let pending = btree_map(
            1_u64..,
            (any::<u64>(), -9_000_000_000..9_000_000_000_i64),
            0..8,
        );
        (
            any::<(u64, u64)>(),
            stream.clone(),
            stream,
            pending,
            btree_map(any::<u64>(), 1_u64.., 0..8),
        )
            .prop_map(|(consumers, floor, delivered, pending, mut redelivered)| {
                redelivered.remove(&floor);
                let entry = |(consumer_sequence, seconds): (u64, i64)| Pending {
                    consumer_sequence,
                    timestamp_ns: seconds * NANOSECONDS_PER_SECOND,
                };
                ConsumerState {
                    ack_floor: pair(consumers.0, floor),
                    delivered: pair(consumers.1, delivered),
                    pending: pending
                        .into_iter()
                        .map(|(sequence, raw)| (sequence, entry(raw)))
                        .collect(),
                    redelivered,
                }
            })
    }

    proptest! {
        #[test]
        fn round_trips(state in state(), base_s: i64) {
            let file = ConsumerFile::decode(&state.encode(ConsumerVersion::V2, base_s)).unwrap();
            prop_assert_eq!(&file.state, &state);
            prop_assert_eq!((file.silent_cut, file.trailing_length), (None, 0));
            let file = ConsumerFile::decode(&state.encode(ConsumerVersion::V1, base_s)).unwrap();
            let mut expected = state;
            for entry in expected.pending.values_mut() {
                entry.consumer_sequence = 0;
            }
            prop_assert_eq!(file.state, expected);
        }

        #[test]
        fn arbitrary_bytes_never_panic(version in 0_u8..4, tail in vec(any::<u8>(), 0..120)) {
            let bytes: Vec<u8> = [22, version].into_iter().chain(tail.iter().copied()).collect();
            for bytes in [&bytes, &tail] {
                if let Ok(file) = ConsumerFile::decode(bytes) {
                    let entries = file.state.pending.len() + file.state.redelivered.len();
                    prop_assert!(2 * entries <= bytes.len());
                }
            }
        }
    }
}
