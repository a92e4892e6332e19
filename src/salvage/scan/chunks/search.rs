//! The ways of finding the flipped bit of a chunk: trying bits against a record or the checksum, and computing them.

use std::ops::Range;

use super::data::{BadRecord, Best, Flip, Search};
use super::sums::Sums;
use super::syndrome::{Syndrome, effect, weights};
use super::trial::Judge;
use super::{BIT_PAIRS, SINGLE_BITS};
use crate::format::compression::{Cursor, Shape, decode_leniently};
use crate::format::record::{RecordFault, parse_at};

/// Elements before the bad record that are looked at for one that set the distance it repeats.
const ELEMENTS_BEFORE_MAX: usize = 256;

/// Elements just before the bad record that are looked at whatever they are: they may have made more than they do now.
const NEIGHBOURS: usize = 8;

/// Bits that pass the first test and are examined before the best of them is taken.
const PASSING_MAX: usize = 8;

/// A flip with which so many bytes of records verify is the right one, though there be more damage behind.
const CERTAIN_LENGTH: usize = 16 * 1024;

/// What the sums cost for each compressed byte, as against a byte decoded.
const SUMS_COST: usize = 8;

/// What asking the sums about every bit of a byte costs.
const HEAD_COST: u64 = 64;

/// What a flip of a distance costs beside the bytes it changes.
const DISTANCE_COST: u64 = 16;

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
    fn head(&self, cursor: &Cursor) -> Range<usize> {
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
    fn proves(&mut self, out: &mut Vec<u8>, (at, mask): Flip) -> bool {
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

    /// Computes which bit of a literal explains the checksum.
    pub(super) fn by_arithmetic(&mut self, out: &mut Vec<u8>) -> Option<Flip> {
        self.weigh()?;
        let syndrome = self.syndrome();
        let mut candidates = self.matching(|weight| syndrome.single(weight));
        candidates.extend(self.matching(|weight| syndrome.pair(weight)));
        candidates
            .into_iter()
            .take(PASSING_MAX)
            .find(|&flip| self.is_cure(out, flip))
    }

    fn syndrome(&self) -> Syndrome {
        Syndrome::new(self.bench.computed_crc() ^ self.bench.crc)
    }

    /// Computes the weights, unless that is done.
    fn weigh(&mut self) -> Option<()> {
        let length = self.bench.lenient.length;
        if !self.bench.is_consistent() {
            return None;
        }
        if self.weights.is_empty() {
            if !self.work.take(length) {
                return None;
            }
            self.weights = weights(length, self.bench.copies_backwards());
        }
        Some(())
    }

    /// Whether the chunk is proven with `flip`, and the bad record then verifies too, as far as that can be told.
    fn is_cure(&mut self, out: &mut Vec<u8>, flip: Flip) -> bool {
        let proven = self.proves(out, flip);
        // Among millions of bits one may satisfy 32 bits of checksum by chance; a record's hash settles it.
        proven
            && self
                .bad
                .is_none_or(|bad| self.verifies_with(out, flip, bad))
    }

    fn verifies_with(&mut self, out: &mut [u8], flip: Flip, bad: usize) -> bool {
        let content = out.get(..self.bench.end()).unwrap_or_default();
        let open = is_cut(content, bad);
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
    fn matching(&self, explains: impl Fn(u32) -> Option<u8>) -> Vec<Flip> {
        let mut found = Vec::new();
        let mut look = |read: usize, made: Range<usize>| {
            let of_literal = self.weights.get(made).unwrap_or_default();
            for (position, &weight) in of_literal.iter().enumerate() {
                if let Some(mask) = explains(weight) {
                    found.push((read + position, mask));
                }
            }
        };
        if self.bench.stored {
            look(0, 0..self.weights.len());
        }
        for cursor in &self.bench.trace {
            if let Some(shape) = self.bench.shape(cursor).filter(|shape| shape.literal) {
                let written = cursor.written as usize;
                look(shape.head_end, written..written + shape.length);
            }
        }
        found
    }

    /// Computes which bit of a copy's distance explains the checksum, among those of the bad record.
    pub(super) fn by_distance(
        &mut self,
        out: &mut Vec<u8>,
        record: Option<BadRecord>,
    ) -> Option<Flip> {
        let record = record?;
        let first = self.bench.element_at(record.offset);
        let near = first.saturating_sub(NEIGHBOURS)..self.bench.element_at(record.end) + 1;
        self.among_distances(out, near)
    }

    /// The same among all copies.
    pub(super) fn by_any_distance(&mut self, out: &mut Vec<u8>) -> Option<Flip> {
        self.among_distances(out, 0..self.bench.trace.len())
    }

    fn among_distances(&mut self, out: &mut Vec<u8>, elements: Range<usize>) -> Option<Flip> {
        self.weigh()?;
        let wanted = self.bench.computed_crc() ^ self.bench.crc;
        for element in elements {
            let cursor = self.bench.trace.get(element).copied()?;
            let Some(shape) = self.bench.shape(&cursor).filter(|shape| !shape.literal) else {
                continue;
            };
            let head = self.head(&cursor);
            for flip in flips(head.clone(), &SINGLE_BITS).chain(flips(head, &BIT_PAIRS)) {
                if !self.work.spend(DISTANCE_COST) {
                    return None;
                }
                let effect = self.effect_of(out, element, &shape, flip);
                if effect == Some(wanted) && self.is_cure(out, flip) {
                    return Some(flip);
                }
            }
        }
        None
    }

    /// What `flip` in a copy does to the checksum, if it only changes how far the copy goes back; the copies that
    /// repeat its distance change with it.
    fn effect_of(
        &mut self,
        content: &mut [u8],
        element: usize,
        shape: &Shape,
        (at, mask): Flip,
    ) -> Option<u32> {
        let trace = self.bench.trace.get(element..)?;
        let cursor = *trace.first()?;
        *self.bench.source.get_mut(at)? ^= mask;
        let flipped = self.bench.shape(&cursor);
        *self.bench.source.get_mut(at)? ^= mask;
        let flipped = flipped.filter(|flipped| {
            let same = (flipped.length, flipped.next) == (shape.length, shape.next);
            same && !flipped.literal && flipped.distance != shape.distance
        })?;
        let group: Vec<Range<usize>> = std::iter::once(Some(*shape))
            .chain(
                trace
                    .iter()
                    .skip(1)
                    .map(|cursor| self.bench.shape(cursor))
                    .take_while(|shape| shape.is_some_and(|shape| !shape.explicit)),
            )
            .zip(trace)
            .filter_map(|(shape, cursor)| {
                let shape = shape.filter(|shape| !shape.literal)?;
                let written = cursor.written as usize;
                Some(written..written + shape.length)
            })
            .collect();
        let end = group.last().map_or(0, |made| made.end);
        if !self.work.take(end.saturating_sub(cursor.written as usize)) {
            return None;
        }
        let data = content.get_mut(self.bench.start..)?;
        let effect = self.regroup(data, &group, shape.distance, flipped.distance);
        for made in group {
            self.bench.restore(data, made.start, made.end);
        }
        effect
    }

    /// Makes the copies of `group` with another distance, and sums up what that does to the checksum.
    fn regroup(
        &self,
        data: &mut [u8],
        group: &[Range<usize>],
        distance: usize,
        new_distance: usize,
    ) -> Option<u32> {
        let mut sum = 0;
        for made in group {
            for to in made.clone() {
                let byte = *data.get(to.checked_sub(new_distance)?)?;
                let place = data.get_mut(to)?;
                let difference = std::mem::replace(place, byte) ^ byte;
                if difference == 0 {
                    continue;
                }
                let mut weight = *self.weights.get(to)?;
                // What the group itself makes of this byte is in `data`, not in the weight.
                let copied_to = to + distance;
                let nearest = group.partition_point(|made| made.end <= copied_to);
                if group
                    .get(nearest)
                    .is_some_and(|made| made.start <= copied_to)
                {
                    weight ^= *self.weights.get(copied_to)?;
                }
                sum ^= effect(weight, difference);
            }
        }
        Some(sum)
    }
}

/// Whether what is at `offset` may go on past the end of `content`.
fn is_cut(content: &[u8], offset: usize) -> bool {
    offset >= content.len()
        || matches!(
            parse_at(content, offset),
            Err(RecordFault::PastEnd { .. } | RecordFault::HeaderCut { .. })
        )
}

fn flips(part: Range<usize>, masks: &[u8]) -> impl Iterator<Item = Flip> + '_ {
    part.flat_map(move |at| masks.iter().map(move |&mask| (at, mask)))
}
