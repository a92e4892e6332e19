//! Chunk headers: mending them, and finding the next where one is lost.

use std::ops::Range;

use super::{BIT_PAIRS, DecodeBudget, SINGLE_BITS, apply, overwrite, read_sound};
use crate::format::bit_repair::Patch;
use crate::format::compression::{
    CHUNK_HEADER_LENGTH, CRC_LENGTH, DATA_BODY_MAX, TYPE_COMPRESSED, TYPE_STORED,
    WRITTEN_CHUNK_LENGTH, decode_leniently, decoded_length, element_shape,
};
use crate::format::limits::CHUNK_DECODED_MAX;

/// The shortest data chunk: its header, its checksum, and one byte.
pub(super) const SHORTEST: usize = CHUNK_HEADER_LENGTH + CRC_LENGTH + 1;

/// From this type on, readers skip chunks they do not know.
const FIRST_SKIPPABLE_TYPE: u8 = 0x80;

/// A data chunk by its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Where the chunk begins.
    pub offset: usize,
    /// Whether its data is stored as it is.
    pub stored: bool,
    /// Where its data lies, behind the checksum.
    pub data: Range<usize>,
}

/// The data chunk at `offset`, if there is one by its header, and it ends by `end`.
pub(super) fn frame(file: &[u8], offset: usize, end: usize) -> Option<Frame> {
    let header = file.get(offset..end)?.first_chunk()?;
    frame_of(*header, offset, end)
}

fn frame_of([kind, l0, l1, l2]: [u8; 4], offset: usize, end: usize) -> Option<Frame> {
    let body_length = u32::from_le_bytes([l0, l1, l2, 0]) as usize;
    let body = offset + CHUNK_HEADER_LENGTH;
    let fits = body_length > CRC_LENGTH
        && body_length <= DATA_BODY_MAX
        && body_length <= end.saturating_sub(body);
    ((kind == TYPE_COMPRESSED || kind == TYPE_STORED) && fits).then(|| Frame {
        offset,
        stored: kind == TYPE_STORED,
        data: body + CRC_LENGTH..body + body_length,
    })
}

/// Whether a chunk can begin at `offset`, as far as its first bytes tell; or the stream ends there.
fn is_plausible(file: &[u8], offset: usize, end: usize) -> bool {
    if offset == end {
        return true;
    }
    let Some(frame) = frame(file, offset, end) else {
        return false;
    };
    if frame.stored {
        return frame.data.len() <= CHUNK_DECODED_MAX;
    }
    let data = file.get(frame.data).unwrap_or_default();
    // A chunk is compressed where that makes it shorter, and the first element has nothing to copy from.
    decoded_length(data).is_some_and(|(length, spelled)| {
        length > 0
            && data.len() <= length + spelled
            && element_shape(data, spelled, 0).is_some_and(|shape| shape.literal)
    })
}

/// Whether the header of the chunk at `offset` leads to another chunk, or to the end of the stream.
pub(super) fn is_framed(file: &[u8], offset: usize, end: usize) -> bool {
    frame(file, offset, end).is_some_and(|frame| is_plausible(file, frame.data.end, end))
}

/// Whether the chunk at `offset` ends by `next`, and its elements make what it declares.
pub(super) fn fills_its_frame(file: &[u8], offset: usize, next: usize) -> bool {
    let Some(frame) = frame(file, offset, next).filter(|frame| !frame.stored) else {
        return false;
    };
    let data = file.get(frame.data).unwrap_or_default();
    decoded_length(data).is_some_and(|(length, spelled)| {
        let mut out = Vec::new();
        let lenient = decode_leniently(data.get(spelled..).unwrap_or_default(), &mut out, None);
        lenient.sound && lenient.length == length
    })
}

/// Whether a chunk without data begins at `offset` and leads to `next`.
pub(super) fn is_skippable(file: &[u8], offset: usize, next: usize) -> bool {
    let chunk = file.get(offset..).and_then(|rest| rest.first_chunk());
    chunk.is_some_and(|&[kind, l0, l1, l2]| {
        let length = u32::from_le_bytes([l0, l1, l2, 0]) as usize;
        kind >= FIRST_SKIPPABLE_TYPE && offset + CHUNK_HEADER_LENGTH + length == next
    })
}

