//! What of several copies stays, by the rules at the head of `merge`. Pure.

use super::super::error::SalvageError;
use super::super::liveness::counted_by;
use super::super::quarantine::Regained;
use super::super::sets::{difference, intersection, remove_all, within};
use super::super::survey::vanishing;
use super::Copy;
use crate::format::seqset::SeqSet;
use crate::format::state::StateFile;
use crate::report::Ledger;
use crate::state::SeqTime;
use crate::stream::metadata::MetaOrigin;

pub(super) fn are_one_stream(copies: &[Copy]) -> Result<(), SalvageError> {
    let Some((first, others)) = copies.split_first() else {
        return Ok(());
    };
    for other in others {
        let (a, b) = (
            &first.found.gathered.evidence,
            &other.found.gathered.evidence,
        );
        let mut detail = None;
        if a.name != b.name {
            detail = Some(format!(
                "it is the stream {}, the first copy is {}",
                b.name, a.name
            ));
        } else if a.meta.created.ns() != b.meta.created.ns()
            && a.meta.subjects != b.meta.subjects
            && a.meta_origin != MetaOrigin::Made
            && b.meta_origin != MetaOrigin::Made
        {
            // Replicas of one stream can differ in the time of creation: a server that turned encryption on or changed its
            // key put its own there. Different subjects besides make two streams of one name.
            detail = Some("it was created at another time and takes other subjects".to_owned());
        }
        if let Some(detail) = detail {
            return Err(SalvageError::NotOneStream(
                other.found.stream.dir.clone(),
                detail,
            ));
        }
    }
    Ok(())
}

/// One account of several: what was kept is live in one of them, and what no copy has any more, `lost`; of everything else each
/// copy tells what it knows.
pub(super) fn united<'a>(
    ledgers: impl Iterator<Item = &'a Ledger> + Clone,
    kept: &SeqSet,
    lost: &SeqSet,
) -> Ledger {
    let mut ledger = Ledger {
        lost: lost.clone(),
        live: kept.clone(),
        ..Ledger::default()
    };
    for own in ledgers.clone() {
        ledger.expired.union_with(&intersection(&own.expired, kept));
        let timed_out = intersection(&own.timed_out, kept);
        ledger.timed_out.union_with(&timed_out);
    }
    remove_all(&mut ledger.live, &ledger.expired);
    let mut told = kept.clone();
    told.union_with(lost);
    for own in ledgers.clone() {
        for (removal, seqs) in &own.removed {
            let seqs = difference(seqs, &told);
            ledger.remove(*removal, &seqs);
            told.union_with(&seqs);
        }
    }
    for own in ledgers {
        let seqs = difference(&own.unknown, &told);
        ledger.unknown.union_with(&seqs);
    }
    ledger
}

/// What is kept of all copies, and what is known to be missing.
pub(super) struct Union {
    pub(super) kept: SeqSet,
    /// What any copy has a record of, that is believed.
    pub(super) held: SeqSet,
    pub(super) lost: SeqSet,
    pub(super) deleted: SeqSet,
    pub(super) uncertain: SeqSet,
    pub(super) last: SeqTime,
}

impl Union {
    /// Keeps old values after all.
    pub(super) fn keep_old(&mut self, old: &SeqSet) {
        self.kept.union_with(old);
        remove_all(&mut self.deleted, old);
    }

    /// Puts down as lost what a copy claimed at first and does not have any more when it is read again; of old values nothing
    /// is lost but what is lost anyway.
    pub(super) fn miss(&mut self, written: &SeqSet, conflicts: &SeqSet, old: &SeqSet) {
        let mut missing = difference(&self.kept, written);
        remove_all(&mut missing, conflicts);
        remove_all(&mut missing, old);
        self.lost.union_with(&missing);
    }
}

pub(super) fn unite(copies: &[Copy], regained: Option<&Regained>, drop_uncertain: bool) -> Union {
    let mut held = SeqSet::new();
    let mut lost = SeqSet::new();
    let mut last = SeqTime::default();
    for Copy { found, .. } in copies {
        held.union_with(&found.trust.live);
        // Deleted in this copy by its index alone, perhaps wrongly.
        held.union_with(&found.trust.deleted);
        lost.union_with(&found.trust.lost);
        if found.trust.last.seq > last.seq {
            last = found.trust.last;
        }
    }
    let mut deleted = deleted_in_any(copies, &held);
    if let Some(regained) = regained {
        // What the index and the tombstones said when it was put aside is not among what was regained. Those of now, written
        // over the loss, do not speak of what was lost.
        let mut back = regained.seqs.clone();
        if !regained.knows_deletes {
            remove_all(&mut back, &tombstones_of(copies));
        }
        for Copy { found, .. } in copies {
            remove_all(&mut back, &found.trust.deleted);
        }
        remove_all(&mut deleted, &back);
        last.seq = last.seq.max(back.last().unwrap_or(0));
        held.union_with(&back);
        deleted.union_with(&regained.tombstones);
    }
    let mut kept = difference(&held, &deleted);
    let mut uncertain = SeqSet::new();
    for (at, copy) in copies.iter().enumerate() {
        // Another copy without doubt settles it.
        let mut doubted = copy.found.trust.uncertain.clone();
        for other in all_but(copies, at) {
            let trust = &other.found.trust;
            let sure = difference(&trust.live, &trust.uncertain);
            remove_all(&mut doubted, &sure);
        }
        uncertain.union_with(&doubted);
    }
    let uncertain = intersection(&uncertain, &kept);
    if drop_uncertain {
        remove_all(&mut kept, &uncertain);
    }
    remove_all(&mut lost, &kept);
    remove_all(&mut lost, &deleted);
    Union {
        kept,
        held,
        lost,
        deleted,
        uncertain,
        last,
    }
}

