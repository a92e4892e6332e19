//! The timer files: `thw.db` for message expiry and `sched.db` for scheduled messages.
//!
//! Source: file format reference, section 9. Both are plaintext without a checksum: a header of 17 bytes, then as many
//! entries as it announces. Bytes after the last entry are ignored. Any error makes the server delete the file and
//! start over with an empty one.

use std::collections::BTreeMap;
use std::fmt;

use super::varint::{ReadFault, Reader, put_uvarint, put_varint};

/// Length of the header of either file: version, count, stamp.
pub const HEADER_LENGTH: usize = 17;
const VERSION: u8 = 1;
const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;
/// The server's timer wheel has 4096 slots of one second.
const SLOT_MASK: i64 = 4095;
/// Fewest bytes an expiry takes: two numbers.
const EXPIRY_MINIMUM_LENGTH: usize = 2;
/// Fewest bytes a schedule takes: the length and two numbers.
const SCHEDULE_MINIMUM_LENGTH: usize = 4;

/// Why a timer file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimerError {
    /// Fewer bytes than the header has.
    Short {
        /// Bytes that are there.
        length: usize,
    },
    /// The version is not 1.
    BadVersion {
        /// The byte found.
        found: u8,
    },
    /// An entry that the header announces is cut short or cannot be decoded.
    UnexpectedEnd {
        /// Where the value begins that could not be read.
        offset: usize,
        /// Which entry, from 0.
        entry: u64,
        /// Entries announced.
        declared_count: u64,
    },
}

impl fmt::Display for TimerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { length } => {
                write!(
                    f,
                    "timer file has {length} bytes, its header alone needs {HEADER_LENGTH}"
                )
            }
            Self::BadVersion { found } => {
                write!(f, "timer file has version {found}, expected {VERSION}")
            }
            Self::UnexpectedEnd {
                offset,
                entry,
                declared_count,
            } => write!(
                f,
                "timer file entry {entry} of {declared_count} cannot be decoded at offset {offset}"
            ),
        }
    }
}

impl std::error::Error for TimerError {}

/// When one message expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry {
    /// Absolute time in nanoseconds.
    pub expiry_ns: i64,
    /// The message. It may be gone already.
    pub sequence: u64,
}

impl Expiry {
    /// The slot of the timer wheel: whole seconds, truncated toward zero, modulo 4096.
    #[must_use]
    pub fn slot(&self) -> u16 {
        // Masked to 12 bits, so it fits.
        ((self.expiry_ns / NANOSECONDS_PER_SECOND) & SLOT_MASK) as u16
    }
}

/// What `thw.db` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpiryFile {
    /// Messages below this sequence are reflected.
    pub stamp: u64,
    /// Entries in the order of the file.
    pub entries: Vec<Expiry>,
}

impl ExpiryFile {
    /// Reads `thw.db`.
    ///
    /// # Errors
    /// [`TimerError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TimerError> {
        let (entries, stamp) = read_entries(bytes, EXPIRY_MINIMUM_LENGTH, read_expiry)?;
        Ok(Self { stamp, entries })
    }

    /// The entries as the server's wheel holds them: by slot, then by sequence.
    ///
    /// A slot has one time per sequence, the last one read. A sequence that comes with times of different slots
    /// stays in each of them.
    #[must_use]
    pub fn normalize(&self) -> Vec<Expiry> {
        let wheel: BTreeMap<(u16, u64), i64> = self
            .entries
            .iter()
            .map(|entry| ((entry.slot(), entry.sequence), entry.expiry_ns))
            .collect();
        wheel
            .into_iter()
            .map(|((_, sequence), expiry_ns)| Expiry {
                expiry_ns,
                sequence,
            })
            .collect()
    }

    /// Writes `thw.db` with the normalised entries, grouped by slot as the server groups them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entries = self.normalize();
        let mut out = header(entries.len(), self.stamp);
        for entry in entries {
            put_varint(&mut out, entry.expiry_ns);
            put_uvarint(&mut out, entry.sequence);
        }
        out
    }
}

