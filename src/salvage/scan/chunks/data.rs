//! The flipped bit among a chunk's compressed bytes.
//!
//! Where to look is told by the first record that does not verify: the bit is in an element that makes a part of it, or
//! in the last one before it that set the distance which a later copy repeats; elements before that made records that
//! verify. Only the fields of a record that its hash does not cover can be wrong unnoticed, and then the chunk's checksum
//! tells. Each try costs what it takes to decode and hash that one record; what passes is proven by the checksum of the
//! chunk, or where there is more damage behind, by the record's own hash.

use std::ops::Range;

use super::super::Hints;
use super::framing::Frame;
use super::records::RecordWalk;
use super::syndrome::{Syndrome, effect, weights};
use super::trial::{Bench, Judge};
use super::{BIT_PAIRS, SINGLE_BITS, Work, apply};
use crate::format::compression::{CRC_LENGTH, Cursor, decode_leniently, decoded_length, mask_crc};
use crate::format::limits::RECORD_HEADER_LENGTH;
use crate::format::record::{RecordFault, parse_at};
use crate::salvage::find::{Patch, Repair, Site};

/// Damaged places mended in one chunk before it is given up.
const MENDS_MAX: usize = 64;

/// Up to this length of the bad record its bits are tried before the arithmetic is done, which takes the whole chunk.
const TRIED_FIRST_LENGTH: usize = 1024;

/// Elements before the bad record that are looked at for one that set the distance it repeats.
const ELEMENTS_BEFORE_MAX: usize = 256;

/// Bits that pass the first test and are examined before the best of them is taken.
const PASSING_MAX: usize = 8;

