//! The decoded content of a compressed block, damaged or not.
//!
//! A compressed block is a wrapper, a chain of chunks and eight bytes as they are (file format reference, section 5).
//! Each chunk is compressed by itself and carries a checksum of what it decodes to, so damage stays in its chunk, and a
//! mend is proven by that checksum and by the hashes of the records that come out. The steps, each in its own file:
//!
//! 1. `wrapper`: is the block compressed, though its front be damaged? Where does the first chunk begin?
//! 2. `framing`: chunk headers that one flipped bit explains; else where the next chunk begins;
//! 3. `data`: the flipped bit among a chunk's compressed bytes. The records tell where to look (`records`); a bit is
//!    tried by decoding the record it spoils once more (`trial`), or found by arithmetic, as the checksum is linear
//!    (`arithmetic`, `syndrome`);
//! 4. `reading`: what the bytes say once nothing more can be mended, read without any search. [`unwrap`] and
//!    [`unwrap_again`] both end here, so they read the same.
//!
//! Time is linear in the bytes of the file and of the content, and beyond that bounded for each block and each chunk as
//! `work` says; at most 64 places are mended in a chunk. Memory: the content, at most 256 MiB, and for the chunk at hand,
//! at most 4 MiB decoded, some thirty bytes per byte.

mod arithmetic;
mod budget;
mod data;
mod framing;
mod reading;
mod records;
mod search;
mod suffix_lengths;
mod syndrome;
#[cfg(test)]
mod tests;
mod trial;
mod wrapper;

use super::Hints;
use crate::format::bit_repair::Patch;
use crate::format::compression::{Chunks, CompressionFault};
use crate::format::limits::{CHECKSUM_LENGTH, DECODED_BLOCK_MAX};
use crate::salvage::findings::{Repair, Site};
use budget::{ChunkBudgets, DecodeBudget};
use records::RecordWalk;

/// Decoded bytes that are suspect or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// Where they begin in the decoded content.
    pub content_offset: usize,
    /// How many there are; how many there should be is not known.
    pub content_length: usize,
    /// The bytes of the file they come from.
    pub file_offset: u64,
    /// How many of the file.
    pub file_length: u64,
    /// What is wrong with them.
    pub cause: CompressionFault,
}

/// What getting a block's content came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unwrapped {
    /// Whether the block is compressed.
    pub compressed: bool,
    /// What was mended, in file order. Where a header is lost for good, one that leads over the damage is put in its
    /// place; there is then a break as well.
    pub repairs: Vec<Repair>,
    /// What could not be mended, in order.
    pub breaks: Vec<Break>,
}

/// Replaces the content of `out` with the decoded content of a block whose decrypted bytes are in `file`; a plain block
/// is its own content. What a flipped bit explains is mended in `file`.
pub fn unwrap(file: &mut [u8], hints: &Hints<'_>, out: &mut Vec<u8>) -> Unwrapped {
    out.clear();
    let mut unwrapped = Unwrapped::default();
    let mut work = DecodeBudget {
        left: hints.work_limit,
    };
    let Some(first) = wrapper::recognise(file, hints, &mut work, &mut unwrapped.repairs) else {
        out.extend_from_slice(file);
        return unwrapped;
    };
    unwrapped.compressed = true;
    let mut mender = Mender {
        hints,
        stream_end: file.len().saturating_sub(CHECKSUM_LENGTH).max(first),
        records: RecordWalk::default(),
        purses: ChunkBudgets::new(hints.work_limit),
        repairs: &mut unwrapped.repairs,
    };
    let mut offset = first;
    while offset < mender.stream_end {
        let start = out.len();
        offset = match read_sound(file, offset, mender.stream_end, out) {
            Some(next) => next,
            None => {
                out.truncate(start);
                mender.mend_chunk(file, offset, out);
                out.truncate(start);
                let count = unwrapped.breaks.len();
                let stream_end = mender.stream_end;
                let next =
                    reading::read_chunk(file, offset, stream_end, out, &mut unwrapped.breaks);
                if unwrapped.breaks.len() > count {
                    mender.records.lose();
                }
                next
            }
        };
    }
    reading::read_trailer(file, offset, out);
    if unwrapped.breaks.is_empty() {
        wrapper::mend_original_length(file, out.len(), &mut unwrapped.repairs);
    }
    reading::note_missing_end(file, out.len(), &mut unwrapped.breaks);
    unwrapped
        .repairs
        .sort_by_key(|repair| repair.patches.first().map_or(0, |patch| patch.offset));
    unwrapped
}