/// When the schedule of a subject fires next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The subject that carries the schedule, clipped to 65 535 bytes.
    pub subject: Box<[u8]>,
    /// Absolute time in nanoseconds.
    pub next_ns: i64,
    /// The message that holds the schedule. It may be gone already.
    pub sequence: u64,
}

/// What `sched.db` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScheduleFile {
    /// Messages below this sequence are reflected.
    pub stamp: u64,
    /// Entries in the order of the file.
    pub entries: Vec<Schedule>,
}

impl ScheduleFile {
    /// Reads `sched.db`.
    ///
    /// # Errors
    /// [`TimerError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TimerError> {
        let (entries, stamp) = read_entries(bytes, SCHEDULE_MINIMUM_LENGTH, read_schedule)?;
        Ok(Self { stamp, entries })
    }

    /// The entries as the server holds them: one per subject, the last one read; sorted by subject.
    #[must_use]
    pub fn normalize(&self) -> Vec<Schedule> {
        let by_subject: BTreeMap<&[u8], &Schedule> = self
            .entries
            .iter()
            .map(|entry| (&*entry.subject, entry))
            .collect();
        by_subject.into_values().cloned().collect()
    }

    /// Writes `sched.db` with the entries as they are. Subjects are clipped to 65 535 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = header(self.entries.len(), self.stamp);
        for entry in &self.entries {
            let length = u16::try_from(entry.subject.len()).unwrap_or(u16::MAX);
            out.extend(length.to_le_bytes());
            out.extend(entry.subject.iter().take(usize::from(length)));
            put_varint(&mut out, entry.next_ns);
            put_uvarint(&mut out, entry.sequence);
        }
        out
    }
}

/// Reads the entries of either file, none shorter than `minimum_length`, and the stamp.
fn read_entries<T>(
    bytes: &[u8],
    minimum_length: usize,
    read: fn(&mut Reader<'_>) -> Result<T, ReadFault>,
) -> Result<(Vec<T>, u64), TimerError> {
    let (mut reader, declared_count, stamp) = read_header(bytes)?;
    let mut entries = Vec::with_capacity(capacity(declared_count, &reader, minimum_length));
    for entry in 0..declared_count {
        let found = read(&mut reader).map_err(|fault| TimerError::UnexpectedEnd {
            offset: fault.offset(),
            entry,
            declared_count,
        })?;
        entries.push(found);
    }
    Ok((entries, stamp))
}

/// The stamp in the header of either file: the first sequence that the file does not reflect. `None` where it is not such a
/// header.
#[must_use]
pub fn stamp_of(header: &[u8]) -> Option<u64> {
    let (_, _, stamp) = read_header(header).ok()?;
    Some(stamp)
}

/// Reads the header: the rest, the announced number of entries, the stamp.
fn read_header(bytes: &[u8]) -> Result<(Reader<'_>, u64, u64), TimerError> {
    let short = |_: ReadFault| TimerError::Short {
        length: bytes.len(),
    };
    if bytes.len() < HEADER_LENGTH {
        return Err(TimerError::Short {
            length: bytes.len(),
        });
    }
    let mut reader = Reader::new(bytes);
    let found = reader.u8().map_err(short)?;
    if found != VERSION {
        return Err(TimerError::BadVersion { found });
    }
    let count = reader.u64_le().map_err(short)?;
    let stamp = reader.u64_le().map_err(short)?;
    Ok((reader, count, stamp))
}

/// Room for the announced entries, but never for more than the bytes left can hold.
fn capacity(declared_count: u64, reader: &Reader<'_>, minimum_length: usize) -> usize {
    let most = reader.remaining() / minimum_length;
    usize::try_from(declared_count).unwrap_or(most).min(most)
}

fn read_expiry(reader: &mut Reader<'_>) -> Result<Expiry, ReadFault> {
    Ok(Expiry {
        expiry_ns: reader.varint()?,
        sequence: reader.uvarint()?,
    })
}

fn read_schedule(reader: &mut Reader<'_>) -> Result<Schedule, ReadFault> {
    let length = reader.u16_le()?;
    Ok(Schedule {
        subject: reader.bytes(usize::from(length))?.into(),
        next_ns: reader.varint()?,
        sequence: reader.uvarint()?,
    })
}

fn header(count: usize, stamp: u64) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend((count as u64).to_le_bytes());
    out.extend(stamp.to_le_bytes());
    out
}

