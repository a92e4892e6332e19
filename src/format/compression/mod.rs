//! The compression wrapper of a sealed block.
//!
//! Source: file format reference, section 5. A wrapped block is a short header, an S2 framed stream of the decoded
//! content without its last eight bytes, and those eight bytes as they are. Whether a block is wrapped shows in its
//! bytes alone; no configuration says so.

mod chunks;
mod decode;
mod trace;

use std::fmt;
use std::ops::Range;

pub use chunks::{
    CHUNK_HEADER_LENGTH, CRC_LENGTH, Chunk, ChunkFault, ChunkKind, Chunks, DATA_BODY_MAX,
    IDENTIFIER_CHUNK, TYPE_COMPRESSED, TYPE_STORED, decoded_length, mask_crc, put_data_chunk,
    unmask_crc,
};
pub use trace::{Cursor, Lenient, SPILL, Shape, decode_leniently, element_shape};

use super::checksum::HashKey;
use super::limits::{
    AMBIGUOUS_BLOCK_MIN_LENGTH, CHECKSUM_LENGTH, CHUNK_DECODED_MAX, DECODED_BLOCK_MAX,
};
use super::record::parse_at;
use super::varint::{ReadFault, Reader, put_uvarint};

/// What a wrapped block begins with: the mark, and the number of the only algorithm in use, S2.
pub const MARK: [u8; 4] = *b"cmp\x01";

/// Blocks shorter than this are never taken for wrapped.
const WRAPPED_MIN_LENGTH: usize = MARK.len() + 1;

/// Bytes of decoded content per chunk written.
pub const WRITTEN_CHUNK_LENGTH: usize = 1024 * 1024;

/// The most space reserved ahead of decoding, as a multiple of the input.
const RESERVE_FACTOR: usize = 4;

/// How a block file's (decrypted) bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The bytes are records.
    Plain,
    /// The bytes are wrapped.
    S2 {
        /// Bytes of the decoded content by the writer's account. Informational: nobody checks it.
        original_length: u64,
        /// Where the S2 stream begins; it ends eight bytes before the end of the block.
        payload_offset: usize,
    },
}

/// Why a wrapped block cannot be read as the server reads it. Offsets count from the start of the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompressionFault {
    /// The original length behind the mark is cut off or exceeds 64 bits.
    LengthBroken(ReadFault),
    /// Too few bytes for the trailing checksum.
    TrailerMissing {
        /// Bytes behind the wrapper's header.
        remaining: usize,
    },
    /// A chunk of the stream is bad.
    Chunk {
        /// Where the chunk begins.
        offset: usize,
        /// What is wrong with it.
        fault: ChunkFault,
    },
    /// The decoded content exceeds what this reader holds in memory.
    TooLong {
        /// Where the chunk that exceeds it begins.
        offset: usize,
        /// The most bytes decoded.
        most: usize,
    },
}

impl fmt::Display for CompressionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LengthBroken(fault) => write!(f, "original length of compressed block: {fault}"),
            Self::TrailerMissing { remaining } => write!(
                f,
                "compressed block has {remaining} bytes behind its header, the least is {CHECKSUM_LENGTH}"
            ),
            Self::Chunk { offset, fault } => {
                write!(f, "compressed chunk at offset {offset}: {fault}")
            }
            Self::TooLong { offset, most } => {
                write!(
                    f,
                    "compressed block decodes to more than {most} bytes at offset {offset}"
                )
            }
        }
    }
}

impl std::error::Error for CompressionFault {}

/// Tells a wrapped block from a plain one.
///
/// # Errors
/// [`CompressionFault::LengthBroken`] when the block bears the mark and the length behind it cannot be read.
pub fn detect(block: &[u8]) -> Result<Framing, CompressionFault> {
    if block.len() < WRAPPED_MIN_LENGTH || !block.starts_with(&MARK) {
        return Ok(Framing::Plain);
    }
    let mut reader = Reader::new(block);
    reader
        .bytes(MARK.len())
        .map_err(CompressionFault::LengthBroken)?;
    let original_length = reader.uvarint().map_err(CompressionFault::LengthBroken)?;
    Ok(Framing::S2 {
        original_length,
        payload_offset: reader.offset(),
    })
}

/// Where the S2 stream of a wrapped block lies.
///
/// # Errors
/// [`CompressionFault::TrailerMissing`] when the block has no room for the eight bytes behind the stream.
pub fn stream_range(block: &[u8], payload_offset: usize) -> Result<Range<usize>, CompressionFault> {
    let remaining = block.len().saturating_sub(payload_offset);
    match remaining.checked_sub(CHECKSUM_LENGTH) {
        Some(length) => Ok(payload_offset..payload_offset + length),
        None => Err(CompressionFault::TrailerMissing { remaining }),
    }
}

