//! Finding the flipped bit of a chunk by trying bits against a record or the checksum.

use std::ops::Range;

use super::SINGLE_BITS;
use super::data::{BadRecord, Best, Flip, Search};
use super::suffix_lengths::Sums;
use super::trial::Judge;
use crate::format::compression::{Cursor, decode_leniently};
use crate::format::record::{RecordFault, parse_at};

/// Elements before the bad record that are looked at for one that set the distance it repeats.
const ELEMENTS_BEFORE_MAX: usize = 256;

/// Elements just before the bad record that are looked at whatever they are: they may have made more than they do now.
pub(super) const NEIGHBOURS: usize = 8;

/// Bits that pass the first test and are examined before the best of them is taken.
pub(super) const PASSING_MAX: usize = 8;

/// A flip with which so many bytes of records verify is the right one, though there be more damage behind.
const CERTAIN_LENGTH: usize = 16 * 1024;

/// What the sums cost for each compressed byte, as against a byte decoded.
const SUMS_COST: usize = 8;

/// What asking the sums about every bit of a byte costs.
const HEAD_COST: u64 = 64;

impl Search<'_, '_> {
    /// Whether the bad record is in a range of zeros, such as a lost sector leaves: each two are an element of one zero,
    /// and nobody writes one such element behind another.
    pub(super) fn is_blank(&self, record: BadRecord) -> bool {
        const BLANK_LENGTH: usize = 64;
        if self.bench.stored {
            return false;
        }
        let first = self.bench.element_at(record.offset);
        let last = self.bench.element_at(record.end.max(record.offset + 1) - 1);
        let elements = self.bench.trace.get(first..=last).unwrap_or_default();
        elements.iter().any(|cursor| {
            let read = cursor.read as usize;
            let bytes = self.bench.source.get(read..read + BLANK_LENGTH);
            bytes.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
        })
    }