/// Reads `data` as either timer file and checks that what comes out can be written and read again.
#[doc(hidden)]
pub fn fuzz_one(data: &[u8]) {
    if let Ok(mut file) = ExpiryFile::decode(data) {
        file.entries = file.normalize();
        assert_eq!(ExpiryFile::decode(&file.encode()), Ok(file));
    }
    if let Ok(file) = ScheduleFile::decode(data) {
        let _ = file.normalize();
        assert_eq!(ScheduleFile::decode(&file.encode()), Ok(file));
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const T: i64 = 1_700_000_000_000_000_000;

    const THW: [u8; 27] = [
        1, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x80, 0x95, 0xee, 0x8c, 0x91,
        0xd0, 0x97, 0x2f, 3,
    ];
    const SCHED: [u8; 32] = [
        1, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 3, 0, b'o', b'.', b'1', 0x80, 0x80,
        0xc8, 0xf7, 0xd8, 0xe4, 0xf5, 0x97, 0x2f, 3,
    ];

    fn expiry(seconds: i64, sequence: u64) -> Expiry {
        Expiry {
            expiry_ns: seconds * NANOSECONDS_PER_SECOND,
            sequence,
        }
    }

    #[test]
    fn the_published_vectors_read_and_write() {
        let file = ExpiryFile::decode(&THW).unwrap();
        let expected = Expiry {
            expiry_ns: T + 3600 * NANOSECONDS_PER_SECOND,
            sequence: 3,
        };
        assert_eq!(
            file,
            ExpiryFile {
                stamp: 5,
                entries: vec![expected]
            }
        );
        assert_eq!(file.encode(), THW);
        let file = ScheduleFile::decode(&SCHED).unwrap();
        let expected = Schedule {
            subject: b"o.1"[..].into(),
            next_ns: T + 86_400 * NANOSECONDS_PER_SECOND,
            sequence: 3,
        };
        assert_eq!(
            file,
            ScheduleFile {
                stamp: 5,
                entries: vec![expected]
            }
        );
        assert_eq!(file.encode(), SCHED);
    }

    #[test]
    fn trailing_bytes_are_ignored_and_missing_ones_are_not() {
        for file in [&THW[..], &SCHED[..]] {
            let longer = [file, &[0xff; 3]].concat();
            assert!(ExpiryFile::decode(&longer).is_ok() || ScheduleFile::decode(&longer).is_ok());
        }
        assert_eq!(
            ExpiryFile::decode(&THW[..16]),
            Err(TimerError::Short { length: 16 })
        );
        assert_eq!(
            ExpiryFile::decode(&THW[..26]),
            Err(TimerError::UnexpectedEnd {
                offset: 26,
                entry: 0,
                declared_count: 1
            })
        );
        // A clean cut at an entry's boundary is an end as well.
        assert_eq!(
            ScheduleFile::decode(&SCHED[..17]),
            Err(TimerError::UnexpectedEnd {
                offset: 17,
                entry: 0,
                declared_count: 1
            })
        );
        assert_eq!(
            ScheduleFile::decode(&SCHED[..21]),
            Err(TimerError::UnexpectedEnd {
                offset: 19,
                entry: 0,
                declared_count: 1
            })
        );
        let mut newer = SCHED;
        newer[0] = 2;
        assert_eq!(
            ScheduleFile::decode(&newer),
            Err(TimerError::BadVersion { found: 2 })
        );
    }

    #[test]
    fn a_huge_count_allocates_nothing() {
        let mut file = THW.to_vec();
        file[1..9].fill(0xff);
        assert_eq!(
            ExpiryFile::decode(&file),
            Err(TimerError::UnexpectedEnd {
                offset: 27,
                entry: 1,
                declared_count: u64::MAX
            })
        );
    }

    #[test]
    fn the_wheel_keeps_one_time_per_slot_and_sequence() {
        let file = ExpiryFile {
            stamp: 0,
            entries: vec![
                expiry(5, 1),
                expiry(5 + 4096, 1),
                expiry(4, 1),
                expiry(-1, 9),
                expiry(0, 2),
            ],
        };
        assert_eq!(
            file.normalize(),
            [
                expiry(0, 2),
                expiry(4, 1),
                expiry(5 + 4096, 1),
                expiry(-1, 9)
            ]
        );
        assert_eq!(expiry(-1, 0).slot(), 4095);
        assert_eq!(
            Expiry {
                expiry_ns: -1,
                sequence: 0
            }
            .slot(),
            0,
            "truncated toward zero"
        );
        assert_eq!(file.encode()[1], 4, "the count is of what is written");
    }

    #[test]
    fn a_repeated_subject_replaces_the_earlier() {
        let entry = |subject: &[u8], sequence| Schedule {
            subject: subject.into(),
            next_ns: 7,
            sequence,
        };
        let file = ScheduleFile {
            stamp: 0,
            entries: vec![entry(b"b", 9), entry(b"a", 2), entry(b"b", 1)],
        };
        assert_eq!(file.normalize(), [entry(b"a", 2), entry(b"b", 1)]);
    }

    #[test]
    fn a_long_subject_is_clipped() {
        let subject = vec![b'x'; 70_000].into_boxed_slice();
        let file = ScheduleFile {
            stamp: 1,
            entries: vec![Schedule {
                subject,
                next_ns: 1,
                sequence: 1,
            }],
        };
        let back = ScheduleFile::decode(&file.encode()).unwrap();
        assert_eq!(back.entries[0].subject.len(), 65_535);
    }

    proptest! {
        #[test]
        fn expiries_round_trip(stamp: u64, raw in vec(any::<(i64, u64)>(), 0..30)) {
            let entries = raw.into_iter().map(|(expiry_ns, sequence)| Expiry { expiry_ns, sequence });
            let file = ExpiryFile { stamp, entries: entries.collect() };
            let back = ExpiryFile::decode(&file.encode()).unwrap();
            prop_assert_eq!(back.stamp, stamp);
            prop_assert!(back.entries.is_sorted_by_key(Expiry::slot));
            prop_assert_eq!(back.entries, file.normalize());
        }

        #[test]
        fn schedules_round_trip(stamp: u64, raw in vec((vec(any::<u8>(), 0..9), any::<i64>(), any::<u64>()), 0..9)) {
            let entries = raw
                .into_iter()
                .map(|(subject, next_ns, sequence)| Schedule { subject: subject.into(), next_ns, sequence })
                .collect();
            let file = ScheduleFile { stamp, entries };
            prop_assert_eq!(ScheduleFile::decode(&file.encode()), Ok(file));
        }

        #[test]
        fn arbitrary_bytes_never_panic(tail in vec(any::<u8>(), 0..120), count in 0_u8..9) {
            let mut bytes = vec![1, count, 0, 0, 0, 0, 0, 0, 0];
            bytes.extend(&tail);
            for bytes in [&bytes, &tail] {
                if let Ok(file) = ExpiryFile::decode(bytes) {
                    prop_assert!(2 * file.entries.len() <= bytes.len());
                }
                if let Ok(file) = ScheduleFile::decode(bytes) {
                    prop_assert!(4 * file.entries.len() <= bytes.len());
                }
            }
        }
    }
}
