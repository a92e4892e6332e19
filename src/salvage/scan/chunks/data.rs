//! The flipped bit among a chunk's compressed bytes.
//!
//! Where to look is told by the first record that does not verify: the bit is in an element that makes a part of it, or
//! in the last one before it that set the distance which a later copy repeats; elements before that made records that
//! verify. Only the fields of a record that its hash does not cover can be wrong unnoticed, and then the chunk's checksum
//! tells. Each try costs what it takes to decode and hash that one record; what passes is proven by the checksum of the
//! chunk, or where there is more damage behind, by the record's own hash.

use super::super::Hints;
use super::framing::Frame;
use super::records::RecordWalk;
use super::trial::Bench;
use super::{BIT_PAIRS, SINGLE_BITS, Work, apply};
use crate::format::compression::{CRC_LENGTH, decode_leniently, decoded_length, mask_crc};
use crate::format::limits::RECORD_HEADER_LENGTH;
use crate::format::record::{RecordFault, parse_at};
use crate::salvage::find::{Patch, Repair, Site};

/// Damaged places mended in one chunk before it is given up.
const MENDS_MAX: usize = 64;

/// Up to this length of the bad record its bits are tried before the arithmetic is done, which takes the whole chunk.
const TRIED_FIRST_LENGTH: usize = 1024;

/// Mends the chunk of `frame` and returns what was mended. `out` holds the content before the chunk and is left so.
pub(super) fn mend(
    file: &mut [u8],
    frame: &Frame,
    hints: &Hints<'_>,
    records: &RecordWalk,
    out: &mut Vec<u8>,
    work: &mut Work,
) -> Vec<Repair> {
    let start = out.len();
    let mut repairs = Vec::new();
    let mut search = Search {
        bench: Bench::new(file, frame, start),
        frame,
        hints,
        records,
        work,
        bad: None,
        weights: Vec::new(),
    };
    search.bench.decode(out);
    while repairs.len() < MENDS_MAX {
        let Some((site, patch)) = search.next_mend(file, out) else {
            break;
        };
        apply(file, patch);
        let was_header = site == Site::ChunkHeader;
        search.bench = Bench::new(file, frame, start);
        search.bench.decode(out);
        search.weights.clear();
        let seq = search
            .bad
            .and_then(|bad| parse_at(out, bad).ok())
            .map(|record| record.sequence());
        repairs.push(Repair {
            site,
            patches: vec![patch],
            seq: if was_header { None } else { seq },
        });
        if search.is_proven() {
            break;
        }
        search.work.left = hints.work_limit;
    }
    out.truncate(start);
    repairs
}

/// Where in the source which bits are flipped.
pub(super) type Flip = (usize, u8);

/// The search for the flipped bits of one chunk.
pub(super) struct Search<'a, 'h> {
    /// The chunk.
    pub bench: Bench,
    frame: &'a Frame,
    /// What is known of the block.
    pub hints: &'a Hints<'h>,
    /// The records of the content before the chunk.
    pub records: &'a RecordWalk,
    /// What may still be spent.
    pub work: &'a mut Work,
    /// Where the first record begins that does not verify.
    pub bad: Option<usize>,
    /// What each decoded byte does to the checksum; empty until that is computed.
    pub weights: Vec<u32>,
}

/// What the first bad record looks like.
#[derive(Debug, Clone, Copy)]
pub(super) struct BadRecord {
    /// Where it begins in the content.
    pub offset: usize,
    /// Where it ends in the chunk, as far as is known.
    pub end: usize,
    /// Whether it may reach past the end of the chunk.
    pub open: bool,
}

impl BadRecord {
    fn length(&self) -> usize {
        self.end.saturating_sub(self.offset)
    }

    /// Its header alone: what makes a record seem long is often a wrong length.
    fn header(self) -> Self {
        Self {
            end: self.end.min(self.offset + RECORD_HEADER_LENGTH),
            ..self
        }
    }
}

impl Search<'_, '_> {
    fn is_proven(&self) -> bool {
        self.bench.is_consistent() && self.bench.computed_crc() == self.bench.crc
    }

