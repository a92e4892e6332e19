//! From witnesses to the account of every message that one of them named. Pure: values in, a [`Ledger`] out.
//!
//! The rules, by their weight:
//!
//! 1. A *fresh* `index.db`, which is of the last record on disk, knows all: what it counts is live, and lost where no record
//!    of it is left; everything else up to its last sequence was removed.
//! 2. An index from *ahead* of the records, behind which nothing was stored, knows all but the tombstones behind it.
//! 3. Behind a *stale* index the log tells what came after: tombstones, and the limits, played again from the index on
//!    ([`replay`]). What the index counts and no record is left of was removed where a tombstone, a limit, the age of its
//!    block, or the acknowledgements of all consumers say so. Of a block whose file is gone the last message to go leaves no
//!    tombstone: where it alone has none, it went like the others, unless those went by a limit that leaves it. A message whose neighbours in a block follow each other
//!    without a byte between them was left out when the block was rewritten, which is done to removed ones only.
//! 4. What is then left was lost: no server takes bytes out of a block, or a block away, for anything else. But a purge of
//!    one subject that empties a block leaves no tombstone for it: where a block's file is gone and tombstones show that
//!    messages were deleted since the index, nothing tells which of the two it was; nor where a block held several
//!    messages of which newer ones of their subjects took some; nor where a block written since was rewritten, and its
//!    tombstones with it.
//! 5. What a rule of the stream may have removed since, by something that is not left, cannot be told: what a limit removes
//!    where as much was stored as can have been ([`Replayed::perhaps`]), what newer values of a subject or acknowledgements take,
//!    the rest of a block whose first message was old enough to go, and anything where the configuration is not known.
//! 6. Without an index a missing sequence is named by its neighbours alone. See [`Holes`].

mod acks;
pub mod replay;
#[cfg(test)]
mod tests;

pub use acks::{Consumer, acknowledged};
pub use replay::{
    Checkpoint, Hole, Limits, ListedBlock, Replay, Replayed, Rollup, Stored, subject_id,
};

use std::collections::BTreeMap;

use crate::format::seqset::SeqSet;
use crate::format::sets::{difference, intersection, missing_in, remove_all, within};
use crate::format::state::{BlockEntry, StateFile, SubjectEntry};
use crate::report::{Ledger, Removal};

/// How an `index.db` stands to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is of the last record.
    Fresh,
    /// Nothing was stored behind it; the record it is of is not the last.
    Ahead,
    /// Messages were stored behind it.
    Stale,
}

/// What `index.db` says.
#[derive(Debug, Clone, Copy)]
pub struct Indexed<'a> {
    /// All of it.
    pub state: &'a StateFile,
    /// The messages it counts.
    pub counted: &'a SeqSet,
    /// What it is worth.
    pub standing: Standing,
}

/// A block's file as it lies.
#[derive(Debug, Clone, Copy)]
pub struct FileSaid<'a> {
    /// Block number.
    pub number: u32,
    /// Messages and erased records whose record verifies.
    pub records: &'a SeqSet,
    /// Damaged places, each by the record before and the one behind it.
    pub gaps: &'a [(Option<u64>, Option<u64>)],
}

impl FileSaid<'_> {
    /// Those of `seqs` that stand between two sound records which follow each other, or before the one with which the file
    /// begins.
    #[must_use]
    pub fn left_out(&self, seqs: &SeqSet) -> SeqSet {
        let Some(last) = self.records.last() else {
            return SeqSet::new();
        };
        let mut left_out = within(seqs, 0..=last);
        for (before, after) in self.gaps {
            let (before, after) = (before.unwrap_or(0), after.unwrap_or(last));
            if before <= after {
                left_out.remove_range(before..=after);
            }
        }
        left_out
    }
}

/// Sequences that no record and no index names, but the records around them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holes {
    /// They were stored, and nothing that the stream does would have taken them away.
    pub lost: SeqSet,
    /// They may have been.
    pub unknown: SeqSet,
    /// Before this sequence nothing is left, and the rules of the stream take the oldest without a trace.
    pub untold_below: Option<u64>,
}

/// The limit of age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// What it is.
    pub max_age_ns: i64,
    /// The latest time that is known: that of the judgement, or of the newest message.
    pub latest_ns: i64,
}

