//! The framed stream inside the wrapper, chunk by chunk.

use std::fmt;
use std::ops::Range;

use super::super::limits::{CHUNK_DECODED_MAX, SNAPPY_CHUNK_DECODED_MAX};
use super::super::varint::Reader;
use super::decode::decode_elements;

/// Bytes of a chunk before its body: its type, and the body's length.
pub const CHUNK_HEADER_LENGTH: usize = 4;
/// Bytes of the checksum in front of a chunk's data.
pub const CRC_LENGTH: usize = 4;
/// The type of a chunk of compressed data.
pub const TYPE_COMPRESSED: u8 = 0x00;
/// The type of a chunk of data as it is.
pub const TYPE_STORED: u8 = 0x01;
const TYPE_IDENTIFIER: u8 = 0xff;
const FIRST_SKIPPABLE_TYPE: u8 = 0x80;
const IDENTIFIER_S2: &[u8] = b"S2sTwO";
/// The stream identifier as it is written: the first chunk of every stream.
pub const IDENTIFIER_CHUNK: [u8; 10] = *b"\xff\x06\x00\x00S2sTwO";
const IDENTIFIER_SNAPPY: &[u8] = b"sNaPpY";

/// Readers take no longer spelling of a chunk's decoded length.
const DECODED_LENGTH_BYTES_MAX: usize = 5;

/// The longest body of a data chunk: the longest decoded length as one literal, its two lengths, and the CRC.
pub const DATA_BODY_MAX: usize = CRC_LENGTH + 4 + 4 + CHUNK_DECODED_MAX;

/// What a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkKind {
    /// The stream identifier.
    Identifier,
    /// Compressed data.
    Compressed,
    /// Data as it is.
    Stored,
    /// A chunk without data, by its type.
    Skippable(u8),
    /// A type no reader knows, or bytes too few to tell.
    Unknown,
}

/// What is wrong with a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkFault {
    /// The stream ends inside the chunk.
    Cut {
        /// Bytes the chunk takes by its own account.
        needed: usize,
        /// Bytes left.
        remaining: usize,
    },
    /// The first chunk is not a stream identifier.
    NoIdentifier {
        /// The type found.
        found: u8,
    },
    /// A stream identifier of the wrong length or text.
    BadIdentifier,
    /// A type that readers must refuse.
    UnknownType {
        /// The type found.
        found: u8,
    },
    /// A data chunk too short for its checksum, or longer than any data needs.
    BadLength {
        /// Bytes of the chunk's body.
        length: usize,
    },
    /// The decoded length cannot be read.
    BadDecodedLength,
    /// The decoded length is above what readers accept.
    DecodedTooLong {
        /// The decoded length found.
        length: u64,
        /// The most readers accept in this stream.
        most: usize,
    },
    /// The compressed data breaks off or contradicts itself.
    Corrupt {
        /// Bytes that could be decoded before that.
        decoded_length: usize,
    },
    /// The data's checksum does not match.
    Crc {
        /// The masked CRC-32C of the data.
        expected: u32,
        /// The one stored.
        found: u32,
    },
}

impl fmt::Display for ChunkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { needed, remaining } => {
                write!(f, "needs {needed} bytes, {remaining} remain")
            }
            Self::NoIdentifier { found } => {
                write!(f, "type {found:#04x} where the stream identifier belongs")
            }
            Self::BadIdentifier => f.write_str("wrong stream identifier"),
            Self::UnknownType { found } => write!(f, "unknown type {found:#04x}"),
            Self::BadLength { length } => write!(f, "impossible length {length}"),
            Self::BadDecodedLength => f.write_str("unreadable decoded length"),
            Self::DecodedTooLong { length, most } => {
                write!(f, "claims {length} bytes of data, the most is {most}")
            }
            Self::Corrupt { decoded_length } => {
                write!(
                    f,
                    "compressed data is corrupt after {decoded_length} decoded bytes"
                )
            }
            Self::Crc { expected, found } => {
                write!(f, "checksum {found:08x}, its data gives {expected:08x}")
            }
        }
    }
}

impl std::error::Error for ChunkFault {}

