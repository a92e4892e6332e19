//! The search for flipped bits in what a hash covers.
//!
//! A hash takes its bytes in packets of 32. The state before each packet is kept, so that a try costs the bytes from
//! its packet to the end, and the cheapest tries, those near the end, come first: every bit is as likely to have
//! flipped as any other. All single bits of `n` covered bytes cost about `4 n²` hashed bytes, all pairs about as much
//! again.

use std::ops::Range;

use super::budget::{HASH_COST, SearchBudget};
use crate::format::checksum::{HashKey, RunningHash};

const PACKET: usize = 32;

/// Packets whose states are kept, which bounds the memory: about 3 MiB. What lies farther than 512 KiB before the end is
/// not searched, except within the first packet of a range; it would take hours.
const STATES_MAX: usize = 16 * 1024;

/// One bit.
pub(super) const SINGLE: [u8; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// Two neighbouring bits.
pub(super) const PAIRS: [u8; 7] = [3, 6, 12, 24, 48, 96, 192];

/// Everything else that can be wrong with a byte.
pub(super) fn whole() -> Vec<u8> {
    let masks = 1..=u8::MAX;
    masks.filter(|mask| !is_flip(*mask)).collect()
}

/// A byte and what to flip in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flip {
    /// Position in the covered bytes.
    pub position: usize,
    /// Bits to flip.
    pub mask: u8,
}

/// Whether a difference is one that flips tell apart from noise: one bit, or two neighbours within a byte.
fn is_flip(mask: u8) -> bool {
    SINGLE.contains(&mask) || PAIRS.contains(&mask)
}

/// The flip that makes `expected` of `actual`, where there is one byte to flip, in whatever bits.
pub(super) fn between(actual: &[u8], expected: &[u8]) -> Option<Flip> {
    let mut differing = actual
        .iter()
        .zip(expected)
        .map(|(a, b)| a ^ b)
        .enumerate()
        .filter(|(_, mask)| *mask != 0);
    let (position, mask) = differing.next()?;
    differing
        .next()
        .is_none()
        .then_some(Flip { position, mask })
}

/// Looks in `range` of `covered` for a byte and one of `masks` that give `stored`, as far as `work` goes.
pub(super) fn find(
    key: &HashKey,
    covered: &[u8],
    stored: u64,
    range: &Range<usize>,
    masks: &[u8],
    work: &mut SearchBudget,
) -> Option<Flip> {
    let range = range.start..range.end.min(covered.len());
    if range.is_empty() {
        return None;
    }
    // Getting to the first packet and keeping the states is one hash.
    if !work.pay(covered.len()) {
        return None;
    }
    let last = (range.end - 1) / PACKET;
    let first = affordable(covered.len(), range.start / PACKET, last, masks.len(), work);
    let mut states = Vec::with_capacity(last + 1 - first);
    let mut running = key.begin();
    running.append(covered.get(..first * PACKET).unwrap_or_default());
    for packet in first..=last {
        states.push(running.clone());
        running.append(packet_of(covered, packet));
    }
    for (packet, state) in (first..last + 1).zip(&states).rev() {
        if let Some(flip) = find_in_packet(state, covered, packet, stored, &range, masks, work)? {
            return Some(flip);
        }
    }
    if first > range.start / PACKET {
        work.cut_short();
    }
    None
}

/// The first packet that can be paid for, going back from `last`.
fn affordable(
    length: usize,
    first: usize,
    last: usize,
    masks: usize,
    work: &SearchBudget,
) -> usize {
    let mut left = work.left();
    let mut packet = last;
    while packet > first && last - packet + 1 < STATES_MAX {
        let suffix = (length - packet * PACKET) as u64;
        let cost = (suffix + HASH_COST).saturating_mul((masks * PACKET) as u64);
        if cost > left {
            break;
        }
        left -= cost;
        packet -= 1;
    }
    packet
}

fn packet_of(covered: &[u8], packet: usize) -> &[u8] {
    let rest = covered.get(packet * PACKET..).unwrap_or_default();
    rest.get(..PACKET).unwrap_or(rest)
}

/// `None` when the work is used up, `Some(None)` when nothing in the packet does it.
fn find_in_packet(
    state: &RunningHash,
    covered: &[u8],
    packet: usize,
    stored: u64,
    range: &Range<usize>,
    masks: &[u8],
    work: &mut SearchBudget,
) -> Option<Option<Flip>> {
    let start = packet * PACKET;
    let original = packet_of(covered, packet);
    let suffix = covered.get(start + original.len()..).unwrap_or_default();
    let mut buffer = [0; PACKET];
    let tried = buffer.get_mut(..original.len())?;
    tried.copy_from_slice(original);
    for at in 0..tried.len() {
        let position = start + at;
        if !range.contains(&position) {
            continue;
        }
        for &mask in masks {
            if !work.pay(original.len() + suffix.len()) {
                return None;
            }
            if let Some(byte) = tried.get_mut(at) {
                *byte ^= mask;
            }
            let mut hash = state.clone();
            hash.append(tried);
            hash.append(suffix);
            if hash.finish() == stored {
                return Some(Some(Flip { position, mask }));
            }
            if let Some(byte) = tried.get_mut(at) {
                *byte ^= mask;
            }
        }
    }
    Some(None)
}