    /// The next bits to flip, and what they belong to: the cheap and the likely first.
    fn next_mend(&mut self, file: &[u8], out: &mut Vec<u8>) -> Option<(Site, Patch)> {
        if let Some(patch) = self.checksum_field() {
            return Some((Site::ChunkHeader, patch));
        }
        let content = out.get(..self.bench.end()).unwrap_or_default();
        let start = self.bench.start;
        let bad = self
            .records
            .clone()
            .first_bad(content, start, self.hints, self.work);
        self.bad = bad;
        let declared_end = start + self.bench.declared.unwrap_or(self.bench.lenient.length);
        let declared = out.get(..declared_end).unwrap_or(out);
        let record = bad.map(|offset| bad_record(declared, self.bench.end(), offset));
        let short = record.filter(|record| record.length() <= TRIED_FIRST_LENGTH);
        let mut best = None;
        let flip = short
            .or(record.map(BadRecord::header))
            .and_then(|record| self.by_record(out, record, &SINGLE_BITS, &mut best))
            .or_else(|| self.by_first_bad(out))
            .or_else(|| self.by_arithmetic(out))
            .or_else(|| self.by_distance(out, record))
            .or_else(|| self.by_sums(out, record, &SINGLE_BITS));
        if let Some(flip) = flip {
            return Some(self.in_source(flip));
        }
        if let Some(patch) = self.declared_length(file) {
            return Some((Site::ChunkHeader, patch));
        }
        let record = record?;
        let long = (short.is_none() && best.is_none()).then_some(record);
        let flip = long
            .and_then(|record| self.by_record(out, record, &SINGLE_BITS, &mut best))
            .or_else(|| self.by_checksum(out, record, &SINGLE_BITS))
            .or_else(|| self.by_sums(out, Some(record), &BIT_PAIRS))
            .or_else(|| self.by_record(out, record, &BIT_PAIRS, &mut best))
            .or_else(|| self.by_checksum(out, record, &BIT_PAIRS))
            .or(best.map(|(_, flip)| flip))?;
        Some(self.in_source(flip))
    }

    fn in_source(&self, (at, mask): Flip) -> (Site, Patch) {
        let offset = (self.bench.source_offset + at) as u64;
        (Site::ChunkData, Patch { offset, mask })
    }

    /// The stored checksum differs from the right one in the bits of one flip.
    fn checksum_field(&self) -> Option<Patch> {
        if !self.bench.is_consistent() {
            return None;
        }
        let wrong = mask_crc(self.bench.crc) ^ mask_crc(self.bench.computed_crc());
        wrong
            .to_le_bytes()
            .iter()
            .enumerate()
            .find_map(|(position, &mask)| {
                let alone = wrong == u32::from(mask) << (8 * position);
                let flipped = SINGLE_BITS.contains(&mask) || BIT_PAIRS.contains(&mask);
                let offset = (self.frame.data.start - CRC_LENGTH + position) as u64;
                (alone && flipped).then_some(Patch { offset, mask })
            })
    }

    /// The declared length, where another spelling of it makes the chunk sound.
    fn declared_length(&mut self, file: &[u8]) -> Option<Patch> {
        if self.bench.stored {
            return None;
        }
        let data = file.get(self.frame.data.clone())?;
        let mut data = data.to_vec();
        let mut spare = Vec::new();
        for mask in SINGLE_BITS.into_iter().chain(BIT_PAIRS) {
            for position in 0..4.min(data.len()) {
                *data.get_mut(position)? ^= mask;
                let length = decoded_length(&data);
                if let Some((length, spelled)) = length
                    && self.work.take(length)
                {
                    spare.clear();
                    let lenient =
                        decode_leniently(data.get(spelled..).unwrap_or_default(), &mut spare, None);
                    if lenient.sound
                        && lenient.length == length
                        && crc32c::crc32c(&spare) == self.bench.crc
                    {
                        let offset = (self.frame.data.start + position) as u64;
                        return Some(Patch { offset, mask });
                    }
                }
                *data.get_mut(position)? ^= mask;
            }
        }
        None
    }
}

/// The record at `offset` of `content`, which is as long as was declared, and decoded up to `end`.
fn bad_record(content: &[u8], end: usize, offset: usize) -> BadRecord {
    match parse_at(content, offset) {
        Ok(record) => BadRecord {
            offset,
            end: record.end_offset().min(end),
            open: false,
        },
        Err(RecordFault::PastEnd { .. } | RecordFault::HeaderCut { .. }) => BadRecord {
            offset,
            end,
            open: true,
        },
        Err(_) => BadRecord {
            offset,
            end: end.min(offset + RECORD_HEADER_LENGTH),
            open: false,
        },
    }
}
