//! The places where records can be missing, and how many are.
//!
//! Between two records that follow each other in a block nothing is missing: sequences that are not there were removed
//! when the block was rewritten. Sequences can be missing only from bytes that cannot be read, from the border between
//! two blocks (a file cut at a record, a file that is gone), and behind the last record. What stood at a border is unknown where
//! the configuration has messages vanish silently, for a server drops the ends of blocks and whole blocks as their messages go,
//! and where no more messages are missing than block files: the last message of a block that is deleted by hand takes the
//! file with it and leaves no tombstone. Elsewhere it is lost.

use super::super::findings::{BlockFindings, Gap, GapCause};
use super::super::sets::missing_in;
use super::{Facts, MESSAGE_MIN_LENGTH};
use crate::format::limits::{RECORD_MIN_LENGTH, SEQUENCE_MAX};
use crate::format::record::RecordFault;
use crate::format::seqset::SeqSet;
use crate::ledger::Holes;

/// A place where records can be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The block where it begins.
    pub number: u32,
    /// Message or erased record before it.
    pub before: Option<u64>,
    /// The one behind it.
    pub after: Option<u64>,
    /// Unreadable bytes in it; 0 where two sound blocks meet.
    pub bytes: u64,
    /// Whether it lies where a block ends, whose file may have been cut: its bytes are not all there was.
    pub is_border: bool,
    /// Whether it is a record cut short at the end of the last block, as a crash leaves it.
    pub is_torn_tail: bool,
}

impl Place {
    /// Where a block begins with a record, and with it a place.
    fn border(number: u32, before: Option<u64>, after: u64) -> Self {
        Place {
            number,
            before,
            after: Some(after),
            bytes: 0,
            is_border: before.is_some(),
            is_torn_tail: false,
        }
    }

    /// A place that begins with unreadable bytes; `seen` is the last record of the blocks before.
    fn begun(number: u32, gap: &Gap, seen: Option<u64>) -> Self {
        Place {
            number,
            before: gap.before.or(seen),
            after: None,
            bytes: gap.length,
            is_border: gap.before.is_none() && seen.is_some(),
            is_torn_tail: false,
        }
    }

    /// The sequences it can have held, where both ends are known.
    pub fn range(&self) -> Option<std::ops::RangeInclusive<u64>> {
        let from = self.before?.checked_add(1)?;
        let to = self.after?.checked_sub(1)?;
        (from <= to).then_some(from..=to)
    }
}