/// One chunk of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where it begins in the stream.
    pub offset: usize,
    /// Bytes it takes in the stream, its header included; fewer than it claims where the stream ends inside it.
    pub length: usize,
    /// What it is.
    pub kind: ChunkKind,
    /// Where its data lies in the output. With a [`ChunkFault::Crc`] that is all of the data, good and bad; with a
    /// [`ChunkFault::Corrupt`], what could be decoded; with any other fault, nothing.
    pub decoded: Range<usize>,
    /// What is wrong with it.
    pub fault: Option<ChunkFault>,
}

impl Chunk {
    /// Where the next chunk begins.
    #[must_use]
    pub fn end_offset(&self) -> usize {
        self.offset + self.length
    }
}

/// The chunks of a stream in order.
///
/// A faulty chunk does not end the iteration as long as its length tells where the next one is: judging what a fault
/// means for the whole is the caller's part.
#[derive(Debug, Clone)]
pub struct Chunks<'a> {
    stream: &'a [u8],
    offset: usize,
    identified: bool,
    decoded_most: usize,
}

impl<'a> Chunks<'a> {
    /// Starts at the first byte of a framed stream.
    #[must_use]
    pub fn new(stream: &'a [u8]) -> Self {
        Self {
            stream,
            offset: 0,
            identified: false,
            decoded_most: CHUNK_DECODED_MAX,
        }
    }

    /// Goes on at `offset`, where no stream identifier is asked for.
    pub fn seek(&mut self, offset: usize) {
        self.offset = offset;
        self.identified = true;
    }

    /// Appends the next chunk's data to `out`; `None` at the end of the stream.
    ///
    /// `out` grows by at most 4 MiB, and no further than the data that is really there.
    pub fn next_chunk(&mut self, out: &mut Vec<u8>) -> Option<Chunk> {
        let offset = self.offset;
        let rest = self.stream.get(offset..).filter(|rest| !rest.is_empty())?;
        let start = out.len();
        let (kind, length, outcome) = self.read_chunk(rest, out);
        self.offset = offset + length;
        self.identified = true;
        Some(Chunk {
            offset,
            length,
            kind,
            decoded: start..out.len(),
            fault: outcome.err(),
        })
    }

    fn read_chunk(
        &mut self,
        rest: &[u8],
        out: &mut Vec<u8>,
    ) -> (ChunkKind, usize, Result<(), ChunkFault>) {
        let Some((&[found, l0, l1, l2], behind)) = rest.split_first_chunk::<CHUNK_HEADER_LENGTH>()
        else {
            let fault = ChunkFault::Cut {
                needed: CHUNK_HEADER_LENGTH,
                remaining: rest.len(),
            };
            return (ChunkKind::Unknown, rest.len(), Err(fault));
        };
        let kind = match found {
            TYPE_IDENTIFIER => ChunkKind::Identifier,
            TYPE_COMPRESSED => ChunkKind::Compressed,
            TYPE_STORED => ChunkKind::Stored,
            FIRST_SKIPPABLE_TYPE.. => ChunkKind::Skippable(found),
            _ => ChunkKind::Unknown,
        };
        let body_length = u32::from_le_bytes([l0, l1, l2, 0]) as usize;
        let needed = CHUNK_HEADER_LENGTH + body_length;
        let length = needed.min(rest.len());
        let body = behind.get(..body_length);
        let outcome = if !self.identified && kind != ChunkKind::Identifier {
            Err(ChunkFault::NoIdentifier { found })
        } else if let Some(body) = body {
            self.read_body(kind, found, body, out)
        } else {
            Err(ChunkFault::Cut {
                needed,
                remaining: rest.len(),
            })
        };
        (kind, length, outcome)
    }

