//! Message records: parse, judge, encode, and walk a block's decoded content.
//!
//! Source: file format reference, section 3. Two checks decide whether a record can be followed (its header is whole,
//! its lengths agree) and one whether it is what was written (its checksum). [`parse_at`] makes the first two;
//! [`Runs`] makes all three for a block, a run of records at a time.

mod encode;
mod fault;
mod runs;
#[cfg(test)]
mod tests;

pub(crate) use encode::encode_unsealed;
pub use encode::{EncodeFault, NewRecord, encode_record, record_length};
pub use fault::{HeaderLengthFault, RecordFault};
pub use runs::{RUN_RECORDS_MAX, Run, Runs, fuzz_one};

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
/// The covered bytes of a record: its checksum is over `header ‖ subject ‖ rest`.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::format) struct Covered<'a> {
    /// The sixteen bytes of sequence and timestamp.
    pub header: &'a [u8],
    /// The subject.
    pub subject: &'a [u8],
    /// Headers and body, without the header length field.
    pub rest: &'a [u8],
    /// Everything from the subject to the checksum, with the header length field if there is one.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub contiguous: &'a [u8],
}

/// Where a record lies in its buffer, and the fields of its header.
///
/// Only [`parse_at`] makes one, or who writes it, so its lengths agree with each other. Accessors take the buffer it was parsed from;
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

    /// The bytes the checksum covers, in order: sequence and time, subject, headers and body. `None` when `buffer` does
    /// not hold the record.
    #[must_use]
    pub fn covered_parts<'a>(&self, buffer: &'a [u8]) -> Option<[&'a [u8]; 3]> {
        let covered = self.covered(buffer)?;
        Some([covered.header, covered.subject, covered.rest])
    }

    /// The pieces the checksum covers, or `None` when `buffer` does not hold the record.
    #[inline]
    pub(in crate::format) fn covered<'a>(&self, buffer: &'a [u8]) -> Option<Covered<'a>> {
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
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(in crate::format) fn covered_length(&self) -> usize {
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
    let (length, sequence, timestamp, subject_length) = fields(header);
    let length_bits = u32::from_le_bytes(length);
    let subject_length = u16::from_le_bytes(subject_length);
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
        sequence_bits: u64::from_le_bytes(sequence),
        timestamp_ns: i64::from_le_bytes(timestamp),
        offset: offset_32.unwrap_or(u32::MAX),
        length,
        subject_length,
        has_headers,
    })
}

/// The fields of a record header: length, sequence, timestamp, subject length. Split off one by one, each is a single
/// load.
#[inline(always)]
fn fields(header: &[u8; RECORD_HEADER_LENGTH]) -> ([u8; 4], [u8; 8], [u8; 8], [u8; 2]) {
    let [rest @ .., s0, s1] = header;
    let (length, rest) = rest.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
    let (sequence, rest) = rest.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    let timestamp = rest.first_chunk::<8>().unwrap_or(&[0; 8]);
    (*length, *sequence, *timestamp, [*s0, *s1])
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
