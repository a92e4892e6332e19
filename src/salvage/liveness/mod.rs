//! Which of the messages found are live, which were deleted, which cannot be told; and which are missing. Pure.
//!
//! The rules, in the order of their weight:
//!
//! 1. `index.db` speaks of every sequence up to its last: what no listed block counts, or what a listed block counts as
//!    deleted, is deleted. Is it *fresh* (of the last record on disk), it knows all deletes, and a tombstone that names
//!    a message it counts is an old one: the sequence was used again.
//! 2. Without a fresh index a tombstone deletes what it names. Above the index's last sequence messages are live unless
//!    a tombstone names them.
//! 3. Where there is no index, what a block's `N.idx` (servers up to 2.9) holds deleted is deleted.
//! 4. A message that was gone when its block was written last ([`BlockFindings::outdated`]) is an old copy, and deleted, unless a
//!    fresh index counts it, or another record of it is none.
//! 5. Where two blocks hold one sequence, the block that the index lists for it has it, else the lower one, in which a
//!    server looks first; of two files with one block the one that is taken for it.
//!
//! A record out of its place ([`BlockFindings::strays`]) is as true as any. But where its sequence lies above the last of a fresh
//! index, or so far above all that is proven that it would double the stream's span, nothing speaks for it: it is left out,
//! as a claim that is not believed.
//!
//! *Cannot be told* is a live message whose tombstone may lie in bytes that cannot be read. That asks for all of: no
//! fresh index; a stream whose messages may be deleted by hand, and a store that shows they were (a tombstone or an
//! erased record anywhere); a gap with room for a tombstone besides the messages that are known to be missing from it,
//! in the index's last block or behind it (older tombstones are known to the index), that is not a torn tail. A
//! tombstone is younger than what it deletes, so only messages below the first one behind the gap are concerned.
//!
//! *Lost* is, at first, what the index counts as live and nothing holds; and, beyond the index, what `places` tells. The account
//! that [`crate::ledger`] draws up from this and from the limits then has the last word (`account.rs`).

mod places;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::findings::BlockFindings;
use super::sets::{difference, intersection, remove_all, within};
use super::side_files::IndexEvidence;
use crate::format::limits::{RECORD_MIN_LENGTH, SEQUENCE_MAX};
use crate::format::names::BlockFile;
use crate::format::seqset::SeqSet;
use crate::format::state::StateFile;
use crate::ledger::Holes;
use crate::state::SeqTime;

/// A message takes at least this: a record of nothing but a subject of one byte.
pub(super) const MESSAGE_MIN_LENGTH: u64 = RECORD_MIN_LENGTH as u64 + 1;
/// How far above what is proven an unchecked file may put the last sequence, where the stream is small.
const CLAIM_SLACK: u64 = 1 << 20;
/// Records that nothing speaks for which are told one by one.
const DOUBTED_TOLD_MAX: usize = 1000;

/// What a block's `N.idx` holds deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LegacyDeletes {
    /// Block number.
    pub number: u32,
    /// Older sequences of the block are deleted.
    pub first_seq: u64,
    /// These are.
    pub deleted: SeqSet,
    /// The last sequence of the block by its account, where that is sound in itself.
    pub last: Option<SeqTime>,
}

/// A file without a checksum speaks of a sequence: it was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The file, relative to the stream directory.
    pub path: String,
    /// The highest sequence it speaks of.
    pub seq: u64,
}

/// Everything the decision goes by.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// What was found in each block, ascending by number, of several files with one block first the one that is taken for it;
    /// a block that cannot be opened is one gap.
    pub finds: &'a [BlockFindings],
    /// The index, where there is one.
    pub index: Option<&'a IndexEvidence>,
    /// What legacy indexes say.
    pub legacy: &'a [LegacyDeletes],
    /// What unchecked files say of the last sequence.
    pub claims: &'a [Claim],
    /// Whether the configuration has messages vanish from the middle of the stream without a tombstone.
    pub vanishing: bool,
    /// Whether the oldest messages go without a trace, and no limit's sum would show it; or the configuration is not known.
    pub forgets: bool,
    /// Whether the configuration lets messages be deleted by hand.
    pub deletable: bool,
    /// The configured first sequence.
    pub first_seq: u64,
}