    fn read_body(
        &mut self,
        kind: ChunkKind,
        found: u8,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ChunkFault> {
        match kind {
            ChunkKind::Skippable(_) => Ok(()),
            ChunkKind::Unknown => Err(ChunkFault::UnknownType { found }),
            ChunkKind::Identifier => {
                self.decoded_most = match body {
                    IDENTIFIER_S2 => CHUNK_DECODED_MAX,
                    IDENTIFIER_SNAPPY => SNAPPY_CHUNK_DECODED_MAX,
                    _ => return Err(ChunkFault::BadIdentifier),
                };
                Ok(())
            }
            ChunkKind::Compressed | ChunkKind::Stored => {
                let (crc, data) = body
                    .split_first_chunk::<CRC_LENGTH>()
                    .filter(|_| body.len() <= DATA_BODY_MAX)
                    .ok_or(ChunkFault::BadLength { length: body.len() })?;
                let start = out.len();
                if kind == ChunkKind::Stored {
                    self.check_decoded_length(data.len() as u64)?;
                    out.extend_from_slice(data);
                } else {
                    self.decode(data, out)?;
                }
                let expected = masked_crc(out.get(start..).unwrap_or_default());
                let found = u32::from_le_bytes(*crc);
                if expected == found {
                    Ok(())
                } else {
                    Err(ChunkFault::Crc { expected, found })
                }
            }
        }
    }

    fn check_decoded_length(&self, length: u64) -> Result<(), ChunkFault> {
        let most = self.decoded_most;
        if length <= most as u64 {
            Ok(())
        } else {
            Err(ChunkFault::DecodedTooLong { length, most })
        }
    }

    fn decode(&self, data: &[u8], out: &mut Vec<u8>) -> Result<(), ChunkFault> {
        let mut reader = Reader::new(data);
        let length = reader
            .uvarint()
            .ok()
            .filter(|&length| {
                reader.offset() <= DECODED_LENGTH_BYTES_MAX && u32::try_from(length).is_ok()
            })
            .ok_or(ChunkFault::BadDecodedLength)?;
        self.check_decoded_length(length)?;
        let start = out.len();
        // At most 4 MiB by the check above.
        out.resize(start + length as usize, 0);
        let target = out.get_mut(start..).unwrap_or_default();
        decode_elements(reader.rest(), target).map_err(|decoded_length| {
            out.truncate(start + decoded_length);
            ChunkFault::Corrupt { decoded_length }
        })
    }
}

const CRC_MASK: u32 = 0xa282_ead8;

fn masked_crc(data: &[u8]) -> u32 {
    mask_crc(crc32c::crc32c(data))
}

/// A CRC-32C in the form chunks store it in.
#[must_use]
pub fn mask_crc(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(CRC_MASK)
}

/// The CRC-32C that a chunk stores as `masked`.
#[must_use]
pub fn unmask_crc(masked: u32) -> u32 {
    masked.wrapping_sub(CRC_MASK).rotate_left(15)
}

/// The decoded length at the front of a compressed chunk's data, which begins behind the checksum: its value, and how
/// many bytes spell it. `None` when it cannot be read or exceeds what any reader accepts.
#[must_use]
pub fn decoded_length(data: &[u8]) -> Option<(usize, usize)> {
    let mut reader = Reader::new(data);
    let length = reader.uvarint().ok()?;
    let spelled = reader.offset();
    (spelled <= DECODED_LENGTH_BYTES_MAX && length <= CHUNK_DECODED_MAX as u64)
        .then_some((length as usize, spelled))
}

pub(super) fn put_stream_identifier(out: &mut Vec<u8>) {
    put_chunk_header(out, TYPE_IDENTIFIER, IDENTIFIER_S2.len());
    out.extend_from_slice(IDENTIFIER_S2);
}

/// Appends `data`, at most 1 MiB, as a chunk: compressed, or as it is where that is no longer.
pub fn put_data_chunk(out: &mut Vec<u8>, data: &[u8]) {
    let encoded = minlz::encode(data);
    let (kind, body) = if encoded.len() < data.len() {
        (TYPE_COMPRESSED, encoded.as_slice())
    } else {
        (TYPE_STORED, data)
    };
    put_chunk_header(out, kind, CRC_LENGTH + body.len());
    out.extend_from_slice(&masked_crc(data).to_le_bytes());
    out.extend_from_slice(body);
}

fn put_chunk_header(out: &mut Vec<u8>, kind: u8, body_length: usize) {
    let [l0, l1, l2, _] = (body_length as u32).to_le_bytes();
    out.extend_from_slice(&[kind, l0, l1, l2]);
}