/// Everything the account is drawn up from.
#[derive(Debug, Clone, Copy)]
pub struct Witnesses<'a> {
    /// Messages whose record verifies.
    pub found: &'a SeqSet,
    /// Those of them that the index, a tombstone or an older server's files hold deleted, or of which there are but old copies.
    pub deleted: &'a SeqSet,
    /// Sequences that a tombstone names.
    pub tombstones: &'a SeqSet,
    /// Sequences of erased records.
    pub erased: &'a SeqSet,
    /// The index, where there is one.
    pub index: Option<Indexed<'a>>,
    /// The blocks' files, ascending by number.
    pub files: &'a [FileSaid<'a>],
    /// What the records around missing ones tell, beyond the index.
    pub holes: &'a Holes,
    /// What the limits took.
    pub replayed: &'a Replayed,
    /// What all consumers of a work-queue or interest stream are done with.
    pub acked: &'a SeqSet,
    /// Those of them whose record is there, and that are gone for all that.
    pub acked_found: &'a SeqSet,
    /// The tombstone with which the first file begins, where all before it is gone: a purge leaves no more than that.
    pub purged: Option<u64>,
    /// What age removes at the time of the judgement.
    pub aged: &'a SeqSet,
    /// What then has outlived its own time to live.
    pub timed_out: &'a SeqSet,
    /// The limit of age.
    pub age: Option<Age>,
    /// Messages kept per subject; 0 where that is not limited.
    pub per_subject: u64,
    /// Whether acknowledgements remove messages.
    pub acks_remove: bool,
    /// Whether the configuration is known: without it nothing tells what the stream removes.
    pub rules_known: bool,
}

/// Draws up the account. [`Ledger::returning`] and [`Ledger::endangered`] are left to whoever knows the server's judgement.
#[must_use]
pub fn settle(witnesses: &Witnesses<'_>) -> Ledger {
    let mut ledger = Ledger::default();
    settle_found(witnesses, &mut ledger);
    if let Some(index) = witnesses.index {
        let gone = difference(index.counted, witnesses.found);
        Gone {
            witnesses,
            index,
            left: gone.clone(),
            all: gone,
        }
        .settle(&mut ledger);
        settle_uncounted(witnesses, index, &mut ledger);
    }
    settle_unlisted(witnesses, &mut ledger);
    ledger.untold_below = witnesses.holes.untold_below;
    ledger
}

/// The account of a stream under a fresh index all of whose messages are there: what settling its witnesses comes to.
#[must_use]
pub fn all_is_well(live: SeqSet, first_sequence: u64, last_sequence: u64) -> Ledger {
    let mut ledger = Ledger::default();
    remove_uncounted(&live, first_sequence, last_sequence, &mut ledger);
    ledger.live = live;
    ledger
}

fn remove_uncounted(counted: &SeqSet, first: u64, last: u64, ledger: &mut Ledger) {
    if let Some(below) = first
        .min(last.saturating_add(1))
        .checked_sub(1)
        .filter(|below| *below > 0)
    {
        let purged = missing_in(1..=below, counted);
        ledger.remove(Removal::Purge, &purged);
    }
    if first.max(1) <= last {
        let inner = missing_in(first.max(1)..=last, counted);
        ledger.remove(Removal::Index, &inner);
    }
}

fn settle_found(witnesses: &Witnesses<'_>, ledger: &mut Ledger) {
    let mut left = witnesses.found.clone();
    let fresh = witnesses
        .index
        .filter(|index| index.standing == Standing::Fresh);
    let mut deleted = intersection(witnesses.deleted, witnesses.found);
    remove_all(&mut left, &deleted);
    if fresh.is_none() {
        let named = intersection(&deleted, witnesses.tombstones);
        ledger.remove(Removal::Tombstone, &named);
        remove_all(&mut deleted, &named);
        if let Some(index) = witnesses.index {
            let below = index.state.first_sequence.saturating_sub(1);
            let purged = within(&deleted, 0..=below);
            ledger.remove(Removal::Purge, &purged);
            remove_all(&mut deleted, &purged);
        }
        ledger.remove(Removal::Index, &deleted);
        for (removal, seqs) in &witnesses.replayed.removed {
            let seqs = intersection(&left, seqs);
            ledger.remove(*removal, &seqs);
            remove_all(&mut left, &seqs);
        }
        let acked = intersection(&left, witnesses.acked_found);
        ledger.remove(Removal::Ack, &acked);
        remove_all(&mut left, &acked);
    }
    ledger.expired = intersection(&left, witnesses.aged);
    remove_all(&mut left, &ledger.expired);
    ledger.timed_out = intersection(&left, witnesses.timed_out);
    remove_all(&mut left, &ledger.timed_out);
    ledger.expired.union_with(&ledger.timed_out);
    ledger.live = left;
}

