//! The places where records can be missing, and how many are.
//!
//! Between two records that follow each other in a block nothing is missing: sequences that are not there were removed
//! when the block was rewritten. Sequences can be missing only from bytes that cannot be read, from the border between
//! two blocks (a file cut at a record, a file that is gone), and behind the last record. At a border without unreadable
//! bytes they are missing only where the configuration has no messages vanish silently, for a server drops the ends of
//! blocks and whole blocks as their messages go.

use super::super::find::{BlockFind, Gap, GapCause};
use super::super::sets::{difference, missing_in, within};
use super::{Facts, MESSAGE_MIN_LENGTH, Trust};
use crate::format::record::RecordFault;
use crate::format::seqset::SeqSet;

/// A range of which some sequences are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostWithin {
    /// First sequence that may be.
    pub first: u64,
    /// Last.
    pub last: u64,
    /// How many are, as far as the bytes tell; never more than the range has.
    pub most: u64,
}

/// A place where records can be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The block where it begins.
    pub number: u32,
    /// Message or erased record before it.
    pub before: Option<u64>,
    /// The one behind it.
    pub after: Option<u64>,
    /// Unreadable bytes in it; 0 for a border between two sound blocks.
    pub bytes: u64,
    /// Whether it is a record cut short at the end of the last block, as a crash leaves it.
    pub is_torn_tail: bool,
}

impl Place {
    /// The sequences it can have held, where both ends are known.
    pub fn range(&self) -> Option<std::ops::RangeInclusive<u64>> {
        let from = self.before?.checked_add(1)?;
        let to = self.after?.checked_sub(1)?;
        (from <= to).then_some(from..=to)
    }
}

/// All places, in file order. Of several files with one block only the first counts.
pub fn of(finds: &[BlockFind]) -> Vec<Place> {
    let chunks = finds.chunk_by(|a, b| a.number == b.number);
    let finds: Vec<&BlockFind> = chunks.filter_map(<[BlockFind]>::first).collect();
    let mut places: Vec<Place> = Vec::new();
    let mut seen: Option<u64> = None;
    // Unreadable bytes with nothing behind them so far.
    let mut open: Option<Place> = None;
    for (at, find) in finds.iter().copied().enumerate() {
        let is_last = at + 1 == finds.len();
        let begins_sound = find.gaps.first().is_none_or(|gap| gap.before.is_some());
        if let (Some(first), None, true) = (find.first, &open, begins_sound) {
            places.push(Place {
                number: find.number,
                before: seen,
                after: Some(first.seq),
                bytes: 0,
                is_torn_tail: false,
            });
        }
        for gap in &find.gaps {
            let before = gap.before.or(seen);
            let bytes = open
                .map_or(0, |place| place.bytes)
                .saturating_add(gap.length);
            let place = match (open.take(), places.last_mut()) {
                (Some(begun), _) => Place { bytes, ..begun },
                (None, Some(last))
                    if last.bytes > 0 && last.after.is_some() && last.after == gap.after =>
                {
                    // A tombstone between two gaps parts no messages.
                    last.bytes = last.bytes.saturating_add(gap.length);
                    continue;
                }
                (None, _) => Place {
                    number: find.number,
                    before,
                    after: None,
                    bytes,
                    is_torn_tail: false,
                },
            };
            match gap.after {
                Some(_) => places.push(Place {
                    after: gap.after,
                    ..place
                }),
                None => {
                    let torn = is_last && is_torn(gap, find) && place.bytes == gap.length;
                    open = Some(Place {
                        is_torn_tail: torn,
                        ..place
                    });
                }
            }
        }
        if let Some(first) = find.first
            && let Some(place) = open.filter(|place| place.number != find.number)
        {
            // What was open before this block ends at its first record.
            places.push(Place {
                after: Some(first.seq),
                is_torn_tail: false,
                ..place
            });
            open = None;
        }
        seen = seen.max(find.last.map(|edge| edge.seq));
    }
    places.extend(open);
    places
}

fn is_torn(gap: &Gap, find: &BlockFind) -> bool {
    let cut = matches!(
        gap.cause,
        GapCause::Record(RecordFault::PastEnd { .. } | RecordFault::HeaderCut { .. })
    );
    let at_end = gap.file_offset.saturating_add(gap.file_length) >= find.file_length;
    cut && at_end && !find.compressed
}

