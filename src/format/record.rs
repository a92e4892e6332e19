//! Message records: parse, judge, encode, and walk a block's decoded content.
//!
//! Source: file format reference, section 3. Two checks decide whether a record can be followed (its header is whole,
//! its lengths agree) and one whether it is what was written (its checksum). [`parse_at`] makes the first two;
//! [`Runs`] makes all three for a block, a run of records at a time.

use std::fmt;

use super::checksum::HashKey;
use super::limits::{
    CHECKSUM_LENGTH, HEADER_LENGTH_FIELD, RECORD_HEADER_LENGTH, RECORD_MAX_LENGTH,
    RECORD_MIN_LENGTH, SEQUENCE_MAX,
};

/// Set in a record's length field when a header block follows the subject.
const HEADERS_BIT: u32 = 1 << 31;
/// Set in a record's sequence field when the record says that another one is gone.
const TOMBSTONE_BIT: u64 = 1 << 62;
/// Set in a record's sequence field when the sequence is used up and holds no message.
const ERASED_BIT: u64 = 1 << 63;

/// What a record stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A message.
    Message,
    /// A sequence that holds no message: skipped, erased in place, or sequence 0.
    Erased,
    /// A marker that another record's sequence is gone.
    Tombstone,
}

/// Why the bytes at an offset are not a sound record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordFault {
    /// Fewer bytes are left than a record header takes.
    HeaderCut {
        /// Where the record begins.
        offset: usize,
        /// Bytes left there.
        remaining: usize,
    },
    /// The length is below that of the shortest record.
    TooShort {
        /// Where the record begins.
        offset: usize,
        /// The length found.
        length: u32,
    },
    /// The length is above that of the longest record.
    TooLong {
        /// Where the record begins.
        offset: usize,
        /// The length found.
        length: u32,
    },
    /// The record would reach past the end of the block.
    PastEnd {
        /// Where the record begins.
        offset: usize,
        /// The length found.
        length: u32,
        /// Bytes left there.
        remaining: usize,
    },
    /// The subject, and the header length if there is one, do not fit in the record.
    LengthsDisagree {
        /// Where the record begins.
        offset: usize,
        /// The length found.
        length: u32,
        /// The subject length found.
        subject_length: u16,
        /// Whether the record says that it has headers.
        has_headers: bool,
    },
    /// The record begins beyond the 4 GiB that record offsets can express.
    OffsetTooLarge {
        /// Where the record begins.
        offset: usize,
    },
    /// The checksum is not that of the record's bytes.
    Checksum {
        /// Where the record begins.
        offset: usize,
        /// The hash of the bytes.
        expected: u64,
        /// The hash stored with them.
        found: u64,
    },
}

impl RecordFault {
    /// Where the faulty record begins.
    #[must_use]
    pub fn offset(&self) -> usize {
        match *self {
            Self::HeaderCut { offset, .. }
            | Self::TooShort { offset, .. }
            | Self::TooLong { offset, .. }
            | Self::PastEnd { offset, .. }
            | Self::LengthsDisagree { offset, .. }
            | Self::OffsetTooLarge { offset }
            | Self::Checksum { offset, .. } => offset,
        }
    }
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderCut { offset, remaining } => write!(
                f,
                "record header at offset {offset} is cut off: {remaining} of {RECORD_HEADER_LENGTH} bytes"
            ),
            Self::TooShort { offset, length } => {
                write!(
                    f,
                    "record at offset {offset} claims {length} bytes, the least is {RECORD_MIN_LENGTH}"
                )
            }
            Self::TooLong { offset, length } => {
                write!(
                    f,
                    "record at offset {offset} claims {length} bytes, the most is {RECORD_MAX_LENGTH}"
                )
            }
            Self::PastEnd {
                offset,
                length,
                remaining,
            } => {
                write!(
                    f,
                    "record at offset {offset} claims {length} bytes, {remaining} remain"
                )
            }
            Self::LengthsDisagree {
                offset,
                length,
                subject_length,
                has_headers,
            } => {
                let headers = if *has_headers { " and headers" } else { "" };
                write!(
                    f,
                    "record at offset {offset} of {length} bytes cannot hold a subject of {subject_length} bytes{headers}"
                )
            }
            Self::OffsetTooLarge { offset } => {
                write!(f, "record at offset {offset} begins beyond 4 GiB")
            }
            Self::Checksum {
                offset,
                expected,
                found,
            } => write!(
                f,
                "record at offset {offset} has checksum {found:016x}, its bytes give {expected:016x}"
            ),
        }
    }
}

