//! Sets of sequences: the deleted sequences of a block.
//!
//! In memory a set is made of pages of 2048 sequences. A page that is partly in the set is a bitmap; neighbouring
//! pages that are wholly in it are one run, so a gap of billions costs as much as a gap of one. On disk it is a tree
//! of bitmaps (file format reference, section 8); see [`SeqSet::decode`] and [`SeqSet::encode`].

mod codec;
mod iter;

pub use codec::{DecodeError, DecodedSet, EncodeError};
pub use iter::{Iter, Spans};

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Words in the bitmap of one page.
const PAGE_WORDS: usize = 32;
/// Sequences covered by one page.
const PAGE_SEQUENCES: u64 = 2048;
/// Shift from a sequence to its page number.
const PAGE_SHIFT: u32 = 11;

type Words = [u64; PAGE_WORDS];

const ALL_SET: Words = [u64::MAX; PAGE_WORDS];

/// A page with at least one sequence in the set and at least one not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Page {
    count: u16,
    words: Box<Words>,
}

impl Page {
    fn new(words: Words) -> Self {
        Self {
            count: count_ones(&words),
            words: Box::new(words),
        }
    }
}

/// A set of sequences, compact for dense stretches and for single huge gaps alike.
///
/// Two sets are equal when they hold the same sequences, however they were built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeqSet {
    /// Page number to bitmap. Never empty, never full: full pages live in `full`.
    partial: BTreeMap<u64, Page>,
    /// First to last page number of runs of full pages. Runs neither touch nor overlap.
    full: BTreeMap<u64, u64>,
    /// Wide enough for the set of all sequences.
    len: u128,
}