/// Whether the header at `offset` is one of a chunk that the end of the file has cut.
pub(super) fn may_be_cut(file: &[u8], offset: usize, end: usize) -> bool {
    let header = file.get(offset..).and_then(|rest| rest.first_chunk());
    header.is_some_and(|header: &[u8; 4]| {
        frame_of(*header, offset, usize::MAX).is_some_and(|frame| frame.data.end > end)
    })
}

/// Whether the chunk at `offset` is sound. `out` holds the content before it and is left so.
fn is_sound(
    file: &[u8],
    offset: usize,
    end: usize,
    out: &mut Vec<u8>,
    work: &mut DecodeBudget,
) -> bool {
    let Some(frame) = frame(file, offset, end) else {
        return false;
    };
    let data = file.get(frame.data).unwrap_or_default();
    let cost = match decoded_length(data) {
        Some((length, _)) if !frame.stored => length,
        _ => data.len(),
    };
    if !work.take(cost) {
        return false;
    }
    let start = out.len();
    let sound = read_sound(file, offset, end, out).is_some();
    out.truncate(start);
    sound
}

/// Flips the bit of the header at `offset`, or the two neighbouring ones, that make the chunk sound.
pub(super) fn mend_header(
    file: &mut [u8],
    offset: usize,
    end: usize,
    out: &mut Vec<u8>,
    work: &mut DecodeBudget,
) -> Option<Patch> {
    for mask in SINGLE_BITS.into_iter().chain(BIT_PAIRS) {
        for position in 0..CHUNK_HEADER_LENGTH {
            let patch = Patch {
                offset: (offset + position) as u64,
                mask,
            };
            apply(file, patch);
            if is_framed(file, offset, end) && is_sound(file, offset, end, out, work) {
                return Some(patch);
            }
            apply(file, patch);
        }
    }
    None
}

/// Where the next chunk begins, looked for from `from` on: one that is sound, or a full one whose header leads to
/// another.
pub(super) fn next_chunk(
    file: &[u8],
    from: usize,
    end: usize,
    out: &mut Vec<u8>,
    work: &mut DecodeBudget,
) -> Option<usize> {
    (from..end).find(|&offset| {
        let kind = file.get(offset).copied().unwrap_or(u8::MAX);
        if kind != TYPE_COMPRESSED && kind != TYPE_STORED {
            return false;
        }
        let Some(frame) = frame(file, offset, end) else {
            return false;
        };
        if !is_plausible(file, offset, end) {
            return false;
        }
        let leads_on = is_plausible(file, frame.data.end, end);
        let data = file.get(frame.data).unwrap_or_default();
        let declared = decoded_length(data).map_or(0, |(length, _)| length);
        if frame.stored {
            let likely = leads_on || data.len() == WRITTEN_CHUNK_LENGTH;
            return likely && is_sound(file, offset, end, out, work);
        }
        (leads_on && declared == WRITTEN_CHUNK_LENGTH) || is_sound(file, offset, end, out, work)
    })
}

/// Makes the chunk at `offset` end at `next`, and returns the bits that takes; none where there is no room for one.
pub(super) fn rebuild_header(
    file: &mut [u8],
    offset: usize,
    next: usize,
    out: &mut Vec<u8>,
    work: &mut DecodeBudget,
) -> Vec<Patch> {
    let Some(body_length) = next
        .checked_sub(offset + CHUNK_HEADER_LENGTH)
        .filter(|&length| length > CRC_LENGTH)
    else {
        return Vec::new();
    };
    // A longer gap than any chunk fills is led over by the longest header; the reader then loses the rest.
    let [l0, l1, l2, _] = (body_length.min(DATA_BODY_MAX) as u32).to_le_bytes();
    let found = file.get(offset).copied();
    let mut patches = overwrite(file, offset, &[TYPE_STORED, l0, l1, l2]);
    if found == Some(TYPE_STORED) || is_sound(file, offset, next, out, work) {
        return patches;
    }
    for patch in &patches {
        apply(file, *patch);
    }
    patches = overwrite(file, offset, &[TYPE_COMPRESSED, l0, l1, l2]);
    patches
}
