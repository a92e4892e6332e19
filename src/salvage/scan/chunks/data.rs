//! The flipped bit among a chunk's compressed bytes.
//!
//! Where to look is told by the first record that does not verify: the bit is in an element that makes a part of it, or
//! in the last one before it that set the distance which a later copy repeats; elements before that made records that
//! verify. Only the fields of a record that its hash does not cover can be wrong unnoticed, and then the chunk's checksum
//! tells. Each try costs what it takes to decode and hash that one record; what passes is proven by the checksum of the
//! chunk, or where there is more damage behind, by the record's own hash.

use super::super::Hints;
use super::budget::{ChunkBudgets, DecodeBudget};
use super::framing::Frame;
use super::records::RecordWalk;
use super::suffix_lengths::Sums;
use super::trial::Bench;
use super::{BIT_PAIRS, SINGLE_BITS, apply};
use crate::format::bit_repair::Patch;
use crate::format::compression::{CRC_LENGTH, decode_leniently, decoded_length, mask_crc};
use crate::format::limits::RECORD_HEADER_LENGTH;
use crate::format::record::{RecordFault, parse_at};
use crate::salvage::findings::{Repair, Site};

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
    purses: &mut ChunkBudgets,
) -> Vec<Repair> {
    let start = out.len();
    let mut repairs = Vec::new();
    let mut bench = Bench::new(file, frame, start);
    bench.decode(out);
    let mut chunk = purses.open(out.len() - start);
    let mut search = Search {
        bench,
        frame,
        hints,
        records: records.clone(),
        work: &mut chunk.work,
        bad: None,
        weights: Vec::new(),
        sums: None,
    };
    search.find_bad(out);
    while repairs.len() < MENDS_MAX {
        let Some((site, patch)) = search.next_mend(file, out) else {
            break;
        };
        apply(file, patch);
        search.bench = Bench::new(file, frame, start);
        search.bench.decode(out);
        search.weights.clear();
        search.sums = None;
        let seq = search
            .bad
            .and_then(|bad| parse_at(out, bad).ok())
            .map(|record| record.sequence());
        repairs.push(Repair {
            site,
            patches: vec![patch],
            seq: seq.filter(|_| site != Site::ChunkHeader),
        });
        if search.is_proven() {
            break;
        }
        let before = search.bad;
        search.find_bad(out);
        if search.bad == before && site == Site::ChunkData {
            // Whatever was tried, it came out otherwise; and would again.
            apply(file, patch);
            repairs.pop();
            break;
        }
        if let (Some(before), Some(after)) = (before, search.bad) {
            search.work.earn(after.saturating_sub(before));
        }
        if !search.work.take(out.len() - start) {
            break;
        }
    }
    out.truncate(start);
    purses.close(&chunk);
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
    /// The records of the content as far as they verify.
    pub records: RecordWalk,
    /// What may still be spent.
    pub work: &'a mut DecodeBudget,
    /// Where the first record begins that does not verify.
    pub bad: Option<usize>,
    /// What each decoded byte does to the checksum; empty until that is computed.
    pub weights: Vec<u32>,
    /// What the elements from any place on make; `None` until that is computed.
    pub sums: Option<Sums>,
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

    /// Looks for the first record that does not verify, from the last one found on.
    fn find_bad(&mut self, out: &[u8]) {
        let content = out.get(..self.bench.end()).unwrap_or_default();
        let start = self.bench.start;
        self.bad = self
            .records
            .first_bad(content, start, self.hints, self.work);
    }

    /// The next bits to flip, and what they belong to: the cheap and the likely first.
    fn next_mend(&mut self, file: &[u8], out: &mut Vec<u8>) -> Option<(Site, Patch)> {
        if let Some(patch) = self.checksum_field() {
            return Some((Site::ChunkHeader, patch));
        }
        let declared_end =
            self.bench.start + self.bench.declared.unwrap_or(self.bench.lenient.length);
        let declared = out.get(..declared_end).unwrap_or(out);
        let record = self
            .bad
            .map(|offset| bad_record(declared, self.bench.end(), offset));
        if record.is_some_and(|record| self.is_blank(record)) {
            return None;
        }
        let short = record.filter(|record| record.length() <= TRIED_FIRST_LENGTH);
        let mut best = None;
        let flip = short
            .or(record.map(BadRecord::header))
            .and_then(|record| self.by_record(out, record, (true, &SINGLE_BITS), &mut best))
            .or_else(|| followed(best))
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
        let flip = record
            .and_then(|record| self.by_longer_search(out, record, short.is_none(), best))
            .or_else(|| self.by_any_distance(out))?;
        Some(self.in_source(flip))
    }

    /// What is left to try of the bad record, dear as it is.
    fn by_longer_search(
        &mut self,
        out: &mut Vec<u8>,
        record: BadRecord,
        is_long: bool,
        mut best: Option<Best>,
    ) -> Option<Flip> {
        let long = (is_long && best.is_none()).then_some(record);
        self.by_record(out, record, (false, &SINGLE_BITS), &mut best)
            .or_else(|| followed(best))
            .or_else(|| self.by_record(out, long?, (true, &SINGLE_BITS), &mut best))
            .or_else(|| followed(best))
            .or_else(|| self.by_checksum(out, record, &SINGLE_BITS))
            .or_else(|| self.by_sums(out, Some(record), &BIT_PAIRS))
            .or_else(|| self.by_record(out, record, (true, &BIT_PAIRS), &mut best))
            .or_else(|| self.by_checksum(out, record, &BIT_PAIRS))
            .or(best.map(|best| best.flip))
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
        let (spelled_now, whole) = (
            self.bench.source_offset - self.frame.data.start,
            self.bench.lenient.sound && self.bench.computed_crc() == self.bench.crc,
        );
        let mut head = data.get(..data.len().min(8))?.to_vec();
        for mask in SINGLE_BITS.into_iter().chain(BIT_PAIRS) {
            for position in 0..4.min(data.len()) {
                *head.get_mut(position)? ^= mask;
                let fits = match decoded_length(&head) {
                    // The elements are the same, and what they make is known.
                    Some((length, spelled)) if spelled == spelled_now => {
                        whole && length == self.bench.lenient.length
                    }
                    Some((length, spelled)) => self.makes(data, &head, (length, spelled)),
                    None => false,
                };
                *head.get_mut(position)? ^= mask;
                if fits {
                    let offset = (self.frame.data.start + position) as u64;
                    return Some(Patch { offset, mask });
                }
            }
        }
        None
    }

    /// Whether `data`, with its first bytes as in `head`, makes `length` bytes of the right checksum from `spelled` on.
    fn makes(&mut self, data: &[u8], head: &[u8], (length, spelled): (usize, usize)) -> bool {
        let mut source = data.to_vec();
        for (byte, &changed) in source.iter_mut().zip(head) {
            *byte = changed;
        }
        let source = source.get(spelled..).unwrap_or_default();
        if !self.work.take(length) {
            return false;
        }
        let mut spare = Vec::new();
        let lenient = decode_leniently(source, &mut spare, None);
        lenient.sound && lenient.length == length && crc32c::crc32c(&spare) == self.bench.crc
    }
}

/// A flip that makes the bad record verify, though not the chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Best {
    /// The flip.
    pub flip: Flip,
    /// How far the records verify with it.
    pub reached: usize,
    /// Whether that is past the bad record.
    pub is_followed: bool,
    /// Whether nothing that can be told speaks against the rest of the chunk.
    pub is_clear: bool,
}

/// The best flip, if the records behind speak for it too: then there is more damage behind those.
fn followed(best: Option<Best>) -> Option<Flip> {
    best.filter(|best| best.is_followed).map(|best| best.flip)
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