impl std::error::Error for RecordFault {}

/// A sound record's header block reaches past the record; its message cannot be read.
///
/// A walk does not look at this length, and the checksum does not cover it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderLengthFault {
    /// Where the record begins.
    pub offset: usize,
    /// The header length found.
    pub header_length: u32,
    /// The most that fits.
    pub available: usize,
}

impl fmt::Display for HeaderLengthFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            offset,
            header_length,
            available,
        } = self;
        write!(
            f,
            "record at offset {offset} claims {header_length} bytes of headers, {available} bytes are there"
        )
    }
}

impl std::error::Error for HeaderLengthFault {}

/// The covered bytes of a record: its checksum is over `header ‖ subject ‖ rest`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Covered<'a> {
    /// The sixteen bytes of sequence and timestamp.
    pub header: &'a [u8],
    /// The subject.
    pub subject: &'a [u8],
    /// Headers and body, without the header length field.
    pub rest: &'a [u8],
    /// Everything from the subject to the checksum, with the header length field if there is one.
    pub contiguous: &'a [u8],
}

/// Where a record lies in its buffer, and the fields of its header.
///
/// Only [`parse_at`] makes one, so its lengths agree with each other. Accessors take the buffer it was parsed from;
/// given another that is too short they find nothing, and never panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef {
    sequence_bits: u64,
    timestamp_ns: i64,
    offset: u32,
    length: u32,
    subject_length: u16,
    has_headers: bool,
}

impl RecordRef {
    /// Where the record begins.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset as usize
    }

    /// Bytes of the whole record.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// Where the next record begins.
    #[must_use]
    pub fn end_offset(&self) -> usize {
        self.offset() + self.length()
    }

    /// Where the checksum begins, which is where the body ends.
    #[must_use]
    pub fn checksum_offset(&self) -> usize {
        self.end_offset() - CHECKSUM_LENGTH
    }

    /// The sequence field as stored, with its two flags.
    #[must_use]
    pub fn sequence_bits(&self) -> u64 {
        self.sequence_bits
    }

    /// The sequence, without flags.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence_bits & SEQUENCE_MAX
    }

    /// The store time in nanoseconds since the Unix epoch; for a tombstone, that of the message it speaks of.
    #[must_use]
    pub fn timestamp_ns(&self) -> i64 {
        self.timestamp_ns
    }

    /// Bytes of the subject.
    #[must_use]
    pub fn subject_length(&self) -> usize {
        usize::from(self.subject_length)
    }

    /// Whether the record says that it has a header block.
    #[must_use]
    pub fn has_headers(&self) -> bool {
        self.has_headers
    }

    /// What the record stands for. With both flags set it is a tombstone.
    #[must_use]
    pub fn kind(&self) -> RecordKind {
        if self.sequence_bits & TOMBSTONE_BIT != 0 {
            RecordKind::Tombstone
        } else if self.sequence_bits & ERASED_BIT != 0 || self.sequence_bits == 0 {
            RecordKind::Erased
        } else {
            RecordKind::Message
        }
    }

    /// The whole record's bytes.
    #[must_use]
    pub fn bytes<'a>(&self, buffer: &'a [u8]) -> Option<&'a [u8]> {
        buffer.get(self.offset()..self.end_offset())
    }

    /// The subject; empty when `buffer` does not hold the record.
    #[must_use]
    pub fn subject<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        let start = self.offset() + RECORD_HEADER_LENGTH;
        buffer
            .get(start..start + self.subject_length())
            .unwrap_or_default()
    }

    /// The header block, empty if the record has none, and the body.
    ///
    /// # Errors
    /// When the header length reaches past the record.
    pub fn headers_and_body<'a>(
        &self,
        buffer: &'a [u8],
    ) -> Result<(&'a [u8], &'a [u8]), HeaderLengthFault> {
        let start = self.offset() + RECORD_HEADER_LENGTH + self.subject_length();
        let bytes = buffer
            .get(start..self.checksum_offset())
            .unwrap_or_default();
        if !self.has_headers {
            return Ok((&[], bytes));
        }
        let (header_length, bytes) = bytes.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let header_length = u32::from_le_bytes(*header_length);
        usize::try_from(header_length)
            .ok()
            .and_then(|length| bytes.split_at_checked(length))
            .ok_or(HeaderLengthFault {
                offset: self.offset(),
                header_length,
                available: bytes.len(),
            })
    }

    /// The checksum stored with the record, or `None` when `buffer` does not hold it.
    #[must_use]
    pub fn stored_hash(&self, buffer: &[u8]) -> Option<u64> {
        let bytes = buffer.get(self.checksum_offset()..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// The pieces the checksum covers, or `None` when `buffer` does not hold the record.
    #[inline]
    pub(super) fn covered<'a>(&self, buffer: &'a [u8]) -> Option<Covered<'a>> {
        let record = buffer.get(self.offset()..self.checksum_offset())?;
        let (header, contiguous) = record.split_at_checked(RECORD_HEADER_LENGTH)?;
        let (subject, rest) = contiguous.split_at_checked(self.subject_length())?;
        let field = if self.has_headers {
            HEADER_LENGTH_FIELD
        } else {
            0
        };
        Some(Covered {
            header: header.get(4..20)?,
            subject,
            rest: rest.get(field..)?,
            contiguous,
        })
    }

    /// How many bytes the checksum covers.
    #[inline]
    pub(super) fn covered_length(&self) -> usize {
        let field = if self.has_headers {
            HEADER_LENGTH_FIELD
        } else {
            0
        };
        self.length() - (RECORD_HEADER_LENGTH - 16 + CHECKSUM_LENGTH) - field
    }
}

