//! Messages that are there and that no lookup finds.
//!
//! The server looks for a sequence in the first block that reaches up to it. Where blocks are out of
//! order, or an empty one claims to end above the messages behind it, that is the wrong one.

use super::super::simulate::{SimBlock, Simulation};
use crate::format::seqset::SeqSet;

/// Sequences listed at the most; a damaged state can claim any number of them.
const LISTED_MAX: usize = 1 << 22;

/// Messages that are looked up one by one; where a state claims more, every look-up is taken to go in line, as it does for few blocks.
const LOOKED_UP_MAX: u64 = 1 << 22;

/// Sequences that the state counts as live and that are in no block where they are looked for.
/// `deleted` is what the state calls deleted, `deleted_count` how many those are.
pub fn unreachable(sim: &Simulation<'_>, deleted: &[(u64, u64)], deleted_count: u64) -> Vec<u64> {
    let (first, last) = (sim.totals.first.seq.max(1), sim.totals.last.seq);
    if first > last {
        return beyond(sim);
    }
    let in_order = |pair: &[SimBlock]| matches!(pair, [one, next] if one.last.seq < next.first.seq);
    let missing = (last - first + 1).wrapping_sub(sim.totals.messages);
    let held = sim.blocks.iter().map(|block| block.message_count);
    let all_held = held.fold(0, u64::wrapping_add) == sim.totals.messages;
    let mut held = sim.blocks.iter().filter(|block| block.message_count > 0);
    let begins_with_them = held.next().is_none_or(|block| block.first.seq >= first);
    let is_whole = missing == deleted_count && all_held && begins_with_them;
    if is_whole && sim.blocks.windows(2).all(in_order) {
        return Vec::new();
    }
    let mut claimed = SeqSet::new();
    claimed.insert_range(first..=last);
    for &(from, to) in deleted {
        claimed.remove_range(from..=to);
    }
    let spans = sim.blocks.iter().flat_map(live_spans);
    let live = spans.map(width).fold(0, u64::saturating_add);
    if live <= LOOKED_UP_MAX {
        for (at, block) in sim.blocks.iter().enumerate() {
            let seqs = live_spans(block)
                .into_iter()
                .flat_map(|(from, to)| from..=to);
            for seq in seqs.filter(|seq| sim.select_block(*seq) == Some(at)) {
                claimed.remove_range(seq..=seq);
            }
        }
        return claimed.iter().take(LISTED_MAX).collect();
    }
    let mut next = 0;
    for block in &sim.blocks {
        for (from, to) in live_spans(block) {
            if to >= next {
                claimed.remove_range(from.max(next)..=to);
            }
        }
        next = next.max(block.last.seq.saturating_add(1));
    }
    claimed.iter().take(LISTED_MAX).collect()
}

/// Where the first sequence lies beyond the last, no sequence is looked for in any block, and what they hold is not found.
fn beyond(sim: &Simulation<'_>) -> Vec<u64> {
    let held = sim.blocks.iter().filter(|block| block.message_count > 0);
    let spans = held.flat_map(live_spans);
    let seqs = spans.flat_map(|(from, to)| from.max(1)..=to);
    seqs.take(LISTED_MAX).collect()
}

fn width((from, to): (u64, u64)) -> u64 {
    (to - from).saturating_add(1)
}

/// The live sequences of a block, as spans.
fn live_spans(block: &SimBlock) -> Vec<(u64, u64)> {
    let mut spans = Vec::new();
    let mut from = block.first.seq;
    for deleted in block.deleted.spans() {
        let (start, end) = (*deleted.start(), *deleted.end());
        if start > block.last.seq {
            break;
        }
        if start > from {
            spans.push((from, start - 1));
        }
        from = from.max(end.saturating_add(1));
    }
    if from <= block.last.seq {
        spans.push((from, block.last.seq));
    }
    spans
}