/// What becomes of one block's messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockVerdict {
    /// Block number.
    pub number: u32,
    /// Messages that are kept, the uncertain ones included.
    pub kept: SeqSet,
    /// Messages of it that another block is taken for.
    pub elsewhere: SeqSet,
}

/// The decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// One verdict per block, in the order of the finds.
    pub blocks: Vec<BlockVerdict>,
    /// Live messages, the uncertain ones included.
    pub live: SeqSet,
    /// Messages found that were deleted.
    pub deleted: SeqSet,
    /// Live messages whose tombstone may be lost.
    pub uncertain: SeqSet,
    /// At most so many of them were deleted.
    pub uncertain_deletes_most: u64,
    /// Sequences that were live, and that nothing holds any more.
    pub lost: SeqSet,
    /// What the records around missing ones tell, beyond the index.
    pub holes: Holes,
    /// Every tombstone.
    pub tombstones: SeqSet,
    /// The highest sequence that was ever used, and its time.
    pub last: SeqTime,
    /// Claims that were not believed.
    pub doubted: Vec<Claim>,
}

impl Trust {
    /// Whether the kept messages of the blocks, in block order, ascend without overlap, and each block has but one file.
    #[must_use]
    pub fn is_ascending(&self) -> bool {
        let mut next = 0;
        let mut before = None;
        self.blocks.iter().all(|block| {
            let (Some(first), Some(last)) = (block.kept.first(), block.kept.last()) else {
                return true;
            };
            let is_other = before.replace(block.number) != Some(block.number);
            let rises = first >= next && is_other;
            next = last.saturating_add(1);
            rises
        })
    }

    /// Leaves the uncertain messages out.
    pub fn drop_uncertain(&mut self) {
        let uncertain = std::mem::take(&mut self.uncertain);
        self.leave_out(&uncertain);
        self.uncertain = uncertain;
    }

    /// Puts `seqs` down as deleted.
    pub fn leave_out(&mut self, seqs: &SeqSet) {
        for block in &mut self.blocks {
            remove_all(&mut block.kept, seqs);
        }
        self.deleted.union_with(&intersection(&self.live, seqs));
        remove_all(&mut self.live, seqs);
    }

    /// Keeps `seqs` after all, each from the first of `finds` that holds it, old copies last.
    pub fn take_back(&mut self, seqs: &SeqSet, finds: &[BlockFindings]) {
        let mut left = intersection(&self.deleted, seqs);
        remove_all(&mut self.deleted, &left);
        self.live.union_with(&left);
        for old_copies in [false, true] {
            for (block, find) in self.blocks.iter_mut().zip(finds) {
                let mut own = intersection(&find.messages, &left);
                if !old_copies {
                    remove_all(&mut own, &find.outdated);
                }
                remove_all(&mut left, &own);
                remove_all(&mut block.elsewhere, &own);
                block.kept.union_with(&own);
            }
        }
    }
}

/// Decides.
#[must_use]
pub fn decide(facts: &Facts<'_>) -> Trust {
    let mut found = SeqSet::new();
    let mut erased = SeqSet::new();
    let mut tombstones = SeqSet::new();
    for find in facts.finds {
        found.union_with(&find.messages);
        erased.union_with(&find.erased);
        tombstones.extend(find.tombstones.iter().map(|edge| edge.seq & SEQUENCE_MAX));
    }
    let mut last = proven_last(facts);
    let doubted = doubt_strays(facts, &mut last, &mut found);
    remove_all(&mut erased, &found);
    let counted = facts.index.map(|index| counted_by(&index.state));
    let deleted = deleted_of(facts, &found, &tombstones, counted.as_ref());
    let live = difference(&found, &deleted);
    let mut trust = Trust {
        blocks: owners(facts, &live),
        live,
        deleted,
        tombstones,
        last,
        doubted,
        ..Trust::default()
    };
    believe_claims(facts, &mut trust);
    find_lost(facts, &erased, counted.as_ref(), &mut trust);
    find_uncertain(facts, &erased, &mut trust);
    trust
}