/// Reads the record at `offset` of a block's decoded content and checks its header and lengths, not its checksum.
///
/// # Errors
/// Any [`RecordFault`] but [`RecordFault::Checksum`].
#[inline]
pub fn parse_at(buffer: &[u8], offset: usize) -> Result<RecordRef, RecordFault> {
    let rest = buffer.get(offset..).unwrap_or_default();
    let remaining = rest.len();
    let Some(header) = rest.first_chunk::<RECORD_HEADER_LENGTH>() else {
        return Err(RecordFault::HeaderCut { offset, remaining });
    };
    let [
        l0,
        l1,
        l2,
        l3,
        s0,
        s1,
        s2,
        s3,
        s4,
        s5,
        s6,
        s7,
        t0,
        t1,
        t2,
        t3,
        t4,
        t5,
        t6,
        t7,
        n0,
        n1,
    ] = *header;
    let length_bits = u32::from_le_bytes([l0, l1, l2, l3]);
    let subject_length = u16::from_le_bytes([n0, n1]);
    let has_headers = length_bits & HEADERS_BIT != 0;
    let length = length_bits & !HEADERS_BIT;
    let needed = RECORD_MIN_LENGTH
        + usize::from(subject_length)
        + if has_headers { HEADER_LENGTH_FIELD } else { 0 };
    let total = length as usize;
    let offset_32 = u32::try_from(offset);
    if total < needed || total > remaining || total > RECORD_MAX_LENGTH || offset_32.is_err() {
        return Err(length_fault(
            offset,
            length,
            remaining,
            subject_length,
            has_headers,
        ));
    }
    Ok(RecordRef {
        sequence_bits: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        timestamp_ns: i64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
        offset: offset_32.unwrap_or(u32::MAX),
        length,
        subject_length,
        has_headers,
    })
}

#[cold]
fn length_fault(
    offset: usize,
    length: u32,
    remaining: usize,
    subject_length: u16,
    has_headers: bool,
) -> RecordFault {
    let total = length as usize;
    if total < RECORD_MIN_LENGTH {
        RecordFault::TooShort { offset, length }
    } else if total > RECORD_MAX_LENGTH {
        RecordFault::TooLong { offset, length }
    } else if total > remaining {
        RecordFault::PastEnd {
            offset,
            length,
            remaining,
        }
    } else if u32::try_from(offset).is_err() {
        RecordFault::OffsetTooLarge { offset }
    } else {
        RecordFault::LengthsDisagree {
            offset,
            length,
            subject_length,
            has_headers,
        }
    }
}

/// The most records of one run.
pub const RUN_RECORDS_MAX: usize = 128;

/// A run ends once its records span this many bytes, so that they are still in cache when they are hashed.
const RUN_BYTES: usize = 256 * 1024;

/// Neighbouring records of a block. Reused from run to run.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Sound records in file order.
    pub records: Vec<RecordRef>,
    /// Why the walk ended behind them, unless it did not.
    pub fault: Option<RecordFault>,
    hashes: Vec<u64>,
}

