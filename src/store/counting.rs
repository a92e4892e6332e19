//! Counting messages and subjects.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashSet;

use super::core::Live;
use super::error::ReadError;
use super::reader::{BlockContent, Reader};
use super::remove::expiry_of;
use super::resident::Resident;
use super::search::{Selection, last_live};
use super::side_files::MessageTimers;
use crate::format::record::RecordRef;
use crate::format::schedule;
use crate::format::subject;
use crate::format::timers::{Expiry, Schedule};
use crate::state::BlockState;

/// Messages that a filter selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MatchCount {
    /// How many.
    pub message_count: u64,
    /// Sequence of the first; 0 where there is none.
    pub first_seq: u64,
    /// Sequence of the last; 0 where there is none.
    pub last_seq: u64,
}

impl MatchCount {
    fn add(&mut self, seq: u64) {
        if self.message_count == 0 {
            self.first_seq = seq;
        }
        self.message_count += 1;
        self.first_seq = self.first_seq.min(seq);
        self.last_seq = self.last_seq.max(seq);
    }
}

impl Reader {
    /// Looks at every block that reaches `from`, in order, as long as `look` wants to go on. It is told from which sequence on: a block
    /// that grew since it was looked at comes again.
    fn each_block(
        &self,
        from: u64,
        mut look: impl FnMut(&BlockState, BlockContent<'_>, u64) -> bool,
    ) -> Result<(), ReadError> {
        let mut from = from;
        loop {
            let looked = self.visit(
                |live| {
                    let place = live.place_from(from);
                    let rest = live.state.blocks.get(place..).unwrap_or_default();
                    let block = rest.iter().find(|block| block.message_count > 0);
                    block.ok_or(ReadError::NotFound)
                },
                |_, block, content| {
                    // Half a block would make half an answer.
                    content.check_whole(block.number)?;
                    Ok((look(block, content, from), block.last.seq))
                },
            );
            match looked {
                Err(ReadError::NotFound) | Ok(Ok((false, _))) => return Ok(()),
                Err(error) | Ok(Err(error)) => return Err(error),
                Ok(Ok((true, last))) => from = last + 1,
            }
        }
    }

    /// Messages at or above `from` that filters select.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn count(&self, filters: &[&[u8]], from: u64) -> Result<u64, ReadError> {
        if let Some(known) = self.shared.live.read().count_without_looking(filters, from) {
            return Ok(known);
        }
        Ok(self.matching(filters, from)?.message_count)
    }

    /// Messages at or above `from` that filters select, with the first and the last of them.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn matching(&self, filters: &[&[u8]], from: u64) -> Result<MatchCount, ReadError> {
        let wanted = Selection::of(filters);
        let mut found = MatchCount::default();
        self.each_block(from, |block, content, from| {
            each_match(block, &content, wanted, from, |seq| found.add(seq));
            true
        })?;
        Ok(found)
    }

    /// Subjects that have a message at or above `from`, of those that filters select.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn count_subjects(&self, filters: &[&[u8]], from: u64) -> Result<u64, ReadError> {
        let wanted = Selection::of(filters);
        let mut subjects: FxHashSet<Vec<u8>> = FxHashSet::default();
        self.each_block(from, |block, content, from| {
            content.for_each_subject(|subject, _, last| {
                if !wanted.selects(subject) || subjects.contains(subject) {
                    return;
                }
                let last = last_live(block, &content, last, u64::MAX);
                if last.is_some_and(|seq| seq >= from) {
                    subjects.insert(subject.to_vec());
                }
            });
            true
        })?;
        Ok(subjects.len() as u64)
    }

    /// Of every subject that a filter selects, how many messages there are.
    #[must_use]
    pub fn subject_totals(&self, filter: &[u8]) -> BTreeMap<Vec<u8>, u64> {
        let live = self.shared.live.read();
        let mut found = BTreeMap::new();
        let filter = if filter.is_empty() { b">" } else { filter };
        live.state
            .subjects
            .for_each_matching(filter, |subject, totals| {
                found.insert(subject.to_vec(), totals.total);
            });
        found
    }

    /// Of every subject that a filter selects, its messages.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn subjects(&self, filter: &[u8]) -> Result<BTreeMap<Vec<u8>, MatchCount>, ReadError> {
        let filter = if filter.is_empty() { b">" } else { filter };
        let mut found: BTreeMap<Vec<u8>, MatchCount> = BTreeMap::new();
        self.each_block(0, |block, content, from| {
            content.for_each_subject(|subject, first, _| {
                if !subject::matches(subject, filter) {
                    return;
                }
                let mut at = Some(first);
                while let Some(slot) = at {
                    let seq = content.seq(slot);
                    if let Some(seq) = seq.filter(|seq| *seq >= from && block.holds(*seq)) {
                        match found.get_mut(subject) {
                            Some(known) => known.add(seq),
                            None => found.entry(subject.to_vec()).or_default().add(seq),
                        }
                    }
                    at = content.next_of(slot);
                }
            });
            true
        })?;
        Ok(found)
    }

    /// The last sequence, at or below `to`, of every subject that filters select; rising.
    ///
    /// # Errors
    ///
    /// [`ReadError::TooMany`] for more than `most`.
    pub fn last_of_each(
        &self,
        filters: &[&[u8]],
        to: u64,
        most: Option<u64>,
    ) -> Result<Vec<u64>, ReadError> {
        let wanted = Selection::of(filters);
        let mut last: rustc_hash::FxHashMap<Vec<u8>, u64> = Default::default();
        self.each_block(0, |block, content, _| {
            content.for_each_subject(|subject, _, last_slot| {
                if !wanted.selects(subject) {
                    return;
                }
                let Some(seq) = last_live(block, &content, last_slot, to) else {
                    return;
                };
                match last.get_mut(subject) {
                    Some(known) => *known = seq,
                    None => _ = last.insert(subject.to_vec(), seq),
                }
            });
            block.last.seq < to
        })?;
        if let Some(allowed) = most.filter(|most| last.len() as u64 > *most) {
            return Err(ReadError::TooMany { allowed });
        }
        let seqs: BTreeSet<u64> = last.into_values().collect();
        Ok(seqs.into_iter().collect())
    }

    /// The first message with this time or a later one; behind the last where there is none.
    ///
    /// Times need not rise with sequences, so a block that was never read since the store was opened is read.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn seq_at(&self, time_ns: i64) -> Result<u64, ReadError> {
        let mut found = None;
        self.each_block(0, |block, content, _| {
            if content.latest_ns() < time_ns {
                return true;
            }
            let slots = content.slot_from(block.first.seq)..content.slot_count();
            found = slots
                .filter_map(|slot| content.record(slot))
                .find_map(|record| {
                    let seq = record.sequence();
                    (record.timestamp_ns() >= time_ns && block.holds(seq)).then_some(seq)
                });
            found.is_none()
        })?;
        let last = self.shared.live.read().state.totals.last.seq;
        Ok(found.unwrap_or(last.wrapping_add(1)))
    }
}

