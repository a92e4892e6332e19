//! The content of a compressed block that does not decode as a whole: chunk after chunk, over damaged ones.
//!
//! A damaged chunk keeps its place, and what it decodes to; records in it stand or fall by their own hash. Where it does not
//! lead to a sound one, the next that verifies is looked for byte by byte. No bit is mended: that is what salvage is for.
//!
//! # Bounds
//!
//! The content grows to [`DECODED_BLOCK_MAX`] and a chunk at the most. Looking for chunks decodes at most
//! [`SEARCH_PER_BYTE`] bytes for each byte of the block and [`SEARCH_LEAST`] besides; what is left of the block is given up
//! then.

use crate::block::content;
use crate::format::checksum::HashKey;
use crate::format::compression::{
    CHUNK_HEADER_LENGTH, CRC_LENGTH, Chunk, ChunkFault, ChunkKind, Chunks, DATA_BODY_MAX, Framing,
    IDENTIFIER_CHUNK, TYPE_COMPRESSED, TYPE_STORED, WRITTEN_CHUNK_LENGTH, decode_leniently,
    decoded_length, detect,
};
use crate::format::limits::{CHECKSUM_LENGTH, CHUNK_DECODED_MAX, DECODED_BLOCK_MAX};
use crate::format::record::parse_at;

/// Bytes decoded in search of chunks, for each byte of the block.
const SEARCH_PER_BYTE: usize = 16;

/// The same for a block of any size: what one chunk at its longest may decode to.
const SEARCH_LEAST: usize = CHUNK_DECODED_MAX;

/// The wrapper's mark and the length behind it take no more than this.
const WRAPPER_MAX: usize = 14;

/// A compressed byte stands for this many at the most when it is told what undecodable bytes had room for.
const COMPRESSION_MAX: u64 = 64;

/// Clearing space is so many times as fast as decoding into it.
const CLEARING_SHARE: usize = 16;

/// Bytes that spell the decoded length of a chunk of 1 MiB, as the server writes them.
const USUAL_LENGTH_BYTES: usize = 3;

/// Whether a block was compressed, by the identifier of its S2 stream, although its mark does not say so and no record
/// stands at its head.
pub(super) fn lost_its_mark(block: &[u8], hash_key: &HashKey) -> bool {
    if !matches!(detect(block), Ok(Framing::Plain)) || identifier_at(block).is_none() {
        return false;
    }
    !parse_at(block, 0).is_ok_and(|record| content::verifies(&record, block, hash_key))
}

/// Where the identifier of an S2 stream begins, near the start of a block.
fn identifier_at(block: &[u8]) -> Option<usize> {
    (0..=WRAPPER_MAX).find(|at| {
        block
            .get(*at..)
            .is_some_and(|rest| rest.starts_with(&IDENTIFIER_CHUNK))
    })
}

/// What is known of content that was decoded over damage.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Damaged {
    /// How many bytes of content may be missing.
    pub missing: u64,
    /// Where the content of a sound chunk begins behind that of a damaged one, ascending.
    pub resumes: Vec<usize>,
}

/// Puts the content of a damaged compressed block into `out`, zeros where nothing decodes.
pub(super) fn content_over_damage(block: &[u8], out: &mut Vec<u8>) -> Damaged {
    out.clear();
    let begin = identifier_at(block).unwrap_or_else(|| match detect(block) {
        Ok(Framing::S2 { payload_offset, .. }) => payload_offset,
        _ => 0,
    });
    let end = block.len().saturating_sub(CHECKSUM_LENGTH).max(begin);
    let mut walk = Walk {
        stream: block.get(begin..end).unwrap_or_default(),
        to_the_end: block.get(begin..).unwrap_or_default(),
        budget: block
            .len()
            .saturating_mul(SEARCH_PER_BYTE)
            .saturating_add(SEARCH_LEAST),
        scratch: Vec::new(),
        damaged: Damaged::default(),
    };
    walk.run(out);
    // The content's last bytes stand behind the stream as they are.
    out.extend_from_slice(block.get(end..).unwrap_or_default());
    walk.damaged
}