impl SeqSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes it takes in memory, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        const NODE_BYTES: usize = 2 * size_of::<u64>();
        let page_bytes = size_of::<Page>() + size_of::<Words>() + NODE_BYTES;
        self.partial.len() * page_bytes + self.full.len() * 2 * NODE_BYTES
    }

    /// Sequences in the set. The set of all 2^64 sequences reports 2^64 - 1.
    #[must_use]
    pub fn len(&self) -> u64 {
        u64::try_from(self.len).unwrap_or(u64::MAX)
    }

    /// Whether no sequence is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `sequence` is in the set.
    #[must_use]
    pub fn contains(&self, sequence: u64) -> bool {
        let page = sequence >> PAGE_SHIFT;
        match self.partial.get(&page) {
            Some(found) => word_of(&found.words, sequence) & bit_of(sequence) != 0,
            None => self.run_around(page).is_some(),
        }
    }

    /// The lowest sequence.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.spans().next().map(|span| *span.start())
    }

    /// The highest sequence.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        let partial = self.partial.last_key_value().and_then(|(page, found)| {
            let (index, word) = found
                .words
                .iter()
                .enumerate()
                .rev()
                .find(|(_, word)| **word != 0)?;
            Some(page_start(*page) + 64 * index as u64 + u64::from(word.ilog2()))
        });
        let full = self.full.values().next_back().map(|page| page_end(*page));
        partial.max(full)
    }

    /// Adds a sequence. Returns whether it was missing.
    pub fn insert(&mut self, sequence: u64) -> bool {
        let page = sequence >> PAGE_SHIFT;
        let bit = bit_of(sequence);
        if let Some(found) = self.partial.get_mut(&page) {
            let word = word_of_mut(&mut found.words, sequence);
            if *word & bit != 0 {
                return false;
            }
            *word |= bit;
            found.count += 1;
            self.len += 1;
            if u64::from(found.count) == PAGE_SEQUENCES {
                self.fill_pages(page, page);
            }
            return true;
        }
        if self.run_around(page).is_some() {
            return false;
        }
        let mut words = [0; PAGE_WORDS];
        *word_of_mut(&mut words, sequence) |= bit;
        self.union_page(page, &words);
        true
    }

    /// Adds every sequence of the range. The cost does not depend on its width.
    pub fn insert_range(&mut self, range: RangeInclusive<u64>) {
        if range.is_empty() {
            return;
        }
        let pieces = Pieces::of(range);
        for (page, words) in pieces.edges.into_iter().flatten() {
            self.union_page(page, &words);
        }
        if let Some((first, last)) = pieces.pages {
            self.fill_pages(first, last);
        }
    }

    /// Adds every sequence of `other`.
    pub fn union_with(&mut self, other: &Self) {
        for (page, found) in &other.partial {
            self.union_page(*page, &found.words);
        }
        for (first, last) in &other.full {
            self.fill_pages(*first, *last);
        }
    }

    /// Takes a sequence out. Returns whether it was there.
    pub fn remove(&mut self, sequence: u64) -> bool {
        let page = sequence >> PAGE_SHIFT;
        let Some(found) = self.partial.get_mut(&page) else {
            let there = self.run_around(page).is_some();
            if there {
                self.remove_range(sequence..=sequence);
            }
            return there;
        };
        let word = word_of_mut(&mut found.words, sequence);
        let bit = bit_of(sequence);
        if *word & bit == 0 {
            return false;
        }
        *word &= !bit;
        found.count -= 1;
        self.len -= 1;
        if found.count == 0 {
            self.partial.remove(&page);
        }
        true
    }

    /// Takes every sequence of the range out. The cost depends on the pages there, not on the width.
    pub fn remove_range(&mut self, range: RangeInclusive<u64>) {
        if range.is_empty() {
            return;
        }
        let pieces = Pieces::of(range);
        for (page, words) in pieces.edges.into_iter().flatten() {
            self.subtract_page(page, &words);
        }
        if let Some((first, last)) = pieces.pages {
            self.clear_pages(first, last);
        }
    }

    /// Takes every sequence below `sequence` out.
    pub fn remove_below(&mut self, sequence: u64) {
        if let Some(last) = sequence.checked_sub(1) {
            self.remove_range(0..=last);
        }
    }

    /// Sequences of the set inside the range, at most 2^64 - 1.
    #[must_use]
    pub fn count_in(&self, range: RangeInclusive<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let pieces = Pieces::of(range);
        let mut count = 0_u128;
        for (page, mask) in pieces.edges.into_iter().flatten() {
            match self.partial.get(&page) {
                Some(found) => count += u128::from(count_common(&found.words, &mask)),
                None if self.run_around(page).is_some() => count += u128::from(count_ones(&mask)),
                None => {}
            }
        }
        if let Some((first, last)) = pieces.pages {
            for found in self.partial.range(first..=last).map(|(_, found)| found) {
                count += u128::from(found.count);
            }
            let inside = self.full.range(first..=last).map(|(a, b)| (*a, *b));
            let before = self.run_around(first).filter(|run| run.0 < first);
            for (a, b) in before.into_iter().chain(inside) {
                count += pages_length(a.max(first), b.min(last));
            }
        }
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// Sequences that are in both sets, at most 2^64 - 1. The cost depends on the pages of this one.
    #[must_use]
    pub fn count_common(&self, other: &Self) -> u64 {
        let mut count = 0_u128;
        for (page, found) in &self.partial {
            count += match other.partial.get(page) {
                Some(theirs) => u128::from(count_common(&found.words, &theirs.words)),
                None if other.run_around(*page).is_some() => u128::from(found.count),
                None => 0,
            };
        }
        for (first, last) in &self.full {
            count += u128::from(other.count_in(page_start(*first)..=page_end(*last)));
        }
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// The last sequence of the unbroken stretch that starts at `sequence`; nothing when it is not in the set.
    #[must_use]
    pub fn span_end(&self, sequence: u64) -> Option<u64> {
        if !self.contains(sequence) {
            return None;
        }
        let mut at = sequence;
        loop {
            let page = at >> PAGE_SHIFT;
            let reached = match self.partial.get(&page) {
                Some(found) => {
                    let offset = (at % PAGE_SEQUENCES) as u32;
                    match iter::next_bit(&found.words, offset, false) {
                        Some(clear) if clear == offset => return at.checked_sub(1),
                        Some(clear) => return Some(page_start(page) + u64::from(clear) - 1),
                        None => page_end(page),
                    }
                }
                None => match self.run_around(page) {
                    Some((_, last)) => page_end(last),
                    None => return at.checked_sub(1),
                },
            };
            match reached.checked_add(1) {
                Some(next) => at = next,
                None => return Some(u64::MAX),
            }
        }
    }

    /// Every sequence, ascending.
    pub fn iter(&self) -> Iter<'_> {
        self.spans().flatten()
    }

    /// The maximal unbroken stretches, ascending.
    pub fn spans(&self) -> Spans<'_> {
        Spans::new(self)
    }

    /// The parts of the maximal unbroken stretches that lie inside the range, ascending. The cost does not depend on
    /// what the set holds elsewhere.
    pub fn spans_in(
        &self,
        range: RangeInclusive<u64>,
    ) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        let (low, high) = range.into_inner();
        let pages = if low > high {
            None
        } else {
            Some(Spans::of_pages(
                self,
                low >> PAGE_SHIFT..=high >> PAGE_SHIFT,
            ))
        };
        pages.into_iter().flatten().filter_map(move |span| {
            let part = (*span.start()).max(low)..=(*span.end()).min(high);
            (!part.is_empty()).then_some(part)
        })
    }

    /// The run of full pages that holds `page`.
    fn run_around(&self, page: u64) -> Option<(u64, u64)> {
        let (first, last) = self.full.range(..=page).next_back()?;
        (*last >= page).then_some((*first, *last))
    }

    /// Adds the marked sequences of one page.
    fn union_page(&mut self, page: u64, words: &Words) {
        if self.run_around(page).is_some() {
            return;
        }
        let count = match self.partial.get_mut(&page) {
            Some(found) => {
                let before = found.count;
                for (mine, theirs) in found.words.iter_mut().zip(words) {
                    *mine |= theirs;
                }
                found.count = count_ones(&found.words);
                self.len += u128::from(found.count - before);
                found.count
            }
            None => {
                let added = Page::new(*words);
                let count = added.count;
                if count > 0 {
                    self.len += u128::from(count);
                    self.partial.insert(page, added);
                }
                count
            }
        };
        if u64::from(count) == PAGE_SEQUENCES {
            self.fill_pages(page, page);
        }
    }

    /// Takes the marked sequences of one page out.
    fn subtract_page(&mut self, page: u64, words: &Words) {
        if self.run_around(page).is_some() {
            self.clear_pages(page, page);
            self.union_page(page, &words.map(|word| !word));
            return;
        }
        let Some(found) = self.partial.get_mut(&page) else {
            return;
        };
        for (mine, theirs) in found.words.iter_mut().zip(words) {
            *mine &= !theirs;
        }
        let count = count_ones(&found.words);
        self.len -= u128::from(found.count - count);
        found.count = count;
        if count == 0 {
            self.partial.remove(&page);
        }
    }

    /// Adds all of the pages `first..=last`, joining the runs they touch.
    fn fill_pages(&mut self, first: u64, last: u64) {
        self.clear_partial(first, last);
        let mut run = (first, last);
        // Page numbers stop far below 2^64, so the sums below cannot overflow.
        while let Some((&start, &end)) = self.full.range(..=last + 1).next_back() {
            if end + 1 < first {
                break;
            }
            self.full.remove(&start);
            self.len -= pages_length(start, end);
            run = (run.0.min(start), run.1.max(end));
        }
        self.full.insert(run.0, run.1);
        self.len += pages_length(run.0, run.1);
    }

    /// Takes all of the pages `first..=last` out, cutting the runs they touch.
    fn clear_pages(&mut self, first: u64, last: u64) {
        self.clear_partial(first, last);
        while let Some((&start, &end)) = self.full.range(..=last).next_back() {
            if end < first {
                break;
            }
            self.full.remove(&start);
            self.len -= pages_length(start.max(first), end.min(last));
            if end > last {
                self.full.insert(last + 1, end);
            }
            if start < first {
                self.full.insert(start, first - 1);
                break;
            }
        }
    }

    fn clear_partial(&mut self, first: u64, last: u64) {
        while let Some((&page, found)) = self.partial.range(first..=last).next() {
            self.len -= u128::from(found.count);
            self.partial.remove(&page);
        }
    }
}