impl Run {
    /// An empty run with room for the most records of one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            records: Vec::with_capacity(RUN_RECORDS_MAX),
            fault: None,
            hashes: Vec::with_capacity(RUN_RECORDS_MAX),
        }
    }
}

/// A walk over a block's decoded content in runs of records.
///
/// The walk stops at the first fault, as recovery does; [`Runs::seek`] takes it up again elsewhere.
#[derive(Debug, Clone)]
pub struct Runs<'a> {
    buffer: &'a [u8],
    key: Option<HashKey>,
    offset: usize,
    stopped: bool,
}

impl<'a> Runs<'a> {
    /// A walk that checks every record in full.
    #[must_use]
    pub fn new(buffer: &'a [u8], key: &HashKey) -> Self {
        Self {
            buffer,
            key: Some(*key),
            offset: 0,
            stopped: false,
        }
    }

    /// A walk that checks headers and lengths only, over content whose checksums have been checked before.
    #[must_use]
    pub fn unverified(buffer: &'a [u8]) -> Self {
        Self {
            buffer,
            key: None,
            offset: 0,
            stopped: false,
        }
    }

    /// Where the next run begins; after a fault, where the faulty record does.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Goes on at `offset`, also after a fault.
    pub fn seek(&mut self, offset: usize) {
        self.offset = offset;
        self.stopped = false;
    }

    /// Fills `out` with the next sound records, and with the fault behind them if there is one.
    ///
    /// Returns whether there was either: false at the end of the content, and after a fault until [`Runs::seek`].
    pub fn next_run(&mut self, out: &mut Run) -> bool {
        out.records.clear();
        out.fault = None;
        if self.stopped || self.offset >= self.buffer.len() {
            return false;
        }
        let mut end = self.offset;
        while end < self.buffer.len()
            && out.records.len() < RUN_RECORDS_MAX
            && end - self.offset < RUN_BYTES
        {
            match parse_at(self.buffer, end) {
                Ok(record) => {
                    end = record.end_offset();
                    out.records.push(record);
                }
                Err(fault) => {
                    out.fault = Some(fault);
                    break;
                }
            }
        }
        if let Some(fault) = self.first_mismatch(out) {
            end = fault.offset();
            out.fault = Some(fault);
        }
        self.offset = end;
        self.stopped = out.fault.is_some();
        true
    }

    /// Compares the checksums and cuts the run before the first that differs.
    fn first_mismatch(&self, out: &mut Run) -> Option<RecordFault> {
        let key = self.key.as_ref()?;
        key.hash_run(self.buffer, &out.records, &mut out.hashes);
        let mut checked = out.records.iter().zip(&out.hashes);
        let (position, fault) =
            checked
                .by_ref()
                .enumerate()
                .find_map(|(position, (record, &hash))| {
                    let found = record.stored_hash(self.buffer).unwrap_or(!hash);
                    let fault = RecordFault::Checksum {
                        offset: record.offset(),
                        expected: hash,
                        found,
                    };
                    (found != hash).then_some((position, fault))
                })?;
        out.records.truncate(position);
        Some(fault)
    }
}

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
    let hash = key.hash64(&[
        &sequence_bits.to_le_bytes(),
        &timestamp_ns.to_le_bytes(),
        subject,
        headers,
        body,
    ]);
    out.extend_from_slice(&hash.to_le_bytes());
    Ok(length)
}

