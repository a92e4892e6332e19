//! What of several copies stays, by the rules at the head of `merge`. Pure.

use super::super::error::SalvageError;
use super::super::evidence::MetaOrigin;
use super::super::find::Edge;
use super::super::quarantine::Regained;
use super::super::sets::{difference, intersection, remove_all, within};
use super::super::survey::{Survey, vanishing};
use super::super::trust::counted_by;
use crate::format::seqset::SeqSet;
use crate::format::state::StateFile;

pub(super) fn are_one_stream(found: &[Survey]) -> Result<(), SalvageError> {
    let Some((first, others)) = found.split_first() else {
        return Ok(());
    };
    for other in others {
        let (a, b) = (&first.gathered.evidence, &other.gathered.evidence);
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
            return Err(SalvageError::NotOneStream(other.stream.dir.clone(), detail));
        }
    }
    Ok(())
}

/// What is kept of all copies, and what is known to be missing.
pub(super) struct Union {
    pub(super) kept: SeqSet,
    pub(super) lost: SeqSet,
    pub(super) uncertain: SeqSet,
    pub(super) last: Edge,
}

pub(super) fn unite(found: &[Survey], regained: Option<&Regained>, drop_uncertain: bool) -> Union {
    let mut held = SeqSet::new();
    let mut lost = SeqSet::new();
    let mut last = Edge::default();
    for copy in found {
        held.union_with(&copy.trust.live);
        // Deleted in this copy by its index alone, perhaps wrongly.
        held.union_with(&copy.trust.deleted);
        lost.union_with(&copy.trust.lost);
        if copy.trust.last.seq > last.seq {
            last = copy.trust.last;
        }
    }
    if let Some(regained) = regained {
        held.union_with(&regained.seqs);
        last.seq = last.seq.max(regained.seqs.last().unwrap_or(0));
    }
    let deleted = deleted_in_any(found, &held);
    let mut kept = difference(&held, &deleted);
    let mut uncertain = SeqSet::new();
    for (at, copy) in found.iter().enumerate() {
        // Another copy without doubt settles it.
        let mut doubted = copy.trust.uncertain.clone();
        for (_, other) in found.iter().enumerate().filter(|(other, _)| *other != at) {
            let sure = difference(&other.trust.live, &other.trust.uncertain);
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
        lost,
        uncertain,
        last,
    }
}

/// The sequences of `held` and those lost that were deleted, by the rules at the head of this file.
fn deleted_in_any(found: &[Survey], held: &SeqSet) -> SeqSet {
    let mut deleted = SeqSet::new();
    for copy in found {
        let mut named = copy.trust.tombstones.clone();
        if copy
            .gathered
            .evidence
            .index
            .as_ref()
            .is_some_and(|index| index.fresh)
        {
            remove_all(&mut named, &copy.trust.live);
        }
        deleted.union_with(&named);
        for legacy in copy.blocks.iter().filter_map(|block| block.legacy.as_ref()) {
            deleted.union_with(&legacy.deleted);
        }
        for find in &copy.finds {
            deleted.union_with(&difference(&find.erased, held));
        }
    }
    // A copy that has the record and whose index does not count it saw it deleted, unless an index as new counts it.
    for (at, copy) in found.iter().enumerate() {
        let reach = index_reach(copy);
        let mut unlisted = copy.trust.deleted.clone();
        for (_, other) in found.iter().enumerate().filter(|(other, _)| *other != at) {
            if index_reach(other) >= reach
                && let Some(index) = &other.gathered.evidence.index
            {
                remove_all(&mut unlisted, &counted_by(&index.state));
            }
        }
        deleted.union_with(&unlisted);
    }
    let mut reaches: Vec<u64> = indexes(found)
        .map(|(state, _)| state.last_sequence)
        .collect();
    reaches.sort_unstable();
    reaches.dedup();
    let newest_first = indexes(found)
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
        for (state, copy) in indexes(found).filter(|(state, _)| state.last_sequence == furthest) {
            counted.union_with(&counted_by(state));
            vanishes &= vanishing(&copy.gathered.evidence.meta);
        }
        if vanishes {
            let spoken_of = within(held, 0..=furthest);
            deleted.union_with(&difference(&spoken_of, &counted));
        }
    }
    deleted
}

fn index_reach(copy: &Survey) -> u64 {
    let index = copy.gathered.evidence.index.as_ref();
    index.map_or(0, |index| index.state.last_sequence)
}

fn indexes(found: &[Survey]) -> impl Iterator<Item = (&StateFile, &Survey)> {
    found.iter().filter_map(|copy| {
        let index = copy.gathered.evidence.index.as_ref()?;
        Some((&index.state, copy))
    })
}

/// The copy whose configuration and consumers are taken: sound metadata first, then the highest last sequence.
pub(super) fn best(found: &[Survey]) -> Option<&Survey> {
    found.iter().max_by_key(|copy| {
        let origin = match copy.gathered.evidence.meta_origin {
            MetaOrigin::Sound => 3,
            MetaOrigin::Mended => 2,
            MetaOrigin::Unproven => 1,
            MetaOrigin::Made => 0,
        };
        (origin, copy.trust.last.seq)
    })
}

pub(super) fn newest_consumers(found: &[Survey]) -> Option<&Survey> {
    found
        .iter()
        .filter(|copy| !copy.consumers.is_empty())
        .max_by_key(|copy| {
            let delivered = copy.consumers.iter().filter_map(|consumer| {
                consumer.state.as_ref().map(|state| {
                    u128::from(state.delivered.consumer) + u128::from(state.ack_floor.consumer)
                })
            });
            (copy.consumers.len(), delivered.sum::<u128>())
        })
}