/// What the index does not count, up to its last sequence, and no record is left of either.
fn settle_uncounted(witnesses: &Witnesses<'_>, index: Indexed<'_>, ledger: &mut Ledger) {
    let (first, last) = (index.state.first_sequence, index.state.last_sequence);
    let mut known = index.counted.clone();
    if index.standing != Standing::Fresh {
        known.union_with(witnesses.found);
        let mut named = within(witnesses.tombstones, 0..=last);
        remove_all(&mut named, &known);
        ledger.remove(Removal::Tombstone, &named);
        known.union_with(&named);
    }
    remove_uncounted(&known, first, last, ledger);
}

/// What only tombstones, erased records and the neighbours of holes name, beyond the index.
fn settle_unlisted(witnesses: &Witnesses<'_>, ledger: &mut Ledger) {
    let last = witnesses.index.map_or(0, |index| index.state.last_sequence);
    let mut named = witnesses.tombstones.clone();
    named.union_with(witnesses.erased);
    named.remove_range(0..=last);
    remove_all(&mut named, witnesses.found);
    ledger.remove(Removal::Tombstone, &named);
    // A limit that took a message has taken everything older, and so has one that left no room for it.
    let replayed = witnesses.replayed;
    let by_limit = replayed.removed.get(&Removal::Limit);
    let taken_to = by_limit.and_then(SeqSet::last).unwrap_or(0);
    let reach = taken_to.max(replayed.full_from.saturating_sub(1));
    let mut taken = within(&witnesses.holes.lost, 0..=reach);
    taken.union_with(&within(&witnesses.holes.unknown, 0..=reach));
    remove_all(&mut taken, &named);
    remove_all(&mut taken, witnesses.found);
    ledger.remove(Removal::Limit, &taken);
    named.union_with(&taken);
    let mut purged = within(&witnesses.holes.unknown, 0..=witnesses.purged.unwrap_or(0));
    remove_all(&mut purged, &named);
    ledger.remove(Removal::Purge, &purged);
    named.union_with(&purged);
    let acked = difference(
        &intersection(&witnesses.holes.unknown, witnesses.acked),
        &named,
    );
    ledger.remove(Removal::Ack, &acked);
    named.union_with(&acked);
    named.union_with(witnesses.found);
    let mut lost = difference(&witnesses.holes.lost, &named);
    let perhaps = match witnesses.rules_known {
        true => intersection(&lost, &replayed.perhaps),
        false => lost.clone(),
    };
    remove_all(&mut lost, &perhaps);
    named.union_with(&lost);
    ledger.lost.union_with(&lost);
    ledger.unknown.union_with(&perhaps);
    let unknown = difference(&witnesses.holes.unknown, &named);
    ledger.unknown.union_with(&unknown);
}

/// What the index counts and no record is left of.
struct Gone<'a> {
    witnesses: &'a Witnesses<'a>,
    index: Indexed<'a>,
    all: SeqSet,
    /// What is not settled so far.
    left: SeqSet,
}