impl Reader {
    /// What the headers of all live messages ask for.
    pub(super) fn timers_of_messages(&self) -> Result<MessageTimers, ReadError> {
        let mut found = MessageTimers::default();
        self.each_block(0, |block, content, from| {
            for slot in content.slot_from(from.max(block.first.seq))..content.slot_count() {
                let Some(record) = content.record(slot).filter(RecordRef::has_headers) else {
                    continue;
                };
                let (sequence, timestamp_ns) = (record.sequence(), record.timestamp_ns());
                let headers = record
                    .headers_and_body(content.bytes())
                    .unwrap_or_default()
                    .0;
                if !block.holds(sequence) {
                    continue;
                }
                if let Some(expiry_ns) = expiry_of(headers, timestamp_ns) {
                    found.expiries.push(Expiry {
                        expiry_ns,
                        sequence,
                    });
                }
                if let Some(next_ns) = schedule::next_fire(headers, timestamp_ns, timestamp_ns) {
                    found.schedules.push(Schedule {
                        subject: record.subject(content.bytes()).into(),
                        next_ns,
                        sequence,
                    });
                }
            }
            true
        })?;
        Ok(found)
    }
}

/// Visits the wanted live messages of a block at or above `from`, not in their order.
fn each_match(
    block: &BlockState,
    content: &Resident,
    wanted: Selection<'_>,
    from: u64,
    mut visit: impl FnMut(u64),
) {
    let mut take = |seq: u64| {
        if seq >= from && block.holds(seq) {
            visit(seq);
        }
    };
    if matches!(wanted, Selection::All) {
        let slots = content.slot_from(from)..content.slot_count();
        slots.filter_map(|slot| content.seq(slot)).for_each(take);
        return;
    }
    let mut follow = |first: Option<usize>| {
        let mut at = first;
        while let Some(slot) = at {
            content.seq(slot).into_iter().for_each(&mut take);
            at = content.next_of(slot);
        }
    };
    if let Selection::Subject(subject) = wanted {
        follow(content.first_of(subject));
        return;
    }
    content.for_each_subject(|subject, first, _| {
        if wanted.selects(subject) {
            follow(Some(first));
        }
    });
}

impl Live {
    /// How many messages filters select, where totals alone tell.
    fn count_without_looking(&self, filters: &[&[u8]], from: u64) -> Option<u64> {
        let totals = &self.state.totals;
        if totals.messages == 0 || from > totals.last.seq {
            return Some(0);
        }
        if matches!(Selection::of(filters), Selection::All) {
            let place = self.place_from(from);
            let blocks = self.state.blocks.get(place..).unwrap_or_default();
            return Some(blocks.iter().map(|block| live_from(block, from)).sum());
        }
        if from > totals.first.seq || !self.state.tracks_subjects {
            return None;
        }
        let [filter] = filters else { return None };
        let mut count = 0;
        let subjects = &self.state.subjects;
        subjects.for_each_matching(filter, |_, totals| count += totals.total);
        Some(count)
    }
}

/// Live messages of a block at or above `from`.
fn live_from(block: &BlockState, from: u64) -> u64 {
    if block.message_count == 0 || from > block.last.seq {
        return 0;
    }
    let from = from.max(block.first.seq);
    let span = block.last.seq - from + 1;
    span - block.deleted.count_in(from..=block.last.seq)
}