/// Fills in what is lost.
pub fn find_lost(facts: &Facts<'_>, erased: &SeqSet, counted: Option<&SeqSet>, trust: &mut Trust) {
    let fresh = facts.index.is_some_and(|index| index.fresh);
    let mut gone = trust.live.clone();
    gone.union_with(&trust.deleted);
    if !fresh {
        gone.union_with(&trust.tombstones);
        gone.union_with(erased);
    }
    if let Some(counted) = counted {
        trust.lost = difference(counted, &gone);
    }
    let horizon = facts.index.map_or(0, |index| index.state.last_sequence);
    if fresh {
        return;
    }
    let average = average_length(facts.finds);
    for place in of(facts.finds) {
        let judged = Judged {
            facts,
            gone: &gone,
            horizon,
            average,
        };
        match (place.before, place.after) {
            (_, Some(after)) if place.range().is_some() => {
                judged.inner(place, after, erased, trust)
            }
            (None, Some(after)) => judged.front(place, after, trust),
            (before, None) => judged.tail(place, before.unwrap_or(0), trust),
            _ => {}
        }
    }
    let reached = facts
        .finds
        .iter()
        .filter_map(|find| find.last)
        .map(|edge| edge.seq)
        .max();
    if let Some(claimed) = facts
        .claims
        .iter()
        .map(|claim| claim.seq)
        .filter(|seq| *seq <= trust.last.seq)
        .max()
    {
        // A side file saw messages behind the last record.
        let from = reached.unwrap_or(0).max(horizon).saturating_add(1);
        if from <= claimed && reached.is_some() {
            trust.lost.union_with(&missing_in(from..=claimed, &gone));
        }
    }
}

struct Judged<'a> {
    facts: &'a Facts<'a>,
    gone: &'a SeqSet,
    horizon: u64,
    average: u64,
}

impl Judged<'_> {
    fn inner(&self, place: Place, after: u64, erased: &SeqSet, trust: &mut Trust) {
        let Some(range) = place.range() else { return };
        let from = (*range.start()).max(self.horizon.saturating_add(1));
        if from > *range.end() {
            return;
        }
        let missing = missing_in(from..=*range.end(), self.gone);
        if missing.is_empty() {
            return;
        }
        if (1..MESSAGE_MIN_LENGTH).contains(&place.bytes) {
            // Room for a tombstone, not for a message.
            return;
        }
        if place.bytes == 0 {
            // A skip record stands for all sequences before it.
            if !self.facts.vanishing && !erased.contains(after) {
                trust.lost.union_with(&missing);
            }
            return;
        }
        let most = if self.facts.vanishing {
            self.estimate(place.bytes)
        } else {
            (place.bytes / MESSAGE_MIN_LENGTH).max(1)
        };
        note(&missing, most, trust);
    }

    /// Unreadable bytes before the first record: nothing tells where the stream began, but for its first block.
    fn front(&self, place: Place, after: u64, trust: &mut Trust) {
        if place.bytes < MESSAGE_MIN_LENGTH || after <= self.horizon.saturating_add(1) {
            return;
        }
        let begin = self.facts.first_seq.max(1);
        let count = self.estimate(place.bytes);
        let span = after.saturating_sub(begin);
        let from = if place.number == 1 && span <= place.bytes / MESSAGE_MIN_LENGTH {
            begin
        } else {
            after.saturating_sub(count).max(begin)
        };
        if from < after {
            let missing = missing_in(from.max(self.horizon + 1)..=after - 1, self.gone);
            note(&missing, count.max(missing.len()), trust);
        }
    }

    /// Unreadable bytes behind the last record.
    fn tail(&self, place: Place, before: u64, trust: &mut Trust) {
        if place.is_torn_tail || place.bytes < MESSAGE_MIN_LENGTH {
            return;
        }
        let known = within(
            &trust.lost,
            before.saturating_add(1)..=self.horizon.max(before),
        )
        .len();
        let count = self.estimate(place.bytes).saturating_sub(known);
        let from = before.max(self.horizon).saturating_add(1);
        let to = from.saturating_add(count).saturating_sub(1);
        if count == 0 || to < from {
            return;
        }
        let missing = missing_in(from..=to, self.gone);
        note(&missing, missing.len(), trust);
        trust.last.seq = trust.last.seq.max(to);
    }

    /// How many messages of usual length the bytes hold; at least one.
    fn estimate(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.average).max(1)
    }
}

fn note(missing: &SeqSet, most: u64, trust: &mut Trust) {
    if missing.len() <= most {
        trust.lost.union_with(missing);
    } else if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
        trust.lost_within.push(LostWithin { first, last, most });
    }
}

fn average_length(finds: &[BlockFind]) -> u64 {
    let count: u64 = finds.iter().map(|find| find.messages.len()).sum();
    let bytes: u64 = finds.iter().map(|find| find.message_bytes).sum();
    bytes
        .checked_div(count)
        .unwrap_or(MESSAGE_MIN_LENGTH)
        .max(MESSAGE_MIN_LENGTH)
}