/// A walk over the chunks of one stream.
struct Walk<'a> {
    stream: &'a [u8],
    /// The stream with what lies behind it: all of it is stream where the block was cut off.
    to_the_end: &'a [u8],
    /// Bytes that may still be decoded in search of chunks.
    budget: usize,
    scratch: Vec<u8>,
    damaged: Damaged,
}

impl Walk<'_> {
    fn run(&mut self, out: &mut Vec<u8>) {
        let mut chunks = Chunks::new(self.stream);
        while out.len() < DECODED_BLOCK_MAX
            && let Some(chunk) = chunks.next_chunk(out)
        {
            let Some(fault) = &chunk.fault else { continue };
            let next = self.next_sound(&chunk);
            let kept = matches!(fault, ChunkFault::Crc { .. }) && next == Some(chunk.end_offset());
            if !kept && !matches!(chunk.kind, ChunkKind::Identifier) {
                out.truncate(chunk.decoded.start);
                self.decode_what_goes(chunk.offset, next, out);
            }
            self.damaged.resumes.push(out.len());
            match next {
                Some(next) => chunks.seek(next),
                None => return,
            }
        }
    }

    /// Where the walk goes on behind a damaged chunk: where it ends, or else at the next chunk that verifies.
    fn next_sound(&mut self, bad: &Chunk) -> Option<usize> {
        let cut = matches!(bad.fault, Some(ChunkFault::Cut { .. }));
        let end = bad.end_offset();
        if !cut && (end == self.stream.len() || self.is_sound(end)) {
            return Some(end);
        }
        // Few places look like a chunk that leads to another; only where there is none is every other tried.
        let mut places = bad.offset + 1..self.stream.len();
        let likely = places
            .clone()
            .find(|at| self.leads_on(*at) && self.is_sound(*at));
        likely.or_else(|| places.find(|at| !self.leads_on(*at) && self.is_sound(*at)))
    }

    /// Whether the chunk that may begin at `at` ends with the stream, or where another may begin.
    fn leads_on(&self, at: usize) -> bool {
        let rest = self.stream.get(at..).unwrap_or_default();
        let Some(&[_, l0, l1, l2]) = rest.first_chunk::<CHUNK_HEADER_LENGTH>() else {
            return false;
        };
        let length = CHUNK_HEADER_LENGTH + u32::from_le_bytes([l0, l1, l2, 0]) as usize;
        match rest.get(length..) {
            None => false,
            Some([]) => true,
            Some(next) => decoding_cost(next).is_some(),
        }
    }

    /// Whether a data chunk begins at `at` and matches its checksum.
    fn is_sound(&mut self, at: usize) -> bool {
        let rest = self.stream.get(at..).unwrap_or_default();
        let Some(most) = decoding_cost(rest).filter(|most| *most <= self.budget) else {
            return false;
        };
        self.scratch.clear();
        let mut chunks = Chunks::new(self.stream);
        chunks.seek(at);
        let chunk = chunks.next_chunk(&mut self.scratch);
        // What looks like a chunk and is none breaks off early: then little but clearing its space was paid for.
        // Data stored as it is is copied and summed, as quickly.
        let is_stored = rest.first() == Some(&TYPE_STORED);
        let decoded = chunk.as_ref().filter(|_| !is_stored);
        let spent = decoded.map_or(0, |chunk| chunk.decoded.len());
        let spent = spent.max(most / CLEARING_SHARE).max(1);
        self.budget = self.budget.saturating_sub(spent);
        chunk.is_some_and(|chunk| chunk.fault.is_none())
    }

    /// Appends what the damaged chunk at `offset`, which ends before `next`, decodes to.
    fn decode_what_goes(&mut self, offset: usize, next: Option<usize>, out: &mut Vec<u8>) {
        let start = out.len();
        let bytes = match next {
            Some(next) => self.stream.get(offset..next),
            None => self.to_the_end.get(offset..),
        }
        .unwrap_or_default();
        let data = bytes.get(CHUNK_HEADER_LENGTH + CRC_LENGTH..);
        let data = data.unwrap_or_default();
        if bytes.first() == Some(&TYPE_STORED) {
            let most = data.len().min(CHUNK_DECODED_MAX);
            out.extend_from_slice(data.get(..most).unwrap_or_default());
            return;
        }
        let told = decoded_length(data);
        let spelled = told.map_or(USUAL_LENGTH_BYTES, |(_, spelled)| spelled);
        let elements = data.get(spelled..).unwrap_or_default();
        decode_leniently(elements, out, None);
        let unknown = (bytes.len() as u64).saturating_mul(COMPRESSION_MAX);
        match told {
            Some((length, _)) => out.resize(start + length, 0),
            None => self.damaged.missing = self.damaged.missing.saturating_add(unknown),
        }
    }
}