/// The sequences the index counts as live.
#[must_use]
pub fn counted_by(state: &StateFile) -> SeqSet {
    let mut counted = SeqSet::new();
    for block in &state.blocks {
        let last = block.last_sequence.min(state.last_sequence);
        let mut held = SeqSet::new();
        if block.message_count() > 0 {
            held.insert_range(block.first_sequence..=last);
            remove_all(&mut held, &block.deleted);
        }
        counted.union_with(&held);
    }
    counted.remove_below(state.first_sequence);
    counted
}

fn deleted_of(
    facts: &Facts<'_>,
    found: &SeqSet,
    tombstones: &SeqSet,
    counted: Option<&SeqSet>,
) -> SeqSet {
    let mut deleted = SeqSet::new();
    let fresh = facts.index.is_some_and(|index| index.fresh);
    if let (Some(index), Some(counted)) = (facts.index, counted) {
        let last = index.state.last_sequence;
        let mut spoken_of = within(found, 0..=last);
        remove_all(&mut spoken_of, counted);
        deleted.union_with(&spoken_of);
        let mut named = intersection(found, tombstones);
        if fresh {
            named.remove_range(0..=last);
        }
        deleted.union_with(&named);
    } else {
        deleted.union_with(&intersection(found, tombstones));
        for legacy in facts.legacy {
            let at = facts
                .finds
                .binary_search_by_key(&legacy.number, |find| find.number);
            let Some(find) = at.ok().and_then(|at| facts.finds.get(at)) else {
                continue;
            };
            if let Some(below) = legacy.first_seq.checked_sub(1) {
                deleted.union_with(&within(&find.messages, 0..=below));
            }
            deleted.union_with(&intersection(&find.messages, &legacy.deleted));
        }
    }
    let mut outdated = outdated_in(facts.finds);
    if let Some(index) = facts.index.filter(|index| index.fresh) {
        outdated.remove_range(0..=index.state.last_sequence);
    }
    deleted.union_with(&intersection(&outdated, found));
    deleted
}

/// Messages of which there are none but outdated records.
fn outdated_in(finds: &[BlockFindings]) -> SeqSet {
    let mut outdated = SeqSet::new();
    for find in finds {
        outdated.union_with(&find.outdated);
    }
    if !outdated.is_empty() {
        for find in finds {
            let held = intersection(&find.messages, &outdated);
            remove_all(&mut outdated, &difference(&held, &find.outdated));
        }
    }
    outdated
}

/// Takes out of `found` the strays that nothing speaks for; raises `last` to the highest of the others. Returns what was
/// taken out.
fn doubt_strays(facts: &Facts<'_>, last: &mut SeqTime, found: &mut SeqSet) -> Vec<Claim> {
    let mut doubted = Vec::new();
    let strays = facts.finds.iter().filter(|find| !find.strays.is_empty());
    let most = match facts.index.filter(|index| index.fresh) {
        Some(index) => index.state.last_sequence,
        None => most_believed(facts, last.seq),
    };
    for find in strays {
        for stray in &find.strays {
            if stray.seq > most {
                found.remove(stray.seq);
                if doubted.len() < DOUBTED_TOLD_MAX {
                    doubted.push(Claim {
                        path: BlockFile::Block.name(find.file),
                        seq: stray.seq,
                    });
                }
            } else if stray.seq > last.seq {
                *last = *stray;
            }
        }
    }
    doubted
}

/// The highest sequence that is believed where `proven` is the highest that is proven.
fn most_believed(facts: &Facts<'_>, proven: u64) -> u64 {
    let first = facts
        .finds
        .iter()
        .filter_map(|find| find.first)
        .map(|edge| edge.seq)
        .min();
    let span = proven.saturating_sub(first.unwrap_or(proven));
    proven.saturating_add(span.max(CLAIM_SLACK))
}

