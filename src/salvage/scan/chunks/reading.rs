//! What a compressed block's bytes say when no more can be mended: all that decodes, and where it cannot be trusted.

use super::{Break, wrapper};
use crate::format::compression::{
    CHUNK_HEADER_LENGTH, CRC_LENGTH, ChunkFault, ChunkKind, Chunks, CompressionFault,
    decode_leniently, decoded_length,
};
use crate::format::limits::{CHECKSUM_LENGTH, DECODED_BLOCK_MAX};

/// Bytes that spell the decoded length of a full chunk: where it cannot be read, this is the likeliest.
const DECODED_LENGTH_BYTES: usize = 3;

/// Appends what the chunk at `offset` decodes to, and returns where the next begins; `stream_end` or beyond at the end.
/// What is not sound is appended too, as far as it goes, and named in `breaks`.
pub(super) fn read_chunk(
    file: &[u8],
    offset: usize,
    stream_end: usize,
    out: &mut Vec<u8>,
    breaks: &mut Vec<Break>,
) -> usize {
    let start = out.len();
    let mut chunks = Chunks::new(file.get(..stream_end).unwrap_or_default());
    chunks.seek(offset);
    let Some(chunk) = chunks.next_chunk(out) else {
        return stream_end;
    };
    let mut next = chunk.end_offset();
    let fault = match chunk.fault {
        None if out.len() <= DECODED_BLOCK_MAX && is_expected(chunk.kind) => return next,
        None => None,
        Some(fault) => Some(fault),
    };
    if matches!(fault, Some(ChunkFault::Cut { .. })) && is_data(chunk.kind) {
        // The file ends early, so its last eight bytes are of this chunk.
        next = file.len();
    }
    let redo = matches!(
        fault,
        Some(
            ChunkFault::Cut { .. }
                | ChunkFault::Corrupt { .. }
                | ChunkFault::BadDecodedLength
                | ChunkFault::DecodedTooLong { .. }
        )
    );
    if redo && is_data(chunk.kind) {
        out.truncate(start);
        let data_offset = offset + CHUNK_HEADER_LENGTH + CRC_LENGTH;
        let data = file.get(data_offset..next).unwrap_or_default();
        read_leniently(data, chunk.kind, out);
    }
    let mut cause = CompressionFault::Chunk {
        offset,
        // A chunk without data carries no fault of its own: its type is one that no server writes.
        fault: fault.unwrap_or(ChunkFault::UnknownType {
            found: file.get(offset).copied().unwrap_or_default(),
        }),
    };
    if out.len() > DECODED_BLOCK_MAX {
        out.truncate(start);
        next = file.len();
        cause = CompressionFault::TooLong {
            offset,
            most: DECODED_BLOCK_MAX,
        };
    }
    breaks.push(Break {
        content_offset: start,
        content_length: out.len() - start,
        file_offset: offset as u64,
        file_length: (next - offset) as u64,
        cause,
    });
    next
}

/// Appends the eight bytes behind the stream, unless the stream was cut and they were a part of it.
pub(super) fn read_trailer(file: &[u8], offset: usize, out: &mut Vec<u8>) {
    let trailer_offset = file.len().saturating_sub(CHECKSUM_LENGTH);
    if offset <= trailer_offset {
        out.extend_from_slice(file.get(trailer_offset..).unwrap_or_default());
    }
}

/// Notes a break at the end of a block that has no other and fewer bytes than it says: a file cut between two chunks
/// shows nowhere else.
pub(super) fn note_missing_end(file: &[u8], length: usize, breaks: &mut Vec<Break>) {
    let missing = wrapper::original_length(file)
        .and_then(|original| original.checked_sub(length as u64))
        .unwrap_or_default();
    if missing == 0 || !breaks.is_empty() {
        return;
    }
    let offset = file.len().saturating_sub(CHECKSUM_LENGTH);
    breaks.push(Break {
        content_offset: length.saturating_sub(CHECKSUM_LENGTH),
        content_length: 0,
        file_offset: offset as u64,
        file_length: 0,
        cause: CompressionFault::Chunk {
            offset,
            fault: ChunkFault::Cut {
                needed: CHUNK_HEADER_LENGTH + CRC_LENGTH,
                remaining: 0,
            },
        },
    });
}

/// Whether a server writes such chunks. One without data is more likely one whose type was hit.
pub(super) fn is_expected(kind: ChunkKind) -> bool {
    is_data(kind) || kind == ChunkKind::Identifier
}

fn is_data(kind: ChunkKind) -> bool {
    matches!(kind, ChunkKind::Compressed | ChunkKind::Stored)
}

/// Appends all that `data`, which begins behind the chunk's checksum, decodes to. Where decoding breaks off, the length
/// declared is filled up with zeros, so that what comes behind keeps its place.
fn read_leniently(data: &[u8], kind: ChunkKind, out: &mut Vec<u8>) {
    if kind == ChunkKind::Stored {
        out.extend_from_slice(data);
        return;
    }
    let declared = decoded_length(data);
    let spelled = declared.map_or(DECODED_LENGTH_BYTES, |(_, spelled)| spelled);
    let start = out.len();
    let lenient = decode_leniently(data.get(spelled..).unwrap_or_default(), out, None);
    if let Some((length, _)) = declared
        && !lenient.complete
        && length > lenient.length
    {
        out.resize(start + length, 0);
    }
}