/// Reads again what [`unwrap`] read: `file` holds the block's decrypted bytes as they lie on disk, and `patches` are
/// those of its repairs. Nothing is searched for, so the time is linear.
pub fn unwrap_again(
    file: &mut [u8],
    patches: impl Iterator<Item = Patch>,
    out: &mut Vec<u8>,
) -> Vec<Break> {
    for patch in patches {
        apply(file, patch);
    }
    out.clear();
    let mut breaks = Vec::new();
    let Some(mut offset) = wrapper::first_chunk(file) else {
        out.extend_from_slice(file);
        return breaks;
    };
    let stream_end = file.len().saturating_sub(CHECKSUM_LENGTH).max(offset);
    while offset < stream_end {
        offset = reading::read_chunk(file, offset, stream_end, out, &mut breaks);
    }
    reading::read_trailer(file, offset, out);
    reading::note_missing_end(file, out.len(), &mut breaks);
    breaks
}

/// Appends the data of the chunk at `offset`, if nothing is wrong with it, and returns where the next begins.
fn read_sound(file: &[u8], offset: usize, stream_end: usize, out: &mut Vec<u8>) -> Option<usize> {
    let mut chunks = Chunks::new(file.get(..stream_end)?);
    chunks.seek(offset);
    let chunk = chunks.next_chunk(out)?;
    let sound =
        chunk.fault.is_none() && reading::is_expected(chunk.kind) && out.len() <= DECODED_BLOCK_MAX;
    sound.then(|| chunk.end_offset())
}

/// Flips the bits of `patch` in `file`.
fn apply(file: &mut [u8], patch: Patch) {
    let byte = usize::try_from(patch.offset)
        .ok()
        .and_then(|offset| file.get_mut(offset));
    if let Some(byte) = byte {
        *byte ^= patch.mask;
    }
}

/// Puts `wanted` at `offset` of `file`, and returns the bits that takes.
fn overwrite(file: &mut [u8], offset: usize, wanted: &[u8]) -> Vec<Patch> {
    let found = file.get_mut(offset..).unwrap_or_default();
    found
        .iter_mut()
        .zip(wanted)
        .enumerate()
        .filter_map(|(position, (byte, &wanted))| {
            let mask = std::mem::replace(byte, wanted) ^ wanted;
            let offset = (offset + position) as u64;
            (mask != 0).then_some(Patch { offset, mask })
        })
        .collect()
}

/// How many bits differ between the bytes at `offset` and `wanted`; `None` where there are fewer.
fn bits_off(file: &[u8], offset: usize, wanted: &[u8]) -> Option<u32> {
    let found = file.get(offset..)?.get(..wanted.len())?;
    Some(
        found
            .iter()
            .zip(wanted)
            .map(|(found, wanted)| (found ^ wanted).count_ones())
            .sum(),
    )
}

/// The masks a byte is tried with: each single bit, then each two neighbouring ones.
const SINGLE_BITS: [u8; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
const BIT_PAIRS: [u8; 7] = [3, 6, 12, 24, 48, 96, 192];

struct Mender<'a> {
    hints: &'a Hints<'a>,
    stream_end: usize,
    records: RecordWalk,
    purses: ChunkBudgets,
    repairs: &'a mut Vec<Repair>,
}

impl Mender<'_> {
    /// Mends the chunk at `offset` of `file`, which is not sound, as far as that can be done; `out` holds the content
    /// before it and is left so.
    fn mend_chunk(&mut self, file: &mut [u8], offset: usize, out: &mut Vec<u8>) {
        let end = self.stream_end;
        let work = &mut self.purses.framing;
        if let Some(patch) = framing::mend_header(file, offset, end, out, work) {
            self.note(Site::ChunkHeader, vec![patch], None);
            return;
        }
        if framing::is_framed(file, offset, end) {
            self.mend_data(file, offset, out);
            return;
        }
        let next = framing::next_chunk(file, offset + framing::SHORTEST, end, out, work);
        if framing::fills_its_frame(file, offset, next.unwrap_or(end)) {
            // The header is right, and it is the next chunk's that is not.
            self.mend_data(file, offset, out);
            return;
        }
        if next.is_none() && framing::may_be_cut(file, offset, end)
            || framing::is_skippable(file, offset, next.unwrap_or(end))
        {
            return;
        }
        let patches = framing::rebuild_header(file, offset, next.unwrap_or(end), out, work);
        if !patches.is_empty() {
            self.note(Site::ChunkHeader, patches, None);
        }
    }

    fn mend_data(&mut self, file: &mut [u8], offset: usize, out: &mut Vec<u8>) {
        let Some(frame) = framing::frame(file, offset, self.stream_end) else {
            return;
        };
        self.records
            .catch_up(out, self.hints, &mut self.purses.records);
        let mut found = data::mend(
            file,
            &frame,
            self.hints,
            &self.records,
            out,
            &mut self.purses,
        );
        self.repairs.append(&mut found);
    }

    fn note(&mut self, site: Site, patches: Vec<Patch>, seq: Option<u64>) {
        self.repairs.push(Repair { site, patches, seq });
    }
}
