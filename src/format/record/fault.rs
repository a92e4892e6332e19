//! What can be wrong with a record.

use std::fmt;

use super::super::limits::{RECORD_HEADER_LENGTH, RECORD_MAX_LENGTH, RECORD_MIN_LENGTH};

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
