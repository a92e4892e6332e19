//! Walking a set in ascending order.

use std::collections::btree_map;
use std::iter::{Flatten, Peekable};
use std::ops::RangeInclusive;

use super::{ALL_SET, PAGE_SEQUENCES, Page, SeqSet, Words, page_end, page_start};

/// Every sequence of a set, ascending.
pub type Iter<'a> = Flatten<Spans<'a>>;

/// The maximal unbroken stretches of a set, ascending.
#[derive(Debug, Clone)]
pub struct Spans<'a> {
    runs: Runs<'a>,
    /// The page being walked: its first sequence, its bitmap, the next offset to look at.
    page: Option<(u64, &'a Words, u32)>,
    /// A stretch that may go on in what follows.
    open: Option<(u64, u64)>,
}

impl<'a> Spans<'a> {
    pub(super) fn new(set: &'a SeqSet) -> Self {
        Self::of_pages(set, 0..=u64::MAX)
    }

    /// The stretches of the set's pages in the range, and of runs of full pages that reach into it.
    pub(super) fn of_pages(set: &'a SeqSet, pages: RangeInclusive<u64>) -> Self {
        Self {
            runs: Runs::new(set, pages),
            page: None,
            open: None,
        }
    }

    /// The next stretch, ending at the latest with its page or run of pages.
    fn next_piece(&mut self) -> Option<(u64, u64)> {
        loop {
            if let Some((start, words, offset)) = self.page.take()
                && let Some(from) = next_bit(words, offset, true)
            {
                let clear = next_bit(words, from, false);
                if let Some(clear) = clear {
                    self.page = Some((start, words, clear));
                }
                let end = clear.map_or(PAGE_SEQUENCES, u64::from) - 1;
                return Some((start + u64::from(from), start + end));
            }
            match self.runs.next()? {
                Run::Partial(page, words) => self.page = Some((page_start(page), words, 0)),
                Run::Full(first, last) => return Some((page_start(first), page_end(last))),
            }
        }
    }
}

impl Iterator for Spans<'_> {
    type Item = RangeInclusive<u64>;

    fn next(&mut self) -> Option<RangeInclusive<u64>> {
        loop {
            let piece = self.next_piece();
            match (self.open, piece) {
                (Some((low, high)), Some((from, to))) if high.checked_add(1) == Some(from) => {
                    self.open = Some((low, to));
                }
                (None, Some(piece)) => self.open = Some(piece),
                (open, piece) => {
                    self.open = piece;
                    return open.map(|(low, high)| low..=high);
                }
            }
        }
    }
}

/// A page in part, or neighbouring pages in full.
#[derive(Debug, Clone)]
enum Run<'a> {
    Partial(u64, &'a Words),
    Full(u64, u64),
}

#[derive(Debug, Clone)]
struct Runs<'a> {
    partial: Peekable<btree_map::Range<'a, u64, Page>>,
    full: Peekable<btree_map::Range<'a, u64, u64>>,
}

impl<'a> Runs<'a> {
    fn new(set: &'a SeqSet, pages: RangeInclusive<u64>) -> Self {
        let (first, last) = pages.into_inner();
        let start = set.run_around(first).map_or(first, |run| run.0);
        Self {
            partial: set.partial.range(first..=last).peekable(),
            full: set.full.range(start..=last).peekable(),
        }
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        let full_first = match (self.partial.peek(), self.full.peek()) {
            (Some((page, _)), Some((start, _))) => start < page,
            (partial, _) => partial.is_none(),
        };
        if full_first {
            self.full
                .next()
                .map(|(first, last)| Run::Full(*first, *last))
        } else {
            self.partial
                .next()
                .map(|(page, found)| Run::Partial(*page, &found.words))
        }
    }
}

/// Every page that is not empty, ascending, with its bitmap. As many items as the encoding has nodes.
pub(super) fn pages(set: &SeqSet) -> impl Iterator<Item = (u64, &Words)> {
    Runs::new(set, 0..=u64::MAX).flat_map(|run| {
        let (range, words) = match run {
            Run::Partial(page, words) => (page..=page, words),
            Run::Full(first, last) => (first..=last, &ALL_SET),
        };
        range.map(move |page| (page, words))
    })
}

/// The first offset at or after `offset` whose bit is set (or clear, when `set` is false).
pub(super) fn next_bit(words: &Words, offset: u32, set: bool) -> Option<u32> {
    let flip = if set { 0 } else { u64::MAX };
    let mut skipped = u64::MAX << (offset % 64);
    for (index, word) in words.iter().enumerate().skip((offset / 64) as usize) {
        let candidates = (word ^ flip) & skipped;
        if candidates != 0 {
            return Some(64 * index as u32 + candidates.trailing_zeros());
        }
        skipped = u64::MAX;
    }
    None
}
