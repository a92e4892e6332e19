//! Finding the flipped bit of a chunk that is as long as it declares by computing it from the checksum.

use std::ops::Range;

use super::data::{BadRecord, Flip, Search};
use super::search::{NEIGHBOURS, PASSING_MAX, flips, is_cut};
use super::syndrome::{Syndrome, effect, weights};
use super::trial::Judge;
use super::{BIT_PAIRS, SINGLE_BITS};
use crate::format::compression::Shape;

/// What a flip of a distance costs beside the bytes it changes.
const DISTANCE_COST: u64 = 16;

impl Search<'_, '_> {
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