/// All places, in file order. Of several files with one block only the first counts.
pub fn of(finds: &[BlockFindings]) -> Vec<Place> {
    let chunks = finds.chunk_by(|a, b| a.number == b.number);
    let finds: Vec<&BlockFindings> = chunks.filter_map(<[BlockFindings]>::first).collect();
    let mut places: Vec<Place> = Vec::new();
    let mut seen: Option<u64> = None;
    // Unreadable bytes with nothing behind them so far.
    let mut open: Option<Place> = None;
    let last_held = finds.iter().rposition(|find| find.first.is_some());
    for (at, find) in finds.iter().copied().enumerate() {
        let is_last = at + 1 == finds.len();
        let begins_sound = find.gaps.first().is_none_or(|gap| gap.before.is_some());
        if let (Some(first), None, true) = (find.first, &open, begins_sound) {
            places.push(Place::border(find.number, seen, first.seq));
        }
        for gap in &find.gaps {
            let bytes = open
                .map_or(0, |place| place.bytes)
                .saturating_add(gap.length);
            let place = match (open.take(), places.last_mut()) {
                (Some(begun), _) => Place {
                    bytes,
                    is_border: begun.is_border || begun.number != find.number,
                    ..begun
                },
                (None, Some(last))
                    if last.bytes > 0 && last.after.is_some() && last.after == gap.after =>
                {
                    // A tombstone between two gaps parts no messages.
                    last.bytes = last.bytes.saturating_add(gap.length);
                    continue;
                }
                (None, _) => Place::begun(find.number, gap, seen),
            };
            match gap.after {
                Some(_) => places.push(Place {
                    after: gap.after,
                    ..place
                }),
                None => {
                    let ends = is_last || find.zero_tail > 0 && last_held == Some(at);
                    let torn = ends && is_torn(gap, find) && place.bytes == gap.length;
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
                is_border: true,
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

/// Whether what lies at the end of the last block was never stored whole: a record cut short by a crash, a batch that was
/// not committed, or the zeros that a power cut leaves.
fn is_torn(gap: &Gap, find: &BlockFindings) -> bool {
    let cut = matches!(
        gap.cause,
        GapCause::Uncommitted
            | GapCause::Record(RecordFault::PastEnd { .. } | RecordFault::HeaderCut { .. })
    );
    let at_end = gap.file_offset.saturating_add(gap.file_length) >= find.file_length;
    (cut || find.zero_tail > 0) && at_end && !find.compressed
}

/// What the records around missing ones tell of sequences that no index speaks of; `gone` are those that are accounted for.
pub fn holes(facts: &Facts<'_>, erased: &SeqSet, gone: &SeqSet, last: u64) -> Holes {
    let mut holes = Holes::default();
    if facts.index.is_some_and(|index| index.fresh) {
        return holes;
    }
    let judged = Judged {
        facts,
        gone,
        erased,
        horizon: facts.index.map_or(0, |index| index.state.last_sequence),
        shows_deletes: facts.finds.iter().any(|find| !find.tombstones.is_empty()),
    };
    for place in of(facts.finds) {
        match (place.before, place.after) {
            (_, Some(after)) if place.range().is_some() => judged.inner(place, after, &mut holes),
            (None, Some(after)) => judged.front(place, after, &mut holes),
            (before, None) => judged.tail(place, before.unwrap_or(0), &mut holes),
            _ => {}
        }
    }
    judged.claimed(last, &mut holes);
    holes
}

struct Judged<'a> {
    facts: &'a Facts<'a>,
    gone: &'a SeqSet,
    erased: &'a SeqSet,
    horizon: u64,
    /// Whether any message was ever deleted by hand.
    shows_deletes: bool,
}

impl Judged<'_> {
    fn missing(&self, from: u64, to: u64) -> SeqSet {
        let from = from.max(self.horizon.saturating_add(1));
        match from <= to {
            true => missing_in(from..=to, self.gone),
            false => SeqSet::new(),
        }
    }

    fn inner(&self, place: Place, after: u64, holes: &mut Holes) {
        let Some(range) = place.range() else { return };
        let missing = self.missing(*range.start(), *range.end());
        if missing.is_empty() {
            return;
        }
        if place.is_border {
            // A skip record stands for all sequences before it; where messages are deleted it is more likely one that was wiped.
            let is_erased = self.erased.contains(after);
            if is_erased && !self.shows_deletes {
                return;
            }
            // Blocks that lose their ends or go as a whole are everyday where messages vanish; and the last message of a block to
            // be deleted takes the file with it and leaves no tombstone.
            let files_gone = self.files_gone(place);
            let untraced = missing.len() <= files_gone;
            let deleted = (self.shows_deletes || untraced) && self.facts.deletable;
            // A block of nothing but skip records goes like one whose messages were all deleted, and none of them was one.
            let skipped = files_gone > 0 && !self.erased.is_empty();
            let doubtful = is_erased || skipped || self.is_ahead(place, after);
            match self.facts.vanishing || doubtful || deleted {
                true => holes.unknown.union_with(&missing),
                false => holes.lost.union_with(&missing),
            }
            return;
        }
        // With less room there was a tombstone, no message.
        let is_small = (1..MESSAGE_MIN_LENGTH).contains(&place.bytes);
        if is_small && self.hidden_room(place).is_none() {
            return;
        }
        let most = (place.bytes / MESSAGE_MIN_LENGTH).max(1);
        let tombstones_fit = place.bytes.is_multiple_of(RECORD_MIN_LENGTH as u64);
        if missing.len() > most {
            // Older records may lie in the place of some, and take their room; but not more than the block's.
            match self.hidden_room(place) {
                Some(_) => holes.unknown.union_with(&missing),
                None => {
                    let most = self.block_room(place) / MESSAGE_MIN_LENGTH;
                    holes.unknown.union_with(&youngest(&missing, most.max(1)));
                }
            }
        } else if self.facts.vanishing || tombstones_fit && self.shows_deletes {
            holes.unknown.union_with(&missing);
        } else {
            holes.lost.union_with(&missing);
        }
    }

    /// Whether a block behind begins below `after`: then that record does not stand where the stream had come to, and it says
    /// nothing of what was stored before it.
    fn is_ahead(&self, place: Place, after: u64) -> bool {
        let behind = |find: &&BlockFindings| find.number > place.number;
        let mut firsts = self.facts.finds.iter().filter(behind);
        firsts.any(|find| find.first.is_some_and(|first| first.seq < after))
    }

    /// How many blocks between the records around a border have no file.
    fn files_gone(&self, border: Place) -> u64 {
        let finds = self.facts.finds;
        let below = finds.partition_point(|find| find.number < border.number);
        let below = finds.get(..below).unwrap_or_default();
        let held = below.iter().rposition(|find| find.first.is_some());
        let Some((before, empty)) = held.and_then(|at| below.get(at..)?.split_first()) else {
            return 0;
        };
        let mut numbers: Vec<u32> = empty.iter().map(|find| find.number).collect();
        numbers.retain(|number| *number != before.number);
        numbers.dedup();
        let between = border
            .number
            .saturating_sub(before.number)
            .saturating_sub(1);
        u64::from(between).saturating_sub(numbers.len() as u64)
    }

    /// Whether a place had more room than its bytes show: where records of another place lie in the block, which take the room
    /// of its own, and where the block is compressed. Then it had at most that of the whole block.
    fn hidden_room(&self, place: Place) -> Option<u64> {
        let mut finds = self.facts.finds.iter();
        let find = finds.find(|find| {
            find.number == place.number && (find.backward_count > 0 || find.compressed)
        })?;
        Some(find.file_length.max(find.content_length))
    }

    /// Bytes of the whole block.
    fn block_room(&self, place: Place) -> u64 {
        let mut finds = self.facts.finds.iter();
        let find = finds.find(|find| find.number == place.number);
        let room = find.map_or(0, |find| find.file_length.max(find.content_length));
        room.max(place.bytes)
    }

    /// Before the first record. A first block has all there was from its beginning. Before another one there were blocks, and
    /// nothing tells whether they went as they should; where the rules of the stream take the oldest without a trace, and without
    /// a sum that would show it, they are no more than the past of every such stream: told once, and not one by one.
    fn front(&self, place: Place, after: u64, holes: &mut Holes) {
        let begins_there = place.number <= 1;
        let is_sound = place.bytes < MESSAGE_MIN_LENGTH && !place.is_border;
        let begin = self.facts.first_seq.max(1);
        if is_sound && (begins_there || self.facts.forgets) {
            let is_untold = !self.missing(begin, after.saturating_sub(1)).is_empty();
            holes.untold_below = (!begins_there && is_untold).then_some(after);
            return;
        }
        let room = self.hidden_room(place).unwrap_or(place.bytes);
        let most = room / MESSAGE_MIN_LENGTH;
        let is_all = begins_there && after.saturating_sub(begin) <= most;
        let from = match begins_there {
            true => after.saturating_sub(self.block_room(place) / MESSAGE_MIN_LENGTH),
            false => begin,
        };
        // A file without a record may have been cut, and held more than its bytes show.
        let older = match begins_there && place.is_border {
            true => self.missing(begin, from.max(begin).saturating_sub(1)),
            false => SeqSet::new(),
        };
        if self.facts.forgets && !older.is_empty() {
            holes.untold_below = Some(from.max(begin));
        } else {
            holes.unknown.union_with(&older);
        }
        let missing = self.missing(from.max(begin), after.saturating_sub(1));
        match is_all && !self.facts.vanishing {
            true => holes.lost.union_with(&missing),
            false => holes.unknown.union_with(&missing),
        }
    }

    /// Unreadable bytes behind the last record: what begins there bore the next sequence, if it was a message.
    fn tail(&self, place: Place, before: u64, holes: &mut Holes) {
        if place.is_torn_tail || place.bytes < MESSAGE_MIN_LENGTH {
            return;
        }
        let next = before.max(self.horizon).saturating_add(1);
        holes.unknown.union_with(&self.missing(next, next));
    }

    /// A side file saw messages behind the last record, or a tombstone names one. (`last` bounds what is believed of either.)
    fn claimed(&self, last: u64, holes: &mut Holes) {
        let claims = self.facts.claims.iter().map(|claim| claim.seq);
        let claimed = claims.filter(|seq| *seq <= last).max().unwrap_or(0);
        let tombstones = self.facts.finds.iter().flat_map(|find| &find.tombstones);
        let named = tombstones.map(|edge| edge.seq & SEQUENCE_MAX).max();
        let named = named.unwrap_or(0).min(last);
        let lasts = self.facts.finds.iter().filter_map(|find| find.last);
        let Some(reached) = lasts.map(|edge| edge.seq).max() else {
            // A purge leaves no more than its tombstone; what is named above it is gone with its block, or was purged too.
            let next = named.saturating_add(1);
            holes.unknown.union_with(&self.missing(next, claimed));
            return;
        };
        let missing = self.missing(reached.saturating_add(1), claimed);
        // The tombstone of one that was deleted went with the end of the block that its record stood in.
        let deleted = self.shows_deletes && self.facts.deletable;
        match self.facts.vanishing || deleted {
            true => holes.unknown.union_with(&missing),
            false => holes.lost.union_with(&missing),
        }
        // Those before the last to be deleted may have gone with it, or with their block.
        let next = reached.max(claimed).saturating_add(1);
        holes.unknown.union_with(&self.missing(next, named));
    }
}

/// The highest `most` of them.
fn youngest(seqs: &SeqSet, most: u64) -> SeqSet {
    let mut taken = SeqSet::new();
    let mut spans: Vec<_> = seqs.spans().collect();
    let mut room = most;
    while let Some(span) = spans.pop().filter(|_| room > 0) {
        let count = (span.end() - span.start()).saturating_add(1).min(room);
        taken.insert_range(span.end().saturating_sub(count - 1)..=*span.end());
        room -= count;
    }
    taken
}