/// Mends the chunk of `frame` and returns what was mended. `out` holds the content before the chunk and is left so.
pub(super) fn mend(
    file: &mut [u8],
    frame: &Frame,
    hints: &Hints<'_>,
    records: &mut RecordWalk,
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
    };
    while repairs.len() < MENDS_MAX {
        search.bench.decode(out);
        let Some((site, patch)) = search.next_mend(file, out) else {
            break;
        };
        apply(file, patch);
        let was_header = site == Site::ChunkHeader;
        search.bench = Bench::new(file, frame, start);
        search.bench.decode(out);
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
type Flip = (usize, u8);

struct Search<'a, 'h> {
    bench: Bench,
    frame: &'a Frame,
    hints: &'a Hints<'h>,
    records: &'a mut RecordWalk,
    work: &'a mut Work,
    /// Where the first record begins that does not verify.
    bad: Option<usize>,
}

/// What the first bad record looks like.
#[derive(Debug, Clone, Copy)]
struct BadRecord {
    /// Where it begins in the content.
    offset: usize,
    /// Where what made it ends, as far as is known.
    end: usize,
    /// Whether it may reach past the end of the chunk.
    open: bool,
}

impl Search<'_, '_> {
    fn is_proven(&self) -> bool {
        self.bench.is_consistent() && self.bench.computed_crc() == self.bench.crc
    }

    /// The next bits to flip, and what they belong to.
    fn next_mend(&mut self, file: &[u8], out: &mut Vec<u8>) -> Option<(Site, Patch)> {
        if let Some(patch) = self.checksum_field() {
            return Some((Site::ChunkHeader, patch));
        }
        let end = self.bench.end();
        let content = out.get(..end).unwrap_or_default();
        let start = self.bench.start;
        let bad = self
            .records
            .clone()
            .first_bad(content, start, self.hints, self.work);
        self.bad = bad;
        let record = bad.map(|offset| bad_record(content, offset));
        let long = record.is_none_or(|record| record.end - record.offset > TRIED_FIRST_LENGTH);
        if long && let Some(flip) = self.by_arithmetic(out) {
            return Some(self.in_source(flip));
        }
        let mut best = None;
        if let Some(record) = record
            && let Some(flip) = self.by_record(out, record, &SINGLE_BITS, &mut best)
        {
            return Some(self.in_source(flip));
        }
        if !long && let Some(flip) = self.by_arithmetic(out) {
            return Some(self.in_source(flip));
        }
        if let Some(patch) = self.declared_length(file) {
            return Some((Site::ChunkHeader, patch));
        }
        if let Some(record) = record {
            for masks in [&SINGLE_BITS[..], &BIT_PAIRS] {
                let found = self.by_checksum(out, record, masks).or_else(|| {
                    // The single bits have been tried against the record.
                    (masks.len() == BIT_PAIRS.len())
                        .then(|| self.by_record(out, record, masks, &mut best))
                        .flatten()
                });
                if let Some(flip) = found {
                    return Some(self.in_source(flip));
                }
            }
        }
        if let Some(flip) = self.by_distance(out) {
            return Some(self.in_source(flip));
        }
        best.map(|(_, flip)| self.in_source(flip))
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

    /// Tries the bits around the bad record, each by decoding it once more. What passes and leaves the chunk unproven
    /// is kept in `best`, with how far the records then verify.
    fn by_record(
        &mut self,
        out: &mut Vec<u8>,
        record: BadRecord,
        masks: &[u8],
        best: &mut Option<(usize, Flip)>,
    ) -> Option<Flip> {
        let judge = Judge::Record(record.offset);
        let mut passing = 0;
        for cursor in self.suspects(record) {
            for part in self.parts(&cursor, record) {
                for flip in flips(part, masks) {
                    let passes = self
                        .bench
                        .try_flip(out, cursor, flip, judge, self.hints, self.work);
                    if self.work.left == 0 {
                        return None;
                    }
                    if !passes {
                        continue;
                    }
                    let (proven, reached) = self.examine(out, flip);
                    if proven {
                        return Some(flip);
                    }
                    if best.is_none_or(|(most, _)| reached > most) {
                        *best = Some((reached, flip));
                    }
                    passing += 1;
                    if passing == PASSING_MAX {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// The same against the chunk's checksum, for a record that may end in the next chunk.
    fn by_checksum(&mut self, out: &mut [u8], record: BadRecord, masks: &[u8]) -> Option<Flip> {
        if !record.open || self.bench.stored {
            return None;
        }
        let suspects = self.suspects(record);
        let written = suspects
            .iter()
            .map(|cursor| cursor.written as usize)
            .min()?;
        let crc = self.bench.crc_before(written);
        let judge = Judge::Checksum { written, crc };
        for cursor in suspects {
            for part in self.parts(&cursor, record) {
                for flip in flips(part, masks) {
                    if self
                        .bench
                        .try_flip(out, cursor, flip, judge, self.hints, self.work)
                    {
                        return Some(flip);
                    }
                    if self.work.left == 0 {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// The elements that may be at fault for a bad record: those that make it, in order, then those that set the
    /// distance it may repeat, from the nearest.
    fn suspects(&self, record: BadRecord) -> Vec<Cursor> {
        if self.bench.stored {
            return vec![Cursor::default()];
        }
        let trace = &self.bench.trace;
        let first = self.bench.element_at(record.offset);
        let last = self.bench.element_at(record.end.max(record.offset + 1) - 1);
        let mut suspects = trace.get(first..=last).unwrap_or_default().to_vec();
        let before = trace.get(..first).unwrap_or_default();
        for cursor in before.iter().rev().take(ELEMENTS_BEFORE_MAX) {
            let shape = self.bench.shape(cursor);
            if shape.is_some_and(|shape| shape.literal) {
                continue;
            }
            suspects.push(*cursor);
            if shape.is_some_and(|shape| shape.explicit) {
                break;
            }
        }
        suspects
    }

    /// The bytes of an element: what says what it is, and what a literal holds of the bad record.
    fn parts(&self, cursor: &Cursor, record: BadRecord) -> [Range<usize>; 2] {
        let read = cursor.read as usize;
        if self.bench.stored {
            let from = record.offset.saturating_sub(self.bench.start);
            let to = record.end.saturating_sub(self.bench.start);
            return [0..0, from..to];
        }
        match self.bench.shape(cursor) {
            Some(shape) if shape.literal => {
                let made = self.bench.start + cursor.written as usize;
                let from = record.offset.saturating_sub(made).min(shape.length);
                let to = record.end.saturating_sub(made).min(shape.length);
                [
                    read..shape.head_end,
                    shape.head_end + from..shape.head_end + to.max(from),
                ]
            }
            Some(shape) => [read..shape.head_end, 0..0],
            // Cut off: at most a tag and four bytes of length.
            None => [read..(read + 5).min(self.bench.source.len()), 0..0],
        }
    }

    /// Whether the chunk is proven with `flip`, and how far the records verify then.
    fn examine(&mut self, out: &mut Vec<u8>, (at, mask): Flip) -> (bool, usize) {
        let (start, room) = (self.bench.start, out.len());
        let spoilt = out.split_off(start);
        if let Some(byte) = self.bench.source.get_mut(at) {
            *byte ^= mask;
        }
        let consistent = if self.bench.stored {
            out.extend_from_slice(&self.bench.source);
            true
        } else {
            let lenient = decode_leniently(&self.bench.source, out, None);
            lenient.sound && Some(lenient.length) == self.bench.declared
        };
        if let Some(byte) = self.bench.source.get_mut(at) {
            *byte ^= mask;
        }
        let data = out.get(start..).unwrap_or_default();
        let paid = self.work.take(data.len());
        let proven = consistent && crc32c::crc32c(data) == self.bench.crc;
        let mut reached = usize::MAX;
        if !proven && paid {
            let mut walk = self.records.clone();
            reached = walk
                .first_bad(out, start, self.hints, self.work)
                .unwrap_or_default();
        }
        out.truncate(start);
        out.extend_from_slice(&spoilt);
        debug_assert_eq!(out.len(), room);
        (proven, reached)
    }

    /// The bit of a literal that explains the checksum.
    fn by_arithmetic(&mut self, out: &mut Vec<u8>) -> Option<Flip> {
        let length = self.bench.lenient.length;
        if !self.bench.is_consistent() || !self.work.take(length) {
            return None;
        }
        let weights = weights(length, self.bench.copies_backwards());
        let syndrome = Syndrome::new(self.bench.computed_crc() ^ self.bench.crc);
        let mut candidates = self.matching(&weights, |weight| syndrome.single(weight));
        candidates.extend(self.matching(&weights, |weight| syndrome.pair(weight)));
        let bad = self.bad;
        candidates
            .into_iter()
            .take(PASSING_MAX)
            .find(|&flip| self.is_cure(out, flip, bad))
    }

    /// Whether the chunk is proven with `flip`, and the bad record then verifies too, as far as that can be told.
    fn is_cure(&mut self, out: &mut Vec<u8>, flip: Flip, bad: Option<usize>) -> bool {
        let (proven, _) = self.examine(out, flip);
        // Among millions of bits one may satisfy 32 bits of checksum by chance; a record's hash settles it.
        proven && bad.is_none_or(|bad| self.verifies_with(out, flip, bad))
    }

    fn verifies_with(&mut self, out: &mut [u8], flip: Flip, bad: usize) -> bool {
        if bad >= self.bench.end() {
            return true;
        }
        let open = matches!(
            parse_at(out.get(..self.bench.end()).unwrap_or_default(), bad),
            Err(RecordFault::PastEnd { .. } | RecordFault::HeaderCut { .. })
        );
        let element = self
            .bench
            .trace
            .partition_point(|cursor| cursor.read as usize <= flip.0)
            .saturating_sub(1);
        let cursor = self.bench.trace.get(element).copied().unwrap_or_default();
        let judge = Judge::Record(bad);
        open || self
            .bench
            .try_flip(out, cursor, flip, judge, self.hints, self.work)
    }

    /// The bytes of literals whose weight `explains`.
    fn matching(&self, weights: &[u32], explains: impl Fn(u32) -> Option<u8>) -> Vec<Flip> {
        let mut found = Vec::new();
        let mut look = |read: usize, made: Range<usize>| {
            let of_literal = weights.get(made).unwrap_or_default();
            for (position, &weight) in of_literal.iter().enumerate() {
                if let Some(mask) = explains(weight) {
                    found.push((read + position, mask));
                }
            }
        };
        if self.bench.stored {
            look(0, 0..weights.len());
        }
        for cursor in &self.bench.trace {
            if let Some(shape) = self.bench.shape(cursor).filter(|shape| shape.literal) {
                let written = cursor.written as usize;
                look(shape.head_end, written..written + shape.length);
            }
        }
        found
    }

    /// The bit of a copy's distance that explains the checksum, nearest to the bad record first.
    fn by_distance(&mut self, out: &mut Vec<u8>) -> Option<Flip> {
        let _ = (effect, &out);
        None
    }
}

fn flips(part: Range<usize>, masks: &[u8]) -> impl Iterator<Item = Flip> + '_ {
    part.flat_map(move |at| masks.iter().map(move |&mask| (at, mask)))
}

fn bad_record(content: &[u8], offset: usize) -> BadRecord {
    let header_end = (offset + RECORD_HEADER_LENGTH).min(content.len());
    match parse_at(content, offset) {
        Ok(record) => BadRecord {
            offset,
            end: record.end_offset(),
            open: false,
        },
        Err(RecordFault::PastEnd { .. } | RecordFault::HeaderCut { .. }) => BadRecord {
            offset,
            end: content.len(),
            open: true,
        },
        Err(_) => BadRecord {
            offset,
            end: header_end,
            open: false,
        },
    }
}