impl Gone<'_> {
    fn settle(mut self, ledger: &mut Ledger) {
        if self.all.is_empty() {
            return;
        }
        let witnesses = self.witnesses;
        if self.index.standing != Standing::Fresh {
            self.take(Removal::Tombstone, witnesses.tombstones, ledger);
            self.take(Removal::Tombstone, witnesses.erased, ledger);
            for (removal, seqs) in &witnesses.replayed.removed {
                self.take(*removal, seqs, ledger);
            }
            self.take(Removal::Ack, witnesses.acked, ledger);
        }
        for entry in &self.index.state.blocks {
            self.settle_age(entry, ledger);
        }
        if self.index.standing == Standing::Stale || self.deleted_since() {
            let overtaken = Overtaken::of(witnesses, self.index.state);
            for entry in &self.index.state.blocks {
                self.settle_block(entry, &overtaken, ledger);
            }
            let purged = within(&self.left, 0..=witnesses.purged.unwrap_or(0));
            self.leave_open(&purged, ledger);
            let perhaps = self.perhaps_removed();
            self.leave_open(&perhaps, ledger);
        }
        ledger.lost.union_with(&self.left);
    }

    fn take(&mut self, removal: Removal, seqs: &SeqSet, ledger: &mut Ledger) {
        let seqs = intersection(&self.left, seqs);
        ledger.remove(removal, &seqs);
        remove_all(&mut self.left, &seqs);
    }

    /// What the rules of the stream may have removed since the index was written, by what was stored, acknowledged or said in
    /// places that cannot be read.
    fn perhaps_removed(&self) -> SeqSet {
        let witnesses = self.witnesses;
        // Of a newer value, or of an acknowledgement, there may be nothing left.
        let leaves_nothing = witnesses.acks_remove || witnesses.per_subject > 0;
        let stale = self.index.standing == Standing::Stale;
        if stale && (leaves_nothing || !witnesses.rules_known) {
            return self.left.clone();
        }
        let mut perhaps = intersection(&self.left, &witnesses.replayed.perhaps);
        if let Some(age) = witnesses.age {
            for entry in &self.index.state.blocks {
                let oldest_ns = entry.first_time_ns.saturating_add(age.max_age_ns);
                if oldest_ns <= age.latest_ns {
                    perhaps.union_with(&self.of_block(entry));
                }
            }
        }
        perhaps
    }

    /// Whether tombstones show that messages were deleted since the index was written.
    fn deleted_since(&self) -> bool {
        !intersection(self.witnesses.tombstones, self.index.counted).is_empty()
    }

    /// Whether a block that was written since the index has been rewritten: a tombstone that no block needs any more is dropped
    /// then.
    fn rewritten_since(&self) -> bool {
        let since = |file: &&FileSaid<'_>| file.number >= self.index.state.last_block;
        let is_rewritten = |file: &FileSaid<'_>| {
            let (Some(first), Some(last)) = (file.records.first(), file.records.last()) else {
                return false;
            };
            let missing = missing_in(first..=last, file.records);
            !file.left_out(&missing).is_empty()
        };
        self.witnesses.files.iter().filter(since).any(is_rewritten)
    }

    /// A block's youngest message tells the age of them all.
    fn settle_age(&mut self, entry: &BlockEntry, ledger: &mut Ledger) {
        let Some(age) = self.witnesses.age else {
            return;
        };
        if entry.last_time_ns.saturating_add(age.max_age_ns) <= age.latest_ns {
            let of_block = self.of_block(entry);
            self.take(Removal::Age, &of_block, ledger);
        }
    }

    fn of_block(&self, entry: &BlockEntry) -> SeqSet {
        let last = entry.last_sequence.min(self.index.state.last_sequence);
        match entry.first_sequence <= last {
            true => within(&self.left, entry.first_sequence..=last),
            false => SeqSet::new(),
        }
    }

    fn settle_block(&mut self, entry: &BlockEntry, overtaken: &Overtaken, ledger: &mut Ledger) {
        let of_block = self.of_block(entry);
        if of_block.is_empty() {
            return;
        }
        let witnesses = self.witnesses;
        let at = witnesses
            .files
            .partition_point(|file| file.number < entry.number);
        let file = witnesses
            .files
            .get(at)
            .filter(|file| file.number == entry.number);
        let by_limits = match (witnesses.acks_remove, witnesses.per_subject) {
            (true, _) => Removal::Ack,
            (false, 0) => Removal::Tombstone,
            (false, _) => Removal::SubjectLimit,
        };
        if let Some(file) = file {
            let left_out = file.left_out(&of_block);
            self.take(by_limits, &left_out, ledger);
        } else if of_block.len() == 1 && self.went_with_others(entry) {
            match self.limits_took_the_others(entry, &of_block) {
                // They would have taken this one, too: it was deleted, or lost with the file.
                true => self.leave_open(&of_block, ledger),
                false => self.take(by_limits, &of_block, ledger),
            }
        }
        let of_block = self.of_block(entry);
        if of_block.is_empty() {
            return;
        }
        if overtaken
            .may_be_in
            .as_ref()
            .is_some_and(|open| !open.contains(u64::from(entry.number)))
        {
            return self.take(Removal::SubjectLimit, &of_block, ledger);
        }
        match self.superseded(entry, overtaken) {
            Superseded::All => self.take(Removal::SubjectLimit, &of_block, ledger),
            Superseded::Some => self.leave_open(&of_block, ledger),
            Superseded::None
                if file.is_none() && (self.deleted_since() || self.rewritten_since()) =>
            {
                self.leave_open(&of_block, ledger);
            }
            Superseded::None => {}
        }
    }

    fn leave_open(&mut self, seqs: &SeqSet, ledger: &mut Ledger) {
        ledger.unknown.union_with(seqs);
        remove_all(&mut self.left, seqs);
    }

    /// Whether the block had other messages, and all of them were removed.
    fn went_with_others(&self, entry: &BlockEntry) -> bool {
        let last = entry.last_sequence.min(self.index.state.last_sequence);
        let counted = within(self.index.counted, entry.first_sequence..=last);
        let others = difference(&counted, &self.left);
        !others.is_empty() && intersection(&others, self.witnesses.found).is_empty()
            || self.deleted_since() && counted.len() == 1
    }

    /// Whether all that the block had besides `left` went by a limit of the stream, which takes the oldest.
    fn limits_took_the_others(&self, entry: &BlockEntry, left: &SeqSet) -> bool {
        let last = entry.last_sequence.min(self.index.state.last_sequence);
        let counted = within(self.index.counted, entry.first_sequence..=last);
        let others = difference(&counted, left);
        let by_limit = self.witnesses.replayed.removed.get(&Removal::Limit);
        !others.is_empty() && by_limit.is_some_and(|taken| difference(&others, taken).is_empty())
    }

    /// How many of a block's missing messages newer ones of their subjects have taken.
    fn superseded(&self, entry: &BlockEntry, overtaken: &Overtaken) -> Superseded {
        let taken = overtaken.taken.get(&entry.number).copied().unwrap_or(0);
        let perhaps = overtaken.perhaps.contains(u64::from(entry.number));
        let last = entry.last_sequence.min(self.index.state.last_sequence);
        let here = within(self.index.counted, entry.first_sequence..=last);
        // Of those that were taken, some are there, and some went for a reason that is known.
        let mut known = difference(&difference(&here, self.witnesses.found), &self.left);
        known.union_with(&intersection(self.witnesses.tombstones, &here));
        for removed in self.witnesses.replayed.removed.values() {
            known.union_with(&intersection(removed, &here));
        }
        let known = known.len();
        let missing = self.of_block(entry).len();
        // Of several values newer ones may have gone before the older.
        let exact = self.witnesses.per_subject == 1;
        match if exact {
            taken.saturating_sub(known)
        } else {
            taken
        } {
            0 if !perhaps => Superseded::None,
            more if exact && more >= missing => Superseded::All,
            _ => Superseded::Some,
        }
    }
}

