//! The front of a compressed block: its mark, its original length, the stream identifier.

use std::ops::Range;

use super::super::Hints;
use super::{DecodeBudget, bits_off, framing, overwrite};
use crate::block::content::verifies;
use crate::format::bit_repair::Patch;
use crate::format::compression::{Framing, IDENTIFIER_CHUNK, MARK, detect};
use crate::format::limits::CHECKSUM_LENGTH;
use crate::format::record::parse_at;
use crate::salvage::findings::{Repair, Site};

/// What a stream may also call itself.
const IDENTIFIER_CHUNK_SNAPPY: [u8; 10] = *b"\xff\x06\x00\x00sNaPpY";

/// Bytes that can spell the original length of a block: more than these, and no reader could hold it.
const LENGTH_BYTES_MAX: usize = 5;

/// Bytes that spell the original length of a block of 16 KiB to 2 MiB.
const LENGTH_BYTES_LIKELY: usize = 3;

/// Bits that may differ in what is still recognised: one flipped bit, or two neighbours.
const BITS_OFF_MAX: u32 = 2;

/// Where the first chunk behind the stream identifier begins; `None` for a plain block.
pub(super) fn first_chunk(file: &[u8]) -> Option<usize> {
    let Ok(Framing::S2 { payload_offset, .. }) = detect(file) else {
        return None;
    };
    let payload = file.get(payload_offset..)?;
    if payload.len() == CHECKSUM_LENGTH {
        return Some(payload_offset);
    }
    let identified =
        payload.starts_with(&IDENTIFIER_CHUNK) || payload.starts_with(&IDENTIFIER_CHUNK_SNAPPY);
    identified.then_some(payload_offset + IDENTIFIER_CHUNK.len())
}

/// The same, for a block whose front may be damaged; it is mended then, so that [`first_chunk`] says the same.
pub(super) fn recognise(
    file: &mut [u8],
    hints: &Hints<'_>,
    work: &mut DecodeBudget,
    repairs: &mut Vec<Repair>,
) -> Option<usize> {
    if let Some(first) = first_chunk(file) {
        return Some(first);
    }
    let mark_bits_off = bits_off(file, 0, &MARK)?;
    if parse_at(file, 0).is_ok_and(|record| verifies(&record, file, hints.hash_key)) {
        return None;
    }
    let identifier = (1..=LENGTH_BYTES_MAX)
        .filter_map(|length| {
            Some((
                bits_off(file, MARK.len() + length, &IDENTIFIER_CHUNK)?,
                length,
            ))
        })
        .min()
        .filter(|&(bits, _)| bits <= BITS_OFF_MAX);
    let end = file.len().saturating_sub(CHECKSUM_LENGTH);
    let length_bytes = match (identifier, detect(file)) {
        (Some((_, length_bytes)), _) => length_bytes,
        (None, Ok(Framing::S2 { payload_offset, .. }))
            if framing::is_framed(file, payload_offset + IDENTIFIER_CHUNK.len(), end) =>
        {
            payload_offset - MARK.len()
        }
        _ => {
            let found = framing::next_chunk(file, FRONT_LEAST.start, end, &mut Vec::new(), work);
            // Without the mark or another chunk, nothing says that the block is compressed.
            let first = found.or((mark_bits_off == 0).then_some(end))?;
            if FRONT_LEAST.contains(&first) {
                first - IDENTIFIER_CHUNK.len() - MARK.len()
            } else {
                LENGTH_BYTES_LIKELY
            }
        }
    };
    rebuild(file, length_bytes, repairs);
    first_chunk(file)
}

/// Where the first chunk of a stream can begin.
const FRONT_LEAST: Range<usize> = MARK.len() + 1 + IDENTIFIER_CHUNK.len()
    ..MARK.len() + LENGTH_BYTES_MAX + IDENTIFIER_CHUNK.len() + 1;

/// Puts in place what must be: the mark, an original length of `length_bytes` bytes, the stream identifier.
fn rebuild(file: &mut [u8], length_bytes: usize, repairs: &mut Vec<Repair>) {
    let identifier_offset = MARK.len() + length_bytes;
    let mut note = |site, patches: Vec<Patch>| {
        if !patches.is_empty() {
            repairs.push(Repair {
                site,
                patches,
                seq: None,
            });
        }
    };
    note(Site::Wrapper, overwrite(file, 0, &MARK));
    let spelled: Vec<u8> = file
        .get(MARK.len()..identifier_offset)
        .unwrap_or_default()
        .iter()
        .enumerate()
        .map(|(position, &byte)| continued(byte, position + 1 < length_bytes))
        .collect();
    note(Site::Wrapper, overwrite(file, MARK.len(), &spelled));
    note(
        Site::ChunkHeader,
        overwrite(file, identifier_offset, &IDENTIFIER_CHUNK),
    );
}

/// A byte of a variable-length integer, with another behind it or not.
fn continued(byte: u8, more: bool) -> u8 {
    if more { byte | 0x80 } else { byte & 0x7f }
}

/// Bytes of content that a compressed block says it has.
pub(super) fn original_length(file: &[u8]) -> Option<u64> {
    match detect(file) {
        Ok(Framing::S2 {
            original_length, ..
        }) => Some(original_length),
        _ => None,
    }
}

/// Puts the length of the content, none of which is suspect, where the block tells it, if a flipped bit explains the
/// difference. Some blocks of 2.11 tell less than they hold, and a file cut between two chunks tells more.
pub(super) fn mend_original_length(file: &mut [u8], length: usize, repairs: &mut Vec<Repair>) {
    let length = length as u64;
    let Ok(Framing::S2 {
        original_length,
        payload_offset,
    }) = detect(file)
    else {
        return;
    };
    let length_bytes = payload_offset - MARK.len();
    let fits = length_bytes >= LENGTH_BYTES_MAX || length >> (7 * length_bytes) == 0;
    if original_length == length || !fits {
        return;
    }
    let spelled: Vec<u8> = (0..length_bytes)
        .map(|position| {
            let group = length.checked_shr(7 * position as u32).unwrap_or_default();
            continued(group as u8, position + 1 < length_bytes)
        })
        .collect();
    let bits = bits_off(file, MARK.len(), &spelled).unwrap_or_default();
    if bits > BITS_OFF_MAX {
        return;
    }
    let patches = overwrite(file, MARK.len(), &spelled);
    repairs.push(Repair {
        site: Site::Wrapper,
        patches,
        seq: None,
    });
}
