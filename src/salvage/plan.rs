//! What becomes of each block: taken over as it lies, written anew, or left out. Pure.
//!
//! The blocks of the new store have to tell alone what the source told with its index, for its index is made from them. A
//! block is taken over where that holds: nothing to mend in it, nothing unreadable, every dead message of it named by a
//! tombstone, no erased record, no tombstone in it that names a live one, no sequence that another block has. Everything else is written
//! anew under the same number, so that the records' hashes stay what they are.

use super::findings::BlockFindings;
use super::sets::difference;
use super::survey::Survey;
use crate::block::key::BlockKey;
use crate::crypto::{Cipher, KeyChoice};
use crate::format::limits::SEQUENCE_MAX;
use crate::format::seqset::SeqSet;
use crate::state::SeqTime;

/// How the new store is encrypted, as far as taking blocks over goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewStoreKeys {
    /// Not at all.
    Plain,
    /// Under this of the caller's keys, with this cipher.
    Key(KeyChoice, Cipher),
}

/// What becomes of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockPlan {
    /// Nothing of it is needed.
    Skip,
    /// Its files are taken over.
    Verbatim,
    /// What is kept of it is written anew.
    Rewrite {
        /// Compressed, as it was. The last block never is: a server would append to it in plain.
        compressed: bool,
    },
}

/// What becomes of all blocks, in their order, and the tombstone to be written behind them, where the last sequence is above
/// what they say.
#[must_use]
pub fn plan(survey: &Survey, target: NewStoreKeys) -> (Vec<BlockPlan>, Option<SeqTime>) {
    let last_used = last_used(survey);
    let trailing = trailing(survey, last_used);
    let told = told(survey);
    let mut reach = 0_u64;
    let mut plans = Vec::with_capacity(survey.finds.len());
    for (at, find) in survey.finds.iter().enumerate() {
        let plan = if is_used(survey, at) {
            let is_last = Some(at) == last_used && trailing.is_none();
            one(survey, target, at, find, reach, is_last, &told)
        } else {
            BlockPlan::Skip
        };
        reach = reach.max(match plan {
            BlockPlan::Verbatim => find.last.map_or(0, |edge| edge.seq),
            BlockPlan::Rewrite { .. } => kept(survey, at).last().unwrap_or(0),
            BlockPlan::Skip => 0,
        });
        plans.push(plan);
    }
    (plans, trailing)
}

fn kept(survey: &Survey, at: usize) -> SeqSet {
    let verdict = survey.trust.blocks.get(at);
    verdict
        .map(|verdict| verdict.kept.clone())
        .unwrap_or_default()
}

/// Tombstones of a block that stay: all but those that name what lives.
pub fn tombstones_kept<'a>(
    find: &'a BlockFindings,
    live: &'a SeqSet,
) -> impl Iterator<Item = SeqTime> + 'a {
    find.tombstones
        .iter()
        .filter(|edge| !live.contains(edge.seq & SEQUENCE_MAX))
        .copied()
}

fn is_used(survey: &Survey, at: usize) -> bool {
    let live = &survey.trust.live;
    let kept = survey.trust.blocks.get(at);
    kept.is_some_and(|verdict| !verdict.kept.is_empty())
        || !is_spare(survey, at)
            && survey
                .finds
                .get(at)
                .is_some_and(|find| tombstones_kept(find, live).next().is_some())
}

/// Whether another file is taken for the same block.
fn is_spare(survey: &Survey, at: usize) -> bool {
    let number = |at: usize| survey.finds.get(at).map(|find| find.number);
    at.checked_sub(1)
        .is_some_and(|before| number(before) == number(at))
}

/// The tombstones that the new store will have.
fn told(survey: &Survey) -> SeqSet {
    let mut told = SeqSet::new();
    for (at, find) in survey.finds.iter().enumerate() {
        if !is_spare(survey, at) {
            told.extend(find.tombstones.iter().map(|edge| edge.seq & SEQUENCE_MAX));
        }
    }
    told
}

fn last_used(survey: &Survey) -> Option<usize> {
    (0..survey.finds.len())
        .rev()
        .find(|at| is_used(survey, *at))
}

/// A server takes the last sequence from records, and from tombstones only in a block without messages.
fn trailing(survey: &Survey, last_used: Option<usize>) -> Option<SeqTime> {
    let trust = &survey.trust;
    let last = trust.last;
    if last.seq == 0 || trust.live.last() == Some(last.seq) {
        return None;
    }
    let speaks = last_used
        .and_then(|at| survey.finds.get(at).zip(trust.blocks.get(at)))
        .is_some_and(|(find, verdict)| {
            let highest = tombstones_kept(find, &trust.live).max_by_key(|edge| edge.seq);
            verdict.kept.is_empty()
                && find.messages.is_empty()
                && find.erased.is_empty()
                && highest == Some(last)
        });
    (!speaks).then_some(last)
}

fn one(
    survey: &Survey,
    target: NewStoreKeys,
    at: usize,
    find: &BlockFindings,
    reach: u64,
    is_last: bool,
    told: &SeqSet,
) -> BlockPlan {
    let rewrite = BlockPlan::Rewrite {
        compressed: find.compressed && !is_last,
    };
    let trust = &survey.trust;
    let (Some(verdict), Some(block)) = (trust.blocks.get(at), survey.blocks.get(at)) else {
        return rewrite;
    };
    let key_fits = find.file == find.number
        && block.key_repair.is_none()
        && match (&block.key, target) {
            (BlockKey::Plain, NewStoreKeys::Plain) => true,
            (BlockKey::Opened(opened), NewStoreKeys::Key(key, cipher)) => {
                opened.key == key && opened.cipher == cipher
            }
            _ => false,
        };
    let is_sound = find.is_whole()
        && find.backward_count == 0
        && find.erased.is_empty()
        && find.uncertain.is_empty()
        && !(find.compressed && is_last);
    if !key_fits || !is_sound || verdict.kept.is_empty() && !find.messages.is_empty() {
        return rewrite;
    }
    let dead = difference(&find.messages, &verdict.kept);
    let untold = difference(&dead, told);
    let revoked = tombstones_kept(find, &trust.live).count() < find.tombstones.len();
    let follows = trust
        .blocks
        .iter()
        .skip(at + 1)
        .find_map(|next| next.kept.first());
    let (first, last) = (find.first, find.last);
    let apart = first.is_none_or(|edge| edge.seq > reach)
        && last.is_none_or(|edge| follows.is_none_or(|next| edge.seq < next));
    if untold.is_empty() && verdict.elsewhere.is_empty() && !revoked && apart {
        BlockPlan::Verbatim
    } else {
        rewrite
    }
}