impl Extend<u64> for SeqSet {
    fn extend<T: IntoIterator<Item = u64>>(&mut self, sequences: T) {
        for sequence in sequences {
            self.insert(sequence);
        }
    }
}

impl FromIterator<u64> for SeqSet {
    fn from_iter<T: IntoIterator<Item = u64>>(sequences: T) -> Self {
        let mut set = Self::new();
        set.extend(sequences);
        set
    }
}

impl<'a> IntoIterator for &'a SeqSet {
    type Item = u64;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// A non-empty range of sequences as whole pages and at most two pages in part.
struct Pieces {
    edges: [Option<(u64, Words)>; 2],
    pages: Option<(u64, u64)>,
}

impl Pieces {
    fn of(range: RangeInclusive<u64>) -> Self {
        let (low, high) = (*range.start(), *range.end());
        let (low_page, high_page) = (low >> PAGE_SHIFT, high >> PAGE_SHIFT);
        let whole_low = low == page_start(low_page);
        let whole_high = high == page_end(high_page);
        let mut edges = [None, None];
        if low_page == high_page {
            if whole_low && whole_high {
                return Self {
                    edges,
                    pages: Some((low_page, high_page)),
                };
            }
            edges[0] = Some((low_page, mask(low, high)));
            return Self { edges, pages: None };
        }
        if !whole_low {
            edges[0] = Some((low_page, mask(low, page_end(low_page))));
        }
        if !whole_high {
            edges[1] = Some((high_page, mask(page_start(high_page), high)));
        }
        let first = low_page + u64::from(!whole_low);
        let last = high_page - u64::from(!whole_high);
        Self {
            edges,
            pages: (first <= last).then_some((first, last)),
        }
    }
}

/// Marks the sequences `low..=high`, both of one page.
fn mask(low: u64, high: u64) -> Words {
    let start = page_start(low >> PAGE_SHIFT);
    std::array::from_fn(|index| {
        let word_low = start + 64 * index as u64;
        let word_high = word_low + 63;
        if high < word_low || low > word_high {
            return 0;
        }
        let from = low.max(word_low) - word_low;
        let to = high.min(word_high) - word_low;
        (u64::MAX << from) & (u64::MAX >> (63 - to))
    })
}

fn page_start(page: u64) -> u64 {
    page << PAGE_SHIFT
}

fn page_end(page: u64) -> u64 {
    page_start(page) | (PAGE_SEQUENCES - 1)
}

/// Sequences in the pages `first..=last`.
fn pages_length(first: u64, last: u64) -> u128 {
    u128::from(last - first + 1) * u128::from(PAGE_SEQUENCES)
}

fn count_ones(words: &Words) -> u16 {
    // At most 2048, so it fits.
    words.iter().map(|word| word.count_ones()).sum::<u32>() as u16
}

fn count_common(left: &Words, right: &Words) -> u16 {
    // At most 2048, so it fits.
    left.iter()
        .zip(right)
        .map(|(a, b)| (a & b).count_ones())
        .sum::<u32>() as u16
}

fn word_index(sequence: u64) -> usize {
    (sequence >> 6) as usize % PAGE_WORDS
}

fn word_of(words: &Words, sequence: u64) -> u64 {
    // In bounds: the index is taken modulo the number of words.
    words[word_index(sequence)]
}

fn word_of_mut(words: &mut Words, sequence: u64) -> &mut u64 {
    // In bounds: the index is taken modulo the number of words.
    &mut words[word_index(sequence)]
}

fn bit_of(sequence: u64) -> u64 {
    1 << (sequence % 64)
}

/// Reads `data` as an encoded set and checks that the set agrees with itself and can be written and read again.
#[doc(hidden)]
pub fn fuzz_one(data: &[u8]) {
    let Ok(DecodedSet { set, length, .. }) = SeqSet::decode(data) else {
        return;
    };
    assert!(length <= data.len());
    assert!(set.iter().is_sorted());
    assert_eq!(set.iter().count() as u64, set.len());
    assert_eq!(set.iter().next(), set.first());
    assert_eq!(set.iter().last(), set.last());
    for span in set.spans() {
        assert_eq!(set.span_end(*span.start()), Some(*span.end()));
    }
    let mut bytes = Vec::new();
    assert_eq!(set.encode(&mut bytes, u64::MAX), Ok(()));
    assert_eq!(SeqSet::decode(&bytes).map(|again| again.set), Ok(set));
}

#[cfg(test)]
mod tests;