/// What it costs to decode the data chunk that may stand at the front of `rest`; `None` for what no writer makes.
fn decoding_cost(rest: &[u8]) -> Option<usize> {
    let (&[kind, l0, l1, l2], behind) = rest.split_first_chunk::<CHUNK_HEADER_LENGTH>()?;
    if kind != TYPE_COMPRESSED && kind != TYPE_STORED {
        return None;
    }
    let length = u32::from_le_bytes([l0, l1, l2, 0]) as usize;
    let data = behind.get(CRC_LENGTH..length)?;
    if data.is_empty() || length > DATA_BODY_MAX {
        return None;
    }
    if kind == TYPE_STORED {
        return (data.len() <= WRITTEN_CHUNK_LENGTH).then_some(data.len());
    }
    // Data that compression does not make shorter is stored as it is.
    let (decoded, _) = decoded_length(data)?;
    (data.len()..=WRITTEN_CHUNK_LENGTH)
        .contains(&decoded)
        .then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::compression::{compress, decompress};
    use crate::format::record::{NewRecord, encode_record};
    use proptest::prelude::*;

    fn key() -> HashKey {
        HashKey::for_block(b"S", 1)
    }

    /// Records worth three chunks of content, and the block they make.
    fn block() -> (Vec<u8>, Vec<u8>) {
        let mut records = Vec::new();
        let mut noise = 1_u64;
        for sequence in 1..=3_000 {
            let body: Vec<u8> = (0..800)
                .map(|at| {
                    noise = noise
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(at);
                    // Half of it compresses.
                    if at % 2 == 0 {
                        b'x'
                    } else {
                        (noise >> 60) as u8
                    }
                })
                .collect();
            let record = NewRecord::Message {
                sequence,
                timestamp_ns: 1,
                subject: b"orders.1",
                headers: b"",
                body: &body,
            };
            encode_record(&mut records, &key(), &record).expect("a record");
        }
        let mut block = Vec::new();
        compress(&records, &mut block).expect("a block");
        (records, block)
    }

    fn chunks_of(block: &[u8]) -> Vec<(usize, usize)> {
        let begin = identifier_at(block).expect("an identifier");
        let stream = &block[begin..block.len() - CHECKSUM_LENGTH];
        let mut out = Vec::new();
        let mut found = Vec::new();
        let mut chunks = Chunks::new(stream);
        while let Some(chunk) = chunks.next_chunk(&mut out) {
            assert_eq!(chunk.fault, None);
            found.push((begin + chunk.offset, begin + chunk.end_offset()));
        }
        found
    }

    /// Bytes of `out` that are where they were in `records`.
    fn in_place(records: &[u8], out: &[u8]) -> usize {
        records.iter().zip(out).filter(|(a, b)| a == b).count()
    }

    #[test]
    fn a_sound_block_comes_out_as_it_is() {
        let (records, block) = block();
        let mut out = Vec::new();
        assert_eq!(content_over_damage(&block, &mut out), Damaged::default());
        assert!(out == records);
        assert!(
            chunks_of(&block).len() >= 4,
            "the identifier, and three chunks"
        );
    }

    #[test]
    fn chunks_behind_a_damaged_one_keep_their_place() {
        let (records, block) = block();
        let (from, to) = chunks_of(&block)[1];
        // In the checksum, the decoded length, and the data.
        for hit in [from + 4, from + 40_000, (from + to) / 2, to - 1] {
            let mut bytes = block.clone();
            bytes[hit] ^= 0x10;
            let mut out = Vec::new();
            assert!(decompress(&bytes, &mut out).is_err(), "{hit}");
            content_over_damage(&bytes, &mut out);
            assert_eq!(out.len(), records.len(), "{hit}");
            assert!(out[1 << 20..] == records[1 << 20..], "{hit}");
        }
    }

    #[test]
    fn a_damaged_chunk_length_or_type_does_not_hide_what_follows() {
        let (records, block) = block();
        let (from, _) = chunks_of(&block)[1];
        for (at, flip) in [
            (0, 0x40),
            (0, 0x01),
            (1, 0x01),
            (2, 0x80),
            (3, 0x01),
            (3, 0x80),
        ] {
            let mut bytes = block.clone();
            bytes[from + at] ^= flip;
            let mut out = Vec::new();
            content_over_damage(&bytes, &mut out);
            let behind = &records[1 << 20..];
            assert!(out.ends_with(behind), "byte {at}, bit {flip:#x}");
        }
    }

    #[test]
    fn a_block_cut_off_gives_what_came_before() {
        let (records, block) = block();
        let (from, to) = chunks_of(&block)[2];
        let mut out = Vec::new();
        content_over_damage(&block[..(from + to) / 2], &mut out);
        assert!(in_place(&records, &out) > (1 << 20) + (1 << 18));
    }

    #[test]
    fn a_block_without_its_mark_is_told_by_the_identifier() {
        let (records, mut block) = block();
        assert!(!lost_its_mark(&block, &key()) && !lost_its_mark(&records, &key()));
        block[1] ^= 4;
        assert!(lost_its_mark(&block, &key()));
        let mut out = Vec::new();
        content_over_damage(&block, &mut out);
        assert!(out == records);
    }

    #[test]
    fn the_search_is_paid_for_by_a_budget() {
        // Every twelfth offset claims a chunk of 1 MiB.
        let claim = [
            TYPE_COMPRESSED,
            20,
            0,
            0,
            0,
            0,
            0,
            0,
            0x80,
            0x80,
            0x40,
            0x02,
        ];
        let hostile: Vec<u8> = claim.iter().copied().cycle().take(200_000).collect();
        let mut walk = Walk {
            stream: &hostile,
            to_the_end: &hostile,
            budget: 40 << 20,
            scratch: Vec::new(),
            damaged: Damaged::default(),
        };
        let sound = (0..hostile.len()).filter(|at| walk.is_sound(*at)).count();
        assert_eq!(sound, 0);
        assert!(walk.budget < 1 << 20, "{}", walk.budget);
    }

    proptest! {
        #[test]
        fn any_bytes_give_some_content(mut bytes in prop::collection::vec(any::<u8>(), 0..2_000), marked in any::<bool>()) {
            if marked {
                bytes.splice(0..0, [b"cmp\x01\x20".as_slice(), &IDENTIFIER_CHUNK].concat());
            }
            let mut out = Vec::new();
            content_over_damage(&bytes, &mut out);
            prop_assert!(out.len() <= DECODED_BLOCK_MAX + CHUNK_DECODED_MAX + CHECKSUM_LENGTH);
        }
    }
}