    /// Tries the bits around the bad record, each by decoding it once more. What passes and leaves the chunk unproven
    /// is kept in `best`, with how far the records then verify. `near`: those of the suspects, else of the setters.
    pub(super) fn by_record(
        &mut self,
        out: &mut Vec<u8>,
        record: BadRecord,
        (near, masks): (bool, &[u8]),
        best: &mut Option<Best>,
    ) -> Option<Flip> {
        let judge = Judge::Record(record.offset);
        let mut passing = 0;
        let content = record.offset..record.end;
        let suspects = if near {
            self.suspects(content)
        } else {
            self.setters(content)
        };
        for cursor in suspects {
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
                    let found = self.reach(out, cursor, flip, record.offset);
                    let may_prove = found.is_clear || !found.is_followed;
                    if may_prove && self.proves(out, flip) {
                        return Some(flip);
                    }
                    if found.reached >= record.offset + CERTAIN_LENGTH {
                        return Some(flip);
                    }
                    if found.reached > best.map_or(record.offset, |best| best.reached) {
                        *best = Some(found);
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

    /// Tries the bits of the first element that could not be decoded, and of those just before it: what it makes may be
    /// right by chance, or nothing that a hash covers.
    pub(super) fn by_first_bad(&mut self, out: &mut Vec<u8>) -> Option<Flip> {
        let first_bad = self.bench.lenient.first_bad?;
        let sums = self.take_sums()?;
        let found = self.among_neighbours(out, first_bad, &sums);
        self.sums = Some(sums);
        found
    }

    fn among_neighbours(
        &mut self,
        out: &mut Vec<u8>,
        first_bad: Cursor,
        sums: &Sums,
    ) -> Option<Flip> {
        let position = self
            .bench
            .trace
            .partition_point(|cursor| cursor.read <= first_bad.read);
        let first = position.saturating_sub(NEIGHBOURS);
        let suspects = self.bench.trace.get(first..position)?.to_vec();
        for cursor in suspects.into_iter().rev() {
            for (at, mask) in flips(self.head(&cursor), &SINGLE_BITS) {
                if sums.agrees(&mut self.bench.source, cursor, at, mask)
                    && self.proves(out, (at, mask))
                {
                    return Some((at, mask));
                }
                if self.work.left == 0 {
                    return None;
                }
            }
        }
        None
    }

    /// Takes the sums, which are computed unless that is done. To be put back.
    fn take_sums(&mut self) -> Option<Sums> {
        if let Some(sums) = self.sums.take() {
            return Some(sums);
        }
        if !self.work.take(self.bench.source.len() * SUMS_COST) {
            return None;
        }
        Sums::new(&self.bench)
    }

    /// The same as [`Self::by_record`] against the chunk's checksum, for a record that may end in the next chunk.
    pub(super) fn by_checksum(
        &mut self,
        out: &mut Vec<u8>,
        record: BadRecord,
        masks: &[u8],
    ) -> Option<Flip> {
        if !record.open || self.bench.stored {
            return None;
        }
        let suspects = self.suspects(record.offset..record.end);
        let judge = self.checksum_judge(&suspects)?;
        for cursor in suspects {
            for part in self.parts(&cursor, record) {
                for flip in flips(part, masks) {
                    let passes = self
                        .bench
                        .try_flip(out, cursor, flip, judge, self.hints, self.work);
                    if passes && self.proves(out, flip) {
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

    fn checksum_judge(&self, suspects: &[Cursor]) -> Option<Judge> {
        let written = suspects
            .iter()
            .map(|cursor| cursor.written as usize)
            .min()?;
        Some(Judge::Checksum {
            written,
            crc: self.bench.crc_before(written),
        })
    }

    /// Tries the bits of tags and lengths that make the chunk as long as it declares. Where no bad record tells where
    /// to look, all of them.
    pub(super) fn by_sums(
        &mut self,
        out: &mut Vec<u8>,
        record: Option<BadRecord>,
        masks: &[u8],
    ) -> Option<Flip> {
        if self.bench.is_consistent() {
            return None;
        }
        let sums = self.take_sums()?;
        let found = self.among_heads(out, record, masks, &sums);
        self.sums = Some(sums);
        found
    }

    fn among_heads(
        &mut self,
        out: &mut Vec<u8>,
        record: Option<BadRecord>,
        masks: &[u8],
        sums: &Sums,
    ) -> Option<Flip> {
        let content = record.map_or(self.bench.start..self.bench.end(), |record| {
            record.offset..record.end
        });
        let suspects = self.suspects(content);
        let checksum = self.checksum_judge(&suspects)?;
        let judge = match record {
            Some(record) if !record.open => Judge::Record(record.offset),
            _ => checksum,
        };
        for cursor in suspects {
            let head = self.head(&cursor);
            if !self.work.spend(head.len() as u64 * HEAD_COST) {
                return None;
            }
            for (at, mask) in flips(head, masks) {
                if !sums.agrees(&mut self.bench.source, cursor, at, mask) {
                    continue;
                }
                let flip = (at, mask);
                let passes = self
                    .bench
                    .try_flip(out, cursor, flip, judge, self.hints, self.work)
                    && self.proves(out, flip);
                if passes {
                    return Some(flip);
                }
                if self.work.left == 0 {
                    return None;
                }
            }
        }
        None
    }

    /// The elements that are most likely at fault for what is bad in `content`: those that make it, in order, then those
    /// just before it, from the nearest, and the last one that says a distance, which it may repeat.
    fn suspects(&self, content: Range<usize>) -> Vec<Cursor> {
        if self.bench.stored {
            return vec![Cursor::default()];
        }
        let (first, last) = self.elements(&content);
        let trace = &self.bench.trace;
        let mut suspects = trace.get(first..=last).unwrap_or_default().to_vec();
        let before = trace.get(..first).unwrap_or_default();
        suspects.extend(before.iter().rev().take(NEIGHBOURS));
        suspects.extend(self.last_explicit(before));
        suspects
    }

    /// The copies between the suspects and the last element before them that says a distance: one of them may have said
    /// one, and makes the same bytes by chance with the distance it repeats now.
    fn setters(&self, content: Range<usize>) -> Vec<Cursor> {
        if self.bench.stored {
            return Vec::new();
        }
        let (first, _) = self.elements(&content);
        let before = self.bench.trace.get(..first).unwrap_or_default();
        let explicit = self.last_explicit(before).map(|cursor| cursor.read);
        let between = before.iter().rev().skip(NEIGHBOURS);
        between
            .take(ELEMENTS_BEFORE_MAX - NEIGHBOURS)
            .take_while(|cursor| explicit.is_none_or(|read| cursor.read > read))
            .filter(|cursor| self.bench.shape(cursor).is_none_or(|shape| !shape.literal))
            .copied()
            .collect()
    }

    /// The first and the last element that make `content`.
    fn elements(&self, content: &Range<usize>) -> (usize, usize) {
        let first = self.bench.element_at(content.start);
        let last = if content.end >= self.bench.end() {
            self.bench.trace.len().saturating_sub(1)
        } else {
            self.bench
                .element_at(content.end.max(content.start + 1) - 1)
        };
        (first, last)
    }

    /// The last of `before` that says a distance, unless it is a neighbour or too far back.
    fn last_explicit(&self, before: &[Cursor]) -> Option<Cursor> {
        let is_explicit =
            |cursor: &&Cursor| self.bench.shape(cursor).is_some_and(|shape| shape.explicit);
        let near = before.iter().rev().take(NEIGHBOURS);
        if near.clone().any(|cursor| is_explicit(&cursor)) {
            return None;
        }
        let far = before.iter().rev().take(ELEMENTS_BEFORE_MAX);
        far.skip(NEIGHBOURS).find(is_explicit).copied()
    }

    /// The bytes of an element that say what it is.
    pub(super) fn head(&self, cursor: &Cursor) -> Range<usize> {
        let read = cursor.read as usize;
        match self.bench.shape(cursor) {
            Some(shape) => read..shape.head_end,
            // Cut off: at most a tag and four bytes of length.
            None => read..(read + 5).min(self.bench.source.len()),
        }
    }

    /// The bytes of an element: its head, and what a literal holds of the bad record.
    fn parts(&self, cursor: &Cursor, record: BadRecord) -> [Range<usize>; 2] {
        let held = |made: usize, length: usize| {
            let from = record.offset.saturating_sub(made).min(length);
            from..record.end.saturating_sub(made).clamp(from, length)
        };
        if self.bench.stored {
            return [0..0, held(self.bench.start, self.bench.source.len())];
        }
        let literal = self.bench.shape(cursor).filter(|shape| shape.literal);
        let bytes = literal.map_or(0..0, |shape| {
            let made = self.bench.start + cursor.written as usize;
            let held = held(made, shape.length);
            shape.head_end + held.start..shape.head_end + held.end
        });
        [self.head(cursor), bytes]
    }

    /// How far the records from the bad one at `offset` on verify with `flip`, which is in the element at `cursor`. No more
    /// is decoded than it takes to tell; `out` is left as it was.
    fn reach(&mut self, out: &mut [u8], cursor: Cursor, flip: Flip, offset: usize) -> Best {
        const WINDOW: usize = 32 * 1024;
        let (at, mask) = flip;
        let start = self.bench.start;
        let mut walk = self.records.clone();
        walk.seek(offset);
        let mut behind = cursor;
        let mut window = WINDOW;
        self.bench.flip(at, mask);
        let best = loop {
            let ended = self.bench.decode_on(out, &mut behind, at, window);
            let content = out.get(..start + behind.written as usize).unwrap_or(out);
            let reached = walk.follow(content, self.hints);
            let is_clear = is_cut(content, reached);
            if ended || !is_clear {
                let end = parse_at(content, offset).map_or(offset, |record| record.end_offset());
                // What it does to records that verified is not seen from here.
                let is_harmless = self
                    .bench
                    .is_as_decoded(out, cursor.written as usize, offset);
                break Best {
                    flip,
                    reached: if is_harmless { reached } else { offset },
                    is_followed: is_harmless && reached > end,
                    is_clear,
                };
            }
            // The steps grow, so that a record longer than the first is not walked again and again.
            window *= 2;
        };
        self.bench.flip(at, mask);
        let from = if self.bench.stored {
            at
        } else {
            cursor.written as usize
        };
        let to = behind.written as usize;
        if let Some(data) = out.get_mut(start..) {
            self.bench.restore(data, from, to);
        }
        self.work.take(2 * to.saturating_sub(from));
        best
    }

    /// Whether the chunk is proven with `flip`.
    pub(super) fn proves(&mut self, out: &mut Vec<u8>, (at, mask): Flip) -> bool {
        let start = self.bench.start;
        let spoilt = out.split_off(start);
        self.bench.flip(at, mask);
        let consistent = if self.bench.stored {
            out.extend_from_slice(&self.bench.source);
            true
        } else {
            let lenient = decode_leniently(&self.bench.source, out, None);
            lenient.sound && Some(lenient.length) == self.bench.declared
        };
        self.bench.flip(at, mask);
        let data = out.get(start..).unwrap_or_default();
        self.work.take(data.len());
        let proven = consistent && crc32c::crc32c(data) == self.bench.crc;
        out.truncate(start);
        out.extend_from_slice(&spoilt);
        proven
    }
}

/// Whether what is at `offset` may go on past the end of `content`.
pub(super) fn is_cut(content: &[u8], offset: usize) -> bool {
    offset >= content.len()
        || matches!(
            parse_at(content, offset),
            Err(RecordFault::PastEnd { .. } | RecordFault::HeaderCut { .. })
        )
}

pub(super) fn flips(part: Range<usize>, masks: &[u8]) -> impl Iterator<Item = Flip> + '_ {
    part.flat_map(move |at| masks.iter().map(move |&mask| (at, mask)))
}