fn all_but(copies: &[Copy], at: usize) -> impl Iterator<Item = &Copy> {
    let others = copies.iter().enumerate();
    others.filter_map(move |(other, copy)| (other != at).then_some(copy))
}

/// The tombstones that count: those of a copy whose fresh index says otherwise do not.
fn tombstones_of(copies: &[Copy]) -> SeqSet {
    let mut named = SeqSet::new();
    for Copy { found, .. } in copies {
        let index = found.gathered.evidence.index.as_ref();
        let mut own = found.trust.tombstones.clone();
        if index.is_some_and(|index| index.fresh) {
            remove_all(&mut own, &found.trust.live);
        }
        named.union_with(&own);
        for legacy in found
            .blocks
            .iter()
            .filter_map(|block| block.legacy.as_ref())
        {
            named.union_with(&legacy.deleted);
        }
    }
    named
}

/// The sequences of `held` and those lost that were deleted, by the rules at the head of this file.
fn deleted_in_any(copies: &[Copy], held: &SeqSet) -> SeqSet {
    let mut deleted = tombstones_of(copies);
    for find in copies.iter().flat_map(|copy| &copy.found.finds) {
        deleted.union_with(&difference(&find.erased, held));
    }
    // A copy that has the record and whose index does not count it saw it deleted, unless an index as new counts it.
    for (at, copy) in copies.iter().enumerate() {
        let reach = index_reach(copy);
        let mut unlisted = copy.found.trust.deleted.clone();
        for other in all_but(copies, at) {
            if index_reach(other) >= reach
                && let Some(index) = &other.found.gathered.evidence.index
            {
                remove_all(&mut unlisted, &counted_by(&index.state));
            }
        }
        deleted.union_with(&unlisted);
    }
    let mut reaches: Vec<u64> = indexes(copies)
        .map(|(state, _)| state.last_sequence)
        .collect();
    reaches.sort_unstable();
    reaches.dedup();
    let newest_first = indexes(copies)
        .map(|(state, _)| (state.last_sequence, state.first_sequence))
        .max_by_key(|(last, first)| (*last, std::cmp::Reverse(*first)));
    if let Some((_, first)) = newest_first
        && let Some(below) = first.checked_sub(1)
    {
        deleted.insert_range(0..=below);
    }
    // The indexes that reach furthest speak of everything up to their last sequence.
    if let Some(furthest) = reaches.last().copied() {
        let mut counted = SeqSet::new();
        let mut vanishes = true;
        for (state, copy) in indexes(copies).filter(|(state, _)| state.last_sequence == furthest) {
            counted.union_with(&counted_by(state));
            vanishes &= vanishing(&copy.found.gathered.evidence.meta);
        }
        if vanishes {
            let spoken_of = within(held, 0..=furthest);
            deleted.union_with(&difference(&spoken_of, &counted));
        }
    }
    deleted
}

fn index_reach(copy: &Copy) -> u64 {
    let index = copy.found.gathered.evidence.index.as_ref();
    index.map_or(0, |index| index.state.last_sequence)
}

fn indexes(copies: &[Copy]) -> impl Iterator<Item = (&StateFile, &Copy)> {
    copies.iter().filter_map(|copy| {
        let index = copy.found.gathered.evidence.index.as_ref()?;
        Some((&index.state, copy))
    })
}

/// The copy whose configuration is taken: sound metadata first, then the highest last sequence.
pub(super) fn best(copies: &[Copy]) -> Option<&Copy> {
    copies.iter().max_by_key(|copy| {
        let origin = match copy.found.gathered.evidence.meta_origin {
            MetaOrigin::Sound => 4,
            MetaOrigin::Mended => 3,
            MetaOrigin::Given => 2,
            MetaOrigin::Unproven => 1,
            MetaOrigin::Made => 0,
        };
        (origin, copy.found.trust.last.seq)
    })
}

pub(super) fn newest_consumers(copies: &[Copy]) -> Option<&Copy> {
    let consumers = |copy: &&Copy| !copy.found.consumers.is_empty();
    copies.iter().filter(consumers).max_by_key(|copy| {
        let delivered = copy.found.consumers.iter().filter_map(|consumer| {
            consumer.state.as_ref().map(|state| {
                u128::from(state.delivered.consumer) + u128::from(state.ack_floor.consumer)
            })
        });
        (copy.found.consumers.len(), delivered.sum::<u128>())
    })
}