/// Replaces the content of `out` with the decoded content of `block`, a plain one included.
///
/// Accepts and refuses the blocks the server does, with one exception of its own: content above
/// [`DECODED_BLOCK_MAX`] is refused. Where it fails, [`is_plain_after_all`] tells the one kind of plain block that
/// looks wrapped.
///
/// # Errors
/// Any [`CompressionFault`]. `out` then holds what was decoded before the faulty chunk, without the trailer.
pub fn decompress(block: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionFault> {
    out.clear();
    let Framing::S2 {
        original_length,
        payload_offset,
    } = detect(block)?
    else {
        out.extend_from_slice(block);
        return Ok(());
    };
    let range = stream_range(block, payload_offset)?;
    let stream = block.get(range.clone()).unwrap_or_default();
    let expected = usize::try_from(original_length).unwrap_or(usize::MAX);
    out.reserve(expected.min(stream.len().saturating_mul(RESERVE_FACTOR)));
    let mut chunks = Chunks::new(stream);
    while let Some(chunk) = chunks.next_chunk(out) {
        let offset = payload_offset + chunk.offset;
        if let Some(fault) = chunk.fault {
            out.truncate(chunk.decoded.start);
            return Err(CompressionFault::Chunk { offset, fault });
        }
        if out.len() > DECODED_BLOCK_MAX {
            out.truncate(chunk.decoded.start);
            return Err(CompressionFault::TooLong {
                offset,
                most: DECODED_BLOCK_MAX,
            });
        }
    }
    out.extend_from_slice(block.get(range.end..).unwrap_or_default());
    Ok(())
}

/// Whether a block that bears the mark and does not decompress is a plain one whose first record's length spells it.
///
/// Such a block is at least [`AMBIGUOUS_BLOCK_MIN_LENGTH`] bytes long and begins with a record that is sound down to
/// its checksum and its header length. The caller asks after [`decompress`] has failed, never before.
#[must_use]
pub fn is_plain_after_all(block: &[u8], key: &HashKey) -> bool {
    if block.len() < AMBIGUOUS_BLOCK_MIN_LENGTH {
        return false;
    }
    let Ok(record) = parse_at(block, 0) else {
        return false;
    };
    let mut hashes = Vec::with_capacity(1);
    key.hash_run(block, &[record], &mut hashes);
    hashes.first().copied() == record.stored_hash(block) && record.headers_and_body(block).is_ok()
}

/// Appends `records`, the decoded content of a block, to `out` in wrapped form.
///
/// # Errors
/// [`CompressionFault::TrailerMissing`] when there are fewer than eight bytes; `out` is then left as it was.
pub fn compress(records: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionFault> {
    let Some((content, trailer)) = records.split_last_chunk::<CHECKSUM_LENGTH>() else {
        return Err(CompressionFault::TrailerMissing {
            remaining: records.len(),
        });
    };
    out.extend_from_slice(&MARK);
    put_uvarint(out, records.len() as u64);
    chunks::put_stream_identifier(out);
    for piece in content.chunks(WRITTEN_CHUNK_LENGTH) {
        chunks::put_data_chunk(out, piece);
    }
    out.extend_from_slice(trailer);
    Ok(())
}

/// Decodes `data` as a block and as a block's stream, and checks what decoding promises.
#[doc(hidden)]
pub fn fuzz_one(data: &[u8]) {
    let mut out = Vec::new();
    if decompress(data, &mut out).is_ok() && data.len() >= CHECKSUM_LENGTH {
        let mut wrapped = Vec::new();
        let mut again = Vec::new();
        assert_eq!(compress(&out, &mut wrapped), Ok(()));
        assert_eq!(decompress(&wrapped, &mut again), Ok(()));
        assert!(again == out);
    }
    out.clear();
    let mut chunks = Chunks::new(data);
    let mut end = 0;
    while let Some(chunk) = chunks.next_chunk(&mut out) {
        assert!(chunk.offset >= end && chunk.end_offset() <= data.len());
        assert!(chunk.decoded.end == out.len() && chunk.decoded.len() <= CHUNK_DECODED_MAX);
        end = chunk.end_offset();
        if out.len() > DECODED_BLOCK_MAX / 16 {
            out.clear();
        }
    }
}

#[cfg(test)]
mod tests;