/// What messages stored since the index took of those it lists, by block.
#[derive(Debug, Default)]
struct Overtaken {
    /// How many, where a subject's messages all stand in the one block.
    taken: BTreeMap<u32, u64>,
    /// Blocks of subjects that stand in several of them.
    perhaps: SeqSet,
    /// Blocks that can have held a message of which neither the record is left nor newer ones of its subject tell that it went;
    /// `None` where the limit is not known to have been played.
    may_be_in: Option<SeqSet>,
}

impl Overtaken {
    fn of(witnesses: &Witnesses<'_>, state: &StateFile) -> Self {
        let mut overtaken = Overtaken::default();
        let most = witnesses.per_subject;
        let later = &witnesses.replayed.later;
        if most == 0 || later.is_empty() {
            return overtaken;
        }
        overtaken.may_be_in = Some(SeqSet::new());
        for subject in state.subjects.iter() {
            let id = subject_id(subject.subject);
            overtaken.see(&subject, id, witnesses.replayed, state);
            let Some(stored) = later.get(&id) else {
                continue;
            };
            let removed = subject.total.saturating_add(*stored).saturating_sub(most);
            let (first, last) = (subject.first_block, subject.last_block);
            if subject.total == 1 || first == last {
                let taken = overtaken.taken.entry(last).or_default();
                *taken = taken.saturating_add(removed.min(subject.total));
            } else if removed > 0 && first < last {
                overtaken
                    .perhaps
                    .insert_range(u64::from(first)..=u64::from(last));
            }
        }
        overtaken
    }

    /// In which of its blocks a subject may have messages that are not accounted for: a message of a block that is all before
    /// the subject's fence went, and where each has its record none is missing.
    fn see(&mut self, subject: &SubjectEntry<'_>, id: u64, replayed: &Replayed, state: &StateFile) {
        if replayed
            .known
            .get(&id)
            .is_some_and(|known| *known >= subject.total)
        {
            return;
        }
        let fence = replayed.fences.get(&id).copied().unwrap_or(0);
        let before = state
            .blocks
            .partition_point(|entry| entry.last_sequence < fence);
        let Some(first) = state
            .blocks
            .get(before)
            .map(|entry| entry.number.max(subject.first_block))
        else {
            return;
        };
        if let Some(open) = self
            .may_be_in
            .as_mut()
            .filter(|_| first <= subject.last_block)
        {
            open.insert_range(u64::from(first)..=u64::from(subject.last_block));
        }
    }
}

enum Superseded {
    None,
    Some,
    All,
}