/// Walks `data` as a block's content, resuming one byte behind every fault, and checks what a walk promises.
#[cfg(any(test, fuzzing))]
pub fn fuzz_one(data: &[u8]) {
    let key = HashKey::for_block(b"ORDERS", 1);
    for mut runs in [Runs::new(data, &key), Runs::unverified(data)] {
        let mut run = Run::new();
        let mut expected = 0;
        while runs.next_run(&mut run) {
            for record in &run.records {
                assert_eq!(record.offset(), expected);
                expected = record.end_offset();
                let _ = (record.subject(data), record.kind());
                if let Ok((headers, body)) = record.headers_and_body(data) {
                    assert!(headers.len() + body.len() < record.length());
                }
            }
            if let Some(fault) = &run.fault {
                assert_eq!(fault.offset(), expected);
                expected += 1;
                runs.seek(expected);
            }
        }
        assert!(expected >= data.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: i64 = 1_700_000_000_000_000_000;
    const HEADERS: &[u8] = b"NATS/1.0\r\nA: b\r\n\r\n";

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text
            .chars()
            .filter_map(|c| c.to_digit(16))
            .map(|digit| digit as u8)
            .collect();
        digits
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[high, low]| high << 4 | low)
            .collect()
    }

    fn key() -> HashKey {
        HashKey::for_block(b"ORDERS", 1)
    }

    fn message<'a>(
        sequence: u64,
        subject: &'a [u8],
        headers: &'a [u8],
        body: &'a [u8],
    ) -> NewRecord<'a> {
        NewRecord::Message {
            sequence,
            timestamp_ns: T + sequence as i64 - 1,
            subject,
            headers,
            body,
        }
    }

    /// The records of the format reference's appendix A, with their bytes.
    fn vectors() -> Vec<(HashKey, NewRecord<'static>, &'static str)> {
        vec![
            (
                key(),
                message(1, b"o.1", b"", b"hi"),
                "23000000 0100000000000000 00002a36fe9c9717 0300 6f2e31 6869 af78b7570ab349b9",
            ),
            (
                key(),
                message(2, b"o.2", HEADERS, b"yo"),
                "39000080 0200000000000000 01002a36fe9c9717 0300 6f2e32 12000000
                 4e4154532f312e300d0a413a20620d0a0d0a 796f 3294a7ef8f3a4196",
            ),
            (
                key(),
                message(3, b"o.1", b"", b""),
                "21000000 0300000000000000 02002a36fe9c9717 0300 6f2e31 d5639d1f54f9f4ee",
            ),
            (
                key(),
                NewRecord::Skip { sequence: 4, timestamp_ns: T + 2 },
                "1e000000 0400000000000080 02002a36fe9c9717 0000 a140aa23a9e58965",
            ),
            (
                key(),
                NewRecord::Tombstone { sequence: 2, timestamp_ns: T + 1 },
                "1e000000 0200000000000040 01002a36fe9c9717 0000 3a743bbbf05cce34",
            ),
            (
                HashKey::for_block(b"ORDERS", 2),
                NewRecord::Tombstone { sequence: 99, timestamp_ns: super::super::limits::ZERO_TIME_NS },
                "1e000000 6300000000000040 00001a3deb03b2a1 0000 fa17447371bf4dee",
            ),
            (
                HashKey::for_block(b"AGG", 1),
                message(
                    1,
                    b"s.1",
                    b"NATS/1.0\r\nNats-Stream-Source: SRC 3 > > s.1 IE3MWun7\r\n\r\n",
                    b"hi",
                ),
                "5f000080 0100000000000000 00002a36fe9c9717 0300 732e31 38000000
                 4e4154532f312e300d0a4e6174732d53747265616d2d536f757263653a205352432033203e203e20732e3120
                 4945334d57756e370d0a0d0a 6869 eb9a4cc8b661dcdc",
            ),
        ]
    }

    #[test]
    fn vectors_encode_and_verify() {
        for (key, record, bytes) in vectors() {
            let bytes = unhex(bytes);
            let mut encoded = Vec::new();
            assert_eq!(encode_record(&mut encoded, &key, &record), Ok(bytes.len()));
            assert_eq!(encoded, bytes);
            let mut run = Run::new();
            assert!(Runs::new(&bytes, &key).next_run(&mut run));
            assert_eq!((run.records.len(), &run.fault), (1, &None));
        }
    }

    fn vector_block() -> Vec<u8> {
        let mut block = Vec::new();
        for (_, record, _) in vectors().iter().take(5) {
            encode_record(&mut block, &key(), record).unwrap();
        }
        block
    }

    #[test]
    fn fields_of_a_parsed_block() {
        let block = vector_block();
        let mut run = Run::new();
        let mut runs = Runs::new(&block, &key());
        assert!(runs.next_run(&mut run));
        let kinds: Vec<_> = run.records.iter().map(RecordRef::kind).collect();
        use RecordKind::{Erased, Message, Tombstone};
        assert_eq!(kinds, [Message, Message, Message, Erased, Tombstone]);
        let sequences: Vec<_> = run.records.iter().map(RecordRef::sequence).collect();
        assert_eq!(sequences, [1, 2, 3, 4, 2]);
        assert_eq!(run.records[3].sequence_bits(), 4 | 1 << 63);
        let second = run.records[1];
        assert_eq!(
            (second.offset(), second.length()),
            (35, record_length(3, HEADERS.len(), 2))
        );
        assert_eq!(second.timestamp_ns(), T + 1);
        assert_eq!(second.subject(&block), b"o.2");
        assert_eq!(second.headers_and_body(&block), Ok((HEADERS, &b"yo"[..])));
        assert_eq!(
            run.records[0].headers_and_body(&block),
            Ok((&b""[..], &b"hi"[..]))
        );
        assert!(!runs.next_run(&mut run));
        assert!(run.records.is_empty());
    }

    #[test]
    fn tombstone_flag_outranks_erased_flag() {
        let mut bytes = vector_block();
        bytes[11] = 0xc0;
        assert_eq!(parse_at(&bytes, 0).unwrap().kind(), RecordKind::Tombstone);
        bytes[4] = 0;
        bytes[11] = 0;
        assert_eq!(parse_at(&bytes, 0).unwrap().kind(), RecordKind::Erased);
    }

    #[test]
    fn each_length_check_names_its_numbers() {
        let sound = vector_block();
        let with = |edit: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = sound[..35].to_vec();
            edit(&mut bytes);
            parse_at(&bytes, 0).unwrap_err()
        };
        let set_length = |length: u32| {
            move |bytes: &mut Vec<u8>| bytes[..4].copy_from_slice(&length.to_le_bytes())
        };
        assert_eq!(
            with(&|bytes| bytes.truncate(21)),
            RecordFault::HeaderCut {
                offset: 0,
                remaining: 21
            }
        );
        assert_eq!(
            with(&set_length(29)),
            RecordFault::TooShort {
                offset: 0,
                length: 29
            }
        );
        assert_eq!(
            with(&set_length(0)),
            RecordFault::TooShort {
                offset: 0,
                length: 0
            }
        );
        assert_eq!(
            with(&set_length(36)),
            RecordFault::PastEnd {
                offset: 0,
                length: 36,
                remaining: 35
            }
        );
        let longest = RECORD_MAX_LENGTH as u32;
        assert_eq!(
            with(&set_length(longest)),
            RecordFault::PastEnd {
                offset: 0,
                length: longest,
                remaining: 35
            }
        );
        assert_eq!(
            with(&set_length(longest + 1)),
            RecordFault::TooLong {
                offset: 0,
                length: longest + 1
            }
        );
        let disagree = |subject_length, has_headers| RecordFault::LengthsDisagree {
            offset: 0,
            length: 35,
            subject_length,
            has_headers,
        };
        assert_eq!(with(&|bytes| bytes[20] = 6), disagree(6, false));
        assert_eq!(
            with(&|bytes| {
                bytes[20] = 2;
                bytes[3] = 0x80;
            }),
            disagree(2, true)
        );
        let mut fits = sound[..35].to_vec();
        fits[20] = 5;
        assert_eq!(
            parse_at(&fits, 0).map(|record| record.subject_length()),
            Ok(5)
        );
    }

    #[test]
    fn header_length_past_the_record_spoils_only_the_message() {
        let mut block = vector_block();
        block[35 + 25] = 21;
        let mut run = Run::new();
        Runs::new(&block, &key()).next_run(&mut run);
        assert_eq!((run.records.len(), &run.fault), (5, &None));
        assert_eq!(
            run.records[1].headers_and_body(&block),
            Err(HeaderLengthFault {
                offset: 35,
                header_length: 21,
                available: 20
            })
        );
    }

    #[test]
    fn a_flipped_bit_ends_the_run_and_seek_goes_on() {
        let mut block = vector_block();
        block[35 + 40] ^= 1;
        let mut runs = Runs::new(&block, &key());
        let mut run = Run::new();
        assert!(runs.next_run(&mut run));
        assert_eq!(run.records.len(), 1);
        assert!(
            matches!(run.fault, Some(RecordFault::Checksum { offset: 35, expected, found }) if expected != found)
        );
        assert_eq!(runs.offset(), 35);
        assert!(!runs.next_run(&mut run));
        runs.seek(35 + 57);
        assert!(runs.next_run(&mut run));
        assert_eq!((run.records.len(), &run.fault), (3, &None));
        assert!(!runs.next_run(&mut run));
        let mut unverified = Runs::unverified(&block);
        assert!(unverified.next_run(&mut run));
        assert_eq!((run.records.len(), &run.fault), (5, &None));
    }

    #[test]
    fn a_torn_tail_is_reported_behind_the_sound_records() {
        let block = vector_block();
        for length in 0..block.len() {
            let mut runs = Runs::new(&block[..length], &key());
            let mut run = Run::new();
            let any = runs.next_run(&mut run);
            assert_eq!(any, length > 0);
            let sound = [35, 92, 125, 155, 185]
                .iter()
                .filter(|&&end| end <= length)
                .count();
            assert_eq!(run.records.len(), sound);
            let end = run.records.last().map_or(0, RecordRef::end_offset);
            assert_eq!(
                run.fault.as_ref().map(RecordFault::offset),
                (end < length).then_some(end)
            );
        }
    }

    #[test]
    fn long_blocks_come_in_bounded_runs() {
        let mut block = Vec::new();
        for sequence in 1..=1000 {
            encode_record(&mut block, &key(), &message(sequence, b"o.1", b"", b"x")).unwrap();
        }
        let (mut runs, mut run, mut next) = (Runs::new(&block, &key()), Run::new(), 1);
        while runs.next_run(&mut run) {
            assert!(run.records.len() <= RUN_RECORDS_MAX);
            for record in &run.records {
                assert_eq!(record.sequence(), next);
                next += 1;
            }
        }
        assert_eq!((next, runs.offset()), (1001, block.len()));
    }

    #[test]
    fn erased_records_keep_their_length() {
        let mut block = Vec::new();
        encode_record(&mut block, &key(), &message(7, b"o.2", HEADERS, b"yo")).unwrap();
        let length = block.len();
        let noise = vec![0xa5; length - RECORD_MIN_LENGTH];
        encode_record(
            &mut block,
            &key(),
            &NewRecord::Erased {
                sequence: 7,
                noise: &noise,
            },
        )
        .unwrap();
        let erased = parse_at(&block, length).unwrap();
        assert_eq!(
            (erased.length(), erased.kind(), erased.sequence()),
            (length, RecordKind::Erased, 7)
        );
        assert_eq!((erased.timestamp_ns(), erased.subject_length()), (0, 0));
    }

    #[test]
    fn what_readers_would_refuse_is_not_written() {
        let mut out = vec![1];
        let long = vec![0; RECORD_MAX_LENGTH - RECORD_MIN_LENGTH + 1];
        assert_eq!(
            encode_record(&mut out, &key(), &message(1, b"", b"", &long)),
            Err(EncodeFault::RecordTooLong {
                length: RECORD_MAX_LENGTH + 1
            })
        );
        assert_eq!(
            encode_record(&mut out, &key(), &message(1, &long[..65536], b"", b"")),
            Err(EncodeFault::SubjectTooLong { length: 65536 })
        );
        assert_eq!(
            encode_record(
                &mut out,
                &key(),
                &NewRecord::Skip {
                    sequence: 1 << 62,
                    timestamp_ns: 0
                }
            ),
            Err(EncodeFault::SequenceTooLarge { sequence: 1 << 62 })
        );
        assert_eq!(out, [1]);
    }

    fn corpus() -> Vec<Vec<u8>> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/corpus/record");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| std::fs::read(entry.path()).ok())
            .collect()
    }

    #[test]
    fn corpus_replays() {
        for data in corpus() {
            super::fuzz_one(&data);
        }
    }

    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..most)
    }

    proptest! {
        #[test]
        fn round_trips(
            sequence in 1..=SEQUENCE_MAX,
            timestamp_ns: i64,
            subject in bytes(50),
            headers in bytes(100),
            body in bytes(300),
        ) {
            let record = NewRecord::Message {
                sequence, timestamp_ns, subject: &subject, headers: &headers, body: &body,
            };
            let mut out = Vec::new();
            let length = encode_record(&mut out, &key(), &record).unwrap();
            prop_assert_eq!(length, record_length(subject.len(), headers.len(), body.len()));
            let parsed = parse_at(&out, 0).unwrap();
            prop_assert_eq!(parsed.end_offset(), out.len());
            prop_assert_eq!((parsed.sequence(), parsed.timestamp_ns()), (sequence, timestamp_ns));
            prop_assert_eq!(parsed.subject(&out), &subject[..]);
            prop_assert_eq!(parsed.headers_and_body(&out), Ok((&headers[..], &body[..])));
            prop_assert_eq!(parsed.bytes(&out), Some(&out[..]));
        }

        #[test]
        fn arbitrary_bytes_never_panic(data in bytes(400)) {
            super::fuzz_one(&data);
        }
    }
}