/// Which block each live message is taken from.
fn owners(facts: &Facts<'_>, live: &SeqSet) -> Vec<BlockVerdict> {
    let mut blocks: Vec<BlockVerdict> = facts
        .finds
        .iter()
        .map(|find| BlockVerdict {
            number: find.number,
            kept: intersection(&find.messages, live),
            elsewhere: SeqSet::new(),
        })
        .collect();
    let held: u64 = blocks.iter().map(|block| block.kept.len()).sum();
    if held == live.len() {
        return blocks;
    }
    for block in &mut blocks {
        block.elsewhere = std::mem::take(&mut block.kept);
    }
    // First the block the index lists for a sequence, then any it lists, then any.
    let entries = facts.index.iter().flat_map(|index| &index.state.blocks);
    let listed: BTreeMap<u32, _> = entries.map(|entry| (entry.number, entry)).collect();
    let mut taken = SeqSet::new();
    for pass in 0..3 {
        for block in &mut blocks {
            let mut own = match (pass, listed.get(&block.number)) {
                (0, Some(entry)) => {
                    let range = entry.first_sequence..=entry.last_sequence;
                    difference(&within(&block.elsewhere, range), &entry.deleted)
                }
                (1, Some(_)) | (2, _) => block.elsewhere.clone(),
                _ => continue,
            };
            remove_all(&mut own, &taken);
            remove_all(&mut block.elsewhere, &own);
            taken.union_with(&own);
            block.kept.union_with(&own);
        }
    }
    blocks
}

/// The highest sequence that records, tombstones and the index prove.
fn proven_last(facts: &Facts<'_>) -> SeqTime {
    let mut last = SeqTime::default();
    let mut see = |edge: SeqTime| {
        if edge.seq > last.seq {
            last = edge;
        }
    };
    if let Some(index) = facts.index {
        see(SeqTime {
            seq: index.state.last_sequence,
            timestamp_ns: index.state.last_time_ns,
        });
    }
    for find in facts.finds {
        find.last.into_iter().for_each(&mut see);
        for tombstone in &find.tombstones {
            see(SeqTime {
                seq: tombstone.seq & SEQUENCE_MAX,
                ..*tombstone
            });
        }
    }
    last
}

/// The last sequence never goes down: what a file without a checksum speaks of was used too. One flipped bit of it must
/// not cost the stream the rest of its sequences, so a claim that would more than double the span of what is proven is
/// not believed; and a fresh index needs no help.
fn believe_claims(facts: &Facts<'_>, trust: &mut Trust) {
    let most = most_believed(facts, trust.last.seq);
    let fresh = facts.index.is_some_and(|index| index.fresh);
    for last in facts.legacy.iter().filter_map(|legacy| legacy.last) {
        if last.seq > trust.last.seq && last.seq <= most {
            trust.last = last;
        }
    }
    for claim in facts.claims {
        if claim.seq <= trust.last.seq {
            continue;
        }
        if fresh || claim.seq > most {
            trust.doubted.push(claim.clone());
        } else {
            trust.last.seq = claim.seq;
        }
    }
}

fn find_lost(facts: &Facts<'_>, erased: &SeqSet, counted: Option<&SeqSet>, trust: &mut Trust) {
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
    trust.holes = places::holes(facts, erased, &gone, trust.last.seq);
    trust.lost.union_with(&trust.holes.lost);
}

/// A hole hides at most as many tombstones as fit in it. Where more messages than that could be meant nothing tells which, and
/// most of them are sound: none of them is doubted.
fn find_uncertain(facts: &Facts<'_>, erased: &SeqSet, trust: &mut Trust) {
    let fresh = facts.index.is_some_and(|index| index.fresh);
    let shown = !trust.tombstones.is_empty() || !erased.is_empty();
    if fresh || !facts.deletable || !shown {
        return;
    }
    let from_block = facts.index.map_or(0, |index| index.state.last_block);
    let mut below = 0_u64;
    let mut most = 0_u64;
    for place in places::of(facts.finds) {
        if place.number < from_block || place.bytes == 0 || place.is_torn_tail {
            continue;
        }
        let missing = place.range().map_or(0, |range| trust.lost.count_in(range));
        let room = place
            .bytes
            .saturating_sub(missing.saturating_mul(MESSAGE_MIN_LENGTH));
        let deletes = room / RECORD_MIN_LENGTH as u64;
        if deletes > 0 {
            most = most.saturating_add(deletes);
            below = below.max(place.after.unwrap_or(u64::MAX));
        }
    }
    if let Some(last) = below.checked_sub(1) {
        let meant = within(&trust.live, 0..=last);
        trust.uncertain_deletes_most = most.min(meant.len());
        if meant.len() <= most {
            trust.uncertain = meant;
        }
    }
}
